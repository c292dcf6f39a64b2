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
LARGEST = 64 * 1024  # bytes; a token has a thousand or two


def open_token_file(config: Mapping[str, Any]) -> TokenFile:
    """Return the file that keeps the tokens of a config's key, scope and address."""
    url, key = auth_address(config) or (config["base_url"] + "/token", basic("", ""))
    return TokenFile(config["token_cache"], key, config["scope"], url, config["token_expiry_buffer_ms"] / 1000)


class TokenFile:
    """The file that keeps the token of one key, scope and address; no trouble with it ever fails a call.

    What others could have written or can read is not trusted, and a warning says so. A place that cannot be written
    is worth a warning where the user named it, and else a line at INFO: the token then lives in memory, as without.
    """

    def __init__(self, place: bool | str, key: str, scope: str, auth_url: str, buffer: float) -> None:
        self._buffer = buffer
        self._severity = logging.INFO if place is True else logging.WARNING
        self._folder = usual_folder() if place is True else str(place)
        # The name is public in comparison with the key, and a password may be short: let guessing it cost something.
        name = hashlib.pbkdf2_hmac("sha256", key.encode(), f"{scope} {auth_url}".encode(), 10_000).hex()[:32]
        self._path = os.path.join(self._folder, name + ".json")

    def load(self, current: Token | None) -> Token | None:
        """Read a token that is good now and other than the current one; None where there is none to trust."""
        try:
            why = foreign(os.stat(self._folder), stat.S_ISDIR, 0o022)
            data = b"" if why else self._read()
        except FileNotFoundError:
            return None
        except OSError as exc:
            logger.log(self._severity, "the token file %s cannot be read: %s", self._path, exc.strerror)
            return None
        if why:
            logger.warning("the token cache %s is not used: %s", self._folder, why)
            return None
        token = parse(data, time.time(), time.monotonic(), self._buffer)
        return None if token is None or (current is not None and token.value == current.value) else token

    def save(self, token: Token) -> None:
        """Put a token into the place of an older one at one stroke, so that no reader ever meets half of it."""
        now = time.time()
        # The service's own end may be told by another clock than ours, so the file has both.
        here = now + token.deadline - time.monotonic()
        text = json.dumps({"access_token": token.value, "expires_at": token.expires_at, "expires_here": here})
        try:
            if not os.path.isabs(self._folder):
                raise OSError(2, "there is no home directory")
            make_folders(self._folder)
            if foreign(os.stat(self._folder), stat.S_ISDIR, 0o022):
                return  # as load() has said
            self._replace(text)
        except OSError as exc:
            hint = "; token_cache=False (GIGACHAT_TOKEN_CACHE=0) does without" if self._severity > logging.INFO else ""
            why = exc.strerror or type(exc).__name__
            logger.log(self._severity, "the token is not kept: %s cannot be written (%s)%s", self._path, why, hint)

    def _read(self) -> bytes:
        # Neither a link is followed nor a pipe waited for.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(self._path, flags)
        except OSError:
            if not os.path.islink(self._path):
                raise
            logger.warning("the token file %s is not used: it is a symbolic link", self._path)
            return b""
        try:
            why = foreign(os.fstat(fd), stat.S_ISREG, 0o077)
            if why:
                logger.warning("the token file %s is not used: %s", self._path, why)
            return b"" if why else os.read(fd, LARGEST)
        finally:
            os.close(fd)

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


def usual_folder() -> str:
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


def make_folders(path: str) -> None:
    """Make a folder and those above it, each for its owner alone, as the XDG specification has it."""
    if not os.path.isdir(path):
        if path != os.path.dirname(path):
            make_folders(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):  # made by another process in the meantime
            os.mkdir(path, 0o700)


def foreign(status: os.stat_result, is_kind: Any, forbidden: int) -> str:
    """Say why something on disk is not to be trusted; an empty string where it is ours alone.

    On Windows a profile's folders are their owner's, and there are no such bits to look at.
    """
    if not is_kind(status.st_mode):
        return "it is no regular file" if is_kind is stat.S_ISREG else "it is no directory"
    if hasattr(os, "geteuid"):
        if status.st_uid != os.geteuid():
            return "it belongs to another user"
        if status.st_mode & forbidden:
            mend = "chmod go-rwx mends that" if is_kind is stat.S_ISREG else "name a folder that is yours alone"
            return f"others have access to it (mode {stat.S_IMODE(status.st_mode):04o}); {mend}"
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
