"""Requests, responses and errors of HTTP, before any socket is touched."""

from __future__ import annotations

import json
import re
import time
from http import HTTPStatus
from typing import Any, Callable, Iterator, Mapping, NamedTuple
from urllib.parse import parse_qsl

JSON, FORM = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
# The phrases of some differ from one Python to the next.
REASONS = {int(status): status.phrase for status in HTTPStatus}
REASONS.update({413: "Payload Too Large", 422: "Unprocessable Entity"})
TOKEN_PATHS = ("/oauth", "/token")  # the ends of the paths that give out tokens


class Headers(Mapping[str, str]):
    """Hold header fields, found in any case of their names; the `repr` masks secrets, for test output gets public."""

    def __init__(self, fields: dict[str, str]) -> None:
        """Take fields whose names are in lower case already."""
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        secret = re.compile("auth|cookie|secret|password|token|key")
        mask = re.compile(r"(?is)^((?:basic|bearer) )?.*")
        return repr({k: mask.sub(r"\1***", v) if secret.search(k) else v for k, v in self.items()})


class Request:
    """Hold one request: `path` still percent-encoded, `raw` the bytes of the body, `body` what they mean.

    `pairs` is the query with what stands in it more than once, `query` has the last of each name.
    `connection` counts the connections of the emulator from 1, `time` is on the monotonic clock. Over TLS `sni` is
    the name that the client asked for and `client_cert` what `ssl` decoded of its certificate, else they are None.
    `scripted_text` is what `Emulator.enqueue(text=)` has the model say.
    """

    sni: str | None = None
    client_cert: dict[str, Any] | None = None
    scripted_text: str | None = None

    def __init__(self, method: str, target: str, version: str, headers: Headers, raw: bytes, connection: int) -> None:
        """Take a request apart; `target` may be in the absolute form that a client sends to a proxy."""
        self.path, _, query = re.sub(r"^\w+://[^/?]*", "", target).partition("?")
        self.pairs: list[tuple[str, str]] = parse_qsl(query, keep_blank_values=True) if query else []
        self.query: dict[str, str] = dict(self.pairs)
        self.method, self.version, self.headers, self.raw = method, version, headers, raw
        self.connection, self.time = connection, time.monotonic()

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path}, headers={self.headers!r}, body={self.body!r})"

    @property
    def client_id(self) -> str | None:
        """Return the `X-Client-ID`, to which files belong."""
        return self.headers.get("x-client-id")

    @property
    def body(self) -> Any:
        """Return the body as parsed JSON, as a dict of form fields, or as bytes where it is neither."""
        kind = self.headers.get("content-type", "").lower()
        if kind.startswith(FORM):
            return self.form()
        try:
            return self.json() if "json" in kind or not kind else self.raw
        except ValueError:
            return self.raw

    def form(self) -> dict[str, str]:
        """Return the body as the fields of a form, whatever its declared type."""
        return dict(parse_qsl(self.raw.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> Any:
        """Return the body as JSON, whatever its declared type; ValueError where it is none."""
        try:
            return json.loads(self.raw.decode("utf-8"))
        except RecursionError:  # thousands of brackets
            raise ValueError("nested too deeply") from None


class Response(NamedTuple):
    """Describe a response: `headers` beat the usual ones (None takes one away), `events` make it a stream.

    `delay` are seconds before it, `event_delay` seconds between two events. `delivery` is how a fault delivers it, at
    byte `at` of the body where that is a number: "cut", "stall", "reset", "drip" (`event_delay` seconds a byte),
    "close" (the end of the connection is the end of the body) or "stale" (the connection is reset when the next
    request comes). `on_sent` is called once, before the last byte leaves: who reads it may at once ask again.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str | None] = {}
    events: list[bytes] | None = None
    delay: float = 0.0
    event_delay: float = 0.0
    delivery: str = ""
    at: int | None = None
    on_sent: Callable[[], None] | None = None


class HTTPError(Exception):
    """Leave a handler with a response that is an error."""

    def __init__(self, *response: Any) -> None:
        self.response = Response(*response)


def to_json(value: Any) -> bytes:
    """Return compact JSON, letters as they are; half a surrogate pair, which an escape may hold, becomes a `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(value: Any) -> Response:
    """Return a response of JSON."""
    return Response(body=to_json(value))


def api_error(status: int, message: str | None = None, code: int | None = None) -> HTTPError:
    """Return the service's error: the OAuth host has a `code` where the API has `status`; a newline ends it."""
    usual = {403: "Permission denied", 413: "Payload too large", 429: "Too many requests"}  # the service's own words
    message = usual.get(status) or REASONS.get(status, "") if message is None else message
    first = {"status": status} if code is None else {"code": code}
    return HTTPError(status, to_json({**first, "message": message}) + b"\n")


def gateway_error(status: int, more: str = "") -> HTTPError:
    """Return the error page of the gateway, which stands before the API and speaks HTML; `more` is a sentence of it."""
    title, more = f"{status} {REASONS[status]}", more and f"<center>{more}</center>\r\n"
    head, foot = f"<head><title>{title}</title></head>", f"{more}<hr><center>nginx</center>"
    lines = ("<html>", head, "<body>", f"<center><h1>{title}</h1></center>", foot, "</body>", "</html>", "")
    return HTTPError(status, "\r\n".join(lines).encode("ascii"), "text/html")
