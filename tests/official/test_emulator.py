"""Hold the emulator against the official SDK, unmodified, and against what the service sends, byte for byte.

The SDK asks everything twice: the emulator as it is, and a script with the body that the service was recorded with.
What it makes of the two has to have the same form. A row says where its body is from: *recorded* on the service,
*documented* by it, or *expected*, where there are only other clients' tests to go by.
"""
from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http.client
import itertools
import json
import re
import socket
import ssl
import uuid

import pytest

from caller import Caller, compact, shape
from clients import crossed
from gigachat_lite.emulator import Emulator
from recorded import CHAT, COUNTS, EMBEDDINGS, MODEL, OAUTH, STREAM

KINDS = pytest.mark.parametrize("kind", ["sync", "async"])
TEXTS = ["First text", "Second text"]
CITY = "Какая погода в Манжероке на ближайшие десять дней?"
WEATHER = {
    "name": "weather_forecast", "description": "Возвращает прогноз погоды в городе на заданный срок",
    "parameters": {
        "type": "object", "required": ["location", "num_days"], "properties": {
            "location": {"type": "string", "description": "Место, например, название города"},
            "num_days": {"type": "integer", "description": "На сколько дней нужен прогноз"}}},
    "few_shot_examples": [
        {"request": "Погода в Москве на три дня", "params": {"location": "Москва", "num_days": 3}}],
    "return_parameters": {"type": "object", "properties": {"forecast": {"type": "string"}}}}
SCHEMA = {
    "title": "Reply", "type": "object", "additionalProperties": False, "required": ["answer", "n"],
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer", "minimum": 3, "maximum": 9}}}
JSON_SCHEMA = {"type": "json_schema", "schema": SCHEMA, "strict": True}
FILE_ID = "{file}"  # stands for the id of a file that was uploaded
# And of what is made then: RUN_ID is a thread with an answer, ASSISTED an assistant that has a thread.
ASSISTANT_ID, THREAD_ID, RUN_ID, ASSISTED = "{assistant}", "{thread}", "{run}", "{assisted}"


def say(*texts, **fields):
    """Return the body of a chat: user and assistant by turns; a text may be a whole message too."""
    roles = itertools.cycle(["user", "assistant"])
    messages = [text if isinstance(text, dict) else {"role": role, "content": text} for role, text in zip(roles, texts)]
    return {"messages": messages, **fields}


SYSTEM = {"role": "system", "content": "Отвечай вежливо"}
CALLING = {"role": "assistant", "content": "", "function_call": {
    "name": "weather_forecast", "arguments": {"location": "Манжерок", "num_days": 10}}}
RESULT = {"role": "function", "name": "weather_forecast", "content": '{"forecast":"тепло"}'}
ASKING = say(CITY, functions=[WEATHER], function_call="auto")
EVERYTHING = say(
    SYSTEM, {"role": "user", "content": "Расскажи о Байкале"}, temperature=0.5, top_p=0.5, n=1, max_tokens=1000,
    repetition_penalty=1.1, update_interval=0.1, profanity_check=False, flags=["preprocess"], functions=[WEATHER],
    function_call="none", function_ranker={"enabled": True, "top_n": 3}, reasoning_effort="low")


ASKING2 = say("Какая погода в Москве?", model="GigaChat-3-Lightning", tools=[{"functions": {"specifications": [
    {"name": "getWeather", "description": "Погода в городе", "parameters": {
        "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}]}}])
ANSWERED2 = [
    {"role": "assistant", "tools_state_id": "01a0d344-7edd-73ff-8a9a-241b10097774", "content": [
        {"function_call": {"name": "getWeather", "arguments": {"city": "Москва"}}}]},
    {"role": "tool", "content": [{"function_result": {"name": "getWeather", "result": {"t": 3}}}]}]
SEARCHING2 = say("What is new in Python?", tools=[{"web_search": {"type": "actual_info_web_search"}}],
                 model="GigaChat-3-Lightning", tool_config={"mode": "forced", "tool_name": "web_search"})
EVERYTHING2 = say(
    SYSTEM, {"role": "user", "content": "Расскажи о Байкале"}, reasoning={"effort": "low"}, storage=True,
    model_options={"temperature": 0.5, "top_p": 0.5, "max_tokens": 1000, "repetition_penalty": 1.1,
                   "update_interval": 0.1, "unnormalized_history": True, "top_logprobs": 2, "preset": "x"},
    tools=ASKING2["tools"], tool_config={"mode": "none"}, ranker_options={"enabled": True, "top_n": 3},
    user_info={"timezone": "Europe/Moscow"}, profanity_check=False, flags=["x"],
    filter_config={"request_content": {"neuro": True}, "response_content": {"blacklist": True}})
LONELY = ("lonely", "Assistant", None, [FILE_ID], None, {"test": 234})
OPENAPI = {
    "openapi": "3.0.0", "info": {"title": "SMS", "version": "1"}, "paths": {"/{version}/sms": {"post": {
        "operationId": "send_sms", "description": "Отправка SMS",
        "parameters": [{"name": "version", "in": "path", "required": True, "description": "Версия API",
                        "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Sms"}}}},
        "responses": {"200": {"content": {"application/json": {"schema": {
            "type": "object", "properties": {"status": {"type": "boolean", "description": "Отправлено"}}}}}}}}}},
    "components": {"schemas": {"Sms": {"type": "object", "required": ["employeeId", "text"], "properties": {
        "text": {"type": "string", "minLength": 1, "description": "Текст"},
        "employeeId": {"type": "integer", "format": "int32", "description": "Номер"}}}}}}


# ---- Bodies of the service that tests of the emulator have no use for


TOKEN = '{"tok":"x","exp":4102444800}'
MODELS = (
    '{"object":"list","data":[' + ",".join(
        f'{{"id":"{name}","object":"model","owned_by":"salutedevices","type":"{kind}"}}' for kind, names in (
            ("chat", "GigaChat GigaChat-2 GigaChat-2-Max GigaChat-2-Max-preview GigaChat-2-Pro GigaChat-2-Pro-preview "
                     "GigaChat-2-preview GigaChat-Max GigaChat-Max-preview GigaChat-Plus GigaChat-Pro "
                     "GigaChat-Pro-preview GigaChat-preview"),
            ("filter", "GigaFilter"), ("aicheck", "GigaCheckClassification GigaCheckDetection"),
            ("embedder", "Embeddings Embeddings-2 EmbeddingsGigaR GigaEmbeddings-3B-2025-09"))
        for name in names.split()) + "]}")
REPLY = CHAT.replace('"Hello."', r'"{\n    \"answer\": \"ok\",\n    \"n\": 3\n}"')
CALL = (
    '{"choices":[{"message":{"content":"","role":"assistant","function_call":{"name":"weather_forecast","arguments":'
    '{"location":"Манжерок","num_days":10}},"functions_state_id":"0199e210-2f13-744c-8fe5-c9a19fe27db7"},"index":0,'
    '"finish_reason":"function_call"}],"created":1760434335,"model":"GigaChat-2-Pro:2.0.28.2","object":'
    '"chat.completion","usage":{"prompt_tokens":150,"completion_tokens":30,"total_tokens":180,'
    '"precached_prompt_tokens":2}}')
CUT = CHAT.replace('"stop"', '"length"')
TWO = CHAT.replace('"finish_reason":"stop"}]', '"finish_reason":"stop"},{"message":{"content":"Hi.","role":'
                   '"assistant"},"index":1,"finish_reason":"stop"}]')
STREAM_CUT = STREAM.replace('"stop"', '"length"')
STREAM_CALL = (
    'data: {"choices":[{"delta":{"content":"","role":"assistant","function_call":{"name":"weather_forecast",'
    '"arguments":{"location":"Манжерок","num_days":10}},"functions_state_id":"0199e210-2f13-744c-8fe5-c9a19fe27db7"},'
    '"index":0}],"created":1760434335,"model":"GigaChat-2-Pro:2.0.28.2","object":"chat.completion"}\n\n'
    + STREAM[STREAM.index('data: {"choices":[{"delta":{"content":""}'):].replace('"stop"', '"function_call"'))
FILE = (
    '{"id":"6f0b1291-c7f3-43c6-bb2e-9f3efb2dc98e","object":"file","bytes":12,"created_at":1741610638,"filename":"a.txt",'
    '"purpose":"general","access_policy":"private","modalities":["text"]}')
FILES = f'{{"data":[{FILE}]}}'
DELETED = '{"id":"6f0b1291-c7f3-43c6-bb2e-9f3efb2dc98e","deleted":true,"access_policy":"private"}'
READ = CHAT.replace(
    '"role":"assistant"', '"role":"assistant","functions_state_id":"0199e210-2f13-744c-8fe5-c9a19fe27db7"')
DRAWN = READ.replace("Hello.", r"<img src=\"3727db23-91a3-44fa-a6b7-9f0a311d3e9e\" fuse=\"true\"/> вот мой рисунок.")
BALANCE = '{"balance":[{"usage":"GigaChat","value":900000},{"usage":"embeddings","value":9999967}]}'
AI_CHECK = '{"category":"mixed","characters":533,"tokens":224,"ai_intervals":[[1,262],[415,533]]}'
FUNCTIONS = (
    '{"functions":[{"name":"send_sms","description":"Отправка SMS","parameters":{"type":"object","properties":{'
    '"employeeId":{"description":"Номер","format":"int32","type":"integer"},"text":{"description":"Текст","minLength":1,'
    '"type":"string"},"version":{"description":"Версия API","type":"string"}},"required":["version","employeeId",'
    '"text"]},"return_parameters":{"type":"object","properties":{"status":{"description":"Отправлено","type":'
    '"boolean"}}}}]}')
TEXT_FILE = ("a.txt", "Сколько".encode()[:12], "text/plain")


# ---- Bodies of the second version


REPLY2 = (
    '{"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321859,"messages":[{"role":"assistant","content":[{"text":'
    '"Hi."}]}],"finish_reason":"stop","usage":{"input_tokens":24,"input_tokens_details":{"prompt_tokens":24,'
    '"cached_tokens":0},"output_tokens":21,"total_tokens":45}}')
CALL2 = (
    '{"model":"GigaChat-3-Lightning","created_at":1790250876,"messages":[{"role":"assistant","tool_state_id":'
    '"01a0d344-7edd-73ff-8a9a-241b10097774","content":[{"function_call":{"id":"9bb697cc-c55f-4e76-aeba-39bbd3ef26fc",'
    '"name":"getWeather","arguments":{"city":"Москва"}}}]}],"finish_reason":"function_call","usage":{"input_tokens":57,'
    '"input_tokens_details":{"prompt_tokens":57,"cached_tokens":0},"output_tokens":18,"total_tokens":75}}')
STATED2 = REPLY2.replace('"content"', '"tool_state_id":"01a0d344-7edd-73ff-8a9a-241b10097774","content"')
FOUND = (
    '"inline_data":{"images":[],"sources":{"1":{"url":"https://docs.python.org/","title":"Python"},'
    '"2":{"url":"https://realpython.com/","title":"News"}}}')
FOUND2 = STATED2.replace('"text":"Hi."', f'"text":"Hi. [sources=[1, 2]]",{FOUND}')
DRAWN2 = STATED2.replace('{"text"', '{"files":[{"id":"f4b17167-1b5f-4d3c-8a8e-3f2f6e3b8f5b","mime":"image/jpeg",'
                         '"target":"image"}]},{"text"')
STREAM2 = """event: response.message.delta
data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"messages":[{"role":"assistant","content":[{"text":"1, 2, 3"}]}]}

event: response.message.done
data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"finish_reason":"stop","usage":{"input_tokens":19,"input_tokens_details":{"prompt_tokens":19,"cached_tokens":0},"output_tokens":8,"total_tokens":27}}

"""  # noqa: E501
FOUND_STREAM2 = """event: response.tool.in_progress
data: {"model":"GigaChat-3-Lightning","created_at":1790250877,"messages":[{"role":"assistant","content":[{"tool_execution":{"id":"","name":"web_search"}}]}]}

event: response.tool.completed
data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":[{"tool_execution":{"id":"","name":"web_search","status":"success"}}]}]}

event: response.message.delta
data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":[{FOUND}]}]}

event: response.message.delta
data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":[{"text":"…"}]}]}

event: response.message.done
data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","tool_state_id":"01a0d344-8691-7212-b9ed-bcc4d8a9a561"}],"finish_reason":"stop","usage":{"input_tokens":3678,"input_tokens_details":{"prompt_tokens":3678,"cached_tokens":4071},"output_tokens":91,"total_tokens":3769}}

""".replace("FOUND", FOUND)  # noqa: E501
CALL_STREAM2 = f"event: response.message.done\ndata: {CALL2}\n\n"


# ---- Bodies of assistants and threads, from the data of the SDK's own tests


ASSISTANT = (
    '{"assistant_id":"111","created_at":1715684158,"name":"lonely","instructions":"Assistant","model":"GigaChat-Pro",'
    '"updated_at":1715684158,"metadata":{"test":234},"file_ids":["222"]}')
ASSISTANTS = f'{{"data":[{ASSISTANT},{ASSISTANT}]}}'
NEW_ASSISTANT = '{"assistant_id":"111","created_at":1715684019}'
NO_ASSISTANT = '{"assistant_id":"111","deleted":true}'
NO_FILE = '{"file_id":"222","deleted":true}'
THREAD = (
    '{"id":"2cc91bae-34f7-4ee4-bcae-f5f71880deda","model":"GigaChat-Pro","created_at":1715684634,"updated_at":1715684764,'
    '"status":"ready","run_lock":false}')
THREADS = f'{{"threads":[{THREAD}]}}'
ADDED = (
    '{"thread_id":"fc4a58e8-1410-4684-b473-066eabeca000","messages":[{"created_at":1715126198,"message_id":'
    '"77b2cfe2-706e-4749-9507-7b89d555ad8a"}]}')
MESSAGES = (
    '{"thread_id":"fc4a58e8-1410-4684-b473-066eabeca000","messages":[{"message_id":"77b2cfe2-706e-4749-9507-7b89d555ad8a",'
    '"role":"user","content":"Какой окрас кота?","attachments":[{"file_id":"7ec30261-5360-4b12-9e9f-408bc481db51",'
    '"name":"a.txt"}],"created_at":1715126198,"model":"GigaChat-Pro"},{"message_id":'
    '"de208428-3d4a-47f4-a4e3-a81a98e3cfeb","role":"assistant","content":"Табби.","created_at":1715126200,'
    '"finish_reason":"stop","model":"GigaChat-Pro"}]}')
LOOK = MESSAGES.replace('{"thread_id"', '{"status":"ready","updated_at":1715126200,"model":"GigaChat-Pro","thread_id"')
RUN = '{"status":"in_progress","thread_id":"fc4a58e8-1410-4684-b473-066eabeca000","created_at":1715126198}'
DONE_RUN = (
    '{"object":"threads.messages.run","model":"GigaChat-Pro:2.2.25.3","thread_id":"b549e2ec-a691-409d-aa6f-ff6a1271db47",'
    '"message_id":"4c600221-1aaa-4c9d-9edb-572e465f4ee8","created":1715686918,"usage":{"prompt_tokens":12,'
    '"completion_tokens":15,"total_tokens":27},"message":{"content":"Здравствуйте!","role":"assistant"},'
    '"finish_reason":"stop"}')
STREAM_RUN = """data: {"choices":[{"delta":{"content":"Здравствуйте! Я GigaChat, генеративная языковая модель. Готова ответить на ваши","role":"assistant"},"index":0}],"created":1715684408,"model":"GigaChat-Pro:2.2.25.3","object":"threads.messages.run","usage":{"prompt_tokens":64,"completion_tokens":23,"total_tokens":87},"thread_id":"9b1cc6d9-0eeb-46de-b01f-6f74c9a82df7","message_id":"fd753d3f-f1f5-498f-b5dd-da380607d470"}

data: {"choices":[{"delta":{"content":" вопросы. Чем могу вам помочь?"},"index":0,"finish_reason":"stop"}],"created":1715684409,"model":"GigaChat-Pro:2.2.25.3","object":"threads.messages.run","usage":{"prompt_tokens":0,"completion_tokens":8,"total_tokens":8},"thread_id":"9b1cc6d9-0eeb-46de-b01f-6f74c9a82df7","message_id":"fd753d3f-f1f5-498f-b5dd-da380607d470"}

data: [DONE]

"""  # noqa: E501


# ---- What the SDK makes of it


class Official:
    """The official SDK beside an emulator, called either way; a client takes 50 ms to make, so one serves all."""

    def __init__(self, emulator, **settings):
        self.emulator, self._loop, self._clients = emulator, asyncio.new_event_loop(), []
        self._usual, self._settings = None, settings

    async def _make(self, settings):
        from gigachat import GigaChat

        self._clients.append(GigaChat(**settings))
        return self._clients[-1]

    def client(self, **settings):
        """Make a client; its locks want a running loop."""
        key = {} if {"user", "access_token"} & set(settings) else {"credentials": self.emulator.credentials}
        addresses = {"base_url": self.emulator.base_url, "auth_url": self.emulator.auth_url}
        return self._loop.run_until_complete(self._make({**addresses, "model": "GigaChat", **key, **settings}))

    @property
    def usual(self):
        """Make the client of all rows in the first, where the environment is clean."""
        self._usual = self._usual or self.client(**self._settings)
        return self._usual

    def fill(self, value):
        """Put the id of a new file where a row has `FILE_ID`."""
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if value == FILE_ID:
            return self.usual.upload_file(TEXT_FILE).id_
        if value == ASSISTANT_ID:
            return self.usual.assistants.create("GigaChat-Pro", *self.fill(list(LONELY))).assistant_id
        if value == THREAD_ID:
            return self.usual.threads.add_messages(messages=["2 + 2"]).thread_id
        if value == RUN_ID:
            asked = {"role": "user", "content": "Какой окрас кота?", "attachments": [self.fill(FILE_ID)]}
            return self.usual.threads.run_messages([asked], model="GigaChat-Pro").thread_id
        if value == ASSISTED:
            assistant = self.fill(ASSISTANT_ID)
            assert self.usual.threads.run_messages(["2 + 2"], assistant_id=assistant).finish_reason == "stop"
            return assistant
        return value

    def ask(self, kind, method, *args, client=None, **options):
        """Call a method by its synchronous name; of a stream return the list of its chunks."""
        room, _, name = method.rpartition(".")
        names = {"": "a" + name, "chat": "achat." + name}.get(room, f"a_{room}.{name}") if kind == "async" else method
        made = functools.reduce(getattr, names.split("."), client or self.usual)(*args, **options)
        if kind == "sync":
            return list(made) if method.endswith("stream") else made
        return self._loop.run_until_complete(collect(made) if method.endswith("stream") else made)

    def run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    def serve(self, method, body):
        """Script the service's own answer, with the headers that it was recorded with and none of the emulator's."""
        headers = dict.fromkeys(["Date", "Allow", "X-Content-Type-Options", "X-Frame-Options", "X-Client-ID"])
        headers.update({"X-Request-Id": str(uuid.uuid4()), "X-Session-Id": str(uuid.uuid4())})
        headers["Content-Type"] = "application/json; charset=utf-8"
        if body is OAUTH:
            headers.update({"X-Request-Id": None, "X-Session-Id": None, "Content-Type": "application/json"})
        path = {OAUTH: "/oauth", TOKEN: "/token"}.get(body)
        if method.endswith("stream"):
            headers["Content-Type"] = "text/event-stream"
            self.emulator.enqueue(200, headers, events=[body.encode()])
        else:
            self.emulator.enqueue(200, headers, body, path=path)

    def close(self):
        for client in self._clients:
            self.run(client.aclose())
        self.run(self._loop.shutdown_asyncgens())
        self._loop.close()


async def collect(chunks):
    return [chunk async for chunk in chunks]


@pytest.fixture(scope="module")
def beside():
    pytest.importorskip("gigachat")
    with Emulator() as emulator, contextlib.closing(Official(emulator)) as official:
        yield official


@pytest.fixture
def official(beside):
    """Lend the SDK to one test, which may leave no script to the next."""
    yield beside
    beside.emulator.check()


WORDS = {
    "role", "object_", "finish_reason", "index", "name", "purpose", "access_policy", "deleted", "owned_by", "model"}


def form(value, name=""):
    """Return what is seen of a value beside its content.

    That is types, which fields were sent at all, the protocol's own words, and lists without what repeats itself; of a
    text that is JSON it is the form of that.
    """
    if isinstance(value, str) and value.startswith("{"):
        return form(json.loads(value))
    fields = getattr(type(value), "model_fields", None)
    if fields is not None:
        sent = {n: form(getattr(value, n), n) if n in value.model_fields_set else "not sent" for n in fields}
        return type(value).__name__, sent
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [first for first, _ in itertools.groupby(map(form, value))]
    kind = None if value is None else type(value).__name__
    return (kind, re.sub(r"-[^:]*|(?<=:).*", "", str(value))) if name in WORDS else kind  # of a model: which, versioned


def row(about, method, *args, body, source="recorded"):
    return pytest.param(method, args, body, id=f"{about}, {source}")


ROWS = [
    row("models", "get_models", body=MODELS),
    row("model", "get_model", "GigaChat", body=MODEL),
    row("chat", "chat", "Count from 1 to 3", body=CHAT),
    row("dialogue", "chat", say("Меня зовут Анна", "Очень приятно!", "Как меня зовут?"), body=CHAT),
    row("system", "chat", say(SYSTEM, {"role": "user", "content": "2 + 2?"}), body=CHAT),
    row("every setting", "chat", EVERYTHING, body=CHAT),
    row("max_tokens", "chat", say("Расскажи о Байкале", max_tokens=3), body=CUT, source="expected"),
    row("n", "chat", say("Расскажи о Байкале", n=2), body=TWO, source="expected"),
    row("response_format", "chat", say("Ответь: ok, 3", response_format=JSON_SCHEMA), body=REPLY),
    row("response_format text", "chat", say("2 + 2", response_format={"type": "text"}), body=CHAT),
    row("function call", "chat", ASKING, body=CALL, source="documented"),
    row("forced call", "chat", dict(ASKING, function_call={"name": "weather_forecast"}), body=CALL,
        source="documented"),
    row("function result", "chat", say(CITY, CALLING, RESULT, functions=[WEATHER]), body=CHAT, source="expected"),
    row("attachment", "chat", say({"role": "user", "content": "О чём это?", "attachments": [FILE_ID]},
                                  function_call="auto"), body=READ, source="expected"),
    row("picture", "chat", say("Нарисуй кота", function_call="auto"), body=DRAWN, source="documented"),
    row("stream", "stream", "Расскажи о Байкале", body=STREAM),
    row("stream, slower", "stream", say("Расскажи о Байкале", update_interval=0.1), body=STREAM),
    row("stream, max_tokens", "stream", say("Расскажи о Байкале", max_tokens=20), body=STREAM_CUT, source="expected"),
    row("stream, function call", "stream", ASKING, body=STREAM_CALL, source="expected"),
    row("embeddings", "embeddings", ["раз"], body=EMBEDDINGS),
    row("tokens_count", "tokens_count", TEXTS, body=COUNTS),
    row("upload", "upload_file", TEXT_FILE, body=FILE, source="documented"),
    row("files", "get_files", body=FILES, source="documented"),
    row("file", "get_file", FILE_ID, body=FILE, source="documented"),
    row("content", "get_image", FILE_ID, body="\x00\xff", source="documented"),
    row("delete", "delete_file", FILE_ID, body=DELETED, source="documented"),
    row("balance", "get_balance", body=BALANCE, source="documented"),
    row("convert", "openapi_function_convert", json.dumps(OPENAPI), body=FUNCTIONS, source="documented"),
    row("v2", "chat.create", "Count from 1 to 3", body=REPLY2),
    row("v2 dialogue", "chat.create", say("Меня зовут Анна", "Очень приятно!", "Как меня зовут?"), body=REPLY2),
    row("v2 settings", "chat.create", EVERYTHING2, body=REPLY2),
    row("v2 schema", "chat.create", say("Ответь: ok, 3", response_format=JSON_SCHEMA), body=REPLY2.replace(
        "Hi.", r"{\"answer\":\"ok\",\"n\":3}")),
    row("v2 regex", "chat.create", say("Номер?", response_format={"type": "regex", "regex": r"[A-Z]{3}-\d{4}"}),
        body=REPLY2.replace("Hi.", "TKT-2023")),
    row("v2 function call", "chat.create", ASKING2, body=CALL2),
    row("v2 forced call", "chat.create", dict(ASKING2, tool_config={"mode": "forced", "function_name": "getWeather"}),
        body=CALL2),
    row("v2 function result", "chat.create", dict(ASKING2, messages=ASKING2["messages"] + ANSWERED2, model="GigaChat"),
        body=REPLY2),
    row("v2 picture", "chat.create", say("Нарисуй кота", tools=["image_generate"]), body=DRAWN2, source="documented"),
    row("v2 search", "chat.create", SEARCHING2, body=FOUND2.replace("3-Ultra:32.3.18.5", "3-Lightning")),
    row("v2 page", "chat.create", say("Что на https://docs.python.org/ ?", tools=[{"url_content_extraction": {}}]),
        body=STATED2),
    row("v2 file", "chat.create", say({"role": "user", "content": [{"text": "О чём?"}, {"files": [{"id": FILE_ID}]}]}),
        body=REPLY2, source="expected"),
    row("v2 stream", "chat.stream", "Расскажи о Байкале", body=STREAM2),
    row("v2 stream, search", "chat.stream", SEARCHING2, body=FOUND_STREAM2),
    row("v2 stream, function call", "chat.stream", ASKING2, body=CALL_STREAM2, source="expected"),
    row("assistants", "assistants.get", ASSISTANT_ID, body=ASSISTANTS, source="expected"),
    row("new assistant", "assistants.create", "GigaChat", *LONELY, body=NEW_ASSISTANT, source="expected"),
    row("changed assistant", "assistants.update", ASSISTANT_ID, "lonely", body=ASSISTANT, source="expected"),
    row("no assistant", "assistants.delete", ASSISTANT_ID, body=NO_ASSISTANT, source="expected"),
    row("threads", "threads.list", [ASSISTED], 2, body=THREADS.replace('"created', '"assistant_id":"1","created', 1),
        source="expected"),
    row("new thread", "threads.create_thread", body=THREAD, source="expected"),
    row("some threads", "threads.retrieve", [THREAD_ID, THREAD_ID], body=THREADS, source="expected"),
    row("no thread", "threads.delete", THREAD_ID, body="", source="expected"),
    row("messages", "threads.get_messages", RUN_ID, body=MESSAGES, source="expected"),
    row("new message", "threads.add_message", THREAD_ID, "Сиамский?", body=ADDED, source="expected"),
    row("new messages", "threads.add_messages", None, ["Чей кот?", "Сиамский?"], body=ADDED, source="expected"),
    row("run", "threads.run", THREAD_ID, body=RUN, source="expected"),
    row("run of an assistant", "threads.run", THREAD_ID, ASSISTANT_ID, body=RUN, source="expected"),
    row("result of a run", "threads.get_run", RUN_ID, body=LOOK, source="expected"),
    row("question", "threads.run_messages", ["Кто ты?"], None, None, "GigaChat-Pro", body=DONE_RUN, source="expected"),
    row("question again", "threads.rerun_messages", RUN_ID, body=DONE_RUN, source="expected"),
    row("stream of a run", "threads.run_stream", THREAD_ID, body=STREAM_RUN, source="expected"),
    row("stream of a question", "threads.run_messages_stream", ["2 + 2"], THREAD_ID, body=STREAM_RUN,
        source="expected"),
    row("stream again", "threads.rerun_messages_stream", THREAD_ID, body=STREAM_RUN, source="expected"),
]


# Both kinds of a method send the same and decode with the same classes; of the async ones some show that every time.
@crossed("kind, method, args, body", ["sync", "async"], ROWS, often=lambda kind, method, args, body: (
    kind == "sync" or "stream" in method or method in ("chat", "chat.create", "get_image", "upload_file", "get_files")))
def test_the_official_sdk_decodes_the_emulators_answers(official, kind, method, args, body):
    ours = official.ask(kind, method, *official.fill(list(args)))
    args = official.fill(list(args))  # a new file, and before there is a script
    official.serve(method, body)
    assert form(ours) == form(official.ask(kind, method, *args))


@KINDS
@pytest.mark.parametrize(("login", "body"), [
    pytest.param({}, OAUTH, id="key, recorded"),
    pytest.param({"user": Emulator.user, "password": Emulator.password}, TOKEN, id="password, recorded"),
])
def test_the_official_sdk_logs_in(official, kind, login, body):
    login = {"verify_ssl_certs": False, **login}  # there is nothing to verify, and this is faster
    client = official.client(**login)
    ours = official.ask(kind, "get_token", client=client)
    assert ours.access_token and official.ask(kind, "chat", "2 + 2", client=client).usage.total_tokens
    official.serve("get_token", body)
    theirs = official.ask(kind, "get_token", client=official.client(**login))
    assert form(ours) == form(theirs) and theirs.access_token == "x"
    assert len(str(ours.expires_at)) == len(str(theirs.expires_at))  # milliseconds of OAuth, seconds of a login


@KINDS
@pytest.mark.parametrize("wish", [
    "auto", pytest.param({"name": "weather_forecast", "partial_arguments": {"location": "Бийск"}}, id="forced")])
def test_a_function_is_called_and_its_result_used(official, kind, wish):
    from gigachat.models import Chat, Messages

    chat = Chat(messages=[Messages(role="user", content=CITY)], functions=[WEATHER], function_call=wish)
    choice = official.ask(kind, "chat", chat).choices[0]
    assert (choice.finish_reason, choice.message.function_call.name) == ("function_call", "weather_forecast")
    asked = choice.message.function_call.arguments
    if wish != "auto":
        assert asked["location"] == "Бийск"
    result = json.dumps({"forecast": "плюс 23, ясно"}, ensure_ascii=False)
    chat.messages += [choice.message, Messages(role="function", name="weather_forecast", content=result)]
    chat.function_call = "auto"
    for chunk in official.ask(kind, "stream", chat):
        assert chunk.choices[0].delta.function_call is None
    said = official.ask(kind, "chat", chat).choices[0]
    assert said.finish_reason == "stop" and "плюс 23" in said.message.content


@KINDS
def test_an_answer_of_a_schema_becomes_a_model(official, kind):
    from gigachat.exceptions import LengthFinishReasonError
    from pydantic import BaseModel

    class Step(BaseModel):
        text: str
        done: bool

    class Plan(BaseModel):
        title: str
        hours: float
        steps: list[Step]

    completion, plan = official.ask(kind, "chat_parse", "Как испечь хлеб?", response_format=Plan)
    assert isinstance(plan, Plan) and plan.title and completion.choices[0].finish_reason == "stop"
    with pytest.raises(LengthFinishReasonError):
        official.ask(kind, "chat_parse", say("Как испечь хлеб?", max_tokens=3), response_format=Plan)


@KINDS
def test_a_v2_answer_of_a_schema_becomes_a_model(official, kind):
    from gigachat.exceptions import LengthFinishReasonError
    from pydantic import BaseModel

    class Plan(BaseModel):
        title: str
        hours: int

    completion, plan = official.ask(kind, "chat.parse", "Как испечь хлеб?", response_format=Plan)
    assert isinstance(plan, Plan) and plan.title and completion.finish_reason == "stop"
    with pytest.raises(LengthFinishReasonError):
        official.ask(kind, "chat.parse", say("Как испечь хлеб?", model_options={"max_tokens": 3}), response_format=Plan)


@KINDS
@pytest.mark.parametrize(("method", "payload"), [
    pytest.param("chat", say("Нарисуй розового кота", function_call="auto"), id="v1"),
    pytest.param("chat.create", say("Нарисуй розового кота", tools=["image_generate"]), id="v2")])
def test_a_picture_is_drawn_and_fetched(official, kind, method, payload):
    answer = official.ask(kind, method, payload)
    if method == "chat":
        found = re.match(r'<img src="([0-9a-f-]{36})" fuse="true"/> вот', answer.choices[0].message.content).group(1)
    else:
        found = answer.messages[0].content[0].files[0].id_
    data = base64.b64decode(official.ask(kind, "get_image", found).content)
    assert data[:3] == b"\xff\xd8\xff" and data[-2:] == b"\xff\xd9" and len(data) > 300
    assert official.ask(kind, "get_file", found).bytes_ == len(data)


@KINDS
def test_a_text_is_checked_for_paying_accounts(kind):
    pytest.importorskip("gigachat")
    settings = {"scope": "GIGACHAT_API_CORP", "verify_ssl_certs": False}
    text = "Коротко и ясно. " * 5 + "Тут же написано так длинно и складно, что это могла сочинить только машина."
    with Emulator(scope=settings["scope"]) as emulator, contextlib.closing(Official(emulator, **settings)) as official:
        ours = official.ask(kind, "check_ai", text, "GigaCheckDetection")
        official.serve("check_ai", AI_CHECK)
        assert form(ours) == form(official.ask(kind, "check_ai", text, "GigaCheckDetection"))
        assert (ours.category, ours.characters, len(ours.ai_intervals)) == ("mixed", len(text), 1)
        refuses(official, kind, "get_balance", error="ForbiddenError", status=403,
                body='{"status":403,"message":"Permission denied"}')


@KINDS
def test_a_thread_goes_on_and_its_stream_adds_up(official, kind):
    first = official.ask(kind, "threads.run_messages", ["Меня зовут Анна"], model="GigaChat-Pro")
    chunks = official.ask(kind, "threads.run_messages_stream", ["Как меня зовут?"], first.thread_id)
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "Вас зовут Анна."
    listed = official.ask(kind, "threads.get_messages", first.thread_id)
    assert [m.role for m in listed.messages] == ["user", "assistant"] * 2
    assert listed.messages[-1].message_id == chunks[0].message_id != first.message_id
    again = official.ask(kind, "threads.rerun_messages", first.thread_id)
    assert again.message.content != "Вас зовут Анна." and again.thread_id == first.thread_id
    assert len(official.ask(kind, "threads.get_messages", first.thread_id, 3).messages) == 3
    usage = again.usage
    streamed = official.ask(kind, "threads.rerun_messages_stream", first.thread_id)
    assert sum(chunk.usage.prompt_tokens for chunk in streamed) == usage.prompt_tokens
    assert all(c.usage.total_tokens == c.usage.prompt_tokens + c.usage.completion_tokens for c in streamed)
    assert official.ask(kind, "threads.delete", first.thread_id) is True
    refuses(official, kind, "threads.get_run", first.thread_id, error="NotFoundError", status=404)


@KINDS
def test_the_same_words_however_they_are_asked_for(official, kind):
    question = "Какие факторы влияют на стоимость страховки на дом?"
    plain = official.ask(kind, "chat", question)
    chunks = official.ask(kind, "stream", question)
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == plain.choices[0].message.content
    assert chunks[-1].usage == plain.usage and len(chunks) > 5
    slower = official.ask(kind, "stream", say(question, update_interval=0.2))
    assert 2 < len(slower) < len(chunks)
    assert "".join(chunk.choices[0].delta.content for chunk in slower) == plain.choices[0].message.content


@KINDS
def test_ids_come_back_to_the_official_sdk(official, kind):
    from gigachat import context

    usual = official.usual  # made outside the loop that it wants

    async def ask():
        names = {"session_id_cvar": "s-1", "request_id_cvar": "r-1", "client_id_cvar": "c-1"}
        for name, value in names.items():
            getattr(context, name).set(value)
        return usual.chat("2 + 2") if kind == "sync" else await usual.achat("2 + 2")

    headers = official.run(ask()).x_headers  # a task has its own context, so that no variable outlives it
    assert (headers["x-session-id"], headers["x-request-id"]) == ("s-1", "r-1")


@KINDS
def test_a_file_lives_until_it_is_deleted(official, kind):
    data = bytes(range(256))
    file = official.ask(kind, "upload_file", ("рисунок.png", data, "image/png"))
    assert (file.filename, file.bytes_, file.purpose) == ("рисунок.png", 256, "general")
    assert official.ask(kind, "get_file", file.id_).model_copy(update={"x_headers": None}) == file.model_copy(
        update={"x_headers": None})
    assert file.id_ in [each.id_ for each in official.ask(kind, "get_files").data]
    assert base64.b64decode(official.ask(kind, "get_image", file.id_).content) == data
    assert official.ask(kind, "delete_file", file.id_).deleted is True
    assert file.id_ not in [each.id_ for each in official.ask(kind, "get_files").data]
    refuses(official, kind, "get_file", file.id_, error="NotFoundError", status=404)


# ---- HTTPS


TLS_CALLS = [
    ("get_token",), ("get_models",), ("chat", "2 + 2"), ("stream", "2 + 2"), ("embeddings", ["раз"]),
    ("upload_file", TEXT_FILE)]


@KINDS
@pytest.mark.parametrize("client_cert", ["none", "required"])
@pytest.mark.filterwarnings("ignore:`verify=<str>`:DeprecationWarning")  # as the SDK calls httpx
def test_the_official_sdk_over_tls(kind, client_cert):
    pytest.importorskip("trustme")
    pytest.importorskip("gigachat")
    with Emulator(tls=True, client_cert=client_cert, auth_client_cert="none") as emulator, contextlib.closing(
            Official(emulator)) as official:
        settings = {"ca_bundle_file": emulator.ca_bundle_file}
        if client_cert == "required":  # httpx forgets a certificate beside a bundle, so that a context has to carry it
            context = ssl.create_default_context(cafile=emulator.ca_bundle_file)
            context.load_cert_chain(emulator.client_cert_file, emulator.client_key_file)
            settings = {"ssl_context": context}
            bare = official.client(**settings, credentials=None)
            assert official.ask(kind, "chat", "2 + 2", client=bare)  # the certificate speaks for its owner
            assert "authorization" not in emulator.requests[-1].headers
        client = official.client(**settings)
        for method, *args in TLS_CALLS:
            assert official.ask(kind, method, *args, client=client)
        assert emulator.url.startswith("https://") and {r.sni for r in emulator.requests} <= {"localhost", None}


# ---- Errors, as the SDK raises them


def refuses(official, kind, method, *args, error, status, body=None, client=None):
    """Expect an error of the SDK; of a message that ends with "…" the rest is not known."""
    import gigachat.exceptions

    with pytest.raises(gigachat.exceptions.ResponseError) as caught:
        official.ask(kind, method, *args, client=client)
    assert (type(caught.value).__name__, caught.value.status_code) == (error, status)
    if body is not None and body.endswith("…"):
        assert caught.value.content.decode().startswith(body[:-1])
    elif body is not None:
        assert caught.value.content.decode() == body + "\n"
    return caught.value


def error_row(about, error, status, message, method, *args):
    body = None if message is None else compact({"status": status, "message": message}).decode()
    if message is not None and message.endswith("…"):
        body = body.partition("…")[0] + "…"
    return pytest.param(method, args, error, status, body, id=about)


NO_MODEL = ("NotFoundError", 404, "No such model")
INVALID = ("UnprocessableEntityError", 422)
NO_RESULT = "Invalid params: every assistant function call must have a result in history"
NO_CALL = "Invalid params: every assistant function result must have an assistant function call in history"
NAMES = ("Invalid params: Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), dot (.) "
         "and digits (not leading) are allowed.: […")
ERRORS = [
    error_row("model in chat", *NO_MODEL, "chat", say("а", model="Nope")),
    error_row("model in stream", *NO_MODEL, "stream", say("а", model="Nope")),
    error_row("model", *NO_MODEL, "get_model", "Nope"),
    error_row("model of embeddings", *NO_MODEL, "embeddings", ["а"], "GigaChat"),
    error_row("model of tokens_count", "ResponseError", 404, "No such model", "tokens_count", ["а"], "Nope"),
    error_row("late system", *INVALID, "Invalid params: system message must be the first message",
              "chat", say("а", SYSTEM)),
    error_row("call without a result", *INVALID, NO_RESULT, "chat", say("а", CALLING, "б")),
    error_row("result without a call", *INVALID, NO_CALL, "chat", say("а", RESULT)),
    error_row("result that is no JSON", *INVALID, "INVALID_PARAMS: invalid function result for function…",
              "chat", say(CITY, CALLING, dict(RESULT, content="тепло"), functions=[WEATHER])),
    error_row("repetition_penalty", *INVALID, "Invalid params: repetition_penalty must be in range (0, +inf)",
              "stream", say("а", repetition_penalty=0)),
    error_row("names of functions", *INVALID, NAMES, "chat", say("а", functions=[dict(WEATHER, name="погода")])),
    error_row("unknown type", "BadRequestError", 400, 'Unknown type "json_object" in response_format', "chat",
              say("а", response_format={"type": "json_object"})),
    error_row("attachment", *INVALID, None, "chat", say(
        {"role": "user", "content": "а", "attachments": [str(uuid.UUID(int=7, version=4))]})),
    error_row("no such file", "NotFoundError", 404, None, "get_file", str(uuid.UUID(int=7, version=4))),
    error_row("text to judge", "ForbiddenError", 403, "Permission denied", "check_ai", "а", "GigaCheckDetection"),
    error_row("v2 model", *NO_MODEL, "chat.create", say("а", model="Nope")),
    error_row("v2 model of a stream", *NO_MODEL, "chat.stream", say("а", model="Nope")),
    error_row("v2 tool", "NotFoundError", 404, "Unknown tool nope", "chat.create", say("а", tools=[{"nope": {}}])),
    error_row("v2 interpreter", *INVALID, "Tool code_interpreter is unavailable", "chat.create",
              say("а", tools=["code_interpreter"])),
    error_row("v2 type", "BadRequestError", 400, 'Unknown type "json_object" in response_format', "chat.create",
              say("а", response_format={"type": "json_object"})),
    error_row("v2 schema", "BadRequestError", 400, "Empty schema with json format type is not supported", "chat.stream",
              say("а", response_format={"type": "json_schema"})),
    error_row("v2 call without a result", *INVALID, NO_RESULT, "chat.create", dict(
        ASKING2, messages=ASKING2["messages"] + ANSWERED2[:1])),
    error_row("v2 result without a call", *INVALID, NO_CALL, "chat.create", dict(
        ASKING2, messages=ASKING2["messages"] + ANSWERED2[1:])),
    error_row("v2 result that is no JSON", "BadRequestError", 400,
              "invalid function result for function getWeather json string тепло, error: JSON parse error…",
              "chat.create", dict(ASKING2, messages=ASKING2["messages"] + ANSWERED2[:1] + [
                  {"role": "tool", "content": [{"function_result": {"name": "getWeather", "result": "тепло"}}]}])),
    error_row("no such assistant", "NotFoundError", 404, None, "assistants.get", "x"),
    error_row("no such thread", "NotFoundError", 404, None, "threads.get_messages", "x"),
    error_row("no such thread to run", "NotFoundError", 404, None, "threads.run_stream", "x"),
]


@crossed("kind, method, args, error, status, body", ["sync", "async"], ERRORS, often=lambda kind, method, *rest: (
    kind == "sync" or "stream" in method or method == "chat"))
def test_the_official_sdk_raises_the_same_errors(official, kind, method, args, error, status, body):
    raised = refuses(official, kind, method, *args, error=error, status=status, body=body)
    assert {"x-request-id", "x-session-id"} <= set(raised.headers)


@KINDS
@pytest.mark.parametrize(("settings", "error", "status", "body"), [
    pytest.param({"credentials": base64.b64encode(b"a:b").decode()}, "AuthenticationError", 401,
                 '{"code":6,"message":"credentials doesn\'t match db data"}', id="wrong key"),
    pytest.param({"credentials": "не ключ".encode().hex() + "?"}, "BadRequestError", 400,
                 '{"code":4,"message":"Can\'t decode \'Authorization\' header"}', id="no key"),
    pytest.param({"scope": "GIGACHAT_API_CORP"}, "BadRequestError", 400,
                 '{"code":7,"message":"scope from db not fully includes consumed scope"}', id="other scope"),
    pytest.param({"scope": "GIGACHAT_API"}, "BadRequestError", 400,
                 '{"code":1,"message":"scope data format invalid"}', id="no scope"),
    pytest.param({"user": Emulator.user, "password": "wrong"}, "AuthenticationError", 401,
                 '{"status":401,"message":"Unauthorized"}', id="wrong password"),
    pytest.param({"access_token": "wrong"}, "AuthenticationError", 401,
                 '{"status":401,"message":"Unauthorized"}', id="wrong token"),
])
def test_strangers_stay_out(official, kind, settings, error, status, body):
    client = official.client(**settings, verify_ssl_certs=False)
    refuses(official, kind, "chat", "а", error=error, status=status, body=body, client=client)


@KINDS
@pytest.mark.parametrize("method", ["chat", "stream", "get_models", "embeddings"])
def test_the_official_sdk_renews_a_token_that_has_expired(official, kind, method):
    args = {"get_models": [], "embeddings": [["а"]]}.get(method, ["а"])
    old = official.ask(kind, "get_token")
    official.emulator.expire_tokens()
    del official.emulator.requests[:]
    assert official.ask(kind, method, *args)
    paths = [request.path.rpartition("/")[2] for request in official.emulator.requests]
    assert len(paths) == 3 and paths[1] == "oauth" and paths[0] == paths[2]
    assert official.ask(kind, "get_token").access_token != old.access_token
    del official.emulator.requests[:]
    official.emulator.expire_tokens()
    bare = official.client(access_token=old.access_token, verify_ssl_certs=False)
    refuses(official, kind, method, *args, client=bare, error="AuthenticationError", status=401,
            body='{"status":401,"message":"Token has expired"}')


@KINDS
@pytest.mark.parametrize(("scope", "places", "method"), [
    ("GIGACHAT_API_PERS", 1, "chat"), ("GIGACHAT_API_CORP", 10, "stream")])
@pytest.mark.long
def test_generations_at_a_time(kind, scope, places, method):
    """A stream that was begun and not read holds a place; of the emulator's own pauses none comes to its end."""
    pytest.importorskip("gigachat")
    settings = {"scope": scope, "verify_ssl_certs": False}
    with Emulator(scope=scope, chunk_delay=60) as emulator, contextlib.closing(
            Official(emulator, **settings)) as official:
        async def take(streams):
            for stream in streams:
                next(stream) if kind == "sync" else await stream.__anext__()

        async def leave(streams):
            for stream in streams:
                stream.close() if kind == "sync" else await stream.aclose()

        begin = official.usual.stream if kind == "sync" else official.usual.astream
        streams = [begin("а") for _ in range(places)]
        official.run(take(streams))
        refuses(official, kind, method, "а", error="RateLimitError", status=429,
                body='{"status":429,"message":"Too many requests"}')
        assert official.ask(kind, "get_models") and official.ask(kind, "tokens_count", ["а"])  # these take no place
        official.run(leave(streams[:1]))
        assert official.ask(kind, "chat", "а").choices
        official.run(leave(streams[1:]))


# ---- Without the SDK: the bytes themselves


API_HEADERS = {"Server", "Date", "Allow", "X-Request-Id", "X-Session-Id", "X-Content-Type-Options", "X-Frame-Options",
               "Content-Type", "Connection"}
OAUTH_HEADERS = {"Server", "Cache-Control", "Content-Type", "Connection"}


@pytest.fixture(scope="module")
def caller():
    with Emulator() as emulator, Caller(emulator) as caller:
        yield caller.log_in()


def upload(caller, filename="a.txt", mime="text/plain", data=TEXT_FILE[1], **headers):
    """Upload as a form of two parts, the way of every client."""
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: {mime}\r\n\r\n'
    parts = [b'Content-Disposition: form-data; name="purpose"\r\n\r\ngeneral\r\n', head.encode() + data + b"\r\n"]
    body = b"".join(b"--x\r\n" + part for part in parts) + b"--x--\r\n"
    return caller.ask("POST", "/v1/files", body, Content_Type="multipart/form-data; boundary=x", **headers)


def check_headers(answer, names, content_type):
    """Expect each header once, of these names alone, in this very spelling."""
    assert sorted(name for name, _ in answer.pairs) == sorted(names)
    assert answer.headers["content-type"] == content_type


CHATS = "/api/v1/chat/completions"


def chat(*texts, **fields):
    return {"model": "GigaChat", **say(*texts, **fields)}


BODIES = [
    pytest.param("GET", "/v1/models", None, MODELS, id="models, recorded"),
    pytest.param("POST", CHATS, chat("Count from 1 to 3"), CHAT, id="chat, recorded"),
    pytest.param("POST", CHATS, chat("Ответь: ok, 3", response_format=JSON_SCHEMA), REPLY, id="schema, recorded"),
    pytest.param("POST", CHATS, chat(CITY, functions=[WEATHER], function_call="auto"), CALL, id="call, documented"),
    pytest.param("POST", CHATS, chat("Привет!", n=4), TWO, id="n, expected"),
    pytest.param("POST", "/v1/files", TEXT_FILE, FILE, id="upload, documented"),
    pytest.param("GET", "/v1/files", None, FILES, id="files, documented"),
    pytest.param("GET", "/v1/files/" + FILE_ID, None, FILE, id="file, documented"),
    pytest.param("POST", f"/v1/files/{FILE_ID}/delete", b"", DELETED, id="delete, documented"),
]


@pytest.mark.parametrize(("method", "path", "body", "theirs"), BODIES)
def test_bodies_have_the_bytes_of_the_service(caller, method, path, body, theirs):
    if "/files" in path:
        file = upload(caller)
        path = path.replace(FILE_ID, file.json["id"])
    answer = file if body is TEXT_FILE else caller.ask(method, path, body)
    assert answer.status == 200
    check_headers(answer, API_HEADERS | {"Content-Length"}, "application/json; charset=utf-8")
    assert answer.content == compact(answer.json) and answer.headers["content-length"] == str(len(answer.content))
    assert shape(answer.json) == shape(json.loads(theirs))
    if theirs is MODELS:
        assert answer.content.decode() == MODELS
    if theirs is REPLY:
        text = answer.json["choices"][0]["message"]["content"]
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=4)
        assert shape(json.loads(text)) == [("answer", "str"), ("n", "int")]


def test_every_choice_has_its_index_and_its_words(caller):
    answer = caller.ask("POST", CHATS, chat("Расскажи о Байкале", n=4)).json
    one = caller.ask("POST", CHATS, chat("Расскажи о Байкале")).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert {str(shape(choice)) for choice in answer["choices"]} == {str(shape(json.loads(CHAT)["choices"][0]))}
    assert answer["choices"][0] == one["choices"][0]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1
    assert answer["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] > 3 * one["usage"]["completion_tokens"]


def test_a_call_has_its_own_state(caller):
    answers = [caller.ask("POST", CHATS, {"model": "GigaChat", **ASKING}) for _ in range(2)]
    messages = [answer.json["choices"][0]["message"] for answer in answers]
    assert [uuid.UUID(message.pop("functions_state_id")).variant for message in messages] == [uuid.RFC_4122] * 2
    assert messages[0] == messages[1] and "Манжерок".encode() in answers[0].content  # letters, and not escapes
    assert answers[0].json["choices"][0]["message"]["functions_state_id"] != answers[1].json[
        "choices"][0]["message"]["functions_state_id"]


def test_content_comes_as_it_was_sent(caller):
    data = bytes(range(256)) + b"\n"
    for mime in ("image/png", "text/plain"):
        file = upload(caller, "имя.bin", mime, data).json
        assert (file["filename"], file["bytes"], uuid.UUID(file["id"]).version) == ("имя.bin", 257, 4)
        answer = caller.ask("GET", f"/v1/files/{file['id']}/content", Accept="application/octet-stream")
        assert answer.content == data and answer.headers["content-length"] == "257"
        check_headers(answer, API_HEADERS | {"Content-Length"}, answer.headers["content-type"])
        assert not answer.headers["content-type"].startswith(("text/", "application/json"))


# -- Streams


def events_of(content):
    """Return the parsed events of a stream, whose framing is `data: `, LF alone, and `[DONE]`."""
    assert b"\r" not in content and content.endswith(b"\n\ndata: [DONE]\n\n")
    blocks = content.decode("utf-8").split("\n\n")[:-2]
    assert all(block.startswith("data: {") and "\n" not in block for block in blocks)
    events = [json.loads(block[6:]) for block in blocks]
    assert [b"data: " + compact(event) for event in events] == content.split(b"\n\n")[:-2]
    return events


STREAMS = [
    pytest.param(chat("Расскажи о Байкале"), STREAM, id="plain, recorded"),
    pytest.param(chat("Расскажи о Байкале", update_interval=0.1), STREAM, id="slower, recorded"),
    pytest.param(chat("Расскажи о Байкале", max_tokens=30), STREAM_CUT, id="max_tokens, expected"),
    pytest.param(chat("Напиши рецепт", response_format=JSON_SCHEMA), STREAM, id="schema, expected"),
    pytest.param({"model": "GigaChat", **ASKING}, STREAM_CALL, id="call, expected"),
    pytest.param(chat("Расскажи о Байкале", n=3), STREAM, id="n, expected"),
]


@pytest.mark.parametrize(("body", "theirs"), STREAMS)
def test_streams_have_the_bytes_of_the_service(caller, body, theirs):
    answer = caller.ask("POST", CHATS, dict(body, stream=True), Accept="text/event-stream", Cache_Control="no-store")
    check_headers(answer, API_HEADERS | {"Transfer-Encoding"}, "text/event-stream")
    events, model = events_of(answer.content), events_of(theirs.encode())
    assert ["usage" in event for event in events] == [False] * (len(events) - 1) + [True]
    assert len({str([event[key] for key in ("created", "model", "object")]) for event in events}) == 1
    for index in range(body.get("n", 1)):
        own = [event for event in events if event["choices"][0]["index"] == index]
        deltas = [event["choices"][0]["delta"] for event in own]
        assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
        assert all(type(delta["content"]) is str for delta in deltas) and deltas[-1]["content"] == ""
        reasons = [event["choices"][0].get("finish_reason") for event in own]
        assert reasons == [None] * (len(own) - 1) + [model[-1]["choices"][0]["finish_reason"]]
        last = shape(model[-1])
        assert shape(own[0]) == shape(model[0])
        assert shape(own[-1]) == (last if own[-1] is events[-1] else [pair for pair in last if pair[0] != "usage"])
        assert all(shape(event) == shape(events_of(STREAM.encode())[1]) for event in own[1:-1])


def test_a_stream_of_several_choices_equals_the_answer(caller):
    body = chat("Расскажи о Байкале", n=3)
    plain = caller.ask("POST", CHATS, body).json
    events = events_of(caller.ask("POST", CHATS, dict(body, stream=True)).content)
    texts = ["", "", ""]
    for event in events:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["delta"]["content"]
    assert texts == [choice["message"]["content"] for choice in plain["choices"]]
    assert events[-1]["usage"] == plain["usage"]


def test_head_lines_end_with_crlf_and_events_are_chunks(caller):
    body = compact(chat("Count from 1 to 3", stream=True))
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nUser-Agent: tests\r\nConnection: close\r\n"
            f"Authorization: Bearer {caller.token}\r\nContent-Length: {len(body)}\r\n\r\n")
    with socket.create_connection((caller.emulator.host, caller.emulator.port), 5) as sock:
        sock.sendall(head.encode() + body)
        said = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, rest = said.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK" and all(re.fullmatch(rb"[A-Za-z-]+: [!-~][ -~]*", line) for line in lines[1:])
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[:int(size, 16)])
        assert rest[int(size, 16):int(size, 16) + 2] == b"\r\n"
        rest = rest[int(size, 16) + 2:]
    assert chunks.pop() == b"" and len(chunks) == len(events_of(b"".join(chunks))) + 1
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)


# -- Errors


def raw_error(about, status, message, method="POST", path=CHATS, body=None, **headers):
    return pytest.param(method, path, body, headers, status, message, id=about)


RAW_ERRORS = [
    raw_error("wrong token", 401, "Unauthorized", "GET", "/v1/models", Authorization="Bearer x"),
    raw_error("no token in a chat", 401, "Unauthorized", body=chat("а"), Authorization="Bearer"),
    raw_error("somebody's file", 403, "Access to file '{file}' is denied", "GET", "/v1/files/" + FILE_ID,
              X_Client_ID="other"),
    raw_error("its content", 403, "Access to file '{file}' is denied", "GET", f"/v1/files/{FILE_ID}/content",
              X_Client_ID="other"),
    raw_error("deleting it", 403, "Access to file '{file}' is denied", "POST", f"/v1/files/{FILE_ID}/delete",
              X_Client_ID="other"),
    raw_error("model", 404, "No such model", body=dict(chat("а"), model="GigaChat-9")),
    raw_error("model of a stream", 404, "No such model", body=dict(chat("а", stream=True), model="GigaChat-9")),
    raw_error("call without a result", 422, NO_RESULT, body=chat("а", CALLING, "б")),
    raw_error("result without a call", 422, NO_CALL, body=chat("а", RESULT)),
    raw_error("name of a function", 422, NAMES[:-2] + "[1st, по-русски]", body=chat("а", functions=[
        dict(WEATHER, name=name) for name in ("1st", "по-русски", "so-far_so.good2")])),
    raw_error("json_object", 400, 'Unknown type "json_object" in response_format',
              body=chat("а", response_format={"type": "json_object"})),
    raw_error("no schema", 400, "Empty schema with json format type is not supported",
              body=chat("а", response_format={"type": "json_schema"})),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "message"), RAW_ERRORS)
def test_errors_have_the_bytes_of_the_service(caller, method, path, body, headers, status, message):
    if FILE_ID in path:
        file = upload(caller, X_Client_ID="mine").json["id"]
        path, message = path.replace(FILE_ID, file), message.replace(FILE_ID, file)
    answer = caller.ask(method, path, body, **headers)
    assert (answer.status, answer.content) == (status, compact({"status": status, "message": message}) + b"\n")
    check_headers(answer, API_HEADERS | {"Content-Length"}, "application/json; charset=utf-8")
    assert answer.headers["content-length"] == str(len(answer.content))


def test_the_recorded_error_has_its_recorded_length(caller):
    answer = caller.ask("GET", "/api/v1/models/Nope")
    assert answer.headers["content-length"] == "41" and answer.content.endswith(b"}\n")


def test_too_many_at_a_time_is_a_plain_429():
    with Emulator(chunk_delay=60) as emulator, Caller(emulator) as first, Caller(emulator) as second:
        second.token = first.log_in().token
        body = chat("Расскажи о Байкале", stream=True)
        headers = {"Authorization": "Bearer " + first.token, "User-Agent": "tests"}
        first.connection.request("POST", CHATS, compact(body), headers)
        first.connection.getresponse()
        answer = second.ask("POST", CHATS, body, Accept="text/event-stream")
    assert (answer.status, answer.content) == (429, b'{"status":429,"message":"Too many requests"}\n')
    check_headers(answer, API_HEADERS | {"Content-Length"}, "application/json; charset=utf-8")  # no Retry-After


def test_who_does_not_say_who_he_is(caller):
    connection = http.client.HTTPConnection(caller.emulator.host, caller.emulator.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/models", headers={"Authorization": "Bearer " + caller.token})
        response = connection.getresponse()
        assert (response.status, response.read().rstrip(b"\n")) == (403, b'{"message":"Unauthorized"}')


@pytest.mark.parametrize(("body", "headers", "status", "theirs"), [
    pytest.param("scope=GIGACHAT_API_PERS", {}, 200, None, id="token"),
    pytest.param("", {}, 400, b'{"code":5,"message":"scope is empty"}\n', id="no scope"),
    pytest.param("scope=GIGACHAT_API_PERS", {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}, 401,
                 b'{"code":6,"message":"credentials doesn\'t match db data"}\n', id="other key"),
])
def test_the_oauth_host_has_headers_of_its_own(caller, body, headers, status, theirs):
    answer = caller.oauth(body, **headers)
    assert answer.status == status and answer.content == (theirs or compact(answer.json))
    check_headers(answer, OAUTH_HEADERS | {"Content-Length"}, "application/json")
    assert answer.headers["content-length"] == str(len(answer.content))
