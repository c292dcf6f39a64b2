"""Connections: HTTP/1.1 on bare sockets, cheap enough to sit under a benchmark, and not to be ended by any bytes."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import ssl
import struct
import threading
import uuid
from email.utils import formatdate
from typing import Callable, Mapping

from .web import JSON, REASONS, Headers, Request, Response, api_error, gateway_error

MAX_HEAD, MAX_BODY = 64 << 10, 100 << 20  # bytes
MAX_IDLE, MAX_HANDSHAKE, MAX_WAIT = 75.0, 10.0, 86_400.0  # seconds

_REQUEST_LINE = re.compile(rb"([A-Za-z]+) ([!-~\x80-\xff]+) HTTP/(1\.[01])\r?\n")
# No control character, or one echoed with an id would forge a header of the answer; no space apart, or the time that
# a long value takes would grow with its square.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})[ \t]*(?:;.*)?\r?\n")


def _format_head(response: Response, request: Request | None, framing: str, close: bool) -> bytes:
    """Return status line and headers; the OAuth host sends no ids and, in the recordings, no `Date`."""
    content_type, fields = response.content_type, [("Server", "SynGX")]
    if request is not None and request.path.endswith("/oauth"):
        content_type = content_type.replace(JSON, "application/json")
        fields.append(("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"))
    else:
        sent: Mapping[str, str] = request.headers if request is not None else {}
        fields += [("Date", formatdate(usegmt=True)), ("Allow", "GET, POST")]
        fields += [(name, sent.get(name.lower()) or str(uuid.uuid4())) for name in ("X-Request-Id", "X-Session-Id")]
        fields += [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN")]
    fields += [("Content-Type", content_type), ("Connection", "close" if close else "keep-alive")]
    fields += {"length": [("Content-Length", str(len(response.body)))],
               "chunked": [("Transfer-Encoding", "chunked")]}.get(framing, [])
    if response.headers:
        given = {name.lower() for name in response.headers}
        fields = [field for field in fields if field[0].lower() not in given]
        fields += [(name, value) for name, value in response.headers.items() if value is not None]
    lines = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, '')}", *map(": ".join, fields), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


class Connection:
    """Read requests from a socket and write responses to it; what the network does wrong leaves as OSError."""

    def __init__(self, sock: socket.socket, number: int, stopping: threading.Event) -> None:
        """Take over a socket; whoever sets `stopping` also shuts the socket down."""
        sock.settimeout(MAX_IDLE)
        self._sock, self._number, self._stopping = sock, number, stopping
        self._close_notify = False
        self._on_sent: Callable[[], None] | None = None
        self._reader = sock.makefile("rb")

    def handshake(self) -> None:
        """Begin TLS where the port speaks it; who comes with clear text gets the gateway's page."""
        if not isinstance(self._sock, ssl.SSLSocket):
            return
        self._sock.settimeout(MAX_HANDSHAKE)
        if socket.socket.recv(self._sock, 1, socket.MSG_PEEK) not in (b"\x16", b""):
            page = gateway_error(400, "The plain HTTP request was sent to HTTPS port").response
            socket.socket.sendall(self._sock, _format_head(page, None, "length", True) + page.body)
            raise ConnectionError("clear text on a port of TLS")
        self._sock.do_handshake()
        self._sock.settimeout(MAX_IDLE)
        self._close_notify = True

    # -- Requests

    def read_request(self) -> Request | None:
        """Return the next request, None at the end of the connection; raise `HTTPError` for what is not HTTP."""
        lines = self._read_head()
        if not lines:
            return None
        first, fields = _REQUEST_LINE.fullmatch(lines[0]), [_FIELD.fullmatch(line) for line in lines[1:]]
        headers: dict[str, str] = {}
        for field in fields:
            name, value = (part.decode("latin-1").strip(" \t") for part in field.groups()) if field else ("", "")
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        if first is None or "" in headers:
            raise gateway_error(400)
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
                raise gateway_error(400)
            line = self._reader.readline(left)
            left -= len(line)
            if not left:
                raise gateway_error(431)
            if line.strip():
                lines.append(line)
            elif lines or not line:
                return lines if line else []

    def _read_body(self, headers: dict[str, str]) -> bytes:
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        bad_coding = coding is not None and (coding.lower() != "chunked" or length is not None)
        if bad_coding or (length is not None and not (length.isdecimal() and len(length) < 19)):
            raise gateway_error(400)
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._read_exactly(int(length or 0)) if coding is None else self._read_chunks()

    def _read_chunks(self) -> bytes:
        body, wanted = bytearray(), 1
        while wanted:
            size = _CHUNK_SIZE.fullmatch(self._reader.readline(4096))
            if size is None:
                raise gateway_error(400)
            wanted = int(size.group(1), 16)
            body += self._read_exactly(wanted, MAX_BODY - len(body))
            while self._reader.readline(4096).strip():
                if wanted:  # only the last chunk may be followed by lines, which mean nothing here
                    raise gateway_error(400)
        return bytes(body)

    def _read_exactly(self, size: int, limit: int = MAX_BODY) -> bytes:
        if size > limit:
            raise api_error(413)
        data = self._reader.read(size)
        if len(data) < size:
            raise ConnectionError("the request ended early")
        return data

    # -- Responses

    def write_response(self, response: Response, request: Request | None) -> bool:
        """Send a response and tell whether the connection goes on."""
        self._on_sent = response.on_sent
        try:
            return self._wait(response.delay) and self._send(response, request)
        finally:
            self._call_on_sent()

    def _call_on_sent(self) -> None:
        on_sent, self._on_sent = self._on_sent, None
        if on_sent is not None:
            on_sent()

    def _send(self, response: Response, request: Request | None) -> bool:
        if response.delivery == "reset" and response.at is None:
            return self._reset()
        wanted = request.headers.get("connection", "").lower() if request is not None else "close"
        old = request is not None and request.version == "1.0"
        # A scripted framing need not be true, and then the next response could not be told from the rest of this one.
        scripted = any(name.lower() in ("content-length", "transfer-encoding") for name in response.headers)
        close = "close" in wanted or (old and "keep-alive" not in wanted) or scripted
        framing = "length" if response.events is None else "chunked"
        if response.delivery == "close" or (response.events is not None and old):
            framing, close = "close", True  # HTTP/1.0 knows no chunks
        head = _format_head(response, request, framing, close)
        bare = response.status in (204, 304) or (request is not None and request.method == "HEAD")
        parts = [b""] if bare else [response.body] if response.events is None else response.events or [b""]
        return self._send_parts(response, head, parts, framing == "chunked" and not bare) and not close

    def _send_parts(self, response: Response, head: bytes, parts: list[bytes], chunked: bool) -> bool:
        """Send head and body, the head with the first part: alone it would wait for an acknowledgement (Nagle)."""
        broken = response.delivery in ("cut", "stall", "reset")
        if broken and response.at is not None:
            starts = [end - len(part) for part, end in zip(parts, itertools.accumulate(map(len, parts)))]
            parts = [part[:response.at - start] for part, start in zip(parts, starts) if start < response.at] or [b""]
        if chunked:
            parts = [b"%x\r\n%b\r\n" % (len(part), part) if part else b"" for part in parts]
            parts[-1] += b"" if broken else b"0\r\n\r\n"
        if response.delivery == "drip":
            parts = [bytes([byte]) for part in parts for byte in part] or [b""]
        parts[0] = head + parts[0]
        for left, part in zip(range(len(parts) - 1, -1, -1), parts):
            if not left and response.delivery != "stall":
                self._call_on_sent()
            self._sock.sendall(part)
            if left and not self._wait(response.event_delay):
                return False
        return self._end(response.delivery)

    def _end(self, delivery: str) -> bool:
        """End a response as its fault wants it; tell whether the connection goes on."""
        self._close_notify = self._close_notify and delivery not in ("cut", "stall", "reset")
        while delivery == "stall" and self._wait(MAX_IDLE):
            pass
        if delivery == "reset" or (delivery == "stale" and self._peek(MAX_IDLE)):  # when the next request has come
            return self._reset()
        return delivery not in ("cut", "stall", "stale")

    def _wait(self, seconds: float) -> bool:
        """Wait, and tell whether the connection is still there: its end ends the wait, and stop() makes one."""
        if seconds <= 0:
            return True
        seen = self._peek(seconds)
        if seen:  # the next request is there already, so there is nothing to look for
            return not self._stopping.wait(min(seconds, MAX_WAIT))
        return seen is None

    def _peek(self, seconds: float) -> bytes | None:
        """Wait for what comes next and leave it there: the end is b"", silence is None."""
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
        self._close_notify = False
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reader.close()
        self._sock.close()
        return False

    def close(self) -> None:
        """End the connection so that the client can read the last response, though not all of its bytes were read."""
        if isinstance(self._sock, ssl.SSLSocket) and self._close_notify:
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


def shut_down(sock: socket.socket) -> None:
    """Wake whoever waits on a socket, from another thread; not by the method of TLS, which takes its state away."""
    with contextlib.suppress(OSError):  # the other side may have been faster
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
