"""Errors: a class for each, one readable line that says what to do, nothing foreign, and no secret anywhere."""
from __future__ import annotations

import base64
import copy
import inspect
import json
import logging
import multiprocessing
import pickle
import socket
import ssl
import traceback
import urllib.parse
import warnings
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import pytest
import requests

import gigachat_lite
from clients import crossed, new_client
from gigachat_lite import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentFilterError,
    Emulator,
    ForbiddenError,
    GigaChat,
    GigaChatException,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    RequestTimeout,
    ResponseError,
    ServerError,
    StreamError,
    TLSError,
    TransportError,
    UnprocessableEntityError,
)
from gigachat_lite.body import Response
from gigachat_lite.diagnose import hint_for
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, drop, never, raw, refused, reply, sse

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # old stand-ins warn of themselves when they are imported
    import requests_mock
    import responses

IDS = {"X-Request-Id": "r-77"}
URL = "https://api.giga.chat/v1/chat/completions"
SECRETS = {  # every secret of a call, and the forms in which it travels
    "key": base64.b64encode(b"c1d2e3f4-0000-4000-8000-000000000001:s3cr3t-0f-the-key").decode(),
    "token": "t0ken-that-nobody-may-see",
    "password": "p4ssword-that-nobody-may-see",
    "proxy": "pr0xy-password",
}
FORMS = [*SECRETS.values(), "s3cr3t-0f-the-key",
         base64.b64encode(("maria:" + SECRETS["password"]).encode()).decode(),
         base64.b64encode(("us:" + SECRETS["proxy"]).encode()).decode()]


def client_of(running, **settings):
    given = {"base_url": running.base_url, "auth_url": running.auth_url, "max_retries": 0, "timeout": (5, 5)}
    if not {"credentials", "client_id", "user"} & set(settings):
        given["access_token"] = "t"
    return new_client(**{**given, **settings})


# ---- Classes


CLASSES = {
    400: BadRequestError, 401: AuthenticationError, 402: PaymentRequiredError, 403: ForbiddenError, 404: NotFoundError,
    405: ResponseError, 409: ResponseError, 413: RequestEntityTooLargeError, 422: UnprocessableEntityError,
    423: ResponseError, 429: RateLimitError, 431: ResponseError, 500: ServerError, 502: ServerError, 503: ServerError,
    504: ServerError, 599: ServerError}


@pytest.mark.parametrize("status", CLASSES)
def test_each_status_has_its_class_over_the_wire(status, api):
    body = '{"status":%d,"message":"Сообщение сервиса"}\n' % status
    running = api(reply(status, body, IDS))
    giga = client_of(running)
    for ask in (giga.chat, giga.stream, lambda _: giga.get_models()):
        with pytest.raises(ResponseError) as caught:
            ask("x")
        error = caught.value
        assert type(error) is CLASSES[status] and error.status_code == status and error.message == "Сообщение сервиса"
        assert error.body == json.loads(body) and error.content == body.encode() and error.code is None
        assert error.request_id == "r-77" and error.headers["x-request-id"] == "r-77"
        assert error.url.startswith(running.base_url + "/")


def test_the_tree_of_classes():
    parents = {
        ResponseError: GigaChatException, ConfigurationError: ValueError, ModelNotSpecifiedError: ConfigurationError,
        TransportError: ConnectionError, TLSError: TransportError, StreamError: TransportError,
        RequestTimeout: TimeoutError, LengthFinishReasonError: GigaChatException, ContentFilterError: GigaChatException,
        gigachat_lite.ParseError: ValueError, gigachat_lite.FunctionCallError: GigaChatException}
    assert all(issubclass(kind, parent) for kind, parent in parents.items())
    assert issubclass(RequestTimeout, TransportError)
    kinds = [getattr(gigachat_lite, name) for name in gigachat_lite.__all__]
    kinds = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, BaseException)]
    assert len(kinds) == 21 and all(issubclass(kind, GigaChatException) and kind.__doc__ for kind in kinds)


def test_the_official_positional_form_is_accepted():
    headers = {"x-request-id": "r", "content-type": "application/json"}
    for url in (URL, urllib.parse.urlsplit(URL).geturl()):
        error = RateLimitError(url, 429, b'{"status":429,"message":"Too many requests","code":3}', headers)
        assert (error.url, error.status_code, error.headers) == (URL, 429, headers) and error.content[:3] == b'{"s'
        assert (error.message, error.code, error.request_id, error.retry_after) == ("Too many requests", 3, "r", 0)
        assert error.args == (str(error),) and "Too many requests" in str(error)
    assert ResponseError(URL, 418, b"", None).request_id is None
    assert ResponseError(URL, 418, b"", {"X-Request-ID": "r"}).request_id == "r"


# ---- The text


@pytest.mark.parametrize("status, content, words", [
    (422, '{"status":422,"message":"Недопустимое поле «messages»"}', "422 Недопустимое поле «messages»"),
    (500, "", "500 without a body"),
    (502, "<html>\r\n<head><title>502 Bad Gateway</title></head>\n<body><h1>Шлюз</h1></body></html>", "Шлюз"),
    (400, '{"message":"строка\\nвторая\\r\\nтретья\\u2028четвёртая"}', "строка вторая третья четвёртая"),
    (400, '{"message":{"deep":[1]}}', "deep"),
    (400, '{"message":null,"code":null}', "400"),
    (400, '["list"]', "list"),
    (400, '"text"', "text"),
    (400, "[" * 50000, "[["),
    (400, b"\xff\xfe\x00\x01", "400"),
    (403, '{"message":"Unauthorized"}', "403 Unauthorized"),
    (400, "x" * 5000, "xxx…"),
    (400, '{"message":"%s"}' % ("ы" * 5000), "ыыы"),
    (400, "\x1b[31mred\x07", "red"),
])
def test_the_text_is_one_short_readable_line(status, content, words):
    content = content if isinstance(content, bytes) else content.encode()
    error = Response(URL, status, IDS, content).error()
    assert words in str(error) and len(str(error).splitlines()) == 1 and "r-77" in str(error) and URL in str(error)
    assert len(str(error)) < 1000 and "\\u" not in str(error) and "b'" not in str(error)
    assert all(letter.isprintable() for letter in str(error))


def test_the_request_id_cannot_forge_or_colour_a_line(api, caplog):
    caplog.set_level(logging.DEBUG, "gigachat_lite")
    head = b"HTTP/1.1 500 x\r\nX-Request-Id: abc\r\n  forged \x1b[31m\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(ServerError, match="abc") as caught:
        client_of(api(raw(head, "keep"))).chat("x")
    lines = [record.getMessage() for record in caplog.records]
    assert all(text.isprintable() for text in [str(caught.value), *lines]) and "abc" in lines[0]


HINTS = [
    (422, b'{"status":422,"message":"Model does not support image processing"}', "GigaChat-2-Pro"),
    (400, b'{"status":400,"message":"Your request contains invalid JSON syntax."}', "wrong type"),
    (400, '{"code":1,"message":"scope data format invalid"}', "GIGACHAT_API_PERS.*GIGACHAT_API_B2B.*GIGACHAT_API_CORP"),
    (400, '{"code":5,"message":"scope is empty"}', "GIGACHAT_API_PERS.*GIGACHAT_API_B2B.*GIGACHAT_API_CORP"),
    (400, '{"code":7,"message":"scope from db not fully includes consumed scope"}', "GIGACHAT_SCOPE.*_CORP"),
    (401, '{"code":7,"message":"scope from db not fully includes consumed scope"}', "GIGACHAT_SCOPE.*_CORP"),
    (400, '{"code":4,"message":"Can\'t decode \'Authorization\' header"}', "base64"),
    (401, '{"code":4,"message":"Can\'t decode \'Authorization\' header"}', "base64"),
    (401, '{"code":6,"message":"credentials doesn\'t match db data"}', "authorization key"),
    (401, '{"status":401,"message":"Unauthorized"}', "GIGACHAT_CREDENTIALS"),
    (402, '{"status":402,"message":"Payment Required"}', "model"),
    (403, '{"status":403,"message":"Permission denied"}', "contract"),
    (403, '{"status":403,"message":"Access to file \'1\' is denied"}', "X-Client-ID"),
    (404, '{"status":404,"message":"Not found"}', "GIGACHAT_BASE_URL"),
    (413, '{"status":413,"message":"Payload too large"}', "shorten"),
    (422, '{"status":422,"message":"Invalid params: repetition_penalty"}', "request"),
    (429, '{"status":429,"message":"Too many requests"}', "too often"),
    (500, '{"status":500,"message":"Internal Server Error"}', "later"),
    (302, "", "base_url"),
]


@pytest.mark.parametrize("status, content, hint", HINTS)
def test_what_people_really_meet_comes_with_what_to_do(status, content, hint, api):
    running = api(reply(body=CHAT_BODY), oauth=reply(status, content))
    with pytest.raises(ResponseError, match=hint) as caught:
        client_of(running, credentials=SECRETS["key"]).chat("x")
    assert caught.value.hint and caught.value.hint in str(caught.value) and caught.value.status_code == status
    assert not running.calls


def test_429_is_of_the_places_where_answers_are_made_and_of_the_tokens_where_those_are():
    hints = [hint_for(429, None, "Too many requests", url) for url in ("https://h/v1/embeddings", "https://h/v1/token")]
    assert "max_connections" in hints[0] and "max_connections" not in hints[1] and "Tokens" in hints[1]


@pytest.mark.parametrize("code", ["true", '"7"', "[7]", "{}", "1.0", "99"])
def test_an_odd_code_is_no_crash_and_gives_no_wrong_hint(code):
    error = Response(URL, 400, {}, ('{"code":%s,"message":"m"}' % code).encode()).error()
    assert "scope" not in error.hint and str(error)


@pytest.mark.parametrize("host, hinted", [
    ("gigachat.devices.sberbank.ru", True), ("gigachat.devices.sberbank.ru:443", True), ("api.giga.chat", False),
    ("own.example", False), ("evil.example/gigachat.devices.sberbank.ru", False)])
@pytest.mark.parametrize("status", [403, 404])
def test_only_the_classic_host_hints_at_the_new_one(host, hinted, status):
    error = Response(f"https://{host}/api/v1/models", status, {}, b"").error()
    assert ("GIGACHAT_BASE_URL=https://api.giga.chat/v1" in str(error)) is hinted


@pytest.mark.parametrize("header, wanted", [
    ("5", 5.0), ("0", 0.0), ("86400", 86400.0), ("soon", None), ("inf", None), ("nan", None), ("-1", None),
    (None, None),
    ("Wed, 21 Oct 2015 07:28:05 GMT", 5.0), ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0), ("٥", None), ("1e3", None)])
def test_the_wish_of_a_429_is_in_the_error(header, wanted, api):
    headers = {"Retry-After": header and header.encode().decode("latin-1"), "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    running = api(reply(429, '{"status":429,"message":"Too many requests"}', headers))
    with pytest.raises(RateLimitError) as caught:
        client_of(running).chat("x")
    assert caught.value.retry_after == (0.0 if wanted is None else wanted)  # whatever it is, one can sleep for it


def test_a_long_error_body_is_kept_to_64_kib(api):
    with pytest.raises(ServerError) as caught:
        client_of(api(reply(500, b"<p>" + b"x" * 300_000))).chat("x")
    assert len(caught.value.content) == 65536


# ---- Copies


def fields_of(error):
    return {**vars(error), "args": error.args, "text": str(error), "partial": error.partial, "class": type(error)}


SAMPLES = [
    GigaChatException("x"), ConfigurationError("argument timeout: soon"), ModelNotSpecifiedError("m"),
    TransportError("t"), TLSError("t"), RequestTimeout("r"), StreamError("s"), LengthFinishReasonError({"a": 1}),
    ContentFilterError(SimpleNamespace(finish_reason="blocked")), gigachat_lite.ParseError("no {JSON}", "text"),
    gigachat_lite.FunctionCallError("no such function", [{"role": "user"}], {"c": 3}, {"name": "f"}),
    *[kind(URL, status, '{"message":"ж","code":7}'.encode(), {"x-request-id": "r"})
      for status, kind in CLASSES.items()],
    ResponseError(URL, 418, None, None),
    Response(URL, 200, {}, b"<html>").error("the answer is not JSON"),
    Response(URL, 429, {"Retry-After": "9"}, b"{}" + b"x" * 1000).error(),
]


def raise_sample(number):
    """Raise an error as a function of another process does."""
    error = copy.copy(SAMPLES[number])
    error.partial, error.messages = "Раз", [{"role": "user", "content": "два"}]
    raise error


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_come_back_equal_from_copies(error):
    error = copy.copy(error)
    error.partial, error.note = "Раз два", {"own": 1}
    ways = [lambda e, n=n: pickle.loads(pickle.dumps(e, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    for way in [*ways, copy.copy, copy.deepcopy]:
        twin = way(error)
        assert fields_of(twin) == fields_of(error) and twin is not error


def test_errors_come_back_equal_from_processes():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for number, future in [(number, pool.submit(raise_sample, number)) for number in range(len(SAMPLES))]:
            with pytest.raises(GigaChatException) as caught:
                future.result()
            with pytest.raises(GigaChatException) as here:
                raise_sample(number)
            assert fields_of(caught.value) == fields_of(here.value)


@pytest.mark.parametrize("error", [*SAMPLES, TransportError(5, "two")], ids=lambda error: type(error).__name__)
def test_args_are_the_text_and_all_it_takes(error):
    args = json.loads(json.dumps(error.args))
    assert all(repr(arg) in repr(error) for arg in error.args) and "b'" not in repr(error)
    twin = type(error)(*args)
    assert type(twin)(*twin.args).args == twin.args == error.args and str(twin) == str(error)
    if isinstance(error, ResponseError):
        assert twin.status_code == error.status_code and twin.args == (twin.message,) and error.hint in str(twin)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # old releases of it warn of themselves
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_celery_gives_back_errors_with_their_texts(serializer):
    celery = pytest.importorskip("celery")
    app = celery.Celery(set_as_current=False, result_serializer=serializer, accept_content=[serializer])
    app.conf.update(result_backend="cache+memory://")
    for error in SAMPLES:
        app.backend.store_result("1", error, "FAILURE", traceback="")
        twin = app.backend.get_result("1")
        assert type(twin) is type(error) and str(twin) == str(error)
        app.backend.forget("1")
    assert serializer == "json" or fields_of(twin) == fields_of(error)


def test_errors_of_the_wire_come_back_equal(api):
    running = api(reply(429, '{"status":429,"message":"ж"}', {"Retry-After": "90", **IDS}))
    giga = client_of(running)
    for ask in (lambda: giga.chat("x"), lambda: giga.chat("x", timeout=0.00001), lambda: list(giga.stream("x"))):
        with pytest.raises(GigaChatException) as caught:
            ask()
        assert fields_of(pickle.loads(pickle.dumps(caught.value))) == fields_of(caught.value)
    assert caught.value.retry_after == 90.0


# ---- Only our exceptions leave


STALE = sse(STREAM_BODY)
FAULTS = {
    "dropped": (drop("fin"), "chat", TransportError, "closed before the answer"),
    "reset": (drop("rst"), "chat", TransportError, "closed before the answer"),
    "no http": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "chat", TransportError, ""),
    "garbage": (raw(b"\x16\x03\x01\x00\x00"), "chat", TransportError, ""),
    "endless header": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000), "chat", TransportError, ""),
    "many headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "chat", TransportError, ""),
    "bad status": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), "chat", TransportError, ""),
    "cut head": (reply(body=CHAT_BODY).cut(20, part="head"), "chat", GigaChatException, ""),
    "cut body": (reply(body=CHAT_BODY).cut(100), "chat", TransportError, "broke off"),
    "reset body": (reply(body=CHAT_BODY).cut(100, "rst"), "chat", TransportError, ""),
    "cut chunk": (reply(body=CHAT_BODY, framing="chunked").cut(100), "chat", TransportError, "broke off"),
    "bad chunk": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "chat", TransportError, ""),
    "bad length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"), "chat", None, ""),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"), "chat", None, ""),
    "huge length": (reply(body=b"{}", length=10**15), "chat", TransportError, "broke off"),
    "negative length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"), "chat", None, ""),
    "silence": (never(), "chat", RequestTimeout, "timeout"),
    "bad gzip": (reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}), "chat", GigaChatException, ""),
    "cut stream": (sse(STREAM_BODY).cut(300), "stream", StreamError, ""),
    "reset stream": (sse(STREAM_BODY).cut(300, "rst"), "stream", StreamError, ""),
    "ended stream": (sse(STREAM_BODY[:-14]), "stream", StreamError, "DONE"),
    "no json": (sse(["{"]), "stream", StreamError, "JSON"),
    "no object": (sse(["[1]"]), "stream", StreamError, ""),
    "no utf-8": (sse([b"data: \xff\xfe\n\n"]), "stream", StreamError, "UTF-8"),
    "deep json": (sse(["[" * 100000]), "stream", StreamError, ""),
    "error event": (sse(['{"status":500,"message":"ж"}']), "stream", ServerError, "ж"),
    "odd error event": (sse(['{"status":"x","message":null}']), "stream", StreamError, ""),
    "gzip stream": (sse(STREAM_BODY, headers={"Content-Encoding": "gzip"}), "stream", ResponseError, "compressed"),
    "silent stream": (sse([STREAM_BODY[:300], 30.0]), "stream", RequestTimeout, ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_only_our_exceptions_leave(name, api):
    answer, method, kind, words = FAULTS[name]
    giga = client_of(api(answer), timeout=(5, 0.05 if kind is RequestTimeout else 5))
    try:
        list(giga.stream("x")) if method == "stream" else giga.chat("x")
    except GigaChatException as error:
        assert kind is None or isinstance(error, kind), repr(error)
        assert words in str(error) and len(str(error).splitlines()) == 1
        assert method == "chat" or error.partial is not None or name == "gzip stream"  # which never began
    else:
        assert kind is None


def test_a_refused_connection_is_ours():
    with refused() as port, pytest.raises(TransportError, match=r"no connection.*GIGACHAT_BASE_URL"):
        new_client(base_url=f"http://127.0.0.1:{port}/v1", access_token="t", max_retries=0).chat("x")


def test_an_unknown_name_is_ours(resolve):
    resolve()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for host in ("gone.example", "имя.рф", "a" * 64 + ".example", "-.-", "xn--", "a..b", "%00", "1.2.3.4.5", "*.x",
                 "x_y", "a\\b", "a\u3002b", "\u3002", "é.example", "."):
        with pytest.raises((TransportError, ConfigurationError)) as caught:
            new_client(base_url=f"https://{host}/v1", access_token="t", max_retries=0, ssl_context=trust).get_models()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("context, words", [
    ("foreign", "ca_bundle_file"), ("wrong_host", "check base_url"), ("expired", "clock")])
def test_a_tls_failure_names_host_roots_and_the_line_that_mends_it(context, words, server, certs):
    running = server(reply(body=CHAT_BODY), context=certs.context(context))
    giga = new_client(base_url=running.at("localhost") + "/v1", access_token="t", ca_bundle_file=str(certs.ca_pem))
    with pytest.raises(TLSError, match=f"localhost.*{certs.ca_pem.name}.*{words}") as caught:
        giga.chat("x")
    assert not running.requests and len(str(caught.value).splitlines()) == 1


def test_a_missing_national_root_is_explained(server, certs, resolve):
    resolve("api.giga.chat")
    running = server(reply(body=CHAT_BODY), context=certs.context("names"))
    giga = new_client(base_url=running.at("api.giga.chat") + "/v1", access_token="t", model="m")
    with pytest.raises(TLSError, match=r"api\.giga\.chat.*Russian Trusted Root.*GIGACHAT_CA_BUNDLE_FILE"):
        giga.chat("x")


@pytest.mark.parametrize("answer, words, wait", [
    (reply(407, headers={"Proxy-Authenticate": "Basic"}), "407", 5), (reply(502), "502", 5), (drop("fin"), "", 5),
    (raw(b"nonsense\r\n"), "", 5), (never(), "", 0.1)], ids=["407", "502", "dropped", "nonsense", "never"])
def test_proxy_trouble_names_the_proxy_and_not_its_password(answer, words, wait, server, proxy, certs):
    running, running_proxy = server(reply(body=CHAT_BODY), context=certs.context()), proxy(refuse=answer)
    address = running_proxy.url.replace("//", f"//us:{SECRETS['proxy']}@")
    giga = new_client(base_url=running.at("localhost") + "/v1", access_token="t", ca_bundle_file=str(certs.ca_pem),
                      proxy=address, max_retries=0, timeout=(wait, wait))
    with pytest.raises(TransportError, match=f"127.0.0.1:{running_proxy.port}.*{words}") as caught:
        giga.chat("x")
    assert "a proxy may be needed" not in str(caught.value) and not running.requests
    assert not leaks(everything_shown(caught.value))


@pytest.mark.parametrize("address", [
    "http://127.0.0.1:1", "socks5h://127.0.0.1:1", "http://[::1",
    *(pytest.param(address, marks=pytest.mark.long)
      for address in ("https://127.0.0.1:1", "socks://x:1", "quic://x:1", "127.0.0.1:1", "://", "http://"))])
def test_an_unusable_proxy_of_the_environment_is_ours(address, monkeypatch, resolve):
    resolve("host.example")
    monkeypatch.setenv("ALL_PROXY", address)
    monkeypatch.setenv("NO_PROXY", "[::1],::1")
    with pytest.raises(GigaChatException) as caught:
        giga = new_client(base_url="https://host.example/v1", access_token="t", trust_env=True, max_retries=0,
                          timeout=(1, 1))
        giga.chat("x")
    assert len(str(caught.value).splitlines()) == 1


def own_error(kind):
    """Raise what a caller's own code may be handling when it asks us."""
    if kind is requests.ConnectionError:
        with refused() as port:
            requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    raise kind("own")


@pytest.mark.parametrize("kind", [
    socket.gaierror, socket.timeout, ssl.SSLError, requests.ConnectionError, requests.ConnectTimeout, KeyError])
@pytest.mark.parametrize("name", ["dropped", "cut body", "cut stream"])
def test_what_the_caller_is_handling_is_no_part_of_a_failure(kind, name, api):
    answer, method, _, _ = FAULTS[name]
    running = api(answer)
    giga = client_of(running, max_retries=2, retry_backoff_factor=0)
    ask = giga.chat if method == "chat" else lambda text: list(giga.stream(text))
    texts = []
    with pytest.raises(TransportError) as caught:
        ask("x")
    texts.append(str(caught.value))
    try:
        own_error(kind)
    except (OSError, KeyError):
        with pytest.raises(TransportError) as caught:
            ask("x")
        texts.append(str(caught.value))
    assert len(running.calls) == 2 and texts[0] == texts[1] and type(caught.value) is FAULTS[name][2]


@pytest.mark.parametrize("kind", [socket.timeout, ssl.SSLError])
def test_what_the_reader_of_a_stream_is_handling_is_no_part_of_its_end(kind, api):
    stream = client_of(api(sse(STREAM_BODY).cut(300))).stream("x")
    try:
        own_error(kind)
    except OSError:
        with pytest.raises(StreamError) as caught:
            list(stream)
    assert "broke off" in str(caught.value) and "own" not in str(caught.value)


def test_what_the_caller_is_handling_stays_as_it_was(api):
    giga, response = client_of(api(drop("fin"))), requests.Response()

    def fail_with_a_local():
        local_of_the_caller = "kept"
        raise requests.HTTPError(local_of_the_caller, response=response)

    try:
        fail_with_a_local()
    except requests.HTTPError as own:
        with pytest.raises(TransportError):
            giga.chat("x")
        assert own.response is response
        assert own.__traceback__.tb_next.tb_frame.f_locals["local_of_the_caller"] == "kept"


# ---- No secret of a failed call


def everything_shown(error):
    """Give what a log shows of an error: its text, its traceback and everything that hangs on it, causes included."""
    texts, waiting, seen = traceback.format_exception(type(error), error, error.__traceback__), [error], []
    while waiting:
        item = waiting.pop()
        if isinstance(item, BaseException) and not any(item is one for one in seen):
            seen.append(item)
            waiting += [item.__cause__, item.__context__, *item.args, getattr(item, "reason", None)]
            texts += [str(item), repr(item), repr(item.args), repr(vars(item))]
    return "\n".join(texts)


def leaks(text):
    return [form for form in FORMS if form in text]


def fail(running, way="key", stream=False, **more):
    settings = {
        "key": {"credentials": SECRETS["key"]},
        "pair": {"client_id": "c1d2e3f4-0000-4000-8000-000000000001", "client_secret": "s3cr3t-0f-the-key"},
        "password": {"user": "maria", "password": SECRETS["password"]},
        "token": {"access_token": SECRETS["token"]},
    }[way]
    giga = client_of(running, **settings, **more)
    with pytest.raises(GigaChatException) as caught:
        list(giga.stream("x")) if stream else giga.chat("x")
    return caught.value


def token_reply(**options):
    return reply(200, {"access_token": SECRETS["token"], "expires_at": 4102444800000}, **options)


LEAKY = {
    "refused": None,
    "dropped": drop("fin"),
    "reset": drop("rst"),
    "silence": never(),
    "no http": raw(b"SSH-2.0\r\n"),
    "cut body": reply(body=CHAT_BODY).cut(100),
    "html": reply(body="<html>"),
    "unauthorized": reply(401, '{"status":401,"message":"Unauthorized"}'),
    "too many": reply(429),
    "redirect": reply(302, headers={"Location": "https://evil.example/"}),
    "half a token": reply(200, '{"access_token":"%s with spaces","tok":"%s"}' % (SECRETS["token"], SECRETS["token"])),
}


def fail_leaky(name, host, way, api):
    """Fail as named, at the auth host or at the API."""
    answer = LEAKY[name]
    if answer is None:
        running = api(reply(body=CHAT_BODY), oauth=token_reply())
        with refused() as port:
            dead = f"http://127.0.0.1:{port}/api/v1"
            url = {"base_url": dead, **({"auth_url": dead} if host == "auth" else {})}
            return fail(running, way, **url)
    if host == "auth":
        return fail(api(reply(body=CHAT_BODY), oauth=answer), way, timeout=(5, 0.05))
    return fail(api(answer, oauth=token_reply()), way, way == "token", timeout=(5, 0.05))


# What another way to a token adds: its own request, whose answer has its own names.
@crossed("host, way, name", [
    pytest.param("auth", "key", id="auth-key"), pytest.param("auth", "pair", id="auth-pair"),
    pytest.param("auth", "password", id="auth-password"), pytest.param("api", "key", id="api-key"),
    pytest.param("api", "token", id="api-token")], LEAKY,
    often=lambda host, way, name: way == "key" or name in ("reset", "cut body", "unauthorized", "half a token"))
def test_no_secret_is_in_what_a_log_shows(name, host, way, api, caplog):
    caplog.set_level(logging.DEBUG)
    if (name, host) == ("half a token", "api"):
        return
    error = fail_leaky(name, host, way, api)
    assert not leaks(everything_shown(error)) and not leaks(caplog.text) and caplog.text


def test_an_authorization_header_of_the_caller_is_not_shown(api):
    giga = client_of(api(drop("fin")))
    with pytest.raises(TransportError) as caught:
        giga.chat("x", headers={"Authorization": "Bearer " + SECRETS["token"]})
    assert not leaks(everything_shown(caught.value))


@pytest.mark.parametrize("way", ["environment", "argument"])
@pytest.mark.parametrize("answer", [
    reply(407, headers={"Proxy-Authenticate": "Basic"}), drop("fin")], ids=["407", "dropped"])
def test_no_password_of_a_proxy_is_shown(way, answer, server, proxy, certs, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    running, running_proxy = server(reply(body=CHAT_BODY), context=certs.context()), proxy(refuse=answer)
    address = running_proxy.url.replace("//", f"//us:{SECRETS['proxy']}@")
    more = {"proxy": address} if way == "argument" else {}
    if way == "environment":
        monkeypatch.setenv("HTTPS_PROXY", address)
        monkeypatch.delenv("NO_PROXY", raising=False)
    giga = new_client(base_url=running.at("localhost") + "/v1", access_token="t", ca_bundle_file=str(certs.ca_pem),
                      trust_env=True, max_retries=0, **more)
    with pytest.raises(TransportError) as caught:
        giga.chat("x")
    targets = running_proxy.targets  # a proxy that refuses a password is asked once more, without it, for its reasons
    assert len(targets) == (2 if "(407" in str(caught.value) else 1)
    assert "Authorization" not in str(running_proxy.requests[-1].headers) or len(targets) == 1
    assert not leaks(everything_shown(caught.value)) and not leaks(caplog.text) and not leaks(repr(vars(giga)))


@pytest.mark.parametrize("answer", [reply(403), reply(200)], ids=["error", "no answer"])
def test_a_gateway_that_echoes_the_request_does_not_put_the_token_into_the_error(answer, api):
    def echo(request, connection):
        page = "<html><p>Запрос отклонён</p><pre>%s</pre></html>" % request.headers["Authorization"]
        return reply(403 if answer.head.startswith(b"HTTP/1.1 403") else 200, page, {"Content-Type": "text/html"})

    error = fail(api(echo), "token")
    assert "Запрос отклонён" in str(error) and not leaks(str(error)) and not leaks(everything_shown(error))


def test_the_debug_log_has_one_line_per_attempt_and_no_headers_bodies_or_queries(api, caplog):
    caplog.set_level(logging.DEBUG, "gigachat_lite")
    running = api([reply(503, headers=IDS), reply(body=CHAT_BODY, headers=IDS)], oauth=token_reply())
    giga = client_of(running, credentials=SECRETS["key"], max_retries=1, retry_backoff_factor=0)
    giga.chat("вопрос-который-не-пишут", headers={"X-Own": "value-that-is-not-logged"})
    lines = [text for name, level, text in caplog.record_tuples if (name, level) == ("gigachat_lite", logging.DEBUG)]
    assert len(lines) == 3 and "/api/v2/oauth" in lines[0]
    assert ": 503, attempt 1" in lines[1] and ": 200, attempt 2" in lines[2]
    assert all("POST" in line and " ms" in line for line in lines) and "r-77" in lines[2]
    assert not leaks(caplog.text) and not any(word in caplog.text for word in ("вопрос", "Hello", "not-logged"))


def test_the_logger_has_no_handlers_of_its_own():
    assert not logging.getLogger("gigachat_lite").handlers and logging.getLogger("gigachat_lite").propagate


def test_causes_carry_no_request_no_response_and_no_traceback(api):
    error = fail(api(drop("fin"), oauth=token_reply()))
    causes, item = [], error
    while item is not None:
        causes.append(item)
        item = item.__cause__ or item.__context__
    assert any(isinstance(cause, requests.RequestException) for cause in causes)
    assert not [cause for cause in causes if getattr(cause, "request", None) or getattr(cause, "response", None)]
    assert not [cause for cause in causes[1:] if cause.__traceback__]


# ---- Stand-ins for the network


OFFLINE = {"base_url": "https://api.giga.chat/v1", "auth_url": "https://auth.example/oauth", "model": "m",
           "credentials": SECRETS["key"], "max_retries": 0}
TOKEN = {"access_token": "t-1", "expires_at": 4102444800000}


def test_responses_stands_in_for_the_network():
    with responses.RequestsMock() as mock:
        mock.add(responses.POST, OFFLINE["auth_url"], json=TOKEN)
        mock.add(responses.POST, URL, body=CHAT_BODY, headers=IDS, content_type="application/json")
        giga = new_client(**OFFLINE)
        answer = giga.chat("x")
        assert answer.choices[0].message.content == CHAT_TEXT and answer.x_headers["x-request-id"] == "r-77"
        assert mock.calls[1].request.headers["Authorization"] == "Bearer t-1" and len(mock.calls) == 2
    with responses.RequestsMock() as mock:
        mock.add(responses.POST, URL, body=STREAM_BODY, content_type="text/event-stream")
        stream = giga.stream("x")
        assert len(list(stream)) == 5 and stream.text == STREAM_TEXT and stream.completion.usage.total_tokens == 59
    with responses.RequestsMock() as mock:
        mock.add(responses.POST, URL, body='{"status":402,"message":"Payment Required"}', status=402)
        with pytest.raises(PaymentRequiredError, match="Payment Required"):
            giga.chat("x")
        mock.add(responses.GET, URL[:-16] + "models", body=requests.ConnectionError("down"))
        with pytest.raises(TransportError):
            giga.get_models()


def test_requests_mock_stands_in_for_the_network():
    with requests_mock.Mocker() as mock:
        mock.post(OFFLINE["auth_url"], json=TOKEN)
        mock.post(URL, [
            {"content": CHAT_BODY, "headers": IDS},
            {"content": STREAM_BODY, "headers": {"Content-Type": "text/event-stream"}},
            {"json": {"status": 429, "message": "m"}, "status_code": 429, "headers": {"Retry-After": "99"}},
            {"exc": requests.exceptions.ConnectTimeout},
        ])
        giga = new_client(**OFFLINE)
        assert giga.chat("x").choices[0].message.content == CHAT_TEXT
        stream = giga.stream("x")
        assert len(list(stream)) == 5 and stream.text == STREAM_TEXT
        with pytest.raises(RateLimitError) as caught:
            giga.chat("x")
        assert caught.value.retry_after == 99 and mock.call_count == 4
        with pytest.raises(TransportError):
            giga.chat("x")


def test_the_emulators_errors_are_those_of_the_service():
    with Emulator() as emu, GigaChat(**emu.config, max_retries=0) as giga:
        with pytest.raises(NotFoundError, match=r"No such model.*get_models\(\)"):
            giga.chat({"messages": [{"role": "user", "content": "x"}], "model": "nope"})
        with pytest.raises(UnprocessableEntityError, match="system message must be the first"):
            giga.chat([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}])
        emu.enqueue(503)
        with pytest.raises(ServerError, match="503"):
            giga.stream("x")
        with pytest.raises(BadRequestError, match="GIGACHAT_SCOPE"):
            new_client(**{**emu.config, "scope": "GIGACHAT_API_CORP"}).chat("x")


def test_partial_text_hangs_on_whatever_ends_a_stream_early(api):
    events = STREAM_BODY.split(b"\n\n")
    head = b"\n\n".join(events[:2]) + b"\n\n"
    text = "".join(json.loads(event[6:].decode())["choices"][0]["delta"]["content"] for event in events[:2])
    rate_limit = b'data: {"status":429,"message":"m"}\n\n'
    for rest, kind in ((b"", StreamError), (b"data: {\n\n", StreamError), (rate_limit, RateLimitError)):
        with pytest.raises(kind) as caught:
            list(client_of(api(sse(head + rest))).stream("x"))
        assert caught.value.partial == text
    with pytest.raises(RequestTimeout) as caught:
        list(client_of(api(sse([head, 30.0]))).stream("x", deadline=0.2))
    assert caught.value.partial == text


def test_a_deadline_and_a_timeout_are_told_apart(server):
    running = server(never())
    said = {"deadline": "the deadline of this call ran out", "timeout": "nothing came for"}
    for name in said:
        with pytest.raises(RequestTimeout, match=said[name]):
            new_client(base_url=running.url + "/api/v1", access_token="t", max_retries=0).get_models(**{name: 0.1})
