"""Serve scripted answers, and every fault of a network, on real sockets of 127.0.0.1.

    with Server([reply(503), sse(STREAM_BODY).cut(40, "rst"), reply(body={"ok": True})]) as server:
        ...                                                   # server.url, server.requests, server.connections

A script is one Answer (given to every request), a list (one element per request; running out fails the test) or a
callable `handler(request, connection)` that returns an Answer, or None when it has dealt with the connection itself.
List elements may be callables too. A handler's error is kept and raised by `stop()`, so it fails the test.

Where a body is a list, its elements are pieces: bytes (one send each, and one chunk each with "chunked" framing), a
`threading.Event` (nothing more goes out until it is set) or a number (a pause in seconds).
Ways to end a connection: "fin" (the orderly one, with close_notify on TLS), "rude" (FIN, no close_notify), "rst".
"""
from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import select
import socket
import ssl
import struct
import threading
import time
from email.utils import formatdate
from urllib.parse import parse_qsl, urlsplit

LOOPBACK = "127.0.0.1"
_MADE = '"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"'

CHAT_TEXT = "Hello."  # a recorded answer of POST /chat/completions, byte for byte
CHAT_BODY = (
    b'{"choices":[{"message":{"content":"Hello.","role":"assistant"},"index":0,"finish_reason":"stop"}],'
    b'"created":1768996171,"model":"GigaChat:2.0.28.2","object":"chat.completion",'
    b'"usage":{"prompt_tokens":17,"completion_tokens":3,"total_tokens":20,"precached_prompt_tokens":2}}'
)

STREAM_TEXTS = (  # the contents of the five events of a recorded stream
    "$1\\, 2\\, 3$  \n\n**Подробный разбор:",
    "**\n- Начинаем счёт с единицы.",
    "\n- Добавляем следующее число — двойку.",
    "\n- Заканчиваем счётом числом три.",
    "",
)
STREAM_TEXT = "".join(STREAM_TEXTS)
STREAM_BODY = (  # and the stream itself, byte for byte
    r'data: {"choices":[{"delta":{"content":"$1\\, 2\\, 3$  \n\n**Подробный разбор:","role":"assistant"},"index":0}],'
    + _MADE + '}\n\n'
    r'data: {"choices":[{"delta":{"content":"**\n- Начинаем счёт с единицы."},"index":0}],' + _MADE + '}\n\n'
    r'data: {"choices":[{"delta":{"content":"\n- Добавляем следующее число — двойку."},"index":0}],' + _MADE + '}\n\n'
    r'data: {"choices":[{"delta":{"content":"\n- Заканчиваем счётом числом три."},"index":0}],' + _MADE + '}\n\n'
    'data: {"choices":[{"delta":{"content":""},"index":0,"finish_reason":"stop"}],' + _MADE
    + ',"usage":{"prompt_tokens":17,"completion_tokens":42,"total_tokens":59,"precached_prompt_tokens":2}}\n\n'
    'data: [DONE]\n\n'
).encode()


class Answer:
    """Hold what goes out for one request: steps (pieces as in the module's text) and the end of the connection.

    `head` and `body` are the bytes on the wire, framing included. Methods return a new Answer, so that they chain;
    `part` is "head", "body" or "all" and says where offsets count from and where dripping happens.
    """

    def __init__(self, steps, head_size=0, end="keep"):
        self.steps, self.head_size, self.end = list(steps), head_size, end
        self.wire = b"".join(step for step in self.steps if isinstance(step, bytes))
        self.head, self.body = self.wire[:head_size], self.wire[head_size:]

    def close(self, how="fin"):
        """End the connection after the answer, whatever its head has promised: the next request meets a stale one."""
        return Answer(self.steps, self.head_size, how)

    def after(self, gate):
        """Send nothing before the Event `gate` is set."""
        return Answer([gate] + self.steps, self.head_size, self.end)

    def split(self, *at, part="body"):
        """Cut pieces before these byte offsets, so that they leave in separate sends."""
        start = self._range(part)[0]
        return Answer(_recut(self.steps, [start + offset for offset in at]), self.head_size, self.end)

    def cut(self, at, how="fin", part="body"):
        """Send `at` bytes of the part (and all that precedes it), then end the connection."""
        left = self._range(part)[0] + at
        kept = []
        for step in _recut(self.steps, [left]):
            if left <= 0:
                break
            left -= len(step) if isinstance(step, bytes) else 0
            kept.append(step)
        return Answer(kept, self.head_size, how)

    def drip(self, pause=0.002, size=1, part="all"):
        """Send `size` bytes at a time, each after a pause in seconds (0: no pause, exact small pieces only)."""
        start, stop = self._range(part)
        steps, seen = [], 0
        for step in _recut(self.steps, range(start, stop, size)):
            if isinstance(step, bytes):
                steps += [pause] if pause and start <= seen < stop else []
                seen += len(step)
            steps.append(step)
        return Answer(steps, self.head_size, self.end)

    def _range(self, part):
        return {"head": (0, self.head_size), "body": (self.head_size, len(self.wire)), "all": (0, len(self.wire))}[part]


def _recut(steps, offsets):
    """Split byte steps at these offsets of the whole; Events and pauses stay where they are."""
    out, seen = [], 0
    for step in steps:
        if isinstance(step, bytes):
            inner = sorted({offset - seen for offset in offsets if seen < offset < seen + len(step)})
            out += [step[a:b] for a, b in zip([0] + inner, inner + [len(step)])]
            seen += len(step)
        else:
            out.append(step)
    return out


def reply(status=200, body=b"", headers=None, framing="length", length=None):
    """Make an answer with a body of bytes, str, dict (as compact JSON) or a list of pieces.

    `framing` is "length", "chunked" or "close"; `length` tells a wrong Content-Length (one that is too large ends the
    connection). The content type is JSON unless `headers` says otherwise; a header of value None is left out, one
    whose value is a list is repeated.
    """
    pieces = body if isinstance(body, list) else [_encode(body)] if body else []
    size = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    fields = {"Content-Type": "application/json; charset=utf-8"}
    if framing == "chunked":
        fields["Transfer-Encoding"] = "chunked"
        pieces = [b"%x\r\n%s\r\n" % (len(p), p) if isinstance(p, bytes) else p for p in pieces if p != b""]
        pieces.append(b"0\r\n\r\n")
    else:
        told = size if length is None else length
        fields.update({"Content-Length": told} if framing == "length" else {"Connection": "close"})
    given = {name.lower() for name in headers or {}}
    fields = dict({name: value for name, value in fields.items() if name.lower() not in given}, **(headers or {}))
    head = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Status')}"]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        head += [f"{name}: {each}" for each in values]
    start = "\r\n".join(head + ["", ""]).encode()
    return Answer([start] + pieces, len(start), "fin" if framing == "close" or (length or 0) > size else "keep")


def sse(events, framing="chunked", headers=None, status=200):
    """Make a stream of `text/event-stream`, each event one piece.

    `events` is a recorded stream as bytes (taken apart after its blank lines), or a list whose dict and str elements
    become `data:` lines with a blank line, while bytes, Events and pauses stay as they are.
    """
    if isinstance(events, bytes):
        events = re.findall(rb"(?s).+?(?:\n\n|\Z)", events)
    pieces = [b"data: %s\n\n" % _encode(event) if isinstance(event, (dict, str)) else event for event in events]
    return reply(status, pieces, dict({"Content-Type": "text/event-stream"}, **(headers or {})), framing)


def raw(data, end="fin"):
    """Answer with these very bytes (or list of pieces), HTTP or not."""
    return Answer(data if isinstance(data, list) else [data], end=end)


def drop(how="fin"):
    """End the connection without a byte of an answer: to a reused connection, a stale one met upon the request."""
    return Answer([], end=how)


def never():
    """Leave the request without an answer until the peer goes away or the server stops."""
    return lambda request, connection: connection.hold()


def oauth_reply(token="token-1", expires_in=1800.0, skew=0.0, date=None, form="oauth"):
    """Answer as the OAuth host does (`form="oauth"`) or as POST /token does (`form="token"`, expiry in seconds).

    The server's clock is `skew` seconds ahead of ours; `date=True` adds its Date header (recordings have none), a
    str is sent as it is.
    """
    now = time.time() + skew
    ends = now + expires_in
    body = {"access_token": token, "expires_at": int(ends * 1000)}
    if form == "token":
        body = {"tok": token, "exp": int(ends)}
    headers = {"Content-Type": "application/json", "Date": formatdate(now, usegmt=True) if date is True else date}
    return reply(200, body, headers)


class Request:
    """Remember one request: method, path (query included), headers (case-insensitive), body (bytes), `time`.

    `connection` is the number of its connection, from 1; `sni` and `peer_cert` are None without them. `time` is
    monotonic, taken when the request had been read.
    """

    def __init__(self, connection, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.connection, self.sni, self.peer_cert = connection.number, connection.sni, connection.peer_cert
        self.time = time.monotonic()

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))

    @property
    def form(self):
        return dict(parse_qsl(self.body.decode("ascii")))

    def __repr__(self):
        return f"<{self.method} {self.path} on connection {self.connection}>"


class Gone(Exception):
    """Says, inside a connection's thread, that the peer has left or the server stops; never a failure of the test."""


class Connection:
    """Serve one accepted socket in a thread of its own; handed to handlers as their second argument."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.sockets, self.peer_cert, self.closed = [sock], None, False
        self.file = sock.makefile("rb")

    @property
    def sni(self):
        return getattr(self.sock, "asked_name", None)

    def send(self, data):
        """Send these bytes at once, as one piece."""
        with _peer():
            self.sock.sendall(data)

    def hold(self, gate=None):
        """Wait for the Event `gate`; without one, until the peer closes. The server's stop ends both."""
        if gate is not None:
            return self.server._wait(gate)
        with _peer():
            while socket.socket.recv(self.sock, 65536):  # the plain socket's: not a TLS handshake by the way
                pass
        raise Gone

    def play(self, answer):
        """Send an answer, step by step."""
        for step in answer.steps:
            if isinstance(step, bytes):
                self.send(step)
            elif isinstance(step, threading.Event):
                self.hold(step)
            elif self.server._stopping.wait(step):
                raise Gone
        if answer.end != "keep":
            self.close(answer.end)

    def close(self, how="fin"):
        """End the connection; see the module's text for the ways."""
        if self.closed:
            return
        with contextlib.suppress(OSError, ValueError):  # the peer may have been quicker
            if how == "rst":
                _reset_on_close(self.sock)
            elif how == "fin" and isinstance(self.sock, ssl.SSLSocket):
                self.sock.settimeout(0)  # send close_notify, do not wait for the peer's
                self.sock.unwrap()
        self.closed = True
        self.file.close()
        self.sock.close()

    def run(self, fate):
        try:
            self._greet(fate)
            while self._serve():
                pass
        except Gone:
            pass
        except BaseException as error:  # an AssertionError of a handler too: the test's thread shall raise it
            self.server.errors.append(error)
            self.close("rst")
        finally:
            self.close()
            self.server._live.discard(self)

    def _greet(self, fate):
        if fate == "stall":
            self.hold()
        elif fate:
            with _peer():
                socket.socket.recv(self.sock, 65536)  # the peer finds the same whatever the order of events
            self.close(fate)
            raise Gone
        if isinstance(self.sock, ssl.SSLSocket):
            try:
                self.sock.do_handshake()
            except (OSError, ValueError) as error:
                self.server.tls_errors.append(error)
                raise Gone from error
            self.peer_cert = self.sock.getpeercert() or None

    def _serve(self):
        request = self._read()
        self.server.requests.append(request)
        answer = self.server._script(request, self)
        if answer is not None:
            self.play(answer)
        return not self.closed and "close" not in request.headers.get("Connection", "").lower()

    def _read(self):
        with _peer():
            line = self.file.readline(65537).decode("latin-1").split()
            if len(line) != 3 or not line[2].startswith("HTTP/"):  # the end, or something like TLS on a plain port
                raise Gone
            headers = http.client.parse_headers(self.file)
            if "chunked" in headers.get("Transfer-Encoding", ""):
                body = b"".join(iter(self._chunk, b""))
            else:
                body = self._exactly(int(headers.get("Content-Length", 0)))
        return Request(self, line[0], line[1], headers, body)

    def _chunk(self):
        data = self._exactly(int(self.file.readline(65537) or b"0", 16))
        self.file.readline()
        return data

    def _exactly(self, size):
        data = self.file.read(size)
        if len(data) < size:
            raise Gone
        return data


class Server:
    """Serve a script on a free port of 127.0.0.1, from construction to `stop()`; also a context manager.

    `context` is a server-side SSLContext. `greet` tells the fate of the first connections, one element each: None,
    "stall" (silence: a TLS handshake that never comes), "fin" or "rst" (ended upon the first bytes of the peer, before
    the handshake; no request is recorded). With `listening=False` it refuses connections until `listen()`.
    `requests`, `connections` (count), `open` (count), `tls_errors` (failed handshakes) and `errors` are there to read.
    """

    def __init__(self, script, *, context=None, greet=(), listening=True):
        self.requests, self.errors, self.tls_errors, self.connections = [], [], [], 0
        self._script, self._context, self._greet = _script(script), context, list(greet)
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._gates, self._live, self._threads = [], set(), []
        if context is not None:
            context.sni_callback = _remember_name
        self._listener = socket.socket()
        self._listener.bind((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self.url = self.at(LOOPBACK)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        if listening:
            self.listen()

    def listen(self):
        """Begin to take connections."""
        self._listener.listen(128)
        self._acceptor.start()

    def at(self, host):
        """Name the server's origin by another host, for the `resolve` fixture or a proxy."""
        return f"{'https' if self._context else 'http'}://{host}:{self.port}"

    @property
    def open(self):
        return len(self._live)

    def hang_up(self):
        """End every open connection now (no close_notify), return when they are closed: idle ones become stale."""
        live = self._shut_down()
        until(lambda: not self._live.intersection(live))

    def _shut_down(self):
        live = list(self._live)
        for connection in live:
            for sock in connection.sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's, which pulls the TLS away
        return live

    def stop(self):
        """Close everything, join every thread, then raise the first error of a handler."""
        if not self._stopping.is_set():
            with self._lock:
                self._stopping.set()
                for gate in self._gates:
                    gate.set()
            with contextlib.suppress(OSError):
                socket.create_connection((LOOPBACK, self.port), 1).close()  # wakes accept()
            if self._acceptor.ident is not None:
                self._acceptor.join(5)
            self._listener.close()
            self._shut_down()
            for thread in self._threads:
                thread.join(5)
        if self.errors:
            raise self.errors.pop(0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def _accept(self):
        while True:
            sock, _ = self._listener.accept()
            if self._stopping.is_set():
                return sock.close()
            self.connections += 1
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is not None:
                    sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:  # the peer has left already
                sock.close()
                continue
            connection = Connection(self, sock, self.connections)
            self._live.add(connection)
            fate = self._greet.pop(0) if self._greet else None
            thread = threading.Thread(target=connection.run, args=(fate,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wait(self, gate):
        with self._lock:
            self._gates.append(gate)
            if self._stopping.is_set():
                raise Gone
        gate.wait()
        if self._stopping.is_set():
            raise Gone


class Api(Server):
    """Serve a GigaChat-like host: OAuth at …/oauth and …/token, everything else by the script.

    `oauth` is a script for those two paths; by default the tokens are token-1, token-2 … for half an hour.
    `oauth_calls` counts them, `calls` lists the other requests.
    """

    def __init__(self, script, *, oauth=None, **options):
        self.oauth_calls = 0
        self._oauth, self._others = _script(oauth or self._token), _script(script)
        super().__init__(self._route, **options)
        self.base_url, self.auth_url = self.url + "/api/v1", self.url + "/api/v2/oauth"

    @property
    def calls(self):
        return [request for request in list(self.requests) if not _wants_token(request)]

    def _token(self, request, connection):
        form = "token" if request.path.endswith("/token") else "oauth"
        return oauth_reply(f"token-{self.oauth_calls}", form=form)

    def _route(self, request, connection):
        if not _wants_token(request):
            return self._others(request, connection)
        with self._lock:
            self.oauth_calls += 1
        return self._oauth(request, connection)


class ConnectProxy(Server):
    """Be an HTTP proxy that knows no name but loopback: CONNECT tunnels, and http:// addresses forwarded.

    `to` is where the names lead: None (127.0.0.1, the port asked for), a port, or a dict of host to port.
    `credentials` ("user:password") are required by 407; `refuse`, an Answer or handler, is given in place of a
    tunnel (`reply(502)`, `never()`); `drip` is the pause in seconds before each byte of the CONNECT answer. All may
    be changed in between. `targets` lists what was asked for, as "host:port".
    """

    def __init__(self, to=None, *, credentials=None, refuse=None, drip=0.0):
        self.to, self.credentials, self.refuse, self.drip, self.targets = to, credentials, refuse, drip, []
        super().__init__(self._forward)

    def _forward(self, request, connection):
        target = urlsplit(request.path if "://" in request.path else "//" + request.path)
        host, port = target.hostname, target.port or 80
        self.targets.append(f"{host}:{port}")
        if self.credentials is not None and request.headers["Proxy-Authorization"] != _basic(self.credentials):
            return reply(407, headers={"Proxy-Authenticate": 'Basic realm="proxy"'})
        if self.refuse is not None:
            return _script(self.refuse)(request, connection)
        port = self.to.get(host, port) if isinstance(self.to, dict) else self.to or port
        try:
            upstream = socket.create_connection((LOOPBACK, port))
        except OSError:
            return reply(502, "no such host here").close()
        with upstream:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sockets.append(upstream)
            self._join(request, connection, upstream, target)
        return None

    def _join(self, request, connection, upstream, target):
        with _peer():
            if request.method == "CONNECT":
                connection.play(raw(b"HTTP/1.1 200 Connection established\r\n\r\n", "keep").drip(self.drip))
            else:
                upstream.sendall(_origin_form(request, target))
                with upstream.makefile("rb", 0) as answer:
                    connection.send(answer.readline() + b"Connection: close\r\n")  # one request per connection here
            connection.close(relay(connection.sock, upstream))


def relay(client, upstream):
    """Carry bytes both ways until the upstream has ended; a reset on one side becomes a reset on the other."""
    flows = {client: upstream, upstream: client}
    while upstream in flows:
        for source in select.select(list(flows), [], [])[0]:
            try:
                data = source.recv(65536)
                flows[source].sendall(data)
                if not data:
                    flows.pop(source).shutdown(socket.SHUT_WR)
            except OSError:
                _reset_on_close(client)
                _reset_on_close(upstream)
                return "rst"
    return "fin"


def _origin_form(request, target):
    path = (target.path or "/") + ("?" + target.query if target.query else "")
    ours = ("proxy-", "connection", "transfer-", "content-length")
    lines = [f"{request.method} {path} HTTP/1.1", "Connection: close", f"Content-Length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if not name.lower().startswith(ours)]
    lines += ["", ""]
    return "\r\n".join(lines).encode("latin-1") + request.body


@contextlib.contextmanager
def refused():
    """Lend a port that refuses connections for as long as the block lasts."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))  # taken, but nobody listens
        yield sock.getsockname()[1]


def until(condition, timeout=5.0):
    """Wait for what another thread brings about; fail the test when it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain"
        time.sleep(0.001)


def _script(given):
    """Make a handler of an Answer, a list or a callable."""
    if isinstance(given, Answer):
        return lambda request, connection: given
    if callable(given):
        return given
    left, lock = list(given), threading.Lock()

    def take(request, connection):
        with lock:
            assert left, f"no answer left for {request!r}"
            answer = left.pop(0)
        return _script(answer)(request, connection)

    return take


@contextlib.contextmanager
def _peer():
    try:
        yield
    except OSError as error:
        raise Gone from error


def _encode(body):
    if isinstance(body, dict):
        body = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return body.encode("utf-8") if isinstance(body, str) else body


def _basic(credentials):
    return "Basic " + base64.b64encode(credentials.encode("utf-8")).decode("ascii")


def _wants_token(request):
    return request.path.partition("?")[0].endswith(("/oauth", "/token"))


def _reset_on_close(sock):
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _remember_name(sock, name, context):
    sock.asked_name = name
