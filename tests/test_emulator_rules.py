"""What the emulator refuses, with which words, and what passes; and the files that it keeps."""

from __future__ import annotations

import json
import random
import threading
import uuid
from typing import Any

import pytest
import requests

from gigachat_lite.emulator import Emulator
from gigachat_lite.emulator.models import MODELS
from gigachat_lite.emulator.files import LIMITS, TYPES, Files
from gigachat_lite.emulator.web import Headers, HTTPError, Request
from test_emulator import Caller

FILE_ID = "3727db23-91a3-44fa-a6b7-9f0a311d3e9e"
USER = {"role": "user", "content": "Какая погода в Туле?"}
CALL = {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": {"city": "Тула"}}}
RESULT = {"role": "function", "name": "weather", "content": '{"t": 3}'}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
STATE_ID = "0199e210-2f13-744c-8fe5-c9a19fe27db7"


def make_request(raw: bytes = b"", headers: dict[str, str] | None = None) -> Request:
    fields = {name.lower(): value for name, value in (headers or {}).items()}
    return Request("POST", "/v1/anything", "1.1", Headers(fields), raw, 1)


def refusal(check: Any, *args: Any) -> tuple[int, str] | None:
    """Return status and message of a refusal, None where there is none."""
    try:
        check(*args)
    except HTTPError as refused:
        body = json.loads(refused.response.body.decode("utf-8"))
        assert refused.response.body.endswith(b"}\n") and body.get("status", body.get("code")) is not None
        return refused.response.status, body["message"]
    return None


CALLERS = {}


@pytest.fixture(scope="module", autouse=True)
def callers():
    with Emulator() as a, Emulator(strict=False) as b, Caller(a) as one, Caller(b) as two:
        CALLERS.update({True: one.log_in(), False: two.log_in()})
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: text/plain\r\n\r\na\r\n--x--\r\n'
        for caller in (one, two):
            caller.file = caller.ask("POST", "/v1/files", body, Content_Type="multipart/form-data; boundary=x").json["id"]
        yield


def post(path, body, strict=True):
    caller = CALLERS[strict]
    raw = body if isinstance(body, bytes) else json.dumps(body).replace(FILE_ID, caller.file).encode()
    answer = caller.ask("POST", "/v1/" + path, raw, Content_Type="application/json")
    return None if answer.status == 200 else (answer.status, answer.json["message"])


def chat(strict: bool = True, **fields: Any) -> tuple[int, str] | None:
    return post("chat/completions", {"model": "GigaChat", "messages": [USER], **fields}, strict)


def dialogue(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def function(**fields: Any) -> dict[str, Any]:
    return {"functions": [{**WEATHER, **fields}]}


def fields_named(table: dict[str, Any]) -> Any:
    """Make a readable name of each case of a table."""
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))


# ---- Chat: what is refused

SYNTAX = (400, "Your request contains invalid JSON syntax.")
MODEL = (404, "No such model")
NO_RESULT = (422, "Invalid params: every assistant function call must have a result in history")
NO_CALL = (422, "Invalid params: every assistant function result must have an assistant function call in history")
ROLES = "system, user, assistant, function, search_result"
NAMES = (
    "Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), dot (.) and "
    "digits (not leading) are allowed.: ")


def params(message: str) -> tuple[int, str]:
    return 422, "Invalid params: " + message


WRONG_TYPES = {
    "messages": ["text", [1], [None], [[]], {}, 0, False, [dict(USER, content=["а"])], [dict(USER, content=5)],
                 [dict(USER, role=1)], [dict(USER, attachments=FILE_ID)], [dict(USER, attachments=[None])],
                 [dict(CALL, function_call="weather")], [dict(CALL, function_call={"name": 1})],
                 [dict(CALL, function_call={"name": "a", "arguments": 1})], [dict(USER, functions_state_id=1)],
                 [dict(USER, name=1)], [dict(USER, data_for_context=[1])], [dict(USER, created=1.5)],
                 [dict(USER, created=True)]],
    "temperature": ["1", True, [], {}, float("inf"), 10 ** 400],
    "top_p": ["1", True, False],
    "n": [1.0, "1", True, 2 ** 31, []],
    "stream": [0, 1, "true", {}],
    "max_tokens": [1.0, "5", True, 2 ** 31, 10 ** 4000, -2 ** 31],
    "repetition_penalty": ["1", True],
    "update_interval": ["1", True, float("inf"), -float("inf")],
    "function_call": [True, 1, [], {"name": 1}, {"name": "text2image", "partial_arguments": "{}"}],
    "functions": [{}, "weather", ["weather"], [None], [dict(WEATHER, parameters="{}")], [dict(WEATHER, parameters=[])],
                  [dict(WEATHER, description=1)], [dict(WEATHER, name=1)], [dict(WEATHER, return_parameters=True)],
                  [dict(WEATHER, few_shot_examples={})], [dict(WEATHER, few_shot_examples=[1])],
                  [dict(WEATHER, few_shot_examples=[{"request": 1, "params": {}}])],
                  [dict(WEATHER, few_shot_examples=[{"request": "а", "params": "{}"}])],
                  [dict(WEATHER, parameters={"properties": []})], [dict(WEATHER, parameters={"properties": {"a": 1}})],
                  [dict(WEATHER, parameters={"properties": {"a": None}})], [dict(WEATHER, parameters={"items": 1})]],
    "function_ranker": [True, {"enabled": 1}, {"top_n": 1.5}],
    "response_format": ["text", [], True, {"type": 1}, {"type": False}, {"type": "json_schema", "schema": "{}"},
                        {"type": "json_schema", "schema": {"a": 1}, "strict": 1}],
    "reasoning_effort": [1, True, {}],
    "profanity_check": [0, "no"],
    "flags": ["preprocess", [1], {}],
    "storage": [True, {"is_stateful": 1}, {"is_stateful": True, "limit": "5"}, {"is_stateful": True, "metadata": []}],
    "additional_data": ["", []],
    "features": ["", []],
}


@pytest.mark.parametrize("name", list(WRONG_TYPES))
def test_a_wrong_type_is_answered_like_bad_syntax(name: str) -> None:
    for value in WRONG_TYPES[name]:
        assert chat(**{name: value}) == SYNTAX, value


SPANS = {
    "temperature": ("(0, +inf)", [0, -1, -0.5, 0.0], [0.001, 1, 5, 10 ** 300]),
    "top_p": ("[0, 1]", [-0.1, 1.001, 2], [0, 1, 0.5, 1.0]),
    "n": ("[1, 4]", [0, -1, 5], [1, 4]),
    "max_tokens": ("(0, +inf)", [0, -5], [1, 2 ** 31 - 1]),
    "repetition_penalty": ("(0, +inf)", [0, -1.5], [0.1, 1, 1.5]),
    "update_interval": ("[0, +inf)", [-1, -0.1], [0, 0.5, 30]),
}


@pytest.mark.parametrize("name", list(SPANS))
def test_a_number_out_of_range_is_refused_by_name(name: str) -> None:
    span, outside, inside = SPANS[name]
    for value in outside:
        assert chat(**{name: value}) == params(f"{name} must be in range {span}"), value
    for value in inside + [None]:
        assert chat(**{name: value}) is None, value


VALUES = {
    "no messages": ({"messages": None}, params("messages must not be empty")),
    "an empty dialogue": (dialogue(), params("messages must not be empty")),
    "an unknown model": ({"model": "Nope"}, MODEL),
    "a model of another kind": ({"model": "Embeddings"}, MODEL),
    "no model": ({"model": None}, MODEL),
    "a model that is no text": ({"model": ["GigaChat"]}, MODEL),
    "an unknown field": ({"temprature": 1}, params("unknown field temprature")),
    "tools, as OpenAI has them": ({"tools": []}, params("unknown field tools")),
    "an unknown field that is null": ({"seed": None}, params("unknown field seed")),
    "an unknown field of a message": (
        dialogue(USER, {"role": "user", "content": "а", "tool_calls": []}),
        params("unknown field messages[1].tool_calls")),
    "an unknown field of a function": (function(strict=True), params("unknown field functions[0].strict")),
    "a long unknown field": ({"a" * 5000: 1}, params("unknown field " + "a" * 99 + "…")),
    "effort": ({"reasoning_effort": "max"}, params("reasoning_effort must be one of low, medium, high")),
    "storage without its mode": ({"storage": {}}, params("storage.is_stateful is required")),
    "storage without room": (
        {"storage": {"is_stateful": True, "limit": 0}}, params("storage.limit must be in range (0, +inf)")),
    "a ranker that takes none": (
        {"function_ranker": {"enabled": True, "top_n": 0}}, params("function_ranker.top_n must be in range (0, +inf)")),
    "a file that nobody uploaded": (
        dialogue(USER, dict(USER, attachments=[FILE_ID, "nope"])),
        params("messages[1].attachments[1] must be the id of an uploaded file, and nope is not")),
    "json_object": (
        {"response_format": {"type": "json_object"}}, (400, 'Unknown type "json_object" in response_format')),
    "regex": (
        {"response_format": {"type": "regex", "regex": "a"}}, (400, 'Unknown type "regex" in response_format')),
    "a format without a type": ({"response_format": {}}, (400, 'Unknown type "" in response_format')),
    "no schema": (
        {"response_format": {"type": "json_schema"}}, (400, "Empty schema with json format type is not supported")),
    "an empty schema": (
        {"response_format": {"type": "json_schema", "schema": {}}},
        (400, "Empty schema with json format type is not supported")),
    "text with a schema": (
        {"response_format": {"type": "text", "schema": {"type": "object"}}},
        params("unknown field response_format.schema")),
    "a schema as OpenAI has it": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        params("unknown field response_format.json_schema")),
}
HISTORY = {
    "a late system message": (
        dialogue(USER, {"role": "system", "content": "а"}),
        params("system message must be the first message")),
    "two system messages": (
        dialogue({"role": "system", "content": "а"}, {"role": "system", "content": "б"}, USER),
        params("system message must be the first message")),
    "an unknown role": (dialogue(dict(USER, role="tool")), params(f"messages[0].role must be one of {ROLES}")),
    "a role of answers": (
        dialogue(USER, dict(USER, role="function_in_progress")), params(f"messages[1].role must be one of {ROLES}")),
    "no role": (dialogue({"content": "а"}), params("messages[0].role is required")),
    "no content": (dialogue({"role": "user"}), params("messages[0].content is required")),
    "an answer without content": (
        dialogue(USER, {"role": "assistant", "content": None}), params("messages[1].content is required")),
    "a call at the end": (dialogue(USER, CALL), NO_RESULT),
    "a call and then the user": (dialogue(USER, CALL, USER), NO_RESULT),
    "a call and then another": (dialogue(USER, CALL, CALL, RESULT), NO_RESULT),
    "a result out of the blue": (dialogue(USER, RESULT), NO_CALL),
    "a result first": (dialogue(RESULT), NO_CALL),
    "a result after an answer": (dialogue(USER, {"role": "assistant", "content": "а"}, RESULT), NO_CALL),
    "two results of a call": (dialogue(USER, CALL, RESULT, RESULT), NO_CALL),
    "a plain text as result": (
        dialogue(USER, CALL, dict(RESULT, content="солнечно")),
        (422, "INVALID_PARAMS: invalid function result for function json string солнечно, error: JSON parse error, "
              "messages[2].content")),
    "an empty result": (
        dialogue(USER, CALL, dict(RESULT, content="")),
        (422, "INVALID_PARAMS: invalid function result for function json string , error: JSON parse error, "
              "messages[2].content")),
    "a result that only Python takes for JSON": (
        dialogue(USER, CALL, dict(RESULT, content="NaN")),
        (422, "INVALID_PARAMS: invalid function result for function json string NaN, error: JSON parse error, "
              "messages[2].content")),
    "a result without content": (
        dialogue(USER, CALL, {"role": "function", "name": "weather"}), params("messages[2].content is required")),
    "a user's call": (
        dialogue(dict(USER, function_call={"name": "weather"})),
        params("messages[0].function_call is for role assistant, not user")),
    "an answer's attachments": (
        dialogue(USER, {"role": "assistant", "content": "а", "attachments": [FILE_ID]}),
        params("messages[1].attachments is for role user, not assistant")),
    "a call of nothing": (dialogue(USER, dict(CALL, function_call={})), params(
        "messages[1].function_call.name is required")),
}
FUNCTIONS = {
    "names": (
        {"functions": [dict(WEATHER, name=name) for name in ("1st", "погода", "a b", "ok", "", "a\n")]},
        (422, NAMES + "[1st, погода, a b, , a\n]")),
    "no name": ({"functions": [{"parameters": {}}]}, params("functions[0].name is required")),
    "no parameters": (
        {"functions": [WEATHER, {"name": "a"}]}, params("functions[1].parameters is required")),
    "an object without properties": (
        function(parameters={"type": "object", "properties": {"data": {"type": "object"}}}),
        (422, "Field 'properties.data.properties' is missing")),
    "deep inside": (
        function(parameters={"properties": {"a": {"properties": {"b": {"type": "object", "properties": None}}}}}),
        (422, "Field 'properties.a.properties.b.properties' is missing")),
    "in an array": (
        function(parameters={"properties": {"a": {"type": "array", "items": {"type": "object"}}}}),
        (422, "Field 'properties.a.items.properties' is missing")),
    "the first of several": (
        function(parameters={"properties": {"a": {"type": "object"}, "b": {"type": "object"}}}),
        (422, "Field 'properties.a.properties' is missing")),
    "an example without an answer": (
        function(few_shot_examples=[{"request": "а", "params": {}}, {"request": "а"}]),
        params("functions[0].few_shot_examples[1].params is required")),
    "an example without a question": (
        function(few_shot_examples=[{"params": {}}]), params("functions[0].few_shot_examples[0].request is required")),
    "an unknown field of an example": (
        function(few_shot_examples=[{"request": "а", "params": {}, "answer": 1}]),
        params("unknown field functions[0].few_shot_examples[0].answer")),
    "a forced function that is not described": (
        {"functions": [WEATHER], "function_call": {"name": "wether"}},
        params("function_call.name must be one of the functions, and wether is not")),
    "a forced function without any": (
        {"function_call": {"name": "weather"}},
        params("function_call.name must be one of the functions, and weather is not")),
    "a mode that there is not": (
        {"functions": [WEATHER], "function_call": "required"}, params("function_call must be one of none, auto")),
    "a forced function without a name": (
        {"functions": [WEATHER], "function_call": {}}, params("function_call.name is required")),
}


@fields_named({**VALUES, **HISTORY, **FUNCTIONS})
def test_a_wrong_value_is_refused_in_these_words(case: Any) -> None:
    fields, expected = case
    assert chat(**fields) == expected


# ---- Chat: what passes

LONG_SCHEMA = {
    "title": "A", "type": "object", "required": ["a"], "additionalProperties": False,
    "$defs": {"B": {"type": "object"}},
    "properties": {"a": {"title": "A", "type": "integer", "minimum": 0}, "b": {"$ref": "#/$defs/B"}}}
PASSING = {
    "a question": {},
    "every field of the API": {
        "temperature": 0.7, "top_p": 0.5, "n": 2, "stream": True, "max_tokens": 100, "repetition_penalty": 1.1,
        "update_interval": 0.5, "function_call": "auto", "functions": [WEATHER],
        "response_format": {"type": "text"}},
    "every field of the SDKs": {
        "profanity_check": False, "flags": ["preprocess"], "storage": {
            "is_stateful": True, "limit": 5, "assistant_id": "a", "thread_id": "b", "metadata": {"c": 1}},
        "function_ranker": {"enabled": True, "top_n": 3}, "reasoning_effort": "high", "additional_data": {"a": 1},
        "features": {"embedder_model": "a"}},
    "null everywhere": dict.fromkeys(
        ["temperature", "top_p", "n", "stream", "max_tokens", "repetition_penalty", "update_interval", "functions",
         "function_call", "response_format", "profanity_check", "flags", "storage", "function_ranker",
         "reasoning_effort", "additional_data", "features"]),
    "null in a message": dialogue(dict(
        USER, function_call=None, name=None, attachments=None, data_for_context=None, functions_state_id=None,
        reasoning_content=None, id=None, created=None)),
    "every field of a message": dialogue(
        dict(USER, id="1", name="Анна", attachments=[FILE_ID], data_for_context=[USER]),
        dict(CALL, id=5, created=1768996171, reasoning_content="…", functions_state_id=STATE_ID), RESULT),
    "a system message first": dialogue({"role": "system", "content": "а"}, USER),
    "a long dialogue": dialogue(USER, {"role": "assistant", "content": ""}, USER, CALL, RESULT, CALL, RESULT, USER),
    "a call with content null": dialogue(USER, dict(CALL, content=None), RESULT),
    "a call without content": dialogue(USER, {"role": "assistant", "function_call": CALL["function_call"]}, RESULT),
    "a call with arguments as text": dialogue(
        USER, dict(CALL, function_call={"name": "weather", "arguments": "{}", "id": "1"}), RESULT),
    "a call without arguments": dialogue(USER, dict(CALL, function_call={"name": "weather"}), RESULT),
    "a result without a name": dialogue(USER, CALL, {"role": "function", "content": "{}"}),
    "a result that is a JSON text": dialogue(USER, CALL, dict(RESULT, content='"солнечно"')),
    "a result of a state id": dialogue(
        USER, {"role": "assistant", "content": "", "functions_state_id": STATE_ID}, RESULT),
    "a picture that was drawn": dialogue(
        USER, {"role": "assistant", "content": "<img/>", "functions_state_id": STATE_ID}, USER),
    "what was found": dialogue({"role": "search_result", "content": "а"}, USER),
    "attachments": {**dialogue(dict(USER, attachments=[FILE_ID])), "function_call": "auto"},
    "no attachments": dialogue(dict(USER, attachments=[])),
    "an empty question": dialogue({"role": "user", "content": ""}),
    "a schema": {"response_format": {"type": "json_schema", "schema": LONG_SCHEMA, "strict": True}},
    "a schema, not strict": {"response_format": {"type": "json_schema", "schema": LONG_SCHEMA, "strict": None}},
    "no functions": {"functions": [], "function_call": "none"},
    "built-in functions": {"functions": [{"name": "text2image"}, {"name": "get_file_content"}, WEATHER]},
    "a built-in function by force": {"function_call": {"name": "text2image"}},
    "a function by force": {
        "functions": [WEATHER], "function_call": {"name": "weather", "partial_arguments": {"city": "Тула"}}},
    "a full function": function(
        description="Погода", return_parameters={"type": "object"}, parameters={},
        few_shot_examples=[{"request": "Погода?", "params": {}}]),
    "a bare schema": function(parameters={"type": "object"}),
    "nested schemas": function(parameters={
        "type": "object", "required": ["a"], "properties": {
            "a": {"type": "object", "properties": {}},
            "b": {"type": "array", "items": {"type": "object", "properties": {"c": {"enum": ["d"]}}}},
            "e": {"type": "array", "items": [{"type": "object"}]}, "f": {"$ref": "#/g"}, "properties": {}}}),
    "names": {"functions": [dict(WEATHER, name=name) for name in ("a", "_a-1.b", "-", ".x", "Aa0")]},
}


@fields_named(PASSING)
def test_what_clients_send_passes(case: Any) -> None:
    assert chat(**case) is None
    assert chat(strict=False, **case) is None


def test_every_chat_model_passes() -> None:
    assert [chat(model=name) for name in MODELS["chat"]] == [None] * 13


def test_fields_of_our_own_types_and_the_tables_agree() -> None:
    from gigachat_lite import models

    ours = set(models.Chat._fields) - {"additional_fields"}
    assert ours == {*PASSING["every field of the API"], *PASSING["every field of the SDKs"], "model", "messages"}
    for name in ("role", *models.Messages._fields):
        assert chat(messages=[{**USER, name: USER.get(name)}]) is None


ANSWERABLE = {
    "unknown fields": {"tools": [1], "messages": [dict(USER, tool_calls=[1])]},
    "out of range": {"temperature": 0, "top_p": 5, "repetition_penalty": -1},
    "types that nobody reads": {"temperature": "1", "stream": "true", "flags": 5, "storage": True},
    "history": dialogue(RESULT, {"role": "system", "content": "а"}, CALL, {"role": "tool"}, {"content": "а"}),
    "functions": {"functions": [{"name": "погода"}], "function_call": {"name": "nope"}},
    "an unknown mode": {"function_call": "required"},
    "attachments": dialogue(dict(USER, attachments=["nope"])),
    "formats": {"response_format": {"type": "json_object", "a": 1}},
}
UNANSWERABLE = {
    "an unknown model": ({"model": "Nope"}, MODEL),
    "no messages": (dialogue(), params("messages must not be empty")),
    "a message that is none": (dialogue("а"), SYNTAX),
    "content that is no text": (dialogue(dict(USER, content=[{"text": "а"}])), SYNTAX),
    "a function without a name": ({"functions": [{}]}, params("functions[0].name is required")),
    "parameters that are no object": (function(parameters=[1]), SYNTAX),
    "a call of no text": ({"function_call": {"name": 5}}, SYNTAX),
    "a schema that is no object": ({"response_format": {"type": "json_schema", "schema": 5}}, SYNTAX),
    "too many choices": ({"n": 10 ** 9}, params("n must be in range [1, 4]")),
    "no tokens": ({"max_tokens": 0}, params("max_tokens must be in range (0, +inf)")),
    "an endless pause": ({"update_interval": float("inf")}, SYNTAX),
}


@fields_named(ANSWERABLE)
def test_without_strict_passes_what_can_be_answered(case: Any) -> None:
    assert chat(**case) is not None
    assert chat(strict=False, **case) is None


@fields_named(UNANSWERABLE)
def test_without_strict_is_refused_what_cannot_be_answered(case: Any) -> None:
    fields, expected = case
    assert chat(strict=False, **fields) == expected


# ---- Embeddings and tokens

INPUTS = {
    "a text": ({"input": "а"}, None),
    "texts": ({"input": ["а", ""]}, None),
    "a number": ({"input": 5}, SYNTAX),
    "an object": ({"input": {}}, SYNTAX),
    "numbers": ({"input": ["а", 5]}, SYNTAX),
    "null among texts": ({"input": [None]}, SYNTAX),
    "nothing": ({}, params("input is required")),
    "null": ({"input": None}, params("input is required")),
    "an unknown field": ({"input": "а", "encoding_format": "float"}, params("unknown field encoding_format")),
    "an unknown model": ({"input": "а", "model": "Nope"}, MODEL),
    "no model": ({"input": "а", "model": None}, MODEL),
}


@fields_named(INPUTS)
def test_input_of_embeddings_and_counts(case: Any) -> None:
    body, expected = case
    assert post("embeddings", {"model": "Embeddings", **body}) == expected
    assert post("tokens/count", {"model": "GigaChat", **body}) == expected
    lenient = None if "encoding_format" in body else expected
    assert post("embeddings", {"model": "Embeddings", **body}, False) == lenient


def test_models_go_with_the_question() -> None:
    for name in [name for names in MODELS.values() for name in names]:
        body = {"model": name, "input": "а"}
        assert post("tokens/count", body) is None
        assert post("embeddings", body) == (None if name in MODELS["embedder"] else MODEL)


# ---- Syntax and headers


@pytest.mark.parametrize("text", [
    "", "{", "[1]", "null", '"a"', "{'a': 1}", '{"a": NaN}', '{"a": [Infinity]}', '{"a": -Infinity}', '{"a": 1e999}',
    '{"a": 1} {', "\ufeff{}", '{"a": "\n"}', '{"a":' * 201 + "1" + "}" * 201, '{"a":' + "[" * 200000,
    '{"a":' + "[" * 200 + "]" * 200 + "}", b'{"a": "\xff"}'], ids=lambda text: repr(text[:20]))
def test_what_is_no_json_object_is_bad_syntax(text: Any) -> None:
    assert post("chat/completions", text if isinstance(text, bytes) else text.encode("utf-8")) == SYNTAX


# ---- Files


def upload(files: Any, data: Any = None, client_id: str | None = None) -> Request:
    """Make a request of a form as `requests` encodes it."""
    data = {"purpose": "general"} if data is None else data
    prepared = requests.Request("POST", "http://a/v1/files", files=files, data=data).prepare()
    headers = {"Content-Type": prepared.headers["Content-Type"]}
    return make_request(prepared.body, {**headers, **({"X-Client-ID": client_id} if client_id else {})})


def form(*lines: bytes, boundary: str = "b") -> Request:
    """Make a request of a form by hand: lines, with CRLF between them."""
    return make_request(b"\r\n".join(lines), {"Content-Type": f"multipart/form-data; boundary={boundary}"})


FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"'
PLAIN = b"Content-Type: text/plain"
BAD_FORM = (400, "Your request contains invalid multipart syntax.")


def test_a_file_is_described_as_the_api_does() -> None:
    files = Files()
    added = files.add(upload({"file": ("отчёт.txt", "Привет".encode(), "text/plain")}))
    assert list(added) == [
        "id", "object", "bytes", "created_at", "filename", "purpose", "access_policy", "modalities"]
    assert uuid.UUID(added["id"]).version == 4 and isinstance(added["created_at"], int)
    assert {**added, "id": 0, "created_at": 0} == {
        "id": 0, "object": "file", "bytes": 12, "created_at": 0, "filename": "отчёт.txt", "purpose": "general",
        "access_policy": "private", "modalities": ["text"]}
    assert files.get(added["id"], None) == added and files.list(None) == {"data": [added]}
    assert files.content(added["id"], None) == ("Привет".encode(), "application/octet-stream")
    assert added["id"] in files and "nope" not in files and len(files.list(None)['data']) == 1
    assert files.delete(added["id"], None) == {"id": added["id"], "deleted": True, "access_policy": "private"}
    assert added["id"] not in files and files.list(None) == {"data": []}
    for call in (files.get, files.content, files.delete):
        assert refusal(call, added["id"], None) == (404, "No such file")


def test_every_byte_survives() -> None:
    content = bytes(range(256)) * 20 + b"\r\n--\r\n\r\n--b\r\n--\r\n\r\n\n\r"
    files = Files()
    added = files.add(upload({"file": ("a.jpg", content, "image/jpeg")}))
    assert files.content(added["id"], None) == (content, "image/jpeg") and added["bytes"] == len(content)


def test_every_type_of_the_table_is_taken() -> None:
    files = Files()
    for kind, types in TYPES.items():
        for name in types:
            added = files.add(upload({"file": ("a", b"a", name.upper() + "; charset=utf-8")}))
            assert added["modalities"] == [kind]
            expected = "image/jpeg" if name == "image/jpeg" else "application/octet-stream"
            assert files.content(added["id"], None)[1] == expected
    assert len(files.list(None)['data']) == 22


@pytest.mark.parametrize("owner", [None, "Анна"])
def test_a_file_is_for_the_client_who_brought_it(owner: str | None) -> None:
    files = Files()
    file_id = files.add(upload({"file": ("a.txt", b"a", "text/plain")}, client_id=owner))["id"]
    for other in {None, "Анна", "анна"} - {owner}:
        for call in (files.get, files.content, files.delete):
            assert refusal(call, file_id, other) == (403, f"Access to file '{file_id}' is denied")
        assert files.list(other) == {"data": []}
    assert files.get(file_id, owner)["id"] == file_id and len(files.list(owner)["data"]) == 1


def test_files_are_listed_in_their_order() -> None:
    files = Files()
    names = [f"{number}.txt" for number in range(5)]
    for name in names:
        files.add(upload({"file": (name, b"", "text/plain")}))
    assert [file["filename"] for file in files.list(None)["data"]] == names


@pytest.mark.parametrize(("data", "purpose"), [
    ({}, "general"), ({"purpose": ""}, "general"), ({"purpose": "assistant"}, "assistant"), ({"more": "а"}, "general")])
def test_purposes(data: dict[str, str], purpose: str) -> None:
    assert Files().add(upload({"file": ("a.txt", b"a", "text/plain")}, data))["purpose"] == purpose


TEXT_FILE = ("a.txt", b"a", "text/plain")
REFUSED_UPLOADS = {
    "an unknown purpose": (upload({"file": TEXT_FILE}, {"purpose": "fine-tune"}),
                           params("purpose must be one of general, assistant")),
    "no file": (upload({"document": TEXT_FILE}), params("file is required")),
    "a field named file": (form(b"--b", b'Content-Disposition: form-data; name="file"', b"", b"a", b"--b--"),
                           params("file must have a name")),
    "no form": (make_request(b"a", {"Content-Type": "text/plain"}), BAD_FORM),
    "no type": (make_request(b"--b\r\n\r\n--b--"), BAD_FORM),
    "a form of another kind": (make_request(b"--b--", {"Content-Type": "multipart/mixed; boundary=b"}), BAD_FORM),
    "no boundary": (make_request(b"--b--", {"Content-Type": "multipart/form-data"}), BAD_FORM),
    "an empty boundary": (form(b"--", b"", b"----", boundary='""'), BAD_FORM),
    "nothing": (form(), BAD_FORM),
    "another boundary": (form(b"--b", FILE, PLAIN, b"", b"a", b"--b--", boundary="c"), BAD_FORM),
    "no last boundary": (form(b"--b", FILE, PLAIN, b"", b"a", b"--b", b""), BAD_FORM),
    "a cut last boundary": (form(b"--b", FILE, PLAIN, b"", b"a", b"--b-"), BAD_FORM),
    "no empty line": (form(b"--b", FILE, PLAIN, b"--b--"), BAD_FORM),
    "no disposition": (form(b"--b", PLAIN, b"", b"a", b"--b--"), BAD_FORM),
    "another disposition": (form(b"--b", FILE.replace(b"form-data", b"attachment"), b"", b"a", b"--b--"), BAD_FORM),
    "no name": (form(b"--b", b"Content-Disposition: form-data", b"", b"a", b"--b--"), BAD_FORM),
    "an endless head": (form(b"--b", FILE, b"a" * 70000, b"", b"a", b"--b--"), BAD_FORM),
    "countless boundaries": (form(*[b"--b"] * 100000, b"--b--"), BAD_FORM),
}


@fields_named(REFUSED_UPLOADS)
def test_an_upload_is_refused(case: Any) -> None:
    files = Files()
    request, expected = case
    assert refusal(files.add, request) == expected
    assert len(files.list(None)['data']) == 0


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/zip", ""])
def test_an_unsupported_type_is_refused_with_what_is_supported(kind: str) -> None:
    head = [FILE, b"Content-Type: " + kind.encode()] if kind else [FILE]
    status, message = refusal(Files().add, form(b"--b", *head, b"", b"a", b"--b--")) or (0, "")
    assert status == 400 and message.startswith(f"Unsupported file type '{kind}': ") and "audio/mp3" in message


def test_each_kind_has_its_limit() -> None:
    assert LIMITS == {"text": 40 * 2 ** 20, "image": 15 * 2 ** 20, "audio": 35 * 2 ** 20}
    files, content = Files(), bytes(LIMITS["image"])
    assert files.add(upload({"file": ("a.png", content, "image/png")}))["bytes"] == len(content)
    assert refusal(files.add, upload({"file": ("a.png", content + b"a", "image/png")})) == (413, "Payload too large")
    assert refusal(files.add, upload({"file": ("a.mp3", content + b"a", "audio/mp3")})) is None


NAMES_OF_FILES = {
    "bare": ("filename=a.txt", "a.txt"),
    "quoted": ('filename="a b;c=d.txt"', "a b;c=d.txt"),
    "escaped": (r'filename="a\"b\\c.txt"', r'a"b\c.txt'),
    "as browsers escape": ('filename="a%22b%0D%0A%41.txt"', 'a"b\r\n%41.txt'),
    "UTF-8": ('filename="отчёт.txt"', "отчёт.txt"),
    "RFC 5987": ("filename*=utf-8''%D1%91%20%27.txt", "ё '.txt"),
    "RFC 5987 with a language": ("filename*=UTF-8'ru'%D1%91.txt", "ё.txt"),
    "RFC 5987 in Latin 1": ("filename*=iso-8859-1''%E9.txt", "é.txt"),
    "both, the better first": ("filename*=utf-8''%D1%91.txt; filename=e.txt", "ё.txt"),
    "both, the better last": ("filename=\"e.txt\"; filename*=utf-8''%D1%91.txt", "ё.txt"),
    "another case": ('FileName = "a.txt"', "a.txt"),
    "broken UTF-8": (b'filename="\xff.txt"', "\ufffd.txt"),
}


@fields_named(NAMES_OF_FILES)
def test_names_of_files(case: Any) -> None:
    given, expected = case
    given = given if isinstance(given, bytes) else given.encode("utf-8")
    head = b'content-disposition: FORM-DATA; name="file"; ' + given
    assert Files().add(form(b"--b", PLAIN, head, b"", b"a", b"--b--"))["filename"] == expected


@pytest.mark.parametrize(("boundary", "lines", "expected"), [
    ('"b c:="', [b"--b c:=", FILE, PLAIN, b"", b"a", b"--b c:=--"], b"a"),
    ("b", [b"a preamble", b"--b \t", FILE, PLAIN, b"", b"a", b"--b--", b"--b", b"an epilogue"], b"a"),
    ("b", [b"--b", FILE, PLAIN, b"", b"a", b"--bc", b"--b-", b"--b--c", b" --b", b"--b--  ", b""],
     b"a\r\n--bc\r\n--b-\r\n--b--c\r\n --b"),
    ("b", [b"--b", FILE, PLAIN, b"", b"", b"--b--"], b""),
    ("b", [b"--b", FILE, PLAIN, b"", b"", b"", b"--b--"], b"\r\n"),
    ("b", [b"--b", FILE, PLAIN, b"", b"a", b"--b", FILE, PLAIN, b"", b"second", b"--b--"], b"a"),
], ids=["quoted", "text around", "lines like boundaries", "empty", "an empty line", "the first of two"])
def test_boundaries(boundary: str, lines: list[bytes], expected: bytes) -> None:
    files = Files()
    added = files.add(form(*lines, boundary=boundary))
    assert files.content(added["id"], None)[0] == expected


def test_files_take_several_threads() -> None:
    files, errors = Files(), []

    def work() -> None:
        try:
            for _ in range(50):
                file_id = files.add(upload({"file": ("a.txt", b"a", "text/plain")}))["id"]
                assert any(file["id"] == file_id for file in files.list(None)["data"])
                files.delete(file_id, None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not errors and len(files.list(None)['data']) == 0
