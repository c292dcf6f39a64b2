"""Requests and answers: dicts with attributes, equal to their plain dicts; what the caller writes is what is sent."""
from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
from types import MappingProxyType

import pytest

from clients import new_client
from gigachat_lite import (
    AccessToken,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Embeddings,
    FewShotExample,
    Function,
    FunctionCall,
    Messages,
    MessagesRole,
    Model,
    Models,
    Obj,
    Storage,
    TokensCount,
    Usage,
    models,
)
from gigachat_lite.models import Answer, TokensCounts, chat_body, to_json
from servers import CHAT_BODY, STREAM_BODY, reply, sse

CLASSES = [kind for _, kind in inspect.getmembers(models, inspect.isclass) if issubclass(kind, Obj)]
FUNCTION_ANSWER = (
    '{"choices":[{"message":{"content":"","role":"assistant","function_call":{"name":"weather_forecast","arguments":'
    '{"location":"Манжерок","num_days":10}},"functions_state_id":"0199e210-2f13-744c-8fe5-c9a19fe27db7"},"index":0,'
    '"finish_reason":"function_call"}],"created":1760434335,"model":"GigaChat-2-Pro:2.0.28.2",'
    '"object":"chat.completion"}'
)


def chat_answer():
    return ChatCompletion(json.loads(CHAT_BODY.decode()))


# ---- Objects


@pytest.mark.parametrize("kind", CLASSES)
def test_no_declared_field_is_hidden_by_a_method(kind):
    for name in kind._fields:
        assert not hasattr(Obj, name), name
        assert name == "x_headers" or isinstance(getattr(kind, name), property), name


def test_an_answer_is_read_by_attributes_and_by_keys():
    answer = chat_answer()
    assert answer.choices[0].message.content == answer["choices"][0]["message"]["content"] == "Hello."
    assert answer.usage.total_tokens == 20 and answer.choices[0].finish_reason == "stop"
    kinds = [type(answer.choices[0]).__name__, type(answer.choices[0].message).__name__, type(answer.usage).__name__]
    assert kinds == ["Choices", "Messages", "Usage"]


def test_nested_objects_keep_their_identity_and_assignments_stick():
    answer = chat_answer()
    choices, message = answer.choices, answer.choices[0].message
    assert answer.choices is choices is answer["choices"] and answer.choices[0].message is message
    assert answer["choices"][0]["message"] is message and answer.usage is answer.usage
    message.content = "other"
    answer.usage.note = {"a": [1]}
    answer.choices.append({"message": {"content": "second"}, "index": 1})
    plain = json.loads(json.dumps(answer))
    assert plain["choices"][0]["message"]["content"] == "other" and plain["usage"]["note"] == {"a": [1]}
    assert answer.choices[1].message.content == "second" and answer.choices[1] is answer["choices"][1]


def test_decoding_costs_no_wrapping_before_an_access():
    plain = json.loads(CHAT_BODY.decode())
    answer = ChatCompletion(plain)
    assert type(answer["choices"][0]) is dict and type(plain["choices"][0]) is dict
    assert answer == plain and type(answer["choices"][0]) is dict


@pytest.mark.parametrize("touch", [False, True], ids=["untouched", "wrapped"])
def test_equal_to_the_plain_dict_and_written_as_it(touch):
    plain, answer = json.loads(CHAT_BODY.decode()), chat_answer()
    if touch:
        assert answer.choices[0].message.content and answer.usage.total_tokens
    assert answer == plain and plain == answer and (answer != plain) is False
    assert json.dumps(answer, separators=(",", ":")).encode() == CHAT_BODY
    assert dict(answer) == plain and answer == chat_answer() and answer != {**plain, "model": "x"}
    assert isinstance(answer, dict) and len(answer) == 5 and list(answer) == list(plain)
    assert eval(repr(answer), {"ChatCompletion": dict, **{kind.__name__: kind for kind in CLASSES}}) == plain


def test_declared_but_absent_is_none_and_undeclared_is_an_error_that_lists_what_is_there():
    usage = Usage(prompt_tokens=1, exotic="kept")
    assert usage.system_tokens is None and usage.exotic == usage["exotic"] == "kept"
    with pytest.raises(AttributeError, match="Usage has no field 'total'; it has: prompt_tokens, exotic"):
        _ = usage.total
    with pytest.raises(AttributeError, match="none"):
        _ = Obj().x
    with pytest.raises(KeyError):
        usage["system_tokens"]
    assert "system_tokens" not in usage and usage.get("system_tokens", 7) == 7
    assert not hasattr(usage, "x") and getattr(usage, "x", 5) == 5


def test_a_declared_field_may_hold_none():
    assert Messages(content=None).content is None and Messages(function_call=None).function_call is None
    assert ChatCompletion(choices=None).choices is None


def test_unknown_nested_objects_are_wrapped_too():
    obj = Obj(a={"b": [{"c": 1}, 2, [{"d": 3}]]})
    assert obj.a.b[0].c == 1 and obj.a is obj.a and obj.a.b[0] is obj["a"]["b"][0] and obj.a.b[1] == 2
    assert obj == {"a": {"b": [{"c": 1}, 2, [{"d": 3}]]}}


def test_a_trailing_underscore_is_ignored():
    model = Model(id="GigaChat", object="model", type="chat")
    assert (model.id_, model.object_, model.type_) == ("GigaChat", "model", "chat")
    model.id_ = "other"
    assert model == {"id": "other", "object": "model", "type": "chat"} and model.owned_by_ is None
    del model.type_
    assert "type" not in model
    both = Obj(x_=1)
    both.x_, both.y_ = 2, 3
    assert both.x_ == 2 and both == {"x_": 2, "y": 3}
    del both.x_
    assert both == {"y": 3} and Obj(items=[1]).items_ == [1]
    with pytest.raises(AttributeError):
        _ = Obj(x=1).y_


def test_setting_and_deleting_attributes_are_items():
    obj = Obj(a=1)
    obj.b = 2
    del obj.a
    assert obj == {"b": 2}
    with pytest.raises(AttributeError, match="has no field 'a'"):
        del obj.a


def test_a_field_that_a_dict_method_hides_is_read_by_its_key():
    obj = Obj(items=[{"a": 1}], keys=2)
    assert callable(obj.items) and obj["items"] == [{"a": 1}] and dict(obj.items()) == obj


def test_dir_names_fields_and_methods():
    names = dir(chat_answer())
    assert {"choices", "usage", "thread_id", "keys", "x_headers"} <= set(names) and "odd" in dir(Obj(odd=1))


def test_ids_of_an_answer_stand_outside_equality_and_json():
    first, second = chat_answer(), chat_answer()
    assert first.x_headers is None
    first.x_headers = {"x-request-id": "1"}
    assert first == second and "x_headers" not in first and "x-request-id" not in json.dumps(first)
    assert first.x_headers == {"x-request-id": "1"} and second.x_headers is None


COPIES = {
    "copy.copy": copy.copy,
    "copy()": lambda value: value.copy(),
    "copy.deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda value, n=n: pickle.loads(pickle.dumps(value, n))
       for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("make", [
    chat_answer,
    lambda: Chat(messages=[Messages(role="user", content="x", attachments=["1"])]),
    lambda: Models(data=[Model(id="a")]),
    lambda: AccessToken(access_token="t", expires_at=1),
    lambda: TokensCounts([{"tokens": 1}]),
], ids=["chat", "request", "models", "token", "counts"])
def test_copies_are_equal_of_the_same_class_and_keep_the_ids(way, make):
    if way == "copy()" and isinstance(make(), list):
        return  # a list's own copy is a plain list
    value = make()
    if hasattr(type(value), "x_headers"):
        value.x_headers = {"x-request-id": "7"}
    twin = COPIES[way](value)
    assert twin == value and type(twin) is type(value) and twin is not value
    assert not hasattr(type(value), "x_headers") or twin.x_headers == {"x-request-id": "7"}


@pytest.mark.parametrize("protocol", [0, 1])
def test_requests_pickle_by_the_oldest_protocols_too(protocol):
    value = Chat(messages=[Messages(role=MessagesRole.USER, content="x")], storage=Storage(is_stateful=True))
    assert value.messages[0].content == "x"
    assert pickle.loads(pickle.dumps(value, protocol)) == value


def test_a_deep_copy_shares_nothing():
    answer = chat_answer()
    assert answer.choices[0].message.content == "Hello."
    twin = copy.deepcopy(answer)
    twin.choices[0].message.content = "x"
    assert answer.choices[0].message.content == "Hello." and type(twin.choices[0]) is type(answer.choices[0])


def test_a_token_masks_itself_but_writes_itself():
    token = AccessToken(access_token="S3CRET", expires_at=1700000000000)
    shown = [repr(token), str(token), f"{token}", "%s" % token, f"{[token]}"]
    assert not [text for text in shown if "S3CRET" in text] and "1700000000000" in repr(token)
    assert json.loads(json.dumps(token)) == {"access_token": "S3CRET", "expires_at": 1700000000000}


# ---- Recorded bodies


def test_the_recorded_function_call_keeps_arguments_as_an_object():
    call = ChatCompletion(json.loads(FUNCTION_ANSWER)).choices[0].message.function_call
    assert type(call) is FunctionCall and (call.name, call.id) == ("weather_forecast", None)
    assert call.arguments == {"location": "Манжерок", "num_days": 10} and type(call.arguments) is dict


def test_the_recorded_stream_events_decode():
    events = [ChatCompletionChunk(json.loads(line[6:])) for line in STREAM_BODY.decode().split("\n\n")[:5]]
    assert [event.choices[0].delta.role for event in events] == ["assistant", None, None, None, None]
    assert events[-1].usage.total_tokens == 59 and events[0].usage is None
    assert events[4].choices[0].finish_reason == "stop"
    assert events[0].object == "chat.completion" and events[1].choices[0].delta.function_call is None


@pytest.mark.parametrize("kind, text, reads", [
    (Models, '{"object":"list","data":[{"id":"GigaChat","object":"model","owned_by":"salutedevices","type":"chat"}]}',
     lambda m: (m.data[0].id, m.data[0].type, m.data[0].owned_by) == ("GigaChat", "chat", "salutedevices")),
    (Models, '{"object":"list","data":[{"id":"GigaChat:latest","object":"model","owned_by":"salutedevices"}]}',
     lambda m: m.data[0].type is None),
    (Embeddings, '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1.25],'
                 '"usage":{"prompt_tokens":9}}],"model":"Embeddings"}',
     lambda e: (e.data[0].embedding, e.data[0].usage.prompt_tokens, e.model) == ([0.5, -1.25], 9, "Embeddings")),
    (TokensCounts, '[{"object":"tokens","tokens":2,"characters":10},{"object":"tokens","tokens":2,"characters":11}]',
     lambda c: [(one.tokens, one.characters) for one in c] == [(2, 10), (2, 11)] and type(c[0]) is TokensCount),
    (AccessToken, '{"access_token":"eyJ","expires_at":1739784663483}', lambda t: t.expires_at == 1739784663483),
    (ChatCompletion, '{"choices":[{"message":{"role":"новая","content":null,"odd":{"x":1}},"index":0}],"extra":[1]}',
     lambda c: c.choices[0].message.role == "новая" and c.choices[0].message.odd.x == 1 and c.extra == [1]),
    (ChatCompletion, '{"choices":[]}', lambda c: c.choices == [] and c.usage is None and c.model is None),
], ids=["models", "old models", "embeddings", "tokens", "oauth", "unknown fields", "almost nothing"])
def test_recorded_bodies_decode_and_stay_what_they_were(kind, text, reads):
    value = kind(json.loads(text))
    assert reads(value) and json.dumps(value, ensure_ascii=False, separators=(",", ":")) == text


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


def test_every_field_of_the_api_passes_unchanged_and_nothing_is_added(sent):
    before = copy.deepcopy(EVERYTHING)
    assert json.loads(sent(EVERYTHING).decode()) == EVERYTHING == before
    assert json.loads(sent(Chat(EVERYTHING)).decode()) == EVERYTHING
    assert json.loads(sent(EVERYTHING, stream=True).decode()) == {**EVERYTHING, "stream": True}
    missing = set(EVERYTHING) ^ set(Chat._fields)
    assert missing == {"stream", "additional_fields"}


@pytest.mark.parametrize("value", ["auto", "none", {"name": "f"}])
def test_function_call_modes_pass(value):
    assert chat_body({"messages": [], "function_call": value})["function_call"] == value


def test_null_and_falsy_fields_are_sent_as_written():
    payload = {"messages": [], "temperature": None, "top_p": 0, "functions": [], "flags": [], "profanity_check": False}
    assert chat_body(payload) == payload


def test_request_objects_build_the_same_as_dicts(sent):
    typed = Chat(
        messages=[Messages(role=MessagesRole.SYSTEM, content="s"), Messages(role=MessagesRole.USER, content="u")],
        functions=[Function(name="f", parameters={}, few_shot_examples=[FewShotExample(request="r", params={})])],
        function_call=FunctionCall(name="f"), storage=Storage(is_stateful=True), model="m")
    plain = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
             "functions": [{"name": "f", "parameters": {}, "few_shot_examples": [{"request": "r", "params": {}}]}],
             "function_call": {"name": "f"}, "storage": {"is_stateful": True}, "model": "m"}
    assert sent(typed) == sent(plain) == json.dumps(plain, separators=(",", ":")).encode()


def test_settings_fill_what_the_caller_left_out_and_nothing_else(api):
    running = api(reply(body=CHAT_BODY))
    settings = {"model": "M", "profanity_check": True, "flags": ["a"]}
    client = new_client(base_url=running.base_url, access_token="t", **settings)
    client.chat("x")
    client.chat({"messages": [], "model": "own", "profanity_check": None, "flags": []})
    first, second = (call.json for call in running.calls)
    assert first == {"messages": [{"role": "user", "content": "x"}], **settings}
    assert second == {"messages": [], "model": "own", "profanity_check": None, "flags": []}


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
def test_what_is_no_request_is_a_type_error_that_says_so(payload, where):
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
def test_odd_letters_arrive_and_halves_of_surrogate_pairs_become_the_replacement_sign(sent, content, wanted):
    assert json.loads(sent(content).decode("utf-8"))["messages"][0]["content"] == wanted


def test_roles_are_strings():
    assert [role.value for role in MessagesRole] == [
        "assistant", "system", "user", "function", "function_in_progress", "search_result"]
    assert MessagesRole.USER == "user" and MessagesRole("system") is MessagesRole.SYSTEM


@pytest.mark.parametrize("message", [MappingProxyType({"role": "user", "content": "x"})])
def test_a_message_may_be_any_mapping(sent, message):
    assert json.loads(sent([message]).decode())["messages"] == [{"role": "user", "content": "x"}]


def test_answers_are_exported_and_slots_are_small():
    assert issubclass(ChatCompletion, Answer) and issubclass(Model, Answer) and not issubclass(Usage, Answer)
    assert all(kind.__doc__ for kind in CLASSES)
