"""Try the emulator from outside: faults by name, scripts, TLS, simultaneous generations, how it lives and ends."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import pathlib
import re
import socket
import ssl
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from clients import IN_CHILD, finish, needs_fork, new_client, start
from gigachat_lite import (
    AuthenticationError,
    BadRequestError,
    GigaChat,
    RateLimitError,
    RequestTimeout,
    ResponseError,
    ServerError,
    StreamError,
    TLSError,
    TransportError,
)
from gigachat_lite.emulator import FAULTS, Emulator, Response, response
from servers import until

QUESTION = "Расскажи о Байкале"
ASKED = {"model": "GigaChat", "messages": [{"role": "user", "content": QUESTION}]}
STREAMED = dict(ASKED, stream=True)
CHAT_PATH = "/api/v1/chat/completions"


def client_of(emulator, **settings):
    """Make a client of an emulator that makes no pause between its tries."""
    return new_client(**dict(dict(emulator.config, retry_backoff_factor=0), **settings))


def streamed(giga, payload=QUESTION, **options):
    return "".join(chunk.choices[0].delta.content for chunk in giga.stream(payload, **options))


CALLS = {
    "chat": lambda giga, **options: giga.chat(QUESTION, **options).choices[0].message.content,
    "stream": streamed,
    "embeddings": lambda giga, **options: len(giga.embeddings(["раз"], **options).data),
    "models": lambda giga, **options: len(giga.get_models(**options).data),
}


def outcome(work, *args, **options):
    """Return what a call returned, or the error that it raised."""
    try:
        return work(*args, **options)
    except Exception as error:
        return error


def asked(emulator, ending):
    return [request for request in emulator.requests if request.path.endswith(ending)]


@pytest.fixture
def emulator():
    with Emulator() as emu:
        yield emu


@pytest.fixture(scope="module")
def honest():
    """What each call of CALLS gives when nothing is spoilt."""
    with Emulator() as emu, GigaChat(**emu.config) as giga:
        return {name: call(giga) for name, call in CALLS.items()}


class Raw:
    """Speak HTTP to an emulator without a client of ours, over one connection that is closed at the end of `with`."""

    def __init__(self, emulator, token="", port=None):
        self.connection = http.client.HTTPConnection(emulator.host, port or emulator.port, timeout=5)
        self.headers = {"User-Agent": "tests", "Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = "Bearer " + token

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, body=None, path=CHAT_PATH, method="POST", **headers):
        """Send a request and return the response, its body still to be read."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        self.connection.request(method, path, data, dict(self.headers, **given))
        return self.connection.getresponse()

    def ask(self, *args, **options):
        """Send a request; return status and body."""
        response = self.send(*args, **options)
        return response.status, response.read()


@pytest.fixture
def raw(emulator):
    with Raw(emulator, client_of(emulator).get_token().access_token) as caller:
        del emulator.requests[:]
        yield caller


def talk(emulator, sent, port=None):
    """Send bytes over a connection of their own, and return all that comes back until it ends."""
    with socket.create_connection((emulator.host, port or emulator.port), 5) as sock:
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65536), b""))


# ---- Faults: what our client makes of them

# fault: how it is given, what a plain call raises, what a stream raises, requests seen with 0 and with 2 retries
TABLE = {
    "slow": ("slow:0.02", None, None, (1, 1)),
    "cut": ("cut:40", TransportError, StreamError, (1, 1)),
    "stall": ("stall:40", RequestTimeout, RequestTimeout, (1, 1)),
    "drip": ("drip:0", None, None, (1, 1)),
    "crlf": ("crlf", None, None, (1, 1)),
    "close-delimited": ("close-delimited", None, None, (1, 1)),
    "html": ("html", ResponseError, ResponseError, (1, 1)),
    "empty": ("empty", ResponseError, ResponseError, (1, 1)),
    "429-in-200": ("429-in-200", RateLimitError, RateLimitError, (1, 3)),
    "error-in-stream": ("error-in-stream", None, ServerError, (1, 1)),
    "expired-token": ("expired-token", AuthenticationError, AuthenticationError, (2, 2)),  # one more with a new token
    "oauth-429": ("oauth-429", RateLimitError, RateLimitError, (0, 0)),
    "reset": ("reset", TransportError, TransportError, (1, 2)),  # the second meets it on a connection of its own
    "502": ("502", ServerError, ServerError, (1, 1)),
    "stale": ("stale", None, None, (1, 1)),
}
COSTS_NOTHING = {("reset", "models"): (1, 3)}  # and is asked again on a connection of its own, too
OFTEN = {("chat", 2), ("stream", 0)}  # the other calls are long, but for where they differ


LONG = pytest.mark.long


def test_every_fault_is_in_the_table():
    assert set(TABLE) == set(FAULTS)


def spoilt_calls():
    for name in TABLE:
        for call in CALLS:
            for retries in (0, 2):
                rare = (call, retries) not in OFTEN and (name, call, retries) != ("reset", "models", 2)
                yield pytest.param(name, call, retries, id=f"{name}-{call}-{retries} retries",
                                   marks=[LONG] if rare else [])


@pytest.mark.parametrize(("name", "call", "retries"), list(spoilt_calls()))
def test_a_fault_raises_the_right_error_and_leaves_nothing_behind(honest, name, call, retries):
    fault, plain, stream, counts = TABLE[name]
    error = stream if call == "stream" else plain
    with Emulator(fault=fault) as emu:
        giga = client_of(emu, max_retries=retries)
        met = outcome(CALLS[call], giga, timeout=0.1 if name == "stall" else 5)
        assert met == honest[call] if error is None else type(met) is error
        assert len(asked(emu, "/oauth")) == {"expired-token": 2, "oauth-429": 1 + retries}.get(name, 1)
        counts = COSTS_NOTHING.get((name, call), counts)
        assert len(emu.requests) - len(asked(emu, "/oauth")) == counts[retries > 0]
        if isinstance(met, StreamError):
            assert honest["stream"].startswith(met.partial)
        emu.fault = None
        giga = client_of(emu, max_retries=0) if name in ("oauth-429", "stale") else giga
        assert CALLS["chat"](giga) == honest["chat"]  # on the only place of a private person's key


@pytest.fixture(scope="module")
def events():
    """The bytes of an honest stream, event by event, and the text after each."""
    with Emulator() as emu, GigaChat(**emu.config) as giga, Raw(emu, giga.get_token().access_token) as caller:
        body = caller.ask(STREAMED)[1]
    parts = [part + b"\n\n" for part in body.split(b"\n\n")[:-1]]
    texts = [json.loads(part[6:].decode("utf-8"))["choices"][0]["delta"]["content"] for part in parts[:-1]]
    return parts, ["".join(texts[:index]) for index in range(len(texts) + 1)]


PLACES = [("cut", *place) for place in [(0, 0), (0, 1), (1, -1), (1, 0), (2, 7), (3, -2), (-2, 0), (-1, -3)]]


@pytest.mark.parametrize(("fault", "whole", "more"), [*PLACES, ("stall", 2, 7), ("reset", 0, 0), ("reset", 2, 7)])
def test_a_torn_stream_keeps_what_came(events, fault, whole, more):
    parts, texts = events
    at = len(b"".join(parts[:whole] if whole >= 0 else parts[:len(parts) + 1 + whole])) + more
    complete = len([n for n in range(1, len(parts)) if len(b"".join(parts[:n])) <= at])
    with Emulator(fault=f"{fault}:{at}") as emu:
        stream = client_of(emu, max_retries=2, timeout=0.1 if fault == "stall" else 5).stream(QUESTION)
        met = outcome(lambda: [chunk.choices[0].delta.content for chunk in stream])
    assert type(met) is (RequestTimeout if fault == "stall" else StreamError)
    assert met.partial == texts[complete] if fault != "reset" else texts[complete].startswith(met.partial)
    assert len(asked(emu, "/completions")) == 1  # what was begun is never asked for again


def test_what_is_cut_behind_its_end_is_whole(events, honest):
    for fault in (f"cut:{len(b''.join(events[0]))}", "cut:99999", "stall:99999"):
        with Emulator(fault=fault) as emu:
            giga = client_of(emu, timeout=0.1, max_retries=0)
            assert streamed(giga) == honest["stream"]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_error_inside_a_stream_comes_after_its_events(events, after):
    with Emulator(fault=f"error-in-stream:{after}") as emu:
        met = outcome(streamed, client_of(emu))
    assert type(met) is ServerError and met.status_code == 500 and met.partial == events[1][after]


def test_slow_and_drip_outlast_a_timeout():
    with Emulator(fault=["slow:30*1", "drip:30*1"]) as emu:
        giga = client_of(emu, max_retries=0)
        giga.get_token()
        for _ in range(2):
            assert type(outcome(CALLS["chat"], giga, timeout=0.05)) is RequestTimeout
        assert CALLS["chat"](giga)


@pytest.mark.parametrize("fault", ["cut:40", "html", "502", "reset", "expired-token", "429-in-200"])
def test_a_fault_is_the_same_however_it_is_given(emulator, fault):
    giga = client_of(emulator, max_retries=0)
    giga.get_token()
    met = []
    for give in ("argument", "attribute", "script"):
        with contextlib.ExitStack() as stack:
            if give == "argument":
                giga = client_of(stack.enter_context(Emulator(fault=fault)), max_retries=0)
            elif give == "attribute":
                emulator.fault = fault
                giga = client_of(emulator, max_retries=0)
            else:
                emulator.fault = None
                emulator.enqueue(fault=fault, path="/completions")
                if fault == "expired-token":  # it would be asked again
                    emulator.enqueue(fault=fault, path="/completions")
                giga = client_of(emulator, max_retries=0)
            met.append(outcome(CALLS["chat"], giga))
    assert len({(type(error), re.sub(r"[0-9a-f-]{36}|:\d+", "", str(error))) for error in met}) == 1
    assert isinstance(met[0], (ResponseError, TransportError))


def statuses(emulator, count=4):
    """Ask for the models several times, and tell how each answer came."""
    with Raw(emulator) as caller:
        caller.headers["Authorization"] = "Bearer " + client_of(emulator).get_token().access_token
        return [caller.ask(path="/v1/models", method="GET")[0] for _ in range(count)]


@pytest.mark.parametrize(("fault", "expected"), [
    ("502*2", [502, 502, 200, 200]),
    (" 502 * 1 ", [502, 200, 200, 200]),
    (["502*1", "expired-token*2"], [502, 401, 401, 200]),
    (["error-in-stream:0*1", "oauth-429*1", "502*1"], [502, 200, 200, 200]),  # streams alone, nobody, then all
    (["502", "expired-token"], [502, 502, 502, 502]),
    ([], [200, 200, 200, 200]),
    (None, [200, 200, 200, 200]),
])
def test_faults_take_turns_and_run_out(emulator, fault, expected):
    emulator.fault = fault
    assert emulator.fault == fault
    assert statuses(emulator) == expected


def test_a_fault_that_did_not_apply_is_not_used_up(emulator):
    emulator.fault = ["error-in-stream:1*1", "502*1"]
    giga = client_of(emulator, max_retries=0)
    met = [outcome(CALLS[call], giga) for call in ("chat", "stream", "stream")]
    assert [type(error) for error in met[:2]] == [ServerError, ServerError] and isinstance(met[2], str)
    assert [error.status_code for error in met[:2]] == [502, 500]


def test_a_token_is_spoilt_by_its_own_fault_alone(emulator):
    for name in FAULTS:
        emulator.fault = name
        met = outcome(client_of(emulator, max_retries=0).get_token)
        assert (type(met) is RateLimitError) == (name == "oauth-429"), name
    emulator.fault = "oauth-429*2"
    assert client_of(emulator, max_retries=2).get_token().access_token


@pytest.mark.parametrize(("text", "says"), [
    ("teapot", "no such fault: 'teapot'"),
    ("", "no such fault: ''"),
    ("Cut", "no such fault: 'Cut'"),
    ("cut:", "with numbers, TIMES at least 1, and not 'cut:'"),
    ("cut:-1", "with numbers, TIMES at least 1, and not 'cut:-1'"),
    ("cut:x", "with numbers, TIMES at least 1, and not 'cut:x'"),
    ("cut:1e9", "with numbers, TIMES at least 1"),
    ("cut:1:2", "with numbers, TIMES at least 1"),
    ("cut*", "with numbers, TIMES at least 1"),
    ("cut*1.5", "with numbers, TIMES at least 1"),
    ("cut*0", "with numbers, TIMES at least 1"),
    ("cut*-1", "with numbers, TIMES at least 1"),
    ("cut:10,502", "with numbers, TIMES at least 1"),
    ("slow:" + "9" * 400, ""),
    ("cut:" + "9" * 400, ""),
    ("crlf:1", "the fault crlf takes no value: 'crlf:1'"),
    ("502:3", "the fault 502 takes no value: '502:3'"),
])
def test_what_is_no_fault_is_refused_at_once_in_a_sentence(emulator, text, says):
    for give in (lambda: Emulator(fault=["502", text]), lambda: emulator.enqueue(fault=text),
                 lambda: response(fault=text), lambda: setattr(emulator, "fault", [text])):
        with pytest.raises(ValueError) as caught:
            give()
        assert says in str(caught.value) and "\n" not in str(caught.value)
        assert "no such" not in says or all(name in str(caught.value) for name in FAULTS)
    assert emulator.unused == [] and emulator.fault is None and statuses(emulator, 1) == [200]


def test_every_fault_tells_what_it_does():
    assert all(kind.about and "\n" not in kind.about and len(kind.about) < 80 for kind in FAULTS.values())
    assert all(("VALUE" in kind.about) <= (kind.value is not None) for kind in FAULTS.values())


# ---- Faults: the bytes


def request_bytes(token, body=STREAMED, more=""):
    data = json.dumps(body).encode()
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: x\r\nUser-Agent: tests\r\nAuthorization: Bearer {token}\r\n{more}"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def test_crlf_ends_every_line_of_a_stream(emulator, raw, events):
    emulator.fault = "crlf"
    body = raw.ask(STREAMED)[1]
    assert body.replace(b"\r\n", b"") == b"".join(events[0]).replace(b"\n", b"").replace(
        *[re.search(rb'"created":\d+', part).group() for part in (events[0][0], body)])
    assert b"\n" not in body.replace(b"\r\n", b"") and body.endswith(b"data: [DONE]\r\n\r\n")
    assert b"\r" not in raw.ask(ASKED)[1]


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
@pytest.mark.parametrize("at", [0, 1, 100, 301])
def test_cut_is_exact_to_the_byte(emulator, raw, body, at):
    emulator.fault = f"cut:{at}"
    said = talk(emulator, request_bytes(raw.headers["Authorization"][7:], body))
    head, _, rest = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: keep-alive" in head
    if body is STREAMED:
        rest = b"".join(chunk for chunk in re.split(rb"(?:\A|\r\n)[0-9a-f]+\r\n|\r\n\Z", rest))
    assert len(rest) == at


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
def test_close_delimited_has_no_length_but_an_end(emulator, raw, body):
    emulator.fault = "close-delimited"
    head, _, rest = talk(emulator, request_bytes(raw.headers["Authorization"][7:], body)).partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower() and b"transfer-encoding" not in head.lower()
    assert b"Connection: close" in head and rest.startswith(b"data: {" if body is STREAMED else b"{")
    assert rest.endswith(b"data: [DONE]\n\n" if body is STREAMED else b"}")


@pytest.mark.parametrize(("fault", "status", "kind", "body"), [
    ("html", 200, "text/html", b"<html>"),
    ("502", 502, "text/html", b"<html>"),
    ("empty", 200, "application/json; charset=utf-8", b""),
    ("429-in-200", 200, "application/json; charset=utf-8", b'{"status":429,"message":"Too many requests"}\n'),
    ("expired-token", 401, "application/json; charset=utf-8", b'{"status":401,"message":"Token has expired"}\n'),
])
def test_what_takes_the_place_of_an_answer(emulator, raw, fault, status, kind, body):
    emulator.fault = fault
    for sent in (ASKED, STREAMED):
        response = raw.send(sent)
        said = response.read()
        assert (response.status, response.headers["Content-Type"]) == (status, kind)
        assert said == body if kind != "text/html" else said.startswith(body)
    assert {request.connection for request in emulator.requests} == {2}  # and the connection goes on


def test_a_reset_is_one(emulator, raw):
    token = raw.headers["Authorization"][7:]
    for fault in ("reset", "reset:0", "reset:50"):
        emulator.fault = fault
        with socket.create_connection((emulator.host, emulator.port), 5) as sock:
            sock.sendall(request_bytes(token))
            with pytest.raises(ConnectionResetError):
                got = b""
                while True:
                    got += sock.recv(65536) or pytest.fail("an orderly end")
        assert got.startswith(b"HTTP/1.1 200") == (fault != "reset")


def test_a_stale_connection_was_promised_to_go_on(emulator, raw):
    emulator.fault = "stale"
    response = raw.send(ASKED)
    assert response.headers["Connection"] == "keep-alive" and response.headers["Content-Length"]
    assert json.loads(response.read().decode())["choices"]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        raw.ask(ASKED)
    assert len(emulator.requests) == 1


def test_drip_sends_byte_by_byte(emulator, raw):
    emulator.enqueue(body=b"abcde", fault="drip:0.01")
    emulator.enqueue(body=b"abcde", fault="drip:30")
    began = time.monotonic()
    assert raw.ask(ASKED) == (200, b"abcde") and time.monotonic() - began >= 0.04
    assert raw.send(ASKED).read1(100) == b"a"


def test_slow_waits_before_the_answer(emulator, raw):
    emulator.fault = "slow:0.03"
    began = time.monotonic()
    assert raw.ask(STREAMED)[0] == 200 and time.monotonic() - began >= 0.03


def test_a_fault_spoils_a_scripted_answer(emulator, raw):
    emulator.enqueue(200, body=b"0123456789", fault="cut:4")
    with pytest.raises(http.client.IncompleteRead) as caught:
        raw.ask(ASKED)
    assert caught.value.partial == b"0123"
    raw.connection.close()
    emulator.enqueue(events=[b"event: x\ndata: a\n\n", "b"], fault="crlf")
    emulator.enqueue(events=["a", "b", "c"], fault="error-in-stream:1")
    emulator.enqueue(418, body=b"tea", fault="close-delimited")
    emulator.enqueue(lambda request: response(201, body=[request.method], fault="close-delimited"), fault="slow:0.01")
    emulator.enqueue(lambda request: response(201, body="never seen"), fault="502")
    emulator.enqueue(body={"a": 1}, fault="crlf")  # nothing to spoil
    met = [raw.ask(ASKED) for _ in range(6)]
    assert met[0] == (200, b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n")
    assert met[1] == (200, b'data: a\n\ndata: {"status":500,"message":"Internal Server Error"}\n\n')
    assert met[2:4] == [(418, b"tea"), (201, b'["POST"]')]
    assert met[4][0] == 502 and b"502 Bad Gateway" in met[4][1] and met[5] == (200, b'{"a":1}')


def test_a_fault_of_all_answers_leaves_scripted_ones_alone(emulator, raw):
    emulator.fault = "502*1"
    emulator.enqueue(body={"a": 1})
    assert [raw.ask(ASKED)[0] for _ in range(3)] == [200, 502, 200]


# ---- Scripts

BODIES = [
    ((), (200, b"")),
    ((204,), (204, b"")),
    ((503,), (503, b'{"status":503,"message":"Service Unavailable"}\n')),
    ((299, {}, {"а": 1}), (299, '{"а":1}'.encode())),
    ((200, None, [1, None]), (200, b"[1,null]")),
    ((200, None, {}), (200, b"{}")),
    ((200, None, 0), (200, b"0")),
    ((200, None, "текст"), (200, "текст".encode())),
    ((200, None, ""), (200, b"")),
    ((200, None, bytearray(b"\x00\xff")), (200, b"\x00\xff")),
    ((422, None, {"status": 422}), (422, b'{"status":422}\n')),
    ((500, None, b""), (500, b"")),
]


@pytest.mark.parametrize(("given", "expected"), BODIES)
def test_bodies_of_every_kind(emulator, raw, given, expected):
    emulator.enqueue(*given)
    assert raw.ask(ASKED) == expected


def test_headers_are_replaced_added_and_taken_away(emulator, raw):
    emulator.enqueue(429, {"retry-after": 7, "SERVER": "mine", "X-Request-ID": None, "X-New": "1"})
    response = raw.send(ASKED)
    assert response.read() == b'{"status":429,"message":"Too many requests"}\n'
    named = [(name.lower(), value) for name, value in response.getheaders()]
    assert {("retry-after", "7"), ("server", "mine"), ("x-new", "1")} <= set(named)
    assert "x-request-id" not in dict(named) and len(dict(named)) == len(named)


def test_events_of_every_kind(emulator, raw):
    emulator.enqueue(events=[b"event: x\ndata: 1\n\n", "слово", {"я": [1]}, b": nothing\n\n", "[DONE]"])
    emulator.enqueue(events=iter(["one"]))
    emulator.enqueue(events=[])
    responses = []
    for _ in range(3):
        response = raw.send(STREAMED)
        assert response.headers["Content-Type"] == "text/event-stream"
        responses.append(response.read())
    parts = ["event: x\ndata: 1", "data: слово", 'data: {"я":[1]}', ": nothing", "data: [DONE]", ""]
    assert responses == ["\n\n".join(parts).encode(), b"data: one\n\n", b""]


def test_a_scripted_stream_reaches_our_client(emulator):
    chunk = {"choices": [{"delta": {"content": "раз"}, "index": 0}]}
    emulator.enqueue(events=[chunk, chunk, "[DONE]"])
    emulator.enqueue(events=[chunk])
    giga = client_of(emulator)
    assert streamed(giga) == "разраз"
    met = outcome(streamed, giga)
    assert type(met) is StreamError and met.partial == "раз"


def test_a_delay_and_nothing_else_is_the_services_own_answer(emulator, raw):
    emulator.enqueue(delay=0.02)
    emulator.enqueue(503, delay=0.02)
    began = time.monotonic()
    assert json.loads(raw.ask(ASKED)[1].decode())["choices"] and time.monotonic() - began >= 0.02
    assert raw.ask(ASKED)[0] == 503 and time.monotonic() - began >= 0.04


CALLABLES = [
    (lambda request: {"path": request.path}, (200, b'{"path":"/api/v1/chat/completions"}')),
    (lambda request: [request.body["model"]], (200, b'["GigaChat"]')),
    (lambda request: request.method, (200, b"POST")),
    (lambda request: request.raw[:1], (200, b"{")),
    (lambda request: 404, (404, b'{"status":404,"message":"Not Found"}\n')),
    (lambda request: True, (200, b"true")),
    (lambda request: response(402, body="pay"), (402, b"pay")),
    (lambda request: Response(203, b"made by hand"), (203, b"made by hand")),
    (lambda request: response(events=["a"]), (200, b"data: a\n\n")),
]


@pytest.mark.parametrize(("make", "expected"), CALLABLES)
def test_a_callable_answers_by_what_it_returns(emulator, raw, make, expected):
    emulator.enqueue(make)
    assert raw.ask(ASKED) == expected


def test_a_callable_that_returns_nothing_leaves_the_answer_to_the_service(emulator, raw):
    seen = []
    emulator.enqueue(seen.append)
    emulator.enqueue(seen.append)
    assert json.loads(raw.ask(ASKED)[1].decode())["choices"]
    assert raw.ask(dict(ASKED, model="Nope"))[0] == 404  # its checks included
    assert seen == emulator.requests


def test_what_a_callable_raises_fails_the_test_that_scripted_it(honest):
    def disagree(request):
        assert request.body["model"] == "Other", "the test's own words"

    for leave in (lambda: None, lambda: pytest.fail("what follows from it")):
        with pytest.raises(AssertionError, match="the test's own words"), Emulator() as emu:
            emu.enqueue(disagree)
            emu.enqueue(503)
            giga = client_of(emu, max_retries=0)
            assert type(outcome(CALLS["chat"], giga)) is ServerError
            assert type(outcome(CALLS["chat"], giga)) is ServerError
            assert CALLS["chat"](giga) == honest["chat"]
            leave()


@pytest.mark.parametrize("made", [object(), {1: object()}, float], ids=["object", "inside a dict", "class"])
def test_a_callable_that_returns_no_answer_fails_the_test(made):
    with pytest.raises(TypeError), Emulator() as emu:
        emu.enqueue(lambda request: made)
        assert type(outcome(CALLS["chat"], client_of(emu, max_retries=0))) is ServerError


def test_what_was_scripted_and_never_asked_for_fails_the_test_that_left_it():
    def teapot(request):
        return 418

    emu = Emulator()
    with pytest.raises(AssertionError) as caught, emu:
        emu.enqueue(503)
        emu.enqueue(body="x", path="/embeddings")
        emu.enqueue(teapot, fault="cut:4")
        emu.enqueue(delay=1)
        assert type(outcome(CALLS["chat"], client_of(emu, max_retries=0))) is ServerError
        assert len(emu.unused) == 3
    assert all(part in str(caught.value) for part in ("200", "/embeddings", "teapot", "cut:4"))
    assert "503" not in str(caught.value) and "\n" not in str(caught.value)
    emu.check()  # said once


def test_a_test_that_failed_itself_is_not_blamed_for_its_scripts():
    emu = Emulator()
    with pytest.raises(KeyError, match="its own"), emu:
        emu.enqueue(503)
        raise KeyError("its own")
    with emu:  # and nothing of it is left
        assert emu.unused == [] and CALLS["chat"](client_of(emu))


def test_scripts_by_path_and_order(emulator, raw):
    for status, path in ((501, "/embeddings"), (502, None), (503, "/completions"), (504, None)):
        emulator.enqueue(status, path=path)
    asked_for = [raw.ask(ASKED)[0], raw.ask(b"", path="/v1/embeddings?x=/completions")[0], raw.ask(ASKED)[0]]
    assert asked_for == [502, 501, 503] and emulator.unused == ["504"]
    assert raw.ask(path="/nowhere", method="GET")[0] == 504


def test_many_threads_get_each_scripted_answer_once(emulator):
    for number in range(40):
        emulator.enqueue(body={"number": number})
    token = client_of(emulator).get_token().access_token

    def ask(_):
        with Raw(emulator, token) as caller:
            return [json.loads(caller.ask(ASKED)[1].decode())["number"] for _ in range(5)]

    got = finish(*(start(ask, number) for number in range(8)))
    assert sorted(number for numbers in got for number in numbers) == list(range(40))


def test_requests_keep_everything(emulator, raw):
    before = time.monotonic()
    raw.ask({"я": 1}, path="/v1/a%20b/completions?x=1&y=%D1%8F&z=", X_Client_ID="me", method="PUT")
    raw.ask("a=1&b=%D1%8F", Content_Type="application/x-www-form-urlencoded")
    raw.ask(b"\xff{", Content_Type="application/json")
    raw.connection.close()
    raw.ask(None, method="GET")
    first, form, broken, empty = emulator.requests
    assert (first.method, first.path, first.query) == ("PUT", "/v1/a%20b/completions", {"x": "1", "y": "я", "z": ""})
    assert first.headers["x-client-ID"] == "me" and first.body == first.json() == {"я": 1}
    assert form.body == {"a": "1", "b": "я"} and broken.body == broken.raw == b"\xff{" and empty.raw == b""
    assert first.connection == form.connection == broken.connection == empty.connection - 1
    assert before <= first.time <= form.time <= empty.time <= time.monotonic()
    assert (first.sni, first.client_cert) == (None, None)


SECRETS = [
    ("Authorization", "Bearer s3cret"),
    ("authorization", "Basic s3cret=="),
    ("AUTHORIZATION", "s3cret"),
    ("Authorization", "s3cret s3cret"),
    ("Authorization", "Bearer  s3cret s3cret"),
    ("Authorization", "bearer\ts3cret"),
    ("Proxy-Authorization", "Basic s3cret"),
    ("Cookie", "session=s3cret; other=s3cret"),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_reprs_show_no_secret(emulator, name, value):
    with Raw(emulator) as caller:
        caller.connection.request("GET", "/v1/models", None, {name: value})
        caller.connection.getresponse().read()
    request = emulator.requests[0]
    assert "s3cret" in request.headers[name]
    assert "s3cret" not in repr(request) + str(request) + repr(request.headers) + str(emulator) + str(emulator.requests)


# ---- TLS


@pytest.fixture(scope="module")
def secure():
    """An emulator that asks for a client's certificate at both ports, but does not insist."""
    with Emulator(tls=True, client_cert="optional") as emu:
        yield emu


def bare(emulator, *names):
    """The settings of a client on an emulator, but for its client's certificate and what else is named."""
    return {key: value for key, value in emulator.config.items() if key not in {"cert_file", "key_file", *names}}


def papers(emulator):
    return {"cert_file": emulator.client_cert_file, "key_file": emulator.client_key_file}


def trusting(emulator, with_cert=False):
    context = ssl.create_default_context(cafile=emulator.ca_bundle_file)
    context.check_hostname = False
    if with_cert:
        context.load_cert_chain(emulator.client_cert_file, emulator.client_key_file)
    return context


def secure_get(emulator, context, name, port=None, path="/v1/models"):
    """Speak TLS without a client of ours: ask for a server by this name, return all that it says."""
    sock = socket.create_connection((emulator.host, port or emulator.port), 5)
    with context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False) as tls:
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: tls.recv(65536), b""))


WISHES = [("none", "none"), ("none", "required"), ("required", "none"), ("optional", "required")]
MORE_WISHES = [("none", "optional"), ("optional", "none"), ("optional", "optional"), ("required", "optional"),
               ("required", "required")]


@pytest.mark.parametrize(("api", "auth"), [*WISHES, *(pytest.param(*wishes, marks=LONG) for wishes in MORE_WISHES)])
def test_two_ports_ask_for_certificates_each_by_its_own_wish(api, auth):
    with Emulator(tls=True, client_cert=api, auth_client_cert=auth) as emu:
        assert emu.base_url.split("/api")[0] == emu.url != emu.auth_url.split("/api")[0]
        assert emu.base_url.startswith("https://127.0.0.1:") and emu.auth_url.startswith("https://127.0.0.1:")
        met = outcome(CALLS["models"], new_client(**dict(bare(emu), max_retries=0)))
        assert type(met) is TLSError if "required" in (api, auth) else isinstance(met, int)
        assert len(emu.requests) == (0 if auth == "required" else 1 if api == "required" else 2)
        assert all(request.client_cert is None for request in emu.requests)
        del emu.requests[:]
        assert CALLS["models"](new_client(**dict(bare(emu), **papers(emu))))
        assert [bool(request.client_cert) for request in emu.requests] == [auth != "none", api != "none"]
        assert set(papers(emu)) <= set(emu.config) or (api, auth) == ("none", "none")
        assert CALLS["models"](new_client(**emu.config))


def test_the_auth_port_follows_the_api_port_unless_told_otherwise(secure):
    assert CALLS["models"](new_client(**secure.config))
    assert all(request.client_cert for request in secure.requests[-2:])


def test_sni_and_certificate_are_remembered(secure):
    for name, with_cert in (("localhost", True), ("wrong.example.net", False), (None, True)):
        assert secure_get(secure, trusting(secure, with_cert), name).startswith(b"HTTP/1.1 ")
        request = secure.requests[-1]
        assert request.sni == name and bool(request.client_cert) == with_cert
        assert not with_cert or ("organizationName", "GigaChat emulator") in sum(request.client_cert["issuer"], ())


def test_a_certificate_takes_the_place_of_a_token(secure):
    del secure.requests[:]
    giga = new_client(**dict(bare(secure, "credentials"), **papers(secure)))
    assert CALLS["chat"](giga) and streamed(giga)
    assert ["authorization" in request.headers for request in secure.requests] == [False, False]
    met = outcome(CALLS["chat"], new_client(**dict(bare(secure, "credentials"), access_token="wrong", max_retries=0)))
    assert type(met) is AuthenticationError
    both = new_client(**dict(bare(secure, "credentials"), access_token="wrong", max_retries=0, **papers(secure)))
    assert type(outcome(CALLS["chat"], both)) is AuthenticationError  # a wrong token stays wrong
    assert secure_get(secure, trusting(secure), "localhost").startswith(b"HTTP/1.1 401")


def test_a_strangers_certificate_is_refused(secure, certs):
    stranger = {"cert_file": str(certs.foreign_client_pem), "key_file": str(certs.foreign_client_key)}
    assert type(outcome(CALLS["chat"], new_client(**dict(bare(secure), max_retries=0, **stranger)))) is TLSError


@pytest.mark.parametrize(("names", "good"), [
    (("wrong.example.net",), False), (("127.0.0.1",), True), (("localhost", "example.org"), False)])
def test_names_in_the_certificate_are_ones_own(names, good):
    with Emulator(tls=True, names=names) as emu:
        met = outcome(CALLS["models"], client_of(emu))
        assert isinstance(met, int) if good else type(met) is TLSError and "not valid for '127.0.0.1'" in str(met)
        context = trusting(emu)
        context.check_hostname = True
        assert secure_get(emu, context, names[-1]).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("kind", [str, pathlib.Path], ids=["str", "Path"])
def test_certificates_of_ones_own(certs, tmp_path, kind):
    leaf = certs.ca.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    own = {"cert_file": kind(tmp_path / "cert.pem"), "key_file": kind(tmp_path / "key.pem"),
           "ca_bundle_file": kind(certs.ca_pem)}
    client = {"cert_file": str(certs.client_pem), "key_file": str(certs.client_key)}
    with Emulator(client_cert="required", **own) as emu:
        assert (emu.client_cert_file, emu.client_key_file) == (None, None)
        assert str(emu.ca_bundle_file) == str(certs.ca_pem) and not set(client) & set(emu.config)
        assert CALLS["chat"](new_client(**dict(emu.config, **client)))
        assert type(outcome(CALLS["chat"], new_client(**dict(emu.config, max_retries=0)))) is TLSError
    assert (tmp_path / "key.pem").exists() and (tmp_path / "cert.pem").exists()  # they are not ours to remove


def test_variables_lead_a_client_here_over_tls(secure):
    assert all(isinstance(value, str) for value in secure.environ.values())
    giga = GigaChat(environ=secure.environ, env_file=False, trust_env=False)
    with giga:
        assert CALLS["chat"](giga) and secure.requests[-1].client_cert


def test_clear_text_on_a_port_of_tls_gets_a_page(secure):
    for port in (secure.port, int(re.search(r":(\d+)/", secure.auth_url).group(1))):
        with Raw(secure, port=port) as caller:
            response = caller.send(ASKED)
            assert (response.status, response.headers["Content-Type"]) == (400, "text/html")
            assert b"400 Bad Request" in response.read() and response.headers["Connection"] == "close"
    here = dict(bare(secure), base_url=secure.base_url.replace("https:", "http:"), access_token="t")
    assert type(outcome(CALLS["models"], new_client(**here))) is BadRequestError


def test_tls_on_a_clear_port_gets_a_page(emulator):
    hello = b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + b"\n" * 100
    assert talk(emulator, hello).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    here = dict(emulator.config, base_url=emulator.base_url.replace("http:", "https:"), access_token="t")
    assert type(outcome(CALLS["models"], new_client(**here))) is TLSError and emulator.requests == []


@pytest.mark.parametrize("sent", [
    b"", b"\x16\x03\x01\x00\x05hello", pytest.param(b"\x16", marks=LONG),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", marks=LONG)])
def test_a_handshake_that_breaks_off_harms_nobody(secure, sent, capfd):
    with socket.create_connection((secure.host, secure.port), 5) as sock:
        sock.sendall(sent)
        assert CALLS["models"](new_client(**secure.config))  # others do not wait for it
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
    assert CALLS["models"](new_client(**secure.config)) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fault", [None, "close-delimited"])
def test_an_answer_over_tls_ends_with_a_notice(fault):
    """Without it a client that minds truncation takes the end of the connection for a cut."""
    with Emulator(tls=True, fault=fault) as emu:
        assert secure_get(emu, trusting(emu), "localhost").startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(("name", "call"), [
    ("cut", "stream"), ("reset", "chat"), ("close-delimited", "stream"), *(
        pytest.param(*given, marks=LONG) for given in [
            ("stall", "stream"), ("drip", "chat"), ("crlf", "stream"), ("stale", "chat"), ("slow", "chat")])])
def test_faults_are_the_same_over_tls(honest, name, call):
    fault, plain, stream, _ = TABLE[name]
    error = stream if call == "stream" else plain
    with Emulator(tls=True, fault=fault) as emu:
        giga = client_of(emu, max_retries=0)
        giga.get_token()
        met = outcome(CALLS[call], giga, timeout=0.1 if name == "stall" else 5)
        assert met == honest[call] if error is None else type(met) is error
        emu.fault = None
        assert CALLS["chat"](client_of(emu, max_retries=0)) == honest["chat"]


def test_throw_away_certificates_are_private_and_thrown_away():
    emu = Emulator(tls=True)
    assert emu.ca_bundle_file is emu.client_cert_file is emu.client_key_file is None
    with emu:
        paths = [pathlib.Path(path) for path in (emu.ca_bundle_file, emu.client_cert_file, emu.client_key_file)]
        folder = paths[0].parent
        if os.name == "posix":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            keys = [path for path in folder.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
            assert len(keys) == 2 and {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert not folder.exists()


def test_a_restart_over_tls_has_the_same_addresses():
    emu = Emulator(tls=True, client_cert="required")
    addresses = []
    for _ in range(2):
        with emu:
            addresses.append((emu.base_url, emu.auth_url))
            assert CALLS["chat"](new_client(**emu.config))
    assert addresses[0] == addresses[1]


@pytest.mark.parametrize(("settings", "says"), [
    ({"client_cert": "required"}, "tls"),
    ({"tls": True, "client_cert": "wanted"}, "client_cert"),
    ({"tls": True, "auth_client_cert": "wanted"}, "auth_client_cert"),
    ({"key_file": "key.pem"}, "cert_file"),
])
def test_settings_that_cannot_work_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Emulator(**settings)


def test_a_missing_certificate_leaves_nothing_open(tmp_path):
    for settings in ({"cert_file": str(tmp_path / "none.pem")}, {"tls": True, "names": ()}):
        emu = Emulator(**settings)
        before = open_files()
        with pytest.raises((OSError, ValueError)):
            emu.start()
        assert open_files() == before and emu.url == ""
        emu.stop()


def test_without_trustme_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)  # as if it were not installed
    with nothing_left():
        emu = Emulator(tls=True)
        for _ in range(2):
            with pytest.raises(ImportError) as caught:
                emu.start()
            sentence = "Emulator(tls=True) makes its certificates with trustme: pip install trustme"
            assert str(caught.value) == sentence and emu.url == ""
        emu.stop()
    with Emulator() as emu:
        assert CALLS["models"](client_of(emu))


# ---- Simultaneous generations


def open_stream(giga):
    stream = giga.stream(QUESTION)
    next(stream)
    return stream


@pytest.mark.parametrize(("settings", "places"), [
    ({}, 1), ({"scope": "GIGACHAT_API_CORP"}, 10), pytest.param({"max_connections": 3}, 3, marks=LONG),
    pytest.param({"scope": "GIGACHAT_API_B2B"}, 10, marks=LONG),
    pytest.param({"scope": "GIGACHAT_API_CORP", "max_connections": 1}, 1, marks=LONG)])
@pytest.mark.long
def test_so_many_generations_at_a_time_and_429_beyond(settings, places):
    with Emulator(chunk_delay=30, **settings) as emu:
        giga = client_of(emu, max_connections=20, max_retries=0)
        patient = client_of(emu, max_connections=20, max_retries=5, retry_backoff_factor=0.1)
        streams = [open_stream(giga) for _ in range(places)]
        for call in ("chat", "embeddings") if settings == {} else ("stream",):
            met = outcome(CALLS[call], giga)
            assert type(met) is RateLimitError and met.message == "Too many requests"
        assert CALLS["models"](giga) and giga.tokens_count(["раз"]) and client_of(emu).get_token()
        streams.pop().close()  # who goes away in the middle frees the place
        assert CALLS["embeddings"](patient)
        for stream in streams:
            stream.close()
        assert CALLS["chat"](patient)


@pytest.mark.parametrize(("call", "fault"), [
    ("chat", "drip:30"), *(
        pytest.param(*given, marks=LONG) for given in [
            ("chat", "slow:30"), ("chat", "stall:100"), ("chat", "a delay"),
            ("stream", "slow:30"), ("stream", "drip:30"), ("stream", "stall:100")])])
def test_an_answer_that_takes_its_time_holds_its_place(fault, call):
    emu = Emulator(max_connections=1).start()
    giga = client_of(emu, max_connections=5, max_retries=0)
    giga.get_token()
    emu.enqueue(**({"delay": 30} if fault == "a delay" else {"fault": fault}))
    waiting = start(CALLS[call], giga)
    until(lambda: len(asked(emu, "/completions")) == 1)
    assert type(outcome(CALLS["chat"], giga)) is RateLimitError
    emu.stop()
    assert isinstance(finish(waiting)[0], TransportError)


def test_an_answer_whose_client_went_away_frees_its_place():
    with Emulator(max_connections=1) as emu:
        giga = client_of(emu, max_connections=5, max_retries=5, retry_backoff_factor=0.1)
        giga.get_token()
        for fault in ("slow:30", "drip:30", "stall:50"):
            emu.enqueue(fault=fault)
            assert type(outcome(CALLS["chat"], giga, timeout=0.05)) is RequestTimeout
            assert CALLS["chat"](giga)


def test_a_stream_that_was_read_to_its_end_has_freed_its_place():
    with Emulator(chunk_delay=0.001) as emu:
        giga = client_of(emu, max_connections=5, max_retries=0)
        for _ in range(3):
            assert streamed(giga) and CALLS["chat"](giga)


def never_too_many(emulator, calls):
    """Call on connections of their own, one after another."""
    token = client_of(emulator).get_token().access_token
    for number in range(calls):
        with Raw(emulator, token) as caller:
            assert caller.ask(STREAMED if number % 2 else ASKED)[0] == 200


def test_one_after_another_there_is_always_a_place(emulator):
    never_too_many(emulator, 60)


@LONG
def test_one_after_another_there_is_always_a_place_while_others_hammer(emulator):
    with Emulator(scope="GIGACHAT_API_CORP") as other:
        hammering = [start(never_too_many, other, 250) for _ in range(10)]
        never_too_many(emulator, 500)
        assert finish(*hammering) == [None] * 10


def test_as_many_threads_as_places_never_meet_429():
    with Emulator(scope="GIGACHAT_API_CORP") as emu:
        assert finish(*(start(never_too_many, emu, 6) for _ in range(10))) == [None] * 10


@pytest.mark.parametrize("strict", [pytest.param(True, id="strict", marks=LONG), pytest.param(False, id="lenient")])
@pytest.mark.parametrize("fields", [
    {"update_interval": float("inf")}, {"update_interval": float("nan")}, {"update_interval": 1e300},
    {"update_interval": "x"}, {"update_interval": [1]}, {"n": "x"}, {"n": -1}, {"max_tokens": 1e300},
    {"max_tokens": "x"}, {"functions": 1}, {"function_call": {"name": 1}}, {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": 5}]}, {"messages": [{"role": "user", "content": [1]}]},
    {"model": ["GigaChat"]}, {"repetition_penalty": "x"},
], ids=repr)
def test_no_request_costs_a_place_or_a_thread(strict, fields, capfd):
    with Emulator(strict=strict, chunk_delay=0.001) as emu:
        token = client_of(emu).get_token().access_token
        for body in (dict(ASKED, **fields), dict(STREAMED, **fields)):
            with Raw(emu, token) as caller:
                assert caller.send(body).status  # whatever it is
        assert CALLS["chat"](client_of(emu, max_retries=0))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("texts", [[], [""], ["x"] * 3, [1], [None], [["x"]], {"a": 1}, 5, None, "\ud800"], ids=repr)
def test_no_embeddings_cost_a_place(texts):
    with Emulator(strict=False) as emu, Raw(emu, client_of(emu).get_token().access_token) as caller:
        caller.ask({"model": "Embeddings", "input": texts}, path="/v1/embeddings")
        assert caller.ask(ASKED)[0] == 200


@pytest.mark.parametrize("make", [
    lambda request: None, lambda request: 500, lambda request: response(fault="reset"), lambda request: 1 / 0,
    lambda request: response(events=["a"], fault="cut:2"), lambda request: object()],
    ids=["own", "status", "reset", "raises", "cut", "no answer"])
def test_no_scripted_answer_costs_a_place(make):
    emu = Emulator().start()
    giga = client_of(emu, max_retries=0)
    for fault in (None, "html", "cut:1"):
        emu.enqueue(make, fault=fault)
        outcome(CALLS["chat"], giga)
    assert CALLS["chat"](client_of(emu, max_retries=0))  # whose connection nobody has cut behind an answer
    emu.stop()


@pytest.mark.parametrize("error", [RuntimeError, ValueError, BrokenPipeError])
def test_a_listener_that_fails_costs_nobody_an_answer(error, capfd):
    def fail(request, status):
        raise error("of the listener")

    emu = Emulator(on_response=fail).start()
    giga = client_of(emu, max_retries=0)
    assert [len(outcome(CALLS["chat"], giga)) > 9 for _ in range(2)] == [True, True]
    emu.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("settings", [
    {"fault": "slow:999999999999"}, {"chunk_delay": 1e300}, pytest.param({"fault": "drip:999999999999"}, marks=LONG),
    pytest.param({"delay": float("inf")}, marks=LONG)], ids=str)
def test_a_pause_of_any_length_is_only_a_pause(settings, capfd):
    delay = settings.pop("delay", None)
    with Emulator(**settings) as emu:
        if delay:
            emu.enqueue(delay=delay)
        giga = client_of(emu, max_retries=0)
        giga.get_token()
        assert type(outcome(streamed, giga, timeout=0.05)) is RequestTimeout
        emu.fault = None
        assert CALLS["chat"](giga)
    assert capfd.readouterr() == ("", "")


# ---- Life


def open_files():
    """List the descriptors of this process, where the system tells."""
    try:
        return sorted(os.listdir("/proc/self/fd"))
    except OSError:
        return []


def threads_of_emulators():
    return [thread for thread in threading.enumerate() if "emulator" in thread.name]


@contextlib.contextmanager
def nothing_left():
    """Check that threads and descriptors are what they were."""
    threads, files = threads_of_emulators(), open_files()
    yield
    assert threads_of_emulators() == threads
    if len(open_files()) > len(files):
        gc.collect()  # what a client forgot is no matter here
        assert len(open_files()) <= len(files)


def ask_slowly(emulator, sock, **script):
    emulator.enqueue(**script)
    sock.sendall(request_bytes("", STREAMED))


BUSY = {
    "nothing asked yet": lambda emu, sock: None,
    "half a request": lambda emu, sock: sock.sendall(b"POST /v1/token HTTP/1.1\r\nContent-Le"),
    "half a body": lambda emu, sock: sock.sendall(b"POST /v1/token HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
    "slow": lambda emu, sock: ask_slowly(emu, sock, fault="slow:60"),
    "stall": lambda emu, sock: ask_slowly(emu, sock, events=["a"] * 99, fault="stall:20"),
    "drip": lambda emu, sock: ask_slowly(emu, sock, events=["a"] * 99, fault="drip:60"),
    "delay": lambda emu, sock: ask_slowly(emu, sock, status=503, delay=60),
    "a next request waits": lambda emu, sock: [ask_slowly(emu, sock, status=503, delay=60) for _ in range(2)],
    "an answer nobody reads": lambda emu, sock: ask_slowly(emu, sock, body=b"x" * (16 << 20)),
    "an end nobody hears": lambda emu, sock: ask_slowly(emu, sock, status=200, headers={"Content-Length": "0"}),
}


@pytest.mark.parametrize("busy", BUSY)
def test_stop_is_at_once_whatever_goes_on(busy):
    with nothing_left():
        emu = Emulator().start()
        with socket.create_connection((emu.host, emu.port), 5) as sock:
            BUSY[busy](emu, sock)
            if "sendall" not in BUSY[busy].__code__.co_names and busy != "nothing asked yet":
                until(lambda: emu.requests)
            began = time.monotonic()
            emu.stop()
            assert time.monotonic() - began < 1
            with contextlib.suppress(ConnectionError):
                while sock.recv(1 << 20):
                    pass


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "a byte", "a part"])
def test_stop_is_at_once_during_a_handshake(sent):
    with nothing_left():
        emu = Emulator(tls=True).start()
        with socket.create_connection((emu.host, emu.port), 5) as sock:
            sock.sendall(sent)
            until(lambda: len(threads_of_emulators()) >= 3)  # it is being served
            began = time.monotonic()
            emu.stop()
            assert time.monotonic() - began < 1


@pytest.mark.parametrize("settings", [{}, {"tls": True}], ids=["clear", "tls"])
def test_start_and_stop_many_times(settings):
    Emulator(**settings).start().stop()  # what is imported or opened once
    times = 50 if not settings else 5
    with nothing_left():
        emu, others = Emulator(**settings), threads_of_emulators()
        for _ in range(times):
            assert emu.start() is emu
            socket.create_connection((emu.host, emu.port), 5).close()
            emu.stop()
            emu.stop()
            assert threads_of_emulators() == others


@pytest.mark.long
def test_a_long_life_of_faults_leaves_nothing(honest):
    with nothing_left():
        emu = Emulator().start()
        for name, (fault, *_) in TABLE.items():
            with GigaChat(**dict(emu.config, retry_backoff_factor=0, max_retries=0)) as giga:
                emu.fault = fault
                outcome(streamed, giga, timeout=0.1 if name == "stall" else 5)
        emu.fault = None
        with GigaChat(**emu.config) as giga:
            assert CALLS["chat"](giga) == honest["chat"]
        emu.stop()


def test_closed_connections_are_forgotten_while_it_runs(emulator):
    threads, files = threads_of_emulators(), open_files()
    for _ in range(20):
        with socket.create_connection((emulator.host, emulator.port), 5):
            pass
    talk(emulator, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")  # all before it were accepted
    until(lambda: threads_of_emulators() == threads)
    assert len(open_files()) <= len(files) + 1


def test_stop_from_several_threads():
    with nothing_left():
        for _ in range(5):
            emu = Emulator(chunk_delay=60).start()
            socks = [socket.create_connection((emu.host, emu.port), 5) for _ in range(3)]
            assert finish(*(start(emu.stop) for _ in range(4))) == [None] * 4
            for sock in socks:  # a connection that nobody had accepted is reset
                with sock, contextlib.suppress(ConnectionResetError):
                    assert sock.recv(1) == b""


def test_stop_from_a_callable():
    def go_down(request):
        emu.stop()
        time.sleep(0.03)  # and is at work yet when the test stops it again

    with nothing_left():
        emu = Emulator().start()
        giga = client_of(emu, max_retries=0)
        emu.enqueue(go_down)
        assert isinstance(outcome(CALLS["chat"], giga), TransportError)
        emu.stop()
        emu.check()
        with pytest.raises(OSError):
            socket.create_connection((emu.host, emu.port), 1)


def test_a_taken_port_leaves_nothing_open(emulator):
    with nothing_left():
        for settings in ({}, {"tls": True}):
            other = Emulator(port=emulator.port, **settings)
            with pytest.raises(OSError):
                other.start()
            assert other.ca_bundle_file is None or not os.path.exists(os.path.dirname(other.ca_bundle_file))
            other.stop()


def many_at_a_time(emulator, count):
    """Open so many connections, then ask on each; every one is answered."""
    context = trusting(emulator) if emulator.url.startswith("https") else None
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection((emulator.host, emulator.port), 20))
                 for _ in range(count)]
        if context is not None:
            socks = [stack.enter_context(context.wrap_socket(sock)) for sock in socks]
        for sock in socks:
            sock.sendall(b"GET /v1/models HTTP/1.1\r\nUser-Agent: t\r\n\r\n")
        return [sock.recv(12) for sock in socks] == [b"HTTP/1.1 401"] * count


@pytest.mark.parametrize(("tls", "count"), [
    pytest.param(True, 20, id="20 of TLS"),
    pytest.param(True, 50, id="50 of TLS", marks=LONG),
    pytest.param(False, 200, id="200 in the clear", marks=LONG)])
def test_many_connections_at_a_time(tls, count):
    with nothing_left(), Emulator(tls=tls) as emu:
        assert many_at_a_time(emu, count)


@LONG
def test_many_threads_stream_from_one_emulator(honest):
    with nothing_left(), Emulator(max_connections=200, chunk_delay=0.005) as emu:
        giga = client_of(emu, max_connections=200)
        giga.get_token()
        assert finish(*(start(streamed, giga) for _ in range(200))) == [honest["stream"]] * 200
        giga.close()


def run_script(body, *arguments):
    """Run a program in a process of its own, and return what it prints."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(body), *arguments], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=15)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


FORK = """
    import os, sys, threading
    from gigachat_lite import GigaChat
    from gigachat_lite.emulator import Emulator
""" + IN_CHILD


@needs_fork
@pytest.mark.parametrize("tls", [pytest.param(True, marks=LONG), False], ids=["tls", "clear"])
@pytest.mark.long
def test_forked_children_have_emulators_of_their_own_and_do_not_end_their_parents(tls):
    assert run_script(FORK + """
    def serve():
        with Emulator(tls=True) as own, GigaChat(**own.config) as giga:
            assert giga.chat("x").choices
        assert threading.active_count() == 1

    with Emulator(tls=sys.argv[1] == "True", chunk_delay=0.001) as emu:
        giga = GigaChat(**emu.config, max_retries=0)
        stream = giga.stream("x")
        next(stream)
        in_child(emu.stop)  # as a child does that leaves the `with` which it has inherited
        in_child(serve)
        assert list(stream)[-1].choices[0].finish_reason == "stop"
        assert GigaChat(**emu.config, max_retries=0).chat("x").choices
    print("good")
    """, str(tls)) == "good\n"


# ---- Streams by their parts, several answers at once


def events_of(emulator, **fields):
    giga = client_of(emulator)
    return list(giga.stream(dict(ASKED, **fields)))


def test_update_interval_makes_fewer_larger_events_of_the_same_text(emulator, honest):
    counts = []
    for interval in (None, 0, 0.05, 0.2, 1, 1000):
        chunks = events_of(emulator, **({} if interval is None else {"update_interval": interval}))
        texts = [chunk.choices[0].delta.content for chunk in chunks]
        assert "".join(texts) == honest["stream"] and chunks[-1].usage and chunks[-1].choices[0].finish_reason == "stop"
        assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
        counts.append(len(chunks))
    assert counts[0] == counts[1] >= counts[2] > counts[3] > counts[4] >= counts[5] == 2
    assert counts == sorted(counts, reverse=True)


def test_update_interval_keeps_the_pace_of_the_whole():
    with Emulator(chunk_delay=0.004) as emu:
        giga = client_of(emu)
        giga.get_token()
        took, counts = [], []
        for interval in (0, 0.02):
            began = time.monotonic()
            counts.append(len(list(giga.stream(dict(ASKED, update_interval=interval)))))
            took.append(time.monotonic() - began)
    assert counts[1] * 3 < counts[0]
    assert took[0] >= (counts[0] - 1) * 0.004 * 0.9 and took[1] >= (counts[1] - 1) * 0.02 * 0.9


def test_n_gives_so_many_choices(emulator, honest):
    giga = client_of(emulator)
    for n in (1, 2, 4):
        answer_ = giga.chat(dict(ASKED, n=n))
        assert [choice.index for choice in answer_.choices] == list(range(n))
        texts = [choice.message.content for choice in answer_.choices]
        assert texts[0] == honest["chat"] and len(set(texts)) == n
        assert {choice.finish_reason for choice in answer_.choices} == {"stop"}
    assert answer_.usage.completion_tokens > giga.chat(ASKED).usage.completion_tokens
    assert answer_.usage.total_tokens == answer_.usage.prompt_tokens + answer_.usage.completion_tokens


def test_n_is_streamed_by_index(emulator):
    plain = client_of(emulator).chat(dict(ASKED, n=3))
    chunks = events_of(emulator, n=3, update_interval=0.1)
    for index in range(3):
        own = [chunk for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(chunk.choices[0].delta.content for chunk in own) == plain.choices[index].message.content
        assert [chunk.choices[0].finish_reason for chunk in own] == [None] * (len(own) - 1) + ["stop"]
        assert [chunk.choices[0].delta.role for chunk in own] == ["assistant"] + [None] * (len(own) - 1)
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert dict(chunks[-1].usage) == dict(plain.usage)


@pytest.mark.long
def test_certificates_do_not_outlive_an_emulator_that_nobody_stopped():
    code = ("from gigachat_lite import Emulator\nemulator = Emulator(tls=True).start()\n"
            "print(emulator.ca_bundle_file)")
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, timeout=15)
    folder = os.path.dirname(done.stdout.decode().strip())
    assert done.returncode == 0 and "emulator" in folder and not os.path.exists(folder)


@pytest.mark.parametrize("wrong", [{"status": "503"}, {"status": 99}, {"status": 600}, {"delay": "soon"}], ids=str)
def test_a_script_that_cannot_work_is_refused_where_it_is_written(emulator, wrong):
    with pytest.raises(ValueError):
        emulator.enqueue(**wrong)
    assert emulator.unused == []


@pytest.mark.parametrize("name", ["config", "environ"])
def test_there_are_no_settings_before_there_is_an_address(name):
    with pytest.raises(RuntimeError, match="started"):
        getattr(Emulator(), name)


@pytest.mark.parametrize("settings", [
    {"scope": "PERS"}, {"token_lifetime": float("inf")}, {"chunk_delay": float("nan")}, {"chunk_delay": -1},
    {"max_connections": 0}, {"max_connections": 1.5}], ids=str)
def test_numbers_and_scopes_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError):
        Emulator(**settings)
