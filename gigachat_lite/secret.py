"""What keeps keys, tokens and passwords from showing: in reprs, in frames of errors, and in what a server echoes."""

from __future__ import annotations

import base64
import contextlib
import re
import string
from typing import TYPE_CHECKING, Any, Callable, Mapping, Pattern

if TYPE_CHECKING:
    import requests

SECRETS = ("credentials", "client_secret", "access_token", "password", "key_file_password", "proxy")
LEAST, BEGINNING = 8, 16  # letters: what is shorter would be found anywhere, and so many are enough to know a secret
ALIKE = string.ascii_letters + string.digits  # escaped by nobody
GIVEN = re.compile(rb'("(?:access_token|tok)"\s*:\s*")[^"]*')  # where the service itself writes a token


class Secret(str):
    """A string that does not show itself in a repr, and so not in the frames that a crash reporter collects."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Hidden:
    """Something else than a string that may hold a secret: ``open()`` gives it, and no look at attributes does."""

    __slots__ = ("open",)

    def __init__(self, value: Any) -> None:
        self.open: Callable[[], Any] = lambda: value


def veil(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what was given from showing itself; a secret may have slipped into any setting or header."""
    return {key: _veiled(value) for key, value in values.items()}


def _veiled(value: Any) -> Any:
    if isinstance(value, str):
        return Secret(value)
    return Hidden(value) if isinstance(value, (bytes, bytearray, list, tuple, set, dict)) else value


def redact(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a config for printing, with its secrets masked.

    >>> redact({"credentials": "c2VjcmV0", "scope": "GIGACHAT_API_PERS", "password": None})
    {'credentials': '***', 'scope': 'GIGACHAT_API_PERS', 'password': None}
    """
    return {key: "***" if key in SECRETS and value else value for key, value in config.items()}


def unveiled(data: bytes, response: requests.Response) -> bytes:
    """Mask what an answer echoes of the secret that it was asked with, as a gateway's page may, and any token in it.

    The same is done to its headers, which an error keeps beside the data.
    """
    for secret in _sent(response):
        echo = _echo(secret)
        data = echo.sub(b"***", data)
        for name, value in list(response.headers.items()):
            response.headers[name] = echo.sub(b"***", value.encode("latin-1", "replace")).decode("latin-1")
    return GIVEN.sub(rb"\1***", data)


def _sent(response: requests.Response) -> list[str]:
    """List the secrets that a request was sent with: its token or key, and what a key decodes to."""
    scheme, _, word = response.request.headers.get("Authorization", "").rpartition(" ")
    secrets = [word]
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):  # no base64, or none of a text
            pair = base64.b64decode(word).decode("utf-8")
            secrets += [pair, pair.partition(":")[2]]
    return [secret for secret in secrets if len(secret) >= LEAST]


def _echo(secret: str) -> Pattern[bytes]:
    """Find a secret whole, or its beginning, also as JSON, HTML or a URL escape it, with all that follows on it."""
    whole, beginning = re.escape(secret.encode("utf-8")), b"".join(map(_letter, secret[:BEGINNING]))
    return re.compile(rb"""%s|%s[^\s"'<>]*""" % (whole, beginning))


def _letter(letter: str) -> bytes:
    if letter in ALIKE:
        return letter.encode("ascii")
    plain, number = letter.encode("utf-8"), ord(letter)
    escaped = b"".join(b"%%%02x" % byte for byte in plain)
    return rb"(?:\\?%s|(?i:%s|\\u%04x|&#x0*%x;)|&#0*%d;)" % (re.escape(plain), escaped, number, number, number)
