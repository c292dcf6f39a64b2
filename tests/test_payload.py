"""What the caller writes is what is sent: one JSON for every form, or an error that names the field."""
from __future__ import annotations

import copy
import datetime
import decimal
import enum
import json
import math
import pickle
import uuid
from collections import deque
from types import MappingProxyType

import pytest

from clients import new_client
from gigachat_lite import (
    Chat,
    ChatCompletion,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatMessage,
    ChatModelOptions,
    ChatReasoning,
    ChatResponseFormat,
    ChatStorage,
    ChatTool,
    FewShotExample,
    Function,
    FunctionCall,
    Messages,
    MessagesRole,
    Obj,
    Storage,
    UploadedFile,
)
from gigachat_lite.payload import chat_body, names_model, to_json, v2_body
from servers import CHAT_BODY, STREAM_BODY, reply, sse
from test_models import FUNCTION_ANSWER, V2_CALL, Answered

QUESTION = {"role": "user", "content": "Привет"}


class Role(enum.Enum):
    USER = "user"


class TextRole(str, enum.Enum):
    USER = "user"


class Limit(enum.IntEnum):
    SHORT = 5


class Text(str):
    pass


MODULES = {"datetime": datetime, "decimal": decimal, "deque": deque, "uuid": uuid}


def written(body):
    return json.loads(to_json(body).decode())


def made(expression):
    """Evaluate an expression; a test that needs numpy or pandas is skipped where they are not installed."""
    names = {**globals(), **MODULES}
    for name in "numpy", "pandas":
        if name in expression:
            names[name] = pytest.importorskip(name)
    return eval(expression, names)  # noqa: S307 -- expressions of this file


@pytest.mark.parametrize("field, expression, wanted", [
    ("temperature", "0", 0),
    ("temperature", "'0.5'", 0.5),
    ("temperature", "decimal.Decimal('0.5')", 0.5),
    ("temperature", "numpy.float32(0.5)", 0.5),
    ("temperature", "numpy.float64(0.5)", 0.5),
    ("temperature", "numpy.int64(1)", 1),
    ("temperature", "numpy.array(0.5)", 0.5),
    ("max_tokens", "'5'", 5),
    ("max_tokens", "5.0", 5),
    ("max_tokens", "decimal.Decimal(5)", 5),
    ("max_tokens", "Limit.SHORT", 5),
    ("max_tokens", "numpy.int64(5)", 5),
    ("max_tokens", "numpy.uint8(5)", 5),
    ("profanity_check", "'false'", False),
    ("profanity_check", "0", False),
    ("profanity_check", "numpy.bool_(True)", True),
    ("model", "Text('user')", "user"),
    ("model", "Role.USER", "user"),
    ("model", "TextRole.USER", "user"),
    ("model", "numpy.str_('user')", "user"),
    ("flags", "('a', 'b')", ["a", "b"]),
    ("flags", "deque(['a', 'b'])", ["a", "b"]),
    ("flags", "{'a': 1, 'b': 2}.keys()", ["a", "b"]),
    ("flags", "(letter for letter in 'ab')", ["a", "b"]),
    ("flags", "numpy.array(['a', 'b'])", ["a", "b"]),
    ("flags", "pandas.Series(['a', 'b'])", ["a", "b"]),
    ("function_ranker", "{'enabled': 'yes', 'top_n': '3'}", {"enabled": True, "top_n": 3}),
    ("storage", "MappingProxyType({'is_stateful': 1, 'limit': '5'})", {"is_stateful": True, "limit": 5}),
    ("additional_data", "{'a': numpy.arange(3), 'b': numpy.float32(0.5)}", {"a": [0, 1, 2], "b": 0.5}),
    ("additional_data", "{'a': decimal.Decimal('1.5'), 'b': decimal.Decimal(2)}", {"a": 1.5, "b": 2}),
    ("additional_data", "{'a': datetime.date(2026, 1, 2)}", {"a": "2026-01-02"}),
    ("additional_data", "{'a': datetime.datetime(2026, 1, 2, 3)}", {"a": "2026-01-02T03:00:00"}),
    ("additional_data", "{'a': pandas.Timestamp('2026-01-02')}", {"a": "2026-01-02T00:00:00"}),
    ("additional_data", "{'a': uuid.UUID(int=1)}", {"a": "00000000-0000-0000-0000-000000000001"}),
    ("additional_data", "{'a': Role.USER, 'b': Limit.SHORT}", {"a": "user", "b": 5}),
    ("additional_data", "{'a': deque([1]), 'b': {2: 3}.values(), 'c': (4,)}", {"a": [1], "b": [3], "c": [4]}),
])
def test_a_value_is_sent_in_its_usual_form(field, expression, wanted):
    before = written(chat_body([QUESTION]))
    found = written(chat_body({"messages": [QUESTION], field: made(expression)}))
    assert found == {**before, field: wanted} and type(found[field]) is type(wanted)
    if field in ("temperature", "max_tokens"):
        body = v2_body({"messages": [QUESTION], "model_options": {field: made(expression)}})
        options = written(body)["model_options"]
        assert options == {field: wanted} and type(options[field]) is type(wanted)


MESSAGES = [
    "(QUESTION,)", "deque([QUESTION])", "iter([QUESTION])", "(one for one in [QUESTION])", "{1: QUESTION}.values()",
    "map(dict, [QUESTION])", "[MappingProxyType(QUESTION)]", "[{**QUESTION, 'role': Role.USER}]",
    "[{'role': TextRole.USER, 'content': Text('Привет')}]", "[Messages(role=Role.USER, content='Привет')]",
    "[{**QUESTION, 'name': None}]", "[{**QUESTION, 'content': numpy.str_('Привет')}]",
]


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "in a request"])
@pytest.mark.parametrize("expression", [*MESSAGES, "[ChatMessage(role='user', content='Привет')]"])
def test_messages_are_whatever_holds_several(expression, whole):
    def payload():
        return {"messages": made(expression)} if whole else made(expression)

    assert written(v2_body(payload())) == {"messages": [{"role": "user", "content": [{"text": "Привет"}]}]}
    if expression in MESSAGES:
        assert written(chat_body(payload())) == {"messages": [QUESTION]}


@pytest.mark.parametrize("expression", ["('x',)", "deque(['x'])", "(text for text in ['x'])", "[{'text': Text('x')}]"])
def test_the_parts_of_a_content_are_whatever_holds_several(expression):
    body = v2_body([{"role": "user", "content": made(expression)}])
    assert written(body)["messages"][0]["content"] == [{"text": "x"}]


@pytest.mark.parametrize("fields, said", [
    ({"max_tokens": "many"}, "max_tokens: a whole number is needed, not str"),
    ({"max_tokens": 5.5}, "max_tokens: a whole number is needed, not float"),
    ({"max_tokens": float("inf")}, "max_tokens: a whole number is needed, not float"),
    ({"temperature": [0.5]}, "temperature: a number is needed, not list"),
    ({"temperature": float("nan")}, "temperature: Out of range float values"),
    ({"profanity_check": "perhaps"}, "profanity_check: true or false is needed, not str"),
    ({"model": 5}, "model: a string is needed, not int"),
    ({"model": b"GigaChat"}, "model: a string is needed, not bytes"),
    ({"flags": "a"}, "flags: a list is needed, not str"),
    ({"flags": ["a", 5]}, "flags[1]: a string is needed, not int"),
    ({"storage": True}, "storage: a dict or Storage is needed, not bool"),
    ({"storage": {"limit": "x"}}, "storage.limit: a whole number is needed, not str"),
    ({"additional_data": 5}, "additional_data: a dict is needed, not int"),
    ({"additional_data": {"a": [{"b": ...}]}}, "additional_data.a[0].b: ellipsis is nothing that JSON has"),
    ({"additional_fields": {"a": [b"x"]}}, "a[0]: bytes is nothing that JSON has"),
    ({"functions": [{"name": 5}]}, "functions[0].name: a string is needed, not int"),
    ({"functions": 5}, "functions: a list is needed, not int"),
    ({"messages": [QUESTION, {"role": "user", "content": 5}]}, "messages[1].content: a string is needed, not int"),
    ({"messages": [{"role": 5, "content": ""}]}, "messages[0].role: a string is needed, not int"),
    ({"messages": [QUESTION, "x"]}, "messages[1]: a dict or Messages is needed, not str"),
    ({"messages": QUESTION}, "messages: a list is needed, not dict"),
    ({"messages": [{**QUESTION, "attachments": "f-1"}]}, "messages[0].attachments: a list is needed, not str"),
    ({"messages": [{**QUESTION, "attachments": [UploadedFile(id="f")]}]}, "attachments[0]: a string is needed, not "
     "UploadedFile: give the .id of this UploadedFile"),
], ids=repr)
def test_a_value_that_cannot_be_read_names_its_field(fields, said):
    with pytest.raises(TypeError) as caught:
        to_json(chat_body({"messages": [QUESTION], **fields}))
    assert said in str(caught.value)


@pytest.mark.parametrize("fields, said", [
    ({"model_options": 5}, "model_options: a dict or ChatModelOptions is needed, not int"),
    ({"model_options": {"top_p": "x"}}, "model_options.top_p: a number is needed, not str"),
    ({"tools": [5]}, "tools[0]: a dict or ChatTool is needed, not int"),
    ({"tools": [{"functions": []}]}, "tools[0].functions: a dict or ChatFunctionsTool is needed, not list"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: a list is needed, not int"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]: a dict or ChatContentPart is needed"),
    ({"messages": [{"role": "user", "content": [{"text": 5}]}]}, "messages[0].content[0].text: a string is needed"),
    ({"messages": [{"role": "user", "content": [{"files": [{"id": UploadedFile(id="f")}]}]}]}, "files[0].id: a string"),
], ids=repr)
def test_v2_names_the_field_too(fields, said):
    with pytest.raises(TypeError) as caught:
        v2_body({"messages": [QUESTION], **fields})
    assert said in str(caught.value)


@pytest.mark.parametrize("make", [chat_body, v2_body])
def test_a_payload_is_never_changed(make):
    payload = Chat(messages=[{**QUESTION, "name": None}, {"role": "assistant", "content": "Да.", "novel": {"a": [1]}}],
                   flags=("a",), storage={"limit": "5"}, model=Role.USER)
    before = copy.deepcopy(payload)
    body = make(payload)
    body["messages"][0]["content"] = body["messages"][1]["content"] = "other"
    assert payload == before and type(payload["messages"][0]) is dict and payload["flags"] == ("a",)


TEXTS = ["['a', 'b']", "('a', 'b')", "(letter for letter in 'ab')", "{'a': 1, 'b': 2}.keys()", "deque('ab')",
         "numpy.array(['a', 'b'])", "pandas.Series(['a', 'b'])", "[Text('a'), TextRole('user')]"]


@pytest.mark.parametrize("expression", TEXTS)
def test_texts_are_whatever_holds_several(expression, api):
    running = api(lambda request, connection: reply(body=b"[]" if "count" in request.path else b'{"data":[]}'))
    with new_client(base_url=running.base_url, access_token="t") as giga:
        giga.embeddings(made(expression))
        giga.tokens_count(made(expression))
    wanted = ["a", "user"] if "Text" in expression else ["a", "b"]
    assert [call.json["input"] for call in running.calls] == [wanted, wanted]


@pytest.mark.parametrize("texts, said", [
    (5, "a list is needed, not int"), (None, "a list is needed, not NoneType"),
    ({"a": 1}, "a list is needed, not dict"), (b"a", "a list is needed, not bytes"),
    (["a", 5], "[1]: a string is needed, not int"),
])
def test_texts_that_are_none_name_the_argument(texts, said):
    giga = new_client(access_token="t")
    for call, name in (giga.embeddings, "texts"), (giga.tokens_count, "input_"):
        with pytest.raises(TypeError) as caught:
            call(texts)
        assert str(caught.value).startswith(name) and said in str(caught.value)


# ---- From what a caller writes to the bytes on the wire


@pytest.fixture
def sent(api):
    """Give a client and a function that sends a payload and returns the bytes that the server saw."""
    running = api(
        lambda request, connection: sse(STREAM_BODY) if b'"stream"' in request.body else reply(body=CHAT_BODY))
    client = new_client(base_url=running.base_url, access_token="t")

    def send(payload, stream=False):
        if stream:
            assert list(client.stream(payload))
        else:
            client.chat(payload)
        return running.calls[-1].body

    send.client = client
    return send


SAME = {
    "string": "Привет",
    "list": [{"role": "user", "content": "Привет"}],
    "tuple": ({"role": "user", "content": "Привет"},),
    "dict": {"messages": [{"role": "user", "content": "Привет"}]},
    "Messages": [Messages(role="user", content="Привет")],
    "MessagesRole": [Messages(role=MessagesRole.USER, content="Привет")],
    "Chat": Chat(messages=[Messages(role=MessagesRole.USER, content="Привет")]),
    "Chat with model": Chat(messages=[{"role": "user", "content": "Привет"}], model="GigaChat"),
    "Chat without model": Chat(messages=[{"role": "user", "content": "Привет"}], model=None),
    "Obj": Obj(messages=[Obj(role="user", content="Привет")]),
    "mapping": MappingProxyType({"messages": [{"role": "user", "content": "Привет"}]}),
}


@pytest.mark.parametrize("stream", [False, True], ids=["chat", "stream"])
def test_every_form_of_a_question_gives_the_same_bytes(sent, stream):
    bodies = {name: sent(payload, stream) for name, payload in SAME.items()}
    parsed = {name: json.loads(body.decode()) for name, body in bodies.items()}
    wanted = {"messages": [{"role": "user", "content": "Привет"}], "model": "GigaChat"}
    if stream:
        wanted["stream"] = True
    assert parsed == dict.fromkeys(SAME, wanted) and len({len(body) for body in bodies.values()}) == 1
    assert bodies["string"] == bodies["list"] == bodies["Chat"] and "Привет".encode() in bodies["string"]


EVERYTHING = {
    "model": "GigaChat-2-Max",
    "messages": [
        {"role": "system", "content": "Ты поэт"},
        {"role": "user", "content": "?", "attachments": ["id-1"], "name": "u", "id": "m", "created": 1},
        {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {"a": [1]}},
         "functions_state_id": "s", "reasoning_content": "r", "data_for_context": [{"role": "user", "content": "x"}]},
        {"role": "function", "name": "f", "content": '{"result": 1}'},
    ],
    "function_call": {"name": "f", "partial_arguments": {"a": 1}},
    "functions": [{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}},
                   "few_shot_examples": [{"request": "r", "params": {"a": 1}}], "return_parameters": {"type": "o"}},
                  {"name": "text2image"}],
    "temperature": 0.5, "top_p": 0.25, "n": 2, "max_tokens": 5, "repetition_penalty": 1.5, "update_interval": 0.5,
    "response_format": {"type": "json_schema", "schema": {"type": "object"}, "strict": True},
    "profanity_check": False, "flags": ["preprocess"],
    "storage": {"is_stateful": True, "limit": 1, "assistant_id": "a", "thread_id": "t", "metadata": {"k": "v"}},
    "function_ranker": {"enabled": True, "top_n": 3}, "reasoning_effort": "high", "additional_data": {"x": None},
    "features": {"embedder_model": "E"},
}


def test_every_field_of_v1_passes_unchanged(sent):
    before = copy.deepcopy(EVERYTHING)
    assert json.loads(sent(EVERYTHING).decode()) == EVERYTHING == before
    assert json.loads(sent(Chat(EVERYTHING)).decode()) == EVERYTHING
    assert json.loads(sent(EVERYTHING, stream=True).decode()) == {**EVERYTHING, "stream": True}
    missing = set(EVERYTHING) ^ set(Chat.model_fields)
    assert missing == {"stream", "additional_fields"}


@pytest.mark.parametrize("value", ["auto", "none", {"name": "f"}])
def test_function_call_modes_pass(value):
    assert chat_body({"messages": [], "function_call": value})["function_call"] == value


def test_falsy_fields_are_sent_and_none_is_not():
    payload = {"messages": [], "top_p": 0, "functions": [], "flags": [], "profanity_check": False, "model": ""}
    message = {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {"a": None}}}
    nulls = {"temperature": None, "messages": [{**message, "attachments": None, "name": None}]}
    function = {"name": "f", "parameters": {}}
    nullable = {**function, "return_parameters": None, "few_shot_examples": None}
    assert chat_body({"messages": [message], "functions": [nullable]})["functions"] == [function]
    before = copy.deepcopy(nulls)
    assert chat_body(payload) == payload
    assert chat_body({**payload, **nulls}) == {**payload, "messages": [message]} and nulls == before
    assert chat_body({**payload, "additional_fields": {"temperature": None}}) == {**payload, "temperature": None}


def test_request_objects_build_the_same_as_dicts(sent):
    typed = Chat(
        messages=[Messages(role=MessagesRole.SYSTEM, content="s"), Messages(role=MessagesRole.USER, content="u")],
        functions=[Function(name="f", parameters={}, few_shot_examples=[FewShotExample(request="r", params={})])],
        function_call=FunctionCall(name="f"), storage=Storage(is_stateful=True), model="m")
    plain = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
             "functions": [{"name": "f", "parameters": {}, "few_shot_examples": [{"request": "r", "params": {}}]}],
             "function_call": {"name": "f"}, "storage": {"is_stateful": True}, "model": "m"}
    assert sent(typed) == sent(plain) == json.dumps(plain, separators=(",", ":")).encode()


def test_settings_fill_what_the_caller_left_out(api):
    running = api(reply(body=CHAT_BODY))
    settings = {"model": "M", "profanity_check": True, "flags": ["a"]}
    client = new_client(base_url=running.base_url, access_token="t", **settings)
    client.chat("x")
    client.chat({"messages": [], "model": "own", "profanity_check": None, "flags": []})
    first, second = (call.json for call in running.calls)
    assert first == {"messages": [{"role": "user", "content": "x"}], **settings}
    assert second == {"messages": [], "model": "own", "profanity_check": True, "flags": []}


@pytest.mark.parametrize("payload, where, nearest", [
    ({"messages": [], "temprature": 1}, "temprature", "temperature"),
    ({"messages": [], "max_token": 1}, "max_token", "max_tokens"),
    ({"mesages": []}, "mesages", "messages"),
    ({"messages": [], "tools": []}, "tools", None),
    ({"messages": [{"role": "user", "content": "", "atachments": []}]}, r"messages\[0\].*atachments", "attachments"),
    ({"messages": [{"role": "user", "contnet": "x"}]}, r"messages\[0\].*contnet", "content"),
    ([{"role": "system", "content": "x"}, {"rol": "user", "content": "x"}], r"messages\[1\].*'rol'", "role"),
    ({"messages": [], "functions": [{"name": "f", "paramters": {}}]}, r"functions\[0\].*paramters", "parameters"),
    ({"messages": [], "functions": [{"name": "a"}, {"nmae": "f"}]}, r"functions\[1\].*nmae", "name"),
    ({"messages": [], "storage": {"is_statefull": True}}, "storage.*is_statefull", "is_stateful"),
    (Chat(messages=[], temprature=1), "temprature", "temperature"),
    ({"role": "user", "content": "x"}, "role", None),
])
def test_a_misspelt_field_is_refused_before_any_network(payload, where, nearest, resolve):
    resolve()
    client = new_client(access_token="t")
    for ask in (client.chat, client.stream):
        with pytest.raises(TypeError, match=where) as caught:
            ask(payload)
        assert nearest is None or f"did you mean {nearest!r}" in str(caught.value)
    assert not resolve.asked


@pytest.mark.parametrize("payload, where", [
    (None, "NoneType"), (5, "int"), ({}, "messages"), ({"messages": "x"}, "messages"), ({"messages": None}, "messages"),
    (["x"], r"messages\[0\].*str"), ({"messages": [["user", "x"]]}, r"messages\[0\]"), (b"x", "bytes"),
    ({"messages": [{"role": "user", "content": object()}]}, "object"),
    ({"messages": [{"role": "user", "content": b"x"}]}, "bytes"),
    ({"messages": [], "temperature": math.nan}, "JSON"),
    ({"messages": [], "temperature": math.inf}, "JSON"),
    ({"messages": [], "additional_fields": [1]}, "additional_fields"),
    ({"messages": [], "additional_fields": "x"}, "additional_fields"),
])
def test_what_is_no_request_is_a_type_error(payload, where):
    client = new_client(access_token="t")
    with pytest.raises(TypeError, match=where):
        client.chat(payload)


def test_a_request_that_contains_itself_is_a_type_error():
    loop = {"messages": []}
    loop["additional_data"] = loop
    with pytest.raises(TypeError, match="JSON"):
        to_json(chat_body(loop))


def test_what_the_service_wrote_goes_back_as_it_came(sent):
    text = FUNCTION_ANSWER.replace('"role"', '"novel_field":{"x":1},"role"')
    message = ChatCompletion(json.loads(text)).choices[0].message
    message.function_call.arguments["num_days"] = 3
    history = [{"role": "user", "content": "?"}, message, Messages(role="function", name="f", content="{}")]
    body = json.loads(sent(history).decode())
    assert body["messages"][1] == message and body["messages"][1]["novel_field"] == {"x": 1}
    assert body["messages"][1]["function_call"]["arguments"] == {"location": "Манжерок", "num_days": 3}


def test_additional_fields_carry_what_is_newer_than_we_are(sent):
    payload = {"messages": [], "temperature": 1, "additional_fields": {"brand_new": {"a": 1}, "temperature": 2}}
    before = copy.deepcopy(payload)
    body = json.loads(sent(payload).decode())
    assert body == {"messages": [], "temperature": 2, "brand_new": {"a": 1}, "model": "GigaChat"} and payload == before
    assert json.loads(sent(Chat(payload, additional_fields=None)).decode())["temperature"] == 1


@pytest.mark.parametrize("more", [{"stream": True}, {"stream": False}, {"additional_fields": {"stream": True}}])
def test_chat_never_streams_whatever_the_request_says(sent, more):
    assert b'"stream":true' not in sent({"messages": [], **more})
    assert json.loads(sent({"messages": [], **more}, stream=True).decode())["stream"] is True


@pytest.mark.parametrize("payload", [
    EVERYTHING, Chat(copy.deepcopy(EVERYTHING)), SAME["list"], SAME["Messages"],
    Chat(messages=[Messages(role="user", content="x")], stream=True, additional_fields={"a": {"b": 1}}),
], ids=["dict", "Chat", "list", "Messages", "Chat with stream"])
def test_the_callers_payload_is_never_changed(sent, payload):
    before, was = pickle.dumps(payload), copy.deepcopy(payload)
    sent(payload)
    sent(payload, stream=True)
    assert payload == was and type(payload) is type(was) and pickle.dumps(copy.deepcopy(payload)) and before


@pytest.mark.parametrize("content, wanted", [
    ("a\ud800b", "a\ufffdb"),
    ("\udcff", "\ufffd"),
    ("\ud83d\ude00", "😀"),
    ("\ude00\ud83d", "\ufffd\ufffd"),
    ("\u2028\u0085\x00\x7f", "\u2028\u0085\x00\x7f"),
    ("\ufeffx", "\ufeffx"),
    ('"\\\n', '"\\\n'),
])
def test_odd_letters_arrive_and_lone_surrogates_are_replaced(sent, content, wanted):
    assert json.loads(sent(content).decode("utf-8"))["messages"][0]["content"] == wanted


# ---- Bodies of v2, and what both versions share

ASKED = [{"role": "user", "content": [{"text": "Привет"}]}]


@pytest.mark.parametrize("payload", [
    "Привет", [{"role": "user", "content": "Привет"}], {"messages": ({"role": "user", "content": ["Привет"]},)},
    {"messages": [{"role": "user", "content": {"text": "Привет"}}]}, {"messages": ASKED}, [Messages(ASKED[0])],
    ChatCompletionRequest(messages=[ChatMessage(role=MessagesRole.USER, content="Привет")], stream=True),
    {"messages": ASKED, "storage": False, "reasoning": None, "profanity_check": None, "tools_state_id": None},
    Obj(messages=[Obj(role="user", content="Привет")]), {"messages": [], "additional_fields": {"messages": ASKED}},
], ids=repr)
def test_every_form_of_question_gives_one_v2_body(payload):
    before = copy.deepcopy(payload)
    assert to_json(v2_body(payload)) == to_json({"messages": ASKED}) and payload == before


V2_EVERYTHING = {
    "model": "GigaChat-2-Max",
    "messages": [
        {"role": "system", "content": [{"text": "Ты поэт"}]},
        {"role": "user", "content": [{"text": "?"}, {"files": [{"id": "f"}]}]},
        {"role": "assistant", "content": [{"function_call": {"id": "1", "name": "f", "arguments": {"a": 1}}}],
         "tools_state_id": "s"},
        {"role": "tool", "content": [{"function_result": {"name": "f", "result": {"b": None}}}], "tools_state_id": "s"},
    ],
    "model_options": {"preset": "p", "temperature": 1, "top_p": 0.5, "max_tokens": 5, "repetition_penalty": 1.5,
                      "update_interval": 0, "unnormalized_history": True, "top_logprobs": 5,
                      "reasoning": {"effort": "low"}, "response_format": {"type": "regex", "regex": "[A-Z]"}},
    "tools": [{"functions": {"specifications": [{"name": "f", "description": "d", "parameters": {
        "type": "object", "properties": {"x": {"oneOf": []}}}, "few_shot_examples": [{"request": "r", "params": {}}],
        "return_parameters": {}}]}}, {"web_search": {"type": "safe_search", "indexes": ["i"], "flags": ["f"]}},
        {"image_generate": {}}, {"model_3d_generate": {"any": 1}}, {"url_content_extraction": {}},
        {"code_interpreter": {}}, {"get_datetime": {}}, {"memory": {}}],
    "tool_config": {"mode": "forced", "tool_name": "t", "function_name": "f"},
    "ranker_options": {"enabled": True, "top_n": 1, "embeddings_model": "E"},
    "user_info": {"timezone": "Europe/Moscow"}, "disable_filter": True,
    "filter_config": {"request_content": {"neuro": True, "blacklist": True, "whitelist": True},
                      "response_content": {"blacklist": True}},
    "storage": {"limit": 1, "thread_id": "t", "metadata": {"k": "v"}}, "assistant_id": "a", "memory_id": "m",
    "flags": ["f"], "tools_state_id": "s",
}


def test_every_field_of_v2_passes_unchanged():
    before = copy.deepcopy(V2_EVERYTHING)
    settings = {"model": "other", "flags": ["other"], "profanity_check": True}
    for payload in V2_EVERYTHING, ChatCompletionRequest(copy.deepcopy(V2_EVERYTHING)):
        assert v2_body(payload) == v2_body(payload, settings) == V2_EVERYTHING == before == payload
    left = set(ChatCompletionRequest.model_fields) - set(V2_EVERYTHING)
    assert left == {"stream", "profanity_check", "reasoning", "response_format", "additional_fields", "tool_state_id",
                    "functions_state_id"}


@pytest.mark.parametrize("given, sent", [
    ({"tools": ["web_search", {"memory": {}}, ChatTool("get_datetime")]},
     {"tools": [{"web_search": {}}, {"memory": {}}, {"get_datetime": {}}]}),
    ({"tools": None}, {}),
    ({"reasoning": {"effort": "high"}}, {"model_options": {"reasoning": {"effort": "high"}}}),
    ({"reasoning": ChatReasoning(effort="a"), "model_options": ChatModelOptions(reasoning={"effort": "low"}, top_p=1)},
     {"model_options": {"reasoning": {"effort": "low"}, "top_p": 1}}),
    ({"response_format": {"type": "json_schema", "schema": Answered}},
     {"model_options": {"response_format": {"type": "json_schema", "schema": Answered.model_json_schema()}}}),
    ({"model_options": {"response_format": ChatResponseFormat(type="json_schema", schema=Answered)}},
     {"model_options": {"response_format": {"type": "json_schema", "schema": Answered.model_json_schema()}}}),
    ({"profanity_check": True}, {"disable_filter": False}), ({"profanity_check": False}, {"disable_filter": True}),
    ({"profanity_check": True, "disable_filter": True}, {"disable_filter": True}),
    ({"storage": True}, {"storage": {}}), ({"storage": False}, {}),
    ({"storage": ChatStorage(limit=1)}, {"storage": {"limit": 1}}),
    ({"functions_state_id": "s"}, {"tools_state_id": "s"}), ({"tool_state_id": "s"}, {"tools_state_id": "s"}),
    ({"functions_state_id": "a", "tool_state_id": "b", "tools_state_id": None}, {"tools_state_id": "b"}),
    ({"tools": [{"functions": {"specifications": [{"title": "f", "properties": {}, "required": []}]}}]},
     {"tools": [{"functions": {"specifications": [
         {"name": "f", "parameters": {"type": "object", "properties": {}, "required": []}}]}}]}),
    ({"additional_fields": {"novel": 1, "tools": [{"novel": {}}]}}, {"novel": 1, "tools": [{"novel": {}}]}),
])
def test_the_comforts_of_v2(given, sent):
    before = copy.deepcopy(given)
    assert v2_body({"messages": ASKED, **given}) == {"messages": ASKED, **sent} and given == before


SETTINGS = {"model": "M", "profanity_check": True, "flags": ["a"]}


@pytest.mark.parametrize("given, settings, added", [
    ({}, SETTINGS, {"model": "M", "disable_filter": False, "flags": ["a"]}),
    ({"model": "own", "flags": [], "disable_filter": True}, SETTINGS, {}),
    ({"profanity_check": True}, {"profanity_check": False}, {"disable_filter": False}),
    ({"assistant_id": "a"}, {"model": "M"}, {}), ({"storage": {"thread_id": "t"}}, {"model": "M"}, {}),
    ({"storage": {"limit": 5}}, {"model": "M"}, {"model": "M"}), ({}, {"model": None}, {}),
])
def test_settings_fill_what_a_v2_request_left_out(given, settings, added):
    body = v2_body({"messages": ASKED, **given}, settings)
    given = {key: value for key, value in given.items() if key != "profanity_check"}
    assert body == {"messages": ASKED, **given, **added}
    assert names_model(body) is bool({"model", "assistant_id"} & set(body) or given.get("storage", {}).get("thread_id"))


def test_v2_answers_go_back_with_the_state_renamed():
    message = ChatCompletionResponse(json.loads(V2_CALL)).messages[0]
    message["novel"] = {"x": 1}
    body = v2_body([{"role": "user", "content": "?"}, message, {"role": "tool", "functions_state_id": "s", "content": [
        {"function_result": {"name": "f", "result": {"temp": 5}}}]}])
    wanted = {**message, "tools_state_id": message.tool_state_id}
    del wanted["tool_state_id"]
    assert body["messages"][1] == wanted and "tool_state_id" in message
    assert body["messages"][2]["tools_state_id"] == "s" and "functions_state_id" not in body["messages"][2]


@pytest.mark.parametrize("body, where, advice", [
    ({"temprature": 1}, "the request has no field 'temprature'", "temperature"),
    ({"temperature": 1}, "no field 'temperature'", "model_options"),
    ({"max_tokens": 1}, "no field 'max_tokens'", "model_options"),
    ({"functions": []}, "no field 'functions'", "specifications"),
    ({"function_call": "auto"}, "no field 'function_call'", "tool_config"),
    ({"reasoning_effort": "low"}, "no field 'reasoning_effort'", "reasoning={'effort'"),
    ({"function_ranker": {}}, "no field 'function_ranker'", "ranker_options"),
    ({"brand_new": 1}, "no field 'brand_new'", "additional_fields"),
    ({"model_options": {"temprature": 1}}, "^model_options has no field 'temprature'", "'temperature'"),
    ({"model_options": {"response_format": {"shema": 1}}}, "^model_options.response_format .*'shema'", "'schema'"),
    ({"reasoning": {"efort": 1}}, "^reasoning .*'efort'", "'effort'"),
    ({"tools": ["web_serch"]}, r"tools\[0\].*'web_serch'", "'web_search'"),
    ({"tools": [{"memory": {}}, {"web_serch": {}}]}, r"tools\[1\].*'web_serch'", "'web_search'"),
    ({"tools": [{"web_search": {"tipe": 1}}]}, r"tools\[0\].web_search.*'tipe'", "'type'"),
    ({"tools": [{"functions": {"specifications": [{"nmae": "f"}]}}]}, r"specifications\[0\].*'nmae'", "'name'"),
    ({"tools": "web_search"}, "tools: a list", ""), ({"tools": {"memory": {}}}, "tools: a list", ""),
    ({"tool_config": {"mod": 1}}, "tool_config.*'mod'", "'mode'"),
    ({"filter_config": {"request_content": {"nero": 1}}}, "filter_config.request_content.*'nero'", "'neuro'"),
    ({"messages": [{"role": "user", "contnet": "x"}]}, r"messages\[0\].*contnet", "'content'"),
    ({"messages": [{"role": "user", "content": [{"txt": "x"}]}]}, r"messages\[0\].content\[0\].*'txt'", "'text'"),
    ({"messages": [{"role": "user", "content": {"txt": "x"}}]}, r"messages\[0\].content\[0\].*'txt'", "'text'"),
    ({"messages": [{"role": "user", "content": "", "attachments": []}]}, r"messages\[0\].*attachments", "'files'"),
    ({"mesages": []}, "mesages", "'messages'"), ({"messages": None}, "messages, a list", ""),
    ({"messages": ["x"]}, r"messages\[0\]: a dict or Messages is needed, not str", ""),
    ({"response_format": Answered}, "class Answered", "chat.parse"),
], ids=repr)
def test_a_misspelt_field_of_v2_is_refused(body, where, advice):
    with pytest.raises(TypeError, match=where) as caught:
        v2_body(body if "mesages" in body else {"messages": [], **body})
    assert advice in str(caught.value)


@pytest.mark.parametrize("body, where", [
    ({"function_ranker": {"top": 1}}, "function_ranker.*'top'"),
    ({"functions": [{"name": "f", "few_shot_examples": [{"rquest": 1}]}]}, r"functions\[0\].few_shot_.*\[0\].*rquest"),
    ({"messages": [{"role": "user", "content": "", "function_call": {"nam": 1}}]}, r"messages\[0\].function_call.*nam"),
    ({"response_format": Answered}, "class Answered.*chat_parse"), ({"tools": []}, "functions"),
])
def test_v1_is_checked_at_every_depth_too(body, where):
    with pytest.raises(TypeError, match=where):
        chat_body({"messages": [], **body})


def test_a_schema_is_free_or_a_pydantic_model():
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"minimum": 1}}, "$defs": {}}}
    body = chat_body({"messages": [], "functions": [function, Function(function), {"title": "g", "properties": {}}],
                      "response_format": {"type": "json_schema", "schema": Answered, "strict": True}})
    assert body["functions"] == [function, function, {"name": "g", "parameters": {"type": "object", "properties": {}}}]
    assert body["response_format"] == {"type": "json_schema", "schema": Answered.model_json_schema(), "strict": True}


@pytest.mark.parametrize("body, named", [
    ({}, False), ({"model": "M"}, True), ({"storage": {"is_stateful": True}}, False), ({"storage": True}, False),
    ({"storage": {"assistant_id": "a"}}, True), ({"storage": {"thread_id": "t"}}, True), ({"assistant_id": "a"}, True),
])
def test_assistants_and_threads_name_a_model(body, named):
    assert names_model(body) is named
