"""Secrets: a marker in each, and a look for it wherever a call may leave one.

Whatever happens to a call, its markers are looked for in log records, in errors and all that hangs on them, in reprs,
in the output of the command line, in `ps` and on disk; and no traceback keeps a frame that holds the request.
SITUATIONS says what happens; UNAVOIDABLE lists where a secret can be seen all the same, with the reason.
"""
from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import io
import json
import logging
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import urllib.parse
from typing import Any, Callable, NamedTuple

import pytest

import gigachat_lite
from certs import PASSWORD
from clients import crossed, new_client
from gigachat_lite import ConfigurationError, GigaChat, GigaChatException, redact
from gigachat_lite import __main__ as cli
from gigachat_lite.config import SECRETS
from markers import AUTH_METHODS, MARKERS, PACKAGE, Log, Places, leaks, process_tree, secret
from servers import CHAT_BODY, STREAM_BODY, drop, never, oauth_reply, raw, refused, reply, sse, until
from test_faults import CALLS


def test_a_marker_is_found_in_each_form():
    for name in MARKERS:
        for text in ("us:%s", "%s:x", "x%s", "xx%s"):
            plain = (text % secret(name)).encode()
            encodings = (plain.decode(), urllib.parse.quote(plain), base64.b64encode(plain).decode(), repr(plain),
                         base64.urlsafe_b64encode(plain).decode(), json.dumps(plain.decode()))
            assert all(leaks(f"({code})") == [name] for code in encodings)


@pytest.fixture
def places(tmp_path, monkeypatch, capfd):
    """Watch the logs, the output and the disk; look into all of them, and into what is given, with `places.look()`."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    log, root = Log(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(log)
    yield Places(log, tmp_path.parent, capfd)
    root.removeHandler(log)
    root.setLevel(level)


# ---- What happens to a call


class Situation(NamedTuple):
    """What the API or, `at` OAuth, the host of tokens answers to a call, and which settings are different."""

    answer: Any = reply(body=CHAT_BODY)
    ask: str = "chat"
    at: str = "api"
    settings: Callable[[Any], dict[str, Any]] = lambda world: {}
    proxy: Any = None  # what the proxy answers in place of a tunnel
    error: str = "ResponseError"


def status(code, **headers):
    return reply(code, {"status": code, "message": "no"}, headers)


GOOD = {name: Situation(CALLS[name].reply(), name, error="") for name in CALLS if name != "OAuth"}
GOOD["models"] = Situation(reply(body={"object": "list", "data": []}), "models", error="")
SITUATIONS = {
    **{str(code): Situation(status(code)) for code in (400, 401, 402, 403, 404, 429, 500)},
    "redirect": Situation(status(302, Location="https://evil.example/")),
    "html": Situation(reply(body="<html>no</html>"), "embeddings"),
    "cut body": Situation(reply(body=CHAT_BODY).cut(50), error="TransportError"),
    "cut upload": Situation(drop("rst"), "upload", error="TransportError"),
    "cut download": Situation(CALLS["download"].reply().cut(50), "download", error="TransportError"),
    "cut stream": Situation(sse(STREAM_BODY).cut(200), "stream", error="StreamError"),
    "cut v2 stream": Situation(CALLS["v2 stream"].reply().cut(60), "v2 stream", error="StreamError"),
    "error in a stream": Situation(sse([{"status": 500, "message": "no"}]), "stream", error="ServerError"),
    "closed": Situation(drop("fin"), error="TransportError"),
    "no http": Situation(raw(b"SSH-2.0\r\n"), error="TransportError"),
    "timeout": Situation(never(), settings=lambda world: {"timeout": (5, 0.03)}, error="RequestTimeout"),
    "deadline": Situation(never(), settings=lambda world: {"deadline": 0.1}, error="RequestTimeout"),
    "refused": Situation(settings=lambda world: world.nobody, error="TransportError"),
    "foreign root": Situation(settings=lambda world: {"ca_bundle_file": world.certs.other_pem}, error="TLSError"),
    "no certificate": Situation(
        settings=lambda world: dict.fromkeys(("cert_file", "key_file", "key_file_password")), error="TransportError"),
    "another key password": Situation(
        settings=lambda world: {"key_file_password": secret("password")}, error="ConfigurationError"),
    "proxy 407": Situation(proxy=reply(407, headers={"Proxy-Authenticate": "Basic"}), error="TransportError"),
    "proxy 502": Situation(proxy=reply(502), error="TransportError"),
    "proxy closed": Situation(proxy=drop("rst"), error="TransportError"),
    **{"OAuth " + name: Situation(answer, at="oauth", error=error) for name, answer, error in (
        ("401", status(401), "AuthenticationError"), ("429", status(429), "RateLimitError"),
        ("closed", drop("fin"), "TransportError"),
        ("cut", oauth_reply(secret("fetched token")).cut(60), "TransportError"),
        ("odd", reply(body={"access_token": secret("fetched token") + " x"}), "ResponseError"))},
}
SHORT = {  # the method of authorization with which a situation is met in every run
    "chat": "key", "stream": "pair", "upload": "password", "models": "token", "401": "key", "404": "pair", "500": "key",
    "cut body": "key", "cut upload": "key", "cut stream": "password", "closed": "pair", "timeout": "token",
    "refused": "key", "foreign root": "key", "another key password": "key", "proxy 407": "key", "OAuth 401": "key",
    "OAuth closed": "key", "OAuth cut": "password", "OAuth odd": "pair"}


class World:
    """A host behind a proxy that wants a password, and a client that shows a certificate and holds every secret."""

    def __init__(self, api, proxy, certs, port):
        self.certs, self._api, self._proxy = certs, api, proxy
        dead = f"https://127.0.0.1:{port}/v1"
        self.nobody = {"base_url": dead, "auth_url": dead, "proxy": None}

    def client(self, situation, auth):
        token = [oauth_reply(secret("fetched token"), form="token" if auth == "password" else "oauth")] * 3
        here = situation.at == "api"
        self.host = self._api(situation.answer if here else reply(body=CHAT_BODY), oauth=token if here else
                              situation.answer, context=self.certs.context(client="required"))
        between = self._proxy(credentials="us:" + secret("proxy password"), refuse=situation.proxy)
        address = "//us:%s@" % urllib.parse.quote(secret("proxy password"), safe="")
        certs = self.certs
        return new_client(**{
            "base_url": self.host.base_url, "auth_url": self.host.auth_url, "ca_bundle_file": certs.ca_pem,
            "cert_file": certs.client_pem, "key_file": certs.client_locked_key, "key_file_password": PASSWORD,
            "proxy": between.url.replace("//", address), "max_retries": 0, "timeout": (5, 5),
            **AUTH_METHODS[auth], **situation.settings(self)})


@pytest.fixture
def world(api, proxy, certs):
    with refused() as port:
        yield World(api, proxy, certs, port)


def ask(giga, name, path, asynchronous):
    if not asynchronous:
        return giga.get_models() if name == "models" else CALLS[name].ask(giga, path)
    if "stream" in name:
        return asyncio.run(read(giga.astream("?") if name == "stream" else giga.achat.stream("?")))
    return asyncio.run({"upload": lambda: giga.aupload_file(("a.txt", b"a")), "models": giga.aget_models,
                        "download": lambda: giga.adownload_file("f-1", path),
                        "embeddings": lambda: giga.aembeddings("?")}.get(name, lambda: giga.achat("?"))())


async def read(stream):
    async for _ in stream:
        pass
    return stream.text


def meet(world, situation, auth, path, asynchronous=False):
    """Give the client, as far as it came, and what came of the call: an answer, or the error."""
    giga = None
    try:
        giga = world.client(situation, auth)
        return giga, ask(giga, situation.ask, path, asynchronous)
    except GigaChatException as error:
        return giga, error


@crossed("name, auth, asynchronous", {**GOOD, **SITUATIONS}, AUTH_METHODS, [False, True],
         often=lambda name, auth, asynchronous: auth == SHORT.get(name) and not asynchronous)
def test_no_secret_is_left_anywhere(name, auth, asynchronous, world, places, tmp_path):
    if name.startswith("OAuth") and auth == "token":
        return  # a given token is not asked for
    situation = {**GOOD, **SITUATIONS}[name]
    giga, outcome = meet(world, situation, auth, tmp_path / "file", asynchronous)
    assert (situation.error or "object") in [kind.__name__ for kind in type(outcome).__mro__]
    assert isinstance(outcome, Exception) is bool(situation.error)
    places.look(outcome, giga)


def test_an_open_stream_and_what_a_client_is_made_of_show_nothing(world, places):
    giga = world.client(GOOD["stream"], "key")
    with giga.stream("?") as stream, pytest.raises(TypeError) as caught:
        next(stream)
        pickle.dumps(stream)
    parts = [giga, giga.config, redact(giga.config), giga.transport.tokens.peek(), giga.chat, giga.achat, stream]
    places.look(*parts, caught.value)
    assert not leaks(repr(giga.get_token()))
    assert leaks(repr(world.host.requests[-1].headers.items())) == ["fetched token"]  # so much for the markers


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("by_context", [False, True])
def test_headers_of_a_call_show_nothing(asynchronous, by_context, api, places):
    own = {"Authorization": "Bearer " + secret("given token"), "X-Api-Key": secret("password")}

    def ask(headers=own):
        if by_context:
            gigachat_lite.custom_headers_cvar.set(own)
            headers = None
        asyncio.run(giga.achat("x", headers=headers)) if asynchronous else giga.chat("x", headers=headers)

    giga = new_client(base_url=api(drop("fin")).base_url)
    with pytest.raises(GigaChatException) as caught:
        contextvars.copy_context().run(ask)
    places.look(giga, caught.value)
    assert own["X-Api-Key"] == secret("password")


# ---- Settings that are refused


PEM, URL = "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n", "https://us:%s@api.example/v1"
PLAIN_URL = URL % MARKERS["password"]  # without what ends an authority
REACHED = {"a plain password in an address": "do not belong into", "a proxy of another kind": "of scheme 'https'",
           "letters that a proxy cannot take": "beyond Latin-1", "a letter that is not UTF-8": "is not UTF-8"}
REFUSED = {
    "a misspelt name": {"pasword": "%s"},
    "a token as a key": {"credentials": "%s.x.y"},
    "half a pair": {"client_secret": "%s"},
    "a colon in the user": {"user": "maria:%s", "password": "%s"},
    "a key password alone": {"key_file_password": "%s"},
    "a password in an address": {"base_url": URL},
    "a plain password in an address": {"base_url": PLAIN_URL},
    "a plain password in the auth address": {"auth_url": PLAIN_URL},
    "a proxy of another kind": {"proxy": "https://us:%s@127.0.0.1:1" % MARKERS["password"]},
    "letters that a proxy cannot take": {"proxy": "http://us:%sж@127.0.0.1:1" % MARKERS["password"]},
    "a letter that is not UTF-8": {"user": "maria", "password": "%s\udcef"},
    "a secret that is not UTF-8": {"client_id": "id", "client_secret": "%s\udcef"},
    "a proxy with a slash": {"proxy": "http://us:%s@127.0.0.1:1"},
    "a proxy with a space": {"proxy": "http://us:x%s@proxy example:1"},
    **{"the text of " + key: {key: PEM} for key in ("cert_file", "key_file", "ca_bundle_file")},
    **{"a word for " + key: {key: "%s"} for key in ("timeout", "max_retries", "verify_ssl_certs")},
}


@crossed("name, layer", REFUSED, ["argument", "environment", "file"], often=lambda name, layer: layer == "argument")
def test_a_refused_setting_shows_no_secret(name, layer, places, tmp_path):
    given = {key: text.replace("%s", secret("password")) for key, text in REFUSED[name].items()}
    settings, file = {"environ": {}, "env_file": False}, tmp_path / "x.env"
    if layer == "argument":
        settings.update(given)
    elif layer == "environment":
        settings["environ"] = {"GIGACHAT_" + key.upper(): text for key, text in given.items()}
    else:
        lines = "".join(f"GIGACHAT_{key.upper()}='{text}'\n" for key, text in given.items())
        file.write_bytes(lines.encode("utf-8", "replace"))
        settings["env_file"] = file
    if layer == "file" and "UTF-8" in name:
        return  # it is read as cp1251
    if name == "a misspelt name" and layer != "argument":
        places.look(GigaChat(**settings), but=[file])  # warned of, no more
        return
    with pytest.raises((ConfigurationError, TypeError), match=REACHED.get(name)) as caught:
        GigaChat(**settings)
    places.look(caught.value, but=[file])


@pytest.mark.parametrize("form", ["%s:%s", "%s%s", "%s-%s", "%s: %s", "%s %s", '%s="%s', "export %s:%s"])
def test_a_line_without_its_equals_sign_shows_no_secret(form, places, tmp_path):
    file, key = tmp_path / "x.env", "MTEx" + MARKERS["client secret"] + "=="  # dotenv takes all before "=" for a name
    file.write_text(form % ("GIGACHAT_CREDENTIALS", key) + "\n")
    giga = GigaChat(env_file=file, environ={}, access_token="t")
    places.look(giga, but=[file])
    said = [text for text in places.log.texts if "x.env" in text and "gigachat_lite" in text]
    assert giga.config["credentials"] is None and ("line 1" in str(said) or "CREDENTIALS…" in str(said))


def test_a_variable_with_a_key_in_its_name_is_not_named(places):
    GigaChat(env_file=False, environ={"GIGACHAT_CREDENTIALSMTEx" + MARKERS["client secret"]: "="}, access_token="t")
    assert "GIGACHAT_CREDENTIALS…" in str(places.log.texts) and not leaks("\n".join(places.log.texts))


@pytest.mark.parametrize("settings, headers, cvars", [
    ({"credentials": base64.b64encode(b"id:" + secret("client secret").encode())}, None, {}),
    ({"access_token": [secret("given token")]}, None, {}),
    ({}, {"Authorization": b"Bearer " + secret("given token").encode()}, {}),
    ({}, [("Authorization", "Bearer " + secret("given token"))], {}),
    ({}, {"X-User": "Иван"}, {"authorization_cvar": "Bearer " + secret("given token")}),
    ({}, {"X-User": "Иван"}, {"custom_headers_cvar": {"X-Api-Key": secret("password")}}),
    ({}, {}, {"authorization_cvar": "Bearer " + secret("given token") + "\n"}),
    ({}, {}, {"custom_headers_cvar": [("X-Api-Key", secret("password"))]}),
    ({}, {}, {"chat_url_cvar": PLAIN_URL}),
], ids=["a key of bytes", "a list", "headers of bytes", "headers in a list", "a letter beside a token",
        "a letter beside a key", "a line end", "a list in the context", "an address in the context"])
def test_a_secret_of_another_type_is_not_shown(settings, headers, cvars, api, places):
    def ask():
        for name, value in cvars.items():
            getattr(gigachat_lite, name).set(value)
        new_client(**{"base_url": running.base_url, "access_token": "t", **settings}).chat("x", headers=headers)

    running = api([])
    with pytest.raises((ConfigurationError, TypeError, ValueError)) as caught:
        contextvars.copy_context().run(ask)
    places.look(caught.value)
    assert not running.requests


# ---- What a server writes back


def word(request):
    return request.headers["authorization"].partition(" ")[2]


ECHOES = {
    "a page": lambda text: reply(502, "<p>Authorization: %s</p>" % text, {"Content-Type": "text/html"}),
    "a page for an answer": lambda text: reply(200, "<p>%s</p>" % text, {"Content-Type": "text/html"}),
    "a long page": lambda text: reply(200, "<p>%s %s</p>" % ("x" * 150, text * 20), {"Content-Type": "text/html"}),
    "a list": lambda text: reply(200, json.dumps([text])), "a message": lambda text: status(400, text=text),
    **{name: lambda text, name=name, code=code: reply(code, b"{}", {name: text})
       for name, code in (("X-Request-Id", 400), ("X-Debug", 500), ("Location", 302))},
}


@crossed("name, ask", ECHOES, ["chat", "stream", "download", "OAuth"],
         often=lambda name, ask: ask == ("stream" if name == "a long page" else "chat"))
def test_what_a_server_echoes_is_masked(name, ask, api, places, tmp_path):
    if (name, ask) == ("a list", "download"):
        return  # any JSON may be a file

    def answer(request, connection):
        return ECHOES[name](word(request))

    running = api(answer, oauth=answer)
    auth = AUTH_METHODS["key"] if ask == "OAuth" else AUTH_METHODS["token"]
    giga = new_client(base_url=running.base_url, auth_url=running.auth_url, max_retries=0, **auth)
    with pytest.raises(GigaChatException) as caught:
        giga.get_token() if ask == "OAuth" else CALLS[ask].ask(giga, tmp_path / "file")
    places.look(giga, caught.value)
    assert running.requests and ("***" in str(vars(caught.value)) or caught.value.content == b"")


@pytest.mark.parametrize("event", [
    lambda text: sse([{"status": 500, "message": text}]), lambda text: sse([{"message": text}]),
    lambda text: sse(b"event: error\ndata: no %s\n\n" % text.encode()),
], ids=["a status", "a message", "no JSON"])
def test_an_echo_in_a_stream_is_masked(event, api, places):
    giga = new_client(base_url=api(lambda request, connection: event(word(request))).base_url, **AUTH_METHODS["token"])
    with pytest.raises(GigaChatException) as caught:
        list(giga.stream("x"))
    places.look(giga, caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize("code, more", [(200, {"status": 429}), (500, {}), (302, {}), (400, {"code": 4})])
@pytest.mark.parametrize("name", ["access_token", "tok"])
def test_a_token_in_an_answer_that_is_refused_is_masked(name, code, more, api, places):
    running = api([], oauth=reply(code, {name: secret("fetched token"), **more}))
    giga = new_client(base_url=running.base_url, auth_url=running.auth_url, max_retries=0, **AUTH_METHODS["key"])
    with pytest.raises(GigaChatException) as caught:
        giga.get_token()
    places.look(giga, caught.value)


def test_a_file_in_no_encoding_shows_no_secret(places, tmp_path):
    file = tmp_path / "x.env"
    file.write_bytes(b"GIGACHAT_PASSWORD=%s\n\x98" % secret("password").encode())
    with pytest.raises(ConfigurationError, match="neither utf-8") as caught:
        GigaChat(env_file=file, environ={})
    places.look(caught.value, but=[file])


@pytest.mark.parametrize("address", [
    *(text % secret("proxy password") for text in ("http://us:%s@127.0.0.1:1", "us:x%s@proxy example:1")),
    "http://us:%s@:1" % MARKERS["proxy password"],
    "http://us:%s@proxy example:1" % MARKERS["proxy password"],
    "http://us:%s@-\u0436.example:1" % MARKERS["proxy password"],  # which urlsplit takes, and urllib3 does not
], ids=["a slash", "a slash and a space", "no host", "a space", "no label"])
def test_a_proxy_of_the_environment_that_is_no_address_is_refused_without_its_password(address, places, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(ConfigurationError, match="the proxy of the environment: an address such as") as caught:
        GigaChat(access_token="t", env_file=False)
    places.look(caught.value)


def test_a_header_that_is_all_name_is_refused_without_its_value(api, places):
    giga = new_client(base_url=api([]).base_url, access_token="t")
    with pytest.raises(ValueError, match="'Authorization…' is no name") as caught:
        giga.chat("x", headers={"Authorization: Bearer " + secret("given token"): ""})
    places.look(caught.value)


# ---- The command line


COMMANDS = {  # arguments, what the API answers, and the exit code
    "stream": (["?"], sse(STREAM_BODY), 0), "whole": (["--no-stream", "?"], reply(body=CHAT_BODY), 0),
    "json": (["--json", "?"], reply(body=CHAT_BODY), 0), "raw": (["--raw-sse", "?"], sse(STREAM_BODY), 0),
    "401": (["?"], status(401), 1), "cut": (["?"], sse(STREAM_BODY).cut(200), 1), "closed": (["?"], drop("rst"), 1),
    "help": (["--help"], [], 0), "misspelt": (["--credentials=" + secret("client secret"), "?"], [], 2),
    "no option": (["--password", secret("password"), "?"], [], 2), "wrong": (["--timeout=0", "?"], [], 2),
}


def environ_of(world, answer):
    giga = world.client(Situation(answer), "key")
    return {"GIGACHAT_" + name.upper(): str(giga.config[name]) for name in
            ("base_url", "auth_url", "ca_bundle_file", "cert_file", "key_file", "key_file_password", "proxy",
             "credentials", "max_retries")}


def token_files():
    """List what the command line keeps on disk: nothing but the token that was fetched."""
    kept = [file for file in pathlib.Path(os.environ["HOME"]).rglob("*") if file.is_file()]
    assert [leaks(file.read_text("ascii")) for file in kept] == [["fetched token"]] * len(kept)
    return kept


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in ("stream", "401", "misspelt") else [pytest.mark.long]) for name in COMMANDS])
def test_the_command_line_shows_no_secret(name, world, places, monkeypatch):
    arguments, answer, code = COMMANDS[name]
    for variable, value in environ_of(world, answer).items():
        monkeypatch.setenv(variable, value)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert cli.main(arguments) == code
    kept = token_files()
    assert len(kept) == (code != 2 and name != "help")
    places.look(but=kept)


def test_no_option_takes_a_secret_and_a_wrong_setting_is_not_shown(places, monkeypatch):
    assert not {*vars(cli.option_parser().parse_args([]))} & {*SECRETS}
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", secret("given token") + ".x.y")
    assert cli.main(["?"]) == 2
    places.look()


@pytest.mark.long
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
@pytest.mark.parametrize("module", ["gigachat_lite", "gigachat_lite.emulator"])
def test_no_secret_is_on_a_command_line(module, world, places):
    environ = {**os.environ, **environ_of(world, never()), "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", module]
    if module == "gigachat_lite":
        command += ["?"]
    else:  # which starts a command with a key of its own, in the environment
        command += ["--", "sh", "-c", 'echo "$GIGACHAT_CREDENTIALS"; cat']
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    child = subprocess.Popen(command, env=environ, **pipes)
    try:
        if module == "gigachat_lite":
            child.stdin.close()
            child.stdin = None
            until(lambda: world.host.calls, timeout=10)
            key = MARKERS["client secret"]
        else:
            key = child.stdout.readline().decode().strip()
        lines = process_tree(child.pid)
        assert any(module in line for line in lines) and key
        assert not [line for line in lines if key in line or leaks(line)]
    finally:
        if child.stdin is None:
            child.kill()
        out, err = child.communicate()
    assert not leaks(out.decode() + err.decode())
    places.look(but=token_files())


# ---- What cannot be avoided


UNAVOIDABLE = {
    "a token that the caller asked for": (
        "giga.token and get_token().access_token go into headers, so they are plain strings",
        lambda giga, log: repr(giga.token) + repr(giga.get_token().access_token)),
    "a setting that is not shown by its repr": (
        "SecretStr is a str that masks its repr alone: str(), format() and json.dumps() have to give what is sent; use "
        "redact(config). A crash reporter that takes strings as they are, and not their repr, sees them",
        lambda giga, log: json.dumps(giga.config["credentials"])),
    "a client that the caller pickles": (
        "the copy has to work elsewhere, so the settings travel", lambda giga, log: repr(pickle.dumps(giga))),
    "http.client's own debugging": (
        "HTTPConnection.debuglevel prints every header, and belongs to the caller", lambda giga, log: trace(giga)),
}
# Without a test: local variables of frames, the caller's own and the library's; what a server writes back in another
# form than it was sent; environment variables, which /proc shows to the same user, and children get; the memory of the
# process, and the proxy's password in the pools of urllib3; what SSLKEYLOGFILE or a proxy that ends TLS reveals.


def trace(giga):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setattr("http.client.HTTPConnection.debuglevel", 1)
        giga.close()
        giga.chat("?")
    return out.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("name", UNAVOIDABLE)
def test_what_cannot_be_avoided_is_still_so(name, world, places):
    giga = world.client(GOOD["chat"], "key")
    giga.chat("?")
    reason, show = UNAVOIDABLE[name]
    assert reason and leaks(show(giga, places.log))
