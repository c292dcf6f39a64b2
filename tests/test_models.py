"""Requests and answers: dicts with attributes, equal to their plain dicts."""
from __future__ import annotations

import base64
import copy
import importlib
import inspect
import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest

import gigachat_lite
from gigachat_lite import (
    AccessToken,
    AICheckResult,
    Assistants,
    Balance,
    Batches,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatContentFile,
    ChatMessage,
    ChatResponseFormat,
    ChatTool,
    DeletedFile,
    Embeddings,
    FunctionCall,
    FunctionParameters,
    FunctionParametersProperty,
    FunctionValidation,
    Image,
    JsonSchemaResponseFormat,
    Messages,
    MessagesRole,
    Model,
    Models,
    Obj,
    OpenApiFunctions,
    PrimaryChatCompletionChunk,
    Storage,
    ThreadCompletion,
    ThreadCompletionChunk,
    ThreadMessages,
    ThreadRunResult,
    Threads,
    ThreadStatus,
    TokensCount,
    UploadedFile,
    UploadedFiles,
    Usage,
    models,
)
from gigachat_lite.models import TokensCounts
from servers import CHAT_BODY, STREAM_BODY

HERE = pathlib.Path(__file__).parent
CLASSES = [kind for name in models.__all__ for kind in [getattr(models, name)]
           if inspect.isclass(kind) and issubclass(kind, Obj)]
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
    for name in kind.model_fields:
        assert not hasattr(Obj, name) and not hasattr(dict, name), name
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
    names = {"ChatCompletion": dict, **{kind.__name__: kind for kind in CLASSES}}
    assert eval(repr(answer), names) == plain  # noqa: S307 -- a repr of ours


def test_a_declared_field_is_none_and_another_an_error():
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


def test_a_field_named_as_a_method_is_read_by_key():
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
def test_copies_are_equal_and_keep_class_and_ids(way, make):
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


def test_roles_are_strings():
    assert [role.value for role in MessagesRole] == [
        "assistant", "system", "user", "function", "function_in_progress", "search_result"]
    assert MessagesRole.USER == "user" and MessagesRole("system") is MessagesRole.SYSTEM


@pytest.mark.parametrize("kind", CLASSES)
def test_an_object_is_as_small_as_its_dict(kind):
    assert kind.__doc__ and not hasattr(kind(a=1), "__dict__") and not hasattr(kind, "__weakref__")


# ---- Every class of the API


def own(kind, name):
    """Read a name of the official package on a class of ours."""
    return name in kind.model_fields or isinstance(getattr(kind, name, None), property)


def test_every_official_class_is_there_with_its_fields():
    official = pytest.importorskip("gigachat.models")
    assert set(official.__all__) <= set(models.__all__)
    for name in set(official.__all__) - {"ResponseFormat", "assistants", "threads"}:
        theirs, ours = getattr(official, name), getattr(models, name)
        if hasattr(theirs, "model_fields"):
            fields = {field.alias or key for key, field in theirs.model_fields.items()}
            missing = {key for key in fields if not own(ours, key)}
            renamed = {key for key in theirs.model_fields if key.endswith("_")}
            assert renamed <= {key for base in ours.__mro__ for key in vars(base).get("__annotations__", ())}, name
            assert missing <= ({"items"} if name == "FunctionParametersProperty" else {"x_headers"}), (name, missing)
            assert "x_headers" not in fields or own(ours, "x_headers")
        else:
            assert {key: str(word) for key, word in ours.__members__.items()} == {
                key: word.value for key, word in theirs.__members__.items()}


def test_the_files_of_the_official_models_are_there_too():
    pytest.importorskip("gigachat.models")
    for room in ("assistants", "auth", "base", "chat", "chat_completions", "embeddings", "files", "models",
                 "response_format", "threads", "tools"):
        ours, theirs = (importlib.import_module(f"{name}.models.{room}") for name in ("gigachat_lite", "gigachat"))
        public = getattr(theirs, "__all__", None) or [
            name for name, kind in vars(theirs).items()
            if getattr(kind, "__module__", "") == theirs.__name__ and name[0] != "_" and name != "XHeadersMixin"]
        assert public and [name for name in public if not hasattr(ours, name)] == []


@pytest.mark.long
def test_what_is_seldom_needed_is_loaded_when_used():
    code = ("import sys, pickle, gigachat_lite as g\n"
            "late = ['assistants', 'batches', 'chat_completions', 'files', 'threads']\n"
            "assert not {'gigachat_lite.models.' + name for name in late} & set(sys.modules)\n"
            "assert 'ChatMessage' in dir(g) and 'ChatMessage' in dir(g.models)\n"
            "message = g.ChatMessage(role='user', content='x')\n"
            "assert g.models.ChatMessage is g.ChatMessage and g.models.threads.Thread is g.Thread\n"
            "from gigachat_lite.models import assistants, batches\n"
            "assert assistants.Assistant is g.Assistant and batches.Batch is g.Batch\n"
            "print(pickle.dumps([message, g.ThreadStatus('new')]).hex())\n")
    environ = {**os.environ, "PYTHONPATH": str(pathlib.Path(gigachat_lite.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environ, timeout=20, stdout=subprocess.PIPE)
    assert done.returncode == 0
    message, status = pickle.loads(bytes.fromhex(done.stdout.decode()))
    assert message.text == "x" and type(message) is ChatMessage and status.value == "new"


def test_names_that_are_nowhere_are_errors():
    for module in gigachat_lite, models:
        with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
            _ = module.Nonsense
    assert set(models.__all__) - {"assistants", "threads"} <= set(gigachat_lite.__all__)
    space = {}
    exec("from gigachat_lite.models import *", space)  # noqa: S102 -- what a user would write
    assert set(models.__all__) <= set(space)


JUNK = [None, "x", 5, True, [], {}, [None], [[]], [{}], ["x"], {"a": None}, {"a": {}}, [{"role": "x", "content": 5}],
        {"content": [{"text": None}], "delta": 5, "message": []}, [{"message": None, "delta": None, "index": None}],
        [{"message": {"content": None}, "delta": {"content": [{}], "role": []}, "index": [], "finish_reason": {}}],
        [{"role": "assistant", "content": [None, {"files": [None, {"id": 5}]}, {"files": {}, "function_call": []}]}]]


@pytest.mark.parametrize("kind", [
    pytest.param(kind, marks=[pytest.mark.long] if i % 5 else []) for i, kind in enumerate(CLASSES)])
def test_nothing_that_the_service_may_write_breaks_an_object(kind):
    names = [name for name in dir(kind) if name[0] != "_" and isinstance(getattr(kind, name), property)]
    for field in kind.model_fields.keys() - {"x_headers"}:
        for junk in JUNK:
            value = kind({field: copy.deepcopy(junk), "unknown": [{}]})
            for name in [*names, field + "_", "unknown"]:
                if not (name == "completion" or name == "embeddings"):
                    getattr(value, name)
            assert value == {field: value[field], "unknown": [{}]} or kind is Batches
            assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)
            assert json.loads(json.dumps(value)) == value == value.model_dump() and repr(value)
            assert value[field] == junk or field in ("content", "batches", "type")


FILE = ('{"id":"f4b17167-0000-4000-8000-000000000000","object":"file","bytes":120,"created_at":1715684019,'
        '"filename":"a.txt","purpose":"general","access_policy":"private"}')
BATCH = ('{"id":"b-1","method":"chat_completions","request_counts":{"total":2,"completed":1,"failed":1},'
         '"status":"completed","output_file_id":"f-1","created_at":1715684019,"updated_at":1715684020}')
V2_CALL = (
    '{"model":"GigaChat-3-Lightning","created_at":1790250876,"messages":[{"role":"assistant",'
    '"tool_state_id":"01a0d344-7edd-73ff-8a9a-241b10097774","content":[{"function_call":'
    '{"id":"9bb697cc-c55f-4e76-aeba-39bbd3ef26fc","name":"getWeather","arguments":{"city":"Москва"}}}]}],'
    '"finish_reason":"function_call","usage":{"input_tokens":57,"input_tokens_details":{"prompt_tokens":57,'
    '"cached_tokens":0},"output_tokens":18,"total_tokens":75}}')
V2_IMAGE = (
    '{"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321859,"messages":[{"role":"assistant","content":[{"files":'
    '[{"id":"f4b17167","mime":"image/jpeg","target":"image"},{"id":"m-3","target":"3dmodel"},{"id":"p","mime":'
    '"image/png"},{"id":"a","mime":"audio/mp3","target":"audio"}]},{"text":"Вот "},{"text":"кот [sources=[1]]",'
    '"inline_data":{"sources":{"1":{"url":"https://a.ru","title":"А"}},"images":[]}}]}],"finish_reason":"stop"}')
V2_DONE = (
    '{"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","tool_state_id":"01a0d344"'
    '}],"finish_reason":"stop","usage":{"input_tokens":3678,"input_tokens_details":{"prompt_tokens":3678,'
    '"cached_tokens":4071},"output_tokens":91,"total_tokens":3769}}')
V2_TOOL = (
    '{"model":"GigaChat-3-Lightning","created_at":1790250877,"messages":[{"role":"assistant","content":'
    '[{"tool_execution":{"id":"","name":"web_search","status":"success"}}]}]}')
THREAD_EVENT = (
    '{"choices":[{"delta":{"content":" вопросы. Чем могу вам помочь?"},"index":0,"finish_reason":"stop"}],'
    '"created":1715684409,"model":"GigaChat-Pro:2.2.25.3","object":"threads.messages.run","usage":{"prompt_tokens":0,'
    '"completion_tokens":8,"total_tokens":8},"thread_id":"9b1cc6d9","message_id":"fd753d3f"}')


@pytest.mark.parametrize("kind, text, reads", [
    (ChatCompletionResponse, V2_CALL, lambda r: (
        r.function_call.name, r.function_call.arguments["city"], r.tools_state_id[:8], r.messages[0].tool_state_id[:8],
        r.messages[0].functions_state_id[:8], r.usage.input_tokens_details.prompt_tokens, r.text, r.finish_reason,
        r.function_call is r.messages[0].content[0].function_call,
    ) == ("getWeather", "Москва", *["01a0d344"] * 3, 57, "", "function_call", True)),
    (ChatCompletionResponse, V2_IMAGE, lambda r: (
        r.images, r.models_3d, r.text, r.messages[0].text, r.messages[0].content[2].inline_data.sources["1"].title,
        r.usage, r.function_call, r.blocked,
    ) == (["f4b17167", "p"], ["m-3"], *["Вот кот [sources=[1]]"] * 2, "А", None, None, False)),
    (PrimaryChatCompletionChunk, V2_DONE, lambda c: (
        c.text, c.messages[0].content, c.tool_state_id, c.usage.total_tokens, c.event, c.images,
    ) == ("", None, "01a0d344", 3769, None, [])),
    (PrimaryChatCompletionChunk, V2_TOOL, lambda c: (
        c.text, c.messages[0].content[0].tool_execution.status, c.finish_reason, c.truncated,
    ) == ("", "success", None, False)),
    (UploadedFile, FILE, lambda f: (f.id_, f.bytes_, f.object_, f.modalities) == (f.id, 120, "file", None)),
    (UploadedFiles, f'{{"data":[{FILE}]}}', lambda f: type(f.data[0]) is UploadedFile and f.data[0].bytes == 120),
    (DeletedFile, '{"id":"123","object":"file","deleted":true}', lambda f: f.deleted and f.access_policy is None),
    (Balance, '{"balance":[{"usage":"GigaChat","value":900000},{"usage":"embeddings","value":9999967}]}',
     lambda b: {one.usage: one.value for one in b.balance} == {"GigaChat": 900000, "embeddings": 9999967}),
    (AICheckResult, '{"category":"mixed","characters":533,"tokens":224,"ai_intervals":[[1,262],[415,533]]}',
     lambda a: a.category == "mixed" and a.ai_intervals[1] == [415, 533]),
    (OpenApiFunctions, '{"functions":[{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"array",'
                       '"items":{"type":"string"}}}},"few_shot_examples":[{"request":"r","params":{}}]}]}',
     lambda o: (o.functions[0].parameters.properties["a"].type_, o.functions[0].few_shot_examples[0].request,
                o.functions[0].parameters.properties["a"].items_) == ("array", "r", {"type": "string"})),
    (FunctionValidation, '{"status":200,"message":"Function is valid","json_ai_rules_version":"1.0.5","warnings":'
                         '[{"description":"few_shot_examples are missing","schema_location":"(root)"}]}',
     lambda v: v.valid and v.warnings[0].schema_location == "(root)" and v.errors is None),
    (FunctionValidation, '{"status":200,"message":"Incorrect function syntax","errors":[{"description":"name"}]}',
     lambda v: not v.valid and v.errors[0].description == "name"),
    (Assistants, '{"data":[{"assistant_id":"a","model":"M","created_at":1,"updated_at":2,"files":[{"file_id":"f"}]}]}',
     lambda a: a.data[0].files[0].file_id == "f" and a.data[0].functions is None),
    (Threads, '{"threads":[{"id":"t","model":"M","created_at":1,"updated_at":2,"status":"ready","run_lock":false}]}',
     lambda t: t.threads[0].status is ThreadStatus.READY and t.threads[0].id_ == "t" and not t.threads[0].run_lock),
    (ThreadRunResult, '{"status":"novel","thread_id":"t","messages":[{"role":"novel","attachments":[{"file_id":"f"}]'
                      '}]}',
     lambda r: (r.status, r.status.value, r.messages[0].role.value, r.messages[0].attachments[0].file_id)
     == ("novel", "novel", "novel", "f")),
    (ThreadMessages, '{"thread_id":"t","messages":[{"message_id":"m","role":"user","content":"x","created_at":1}]}',
     lambda m: m.messages[0].role is MessagesRole.USER and m.messages[0].attachments is None),
    (ThreadCompletion, '{"object":"threads.messages.run","model":"M","thread_id":"t","message_id":"m","created":1,'
                       '"usage":{"total_tokens":3},"message":{"role":"assistant","content":"Да."},'
                       '"finish_reason":"length"}',
     lambda t: (t.text, t.truncated, t.finish_reason, t.usage.total_tokens) == ("Да.", True, "length", 3)),
    (ThreadCompletionChunk, THREAD_EVENT, lambda c: (c.text[:8], c.finish_reason, c.usage.completion_tokens)
     == (" вопросы", "stop", 8)),
], ids=lambda value: getattr(value, "__name__", ""))
def test_bodies_of_other_endpoints_decode_and_stay_the_same(kind, text, reads):
    value = kind(json.loads(text))
    assert reads(value) and json.dumps(value, ensure_ascii=False, separators=(",", ":")) == text
    assert value.model_dump() == json.loads(text) == json.loads(value.model_dump_json())


@pytest.mark.parametrize("text, ids", [
    (BATCH, ["b-1"]), (f"[{BATCH},{BATCH}]", ["b-1", "b-1"]), (f'{{"batches":[{BATCH}]}}', ["b-1"]),
    ("[]", []), ('{"batches":[]}', []), ('{"status":"created"}', [None]),
])
def test_batches_come_in_three_shapes(text, ids):
    batches = Batches(json.loads(text))
    assert [batch.id for batch in batches.batches] == ids and pickle.loads(pickle.dumps(batches)) == batches.copy()
    assert not ids or not batches.batches[0].id or batches.batches[0].request_counts.failed == 1
    assert Batches(batches=[]) == Batches() == {"batches": []} and Batches({}) == {}


def test_results_of_a_batch_have_their_classes():
    lines = ['{"id":"1","result":' + CHAT_BODY.decode() + "}", '{"id":"2","error":{"status":422,"message":"m"}}',
             '{"id":"3","result":{"data":[{"embedding":[1.5],"index":0}]}}']
    chat, error, vectors = [gigachat_lite.BatchResult(json.loads(line)) for line in lines]
    assert chat.completion.text == "Hello." and chat.error is None
    assert error.error.status == 422 and error.completion.text == "" and vectors.embeddings.data[0].embedding == [1.5]


# ---- At a glance


def v1(message, **choice):
    return {"choices": [{"message": message, "delta": message, "index": 0, **choice}]}


def v2(*parts, **more):
    return {"messages": [{"role": "assistant", "content": list(parts)}], **more}


@pytest.mark.parametrize("kind", [ChatCompletion, ChatCompletionChunk])
@pytest.mark.parametrize("body, text", [
    (v1({"role": "assistant", "content": "Да"}), "Да"),
    (v1({"content": "Да"}), "Да"),
    (v1({"role": "function_in_progress", "name": "text2image", "content": "Осталось 5 с"}), ""),
    (v1({"content": None}), ""), ({"choices": []}, ""), ({}, ""),
    ({"choices": [{"index": 1, "message": {"content": "b"}, "delta": {"content": "b"}},
                  {"index": 0, "message": {"content": "a"}, "delta": {"content": "a"}}]}, "a"),
    ({"choices": [{"message": {"content": "a"}, "delta": {"content": "a"}}]}, "a"),
])
def test_the_text_is_that_of_the_first_choice(kind, body, text):
    assert kind(body).text == text


@pytest.mark.parametrize("reason, blocked, truncated", [
    ("stop", False, False), ("length", False, True), ("blacklist", True, False), ("content_filter", True, False),
    ("request_blacklist", True, False), ("request_whitelist", True, False), ("request_filter", True, False),
    ("response_blacklist", True, False), ("function_call", False, False), (None, False, False), ("novel", False, False),
])
def test_a_finish_reason_is_told_in_words(reason, blocked, truncated):
    bodies = [(kind, v1({}, finish_reason=reason)) for kind in (ChatCompletion, ChatCompletionChunk)]
    bodies += [(kind, v2(finish_reason=reason)) for kind in (ChatCompletionResponse, PrimaryChatCompletionChunk)]
    bodies += [(ThreadCompletion, {"finish_reason": reason}), (ThreadCompletionChunk, v1({}, finish_reason=reason))]
    for kind, body in bodies:
        answer = kind(body)
        assert (answer.finish_reason, answer.blocked, answer.truncated) == (reason, blocked, truncated)


def test_a_function_call_is_found_in_both_versions():
    call = {"name": "f", "arguments": {"a": 1}}
    for answer in (ChatCompletion(v1({"function_call": call})), ChatCompletionChunk(v1({"function_call": call})),
                   ChatCompletionResponse(v2({"text": "x"}, {"function_call": call})),
                   PrimaryChatCompletionChunk({"messages": [{"function_call": call}]})):
        assert answer.function_call == call and answer.function_call.arguments == {"a": 1}
        assert answer.function_call is answer.function_call
    for nothing in {}, {"function_call": "auto"}, {"function_call": None}:
        for kind, body in (ChatCompletion, v1(nothing)), (ChatCompletionResponse, v2(nothing)):
            assert kind(body).function_call is None


def test_a_v2_text_is_of_the_assistant_alone():
    roles = ["reasoning", "assistant", None, "tool", "user"]
    messages = [{"role": role, "content": [{"text": str(role)}]} for role in roles]
    assert ChatCompletionResponse(messages=messages).text == "assistantNone"


CAT, MODEL, COVER = ("3727db23-91a3-44fa-a6b7-9f0a311d3e9e", "e10675c7-4128-4dbf-9f68-b10876ac1951",
                     "00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("content, images, models_3d", [
    (f'<img src="{CAT}" fuse="true"/> вот мой рисунок розового кота.', [CAT], []),
    (f'Модель: <div data-model-id="{MODEL}" fuse="true"/> вот она', [], [MODEL]),
    (f'<video cover="{COVER}" src="{MODEL}" fuse="true"/>', [], [MODEL]),
    (f"<IMG fuse='true' src='{CAT}'><img\nsrc = \"{MODEL}\"/><x src=\"{CAT}\">", [CAT, MODEL], []),
    ('<img src="https://a.ru/cat.jpg"/> <img src=""/> <img alt="src"/>', [], []),
    (f'<img src="{CAT}0"/><img src="x{CAT}"/><img data-src="{CAT}"/>', [], []),
    (f'src="{CAT}" < img src="{CAT}" <img src="{CAT}"', [], []),
    ("", [], []),
])
def test_files_in_a_text_are_known_by_their_attributes(content, images, models_3d):
    for answer in ChatCompletion(v1({"content": content})), ThreadCompletion(message={"content": content}):
        assert (answer.images, answer.models_3d) == (images, models_3d)


def test_files_are_found_in_linear_time():
    assert ChatCompletion(v1({"content": "<a src='" * 100000 + "<img " + " " * 100000})).images == []


@pytest.mark.parametrize("name", ["tools_state_id", "tool_state_id", "functions_state_id"])
@pytest.mark.parametrize("wrap", [
    lambda state: ChatMessage(state, role="assistant"), lambda state: ChatCompletionRequest(state, messages=[]),
    lambda state: PrimaryChatCompletionChunk(state), lambda state: ChatCompletionResponse(messages=[state]),
])
def test_the_tools_state_is_read_by_any_name(name, wrap):
    value = wrap({name: "s"})
    assert value.tools_state_id == value.tool_state_id == value.functions_state_id == "s"
    assert wrap({name: None}).tools_state_id is None
    value.tools_state_id = "t"
    assert value.tool_state_id == "t" or "messages" in value


# ---- As users of the official package write them


class Answered:
    """What a pydantic model offers for its schema."""

    @classmethod
    def model_json_schema(cls):
        return {"type": "object", "title": "Answered"}


def test_objects_built_by_keywords_have_defaults():
    assert Messages(role=MessagesRole.ASSISTANT) == {"role": "assistant", "content": ""}
    assert Messages({"role": "user"}) == {"role": "user"}
    for parameters in FunctionParameters(properties={}), FunctionParameters(type_="object", properties={}):
        assert parameters == {"properties": {}, "type": "object"}
    assert FunctionParametersProperty(type="string", items={}) == {"type": "string", "items": {}}
    assert FunctionParameters({}) == {} and ChatResponseFormat() == {"type": "text"}
    schema = {"schema": Answered.model_json_schema(), "type": "json_schema"}
    assert JsonSchemaResponseFormat(schema=Answered) == schema == JsonSchemaResponseFormat(schema_=Answered())
    assert ChatResponseFormat(type="json_schema", schema=Answered) == schema
    assert JsonSchemaResponseFormat(schema={"type": "object"}).schema_ == {"type": "object"}
    assert ChatContentFile(id_="f") == ChatContentFile(id="f") == {"id": "f"}
    assert ChatTool("memory") == {"memory": {}} == ChatTool(memory={}) == ChatTool({"memory": {}})
    assert ChatMessage(role="user", content="x").content[0].text == "x"
    assert ChatMessage(role="user", content=["x", {"files": [{"id": "f"}]}]).content[1].files[0].id_ == "f"


def test_validating_makes_objects_of_dicts():
    plain = {"messages": [{"role": "user", "content": "x"}], "model": "m"}
    chat = Chat.model_validate(plain)
    assert type(chat) is Chat and chat == plain and Chat.model_validate(chat) is chat and Chat(**plain) == chat
    assert Chat.model_validate_json(json.dumps(plain)) == Chat.parse_obj(plain) == plain
    assert Messages(**chat.messages[0]) == plain["messages"][0] and type(chat.messages[0]) is Messages
    for bad in None, 5, [1], "x":
        with pytest.raises(TypeError, match="Chat: a dict is needed"):
            Chat.model_validate(bad)
    with pytest.raises(ValueError):
        Chat.model_validate_json("{")


def test_dumping_gives_plain_data_that_is_nobodys():
    chat = Chat(messages=[Messages(role=MessagesRole.USER, content="x", name=None)], model=None,
                additional_data={"a": None, "b": Obj(c=None)})
    assert chat.messages[0].content == "x"
    dumped = chat.model_dump()
    assert dumped == chat == chat.dict() and type(dumped) is dict and type(dumped["messages"][0]) is dict
    assert type(dumped["messages"][0]["role"]) is str and type(dumped["additional_data"]["b"]) is dict
    dumped["messages"][0]["content"] = "y"
    assert chat.messages[0].content == "x"
    bare = chat.model_dump(exclude_none=True, by_alias=True, mode="json")
    assert bare == {"messages": [{"role": "user", "content": "x"}], "additional_data": {"a": None, "b": {"c": None}}}
    answer = ChatCompletion({**v1({"content": None}), "novel": {"a": None}})
    assert [answer.model_dump(exclude_none=True)["choices"][0]["message"], answer.novel.a] == [{}, None]
    assert answer.model_dump(exclude_none=True)["novel"] == {"a": None}
    left = chat_answer().model_dump(exclude_none=True, exclude={"choices", "object_"}, include=["model", "choices"])
    assert left == {"model": chat_answer().model}
    assert json.loads(chat.json(indent=1)) == chat and "\n" in chat.model_dump_json(indent=1)
    assert "Привет" in Obj(a="Привет").model_dump_json()
    with pytest.raises(TypeError, match="did you mean 'by_alias'"):
        chat.model_dump(by_aliass=True)


def test_dumping_is_the_official_dumping():
    official = pytest.importorskip("gigachat.models")
    for ours, text in ((ChatCompletion, CHAT_BODY.decode()), (ChatCompletion, FUNCTION_ANSWER[:-1] + ',"usage":{'
                       '"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'), (UploadedFile, FILE),
                       (ThreadCompletionChunk, THREAD_EVENT), (ChatCompletionResponse, V2_IMAGE)):
        theirs = getattr(official, ours.__name__).model_validate_json(text)
        assert ours(json.loads(text)).model_dump(exclude_none=True) == theirs.model_dump(
            exclude_none=True, by_alias=True), ours


@pytest.mark.parametrize("deep", [False, True])
def test_a_copy_may_be_changed(deep):
    chat = chat_answer()
    chat.x_headers = {"x-request-id": "1"}
    twin = chat.model_copy(update={"model": "m"}, deep=deep)
    assert type(twin) is ChatCompletion and twin.model == "m" != chat.model and twin.x_headers == chat.x_headers
    assert (twin["choices"] is chat["choices"]) is not deep and twin["choices"] == chat["choices"]


def test_roles_that_are_new_are_roles_too():
    role = ChatCompletionChunk(v1({"role": "novel"})).choices[0].delta.role
    assert role == "novel" and role.name == role.value == str(role) == f"{role}" == "novel"
    assert isinstance(role, MessagesRole)
    assert json.dumps([role, MessagesRole.USER]) == '["novel", "user"]' and f"{MessagesRole.USER}" == "user"
    assert pickle.loads(pickle.dumps(role)) == role == copy.deepcopy(role) and "novel" not in MessagesRole.__members__
    assert Messages(role="user").role is MessagesRole.USER and Messages(role=None).role is None
    for bad in None, 5:
        with pytest.raises(ValueError):
            MessagesRole(bad)


def test_an_image_is_saved_and_its_repr_short(tmp_path):
    image = Image(content=base64.b64encode(b"\xff\xd8" * 5000).decode())
    image.save(str(tmp_path / "cat.jpg"))
    image.save(tmp_path / "cat.jpg")
    assert (tmp_path / "cat.jpg").read_bytes() == b"\xff\xd8" * 5000 and len(repr(image)) < 80
    with pytest.raises(ValueError):
        Image(content="*").save(tmp_path / "cat.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]


def test_a_token_for_a_password_masks_itself_too():
    token = models.Token(tok="S3CRET", exp=1)
    assert "S3CRET" not in repr(token) + str(token) and json.loads(json.dumps(token)) == {"tok": "S3CRET", "exp": 1}


@pytest.mark.long
def test_a_type_checker_sees_through_what_users_write(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent",
               "--cache-dir", str(tmp_path), str(HERE / "user_code.py")]
    environ = {**os.environ, "MYPYPATH": str(pathlib.Path(gigachat_lite.__file__).parent.parent)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, timeout=300)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize("name", ["__deepcopy__", "__copy__", "__reduce_ex__", "__novel__"])
def test_a_field_with_a_dunder_name_breaks_nothing(name):
    answer = ChatCompletion({name: 1, "choices": []})
    assert copy.deepcopy(answer) == copy.copy(answer) == pickle.loads(pickle.dumps(answer)) == {name: 1, "choices": []}
    assert answer[name] == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_counts_travel_by_every_protocol(protocol):
    counts = models.TokensCounts([{"tokens": 1}])
    counts.x_headers = {"x-request-id": "r"}
    twin = pickle.loads(pickle.dumps(counts, protocol))
    assert twin == counts and twin.x_headers == counts.x_headers and type(twin[0]) is models.TokensCount
    assert copy.deepcopy(counts) == counts and type(copy.copy(counts)) is models.TokensCounts


def test_a_v2_answer_with_string_content_stays():
    answer = models.ChatCompletionResponse({"messages": [{"role": "assistant", "content": "a"}]})
    assert answer.text == answer.messages[0].text == "a"
    assert answer == {"messages": [{"role": "assistant", "content": "a"}]}
