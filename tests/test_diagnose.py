"""Hold every failure to a message that says what happened, where, and what to do: tables, and walks through all kinds.

``python tests/test_diagnose.py`` writes docs/errors.md anew.
"""
from __future__ import annotations

import contextlib
import errno
import http.client
import json
import pathlib
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time

import pytest
import requests
from urllib3.exceptions import DecodeError, NewConnectionError, ProtocolError

from clients import new_client
from gigachat_lite import (
    GigaChatException,
    ServerError,
    TLSError,
    TransportError,
    advice,
)
from gigachat_lite.body import Response
from gigachat_lite.diagnose import Attempt, error_from_exception, failure_of
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, drop, raw, refused, relay, reply, sse

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "errors.md"
URL = "https://gigachat.devices.sberbank.ru/api/v1/chat/completions"
REQUEST_ID = "b13ed4b2-1a7e-4c1b-a0b4-8a0b1f5b5d1c"
DOES = re.compile(  # a cure begins with something to do, or says who has to
    r"(?i)\b(check|ask|give|write|name|set|log in|repeat|allow|raise|close|copy|buy|shorten|send|make|correct|run|find"
    r"|load|use|renew|tell|wait|drop|see|says what|takes its own|choose|accepts it|keeps the connection busy)\b")


def sound(error):
    """Hold a message to what all messages are held to, and return it."""
    text = str(error)
    assert len(text) <= 300 and text.isprintable() and text == text.strip() and "  " not in text, text
    assert error.hint and DOES.search(error.hint), text
    assert "{" not in error.hint and "AttributeError" not in text, text
    return text


def fail(running, **settings):
    giga = new_client(base_url=running.url + "/api/v1", access_token="t", max_retries=0, timeout=(5, 5), **settings)
    with pytest.raises(GigaChatException) as caught:
        giga.get_models()
    sound(caught.value)
    return caught.value


# Answers that are not HTTP, or not what was asked for


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
NGINX = (
    "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n%s"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
TO_HTTPS = NGINX % (("400 The plain HTTP request was sent to HTTPS port", "400 Bad Request",
                     "<center>The plain HTTP request was sent to HTTPS port</center>\r\n"))
NO_CERT = NGINX % ("400 No required SSL certificate was sent", "400 Bad Request",
                   "<center>No required SSL certificate was sent</center>\r\n")
BAD_CERT = NGINX % (
    "400 The SSL certificate error", "400 Bad Request", "<center>The SSL certificate error</center>\r\n")
SQUID = """<html><head><title>ERROR: The requested URL could not be retrieved</title><style type="text/css"><!--
 /*
 * Copyright (C) 1996-2022 The Squid Software Foundation and contributors
 */
body { background: #fff }
--></style></head><body id=ERR_CONNECT_FAIL><h1>ERROR</h1><p>Connection to 10.0.0.1 failed.</p></body></html>"""
HTML = {"Content-Type": "text/html", "Server": "nginx/1.22.1"}


@pytest.mark.parametrize("answer, said", [
    (raw(HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(120)) + b"\r\n{}"), "more than 100 headers"),
    (raw(HEAD + b"X-Long: " + b"x" * 70000 + b"\r\n\r\n{}"), "header of the answer is longer than 64 KB"),
    (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "speaks no HTTP.*SSH-2.0.*check the host and the port"),
    (raw(b"220 mail.example ESMTP\r\n"), "speaks no HTTP.*220 mail"),
    (raw(TLS_ALERT), "speaks TLS.*https://"),
    (reply(400, TO_HTTPS, HTML), "speaks TLS.*https://"),
    (reply(400, "Client sent an HTTP request to an HTTPS server.\n", {"Content-Type": "text/plain"}), "https://"),
    (reply(400, NO_CERT, HTML), "give cert_file and key_file"),
    (reply(400, BAD_CERT, HTML), "The client certificate was sent and refused"),
    (reply(503, SQUID, {"Content-Type": "text/html", "Server": "squid/5.7"}),
     r"The requested URL could not be retrieved ERROR Connection to 10.0.0.1 failed.*A gateway \(squid/5.7\)"),
    (reply(302, headers={"Location": "https://login.corp.example/?from=api"}), "leads to login.corp.example.*browser"),
    (reply(302, headers={"Location": "/elsewhere"}), "Redirects are not followed.*check base_url"),
    (reply(200, "<html><title>Guest Wi-Fi</title><p>Log in</p></html>", HTML), "not the GigaChat API"),
    (reply(413, NGINX % (("413 Request Entity Too Large",) * 2 + ("",)), HTML), r"gateway \(nginx/1.22.1\).*size"),
    (reply(413, {"status": 413, "message": "Payload too large"}), "model's context"),
    (reply(407, headers={"Proxy-Authenticate": ["Negotiate", "NTLM"]}), "wants Negotiate or NTLM.*cntlm"),
    (reply(407, headers={"Proxy-Authenticate": 'Basic realm="x"'}), "user:password@host"),
], ids=lambda value: value if isinstance(value, str) else None)
def test_an_answer_of_something_else_names_it(answer, said, server):
    error = fail(server(answer))
    assert re.search(said, str(error)), str(error)
    assert "ask again" not in str(error) and "css" not in str(error).lower() and "Copyright" not in str(error)


@pytest.mark.parametrize("answer", [
    raw(b""), raw(b"HTTP/1.1 20"), raw(HEAD + b"X-A: b"), raw(HEAD + b"\r\n{"), raw(b"", "rst")],
    ids=["nothing", "in the status", "in the headers", "in the body", "reset"])
def test_ask_again_is_for_cuts(answer, server):
    assert "ask again" in str(fail(server(answer)))


# What lies between: proxies


OFTEN = {204, 302, 400, 401, 403, 404, 405, 407, 408, 418, 429, 451, 500, 502, 503, 504, 511}


@pytest.mark.parametrize("status", [
    pytest.param(status, marks=() if status in OFTEN else pytest.mark.long)
    for status in (*range(201, 206), *range(300, 309), *range(400, 512))])
def test_a_refusal_of_connect_is_explained_and_final(status, server, proxy, certs):
    between = proxy(refuse=reply(status, "x", {"Content-Type": "text/plain"}))
    giga = new_client(base_url="https://api.example/v1", access_token="t", ca_bundle_file=str(certs.ca_pem),
                      proxy=f"http://127.0.0.1:{between.port}", timeout=(5, 5))
    with pytest.raises(TransportError, match=f"api.example through the proxy 127.0.0.1:{between.port}") as caught:
        giga.get_models()
    text = sound(caught.value)
    assert "(argument proxy)" in text and str(status) in text
    assert ("user" in text) == (status in (401, 407))
    asked = [target for target in between.targets if target == "api.example:443"]
    assert len(asked) == (2 if status == 407 or 300 <= status < 400 else 1)


@pytest.mark.parametrize("status, said", [
    (403, "the proxy's rules forbid this host.*ask its administrator"), (503, "could not reach the host"),
    (502, "could not reach the host"), (504, "timed out"),
    (407, "wants a user and a password"), (405, "is it a proxy")])
def test_a_refusal_of_connect_says_what_it_means(status, said, proxy, monkeypatch):
    between = proxy(refuse=reply(status))
    monkeypatch.setenv("HTTPS_PROXY", between.url)
    giga = new_client(base_url="https://api.example/v1", access_token="t", trust_env=True)
    with pytest.raises(TransportError, match=rf"\(HTTPS_PROXY\).*{said}") as caught:
        giga.chat("?")
    assert "GIGACHAT_PROXY" not in str(caught.value) or status == 407


@pytest.mark.parametrize("user, wanted, said", [
    ("", ["NTLM"], "the proxy wants NTLM .*local proxy that supports NTLM"),
    ("us:pw@", ["Negotiate", "NTLM"], "wants Negotiate or NTLM"),
    ("us:pw@", ['Basic realm="x"'], "refuses the user or the password.*%40"),
    ("us:pw@", [], "refuses the user or the password"),
    ("", ['Basic realm="x"', "NTLM"], "wants a user and a password"),
])
def test_a_proxy_that_wants_a_login_says_which(user, wanted, said, proxy):
    between = proxy(refuse=reply(407, headers={"Proxy-Authenticate": wanted}))
    giga = new_client(base_url="https://api.example/v1", access_token="t",
                      proxy=f"http://{user}127.0.0.1:{between.port}")
    with pytest.raises(TransportError, match=said) as caught:
        giga.get_models()
    assert "pw" not in sound(caught.value)


class SocksProxy(socketserver.ThreadingTCPServer):
    """A SOCKS5 proxy (RFC 1928, 1929) that wants a password if one is set, and refuses with a reply, or tunnels."""

    daemon_threads = True

    def __init__(self, answer=0, password=None, to=None, methods=None):
        self.answer, self.password, self.to, self.methods, self.count = answer, password, to, methods, 0
        super().__init__(("127.0.0.1", 0), SocksHandler)
        self.port = self.server_address[1]


class SocksHandler(socketserver.BaseRequestHandler):
    def handle(self):
        proxy, sock = self.server, self.request
        proxy.count += 1
        offered = sock.recv(300)[2:]
        if proxy.answer == "HTTP":
            return sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        method = proxy.methods if proxy.methods is not None else 2 if proxy.password else 0
        sock.sendall(bytes([5, method if method in offered else 255]))
        if method not in offered:
            return
        if method == 2:
            given = sock.recv(600)
            name = given[2:2 + given[1]]
            password = given[3 + len(name):]
            good = f"{name.decode()}:{password.decode()}" == proxy.password
            sock.sendall(bytes([1, 0 if good else 1]))
            if not good:
                return
        sock.recv(600)
        sock.sendall(bytes([5, proxy.answer, 0, 1]) + socket.inet_aton("127.0.0.1") + struct.pack("!H", 1))
        if proxy.answer == 0 and proxy.to:
            with socket.create_connection(("127.0.0.1", proxy.to)) as upstream:
                relay(sock, upstream)


@contextlib.contextmanager
def socks(**options):
    with SocksProxy(**options) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def through_socks(running, user="", scheme="socks5h", **settings):
    return new_client(base_url="http://api.example/v1", allow_http=True, access_token="t", timeout=(5, 5),
                      proxy=f"{scheme}://{user}127.0.0.1:{running.port}", **settings)


@pytest.mark.parametrize("code", [*range(1, 9), 9, 255])
def test_each_reply_of_a_socks_proxy_is_explained_and_final(code):
    with socks(answer=code) as running:
        with pytest.raises(TransportError, match="through the proxy 127.0.0.1") as caught:
            through_socks(running).chat("?")
        assert running.count == 1
    text = sound(caught.value)
    words = {1: "failed", 2: "rules forbid", 3: "no way", 4: "no way", 5: "refuses", 6: "timed out", 7: "CONNECT",
             8: "kind of address"}
    assert words.get(code, "proxy") in text and (f"0x{code:02x}" in text.lower() or code > 8), text


@pytest.mark.parametrize("options, user, said", [
    ({"password": "us:right"}, "us:wrong@", "refuses the user or the password.*%40"),
    ({"password": "us:right"}, "", "wants a user and a password.*socks5h://user:password"),
    ({"methods": 1}, "us:x@", "wants a user and a password, or refuses"),
])
def test_a_socks_proxy_that_wants_a_login_is_asked_once(options, user, said):
    with socks(**options) as running:
        with pytest.raises(TransportError, match=said) as caught:
            through_socks(running, user).chat("?")
        assert running.count == 1 and "wrong" not in sound(caught.value)


def test_a_socks_proxy_that_lets_through_is_passed(server):
    with socks(password="us:right", to=server(reply(body=CHAT_BODY)).port) as running:
        assert through_socks(running, "us:right@").chat("?").choices[0].message.content == CHAT_TEXT


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4a"])
def test_a_proxy_that_is_no_socks_proxy_or_not_there_is_named(scheme, resolve):
    resolve("api.example")
    with socks(answer="HTTP") as running:
        with pytest.raises(TransportError, match="does not speak SOCKS") as caught:
            through_socks(running, scheme=scheme).get_models()
        assert running.count == 1
    sound(caught.value)
    with refused() as port:
        running.port = port
        with pytest.raises(TransportError, match="no connection.*check the proxy's address") as caught:
            through_socks(running, scheme=scheme, max_retries=0).get_models()
    sound(caught.value)


# What a proxy may do beside that


@pytest.mark.parametrize("wanted, said", [
    ("Negotiate, NTLM", "wants Negotiate or NTLM .407"), ('NTLM, Basic realm="a, b"', "wants a user and a password")])
def test_schemes_in_one_header_are_told_apart(wanted, said, proxy):
    between = proxy(refuse=reply(407, headers={"Proxy-Authenticate": wanted}))
    giga = new_client(base_url="https://api.example/v1", access_token="t", proxy=between.url)
    with pytest.raises(TransportError, match=said) as caught:
        giga.get_models()
    sound(caught.value)


@pytest.mark.parametrize("slow", [0.2, None])
def test_the_question_to_a_proxy_keeps_the_deadline(slow, proxy):
    def refuse(request, connection):
        if len(between.targets) == 1:
            return reply(407)
        return connection.hold() if slow is None else reply(407, headers={"X": "y" * 500}).drip(slow)

    between = proxy(refuse=refuse)
    giga = new_client(base_url="https://api.example/v1", access_token="t", proxy=between.url)
    began = time.monotonic()
    with pytest.raises(TransportError):
        giga.get_models(deadline=0.4)
    assert time.monotonic() - began < 1.9


def test_a_proxy_that_leads_elsewhere_is_named(proxy):
    between = proxy(refuse=reply(302, headers={"Location": "https://login.corp.example/x"}))
    giga = new_client(base_url="https://api.example/v1", access_token="t", proxy=between.url)
    with pytest.raises(TransportError, match="leads elsewhere.*browser: login.corp.example") as caught:
        giga.get_models()
    sound(caught.value)


@pytest.mark.parametrize("answer", [drop(), drop("rst"), raw(b"SSH-2.0-x\r\n"), raw(TLS_ALERT), raw(b"\5\xff")],
                         ids=["closed", "reset", "SSH", "TLS", "SOCKS"])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxy_that_is_none_is_told_as_one(scheme, answer, server, proxy):
    between = proxy(refuse=answer)
    giga = new_client(base_url=f"{scheme}://api.example/v1", allow_http=True, access_token="t", proxy=between.url)
    with pytest.raises(TransportError, match="proxy does not speak HTTP, or closed|check the proxy's port") as caught:
        giga.chat("?")
    assert "client certificate" not in sound(caught.value) and len(between.targets) == 1


def test_a_tunnel_whose_end_closes_is_no_fault_of_the_proxy(proxy, server):
    between = proxy(to=server([], greet=["fin", "fin", "fin"]).port)
    giga = new_client(base_url="https://api.example/v1", access_token="t", proxy=between.url, max_retries=0)
    with pytest.raises(TransportError, match="closed during the TLS handshake.*check the port") as caught:
        giga.get_models()
    assert "_ssl.c" not in sound(caught.value) and "sandbox" not in str(caught.value)


@pytest.mark.parametrize("variables, source", [
    ({"HTTP_PROXY": "{}", "HTTPS_PROXY": "{}"}, "HTTPS_PROXY"),
    ({"https_proxy": "{}", "HTTPS_PROXY": "x:1"}, "https_proxy"),
    ({"NO_PROXY": "x{}", "ALL_PROXY": "http://{}"}, "ALL_PROXY")])
def test_the_variable_that_names_the_proxy_is_said(variables, source, proxy):
    between = proxy(refuse=reply(403))
    environ = {name: value.format(between.url.rpartition("/")[2]) for name, value in variables.items()}
    giga = new_client(base_url="https://api.example/v1", access_token="t", trust_env=True, environ=environ)
    with pytest.raises(TransportError, match=rf"\({source}\)"):
        giga.get_models()


def test_a_proxy_in_an_env_file_is_said(proxy, tmp_path):
    between = proxy(refuse=reply(403))
    (tmp_path / "x.env").write_text(f"GIGACHAT_PROXY={between.url}\n")
    giga = new_client(base_url="https://api.example/v1", access_token="t", env_file=tmp_path / "x.env")
    with pytest.raises(TransportError, match=r"\(GIGACHAT_PROXY in .*x.env\)"):
        giga.get_models()


# Bodies and streams that are malformed or break


@pytest.mark.parametrize("answer, said", [
    (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello"), "contradict each other"),
    (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "chunks of the answer are malformed"),
    (reply(302, headers={"Location": "http://[::1"}), "Redirects are not followed"),
    (reply(304), "not the GigaChat API"),
    (reply(403, "<script>go()</script>", HTML), "a page without text"),
    (reply(413, {"message": "Request size limit exceeded"}, {"Server": "kong"}), r"gateway \(kong\) rejects"),
    (reply(400, "This combination of host and port requires TLS.", {"Content-Type": "text/plain"}), "write https://"),
], ids=lambda value: value if isinstance(value, str) else None)
@pytest.mark.parametrize("options", [{}, {"deadline": 5}], ids=["", "deadline"])
def test_a_malformed_answer_is_no_cut(answer, said, options, server):
    running = server(answer)
    giga = new_client(base_url=running.url, access_token="t", max_retries=0)
    with pytest.raises(GigaChatException, match=said) as caught:
        giga.chat("?", **options)
    assert "ask again" not in sound(caught.value)


@pytest.mark.parametrize("options", [{}, {"deadline": 5}], ids=["", "deadline"])
def test_a_cut_among_the_headers_is_a_cut(options, server):
    giga = new_client(base_url=server(raw(b"HTTP/1.1 200 OK\r\nX-A: b")).url, access_token="t", max_retries=0)
    with pytest.raises(TransportError, match="broke off before its end; ask again"):
        giga.get_models(**options)


def test_what_came_of_an_error_page_is_shown(server):
    page = reply(503, "<title>Wartung</title>" + 50 * "x", HTML)
    error = fail(server(page.cut(40)))
    assert "Wartung" in str(error) and error.status_code == 503


@pytest.mark.parametrize("answer", [
    sse(STREAM_BODY, headers={"X-Request-ID": REQUEST_ID}).cut(300),
    sse(STREAM_BODY[:400], headers={"X-Request-ID": REQUEST_ID}),
    sse([b"data: nonsense\n\n"], headers={"X-Request-ID": REQUEST_ID}),
    sse([b"event: error\ndata: overload\n\n"], headers={"X-Request-ID": REQUEST_ID}),
], ids=["cut", "no end", "no JSON", "error"])
def test_the_error_of_a_stream_has_the_request_id(answer, server):
    giga = new_client(base_url=server(answer).url, access_token="t")
    with pytest.raises(GigaChatException, match=REQUEST_ID) as caught:
        list(giga.stream("?"))
    assert caught.value.request_id == REQUEST_ID and len(str(caught.value)) <= 300
    assert "broke off" not in str(caught.value) or caught.value.hint == "ask again"


def test_a_body_that_breaks_has_the_request_id(server):
    answer = reply(body=CHAT_BODY, headers={"X-Request-ID": REQUEST_ID}).cut(20)
    assert fail(server(answer)).request_id == REQUEST_ID


def test_a_stream_breaks_for_its_own_reasons(server, certs):
    gate = threading.Event()
    running = server(sse([b"data: {}\n\n", gate], headers={"Content-Length": 9999}, framing="length").close())
    refusing = server([], greet=["fin"])
    giga = new_client(base_url=running.url, auth_url=f"https://localhost:{refusing.port}/", credentials="YTpi",
                      ca_bundle_file=str(certs.ca_pem), max_retries=0)
    stream = giga.stream("?", headers={"Authorization": "Bearer t"})
    with pytest.raises(TransportError, match="TLS handshake"):
        giga.get_models()
    gate.set()
    with pytest.raises(GigaChatException, match="broke off before its end"):
        list(stream)


# Every status, as a gateway's page, as the service's JSON, and without a body


STATUSES = [*range(300, 309), *range(400, 512)]
FORMS = {
    "page": (lambda status: (NGINX % (f"{status} Odd", f"{status} Odd", "")).encode(), HTML),
    "text": (lambda status: b"upstream connect error or disconnect/reset before headers", {"Server": "envoy"}),
    "JSON": (lambda status: json.dumps({"status": status, "message": "Odd"}).encode(), {}),
    "nothing": (lambda status: b"", {}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("url", [
    URL, "https://api.giga.chat/v1/files", "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"])
def test_every_status_says_what_to_do(url, form):
    body, headers = FORMS[form]
    for status in STATUSES:
        error = Response(url, status, {**headers, "X-Request-Id": REQUEST_ID}, body(status)).error()
        text = sound(error)
        assert text.startswith(f"{status} ") and REQUEST_ID in text and url in text
        if form in ("page", "text"):  # of whatever is no part of the service, nothing is said that it alone knows
            assert not re.search("model's|contract|tokens of|private person|the message says|scope", error.hint), text
        elif form == "JSON":
            assert "gateway" not in error.hint, text
        else:
            assert "message says" not in error.hint, text
        assert isinstance(error, ServerError) == (status >= 500)


@pytest.mark.parametrize("status, form, said", [
    (400, "page", "could not read the request"), (400, "JSON", "message says"),
    (401, "page", "login of its own"), (401, "JSON", "GIGACHAT_CREDENTIALS"),
    (402, "JSON", "used up"), (403, "page", "forbids"), (403, "JSON", "contract"),
    (404, "page", "not the GigaChat API"), (404, "JSON", "base_url"), (405, "page", "not the GigaChat API"),
    (407, "page", "user and a password"), (408, "page", "repeat"), (409, "JSON", "message says"),
    (413, "page", "of this size"), (413, "JSON", "context"), (414, "page", "length"),
    (418, "page", "refused the request.*check base_url"), (422, "JSON", "message says"), (429, "page", "limits"),
    (429, "JSON", "max_connections"), (431, "page", "headers"), (451, "page", "legal"),
    (495, "page", "sent and refused"), (496, "page", "cert_file"), (497, "page", "https://"),
    (500, "page", "gateway.*failed"), (500, "JSON", "service failed"), (502, "page", "no answer from the service"),
    (503, "text", r"gateway \(envoy\)"), (504, "page", "stream"), (511, "page", "log in"),
])
def test_a_gateways_page_is_told_from_the_services_json(status, form, said):
    body, headers = FORMS[form]
    error = Response("https://api.example/v1/models", status, headers, body(status)).error()
    assert re.search(said, error.hint), error.hint


def test_long_messages_addresses_and_ids_leave_room_for_the_hint():
    message = json.dumps({"status": 422, "message": "Invalid params: " + 400 * "x"}).encode()
    error = Response(URL + 300 * "y", 422, {"X-Request-Id": 300 * "z"}, message).error()
    assert "Invalid params" in sound(error) and error.message.endswith("xxx") and len(error.message) > 400
    assert str(error).endswith("…") or error.hint in str(error)


@pytest.mark.parametrize("content, wanted", [
    (SQUID.encode(), "ERROR: The requested URL could not be retrieved ERROR Connection to 10.0.0.1 failed."),
    (b"<style>" * 9000 + b"p{}", "a page without text"), (b"<!--" * 16000, "a page without text"),
    (b"<script>var a = '<b>';</script><p>Hi&nbsp;&amp; bye</p>", "Hi & bye"),
    ("<title>Доступ закрыт</title><h1>Доступ закрыт</h1>".encode(), "Доступ закрыт"),
], ids=["squid", "styles", "comments", "script", "Russian"])
def test_a_page_is_shown_by_its_title_and_text(content, wanted):
    error = Response("https://h.example/v1", 403, HTML, content).error("a page: ")
    assert error.message == "a page: " + wanted


# Every errno of connect and send, every answer of getaddrinfo, every verify code, every alert


ERRNOS = sorted(errno.errorcode)
NAMED = {
    "ECONNREFUSED": "nothing listens", "EHOSTUNREACH": "VPN", "ENETUNREACH": "VPN", "EHOSTDOWN": "VPN",
    "ENETDOWN": "VPN", "ETIMEDOUT": "firewall", "EACCES": "sandbox", "EPERM": "sandbox", "EADDRNOTAVAIL": "one client",
    "EMFILE": "ulimit", "ENFILE": "ulimit", "ENOBUFS": "one client", "ENOMEM": "one client", "EAFNOSUPPORT": "IPv6",
    "ECONNRESET": "firewall", "EINVAL": "port", "EADDRINUSE": "one client", "ECONNABORTED": "firewall",
}


def refusal(cause):
    """Make what requests raises where urllib3 could not connect."""
    error = NewConnectionError(None, f"Failed to establish a new connection: {cause}")
    error.__cause__ = cause
    return requests.exceptions.ConnectionError(error)


@pytest.mark.parametrize("proxy", ["", "http://us:pw@proxy.example:3128", "socks5://proxy.example:1080"])
def test_every_errno_of_a_connection_says_what_to_do(proxy):
    attempt = Attempt(URL, proxy, "HTTPS_PROXY")
    for number in ERRNOS:
        error = error_from_exception(refusal(OSError(number, "the system's words")), attempt)
        text = sound(error)
        assert "the system's words" in text and "no connection" in text and "pw" not in text
        assert "HTTPS_PROXY" in text or not proxy
        name = errno.errorcode[number]
        if name in NAMED and (not proxy or NAMED[name] in ("sandbox", "one client", "ulimit", "IPv6")):
            assert NAMED[name] in text, (name, text)


@pytest.mark.parametrize("url", ["http://h.example/v1", "https://h.example/v1"])
@pytest.mark.parametrize("known", [{}, {"stale": True}, {"answered": True}, {"in_handshake": True}])
def test_every_errno_of_sending_and_reading_says_what_to_do(known, url):
    for number in ERRNOS:
        cause = OSError(number, "the system's words")
        error = error_from_exception(requests.exceptions.ConnectionError(ProtocolError("aborted", cause)),
                                     Attempt(url, **known))
        text = sound(error)
        assert "the system's words" in text
        if not known and errno.errorcode[number] in ("ENETDOWN", "EHOSTUNREACH", "EPERM", "ENOBUFS", "ETIMEDOUT"):
            assert "client certificate" not in text and "allow more time" not in text, text


def test_every_answer_about_a_name_says_what_to_do():
    for name in [name for name in dir(socket) if name.startswith("EAI_")]:
        cause = socket.gaierror(getattr(socket, name), "words")
        error = error_from_exception(refusal(cause), Attempt("https://gone.example/v1"))
        assert error.failure == "dns" and "gone.example" in sound(error)
        assert ("name server" in str(error)) == (name in ("EAI_AGAIN", "EAI_FAIL")), name


VERIFY = {
    2: "root", 7: "faulty", 9: "clock", 10: "clock", 13: "faulty", 14: "faulty", 18: "root", 19: "root", 20: "root",
    21: "root", 22: "faulty", 23: "revoked", 24: "faulty", 25: "faulty", 26: "faulty", 27: "faulty", 28: "faulty",
    34: "faulty", 3: "revocation", 12: "revocation", 33: "revocation", 47: "faulty", 62: "another host",
    64: "another host", 66: "SECLEVEL", 67: "SECLEVEL", 68: "SECLEVEL",
    5: "revocation", 79: "faulty", 80: "strict", 94: "strict",
}


def refused_certificate(code, words="the words of OpenSSL"):
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {words}")
    error.verify_code, error.verify_message = code, words
    return requests.exceptions.SSLError(error)


@pytest.mark.parametrize("roots", [["the system's store", "certifi"], ["those of the given ssl_context"]])
@pytest.mark.parametrize("chain", [(0, ""), (1, "Corp Sub CA"), (2, "Corp Root CA")])
def test_every_refused_certificate_says_what_to_do(chain, roots):
    for code in range(1, 97):
        error = error_from_exception(refused_certificate(code), Attempt(URL, roots=roots, sent_chain=chain))
        text = sound(error)
        assert isinstance(error, TLSError) and "the words of OpenSSL" in text and roots[0] in text
        assert code not in VERIFY or VERIFY[code] in text, text
        assert (error.failure == "unknown issuer") == (chain[1] in text and "root" in error.hint if chain[1] else
                                                       "root" in error.hint)


ALERTS = {  # the alerts of RFC 8446, 6.2, in OpenSSL's words
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "certificate", "TLSV1_ALERT_UNKNOWN_CA": "certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "certificate", "SSLV3_ALERT_CERTIFICATE_EXPIRED": "certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "certificate", "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "certificate", "TLSV1_ALERT_ACCESS_DENIED": "certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "certificate", "SSLV3_ALERT_HANDSHAKE_FAILURE": "ciphers",
    "TLSV1_ALERT_PROTOCOL_VERSION": "in common", "UNSUPPORTED_PROTOCOL": "in common",
    "TLSV1_ALERT_INAPPROPRIATE_FALLBACK": "in common", "TLSV1_ALERT_INSUFFICIENT_SECURITY": "ciphers",
    "TLSV1_UNRECOGNIZED_NAME": "host name", "TLSV1_ALERT_INTERNAL_ERROR": "refused the handshake",
    "WRONG_VERSION_NUMBER": "no TLS", "HTTP_REQUEST": "no TLS", "PACKET_LENGTH_TOO_LONG": "no TLS",
    "DH_KEY_TOO_SMALL": "SECLEVEL", "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "SECLEVEL", "EE_KEY_TOO_SMALL": "SECLEVEL",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "corrupted on the way", "RECORD_LAYER_FAILURE": "corrupted on the way",
    "TLSV1_ALERT_RECORD_OVERFLOW": "refused the handshake", "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "refused",
}


@pytest.mark.parametrize("client_cert", [False, True])
def test_every_failed_handshake_says_what_to_do(client_cert):
    for reason, said in ALERTS.items():
        words = reason.lower().replace("_", " ")
        cause = ssl.SSLError(1, f"[SSL: {reason}] {words} (_ssl.c:1000)")
        cause.reason = reason
        known = Attempt(URL, roots=["certifi"], in_handshake=True, client_cert=client_cert)
        error = error_from_exception(requests.exceptions.SSLError(cause), known)
        text = sound(error)
        assert words in text and said in error.hint, text
        if said == "certificate":
            assert ("sent and refused" in text) == client_cert and ("give cert_file" in text) != client_cert


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python does not tell there what the server has sent")
def test_a_chain_without_its_intermediate_is_told_from_a_missing_root(server, certs):
    said = {}
    for name, bundle in (("broken_chain", certs.ca_pem), ("chained", certs.other_pem)):
        running = server(reply(), context=certs.context(name))
        giga = new_client(base_url=running.at("localhost") + "/v1", access_token="t", ca_bundle_file=str(bundle))
        with pytest.raises(TLSError) as caught:
            giga.get_models()
        said[name] = sound(caught.value)
    assert "does not send its intermediate" in said["broken_chain"] and "does not send" not in said["chained"]
    assert "certificate 'tests'" in said["chained"]  # the root that is missing, by its name


# Exceptions of http.client, of this machine, and bugs


@pytest.mark.parametrize("exc, said", [
    (http.client.BadStatusLine("HELLO\r\n"), "speaks no HTTP"), (http.client.UnknownProtocol("HTTP/9"), "no HTTP"),
    (http.client.LineTooLong("header line"), "longer than 64 KB"), (http.client.LineTooLong("status line"), "no HTTP"),
    (http.client.HTTPException("got more than 100 headers"), "more than 100 headers"),
    (http.client.IncompleteRead(b"1", 5), "broke off"), (http.client.UnknownTransferEncoding("x"), "not proper HTTP"),
    (http.client.ImproperConnectionState("x"), "not proper HTTP"), (http.client.ResponseNotReady("x"), "not proper"),
    (http.client.RemoteDisconnected("x"), "closed before the answer"), (http.client.NotConnected("x"), "not proper"),
    (requests.exceptions.ContentDecodingError(DecodeError("x")), "not compressed as its headers say"),
    (requests.exceptions.InvalidURL("x"), "cannot be sent"), (requests.exceptions.InvalidHeader("x"), "cannot be sent"),
    (FileNotFoundError(errno.ENOENT, "No such file", "/ca.pem"), "file cannot be read.*/ca.pem"),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None)
def test_each_exception_has_its_sentence(exc, said):
    error = error_from_exception(exc, Attempt("https://h.example/v1", answered="broke" in said))
    assert re.search(said, sound(error))
    assert ("ask again" in error.hint) == (said in ("broke off", "closed before the answer"))


def test_a_bug_of_the_caller_stays_one(server):
    class Odd:
        name = "x.txt"

        def read(self, size=-1):
            raise AttributeError("a bug in read()")

    running = server([])
    with pytest.raises(AttributeError, match="a bug in read"):
        new_client(base_url=running.url, access_token="t").upload_file(Odd())
    assert not running.requests


def test_the_word_of_a_failure_is_one_of_the_table():
    for number in ERRNOS:
        assert failure_of(refusal(OSError(number, "x")), Attempt(URL)) in advice.FAILURES
        assert failure_of(OSError(number, "x"), Attempt(URL)) in advice.FAILURES


# The page



VERIFY_NAMES = {  # as OpenSSL 3 says them
    2: "unable to get issuer certificate", 9: "certificate is not yet valid", 10: "certificate has expired",
    18: "self-signed certificate", 19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate", 21: "unable to verify the first certificate",
    23: "certificate revoked", 62: "hostname mismatch", 64: "IP address mismatch", 66: "EE certificate key too weak",
    67: "CA certificate key too weak", 68: "CA signature digest algorithm too weak", 3: "unable to get certificate CRL",
    12: "CRL has expired",
}
FILLED = {"timeout": "180.0", "wanted": "…", "schemes": "NTLM", "scheme": "http", "cert": "…",
          "gateway": "A gateway (nginx)",
          "host": "login.example", "seconds": "5"}


def shown(pattern):
    """Show a pattern as what it finds, without its signs."""
    words = re.sub(r"[\^$()?]|\\x1\[56\]\\x03", "", pattern).replace(".*", " … ").replace("\\d+", "100")
    words = words.replace("\\", "").replace("[34]", "3, 0x04").replace("[bcd]", "b, 0x5c, 0x5d")
    return ", ".join(f"`{word.strip()}`" for word in words.split("|")) if pattern else "anything else"


def table(head, rows):
    rows = [[re.sub(r"\{(\w+)\}", lambda found: FILLED[found[1]], str(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def advised(rows, first):
    return table([first, "What happened", "What to do"], [(shown(key), *pair) for key, pair in rows])


def codes_of(codes):
    return ", ".join(f"{code} ({VERIFY_NAMES[code]})" if code in VERIFY_NAMES else str(code) for code in codes)


def make_page():
    """Write docs/errors.md from the tables of advice.py."""
    line = ("ngw.devices.sberbank.ru:9443 through the proxy 10.0.0.1:3128 (HTTPS_PROXY): the proxy's rules forbid this "
            "host (403 Forbidden); ask its administrator to allow it")
    parts = [f"""<!-- python tests/test_diagnose.py makes this page from gigachat_lite/advice.py -->
# Errors: what happened, and what to do

A message is one line of at most 300 characters:

```text
{line}
```

It names the host, the proxy with the setting that it comes from, what happened, in parentheses the words of the system,
of OpenSSL or of the proxy, and after the semicolon what to do, which is also `error.hint`.

Search this page for the words of "what happened". A `ResponseError` has `.status_code`, `.message`, `.code`,
`.request_id` and `.body` besides, and other errors have `.request_id` where an answer had begun. An ellipsis stands for
what is filled in. Retries come before an error: see the table in the README.

[No connection](#no-connection-or-an-incomplete-response) · [Proxies](#proxies) · [TLS](#tls) · [Answers](#answers) ·
[No key](#no-key)
""", "## No connection, or an incomplete response\n",
             "`TransportError`; `RequestTimeout` where a time ran out; `StreamError` for streams.\n",
             advised([row for row in advice.FAILURES.items() if row[0] != "body timeout"], "In the log"),
             "After a lost connection, the end is:\n",
             table(["Address", "Client certificate", "What to do"],
                   [(scheme, {True: "given", False: "none", None: "in an ssl_context"}[given], text)
                    for (scheme, given), text in advice.AFTER_LOSS.items() if scheme == "https" or given is False]),
             "Where there is no connection, by the system's error:\n", advised(advice.ERRNOS, "Error"),
             table(["What happened", "What to do"], [advice.CUT_HANDSHAKE]),
             "Invalid HTTP responses:\n", advised(advice.PROTOCOL, "In the words of http.client or urllib3"),
             "## Proxies\n", "A proxy that refuses CONNECT, by its status:\n", advised(advice.CONNECT, "Status"),
             "A proxy that refuses the login, wants one that is not supported, or is none:\n",
             table(["What happened", "What to do"], [advice.REFUSED_LOGIN, advice.UNSUPPORTED_LOGIN,
                                                     advice.NO_HTTP_PROXY]),
             "A SOCKS proxy, by its reply:\n", advised(advice.SOCKS, "Reply"),
             "No connection to the proxy itself:\n",
             table(["Proxy", "What to do"], [("http://", advice.CHECK_PROXY), ("socks5://, …", advice.CHECK_SOCKS)]),
             "## TLS\n", "`TLSError`. An `ssl_context` of your own has none of the package's roots: load "
             "`gigachat_lite.russian_root_ca.PEM` into it.\n\n"
             "The server's certificate failed verification, by OpenSSL's code:\n",
             table(["Codes", "What to do"],
                   [(codes_of(codes), text) for codes, text in advice.VERIFY]
                   + [("2, 19, 20, 21, where the server sends no chain", advice.NO_CHAIN),
                      ("with an `ssl_context` of your own", advice.GIVE_CONTEXT), ("any other", advice.FAULTY)]),
             "A failed handshake, by OpenSSL's words:\n",
             table(["Words", "What to do"], [(shown(key), text) for key, text in advice.HANDSHAKE]),
             "Where it may be about the client certificate:\n",
             table(["Client certificate", "What to do"],
                   [({True: "given", False: "none", None: "in an ssl_context"}[given], text)
                    for given, text in advice.CLIENT_CERT.items()]),
             "## Answers\n", "`ResponseError` and its subclasses.\n",
             "JSON errors, by `code` (OAuth, below 100), else by status:\n",
             table(["Code or status", "What to do"],
                   [*advice.HINTS.items(), ("any other 4xx", advice.OTHER_4XX), ("any other 5xx", advice.OTHER_5XX),
                    ("404 of a file", advice.NO_FILE), ("413 of a file", advice.LARGE_FILE),
                    ("429 of a token", advice.TOO_MANY_TOKENS), ("with Retry-After", advice.WAIT),
                    ("403, 404 on the old host", advice.NEWER), ("200 of something else", advice.NOT_THE_API)]),
             "Redirects:\n",
             table(["To", "What to do"], [("this host", advice.REDIRECT), ("another", advice.ELSEWHERE)]),
             "By the message, whatever the status:\n",
             table(["Message", "What to do"], [(shown(key), text) for key, text in advice.BY_MESSAGE]),
             "A page that is no JSON of the service, from a gateway, a proxy or a firewall:\n",
             table(["Status", "What to do"], [
                 *advice.PAGES.items(), ("any other 4xx", advice.OTHER_PAGE_4XX),
                 ("any other 5xx", advice.OTHER_PAGE_5XX)]),
             "## No key\n", "`ConfigurationError`, before anything is sent:\n", f"> {advice.NO_KEY}\n"]
    return "\n".join(parts)


def test_the_page_of_errors_is_made_from_the_tables():
    assert PAGE.read_text("utf-8") == make_page(), "python tests/test_diagnose.py writes the page anew"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(make_page(), "utf-8")
