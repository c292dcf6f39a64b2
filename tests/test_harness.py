"""Prove the harness with http.client, ssl and requests alone: a fault that is not one would prove nothing else."""
from __future__ import annotations

import hashlib
import http.client
import json
import os
import pathlib
import socket
import ssl
import threading
import time

import pytest
import requests

from certs import GIGACHAT_NAMES, PASSWORD
from servers import (
    CHAT_BODY,
    CHAT_TEXT,
    STREAM_BODY,
    STREAM_TEXT,
    STREAM_TEXTS,
    drop,
    never,
    oauth_reply,
    raw,
    refused,
    reply,
    sse,
    until,
)

LOST = (OSError, http.client.HTTPException)

pytestmark = pytest.mark.long  # needed where the harness itself changes


@pytest.fixture(scope="module", autouse=True)
def dirty_machine():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "no_proxy", "GIGACHAT_CREDENTIALS", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NETRC"):
            patch.setenv(name, "from the machine")
        yield


@pytest.fixture
def connect():
    """Open http.client connections by URL and close them at the end."""
    opened = []

    def connect(url, **options):
        scheme, _, address = url.partition("://")
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        opened.append(kind(address, timeout=5, **options))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session


def ask(connection, path="/"):
    connection.request("GET", path)
    return connection.getresponse()


def trusting(path, *client, password=None):
    context = ssl.create_default_context(cafile=str(path))
    if client:
        context.load_cert_chain(*map(str, client), password=password)
    return context


def bare(server):
    """Send one request over a bare socket, so that the very bytes of the answer can be read."""
    sock = socket.create_connection(("127.0.0.1", server.port), 5)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    return sock


def read_all(sock):
    with sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


def is_reset(sock):
    """Look below the TLS: Python 3.11 reports a reset there as an end."""
    with pytest.raises(ConnectionResetError):
        while socket.socket.recv(sock, 65536):
            pass
    return True


def test_recorded_bodies_are_what_was_recorded():
    assert len(CHAT_BODY) == 271 and json.loads(CHAT_BODY.decode())["choices"][0]["message"]["content"] == CHAT_TEXT
    events = [json.loads(line[6:]) for line in STREAM_BODY.decode().split("\n\n")[:5]]
    assert tuple(event["choices"][0]["delta"]["content"] for event in events) == STREAM_TEXTS
    assert "".join(STREAM_TEXTS) == STREAM_TEXT and STREAM_BODY.endswith(b"}\n\ndata: [DONE]\n\n")
    assert hashlib.sha256(STREAM_BODY).hexdigest() == "990cd94f3d6edd841e170d7232349a4e3ad7af8e050c2eb4b137d2adfef190be"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("tls", [False, True])
def test_every_framing_arrives_whole_and_keeps_or_ends_the_connection(server, certs, session, framing, tls):
    running = server(reply(201, {"да": 1}, {"X-Id": "7"}, framing), context=certs.context() if tls else None)
    session.verify = str(certs.ca_pem)
    for _ in range(3):
        answer = session.post(running.url + "/a?b=c", data=b"\x00body")
        assert (answer.status_code, answer.json(), answer.headers["x-id"]) == (201, {"да": 1}, "7")
    assert running.connections == (3 if framing == "close" else 1)
    seen = running.requests[-1]
    assert (seen.method, seen.path, seen.body, seen.connection) == ("POST", "/a?b=c", b"\x00body", running.connections)
    assert seen.headers["CONTENT-LENGTH"] == "5" and seen.time >= running.requests[0].time


def test_a_chunked_request_body_is_read(server, session):
    running = server(reply())
    session.post(running.url, data=iter([b'{"a":', b"1}"]))
    assert running.requests[0].json == {"a": 1}


def test_a_list_gives_one_answer_each_and_running_out_is_an_error(server, connect):
    running = server([reply(503), lambda request, connection: reply(body=request.path)])
    connection = connect(running.url)
    assert ask(connection).read() == b""
    assert ask(connection, path="/told").read() == b"/told"
    with pytest.raises(LOST):
        ask(connection)
    with pytest.raises(AssertionError, match="no answer left for <GET /"):
        running.stop()


def test_an_error_of_a_handler_is_raised_by_stop(server, connect):
    def handler(request, connection):
        raise ConnectionError("even an OSError")

    running = server(handler)
    with pytest.raises(LOST):
        ask(connect(running.url))
    with pytest.raises(ConnectionError, match="even an OSError"):
        running.stop()
    running.stop()


def test_pieces_are_single_sends_and_a_gate_holds_them(server):
    gate, end = threading.Event(), threading.Event()
    running = server(sse([b"data: \xd0", gate, b"\x96\n\n", "[DONE]", end]))
    with bare(running) as sock:
        until(lambda: b"\xd0\r\n" in sock.recv(65536, socket.MSG_PEEK))
        got = sock.recv(65536)
        assert got.endswith(b"\r\n\r\n7\r\ndata: \xd0\r\n")
        gate.set()
        wanted = b"3\r\n\x96\n\n\r\ne\r\ndata: [DONE]\n\n\r\n"
        until(lambda: len(sock.recv(65536, socket.MSG_PEEK)) == len(wanted))
        assert sock.recv(65536) == wanted
        end.set()
        assert sock.recv(65536) == b"0\r\n\r\n"


def test_answers_are_split_dripped_and_cut_at_exact_bytes(server):
    answer = reply(body=b"0123456789")
    assert answer.split(3, 7).steps[1:] == [b"012", b"3456", b"789"]
    assert answer.drip(0, size=4, part="body").steps[1:] == [b"0123", b"4567", b"89"]
    assert {len(step) for step in answer.drip(0).steps} == {1}
    assert answer.drip(0.5, part="head").steps.count(0.5) == len(answer.head)
    assert answer.head + answer.body == answer.wire
    for at in (0, 1, 10):
        assert read_all(bare(server(answer.cut(at)))) == answer.head + b"0123456789"[:at]
        assert read_all(bare(server(answer.cut(at, part="all")))) == answer.wire[:at]
    assert read_all(bare(server(sse(STREAM_BODY).drip(0.0001).close()))) == sse(STREAM_BODY).wire
    with pytest.raises(ConnectionResetError):
        read_all(bare(server(answer.cut(5, "rst"))))


def test_a_wrong_length_and_bytes_that_are_no_http(server, connect):
    with pytest.raises(http.client.IncompleteRead):
        ask(connect(server(reply(body=b"short", length=9)).url)).read()
    with pytest.raises(http.client.BadStatusLine):
        ask(connect(server(raw(b"SSH-2.0-x\r\n")).url))


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_request_dropped_upon_arrival(server, connect, how):
    running = server([reply(), drop(how), reply()])
    connection = connect(running.url)
    ask(connection).read()
    with pytest.raises(ConnectionResetError if how == "rst" else http.client.RemoteDisconnected):
        ask(connection)
    connection.close()
    assert ask(connection).status == 200 and [seen.connection for seen in running.requests] == [1, 1, 2]


@pytest.mark.parametrize("hang_up", [True, False])
def test_an_idle_connection_closed_before_the_next_request(server, session, hang_up):
    running = server(reply() if hang_up else [reply().close(), reply()])
    session.get(running.url)
    running.hang_up() if hang_up else until(lambda: not running.open)
    assert session.get(running.url).ok and (running.connections, len(running.requests)) == (2, 2)


def test_an_answer_that_never_comes_ends_with_the_peer_or_the_server(server, session):
    running = server([never(), never(), reply().after(threading.Event())])
    with pytest.raises(requests.ReadTimeout):
        session.get(running.url, timeout=(5, 0.05))
    until(lambda: running.open == 0)
    with bare(running), bare(running):
        until(lambda: len(running.requests) == 3)
        started = time.monotonic()
        running.stop()
        assert time.monotonic() - started < 1 and running.open == 0


def test_first_connections_meet_their_fate(server, certs, session):
    running = server(reply(), context=certs.context(), greet=["rst", "stall", None])
    session.verify = str(certs.ca_pem)
    with pytest.raises(requests.ConnectionError):
        session.get(running.url)
    with pytest.raises(requests.Timeout):
        session.get(running.url, timeout=0.05)
    assert session.get(running.url).ok and running.connections == 3 and len(running.requests) == 1


def test_a_port_that_refuses():
    with refused() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("how", ["fin", "rude", "rst"])
def test_tls_is_closed_with_and_without_notice(server, certs, how):
    running = server(reply(body=b"all", framing="close").close(how), context=certs.context())
    with socket.create_connection(("127.0.0.1", running.port)) as plain:
        context = trusting(certs.ca_pem)
        with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            if how == "fin":
                assert b"".join(iter(lambda: sock.recv(99), b"")).endswith(b"all")
            elif how == "rude":
                with pytest.raises(ssl.SSLError):
                    b"".join(iter(lambda: sock.recv(99), b""))
            else:
                assert is_reset(sock)


@pytest.mark.parametrize(
    "name, trusted, code",
    [
        ("server", "ca_pem", 0),
        ("server", "bundle_pem", 0),
        ("chained", "ca_pem", 0),
        ("server", "other_pem", 20),
        ("foreign", "ca_pem", 20),
        ("broken_chain", "ca_pem", 20),
        ("expired", "ca_pem", 10),
        ("wrong_host", "ca_pem", 62),
    ],
)
def test_server_certificates_have_the_faults_of_their_names(server, certs, connect, name, trusted, code):
    running = server(reply(), context=certs.context(name))
    connection = connect(running.at("localhost"), context=trusting(getattr(certs, trusted)))
    if not code:
        assert ask(connection).status == 200 and running.requests[0].sni == "localhost"
        return
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        ask(connection)
    assert caught.value.verify_code == code and not running.requests
    until(lambda: running.tls_errors)


def test_authorities_as_der_and_as_a_partial_chain(server, certs, connect):
    pem = ssl.DER_cert_to_PEM_cert(certs.ca_der.read_bytes())  # Python 3.7 on OpenSSL 3 fails on DER itself
    context = ssl.create_default_context(cadata=pem)
    assert ask(connect(server(reply(), context=certs.context()).url, context=context)).status == 200
    context = trusting(certs.intermediate_pem)
    context.verify_flags |= 0x80000
    assert ask(connect(server(reply(), context=certs.context("chained")).url, context=context)).status == 200


def test_client_certificates(server, certs, connect):
    running = server(reply(), context=certs.context(client="required"))
    for files, password in [
        ((certs.client_pem, certs.client_key), None),
        ((certs.client_combined,), None),
        ((certs.client_pem, certs.client_locked_key), PASSWORD),
    ]:
        assert ask(connect(running.url, context=trusting(certs.ca_pem, *files, password=password))).status == 200
        assert running.requests[-1].peer_cert["subjectAltName"] == (("email", "client@example.org"),)
    for files in [(), (certs.foreign_client_pem, certs.foreign_client_key)]:
        with pytest.raises(OSError):
            ask(connect(running.url, context=trusting(certs.ca_pem, *files)))
    until(lambda: len(running.tls_errors) == 2)
    assert len(running.requests) == 3
    with pytest.raises(ssl.SSLError):
        trusting(certs.ca_pem, certs.client_pem, certs.client_locked_key, password="another")
    optional = server(reply(), context=certs.context(client="optional"))
    assert ask(connect(optional.url, context=trusting(certs.ca_pem))).status == 200
    assert optional.requests[0].peer_cert is None


def test_names_resolve_to_loopback_and_others_do_not(server, certs, session, resolve):
    running = server(reply(), context=certs.context("names"))
    session.verify = str(certs.ca_pem)
    resolve(*GIGACHAT_NAMES)
    for name in GIGACHAT_NAMES:
        assert session.get(running.at(name)).ok and running.requests[-1].sni == name
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("example.org", 443)
    assert resolve.asked == list(GIGACHAT_NAMES) + ["example.org"]


@pytest.mark.parametrize("to", ["port", "host", "asked"])
def test_proxy_tunnels_any_name(server, proxy, certs, session, to):
    running = server(reply(body=CHAT_BODY), context=certs.context("names"))
    running_proxy = proxy({"port": running.port, "host": {"api.giga.chat": running.port}, "asked": None}[to])
    url = running.at("api.giga.chat") if to == "asked" else "https://api.giga.chat"
    session.verify, session.proxies = str(certs.ca_pem), {"https": running_proxy.url}
    assert [session.get(url + "/v1").content for _ in range(3)] == [CHAT_BODY] * 3
    assert (running.connections, running_proxy.connections) == (1, 1)
    assert running_proxy.targets == [f"api.giga.chat:{running.port if to == 'asked' else 443}"]


def test_proxy_carries_faults_through(server, proxy, certs, connect):
    half = reply(body=b"0123").cut(2)
    running = server([half, half.close("rst")], context=certs.context())
    address = proxy(running.port).url.replace("http", "https")
    for reset in (False, True):
        connection = connect(address, context=trusting(certs.ca_pem))
        connection.set_tunnel("localhost", 443)
        connection.request("GET", "/")
        if reset:
            assert is_reset(connection.sock)
        else:
            with pytest.raises(http.client.IncompleteRead):
                connection.getresponse().read()


def test_an_idle_tunnel_ends_with_its_upstream(server, proxy, certs, session):
    running = server(reply(), context=certs.context())
    running_proxy = proxy(running.port)
    session.verify, session.proxies = str(certs.ca_pem), {"https": running_proxy.url}
    session.get("https://localhost")
    running.hang_up()
    until(lambda: not running_proxy.open)
    session.get("https://localhost")
    assert (running.connections, running_proxy.connections) == (2, 2)


def test_proxy_asks_for_credentials_refuses_and_drips(server, proxy, certs, session):
    running = server(reply(), context=certs.context())
    running_proxy = proxy(running.port, credentials="us:pa", refuse=reply(502), drip=0.0005)
    session.verify, session.proxies = str(certs.ca_pem), {"https": running_proxy.url}
    with pytest.raises(OSError, match="407"):
        session.get("https://localhost")
    session.proxies = {"https": running_proxy.url.replace("//", "//us:pa@")}
    with pytest.raises(OSError, match="502"):
        session.get("https://localhost")
    running_proxy.refuse = None
    assert session.get("https://localhost").ok
    assert running_proxy.targets == ["localhost:443"] * 3 and running.connections == 1


def test_proxy_forwards_plain_http(server, proxy, session):
    running = server(reply(body={"a": 1}))
    running_proxy = proxy(running.port)
    session.proxies = {"http": running_proxy.url}
    for _ in (1, 2):
        assert session.post("http://somewhere.example:81/v1?x=1", data=b"abc").json() == {"a": 1}
    assert running_proxy.targets == ["somewhere.example:81"] * 2
    assert (running.requests[1].path, running.requests[1].body) == ("/v1?x=1", b"abc")
    assert running.requests[1].headers["Host"] == "somewhere.example:81"


def test_api_counts_oauth_and_hands_on_the_rest(api, session):
    running = api([reply(body=CHAT_BODY)])
    first, second = (session.post(running.auth_url, data={"scope": "s"}).json() for _ in range(2))
    assert (first["access_token"], second["access_token"]) == ("token-1", "token-2")
    assert 1790e3 < first["expires_at"] - time.time() * 1e3 < 1810e3
    assert session.post(running.base_url + "/token").json()["tok"] == "token-3"
    assert session.get(running.base_url + "/models").content == CHAT_BODY
    assert running.oauth_calls == 3 and [call.path for call in running.calls] == ["/api/v1/models"]
    assert running.requests[0].form == {"scope": "s"}
    scripted = api(reply(), oauth=[oauth_reply(skew=3600, date=True), oauth_reply(date="nonsense"), reply(401)])
    dates = [session.post(scripted.auth_url).headers.get("Date") for _ in range(3)]
    assert dates[0].endswith("GMT") and dates[1:] == ["nonsense", None]


def test_fifty_threads(server):
    running, barrier = server(reply(body=b"x", framing="close")), threading.Barrier(50)
    threads = [threading.Thread(target=lambda: (barrier.wait(), read_all(bare(running)))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(running.requests) == running.connections == 50


def test_the_environment_is_clean(tmp_path):
    assert "from the machine" not in os.environ.values()
    assert pathlib.Path.cwd().samefile(tmp_path) and not list(tmp_path.iterdir())
    assert not list(pathlib.Path.home().iterdir())
