"""Simultaneous generations: how many there are, and what takes and frees a place."""

from __future__ import annotations

import contextlib
import json

import pytest

from clients import finish, start
from gigachat_lite import RateLimitError, RequestTimeout, TransportError
from gigachat_lite.emulator import Emulator
from servers import until

from .helpers import ASKED, CALLS, CHAT2, LONG, QUESTION, STREAMED, Raw, asked, client_of, outcome, streamed, v2


def open_stream(giga):
    stream = giga.stream(QUESTION)
    next(stream)
    return stream


@pytest.mark.parametrize(("settings", "places"), [
    ({}, 1), ({"scope": "GIGACHAT_API_CORP"}, 10), pytest.param({"max_connections": 3}, 3, marks=LONG),
    pytest.param({"scope": "GIGACHAT_API_B2B"}, 10, marks=LONG),
    pytest.param({"scope": "GIGACHAT_API_CORP", "max_connections": 1}, 1, marks=LONG)])
@LONG
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


def test_a_stream_read_whole_has_freed_its_place():
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


def test_as_many_threads_as_places_never_meet_429():
    with Emulator(scope="GIGACHAT_API_CORP") as emu:
        assert finish(*(start(never_too_many, emu, 6) for _ in range(10))) == [None] * 10


def test_a_run_refused_a_place_leaves_no_trace():
    with Emulator(chunk_delay=60) as emulator, contextlib.ExitStack() as stack:
        token = client_of(emulator).get_token().access_token
        first, second = (stack.enter_context(Raw(emulator, token)) for _ in range(2))
        messages = {"messages": [{"role": "user", "content": "а"}]}
        thread = json.loads(second.ask(messages, path="/v1/threads/messages")[1].decode())["thread_id"]
        first.send(v2(QUESTION, stream=True), path=CHAT2)
        body = dict(messages, thread_id=thread)
        assert second.ask(body, path="/v1/threads/messages/run")[0] == second.ask(v2("а"), path=CHAT2)[0] == 429
        listed = second.ask(path="/v1/threads/messages?thread_id=" + thread, method="GET")[1]
        assert len(json.loads(listed.decode())["messages"]) == 1


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
