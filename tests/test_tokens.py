"""Hold the promises about access tokens: how they are fetched, shared, renewed and replaced, and never shown.

The clock of the token cache is injected where time has to pass; what 50 threads do together is made sure by servers
that hold their answers until all of them have come so far.
"""
from __future__ import annotations

import base64
import contextlib
import gc
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
import traceback
import uuid
import weakref
from email.utils import formatdate

import pytest

import gigachat_lite
from clients import finish, start
from gigachat_lite import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    GigaChat,
    GigaChatException,
    RequestTimeout,
    ResponseError,
    ServerError,
    TransportError,
)
from gigachat_lite.auth import Token, TokenCache, new_token
from gigachat_lite.context import authorization_cvar, custom_headers_cvar, session_id_cvar
from gigachat_lite.dates import parse_date
from servers import CHAT_BODY, STREAM_BODY, STREAM_TEXT, never, oauth_reply, raw, reply, sse, until

KEY = base64.b64encode(b"11111111-2222-4333-8444-555555555555:66666666-7777-4888-9999-000000000000").decode()
MODELS = reply(body={"object": "list", "data": []})
EXPIRED = reply(401, {"status": 401, "message": "Token has expired"})
THREADS = 50
LONG = 86000.0  # seconds: a token that no injected clock of this file outlives


@pytest.fixture
def client():
    """Make clients of a server, with an authorization key unless told otherwise; their pauses are noted, not slept."""
    made = []

    def make(api, **settings):
        settings.setdefault("environ", {})
        given = {"credentials": KEY, "env_file": False, "trust_env": False}
        urls = [url.replace("127.0.0.1", "localhost") for url in (api.base_url, api.auth_url)]
        giga = GigaChat(base_url=urls[0], auth_url=urls[1], **dict(given, **settings))
        giga.pauses = []
        giga.transport.sleep = giga.pauses.append
        made.append(giga)
        return giga

    yield make
    for giga in made:
        giga.close()


class Clock:
    """A clock that can be put forward, and that counts how often it was asked."""

    def __init__(self, base=lambda: 0.0):
        self.base, self.shift, self.asked = base, 0.0, []

    def __call__(self):
        self.asked.append(None)
        return self.base() + self.shift


def wind(giga):
    """Give the client's token cache a clock that can be put forward."""
    clock = giga.transport.tokens._clock = Clock(time.monotonic)
    return clock


def bearers(api):
    """Count the API requests by their tokens."""
    seen = {}
    for request in api.calls:
        name = request.headers["Authorization"]
        seen[name] = seen.get(name, 0) + 1
    return seen


def failed(results):
    return [result for result in results if isinstance(result, BaseException)]


# The requests for a token


def test_an_oauth_request_is_what_the_api_documents(api, client):
    server = api(MODELS)
    session = session_id_cvar.set("not for the OAuth host")
    try:
        client(server, scope="GIGACHAT_API_CORP").get_models()
    finally:
        session_id_cvar.reset(session)
    request = server.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/api/v2/oauth", b"scope=GIGACHAT_API_CORP")
    assert request.headers.get_all("Authorization") == ["Basic " + KEY]
    assert request.headers.get_all("Content-Type") == ["application/x-www-form-urlencoded"]
    assert request.headers.get_all("Accept") == ["application/json"]
    assert request.headers.get_all("Content-Length") == ["23"]
    assert len(request.headers.get_all("RqUID")) == 1
    assert str(uuid.UUID(request.headers["RqUID"], version=4)) == request.headers["RqUID"]
    assert not [name for name in request.headers if name.lower().startswith("x-")]
    assert server.calls[0].headers["Authorization"] == "Bearer token-1"
    assert "RqUID" not in server.calls[0].headers


def test_client_id_and_secret_make_the_same_request(api, client):
    server = api(MODELS)
    pair = base64.b64decode(KEY).decode().split(":")
    client(server, credentials=None, client_id=pair[0], client_secret=pair[1]).get_models()
    assert server.requests[0].headers["Authorization"] == "Basic " + KEY


def test_each_attempt_at_a_token_request_has_an_rquid_of_its_own(api, client):
    server = api(MODELS, oauth=[reply(503), reply(503), oauth_reply("a"), oauth_reply("b")])
    giga = client(server)
    giga.get_models()
    giga.transport.tokens.drop("a")
    giga.get_models()
    ids = [request.headers["RqUID"] for request in server.requests if request.path.endswith("/oauth")]
    assert len(giga.pauses) == 2
    assert len(set(ids)) == len(ids) == 4
    assert {uuid.UUID(each).version for each in ids} == {4}


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_user_and_password_get_their_token_from_the_api_host(api, client, unit):
    ends = int(time.time()) + 1800
    server = api(MODELS, oauth=reply(body={"tok": "jwt", "exp": ends * unit}))
    giga = client(server, credentials=None, user="анна", password="p:w ö")
    giga.get_models()
    request = server.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/token", b"")
    assert request.headers["Authorization"] == "Basic " + base64.b64encode("анна:p:w ö".encode()).decode()
    assert request.headers["Content-Length"] == "0"
    assert server.calls[0].headers["Authorization"] == "Bearer jwt"
    assert giga.get_token().expires_at == ends * 1000
    assert server.oauth_calls == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_user_s_token_request_is_sent_again_as_often_as_oauth_s(api, client, status):
    server = api(MODELS, oauth=[reply(status), oauth_reply("jwt", form="token")])
    client(server, credentials=None, user="u", password="p").get_models()
    assert server.oauth_calls == 2


def test_an_access_token_is_used_as_it_is(api, client):
    server = api(MODELS)
    giga = client(server, access_token="given")
    for _ in range(3):
        giga.get_models()
    assert bearers(server) == {"Bearer given": 3}
    assert server.oauth_calls == 0


def test_a_refused_access_token_is_replaced_where_credentials_are_there(api, client):
    server = api([EXPIRED, MODELS, MODELS])
    giga = client(server, access_token="given")
    giga.get_models()
    giga.get_models()
    assert bearers(server) == {"Bearer given": 1, "Bearer token-1": 2}
    assert server.oauth_calls == 1


def test_a_refused_access_token_alone_is_an_error_at_once(api, client):
    server = api(EXPIRED)
    giga = client(server, credentials=None, access_token="given")
    for _ in range(2):  # and it is not forgotten: the next call says the same, not that nothing is configured
        with pytest.raises(AuthenticationError):
            giga.get_models()
    assert bearers(server) == {"Bearer given": 2}
    assert server.oauth_calls == 0


@pytest.mark.parametrize("way", ["certificate", "context"])
def test_a_client_certificate_alone_sends_no_authorization(api, client, certs, way):
    server = api([MODELS, EXPIRED], context=certs.context("server", "required"))
    given = {"cert_file": certs.client_combined, "ca_bundle_file": certs.ca_pem}
    if way == "context":
        import ssl

        context = ssl.create_default_context(cafile=str(certs.ca_pem))
        context.load_cert_chain(str(certs.client_combined))
        given = {"ssl_context": context}
    giga = client(server, credentials=None, **given)
    assert giga.get_token() is None
    giga.get_models()
    with pytest.raises(AuthenticationError):
        giga.get_models()
    assert [request.headers["Authorization"] for request in server.requests] == [None, None]
    assert server.requests[0].peer_cert


KEYS = {"credentials": KEY}
PAIR = {"client_id": "id", "client_secret": "secret"}
USER = {"user": "u", "password": "p"}
WAYS = {  # arguments, environment, path of the token request (None: no such request)
    "a key before client id and secret": ({**KEYS, **PAIR}, {}, "/api/v2/oauth", KEY),
    "a key before a user": ({**KEYS, **USER}, {}, "/api/v2/oauth", KEY),
    "client id and secret before a user": ({**PAIR, **USER}, {}, "/api/v2/oauth", "aWQ6c2VjcmV0"),
    "an argument's user before a variable's key": (USER, {"GIGACHAT_CREDENTIALS": KEY}, "/api/v1/token", "dTpw"),
    "an access token first": ({**KEYS, "access_token": "given"}, {}, None, None),
    "an argument's token beside a variable's key": (
        {"access_token": "given"}, {"GIGACHAT_CREDENTIALS": KEY}, None, None),
    "a key with a certificate beside it": ({**KEYS, "cert_file": True}, {}, "/api/v2/oauth", KEY),
}


@pytest.mark.parametrize("given, environ, path, basic", list(WAYS.values()), ids=list(WAYS))
def test_the_way_to_a_token_is(api, client, certs, given, environ, path, basic):
    server = api(MODELS)
    if "cert_file" in given:
        given = {**given, "cert_file": certs.client_combined}
    client(server, **{"credentials": None, "environ": environ, **given}).get_models()
    assert [request.path for request in server.requests[:-1]] == ([path] if path else [])
    if basic:
        assert server.requests[0].headers["Authorization"] == "Basic " + basic


@pytest.mark.parametrize("call", [
    lambda giga: giga.get_models(), lambda giga: giga.chat("?"), lambda giga: giga.stream("?"),
    lambda giga: giga.get_token(), lambda giga: giga.tokens_count("?"),
], ids=["models", "chat", "stream", "token", "tokens count"])
def test_without_credentials_the_first_request_says_so_and_nothing_is_sent(api, client, call):
    server = api(reply(body=CHAT_BODY))
    giga = client(server, credentials=None)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="GIGACHAT_CREDENTIALS"):
            call(giga)
    assert server.connections == 0
    giga.get_models(headers={"Authorization": "Bearer mine"})  # a caller that brings a header needs no settings
    giga.chat("?", headers={"Authorization": "Bearer mine"})
    assert bearers(server) == {"Bearer mine": 2}


@pytest.mark.parametrize("call", [
    "chat('?')", *(pytest.param(call, marks=pytest.mark.long) for call in (
        "stream('?')", "get_models()", "get_token()", "embeddings(['?'])"))])
def test_a_script_without_credentials_ends_in_three_frames_and_one_line(call, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import gigachat_lite\ngigachat_lite.GigaChat().{call}\n")
    environ = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(gigachat_lite.__file__))}
    environ["PYTHONIOENCODING"] = "utf-8"
    done = subprocess.run([sys.executable, str(script)], env=environ, stderr=subprocess.PIPE, timeout=30)
    lines = done.stderr.decode().splitlines()
    assert len([line for line in lines if line.startswith("  File")]) <= 4  # the first is the script's own
    assert "During handling" not in done.stderr.decode() and "direct cause" not in done.stderr.decode()
    name, _, text = lines[-1].partition(": ")
    assert name.endswith("ConfigurationError") and len(text) <= 300
    parts = ("GIGACHAT_CREDENTIALS", ".env", "developers.sber.ru", "gigachat_lite.emulator")
    assert all(part in text for part in parts)


# Many threads, one token


def held_oauth(release, lifetimes=(1800.0, LONG)):
    """Answer token-1 at once and later ones when `release` lets them go: an OAuth host that keeps everybody waiting."""
    count = []

    def answer(request, connection):
        count.append(None)
        token = oauth_reply(f"token-{len(count)}", lifetimes[min(len(count), len(lifetimes)) - 1])
        if len(count) == 1 and lifetimes[0] != LONG:
            return token
        release()
        return token

    return answer


def test_fifty_threads_without_a_token_make_one_oauth_call(api, client):
    clock = None
    server = api(MODELS, oauth=held_oauth(lambda: until(lambda: len(clock.asked) >= THREADS), (LONG,)))
    giga = client(server)
    clock = wind(giga)
    results = finish(*[start(giga.get_models) for _ in range(THREADS)])
    assert not failed(results)
    assert bearers(server) == {"Bearer token-1": THREADS}
    assert server.oauth_calls == 1


def test_fifty_threads_with_an_expired_token_make_one_oauth_call(api, client):
    clock = None
    server = api(MODELS, oauth=held_oauth(lambda: until(lambda: len(clock.asked) >= THREADS)))
    giga = client(server)
    giga.get_token()
    clock = wind(giga)
    clock.shift = 1801.0
    results = finish(*[start(giga.get_models) for _ in range(THREADS)])
    assert not failed(results)
    assert bearers(server) == {"Bearer token-2": THREADS}
    assert server.oauth_calls == 2


def test_while_one_thread_renews_an_expiring_token_the_others_go_on_with_the_old_one(api, client):
    server = None
    # the renewal is held until all others have been answered: did they wait for it, the test would fail here
    oauth = held_oauth(lambda: until(lambda: len(server.calls) == THREADS - 1))
    server = api(MODELS, oauth=oauth)
    giga = client(server)
    giga.get_token()
    wind(giga).shift = 1760.0
    results = finish(*[start(giga.get_models) for _ in range(THREADS)])
    assert not failed(results)
    assert bearers(server) == {"Bearer token-1": THREADS - 1, "Bearer token-2": 1}
    assert server.oauth_calls == 2


def test_fifty_threads_whose_token_is_refused_make_one_oauth_call(api, client):
    clock, refused = None, threading.Barrier(THREADS)

    def answer(request, connection):
        if request.headers["Authorization"] == "Bearer token-1":
            refused.wait(5)  # all have sent the old token before one of them hears of it
            return EXPIRED
        return MODELS

    server = api(answer, oauth=held_oauth(lambda: until(lambda: len(clock.asked) >= 2 * THREADS)))
    giga = client(server)
    giga.get_token()
    clock = wind(giga)
    results = finish(*[start(giga.get_models) for _ in range(THREADS)])
    assert not failed(results)
    assert bearers(server) == {"Bearer token-1": THREADS, "Bearer token-2": THREADS}
    assert server.oauth_calls == 2
    assert giga.pauses == []


def test_a_late_refusal_of_the_old_token_does_not_throw_the_fresh_one_away(api, client):
    late, first = threading.Event(), []

    def answer(request, connection):
        if request.headers["Authorization"] != "Bearer token-1":
            return MODELS
        first.append(None)
        return EXPIRED.after(late) if len(first) == 1 else EXPIRED

    server = api(answer)
    giga = client(server)
    slow = start(giga.get_models)
    until(lambda: first)
    giga.get_models()  # refused too, and renewed
    assert server.oauth_calls == 2
    late.set()
    assert not failed(finish(slow))
    giga.get_models()
    assert bearers(server) == {"Bearer token-1": 2, "Bearer token-2": 3}
    assert server.oauth_calls == 2


def test_fifty_threads_share_one_failure_and_each_has_an_error_of_its_own(api, client):
    clock = None

    def answer(request, connection):
        until(lambda: len(clock.asked) >= THREADS)
        return reply(401, {"code": 6, "message": "credentials doesn't match db data"})

    server = api(MODELS, oauth=answer)
    giga = client(server)
    clock = wind(giga)
    results = finish(*[start(giga.get_models) for _ in range(THREADS)])
    assert {type(result) for result in results} == {AuthenticationError}
    assert len({id(result) for result in results}) == THREADS
    assert len({str(result) for result in results}) == 1
    assert server.oauth_calls == 1
    assert server.calls == []


# A token that is refused


def ask(giga):
    return giga.get_models()


def ask_stream(giga):
    with giga.stream("?") as stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == STREAM_TEXT


@pytest.mark.parametrize("call, good", [(ask, MODELS), (ask_stream, sse(STREAM_BODY))], ids=["a call", "a stream"])
@pytest.mark.parametrize("retries", [0, 2])
def test_a_refused_token_is_renewed_once_and_the_request_sent_once_more(api, client, call, good, retries):
    server = api([EXPIRED, good])
    giga = client(server, max_retries=retries)
    call(giga)
    assert [request.headers["Authorization"] for request in server.calls] == ["Bearer token-1", "Bearer token-2"]
    assert server.oauth_calls == 2
    assert giga.pauses == []


@pytest.mark.parametrize("call", [ask, ask_stream], ids=["a call", "a stream"])
def test_a_second_refusal_is_final(api, client, call):
    server = api([EXPIRED] * 4)
    giga = client(server)
    with pytest.raises(AuthenticationError) as caught:
        call(giga)
    assert len(server.calls) == 2
    assert server.oauth_calls == 2
    assert caught.value.message == "Token has expired"
    with pytest.raises(AuthenticationError):
        call(giga)
    assert len(server.calls) <= 4


def test_a_renewal_after_a_refusal_leaves_the_retries_as_they_were(api, client):
    server = api([reply(503), EXPIRED, reply(503), MODELS])
    giga = client(server)
    giga.get_models()
    assert len(server.calls) == 4
    assert len(giga.pauses) == 2


def test_a_renewal_that_fails_after_a_refusal_is_the_error(api, client):
    server = api(EXPIRED, oauth=[oauth_reply("a"), reply(400, {"code": 5, "message": "scope is empty"})])
    with pytest.raises(BadRequestError, match="scope is empty"):
        client(server).get_models()
    assert len(server.calls) == 1


def test_a_refusal_by_the_oauth_host_is_final(api, client):
    server = api(MODELS, oauth=reply(401, {"code": 6, "message": "credentials doesn't match db data"}))
    with pytest.raises(AuthenticationError):
        client(server).get_models()
    assert (server.oauth_calls, server.calls) == (1, [])


OWN = "Bearer of-the-caller"


def by_headers(name):
    return lambda giga: giga.get_models(headers={name: OWN})


def by_variable(variable, value):
    def call(giga):
        before = variable.set(value)
        try:
            return giga.get_models()
        finally:
            variable.reset(before)

    return call


OWN_WAYS = {
    "headers=": by_headers("Authorization"),
    "headers= in small letters": by_headers("authorization"),
    "authorization_cvar": by_variable(authorization_cvar, OWN),
    "custom_headers_cvar": by_variable(custom_headers_cvar, {"AUTHORIZATION": OWN}),
}


@pytest.mark.parametrize("call", list(OWN_WAYS.values()), ids=list(OWN_WAYS))
@pytest.mark.parametrize("settings", [{}, {"access_token": "given"}, {"credentials": None}], ids=["key", "token", "-"])
def test_the_caller_s_own_authorization_takes_the_token_s_place_and_its_refusal_is_final(
    api, client, call, settings
):
    server = api([MODELS, EXPIRED])
    giga = client(server, **settings)
    call(giga)
    with pytest.raises(AuthenticationError):
        call(giga)
    assert [request.headers.get_all("Authorization") for request in server.requests] == [[OWN], [OWN]]


def test_headers_are_stronger_than_the_context_variable_in_any_case_of_letters(api, client):
    server = api(MODELS)
    giga = client(server)
    before = authorization_cvar.set("Bearer weaker")
    try:
        giga.get_models(headers={"authorization": OWN})
    finally:
        authorization_cvar.reset(before)
    assert server.requests[0].headers.get_all("Authorization") == [OWN]


# How long a token lives

NOW = 1700000000.0


def date_of(seconds):
    return formatdate(seconds, usegmt=True)


LIVES = {  # answer, Date, seconds to live
    "milliseconds": ({"expires_at": (NOW + 1800) * 1000}, None, 1800),
    "seconds": ({"expires_at": NOW + 1800}, None, 1800),
    "whole milliseconds": ({"expires_at": 1700000900123}, None, 900.123),
    "exp in seconds": ({"exp": int(NOW) + 600}, None, 600),
    "exp in milliseconds": ({"exp": (int(NOW) + 600) * 1000}, None, 600),
    "server's clock an hour ahead": ({"expires_at": (NOW + 5400) * 1000}, date_of(NOW + 3600), 1800),
    "server's clock an hour behind": ({"expires_at": (NOW - 1800) * 1000}, date_of(NOW - 3600), 1800),
    "an hour ahead without Date": ({"expires_at": (NOW + 5400) * 1000}, None, 5400),
    "an hour behind without Date": ({"expires_at": (NOW - 1800) * 1000}, None, 1800),
    "a year wrong without Date": ({"expires_at": (NOW + 31536000) * 1000}, None, 1800),
    "no time at all": ({"expires_at": NOW * 1000}, None, 1800),
    "a day": ({"expires_at": (NOW + 86400) * 1000}, None, 86400),
    "more than a day": ({"expires_at": (NOW + 86401) * 1000}, None, 1800),
    "the past": ({"expires_at": (NOW - 1) * 1000}, None, 1800),
    "nothing said": ({}, None, 1800),
    "null": ({"expires_at": None}, None, 1800),
    "zero": ({"expires_at": 0}, None, 1800),
    "negative": ({"expires_at": -1}, None, 1800),
    "NaN": ({"expires_at": math.nan}, None, 1800),
    "Infinity": ({"expires_at": math.inf}, None, 1800),
    "-Infinity": ({"expires_at": -math.inf}, None, 1800),
    "a number beyond floats": ({"expires_at": 10**400}, None, 1800),
    "a large float": ({"expires_at": 1e308}, None, 1800),
    "a string": ({"expires_at": "1700001800000"}, None, 1800),
    "true": ({"expires_at": True}, None, 1800),
    "false": ({"expires_at": False}, None, 1800),
    "a list": ({"expires_at": [1]}, None, 1800),
    "an object": ({"expires_at": {"a": 1}}, None, 1800),
}


@pytest.mark.parametrize("answer, date, life", list(LIVES.values()), ids=list(LIVES))
def test_a_token_lives(answer, date, life):
    token = new_token({"access_token": "t", **answer}, date, NOW, 50.0)
    assert token.deadline == pytest.approx(50 + life)
    assert token.renew_at == pytest.approx(50 + life - min(60, life / 4))
    assert math.isfinite(token.expires_at)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "1700001800000", True, [1], None, 10**400], ids=lambda value: repr(value)[:20]
)
def test_an_expiry_that_is_no_number_is_reckoned_from_now(value):
    assert new_token({"access_token": "t", "expires_at": value}, None, NOW, 0.0).expires_at == NOW + 1800


@pytest.mark.parametrize("date", [
    "", "soon", "0", "-", "\x00", "Thu, 99 Foo 2023 99:99:99 GMT", "Thu, 01 Jan", "ThuT;, 01 Jan , 00:01:40 ",
    "Thu, 01 Jan 99999999999 00:00:00 GMT", "Thu, 01 Jan 2023 00:00:00 +99999999999", "Thu, 01 Jan 197( 00:0GMT",
], ids=repr)
def test_a_malformed_date_is_none(date):
    token = new_token({"access_token": "t", "expires_at": (NOW + 700) * 1000}, date, NOW, 0.0)
    assert token.deadline == pytest.approx(700)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set here")
@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", ""])
def test_a_date_is_the_same_in_moscow(monkeypatch, zone):
    monkeypatch.setenv("TZ", "MSK-3")
    time.tzset()
    try:
        assert parse_date(("Thu, 01 Jan 1970 00:01:40 " + zone).strip(), 7.0) == 100.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("life, buffer, window", [
    (1800, 60, 60), (100, 60, 25), (4, 60, 1), (1800, 0, 0), (1800, 5, 5), (1800, 900, 450), (1800, math.inf, 450),
])
def test_the_window_for_renewing_is(life, buffer, window):
    token = new_token({"access_token": "t", "expires_at": NOW + life}, None, NOW, 0.0, buffer)
    assert token.deadline - token.renew_at == pytest.approx(window)


BAD_TOKENS = [None, "", " ", "two words", "new\nline", "line\r\nX-Evil: 1", "end\n", "токен", "del\x7f", 5, True, ["t"]]


@pytest.mark.parametrize("value", BAD_TOKENS, ids=repr)
def test_what_cannot_be_a_token_is_none(value):
    with pytest.raises(ValueError):
        new_token({"access_token": value}, None, NOW, 0.0)


@pytest.mark.parametrize("date", [True, None, "nonsense"], ids=["Date", "no Date", "malformed Date"])
@pytest.mark.parametrize("skew", [3600.0, -3600.0], ids=["ahead", "behind"])
def test_a_clock_an_hour_wrong_costs_no_further_token(api, client, skew, date):
    server = api(MODELS, oauth=[oauth_reply("only", skew=skew, date=date)])
    giga = client(server)
    for _ in range(3):
        giga.get_models()
    assert server.oauth_calls == 1


def test_the_window_for_renewing_is_a_setting_in_milliseconds(api, client):
    server = api(MODELS)
    giga = client(server, token_expiry_buffer_ms=10000)
    giga.get_models()
    clock = wind(giga)
    clock.shift = 1780.0
    giga.get_models()
    assert server.oauth_calls == 1
    clock.shift = 1795.0
    giga.get_models()
    assert server.oauth_calls == 2


# The cache by itself, with its clock in hand


class Fetch:
    """Fetch what the script says, in order: a word becomes a token of 100 seconds (25 for renewing)."""

    def __init__(self, clock, *script):
        self.clock, self.script, self.calls = clock, list(script), []

    def __call__(self, limit):
        self.calls.append(limit)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        if callable(step):
            return step(limit)
        return Token(step, None, self.clock.shift + 100, self.clock.shift + 75)


def make_cache(*script):
    clock = Clock()
    fetch = Fetch(clock, *script)
    return TokenCache(fetch, clock=clock), fetch, clock


def trouble(text="down"):
    return ServerError("https://auth.example/oauth", 503, b"", {}, text)


def test_a_token_is_kept_until_its_window_and_renewed_in_it():
    cache, _, clock = make_cache("a", "b", "c", "d")
    seen = []
    for clock.shift in (0.0, 74.9, 75.0, 149.9, 150.0, 400.0):  # the last one has expired long since
        seen.append(cache.get().value)
    assert seen == ["a", "a", "b", "b", "c", "d"]


def test_a_token_that_was_renewed_a_moment_ago_is_not_renewed_again():
    cache, fetch, clock = make_cache("a", "b")
    cache.get()
    clock.shift = 80.0

    def overtaken():  # between the look at the old token and the look at the clock another thread renews it
        clock.base = lambda: 0.0
        assert cache.get().value == "b"
        return 0.0

    clock.base = overtaken
    assert cache.get().value == "b"
    assert len(fetch.calls) == 2


def test_a_failed_early_renewal_keeps_the_old_token_says_so_and_leaves_a_second_s_peace(caplog):
    cache, fetch, clock = make_cache("a", trouble("first"), trouble("second"), "b")
    cache.get()
    clock.shift = 80.0
    with caplog.at_level(logging.WARNING, "gigachat_lite"):
        assert [cache.get().value for _ in range(50)] == ["a"] * 50
    assert len(fetch.calls) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "first" in caplog.text
    clock.shift = 81.0
    assert [cache.get().value for _ in range(50)] == ["a"] * 50
    assert len(fetch.calls) == 3
    clock.shift = 82.0
    assert cache.get().value == "b"


def test_after_a_failed_early_renewal_an_expired_token_is_not_used():
    cache, _, clock = make_cache("a", trouble(), "b")
    cache.get()
    clock.shift = 99.9
    assert cache.get().value == "a"
    clock.shift = 100.95
    assert cache.get().value == "b"


def test_a_token_is_not_used_at_the_moment_of_its_end():
    cache, _, clock = make_cache("a", trouble(), "b")
    clock.base = lambda: 0.0
    cache.get()
    clock.shift = 100.0  # its very deadline: an early renewal that fails would leave it in use
    with pytest.raises(ServerError):
        cache.get()


def test_an_early_renewal_may_take_ten_seconds_and_half_of_a_deadline():
    cache, fetch, clock = make_cache("a", trouble(), trouble())
    cache.get()
    for clock.shift, deadline in ((75.0, None), (80.0, time.monotonic() + 6)):
        cache.get(deadline)
    _, alone, with_deadline = (None if limit is None else limit - time.monotonic() for limit in fetch.calls)
    assert 9 < alone <= 10 and 2 < with_deadline <= 3


def test_a_failed_fetch_is_remembered_for_a_second_and_each_caller_has_an_error_of_its_own():
    cache, fetch, clock = make_cache(trouble(), trouble(), "a")
    errors = []
    for clock.shift in (0.0, 0.0, 0.9, 1.0, 1.9):
        with pytest.raises(ServerError) as caught:
            cache.get()
        errors.append(caught.value)
    assert len(fetch.calls) == 2
    assert len({id(error) for error in errors}) == 5
    assert {str(error) for error in errors} == {str(errors[0])}
    clock.shift = 2.0
    assert cache.get().value == "a"


def test_a_success_ends_what_is_remembered_of_a_failure():
    cache, _, clock = make_cache("a", trouble(), "b", "c")
    cache.get()
    clock.shift = 80.0
    cache.get()  # fails early
    clock.shift = 81.0
    assert cache.get().value == "b"
    assert cache.drop("b")
    assert cache.get().value == "c"


def test_only_the_very_token_that_was_refused_is_dropped():
    cache, _, _ = make_cache("a", "b")
    cache.get()
    assert cache.drop("older")
    assert cache.get().value == "a"
    assert cache.drop("a")
    assert cache.get().value == "b"
    assert not TokenCache(None, Token("fixed")).drop("fixed")


def test_a_token_refused_while_it_is_renewed_early_costs_no_second_fetch():
    cache, fetch, clock = make_cache("a", lambda limit: (cache.drop("a"), Token("b", None, 500.0, 400.0))[1])
    cache.get()
    clock.shift = 80.0
    assert cache.get().value == "b"
    assert cache.get().value == "b"
    assert len(fetch.calls) == 2


def test_a_token_refused_while_its_early_renewal_fails_does_not_come_back():
    def fail(limit):
        cache.drop("a")
        raise trouble()

    cache, _, clock = make_cache("a", fail, "b")
    cache.get()
    clock.shift = 80.0
    cache.get()
    with contextlib.suppress(ServerError):
        assert cache.get().value != "a"
    clock.shift = 82.0
    assert cache.get().value == "b"


def test_a_failure_by_the_caller_s_own_deadline_is_not_remembered():
    def late(limit):
        clock.shift = limit
        raise RequestTimeout("too late")

    cache, _, clock = make_cache(late, "a")
    with pytest.raises(RequestTimeout):
        cache.get(0.5)
    assert cache.get().value == "a"


def test_an_interrupted_fetch_leaves_the_cache_usable():
    def interrupt(limit):
        raise KeyboardInterrupt

    cache, _, _ = make_cache(interrupt, "a")
    with pytest.raises(KeyboardInterrupt):
        cache.get()
    assert cache.get(0.0).value == "a"


def test_what_is_remembered_of_a_failure_does_not_keep_the_caller_s_frames_alive():
    class Precious:
        pass

    cache, _, _ = make_cache(trouble())

    def caller():
        precious = Precious()
        watch.append(weakref.ref(precious))
        with pytest.raises(ServerError):
            use(precious)

    def use(precious):
        return cache.get()

    watch = []
    caller()
    gc.collect()
    assert watch[0]() is None


# Deadlines of callers that share a fetch


def test_a_caller_s_short_deadline_ends_its_wait_for_another_s_fetch(api, client):
    gate = threading.Event()
    server = api(MODELS, oauth=[oauth_reply("a").after(gate)])
    giga = client(server)
    patient = start(giga.get_models)
    until(lambda: server.oauth_calls)
    with pytest.raises(RequestTimeout, match="deadline"):
        giga.get_models(deadline=0.05)
    gate.set()
    assert not failed(finish(patient))
    assert server.oauth_calls == 1


def test_a_caller_s_short_deadline_does_not_poison_the_others(api, client):
    server = api(MODELS, oauth=[never(), oauth_reply("a")])
    giga = client(server)
    hasty = start(lambda: giga.get_models(deadline=0.1))
    until(lambda: server.oauth_calls)
    patient = [start(giga.get_models) for _ in range(5)]
    assert isinstance(finish(hasty)[0], RequestTimeout)
    assert not failed(finish(*patient))
    assert server.oauth_calls == 2


def test_a_fetch_not_repeated_for_a_caller_s_short_deadline_does_not_poison_the_others(api, client):
    gate = threading.Event()
    server = api(MODELS, oauth=[reply(503).after(gate), oauth_reply("a")])
    giga = client(server, retry_backoff_factor=8.0)
    clock = wind(giga)
    hasty = start(lambda: giga.get_models(deadline=2.0))
    until(lambda: server.oauth_calls)
    patient = start(giga.get_models)
    until(lambda: len(clock.asked) >= 2)
    gate.set()  # the first may not wait the 4 seconds and more before the next attempt, the second may
    assert isinstance(finish(hasty)[0], GigaChatException)
    assert not failed(finish(patient))


def test_a_silent_oauth_host_does_not_cost_a_call_whose_token_is_still_good(api, client):
    server = api(MODELS, oauth=[oauth_reply("a"), never(), never(), never()])
    giga = client(server)
    giga.get_token()
    wind(giga).shift = 1760.0
    giga.get_models(deadline=0.4)
    assert bearers(server) == {"Bearer a": 1}


# get_token()


def test_a_token_can_be_had_ahead_of_time(api, client):
    server = api(MODELS, oauth=[reply(body={"access_token": "aaa.bbb", "expires_at": 1700001800123}, headers={
        "X-Request-ID": "r-1"})])
    giga = client(server)
    token = giga.get_token()
    assert server.calls == []
    assert (token.access_token, token.expires_at) == ("aaa.bbb", 1700001800123)
    assert token.x_headers["x-request-id"] == "r-1"
    assert json.loads(json.dumps(token)) == {"access_token": "aaa.bbb", "expires_at": 1700001800123}
    for text in (repr(token), str(token), f"{token}", "%s" % token, repr([token]), repr({"a": token})):
        assert "aaa" not in text
        assert "1700001800123" in text
    giga.get_models()
    assert giga.get_token() == token
    assert server.oauth_calls == 1


def test_get_token_shows_an_access_token_as_it_was_given(api, client):
    server = api(MODELS)
    token = client(server, access_token="given").get_token()
    assert (token.access_token, token.expires_at) == ("given", None)
    assert server.connections == 0


def test_get_token_refuses_an_option_nobody_knows(api, client):
    with pytest.raises(TypeError, match="deadlin"):
        client(api(MODELS)).get_token(deadlin=1)


def test_get_token_takes_a_deadline(api, client):
    began = time.monotonic()
    with pytest.raises(RequestTimeout):
        client(api(MODELS, oauth=never())).get_token(deadline=0.1)
    assert time.monotonic() - began < 2


# What an OAuth host may answer

NO_TOKENS = {
    "a page of HTML": reply(200, "<html>half-a-secret</html>", {"Content-Type": "text/html"}),
    "nothing": reply(200, b""),
    "a list": reply(200, b'["half-a-secret"]'),
    "a string": reply(200, b'"half-a-secret"'),
    "null": reply(200, b"null"),
    "no token": reply(200, {"expires_at": 1, "other": "half-a-secret"}),
    "an empty token": reply(200, {"access_token": "", "other": "half-a-secret"}),
    "a token that is a number": reply(200, {"access_token": 5, "other": "half-a-secret"}),
    "a token with a newline": reply(200, {"access_token": "half-a-secret\nX-Evil: 1", "expires_at": 1}),
    "a token with letters beyond ASCII": reply(200, {"access_token": "half-a-secretж"}),
    "no UTF-8": reply(200, b'{"access_token":"half-a-secret\xff"}'),
    "half of an object": reply(200, b'{"access_token":"half-a-secret'),
    "deep brackets": reply(200, b"[" * 100000),
    "a short body": reply(200, b'{"access_token":"half-a-secret"}', length=100),
    "a redirect": reply(302, "half-a-secret", {"Location": "http://127.0.0.1:9/", "Content-Type": "text/plain"}),
    "no HTTP": raw(b"half-a-secret\r\n\r\n"),
}


@pytest.mark.parametrize("answer", list(NO_TOKENS.values()), ids=list(NO_TOKENS))
def test_an_oauth_answer_that_holds_no_token_is_a_clear_error(api, client, answer):
    server = api(MODELS, oauth=answer)
    giga = client(server)
    with pytest.raises((ResponseError, TransportError)) as caught:
        giga.get_models()
    shown = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    if answer.wire.startswith(b"HTTP/1.1 200"):
        assert "half-a-secret" not in shown
        assert "half-a-secret" not in repr(vars(caught.value))
    assert "localhost" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in shown
    assert server.calls == []
    assert server.oauth_calls == 1


def test_a_number_beyond_floats_as_expiry_is_no_reason_to_fail(api, client):
    server = api(MODELS, oauth=[reply(200, b'{"access_token":"t","expires_at":1' + b"0" * 400 + b"}")])
    client(server).get_models()
    assert bearers(server) == {"Bearer t": 1}


CODES = {
    1: (400, "scope data format invalid", "GIGACHAT_API_PERS"),
    4: (400, "Can't decode 'Authorization' header", "client_id:client_secret"),
    5: (400, "scope is empty", "GIGACHAT_API_B2B"),
    6: (401, "credentials doesn't match db data", "authorization key"),
    7: (400, "scope from db not fully includes consumed scope", "GIGACHAT_SCOPE"),
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_oauth_error_says_what_to_do(api, client, code):
    status, message, hint = CODES[code]
    server = api(MODELS, oauth=reply(status, {"code": code, "message": message}, {"X-Request-ID": "r-9"}))
    with pytest.raises({400: BadRequestError, 401: AuthenticationError}[status]) as caught:
        client(server).get_models()
    error = caught.value
    assert (error.status_code, error.code, error.message, error.request_id) == (status, code, message, "r-9")
    assert hint in error.hint
    assert message in str(error) and hint in str(error) and "r-9" in str(error)
    assert KEY not in "".join(traceback.format_exception(caught.type, error, caught.tb))
    assert server.oauth_calls == 1


@pytest.mark.parametrize("status", [401, 400])
def test_a_key_that_does_not_decode_gets_the_same_hint_under_either_status(api, client, status):
    server = api(MODELS, oauth=reply(status, {"code": 4, "message": "Can't decode 'Authorization' header"}))
    with pytest.raises(ResponseError) as caught:
        client(server).get_models()
    assert "copy it whole" in caught.value.hint


def test_tokens_and_keys_stay_out_of_the_log(api, client, caplog):
    server = api([EXPIRED, reply(503), MODELS])
    giga = client(server)
    with caplog.at_level(logging.DEBUG):
        giga.get_models()
        giga.get_token()
    assert "/models" in caplog.text
    assert "/oauth" in caplog.text
    for secret in (KEY, "token-1", "token-2", "Bearer", "Basic"):
        assert secret not in caplog.text
