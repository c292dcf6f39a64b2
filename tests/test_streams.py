"""Hold streamed answers to their promise on real sockets: whole, or an error with what came; prompt; nothing held."""
from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time

import pytest

from clients import crossed
from gigachat_lite import (
    AuthenticationError,
    ForbiddenError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    StreamError,
    TransportError,
    UnprocessableEntityError,
)
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, STREAM_TEXTS, Answer, drop, raw, reply, sse, until
from streaming import EVENTS, FRAMINGS, ROADS, SOME, fails, held, new_client, read, roads


@pytest.fixture
def client():
    with contextlib.ExitStack() as stack:
        yield lambda running=None, **settings: stack.enter_context(new_client(running, **settings))


@pytest.fixture
def open_road(server, proxy, certs, client):
    return roads(server, proxy, certs, client)


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
    event = {"choices": [{"delta": {"content": text}, "index": 0}]}
    return b"data: %s\n\n" % json.dumps(event, ensure_ascii=False).encode() + EVENTS[-1]


WAYS_TO_WRITE = [
    pytest.param(body, text, id=name) for name, body, text in [
        ("crlf", with_line_ends(b"\r\n"), STREAM_TEXT),
        ("cr", with_line_ends(b"\r"), STREAM_TEXT),
        ("mark", b"\xef\xbb\xbf" + STREAM_BODY, STREAM_TEXT),
        ("blank lines", b"\n\n" + STREAM_BODY, STREAM_TEXT),
        ("no space", STREAM_BODY.replace(b"data: ", b"data:"), STREAM_TEXT),
        ("fields", STREAM_BODY.replace(b"data: ", b": ping\n\nid: 1\nretry: 5\nevent: message\ndata: "), STREAM_TEXT),
        ("several lines", STREAM_BODY.replace(b',"created"', b'\ndata: ,"created"'), STREAM_TEXT),
        ("like line ends", with_content("a\u2028b\u2029c\x85d\x7f\ufeff"), "a\u2028b\u2029c\x85d\x7f\ufeff"),
        ("escaped", with_content("\x0b\x0c\x1c\r\n\x00"), "\x0b\x0c\x1c\r\n\x00"),
        ("cut letters", with_content("дом \U0001f600"), "дом \U0001f600"),
        ("after done", STREAM_BODY + EVENTS[0], STREAM_TEXT),
        ("one line end", STREAM_BODY[:-1], STREAM_TEXT),
        ("no line end", STREAM_BODY[:-2], STREAM_TEXT),
    ]
]


# The framing matters where the bytes end; what is within them is the same for each.
@crossed("framing, body, text", FRAMINGS, WAYS_TO_WRITE, often=lambda framing, body, text: (
    framing == "chunked" or body in (STREAM_BODY[:-1], STREAM_BODY[:-2], STREAM_BODY + EVENTS[0])))
def test_every_way_to_write_a_stream_gives_its_text(server, client, framing, body, text):
    stream = client(server(sse(body, framing).drip(0, size=3, part="body"))).stream("x")
    assert read(stream) == stream.text == text and stream.completion.choices[0].message.content == text


def chunked(data):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in re.findall(b"(?s).+?(?:\n\n|$)", data))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZE = len(STREAM_BODY)
CUTS = {  # what the server sends before it closes, when it was to send so many bytes of the body
    "chunked, cut": lambda at: CHUNKED + chunked(STREAM_BODY)[:at],
    "chunked, ended": lambda at: CHUNKED + chunked(STREAM_BODY[:at]) + b"0\r\n\r\n",
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


def cuts(way, every):
    """List the positions to try: all, or some (others for each way) and those round the ends of events."""
    whole = chunked(STREAM_BODY) if way == "chunked, cut" else STREAM_BODY
    ends = {match.start() + near for match in re.finditer(b"\n\n", whole) for near in range(-1, 5)}
    first = 0 if every == 1 else list(CUTS).index(way)
    return sorted(ends.intersection(range(len(whole) + 1)).union(range(first, len(whole) + 1, every)))


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", list(CUTS))
def test_a_cut_anywhere_gives_the_exact_text_or_an_error_with_the_exact_beginning(server, client, way, every):
    wire = []
    running = server(lambda request, connection: raw(wire[-1], "keep" if way == "chunked, ended" else "fin"))
    giga = client(running, max_connections=1)
    for at in cuts(way, every):
        wire.append(CUTS[way](at))
        whole, done = arrived(way, at)
        stream = giga.stream("x")
        if done:
            assert read(stream) == STREAM_TEXT and stream.completion, at
        else:
            assert fails(stream)[0] == "".join(STREAM_TEXTS[:whole]), at
    assert len(running.requests) == len(wire)  # and nothing was sent again


@crossed("how, framing, road", ["fin", "rude", "rst"], FRAMINGS, ["tls", "proxy"], often=lambda how, framing, road: (
    road == "tls" or framing == "chunked"))
def test_a_cut_on_tls_is_an_early_end_as_well(open_road, road, framing, how):
    gate = threading.Event()
    first, rest = EVENTS[:2], EVENTS[2:]
    answer = sse(first + [gate] + rest, framing, {"Content-Length": SIZE} if framing == "length" else None)
    cut = Answer(answer.steps[: answer.steps.index(gate) + 1], answer.head_size, how)
    running, giga = open_road(road, cut, max_connections=1)
    stream = giga.stream("x")
    assert [next(stream).choices[0].delta.content for _ in first] == list(STREAM_TEXTS[:2])
    gate.set()
    with pytest.raises(StreamError) as caught:
        next(stream)
    assert caught.value.partial == "".join(STREAM_TEXTS[:2]) and len(running.requests) == 1


@crossed("how, framing", ["fin", "rude", "rst"], FRAMINGS, often=lambda how, framing: (
    how == "fin" or framing == "length"))
def test_whatever_follows_done_harms_nothing(open_road, framing, how):
    gate = threading.Event()
    answer = sse(EVENTS + [gate], framing, {"Content-Length": 9999} if framing == "length" else None)
    steps = answer.steps[: answer.steps.index(gate) + 1]
    _, giga = open_road("tls", [Answer(steps, answer.head_size, how), reply(body=CHAT_BODY)])
    stream = giga.stream("x")
    texts = [next(stream).choices[0].delta.content for _ in STREAM_TEXTS]
    gate.set()
    assert list(stream) == [] and "".join(texts) == stream.completion.choices[0].message.content == STREAM_TEXT
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


# When it arrives, and what becomes of the connection


@crossed("road, framing", ROADS, FRAMINGS, often=lambda *row: row in SOME)
def test_an_event_is_delivered_before_the_next_one_is_sent(open_road, road, framing):
    gates = [threading.Event() for _ in EVENTS]
    _, giga = open_road(road, sse([step for pair in zip(EVENTS, gates) for step in pair], framing))
    with giga.stream("x") as stream:
        for gate, text in zip(gates, STREAM_TEXTS):
            assert next(stream).choices[0].delta.content == text
            gate.set()
        assert list(stream) == [] and stream.completion


@crossed("road, framing", ROADS, FRAMINGS, often=lambda *row: "plain" in row or "chunked" in row or row in SOME)
def test_three_streams_and_three_calls_share_a_connection_where_the_framing_allows(open_road, road, framing):
    chat = reply(body=CHAT_BODY, framing=framing)
    running, giga = open_road(road, [chat, chat, chat] + [sse(STREAM_BODY, framing)] * 3 + [chat], max_connections=1)
    for _ in range(3):
        assert giga.chat("x").choices[0].message.content == CHAT_TEXT
    for _ in range(3):
        assert read(giga.stream("x")) == STREAM_TEXT
    assert giga.chat("x") == json.loads(CHAT_BODY.decode())
    assert running.connections == (7 if framing == "close" else 1)


@crossed("road, framing", ROADS, FRAMINGS, often=lambda *row: row in SOME)
def test_done_ends_a_stream_at_once_and_a_socket_held_open_is_closed(open_road, road, framing):
    running, giga = open_road(road, [held(EVENTS, framing), reply(body=CHAT_BODY)], max_connections=1, timeout=8)
    began = time.monotonic()
    assert read(giga.stream("x")) == STREAM_TEXT and time.monotonic() - began < 5
    until(lambda: running.open == 0)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT and running.connections == 2


@pytest.mark.parametrize("pause", [0, 0.005])
def test_a_server_that_goes_on_after_done_holds_nobody(server, client, pause):
    def goes_on(request, connection):
        connection.play(Answer(sse(EVENTS).steps[:-1]))
        end = time.monotonic() + 3
        while time.monotonic() < end:
            time.sleep(pause)
            connection.send(b"8\r\n: ping\n\n\r\n")

    running = server([goes_on, reply(body=CHAT_BODY)])
    giga = client(running, timeout=8)
    began = time.monotonic()
    assert read(giga.stream("x")) == STREAM_TEXT and time.monotonic() - began < 2
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT and running.connections == 2


def test_a_stream_outlives_the_closing_of_its_client(server, client):
    gate = threading.Event()
    running = server([sse(EVENTS[:1] + [gate] + EVENTS[1:])])
    giga = client(running)
    stream = giga.stream("x")
    texts = [next(stream).choices[0].delta.content]
    giga.close()
    gate.set()
    assert texts + [chunk.choices[0].delta.content for chunk in stream] == list(STREAM_TEXTS)


# Sent again or not


def test_a_refused_connection_is_tried_again_and_nothing_is_repeated(client):
    pauses = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # taken, but nobody listens yet

        def serve():
            with listener.accept()[0] as sock:
                while not sock.recv(65536).endswith(b"}"):
                    pass
                sock.sendall(sse(STREAM_BODY, "close").wire)

        def pause(seconds):
            pauses.append(seconds)
            listener.listen(1)
            threading.Thread(target=serve).start()

        giga = client(None, base_url="http://127.0.0.1:%d" % listener.getsockname()[1])
        giga.transport.sleep = pause
        assert read(giga.stream("x")) == STREAM_TEXT and len(pauses) == 1


BUSY = {"status": 429, "message": "Too many requests"}
LOST = {"status": 404, "message": "Not here"}


@pytest.mark.parametrize(
    "before, requests",
    [([reply(503)], 2), ([reply(429, BUSY), reply(500)], 3), ([reply(200, BUSY)], 2), ([reply(200, BUSY)] * 2, 3)],
    ids=["503", "429 and 500", "200 that says 429", "200 that says 429 twice"],
)
def test_an_error_before_the_stream_is_tried_again_and_nothing_is_repeated(server, client, before, requests):
    running = server(before + [sse(STREAM_BODY)])
    stream = client(running, max_connections=1).stream("x")
    assert len(running.requests) == requests
    assert tuple(chunk.choices[0].delta.content for chunk in stream) == STREAM_TEXTS
    assert len(running.requests) == requests and len({request.body for request in running.requests}) == 1


def test_a_reused_connection_closed_upon_the_request_is_tried_again(server, client):
    running = server([sse(STREAM_BODY), drop(), sse(STREAM_BODY)])
    giga = client(running)
    assert read(giga.stream("x")) == read(giga.stream("x")) == STREAM_TEXT
    assert [request.connection for request in running.requests] == [1, 1, 2]


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("part, at", [("all", 1), ("head", 40), ("body", 0), ("body", 1), ("body", 99), ("body", 700)])
def test_nothing_is_sent_again_after_the_first_byte(server, client, part, at, how):
    running = server(sse(STREAM_BODY).cut(at, how, part))
    with pytest.raises((TransportError, ResponseError)):  # the head may end so that it looks like an empty answer
        read(client(running, max_retries=5).stream("x"))
    assert len(running.requests) == 1


# What is known before the stream begins


EVENT_STREAM = {"Content-Type": "text/event-stream"}
PAGE = reply(200, "<html><b>Доступ</b> закрыт</html>", {"Content-Type": "text/html"})
REFUSALS = {
    "401": (reply(401, {"status": 401, "message": "No"}), AuthenticationError, 401, 1),
    "404": (reply(404, LOST), NotFoundError, 404, 1),
    "422": (reply(422, {"status": 422, "message": "Invalid params"}), UnprocessableEntityError, 422, 1),
    "503": (reply(503, PAGE.body), ServerError, 503, 3),
    "503 as a stream": (sse(STREAM_BODY, status=503), ServerError, 503, 3),
    "403 that calls itself a stream": (reply(403, "<html>", EVENT_STREAM), ForbiddenError, 403, 1),
    "a page": (PAGE, ResponseError, 200, 1),
    "nothing": (reply(200), ResponseError, 200, 1),
    "no content": (reply(204, headers={"Content-Length": None}), ResponseError, 204, 1),
    "no content type": (reply(200, STREAM_BODY, {"Content-Type": None}), ResponseError, 200, 1),
    "another type": (sse(STREAM_BODY, headers={"Content-Type": "text/event-streams"}), ResponseError, 200, 1),
    "a plain answer": (reply(200, CHAT_BODY), ResponseError, 200, 1),
    "200 that says 429": (reply(200, BUSY), RateLimitError, 429, 3),
    "200 that says 404": (reply(200, LOST), NotFoundError, 404, 1),
    "a redirect": (reply(307, headers={"Location": "/elsewhere"}), ResponseError, 307, 1),
    "compressed": (sse(STREAM_BODY, headers={"Content-Encoding": "gzip"}), ResponseError, 200, 1),
}


@pytest.mark.parametrize("case", list(REFUSALS))
def test_what_is_no_stream_is_an_error_before_stream_returns(server, client, case):
    answer, kind, status, requests = REFUSALS[case]
    running = server([answer] * requests + [sse(STREAM_BODY)])
    giga = client(running, max_connections=1)
    with pytest.raises(kind) as caught:
        giga.stream("x")
    assert (type(caught.value), caught.value.status_code, len(running.requests)) == (kind, status, requests)
    assert read(giga.stream("x")) == STREAM_TEXT  # the only place is free again


def test_a_refused_token_is_renewed_once(api, client):
    running = api([reply(401), sse(STREAM_BODY), reply(401), reply(401)])
    giga = client(running, access_token=None, auth_url=running.auth_url, client_id="a", client_secret="b")
    assert read(giga.stream("x")) == STREAM_TEXT
    with pytest.raises(AuthenticationError):
        giga.stream("x")
    tokens = [call.headers["Authorization"] for call in running.calls]
    assert tokens == ["Bearer token-%d" % number for number in (1, 2, 2, 3)] and running.oauth_calls == 3


@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-8", "Text/Event-Stream", "TEXT/EVENT-STREAM;a=b"])
def test_the_content_type_is_read_in_any_case_and_with_parameters(server, client, kind):
    running = server(sse(STREAM_BODY, headers={"Content-Type": kind}))
    assert read(client(running).stream("x")) == STREAM_TEXT
    asked = running.requests[0]
    assert (asked.headers["Accept"], asked.headers["Accept-Encoding"]) == ("text/event-stream", "identity")
    assert asked.json["stream"] is True
