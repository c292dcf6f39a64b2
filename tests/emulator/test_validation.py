"""What the service refuses of the first version of the chat, with which words, and what passes."""

from __future__ import annotations

import json
import uuid

import pytest

from caller import Caller
from gigachat_lite import models
from gigachat_lite.emulator import Emulator

from .helpers import CHAT, SYNTAX, refused, upload

FILE_ID = "3727db23-91a3-44fa-a6b7-9f0a311d3e9e"  # the tests upload one, whose id takes the place of this
USER = {"role": "user", "content": "Какая погода в Туле?"}
SAID = {"role": "assistant", "content": "а"}
CALL = {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": {"city": "Тула"}}}
RESULT = {"role": "function", "name": "weather", "content": '{"t": 3}'}
SYSTEM = {"role": "system", "content": "а"}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
STATE_ID = "0199e210-2f13-744c-8fe5-c9a19fe27db7"


@pytest.fixture(scope="module")
def ask(caller, lenient):
    """Give a function that posts a body, and returns status and message of a refusal, or None."""
    ids = {True: upload(caller, b"a"), False: upload(lenient, b"a")}

    def post(path, body, strict=True):
        raw = body if isinstance(body, bytes) else json.dumps(body).replace(FILE_ID, ids[strict]).encode()
        answer = (caller if strict else lenient).ask("POST", path, raw, Content_Type="application/json")
        return None if answer.status == 200 else refused(answer)

    return post


@pytest.fixture(scope="module")
def chat(ask):
    return lambda strict=True, **fields: ask(CHAT, {"model": "GigaChat", "messages": [USER], **fields}, strict)


def dialogue(*messages):
    return {"messages": list(messages)}


def function(**fields):
    return {"functions": [{**WEATHER, **fields}]}


def parameters(**properties):
    return function(parameters={"properties": properties})


def cases(table):
    return pytest.mark.parametrize("case", list(table.values()), ids=list(table))


# ---- What is refused

MODEL = (404, "No such model")
ROLES = "messages[%d].role must be one of system, user, assistant, function, search_result"
NO_RESULT = "every assistant function call must have a result in history"
NO_CALL = "every assistant function result must have an assistant function call in history"
NAMES = ("Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), dot (.) and digits (not "
         "leading) are allowed.: [1st, погода, a b, , a\n]")
LATE_SYSTEM = "system message must be the first message"
NO_SCHEMA = (400, "Empty schema with json format type is not supported")
POSITIVE = "must be in range (0, +inf)"
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
    "functions": [{}, "weather", ["weather"], [None], *[[dict(WEATHER, **fields)] for fields in (
        {"parameters": "{}"}, {"parameters": []}, {"description": 1}, {"name": 1}, {"return_parameters": True},
        {"few_shot_examples": {}}, {"few_shot_examples": [1]}, {"few_shot_examples": [{"request": 1, "params": {}}]},
        {"few_shot_examples": [{"request": "а", "params": "{}"}]}, {"parameters": {"properties": []}},
        {"parameters": {"properties": {"a": 1}}}, {"parameters": {"properties": {"a": None}}},
        {"parameters": {"items": 1}})]],
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
SPANS = {
    "temperature": ("(0, +inf)", [0, -1, -0.5, 0.0], [0.001, 1, 5, 10 ** 300]),
    "top_p": ("[0, 1]", [-0.1, 1.001, 2], [0, 1, 0.5, 1.0]),
    "n": ("[1, 4]", [0, -1, 5], [1, 4]),
    "max_tokens": ("(0, +inf)", [0, -5], [1, 2 ** 31 - 1]),
    "repetition_penalty": ("(0, +inf)", [0, -1.5], [0.1, 1, 1.5]),
    "update_interval": ("[0, +inf)", [-1, -0.1], [0, 0.5, 30]),
}
# A text stands for 422 and "Invalid params: " before it.
REFUSED = {
    "no messages": ({"messages": None}, "messages must not be empty"),
    "empty dialogue": (dialogue(), "messages must not be empty"),
    "unknown model": ({"model": "Nope"}, MODEL),
    "model of another kind": ({"model": "Embeddings"}, MODEL),
    "no model": ({"model": None}, MODEL),
    "model that is no text": ({"model": ["GigaChat"]}, MODEL),
    "unknown field": ({"temprature": 1}, "unknown field temprature"),
    "unknown null": ({"seed": None}, "unknown field seed"),
    "half a letter": ({"\ud800": 1}, "unknown field ?"),
    "unknown field of a message": (dialogue(dict(USER, tool_calls=[])), "unknown field messages[0].tool_calls"),
    "unknown field of a function": (function(strict=True), "unknown field functions[0].strict"),
    "long unknown field": ({"a" * 5000: 1}, "unknown field " + "a" * 99 + "…"),
    "effort": ({"reasoning_effort": "max"}, "reasoning_effort must be one of low, medium, high"),
    "storage without its mode": ({"storage": {}}, "storage.is_stateful is required"),
    "storage without room": ({"storage": {"is_stateful": True, "limit": 0}}, "storage.limit " + POSITIVE),
    "ranker of none": ({"function_ranker": {"enabled": True, "top_n": 0}}, "function_ranker.top_n " + POSITIVE),
    "file of nobody": (dialogue(USER, dict(USER, attachments=[FILE_ID, "nope"])),
                       "messages[1].attachments[1] must be the id of an uploaded file, and nope is not"),
    "json_object": ({"response_format": {"type": "json_object"}}, (
        400, 'Unknown type "json_object" in response_format')),
    "regex": ({"response_format": {"type": "regex", "regex": "a"}}, (400, 'Unknown type "regex" in response_format')),
    "format without a type": ({"response_format": {}}, (400, 'Unknown type "" in response_format')),
    "no schema": ({"response_format": {"type": "json_schema"}}, NO_SCHEMA),
    "empty schema": ({"response_format": {"type": "json_schema", "schema": {}}}, NO_SCHEMA),
    "text with a schema": ({"response_format": {"type": "text", "schema": {"type": "object"}}},
                           "unknown field response_format.schema"),
    "late system": (dialogue(USER, SYSTEM), LATE_SYSTEM),
    "two systems": (dialogue(SYSTEM, SYSTEM, USER), LATE_SYSTEM),
    "unknown role": (dialogue(dict(USER, role="tool")), ROLES % 0),
    "role of answers": (dialogue(USER, dict(USER, role="function_in_progress")), ROLES % 1),
    "no role": (dialogue({"content": "а"}), "messages[0].role is required"),
    "no content": (dialogue({"role": "user"}), "messages[0].content is required"),
    "answer without content": (dialogue(USER, dict(SAID, content=None)), "messages[1].content is required"),
    "call at the end": (dialogue(USER, CALL), NO_RESULT),
    "call, then the user": (dialogue(USER, CALL, USER), NO_RESULT),
    "call, then another": (dialogue(USER, CALL, CALL, RESULT), NO_RESULT),
    "result out of the blue": (dialogue(USER, RESULT), NO_CALL),
    "result first": (dialogue(RESULT), NO_CALL),
    "result after an answer": (dialogue(USER, SAID, RESULT), NO_CALL),
    "two results of a call": (dialogue(USER, CALL, RESULT, RESULT), NO_CALL),
    **{"result " + text: (dialogue(USER, CALL, dict(RESULT, content=text)), (
        422, f"INVALID_PARAMS: invalid function result for function json string {text}, error: JSON parse error, "
             "messages[2].content")) for text in ("солнечно", "", "NaN")},
    "result without content": (dialogue(USER, CALL, {"role": "function"}), "messages[2].content is required"),
    "user's call": (dialogue(dict(USER, function_call={"name": "weather"})),
                    "messages[0].function_call is for role assistant, not user"),
    "answer's attachments": (dialogue(USER, dict(SAID, attachments=[FILE_ID])),
                             "messages[1].attachments is for role user, not assistant"),
    "call of nothing": (dialogue(USER, dict(CALL, function_call={})), "messages[1].function_call.name is required"),
    "names": ({"functions": [dict(WEATHER, name=name) for name in ("1st", "погода", "a b", "ok", "", "a\n")]}, NAMES),
    "no name": ({"functions": [{"parameters": {}}]}, "functions[0].name is required"),
    "no parameters": ({"functions": [WEATHER, {"name": "a"}]}, "functions[1].parameters is required"),
    "bare object": (parameters(data={"type": "object"}), (422, "Field 'properties.data.properties' is missing")),
    "deep inside": (parameters(a={"properties": {"b": {"type": "object", "properties": None}}}),
                    (422, "Field 'properties.a.properties.b.properties' is missing")),
    "in an array": (parameters(a={"type": "array", "items": {"type": "object"}}),
                    (422, "Field 'properties.a.items.properties' is missing")),
    "first of several": (parameters(a={"type": "object"}, b={"type": "object"}),
                         (422, "Field 'properties.a.properties' is missing")),
    "example without an answer": (function(few_shot_examples=[{"request": "а"}]),
                                  "functions[0].few_shot_examples[0].params is required"),
    "example without a question": (function(few_shot_examples=[{"params": {}}]),
                                   "functions[0].few_shot_examples[0].request is required"),
    "forced and not described": ({"functions": [WEATHER], "function_call": {"name": "wether"}},
                                 "function_call.name must be one of the functions, and wether is not"),
    "unknown mode": ({"function_call": "required"}, "function_call must be one of none, auto"),
    "forced without a name": ({"function_call": {}}, "function_call.name is required"),
}


def words(expected):
    return (422, "Invalid params: " + expected) if isinstance(expected, str) else expected


@pytest.mark.parametrize("name", list(WRONG_TYPES))
def test_wrong_types_are_answered_like_bad_syntax(chat, name):
    for value in WRONG_TYPES[name]:
        assert chat(**{name: value}) == SYNTAX, value


@pytest.mark.parametrize("name", list(SPANS))
def test_numbers_out_of_range_are_refused_by_name(chat, name):
    span, outside, inside = SPANS[name]
    for value in outside:
        assert chat(**{name: value}) == words(f"{name} must be in range {span}"), value
    for value in inside + [None]:
        assert chat(**{name: value}) is None, value


@cases(REFUSED)
def test_wrong_values_are_refused_in_these_words(chat, case):
    fields, expected = case
    assert chat(**fields) == words(expected)


@pytest.mark.parametrize("text", [
    "", "{", "[1]", "null", '"a"', "{'a': 1}", '{"a": NaN}', '{"a": [Infinity]}', '{"a": -Infinity}', '{"a": 1e999}',
    '{"a": 1} {', "\ufeff{}", '{"a": "\n"}', '{"a":' * 201 + "1" + "}" * 201, '{"a":' + "[" * 200000,
    '{"a":' + "[" * 200 + "]" * 200 + "}", b'{"a": "\xff"}'], ids=lambda text: repr(text[:20]))
def test_what_is_no_json_object_is_refused(ask, text):
    assert ask(CHAT, text if isinstance(text, bytes) else text.encode("utf-8")) == SYNTAX


# ---- What passes

SCHEMA = {
    "title": "A", "type": "object", "required": ["a"], "additionalProperties": False,
    "$defs": {"B": {"type": "object"}},
    "properties": {"a": {"title": "A", "type": "integer", "minimum": 0}, "b": {"$ref": "#/$defs/B"}}}
API = {
    "temperature": 0.7, "top_p": 0.5, "n": 2, "stream": True, "max_tokens": 100, "repetition_penalty": 1.1,
    "update_interval": 0.5, "function_call": "auto", "functions": [WEATHER], "response_format": {"type": "text"}}
SDKS = {
    "profanity_check": False, "flags": ["preprocess"], "storage": {
        "is_stateful": True, "limit": 5, "assistant_id": "a", "thread_id": "b", "metadata": {"c": 1}},
    "function_ranker": {"enabled": True, "top_n": 3}, "reasoning_effort": "high", "additional_data": {"a": 1},
    "features": {"embedder_model": "a"}}
PASSING = {
    "question": {}, "fields of the API": API, "fields of the SDKs": SDKS, "nulls": dict.fromkeys({**API, **SDKS}),
    "nulls in a message": dialogue(dict(USER, **dict.fromkeys((
        "function_call", "name", "attachments", "data_for_context", "functions_state_id", "id", "created")))),
    "fields of a message": dialogue(
        dict(USER, id="1", name="Анна", attachments=[FILE_ID], data_for_context=[USER]),
        dict(CALL, id=5, created=1768996171, reasoning_content="…", functions_state_id=STATE_ID), RESULT),
    "system first": dialogue(SYSTEM, USER),
    "long dialogue": dialogue(USER, SAID, USER, CALL, RESULT, CALL, RESULT, USER),
    "call with content null": dialogue(USER, dict(CALL, content=None), RESULT),
    "call without content": dialogue(USER, {"role": "assistant", "function_call": CALL["function_call"]}, RESULT),
    "arguments as text": dialogue(
        USER, dict(CALL, function_call={"name": "weather", "arguments": "{}", "id": "1"}), RESULT),
    "no arguments": dialogue(USER, dict(CALL, function_call={"name": "weather"}), RESULT),
    "result without a name": dialogue(USER, CALL, {"role": "function", "content": "{}"}),
    "result that is a JSON text": dialogue(USER, CALL, dict(RESULT, content='"солнечно"')),
    "result of a state id": dialogue(USER, dict(SAID, functions_state_id=STATE_ID), RESULT),
    "picture that was drawn": dialogue(USER, dict(SAID, functions_state_id=STATE_ID), USER),
    "search result": dialogue({"role": "search_result", "content": "а"}, USER),
    "attachments": dialogue(dict(USER, attachments=[FILE_ID])), "none": dialogue(dict(USER, attachments=[])),
    "empty question": dialogue({"role": "user", "content": ""}),
    "schema": {"response_format": {"type": "json_schema", "schema": SCHEMA, "strict": True}},
    "no functions": {"functions": [], "function_call": "none"},
    "built-in functions": {"functions": [{"name": "text2image"}, {"name": "get_file_content"}, WEATHER]},
    "forced built-in": {"function_call": {"name": "text2image"}},
    "forced function": {
        "functions": [WEATHER], "function_call": {"name": "weather", "partial_arguments": {"city": "Тула"}}},
    "full function": function(description="Погода", return_parameters={"type": "object"}, parameters={},
                              few_shot_examples=[{"request": "Погода?", "params": {}}]),
    "bare schema": function(parameters={"type": "object"}),
    "nested schemas": parameters(
        a={"type": "object", "properties": {}}, e={"type": "array", "items": [{"type": "object"}]}, f={"$ref": "#/g"},
        b={"type": "array", "items": {"type": "object", "properties": {"c": {"enum": ["d"]}}}}, properties={}),
    "names": {"functions": [dict(WEATHER, name=name) for name in ("a", "_a-1.b", "-", ".x", "Aa0")]},
}
ANSWERABLE = {
    "unknown fields": {"tools": [1], "messages": [dict(USER, tool_calls=[1])]},
    "out of range": {"temperature": 0, "top_p": 5, "repetition_penalty": -1},
    "types that nobody reads": {"temperature": "1", "stream": "true", "flags": 5, "storage": True},
    "history": dialogue(RESULT, SYSTEM, CALL, {"role": "tool"}, {"content": "а"}),
    "functions": {"functions": [{"name": "погода"}], "function_call": {"name": "nope"}},
    "unknown mode": {"function_call": "required"},
    "attachments": dialogue(dict(USER, attachments=["nope"])),
    "formats": {"response_format": {"type": "json_object", "a": 1}},
}
UNANSWERABLE = {
    "unknown model": ({"model": "Nope"}, MODEL),
    "no messages": (dialogue(), "messages must not be empty"),
    "message that is none": (dialogue("а"), SYNTAX),
    "content that is no text": (dialogue(dict(USER, content=[{"text": "а"}])), SYNTAX),
    "function without a name": ({"functions": [{}]}, "functions[0].name is required"),
    "parameters that are no object": (function(parameters=[1]), SYNTAX),
    "call of no text": ({"function_call": {"name": 5}}, SYNTAX),
    "schema that is no object": ({"response_format": {"type": "json_schema", "schema": 5}}, SYNTAX),
    "too many choices": ({"n": 10 ** 9}, "n must be in range [1, 4]"),
    "no tokens": ({"max_tokens": 0}, "max_tokens " + POSITIVE),
    "endless pause": ({"update_interval": float("inf")}, SYNTAX),
}


@cases(PASSING)
def test_what_clients_send_passes(chat, case):
    assert chat(**case) is None
    assert chat(strict=False, **case) is None


def test_fields_of_our_own_types_pass(chat):
    ours = set(models.Chat.model_fields) - {"additional_fields"}
    assert ours == {*API, *SDKS, "model", "messages"}
    for name in ("role", *models.Messages.model_fields):
        assert chat(messages=[{**USER, name: USER.get(name)}]) is None


@cases(ANSWERABLE)
def test_without_strict_passes_what_can_be_answered(chat, case):
    assert chat(**case) is not None
    assert chat(strict=False, **case) is None


@cases(UNANSWERABLE)
def test_without_strict_some_things_are_refused(chat, case):
    fields, expected = case
    assert chat(strict=False, **fields) == words(expected)


# ---- Embeddings and counts, headers

INPUTS = {
    "text": ({"input": "а"}, None), "texts": ({"input": ["а", ""]}, None), "number": ({"input": 5}, SYNTAX),
    "object": ({"input": {}}, SYNTAX), "numbers": ({"input": ["а", 5]}, SYNTAX), "nulls": ({"input": [None]}, SYNTAX),
    "nothing": ({}, "input is required"), "null": ({"input": None}, "input is required"),
    "unknown field": ({"input": "а", "encoding_format": "float"}, "unknown field encoding_format"),
    "unknown model": ({"input": "а", "model": "Nope"}, MODEL), "no model": ({"input": "а", "model": None}, MODEL),
}


@cases(INPUTS)
def test_input_of_embeddings_and_counts(ask, case):
    body, expected = case
    assert ask("/v1/embeddings", {"model": "Embeddings", **body}) == words(expected)
    assert ask("/v1/tokens/count", {"model": "GigaChat", **body}) == words(expected)
    lenient = None if "encoding_format" in body else words(expected)
    assert ask("/v1/embeddings", {"model": "Embeddings", **body}, False) == lenient


def test_models_go_with_the_question(ask, caller):
    for model in caller.ask("GET", "/v1/models").json["data"]:
        assert ask("/v1/tokens/count", {"model": model["id"], "input": "а"}) is None
        expected = None if model["type"] == "embedder" else MODEL
        assert ask("/v1/embeddings", {"model": model["id"], "input": "а"}) == expected
        expected = None if model["type"] == "chat" else MODEL
        assert ask(CHAT, {"model": model["id"], "messages": [USER]}) == expected


def test_callers_must_name_themselves(caller, lenient):
    for headers in ({"User_Agent": ""},):
        answer = caller.ask("GET", "/v1/models", **headers)
        assert (answer.status, answer.content) == (403, b'{"message":"Unauthorized"}\n')
        assert lenient.ask("GET", "/v1/models", **headers).status == 200


def test_an_rquid_is_a_uuid4_and_new():
    missing = "RqUID header is missing or is not a UUID version 4"
    repeated = "RqUID header must be new for every request, and this one is not"
    with Emulator() as emulator, Emulator(strict=False) as other, Caller(emulator) as caller, Caller(other) as lenient:
        first = str(uuid.uuid4())
        for rquid, expected in [
                *((wrong, missing) for wrong in ("", "a", str(uuid.uuid1()), first + "0", first.replace("-", ""))),
                (first, None), (first, repeated), (first.upper(), repeated)]:
            answer = caller.oauth(RqUID=rquid)
            assert answer.json.get("message") == expected and answer.status == (400 if expected else 200)
            assert expected is None or list(answer.json) == ["code", "message"]
            assert lenient.oauth(RqUID=rquid).status == 200
