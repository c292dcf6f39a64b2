"""Plant a marker in every secret, and look for it where a call may have left it."""
from __future__ import annotations

import base64
import collections.abc
import contextlib
import logging
import os
import pathlib
import traceback
import types

import requests

import gigachat_lite
from certs import PASSWORD

PACKAGE = pathlib.Path(gigachat_lite.__file__).parent
MARKERS = {  # without what a URL would encode, so that each shows in its encoded forms too
    "client secret": "c1ientSecretC0ffee71",
    "given token": "givenT0kenBadCafe42",
    "fetched token": "fetchedT0kenDeadBeef5",
    "password": "userPassw0rdFeedFace9",
    "proxy password": "pr0xyPasswordAbad1dea3",
    "key password": PASSWORD,
}
TAIL = "/+="  # of each marker, and what a URL does encode


def secret(name):
    return MARKERS[name] + (TAIL if name != "key password" else "")


def in_base64(text):
    """Give the letters that stand for a text wherever it begins in what is encoded."""
    for before in range(3):
        code = base64.b64encode(b"\0" * before + text.encode()).decode().rstrip("=")
        yield code[-(-before * 8 // 6):-1]


FORMS = {name: [marker, *in_base64(marker)] for name, marker in MARKERS.items()}
ID = "11111111-2222-4333-8444-555555555555"
AUTH_METHODS = {
    "key": {"credentials": base64.b64encode((ID + ":" + secret("client secret")).encode()).decode()},
    "pair": {"client_id": ID, "client_secret": secret("client secret")},
    "password": {"user": "maria", "password": secret("password")},
    "token": {"access_token": secret("given token")},
}


def leaks(text):
    return [name for name, forms in FORMS.items() if any(form in text for form in forms)]


# ---- Where to look


def opened(value, depth):
    """Show a value as a crash reporter does, strings by their repr, and open what it holds `depth` levels deep."""
    yield repr(value[:1 << 16] if isinstance(value, bytes) or type(value) is str else value)
    if depth == 0 or isinstance(value, (str, bytes, type, types.ModuleType, types.FunctionType)):
        return
    if isinstance(value, collections.abc.Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        parts = list(value)
    else:
        parts = list(getattr(value, "__dict__", {}).values())
    for part in parts:
        yield from opened(part, depth - 1)


def chain_of(error):
    """List an error and all errors that a traceback or a crash reporter shows with it."""
    found, waiting = [], [error]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and not any(item is one for one in found):
            found.append(item)
            context = None if item.__suppress_context__ else item.__context__
            waiting += [item.__cause__, context, *item.args, getattr(item, "reason", None)]
    return found


def frames_with_the_request(error):
    """List the frames of an error and of its causes that hold the request, whose headers a crash reporter collects."""
    frames = [frame for item in chain_of(error) for frame, _ in traceback.walk_tb(item.__traceback__)]
    return [frame.f_code for frame in frames
            if any(isinstance(value, requests.PreparedRequest) for value in frame.f_locals.values())]


def requests_of_causes(error):
    """List what the errors that come with an error have of a request or an answer of requests, which hold the token."""
    parts = [getattr(item, name, None) for item in chain_of(error) for name in ("request", "response")]
    return [part for part in parts if part is not None]


class Log(logging.Handler):
    """Keeps every record of every logger."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.texts = []

    def emit(self, record):
        self.texts += [self.format(record), *opened(record.__dict__, 3)]


class Places:
    def __init__(self, log, disk, capfd):
        self.log, self.disk, self.capfd = log, disk, capfd

    def look(self, *values, but=()):
        """Find no marker anywhere; `but` are files where one is meant to be."""
        out = self.capfd.readouterr()
        found = {"the log": self.log.texts, "stdout": [out.out], "stderr": [out.err],
                 "the disk": [str(file) + file.read_bytes().decode("latin-1") for file in self.disk.rglob("*")
                              if file.is_file() and file not in but]}
        for item in [one for value in values for one in (chain_of(value) or [value])]:
            depth = 1 if isinstance(item, BaseException) else 2  # an error of urllib3 has its pool, and that the proxy
            found[f"{type(item).__name__} {id(item)}"] = [str(item), *opened(item, depth)]
            if isinstance(item, BaseException):
                shown = [line for line in traceback.format_exception(type(item), item, item.__traceback__)
                         if os.path.dirname(__file__) not in line]
                found[f"traceback of {item!r}"] = [*shown, repr(item.__reduce__())]
        leaked = {place: names for place, texts in found.items() for names in [leaks("\n".join(texts))] if names}
        assert leaked == {}, leaked
        held = [one for value in values for one in [*frames_with_the_request(value), *requests_of_causes(value)]]
        assert held == [], held


def process_tree(top):
    """List the command lines of a process and of what it has started."""
    parents = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit():
                stat = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(stat[1]), pathlib.Path("/proc", entry, "cmdline").read_bytes()
    mine = {top}
    while True:
        more = {pid for pid, (parent, _) in parents.items() if parent in mine} - mine
        if not more:
            return [parents[pid][1].decode() for pid in mine if pid in parents]
        mine |= more
