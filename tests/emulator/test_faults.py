"""Injected faults: what our client makes of them, and their bytes."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time

import pytest

from gigachat_lite import (
    AuthenticationError,
    RateLimitError,
    RequestTimeout,
    ResponseError,
    ServerError,
    StreamError,
    TransportError,
)
from gigachat_lite.emulator import FAULTS, Emulator, response

from .helpers import (
    ASKED,
    CALLS,
    LONG,
    STREAMED,
    Raw,
    asked,
    client_of,
    outcome,
    request_bytes,
    talk,
)

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
COSTS_NOTHING = dict.fromkeys([("reset", "models"), ("502", "models")], (1, 3))  # so it is asked again
OFTEN = {("chat", 2), ("stream", 0)}  # the other calls are long, but for where they differ


def spoilt_calls():
    for name in TABLE:
        for call in CALLS:
            for retries in (0, 2):
                rare = (call, retries) not in OFTEN and (name, call, retries) != ("reset", "models", 2)
                yield pytest.param(name, call, retries, id=f"{name}-{call}-{retries} retries",
                                   marks=[LONG] if rare else [])


@pytest.mark.parametrize(("name", "call", "retries"), list(spoilt_calls()))
def test_each_fault_raises_the_right_error(honest, name, call, retries):
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


def test_an_unused_fault_is_kept(emulator):
    emulator.fault = ["error-in-stream:1*1", "502*1"]
    giga = client_of(emulator, max_retries=0)
    met = [outcome(CALLS[call], giga) for call in ("chat", "stream", "stream")]
    assert [type(error) for error in met[:2]] == [ServerError, ServerError] and isinstance(met[2], str)
    assert [error.status_code for error in met[:2]] == [502, 500]


@pytest.mark.parametrize(("text", "says"), [
    *((text, f"no such fault: {text!r}") for text in ("teapot", "", "Cut")),
    *((text, "with numbers, TIMES at least 1") for text in (
        "cut:", "cut:-1", "cut:x", "cut:1e9", "cut:1:2", "cut*", "cut*1.5", "cut*0", "cut*-1", "cut:10,502")),
    ("slow:" + "9" * 400, ""), ("crlf:1", "the fault crlf takes no value: 'crlf:1'"),
    ("502:3", "the fault 502 takes no value: '502:3'"),
])
def test_unknown_faults_are_refused_in_a_sentence(emulator, text, says):
    for give in (lambda: Emulator(fault=["502", text]), lambda: emulator.enqueue(fault=text),
                 lambda: response(fault=text), lambda: setattr(emulator, "fault", [text])):
        with pytest.raises(ValueError) as caught:
            give()
        assert says in str(caught.value) and "\n" not in str(caught.value)
        assert "no such" not in says or all(name in str(caught.value) for name in FAULTS)
    assert emulator.unused == [] and emulator.fault is None and statuses(emulator, 1) == [200]


def test_every_fault_tells_what_it_does():
    assert set(TABLE) == set(FAULTS)
    assert all(kind.about and "\n" not in kind.about and len(kind.about) < 80 for kind in FAULTS.values())
    assert all(("VALUE" in kind.about) <= (kind.value is not None) for kind in FAULTS.values())


# ---- The bytes


def test_crlf_ends_every_line_of_a_stream(emulator, raw):
    body = raw.ask(STREAMED)[1]
    emulator.fault = "crlf"
    crlf = raw.ask(STREAMED)[1]
    mask = re.compile(rb'"created":\d+')
    assert mask.sub(b"", crlf) == mask.sub(b"", body.replace(b"\n", b"\r\n")) and b"\r" not in raw.ask(ASKED)[1]


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
@pytest.mark.parametrize("at", [0, 1, 100, 301])
def test_cut_is_exact_to_the_byte(emulator, raw, body, at):
    emulator.fault = f"cut:{at}"
    said = talk(emulator, request_bytes(raw.token, body))
    head, _, rest = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: keep-alive" in head
    if body is STREAMED:
        rest = b"".join(chunk for chunk in re.split(rb"(?:\A|\r\n)[0-9a-f]+\r\n|\r\n\Z", rest))
    assert len(rest) == at


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["plain", "stream"])
def test_close_delimited_has_no_length_but_an_end(emulator, raw, body):
    emulator.fault = "close-delimited"
    head, _, rest = talk(emulator, request_bytes(raw.token, body)).partition(b"\r\n\r\n")
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
    token = raw.token
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


def test_a_fault_of_all_answers_leaves_scripted_ones_alone(emulator, raw):
    emulator.fault = "502*1"
    emulator.enqueue(body={"a": 1})
    assert [raw.ask(ASKED)[0] for _ in range(3)] == [200, 502, 200]
