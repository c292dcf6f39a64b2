"""Hold this package beside the official one: the same code sends the same requests, and meets the same names.

What differs on purpose is a row of DIFFERENCES, FAULTS or ELSEWHERE, with its reason; a row that is true no more fails.
test_move_programs.py has whole programs.
"""
from __future__ import annotations

import contextlib
import contextvars
import email
import functools
import importlib
import inspect
import io
import json
import os
import re
import warnings
from urllib.parse import parse_qsl

import pytest

from official.test_emulator import (
    ADDED,
    AI_CHECK,
    ASKING2,
    ASSISTANT,
    ASSISTANTS,
    BALANCE,
    CALL,
    CALL2,
    CITY,
    DELETED,
    DONE_RUN,
    EVERYTHING,
    EVERYTHING2,
    FILE,
    FILES,
    FUNCTIONS,
    JSON_SCHEMA,
    LOOK,
    MESSAGES,
    MODELS,
    NEW_ASSISTANT,
    NO_ASSISTANT,
    NO_FILE,
    OPENAPI,
    REPLY2,
    RUN,
    STREAM2,
    STREAM_RUN,
    THREAD,
    THREADS,
    TOKEN,
    WEATHER,
    say,
)
from recorded import COUNTS, EMBEDDINGS, MODEL
from servers import CHAT_BODY, STREAM_BODY, Api, reply, sse

KEY = "aWQ6c2VjcmV0"  # an authorization key, in base64 as they are
CONTEXT = {"client_id": "X-Client-ID", "session_id": "X-Session-ID", "request_id": "X-Request-ID",
           "service_id": "X-Service-ID", "operation_id": "X-Operation-ID", "trace_id": "X-Trace-ID",
           "agent_id": "X-Agent-ID"}
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
HEADERS = ["Authorization", "Accept", "Content-Type", "User-Agent", "Accept-Encoding", "Cache-Control", "RqUID",
           "Transfer-Encoding", "X-Custom", *CONTEXT.values()]


class Nothing:
    """Stand where a request has no such place."""

    def __repr__(self):
        return "nothing"


NOTHING = Nothing()


class Lib:
    """One of the two packages: its rooms, and its client before a server."""

    def __init__(self, name, server):
        self.name, self.server, self._clients = name, server, {}

    def __getattr__(self, module):
        return importlib.import_module(f"{self.name}.{module}")

    def client(self, **settings):
        """Make a client, or lend the one that has these settings; the official one takes a while to make."""
        key = repr(settings)
        if key not in self._clients:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nothing is verified
                self._clients[key] = importlib.import_module(self.name).GigaChat(**{
                    "base_url": self.server.base_url, "auth_url": self.server.auth_url, "model": "GigaChat",
                    "verify_ssl_certs": False, **settings})
        return self._clients[key]

    @property
    def giga(self):
        return self.client(access_token="token")

    def close(self):
        for client in self._clients.values():
            client.close()


# ---- The server that remembers


VERDICT = r"{\"verdict\":\"ok\"}"  # as it stands in a string of JSON
TYPED = re.sub('"content":".*?","role', lambda found: f'"content":"{VERDICT}","role', CHAT_BODY.decode())
ANSWERS = [  # what a path ends with, the body of its answer, and that of a stream
    ("/v2/chat/completions", REPLY2, STREAM2), ("/chat/completions", CHAT_BODY, STREAM_BODY),
    ("/my/chat", CHAT_BODY, ""), ("/v3/chat", REPLY2, ""), ("/giga/chat/completions", REPLY2, ""),
    ("/embeddings", EMBEDDINGS, ""), ("/models", MODELS, ""), ("/models/[^/]+", MODEL, ""),
    ("/tokens/count", COUNTS, ""), ("/files", FILES, ""), ("/files/[^/]+", FILE, ""), ("/files/.*/content", "jpg", ""),
    ("/files/.*/delete", DELETED, ""), ("/balance", BALANCE, ""), ("/ai/check", AI_CHECK, ""),
    ("/functions/convert", FUNCTIONS, ""), ("/assistants", ASSISTANTS, ""), ("/assistants/modify", ASSISTANT, ""),
    ("/assistants/delete", NO_ASSISTANT, ""), ("/assistants/files/delete", NO_FILE, ""), ("/threads", THREADS, ""),
    ("/threads/retrieve", THREADS, ""), ("/threads/delete", "", ""), ("/threads/messages", MESSAGES, ""),
    ("/threads/run", LOOK, STREAM_RUN), ("/threads/messages/(?:re)?run", DONE_RUN, STREAM_RUN)]
CREATED = {"/files": FILE, "/assistants": NEW_ASSISTANT, "/threads": THREAD, "/threads/messages": ADDED,
           "/threads/run": RUN}  # where a POST makes something, and another body answers it


def answer(request, connection):
    """Answer what the service would, so that a client goes on to its end."""
    path = request.path.partition("?")[0]
    if path.endswith("/revoked"):
        return reply(401)
    below, text = path.replace("/api/v1", "", 1), request.body.decode("latin-1")
    _, body, stream = max((row for row in ANSWERS if re.search(row[0] + "$", path)), key=lambda row: len(row[0]))
    if '"stream"' in text:
        return sse(stream if isinstance(stream, bytes) else stream.encode())
    if request.method == "POST" and below in CREATED:
        body = CREATED[below]
    if '"verdict"' in text:  # a schema asks for it
        body = REPLY2.replace("Hi.", VERDICT) if "/v2/" in path else TYPED
    return reply(200, body, {"Content-Type": "image/jpeg"} if path.endswith("/content") else None)


def log_in(request, connection):
    if request.path.endswith("/token"):
        return reply(200, TOKEN)
    return reply(200, {"access_token": "token", "expires_at": 4102444800000})


def seen(request):
    """Take a request apart into places and values: what is not there has no place."""
    path, _, query = request.path.partition("?")
    places = {"method": request.method, "path": path}
    places.update({f"query {i}": pair for i, pair in enumerate(parse_qsl(query, keep_blank_values=True))})
    places.update({"header " + name: request.headers[name] for name in HEADERS if name in request.headers})
    if re.fullmatch(UUID, places.get("header RqUID", "")):
        places["header RqUID"] = "a UUID"
    kind = request.headers.get("Content-Type", "")
    if kind.startswith("multipart"):
        places["header Content-Type"] = kind.partition(";")[0]
        whole = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body)
        for part in whole.get_payload():
            name = part.get_param("name", header="content-disposition")
            places["part " + name] = (part.get_filename(), part["Content-Type"], part.get_payload(decode=True))
    elif request.body[:1] in (b"{", b"["):
        places.update(flat(json.loads(request.body.decode("utf-8"))))
    else:
        places["body"] = request.body
    return places


def flat(value, place="body"):
    """Name every leaf of a JSON value; what is empty is a leaf too."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    leaves = {}
    for key, item in inner:
        leaves.update(flat(item, f"{place}.{key}"))
    return leaves or {place: value}

# ---- The calls


def schema_model():
    """Make the type of an answer, as programs of the official package do."""
    import pydantic

    return pydantic.create_model("Verdict", verdict=(str, ...))


def with_history(lib):
    m = lib.models
    chat = m.Chat(messages=[m.Messages(role=m.MessagesRole.SYSTEM, content="Отвечай вежливо"),
                            m.Messages(role=m.MessagesRole.USER, content="Кто ты?")], temperature=0.7, max_tokens=9)
    chat.messages.append(lib.giga.chat(chat).choices[0].message)
    chat.messages.append(m.Messages(role="user", content="А ещё?"))
    lib.giga.chat(chat)


def with_classes(lib):
    m = lib.models
    weather = m.Function(
        name="weather", description="Погода", parameters=m.FunctionParameters(
            type="object", required=["place"], properties={"place": m.FunctionParametersProperty(
                type="string", description="Город", enum=["Москва", "Тверь"])}),
        few_shot_examples=[m.FewShotExample(request="Погода в Твери", params={"place": "Тверь"})],
        return_parameters={"type": "object", "properties": {"t": {"type": "integer"}}})
    messages = [m.Messages(role=m.MessagesRole.USER, content=CITY, attachments=["f-1"])]
    lib.giga.chat(m.Chat(messages=messages, functions=[weather], function_ranker=m.FunctionRanker(top_n=2),
                         function_call=m.ChatFunctionCall(name="weather", partial_arguments={"place": "Тверь"}),
                         response_format=m.JsonSchemaResponseFormat(schema={"type": "object"}, strict=True)))


def with_result(lib):
    m = lib.models
    said = m.ChatCompletion.model_validate(json.loads(CALL)).choices[0].message
    result = m.Messages(role=m.MessagesRole.FUNCTION, name="weather_forecast", content='{"forecast":"тепло"}')
    lib.giga.chat(m.Chat(messages=[m.Messages(role="user", content=CITY), said, result], functions=[WEATHER]))


def new_field(lib):
    said = lib.models.Messages.model_validate({"role": "assistant", "content": "4", "newer": 1})
    lib.giga.chat({"messages": [{"role": "user", "content": "2 + 2"}, said, {"role": "user", "content": "3 + 3"}]})


def with_primary_classes(lib):
    m = lib.models
    lib.giga.chat.create(m.ChatCompletionRequest(
        model="GigaChat-3-Ultra", messages=[m.ChatMessage(role="user", content=[m.ChatContentPart(
            text="О чём?", files=[m.ChatContentFile(id="f-1")])])],
        tools=[m.ChatTool(web_search=m.ChatWebSearchTool(type="actual_info_web_search")), m.ChatTool(
            functions=m.ChatFunctionsTool(specifications=[m.ChatFunctionSpecification(
                name="f", parameters={"type": "object", "properties": {}})]))],
        tool_config=m.ChatToolConfig(mode="auto"), storage=m.ChatStorage(limit=3),
        model_options=m.ChatModelOptions(temperature=0.1, reasoning=m.ChatReasoning(effort="low")),
        ranker_options=m.ChatRankerOptions(enabled=True), user_info=m.ChatUserInfo(timezone="Europe/Moscow"),
        filter_config=m.ChatFilterConfig(request_content=m.ChatFilterContentConfig(neuro=True))))


def with_primary_result(lib):
    m = lib.models
    said = m.ChatCompletionResponse.model_validate(json.loads(CALL2)).messages[0]
    result = m.ChatMessage(role="tool", content=[{"function_result": {"name": "getWeather", "result": {"t": 3}}}])
    lib.giga.chat.create(dict(ASKING2, messages=[*ASKING2["messages"], said, result]))


def with_context(lib):
    for name in CONTEXT:
        getattr(lib.context, name + "_cvar").set("id of " + name)
    lib.context.custom_headers_cvar.set({"X-Custom": "yes"})
    lib.client(credentials=KEY, scope="GIGACHAT_API_B2B").get_models()


def authorized_by_context(lib):
    lib.context.authorization_cvar.set("Bearer mine")
    lib.client(credentials=KEY, scope="GIGACHAT_API_CORP").get_models()


def empty_context(lib):
    lib.context.session_id_cvar.set("")
    lib.giga.get_models()


def authorized_by_a_header(lib):
    lib.context.custom_headers_cvar.set({"Authorization": "Bearer mine"})
    lib.client(credentials=KEY, scope="GIGACHAT_API_CORP", model="other").get_models()


def other_host(lib):
    lib.context.chat_url_cvar.set(lib.server.at("localhost") + "/api/v1/chat/completions")
    lib.giga.chat("2 + 2")


def revoked(lib, tried=True):
    giga = lib.client(credentials=KEY, model="old" if tried else "new")
    if tried:
        giga.get_models()
    with contextlib.suppress(lib.exceptions.AuthenticationError):
        giga.get_model("revoked")


def upload_opened(lib):
    file = io.BytesIO(b"\xff\xd8\xff")
    file.name = "folder/photo.jpg"
    lib.giga.upload_file(file)


def upload_pipe(lib):
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    with open(reader, "rb") as file:
        lib.giga.upload_file(("a.txt", file, "text/plain"))


def elsewhere(lib):
    lib.context.chat_url_cvar.set("/my/chat")
    lib.giga.chat("2 + 2")
    lib.context.chat_url_cvar.set("/v3/chat")
    lib.context.chat_completions_url_cvar.set("/v3/chat")
    lib.giga.chat.create("2 + 2")


NULLS = say("2 + 2", temperature=None, max_tokens=None, functions=None)
RICH = {"name": "f", "parameters": {"type": "object", "additionalProperties": False, "properties": {
    "n": {"type": "integer", "minimum": 3, "maximum": 9}}, "$defs": {"a": {"type": "string"}}}}
LOOSE = {"name": "f", "parameters": {"properties": {"a": {"description": "A"}}}}
TITLED = {"title": "f", "description": "d", "properties": {"a": {"type": "string", "description": "A"}}}
ITEMS = {"name": "f", "parameters": {"type": "object", "properties": {
    "a": {"type": "array", "description": "A", "items": {"type": "string"}},
    "b": {"type": "object", "description": "B", "properties": {"c": {"type": "integer", "description": "C"}}}}}}
SETTINGS = {"access_token": "t", "profanity_check": False, "flags": ["x"], "model": "GigaChat-2-Pro"}
IN_STORE = say("2 + 2", storage={"is_stateful": True, "thread_id": "t-1"})
STORED = say("2 + 2", storage={"is_stateful": True, "limit": 3, "metadata": {"a": 1}}, model="GigaChat-2")
PARTS = say({"role": "user", "content": [{"text": "О чём?"}, {"files": [{"id": "f-1"}]}]})
STATED = say("2 + 2", {"role": "assistant", "content": "4", "functions_state_id": "s-1"}, "3 + 3", tool_state_id="s-2")
ROUGH = {"temperature": 0.5, "max_tokens": 9, "flags": ["x"]}

CALLS = {  # by what is asked; `lib` is either package
    "key": lambda lib: lib.client(credentials=KEY).get_token(),
    "user and password": lambda lib: lib.client(user="name", password="пароль").get_token(),
    "context": with_context,
    "own Authorization": authorized_by_context,
    "other addresses": elsewhere,
    "empty context": empty_context,
    "Authorization among the headers": authorized_by_a_header,
    "other host": other_host,
    "revoked token": revoked,
    "refused token": lambda lib: revoked(lib, tried=False),
    "question": lambda lib: lib.giga.chat("Какие факторы влияют на стоимость страховки на дом?"),
    "history": with_history,
    "every field": lambda lib: lib.giga.chat(EVERYTHING),
    "every field as Chat": lambda lib: lib.giga.chat(lib.models.Chat(**EVERYTHING)),
    "settings": lambda lib: lib.client(**SETTINGS).chat("2 + 2"),
    "schema of an answer": lambda lib: lib.giga.chat(say("2 + 2", response_format=JSON_SCHEMA)),
    "additional fields": lambda lib: lib.giga.chat(say("2 + 2", additional_fields={"newer": 1})),
    "storage": lambda lib: lib.giga.chat(STORED),
    "thread of a storage": lambda lib: lib.giga.chat(IN_STORE),
    "classes of functions": with_classes,
    "function with items": lambda lib: lib.giga.chat(say("2", functions=[ITEMS])),
    "result of a function": with_result,
    "type of an answer": lambda lib: lib.giga.chat_parse("2 + 2", response_format=schema_model()),
    "type, not strict": lambda lib: lib.giga.chat_parse(say("2"), response_format=schema_model(), strict=False),
    "stream": lambda lib: list(lib.giga.stream("Расскажи о Байкале")),
    "stream of every field": lambda lib: list(lib.giga.stream(dict(EVERYTHING, stream=False))),
    "no stream": lambda lib: lib.giga.chat(say("2", stream=True)),
    "nulls": lambda lib: lib.giga.chat(NULLS),
    "no content": lambda lib: lib.giga.chat({"messages": [{"role": "user", "attachments": ["f-1"]}]}),
    "rich schema": lambda lib: lib.giga.chat(say("2", functions=[RICH])),
    "schema as a function": lambda lib: lib.giga.chat(say("2", functions=[TITLED])),
    "additional field again": lambda lib: lib.giga.chat(say("2", n=1, additional_fields={"n": 2})),
    "function without parameters": lambda lib: lib.giga.chat(say("2", functions=[{"name": "f"}])),
    "schema without types": lambda lib: lib.giga.chat(say("2", functions=[LOOSE])),
    "blank model": lambda lib: lib.giga.chat(say("2", model="")),
    "v2 blank model": lambda lib: lib.giga.chat.create(say("2", model="")),
    "number as a string": lambda lib: lib.giga.chat(say("2", temperature="0.5")),
    "new role": lambda lib: lib.giga.chat({"messages": [{"role": "developer", "content": "2"}]}),
    "null as content": lambda lib: lib.giga.chat({"messages": [{"role": "user", "content": None}]}),
    "new field of an answer": new_field,
    "typo": lambda lib: lib.giga.chat(say("2 + 2", temprature=1)),
    "typo in a message": lambda lib: lib.giga.chat({"messages": [{"role": "user", "contents": "2 + 2"}]}),
    "v2 question": lambda lib: lib.giga.chat.create("2 + 2"),
    "v2 every field": lambda lib: lib.giga.chat.create(EVERYTHING2),
    "v2 classes": with_primary_classes,
    "v2 schema as a function": lambda lib: lib.giga.chat.create(
        say("2", tools=[{"functions": {"specifications": [TITLED]}}])),
    "v2 type as a schema": lambda lib: lib.giga.chat.create(
        say("2", response_format=lib.models.ChatResponseFormat(type="json_schema", schema=schema_model()))),
    "v2 options twice": lambda lib: lib.giga.chat.create(
        say("2", reasoning={"effort": "low"}, model_options={"reasoning": {"effort": "high"}})),
    "v2 filter": lambda lib: lib.giga.chat.create(say("2", disable_filter=True, profanity_check=True)),
    "v2 unknown tool": lambda lib: lib.giga.chat.create(say("2", tools=["web_serch"])),
    "v2 schema": lambda lib: lib.giga.chat.create(say("2", response_format=JSON_SCHEMA)),
    "v2 tools": lambda lib: lib.giga.chat.create(say("2", tools=["web_search", {"code_interpreter": {}}])),
    "v2 parts": lambda lib: lib.giga.chat.create(PARTS),
    "v2 states": lambda lib: lib.giga.chat.create(STATED),
    "v2 functions": lambda lib: lib.giga.chat.create(ASKING2),
    "v2 result of a function": with_primary_result,
    "v2 settings": lambda lib: lib.client(**SETTINGS).chat.create("2 + 2"),
    "v2 thread": lambda lib: lib.giga.chat.create(say("2", storage={"thread_id": "t-1"})),
    "v2 assistant": lambda lib: lib.giga.chat.create(say("2", assistant_id="a-1")),
    "v2 no storage": lambda lib: lib.giga.chat.create(say("2", storage=False)),
    "v2 type": lambda lib: lib.giga.chat.parse("2", response_format=schema_model()),
    "v2 stream": lambda lib: list(lib.giga.chat.stream("2 + 2")),
    "v2 nulls": lambda lib: lib.giga.chat.create(say("2", user_info=None)),
    "v2 fields of v1": lambda lib: lib.giga.chat.create(say("2", temperature=1)),
    "v2 elsewhere": lambda lib: lib.client(base_url=lib.server.url + "/v2", access_token="t").chat.create("2"),
    "v2 of no version": lambda lib: lib.client(base_url=lib.server.url + "/giga", access_token="t").chat.create("2"),
    "embeddings": lambda lib: lib.giga.embeddings(["раз", "два"]),
    "embeddings of a model": lambda lib: lib.giga.embeddings(["раз"], "EmbeddingsGigaR"),
    "embeddings of a string": lambda lib: lib.giga.embeddings("раз"),
    "models": lambda lib: lib.giga.get_models(),
    "model": lambda lib: lib.giga.get_model("GigaChat"),
    "model with a slash": lambda lib: lib.giga.get_model("a/../b"),
    "tokens": lambda lib: lib.giga.tokens_count(["раз", "два"]),
    "tokens of a model": lambda lib: lib.giga.tokens_count(input_=["раз"], model="GigaChat-2"),
    "tokens of a string": lambda lib: lib.giga.tokens_count("раз"),
    "balance": lambda lib: lib.giga.get_balance(),
    "check": lambda lib: lib.giga.check_ai("Текст", "GigaCheckDetection"),
    "convert": lambda lib: lib.giga.openapi_function_convert(json.dumps(OPENAPI, ensure_ascii=False)),
    "upload": lambda lib: lib.giga.upload_file(("рисунок.png", b"\x00\xff", "image/png")),
    "upload of an open file": upload_opened,
    "upload of a pipe": upload_pipe,
    "upload for assistants": lambda lib: lib.giga.upload_file(("a.txt", b"text", "text/plain"), "assistant"),
    "upload of a name": lambda lib: lib.giga.upload_file(("a.txt", b"text")),
    "upload of bytes": lambda lib: lib.giga.upload_file(b"text"),
    "upload of a string": lambda lib: lib.giga.upload_file("report.txt"),
    "upload of a text": lambda lib: lib.giga.upload_file(("a.txt", "text")),
    "upload with headers": lambda lib: lib.giga.upload_file(("a.txt", b"text", "text/plain", {"X-A": "b"})),
    "upload of a book": lambda lib: lib.giga.upload_file(("a.epub", b"text")),
    "files": lambda lib: lib.giga.get_files(),
    "file": lambda lib: lib.giga.get_file("f-1"),
    "image": lambda lib: lib.giga.get_image("f-1"),
    "delete": lambda lib: lib.giga.delete_file("f-1"),
    "assistants": lambda lib: lib.giga.assistants.get(),
    "assistant": lambda lib: lib.giga.assistants.get("a-1"),
    "new assistant": lambda lib: lib.giga.assistants.create(
        "GigaChat", "name", "instructions", "description", ["f-1"], [lib.models.Function(**ITEMS)], {"a": 1}),
    "small assistant": lambda lib: lib.giga.assistants.create("GigaChat", "name"),
    "assistant with a dict": lambda lib: lib.giga.assistants.create("GigaChat", "name", functions=[ITEMS]),
    "changed assistant": lambda lib: lib.giga.assistants.update(
        "a-1", "name", "description", "instructions", ["f-1"], [lib.models.Function(**ITEMS)], {"a": 1}),
    "hardly changed assistant": lambda lib: lib.giga.assistants.update("a-1", "name"),
    "no assistant": lambda lib: lib.giga.assistants.delete("a-1"),
    "no file of an assistant": lambda lib: lib.giga.assistants.delete_file("a-1", "f-1"),
    "threads": lambda lib: lib.giga.threads.list(["a-1", "a-2"], 2, 1715684158),
    "threads again": lambda lib: lib.giga.threads.get_threads(),
    "no threads": lambda lib: lib.giga.threads.get_threads(limit=0),
    "new thread": lambda lib: lib.giga.threads.create_thread(),
    "some threads": lambda lib: lib.giga.threads.retrieve(["t-1", "t-2"]),
    "no thread": lambda lib: lib.giga.threads.delete("t-1"),
    "messages": lambda lib: lib.giga.threads.get_messages("t-1", 3, 4),
    "message": lambda lib: lib.giga.threads.add_message("t-1", "Чей кот?"),
    "new messages": lambda lib: lib.giga.threads.add_messages(None, ["Чей кот?", {"role": "user", "content": "?"}]),
    "run": lambda lib: lib.giga.threads.run("t-1"),
    "run of an assistant": lambda lib: lib.giga.threads.run("t-1", "a-1", lib.models.ThreadRunOptions(**ROUGH)),
    "state of a run": lambda lib: lib.giga.threads.get_run("t-1"),
    "stream of a run": lambda lib: list(lib.giga.threads.run_stream("t-1", "a-1")),
    "question in a thread": lambda lib: lib.giga.threads.run_messages(["Кто ты?"], "t-1"),
    "question to an assistant": lambda lib: lib.giga.threads.run_messages(
        [lib.models.Messages(role="user", content="?")], None, "a-1", None, lib.models.ThreadRunOptions(**ROUGH)),
    "question to a model": lambda lib: lib.giga.threads.run_messages(["?"], model="GigaChat-Pro"),
    "question to any": lambda lib: lib.giga.threads.run_messages(["?"]),
    "question again": lambda lib: lib.giga.threads.rerun_messages("t-1", lib.models.ThreadRunOptions(top_p=0.5)),
    "stream of a question": lambda lib: list(lib.giga.threads.run_messages_stream(["?"], "t-1", update_interval=1)),
    "stream again": lambda lib: list(lib.giga.threads.rerun_messages_stream("t-1")),
}


# ---- Where they differ


ANY = "anything"
STREAMS = ("stream", "stream of every field", "v2 stream", "stream of a run", "stream of a question", "stream again")
V1_STREAMS = STREAMS[:3]
TYPOS = ("typo", "typo in a message", "v2 fields of v1")
DIFFERENCES = [  # the calls ("*": any), the place, what the official package sends, what this one sends, and why
    ("*", "header User-Agent", "GigaChat-python-lib", ANY, "each says its own name"),
    ("*", "header Accept", "*/*", "application/json", "the answer to all but streams and files is JSON"),
    ("*", "header Accept-Encoding", "gzip, deflate", "gzip", "one packing is enough"),
    ((*STREAMS, "image"), "header Accept-Encoding", "gzip, deflate", "identity",
     "pieces are to be read as they come, and counted by the length that was told"),
    (V1_STREAMS, "header Cache-Control", "no-store", NOTHING, "no cache keeps the answer to a POST"),
    (STREAMS[3:], "header Accept", "*/*", "text/event-stream", "all streams are asked for in the same way"),
    (["image"], "header Accept", "application/jpg", "*/*", "a file may be a sound or a model too"),
    (["Authorization among the headers"], "requests", ["POST /api/v2/oauth", "GET /api/v1/models"],
     ["GET /api/v1/models"], "no token is needed then"),
    (["other host"], "not sent", NOTHING, "ConfigurationError", "the token is for the host of base_url alone"),
    (["refused token"], "requests", ["POST /api/v2/oauth", "GET /api/v1/models/revoked"],
     2 * ["POST /api/v2/oauth", "GET /api/v1/models/revoked"], "a token may be revoked within its first second"),
    (["schema without types"], r"body\.functions\..*\.type", "object", NOTHING, "a schema is sent as it is"),
    (["new role", "null as content"], "not sent", "ValidationError", NOTHING, "the service says what is right"),
    (["new field of an answer"], "body.messages.1.newer", NOTHING, 1, "an answer goes back as it came"),
    (["v2 unknown tool"], "not sent", "ValidationError", "TypeError", "there is no pydantic"),
    (["assistant with a dict"], "not sent", "AttributeError", NOTHING, "dicts do wherever objects do"),
    (TYPOS, "not sent", NOTHING, "TypeError", "a field that nobody knows is a slip, and would change nothing"),
    (["no content"], "body.messages.0.content", "", NOTHING, "what was not written is not sent"),
    (["rich schema"], r"body\.functions\..*(additionalProperties|minimum|maximum|\$defs\.a\.type)", NOTHING, ANY,
     "a schema is sent whole"),
    (["rich schema"], r"body\.functions\..*\.n\.description", "", NOTHING, "what was not written is not sent"),
    (["additional field again"], "body.n", 1, 2, "whoever writes additional fields means them"),
    (["v2 of no version"], "path", "/giga/chat/completions", "/giga/v2/chat/completions",
     "the first version has the other address, and another body"),
    (["embeddings of a string", "tokens of a string"], "body.input", "раз", NOTHING, "the API has a list there"),
    (["embeddings of a string", "tokens of a string"], "body.input.0", NOTHING, "раз", "the API has a list there"),
    (["model with a slash"], "path", "/api/v1/models/b", "/api/v1/models/a%2F..%2Fb", "an id is no way elsewhere"),
    (["upload of bytes"], "part file", ("upload", "application/octet-stream", b"text"),
     ("upload.txt", "text/plain", b"text"), "the service refuses a file of no known type"),
    (["upload of a book"], "part file", ("a.epub", "application/epub+zip", b"text"),
     ("a.epub", "application/epub", b"text"), "the service's own name of the type"),
    (["upload of a string"], "not sent", NOTHING, "FileNotFoundError", "a string is a path, never the content"),
    (["upload of a text"], "not sent", NOTHING, "TypeError", "a string could be a path or the content"),
    (["upload with headers"], "not sent", NOTHING, "TypeError", "the API reads no headers of a part"),
    (["upload of a pipe"], "not sent", "LocalProtocolError", NOTHING, "what has no length is copied first"),
    (["delete"], "header Content-Type", "multipart/form-data", NOTHING, "all is said by the path"),
    (["delete"], "part file", ("upload", "application/octet-stream", b"f-1"), NOTHING, "all is said by the path"),
    (["delete"], "body", NOTHING, b"", "all is said by the path"),
    (["small assistant", "hardly changed assistant"], "body.(description|instructions|file_ids|metadata)", None,
     NOTHING, "a null may clear what is there"),
    (["no threads"], "query 0", NOTHING, ("limit", "0"), "what was written is sent"),
    (["message", "new messages"], r"body\.messages\.\d\.\w+", None, NOTHING, "what was not written is not sent"),
    (["message", "new messages", "question in a thread", "question to an assistant", "question to a model",
      "question to any", "run", "stream of a question"], "body.(thread_id|assistant_id|model)", None, NOTHING,
     "what was not written is not sent"),
    (["new messages", "question to any"], "body.model", None, "GigaChat", "a new thread needs a model: the client's"),
    (["stream again"], "body.update_interval", None, NOTHING, "what was not written is not sent"),
]


def requests_of(lib, call):
    """Make a call in a context of its own; name what was sent, and how it ended where that was not well."""
    del lib.server.requests[:]
    ended = {}
    try:
        contextvars.Context().run(call, lib)
    except Exception as error:
        ended = {"ends": type(error).__name__}
    sent = {}
    for i, request in enumerate(list(lib.server.requests)):
        sent.update({f"{i or ''} {place}".strip(): value for place, value in seen(request).items()})
    lines = [value + " " + sent[place.replace("method", "path")] for place, value in sent.items() if "method" in place]
    return {"requests": lines, **sent, **ended} if sent else {"not sent": ended["ends"]}


def compare(theirs, ours):
    """Name the places where two calls differ, with both values."""
    for whole in ("not sent", "requests"):  # where these differ, nothing else is worth a word
        if len(theirs.get(whole, "")) != len(ours.get(whole, "")):
            return {whole: (theirs.get(whole, NOTHING), ours.get(whole, NOTHING))}
    theirs, ours = ({place: value for place, value in all_of.items() if place != "requests"} for all_of in (
        theirs, ours))
    pairs = {place: (theirs.get(place, NOTHING), ours.get(place, NOTHING)) for place in {**theirs, **ours}}
    return {place: values for place, values in pairs.items() if place == "ends" or repr(values[0]) != repr(values[1])}


def excuses(row, name, place, values):
    calls, where, *wanted, _ = row
    return (calls == "*" or name in calls) and re.fullmatch(r"(\d+ )?" + where, place) and all(
        want in (ANY, value) for want, value in zip(wanted, values))


class Both:
    """Make each call once, with both packages."""

    def __init__(self, server):
        self.libs = [Lib("gigachat", server), Lib("gigachat_lite", server)]
        self.compared = functools.lru_cache(maxsize=None)(self._compare)

    def _compare(self, name):
        return compare(*[requests_of(lib, CALLS[name]) for lib in self.libs])

    def close(self):
        for lib in self.libs:
            lib.close()


@pytest.fixture(scope="module")
def both():
    pytest.importorskip("gigachat")
    with Api(answer, oauth=log_in) as server, contextlib.closing(Both(server)) as both:
        yield both


@pytest.mark.parametrize("name", CALLS)
def test_the_same_request(both, name):
    left = {place: values for place, values in both.compared(name).items()
            if not any(excuses(row, name, place, values) for row in DIFFERENCES)}
    assert left == {}


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: f"{row[0]}, {row[1]}")
def test_a_difference_is_still_there(both, row):
    calls = CALLS if row[0] == "*" else row[0]
    found = [any(excuses(row, name, *item) for item in both.compared(name).items()) for name in calls]
    assert any(found) if row[0] == "*" else all(found)


# ---- Names


ELSEWHERE = {}  # what the official package has, as a pattern, and why it is not here
MODULES = [
    "client", "context", "exceptions", "models", "models.assistants", "models.auth", "models.base", "models.chat",
    "models.chat_completions", "models.embeddings", "models.files", "models.models", "models.response_format",
    "models.threads", "models.tools"]
OLD_NAMES = "AccessToken AICheckResult Balance Chat ChatCompletion ChatCompletionChunk Choices ChoicesChunk \
    DeletedFile Embedding Embeddings EmbeddingsUsage Function FunctionCall FunctionParameters Image Messages \
    MessagesChunk MessagesRole Model Models OpenApiFunctions Storage Token TokensCount UploadedFile UploadedFiles \
    Usage WithXHeaders assistants threads"  # of gigachat.models in 0.1.x


def public(module):
    """List the names that a module of the official package gives."""
    return getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if name[0] != "_" and inspect.isclass(value)
        and value.__module__ == module.__name__]


def members(kind):
    return [name for name in dir(kind) if name[0] != "_" or name in (
        "__call__", "__enter__", "__exit__", "__aenter__", "__aexit__")]


def missing():
    """Name what the official package has and this one has not, by the dotted way to it."""
    theirs, ours = importlib.import_module("gigachat"), importlib.import_module("gigachat_lite")
    lost = [name for name in public(theirs) if not hasattr(ours, name)]
    for module in MODULES:
        here = importlib.import_module("gigachat_lite." + module)
        there = importlib.import_module("gigachat." + module)
        lost += [f"{module}.{name}" for name in public(there) if not hasattr(here, name)]
    for name in ("GigaChat", "GigaChatSyncClient", "GigaChatAsyncClient"):
        lost += [f"client.{name}.{member}" for member in members(getattr(theirs, name))
                 if not hasattr(getattr(ours, name), member)]
    return lost


def test_every_name_is_here_or_its_absence_has_a_reason():
    pytest.importorskip("gigachat")
    lost = missing()
    assert [name for name in lost if not any(re.fullmatch(pattern, name) for pattern in ELSEWHERE)] == []
    for pattern in ELSEWHERE:
        assert any(re.fullmatch(pattern, name) for name in lost), f"{pattern} is here: its row is to go"


def test_the_names_of_older_versions_are_here():
    models = importlib.import_module("gigachat_lite.models")
    assert [name for name in OLD_NAMES.split() if not hasattr(models, name)] == []


RESOURCES = [
    ("client.GigaChatSyncClient", "client.GigaChat"), ("resources.ChatNamespace", "client.ChatResource"),
    ("threads.ThreadsSyncClient", "resources.ThreadsResource"),
    ("assistants.AssistantsSyncClient", "resources.AssistantsResource"),
    ("client.GigaChatAsyncClient", "client.GigaChat"),
    ("resources.AsyncChatNamespace", "client.AsyncChatResource"),
    ("threads.ThreadsAsyncClient", "aio_resources.AsyncThreadsResource"),
    ("assistants.AssistantsAsyncClient", "aio_resources.AsyncAssistantsResource")]


@pytest.mark.parametrize(("theirs", "ours"), RESOURCES, ids=[row[0] for row in RESOURCES])
def test_parameters_have_their_names_order_and_defaults(theirs, ours):
    pytest.importorskip("gigachat")
    kinds = []
    for package, path in (("gigachat", theirs), ("gigachat_lite", ours)):
        module, _, name = path.partition(".")
        kinds.append(getattr(importlib.import_module(f"{package}.{module}"), name))
    for name in members(kinds[0]):
        method = getattr(kinds[0], name)
        if isinstance(method, (property, functools.cached_property)) or name in ("__exit__", "__aexit__"):
            continue
        theirs, ours = ([(each.name, each.kind, each.default) for each in inspect.signature(
            getattr(kind, name)).parameters.values()] for kind in kinds)
        assert ours[:len(theirs)] == theirs, name
        assert all(kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
                   for _, kind, _ in ours[len(theirs):]), name


def test_the_constructor_takes_what_theirs_takes():
    pytest.importorskip("gigachat")
    theirs = inspect.signature(importlib.import_module("gigachat").GigaChat.__init__).parameters
    defaults = importlib.import_module("gigachat_lite.config").DEFAULTS
    assert set(theirs) - {"self", "kwargs"} <= set(defaults)


def test_a_setting_of_older_versions_is_taken():
    lite = importlib.import_module("gigachat_lite")
    lite.GigaChat(access_token="token", env_file=False, environ={}, verbose=True).close()


def test_every_field_is_declared_and_read_by_either_name():
    pytest.importorskip("gigachat")
    import pydantic

    for module in MODULES[4:]:
        for name, theirs in vars(importlib.import_module("gigachat." + module)).items():
            own = inspect.isclass(theirs) and theirs.__module__ == "gigachat." + module and name[0] != "_"
            if not own or not issubclass(theirs, pydantic.BaseModel) or name == "XHeadersMixin":
                continue
            ours = getattr(importlib.import_module("gigachat_lite." + module), name)
            for field, about in theirs.model_fields.items():
                wire = about.alias or field
                if field == "x_headers" or (name, field) == ("FunctionParametersProperty", "items"):
                    continue
                assert wire in ours.model_fields, (name, field)
                value = [] if field == "content" and "Part" not in name else "value"
                assert getattr(ours({wire: value}), field) == value, (name, field)
                assert getattr(ours({}), field) is None, (name, field)
