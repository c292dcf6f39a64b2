"""The emulator beside the recorded bytes of the service: forms, tokens, errors, headers; and what it remembers."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid

import pytest

from caller import Caller, compact, shape
from gigachat_lite.emulator import Emulator
from recorded import CHAT as CHAT_BODY
from recorded import COUNTS, EMBEDDINGS, MODEL, MODELS_START, OAUTH

from .helpers import ASKED, CHAT, CHAT2, SYNTAX, refused, v2

TEXTS = {"model": "GigaChat", "input": ["First text", "Second text"]}


@pytest.mark.parametrize(("method", "path", "body", "recorded"), [
    ("POST", "chat/completions", ASKED, CHAT_BODY),
    ("GET", "models/GigaChat", None, MODEL),
    ("POST", "embeddings", {"model": "Embeddings", "input": ["раз"]}, EMBEDDINGS),
    ("POST", "tokens/count", TEXTS, COUNTS),
])
@pytest.mark.parametrize("base", ["/api/v1/", "/v1/"])
def test_success_has_the_recorded_form(caller, base, method, path, body, recorded):
    answer = caller.ask(method, base + path, body)
    assert answer.status == 200
    assert shape(answer.json) == shape(json.loads(recorded))
    assert answer.content == compact(answer.json)  # compact, letters as they are, no newline at the end
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert {"X-Request-Id", "X-Session-Id", "Date", "Server", "Allow"} <= {name for name, _ in answer.pairs}


def test_bodies_recorded_to_the_byte(caller):
    models = caller.ask("GET", "/api/v1/models").content
    assert models.startswith(MODELS_START.encode()) and len(models) == 1724
    assert caller.ask("GET", "/api/v1/models/GigaChat").content == MODEL.encode()
    assert caller.ask("POST", "/v1/tokens/count", TEXTS).content == COUNTS.encode()


# ---- Tokens


def test_oauth_has_the_recorded_form(caller):
    answer = caller.oauth()
    assert answer.status == 200 and shape(answer.json) == shape(json.loads(OAUTH))
    assert answer.headers["content-type"] == "application/json" and answer.headers["content-length"] == "1279"
    assert not {"date", "x-request-id", "x-session-id"} & set(answer.headers)
    assert answer.headers["cache-control"] == "no-cache, no-store, max-age=0, must-revalidate"
    assert abs(answer.json["expires_at"] / 1000 - time.time() - 1800) < 5
    assert answer.json["access_token"] != caller.oauth().json["access_token"]
    assert answer.json["access_token"].count(".") == 4


def test_password_login(caller):
    assert (Emulator.user, Emulator.password) == ("emulator", "offline")  # as the README says
    key = base64.b64encode(b"emulator:offline").decode()
    answer = caller.ask("POST", "/api/v1/token", Authorization="Basic " + key)
    assert shape(answer.json) == [("tok", "str"), ("exp", "int")] and 0 < answer.json["exp"] - time.time() <= 1800
    assert caller.ask("GET", "/v1/models", Authorization="Bearer " + answer.json["tok"]).status == 200
    answer = caller.ask("POST", "/v1/token", Authorization="Basic " + Emulator.credentials)
    assert refused(answer) == (401, "Unauthorized")


OTHER_KEY = base64.b64encode(f"{uuid.uuid4()}:{uuid.uuid4()}".encode()).decode()


@pytest.mark.parametrize(("scope", "headers", "status", "code", "message"), [
    ("", {}, 400, 5, "scope is empty"),
    ("scope=GIGACHAT_API", {}, 400, 1, "scope data format invalid"),
    ("scope=GIGACHAT_API_CORP", {}, 400, 7, "scope from db not fully includes consumed scope"),
    (None, {"Authorization": "Basic @"}, 400, 4, "Can't decode 'Authorization' header"),
    (None, {"Authorization": ""}, 400, 4, "Can't decode 'Authorization' header"),
    (None, {"Authorization": "Basic " + OTHER_KEY}, 401, 6, "credentials doesn't match db data"),
])
def test_oauth_errors(caller, scope, headers, status, code, message):
    answer = caller.oauth("scope=GIGACHAT_API_PERS" if scope is None else scope, **headers)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.content == compact({"code": code, "message": message}) + b"\n"


def test_tokens_expire_and_strangers_stay_out(emulator):
    with Caller(emulator) as caller, Emulator(token_lifetime=-1, scope="GIGACHAT_API_B2B") as short:
        old = caller.log_in().token
        for header in ("Bearer nothing", "Basic " + old, "Bearer"):
            assert refused(caller.ask("GET", "/v1/models", Authorization=header)) == (401, "Unauthorized")
        emulator.expire_tokens()
        assert refused(caller.ask("GET", "/v1/models")) == (401, "Token has expired")
        assert caller.log_in().ask("GET", "/v1/models").status == 200
        assert caller.ask("GET", "/v1/models", Authorization="Bearer " + old).status == 401
        with Caller(short) as late:
            late.token = late.oauth("scope=GIGACHAT_API_B2B").json["access_token"]
            assert refused(late.ask("GET", "/v1/models")) == (401, "Token has expired")


# ---- Errors and headers


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), [
    ("GET", "/api/v1/models/Nope", None, 404, "No such model"),
    ("GET", "/v1/models/GigaChat%2F..", None, 404, "No such model"),
    ("POST", CHAT, dict(ASKED, model="Nope"), 404, "No such model"),
    ("POST", CHAT, "{", *SYNTAX), ("POST", CHAT2, "{", *SYNTAX),
    ("POST", CHAT, {"model": "GigaChat"}, 422, "Invalid params: messages must not be empty"),
    ("GET", CHAT, None, 405, "Method Not Allowed"), ("GET", CHAT2, None, 405, "Method Not Allowed"),
    ("POST", "/v1/balance", {}, 405, "Method Not Allowed"),
])
def test_errors_have_the_recorded_form(caller, method, path, body, status, message):
    answer = caller.ask(method, path, body)
    assert answer.status == status
    assert answer.content == compact({"status": status, "message": message}) + b"\n"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert {"x-request-id", "x-session-id"} <= set(answer.headers)
    assert caller.ask("GET", "/v1/models").status == 200  # the connection goes on


@pytest.mark.parametrize("path", [
    "models", "/models", "/v1/models/", "/v1/Models", "/v2/files", "/api/v2/files", "/v2/models", "/v2/threads",
    "/v1/v2/chat/completions", "/v2/chat/completions/", "/v3/chat/completions", "/v1/filter/check", "/v1/threads/"])
def test_other_paths_meet_the_gateway(caller, path):
    for method in ("GET", "POST"):
        answer = caller.ask(method, path, {})
        assert (answer.status, answer.headers["content-type"]) == (403, "text/html")
        assert b"403 Forbidden" in answer.content


def test_the_second_version_has_the_same_door(caller):
    assert refused(caller.ask("POST", CHAT2, v2("а"), Authorization="Bearer x")) == (401, "Unauthorized")
    assert caller.ask("POST", CHAT2, v2("а"), User_Agent="").content == b'{"message":"Unauthorized"}\n'


def test_ids_are_echoed_or_made(caller):
    answer = caller.ask("GET", "/v1/models", X_Request_ID="запрос".encode().decode("latin-1"), x_session_id="s 1")
    assert answer.headers["x-session-id"] == "s 1"
    assert answer.headers["x-request-id"].encode("latin-1").decode() == "запрос"
    made = {caller.ask("GET", "/v1/models").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3 and all(uuid.UUID(one).version == 4 for one in made)


# ---- What it remembers, and what leads here


def test_requests_keep_everything(emulator, raw):
    before = time.monotonic()
    raw.ask({"я": 1}, path="/v1/a%20b/completions?x=1&y=%D1%8F&z=", X_Client_ID="me", method="PUT")
    raw.ask("a=1&b=%D1%8F", Content_Type="application/x-www-form-urlencoded")
    raw.ask(b"\xff{", Content_Type="application/json")
    raw.connection.close()
    raw.ask(None, method="GET")
    first, form, broken, empty = emulator.requests
    assert (first.method, first.path, first.query) == ("PUT", "/v1/a%20b/completions", {"x": "1", "y": "я", "z": ""})
    assert first.headers["x-client-ID"] == "me" and first.body == first.json() == {"я": 1}
    assert form.body == {"a": "1", "b": "я"} and broken.body == broken.raw == b"\xff{" and empty.raw == b""
    assert first.connection == form.connection == broken.connection == empty.connection - 1
    assert before <= first.time <= form.time <= empty.time <= time.monotonic()
    assert (first.sni, first.client_cert) == (None, None)


@pytest.mark.parametrize(("name", "value"), [
    ("Authorization", "Bearer s3cret"), ("authorization", "Basic s3cret=="), ("AUTHORIZATION", "s3cret"),
    ("Authorization", "s3cret s3cret"), ("Authorization", "Bearer  s3cret s3cret"), ("Authorization", "bearer\ts3cret"),
    ("Proxy-Authorization", "Basic s3cret"), ("Cookie", "session=s3cret; other=s3cret")])
def test_reprs_show_no_secret(emulator, raw, name, value):
    raw.connection.request("POST", "/v1/models?a=b", b'{"a": "shown"}', {name: value})
    raw.connection.getresponse().read()
    request = emulator.requests[0]
    assert "s3cret" in request.headers[name] and "shown" in repr(request)
    assert "s3cret" not in repr(request) + str(request) + repr(request.headers) + str(emulator) + str(emulator.requests)


def test_config_leads_a_client_here(emulator):
    assert emulator.config == {
        "base_url": emulator.base_url, "auth_url": emulator.auth_url, "credentials": emulator.credentials,
        "env_file": False, "environ": {}, "trust_env": False}
    client_id, client_secret = base64.b64decode(emulator.credentials).decode().split(":")
    assert uuid.UUID(client_id).version == uuid.UUID(client_secret).version == 4
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api/v1", emulator.environ["GIGACHAT_BASE_URL"])
    with Emulator(scope="GIGACHAT_API_B2B") as other:
        assert other.config["scope"] == other.environ["GIGACHAT_SCOPE"] == "GIGACHAT_API_B2B"


@pytest.mark.parametrize("name", ["config", "environ"])
def test_settings_need_a_started_emulator(name):
    with pytest.raises(RuntimeError, match="started"):
        getattr(Emulator(), name)


@pytest.mark.parametrize("settings", [
    {"scope": "PERS"}, {"token_lifetime": float("inf")}, {"chunk_delay": float("nan")}, {"chunk_delay": -1},
    {"max_connections": 0}, {"max_connections": 1.5}, {"client_cert": "required"}, {"key_file": "key.pem"},
    {"tls": True, "client_cert": "wanted"}, {"tls": True, "auth_client_cert": "wanted"}], ids=str)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError):
        Emulator(**settings)
