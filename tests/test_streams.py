"""Hold streamed answers to their promise on real sockets: whole, or an error with what came; prompt; nothing held."""
from __future__ import annotations

import contextlib
import gc
import json
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import (
    CHAT_BODY,
    CHAT_TEXT,
    STREAM_BODY,
    STREAM_TEXT,
    STREAM_TEXTS,
    Answer,
    drop,
    raw,
    reply,
    sse,
    until,
)

from gigachat_lite import (
    AuthenticationError,
    ChatCompletion,
    ForbiddenError,
    GigaChat,
    NotFoundError,
    RateLimitError,
    RequestTimeout,
    ResponseError,
    ServerError,
    StreamError,
    TransportError,
    UnprocessableEntityError,
)

FRAMINGS = ["chunked", "length", "close"]
ROADS = ["plain", "tls", "proxy"]
EVENT_STREAM = {"Content-Type": "text/event-stream"}
EVENTS = [event + b"\n\n" for event in STREAM_BODY.split(b"\n\n")[:-1]]  # the last is [DONE]


@pytest.fixture
def client():
    """Make clients of a server that never pause before a retry, and close them at the end."""
    with contextlib.ExitStack() as stack:

        def make(running, **settings):
            given = dict(access_token="token", timeout=5, env_file=False, environ={}, trust_env=False)
            given.update({"base_url": running.url + "/api/v1", **settings})
            giga = stack.enter_context(GigaChat(**given))
            giga._transport.sleep = lambda seconds: None
            return giga

        yield make


@pytest.fixture
def open_road(server, proxy, certs, client):
    """Start a server and a client on a plain connection, on TLS, or on TLS through a CONNECT proxy."""

    def start(road, script, **settings):
        if road == "plain":
            running = server(script)
            return running, client(running, **settings)
        running = server(script, context=certs.context())
        through = {"proxy": proxy(running.port).url} if road == "proxy" else {}
        return running, client(running, ca_bundle_file=str(certs.ca_pem), **through, **settings)

    return start


def delta(content=None, **more):
    return {"choices": [dict({"delta": {} if content is None else {"content": content}, "index": 0}, **more)]}


def held(events, framing="chunked"):
    """Send events, and neither an end nor anything else until the peer closes."""
    answer = sse(events, framing, {"Content-Length": 99999} if framing == "length" else None)
    steps = answer.steps[:-1] if framing == "chunked" else answer.steps

    def handler(request, connection):
        connection.play(Answer(steps, answer.head_size))
        connection.hold()

    return handler


def read(stream):
    return "".join(chunk.choices[0].delta.content for chunk in stream)


def fails(stream, kind=StreamError):
    """Read a stream to its error, check that it stays one, and give the text and the error."""
    got = []
    with pytest.raises(kind) as caught:
        for chunk in stream:
            got.append(chunk.choices[0].delta.content)
    text, error = "".join(got), caught.value
    assert error.partial == text == stream.text and stream.completion is None
    for _ in range(2):
        with pytest.raises(kind) as again:
            next(stream)
        assert again.value.partial == text
    return text, error


def in_thread(work):
    """Run a call in another thread and give its future."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def is_reading(name):
    """Tell whether a thread of this name is waiting in a read of its socket."""
    idents = [thread.ident for thread in threading.enumerate() if thread.name == name]
    frame = sys._current_frames().get(idents[0]) if idents else None
    while frame is not None and frame.f_code.co_name != "readinto":
        frame = frame.f_back
    return frame is not None


# The bytes of a stream


@pytest.mark.parametrize("framing", FRAMINGS + ["a chunk each"])
def test_a_recorded_stream_arrives_whole_one_byte_at_a_time(server, client, framing):
    pieces = [STREAM_BODY[i : i + 1] for i in range(len(STREAM_BODY))]
    answer = sse(pieces) if framing == "a chunk each" else sse(STREAM_BODY, framing).drip(0)
    stream = client(server(answer)).stream("Посчитай до трёх")
    assert tuple(chunk.choices[0].delta.content for chunk in stream) == STREAM_TEXTS
    assert (stream.text, stream.finish_reason, stream.usage.total_tokens) == (STREAM_TEXT, "stop", 59)


def with_line_ends(end):
    return STREAM_BODY.replace(b"\n", end)


def with_content(text):
    return b"".join(b"data: %s\n\n" % json.dumps(event, ensure_ascii=False).encode() for event in [delta(text)]) + EVENTS[-1]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    "body, text",
    [
        (with_line_ends(b"\r\n"), STREAM_TEXT),
        (with_line_ends(b"\r"), STREAM_TEXT),
        (b"\xef\xbb\xbf" + STREAM_BODY, STREAM_TEXT),
        (b"\n\n" + STREAM_BODY, STREAM_TEXT),
        (STREAM_BODY.replace(b"data: ", b"data:"), STREAM_TEXT),
        (STREAM_BODY.replace(b"data: ", b": ping\n\nid: 1\nretry: 5\nevent: message\ndata: "), STREAM_TEXT),
        (STREAM_BODY.replace(b',"created"', b'\ndata: ,"created"'), STREAM_TEXT),
        (with_content("a\u2028b\u2029c\x85d\x7f\ufeff"), "a\u2028b\u2029c\x85d\x7f\ufeff"),
        (with_content("\x0b\x0c\x1c\r\n\x00"), "\x0b\x0c\x1c\r\n\x00"),
        (with_content("дом \U0001f600"), "дом \U0001f600"),
        (STREAM_BODY + EVENTS[0], STREAM_TEXT),
        (STREAM_BODY[:-1], STREAM_TEXT),
        (STREAM_BODY[:-2], STREAM_TEXT),
    ],
    ids=["crlf", "cr", "mark", "blank lines", "no space", "fields", "several lines", "like line ends", "escaped"]
    + ["cut letters", "after done", "one line end", "no line end"],
)
def test_every_way_to_write_a_stream_gives_its_text(server, client, framing, body, text):
    stream = client(server(sse(body, framing).drip(0, size=3, part="body"))).stream("x")
    assert read(stream) == stream.text == text and stream.completion.choices[0].message.content == text


def chunked(data):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in re.findall(b"(?s).+?(?:\n\n|$)", data))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
SIZE = len(STREAM_BODY)
CUTS = {  # what the server sends before it closes, when it was to send so many bytes of the body
    "chunked, cut": lambda at: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(STREAM_BODY)[:at],
    "chunked, ended": lambda at: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(STREAM_BODY[:at]) + b"0\r\n\r\n",
    "close": lambda at: HEAD + b"Connection: close\r\n\r\n" + STREAM_BODY[:at],
    "length": lambda at: HEAD + b"Content-Length: %d\r\n\r\n" % SIZE + STREAM_BODY[:at],
}


def arrived(way, at):
    """Tell how many events a cut leaves whole, and whether the end of the stream is among what is left."""
    if way != "chunked, cut":
        left = STREAM_BODY[:at]
        return left.count(b"\n\n", 0, SIZE - 2), len(left) >= SIZE - (1 if way == "length" else 2)
    wire = chunked(STREAM_BODY)
    ends = [match.end() for match in re.finditer(b"\n\n", wire)]
    return sum(end <= at for end in ends[:-1]), at >= ends[-1] - 1


class Cutter:
    """Answer every request with these bytes and close; far cheaper than a Server, for thousands of connections."""

    def __init__(self):
        self.answer, self.requests = b"", 0
        self._listener = socket.create_server(("127.0.0.1", 0)) if sys.version_info >= (3, 8) else socket.socket()
        if sys.version_info < (3, 8):
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen(8)
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
