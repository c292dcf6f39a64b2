"""Hold the promises about a network that fails: what is sent again and how often, what ends when, and whose turn it is.

Faults are made on real sockets, and the requests that the server saw are counted. Pauses between tries are noted
instead of slept.
"""
from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import pickle
import queue
import random
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from email.utils import formatdate

import pytest
import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from clients import IN_CHILD, crossed, finish, needs_fork, start
from gigachat_lite import (
    ConfigurationError,
    GigaChat,
    GigaChatException,
    RateLimitError,
    RequestTimeout,
    ResponseError,
    ServerError,
    TLSError,
    TransportError,
)
from gigachat_lite.dates import parse_retry_after
from gigachat_lite.diagnose import Attempt, failure_of
from gigachat_lite.transport import Request, retry_delay
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, drop, never, oauth_reply, raw, refused, reply, sse, until

KEY = "MTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1OjY2NjY2NjY2LTc3Nzc="
KINDS = ("read", "paid", "write")
LONG = pytest.mark.long  # what shows on another road what one test of every run shows already
OK = reply(body={"object": "list", "data": []})
CHAT = reply(body=CHAT_BODY)
MARGIN = 1.5  # seconds that a loaded machine may add to a deadline


@pytest.fixture
def client():
    """Make clients that have a token already; their pauses are noted, not slept."""
    made = []

    def make(api=None, **settings):
        if api is not None:
            host = api.at("localhost")
            settings = dict({"base_url": host + "/api/v1", "auth_url": host + "/api/v2/oauth"}, **settings)
        giga = GigaChat(**dict({"access_token": "t", "env_file": False, "trust_env": False}, **settings))
        giga.pauses = []
        giga.transport.sleep = giga.pauses.append
        made.append(giga)
        return giga

    yield make
    for giga in made:
        giga.close()


def send(giga, kind, timeout=None, deadline=None):
    """Send a call of this kind; no public method is of the kind "write" yet."""
    limit = None if deadline is None else time.monotonic() + deadline
    request = Request("POST", "/things", b'{"a":1}', retry=kind, timeout=timeout, until=limit)
    return giga.transport.send(request)


@contextlib.contextmanager
def ends_within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + MARGIN


def shown(caught):
    return "".join(traceback.format_exception(caught.type, caught.value, caught.tb))


# What is sent again, as a table: read, paid, write

AGAIN = {
    "no connection": (True, True, True),
    "dns": (True, True, True),
    "connect timeout": (True, True, True),
    429: (True, True, True),
    503: (True, True, True),
    500: (True, True, False),
    502: (True, False, False),
    504: (True, False, False),
    "stale": (True, True, False),
    "lost": (True, False, False),
    "read timeout": (True, False, False),
    "broken": (False, False, False),
    "tls": (False, False, False),
    "proxy": (False, False, False),
    **dict.fromkeys((302, 400, 401, 402, 403, 404, 408, 413, 422, 425, 501, 505), (False, False, False)),
}
ROWS = [(kind, fault, row[KINDS.index(kind)]) for fault, row in AGAIN.items() for kind in KINDS]
USUAL = {"max_retries": 2, "retry_backoff_factor": 0.5, "retry_on_status_codes": None}


def ids(value):
    return {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else str(value).replace(" ", "-")


@pytest.mark.parametrize("kind, fault, again", ROWS, ids=ids)
def test_whether_a_call_is_sent_again(kind, fault, again):
    delays = [retry_delay(kind, fault, tries, USUAL) for tries in (1, 2, 3)]
    assert [delay is not None for delay in delays] == [again, again, False]


@pytest.mark.parametrize("fault", [504, 429, 418, "no connection", "lost", "stale"])
@pytest.mark.parametrize("kind", KINDS)
def test_given_status_codes_replace_the_usual_ones_but_not_for_what_creates(kind, fault):
    config = dict(USUAL, retry_on_status_codes=(418, 504))
    usual = AGAIN.get(fault, (False,) * 3)[KINDS.index(kind)]
    again = usual if isinstance(fault, str) or kind == "write" else fault in (418, 504)
    assert (retry_delay(kind, fault, 1, config) is not None) == again


def test_after_a_stale_connection_there_is_nothing_to_wait_for():
    assert retry_delay("paid", "stale", 1, USUAL) == 0


def test_no_status_codes_at_all_may_be_given():
    config = dict(USUAL, retry_on_status_codes=())
    assert retry_delay("read", 503, 1, config) is None
    assert retry_delay("read", "no connection", 1, config) is not None


def test_pauses_double_up_to_eight_seconds():
    config = dict(USUAL, max_retries=9)
    pauses = [retry_delay("read", 503, tries, config, chance=lambda: 1.0) for tries in range(1, 8)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_pauses_are_jittered_downwards_by_half_at_most():
    config = dict(USUAL, max_retries=9)
    least = [retry_delay("read", 503, tries, config, chance=lambda: 0.0) for tries in range(1, 8)]
    assert all(0.2 <= least[i] / [0.5, 1, 2, 4, 8, 8, 8][i] < 1 for i in range(7))
    some = {retry_delay("read", 503, 5, config, chance=random.Random(1).random) for _ in range(3)}
    assert all(0 < pause <= 8 for pause in some)
    assert len({retry_delay("read", 503, 5, config) for _ in range(9)}) > 1


@pytest.mark.parametrize("factor", [0.0, 0.5, 100.0, float("inf")])
@pytest.mark.parametrize("tries", [1, 5, 2000, 10**6])
def test_a_pause_is_a_number_for_any_patience(factor, tries):
    pause = retry_delay("read", 503, tries, dict(USUAL, max_retries=10**9, retry_backoff_factor=factor))
    assert 0 <= pause <= 8


RETRY_AFTER = {
    "5": 5.0, " 5 ": 5.0, "0": 0.0, "1.5": 1.5, "86400": 86400.0, "9" * 400: 2592000.0,
    "Thu, 01 Jan 1970 00:01:40 GMT": 50.0, "Thu, 01 Jan 1970 00:00:10 GMT": 0.0,
    "Thursday, 01-Jan-70 00:01:40 GMT": 50.0, "Fri, 02 Jan 1970 00:00:50 GMT": 86400.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 2592000.0,  # time.sleep would refuse it
    "": None, "-5": None, "+5": None, "inf": None, "Infinity": None, "nan": None, "1e3": None,
    "0x10": None, "soon": None,
    "٥": None, "５": None, "5, 10": None, "Thu, 99 Foo 1970 99:99:99 GMT": None, "5 seconds": None,
}


@pytest.mark.parametrize("text, seconds", list(RETRY_AFTER.items()), ids=lambda value: repr(value)[:34])
def test_a_retry_after_means(text, seconds):
    assert parse_retry_after(text, 50.0) == seconds


def test_no_retry_after_is_none():
    assert parse_retry_after(None, 50.0) is None


@pytest.mark.parametrize("wish, delay", [(0.0, 0.0), (7.5, 7.5), (60.0, 60.0), (60.1, None), (float("inf"), None)])
def test_a_wish_of_the_service_is_kept_up_to_a_minute(wish, delay):
    assert retry_delay("paid", 429, 1, USUAL, wish) == delay
    assert retry_delay("paid", 429, 3, USUAL, wish) is None
    assert retry_delay("paid", 400, 1, USUAL, wish) is None


# Which failure it was, from exceptions and what is known of the attempt

POOL = urllib3.HTTPSConnectionPool("geoffrey.example", 443)  # a name with an "eof" in it
SSL_EOF = ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:1091)")
LATE_EOF = ssl.SSLError(1, "[SSL] unexpected eof while reading (_ssl.c:2570)")
HANDSHAKE = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1091)")


def caused(exc, cause):
    exc.__context__ = cause
    return exc


def wrapped(reason, kind=requests.exceptions.ConnectionError):
    return kind(MaxRetryError(POOL, "/geofence", reason))


HANDSHAKE_BEGUN, KEPT = {"in_handshake": True}, {"stale": True}
FAILURES = {
    "a refused connection": (wrapped(NewConnectionError(None, "no connection")), {}, "no connection"),
    "an unknown name": (wrapped(caused(NewConnectionError(None, "new"), socket.gaierror(-2, "?"))), {}, "dns"),
    "a connect timeout": (wrapped(ConnectTimeoutError(None, "late")), {}, "connect timeout"),
    "a connect timeout of requests": (
        wrapped(ConnectTimeoutError(None, "late"), requests.exceptions.ConnectTimeout), {}, "connect timeout"),
    "a stalled handshake": (
        requests.exceptions.ReadTimeout(ReadTimeoutError(POOL, "/", "late"), socket.timeout("late")), HANDSHAKE_BEGUN,
        "connect timeout"),
    "a handshake cut by FIN": (wrapped(urllib3.exceptions.SSLError(SSL_EOF), requests.exceptions.SSLError),
                               HANDSHAKE_BEGUN, "no connection"),
    "a handshake cut by RST": (ProtocolError("aborted", ConnectionResetError(104, "reset")), HANDSHAKE_BEGUN,
                               "no connection"),
    "a wrong version": (wrapped(urllib3.exceptions.SSLError(HANDSHAKE), requests.exceptions.SSLError), HANDSHAKE_BEGUN,
                        "tls"),
    "a TLS alert after the request": (wrapped(HANDSHAKE), {}, "tls"),
    "a tunnel refused": (OSError("Tunnel connection failed: 407 Who?"), {}, "proxy"),
    "a read timeout": (requests.exceptions.ReadTimeout(ReadTimeoutError(POOL, "/", "late")), {}, "read timeout"),
    "a read timeout in the body": (
        requests.exceptions.ConnectionError(ReadTimeoutError(POOL, "/", "late")), {"answered": True}, "body timeout"),
    "a send timeout": (ProtocolError("aborted", socket.timeout("late")), KEPT, "read timeout"),
    "a reset on a new connection": (ProtocolError("aborted", ConnectionResetError(104, "reset")), {}, "lost"),
    "a reset on a kept connection": (ProtocolError("aborted", ConnectionResetError(104, "reset")), KEPT, "stale"),
    "a TLS end on a new connection": (SSL_EOF, {}, "lost"),
    "a TLS end on a kept connection": (SSL_EOF, KEPT, "stale"),
    "a TLS end by another name": (wrapped(LATE_EOF, requests.exceptions.SSLError), KEPT, "stale"),
    "a TLS end in the body": (SSL_EOF, {"answered": True}, "broken"),
    "no answer at all": (ProtocolError("aborted", http.client.RemoteDisconnected("end")), {}, "lost"),
    "an answer that is not HTTP": (http.client.BadStatusLine("SSH\n"), KEPT, "protocol"),
    "a status line that breaks off": (http.client.BadStatusLine("HTT"), KEPT, "broken"),
    "a mock's bare error": (requests.exceptions.ConnectionError("mocked"), KEPT, "lost"),
    "an error of the caller's own behind it": (caused(SSL_EOF, NewConnectionError(None, "elsewhere")), {}, "lost"),
}


@pytest.mark.parametrize("exc, known, failure", list(FAILURES.values()), ids=list(FAILURES))
def test_a_failure_is_told_apart(exc, known, failure):
    assert failure_of(exc, Attempt("https://geoffrey.example/", **known)) == failure


# The same over sockets: what the server sees


@crossed("status, kind", [429, 500, 502, 503, 504, 400, 401, 404, 422, 302], KINDS, often=lambda status, kind: (
    any(AGAIN[status]) or kind == "paid"))  # what no kind meets again
def test_a_status_is_met_again_by(server, client, kind, status):
    host = server(lambda request, connection: OK if len(host.requests) > 1 else reply(status, {"status": status}))
    giga = client(host)
    if AGAIN[status][KINDS.index(kind)]:
        send(giga, kind)
        assert (len(host.requests), len(giga.pauses)) == (2, 1)
    else:
        with pytest.raises(ResponseError) as caught:
            send(giga, kind)
        assert caught.value.status_code == status
        assert (len(host.requests), giga.pauses) == (1, [])


@crossed("fault, end, tls, kind", ["stale", "lost"], [
    pytest.param("fin", False, id="fin"), pytest.param("rst", False, id="rst"), pytest.param("fin", True, id="tls-fin"),
    pytest.param("rude", True, id="tls-rude")], KINDS, often=lambda fault, end, tls, kind: (
        (end, tls) == ("fin", False) or kind == "paid"))
def test_a_connection_that_is_lost_before_the_answer(server, client, certs, kind, fault, end, tls):
    first = [OK] if fault == "stale" else []
    host = server(first + [drop(end), OK], context=certs.context() if tls else None)
    giga = client(host, ca_bundle_file=certs.ca_pem if tls else None)
    for _ in first:
        giga.get_models()
    if AGAIN[fault][KINDS.index(kind)]:
        send(giga, kind)
        assert len(host.requests) == len(first) + 2
    else:
        with pytest.raises(TransportError):
            send(giga, kind)
        assert len(host.requests) == len(first) + 1
        assert giga.pauses == []
    if fault == "stale":
        assert [request.connection for request in host.requests[:2]] == [1, 1]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_does_not_come_within_the_read_timeout(server, client, kind):
    host = server([never(), OK])
    giga = client(host)
    if kind == "read":
        send(giga, kind, timeout=(5.0, 0.1))
        assert len(host.requests) == 2
    else:
        with pytest.raises(RequestTimeout):
            send(giga, kind, timeout=(5.0, 0.1))
        assert (len(host.requests), giga.pauses) == (1, [])


BROKEN = {
    "half a status line": raw(b"HTTP/1.1 2"),
    "something that is no HTTP": raw(b"SSH-2.0-OpenSSH_8.9\r\n"),
    "a short body": reply(200, b"[]", length=50),
    "a body cut by a reset": reply(200, b"[]" + b" " * 48).cut(2, "rst"),
    "a chunked body without its end": reply(200, b"[]", framing="chunked").cut(7),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", list(BROKEN.values()), ids=list(BROKEN))
def test_an_answer_that_breaks_off_is_never_asked_for_again(server, client, kind, answer):
    host = server([answer])
    giga = client(host)
    with pytest.raises(TransportError) as caught:
        send(giga, kind)
    assert not isinstance(caught.value, RequestTimeout)
    assert (len(host.requests), giga.pauses) == (1, [])


def test_a_reset_among_the_headers_repeats_no_paid_request(server, client):
    host = server([CHAT, raw([b"HTTP/1.1 200 OK\r\nContent-Type: appl", 0.1], "rst"), CHAT])
    giga = client(host)
    giga.chat("?")
    with pytest.raises(TransportError):
        giga.chat("?")
    assert len(host.requests) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_connection_is_tried_again_by_every_kind(client, kind):
    with refused() as port:
        giga = client(base_url=f"http://127.0.0.1:{port}/v1")
        with pytest.raises(TransportError, match="GIGACHAT_BASE_URL") as caught:
            send(giga, kind)
    assert len(giga.pauses) == 2
    assert not isinstance(caught.value, RequestTimeout)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_tried_again_by_every_kind(client, resolve, kind):
    resolve()
    giga = client(base_url="http://nowhere.example/v1", allow_http=True)
    with pytest.raises(TransportError, match="name cannot be resolved"):
        send(giga, kind)
    assert resolve.asked.count("nowhere.example") == 3
    assert len(giga.pauses) == 2


@pytest.fixture
def full():
    """Listen with a queue that is full already: a further connection is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        with socket.socket() as probe:
            probe.settimeout(0.05)
            if probe.connect_ex(listener.getsockname()) == 0:
                pytest.skip("this system's queues do not fill up")
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["paid", pytest.param("read", marks=LONG), pytest.param("write", marks=LONG)])
def test_a_connect_timeout_is_tried_again_by_every_kind(client, full, kind):
    giga = client(base_url=f"http://127.0.0.1:{full}/v1")
    with pytest.raises(RequestTimeout, match="connect"):
        send(giga, kind, timeout=(0.05, 60.0))
    assert len(giga.pauses) == 2


@pytest.mark.parametrize("fate, kind", [("fin", "read"), ("rst", "paid"), ("stall", "paid"), ("fin", "write")])
def test_a_handshake_that_is_not_finished_is_tried_again_by_every_kind(server, client, certs, kind, fate):
    host = server([OK], context=certs.context(), greet=[fate])
    giga = client(host, ca_bundle_file=certs.ca_pem)
    send(giga, kind, timeout=(0.15 if fate == "stall" else 5.0, 5.0))
    assert (len(host.requests), host.connections, len(giga.pauses)) == (1, 2, 1)


@pytest.mark.parametrize("name, kind", [
    ("foreign", "read"), ("foreign", "paid"), ("foreign", "write"), ("expired", "read"), ("wrong_host", "read"),
])
def test_a_tls_failure_is_never_tried_again(server, client, certs, kind, name):
    host = server([], context=certs.context(name))
    giga = client(host, ca_bundle_file=certs.ca_pem)
    with pytest.raises(TLSError):
        send(giga, kind)
    assert (host.connections, giga.pauses) == (1, [])


def test_a_tls_failure_is_one_whatever_the_letters_of_the_host_s_name(server, client, certs, resolve):
    resolve("geoffrey.example")  # has an "eof" in it, as the text of a broken connection has
    host = server([], context=certs.context())
    giga = client(base_url=host.at("geoffrey.example") + "/v1", ca_bundle_file=certs.ca_pem)
    with pytest.raises(TLSError):
        send(giga, "read")
    assert (host.connections, giga.pauses) == (1, [])


PAID = {"chat": lambda giga: giga.chat("?"), "stream": lambda giga: giga.stream("?"),
        "embeddings": lambda giga: giga.embeddings("?")}
FREE = {"models": lambda giga: giga.get_models(), "model": lambda giga: giga.get_model("GigaChat"),
        "tokens count": lambda giga: giga.tokens_count("?")}


@pytest.mark.parametrize("call", [
    pytest.param(call, marks=LONG if name == "embeddings" else ()) for name, call in PAID.items()], ids=list(PAID))
@pytest.mark.parametrize("fault", [504, "lost", "read timeout"])
def test_what_was_perhaps_generated_and_paid_for_is_not_asked_for_again(server, client, call, fault):
    host = server([{504: reply(504), "lost": drop(), "read timeout": never()}[fault]])
    giga = client(host, timeout=(5, 0.05))
    with pytest.raises(GigaChatException):
        call(giga)
    assert (len(host.requests), giga.pauses) == (1, [])


@crossed("fault, call", [504, "lost", "read timeout"], [pytest.param(call, id=name) for name, call in FREE.items()],
         often=lambda fault, call: call is FREE["models"] or (call is FREE["tokens count"] and fault != "read timeout"))
def test_what_costs_nothing_is_asked_for_again(server, client, call, fault):
    host = server({504: reply(504), "lost": drop(), "read timeout": never()}[fault])
    giga = client(host, timeout=(5, 0.05))
    with pytest.raises(GigaChatException):
        call(giga)
    assert len(host.requests) == 3


@pytest.mark.parametrize("fault", [504, 429, "lost", "read timeout"])
@pytest.mark.parametrize("way", [
    {"credentials": KEY}, pytest.param({"user": "u", "password": "p"}, marks=LONG)], ids=["oauth", "token"])
def test_a_token_is_asked_for_again(api, client, way, fault):
    first = {504: reply(504), 429: reply(429), "lost": drop(), "read timeout": never()}[fault]
    host = api(OK, oauth=[first, oauth_reply("a")])
    giga = client(host, access_token=None, timeout=(5, 0.1), **way)
    giga.get_models()
    assert (host.oauth_calls, len(host.calls), len(giga.pauses)) == (2, 1, 1)


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_a_call_is_tried_as_often_as_the_setting_says(server, client, retries):
    host = server(reply(503, {"status": 503, "message": "busy"}))
    giga = client(host, max_retries=retries)
    with pytest.raises(ServerError, match="busy"):
        giga.chat("?")
    assert (len(host.requests), len(giga.pauses)) == (retries + 1, retries)
    assert [request.json["messages"][0]["content"] for request in host.requests] == ["?"] * (retries + 1)


def test_the_pauses_of_a_client_grow_from_its_backoff_factor(server, client):
    giga = client(server(reply(503)), max_retries=8, retry_backoff_factor=0.1)
    with pytest.raises(ServerError):
        giga.get_models()
    for pause, most in zip(giga.pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0]):
        assert most / 2 <= pause <= most


def test_the_status_codes_of_a_client_are_its_own(server, client):
    host = server([reply(418), OK, reply(503)])
    giga = client(host, retry_on_status_codes=[418])
    giga.get_models()
    with pytest.raises(ServerError):
        giga.get_models()
    assert len(host.requests) == 3


# Retry-After


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("wish, pause", [("7", 7.0), ("0", 0.0), ("60", 60.0), (-3600, 0.0), (30, 30.0)], ids=[
    "seconds", "none", "a minute", "a date that is past", "a date"])
def test_a_retry_after_is_waited_for_by_the_server_s_clock(server, client, status, wish, pause):
    theirs = time.time() + 3600  # an hour ahead of ours
    text = wish if isinstance(wish, str) else formatdate(theirs + wish, usegmt=True)
    headers = {"Retry-After": text, "Date": formatdate(theirs, usegmt=True)}
    giga = client(server([reply(status, headers=headers), CHAT]))
    giga.chat("?")
    assert giga.pauses == [pause]


@pytest.mark.parametrize("status, kind", [(429, RateLimitError), (503, ServerError)])
@pytest.mark.parametrize("wish", ["61", "86400"])
def test_a_long_retry_after_raises_at_once_and_the_error_holds_it(server, client, status, kind, wish):
    host = server([reply(status, headers={"Retry-After": wish})])
    giga = client(host)
    with pytest.raises(kind) as caught:
        giga.chat("?")
    assert caught.value.retry_after == float(wish)
    assert (len(host.requests), giga.pauses) == (1, [])


@pytest.mark.parametrize("wish", ["inf", "soon", "-1", "nan", "1e9", ""])
def test_a_retry_after_that_is_nonsense_is_none(server, client, wish):
    giga = client(server([reply(429, headers={"Retry-After": wish}), CHAT]))
    giga.chat("?")
    assert 0.25 <= giga.pauses[0] <= 0.5


def test_the_last_error_holds_its_retry_after(server, client):
    giga = client(server(reply(429, headers={"Retry-After": "3"})))
    with pytest.raises(RateLimitError) as caught:
        giga.chat("?")
    assert (caught.value.retry_after, giga.pauses) == (3.0, [3.0, 3.0])


@pytest.mark.parametrize("call", [PAID["chat"], FREE["tokens count"], lambda giga: giga.stream("?").close()],
                         ids=["chat", "tokens count", "stream"])
def test_a_200_that_says_429_is_a_429(server, client, call):
    hidden = reply(200, {"status": 429, "message": "Too many requests"}, {"Retry-After": "4"})
    host = server(hidden)
    giga = client(host)
    with pytest.raises(RateLimitError, match="Too many requests") as caught:
        call(giga)
    assert (caught.value.status_code, caught.value.retry_after) == (429, 4.0)
    assert (len(host.requests), giga.pauses) == (3, [4.0, 4.0])


# Connections between tries


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_is_done_with_before_the_pause(server, client, framing):
    busy = reply(503, {"status": 503, "message": "busy"}, framing=framing)
    host = server([busy, OK, OK])
    giga = client(host)
    giga.transport.sleep = lambda seconds: giga.get_model("meanwhile")
    giga.get_models()
    assert [request.connection for request in host.requests] == [1, 1, 1]


def test_an_error_page_of_any_size_is_not_read_to_its_end_before_the_pause(server, client):
    gate = threading.Event()
    page = reply(503, [b"x" * 100000, gate, b"x" * 10], {"Content-Type": "text/html"})
    host = server([page, OK])
    giga = client(host)
    open_then = []
    giga.transport.sleep = lambda seconds: (gate.set(), until(lambda: host.open == 0), open_then.append(host.open))
    giga.get_models()
    assert open_then == [0]


@pytest.mark.parametrize("body", [
    reply(503, b"half", length=100), reply(503, b"<p>busy", {"Content-Encoding": "gzip"}),
    reply(503, gzip.compress(b"x" * 100)[:20], {"Content-Encoding": "gzip"}),
    reply(503, b"x" * 20, framing="chunked").cut(10, "rst"),
], ids=["a short body", "no gzip", "half a gzip", "a broken chunk"])
def test_a_broken_error_page_is_still_that_error(server, client, body):
    host = server([body, body, body])
    giga = client(host)
    with pytest.raises(ServerError) as caught:
        giga.get_models()
    assert caught.value.status_code == 503
    assert len(host.requests) == 3


# Bodies that are not whole

WHOLE = CHAT_BODY + b" " * 64  # cut in the spaces, it would be a whole JSON
ZIPPED = gzip.compress(WHOLE, mtime=0) if sys.version_info >= (3, 8) else gzip.compress(WHOLE)
GZIP = {"Content-Encoding": "gzip"}
SHORT = {
    "by one byte": reply(200, WHOLE).cut(len(WHOLE) - 1),
    "by all that JSON does not need": reply(200, WHOLE).cut(len(CHAT_BODY)),
    "by all": reply(200, WHOLE).cut(0),
    "by one byte, reset": reply(200, WHOLE).cut(len(WHOLE) - 1, "rst"),
    "gzip by one byte": reply(200, ZIPPED, GZIP).cut(len(ZIPPED) - 1),
    "gzip by its trailer": reply(200, ZIPPED, GZIP).cut(len(ZIPPED) - 8),
    "chunks without the last": reply(200, WHOLE, framing="chunked").cut(len(WHOLE) + 6),
    "the last chunk, half": reply(200, WHOLE, framing="chunked").cut(len(WHOLE) + 7),
    "a chunk": reply(200, WHOLE, framing="chunked").cut(len(CHAT_BODY) + 10),
    "a chunk's size": reply(200, [CHAT_BODY, b" " * 64], framing="chunked").cut(len(CHAT_BODY) + 8),
    "more than 64 KiB by one byte": reply(200, CHAT_BODY + b" " * 70000, length=len(CHAT_BODY) + 70001),
}


@pytest.mark.parametrize("answer", list(SHORT.values()), ids=list(SHORT))
def test_a_body_that_is_short_is_an_error_and_is_not_asked_for_again(server, client, answer):
    host = server([answer])
    giga = client(host)
    with pytest.raises(TransportError, match="broke off") as caught:
        giga.chat("?")
    assert CHAT_TEXT not in str(caught.value)
    assert (len(host.requests), giga.pauses) == (1, [])


@pytest.mark.parametrize("end", ["fin", "rude", "rst"])
def test_a_short_body_is_an_error_whatever_way_a_tls_connection_ends(server, client, certs, end):
    host = server([reply(200, WHOLE).cut(len(CHAT_BODY), end)], context=certs.context())
    giga = client(host, ca_bundle_file=certs.ca_pem)
    with pytest.raises(TransportError):
        giga.get_models()
    assert len(host.requests) == 1


@pytest.mark.parametrize("answer", [
    reply(200, ZIPPED, GZIP), reply(200, ZIPPED, GZIP, framing="chunked"), reply(200, ZIPPED, GZIP, framing="close"),
    reply(200, gzip.compress(WHOLE[:99]) + gzip.compress(WHOLE[99:]), GZIP),
    reply(200, WHOLE, framing="close"), reply(200, WHOLE).drip(0, 64), reply(200, [WHOLE, b""], framing="chunked"),
], ids=["gzip", "gzip in chunks", "gzip to the end", "gzip in two members", "to the end", "in pieces", "in chunks"])
def test_a_body_that_is_whole_is_read_whole(server, client, answer):
    assert client(server([answer])).chat("?").choices[0].message.content == CHAT_TEXT


# What an error holds

def causes(exc, *seen):
    """List an exception with all that it carries: arguments, reasons, causes and contexts."""
    if not isinstance(exc, BaseException) or exc in seen:
        return []
    inner = [*exc.args, getattr(exc, "reason", None), exc.__cause__, exc.__context__]
    return [exc] + [each for item in inner for each in causes(item, exc, *seen)]


LOSSES = {"read timeout": never(), "lost": drop(), "broken": raw(b"HTTP/1.1 2"), "short": reply(200, b"{}", length=9)}


@pytest.mark.parametrize("answer", list(LOSSES.values()), ids=list(LOSSES))
def test_what_caused_an_error_holds_neither_the_request_nor_its_token(server, client, answer):
    giga = client(server([answer]), access_token="s3cret-token")
    with pytest.raises(TransportError) as caught:
        giga.chat("s3cret-prompt", timeout=(5, 0.05))
    assert caught.value.__cause__ is not None
    for exc in causes(caught.value):
        assert getattr(exc, "request", None) is None
        assert getattr(exc, "response", None) is None
        assert "s3cret" not in repr(vars(exc))
    assert "s3cret-token" not in shown(caught)


# Redirects


@pytest.mark.parametrize("status, call", [
    *[(status, FREE["models"]) for status in (300, 301, 302, 303, 304, 305, 307, 308)],
    (302, PAID["chat"]), (307, PAID["chat"]), (302, PAID["stream"]),
], ids=lambda value: str(value) if isinstance(value, int) else "")
def test_a_redirect_is_an_error_that_sends_nothing_on(server, client, status, call):
    elsewhere = server(OK)
    host = server([reply(status, headers={"Location": elsewhere.url + "/api/v1/models"})])
    giga = client(host)
    with pytest.raises(ResponseError, match="Redirects are not followed") as caught:
        call(giga)
    assert caught.value.status_code == status
    assert (elsewhere.connections, len(host.requests)) == (0, 1)


def test_a_redirect_of_the_token_request_sends_the_key_nowhere(api, server, client):
    elsewhere = server(OK)
    host = api(OK, oauth=reply(307, headers={"Location": elsewhere.url + "/oauth"}))
    with pytest.raises(ResponseError, match="Redirects"):
        client(host, access_token=None, credentials=KEY).get_models()
    assert (elsewhere.connections, host.oauth_calls, host.calls) == (0, 1, [])


def test_a_host_that_is_neither_the_api_s_nor_the_auth_s_is_never_asked(server, client):
    host, elsewhere = server(OK), server(OK)
    with pytest.raises(ConfigurationError, match="is the host of neither base_url nor auth_url"):
        client(host).transport.send(Request("GET", elsewhere.url + "/models"))
    assert (host.connections, elsewhere.connections) == (0, 0)


# Timeouts


@pytest.mark.parametrize("settings, options", [
    ({"timeout": 0.1}, {}), pytest.param({"timeout": (5, 0.1)}, {}, marks=LONG),
    pytest.param({}, {"timeout": 0.1}, marks=LONG),
    pytest.param({}, {"timeout": (5, 0.1)}, marks=LONG),
    pytest.param({"timeout": 30}, {"timeout": 0.1}, marks=LONG),
], ids=["client", "client's pair", "call", "call's pair", "call before client"])
def test_silence_ends_with_the_read_timeout(server, client, settings, options):
    host = server([never()])
    giga = client(host, **settings)
    with ends_within(0.1), pytest.raises(RequestTimeout, match=r"0\.1 s"):
        giga.chat("?", **options)
    assert len(host.requests) == 1


@pytest.mark.long
def test_the_read_timeout_is_for_each_wait_and_not_for_the_whole(server, client):
    slow = reply(200, CHAT_BODY).drip(0.06, 64)
    assert len(slow.wire) / 64 * 0.06 > 0.3
    assert client(server([slow])).chat("?", timeout=0.3).choices[0].message.content == CHAT_TEXT


@pytest.mark.long
def test_silence_in_a_body_is_a_timeout_and_not_asked_for_again(server, client):
    host = server([reply(200, [b"[", threading.Event(), b"]"])])
    giga = client(host)
    with ends_within(0.1), pytest.raises(RequestTimeout):
        giga.get_models(timeout=0.1)
    assert len(host.requests) == 1


def test_a_timeout_of_one_call_is_not_left_behind_for_the_next(server, client, certs):
    slow = reply(200, [0.12, b"[]"])
    host = server([OK, slow, slow, OK], context=certs.context())
    giga = client(host, ca_bundle_file=certs.ca_pem)
    giga.get_models(timeout=0.1)
    send(giga, "write")  # waits longer than the call before would have
    send(giga, "write", deadline=30.0)
    giga.get_models(deadline=2.0)
    assert [request.connection for request in host.requests] == [1, 1, 1, 1]


# Deadlines

LENGTH = reply(200, WHOLE)
DRIPS = {
    "never answers": never(),
    "drips its headers": LENGTH.drip(0.03, part="head"),
    "drips its body": LENGTH.drip(0.03, part="body"),
    "drips its chunks": reply(200, [WHOLE[i:i + 1] for i in range(200)], framing="chunked").drip(0.03, 6, "body"),
    "drips one chunk": reply(200, WHOLE, framing="chunked").drip(0.03, part="body"),
    "drips a body without length": reply(200, WHOLE, framing="close").drip(0.03, part="body"),
    "drips an error's body": reply(400, WHOLE).drip(0.03, part="body"),
    "drips continuations": raw([step for _ in range(100) for step in (0.03, b"HTTP/1.1 100 Continue\r\n\r\n")]),
}


@pytest.mark.parametrize("answer", [
    pytest.param(answer, marks=() if name == "drips an error's body" else LONG)
    for name, answer in DRIPS.items()], ids=list(DRIPS))
def test_a_deadline_holds_against_a_server_that(server, client, answer):
    host = server([answer, CHAT])
    giga = client(host)
    # of an error's body that drips the status is known already
    kind, says = (GigaChatException, None) if answer is DRIPS["drips an error's body"] else (RequestTimeout, "deadline")
    with ends_within(0.1), pytest.raises(kind, match=says):
        giga.chat("?", deadline=0.1)
    assert len(host.requests) == 1
    assert giga.chat("?").choices[0].message.content == CHAT_TEXT


@pytest.mark.parametrize("name", [pytest.param("drips its headers", marks=LONG), "drips its body"])
def test_a_deadline_holds_within_tls_against_a_server_that(server, client, certs, name):
    host = server([DRIPS[name], CHAT], context=certs.context())
    giga = client(host, ca_bundle_file=certs.ca_pem)
    with ends_within(0.1), pytest.raises(RequestTimeout, match="deadline"):
        giga.chat("?", deadline=0.1)
    giga.chat("?")


@pytest.mark.long
def test_a_deadline_of_the_client_holds_for_every_call(server, client):
    giga = client(server(never()), deadline=0.1, timeout=9)
    for call in (PAID["chat"], FREE["models"], PAID["stream"]):
        with ends_within(0.1), pytest.raises(RequestTimeout):
            call(giga)


@pytest.mark.long
def test_a_deadline_is_named_when_it_ran_out_and_the_timeout_is_not_blamed(server, client):
    with pytest.raises(RequestTimeout) as caught:
        client(server(never())).chat("?", deadline=0.1)
    assert "deadline" in str(caught.value)
    assert "GIGACHAT_TIMEOUT" not in str(caught.value)


def test_a_deadline_holds_against_a_proxy_that_does_not_answer(server, client, certs, proxy):
    host = server([CHAT], context=certs.context())
    between = proxy(refuse=never())
    giga = client(host, ca_bundle_file=certs.ca_pem, proxy=between.url)
    with ends_within(0.1), pytest.raises(RequestTimeout):
        giga.chat("?", deadline=0.1)
    assert host.requests == []
    between.drip, between.refuse = 0.0, None
    assert giga.chat("?").choices[0].message.content == CHAT_TEXT


def test_a_deadline_holds_against_a_handshake_that_stalls(server, client, certs):
    host = server([CHAT], context=certs.context(), greet=["stall"])
    giga = client(host, ca_bundle_file=certs.ca_pem)
    with ends_within(0.1), pytest.raises(RequestTimeout):
        giga.chat("?", deadline=0.1)
    giga.chat("?")


@pytest.mark.long
def test_a_deadline_holds_against_an_address_that_does_not_answer(client, full):
    giga = client(base_url=f"http://127.0.0.1:{full}/v1")
    with ends_within(0.1), pytest.raises(RequestTimeout):
        giga.chat("?", deadline=0.1)


class Deaf:
    """Take connections and read nothing of the first request, or very little at a time; serve the others well.

    `read` is called with the socket of the first connection (after its handshake) and says by its return whether the
    rest shall be read and answered.
    """

    def __init__(self, read, context=None):
        self.read, self.context, self.stopping, self.sockets = read, context, threading.Event(), []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # what the kernel takes by itself
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(8)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://localhost:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def at(self, host):
        return self.url

    def _run(self):
        for number in range(100):
            sock = self.listener.accept()[0]
            if self.stopping.is_set():
                return sock.close()
            self.sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock, number):
        with contextlib.suppress(OSError):
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
                self.sockets.append(sock)
            if number or self.read(sock):
                with sock.makefile("rb") as file:
                    while file.readline().startswith(b"POST"):
                        file.read(int(http.client.parse_headers(file)["Content-Length"]))
                        sock.sendall(CHAT.wire)

    def stop(self):
        self.stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(self.listener.getsockname(), 1).close()
        self.thread.join(5)
        for sock in [*self.sockets, self.listener]:
            with contextlib.suppress(OSError):
                sock.close()


@pytest.fixture
def deaf():
    made, stopped = [], threading.Event()

    def start(read, context=None):
        made.append(Deaf(lambda sock: read(sock, stopped), context))
        return made[-1]

    yield start
    stopped.set()
    for each in made:
        each.stop()


def read_nothing(sock, stopped):
    stopped.wait(20)


def read_little(sock, stopped):
    """Read slowly, so that each single wait is short and the whole would take half a minute."""
    while not stopped.wait(0.01) and sock.recv(4096):
        pass


LARGE = "x" * (10 << 20)  # ten megabytes of prompt


@pytest.mark.parametrize("method, tls, read", [
    pytest.param("chat", False, read_nothing, marks=LONG), ("chat", True, read_nothing),
    pytest.param("chat", False, read_little, marks=LONG),
    pytest.param("tokens_count", True, read_little, marks=LONG),
], ids=["not read", "not read, TLS", "hardly read", "hardly read, TLS"])
def test_a_deadline_holds_while_a_large_prompt_is_sent(client, certs, deaf, method, tls, read):
    host = deaf(read, certs.context() if tls else None)
    giga = client(host, ca_bundle_file=certs.ca_pem if tls else None)
    with ends_within(0.15), pytest.raises(RequestTimeout):
        getattr(giga, method)(LARGE, deadline=0.15)
    for _ in range(2):
        assert giga.chat("?").choices[0].message.content == CHAT_TEXT


@pytest.mark.long
def test_a_large_prompt_that_nobody_reads_ends_with_the_read_timeout(client, certs, deaf):
    giga = client(deaf(read_nothing, certs.context()), ca_bundle_file=certs.ca_pem)
    with ends_within(0.15), pytest.raises(RequestTimeout):
        giga.chat(LARGE, timeout=(5, 0.15))
    assert giga.pauses == []


@pytest.mark.parametrize("tls", [pytest.param(False, marks=LONG), True], ids=["http", "https"])
@pytest.mark.long
def test_a_large_prompt_has_the_read_timeout_to_go_out_and_not_the_connect_timeout(client, certs, deaf, tls):
    def hesitate(sock, stopped):
        stopped.wait(0.3)  # longer than the connect timeout
        return True

    host = deaf(hesitate, certs.context() if tls else None)
    giga = client(host, ca_bundle_file=certs.ca_pem if tls else None)
    assert giga.chat(LARGE, timeout=(0.2, 10)).choices[0].message.content == CHAT_TEXT


def test_a_deadline_covers_the_token_request(api, client):
    host = api(CHAT, oauth=never())
    giga = client(host, access_token=None, credentials=KEY)
    with ends_within(0.1), pytest.raises(RequestTimeout):
        giga.chat("?", deadline=0.1)
    assert (host.oauth_calls, host.calls) == (1, [])


def test_a_deadline_covers_the_pauses_between_tries(server, client):
    host = server(reply(503, headers={"Retry-After": "30"}))
    giga = client(host)
    with ends_within(0.2), pytest.raises(GigaChatException):
        giga.chat("?", deadline=5.0)
    assert (len(host.requests), giga.pauses) == (1, [])


def test_a_deadline_covers_the_tries_together(server, client):
    host = server(never())
    giga = client(host, max_retries=50, retry_backoff_factor=0)
    with ends_within(0.2), pytest.raises(RequestTimeout):
        giga.get_models(timeout=0.06, deadline=0.2)
    assert 2 <= len(host.requests) <= 4


def test_a_deadline_covers_the_wait_for_a_place(server, client):
    gate = threading.Event()
    host = server([CHAT.after(gate), CHAT])
    giga = client(host, max_connections=1, pool_timeout=5)
    first = start(giga.chat, "?")
    until(lambda: host.requests)
    with ends_within(0.1), pytest.raises(RequestTimeout, match="max_connections"):
        giga.chat("?", deadline=0.1)
    gate.set()
    assert not isinstance(finish(first)[0], Exception)
    giga.chat("?")
    assert len(host.requests) == 2


@pytest.mark.parametrize("setting", ["timeout", "deadline", "pool_timeout"])
def test_a_limit_beyond_what_the_system_can_count_is_as_good_as_none(server, client, setting):
    gate = threading.Event()
    host = server([CHAT.after(gate), CHAT])
    giga = client(host, max_connections=1, **{setting: 1e12})
    first = start(giga.chat, "?")
    until(lambda: host.requests)
    second = start(giga.chat, "?")
    gate.set()
    assert [result.choices[0].message.content for result in finish(first, second)] == [CHAT_TEXT] * 2


# The limiter

PLACES = {
    "a private person's key": ({"credentials": KEY}, 1),
    "a private person's client id and secret": ({"client_id": "a", "client_secret": "b"}, 1),
    "a company's key": ({"credentials": KEY, "scope": "GIGACHAT_API_CORP"}, 10),
    "a prepaid company's key": ({"credentials": KEY, "scope": "GIGACHAT_API_B2B"}, 10),
    "a user": ({"user": "u", "password": "p"}, 10),
    "an access token": ({"access_token": "t"}, 10),
    "a private person's key and a wish": ({"credentials": KEY, "max_connections": 3}, 3),
}


@pytest.mark.parametrize("settings, places", list(PLACES.values()), ids=list(PLACES))
def test_as_many_calls_are_under_way_at_a_time_as_is_allowed_to(api, client, settings, places):
    gate, most, now, lock = threading.Event(), [], [], threading.Lock()

    def answer(request, connection):
        with lock:
            now.append(None)
            most.append(len(now))
        connection.hold(gate)
        with lock:
            now.pop()
        return CHAT

    host = api(answer)
    giga = client(host, **{"access_token": None, **settings})
    threads = [start(giga.chat, "?") for _ in range(places + 2)]
    until(lambda: len(now) == places)
    giga.get_token()
    gate.set()
    assert not [result for result in finish(*threads) if isinstance(result, Exception)]
    assert max(most) == places
    assert giga.config["max_connections"] == places


def test_only_what_generates_takes_a_place(api, client):
    gate = threading.Event()

    def answer(request, connection):
        if request.path.endswith("/count"):
            return reply(body=b"[]")
        return CHAT.after(gate) if request.path.endswith("/completions") else OK

    host = api(answer)
    giga = client(host, access_token=None, credentials=KEY, pool_timeout=0.05)
    busy = start(giga.chat, "?")
    until(lambda: host.calls)
    giga.transport.tokens.drop("token-1")
    giga.get_models()
    giga.get_model("GigaChat")
    giga.tokens_count("?")
    send(giga, "write")
    assert host.oauth_calls == 2
    for call in PAID.values():
        with ends_within(0.05), pytest.raises(TransportError, match="max_connections=1.*pool_timeout=0.05"):
            call(giga)
    gate.set()
    assert not isinstance(finish(busy)[0], Exception)


FAILURES = {
    "an error": reply(400, {"status": 400, "message": "no"}),
    "a server's error": reply(500),
    "a refused token": reply(401),
    "a lost connection": drop("rst"),
    "a short body": reply(200, b"{}", length=9),
    "no JSON": reply(200, b"<html>"),
    "a list": reply(200, b"[]"),
    "silence": never(),
    "half a header": raw(b"HTTP/1.1 200 OK\r\nA"),
    "no stream": reply(200, b"<html>", {"Content-Type": "text/html"}),
    "a compressed stream": sse(STREAM_BODY, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", list(FAILURES.values()), ids=list(FAILURES))
@pytest.mark.parametrize("method", [pytest.param("chat", marks=LONG), "stream"])
def test_a_place_is_given_back_after(server, client, answer, method):
    if answer is FAILURES["a compressed stream"] and method == "chat":
        answer = reply(200, b"\x1f\x8b", GZIP)
    host = server(lambda request, connection: answer if request.headers["X-Fail"] else CHAT)
    host._script = _resolving(host._script)
    giga = client(host, max_connections=1, pool_timeout=0.05, max_retries=1)
    wait = 0.05 if answer is FAILURES["silence"] else 5
    for _ in range(2):
        with pytest.raises(GigaChatException) as caught:
            getattr(giga, method)("?", headers={"X-Fail": "1"}, timeout=(5, wait))
        assert "max_connections" not in str(caught.value)
    giga.chat("?")


def _resolving(script):
    """Let a script's answer be a handler."""
    def handler(request, connection):
        answer = script(request, connection)
        return answer(request, connection) if callable(answer) else answer

    return handler


def test_a_place_is_given_back_after_faults_without_an_answer(client):
    with refused() as port:
        giga = client(base_url=f"http://127.0.0.1:{port}/v1", access_token=None, max_connections=1, pool_timeout=0.05)
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                giga.chat("?")
            with pytest.raises(TransportError, match="no connection"):
                giga.chat("?", headers={"Authorization": "Bearer t"})


def test_a_place_is_given_back_when_the_caller_is_interrupted(server, client):
    def interrupt(seconds):
        raise KeyboardInterrupt

    host = server([reply(503), CHAT])
    giga = client(host, max_connections=1, pool_timeout=0.05)
    giga.transport.sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        giga.chat("?")
    giga.chat("?")


@pytest.mark.parametrize("tls", [pytest.param(False, marks=LONG), True], ids=["http", "https"])
def test_thirty_two_threads_open_as_many_connections_and_no_more(server, client, certs, tls):
    together, idle = threading.Barrier(32), threading.Barrier(32)

    def answer(request, connection):
        together.wait(10)
        return CHAT

    host = server(answer, context=certs.context() if tls else None)
    giga = client(host, max_connections=32, ca_bundle_file=certs.ca_pem if tls else None)

    def work():
        for _ in range(3):
            giga.chat("?")
            idle.wait(10)  # all connections are back in the pool, which has to have room for them

    assert finish(*[start(work) for _ in range(32)]) == [None] * 32
    assert (host.connections, len(host.requests)) == (32, 96)


@pytest.mark.long
def test_more_threads_than_places_share_the_connections_of_the_places(server, client):
    host = server(CHAT)
    giga = client(host)

    def work():
        for _ in range(5):
            giga.chat("?")

    assert finish(*[start(work) for _ in range(32)]) == [None] * 32
    assert host.connections <= 10
    assert len(host.requests) == 160


# Proxies

PROXY_PASSWORD = "pr0xy-pa55word"


def through(between):
    return between.url.replace("//", f"//user:{PROXY_PASSWORD}@")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_proxy_gets_its_password_and_the_server_does_not(server, client, certs, proxy, tls):
    host = server(CHAT, context=certs.context() if tls else None)
    between = proxy(credentials="user:" + PROXY_PASSWORD)
    giga = client(host, ca_bundle_file=certs.ca_pem if tls else None, proxy=through(between))
    assert giga.chat("?").choices[0].message.content == CHAT_TEXT
    assert len(between.targets) == 1
    if tls:
        assert "Proxy-Authorization" not in host.requests[0].headers
        assert "Authorization" not in between.requests[0].headers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["stale", "lost"])
def test_a_connection_through_a_proxy_that_is_lost_before_the_answer(server, client, certs, proxy, kind, fault):
    first = [OK] if fault == "stale" else []
    host, between = server([*first, drop(), OK], context=certs.context()), proxy()
    giga = client(host, ca_bundle_file=certs.ca_pem, proxy=between.url)
    for _ in first:
        giga.get_models()
    if AGAIN[fault][KINDS.index(kind)]:
        send(giga, kind)
        assert len(host.requests) == len(first) + 2
    else:
        with pytest.raises(TransportError, match="proxy"):
            send(giga, kind)
        assert len(host.requests) == len(first) + 1
    assert len(between.targets) == host.connections


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("status", [407, 502, 403])
def test_a_proxy_that_refuses_is_named_and_its_password_is_not(server, client, certs, proxy, status, tls):
    host = server([], context=certs.context() if tls else None)
    between = proxy(refuse=reply(status, "go away", {"Content-Type": "text/plain"}))
    giga = client(host, ca_bundle_file=certs.ca_pem if tls else None, proxy=through(between), max_retries=1)
    with pytest.raises(GigaChatException) as caught:
        giga.chat("?")
    text = str(caught.value)
    assert str(status) in text
    if tls:
        assert isinstance(caught.value, TransportError)
        assert "proxy" in text and f"127.0.0.1:{between.port}" in text
    if status == 407:
        assert "proxy" in text.lower()
    assert PROXY_PASSWORD not in shown(caught)
    assert PROXY_PASSWORD not in repr(vars(caught.value))
    assert "dXNlcjpwcjB4" not in shown(caught)  # the same in base64
    assert host.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named_and_its_password_is_not(client, scheme):
    with refused() as port:
        giga = client(base_url=f"{scheme}://localhost:1/v1", proxy=f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
        with pytest.raises(TransportError, match="proxy") as caught:
            giga.chat("?")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert len(giga.pauses) == 2
    assert PROXY_PASSWORD not in shown(caught)


def test_a_target_that_the_proxy_cannot_reach_is_an_error_of_the_proxy(client, certs, proxy):
    between = proxy()
    with refused() as port:
        giga = client(base_url=f"https://localhost:{port}/v1", ca_bundle_file=certs.ca_pem, proxy=between.url)
        with pytest.raises(TransportError, match="502"):
            giga.chat("?")


SOCKS = ["socks5://127.0.0.1:9", "socks5h://u:pr0xy-pa55word@127.0.0.1:9", "socks4://127.0.0.1:9",
         "socks://127.0.0.1:9", "ftp://127.0.0.1:9"]


@pytest.mark.parametrize("where", ["argument", "environment"])
@pytest.mark.parametrize("address", SOCKS)
def test_a_proxy_that_cannot_be_used_is_a_clear_error(monkeypatch, client, address, where):
    monkeypatch.setitem(sys.modules, "socks", None)  # as where PySocks is not installed
    if where == "environment":
        monkeypatch.setenv("ALL_PROXY", address)
    settings = {"proxy": address} if where == "argument" else {"trust_env": True}
    with pytest.raises(ConfigurationError, match="PySocks|not supported") as caught:
        client(base_url="http://localhost:1/v1", **settings).get_models()
    assert "proxy" in str(caught.value)
    assert PROXY_PASSWORD not in shown(caught)


@pytest.mark.parametrize("name, form", [
    ("HTTP_PROXY", "http://{}"), ("http_proxy", "{}"), ("ALL_PROXY", "http://user:pw@{}"), ("all_proxy", "HTTP://{}"),
])
def test_a_proxy_of_the_environment_is_used_in_every_form(monkeypatch, resolve, server, client, proxy, name, form):
    resolve()  # no name is known here; the proxy knows this one
    host = server(CHAT)
    between = proxy({"gigachat.example": host.port})
    monkeypatch.setenv(name, form.format(f"127.0.0.1:{between.port}"))
    address = {"base_url": f"http://gigachat.example:{host.port}/v1", "allow_http": True}
    client(trust_env=True, **address).chat("?")
    assert len(between.targets) == 1
    with pytest.raises(TransportError, match="resolved"):
        client(trust_env=False, max_retries=0, **address).chat("?")
    assert len(between.targets) == 1


def test_clear_text_for_this_machine_does_not_go_through_a_proxy_of_the_environment(monkeypatch, server, client, proxy):
    host, between = server(CHAT), proxy()
    monkeypatch.setenv("HTTP_PROXY", between.url)
    client(host, trust_env=True).chat("?")
    assert not between.targets and len(host.requests) == 1


@pytest.mark.parametrize("form", ["http://{}", "{}"])
def test_a_proxy_of_the_environment_is_used_for_tls(monkeypatch, server, client, certs, proxy, form):
    host, between = server(CHAT, context=certs.context()), proxy()
    monkeypatch.setenv("HTTPS_PROXY", form.format(f"127.0.0.1:{between.port}"))
    client(host, trust_env=True, ca_bundle_file=certs.ca_pem).chat("?")
    assert between.requests[0].method == "CONNECT"


@pytest.mark.parametrize("variables, used", [
    ({}, False), ({"HTTPS_PROXY": "http://{}"}, True), ({"all_proxy": "{}"}, True),
    ({"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://{}"}, True),
    ({"HTTPS_PROXY": "http://{}", "NO_PROXY": "127.0.0.0/8"}, False),
    ({"HTTPS_PROXY": "http://{}", "no_proxy": ".example, 127.0.0.1"}, False),
    ({"HTTPS_PROXY": "http://{}", "NO_PROXY": "10.0.0.0/8,example"}, True)])
def test_a_given_environment_takes_the_place_of_the_process(monkeypatch, server, client, certs, proxy, variables, used):
    host, between = server(CHAT, context=certs.context()), proxy()
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nowhere")
    environ = {name: value.format(f"127.0.0.1:{between.port}") for name, value in variables.items()}
    bundle = {"REQUESTS_CA_BUNDLE": str(certs.ca_pem)}
    url = f"https://127.0.0.1:{host.port}/v1"
    client(base_url=url, trust_env=True, environ={**environ, **bundle}).chat("?")
    assert len(between.requests) == used and len(host.requests) == 1
    with pytest.raises(TLSError):
        client(base_url=url, trust_env=True, environ=environ).chat("?")


@pytest.mark.parametrize("exceptions", ["localhost", "[::1],localhost", "[::1], localhost", "*", "::1,localhost"])
def test_a_host_that_is_excepted_from_proxies_is_asked_directly(monkeypatch, server, client, certs, exceptions):
    host = server(CHAT, context=certs.context())
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    giga = client(host, trust_env=True, ca_bundle_file=certs.ca_pem)
    assert giga.chat("?").choices[0].message.content == CHAT_TEXT


@pytest.mark.long
def test_a_slow_proxy_leaves_the_handshake_only_what_is_left_of_the_deadline(server, client, certs, proxy):
    silent = server([never()], greet=["stall"])
    between = proxy(silent.port, drip=0.005)  # the tunnel is there after a quarter of a second
    giga = client(base_url="https://localhost:1/v1", ca_bundle_file=certs.ca_pem, proxy=between.url)
    began = time.monotonic()
    with pytest.raises(RequestTimeout, match="deadline"):
        giga.chat("?", deadline=0.4)
    assert time.monotonic() - began < 0.4 + 0.2  # a whole deadline more for the handshake would be beyond


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_wish_to_be_left_alone_is_heeded_whatever_the_status(server, client, status):
    host = server([reply(status, headers={"Retry-After": "100"})])
    giga = client(host)
    with pytest.raises(ResponseError, match="100 s") as caught:
        giga.get_models()
    assert caught.value.retry_after == 100 and len(host.requests) == 1 and giga.pauses == []


def test_a_length_that_is_no_number_is_none(server, client):
    wire = CHAT.wire.replace(b"Content-Length: ", b"Content-Length: \xb2", 1)
    host = server([raw(wire)])
    assert client(host).chat("?").choices[0].message.content == CHAT_TEXT


@pytest.mark.parametrize(
    "zipped", [gzip.compress(b"0" * 65536) * 700, gzip.compress(b"0" * 10**7)], ids=["many members", "a large one"])
def test_an_error_that_is_unzipped_stays_within_the_limit(server, client, zipped):
    host = server([reply(422, body=zipped, headers={"Content-Encoding": "gzip"})])
    with pytest.raises(ResponseError) as caught:
        client(host).chat("?")
    assert 0 < len(caught.value.content) <= 65536



# Forks and pickles


def test_a_pickled_client_works_with_sockets_of_its_own(api, client):
    host = api(OK)
    giga = client(host, access_token=None, credentials=KEY, timeout=(3, 4), max_connections=2)
    giga.get_models()
    twin = pickle.loads(pickle.dumps(giga))
    assert b"token-1" not in pickle.dumps(giga)
    with twin:
        assert twin.config == giga.config
        twin.get_models()
        giga.get_models()
    assert [request.headers["Authorization"][7:] for request in host.calls] == ["token-1", "token-2", "token-1"]
    numbers = [request.connection for request in host.calls]
    assert numbers[0] == numbers[2] != numbers[1]


def run_script(body, *arguments):
    """Run a program in a process of its own, where a fork copies nothing of the tests' threads."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    code = "import os, sys, threading\nfrom gigachat_lite import *\n" + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], env=env, timeout=15,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


MAKE = """
    def make(**settings):
        return GigaChat(base_url=sys.argv[1], auth_url=sys.argv[2], credentials=sys.argv[3], env_file=False,
                        trust_env=False, pool_timeout=1, **settings)
""" + IN_CHILD


@needs_fork
def test_after_a_fork_parent_and_child_have_sockets_of_their_own(api, certs):
    host = api(OK, context=certs.context())
    script = MAKE + """
    giga = make(ca_bundle_file=sys.argv[4])
    giga.get_models()
    in_child(giga.get_models)
    giga.get_models()
    in_child(lambda: [giga.get_models() for _ in range(2)])
    giga.get_models()
    """
    urls = [url.replace("127.0.0.1", "localhost") for url in (host.base_url, host.auth_url)]
    run_script(script, *urls, KEY, certs.ca_pem)
    assert [request.connection for request in host.calls] == [1, 2, 1, 3, 3, 1]
    assert host.oauth_calls == 1


@needs_fork
@pytest.mark.long
def test_a_child_reads_no_file_again_that_may_be_gone(api, certs, tmp_path):
    host = api(OK, context=certs.context())
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(certs.ca_pem.read_bytes())
    script = MAKE + """
    giga = make(ca_bundle_file=sys.argv[4])
    giga.get_models()
    os.unlink(sys.argv[4])
    in_child(giga.get_models)
    giga.get_models()
    """
    urls = [url.replace("127.0.0.1", "localhost") for url in (host.base_url, host.auth_url)]
    run_script(script, *urls, KEY, bundle)
    assert [request.connection for request in host.calls] == [1, 2, 1]


@needs_fork
@pytest.mark.long
def test_a_child_forked_while_a_stream_holds_the_only_place_has_its_own(api):
    host = api(lambda request, connection: sse(STREAM_BODY) if b"stream" in request.body else CHAT)
    script = MAKE + """
    giga = make(scope="GIGACHAT_API_PERS")
    stream = giga.stream("?")
    next(stream)
    in_child(lambda: giga.chat("?"))
    print(len(list(stream)))
    giga.chat("?")
    """
    assert run_script(script, host.base_url, host.auth_url, KEY) == "4\n"


@needs_fork
@pytest.mark.long
def test_a_child_forked_while_a_thread_fetches_a_token_does_not_wait_for_it(api):
    gate = threading.Event()

    def answer(request, connection):
        if request.path.endswith("/asked"):
            until(lambda: host.oauth_calls)
        if request.path.endswith("/release"):
            gate.set()
        return OK

    host = api(answer, oauth=[oauth_reply("parent").after(gate), oauth_reply("child")])
    script = MAKE + """
    giga = make()
    thread = threading.Thread(target=giga.get_models)
    thread.start()
    import requests
    requests.get(sys.argv[1] + "/asked")
    in_child(lambda: giga.get_models(deadline=5.0))
    requests.get(sys.argv[1] + "/release")
    thread.join(5)
    """
    run_script(script, host.base_url, host.auth_url, KEY)
    tokens = {request.headers["Authorization"] for request in host.calls if request.path.endswith("/models")}
    assert tokens == {"Bearer parent", "Bearer child"}


@needs_fork
@pytest.mark.long
def test_a_child_forked_while_a_thread_loads_more_roots_does_not_wait_for_it():
    run_script(IN_CHILD + """
    import signal
    giga = GigaChat(access_token="t", env_file=False, trust_env=False)
    url = giga.config["base_url"]
    def work():
        signal.alarm(5)
        giga.transport.check_process()
        giga.transport.load_system_roots(url)
    with giga.transport.roots_lock:  # as another thread may have it
        in_child(work)
    """)


@needs_fork
@pytest.mark.long
def test_processes_of_a_fork_context_work(api):
    host = api(OK)
    script = MAKE + """
    import multiprocessing
    giga = make()
    giga.get_models()
    def work(_):
        return len(giga.get_models().data)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(work, range(6)) == [0] * 6
    giga.get_models()
    """
    run_script(script, host.base_url, host.auth_url, KEY)
    assert len(host.calls) == 8
    assert len({host.calls[0].connection, host.calls[-1].connection}) == 1


def test_places_are_never_more_than_there_were(server, client):
    host = server([CHAT, reply(500), reply(500), reply(500), CHAT, drop(), CHAT])
    giga = client(host, max_connections=2)
    for _ in range(4):
        with contextlib.suppress(GigaChatException):
            giga.chat("?")
    free = []
    with contextlib.suppress(queue.Empty):
        while True:
            free.append(giga.transport.limiter.free.get_nowait())
    assert len(free) == 2
    assert json.loads(host.requests[0].body)["messages"][0]["content"] == "?"
