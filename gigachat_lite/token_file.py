"""Access tokens on disk, for programs that start often: each file holds one token, readable by its owner alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import sys
import tempfile
import time
from typing import Any, Mapping

from .auth import Token, auth_address, basic
from .validators import SecretStr

logger = logging.getLogger("gigachat_lite")
MAX_SIZE = 64 * 1024  # bytes; a token has a thousand or two


def open_token_file(config: Mapping[str, Any]) -> TokenFile:
    """Return the file that keeps the tokens of a config's key, scope and address."""
    url, key = auth_address(config) or (config["base_url"] + "/token", basic("", ""))
    return TokenFile(config["token_cache"], key, config["scope"], url, config["token_expiry_buffer_ms"] / 1000)


class TokenFile:
    """The file that keeps the token of one key, scope and address; no trouble with it ever fails a call.

    What others could have written or can read is not used, and a warning says so. A folder that cannot be written is
    worth a warning where the user named it, and else a line at INFO: the token then lives in memory alone.
    """

    def __init__(self, folder: bool | str, key: str, scope: str, auth_url: str, buffer: float) -> None:
        self._buffer = buffer
        self._level = logging.INFO if folder is True else logging.WARNING
        self._folder = cache_folder() if folder is True else str(folder)
        # Whoever sees the name could try passwords on it, and they may be short: each guess is to cost something.
        name = hashlib.pbkdf2_hmac("sha256", key.encode(), f"{scope} {auth_url}".encode(), 10_000).hex()[:32]
        self._path = os.path.join(self._folder, name + ".json")

    def load(self, current: Token | None) -> Token | None:
        """Read a token that is good now and other than the current one; None where there is none to trust."""
        try:
            problem = _problem(os.stat(self._folder), folder=True)
            data = b"" if problem else self._read()
        except FileNotFoundError:
            return None
        except OSError as exc:
            logger.log(self._level, "the token file %s cannot be read: %s", self._path, exc.strerror)
            return None
        if problem:
            logger.warning("the token cache %s is not used: %s", self._folder, problem)
            return None
        token = parse(data, time.time(), time.monotonic(), self._buffer)
        return None if token is None or (current is not None and token.value == current.value) else token

    def save(self, token: Token) -> None:
        """Write a token; it takes the place of an older one at once, so that nobody reads half of it."""
        # The service's own end may be told by another clock than ours, so the file has both.
        here = time.time() + token.deadline - time.monotonic()
        text = json.dumps({"access_token": token.value, "expires_at": token.expires_at, "expires_here": here})
        try:
            if not os.path.isabs(self._folder):
                raise OSError(2, "there is no home directory")
            os.makedirs(self._folder, 0o700, exist_ok=True)
            if not _problem(os.stat(self._folder), folder=True):  # else load() has said it
                self._replace(text)
        except OSError as exc:
            hint = "; token_cache=False (GIGACHAT_TOKEN_CACHE=0) does without" if self._level > logging.INFO else ""
            why = exc.strerror or type(exc).__name__
            logger.log(self._level, "the token is not kept: %s cannot be written (%s)%s", self._path, why, hint)

    def _read(self) -> bytes:
        # Neither follow a link nor wait for a pipe.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        problem = "it is a symbolic link" if os.path.islink(self._path) else ""
        if not problem:
            fd = os.open(self._path, flags)
            try:
                problem = _problem(os.fstat(fd), folder=False)
                if not problem:
                    return os.read(fd, MAX_SIZE)
            finally:
                os.close(fd)
        logger.warning("the token file %s is not used: %s", self._path, problem)
        return b""

    def _replace(self, text: str) -> None:
        fd, path = tempfile.mkstemp(".tmp", "token-", self._folder)  # mode 0600
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(text)
            os.replace(path, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise


def cache_folder() -> str:
    """Name the folder where the system keeps its users' caches."""
    if os.name == "nt":
        root = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        root = os.path.expanduser("~/Library/Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):  # as the XDG specification has it
        root = os.path.expanduser(os.path.join("~", ".cache"))
    return os.path.join(root, "gigachat_lite")


def _problem(status: os.stat_result, folder: bool) -> str:
    """Say why a folder or a file is not to be trusted; an empty string where it is ours alone.

    Windows has no such bits, and the folders of a profile are their owner's there.
    """
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(status.st_mode):
        return "it is no directory" if folder else "it is no regular file"
    if not hasattr(os, "geteuid"):
        return ""
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & (0o022 if folder else 0o077):
        hint = "name a folder that is yours alone" if folder else "chmod go-rwx mends that"
        return f"others have access to it (mode {stat.S_IMODE(status.st_mode):04o}); {hint}"
    return ""


def parse(data: bytes, wall: float, clock: float, buffer: float) -> Token | None:
    """Read what ``save`` wrote, with what is left of the token's life; None for anything else and for an old one.

    >>> parse(b'{"access_token": "t", "expires_at": 1700001800.0, "expires_here": 160.0}', 60.0, 5.0, 60.0)[1:4]
    (1700001800.0, 105.0, 80.0)
    """
    try:
        fields: Mapping[str, Any] = json.loads(data.decode("ascii"))
        value, expires, left = fields["access_token"], float(fields["expires_at"]), fields["expires_here"] - wall
        sound = re.fullmatch(r"[\x21-\x7e]+", value) and 0 <= expires < 10**12 and 0 < left <= 86400
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return None
    return Token(SecretStr(value), expires, clock + left, clock + left - min(buffer, left / 4)) if sound else None
