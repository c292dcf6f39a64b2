"""Hold every endpoint of the API to two tables: what a call asks of the emulator, what it reads of recorded bytes.

MAP is the API's list of endpoints. CALLS has each public method that talks to the service, with what the emulator saw
of it and what came back; RECORDED has the same calls answered with the bodies that the service was recorded with, or
that its documentation shows. A new endpoint or method without a row in both fails the tests at the end.
"""
from __future__ import annotations

import base64
import json
import re
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from clients import new_client
from gigachat_lite import Emulator, Obj, models
from gigachat_lite.client import ChatResource
from gigachat_lite.emulator.service import ROUTES
from gigachat_lite.functions import ChatRun, Run
from gigachat_lite.resources import Resource
from gigachat_lite.sse import Stream
from gigachat_lite.streams import ChatStream, ThreadStream
from official.test_emulator import (
    ADDED,
    AI_CHECK,
    ASSISTANT,
    ASSISTANTS,
    BALANCE,
    CALL,
    CALL2,
    CALL_STREAM2,
    DELETED,
    DONE_RUN,
    DRAWN2,
    FILE,
    FILES,
    FOUND2,
    FUNCTIONS,
    LOOK,
    MESSAGES,
    MODELS,
    NEW_ASSISTANT,
    NO_ASSISTANT,
    NO_FILE,
    OPENAPI,
    REPLY,
    RUN,
    THREAD,
    THREADS,
)
from recorded import COUNTS, EMBEDDINGS, MODEL
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, STREAM_TEXTS, reply, sse
from test_resources import BATCH, SEARCH, SEARCH_TEXTS, THREAD_STREAM, THREAD_TEXT, V2_BODY, V2_STREAM

MAP = [line.strip() for line in """
POST {auth}/oauth
POST {v1}/token
GET {v1}/models
GET {v1}/models/{model}
POST {v1}/chat/completions
POST {v2}/chat/completions
POST {v1}/embeddings
POST {v1}/tokens/count
POST {v1}/files
GET {v1}/files
GET {v1}/files/{file}
GET {v1}/files/{file_id}/content
POST {v1}/files/{file}/delete
GET {v1}/balance
POST {v1}/functions/validate
POST {v1}/functions/convert
POST {v1}/ai/check
POST {v1}/batches
GET {v1}/batches
GET {v1}/assistants
POST {v1}/assistants
POST {v1}/assistants/modify
POST {v1}/assistants/delete
POST {v1}/assistants/files/delete
GET {v1}/threads
POST {v1}/threads
POST {v1}/threads/retrieve
POST {v1}/threads/delete
GET {v1}/threads/messages
POST {v1}/threads/messages
GET {v1}/threads/run
POST {v1}/threads/run
POST {v1}/threads/messages/run
POST {v1}/threads/messages/rerun
""".splitlines() if line]
PLACES = {"auth": "/api/v2", "v1": "/api/v1", "v2": "/api/v2", "model": "GigaChat"}  # what stands for them in a path


# ---- What is compared with what


class Parts(dict):
    """Say what is in some places of a value: `{"choices.0.index": 0}`; what else it has does not matter."""


def look(value, path):
    """Go down a path of attributes and numbers; a field of an object has to be a declared one."""
    for name in filter(None, path.split(".")):
        if re.fullmatch(r"-?\d+", name) and isinstance(value, (list, tuple)):
            value = value[int(name)]
        elif type(value) is dict:
            value = value[name]
        else:
            known = not isinstance(value, Obj) or hasattr(type(value), name.rstrip("_"))
            assert known, f"{type(value).__name__}.{name} of {path} is not declared"
            value = getattr(value, name)
    return value


def matched(value, wanted):
    """Give back what was wanted where the value is that: equal, of a class, matching a pattern, or right in parts."""
    if isinstance(wanted, Parts):
        return Parts((path, matched(look(value, path), part)) for path, part in wanted.items())
    if isinstance(wanted, type):
        return wanted if type(value) is wanted else value
    if isinstance(wanted, re.Pattern):
        return wanted if isinstance(value, type(wanted.pattern)) and wanted.fullmatch(value) else value
    return value


FREE = {"arguments", "metadata", "params", "return_parameters"}  # data of the caller's and the model's, not the API's


def untyped(value, path=""):
    """List what of a decoded value has no declared field or no class of its own."""
    if isinstance(value, Obj):
        declared = type(value).model_config.extra or type(value).model_fields
        found = [f"{path}.{key}" for key in value if declared is not True and key not in declared]
        return found + [path] * (type(value) is Obj) + [
            each for key in value if key not in FREE for each in untyped(getattr(value, key), f"{path}.{key}")]
    if isinstance(value, list):
        return [each for i, item in enumerate(value) for each in untyped(item, f"{path}.{i}")]
    if isinstance(value, dict):  # objects by names of their own
        return [f"{path}.{key}" for key, item in value.items() if not isinstance(item, Obj)] + [
            each for key, item in value.items() for each in untyped(item, f"{path}.{key}")]
    return []


def fill(value, things):
    """Put the names of things where `{name}` stands for one that is known."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: things.get(found.group(1)) or found.group(), value)
    if isinstance(value, dict):
        return type(value)((key, fill(item, things)) for key, item in value.items())
    return type(value)(fill(item, things) for item in value) if type(value) in (list, tuple) else value


STREAMS = {Stream: models.ChatCompletionChunk, ChatStream: models.PrimaryChatCompletionChunk,
           ThreadStream: models.ThreadCompletionChunk}


def ask(giga, name, args, options):
    """Call a method by its name; of a stream give all that it holds at its end, its chunks among it."""
    for part in name.split("."):
        giga = getattr(giga, part)
    made = giga(*args, **options)
    if type(made) not in STREAMS:
        return made
    chunks = list(made)
    assert chunks and {type(chunk) for chunk in chunks} == {STREAMS[type(made)]}
    return SimpleNamespace(chunks=chunks, text=made.text, usage=made.usage, finish_reason=made.finish_reason,
                           completion=made.completion, x_headers=made.x_headers)


# ---- What is asked, and of what


def weather_forecast(location: str, num_days: int) -> dict:
    """Возвращает прогноз погоды в городе на заданный срок."""
    return {"forecast": f"{location}: плюс 23"}


def getWeather(city: str) -> dict:
    """Погода в городе."""
    return {"temperature": len(city)}


TEXT = "Сколько стоит страховка дома?".encode()
USER = [{"role": "user", "content": "2 + 2"}]
PARTS = [{"role": "user", "content": [{"text": "2 + 2"}]}]
SCHEMA = {"type": "object", "required": ["answer", "n"],
          "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "schema": SCHEMA, "strict": True}
HUMAN = ("Мы вчера долго гуляли по старому парку, и дождь то начинался, то снова затихал, а к вечеру небо совсем "
         "расчистилось, и над рекой показалась тонкая луна.")
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
OPTIONS = {"temperature": 0.5, "max_tokens": 500}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SOMETHING = re.compile(r"(?s).+")
UPLOADED = re.compile(
    br'--(\w+)\r\nContent-Disposition: form-data; name="purpose"\r\n\r\ngeneral\r\n--\1\r\nContent-Disposition: '
    br'form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n' + re.escape(TEXT)
    + br"\r\n--\1--\r\n")


class Things(dict):
    """Make on an emulator what a call speaks of: a file, an assistant, a thread …"""

    def __init__(self, giga, folder):
        super().__init__(PLACES, folder=str(folder))
        self.giga = giga

    def get(self, name):
        make = getattr(self, "make_" + name, None)
        if name not in self and make:
            self[name] = make()
        return super().get(name)

    def make_file(self):
        return self.giga.upload_file(("a.txt", TEXT)).id

    def make_file_id(self):
        payload = {"messages": [{"role": "user", "content": "Нарисуй кота"}], "function_call": "auto"}
        return self.giga.chat(payload).images[0]

    def make_assistant(self):
        return self.giga.assistants.create("GigaChat-Pro", "Имя", "Отвечай", file_ids=[self.get("file")]).assistant_id

    def make_thread(self):
        return self.giga.threads.add_messages(messages=["2 + 2"]).thread_id

    def make_answered(self):
        return self.giga.threads.run_messages(["2 + 2"]).thread_id

    def make_batch(self):
        return self.giga.batches.create({"x": "2 + 2"}).id

    def make_output(self):
        while self.giga.batches.get(self.get("batch")).status != "completed":
            pass
        return self.giga.batches.get(self.get("batch")).output_file_id


class Call(NamedTuple):
    """A call, what the emulator is to see of its last request, and what it is to return."""

    endpoint: str
    args: tuple
    options: dict
    query: list
    sent: Any
    kind: type
    reads: Parts
    requests: int
    path: Any
    company: bool
    settings: dict


def call(endpoint, kind, *args, sent=b"", query=(), requests=1, path=None, company=False, settings=None, reads=None,
         **options):
    return Call(endpoint, args, options, list(query), sent, kind, Parts(reads or {}), requests, path, company,
                settings or {})


V1, V2 = "POST {v1}/chat/completions", "POST {v2}/chat/completions"
ANSWERED = {"text": "2 + 2 = 4", "finish_reason": "stop", "blocked": False, "truncated": False}
DONE = {**ANSWERED, "object": "threads.messages.run", "message.content": "2 + 2 = 4", "message.role": "assistant",
        "thread_id": UUID, "message_id": UUID, "created": int, "usage.total_tokens": int, "model": SOMETHING}
STREAMED = {"text": "2 + 2 = 4", "finish_reason": "stop", "usage.total_tokens": int, "completion.text": "2 + 2 = 4"}
RAN = {**STREAMED, "chunks.0.choices.0.delta.role": "assistant", "chunks.0.usage.prompt_tokens": int,
       "chunks.0.thread_id": UUID, "completion.message.content": "2 + 2 = 4", "completion.message_id": UUID}
LISTED = {"threads.0.id": "{thread}", "threads.0.status": "ready", "threads.0.run_lock": False,
          "threads.0.model": SOMETHING, "threads.0.created_at": int, "threads.0.updated_at": int}
BATCHED = {"id": "{batch}", "method": "chat_completions", "status": "completed", "request_counts.total": 1,
           "request_counts.completed": 1, "request_counts.failed": 0, "output_file_id": "{output}", "created_at": int,
           "updated_at": int}

# The name of a method (what follows it tells two rows apart): endpoint, class of what is returned, arguments, …
CALLS = {
    "get_token": call(
        "POST {auth}/oauth", models.AccessToken, sent={"scope": "GIGACHAT_API_PERS"},
        reads={"access_token": SOMETHING, "expires_at": int}),
    "get_token by password": call(
        "POST {v1}/token", models.AccessToken, reads={"access_token": SOMETHING, "expires_at": int},
        settings={"credentials": None, "user": Emulator.user, "password": Emulator.password}),
    "get_models": call(
        "GET {v1}/models", models.Models,
        reads={"object": "list", "data.0.id": "GigaChat", "data.0.object": "model", "data.0.type": "chat",
               "data.0.owned_by": "salutedevices"}),
    "get_model": call(
        "GET {v1}/models/{model}", models.Model, "GigaChat",
        reads={"id": "GigaChat", "id_": "GigaChat", "object_": "model", "owned_by": "salutedevices", "type": "chat"}),
    "chat": call(
        V1, models.ChatCompletion, "2 + 2", sent={"messages": USER, "model": "GigaChat"},
        reads={**ANSWERED, "choices.0.message.role": "assistant", "choices.0.message.content": "2 + 2 = 4",
               "choices.0.index": 0, "choices.0.finish_reason": "stop", "usage.prompt_tokens": int, "created": int,
               "model": re.compile("GigaChat:.+"), "object": "chat.completion", "images": [], "function_call": None}),
    "stream": call(
        V1, SimpleNamespace, "2 + 2", sent={"messages": USER, "model": "GigaChat", "stream": True},
        reads={**STREAMED, "chunks.0.choices.0.delta.role": "assistant", "completion.usage.total_tokens": int}),
    "chat_parse": call(
        V1, tuple, "Ответь: ok, 3", response_format=SCHEMA,
        sent={"messages": [{"role": "user", "content": "Ответь: ok, 3"}], "model": "GigaChat",
              "response_format": FORMAT},
        reads={"0.choices.0.finish_reason": "stop", "1.answer": str, "1.n": int}),
    "run_functions": call(
        V1, Run, "Какая погода в Манжероке на десять дней?", [weather_forecast], requests=2,
        sent=Parts({"functions.0.name": "weather_forecast", "messages.1.function_call.name": "weather_forecast",
                    "messages.1.functions_state_id": UUID, "messages.2.role": "function",
                    "messages.2.content": re.compile(r'\{"forecast": ?".+: плюс 23"\}')}),
        reads={"completion.finish_reason": "stop", "text": re.compile("(?s).*плюс 23.*"),
               "completion.usage.total_tokens": int, "messages.3.role": "assistant"}),
    "chat.create": call(
        V2, models.ChatCompletionResponse, "2 + 2", sent={"messages": PARTS, "model": "GigaChat"},
        reads={**ANSWERED, "messages.0.role": "assistant", "messages.0.content.0.text": "2 + 2 = 4", "created_at": int,
               "usage.input_tokens": int, "usage.input_tokens_details.cached_tokens": int, "model": SOMETHING}),
    "chat.stream": call(
        V2, SimpleNamespace, "2 + 2", sent={"messages": PARTS, "model": "GigaChat", "stream": True},
        reads={**STREAMED, "chunks.0.event": "response.message.delta", "chunks.-1.event": "response.message.done",
               "chunks.0.messages.0.content.0.text": SOMETHING, "completion.messages.0.role": "assistant"}),
    "chat.parse": call(
        V2, tuple, "Ответь: ok, 3", response_format=SCHEMA,
        sent={"messages": [{"role": "user", "content": [{"text": "Ответь: ok, 3"}]}], "model": "GigaChat",
              "model_options": {"response_format": FORMAT}},
        reads={"0.finish_reason": "stop", "1.answer": str, "1.n": int}),
    "chat.run_functions": call(
        V2, ChatRun, "Какая погода в Москве?", [getWeather], requests=2,
        sent=Parts({"tools.0.functions.specifications.0.name": "getWeather", "messages.1.tools_state_id": UUID,
                    "messages.1.content.0.function_call.arguments": {"city": "Москва"}, "messages.2.role": "tool",
                    "messages.2.content.0.function_result": {"name": "getWeather", "result": {"temperature": 6}}}),
        reads={"completion.finish_reason": "stop", "text": SOMETHING, "completion.usage.total_tokens": int}),
    "embeddings": call(
        "POST {v1}/embeddings", models.Embeddings, ["раз", "два"],
        sent={"model": "Embeddings", "input": ["раз", "два"]},
        reads={"object": "list", "model": "Embeddings", "data.1.index": 1, "data.1.object": "embedding",
               "data.0.embedding.1023": float, "data.0.usage.prompt_tokens": int}),
    "tokens_count": call(
        "POST {v1}/tokens/count", models.TokensCounts, ["First text", "Second text"],
        sent={"model": "GigaChat", "input": ["First text", "Second text"]},
        reads={"0.object": "tokens", "0.tokens": int, "1.characters": 11}),
    "upload_file": call(
        "POST {v1}/files", models.UploadedFile, ("a.txt", TEXT), sent=UPLOADED,
        reads={"id": UUID, "object": "file", "bytes": len(TEXT), "created_at": int, "filename": "a.txt",
               "purpose": "general", "access_policy": "private"}),
    "get_files": call(
        "GET {v1}/files", models.UploadedFiles, reads={"data.0.id": UUID, "data.0.purpose": "general"}),
    "get_file": call(
        "GET {v1}/files/{file}", models.UploadedFile, "{file}",
        reads={"id": "{file}", "filename": "a.txt", "bytes_": len(TEXT)}),
    "get_image": call(
        "GET {v1}/files/{file_id}/content", models.Image, "{file_id}", reads={"content": re.compile("/9j/.+")}),
    "download_file": call(
        "GET {v1}/files/{file_id}/content", int, "{file}", "{folder}/a.txt", path="{v1}/files/{file}/content",
        reads={"": len(TEXT)}),
    "delete_file": call(
        "POST {v1}/files/{file}/delete", models.DeletedFile, "{file}",
        reads={"id": "{file}", "deleted": True, "access_policy": "private"}),
    "get_balance": call(
        "GET {v1}/balance", models.Balance, reads={"balance.0.usage": "GigaChat", "balance.0.value": 900000}),
    "validate_function": call(
        "POST {v1}/functions/validate", models.FunctionValidation, FUNCTION, sent=FUNCTION,
        reads={"status": 200, "message": "Function is valid", "valid": True, "json_ai_rules_version": "1.0.5",
               "warnings.0.schema_location": "(root)", "errors": None}),
    "openapi_function_convert": call(
        "POST {v1}/functions/convert", models.OpenApiFunctions, json.dumps(OPENAPI), sent=OPENAPI,
        reads={"functions.0.name": "send_sms", "functions.0.parameters.properties.text.description": "Текст"}),
    "check_ai": call(
        "POST {v1}/ai/check", models.AICheckResult, HUMAN, "GigaCheckDetection", company=True,
        sent={"input": HUMAN, "model": "GigaCheckDetection"},
        reads={"category": re.compile("ai|human|mixed"), "characters": len(HUMAN), "tokens": int,
               "ai_intervals": list}),
    "batches.create": call(
        "POST {v1}/batches", models.Batch, {"x": "2 + 2"}, company=True, query=[("method", "chat_completions")],
        sent=b'{"id":"x","request":{"messages":[{"role":"user","content":"2 + 2"}],"model":"GigaChat"}}\n',
        reads={"id": UUID, "status": "created", "request_counts.total": 1, "created_at": int, "output_file_id": None}),
    "batches.get": call(
        "GET {v1}/batches", models.Batch, "{batch}", company=True, query=[("batch_id", "{batch}")], reads=BATCHED),
    "batches.list": call(
        "GET {v1}/batches", models.Batches, company=True,
        reads={"batches.0.id": UUID, "batches.0.request_counts.total": int}),
    "batches.results": call(
        "GET {v1}/files/{file_id}/content", dict, "{batch}", company=True, requests=2,
        path="{v1}/files/{output}/content", reads={"x.text": "2 + 2 = 4", "x.usage.total_tokens": int}),
    "assistants.get": call(
        "GET {v1}/assistants", models.Assistants, "{assistant}", query=[("assistant_id", "{assistant}")],
        reads={"data.0.assistant_id": "{assistant}", "data.0.name": "Имя", "data.0.instructions": "Отвечай",
               "data.0.model": SOMETHING, "data.0.file_ids": ["{file}"], "data.0.created_at": int}),
    "assistants.create": call(
        "POST {v1}/assistants", models.CreateAssistant, "GigaChat-Pro", "Имя", "Отвечай", "Что", ["{file}"],
        [FUNCTION], {"k": "v"},
        sent={"model": "GigaChat-Pro", "name": "Имя", "instructions": "Отвечай", "description": "Что",
              "file_ids": ["{file}"], "functions": [FUNCTION], "metadata": {"k": "v"}},
        reads={"assistant_id": UUID, "created_at": int}),
    "assistants.update": call(
        "POST {v1}/assistants/modify", models.Assistant, "{assistant}", "Другое",
        sent={"assistant_id": "{assistant}", "name": "Другое"},
        reads={"assistant_id": "{assistant}", "name": "Другое", "instructions": "Отвечай", "updated_at": int}),
    "assistants.delete": call(
        "POST {v1}/assistants/delete", models.AssistantDelete, "{assistant}", sent={"assistant_id": "{assistant}"},
        reads={"assistant_id": "{assistant}", "deleted": True}),
    "assistants.delete_file": call(
        "POST {v1}/assistants/files/delete", models.AssistantFileDelete, "{assistant}", "{file}",
        sent={"assistant_id": "{assistant}", "file_id": "{file}"}, reads={"file_id": "{file}", "deleted": True}),
    "threads.get_threads": call(
        "GET {v1}/threads", models.Threads, ["{assistant}", "b&c"], 5, 7,
        query=[("assistants_ids", "{assistant}"), ("assistants_ids", "b&c"), ("limit", "5"), ("before", "7")],
        reads={"threads": []}),
    "threads.list": call("GET {v1}/threads", models.Threads, reads={"threads.0.id": UUID, "threads.0.status": "ready"}),
    "threads.create_thread": call("POST {v1}/threads", str, sent={}, reads={"": UUID}),
    "threads.retrieve": call(
        "POST {v1}/threads/retrieve", models.Threads, ["{thread}"], sent={"threads_ids": ["{thread}"]}, reads=LISTED),
    "threads.delete": call(
        "POST {v1}/threads/delete", bool, "{thread}", sent={"thread_id": "{thread}"}, reads={"": True}),
    "threads.get_messages": call(
        "GET {v1}/threads/messages", models.ThreadMessages, "{answered}", 5,
        query=[("thread_id", "{answered}"), ("limit", "5")],
        reads={"thread_id": "{answered}", "messages.0.role": "user", "messages.0.content": "2 + 2",
               "messages.0.message_id": UUID, "messages.1.finish_reason": "stop", "messages.1.created_at": int}),
    "threads.add_message": call(
        "POST {v1}/threads/messages", models.ThreadMessagesResponse, "{thread}", "2 + 2",
        sent={"thread_id": "{thread}", "messages": USER},
        reads={"thread_id": "{thread}", "messages.0.message_id": UUID}),
    "threads.add_messages": call(
        "POST {v1}/threads/messages", models.ThreadMessagesResponse, None, ["2 + 2"],
        sent={"model": "GigaChat", "messages": USER}, reads={"thread_id": UUID, "messages.0.created_at": int}),
    "threads.get_run": call(
        "GET {v1}/threads/run", models.ThreadRunResult, "{answered}", query=[("thread_id", "{answered}")],
        reads={"status": "ready", "thread_id": "{answered}", "updated_at": int, "messages.1.content": "2 + 2 = 4"}),
    "threads.run": call(
        "POST {v1}/threads/run", models.ThreadRunResponse, "{thread}", "{assistant}", OPTIONS,
        sent={**OPTIONS, "thread_id": "{thread}", "assistant_id": "{assistant}"},
        reads={"status": "in_progress", "thread_id": "{thread}", "created_at": int}),
    "threads.run_stream": call(
        "POST {v1}/threads/run", SimpleNamespace, "{thread}", reads=RAN,
        sent={"thread_id": "{thread}", "stream": True}),
    "threads.run_messages": call(
        "POST {v1}/threads/messages/run", models.ThreadCompletion, ["2 + 2"], None, None, "GigaChat-Pro", OPTIONS,
        sent={**OPTIONS, "model": "GigaChat-Pro", "messages": USER}, reads=DONE),
    "threads.run_messages_stream": call(
        "POST {v1}/threads/messages/run", SimpleNamespace, ["2 + 2"], "{thread}", update_interval=0.1,
        sent={"thread_id": "{thread}", "messages": USER, "update_interval": 0.1, "stream": True}, reads=RAN),
    "threads.rerun_messages": call(
        "POST {v1}/threads/messages/rerun", models.ThreadCompletion, "{answered}", OPTIONS,
        sent={**OPTIONS, "thread_id": "{answered}"}, reads={"thread_id": "{answered}", "finish_reason": "stop"}),
    "threads.rerun_messages_stream": call(
        "POST {v1}/threads/messages/rerun", SimpleNamespace, "{answered}",
        sent={"thread_id": "{answered}", "stream": True}, reads={"finish_reason": "stop", "text": SOMETHING}),
}


LISTS = {"get_files": "file", "batches.list": "batch", "threads.list": "thread"}  # what there must be one of


@pytest.fixture(scope="module")
def private_emulator():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def company_emulator():
    with Emulator(scope="GIGACHAT_API_CORP") as emulator:
        yield emulator


def objects(answer):
    """List the API's objects in what a call returned."""
    if isinstance(answer, SimpleNamespace):
        return [*answer.chunks, answer.completion]
    if isinstance(answer, tuple):
        return [answer[0]]
    return list(answer.values()) if type(answer) is dict else [answer]


@pytest.mark.parametrize("name", CALLS)
def test_the_emulator_is_asked_and_answers(name, private_emulator, company_emulator, tmp_path):
    row = CALLS[name]
    emulator = company_emulator if row.company else private_emulator
    giga = new_client(**{**emulator.config, **row.settings})
    things = Things(giga, tmp_path)
    args, query, sent, reads, path = (
        fill(value, things) for value in (list(row.args), row.query, row.sent, row.reads, row.path or row.endpoint))
    if not name.startswith("get_token"):
        giga.get_token()
    things.get(LISTS.get(name, ""))
    del emulator.requests[:]
    answer = ask(giga, name.partition(" ")[0], args, row.options)
    seen = emulator.requests[-1]
    assert len(emulator.requests) == row.requests
    assert f"{seen.method} {unquote(seen.path)}" == row.endpoint.split()[0] + " " + path.split()[-1]
    assert seen.pairs == query and matched(seen.body, sent) == sent
    assert matched(answer, reads) == reads
    assert type(answer) is row.kind and untyped(objects(answer)) == []
    if name == "download_file":
        assert (tmp_path / "a.txt").read_bytes() == TEXT


# ---- What the service was recorded with, or documents


ID = "6f0b1291-c7f3-43c6-bb2e-9f3efb2dc98e"
FIXED = {"file": ID, "file_id": ID, "assistant": "111", "thread": "t-1", "answered": "t-1", "batch": "b-1"}
HEADERS = {"X-Request-Id": "r-1", "X-Session-Id": "s-1", "Server": "SynGX", "Allow": "GET, POST"}
PICTURE = b"\xff\xd8\xff\xe0\0\x10JFIF\0 any bytes \r\n\xff\xd9"
OAUTH = '{"access_token":"' + "eyJ" * 400 + '","expires_at":1739784663483}'
ROSE = "<img src=\"3727db23-91a3-44fa-a6b7-9f0a311d3e9e\" fuse=\"true\"/> вот мой рисунок розового кота."
SOLID = "<div data-model-id=\"e10675c7-4128-4dbf-9f68-b10876ac1951\" fuse=\"true\"/> вот модель."
VALID = ('{"status":200,"message":"Function is valid","json_ai_rules_version":"1.0.5","warnings":[{"description":'
         '"few_shot_examples are missing","schema_location":"(root)"}]}')
INVALID = ('{"status":200,"message":"Incorrect function syntax","json_ai_rules_version":"1.0.5","errors":[{'
           '"description":"name is required","schema_location":"(root)"}]}')
COMPLETED = {**BATCH, "id": "b-1", "status": "completed", "output_file_id": ID,
             "request_counts": {"total": 2, "completed": 1, "failed": 1}}
OLD_STREAM = (
    '\n\ndata: {"choices":[{"delta":{"content":"Привет","role":"assistant"},"finish_reason":null,"index":0}],"created":'
    '1693561380,"model":"GigaChat:v1.2.19.2","object":"chat.completion"}\n\n'
    'data: {"choices":[{"delta":{"content":"!"},"finish_reason":"stop","index":0}],"created":1693561380,"model":'
    '"GigaChat:v1.2.19.2","object":"chat.completion"}\n\ndata: [DONE]\n\n').encode()


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def said(text):
    """Put another text into the recorded answer."""
    return CHAT_BODY.decode().replace('"Hello."', compact(text))


def recorded(name, *bodies, source="recorded", **reads):
    """Make a row; in the names of `reads` two underscores stand for a dot, as `choices__0__index`."""
    reads = {path.replace("__", "."): wanted for path, wanted in reads.items()}
    return pytest.param(name, bodies, Parts(reads), id=f"{name}, {source}")


DOCUMENTED = {"source": "documented"}
SDK = {"source": "from the official SDK's own tests"}
LIKE = {"source": "of a form that was seen"}
HELLO = {
    "text": CHAT_TEXT, "choices__0__message__content": CHAT_TEXT, "choices__0__message__role": "assistant",
    "choices__0__finish_reason": "stop", "usage__total_tokens": 20, "usage__precached_prompt_tokens": 2,
    "created": 1768996171, "model": "GigaChat:2.0.28.2", "object": "chat.completion"}
HELLO2 = {
    "text": "Привет!", "messages__0__content__0__text": "Привет!", "messages__0__role": "assistant",
    "finish_reason": "stop", "created_at": 1780321859, "model": "GigaChat-3-Ultra:32.3.18.5",
    "usage__input_tokens": 24, "usage__output_tokens": 21, "usage__total_tokens": 45,
    "usage__input_tokens_details__prompt_tokens": 24, "usage__input_tokens_details__cached_tokens": 0}
RUN_STREAMED = {
    "text": THREAD_TEXT, "finish_reason": "stop", "usage__prompt_tokens": 64, "usage__completion_tokens": 31,
    "usage__total_tokens": 95, "chunks__0__usage__total_tokens": 87, "chunks__1__choices__0__finish_reason": "stop",
    "chunks__0__choices__0__delta__role": "assistant", "chunks__1__thread_id": "9b1cc6d9-0eeb-46de-b01f-6f74c9a82df7",
    "completion__message_id": "fd753d3f-f1f5-498f-b5dd-da380607d470", "completion__message__content": THREAD_TEXT,
    "completion__model": "GigaChat-Pro:2.2.25.3"}
FOUND_FILE = {
    "id": ID, "object": "file", "bytes": 12, "created_at": 1741610638, "filename": "a.txt", "purpose": "general",
    "access_policy": "private", "modalities": ["text"]}
MADE = {
    "object": "threads.messages.run", "thread_id": "b549e2ec-a691-409d-aa6f-ff6a1271db47", "created": 1715686918,
    "message_id": "4c600221-1aaa-4c9d-9edb-572e465f4ee8", "message__content": "Здравствуйте!",
    "text": "Здравствуйте!", "message__role": "assistant", "finish_reason": "stop", "usage__prompt_tokens": 12,
    "usage__total_tokens": 27}
ONE_THREAD = {
    "threads__0__id": "2cc91bae-34f7-4ee4-bcae-f5f71880deda", "threads__0__model": "GigaChat-Pro",
    "threads__0__status": models.ThreadStatus.READY, "threads__0__run_lock": False,
    "threads__0__created_at": 1715684634, "threads__0__updated_at": 1715684764}
ONE_ADDED = {
    "thread_id": "fc4a58e8-1410-4684-b473-066eabeca000", "messages__0__created_at": 1715126198,
    "messages__0__message_id": "77b2cfe2-706e-4749-9507-7b89d555ad8a"}

RECORDED = [
    recorded("get_token", OAUTH, access_token="eyJ" * 400, expires_at=1739784663483),
    recorded("get_token by password", '{"tok":"x","exp":4102444800}', access_token="x", expires_at=4102444800000),
    recorded("get_token by password", '{"tok":"x","exp":1695128118}', **DOCUMENTED, expires_at=1695128118000),
    recorded("get_models", MODELS, object="list", data__0__id="GigaChat", data__13__type="filter",
             data__14__type="aicheck", data__19__id="GigaEmbeddings-3B-2025-09", data__19__type="embedder"),
    recorded("get_models", '{"data":[{"id":"GigaChat:latest","object":"model","owned_by":"salutedevices"}],"object":'
             '"list"}', **LIKE, data__0__id_="GigaChat:latest", data__0__type=None),
    recorded("get_model", MODEL, id="GigaChat", object="model", owned_by="salutedevices", type="chat"),
    recorded("chat", CHAT_BODY, **HELLO),
    recorded("chat", CALL, **DOCUMENTED, finish_reason="function_call", function_call__name="weather_forecast",
             choices__0__message__function_call__arguments={"location": "Манжерок", "num_days": 10}, text="",
             choices__0__message__functions_state_id="0199e210-2f13-744c-8fe5-c9a19fe27db7", function_call__id=None),
    recorded("chat", said(ROSE), **DOCUMENTED, images=["3727db23-91a3-44fa-a6b7-9f0a311d3e9e"], models_3d=[],
             text=ROSE),
    recorded("chat", said(SOLID), **DOCUMENTED, models_3d=["e10675c7-4128-4dbf-9f68-b10876ac1951"], images=[]),
    recorded("stream", STREAM_BODY, text=STREAM_TEXT, finish_reason="stop", usage__total_tokens=59,
             chunks__0__choices__0__delta__content=STREAM_TEXTS[0], chunks__0__choices__0__delta__role="assistant",
             chunks__2__choices__0__delta__content=STREAM_TEXTS[2], chunks__2__choices__0__delta__role=None,
             chunks__4__choices__0__finish_reason="stop", chunks__4__usage__precached_prompt_tokens=2,
             completion__choices__0__message__content=STREAM_TEXT, completion__created=1768996176),
    recorded("stream", OLD_STREAM, **LIKE, text="Привет!", finish_reason="stop", usage=None, completion__usage=None),
    recorded("chat_parse", REPLY, **{"0__choices__0__finish_reason": "stop", "1": {"answer": "ok", "n": 3}}),
    recorded("run_functions", CALL, CHAT_BODY, **DOCUMENTED, text=CHAT_TEXT, completion__usage__total_tokens=20,
             usage={"prompt_tokens": 167, "completion_tokens": 33, "total_tokens": 200, "precached_prompt_tokens": 4}),
    recorded("chat.create", V2_BODY, **HELLO2),
    recorded("chat.create", CALL2, finish_reason="function_call", messages__0__content__0__function_call__id=(
                 "9bb697cc-c55f-4e76-aeba-39bbd3ef26fc"), function_call__name="getWeather", text="",
             function_call__arguments={"city": "Москва"},
             messages__0__tools_state_id="01a0d344-7edd-73ff-8a9a-241b10097774"),
    recorded("chat.create", DRAWN2, **DOCUMENTED, images=["f4b17167-1b5f-4d3c-8a8e-3f2f6e3b8f5b"],
             messages__0__content__0__files__0__mime="image/jpeg", messages__0__content__0__files__0__target="image"),
    recorded("chat.create", FOUND2, messages__0__content__0__inline_data__sources__1__url="https://docs.python.org/",
             messages__0__content__0__inline_data__images=[], text="Hi. [sources=[1, 2]]"),
    recorded("chat.stream", V2_STREAM, text="1, 2, 3", finish_reason="stop", usage__total_tokens=27,
             chunks__0__event="response.message.delta", chunks__0__messages__0__content__0__text="1, 2, 3",
             chunks__1__event="response.message.done", chunks__1__messages=None, chunks__1__usage__output_tokens=8,
             completion__created_at=1780321864, completion__messages__0__content__0__text="1, 2, 3"),
    recorded("chat.stream", SEARCH, text="".join(SEARCH_TEXTS), chunks__0__event="response.tool.in_progress",
             chunks__0__messages__0__content__0__tool_execution__name="web_search",
             chunks__1__messages__0__content__0__tool_execution__status="success",
             chunks__2__messages__0__content__0__inline_data__sources__1__title="Пример",
             chunks__5__messages__0__tools_state_id="01a0d344-8691-7212-b9ed-bcc4d8a9a561",
             usage__input_tokens_details__cached_tokens=4071, completion__text="".join(SEARCH_TEXTS)),
    recorded("chat.stream", CALL_STREAM2.encode(), **DOCUMENTED, finish_reason="function_call", text="",
             completion__function_call__arguments={"city": "Москва"}),
    recorded("chat.parse", V2_BODY.replace('"Привет!"', r'"{\"answer\":\"ok\",\"n\":3}"'),
             **{"0__finish_reason": "stop", "1": {"answer": "ok", "n": 3}}),
    recorded("chat.run_functions", CALL2, V2_BODY, text="Привет!", usage={
        "input_tokens": 81, "input_tokens_details": {"prompt_tokens": 81, "cached_tokens": 0}, "output_tokens": 39,
        "total_tokens": 120}),
    recorded("embeddings", EMBEDDINGS, object="list", model="Embeddings", data__0__embedding=[0.5],
             data__0__index=0, data__0__usage__prompt_tokens=9),
    recorded("tokens_count", COUNTS, **{"0__tokens": 2, "0__characters": 10, "1__object_": "tokens",
                                       "1__characters": 11}),
    recorded("upload_file", FILE, **DOCUMENTED, **FOUND_FILE),
    recorded("upload_file", '{"id":"1","object":"file","bytes":120000,"created_at":1677610602,"filename":"f.jsonl",'
             '"purpose":"general"}', **LIKE, id_="1", bytes_=120000, access_policy=None, modalities=None),
    recorded("get_files", FILES, **DOCUMENTED, **{"data__0__" + name: value for name, value in FOUND_FILE.items()}),
    recorded("get_file", FILE, **DOCUMENTED, **FOUND_FILE),
    recorded("get_image", PICTURE, **DOCUMENTED, content=base64.b64encode(PICTURE).decode()),
    recorded("download_file", PICTURE, **DOCUMENTED, **{"": len(PICTURE)}),
    recorded("delete_file", DELETED, **DOCUMENTED, id=ID, deleted=True, access_policy="private", object=None),
    recorded("delete_file", '{"id":"123","object":"file","deleted":true}', **SDK, id="123", deleted=True),
    recorded("get_balance", BALANCE, **DOCUMENTED, balance__0__usage="GigaChat", balance__1__value=9999967),
    recorded("validate_function", VALID, **DOCUMENTED, valid=True, errors=None, status=200,
             warnings__0__description="few_shot_examples are missing", json_ai_rules_version="1.0.5"),
    recorded("validate_function", INVALID, **DOCUMENTED, valid=False, warnings=None,
             errors__0__description="name is required", errors__0__schema_location="(root)"),
    recorded("openapi_function_convert", FUNCTIONS, **SDK, functions__0__name="send_sms",
             functions__0__parameters__required=["version", "employeeId", "text"],
             functions__0__parameters__properties__employeeId__type="integer"),
    recorded("check_ai", AI_CHECK, **DOCUMENTED, category="mixed", characters=533, tokens=224,
             ai_intervals=[[1, 262], [415, 533]]),
    recorded("batches.create", compact(BATCH), **DOCUMENTED, id="b-1", method="chat_completions", status="created",
             request_counts__total=2, request_counts__failed=None, output_file_id=None, created_at=1739784663),
    *(recorded(name, compact(shape), source="documented, " + about, **{
        at + path: wanted for path, wanted in {
            "id": "b-1", "status": "completed", "output_file_id": ID, "request_counts__completed": 1}.items()})
      for name, at in (("batches.get", ""), ("batches.list", "batches__0__"))
      for about, shape in (("object", {"batches": [COMPLETED]}), ("list", [COMPLETED]), ("one", COMPLETED))),
    recorded("batches.list", '{"batches":[]}', **DOCUMENTED, batches=[]),
    recorded("batches.results", compact(COMPLETED), '{"id":"b","error":{"status":422,"message":"Нет"}}\n{"id":"a",'
             '"result":' + CHAT_BODY.decode() + "}\n", **DOCUMENTED, a__choices__0__message__content=CHAT_TEXT,
             b__status_code=422, b__message="Нет"),
    recorded("assistants.get", ASSISTANTS, **SDK, data__0__assistant_id="111", data__1__name="lonely",
             data__0__instructions="Assistant", data__0__metadata={"test": 234}, data__0__file_ids=["222"],
             data__0__description=None, data__0__threads_count=None),
    recorded("assistants.create", NEW_ASSISTANT, **SDK, assistant_id="111", created_at=1715684019),
    recorded("assistants.update", ASSISTANT, **SDK, assistant_id="111", model="GigaChat-Pro", updated_at=1715684158),
    recorded("assistants.delete", NO_ASSISTANT, **SDK, assistant_id="111", deleted=True),
    recorded("assistants.delete_file", NO_FILE, **SDK, file_id="222", deleted=True),
    recorded("threads.get_threads", THREADS, **SDK, **ONE_THREAD),
    recorded("threads.list", THREADS, **SDK, **ONE_THREAD),
    recorded("threads.create_thread", THREAD, **SDK, **{"": "2cc91bae-34f7-4ee4-bcae-f5f71880deda"}),
    recorded("threads.retrieve", THREADS, **SDK, **ONE_THREAD),
    recorded("threads.delete", "", **SDK, **{"": True}),
    recorded("threads.get_messages", MESSAGES, **SDK, thread_id="fc4a58e8-1410-4684-b473-066eabeca000",
             messages__0__content="Какой окрас кота?", messages__0__attachments__0__name="a.txt",
             messages__1__role="assistant", messages__1__finish_reason="stop", messages__1__attachments=None),
    recorded("threads.add_message", ADDED, **SDK, **ONE_ADDED),
    recorded("threads.add_messages", ADDED, **SDK, **ONE_ADDED),
    recorded("threads.get_run", LOOK, **SDK, status=models.ThreadStatus.READY, updated_at=1715126200,
             messages__1__content="Табби.", model="GigaChat-Pro"),
    recorded("threads.run", RUN, **SDK, status=models.ThreadStatus.IN_PROGRESS, created_at=1715126198),
    recorded("threads.run_messages", DONE_RUN, **SDK, **MADE),
    recorded("threads.rerun_messages", DONE_RUN, **SDK, **MADE),
    *(recorded(f"threads.{name}_stream", THREAD_STREAM, **SDK, **RUN_STREAMED)
      for name in ("run", "run_messages", "rerun_messages")),
]
# What is not the body itself, as an object, but made of it
MADE_OF_IT = {"get_token", "chat_parse", "run_functions", "chat.parse", "chat.run_functions", "get_image",
              "download_file", "batches.get", "batches.list", "batches.results", "threads.create_thread",
              "threads.delete"}


def recording(name, body):
    """Make the answer that a body came in."""
    if name.endswith("stream"):
        return sse(body, headers=HEADERS)
    kinds = {"get_token": "application/json", "get_image": "image/jpeg", "download_file": "application/octet-stream"}
    return reply(body=body, headers={**HEADERS, "Content-Type": kinds.get(name, "application/json; charset=utf-8")})


@pytest.mark.parametrize(("key", "bodies", "reads"), RECORDED)
def test_a_recorded_body_is_read(key, bodies, reads, server, tmp_path):
    row, name = CALLS[key], key.partition(" ")[0]
    running = server([recording(name, body) for body in bodies])
    login = {"credentials": "YTpi", "access_token": None} if name == "get_token" else {"access_token": "t"}
    giga = new_client(base_url=running.url + "/api/v1", auth_url=running.url + "/api/v2/oauth", **{
        **login, **row.settings})
    answer = ask(giga, name, fill(list(row.args), dict(FIXED, folder=str(tmp_path))), row.options)
    assert type(answer) is row.kind and untyped(objects(answer)) == []
    assert matched(answer, reads) == reads
    if name == "download_file":
        assert (tmp_path / "a.txt").read_bytes() == PICTURE
    if hasattr(answer, "x_headers"):
        assert answer.x_headers == {"x-request-id": "r-1", "x-session-id": "s-1", "x-client-id": None}
    if name not in MADE_OF_IT and not name.endswith("stream"):
        body = bodies[0] if isinstance(bodies[0], str) else bodies[0].decode()
        assert compact(answer) == body and answer == json.loads(body)  # nothing lost, added or moved


def test_the_bodies_are_as_long_as_they_were_recorded():
    assert len(MODELS) == 1724 and len(CHAT_BODY) == 271


# ---- Nothing is left out


def methods(group, prefix=""):
    """List the public methods of a client that talk to the service; asynchronous names are left to their own tests."""
    for name in dir(group):
        value = getattr(group, name) if name[0] != "_" and name != "close" else None
        if name[0] == "a" and hasattr(group, name[1:].lstrip("_")):
            continue
        if callable(value):
            yield prefix + name
        if isinstance(value, (ChatResource, Resource)):
            yield from methods(value, name + ".")


def test_every_method_has_rows():
    every = set(methods(new_client(base_url="http://127.0.0.1:1/api/v1", access_token="t")))
    assert {"chat", "chat.create", "threads.run_stream", "get_models"} < every
    assert {key.partition(" ")[0] for key in CALLS} == every
    assert {row.values[0] for row in RECORDED} == set(CALLS)


def test_every_endpoint_has_rows_and_the_emulator_serves_no_other():
    assert len(MAP) == len(set(MAP)) == 34
    assert {row.endpoint for row in CALLS.values()} == set(MAP)
    assert {CALLS[row.values[0]].endpoint for row in RECORDED} == set(MAP)
    versions = {"oauth": "{auth}", "v1": "{v1}", "v2": "{v2}"}
    served = {f"{route.method} {versions[version]}/" + re.sub(r"\(.*?\)", "*", route.path)
              for version, routes in ROUTES.items() for route in routes}
    assert served == {re.sub(r"\{(model|file|file_id)\}", "*", endpoint) for endpoint in MAP}
