"""Put this library and, if asked for, the official SDK through the same scenarios, on the same servers.

A scenario is a function of a Peer that returns a short text: what the client did. A Case says what is right and what
the defect looks like, as patterns of that text. Our text is asserted in every run; `pytest --peer=official` also runs
the SDK and prints both texts at the end (see conftest.py): `defect`, `mended` where it now does what is right, or
`other`. The SDK's text never fails a test.
"""
from __future__ import annotations

import collections
import contextlib
import gc
import importlib
import io
import logging
import re
import types
import warnings
from typing import NamedTuple

import pytest

NAMES = {"ours": "gigachat_lite", "official": "gigachat"}
KEY = "aWQ6c2VjcmV0LW9mLXRoZS1rZXk="  # id:secret-of-the-key
TABLE = "peers"  # the user property that takes a row to the summary


class Case(NamedTuple):
    """One row: its title, patterns of what is right and of what the defect is, and the scenario's other arguments."""

    title: str
    right: str
    defect: str
    args: tuple = ()

    def is_right(self, text):
        return re.fullmatch(self.right, text) is not None

    def verdict(self, text):
        """Tell what the SDK's text is; its own errors may have other names than ours."""
        if re.fullmatch(self.defect, text):
            return "defect"
        return "mended" if re.fullmatch(re.sub(r"\bown \w+", r"own \\w+", self.right), text) else "other"


def case(title, right, defect, *args):
    return Case(title, right, defect, args)


def scenario(*cases):
    """Turn a scenario `f(peer, *args)` into a test of its cases."""

    def decorate(function):
        @pytest.mark.parametrize("row", [pytest.param(row, id=row.title) for row in cases])
        def test(row, peers):
            peers.compare(function, row)

        test.__name__, test.__doc__ = function.__name__, function.__doc__
        return test

    return decorate


class Peers:
    """Run a scenario with one or both clients."""

    def __init__(self, request, places, both):
        self._request, self._places, self._both = request, places, both

    def compare(self, function, row):
        ours = self._run("ours", function, row)
        assert row.is_right(ours), f"{ours!r} is not {row.right!r}"
        if self._both:
            theirs = self._run("official", function, row)
            number = function.__name__.split("_")[1].upper()
            line = [number, function.__doc__.splitlines()[0], row.title, ours, theirs, row.verdict(theirs)]
            self._request.node.user_properties.append((TABLE, line))

    def _run(self, name, function, row):
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
            if name == "official":
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")  # of the SDK and httpx: their deprecations, and what they leave open
            peer = Peer(name, patch, self._places)
            try:
                return function(peer, *row.args)
            except Exception as error:
                if name == "ours":
                    raise
                return f"the scenario ended with {peer.name(error)}"
            finally:
                peer.close()
                if name == "official":
                    gc.collect()


class Peer:
    """One of the two clients, by the names that both have, and what a scenario needs around it.

    `api` and `proxy` start servers, `certs` are the certificates, `folder` is the empty working directory,
    `setenv` sets a variable. `pauses` lists the seconds that the client would have slept between attempts.
    """

    def __init__(self, name, patch, places):
        self.ours, self.package = name == "ours", importlib.import_module(NAMES[name])
        self.exceptions = importlib.import_module(NAMES[name] + ".exceptions")
        self.context = importlib.import_module(NAMES[name] + ".context")
        self.GigaChat, self.setenv = self.package.GigaChat, patch.setenv
        self.api, self.proxy, self.certs, self.folder = places
        self.pauses, self._opened = [], []
        if not self.ours:
            clock = types.SimpleNamespace(sleep=self.pauses.append)
            patch.setattr(importlib.import_module("gigachat.retry"), "time", clock)

    def client(self, host=None, keep=True, **settings):
        """Make a client of an Api, with an access token if no other way to authorise is given; close it at the end."""
        given = {"timeout": 5, "model": "GigaChat"}
        if host is not None:
            given.update(base_url=host.base_url, auth_url=host.auth_url)
        if "credentials" not in settings:
            given["access_token"] = "token"
        given.update(settings)
        giga = self.GigaChat(**{name: value for name, value in given.items() if value is not None})
        if keep:
            self._opened.append(giga)
        if self.ours:
            giga.transport.sleep = self.pauses.append
        return giga

    def close(self):
        while self._opened:
            self._opened.pop().close()

    def name(self, error):
        """Name an exception: "own" for what the client's root class catches, else with the package it is from."""
        kind = type(error)
        if isinstance(error, self.exceptions.GigaChatException):
            return "own " + kind.__name__
        package = kind.__module__.partition(".")[0]
        return kind.__name__ if package == "builtins" else f"{package}.{kind.__name__}"

    def tell(self, work):
        """Say what work returned or raised."""
        try:
            return str(work())
        except Exception as error:
            return self.name(error)

    def ask(self, host=None, **settings):
        """Say what a new client's question came to."""
        return self.tell(lambda: repr(self.client(host, **settings).chat("x").choices[0].message.content))

    def read(self, open_stream):
        """Say what reading a stream of either version came to."""
        got, end = [], ""
        try:
            for chunk in open_stream():
                got.append(text_of(chunk))
        except Exception as error:
            end = self.name(error)
        text = "".join(got)
        said = repr(text) if text else f"nothing ({len(got)} events)" if got or not end else ""
        return ", then ".join(filter(None, (said, end)))

    @contextlib.contextmanager
    def logs(self):
        """Lend what all loggers say, at every level."""
        root, out = logging.getLogger(), io.StringIO()
        handler, level = logging.StreamHandler(out), root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            yield out
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


def text_of(chunk):
    """Take the text out of an event of either version."""
    if getattr(chunk, "choices", None):
        return chunk.choices[0].delta.content or ""
    messages = getattr(chunk, "messages", None) or []
    return "".join(part.text or "" for message in messages for part in message.content or [])


def repeat(*answers):
    """Make a handler that gives these answers in turn, and the last one from then on."""
    left = list(answers)

    def handler(request, connection):
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer(request, connection) if callable(answer) else answer

    return handler


def counted(number, what="request"):
    return f"{number} {what}{'s' * (number != 1)}"


def print_table(reporter, version):
    """Print what the peers did, and how often the SDK did what."""
    rows = [value for kind in ("passed", "failed") for report in reporter.getreports(kind)
            for key, value in getattr(report, "user_properties", ()) if key == TABLE]
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in (2, 3)]
    line = f"{{:8}}{{:{widths[0]}}}  {{:{widths[1]}}}  {{}}"
    reporter.section(f"this library and the official SDK {version}")
    reporter.line(line.format("", "", "this library", "official SDK"))
    heading, verdicts = "", collections.Counter(row[5] for row in rows)
    for number, about, title, ours, theirs, verdict in sorted(rows, key=lambda row: int(row[0][1:])):
        if heading != f"{number}: {about}":
            heading = f"{number}: {about}"
            reporter.line(heading)
        reporter.line(line.format(verdict if verdict == "defect" else verdict.upper(), title, ours, theirs))
    reporter.line("The official SDK: " + ", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts.items())))
