"""What the emulator serves beside the chat of the first version: the second one, and all that the API has besides."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any, Iterator

import pytest

from gigachat_lite.emulator import Emulator
from gigachat_lite.emulator.regex_text import generate_match
from gigachat_lite.emulator.server_tools import make_jpeg
from test_emulator import Answer, Caller, compact, shape

CHAT2, CHAT1 = "/api/v2/chat/completions", "/api/v1/chat/completions"
WEATHER = {"name": "getWeather", "description": "Погода в городе", "parameters": {
    "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}
TOOLS = [{"functions": {"specifications": [WEATHER]}}]
CALL = {"role": "assistant", "content": [{"function_call": {"name": "getWeather", "arguments": {"city": "Москва"}}}]}
RESULT = {"role": "tool", "content": [{"function_result": {"name": "getWeather", "result": {"temperature": 3}}}]}
SEARCH = {"tools": [{"web_search": {"type": "actual_info_web_search"}}],
          "tool_config": {"mode": "forced", "tool_name": "web_search"}}


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with Emulator() as emulator, Caller(emulator) as caller:
        yield caller.log_in()


@pytest.fixture(scope="module")
def company() -> Iterator[Caller]:
    with Emulator(scope="GIGACHAT_API_CORP") as emulator, Caller(emulator) as caller:
        caller.token = caller.oauth("scope=GIGACHAT_API_CORP").json["access_token"]
        yield caller


@pytest.fixture(scope="module")
def lenient() -> Iterator[Caller]:
    with Emulator(strict=False) as emulator, Caller(emulator) as caller:
        yield caller.log_in()


def said(text: str, *more: Any, **fields: Any) -> dict[str, Any]:
    """Return a question of the second version."""
    message = {"role": "user", "content": [{"text": text}]}
    return {"model": "GigaChat-3-Ultra", "messages": [message, *more], **fields}


def asked(text: str, **fields: Any) -> dict[str, Any]:
    """Return a question of the first version."""
    message = {"role": "user", "content": text, **fields.pop("message", {})}
    return {"model": "GigaChat-2-Max", "messages": [message], **fields}


def events_of(content: bytes) -> list[tuple[str, Any]]:
    """Return names and data of a stream, whose framing is a line of each, LF alone, and no `[DONE]`."""
    blocks = content.decode("utf-8").split("\n\n")
    assert blocks.pop() == "" and "\r" not in content.decode("utf-8")
    parts = [re.fullmatch(r"event: response\.(\S+)\ndata: ({.+})", block) for block in blocks]
    made = [(part.group(1), json.loads(part.group(2))) for part in parts if part]
    again = [b"event: response.%b\ndata: %b\n\n" % (name.encode(), compact(data)) for name, data in made]
    assert b"".join(again) == content
    return made


def upload(caller: Caller, data: bytes, mime: str = "text/plain", name: str = "a.txt", **headers: str) -> str:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {mime}\r\n\r\n'
    body = head.encode() + data + b"\r\n--x--\r\n"
    answer = caller.ask("POST", "/v1/files", body, Content_Type="multipart/form-data; boundary=x", **headers)
    return str(answer.json["id"])


def refused(answer: Answer) -> tuple[int, str]:
    """Return status and text of an error, whose bytes have the service's form."""
    body = {"status": answer.status, "message": answer.json["message"]}
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.content == compact(body) + b"\n"
    return answer.status, str(body["message"])


# ---- The second version: streams


# Recorded, to the byte.
STREAM = """event: response.message.delta
data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"messages":[{"role":"assistant","content":[{"text":"1, 2, 3"}]}]}

event: response.message.done
data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"finish_reason":"stop","usage":{"input_tokens":19,"input_tokens_details":{"prompt_tokens":19,"cached_tokens":0},"output_tokens":8,"total_tokens":27}}

"""  # noqa: E501


def test_a_stream_is_to_the_byte_what_was_recorded(caller: Caller) -> None:
    answer = caller.ask("POST", CHAT2, said("Count from 1 to 3", stream=True), Accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream" and answer.headers["transfer-encoding"] == "chunked"
    plain = re.sub(rb'("(?:created_at|\w+_tokens)":)\d+', rb"\g<1>0", answer.content)
    assert plain == re.sub(rb'("(?:created_at|\w+_tokens)":)\d+', rb"\g<1>0", STREAM.encode())


DELTA, DONE = "message.delta", "message.done"
AT_WORK = ["tool.in_progress", "tool.completed"]
STREAMS = {
    "words": (said("Расскажи о Байкале"), [], None),
    "search": (said("Что нового?", **SEARCH), [*AT_WORK, "inline_data"], "web_search"),
    "picture": (said("Нарисуй кота", tools=[{"image_generate": {}}]), [*AT_WORK, "files"], "image_generate"),
    "model": (said("Сделай 3D кота", tools=[{"image_generate": {}}, {"model_3d_generate": {}}]),
              [*AT_WORK, "files"], "model_3d_generate"),
}


@pytest.mark.parametrize("name", list(STREAMS))
def test_events_come_in_their_order_and_join_to_the_plain_answer(caller: Caller, name: str) -> None:
    body, first, tool = STREAMS[name]
    events = events_of(caller.ask("POST", CHAT2, dict(body, stream=True)).content)
    plain = caller.ask("POST", CHAT2, body).json
    kinds = [kind if kind != DELTA else next(iter(data["messages"][0]["content"][0])) for kind, data in events]
    assert kinds == [*first, *["text"] * (len(events) - len(first) - 1), DONE]
    assert all(list(data["messages"][0]) == ["role", "content"] for kind, data in events[:-1])
    texts = [data["messages"][0]["content"][0].get("text", "") for kind, data in events if kind == DELTA]
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


def test_a_call_comes_whole_in_the_last_event(caller: Caller) -> None:
    body = said("Какая погода в Москве?", tools=TOOLS)
    (name, data), = events_of(caller.ask("POST", CHAT2, dict(body, stream=True)).content)
    plain = caller.ask("POST", CHAT2, body).json
    assert name == DONE and shape(data) == shape(plain) and data["finish_reason"] == "function_call"
    message = plain["messages"][0]
    assert uuid.UUID(message["tool_state_id"]) and uuid.UUID(message["content"][0]["function_call"].pop("id"))
    assert message["content"] == CALL["content"]


def test_update_interval_and_max_tokens_are_model_options(caller: Caller) -> None:
    body = said("Расскажи о Байкале", stream=True)
    many = events_of(caller.ask("POST", CHAT2, body).content)
    few = events_of(caller.ask("POST", CHAT2, dict(body, model_options={"update_interval": 0.2})).content)
    cut = events_of(caller.ask("POST", CHAT2, dict(body, model_options={"max_tokens": 5})).content)
    assert 2 < len(few) < len(many)
    assert cut[-1][1]["finish_reason"] == "length" and cut[-1][1]["usage"]["output_tokens"] == 5


# ---- The second version: what goes in


STATE = "01a0d344-7edd-73ff-8a9a-241b10097774"
TAKEN: dict[str, Any] = {
    "round trip": said("Погода в Москве?", dict(CALL, tools_state_id=STATE), dict(RESULT, tools_state_id=STATE),
                       tools=TOOLS),
    "described name": said("Погода?", dict(CALL, tool_state_id=STATE), RESULT, tools=TOOLS),
    "name of v1": said("Погода?", dict(CALL, functions_state_id=STATE), RESULT),
    "state for a call": said("Погода?", {"role": "assistant", "tools_state_id": STATE}, RESULT),
    "role function": said("Погода?", CALL, dict(RESULT, role="function")),
    "result in a string": said("Погода?", CALL, {"role": "tool", "content": [
        {"function_result": {"name": "getWeather", "result": '{"temperature":3}'}}]}),
    "echo of an answer": said("а", {"role": "assistant", "content": [
        {"tool_execution": {"id": "", "name": "web_search", "status": "success"}},
        {"text": "б", "inline_data": {"images": [], "sources": {}}}]}, {"role": "user", "content": [{"text": "в"}]}),
    "late system": said("а", {"role": "system", "content": [{"text": "б"}]}),
    "several parts": {"model": "GigaChat", "messages": [{"role": "user", "content": [{"text": "а"}, {"text": "б"}]}]},
    "nulls": said("а", model_options=None, tools=None, tool_config=None, storage=None, stream=None),
    "empty storage": said("а", storage={}),
    "other tools": said("а", tools=[{"get_datetime": {}}, {"memory": {}}, {"web_search": {}}]),
    "effort off": said("а", model_options={"reasoning": {"effort": "off"}}),
}


@pytest.mark.parametrize("name", list(TAKEN))
def test_what_the_second_version_takes(caller: Caller, name: str) -> None:
    answer = caller.ask("POST", CHAT2, TAKEN[name])
    assert (answer.status, answer.json.get("finish_reason")) == (200, "stop"), answer.content
    if name in ("round trip", "result in a string"):
        assert "температура — 3" in answer.json["messages"][0]["content"][0]["text"]


SYNTAX = (400, "Your request contains invalid JSON syntax.")
NO_RESULT = (422, "Invalid params: every assistant function call must have a result in history")
NO_CALL = (422, "Invalid params: every assistant function result must have an assistant function call in history")


def result(**fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": [{"function_result": fields}]}


def wish(**fields: Any) -> dict[str, Any]:
    return said("а", model_options={"response_format": fields})


REFUSED: dict[str, tuple[Any, tuple[int, str]]] = {
    "content that is text": ({"model": "GigaChat", "messages": [{"role": "user", "content": "а"}]}, SYNTAX),
    "part that is text": ({"model": "GigaChat", "messages": [{"role": "user", "content": ["а"]}]}, SYNTAX),
    "arguments in a string": (said("а", {"role": "assistant", "content": [
        {"function_call": {"name": "getWeather", "arguments": "{}"}}]}, RESULT), SYNTAX),
    "result without a name": (said("а", CALL, result(result={})), SYNTAX),
    "result that is no JSON": (said("а", CALL, result(name="getWeather", result="тепло")), (
        400, "invalid function result for function getWeather json string тепло, error: JSON parse error")),
    "call without a result": (said("а", CALL), NO_RESULT),
    "call, then a question": (said("а", CALL, said("б")["messages"][0], RESULT), NO_RESULT),
    "result without a call": (said("а", RESULT), NO_CALL),
    "unknown tool": (said("а", tools=[{"nope": {}}]), (404, "Unknown tool nope")),
    "forced unknown tool": (said("а", tool_config={"mode": "forced", "tool_name": "nope"}), (404, "Unknown tool nope")),
    "interpreter": (said("а", tools=[{"code_interpreter": {}}]), (422, "Tool code_interpreter is unavailable")),
    "json_object": (wish(type="json_object"), (400, 'Unknown type "json_object" in response_format')),
    "xml": (wish(type="xml"), (400, 'Unknown type "xml" in response_format')),
    "no schema": (wish(type="json_schema"), (400, "Empty schema with json format type is not supported")),
    "model": (dict(said("а"), model="Nope"), (404, "No such model")),
    "no model": (dict(said("а"), model=None), (404, "No such model")),
    "assistant": (said("а", assistant_id="x"), (404, "No such assistant")),
    "name of a function": (said("а", tools=[{"functions": {"specifications": [dict(WEATHER, name="погода")]}}]), (
        422, "Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), dot "
             "(.) and digits (not leading) are allowed.: [погода]")),
    "penalty": (said("а", model_options={"repetition_penalty": 0}), (
        422, "Invalid params: model_options.repetition_penalty must be in range (0, +inf)")),
    "logprobs": (said("а", model_options={"top_logprobs": 6}), (
        422, "Invalid params: model_options.top_logprobs must be in range [1, 5]")),
    "v1 field": (said("а", temperature=1), (422, "Invalid params: unknown field temperature")),
    "type of a part": (
        {"model": "GigaChat", "messages": [{"role": "user", "content": [{"type": "text", "text": "а"}]}]},
        (422, "Invalid params: unknown field messages[0].content[0].type")),
}
# Refused with words of the emulator's own, as the service's are not known.
REFUSED_SOMEHOW: dict[str, Any] = {
    "no messages": {"model": "GigaChat", "messages": []},
    "empty part": {"model": "GigaChat", "messages": [{"role": "user", "content": [{}]}]},
    "no content": {"model": "GigaChat", "messages": [{"role": "user"}]},
    "role": {"model": "GigaChat", "messages": [{"role": "nobody", "content": [{"text": "а"}]}]},
    "tool without a result": said("а", CALL, dict(RESULT, content=[{"text": "а"}])),
    "call of a user": said("а", dict(CALL, role="user"), RESULT),
    "result of a user": said("а", CALL, dict(RESULT, role="user")),
    "two keys": said("а", tools=[{"image_generate": {}, "web_search": {}}]),
    "forced nothing": said("а", tools=TOOLS, tool_config={"mode": "forced"}),
    "forced both": said("а", tools=TOOLS, tool_config={
        "mode": "forced", "tool_name": "web_search", "function_name": "getWeather"}),
    "forced unknown function": said("а", tools=TOOLS, tool_config={"mode": "forced", "function_name": "nope"}),
    "mode": said("а", tool_config={"mode": "always"}),
    "file": {"model": "GigaChat", "messages": [{"role": "user", "content": [{"files": [{"id": STATE}]}]}]},
    "bad regex": wish(type="regex", regex="("),
    "no regex": wish(type="regex"),
}


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_SOMEHOW])
def test_what_the_second_version_refuses(caller: Caller, name: str) -> None:
    body, expected = REFUSED.get(name) or (REFUSED_SOMEHOW.get(name), None)
    found = refused(caller.ask("POST", CHAT2, body))
    assert found == expected if expected else found[0] in (400, 422)
    assert refused(caller.ask("POST", CHAT2, dict(body, stream=True))) == found


def test_without_strict_what_can_be_answered_is(lenient: Caller) -> None:
    for name in ("content that is text", "part that is text", "result without a name", "call without a result",
                 "result without a call", "unknown tool", "interpreter", "json_object", "v1 field", "type of a part",
                 "tool without a result", "role", "empty part", "file", "two keys", "forced nothing", "no content"):
        body = REFUSED[name][0] if name in REFUSED else REFUSED_SOMEHOW[name]
        assert lenient.ask("POST", CHAT2, body).status == 200, name
    assert lenient.ask("POST", CHAT2, REFUSED["model"][0]).status == 404
    assert lenient.ask("POST", "/v1/ai/check", {"input": "а", "model": "GigaCheckDetection"}).status == 200
    assert lenient.ask("POST", "/v1/threads", {"extra": 1}).status == 200
    assert post(lenient, "/messages/run", messages=user("а"), n="б", extra=1).status == 200
    assert lenient.ask("POST", CHAT1, asked("а", message={"attachments": 5})).status == 200


def test_regular_expressions_are_matched(caller: Caller) -> None:
    body = wish(type="regex", regex=r"[A-Z]{3}-\d{4}")
    text = caller.ask("POST", CHAT2, body).json["messages"][0]["content"][0]["text"]
    assert re.fullmatch(r"[A-Z]{3}-\d{4}", text)
    for pattern in (r"^(да|нет)$", r"\+7 \(\d{3}\) \d{3}-\d\d-\d\d", r"(?P<y>\d{4})-(0[1-9]|1[0-2])", r"(x)(y|z)\2\1",
                    r"[^a-z]+@[\w.-]{3,8}\.(?:ru|com)", r"a*b+?c??", r"[а-яё]{5}", r"[\]\-.]{4}", r"\x41\u0416\n", ""):
        for seed in ("раз", "два"):
            assert re.fullmatch(pattern, generate_match(pattern, seed)), pattern
    for pattern in ("(", ")", "[", "a{2,1}", "*", "(?<", "\\", "[z-a]", "(" * 99, "x" * 9999):
        with pytest.raises(ValueError):
            generate_match(pattern, "")
    assert len(generate_match("(((a{999}){999}){999}){999}", "")) <= 5000


# ---- Pictures and documents


def read_blocks(data: bytes) -> list[tuple[int, ...]]:
    """Return the colours of the blocks of a picture, from codes of four bits, a difference, and the bit that ends."""
    bits = "".join(f"{byte:08b}" for byte in data.replace(b"\xff\x00", b"\xff"))
    blocks: list[tuple[int, ...]] = []
    colour, at = [128, 128, 128], 0
    while len(blocks) < 64:
        for component in range(3):
            size = int(bits[at:at + 4], 2)
            value = int(bits[at + 4:at + 4 + size] or "0", 2)
            colour[component] += value if not size or value >> size - 1 else value - (1 << size) + 1
            assert bits[at + 4 + size] == "0"
            at += 5 + size
        blocks.append(tuple(colour))
    assert set(bits[at:]) <= {"1"} and len(bits) - at < 8
    return blocks


def test_a_picture_is_a_jpeg_of_its_own() -> None:
    one, two = make_jpeg("кот"), make_jpeg("пёс")
    stuffed = next(data for data in map(make_jpeg, map(str, range(100))) if b"\xff\x00" in data[200:])
    assert one == make_jpeg("кот") != two
    for data in (one, two, stuffed):
        marks, at = [], 2
        assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
        while data[at] == 0xFF and data[at + 1] != 0xDA:
            size = int.from_bytes(data[at + 2:at + 4], "big")
            marks.append((data[at + 1], data[at + 4:at + 2 + size]))
            at += 2 + size
        assert [mark for mark, _ in marks] == [0xE0, 0xDB, 0xC0, 0xC4, 0xC4] and data[at + 1] == 0xDA
        assert marks[0][1].startswith(b"JFIF\0") and marks[2][1][1:5] == b"\0\x40\0\x40"  # 64 by 64
        assert not re.search(rb"\xff[^\0]", data[at + 14:-2])  # no mark inside
        blocks = read_blocks(data[at + 14:-2])
        assert len(set(blocks)) == 2 and all(0 <= value <= 255 for block in set(blocks) for value in block)
        assert all(blocks[row:row + 8] == blocks[row:row + 8][::-1] for row in range(0, 64, 8))


@pytest.mark.parametrize(("fields", "tag"), [
    pytest.param({"function_call": "auto"}, "img src", id="auto"),
    pytest.param({"function_call": "auto", "functions": [WEATHER, {"name": "text2image"}]}, "img src", id="listed"),
    pytest.param({"function_call": {"name": "text2image"}}, "img src", id="forced"),
    pytest.param({"function_call": "auto", "functions": [{"name": "text2model3d"}]}, "div data-model-id", id="3D"),
    pytest.param({"function_call": "auto", "functions": [WEATHER]}, None, id="not listed"),
    pytest.param({"functions": [{"name": "text2image"}]}, None, id="without auto"),
    pytest.param({"function_call": "none"}, None, id="none"),
])
def test_when_the_first_version_draws(caller: Caller, fields: Any, tag: str | None) -> None:
    body = asked("Нарисуй 3D кота", **fields)
    choice = caller.ask("POST", CHAT1, body, X_Client_ID="me").json["choices"][0]
    found = re.match(r'<(.+)="([0-9a-f-]{36})" fuse="true"/> вот ', choice["message"]["content"])
    assert choice["finish_reason"] == "stop" and (found.group(1) if found else None) == tag
    assert list(choice["message"]) == ["content", "role", *["functions_state_id"] * bool(tag)]
    if found:
        path = f"/v1/files/{found.group(2)}/content"
        assert caller.ask("GET", path, X_Client_ID="me").status == 200
        assert refused(caller.ask("GET", path)) == (403, f"Access to file '{found.group(2)}' is denied")


def test_a_picture_announces_itself_in_a_stream(caller: Caller) -> None:
    answer = caller.ask("POST", CHAT1, asked("Нарисуй кота", function_call="auto", stream=True))
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in answer.content.decode().split("\n\n")[:-2]]
    assert shape(deltas[0]) == [("content", "str"), ("role", "str"), ("name", "str"), ("created", "int")]
    assert (deltas[0]["role"], deltas[0]["name"]) == ("function_in_progress", "text2image")
    assert deltas[1]["role"] == "assistant" and deltas[1]["content"].startswith("<img ")


DOCUMENT = "Договор заключён в Туле. Срок аренды гаража составляет три года. Плата вносится ежемесячно.".encode()


def test_a_document_answers_and_is_counted(caller: Caller) -> None:
    file = upload(caller, DOCUMENT, name="договор.txt")
    question = "Какой срок аренды?"
    plain = caller.ask("POST", CHAT1, asked(question, function_call="auto")).json
    body = asked(question, function_call="auto", message={"attachments": [file]})
    read = caller.ask("POST", CHAT1, body).json
    message = read["choices"][0]["message"]
    assert "«договор.txt»" in message["content"] and "Срок аренды гаража составляет три года." in message["content"]
    assert uuid.UUID(message["functions_state_id"])
    assert read["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 15
    del body["function_call"]
    assert "договор" not in caller.ask("POST", CHAT1, body).json["choices"][0]["message"]["content"]
    parts = [{"text": question}, {"files": [{"id": file}]}]
    second = caller.ask("POST", CHAT2, {"model": "GigaChat", "messages": [{"role": "user", "content": parts}]}).json
    assert "три года" in second["messages"][0]["content"][0]["text"]
    windows = upload(caller, "Кот спит.".encode("cp1251"))
    body = asked("Что с котом?", function_call="auto", message={"attachments": [windows]})
    assert "«Кот спит.»" in caller.ask("POST", CHAT1, body).json["choices"][0]["message"]["content"]


def test_what_may_not_be_attached(caller: Caller) -> None:
    image, long = upload(caller, b"1", "image/png"), upload(caller, b"word " * 300_000)

    def ask(*ids: str, model: str = "GigaChat-2-Max", times: int = 1) -> Answer:
        message = {"role": "user", "content": "Что это?", "attachments": list(ids)}
        return caller.ask("POST", CHAT1, {"model": model, "messages": [message] * times})

    assert ask(image).status == ask(image, times=10).status == 200
    assert refused(ask(image, model="GigaChat")) == (422, "Model does not support image processing")
    assert refused(ask(long)) == (422, "Unprocessable Entity")
    assert ask(image, image).status == ask(image, times=11).status == 422
    parts = [{"files": [{"id": image}]}]
    second = {"model": "GigaChat", "messages": [{"role": "user", "content": parts}]}
    assert refused(caller.ask("POST", CHAT2, second)) == (422, "Model does not support image processing")


# ---- Checks and conversions


def test_a_description_is_validated(caller: Caller) -> None:
    def ask(body: Any) -> Any:
        return caller.ask("POST", "/v1/functions/validate", body).content.decode()

    whole = dict(WEATHER, return_parameters={"type": "object"}, few_shot_examples=[{"request": "а", "params": {}}])
    assert ask(dict(whole, few_shot_examples=[])) == (
        '{"status":200,"message":"Function is valid","json_ai_rules_version":"1.0.5","warnings":[{"description":'
        '"few_shot_examples are missing","schema_location":"(root)"}]}')
    assert ask({"parameters": {}}) == (
        '{"status":200,"message":"Incorrect function syntax","json_ai_rules_version":"1.0.5","errors":[{"description":'
        '"name is required","schema_location":"(root)"}]}')
    assert ask(whole) == '{"status":200,"message":"Function is valid","json_ai_rules_version":"1.0.5"}'
    inner = {"type": "object", "properties": {"data": {"type": "object"}}}
    for wrong in (dict(whole, name="погода"), dict(whole, parameters="{}"), dict(whole, parameters=inner), {}):
        assert json.loads(ask(wrong))["message"] == "Incorrect function syntax"
    assert refused(caller.ask("POST", "/v1/functions/validate", "[]")) == SYNTAX


def test_openapi_becomes_functions(caller: Caller) -> None:
    loop = {"$ref": "#/components/schemas/Loop"}
    document = {
        "paths": {"/cities/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {"summary": "Город", "responses": {"200": {"content": {"application/json": {"schema": loop}}}}},
            "put": {"operationId": "change city!", "requestBody": {"content": {"application/json": {"schema": {
                "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}}}}}},
        "components": {"schemas": {
            "Loop": {"type": "object", "properties": {"again": loop, "n": {"type": "integer"}}}}}}
    get, put = caller.ask("POST", "/v1/functions/convert", json.dumps(document)).json["functions"]
    assert (get["name"], get["description"]) == ("get_cities_id", "Город")
    assert get["parameters"] == {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    assert get["return_parameters"]["properties"] == {"again": {}, "n": {"type": "integer"}}
    assert put["name"] == "change_city" and "return_parameters" not in put
    assert put["parameters"]["required"] == ["id", "name"] and list(put["parameters"]["properties"]) == ["id", "name"]
    for wrong in ("openapi: 3.0.0", "[]", "{}", '{"paths":[]}', ""):
        assert refused(caller.ask("POST", "/v1/functions/convert", wrong)) == SYNTAX


def test_balance_and_judgement_are_for_different_customers(caller: Caller, company: Caller) -> None:
    assert caller.ask("GET", "/v1/balance").content == (
        b'{"balance":[{"usage":"GigaChat","value":900000},{"usage":"embeddings","value":9999967}]}')
    body = {"input": "Слово " * 40 + ". Так.", "model": "GigaCheckDetection"}
    for who, method, path in ((company, "GET", "balance"), (caller, "POST", "ai/check"), (caller, "GET", "batches")):
        assert refused(who.ask(method, "/v1/" + path, body)) == (403, "Permission denied")
    answer = company.ask("POST", "/v1/ai/check", body).json
    assert shape(answer) == [
        ("category", "str"), ("characters", "int"), ("tokens", "int"), ("ai_intervals", [["int"]])]
    (start, end), = answer["ai_intervals"]
    assert (answer["category"], body["input"][start - 1:end].strip()) == ("mixed", ("Слово " * 40 + ".").strip())
    other = company.ask("POST", "/v1/ai/check", dict(body, model="GigaCheckClassification")).json
    assert (other["category"], other["ai_intervals"]) == ("ai", [])
    assert refused(company.ask("POST", "/v1/ai/check", dict(body, model="GigaChat"))) == (404, "No such model")
    assert refused(company.ask("POST", "/v1/ai/check", dict(body, input="Мало слов")))[0] == 422


# ---- Batches


def ask_batch(company: Caller, *lines: Any, method: str = "chat_completions") -> Answer:
    raw = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    return company.ask("POST", f"/v1/batches?method={method}", raw.encode(), Content_Type="application/octet-stream")


def test_a_batch_is_done_by_and_by(company: Caller) -> None:
    made = ask_batch(company, {"id": "б", "request": asked("2 + 2")}, "", {"id": "в", "request": {"model": "Nope"}},
                     {"id": "г", "request": asked("2 + 3")})
    assert shape(made.json) == [
        ("id", "str"), ("method", "str"), ("request_counts", [("total", "int")]), ("status", "str"),
        ("created_at", "int"), ("updated_at", "int")]
    assert (made.json["status"], made.json["request_counts"]) == ("created", {"total": 3})
    path = "/v1/batches?batch_id=" + made.json["id"]
    steps = [company.ask("GET", path).json["batches"] for _ in range(3)]
    assert [[batch["status"] for batch in step] for step in steps] == [["in_progress"], ["completed"], ["completed"]]
    done = steps[-1][0]
    assert done["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert done in company.ask("GET", "/v1/batches").json["batches"]
    output = company.ask("GET", f"/v1/files/{done['output_file_id']}/content").content
    good, bad, _ = map(json.loads, output.decode().splitlines())
    assert good["id"] == "б" and good["result"]["choices"][0]["message"]["content"] == "2 + 2 = 4"
    assert bad == {"id": "в", "error": {"status": 422, "message": "Invalid params: messages must not be empty"}}


def test_a_batch_of_vectors(company: Caller) -> None:
    body = {"model": "Embeddings", "input": ["раз"]}
    batch = ask_batch(company, {"id": "1", "request": body}, method="embedder").json
    for _ in range(2):
        step = company.ask("GET", "/v1/batches?batch_id=" + batch["id"]).json["batches"][0]
    line = company.ask("GET", f"/v1/files/{step['output_file_id']}/content").json
    assert line["result"] == company.ask("POST", "/v1/embeddings", body).json


def test_what_no_batch_can_be(company: Caller) -> None:
    assert refused(company.ask("GET", "/v1/batches?batch_id=x")) == (404, "Batch task not found")
    line = {"id": "1", "request": {}}
    for lines in (["x"], [{"id": 1, "request": {}}], [{"id": "1"}]):
        assert refused(ask_batch(company, *lines)) == SYNTAX
    assert ask_batch(company).status == ask_batch(company, line, line).status == 422
    assert ask_batch(company, line, method="x").status == 422


# ---- Assistants and threads


def test_an_assistant_lives_until_it_is_deleted(caller: Caller) -> None:
    def ask(path: str, **body: Any) -> Answer:
        return caller.ask("POST", "/v1/assistants" + path, body)

    file = upload(caller, b"a")
    made = ask("", model="GigaChat-Pro", name="а", instructions="Отвечай", file_ids=[file], functions=[WEATHER]).json
    assert shape(made) == [("assistant_id", "str"), ("created_at", "int")]
    name = made["assistant_id"]
    changed = ask("/modify", assistant_id=name, name="б", description=None).json
    assert (changed["name"], changed["instructions"], changed["file_ids"]) == ("б", "Отвечай", [file])
    assert caller.ask("GET", "/v1/assistants?assistant_id=" + name).json == {"data": [changed]}
    assert changed in caller.ask("GET", "/v1/assistants").json["data"]
    assert ask("/files/delete", assistant_id=name, file_id=file).json == {"file_id": file, "deleted": True}
    assert ask("/files/delete", assistant_id=name, file_id=file).status == 404
    body = {"assistant_id": name, "messages": [{"role": "user", "content": "Погода в Туле?"}], "function_call": "auto"}
    run = caller.ask("POST", "/v1/threads/messages/run", body).json
    assert run["finish_reason"] == "function_call" and run["message"]["function_call"]["name"] == "getWeather"
    second = caller.ask("POST", CHAT2, {"messages": said("а")["messages"], "assistant_id": name}).json
    assert second["model"].startswith("GigaChat-Pro:")
    assert ask("/delete", assistant_id=name).json == {"assistant_id": name, "deleted": True}
    for path in ("/delete", "/modify"):
        assert refused(ask(path, assistant_id=name)) == (404, "No such assistant")


@pytest.mark.parametrize(("fields", "status"), [
    ({"model": "Nope"}, 404), ({"name": None}, 422), ({"name": 1}, 400), ({"file_ids": ["x"]}, 404),
    ({"metadata": {str(n): n for n in range(17)}}, 422), ({"functions": [dict(WEATHER, name="1")]}, 422),
    ({"extra": 1}, 422), ({"metadata": {str(n): n for n in range(16)}}, 200)])
def test_what_an_assistant_may_be(caller: Caller, fields: Any, status: int) -> None:
    assert caller.ask("POST", "/v1/assistants", {"model": "GigaChat", "name": "а", **fields}).status == status


def post(caller: Caller, path: str, **body: Any) -> Answer:
    return caller.ask("POST", "/v1/threads" + path, body)


def user(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def test_a_run_answers_what_a_thread_ends_with(caller: Caller) -> None:
    thread = post(caller, "").json
    assert (thread["status"], thread["run_lock"]) == ("ready", False)
    name = thread["id"]
    assert post(caller, "/run", thread_id=name).status == 422  # there is nothing to answer
    added = post(caller, "/messages", thread_id=name, messages=user("Меня зовут Анна", "2 + 2")).json
    assert added["thread_id"] == name and len(added["messages"]) == 2
    begun = post(caller, "/run", thread_id=name).json
    assert list(begun.items())[:2] == [("status", "in_progress"), ("thread_id", name)]
    looked = caller.ask("GET", "/v1/threads/run?thread_id=" + name).json
    assert looked["status"] == "ready" and [m["content"] for m in looked["messages"]][1:] == ["2 + 2", "2 + 2 = 4"]
    answer = post(caller, "/messages/run", thread_id=name, messages=user("Как меня зовут?")).json
    assert answer["message"] == {"content": "Вас зовут Анна.", "role": "assistant"}
    assert post(caller, "/messages/run", thread_id=name, messages=user("Как меня зовут?"), limit=1).json["message"][
        "content"] == "Вы ещё не представились."
    listed = caller.ask("GET", f"/v1/threads/messages?thread_id={name}&limit=2").json["messages"]
    assert [m["role"] for m in listed] == ["user", "assistant"] and listed[1]["finish_reason"] == "stop"
    assert not caller.ask("GET", f"/v1/threads/messages?thread_id={name}&before=1").json["messages"]
    deleted = post(caller, "/delete", thread_id=name)
    assert (deleted.status, deleted.content) == (200, b"")
    assert post(caller, "/retrieve", threads_ids=[name]).json == {"threads": []}
    assert refused(post(caller, "/delete", thread_id=name)) == (404, "No such thread")


def test_what_is_refused_leaves_a_thread_as_it_was(caller: Caller) -> None:
    name = post(caller, "/messages", messages=user("а")).json["thread_id"]
    before = caller.ask("GET", "/v1/threads/messages?thread_id=" + name).content
    threads = caller.ask("GET", "/v1/threads").content
    function = {"role": "function", "content": "{}"}
    for body, status in (
            ({"messages": [function]}, 422), ({"messages": user("б"), "temperature": 3}, 422), ({"messages": []}, 422),
            ({"messages": user("б"), "assistant_id": "x"}, 404), ({"messages": [{"role": "user", "content": 1}]}, 400),
            ({"messages": user("б"), "functions": [dict(WEATHER, name="1")]}, 422),
            ({"messages": [{"role": "assistant", "content": "б"}]}, 422)):
        assert post(caller, "/messages/run", thread_id=name, **body).status == status, body
        assert post(caller, "/messages/run", model="Nope", **body).status in (status, 404), body
    assert caller.ask("GET", "/v1/threads/messages?thread_id=" + name).content == before
    assert caller.ask("GET", "/v1/threads").content == threads
    for path in ("threads?limit=-1", "threads?before=x", f"threads/messages?thread_id={name}&limit=1.5"):
        assert refused(caller.ask("GET", "/v1/" + path)) == SYNTAX


def test_a_stream_of_a_run_shares_its_tokens_out(caller: Caller) -> None:
    body = {"messages": user("Расскажи о Байкале"), "model": "GigaChat-Pro"}
    plain = post(caller, "/messages/run", **body).json
    answer = post(caller, "/messages/run", stream=True, **body)
    assert answer.headers["content-type"] == "text/event-stream" and answer.content.endswith(b"}\n\ndata: [DONE]\n\n")
    blocks = answer.content.split(b"\n\n")[:-2]
    events = [json.loads(block[6:].decode()) for block in blocks]
    assert [b"data: " + compact(event) for event in events] == blocks and len(events) > 3
    assert list(events[0]) == ["choices", "created", "model", "object", "usage", "thread_id", "message_id"]
    choices = [event["choices"][0] for event in events]
    assert [list(choice["delta"]) for choice in choices] == [["content", "role"]] + [["content"]] * (len(events) - 1)
    assert [choice.get("finish_reason") for choice in choices] == [None] * (len(events) - 1) + ["stop"]
    assert "".join(choice["delta"]["content"] for choice in choices) == plain["message"]["content"]
    for name, total in plain["usage"].items():
        assert sum(event["usage"][name] for event in events) == total
    assert [event["usage"]["prompt_tokens"] for event in events[1:]] == [0] * (len(events) - 1)


def test_a_run_takes_a_place_and_leaves_no_trace_where_there_is_none() -> None:
    with Emulator(chunk_delay=60) as emulator, Caller(emulator) as first, Caller(emulator) as second:
        second.token = first.log_in().token
        name = post(first, "/messages", messages=user("а")).json["thread_id"]
        headers = {"Authorization": "Bearer " + first.token, "User-Agent": "tests"}
        first.connection.request("POST", CHAT2, compact(said("Расскажи о Байкале", stream=True)), headers)
        first.connection.getresponse()
        for answer in (post(second, "/messages/run", thread_id=name, messages=user("б")), second.ask(
                "POST", CHAT2, said("а"))):
            assert refused(answer) == (429, "Too many requests")
        assert len(second.ask("GET", "/v1/threads/messages?thread_id=" + name).json["messages"]) == 1


# ---- What is not served


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/v2/files"), ("POST", "/api/v2/files"), ("GET", "/v2/models"), ("POST", "/v1/v2/chat/completions"),
    ("POST", "/v2/chat/completions/"), ("POST", "/v3/chat/completions"), ("POST", "/v1/filter/check"),
    ("GET", "/v1/threads/"), ("POST", "/v2/threads")])
def test_the_gateway_lets_nothing_else_through(caller: Caller, method: str, path: str) -> None:
    answer = caller.ask(method, path, {})
    assert (answer.status, answer.headers["content-type"]) == (403, "text/html") and b"403 Forbidden" in answer.content


def test_the_door_is_the_same_everywhere(caller: Caller) -> None:
    assert caller.ask("GET", CHAT2).status == caller.ask("POST", "/v1/balance", {}).status == 405
    assert refused(caller.ask("POST", CHAT2, said("а"), Authorization="Bearer x")) == (401, "Unauthorized")
    assert caller.ask("GET", "/v1/threads", User_Agent="").content == b'{"message":"Unauthorized"}\n'
    assert refused(caller.ask("POST", CHAT2, "{")) == SYNTAX
