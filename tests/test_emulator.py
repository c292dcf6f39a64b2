"""Hold the emulator against the recorded bytes of the service, over real sockets."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
import time
import uuid
from typing import Any, Iterator

import pytest

from gigachat_lite.emulator import Emulator

QUESTION = {"model": "GigaChat", "messages": [{"role": "user", "content": "Расскажи о Байкале"}]}

# Recorded bodies of the service, as they were on the wire.
CHAT = (
    '{"choices":[{"message":{"content":"Hello.","role":"assistant"},"index":0,"finish_reason":"stop"}],'
    '"created":1768996171,"model":"GigaChat:2.0.28.2","object":"chat.completion","usage":{"prompt_tokens":17,'
    '"completion_tokens":3,"total_tokens":20,"precached_prompt_tokens":2}}')
STREAM = r"""data: {"choices":[{"delta":{"content":"$1\\, 2\\, 3$  \n\n**Подробный разбор:","role":"assistant"},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":"**\n- Начинаем счёт с единицы."},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":"\n- Добавляем следующее число — двойку."},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":"\n- Заканчиваем счётом числом три."},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":""},"index":0,"finish_reason":"stop"}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion","usage":{"prompt_tokens":17,"completion_tokens":42,"total_tokens":59,"precached_prompt_tokens":2}}

data: [DONE]

"""  # noqa: E501
MODELS_START = '{"object":"list","data":[{"id":"GigaChat","object":"model","owned_by":"salutedevices","type":"chat"},'
MODEL = '{"id":"GigaChat","object":"model","owned_by":"salutedevices","type":"chat"}'
EMBEDDINGS = (
    '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5],"usage":{"prompt_tokens":9}}],'
    '"model":"Embeddings"}')
COUNTS = '[{"object":"tokens","tokens":2,"characters":10},{"object":"tokens","tokens":2,"characters":11}]'
OAUTH = '{"access_token":"x","expires_at":1739784663483}'


class Answer:
    """Keep status, headers in their order and body of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.pairs = response.status, response.getheaders()
        self.headers = {name.lower(): value for name, value in self.pairs}
        self.content = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.content.decode("utf-8"))


class Caller:
    """Speak to one emulator over one connection, with a token once `log_in()` was called."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator, self.token = emulator, ""
        self.connection = http.client.HTTPConnection(emulator.host, emulator.port, timeout=5)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("User-Agent", "tests")
        if self.token:
            headers.setdefault("Authorization", "Bearer " + self.token)
        if isinstance(body, (dict, list)):
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        self.connection.request(method, path, body, headers)
        return Answer(self.connection.getresponse())

    def oauth(self, body: str = "scope=GIGACHAT_API_PERS", **headers: str) -> Answer:
        given = {"Authorization": "Basic " + self.emulator.credentials, "RqUID": str(uuid.uuid4())}
        given.update({"Content-Type": "application/x-www-form-urlencoded"}, **headers)
        return self.ask("POST", "/api/v2/oauth", body, **{k: v for k, v in given.items() if v})

    def log_in(self) -> Caller:
        self.token = self.oauth().json["access_token"]
        return self


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emu:
        yield emu


@pytest.fixture
def caller(emulator: Emulator) -> Iterator[Caller]:
    with Caller(emulator) as caller:
        caller.log_in()
        del emulator.requests[:]
        yield caller


def shape(value: Any) -> Any:
    """Return keys in their order and types of values; of a list the form of its first item."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    return [shape(value[0])] if isinstance(value, list) else type(value).__name__


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


# ---- The recorded bodies beside the emulator's


@pytest.mark.parametrize(("method", "path", "body", "recorded"), [
    ("POST", "chat/completions", QUESTION, CHAT),
    ("GET", "models/GigaChat", None, MODEL),
    ("POST", "embeddings", {"model": "Embeddings", "input": ["раз"]}, EMBEDDINGS),
    ("POST", "tokens/count", {"model": "GigaChat", "input": ["First text", "Second text"]}, COUNTS),
])
@pytest.mark.parametrize("base", ["/api/v1/", "/v1/"])
def test_success_has_the_recorded_form(
        caller: Caller, base: str, method: str, path: str, body: Any, recorded: str) -> None:
    answer = caller.ask(method, base + path, body)
    assert answer.status == 200
    assert shape(answer.json) == shape(json.loads(recorded))
    assert answer.content == compact(answer.json)  # compact, letters as they are, no newline at the end
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert {"X-Request-Id", "X-Session-Id", "Date", "Server", "Allow"} <= {name for name, _ in answer.pairs}


def test_bodies_that_are_recorded_to_the_byte(caller: Caller) -> None:
    models = caller.ask("GET", "/api/v1/models").content
    assert models.startswith(MODELS_START.encode()) and len(models) == 1724
    assert caller.ask("GET", "/api/v1/models/GigaChat").content == MODEL.encode()
    body = {"model": "GigaChat", "input": ["First text", "Second text"]}
    assert caller.ask("POST", "/v1/tokens/count", body).content == COUNTS.encode()


def test_stream_has_the_recorded_skeleton(caller: Caller) -> None:
    answer = caller.ask("POST", "/v1/chat/completions", dict(QUESTION, stream=True), Accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["transfer-encoding"] == "chunked" and "content-length" not in answer.headers
    assert {"x-request-id", "x-session-id"} <= set(answer.headers)

    def skeleton(text: str) -> list[Any]:
        lines = text.split("\n\n")
        assert lines.pop() == "" and lines.pop() == "data: [DONE]"
        assert all(line.startswith("data: {") and "\n" not in line for line in lines)
        return [shape(json.loads(line[6:])) for line in lines]

    ours, recorded = skeleton(answer.content.decode("utf-8")), skeleton(STREAM)
    assert ours[0] == recorded[0] and ours[-1] == recorded[-1]
    assert len(ours) > 3 and all(event == recorded[1] for event in ours[1:-1])
    assert "Байкал" in answer.content.decode("utf-8") and b"\\u04" not in answer.content


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("question", ["Расскажи о Байкале", "Напиши код на Python", "ы" * 200, "2 + 2", "\ud800"])
def test_stream_joins_to_the_plain_answer(caller: Caller, question: str, limit: int | None) -> None:
    body = {"model": "GigaChat-2-Max", "max_tokens": limit, "messages": [{"role": "user", "content": question}]}
    plain = caller.ask("POST", "/v1/chat/completions", body).json
    stream = caller.ask("POST", "/v1/chat/completions", dict(body, stream=True)).content.decode("utf-8")
    events = [json.loads(line[6:]) for line in stream.split("\n\n")[:-2]]
    choice = plain["choices"][0]
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == choice["message"]["content"]
    assert events[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert events[-1]["usage"] == plain["usage"] and plain["model"] == "GigaChat-2-Max:2.0.30.01"
    if limit and choice["finish_reason"] == "length":
        assert plain["usage"]["completion_tokens"] == limit
    usage = plain["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_events_leave_one_by_one() -> None:
    with Emulator(chunk_delay=0.01) as emu:
        caller = Caller(emu).log_in()
        caller.connection.request("POST", "/v1/chat/completions", json.dumps(dict(QUESTION, stream=True)),
                                  {"Authorization": "Bearer " + caller.token, "User-Agent": "tests"})
        response = caller.connection.getresponse()
        started, first = time.monotonic(), response.fp.peek(1)
        assert b"data: {" in first and b"[DONE]" not in first
        assert response.read().endswith(b"data: [DONE]\n\n")
        assert time.monotonic() - started > 0.05
        caller.connection.close()


def test_oauth_has_the_recorded_form(emulator: Emulator) -> None:
    caller = Caller(emulator)
    answer = caller.oauth()
    assert answer.status == 200 and shape(answer.json) == shape(json.loads(OAUTH))
    assert answer.headers["content-type"] == "application/json" and answer.headers["content-length"] == "1279"
    assert not {"date", "x-request-id", "x-session-id"} & set(answer.headers)
    assert answer.headers["cache-control"] == "no-cache, no-store, max-age=0, must-revalidate"
    assert abs(answer.json["expires_at"] / 1000 - time.time() - 1800) < 5
    assert answer.json["access_token"] != caller.oauth().json["access_token"]
    assert answer.json["access_token"].count(".") == 4
    caller.connection.close()


def test_password_login(emulator: Emulator) -> None:
    caller = Caller(emulator)
    key = base64.b64encode(f"{emulator.user}:{emulator.password}".encode()).decode()
    answer = caller.ask("POST", "/api/v1/token", Authorization="Basic " + key)
    assert shape(answer.json) == [("tok", "str"), ("exp", "int")] and 0 < answer.json["exp"] - time.time() <= 1800
    caller.token = answer.json["tok"]
    assert caller.ask("GET", "/api/v1/models").status == 200
    refused = caller.ask("POST", "/v1/token", Authorization="Basic " + emulator.credentials)
    assert (refused.status, refused.content) == (401, b'{"status":401,"message":"Unauthorized"}\n')
    caller.connection.close()


# ---- What the service turns away


OTHER_KEY = base64.b64encode(f"{uuid.uuid4()}:{uuid.uuid4()}".encode()).decode()


@pytest.mark.parametrize(("scope", "headers", "status", "code", "message"), [
    ("", {}, 400, 5, "scope is empty"),
    ("scope=GIGACHAT_API", {}, 400, 1, "scope data format invalid"),
    ("scope=GIGACHAT_API_CORP", {}, 400, 7, "scope from db not fully includes consumed scope"),
    (None, {"Authorization": "Basic @"}, 400, 4, "Can't decode 'Authorization' header"),
    (None, {"Authorization": ""}, 400, 4, "Can't decode 'Authorization' header"),
    (None, {"Authorization": "Basic " + OTHER_KEY}, 401, 6, "credentials doesn't match db data"),
    (None, {"RqUID": ""}, 400, 2, None),
    (None, {"RqUID": str(uuid.uuid1())}, 400, 2, None),
])
def test_oauth_errors(emulator: Emulator, scope: str | None, headers: dict[str, str], status: int, code: int,
                      message: str | None) -> None:
    caller = Caller(emulator)
    answer = caller.oauth("scope=GIGACHAT_API_PERS" if scope is None else scope, **headers)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert list(answer.json) == ["code", "message"] and answer.json["code"] == code
    if message is not None:
        assert answer.content == compact({"code": code, "message": message}) + b"\n"
    caller.connection.close()


BAD_SYNTAX = (400, "Your request contains invalid JSON syntax.")
CHAT_PATH, COUNT_PATH = "/api/v1/chat/completions", "/api/v1/tokens/count"
LATE_SYSTEM = [{"role": "user", "content": "а"}, {"role": "system", "content": "б"}]


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), [
    ("GET", "/api/v1/models/Nope", None, 404, "No such model"),
    ("GET", "/v1/models/GigaChat%2F..", None, 404, "No such model"),
    ("POST", CHAT_PATH, dict(QUESTION, model="Nope"), 404, "No such model"),
    ("POST", CHAT_PATH, dict(QUESTION, model="Embeddings"), 404, "No such model"),
    ("POST", CHAT_PATH, dict(QUESTION, model=["GigaChat"]), 404, "No such model"),
    ("POST", "/v1/embeddings", {"model": "GigaChat", "input": ["а"]}, 404, "No such model"),
    ("POST", CHAT_PATH, "{", *BAD_SYNTAX),
    ("POST", CHAT_PATH, "[" * 200000, *BAD_SYNTAX),
    ("POST", CHAT_PATH, [1], *BAD_SYNTAX),
    ("POST", CHAT_PATH, b"\xff\xfe", *BAD_SYNTAX),
    ("POST", CHAT_PATH, dict(QUESTION, messages="а"), *BAD_SYNTAX),
    ("POST", CHAT_PATH, dict(QUESTION, messages=[1]), *BAD_SYNTAX),
    ("POST", CHAT_PATH, dict(QUESTION, max_tokens="5"), *BAD_SYNTAX),
    ("POST", COUNT_PATH, {"model": "GigaChat", "input": [1]}, *BAD_SYNTAX),
    ("POST", CHAT_PATH, {"model": "GigaChat"}, 422, "Invalid params: messages must not be empty"),
    ("POST", CHAT_PATH, dict(QUESTION, messages=LATE_SYSTEM), 422,
     "Invalid params: system message must be the first message"),
    ("POST", CHAT_PATH, dict(QUESTION, repetition_penalty=0), 422,
     "Invalid params: repetition_penalty must be in range (0, +inf)"),
    ("GET", CHAT_PATH, None, 405, "Method Not Allowed"),
])
def test_api_errors(caller: Caller, method: str, path: str, body: Any, status: int, message: str) -> None:
    answer = caller.ask(method, path, body)
    assert answer.status == status
    assert answer.content == compact({"status": status, "message": message}) + b"\n"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert {"x-request-id", "x-session-id"} <= set(answer.headers)
    assert caller.ask("GET", "/v1/models").status == 200  # the connection goes on


def test_paths_that_are_not_served_meet_the_gateway(caller: Caller) -> None:
    answer = caller.ask("GET", "/v2/files")
    assert answer.status == 403 and answer.headers["content-type"] == "text/html" and b"403 Forbidden" in answer.content
    assert [caller.ask("GET", path).status for path in ("models", "/models", "/v1/models/", "/v1/Models")] == [403] * 4


def test_ids_are_echoed_or_made(caller: Caller) -> None:
    answer = caller.ask("GET", "/v1/models", X_Request_ID="запрос".encode().decode("latin-1"), x_session_id="s 1")
    assert answer.headers["x-session-id"] == "s 1"
    assert answer.headers["x-request-id"].encode("latin-1").decode() == "запрос"
    made = {caller.ask("GET", "/v1/models").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3 and all(uuid.UUID(one).version == 4 for one in made)


def test_tokens_expire_and_strangers_stay_out(caller: Caller) -> None:
    old = caller.token
    for header in ("Bearer nothing", "Basic " + old, "Bearer"):
        answer = caller.ask("GET", "/v1/models", Authorization=header)
        assert (answer.status, answer.content) == (401, b'{"status":401,"message":"Unauthorized"}\n')
    caller.emulator.expire_tokens()
    answer = caller.ask("GET", "/v1/models")
    assert (answer.status, answer.content) == (401, b'{"status":401,"message":"Token has expired"}\n')
    assert caller.log_in().ask("GET", "/v1/models").status == 200
    assert caller.ask("GET", "/v1/models", Authorization="Bearer " + old).status == 401


def test_token_lifetime() -> None:
    with Emulator(token_lifetime=-1, scope="GIGACHAT_API_B2B") as emu:
        assert emu.config["scope"] == "GIGACHAT_API_B2B"
        caller = Caller(emu)
        caller.token = caller.oauth("scope=GIGACHAT_API_B2B").json["access_token"]
        assert caller.ask("GET", "/v1/models").json["message"] == "Token has expired"
        caller.connection.close()


# ---- What it says


@pytest.mark.parametrize(("question", "part"), [
    ("Привет! Кто ты?", "Здравствуйте! Я GigaChat"),
    ("Какие факторы влияют на стоимость страховки на дом?", "1. **Стоимость и площадь дома**"),
    ("Привет! Расскажи о Байкале", "самое глубокое озеро"),
    ("Сколько будет 12*12?", "12 * 12 = 144"),
    ("Count from 1 to 3", "1, 2, 3"),
    ("Зачем нужны тесты?", "«Зачем нужны тесты?»"),
])
def test_answers_are_sensible_and_the_same_each_time(caller: Caller, question: str, part: str) -> None:
    body = {"model": "GigaChat", "messages": [{"role": "user", "content": question}]}
    texts = [caller.ask("POST", CHAT_PATH, body).json["choices"][0]["message"]["content"] for _ in range(2)]
    assert part in texts[0] and texts[0] == texts[1]


def test_answers_remember_the_dialogue(caller: Caller) -> None:
    def say(*texts: str) -> str:
        messages = [{"role": "system", "content": "Отвечай вежливо"}]
        for text in texts:
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
        answer = caller.ask("POST", CHAT_PATH, {"model": "GigaChat", "messages": messages[:-1]})
        return answer.json["choices"][0]["message"]["content"]  # type: ignore[no-any-return]

    assert say("Меня зовут Анна") == "Очень приятно, Анна! Чем могу помочь?"
    assert say("Меня зовут Анна", "Как меня зовут?") == "Вас зовут Анна."
    assert say("Меня зовут Анна", "Нет, меня зовут Ольга", "Как меня зовут?") == "Вас зовут Ольга."
    assert "Перед этим было: «Люблю чай»" in say("Люблю чай", "А кофе?")


def test_embeddings_are_near_for_texts_that_share_words(caller: Caller) -> None:
    texts = ["Кошка спит на диване", "На диване спит кошка", "Кошки спят на диванах", "Курс валют вырос", ""]
    answer = caller.ask("POST", "/v1/embeddings", {"model": "Embeddings", "input": texts})
    vectors = [item["embedding"] for item in answer.json["data"]]
    assert all(len(vector) == 1024 and all(type(number) is float for number in vector) for vector in vectors)

    def cosine(a: list[float], b: list[float]) -> float:
        return float(sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)

    assert cosine(vectors[0], vectors[1]) > 0.99
    assert 0.3 < cosine(vectors[0], vectors[2]) < 0.95
    assert abs(cosine(vectors[0], vectors[3])) < 0.15
    assert caller.ask("POST", "/v1/embeddings", {"model": "Embeddings", "input": texts}).content == answer.content


def test_token_counts_look_right_for_russian(caller: Caller) -> None:
    text = "Какие факторы влияют на стоимость страховки на дом?"
    answer = caller.ask("POST", COUNT_PATH, {"model": "GigaChat", "input": text})
    assert answer.json[0]["characters"] == len(text) and 3 <= len(text) / answer.json[0]["tokens"] <= 4


# ---- Scripts and memory


def test_scripted_answers_come_first_in_order_and_once(caller: Caller) -> None:
    emu = caller.emulator
    emu.enqueue(503)
    emu.enqueue(429, {"Retry-After": 1, "X-Request-Id": None}, {"status": 429, "message": "Too many requests"})
    emu.enqueue(200, {"content-type": "text/html"}, "<p>Технические работы</p>")
    emu.enqueue(body=b"\x00\xff")
    emu.enqueue()
    answers = [caller.ask("GET", "/v1/models", Authorization="wrong") for _ in range(5)]
    assert [a.status for a in answers] == [503, 429, 200, 200, 200]
    assert answers[0].content == b'{"status":503,"message":"Service Unavailable"}\n'
    assert answers[1].content == b'{"status":429,"message":"Too many requests"}\n'
    assert answers[1].headers["retry-after"] == "1" and "x-request-id" not in answers[1].headers
    assert [v for k, v in answers[2].pairs if k.lower() == "content-type"] == ["text/html"]
    assert [a.content for a in answers[2:]] == ["<p>Технические работы</p>".encode(), b"\x00\xff", b""]
    assert caller.ask("GET", "/v1/models").status == 200


def test_scripts_by_path(caller: Caller) -> None:
    emu = caller.emulator
    emu.enqueue(500)
    emu.enqueue(418, path="/oauth")
    emu.enqueue(404, path="/embeddings")
    assert caller.ask("POST", "/v1/embeddings", b"").status == 500  # first in first out, whatever the path
    assert caller.ask("POST", "/v1/token").status == 401  # no way to a token is scripted by accident
    assert caller.oauth().status == 418 and caller.oauth().status == 200
    assert caller.ask("GET", "/v1/models").status == 200
    assert caller.ask("POST", "/v1/embeddings", b"").status == 404


def test_a_scripted_length_need_not_be_true(caller: Caller) -> None:
    caller.emulator.enqueue(200, {"Content-Length": "100"}, b"short")
    with pytest.raises(http.client.IncompleteRead):
        caller.ask("GET", "/v1/models")


def test_requests_are_remembered_without_secrets(caller: Caller) -> None:
    caller.ask("POST", "/v1/chat/completions?a=1&b=", QUESTION, X_Client_ID="я".encode().decode("latin-1"))
    caller.oauth()
    caller.ask("POST", "/v1/tokens/count", b"\x00", Content_Type="application/octet-stream")
    chat, oauth, count = caller.emulator.requests
    assert (chat.method, chat.path, chat.query) == ("POST", "/v1/chat/completions", {"a": "1", "b": ""})
    assert chat.body == QUESTION and chat.headers["Content-Type"] == "application/json"
    assert chat.headers["AUTHORIZATION"] == "Bearer " + caller.token and "x-client-id" in chat.headers
    assert oauth.body == {"scope": "GIGACHAT_API_PERS"} and count.body == count.raw == b"\x00"
    assert chat.connection == count.connection == 1 and chat.time <= count.time
    shown = repr(caller.emulator.requests) + repr(chat.headers) + repr(caller.emulator)
    assert caller.token not in shown and caller.emulator.credentials not in shown
    assert "'authorization': 'Bearer ***'" in shown and "Расскажи о Байкале" in shown


def test_config_leads_a_client_here(emulator: Emulator) -> None:
    assert emulator.config == {
        "base_url": emulator.base_url, "auth_url": emulator.auth_url, "credentials": emulator.credentials,
        "env_file": False, "environ": {}, "trust_env": False}
    client_id, client_secret = base64.b64decode(emulator.credentials).decode().split(":")
    assert uuid.UUID(client_id).version == uuid.UUID(client_secret).version == 4


# ---- Any bytes


def talk(emulator: Emulator, sent: bytes, shut: bool = True) -> bytes:
    """Send bytes and return all that comes back until the connection ends."""
    with socket.create_connection((emulator.host, emulator.port), 5) as sock:
        sock.sendall(sent)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


HEAD = b"POST /v1/token HTTP/1.1\r\nUser-Agent: tests\r\n"


@pytest.mark.parametrize(("sent", "answer"), [
    (b"\x16\x03\x01\x02\x00\x01\x00", b"HTTP/1.1 400"),
    (b"\x00" * 100000, b"HTTP/1.1 400"),
    (b"GET\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET / HTTP/2.0\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET / HTTP/1.1\r\n: empty\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET / HTTP/1.1\r\nX-Request-ID: a\rX-Forged: b\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 431"),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n", b"HTTP/1.1 431"),
    (HEAD + b"Content-Length: -1\r\n\r\n", b"HTTP/1.1 400"),
    (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 400"),
    (HEAD + "Content-Length: ²\r\n\r\n".encode("latin-1"), b"HTTP/1.1 400"),
    (HEAD + b"Content-Length: 999999999999\r\n\r\n", b"HTTP/1.1 413"),
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", b"HTTP/1.1 400"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"HTTP/1.1 400"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"HTTP/1.1 413"),
])
def test_what_is_no_http_gets_an_answer_and_the_end(emulator: Emulator, sent: bytes, answer: bytes) -> None:
    assert talk(emulator, sent, shut=False).startswith(answer)
    assert emulator.requests == []


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", b"GET / HT", HEAD, HEAD + b"Content-Length: 9\r\n\r\nabc"])
def test_what_ends_early_is_closed(emulator: Emulator, sent: bytes) -> None:
    assert talk(emulator, sent) == b""


def test_forms_of_a_request(emulator: Emulator) -> None:
    chunked = b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    chunks = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: z\r\n\r\n"
    head = b"HEAD /v1/models HTTP/1.0\nUser-Agent: t\n\n"
    said = talk(emulator, b"\r\n" + HEAD + chunked + chunks + HEAD + b"\r\n" + head)  # three in one write
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"100", b"401", b"401", b"405"]
    assert said.endswith(b"\r\n\r\n") and [r.raw for r in emulator.requests] == [b"abcde", b"", b""]
    assert [r.version for r in emulator.requests] == ["1.1", "1.1", "1.0"]
    assert talk(emulator, b"POST http://other:1/v1/token?a=b HTTP/1.1\r\nUser-Agent: t\r\nConnection: close\r\n\r\n",
                shut=False)
    assert emulator.requests[-1].path == "/v1/token" and emulator.requests[-1].query == {"a": "b"}


def test_stream_of_http_1_0_ends_with_the_connection(caller: Caller) -> None:
    body = json.dumps(dict(QUESTION, stream=True)).encode()
    head = ("POST /v1/chat/completions HTTP/1.0\r\nUser-Agent: t\r\n"
            f"Authorization: Bearer {caller.token}\r\nContent-Length: {len(body)}")
    said = talk(caller.emulator, head.encode() + b"\r\n\r\n" + body, shut=False)
    assert b"Transfer-Encoding" not in said and b"\r\n\r\ndata: {" in said and said.endswith(b"data: [DONE]\n\n")


def test_noise_never_ends_it(emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(40):
        noise = base64.b85encode(bytes(range(seed, seed + 90)))
        talk(emulator, (b"POST /v1/" + noise if seed % 2 else noise) + b"\r\n\r\n" * (seed % 3))
    caller = Caller(emulator).log_in()
    assert caller.ask("GET", "/v1/models").status == 200
    caller.connection.close()
    assert capfd.readouterr() == ("", "")


# ---- Life


def test_small_answers_do_not_wait_for_acknowledgements(caller: Caller) -> None:
    started = time.monotonic()
    for _ in range(50):
        caller.ask("POST", CHAT_PATH, QUESTION)
    assert time.monotonic() - started < 1.5  # 50 delayed acknowledgements are 2 s
    assert {request.connection for request in caller.emulator.requests} == {1}


def test_many_at_a_time(emulator: Emulator) -> None:
    socks = [socket.create_connection((emulator.host, emulator.port), 5) for _ in range(200)]
    for sock in socks:
        sock.sendall(HEAD + b"Connection: close\r\n\r\n")
    for sock in socks:
        with sock:
            assert sock.recv(65536).startswith(b"HTTP/1.1 401")


def test_stop_is_at_once_and_leaves_nothing(emulator: Emulator) -> None:
    before = set(threading.enumerate())
    emu = Emulator(chunk_delay=60)
    assert emu.start() is emu.start() is emu
    idle = socket.create_connection((emu.host, emu.port), 5)
    caller = Caller(emu).log_in()
    caller.connection.request("POST", CHAT_PATH, json.dumps(dict(QUESTION, stream=True)),
                              {"Authorization": "Bearer " + caller.token, "User-Agent": "tests"})
    response = caller.connection.getresponse()
    started = time.monotonic()
    emu.stop()
    emu.stop()
    assert time.monotonic() - started < 3  # a join that timed out takes 5 s, the next event a minute
    assert set(threading.enumerate()) == before
    with idle, pytest.raises(http.client.IncompleteRead):
        assert idle.recv(1) == b""
        response.read()
    with pytest.raises(OSError):
        socket.create_connection((emu.host, emu.port), 1)
    with emu:  # the same address again
        caller.connection.close()
        with Caller(emu) as again:
            assert again.oauth().status == 200


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with Emulator("::1") as emu:
        assert emu.url == f"http://[::1]:{emu.port}"
        with Caller(emu) as caller:
            assert caller.oauth().status == 200
