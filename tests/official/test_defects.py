"""D1-D20: what the official SDK 0.2.3 does wrong, and what this library does in its place.

Both run the same scenarios on the same servers with `pytest --peer=official tests/test_defects.py`; a run without it
holds this library alone to what is right. See peers.py for how a row reads.
"""
from __future__ import annotations

import gc
import http.client
import importlib.util
import io
import json
import os
import pathlib
import pickle
import ssl
import subprocess
import sys
import threading
import time
import weakref
from email.utils import formatdate
from typing import Any, Callable, NamedTuple

import pytest

from certs import PASSWORD
from clients import finish, start
from peers import KEY, TABLE, Case, Peers, case, counted, print_table, repeat, scenario
from servers import CHAT_BODY, Answer, never, oauth_reply, refused, reply, sse, until
from streaming import held

CHAT = reply(body=CHAT_BODY)
HELLO = "'Hello.'"
MARKER = "MARKER-0f3a"
OWN = r"own \w+"


@pytest.fixture
def peers(request, api, proxy, certs, tmp_path):
    return Peers(request, (api, proxy, certs, tmp_path), request.config.getoption("peer") == "official")


# ---- Streams of both versions


class Version(NamedTuple):
    """How a version of the stream is opened, and what is sent for a piece of text and at the end."""

    open: Callable[[Any], Any]
    piece: Callable[[str], bytes]
    end: list[bytes]


def data(value, event=""):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (f"event: {event}\n" * bool(event) + f"data: {text}\n\n").encode()


def chunk(reason=None, **delta):
    choice = dict({"delta": delta, "index": 0}, **({"finish_reason": reason} if reason else {}))
    return data({"choices": [choice], "created": 1, "model": "GigaChat", "object": "chat.completion"})


def piece2(text):
    message = {"role": "assistant", "content": [{"text": text}]}
    return data({"model": "GigaChat", "created_at": 1, "messages": [message]}, "response.message.delta")


DONE = data("[DONE]")
V1 = Version(lambda giga: giga.stream("x"), lambda text: chunk(content=text), [chunk("stop", content=""), DONE])
V2 = Version(lambda giga: giga.chat.stream("x"), piece2, [data({"finish_reason": "stop"}, "response.message.done")])


def cut(events, framing="chunked"):
    """Send these events and end the connection, in the middle of the body where it is chunked."""
    answer = sse(events, framing)
    return Answer(answer.steps[:-1] if framing == "chunked" else answer.steps, answer.head_size, "fin")


def read(peer, version, *answers, **settings):
    """Read a stream from a server that gives these answers: what came, and how often it was asked for."""
    host = peer.api(repeat(*answers))
    giga = peer.client(host, **settings)
    return peer.read(lambda: version.open(giga)) + ", " + counted(len(host.calls))


# ---- TLS


def certificate(peer, **more):
    certs = peer.certs
    return dict({"cert_file": str(certs.client_pem), "key_file": str(certs.client_key)}, **more)


@scenario(
    case("chat", "'Hello.'", r"httpx\.\w+", lambda giga: giga.chat("x").choices[0].message.content),
    case("stream", "'Hello.'", r"httpx\.\w+", lambda giga: "".join(
        chunk.choices[0].delta.content for chunk in giga.stream("x"))),
    case("models", "'list'", r"httpx\.\w+", lambda giga: giga.get_models().object_),
    case("key with a password", "'Hello.'", r"httpx\.\w+", lambda giga: giga.chat("x").choices[0].message.content,
         {"key_file_password": PASSWORD}),
)
def test_d1_client_certificate_beside_a_bundle(peer, call, more=None):
    """A client certificate is shown where a CA bundle is set too."""
    def handler(request, connection):
        if b'"stream"' in request.body:
            return sse([V1.piece("Hello."), *V1.end])
        return CHAT if request.body else reply(body={"object": "list", "data": []})

    host = peer.api(handler, context=peer.certs.context(client="required"))
    settings = certificate(peer, ca_bundle_file=str(peer.certs.ca_pem), **(more or {}))
    if more:
        settings["key_file"] = str(peer.certs.client_locked_key)
    return peer.tell(lambda: repr(call(peer.client(host, **settings))))


@scenario(
    case("bundle of the environment, own ssl_context", HELLO, r"httpx\.ConnectError", True, "environment"),
    case("bundle and ssl_context as arguments", HELLO, r"httpx\.ConnectError", True, "argument"),
    case("bundle of the environment, no verification", HELLO, r"httpx\.ConnectError", False, "environment"),
    case("bundle and no verification as arguments", HELLO, r"httpx\.ConnectError", False, "argument"),
)
def test_d2_a_bundle_does_not_beat_what_is_stronger(peer, context, where):
    """A CA bundle does not beat an ssl_context or verify_ssl_certs=False."""
    host = peer.api(CHAT, context=peer.certs.context())
    settings = {"verify_ssl_certs": False}
    if context:
        settings = {"ssl_context": ssl.create_default_context(cafile=str(peer.certs.ca_pem))}
    if where == "environment":
        peer.setenv("GIGACHAT_CA_BUNDLE_FILE", str(peer.certs.other_pem))
    else:
        settings["ca_bundle_file"] = str(peer.certs.other_pem)
    return peer.ask(host, **settings)


@scenario(case("8 threads, 401s one after another", "8 answers, 1 token fetched", "8 answers, [2-8] tokens fetched"))
def test_d3_a_late_401_keeps_the_new_token(peer):
    """A 401 that comes late does not throw away the token that another thread has just fetched."""
    threads, revoked, lock, late, served = 8, threading.Event(), threading.Lock(), [], []
    turns = [threading.Event() for _ in range(threads + 1)]

    def handler(request, connection):
        if not revoked.is_set():
            return CHAT
        old = request.headers["Authorization"] == "Bearer token-1"
        with lock:
            (late if old else served).append(request)
            mine = len(late) - 1
            if not old or len(late) == threads:  # all have sent the old token: a 401 leaves after each answer
                turns[len(served)].set()
        if not old:
            return CHAT
        connection.hold(turns[mine])
        return reply(401, {"status": 401, "message": "Token has expired"})

    host = peer.api(handler)
    giga = peer.client(host, credentials=KEY, max_connections=threads)
    giga.chat("x")
    revoked.set()
    answers = finish(*[start(giga.chat, "x") for _ in range(threads)])
    good = sum(not isinstance(answer, Exception) for answer in answers)
    fetched = host.oauth_calls - 1
    return f"{good} answers, {counted(fetched, 'token')} fetched"


@scenario(
    case("shown to whoever asks", "shown to OAuth, API", "shown to API", "optional"),
    case("required by both hosts", "shown to OAuth, API", r"httpx\.\w+", "required"),
)
def test_d4_client_certificate_at_the_auth_host(peer, wanted):
    """The client certificate is offered to the auth host too."""
    host = peer.api(CHAT, context=peer.certs.context(client=wanted))
    text = peer.ask(host, verify_ssl_certs=False, credentials=KEY, **certificate(peer))
    shown = ["OAuth" if "oauth" in request.path else "API" for request in host.requests if request.peer_cert]
    return "shown to " + ", ".join(shown) if text == HELLO else text


# ---- Streams


def versions(right, defect, second=None):
    return case("v1", right, defect, V1), case("v2", right, second or defect, V2)


@scenario(*versions(r"'Раз два ', then own StreamError, 1 request", r"'Раз два Раз два три', 2 requests"))
def test_d5_no_retry_in_mid_stream(peer, version):
    """A stream that breaks off is not begun again behind what was read."""
    pieces = [version.piece(text) for text in ("Раз ", "два ", "три")]
    whole = sse(pieces + version.end)
    return read(peer, version, cut(pieces[:2]), whole, max_retries=1, retry_backoff_factor=0)


CUT_RIGHT, CUT_DEFECT = r"'Раз два ', then own StreamError, 1 request", r"'Раз два ', 1 request"


@scenario(
    case("v1, end of a chunked body", CUT_RIGHT, CUT_DEFECT, V1, "chunked"),
    case("v1, end of the connection", CUT_RIGHT, CUT_DEFECT, V1, "close"),
    case("v2, end of a chunked body", CUT_RIGHT, CUT_DEFECT, V2, "chunked"),
    case("v2, end of the connection", CUT_RIGHT, CUT_DEFECT, V2, "close"),
)
def test_d6_a_cut_stream_is_an_error(peer, version, framing):
    """A stream that ends without its last event is not taken for a whole one."""
    return read(peer, version, sse([version.piece("Раз "), version.piece("два ")], framing), max_retries=0)


@scenario(
    case("v1", "'Раз', 1 request", r"'Раз', then httpx\.ReadTimeout, 1 request", V1, 0),
    case("v1 with a retry", "'Раз', 1 request", r"'РазРаз', then httpx\.ReadTimeout, 2 requests", V1, 1),
    case("v2", "'Раз', 1 request", r"'Раз', then httpx\.ReadTimeout, 1 request", V2, 0),
)
def test_d7_the_last_event_ends_a_stream(peer, version, retries):
    """The last event ends a stream, whether or not the server closes the connection."""
    answer = held([version.piece("Раз"), *version.end])
    return read(peer, version, answer, timeout=1, max_retries=retries, retry_backoff_factor=0)


@scenario(*[
    case(f"{version}, U+{ord(letter):04X}", repr(f"а{letter}б").replace("\\", r"\\") + ", 1 request",
         r"pydantic_core\.ValidationError.*|nothing.*|json\.\w+.*", which, letter)
    for version, which in (("v1", V1), ("v2", V2)) for letter in "\u2028\u0085"])
def test_d8_line_separators_inside_json(peer, version, letter):
    """U+2028 and U+0085, which JSON may hold as they are, do not break an event."""
    return read(peer, version, sse([version.piece(f"а{letter}б"), *version.end]), max_retries=0)


FAULT = {"status": 429, "message": "Too many requests"}


@scenario(
    case("v1, an error in mid-stream", "'Раз', then own RateLimitError, 1 request",
         r"'Раз', then pydantic_core\.ValidationError, 1 request", V1, sse([V1.piece("Раз"), FAULT])),
    case("v2, an error without a name", "own RateLimitError, 1 request", r"nothing \(0 events\), 1 request",
         V2, sse([FAULT])),
    case("v2, event: error", "own RateLimitError, 1 request", r"nothing \(1 events\), 1 request",
         V2, sse([data(FAULT, "error")])),
    case("v1, JSON where a stream is due", OWN + ", 1 request", r"httpx\.TransportError, 3 requests", V1, CHAT),
    case("v2, JSON where a stream is due", OWN + ", 1 request", r"httpx\.TransportError, 3 requests", V2, CHAT),
    case("Content-Type: Text/Event-Stream", "'Раз', 1 request", r"httpx\.TransportError, 3 requests", V1,
         sse([V1.piece("Раз"), *V1.end], headers={"Content-Type": "Text/Event-Stream"})),
)
def test_d9_errors_inside_a_stream(peer, version, answer):
    """An error that comes as an event, or in place of a stream, is raised as what it is."""
    return read(peer, version, answer, max_retries=2, retry_backoff_factor=0)


# ---- What is given


@scenario(*[
    case(next(iter(settings)) + "=", "refused by name", "taken", settings)
    for settings in ({"verify_ssl": False}, {"max_retry": 3}, {"proxies": {}})])
def test_d10_misspelt_settings(peer, settings):
    """A setting that does not exist is refused."""
    said = []

    def make():
        try:
            peer.client(**settings)
        except Exception as error:
            said.append(str(error))
            raise

    text = peer.tell(make)
    return "refused by name" if said and next(iter(settings)) in said[0] else "taken" if text == "None" else text


USER = {"role": "user", "content": "x"}


@scenario(
    case("a field of the request", "refused by name, 0 requests", "dropped, 1 request",
         {"messages": [USER], "temprature": 0.1}, "temprature"),
    case("a field of a message", "refused by name, 0 requests", "dropped, 1 request",
         {"messages": [dict(USER, atachments=["id"])]}, "atachments"),
)
def test_d10_misspelt_fields(peer, payload, name):
    """A field that does not exist is refused, not dropped."""
    host = peer.api(CHAT)
    try:
        peer.client(host).chat(payload)
    except Exception as error:
        text = "refused by name" if name in str(error) else peer.name(error)
    else:
        text = "sent" if name in str(host.calls[0].json) else "dropped"
    return f"{text}, {counted(len(host.calls))}"


def part_of(request):
    """Take the name and the content of the file out of a multipart request."""
    boundary = request.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
    for part in request.body.split(b"--" + boundary):
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        fields = http.client.parse_headers(io.BytesIO(head + b"\r\n\r\n"))
        found = fields.get_param("filename", header="Content-Disposition")
        if found is not None:
            return found, content
    return None


UPLOADED = reply(body={"id": "f-1", "object": "file", "bytes": 4, "created_at": 1, "filename": "p.bin",
                       "purpose": "general", "access_policy": "private"})


@scenario(
    case("a path as str", "p.bin with its content", "upload with b'p.bin'", str),
    case("a path as Path", "p.bin with its content", "AttributeError", pathlib.Path),
)
def test_d11_upload_of_a_path(peer, kind):
    """A path uploads the file that it names."""
    (peer.folder / "p.bin").write_bytes(b"data")
    host = peer.api(UPLOADED)
    text = peer.tell(lambda: peer.client(host).upload_file(kind("p.bin")) and "done")
    if text != "done":
        return text
    name, content = part_of(host.calls[0])
    return f"{name} with {'its content' if content == b'data' else repr(content)}"


class Pipe:
    """Be read once, as an answer of the network or a member of an archive is."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def read(self, size=-1):
        return self._file.read(size)


@scenario(
    case("after 503", "f-1 for a whole file, 2 requests", "f-1 for an empty file, 2 requests", 503),
    case("after 401", "f-1 for a whole file, 2 requests", "f-1 for an empty file, 2 requests", 401),
)
def test_d11_upload_of_a_pipe(peer, status):
    """What cannot be read twice is sent again whole."""
    host = peer.api(repeat(reply(status, {"message": "no"}), UPLOADED))
    giga = peer.client(host, credentials=KEY, max_retries=1, retry_backoff_factor=0)
    giga.get_token()
    text = peer.tell(lambda: giga.upload_file(Pipe(b"mark" * 1000)).id_)
    if text == "f-1":
        text += f" for {'a whole' if host.calls[-1].body.count(b'mark') == 1000 else 'an empty'} file"
    return f"{text}, {counted(len(host.calls))}"


# ---- Secrets


def everything(error):
    """Collect what an error shows, and pydantic's own list of what was wrong."""
    details = getattr(error, "errors", None)
    return " ".join(map(str, (error, repr(error), error.args, details() if callable(details) else "")))


def leak(peer, log, work):
    """Say where a marker shows up when work is done."""
    with log as out:
        try:
            shown, where = str(work() or ""), "shown"
        except Exception as error:
            shown, where = everything(error), "in the error"
    places = [place for place, text in ((where, shown), ("in the log", out.getvalue())) if MARKER in text]
    return ", ".join(places) or "kept"


@scenario(
    case("misspelt argument", "kept", "in the log",
         lambda peer: peer.client(credentails=MARKER) and None),
    case("line break inside the key", "kept", r".*in the error.*",
         lambda peer: peer.client(peer.api(CHAT), credentials=MARKER + "\n==").chat("x") and None),
    case("repr of the settings", "kept", "shown",
         lambda peer: repr(vars(peer.client(credentials=KEY[:-4] + MARKER, password=MARKER, user="u")))),
    case("repr of the token", "kept", "shown",
         lambda peer: repr(peer.client(peer.api(CHAT, oauth=oauth_reply(MARKER)), credentials=KEY).get_token())),
    case("odd answer of OAuth", "kept", "in the error",
         lambda peer: peer.client(peer.api(CHAT, oauth=reply(body={"access_token": MARKER})), credentials=KEY)
         .chat("x") and None),
    case("text of the model in a broken event", "kept", r"in the error, in the log|in the log",
         lambda peer: list(peer.client(peer.api(sse([data('{"choices":"%s"' % MARKER), DONE]))).stream("x")) and None),
    case("cookie of an error's answer", "kept", "in the error.*",
         lambda peer: peer.client(peer.api(reply(403, {}, {"Set-Cookie": "s=" + MARKER})), max_retries=0).chat("x")),
)
def test_d12_secrets_are_kept(peer, work):
    """No secret shows in a log, a repr or an error."""
    return leak(peer, peer.logs(), lambda: work(peer))


# ---- Errors


def body(**message):
    """Make a chat's answer whose message has these fields."""
    value = json.loads(CHAT_BODY.decode())
    value["choices"][0]["message"].update(message)
    return value


def without_usage():
    return {name: value for name, value in body().items() if name != "usage"}


HTML = {"Content-Type": "text/html"}
CALL = {"name": "f", "arguments": '{"x": 1}'}


@scenario(
    case("no answer within the timeout", "own RequestTimeout", r"httpx\.ReadTimeout", never(), {"timeout": 0.2}),
    case("cut body", "own TransportError", r"httpx\.RemoteProtocolError", CHAT.cut(20)),
    case("cut before the head", "own TransportError", r"httpx\.\w+", CHAT.cut(0, part="all")),
    case("page of a gateway", OWN, r"json\.JSONDecodeError", reply(body="<html>", headers=HTML)),
    case("empty 200", OWN, r"json\.JSONDecodeError", reply()),
    case("list", OWN, "TypeError", reply(body="[]")),
    case("no usage", HELLO, r"pydantic_core\.ValidationError", reply(body=without_usage())),
    case("content is null", "None", r"pydantic_core\.ValidationError", reply(body=body(content=None))),
    case("arguments as a string", HELLO, r"pydantic_core\.ValidationError", reply(body=body(function_call=CALL))),
    case("unknown role", HELLO, r"pydantic_core\.ValidationError", reply(body=body(role="critic"))),
)
def test_d13_answers_that_nobody_expects(peer, answer, limit=None):
    """What is wrong with an answer is the library's own error, and what does no harm is none."""
    return peer.ask(peer.api(answer), max_retries=0, **(limit or {}))


@scenario(
    case("unknown role in a stream", "'Раздва', 1 request", r"'Раз', then pydantic_core\.ValidationError, 1 request"))
def test_d13_unknown_role_in_a_stream(peer):
    """An unknown role does not end a stream."""
    strange = chunk(content="два", role="critic")
    return read(peer, V1, sse([V1.piece("Раз"), strange, *V1.end]), max_retries=0)


@scenario(case("refused", "own TransportError", r"httpx\.ConnectError"))
def test_d13_no_connection(peer):
    """A refused connection is the library's own error."""
    with refused() as port:
        return peer.ask(base_url=f"http://127.0.0.1:{port}/api/v1", max_retries=0)


@scenario(case("no such file", "own ConfigurationError", "FileNotFoundError"))
def test_d13_no_bundle(peer):
    """A CA bundle that is not there is the library's own error."""
    return peer.ask(peer.api(CHAT), ca_bundle_file="nowhere.pem")


@scenario(case("max_connections=1", "own TransportError", r"httpx\.PoolTimeout"))
def test_d13_a_held_stream_and_one_connection(peer):
    """A call that waits for a place which its own thread holds is the library's own error."""
    host = peer.api(repeat(held([V1.piece("Раз")]), CHAT))
    giga = peer.client(host, max_connections=1, timeout=1, max_retries=0)
    stream = giga.stream("x")
    next(iter(stream))
    try:
        return peer.tell(lambda: giga.chat("y") and "answered")
    finally:
        stream.close()


@scenario(case("limit of 0.2 s, 1 s of drops", "own RequestTimeout", HELLO))
def test_d13_a_dripping_server(peer):
    """There is a limit that an answer which comes drop by drop does not defeat."""
    limit = {"deadline": 0.2} if peer.ours else {"timeout": 0.2}
    return peer.ask(peer.api(CHAT.drip(0.02, len(CHAT.wire) // 50 + 1)), max_retries=0, **limit)


@scenario(case("timeout=inf", HELLO, r"OverflowError|httpx\.\w+"))
def test_d13_no_limit(peer):
    """Limits can be switched off."""
    return peer.ask(peer.api(CHAT), timeout=float("inf"))


@scenario(
    case("422", "text readable, message, code, request_id", r"bytes and headers in the text(, request_id)?",
         422, {"status": 422, "message": "Неверный запрос", "code": 3}),
    case("400 of OAuth", "text readable, message, code, request_id", r"bytes and headers in the text(, request_id)?",
         400, {"code": 3, "message": "Неверный запрос"}),
)
def test_d14_errors_can_be_read(peer, status, answer):
    """An error shows what the service said, in letters, and has it as attributes."""
    failing = reply(status, answer, {"X-Request-ID": "r-1"})
    host = peer.api(failing, oauth=failing) if status == 400 else peer.api(failing)
    settings = {"credentials": KEY} if status == 400 else {}
    with pytest.raises(peer.exceptions.GigaChatException) as caught:
        peer.client(host, **settings).chat("x")
    error, text = caught.value, str(caught.value)
    said = ["text readable"] if "Неверный запрос" in text and "b'" not in text else ["bytes and headers in the text"]
    wanted = {"message": "Неверный запрос", "code": 3, "request_id": "r-1"}
    return ", ".join(said + [name for name, value in wanted.items() if getattr(error, name, None) == value])


# ---- Retries


def after(peer, text, host):
    pauses = "".join(f", paused {pause:.0f} s" for pause in peer.pauses)
    return f"{text}{pauses}, {counted(len(host.calls))}"


@scenario(
    case("a day", "own RateLimitError, 1 request", "'Hello.', paused 86400 s, 2 requests", 429, "86400"),
    case("inf", r"'Hello.', paused \d s, 2 requests|own RateLimitError, 1 request",
         "'Hello.', paused inf s, 2 requests", 429, "inf"),
    case("a date in 30 s", r"'Hello.', paused (2\d|30) s, 2 requests", "'Hello.', paused [01] s, 2 requests", 429, 30),
    case("7 s with 503", "'Hello.', paused [78] s, 2 requests", "'Hello.', paused [01] s, 2 requests", 503, "7"),
)
def test_d15_retry_after(peer, status, wish):
    """Retry-After is heeded, up to what a program can wait for."""
    told = formatdate(time.time() + wish, usegmt=True) if isinstance(wish, int) else wish
    host = peer.api(repeat(reply(status, {"status": status, "message": "wait"}, {"Retry-After": told}), CHAT))
    return after(peer, peer.ask(host, max_retries=1, retry_backoff_factor=0), host)


@scenario(
    case("tokens_count", "own RateLimitError", "own ResponseError", lambda giga: giga.tokens_count(["x"])),
    case("get_image", "own RateLimitError", "own ResponseError", lambda giga: giga.get_image("f-1")),
)
def test_d15_every_429_is_a_rate_limit(peer, call):
    """A 429 is a RateLimitError, whatever was called."""
    host = peer.api(reply(429, {"status": 429, "message": "wait"}))
    return peer.tell(lambda: call(peer.client(host, max_retries=0)))


@scenario(
    case("codes=(429,) and a 500", "own ServerError, 1 request", "own ServerError.*, 3 requests",
         [reply(500, {})], {"retry_on_status_codes": (429,)}),
    case("no answer within the timeout", "own RequestTimeout, 1 request", r"httpx\.ReadTimeout.*, 3 requests",
         [never()], {"timeout": 0.2}),
    case("429 inside a 200", r"'Hello.', paused \d s, 2 requests", r"pydantic_core\.ValidationError, 1 request",
         [reply(body=FAULT), CHAT], {}),
)
def test_d15_what_is_sent_again(peer, answers, settings):
    """What was paid for is not asked for twice, and what failed for the moment is."""
    host = peer.api(repeat(*answers))
    text = peer.ask(host, max_retries=2, retry_backoff_factor=0, **settings)
    until(lambda: host.calls)  # a client that waits no longer may be quicker than the server's thread
    return after(peer, text, host)


@scenario(case("half of a pair", HELLO, "UnicodeEncodeError"))
def test_d15_a_lone_surrogate(peer):
    """Half of a surrogate pair in a prompt does not stop it."""
    giga = peer.client(peer.api(CHAT))
    return peer.tell(lambda: repr(giga.chat("x\ud83d").choices[0].message.content))


# ---- Configuration


def login(peer, **settings):
    """Ask with what the environment has; tell what the auth host, or else the API, was given."""
    host = peer.api(CHAT)
    text = peer.ask(host, **dict({"credentials": None}, **settings))
    if text != HELLO:
        return f"{text}, {counted(len(host.requests))}"
    given = host.requests[0].headers.get("Authorization") or "nothing"
    return "asked with " + given.replace(KEY, "the key")


@scenario(case("key in .env", "asked with Basic the key", "asked with nothing"))
def test_d16_env_file(peer):
    """Settings are read from .env."""
    (peer.folder / ".env").write_text(f"GIGACHAT_CREDENTIALS={KEY}\n")
    return login(peer)


@scenario(
    case("GIGACHAT_SCOPE=", "scope=GIGACHAT_API_PERS", "scope=", "SCOPE"),
    case("GIGACHAT_TIMEOUT=", "scope=GIGACHAT_API_PERS", r"pydantic_\w+\.\w+", "TIMEOUT"),
    case("GIGACHAT_PROFANITY_CHECK=", "scope=GIGACHAT_API_PERS", r"pydantic_\w+\.\w+", "PROFANITY_CHECK"),
)
def test_d16_empty_variables(peer, name):
    """An empty variable is no setting."""
    peer.setenv("GIGACHAT_" + name, "")
    host = peer.api(CHAT)
    text = peer.ask(host, credentials=KEY, timeout=None)
    return host.requests[0].body.decode() if text == HELLO else text


@scenario(case("GIGACHAT_FLAGS=a,b", r"\['a', 'b'\]", r"pydantic_\w+\.\w+"))
def test_d16_lists(peer):
    """A list is written with commas."""
    peer.setenv("GIGACHAT_FLAGS", "a,b")
    host = peer.api(CHAT)
    text = peer.ask(host)
    return str(host.calls[0].json["flags"]) if text == HELLO else text


@scenario(
    case("REQUESTS_CA_BUNDLE", HELLO, r"httpx\.ConnectError"),
)
def test_d16_bundle_of_the_environment(peer):
    """The CA bundle that other programs use is used."""
    peer.setenv("REQUESTS_CA_BUNDLE", str(peer.certs.ca_pem))
    return peer.ask(peer.api(CHAT, context=peer.certs.context()))


@scenario(
    case("ALL_PROXY=socks5://", OWN, "ImportError", {"ALL_PROXY": "socks5://127.0.0.1:9"}),
    case("ALL_PROXY=socks://", OWN, "ValueError", {"ALL_PROXY": "socks://127.0.0.1:9"}),
    case("NO_PROXY=[::1]", HELLO, r"httpx\.InvalidURL", {"NO_PROXY": "[::1]"}),
)
def test_d17_proxies_of_the_environment(peer, variables):
    """A proxy that cannot be used is the library's own error, and NO_PROXY may name an address."""
    for name, value in variables.items():
        peer.setenv(name, value)
    context = peer.certs.context() if "ALL_PROXY" in variables else None  # http:// to this machine takes no proxy
    return peer.ask(peer.api(CHAT, context=context), ca_bundle_file=str(peer.certs.ca_pem), max_retries=0)


@scenario(case("proxy=", "'Hello.' through the proxy", "'Hello.' past the proxy|TypeError"))
def test_d17_proxy_as_an_argument(peer):
    """A proxy can be given to a client."""
    between = peer.proxy()
    text = peer.ask(peer.api(CHAT), proxy=between.url)
    return f"{text} {'through' if between.targets else 'past'} the proxy" if text == HELLO else text


@scenario(case("a question alone", HELLO, "own ModelNotSpecifiedError"))
def test_d18_no_model(peer):
    """The first line of every introduction works: a question without a model."""
    return peer.ask(peer.api(CHAT), model=None)


@scenario(
    case("no key", "own ConfigurationError, 0 requests", "asked with nothing", None),
    case("quotes round it", "asked with Basic the key", r"asked with Basic \"the key\"", f'"{KEY}"'),
    case("spaces round it", "asked with Basic the key", r"asked with Basic  +the key *|httpx\.\w+, .*", f"  {KEY} "),
    case("Basic before it", "asked with Basic the key", "asked with Basic Basic the key", "Basic " + KEY),
    case("an access token", "own ConfigurationError, 0 requests", r"asked with Basic eyJ.*", "eyJjdHkiOiJqd3QifQ.a.b"),
    case("a placeholder in Cyrillic", "own ConfigurationError, 0 requests", "UnicodeEncodeError, 0 requests",
         "ваш_ключ"),
)
def test_d18_the_key_as_people_give_it(peer, key):
    """A key is cleaned, and what is none is refused before anything is sent."""
    return login(peer, credentials=key)


@scenario(
    case("clock 35 min fast", "1 token for 3 questions", "3 tokens for 3 questions",
         lambda: oauth_reply(skew=-2100)),
    case("expires_at in seconds", "1 token for 3 questions", "3 tokens for 3 questions",
         lambda: reply(body={"access_token": "t", "expires_at": int(time.time() + 1800)})),
)
def test_d18_one_token_whatever_the_clock(peer, token):
    """A wrong clock does not cost a token per call."""
    host = peer.api(CHAT, oauth=lambda request, connection: token())
    giga = peer.client(host, credentials=KEY)
    for _ in range(3):
        giga.chat("x")
    return f"{counted(host.oauth_calls, 'token')} for 3 questions"


@scenario(case("X-Session-ID of a worker thread", "s-1, s-1", "s-1, None"))
def test_d19_session_headers_in_threads(peer):
    """A header can be given so that a worker thread sends it too."""
    host = peer.api(CHAT)
    giga = peer.client(host)
    variable = peer.context.session_id_cvar

    def ask():
        try:
            giga.chat("x", headers={"X-Session-ID": "s-1"})
        except TypeError:  # there is only the context variable
            giga.chat("x")

    token = variable.set("s-1")
    try:
        ask()
        finish(start(ask))
    finally:
        variable.reset(token)
    return ", ".join(str(request.headers["X-Session-ID"]) for request in host.calls)


@scenario(case("timeout of one call", "own RequestTimeout", "TypeError"))
def test_d19_options_of_a_call(peer):
    """A call can have a timeout of its own."""
    giga = peer.client(peer.api(never()), max_retries=0)
    return peer.tell(lambda: giga.chat("x", timeout=0.1))


@scenario(case("modules that the import loads", r"(2\d\d|3[0-2]\d) modules", r"(3[3-9]\d|[4-9]\d\d) modules"))
def test_d20_import(peer):
    """An import loads little."""
    name = peer.package.__name__
    code = f"import sys; before = len(sys.modules); from {name} import GigaChat; print(len(sys.modules) - before)"
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run([sys.executable, "-c", code], env=environ, timeout=15, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip() + " modules"


@scenario(case("pickled after a call", HELLO, r"TypeError|AttributeError|pickle\.\w+"))
def test_d20_pickle(peer):
    """A client can be pickled."""
    giga = peer.client(peer.api(CHAT))
    giga.chat("x")

    def copy():
        with pickle.loads(pickle.dumps(giga)) as other:
            return repr(other.chat("x").choices[0].message.content)

    return peer.tell(copy)


@scenario(case("dropped after a call", "freed at once", "left to the collector"))
def test_d20_refcount(peer):
    """A client is freed with its last reference."""
    giga = peer.client(peer.api(CHAT), keep=False)
    giga.chat("x")
    gone = weakref.ref(giga)
    gc.disable()
    try:
        del giga
        return "freed at once" if gone() is None else "left to the collector"
    finally:
        gc.enable()


# ---- The comparison itself


class Reporter:
    """Stand in for pytest's reporter: keeps the lines."""

    def __init__(self, *rows):
        self.lines, self.user_properties = [], [(TABLE, row) for row in rows]

    def getreports(self, kind):
        return [self] if kind == "passed" else []

    def section(self, title):
        self.lines.append(title)

    line = section


def test_the_table_says_what_was_mended():
    row = Case("t", "good", r"ba\w+")
    texts = ["good", "bad", "good or bad"]
    assert [row.verdict(text) for text in texts] == ["mended", "defect", "other"]
    mild = Case("t", "own Ours, 1 request", "own Wrong, 1 request")
    assert not mild.is_right("own Theirs, 1 request") and mild.verdict("own Theirs, 1 request") == "mended"
    assert mild.verdict("own Wrong, 1 request") == "defect" and mild.verdict("own Theirs, 2 requests") == "other"
    reporter = Reporter(*[["D2", "About.", "t", "good", text, row.verdict(text)] for text in texts])
    print_table(reporter, "9.9")
    lines = [line.split() for line in reporter.lines[3:]]
    assert lines[:3] == [["MENDED", "t", "good", "good"], ["defect", "t", "good", "bad"],
                         ["OTHER", "t", "good", "good", "or", "bad"]]
    assert reporter.lines[2] == "D2: About." and reporter.lines[-1].endswith("defect 1, mended 1, other 1")


def test_every_defect_has_its_test():
    numbers = {name.split("_")[1] for name in globals() if name.startswith("test_d")}
    assert numbers == {f"d{number}" for number in range(1, 21)}


@pytest.mark.long
def test_the_official_sdk_beside_it():
    command = [sys.executable, "-m", "pytest", "-q", "--peer=official", "--color=no", __file__]
    done = subprocess.run(command, timeout=200, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          cwd=str(pathlib.Path(__file__).parent.parent.parent))
    text = done.stdout.decode("utf-8", "replace")
    if importlib.util.find_spec("gigachat") is None:
        assert done.returncode == 4 and "--peer=official needs the official SDK: pip install gigachat" in text, text
    else:
        assert done.returncode == 0 and all(f"\nD{number}: " in text for number in range(1, 21)), text
        assert "\nThe official SDK: " in text
