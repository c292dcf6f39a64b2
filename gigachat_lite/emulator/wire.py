"""The wire: HTTP/1.1 on bare sockets, cheap enough to sit under a benchmark, and not to be ended by any bytes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import struct
import threading
import time
import uuid
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable, Iterator, Mapping, NamedTuple
from urllib.parse import parse_qsl

MAX_HEAD, MAX_BODY = 64 << 10, 100 << 20  # bytes
MAX_IDLE, MAX_HANDSHAKE, MAX_WAIT = 75.0, 10.0, 86_400.0  # seconds
JSON, FORM = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
# The phrases of some differ from one Python to the next.
REASONS = {int(status): status.phrase for status in HTTPStatus}
REASONS.update({413: "Payload Too Large", 422: "Unprocessable Entity"})
USUAL = {403: "Permission denied", 413: "Payload too large", 429: "Too many requests"}  # the service's own words


# ---- Requests: what arrived, as a test wants to look at it


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
    """

    sni: str | None = None
    client_cert: dict[str, Any] | None = None

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


# ---- Answers: status, headers and bytes, before any socket is touched


class Answer(NamedTuple):
    """Describe an answer: `headers` beat the usual ones (None takes one away), `events` make it a stream.

    `delay` are seconds before it, `pause` seconds between two events. `tear` spoils the delivery, at byte `at` of the
    body where that is a number: "cut", "stall", "reset", "drip" (`pause` seconds a byte), "close" (the end of the
    connection is the end of the body) or "stale" (the connection is reset when the next request comes). `done` is
    called once, before the last byte leaves: who reads it may at once ask again.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str | None] = {}
    events: list[bytes] | None = None
    delay: float = 0.0
    pause: float = 0.0
    tear: str = ""
    at: int | None = None
    done: Callable[[], None] | None = None


class Refused(Exception):
    """Leave a handler with an answer that is an error."""

    def __init__(self, *answer: Any) -> None:
        self.answer = Answer(*answer)


def dumps(value: Any) -> bytes:
    """Return compact JSON, letters as they are; half a surrogate pair, which an escape may hold, becomes a `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def refuse(status: int, message: str, code: int | None = None) -> Refused:
    """Return the service's error: the OAuth host has a `code` where the API has `status`; a newline ends it."""
    first = {"status": status} if code is None else {"code": code}
    return Refused(status, dumps({**first, "message": message}) + b"\n")


def refuse_page(status: int) -> Refused:
    """Return the error page of the gateway, which stands before the API and speaks HTML."""
    title = f"{status} {REASONS[status]}"
    head, foot = f"<head><title>{title}</title></head>", "<hr><center>nginx</center>"
    lines = ("<html>", head, "<body>", f"<center><h1>{title}</h1></center>", foot, "</body>", "</html>", "")
    return Refused(status, "\r\n".join(lines).encode("ascii"), "text/html")


def _render_head(answer: Answer, request: Request | None, framing: str, close: bool) -> bytes:
    """Return status line and headers; the OAuth host sends no ids and, in the recordings, no `Date`."""
    content_type, fields = answer.content_type, [("Server", "SynGX")]
    if request is not None and request.path.endswith("/oauth"):
        content_type = content_type.replace(JSON, "application/json")
        fields.append(("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"))
    else:
        asked: Mapping[str, str] = request.headers if request is not None else {}
        fields += [("Date", formatdate(usegmt=True)), ("Allow", "GET, POST")]
        fields += [(name, asked.get(name.lower()) or str(uuid.uuid4())) for name in ("X-Request-Id", "X-Session-Id")]
        fields += [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN")]
    fields += [("Content-Type", content_type), ("Connection", "close" if close else "keep-alive")]
    if framing == "length":
        fields.append(("Content-Length", str(len(answer.body))))
    elif framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
    if answer.headers:
        given = {name.lower() for name in answer.headers}
        fields = [field for field in fields if field[0].lower() not in given]
        fields += [(name, value) for name, value in answer.headers.items() if value is not None]
    lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, '')}", *map(": ".join, fields), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def _limit(parts: list[bytes], size: int | None) -> list[bytes]:
    """Return the parts up to a number of bytes in all.

    >>> _limit([b"abc", b"def"], 4), _limit([b"abc"], 0)
    ([b'abc', b'd'], [b''])
    """
    if size is None:
        return parts
    kept: list[bytes] = []
    for part in parts:
        kept.append(part[:size])
        size -= len(kept[-1])
        if not size:
            break
    return kept


# ---- Connection: HTTP/1.1 on a bare socket


_REQUEST_LINE = re.compile(rb"([A-Za-z]+) ([!-~\x80-\xff]+) HTTP/(1\.[01])\r?\n")
# No control character, or one echoed with an id would forge a header of the answer; no space apart, or the time that
# a long value takes would grow with its square.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})[ \t]*(?:;.*)?\r?\n")


class Connection:
    """Read requests from a socket and write answers to it; what the network does wrong leaves as OSError."""

    def __init__(self, sock: socket.socket, number: int, stopping: threading.Event) -> None:
        """Take over a socket; whoever sets `stopping` also shuts the socket down."""
        sock.settimeout(MAX_IDLE)
        self._sock, self._number, self._stopping, self._torn = sock, number, stopping, True
        self._reader = sock.makefile("rb")

    def shake_hands(self) -> None:
        """Begin TLS where the port speaks it; who comes with clear text gets the gateway's page."""
        if not isinstance(self._sock, ssl.SSLSocket):
            return
        self._sock.settimeout(MAX_HANDSHAKE)
        if socket.socket.recv(self._sock, 1, socket.MSG_PEEK) not in (b"\x16", b""):
            page = refuse_page(400).answer
            socket.socket.sendall(self._sock, _render_head(page, None, "length", True) + page.body)
            raise ConnectionError("clear text on a port of TLS")
        self._sock.do_handshake()
        self._sock.settimeout(MAX_IDLE)
        self._torn = False

    def read_request(self) -> Request | None:
        """Return the next request, None at the end of the connection; raise `Refused` for what is not HTTP."""
        lines = self._read_head()
        if not lines:
            return None
        first, fields = _REQUEST_LINE.fullmatch(lines[0]), [_FIELD.fullmatch(line) for line in lines[1:]]
        headers: dict[str, str] = {}
        for field in fields:
            name, value = (part.decode("latin-1").strip(" \t") for part in field.groups()) if field else ("", "")
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        if first is None or "" in headers:
            raise refuse_page(400)
        body = self._read_body(headers)
        method, target, version = (part.decode("latin-1") for part in first.groups())
        request = Request(method, target, version, Headers(headers), body, self._number)
        if isinstance(self._sock, ssl.SSLSocket):
            request.sni = getattr(self._sock, "sni", None)
            try:
                request.client_cert = self._sock.getpeercert()
            except ValueError:  # it is good, but holds a name that Python cannot decode
                request.client_cert = {"subject": ()}
        return request

    def _read_head(self) -> list[bytes]:
        """Return the lines of a head, none at the end of the connection; empty lines may stand before it."""
        lines: list[bytes] = []
        left = MAX_HEAD
        while True:
            # A TLS handshake has no line end and waits for an answer: refuse at the first byte what is no method.
            start = self._reader.peek(1)[:1] if not lines else b""
            if start.strip() and not start.isalpha():
                raise refuse_page(400)
            line = self._reader.readline(left)
            left -= len(line)
            if not left:
                raise refuse_page(431)
            if line.strip():
                lines.append(line)
            elif lines or not line:
                return lines if line else []

    def _read_body(self, headers: dict[str, str]) -> bytes:
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            raise refuse_page(400)
        if length is not None and not (length.isdecimal() and len(length) < 19):
            raise refuse_page(400)
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._take(int(length or 0)) if coding is None else self._read_chunks()

    def _read_chunks(self) -> bytes:
        body, wanted = bytearray(), 1
        while wanted:
            size = _CHUNK_SIZE.fullmatch(self._reader.readline(4096))
            if size is None:
                raise refuse_page(400)
            wanted = int(size.group(1), 16)
            body += self._take(wanted, MAX_BODY - len(body))
            while self._reader.readline(4096).strip():
                if wanted:  # only the last chunk may be followed by lines, which mean nothing here
                    raise refuse_page(400)
        return bytes(body)

    def _take(self, size: int, limit: int = MAX_BODY) -> bytes:
        if size > limit:
            raise refuse(413, "Payload too large")
        taken = self._reader.read(size)
        if len(taken) < size:
            raise ConnectionError("the request ended early")
        return taken

    def write_answer(self, answer: Answer, request: Request | None) -> bool:
        """Send an answer and tell whether the connection goes on."""
        try:
            return self._pause(answer.delay) and self._write(answer, request)
        finally:
            if answer.done is not None:
                answer.done()

    def _write(self, answer: Answer, request: Request | None) -> bool:
        if answer.tear == "reset" and answer.at is None:
            return self._reset()
        wish = request.headers.get("connection", "").lower() if request is not None else "close"
        close = "close" in wish or (request is not None and request.version == "1.0" and "keep-alive" not in wish)
        # A scripted framing need not be true, and then the next answer could not be told from the rest of this one.
        close = close or any(name.lower() in ("content-length", "transfer-encoding") for name in answer.headers)
        framing = "length" if answer.events is None else "chunked"
        if answer.tear == "close" or (answer.events is not None and request is not None and request.version == "1.0"):
            framing, close = "close", True  # HTTP/1.0 knows no chunks
        head = _render_head(answer, request, framing, close)
        bare = answer.status in (204, 304) or (request is not None and request.method == "HEAD")
        parts = [b""] if bare else [answer.body] if answer.events is None else answer.events or [b""]
        return self._write_parts(answer, head, parts, framing == "chunked" and not bare) and not close

    def _write_parts(self, answer: Answer, head: bytes, parts: list[bytes], chunked: bool) -> bool:
        """Send head and body, the head with the first part: alone it would wait for an acknowledgement (Nagle)."""
        torn = answer.tear in ("cut", "stall", "reset")
        parts, pending = _limit(parts, answer.at if torn else None), head
        for left, part in zip(range(len(parts) - 1, -1, -1), parts):
            framed = b"%x\r\n%b\r\n" % (len(part), part) if chunked and part else part
            if not left and chunked and not torn:
                framed += b"0\r\n\r\n"
            if not left and answer.done is not None and answer.tear not in ("drip", "stall"):
                answer.done()
            if answer.tear != "drip":
                self._sock.sendall(pending + framed)
            elif not self._drip(pending, framed, answer, last=not left):
                return False
            pending = b""
            if left and not self._pause(answer.pause):
                return False
        return self._tear(answer.tear)

    def _drip(self, head: bytes, data: bytes, answer: Answer, last: bool) -> bool:
        self._sock.sendall(head)
        for left, byte in zip(range(len(data) - 1, -1, -1), data):
            if left + 1 < len(data) and not self._pause(answer.pause):
                return False
            if last and not left and answer.done is not None:
                answer.done()
            self._sock.sendall(bytes([byte]))
        return True

    def _tear(self, how: str) -> bool:
        """End an answer as its fault wants it; tell whether the connection goes on."""
        self._torn = self._torn or how in ("cut", "stall", "reset")
        if how == "stall":
            while self._pause(MAX_IDLE):
                pass
        if how == "reset" or (how == "stale" and self._look(MAX_IDLE)):  # when the next request is on its way
            return self._reset()
        return how not in ("cut", "stall", "stale")

    def _pause(self, seconds: float) -> bool:
        """Wait, and tell whether the connection is still there: its end ends the wait, and stop() makes one."""
        if seconds <= 0:
            return True
        seen = self._look(seconds)
        if seen:  # the next request is there already, so there is nothing to look for
            return not self._stopping.wait(min(seconds, MAX_WAIT))
        return seen is None

    def _look(self, seconds: float) -> bytes | None:
        """Wait for what comes next and leave it there: nothing is b"", silence is None."""
        self._sock.settimeout(min(seconds, MAX_WAIT))
        try:
            seen = socket.socket.recv(self._sock, 64, socket.MSG_PEEK)  # not of the subclass: TLS has no peeking
        except socket.timeout:
            return None
        finally:
            self._sock.settimeout(MAX_IDLE)
        # In TLS so few bytes are no request, but the alert that announces the end.
        return b"" if isinstance(self._sock, ssl.SSLSocket) and len(seen) < 64 else seen

    def _reset(self) -> bool:
        """End the connection by a reset, which the other side sees even before it has read everything."""
        self._torn = True
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reader.close()
        self._sock.close()
        return False

    def close(self) -> None:
        """End the connection so that the other side can read the last answer, though not all of its bytes were read."""
        if isinstance(self._sock, ssl.SSLSocket) and not self._torn:
            with contextlib.suppress(OSError, ValueError):  # it says that the other side has not said the same yet
                self._sock.settimeout(0)
                self._sock.unwrap()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            self._sock.settimeout(0.5)
            while socket.socket.recv(self._sock, 65536):
                pass
        self._reader.close()
        self._sock.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; its queue is deep, so that hundreds may come at once."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # on Windows the option would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address[0], port, *address[2:]))
        listener.listen(256)
    except BaseException:
        listener.close()
        raise
    return listener


def hang_up(sock: socket.socket) -> None:
    """Wake whoever waits on a socket, from another thread; not by the method of TLS, which takes its state away."""
    with contextlib.suppress(OSError):  # the other side may have been faster
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
