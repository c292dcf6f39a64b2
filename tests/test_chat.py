"""The endpoints: what each puts on the wire, what comes back, headers from the context and from options."""
from __future__ import annotations

import contextvars
import gzip
import json
import re
import threading
import uuid
import zlib

import pytest

import gigachat_lite
from clients import crossed, new_client
from gigachat_lite import (
    AccessToken,
    AuthenticationError,
    BadRequestError,
    ChatCompletion,
    ConfigurationError,
    Embeddings,
    Emulator,
    GigaChat,
    GigaChatException,
    Model,
    ModelNotSpecifiedError,
    Models,
    NotFoundError,
    RateLimitError,
    RequestTimeout,
    ResponseError,
    load_config,
)
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, STREAM_TEXTS, never, oauth_reply, reply, sse

IDS = {"X-Request-Id": "r-1", "X-Session-Id": "s-1"}
MODELS = {"object": "list", "data": [
    {"id": "GigaChat", "object": "model", "owned_by": "salutedevices", "type": "chat"},
    {"id": "GigaChat-2", "object": "model", "owned_by": "salutedevices", "type": "chat"}]}
NO_SUCH_MODEL = '{"status":404,"message":"No such model"}\n'
KEY = "YzFkMmUzZjQ6czNjcjN0LW9mLXRoZS1rZXk="


@pytest.fixture
def client():
    """Make a client of a running server, with a ready token unless it has another way."""
    def make(running, **settings):
        given = {"base_url": running.base_url, "auth_url": running.auth_url, "max_retries": 0}
        if not {"credentials", "client_id", "user"} & set(settings):
            given["access_token"] = "t0ken"
        return new_client(**{**given, **settings})

    return make


@pytest.fixture
def service(api, client):
    """Give a server that answers as recorded, and a client of it."""
    def handler(request, connection):
        if request.path.endswith("/chat/completions"):
            return sse(STREAM_BODY, headers=IDS) if request.json.get("stream") else reply(body=CHAT_BODY, headers=IDS)
        body = {
            "/api/v1/models": MODELS, "/api/v1/models/GigaChat": MODELS["data"][0],
            "/api/v1/embeddings": {"object": "list", "data": [
                {"object": "embedding", "index": 0, "embedding": [0.5, -1.25], "usage": {"prompt_tokens": 9}}],
                "model": "Embeddings"},
            "/api/v1/tokens/count": '[{"object":"tokens","tokens":2,"characters":10}]'}[request.path]
        return reply(body=body, headers=IDS)

    running = api(handler)
    return running, client(running)


CALLS = {
    "chat": (lambda giga, **options: giga.chat("Привет", **options), "POST", "/chat/completions",
             {"messages": [{"role": "user", "content": "Привет"}], "model": "GigaChat"}),
    "stream": (lambda giga, **options: list(giga.stream("Привет", **options))[-1], "POST", "/chat/completions",
               {"messages": [{"role": "user", "content": "Привет"}], "model": "GigaChat", "stream": True}),
    "embeddings": (lambda giga, **options: giga.embeddings(["раз"], **options), "POST", "/embeddings",
                   {"model": "Embeddings", "input": ["раз"]}),
    "get_models": (lambda giga, **options: giga.get_models(**options), "GET", "/models", None),
    "get_model": (lambda giga, **options: giga.get_model("GigaChat", **options), "GET", "/models/GigaChat", None),
    "tokens_count": (lambda giga, **options: giga.tokens_count(["раз"], **options), "POST", "/tokens/count",
                     {"model": "GigaChat", "input": ["раз"]}),
}


# ---- Each endpoint on the wire


@pytest.mark.parametrize("name", CALLS)
def test_each_call_puts_on_the_wire_what_the_api_asks_for(name, service):
    running, giga = service
    ask, method, path, body = CALLS[name]
    answer = ask(giga)
    seen = running.calls[0]
    assert (seen.method, seen.path) == (method, "/api/v1" + path) and len(running.calls) == 1
    assert seen.body == (b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
    headers = seen.headers
    assert headers["Authorization"] == "Bearer t0ken" and headers["Host"] == f"127.0.0.1:{running.port}"
    assert headers["User-Agent"].startswith("gigachat-lite/" + gigachat_lite.__version__)
    assert headers["Accept"] == ("text/event-stream" if name == "stream" else "application/json")
    assert (headers["Accept-Encoding"] == "identity") is (name == "stream")
    assert headers["Content-Type"] == (None if body is None else "application/json")
    assert headers["Cookie"] is None and headers["RqUID"] is None and headers["Transfer-Encoding"] is None
    assert answer.x_headers == {"x-request-id": "r-1", "x-session-id": "s-1", "x-client-id": None}


def test_each_answer_is_of_its_type(service):
    _, giga = service
    chat, models, model = giga.chat("x"), giga.get_models(), giga.get_model("GigaChat")
    vectors, counts, stream = giga.embeddings("раз"), giga.tokens_count("раз"), giga.stream("x")
    assert type(chat) is ChatCompletion and chat.choices[0].message.content == CHAT_TEXT
    assert type(models) is Models and [one.id for one in models.data] == ["GigaChat", "GigaChat-2"]
    assert type(model) is Model and model.owned_by == "salutedevices"
    assert type(vectors) is Embeddings and vectors.data[0].embedding == [0.5, -1.25]
    assert counts[0].tokens == 2 and counts == [{"object": "tokens", "tokens": 2, "characters": 10}]
    assert [chunk.choices[0].delta.content for chunk in stream] == list(STREAM_TEXTS) and stream.text == STREAM_TEXT
    assert stream.usage.total_tokens == 59 and stream.finish_reason == "stop"
    assert type(stream.completion) is ChatCompletion
    assert stream.x_headers["x-request-id"] == stream.completion.x_headers["x-request-id"] == "r-1"


@pytest.mark.parametrize("base", ["", "/", "/api/v1/", "/v1"])
def test_paths_hang_below_the_base_as_people_write_it(base, server, client):
    running = server(reply(body=json.dumps(MODELS)))
    running.base_url = running.auth_url = running.url + base
    client(running).get_models()
    assert running.requests[0].path == base.rstrip("/") + "/models"


@pytest.mark.parametrize("model, path", [
    ("GigaChat:2.0.28.2", "GigaChat%3A2.0.28.2"), ("a/../../b", "a%2F..%2F..%2Fb"), ("a b?c#d", "a%20b%3Fc%23d"),
    ("модель", "%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C"), ("%2e%2e", "%252e%252e"), ("a\r\nX: y", "a%0D%0AX%3A%20y")])
def test_an_id_cannot_lead_to_another_address(model, path, api, client):
    running = api(reply(body={"id": "x"}))
    client(running).get_model(model)
    assert running.calls[0].path == "/api/v1/models/" + path


@pytest.mark.parametrize("model", ["", " ", ".", "..", None, 5, "\udc80"])
def test_what_is_no_id_is_refused_before_any_network(model, api, client):
    running = api(reply())
    with pytest.raises((ValueError, TypeError)) as caught:
        client(running).get_model(model)
    assert not running.requests and type(caught.value) is not UnicodeEncodeError


@pytest.mark.parametrize("texts, wanted", [
    ("раз", ["раз"]), (["раз", "два"], ["раз", "два"]), (("a",), ["a"]), ([], [])])
def test_one_text_or_several_are_sent_as_a_list(texts, wanted, service):
    running, giga = service
    giga.embeddings(texts, model="EmbeddingsGigaR")
    giga.tokens_count(texts, model="GigaChat-2")
    assert [call.json for call in running.calls] == [
        {"model": "EmbeddingsGigaR", "input": wanted}, {"model": "GigaChat-2", "input": wanted}]


@pytest.mark.parametrize("texts", [None, 5, [1], ["a", None], b"bytes", {"a": 1, 2: 3}])
def test_what_is_no_text_is_a_type_error(texts, service):
    running, giga = service
    for ask in (giga.embeddings, giga.tokens_count):
        with pytest.raises(TypeError):
            ask(texts)
    assert not running.requests


def test_the_emulator_answers_every_call():
    with Emulator() as emu, GigaChat(**emu.config) as giga:
        assert "GigaChat" in giga.chat("Кто ты?").choices[0].message.content
        stream = giga.stream("Кто ты?")
        assert "".join(chunk.choices[0].delta.content for chunk in stream) == stream.text
        assert stream.completion.choices[0].message.content == giga.chat("Кто ты?").choices[0].message.content
        assert len(giga.embeddings(["раз", "два"]).data) == 2 and giga.tokens_count(["раз"])[0].characters == 3
        assert giga.get_models().data[0].id == "GigaChat" and giga.get_model("GigaChat").type == "chat"
        assert type(giga.get_token()) is AccessToken
        assert [call.path for call in emu.requests].count("/api/v2/oauth") == 1


# ---- Authorisation on the wire


def test_a_key_is_exchanged_as_the_api_describes(service, client):
    running, _ = service
    giga = client(running, credentials=KEY, scope="GIGACHAT_API_B2B")
    token = giga.get_token()
    seen = running.requests[0]
    assert (seen.method, seen.path, seen.body) == ("POST", "/api/v2/oauth", b"scope=GIGACHAT_API_B2B")
    assert seen.headers["Authorization"] == "Basic " + KEY and uuid.UUID(seen.headers["RqUID"]).version == 4
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert token.access_token == "token-1" and len(str(token.expires_at)) == 13
    assert set(token.x_headers) == {"x-request-id", "x-session-id", "x-client-id"}
    giga.get_models()
    assert running.calls[0].headers["Authorization"] == "Bearer token-1" and running.oauth_calls == 1


def test_client_id_and_secret_and_user_and_password_become_basic(service, client):
    running, _ = service
    giga = client(running, client_id="имя", client_secret="s:3")
    giga.get_token()
    assert running.requests[-1].headers["Authorization"] == "Basic 0LjQvNGPOnM6Mw=="
    giga = client(running, user="u", password="пароль")
    assert giga.get_token().access_token == "token-2"
    seen = running.requests[-1]
    assert (seen.method, seen.path, seen.body) == ("POST", "/api/v1/token", b"") and "scope" not in seen.path
    assert seen.headers["Authorization"] == "Basic dTrQv9Cw0YDQvtC70Yw=" and seen.headers["Content-Length"] == "0"


@pytest.mark.parametrize("body", [
    "", "<html>S3CRET</html>", "[]", "null", '{"access_token":""}', '{"access_token":"S3CRET with spaces"}',
    '{"access_token":["S3CRET"]}', '{"access_token":"S3CRETж"}', '{"access_token":"S3CRET\\r\\nX: y"}', "{\"a\":",
    "[" * 100000])
def test_an_answer_without_a_token_is_a_clear_error_that_shows_nothing(body, api, client):
    running = api(reply(body=CHAT_BODY), oauth=reply(200, body))
    with pytest.raises(ResponseError, match="no access token") as caught:
        client(running, credentials=KEY).get_token()
    assert "S3CRET" not in str(caught.value) + repr(caught.value) + str(vars(caught.value))


def test_an_odd_expiry_is_no_crash(api, client):
    for expires in ('"soon"', "null", "-1", "1e400", "true", "[]", "12345678901234567890123", "1" + "0" * 400):
        running = api(reply(body=CHAT_BODY), oauth=reply(200, '{"access_token":"t","expires_at":%s}' % expires))
        giga = client(running, credentials=KEY)
        assert giga.get_token().access_token == "t" and giga.chat("x").choices
        assert running.oauth_calls == 1


# ---- Headers


CVARS = {
    "client_id_cvar": "X-Client-ID", "session_id_cvar": "X-Session-ID", "request_id_cvar": "X-Request-ID",
    "service_id_cvar": "X-Service-ID", "operation_id_cvar": "X-Operation-ID", "trace_id_cvar": "X-Trace-ID",
    "agent_id_cvar": "X-Agent-ID"}


def in_context(function):
    return contextvars.copy_context().run(function)


@pytest.mark.parametrize("name", CALLS)
def test_every_context_variable_travels_with_every_call(name, service):
    running, giga = service

    def ask():
        for variable, header in CVARS.items():
            getattr(gigachat_lite, variable).set("value of " + header)
        CALLS[name][0](giga)

    in_context(ask)
    CALLS[name][0](giga)
    first, second = running.calls
    assert {header: first.headers[header] for header in CVARS.values()} == {h: "value of " + h for h in CVARS.values()}
    assert not [header for header in CVARS.values() if second.headers[header] is not None]


def test_options_are_stronger_than_custom_headers_and_those_than_the_variables(service):
    running, giga = service

    def ask():
        gigachat_lite.session_id_cvar.set("variable")
        gigachat_lite.trace_id_cvar.set("variable")
        gigachat_lite.agent_id_cvar.set("variable")
        gigachat_lite.custom_headers_cvar.set({"x-SESSION-id": "custom", "X-Trace-ID": "custom", "X-Own": "custom"})
        giga.get_models(headers={"X-trace-id": "option", "User-Agent": "mine/1", "X-Empty": ""})

    in_context(ask)
    headers = running.calls[0].headers
    assert headers.get_all("X-Session-ID") == ["custom"] and headers.get_all("X-Trace-ID") == ["option"]
    assert headers["X-Agent-ID"] == "variable" and headers["X-Own"] == "custom" and headers["X-Empty"] == ""
    assert headers.get_all("User-Agent") == ["mine/1"]


def test_the_spelling_of_a_header_does_not_decide_which_one_wins(service):
    running, giga = service

    def ask():
        gigachat_lite.authorization_cvar.set("Bearer of-the-variable")
        gigachat_lite.session_id_cvar.set("variable")
        gigachat_lite.custom_headers_cvar.set({"authorization": "Bearer of-custom", "x-session-id": "custom"})
        giga.get_models()
        giga.get_models(headers={"AUTHORIZATION": "Bearer of-the-call", "X-SESSION-ID": "call"})

    in_context(ask)
    first, second = (request.headers for request in running.calls)
    assert (first["Authorization"], first["X-Session-ID"]) == ("Bearer of-custom", "custom")
    assert (second["Authorization"], second["X-Session-ID"]) == ("Bearer of-the-call", "call")


@pytest.mark.parametrize("name", ["X-Client-ID", "x-own"])
def test_oauth_gets_no_headers_of_the_context(name, service, client):
    running, _ = service
    giga = client(running, credentials=KEY)
    giga.chat("x", headers={name: "value"})
    assert running.requests[0].headers[name] is None and running.calls[0].headers[name] == "value"


def test_new_threads_begin_without_the_context_and_can_be_given_it(service):
    running, giga = service

    def ask():
        gigachat_lite.session_id_cvar.set("s")
        for target in (giga.get_models, contextvars.copy_context().run):
            thread = threading.Thread(target=target, args=() if target == giga.get_models else (giga.get_models,))
            thread.start()
            thread.join()

    in_context(ask)
    bare, given = (call.headers["X-Session-ID"] for call in running.calls)
    assert given == "s" and bare in (None, "s")  # from Python 3.14 on threads may inherit the context


@pytest.mark.parametrize("way", ["variable", "custom", "option", "option in lower case"])
def test_an_authorization_of_ones_own_takes_the_place_of_the_token_and_its_401_is_final(way, api, client):
    running = api([reply(401, '{"status":401,"message":"Unauthorized"}\n'), reply(body=CHAT_BODY)])
    giga = client(running, credentials=KEY)

    def ask():
        options = {}
        if way == "variable":
            gigachat_lite.authorization_cvar.set("Bearer own")
        elif way == "custom":
            gigachat_lite.custom_headers_cvar.set({"authorization": "Bearer own"})
        else:
            options = {"headers": {"Authorization" if way == "option" else "authorization": "Bearer own"}}
        giga.chat("x", **options)

    with pytest.raises(AuthenticationError):
        in_context(ask)
    assert running.oauth_calls == 0 and len(running.calls) == 1
    assert running.calls[0].headers.get_all("Authorization") == ["Bearer own"]
    giga.chat("x")
    assert running.calls[1].headers["Authorization"] == "Bearer token-1"


def test_an_authorization_of_ones_own_needs_no_key_at_all(service):
    running, _ = service
    giga = new_client(base_url=running.base_url)
    assert giga.chat("x", headers={"Authorization": "Bearer own"}).choices and running.oauth_calls == 0
    with pytest.raises(ConfigurationError):
        giga.chat("x")
    assert len(running.requests) == 1


@pytest.mark.parametrize("headers, shows", [
    ({"X-Own": "S3CRETж"}, "X-Own"),
    ({"X-Own": "S3CRET\r\nX-Evil: 1"}, "X-Own"),
    ({"X-Own": "S3CRET\n"}, "X-Own"),
    ({"X-Own": "S3CRET\0"}, "X-Own"),
    ({"X-Own": b"S3CRET"}, "X-Own"),
    ({"X-Own": 5}, "X-Own"),
    ({"X-Own": None}, "X-Own"),
    ({"Authorization": "Bearer S3CRET\n"}, "Authorization"),
    ({"X Own": "S3CRET"}, "X…"),
    ({"X-Own:": "S3CRET"}, "X-Own…"),
    ({"": "S3CRET"}, ""),
    ({"X-Own\r\nX-Evil": "S3CRET"}, "X-Own…"),
    ({"Имя": "S3CRET"}, "…"),
    ({5: "S3CRET"}, "int"),
    ({"Content-Length": "5"}, "Content-Length"),
    ({"transfer-encoding": "chunked"}, "transfer-encoding"),
    ({"Host": "evil.example"}, "Host"),
])
def test_a_header_that_http_cannot_carry_is_refused_without_its_value(headers, shows, service):
    running, giga = service

    def by_context():
        gigachat_lite.custom_headers_cvar.set(headers)
        giga.stream("x")

    for ask in (lambda: giga.chat("x", headers=headers), lambda: in_context(by_context)):
        with pytest.raises((ValueError, TypeError)) as caught:
            ask()
        assert shows in str(caught.value) and "S3CRET" not in str(caught.value) and "\n" not in str(caught.value)
    assert not running.requests


@pytest.mark.parametrize("variable", ["session_id_cvar", "authorization_cvar"])
def test_a_context_variable_that_http_cannot_carry_is_refused_too(variable, service):
    running, giga = service
    for value in ("S3CRETж", "S3CRET\r\nX: y", b"S3CRET", 5):
        def ask(value=value):
            getattr(gigachat_lite, variable).set(value)
            giga.chat("x")

        with pytest.raises((ValueError, TypeError)) as caught:
            in_context(ask)
        assert "S3CRET" not in str(caught.value)
    assert not running.requests


# ---- Options of a call


@pytest.mark.parametrize("field", ["temperature", "model", "max_tokens"])
def test_a_field_of_the_request_given_as_an_option_is_led_to_its_place(field, service):
    running, giga = service
    with pytest.raises(TypeError, match="goes into a dict") as caught:
        giga.chat("x", **{field: 1})
    assert field in str(caught.value) and not running.calls


@pytest.mark.parametrize("name", [*CALLS, "get_token"])
def test_a_misspelt_option_is_refused_before_any_network(name, service):
    running, giga = service
    ask = CALLS[name][0] if name in CALLS else lambda giga, **options: giga.get_token(**options)
    for option, nearest in (("timeot", "timeout"), ("header", "headers"), ("dedline", "deadline"), ("qqq", None)):
        with pytest.raises(TypeError, match=option) as caught:
            ask(giga, **{option: 1})
        assert nearest is None or name == "get_token" or nearest in str(caught.value)
    assert not running.requests


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"timeout": -1}, {"timeout": (1, 2, 3)}, {"deadline": 0},
                                     {"deadline": "x"}, {"deadline": -1}])
def test_a_bad_option_is_a_configuration_error_that_names_it(options, service):
    running, giga = service
    with pytest.raises(ConfigurationError, match="option " + next(iter(options))):
        giga.chat("x", **options)
    assert not running.requests


@crossed("options, words, name", [
    pytest.param({"timeout": (5, 0.05)}, "0.05", id="timeouts"), pytest.param({"timeout": 0.05}, "0.05", id="timeout"),
    pytest.param({"deadline": 0.05}, "deadline", id="deadline")], ["chat", "stream", "get_models"],
    often=lambda options, words, name: (words == "deadline") == (name != "get_models") and options != {"timeout": 0.05})
def test_timeout_and_deadline_of_a_call_hold_for_it_alone(options, words, name, api, client):
    running = api([never(), reply(body=json.dumps(MODELS))])
    giga = client(running)
    with pytest.raises(RequestTimeout, match=words) as caught:
        CALLS[name][0](giga, **options)
    assert isinstance(caught.value, TimeoutError) and len(running.calls) == 1
    assert giga.get_models(timeout=None, deadline=None, headers=None).data
    assert giga.config["timeout"] == load_config(env_file=False, environ={})["timeout"]


# ---- Answers that are none


@pytest.mark.parametrize("body, words", [
    ("", "empty"),
    ("  \n", "empty"),
    ("<html><body><h1>Прокси: вход</h1></body></html>", "Прокси: вход"),
    ("{\"choices\":[", "not JSON"),
    ("[]", "list"),
    ("null", "NoneType"),
    ('"text"', "str"),
    ("5", "int"),
    (b"\xff\xfe\x00", "not JSON"),
    ("[" * 200000, "not JSON"), ('{"status":' + "[" * 4000, "not JSON"),
    ('{"choices":[],"x":NaN}', "not JSON"),
    ('{"choices":[],"x":-Infinity}', "not JSON"),
])
@pytest.mark.parametrize("name", ["chat", "get_models", "embeddings"])
def test_a_200_that_is_no_answer_is_a_clear_error(body, words, name, api, client):
    running = api(reply(body=body, headers={"Content-Type": "text/html", **IDS}))
    with pytest.raises(ResponseError, match=words) as caught:
        CALLS[name][0](client(running))
    error = caught.value
    assert error.status_code == 200 and error.request_id == "r-1" and "\n" not in str(error) and len(str(error)) < 600
    assert len(running.calls) == 1 and error.content == (body if isinstance(body, bytes) else body.encode())[:65536]


@pytest.mark.parametrize("body", ["", "<html>x</html>", "{}", '{"status":200}', "[[]]x"])
def test_a_count_that_is_no_list_is_a_clear_error(body, api, client):
    with pytest.raises(ResponseError):
        client(api(reply(body=body))).tokens_count("x")


@pytest.mark.parametrize("body", ["", "<html>Вход</html>", CHAT_BODY.decode(), "[]"])
def test_a_stream_that_is_no_stream_is_a_clear_error(body, api, client):
    running = api(reply(body=body))
    with pytest.raises(ResponseError, match="no event stream") as caught:
        client(running).stream("x")
    assert caught.value.content == body.encode() and len(running.calls) == 1


@pytest.mark.parametrize("name", ["chat", "stream", "get_models"])
@pytest.mark.parametrize("status, kind", [(429, RateLimitError), (400, BadRequestError), (401, AuthenticationError)])
def test_an_error_inside_a_200_is_that_error(name, status, kind, api, client):
    body = '{"status":%d,"message":"Too many requests"}\n' % status
    with pytest.raises(kind, match="Too many requests") as caught:
        CALLS[name][0](client(api(reply(body=body, headers=IDS))))
    assert caught.value.status_code == status and caught.value.request_id == "r-1"


def test_an_answer_of_an_unknown_shape_is_passed_on(api, client):
    running = api(reply(body={"choices": None, "novel": {"a": [{"b": 1}]}, "status": "fine"}))
    answer = client(running).chat("x")
    assert answer.choices is None and answer.novel.a[0].b == 1 and answer.usage is None


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding, pack", [
    ("gzip", gzip.compress), ("GZIP", gzip.compress)],
    ids=["gzip", "GZIP"])
def test_compressed_answers_are_read(framing, coding, pack, api, client):
    running = api(reply(body=pack(CHAT_BODY), headers={"Content-Encoding": coding}, framing=framing))
    giga = client(running)
    assert [giga.chat("x").choices[0].message.content for _ in range(2)] == [CHAT_TEXT] * 2
    assert running.connections == (2 if framing == "close" else 1)


def test_raw_deflate_is_read_or_not_asked_for(api, client):
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = reply(body=packer.compress(CHAT_BODY) + packer.flush(), headers={"Content-Encoding": "deflate"})

    def handler(request, connection):
        return packed if "deflate" in request.headers["Accept-Encoding"] else reply(body=CHAT_BODY)

    assert client(api(handler)).chat("x").choices[0].message.content == CHAT_TEXT


def test_gzip_of_several_members_is_read(api, client):
    packed = gzip.compress(CHAT_BODY[:99]) + gzip.compress(CHAT_BODY[99:])
    running = api(reply(body=packed, headers={"Content-Encoding": "gzip"}))
    assert client(running).chat("x").choices[0].message.content == CHAT_TEXT


def test_compressed_errors_are_read_and_broken_ones_are_still_errors(api, client):
    body = '{"status":422,"message":"Поле messages"}\n'.encode()
    packed = reply(422, gzip.compress(body), {"Content-Encoding": "gzip"})
    bomb = reply(200, gzip.compress(b"0" * 10_000_000, 1)[:-5], {"Content-Encoding": "gzip"})
    broken = reply(503, b"no gzip", {"Content-Encoding": "gzip"})
    running = api([packed, broken, bomb, reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})])
    giga = client(running)
    with pytest.raises(ResponseError, match="Поле messages"):
        giga.chat("x")
    with pytest.raises(GigaChatException) as caught:
        giga.chat("x")
    assert getattr(caught.value, "status_code", None) == 503
    for _ in range(2):
        with pytest.raises(GigaChatException):
            giga.chat("x")


def test_a_byte_order_mark_before_json_is_passed_over(api, client):
    mark, token = b"\xef\xbb\xbf", b'{"access_token":"t-1","expires_at":4102444800000}'
    hidden = reply(200, mark + b'{"status":422,"message":"hidden"}')
    refused = reply(422, mark + b'{"status":422,"message":"plain"}')
    running = api([reply(body=mark + CHAT_BODY), hidden, refused], oauth=reply(body=mark + token))
    giga = client(running, access_token=None, credentials="YTpi")
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT
    for message in ("hidden", "plain"):
        with pytest.raises(ResponseError) as caught:
            giga.chat("x")
        assert (caught.value.status_code, caught.value.message) == (422, message)


# ---- Models


@pytest.mark.parametrize("name", ["chat", "stream", "get_model", "tokens_count"])
def test_no_such_model_names_the_call_that_lists_them(name, api, client):
    running = api(reply(404, NO_SUCH_MODEL, IDS))
    with pytest.raises(NotFoundError, match=r"No such model.*get_models\(\)") as caught:
        CALLS[name][0](client(running))
    assert caught.value.request_id == "r-1" and "\n" not in str(caught.value)
    assert len(running.calls) == 1


@pytest.mark.parametrize("answers", [
    [reply(404, NO_SUCH_MODEL), reply(404, NO_SUCH_MODEL)],
    [reply(404, NO_SUCH_MODEL), reply(body=json.dumps(MODELS))],
    [reply(404, '{"status":404,"message":"Not found"}')],
    [reply(403, '{"status":403,"message":"Permission denied"}')],
    [reply(403, "<html><h1>403 Forbidden</h1></html>")],
], ids=["no model", "no model of these", "404", "403", "403 in HTML"])
def test_the_classic_host_hints_at_the_new_one(answers, server, certs, resolve):
    resolve("gigachat.devices.sberbank.ru")
    running = server(answers, context=certs.context("names"))
    giga = new_client(base_url=running.at("gigachat.devices.sberbank.ru") + "/api/v1", access_token="t",
                      ca_bundle_file=str(certs.ca_pem))
    with pytest.raises(ResponseError, match=r"GIGACHAT_BASE_URL=https://api\.giga\.chat/v1"):
        giga.chat("x")


def test_giga_chat_wants_a_model_and_takes_it_from_anywhere(server, certs, resolve):
    resolve("api.giga.chat")
    running = server(reply(body=CHAT_BODY), context=certs.context("names"))
    giga = new_client(base_url=running.at("api.giga.chat") + "/v1", access_token="t", ca_bundle_file=str(certs.ca_pem))
    with pytest.raises(ModelNotSpecifiedError, match="api.giga.chat"):
        giga.chat("x")
    assert not running.requests
    giga.chat({"messages": [], "model": "GigaChat-2"})
    assert running.requests[0].path == "/v1/chat/completions" and running.requests[0].json["model"] == "GigaChat-2"


# ---- The service's habits


def test_cookies_are_neither_kept_nor_sent(api, client):
    running = api(reply(body=CHAT_BODY, headers={"Set-Cookie": "session=1; Path=/"}))
    giga = client(running)
    giga.chat("x")
    giga.chat("x")
    assert running.calls[1].headers["Cookie"] is None


def test_an_error_holds_no_cookie(api, client):
    running = api(reply(403, {"status": 403}, {"Set-Cookie": "session=1; Path=/", "X-Request-ID": "r-1"}))
    with pytest.raises(ResponseError) as caught:
        client(running).chat("x")
    assert caught.value.headers["x-request-id"] == "r-1" and "session=1" not in repr(vars(caught.value))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_and_nothing_follows_it(status, api, server, client):
    elsewhere = server(reply(body=CHAT_BODY))
    for target in (elsewhere.url + "/login", "/api/v1/elsewhere"):
        running = api(reply(status, headers={"Location": target}))
        with pytest.raises(ResponseError, match="[Rr]edirect") as caught:
            client(running).chat("x")
        assert caught.value.status_code == status and len(running.calls) == 1
    assert not elsewhere.requests


def test_netrc_is_never_read(api, client, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    running = api(reply(body=CHAT_BODY))
    client(running, trust_env=True, credentials=KEY).chat("x")
    assert running.requests[0].headers["Authorization"] == "Basic " + KEY
    assert running.calls[0].headers["Authorization"] == "Bearer token-1"


def test_a_ready_token_is_replaced_on_a_401_only_where_there_are_credentials(api, client):
    running = api([reply(401), reply(401), reply(body=CHAT_BODY)])
    with pytest.raises(AuthenticationError):
        client(running).chat("x")
    assert running.oauth_calls == 0 and len(running.calls) == 1
    giga = client(running, credentials=KEY, access_token="given")
    assert giga.get_token().access_token == "given" and giga.get_token().expires_at is None
    assert giga.chat("x").choices and running.oauth_calls == 1
    assert [call.headers["Authorization"] for call in running.calls[1:]] == ["Bearer given", "Bearer token-1"]


def test_each_try_of_oauth_has_a_number_of_its_own(api, client):
    running = api(reply(body=CHAT_BODY), oauth=[reply(500), reply(429), oauth_reply()])
    giga = client(running, credentials=KEY, max_retries=2, retry_backoff_factor=0)
    assert giga.chat("x").choices
    numbers = [request.headers["RqUID"] for request in running.requests if request.headers["RqUID"]]
    assert len(set(numbers)) == 3 and all(re.fullmatch(r"[0-9a-f-]{14}4[0-9a-f-]{21}", number) for number in numbers)


def test_a_client_works_after_close_and_as_a_context_manager(service):
    running, giga = service
    with giga as same:
        assert same is giga and giga.chat("x").choices
    assert giga.chat("x").choices and running.connections == 2
