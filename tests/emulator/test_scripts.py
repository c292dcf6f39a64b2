"""Scripted responses: of every kind, in their order, once; and what a test is told that left one over."""

from __future__ import annotations

import http.client
import json
import re
import time

import pytest

from caller import Caller
from clients import finish, start
from gigachat_lite import ServerError, StreamError
from gigachat_lite.emulator import Emulator, Response, response

from .helpers import ASKED, CALLS, CHAT, CHAT2, STREAMED, WEATHER, Raw, client_of, outcome, streamed, v2

# ---- A text

RUN = {"messages": [{"role": "user", "content": "Какая погода в Москве?"}], "functions": [WEATHER]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), [
    (CHAT, ASKED), (CHAT, dict(RUN, model="GigaChat", function_call="auto")), (CHAT2, v2("Нарисуй кота")),
    ("/v1/threads/messages/run", RUN)], ids=["v1", "functions", "v2", "run"])
def test_a_text_is_given_as_asked(emulator, raw, path, body, stream):
    emulator.enqueue(text="Сорок два")
    emulator.enqueue(text="Сорок два, и ещё много других слов")
    for text in ("Сорок два", "Сорок два, и ещё много других слов"):
        status, content = raw.ask(dict(body, stream=stream), path=path)
        told = content.decode("utf-8")
        assert status == 200 and told.startswith(("data:", "event:") if stream else "{")
        assert "".join(re.findall(r'"(?:content|text)":"([^"]*)"', told)) == text
        assert re.findall(r'"finish_reason":"(\w+)"', told) == ["stop"]
        spent = sum(map(int, re.findall(r'"(?:completion|output)_tokens":(\d+)', told)))
        assert 3 < spent < len(text) and emulator.requests[-1].scripted_text == text
    assert "Сорок два" not in raw.ask(body, path=path)[1].decode("utf-8")


def test_a_text_answers_a_run_in_the_background(emulator, raw):
    emulator.enqueue(text="Сорок два")
    thread = json.loads(raw.ask({"messages": RUN["messages"]}, path="/v1/threads/messages")[1].decode())["thread_id"]
    assert b"in_progress" in raw.ask({"thread_id": thread}, path="/v1/threads/run")[1]
    told = json.loads(raw.ask(path="/v1/threads/run?thread_id=" + thread, method="GET")[1].decode())
    assert (told["messages"][-1]["content"], told["messages"][-1]["finish_reason"]) == ("Сорок два", "stop")


def test_a_text_waits_for_a_generation(emulator, raw):
    emulator.enqueue(text="раз")
    emulator.enqueue(text="два", fault="cut:10", path="/chat/completions")
    emulator.enqueue(text="")
    emulator.enqueue(503)
    assert raw.ask(path="/v1/models", method="GET")[0] == 503
    choices = json.loads(raw.ask(dict(ASKED, n=2, max_tokens=1))[1].decode())["choices"]
    assert choices[0]["message"]["content"] == "раз" != choices[1]["message"]["content"]
    assert emulator.unused == ["the text 'два' for /chat/completions with the fault cut:10", "the text ''"]
    with pytest.raises(http.client.IncompleteRead):
        raw.ask(ASKED)
    raw.connection.close()
    assert raw.ask(dict(ASKED, messages=[]))[0] == 422 and emulator.unused == []  # the checks are the service's own


@pytest.mark.parametrize("others", [
    {"status": 200}, {"body": "x"}, {"events": ["x"]}, {"headers": {"a": "b"}}, {"status": lambda request: 200}])
def test_a_text_goes_with_nothing_exclusive(emulator, others):
    with pytest.raises(ValueError, match=f"^text= is what the model says, .* not with {next(iter(others))}=$"):
        emulator.enqueue(text="x", **others)
    for wrong in ({"text": 5}, {"status": "Сорок два"}):
        with pytest.raises(ValueError, match="text="):
            emulator.enqueue(**wrong)
    assert emulator.unused == []


# ---- Bodies, headers, events

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


def test_a_delay_alone_keeps_the_real_answer(emulator, raw):
    emulator.enqueue(delay=0.02)
    emulator.enqueue(503, delay=0.02)
    began = time.monotonic()
    assert json.loads(raw.ask(ASKED)[1].decode())["choices"] and time.monotonic() - began >= 0.02
    assert raw.ask(ASKED)[0] == 503 and time.monotonic() - began >= 0.04


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


# ---- Callables

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


def test_a_callable_may_leave_it_to_the_service(emulator, raw):
    seen = []
    emulator.enqueue(seen.append)
    emulator.enqueue(seen.append)
    assert json.loads(raw.ask(ASKED)[1].decode())["choices"]
    assert raw.ask(dict(ASKED, model="Nope"))[0] == 404  # its checks included
    assert seen == emulator.requests


def test_what_a_callable_raises_fails_the_test(honest):
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


# ---- Order, and what is left over


def test_scripts_left_over_fail_the_test():
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


def test_failed_tests_are_not_blamed_for_scripts():
    emu = Emulator()
    with pytest.raises(KeyError, match="its own"), emu:
        emu.enqueue(503)
        raise KeyError("its own")
    with emu:  # and nothing of it is left
        assert emu.unused == [] and CALLS["chat"](client_of(emu))


def test_scripts_by_path_and_order(emulator, raw):
    for status, path in ((501, "/embeddings"), (502, None), (503, "/completions"), (418, "/oauth"), (504, None)):
        emulator.enqueue(status, path=path)
    asked_for = [raw.ask(ASKED)[0], raw.ask(b"", path="/v1/embeddings?x=/completions")[0], raw.ask(ASKED)[0]]
    assert asked_for == [502, 501, 503] and emulator.unused == ["418 for /oauth", "504"]
    assert raw.ask("", path="/v1/token")[0] == 401  # no way to a token is scripted by accident
    with Caller(emulator) as caller:
        assert [caller.oauth().status for _ in range(2)] == [418, 200]
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


@pytest.mark.parametrize("wrong", [{"status": "503"}, {"status": 99}, {"status": 600}, {"delay": "soon"}], ids=str)
def test_scripts_that_cannot_work_are_refused(emulator, wrong):
    with pytest.raises(ValueError):
        emulator.enqueue(**wrong)
    assert emulator.unused == []
