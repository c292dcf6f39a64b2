"""Hold the emulator against the official SDK, unmodified, and against what the service sends, byte for byte.

The SDK asks everything twice: the emulator as it is, and a script with the body that the service was recorded with.
What it makes of the two has to have the same form. A row says where its body is from: *recorded* on the service,
*documented* by it, or *expected*, where there are only other clients' tests to go by.
"""
from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import itertools
import json
import re
import socket
import ssl
import uuid

import pytest

from gigachat_lite.emulator import Emulator
from test_emulator import CHAT, COUNTS, EMBEDDINGS, MODEL, OAUTH, STREAM, Caller, compact, shape

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


# ---- Bodies of the service that test_emulator.py has no use for


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
TEXT_FILE = ("a.txt", "Сколько".encode()[:12], "text/plain")


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
        return self.usual.upload_file(TEXT_FILE).id_ if value == FILE_ID else value

    def ask(self, kind, method, *args, client=None, **options):
        """Call a method by its synchronous name; of a stream return the list of its chunks."""
        made = getattr(client or self.usual, method if kind == "sync" else "a" + method)(*args, **options)
        if kind == "sync":
            return list(made) if method == "stream" else made
        return self._loop.run_until_complete(collect(made) if method == "stream" else made)

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
        if method == "stream":
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
                                  function_call="auto"), body=CHAT, source="expected"),
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
]


@KINDS
@pytest.mark.parametrize(("method", "args", "body"), ROWS)
def test_the_official_sdk_decodes_what_it_decodes_from_the_service(official, kind, method, args, body):
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
def test_an_answer_of_a_schema_is_read_into_a_model(official, kind):
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

    async def ask():
        names = {"session_id_cvar": "s-1", "request_id_cvar": "r-1", "client_id_cvar": "c-1"}
        for name, value in names.items():
            getattr(context, name).set(value)
        return official.usual.chat("2 + 2") if kind == "sync" else await official.usual.achat("2 + 2")

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
    error_row("not served", "ForbiddenError", 403, None, "get_balance"),
]


@KINDS
@pytest.mark.parametrize(("method", "args", "error", "status", "body"), ERRORS)
def test_the_official_sdk_raises_what_it_does_for_the_service(official, kind, method, args, error, status, body):
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


def test_a_stream_of_several_choices_is_the_plain_answer_in_pieces(caller):
    body = chat("Расскажи о Байкале", n=3)
    plain = caller.ask("POST", CHATS, body).json
    events = events_of(caller.ask("POST", CHATS, dict(body, stream=True)).content)
    texts = ["", "", ""]
    for event in events:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["delta"]["content"]
    assert texts == [choice["message"]["content"] for choice in plain["choices"]]
    assert events[-1]["usage"] == plain["usage"]


def test_lines_of_a_head_end_with_crlf_and_every_event_is_a_chunk(caller):
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
