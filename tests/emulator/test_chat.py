"""The chat of both versions: streams, functions, pictures and documents, choices, formats."""

from __future__ import annotations

import json
import re
import time
import uuid

import pytest

from caller import compact, shape
from gigachat_lite.emulator import Emulator
from recorded import STREAM, STREAM_V2

from .helpers import ASKED, CHAT, CHAT2, STREAMED, SYNTAX, WEATHER, Raw, client_of, refused, upload, v1, v2

TOOLS = [{"functions": {"specifications": [WEATHER]}}]
CALL = {"role": "assistant", "content": [{"function_call": {"name": "getWeather", "arguments": {"city": "Москва"}}}]}
RESULT = {"role": "tool", "content": [{"function_result": {"name": "getWeather", "result": {"temperature": 3}}}]}
SEARCH = {"tools": [{"web_search": {"type": "actual_info_web_search"}}],
          "tool_config": {"mode": "forced", "tool_name": "web_search"}}


# ---- Streams of the first version


def events_v1(content):
    lines = content.decode("utf-8").split("\n\n")
    assert lines.pop() == "" and lines.pop() == "data: [DONE]"
    assert all(line.startswith("data: {") and "\n" not in line for line in lines)
    return [json.loads(line[6:]) for line in lines]


def test_a_stream_has_the_recorded_skeleton(caller):
    answer = caller.ask("POST", CHAT, STREAMED, Accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["transfer-encoding"] == "chunked" and "content-length" not in answer.headers
    assert {"x-request-id", "x-session-id"} <= set(answer.headers)
    ours, recorded = map(shape, events_v1(answer.content)), [shape(event) for event in events_v1(STREAM.encode())]
    first, *middle, last = ours
    assert first == recorded[0] and last == recorded[-1]
    assert len(middle) > 1 and all(event == recorded[1] for event in middle)
    assert "Байкал" in answer.content.decode("utf-8") and b"\\u04" not in answer.content


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("question", ["Расскажи о Байкале", "Напиши код на Python", "ы" * 200, "2 + 2", "\ud800"])
def test_a_stream_joins_to_the_plain_answer(caller, question, limit):
    body = v1(question, max_tokens=limit)
    plain = caller.ask("POST", CHAT, body).json
    events = events_v1(caller.ask("POST", CHAT, dict(body, stream=True)).content)
    choice, usage = plain["choices"][0], plain["usage"]
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == choice["message"]["content"]
    assert events[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert events[-1]["usage"] == usage and plain["model"] == "GigaChat-2-Max:2.0.30.01"
    assert choice["finish_reason"] == "stop" or usage["completion_tokens"] == limit
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_events_leave_one_by_one():
    with Emulator(chunk_delay=0.01) as emulator, Raw(emulator, client_of(emulator).get_token().access_token) as raw:
        response = raw.send(STREAMED)
        began, first = time.monotonic(), response.fp.peek(1)
        assert b"data: {" in first and b"[DONE]" not in first
        assert response.read().endswith(b"data: [DONE]\n\n")
        assert time.monotonic() - began > 0.05


def test_an_update_interval_makes_fewer_events(emulator, honest):
    counts = []
    for interval in (None, 0, 0.05, 0.2, 1, 1000):
        fields = {} if interval is None else {"update_interval": interval}
        chunks = list(client_of(emulator).stream(dict(ASKED, **fields)))
        texts = [chunk.choices[0].delta.content for chunk in chunks]
        assert "".join(texts) == honest["stream"] and chunks[-1].usage and chunks[-1].choices[0].finish_reason == "stop"
        assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
        counts.append(len(chunks))
    assert counts[0] == counts[1] >= counts[2] > counts[3] > counts[4] >= counts[5] == 2


def test_n_gives_so_many_choices(caller, honest):
    usages = []
    for n in (1, 2, 4):
        plain = caller.ask("POST", CHAT, dict(ASKED, n=n)).json
        texts = [choice["message"]["content"] for choice in plain["choices"]]
        assert texts[0] == honest["chat"] and len(set(texts)) == n
        assert [choice["index"] for choice in plain["choices"]] == list(range(n))
        events = events_v1(caller.ask("POST", CHAT, dict(STREAMED, n=n, update_interval=0.1)).content)
        for index in range(n):
            own = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
            assert "".join(choice["delta"]["content"] for choice in own) == texts[index]
            assert [choice.get("finish_reason") for choice in own] == [None] * (len(own) - 1) + ["stop"]
            assert [choice["delta"].get("role") for choice in own] == ["assistant"] + [None] * (len(own) - 1)
        assert ["usage" in event for event in events] == [False] * (len(events) - 1) + [True]
        assert events[-1]["usage"] == plain["usage"]
        usages.append(plain["usage"]["completion_tokens"])
    assert usages == sorted(set(usages))


# ---- Streams of the second version


def events_v2(content):
    """Return names and data of a stream, whose framing is a line of each, LF alone, and no `[DONE]`."""
    blocks = content.decode("utf-8").split("\n\n")
    assert blocks.pop() == "" and "\r" not in content.decode("utf-8")
    parts = [re.fullmatch(r"event: response\.(\S+)\ndata: ({.+})", block) for block in blocks]
    made = [(part.group(1), json.loads(part.group(2))) for part in parts if part]
    again = [b"event: response.%b\ndata: %b\n\n" % (name.encode(), compact(data)) for name, data in made]
    assert b"".join(again) == content
    return made


def test_a_stream_is_to_the_byte_as_recorded(caller):
    answer = caller.ask("POST", CHAT2, v2("Count from 1 to 3", stream=True), Accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream" and answer.headers["transfer-encoding"] == "chunked"
    plain = re.sub(rb'("(?:created_at|\w+_tokens)":)\d+', rb"\g<1>0", answer.content)
    assert plain == re.sub(rb'("(?:created_at|\w+_tokens)":)\d+', rb"\g<1>0", STREAM_V2.encode())


AT_WORK = ["tool.in_progress", "tool.completed"]
STREAMS = {
    "words": (v2("Расскажи о Байкале"), [], None),
    "search": (v2("Что нового?", **SEARCH), [*AT_WORK, "inline_data"], "web_search"),
    "picture": (v2("Нарисуй кота", tools=[{"image_generate": {}}]), [*AT_WORK, "files"], "image_generate"),
    "model": (v2("Сделай 3D кота", tools=[{"image_generate": {}}, {"model_3d_generate": {}}]),
              [*AT_WORK, "files"], "model_3d_generate"),
}


@pytest.mark.parametrize("name", list(STREAMS))
def test_named_events_join_to_the_plain_answer(caller, name):
    body, first, tool = STREAMS[name]
    events = events_v2(caller.ask("POST", CHAT2, dict(body, stream=True)).content)
    plain = caller.ask("POST", CHAT2, body).json
    kinds = [kind if kind != "message.delta" else next(iter(data["messages"][0]["content"][0]))
             for kind, data in events]
    assert kinds == [*first, *["text"] * (len(events) - len(first) - 1), "message.done"]
    assert all(list(data["messages"][0]) == ["role", "content"] for kind, data in events[:-1])
    texts = [data["messages"][0]["content"][0].get("text", "") for kind, data in events if kind == "message.delta"]
    last = events[-1][1]
    assert "".join(texts) == plain["messages"][0]["content"][-1]["text"]
    assert last["usage"] == plain["usage"] and last["finish_reason"] == plain["finish_reason"] == "stop"
    assert len({(data["model"], data["created_at"]) for _, data in events}) == 1
    if tool is None:
        assert list(last) == ["model", "created_at", "finish_reason", "usage"]
        assert list(plain["messages"][0]) == ["role", "content"]
        return
    assert [list(part) for part in plain["messages"][0]["content"]] == [
        ["text", "inline_data"]] if name == "search" else [["files"], ["text"]]
    works = [data["messages"][0]["content"][0]["tool_execution"] for _, data in events[:2]]
    assert works == [{"id": "", "name": tool}, {"id": "", "name": tool, "status": "success"}]
    assert shape(last["messages"]) == [[("role", "str"), ("tool_state_id", "str")]]
    assert list(last) == ["model", "created_at", "messages", "finish_reason", "usage"]
    assert list(plain["messages"][0]) == ["role", "tool_state_id", "content"]


def test_a_call_comes_whole_in_the_last_event(caller):
    body = v2("Какая погода в Москве?", tools=TOOLS)
    (name, data), = events_v2(caller.ask("POST", CHAT2, dict(body, stream=True)).content)
    plain = caller.ask("POST", CHAT2, body).json
    assert name == "message.done" and shape(data) == shape(plain) and data["finish_reason"] == "function_call"
    message = plain["messages"][0]
    assert uuid.UUID(message["tool_state_id"]) and uuid.UUID(message["content"][0]["function_call"].pop("id"))
    assert message["content"] == CALL["content"]


def test_model_options_of_the_second_version(caller):
    body = v2("Расскажи о Байкале", stream=True)
    many, few, cut = (events_v2(caller.ask("POST", CHAT2, dict(body, model_options=options)).content) for options in (
        None, {"update_interval": 0.2}, {"max_tokens": 5}))
    assert 2 < len(few) < len(many)
    assert cut[-1][1]["finish_reason"] == "length" and cut[-1][1]["usage"]["output_tokens"] == 5
    body = wanted(type="regex", regex=r"[A-Z]{3}-\d{4}")
    text = caller.ask("POST", CHAT2, body).json["messages"][0]["content"][0]["text"]
    assert re.fullmatch(r"[A-Z]{3}-\d{4}", text)


# ---- What the second version takes and refuses


def wanted(**fields):
    return v2("а", model_options={"response_format": fields})


def content(*parts, role="user"):
    return {"model": "GigaChat", "messages": [{"role": role, "content": list(parts)}]}


STATE = "01a0d344-7edd-73ff-8a9a-241b10097774"
TAKEN = {
    "round trip": v2("Погода в Москве?", dict(CALL, tools_state_id=STATE), dict(RESULT, tools_state_id=STATE),
                     tools=TOOLS),
    "described name": v2("Погода?", dict(CALL, tool_state_id=STATE), RESULT, tools=TOOLS),
    "name of v1": v2("Погода?", dict(CALL, functions_state_id=STATE), RESULT),
    "state for a call": v2("Погода?", {"role": "assistant", "tools_state_id": STATE}, RESULT),
    "role function": v2("Погода?", CALL, dict(RESULT, role="function")),
    "result in a string": v2("Погода?", CALL, {"role": "tool", "content": [
        {"function_result": {"name": "getWeather", "result": '{"temperature":3}'}}]}),
    "echo of an answer": v2("а", {"role": "assistant", "content": [
        {"tool_execution": {"id": "", "name": "web_search", "status": "success"}},
        {"text": "б", "inline_data": {"images": [], "sources": {}}}]}, {"role": "user", "content": [{"text": "в"}]}),
    "late system": v2("а", {"role": "system", "content": [{"text": "б"}]}),
    "several parts": content({"text": "а"}, {"text": "б"}),
    "nulls": v2("а", model_options=None, tools=None, tool_config=None, storage=None, stream=None),
    "empty storage": v2("а", storage={}),
    "other tools": v2("а", tools=[{"get_datetime": {}}, {"memory": {}}, {"web_search": {}}]),
    "effort off": v2("а", model_options={"reasoning": {"effort": "off"}}),
}


@pytest.mark.parametrize("name", list(TAKEN))
def test_what_the_second_version_takes(caller, name):
    answer = caller.ask("POST", CHAT2, TAKEN[name])
    assert (answer.status, answer.json.get("finish_reason")) == (200, "stop"), answer.content
    if name in ("round trip", "result in a string"):
        assert "температура — 3" in answer.json["messages"][0]["content"][0]["text"]


NO_RESULT = "Invalid params: every assistant function call must have a result in history"
NO_CALL = "Invalid params: every assistant function result must have an assistant function call in history"
# Where no words are given, the service's are not known.
REFUSED = {
    "content that is text": ({"model": "GigaChat", "messages": [{"role": "user", "content": "а"}]}, *SYNTAX),
    "part that is text": (content("а"), *SYNTAX),
    "arguments in a string": (v2("а", {"role": "assistant", "content": [
        {"function_call": {"name": "getWeather", "arguments": "{}"}}]}, RESULT), *SYNTAX),
    "result without a name": (v2("а", CALL, {"role": "tool", "content": [{"function_result": {"result": {}}}]}),
                              *SYNTAX),
    "result that is no JSON": (v2("а", CALL, {"role": "tool", "content": [
        {"function_result": {"name": "getWeather", "result": "тепло"}}]}), 400,
        "invalid function result for function getWeather json string тепло, error: JSON parse error"),
    "call without a result": (v2("а", CALL), 422, NO_RESULT),
    "call, then a question": (v2("а", CALL, v2("б")["messages"][0], RESULT), 422, NO_RESULT),
    "result without a call": (v2("а", RESULT), 422, NO_CALL),
    "unknown tool": (v2("а", tools=[{"nope": {}}]), 404, "Unknown tool nope"),
    "forced unknown tool": (v2("а", tool_config={"mode": "forced", "tool_name": "nope"}), 404, "Unknown tool nope"),
    "interpreter": (v2("а", tools=[{"code_interpreter": {}}]), 422, "Tool code_interpreter is unavailable"),
    "xml": (wanted(type="xml"), 400, 'Unknown type "xml" in response_format'),
    "no schema": (wanted(type="json_schema"), 400, "Empty schema with json format type is not supported"),
    "model": (dict(v2("а"), model="Nope"), 404, "No such model"),
    "no model": (dict(v2("а"), model=None), 404, "No such model"),
    "assistant": (v2("а", assistant_id="x"), 404, "No such assistant"),
    "logprobs": (v2("а", model_options={"top_logprobs": 6}), 422,
                 "Invalid params: model_options.top_logprobs must be in range [1, 5]"),
    "v1 field": (v2("а", temperature=1), 422, "Invalid params: unknown field temperature"),
    "type of a part": (content({"type": "text", "text": "а"}), 422,
                       "Invalid params: unknown field messages[0].content[0].type"),
    "function name": (v2("а", tools=[{"functions": {"specifications": [dict(WEATHER, name="ы")]}}]), 422, None),
    "no messages": ({"model": "GigaChat", "messages": []}, 422, None),
    "empty part": (content({}), 422, None),
    "no content": ({"model": "GigaChat", "messages": [{"role": "user"}]}, 422, None),
    "role": (content({"text": "а"}, role="nobody"), 422, None),
    "tool without a result": (v2("а", CALL, dict(RESULT, content=[{"text": "а"}])), 422, None),
    "call of a user": (v2("а", dict(CALL, role="user"), RESULT), 422, None),
    "result of a user": (v2("а", CALL, dict(RESULT, role="user")), 422, None),
    "two keys": (v2("а", tools=[{"image_generate": {}, "web_search": {}}]), 422, None),
    "forced nothing": (v2("а", tools=TOOLS, tool_config={"mode": "forced"}), 422, None),
    "forced both": (v2("а", tools=TOOLS, tool_config={
        "mode": "forced", "tool_name": "web_search", "function_name": "getWeather"}), 422, None),
    "forced unknown": (v2("а", tools=TOOLS, tool_config={"mode": "forced", "function_name": "nope"}), 422, None),
    "mode": (v2("а", tool_config={"mode": "always"}), 422, None),
    "file": (content({"files": [{"id": STATE}]}), 422, None),
    "bad regex": (wanted(type="regex", regex="("), 400, None),
    "no regex": (wanted(type="regex"), 422, None),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_the_second_version_refuses(caller, name):
    body, *expected = REFUSED[name]
    found = refused(caller.ask("POST", CHAT2, body))
    assert found == tuple(expected) or (expected == [found[0], None])
    assert refused(caller.ask("POST", CHAT2, dict(body, stream=True))) == found


def test_without_strict_what_can_be_is_answered(lenient):
    for name in ("content that is text", "part that is text", "result without a name", "call without a result",
                 "result without a call", "unknown tool", "interpreter", "v1 field", "type of a part", "two keys",
                 "tool without a result", "role", "empty part", "file", "forced nothing", "no content"):
        assert lenient.ask("POST", CHAT2, REFUSED[name][0]).status == 200, name
    assert lenient.ask("POST", CHAT2, REFUSED["model"][0]).status == 404
    assert lenient.ask("POST", "/v1/ai/check", {"input": "а", "model": "GigaCheckDetection"}).status == 200
    assert lenient.ask("POST", "/v1/threads", {"extra": 1}).status == 200
    body = {"messages": [{"role": "user", "content": "а"}], "n": "б", "extra": 1}
    assert lenient.ask("POST", "/v1/threads/messages/run", body).status == 200
    assert lenient.ask("POST", CHAT, v1("а", message={"attachments": 5})).status == 200


# ---- Pictures and documents


@pytest.mark.parametrize(("fields", "tag"), [
    ({"function_call": "auto"}, "img src"),
    ({"function_call": "auto", "functions": [WEATHER, {"name": "text2image"}]}, "img src"),
    ({"function_call": {"name": "text2image"}}, "img src"),
    ({"function_call": "auto", "functions": [{"name": "text2model3d"}]}, "div data-model-id"),
    ({"function_call": "auto", "functions": [WEATHER]}, None),
    ({"functions": [{"name": "text2image"}]}, None),
    ({"function_call": "none"}, None),
], ids=["auto", "listed", "forced", "3D", "not listed", "without auto", "none"])
def test_when_the_first_version_draws(caller, fields, tag):
    choice = caller.ask("POST", CHAT, v1("Нарисуй 3D кота", **fields), X_Client_ID="me").json["choices"][0]
    found = re.match(r'<(.+)="([0-9a-f-]{36})" fuse="true"/> вот ', choice["message"]["content"])
    assert choice["finish_reason"] == "stop" and (found.group(1) if found else None) == tag
    assert list(choice["message"]) == ["content", "role", *["functions_state_id"] * bool(tag)]
    if found:
        path = f"/v1/files/{found.group(2)}/content"
        answer = caller.ask("GET", path, X_Client_ID="me")
        assert answer.status == 200
        if tag == "img src":
            check_jpeg(answer.content)
        assert refused(caller.ask("GET", path)) == (403, f"Access to file '{found.group(2)}' is denied")


def check_jpeg(data):
    """Check the segments of a JPEG of 256 by 256 pixels (ITU T.81, B.1.1)."""
    marks, at = {}, 2
    while data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2:at + 4], "big")
        assert data[at] == 0xFF
        marks[data[at + 1]], at = data[at + 4:at + 2 + size], at + 2 + size
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9" and list(marks) == [0xE0, 0xFE, 0xDB, 0xC0, 0xC4]
    assert marks[0xE0].startswith(b"JFIF\0") and marks[0xC0][1:5] == b"\1\0\1\0"
    assert "кот" in marks[0xFE].decode("utf-8")  # the question
    assert data[at + 10:-2] == b"\0" * 256  # 1,024 blocks of two bits


def test_a_picture_announces_itself_in_a_stream(caller):
    answer = caller.ask("POST", CHAT, v1("Нарисуй кота", function_call="auto", stream=True))
    deltas = [event["choices"][0]["delta"] for event in events_v1(answer.content)]
    assert shape(deltas[0]) == [("content", "str"), ("role", "str"), ("name", "str"), ("created", "int")]
    assert (deltas[0]["role"], deltas[0]["name"]) == ("function_in_progress", "text2image")
    assert deltas[1]["role"] == "assistant" and deltas[1]["content"].startswith("<img ")


def test_a_document_answers_and_is_counted(caller):
    text = "Договор заключён в Туле. Срок аренды гаража составляет три года. Плата вносится ежемесячно."
    file = upload(caller, text.encode(), name="договор.txt")
    question = "Какой срок аренды?"
    plain = caller.ask("POST", CHAT, v1(question, function_call="auto")).json
    body = v1(question, function_call="auto", message={"attachments": [file]})
    read = caller.ask("POST", CHAT, body).json
    message = read["choices"][0]["message"]
    assert "«договор.txt»" in message["content"] and "Срок аренды гаража составляет три года." in message["content"]
    assert uuid.UUID(message["functions_state_id"])
    assert read["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 15
    del body["function_call"]
    assert "договор" not in caller.ask("POST", CHAT, body).json["choices"][0]["message"]["content"]
    second = caller.ask("POST", CHAT2, content({"text": question}, {"files": [{"id": file}]})).json
    assert "три года" in second["messages"][0]["content"][0]["text"]
    windows = upload(caller, "Кот спит.".encode("cp1251"))
    body = v1("Что с котом?", function_call="auto", message={"attachments": [windows]})
    assert "«Кот спит.»" in caller.ask("POST", CHAT, body).json["choices"][0]["message"]["content"]


def test_what_may_not_be_attached(caller):
    image, long = upload(caller, b"1", "image/png"), upload(caller, b"word " * 300_000)

    def ask(*ids, model="GigaChat-2-Max", times=1):
        message = {"role": "user", "content": "Что это?", "attachments": list(ids)}
        return caller.ask("POST", CHAT, {"model": model, "messages": [message] * times})

    assert ask(image).status == ask(image, times=10).status == 200
    assert refused(ask(image, model="GigaChat")) == (422, "Model does not support image processing")
    assert refused(ask(long)) == (422, "Unprocessable Entity")
    assert ask(image, image).status == ask(image, times=11).status == 422
    answer = caller.ask("POST", CHAT2, content({"files": [{"id": image}]}))
    assert refused(answer) == (422, "Model does not support image processing")
