"""Hold streams to what they say: events and errors inside them, and the whole that they add up to."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest

from gigachat_lite import (
    AuthenticationError,
    ChatCompletion,
    ChatCompletionChunk,
    RateLimitError,
    ServerError,
    StreamError,
)
from servers import CHAT_BODY, CHAT_TEXT, STREAM_TEXT, STREAM_TEXTS, reply, sse
from streaming import EVENTS, fails, new_client, read

CHAT = reply(body=CHAT_BODY)
TWO_TEXTS = "".join(STREAM_TEXTS[:2])


@pytest.fixture
def client():
    with contextlib.ExitStack() as stack:
        yield lambda running=None, **settings: stack.enter_context(new_client(running, **settings))


def event(content=None, index=0, **more):
    """Make an event of one choice; what is given by name goes into its delta, `finish_reason` beside it."""
    beside = {"finish_reason": more.pop("finish_reason")} if "finish_reason" in more else {}
    delta = more if content is None else dict(more, content=content)
    return {"choices": [dict(beside, delta=delta, index=index)]}


# Errors inside a stream


LIMITED = {"status": 429, "message": "Too many requests"}


def named(name, data):
    return f"event: {name}\ndata: {data}\n\n".encode()


ERRORS = {
    "429": (LIMITED, RateLimitError, "Too many requests"),
    "500": ({"status": 500, "message": "Internal"}, ServerError, "Internal"),
    "503 without words": ({"status": 503}, ServerError, "503"),
    "401": ({"status": 401, "message": "Token has expired"}, AuthenticationError, "expired"),
    "429 by name": (named("error", json.dumps(LIMITED)), RateLimitError, "Too many requests"),
    "no status": ({"message": "Слишком долго"}, StreamError, "Слишком долго"),
    "two lines": ({"message": "Слишком\nдолго"}, StreamError, "Слишком долго"),
    "a status that is none": ({"status": 200, "message": "odd"}, StreamError, "odd"),
    "a name and no status": (named("error", '{"code":7}'), StreamError, ""),
    "a name and choices": (named("error", '{"status":500,"message":"m","choices":null}'), ServerError, "m"),
    "a name and words": (named("error", "upstream timeout"), StreamError, "upstream timeout"),
    "a name and a list": (named("error", "[1]"), StreamError, ""),
    "no json": (b"data: {\n\n", StreamError, "JSON"),
    "half a json": (b'data: {"choices":[\n\n', StreamError, "JSON"),
    "a list": (b"data: []\n\n", StreamError, "JSON"),
    "a number": (b"data: 1\n\n", StreamError, "JSON"),
    "null": (b"data: null\n\n", StreamError, "JSON"),
    "too deep": (b"data: " + b"[" * 100000 + b"\n\n", StreamError, "JSON"),
    "no utf-8": (b'data: {"choices":[{"delta":{"content":"\xff"},"index":0}]}\n\n', StreamError, "UTF-8"),
    "half a letter": (b'data: {"choices":[{"delta":{"content":"\xd0"},"index":0}]}\n\n', StreamError, "UTF-8"),
    "a page": (b"<html>502</html>\n\n", StreamError, "DONE"),
    "too long": (b"data: " + b"x" * (9 << 20), StreamError, "8388608"),
}


@pytest.mark.parametrize("case", list(ERRORS))
def test_an_error_inside_a_stream_is_raised_with_what_came_and_never_repeated(server, client, case):
    wrong, kind, words = ERRORS[case]
    last = EVENTS[2:] if case != "a page" else []
    running = server([sse(EVENTS[:2] + [wrong] + last), CHAT])
    giga = client(running, max_connections=1, max_retries=5)
    text, error = fails(giga.stream("x"), kind)
    assert text == TWO_TEXTS and words in str(error) and "\n" not in str(error)
    assert len(running.requests) == 1
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT  # the place is free, whatever it was


def test_a_stream_of_nothing_is_an_error(server, client):
    giga = client(server([sse([]), sse([], "length"), sse([], "close"), sse([b": ping\n\n"])]))
    for _ in range(4):
        assert fails(giga.stream("x"))[0] == ""


@pytest.mark.parametrize(
    "odd",
    [
        named("ping", ""),
        named("ping", "hello"),
        named("ping", "1"),
        named("ping", "[]"),
        named("ping", "{}"),
        named("ping", '{"time":1}'),
        named("ping", '{"message":"alive"}'),
        named("ping", '{"status":"ok"}'),
        b"event: ping\n\n",
        b": ping\n\n",
        b"data:\n\n",
        b"data: \n\n",
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None]},
        {"choices": "x"},
        {"choices": [{}]},
        {"choices": [{"delta": None, "index": 0}]},
        {"choices": [{"delta": "x", "index": 0}]},
        {"choices": [{"delta": {}, "index": None, "finish_reason": None}]},
        event(),
        event(content=""),
        {"choices": [{"delta": {"content": None, "reasoning_content": None}, "index": 0}]},
        {"choices": [], "usage": None},
    ],
    ids=str,
)
def test_what_says_nothing_is_passed_on_or_skipped_and_changes_nothing(server, client, odd):
    places = [0, 1, len(EVENTS) - 1]
    giga = client(server([sse(EVENTS[:at] + [odd] + EVENTS[at:]) for at in places]))
    for _ in places:
        stream = giga.stream("x")
        for chunk in stream:
            assert type(chunk) is ChatCompletionChunk
        assert stream.text == STREAM_TEXT and stream.completion == WHOLE and stream.usage.total_tokens == 59


# What a stream says of itself


WHOLE = {
    "choices": [{"message": {"role": "assistant", "content": STREAM_TEXT}, "index": 0, "finish_reason": "stop"}],
    "created": 1768996176,
    "model": "GigaChat:2.0.28.2",
    "object": "chat.completion",
    "usage": {"prompt_tokens": 17, "completion_tokens": 42, "total_tokens": 59, "precached_prompt_tokens": 2},
}


def test_a_stream_tells_what_it_has_and_its_whole_only_at_its_end(server, client):
    ids = {"X-Request-ID": "r-1", "X-Session-ID": "s-1"}
    gate = threading.Event()
    stream = client(server(sse(EVENTS[:-1] + [gate] + EVENTS[-1:], headers=ids))).stream("x")
    assert (stream.text, stream.finish_reason, stream.usage, stream.completion) == ("", None, None, None)
    assert stream.x_headers == {"x-request-id": "r-1", "x-session-id": "s-1", "x-client-id": None}
    for at in range(5):
        chunk = next(stream)
        assert chunk.x_headers == stream.x_headers and chunk == json.loads(EVENTS[at][6:].decode())
        assert stream.text == "".join(STREAM_TEXTS[: at + 1]) and stream.completion is None
        assert stream.finish_reason == ("stop" if at == 4 else None) and (stream.usage is None) == (at < 4)
    gate.set()
    for _ in range(3):
        assert list(stream) == [] and next(stream, "end") == "end"
    assert stream.completion == WHOLE and type(stream.completion) is ChatCompletion
    assert stream.completion.x_headers == stream.x_headers and stream.text == STREAM_TEXT
    stream.close()
    with stream:
        assert list(stream) == [] and stream.completion.usage.total_tokens == 59


TOP = {"created": 1, "model": "m", "object": "chat.completion"}
CALL = {"name": "weather", "arguments": {"where": "Томск"}}
CALLING = {"role": "assistant", "function_call": CALL, "functions_state_id": "f-1"}
DRAWING = {"role": "function_in_progress", "name": "text2image", "created": 5, "content": "ещё 10 с"}
ANSWERS = {
    "a text": (
        [event("Да", role="assistant"), event(", "), event("вот"), event("", finish_reason="stop")],
        [{"message": {"role": "assistant", "content": "Да, вот"}, "index": 0, "finish_reason": "stop"}],
    ),
    "a reason with the last text": (
        [event("Да", role="assistant"), event("!", finish_reason="length")],
        [{"message": {"role": "assistant", "content": "Да!"}, "index": 0, "finish_reason": "length"}],
    ),
    "a function": (
        [event("", **CALLING), event(finish_reason="function_call")],
        [{"message": dict(CALLING, content=""), "index": 0, "finish_reason": "function_call"}],
    ),
    "thoughts": (
        [event(reasoning_content="Ду", role="assistant"), event("", reasoning_content="маю"), event("Да")],
        [{"message": {"role": "assistant", "content": "Да", "reasoning_content": "Думаю"}, "index": 0}],
    ),
    "two choices": (
        [event("a", role="assistant"), event("x", 1, role="assistant"), event("y", 1), event("b")]
        + [event("", 1, finish_reason="length"), event("", finish_reason="stop")],
        [
            {"message": {"role": "assistant", "content": "ab"}, "index": 0, "finish_reason": "stop"},
            {"message": {"role": "assistant", "content": "xy"}, "index": 1, "finish_reason": "length"},
        ],
    ),
    "a drawing": (
        [event(**DRAWING), event(**DRAWING), event("<img/>", role="assistant", functions_state_id="f-2")],
        [{"message": {"role": "assistant", "content": "<img/>", "functions_state_id": "f-2"}, "index": 0}],
    ),
    "null for a text": (
        [{"choices": [{"delta": {"role": "assistant", "content": None, "function_call": CALL}, "index": 0}]}],
        [{"message": {"role": "assistant", "content": "", "function_call": CALL}, "index": 0}],
    ),
}


@pytest.mark.parametrize("case", list(ANSWERS))
def test_the_whole_equals_the_answer_without_streaming(server, client, case):
    events, choices = ANSWERS[case]
    whole = dict(TOP, choices=choices, usage={"total_tokens": 3})
    last = dict(events[-1], usage={"total_tokens": 3})
    sent = [dict(each, **TOP) for each in events[:-1] + [last]]
    giga = client(server([sse(sent + ["[DONE]"]), reply(body=whole)]))
    with giga.stream("x") as stream:
        assert list(stream) == sent
    assert stream.completion == giga.chat("x") == whole
    assert stream.text == choices[0]["message"]["content"] and stream.finish_reason == choices[0].get("finish_reason")


def test_an_unknown_role_or_name_with_choices_is_passed_on(server, client):
    strange = event("b", role="oracle")
    sent = [event("a"), named("response.delta", json.dumps(strange)), event("c"), "[DONE]"]
    stream = client(server(sse(sent))).stream("x")
    assert list(stream) == [event("a"), strange, event("c")] and stream.text == "abc"


def test_usage_may_be_missing(server, client):
    stream = client(server(sse([event("a", finish_reason="stop"), "[DONE]"]))).stream("x")
    assert read(stream) == "a" and stream.usage is None and stream.completion.usage is None


# Halves of surrogate pairs, which cannot be printed


def halved(*contents):
    """Make a stream whose contents go out as they are written here, as escapes."""
    events = ['{"choices":[{"delta":{"content":"%s"},"index":0}]}' % content for content in contents]
    events.append('{"choices":[{"delta":{},"index":0,"finish_reason":"stop"}]}')
    return sse([f"data: {event}\n\n".encode() for event in [*events, "[DONE]"]])


@pytest.mark.parametrize("contents, pieces, text", [
    (["a\\ud83d", "\\ude00b"], ["a", "😀b"], "a😀b"),
    (["\\uD83D", "\\uDE00"], ["", "😀"], "😀"),
    (["\\ud83d\\ude00"], ["😀"], "😀"),
    (["a\\ud83d", "b"], ["a", "\ufffdb"], "a\ufffdb"),
    (["\\ude00b"], ["\ufffdb"], "\ufffdb"),
    (["a\\ud83d"], ["a"], "a\ufffd"),
    (["\\ud83d", "\\ud83d", "\\ude00"], ["", "\ufffd", "😀"], "\ufffd😀"),
    (["a\\ud83d", "", "\\ude00b"], ["a", "", "😀b"], "a😀b"),
    (["\\\\ud83d", "x"], ["\\ud83d", "x"], "\\ud83dx"),
])
def test_halves_of_a_pair_in_two_events_are_joined(client, server, contents, pieces, text):
    stream = client(server(halved(*contents))).stream("?")
    assert [chunk.choices[0].delta.content or "" for chunk in stream][: len(pieces)] == pieces
    assert stream.text == text == stream.completion.choices[0].message.content
    text.encode("utf-8")


def test_halves_of_two_choices_are_not_mixed(client, server):
    events = ['{"choices":[{"delta":{"content":"%s"},"index":%d}]}' % (half, index)
              for index, half in ((0, "\\ud83d"), (1, "\\ud83c"), (0, "\\ude00"), (1, "\\udf55"), (1, "\\ud83d"))]
    stream = client(server(sse([f"data: {event}\n\n".encode() for event in [*events, "[DONE]"]]))).stream("?")
    list(stream)
    assert [choice.message.content for choice in stream.completion.choices] == ["😀", "🍕\ufffd"]


def test_a_half_in_v2_and_in_an_answer_can_be_printed(client, server):
    end = b'event: response.message.done\ndata: {"finish_reason":"stop"}\n\n'
    said = 'event: response.message.delta\ndata: {"messages":[{"role":"assistant","content":[{"text":"%s"}]}]}\n\n'
    events = [(said % half).encode() for half in ("a\\ud83d", "\\ude00", "\\ud83d")] + [end]
    with client(server(sse(events))).chat.stream("?") as stream:
        list(stream)
    assert stream.text == stream.completion.text == "a😀\ufffd"
    whole = client(server(reply(body=CHAT_BODY.replace(b"Hello.", b"\\ud83d\\ude00\\ud83d!")))).chat("?")
    assert whole.choices[0].message.content == "😀\ufffd!"
