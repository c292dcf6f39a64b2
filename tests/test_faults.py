"""Hold each call against each fault: what is raised, how often it was asked, what is left behind, and what comes next.

FAULTS is the specification. A cell is one fault met by one call: first whenever the call is sent, and then, where that
is sent again, once alone, which nobody notices. Between and after, the call works as if nothing had been.
Pauses between tries are noted instead of slept.
"""
from __future__ import annotations

import gzip
import itertools
import os
import time
from email.utils import formatdate
from typing import Any, Callable, NamedTuple

import pytest

from clients import new_client
from gigachat_lite import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    GigaChatException,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    RequestTimeout,
    ResponseError,
    ServerError,
    StreamError,
    TransportError,
    UnprocessableEntityError,
)
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, drop, never, oauth_reply, raw, reply, until

KEY = "MTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1OjY2NjY2NjY2LTc3Nzc="
MODELS = reply(body={"object": "list", "data": []})
MARGIN = 1.5  # seconds that a loaded machine may add
ALWAYS = 1 << 30

# The calls


class Ask(NamedTuple):
    """A call: its row of the retry rules, how its answer is read, what asks, the good answer, and what comes of it."""

    kind: str
    form: str  # json, stream, file or token
    path: str
    ask: Callable[..., Any]
    body: bytes
    value: Any

    def reply(self, body: Any = None, framing: str = "length", **more: Any) -> Any:
        """Make an answer of status 200, the good one unless a body is given."""
        types = {"stream": "text/event-stream", "file": "application/octet-stream"}
        kind = {"Content-Type": types.get(self.form, "application/json"), **more.pop("headers", {})}
        return reply(200, self.body if body is None else body, kind, framing, **more)


def read(stream):
    for _ in stream:
        pass
    return stream.text


def download(giga, path, **limits):
    size = giga.download_file("f-1", path, **limits)
    data = path.read_bytes()
    assert size == len(data)
    return data


def fetch(giga, path, **limits):
    giga.transport.tokens.drop(giga.token or "")
    return giga.get_token(**limits).access_token


V2_BODY = (
    b'event: response.message.delta\ndata: {"messages":[{"role":"assistant","content":[{"text":"1, 2"}]}]}\n\n'
    b'event: response.message.delta\ndata: {"messages":[{"role":"assistant","content":[{"text":", 3"}]}]}\n\n'
    b'event: response.message.done\ndata: {"finish_reason":"stop","usage":{"total_tokens":27}}\n\n'
)
FILE = b'"%PDF-1.7"\n' * 99
CALLS = {
    "chat": Ask("paid", "json", "/v1/chat/completions",
                lambda giga, path, **o: giga.chat("?", **o).choices[0].message.content, CHAT_BODY, CHAT_TEXT),
    "stream": Ask("paid", "stream", "/v1/chat/completions",
                  lambda giga, path, **o: read(giga.stream("?", **o)), STREAM_BODY, STREAM_TEXT),
    "v2 stream": Ask("paid", "stream", "/v2/chat/completions",
                     lambda giga, path, **o: read(giga.chat.stream("?", **o)), V2_BODY, "1, 2, 3"),
    "embeddings": Ask("paid", "json", "/v1/embeddings", lambda giga, path, **o: giga.embeddings("?", **o).data[0],
                      b'{"object":"list","data":[{"embedding":[0.5]}]}', {"embedding": [0.5]}),
    "upload": Ask("write", "json", "/v1/files", lambda giga, path, **o: giga.upload_file(("a.txt", b"a"), **o).id,
                  b'{"id":"f-1","object":"file","bytes":1,"filename":"a.txt"}', "f-1"),
    "download": Ask("read", "file", "/v1/files/f-1/content", download, FILE, FILE),
    "OAuth": Ask("read", "token", "/v2/oauth", fetch, oauth_reply("good").body, "good"),
}

# What is sent again, and what a status is raised as

NOT_SENT = {"refused", "dns", "connect timeout"}
SENT_AGAIN = {
    "read": NOT_SENT | {"lost", "stale", "read timeout", 429, 500, 502, 503, 504},
    "paid": NOT_SENT | {"stale", 429, 500, 503},
    "write": NOT_SENT | {429, 503},
}
RETRIES, LONGEST_WISH = 2, 60.0
STATUS = {
    400: BadRequestError, 401: AuthenticationError, 402: PaymentRequiredError, 403: ForbiddenError, 404: NotFoundError,
    413: RequestEntityTooLargeError, 418: ResponseError, 422: UnprocessableEntityError, 429: RateLimitError,
    **dict.fromkeys((500, 501, 502, 503, 504), ServerError),
}
GOOD = None  # what befalls a request that is answered


def course(call, words, wish=None, deadline=None):
    """List what the requests of a call meet, up to its last one: the words in turn, the last of them for ever.

    Nobody waits longer than a minute, nor beyond the deadline, for what the service wishes. A 401 is met with a new
    token once, which is no retry; there is none for the token itself.
    """
    patience = LONGEST_WISH if deadline is None else deadline
    met, tries, renewed = [], 0, call.form == "token"
    for word in itertools.chain(words, itertools.repeat(words[-1])):
        met.append(word)
        if word == 401 and not renewed:
            renewed = True
            continue
        tries += 1
        again = word in SENT_AGAIN[call.kind] and tries <= RETRIES
        if not again or (wish or 0) > patience:
            return met


def test_what_befalls_a_call_is_this():
    courses = [((GOOD,), 1, 1, 1), (("lost",), 1, 1, 3), ((503,), 3, 3, 3), ((504,), 1, 1, 3), ((500,), 3, 1, 3),
               (("stale", "lost"), 2, 1, 3), ((503, GOOD), 2, 2, 2), ((401,), 2, 2, 1), ((503, 401, 503), 4, 4, 2)]
    for words, *counts in courses:
        assert [len(course(CALLS[name], words)) for name in ("chat", "upload", "OAuth")] == counts
    assert course(CALLS["chat"], [429], wish=86400) == course(CALLS["chat"], [429], wish=5, deadline=4) == [429]


# The faults

SAME = object()


class Row(NamedTuple):
    """A fault: what the server does, the retry rules' word (a tuple: for each try in turn), and what comes of the call.

    No answer at all is a port where nobody listens. What comes of it is a class of error or a value, GOOD for the
    call's own; a word that is a status has its class. "begun" is whatever comes after the first byte of the answer,
    "odd" an answer that came whole and is none, "late" the end of a deadline: none of them is ever sent again.
    """

    answer: Callable[[Ask], Any] | None
    word: Any
    error: Any = GOOD
    stream: Any = SAME  # where it is another for streams
    file: Any = SAME  # and for downloads
    timeout: float | None = None  # seconds: for each wait
    deadline: float | None = None  # and for the whole
    wish: float | None = None  # the seconds of a Retry-After
    warm: Any = False  # on a connection that has served before; "closed": which the server has closed since
    either: bool = False  # whether the connection goes back is neither here nor there
    roads: tuple[str, ...] = ()  # beside the plain one, where it may differ

    @property
    def words(self):
        return self.word if isinstance(self.word, tuple) else (self.word,)

    def outcome(self, call, last):
        if last is GOOD:
            return call.value
        if isinstance(last, int) and last >= 400:
            return STATUS[last]
        found = {"stream": self.stream, "file": self.file}.get(call.form, SAME)
        found = self.error if found is SAME else found
        return call.value if found is GOOD else found


def status(code, **headers):
    return lambda call: reply(code, {"status": code, "message": "m"}, {"X-Request-ID": "r-1", **headers})


def flood(head, piece, times):
    """Send without an end, as far as the peer is concerned, and without holding it all in memory."""
    def handler(request, connection):
        connection.send(head)
        for _ in range(times):
            connection.send(piece)

    return handler


def silent(answer, at):
    """Send so many bytes of an answer, and then neither an end nor anything else until the peer closes."""
    def handler(request, connection):
        connection.send(answer.wire[:answer.head_size + at])
        connection.hold()

    return handler


def after(head):
    return lambda call: raw(head + call.reply().wire, end="keep")


def half(call):
    return len(call.body) // 2


def holding(call, value):
    return call.reply(b"data: %s\n\n" % value if call.form == "stream" else value)


def busy(wish, seconds, code=429):
    return Row(status(code, **{"Retry-After": wish, "Date": formatdate(NOW, usegmt=True)}), code, wish=seconds)


NOW, MB = int(time.time()), b"x" * (1 << 20)
INVALID = {call.body: call.body.replace(b'"', b'"\xff', 1) for call in CALLS.values()}
ALL = ("tls", "rude", "proxy")  # rude: TLS that ends without a close_notify
FAULTS = {
    # the connection
    "refused": Row(None, "refused", TransportError, roads=("tls",)),
    "closed before the answer": Row(lambda call: drop(), "lost", TransportError, roads=ALL),
    "reset before the answer": Row(lambda call: drop("rst"), "lost", TransportError, roads=("tls", "proxy")),
    "closed in the headers": Row(lambda call: call.reply().cut(30, part="head"), "begun", TransportError,
                                 roads=("tls", "proxy")),
    "reset in the headers": Row(lambda call: call.reply().cut(30, "rst", part="head"), "lost", TransportError,
                                roads=("tls", "proxy")),
    "idle, closed by the server": Row(Ask.reply, GOOD, warm="closed", roads=ALL),
    "closed upon the next request": Row(lambda call: drop(), ("stale", "lost"), TransportError, warm=True, roads=ALL),
    "reset upon the next request": Row(lambda call: drop("rst"), ("stale", "lost"), TransportError, warm=True,
                                       roads=("tls", "proxy")),
    # the body
    "cut body": Row(lambda call: call.reply().cut(half(call)), "begun", TransportError, StreamError, roads=ALL),
    "reset body": Row(lambda call: call.reply().cut(half(call), "rst"), "begun", TransportError, StreamError,
                      roads=("tls", "proxy")),
    "cut chunk": Row(lambda call: call.reply(framing="chunked").cut(half(call)), "begun", TransportError, StreamError,
                     roads=ALL),
    "no last chunk": Row(lambda call: call.reply(framing="chunked").cut(len(call.body) + 6), "begun", TransportError,
                         GOOD),
    "length too long": Row(lambda call: call.reply(length=len(call.body) + 9), "begun", TransportError, GOOD,
                           roads=ALL),
    "length too short": Row(lambda call: call.reply(length=half(call)), "odd", ResponseError, StreamError,
                            file=FILE[:len(FILE) // 2], either=True),
    "truncated gzip": Row(lambda call: call.reply(gzip.compress(call.body)[:-40], headers={"Content-Encoding": "gzip"}),
                          "begun", ResponseError, either=True),
    "invalid UTF-8": Row(lambda call: call.reply(INVALID[call.body]), "odd", ResponseError, StreamError,
                         file=INVALID[FILE], either=True),
    "100 MB line": Row(lambda call: flood(call.reply(length=100 << 20).head, MB, 100), "odd", ResponseError,
                       StreamError, file=MB * 100, timeout=5),
    # what is no HTTP
    "garbage": Row(lambda call: raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "begun", TransportError, roads=("tls", "proxy")),
    "binary garbage": Row(lambda call: raw(bytes(range(256)) * 9), "begun", TransportError),
    "100 MB line in the headers": Row(lambda call: flood(b"HTTP/1.1 200 OK\r\nX: ", MB, 100), "begun", TransportError),
    "endless header": Row(lambda call: flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 999, 9999), "begun",
                          TransportError),
    # time
    "dripping body": Row(lambda call: call.reply().drip(0.02, part="body"), "late", RequestTimeout, deadline=0.1,
                         warm=True, roads=("tls", "proxy")),
    "dripping chunk": Row(lambda call: call.reply(framing="chunked").drip(0.02, part="body"), "late", RequestTimeout,
                          deadline=0.1, warm=True),
    "slow, but in time": Row(lambda call: call.reply().drip(0.005, len(call.body) // 3), GOOD),
    "silence": Row(lambda call: never(), "read timeout", RequestTimeout, timeout=0.04, roads=("tls", "proxy")),
    "silence and a deadline": Row(lambda call: never(), "late", RequestTimeout, deadline=0.1, warm=True,
                                  roads=("tls", "proxy")),
    "silence in the body": Row(lambda call: silent(call.reply(), half(call)), "begun", RequestTimeout, timeout=0.1,
                               roads=("tls", "proxy")),
    # statuses
    "204": Row(lambda call: reply(204, headers={"Content-Length": None}), 204, ResponseError),
    "302": Row(status(302, Location="http://127.0.0.1:9/"), 302, ResponseError),
    "307 without a place": Row(status(307), 307, ResponseError),
    "200, a page": Row(lambda call: reply(200, "<p>Blocked</p>", {"Content-Type": "text/html"}), "odd", ResponseError),
    "200, empty": Row(lambda call: call.reply(b""), "odd", ResponseError, StreamError, file=b"", either=True),
    "200, a list": Row(lambda call: holding(call, b"[]"), "odd", ResponseError, StreamError, file=b"[]",
                       either=True),
    "200 that says 429": Row(lambda call: reply(200, {"status": 429, "message": "m"}), 429),
    "401 for ever": Row(status(401), 401),
    "401 between others": Row(lambda call: [status(code)(call) for code in (503, 401, 503)], (503, 401, 503)),
    **{str(code): Row(status(code), code) for code in STATUS if code != 401},
    # Retry-After
    "Retry-After 0": busy("0", 0.0),
    "Retry-After 5": busy("5", 5.0),
    "Retry-After a date": busy(formatdate(NOW + 30, usegmt=True), 30.0),
    "Retry-After a past date": busy(formatdate(NOW - 30, usegmt=True), 0.0),
    "Retry-After 86400": busy("86400", 86400.0),
    "Retry-After 86400 of a 503": busy("86400", 86400.0, 503),
    "Retry-After 5, more than is left": busy("5", 5.0)._replace(deadline=4.0),
    "Retry-After inf": busy("inf", None),
    "Retry-After nonsense": busy("soon", None),
}


# A cell


class Cell:
    """A client of a server where one call meets the fault, `left` times more."""

    def __init__(self, fault, name, road, path):
        self.row, self.call, self.road, self.path = FAULTS[fault], CALLS[name], road, path
        self.left = self.met = 0
        self.ahead, self.pauses = 0.0, []

    def answer(self, request, connection):
        """Serve the call; `met` counts the faults that it has met since they began."""
        if not request.path.endswith(self.call.path):
            return MODELS
        if not self.left:
            return self.call.reply()
        answer = self.row.answer(self.call)
        answer = answer[min(self.met, len(answer) - 1)] if isinstance(answer, list) else answer
        self.left, self.met = self.left - 1, self.met + 1
        if callable(answer):
            return answer(request, connection)
        return answer.close("rude") if self.road == "rude" and answer.end == "fin" else answer

    def open(self, api, proxy, certs):
        """Start the server, the proxy and the client."""
        tls, token = self.road != "plain", self.call.form == "token"
        self.host = api(self.answer, oauth=self.answer if token else None, context=certs.context() if tls else None,
                        listening=self.row.answer is not None)
        self.between = proxy() if self.road == "proxy" else None
        self.files = open_files()
        self.giga = new_client(
            base_url=self.host.base_url, auth_url=self.host.auth_url, credentials=KEY, timeout=(5, 5),
            access_token=None if token else "t", max_connections=1, pool_timeout=0.1,
            ca_bundle_file=str(certs.ca_pem) if tls else None, proxy=self.between and self.between.url)
        self.giga.transport.sleep = self.pauses.append
        self.giga.transport.tokens._clock = lambda: time.monotonic() + self.ahead
        return self

    def warm(self):
        """Make a connection, as the row wants it."""
        self.giga.get_models(headers={"Authorization": "Bearer t"})
        if self.row.warm == "closed":
            self.host.hang_up()
            until(lambda: not self.between or not self.between.open)

    def asked(self):
        return [request for request in list(self.host.requests) if request.path.endswith(self.call.path)]

    def meet(self, times):
        """Make the call with the fault to be met so many times, and hold it to the table; give the requests."""
        row, call, before = self.row, self.call, len(self.asked())
        self.left, self.met = times, 0
        del self.pauses[:]
        if call.form == "file":
            self.path.write_bytes(b"old")
        words = row.words if times == ALWAYS else (row.words[0], GOOD)
        met = course(call, words, row.wish, row.deadline)
        self.giga.config["timeout"] = (5, row.timeout or 5)
        began, limits = time.monotonic(), {"deadline": row.deadline} if row.deadline else {}
        try:
            got = call.ask(self.giga, self.path, **limits)
        except GigaChatException as error:  # whatever else is raised fails the test
            got = error
        assert time.monotonic() - began < (row.deadline or (row.timeout or 0) * len(met)) + MARGIN
        self.left = 0
        requests = len(met) if row.answer else 0
        until(lambda: len(self.asked()) >= before + requests)  # the last may not have been read yet
        asked = self.asked()[before:]
        assert len(asked) == requests, got
        assert len({request.body for request in asked}) <= 1
        self.look_at(got, row.outcome(call, met[-1]))
        self.look_at_pauses([word for word in met[:-1] if word != 401])
        self.look_at_connections(met[-1], got)
        return asked

    def look_at(self, got, wanted):
        """Hold what came of the call to what was to come of it."""
        if not isinstance(wanted, type):
            assert got == wanted
            return
        assert type(got) is wanted and wanted.__module__.startswith("gigachat_lite"), got
        assert len(str(got).splitlines()) == 1
        if self.call.form == "stream":
            assert self.call.value.startswith(got.partial if wanted is StreamError else got.partial or "")
        if self.row.wish is not None:
            assert got.retry_after == self.row.wish
        if self.call.form == "file":
            assert self.path.read_bytes() == b"old"
        assert len(list(self.path.parent.iterdir())) == (self.call.form == "file")

    def look_at_pauses(self, words):
        """Hold the pauses between tries to the service's wish, to none after a stale connection, or to doubling."""
        for tries, (word, pause) in enumerate(zip(words, self.pauses)):
            if self.row.wish is not None:
                assert pause == self.row.wish
            else:
                assert pause == 0 if word == "stale" else 0.25 <= pause / 2 ** tries <= 0.5
        assert len(self.pauses) == len(words)

    def look_at_connections(self, last, got):
        """See that the connection went back if the answer came whole, else was closed, and that the place is free."""
        whole = last in (GOOD, "odd") or isinstance(last, int)
        fine = (0, 1) if self.row.either else (int(whole and not isinstance(got, StreamError)),)
        for server in filter(None, (self.host, self.between)):
            until(lambda server=server: server.open in fine)
        assert self.giga.transport.limiter.free.qsize() == 1

    def goes_on(self):
        """See that the call works, on the connection that is there or on a new one."""
        self.ahead += 2  # a failure to fetch a token is remembered for a second
        self.giga.config["timeout"] = (5, 5)
        if self.row.answer is None:
            self.host.listen()
        connections, there = self.host.connections, self.host.open
        assert self.call.ask(self.giga, self.path) == self.call.value
        assert self.host.connections == connections + (not there) or self.row.either

    def end(self):
        """See that nothing is left open."""
        self.giga.close()
        until(lambda: self.host.open == 0 and not (self.between and self.between.open))
        assert open_files() == self.files


def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def cells():
    """List all cells. In every run is one of those that expect the same of a fault, each call in its turn.

    It is tried on one road beside the plain one.
    """
    for number, (fault, row) in enumerate(FAULTS.items()):
        turn, known = number % len(CALLS), set()
        for name in [*CALLS][turn:] + [*CALLS][:turn]:
            call = CALLS[name]
            met = course(call, row.words, row.wish, row.deadline)
            wanted = row.outcome(call, met[-1])
            way = "json" if call.form == "token" or met[-1] != "begun" else call.form
            expected = len(met), wanted if isinstance(wanted, type) else GOOD, way
            new = expected not in known and not (fault == "100 MB line" and call.form != "stream")
            roads = {"plain"} if known else {"plain", *row.roads[number % max(len(row.roads), 1):][:1]}
            known.add(expected)
            for road in ("plain", *row.roads):
                marks = [] if new and road in roads else [pytest.mark.long]
                yield pytest.param(fault, name, road, id="-".join((fault, name, road)), marks=marks)


@pytest.mark.parametrize("fault, name, road", list(cells()))
def test_a_call_meets(api, proxy, certs, tmp_path, fault, name, road):
    cell = Cell(fault, name, road, tmp_path / "file").open(api, proxy, certs)
    if cell.row.warm:
        cell.warm()
    requests = cell.meet(ALWAYS)
    cell.goes_on()
    if len(requests) > 1:
        if not cell.row.warm:
            cell.giga.close()  # the fault meets a new connection, as before
        cell.meet(1)
        cell.goes_on()
    cell.end()


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name == "upload" else [pytest.mark.long]) for name in CALLS])
def test_a_server_that_listens_at_last_is_reached_by(api, proxy, certs, tmp_path, name):
    cell = Cell("refused", name, "plain", tmp_path / "file").open(api, proxy, certs)

    def sleep(pause):
        cell.pauses.append(pause)
        if len(cell.pauses) == RETRIES:
            cell.host.listen()

    cell.giga.transport.sleep = sleep
    assert cell.call.ask(cell.giga, cell.path) == cell.call.value
    assert (len(cell.asked()), len(cell.pauses)) == (1, RETRIES)
    cell.end()
