"""The server: any bytes, many connections, and a life that ends at once and leaves nothing."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from clients import IN_CHILD, finish, needs_fork, start
from gigachat_lite import RequestTimeout, TransportError
from gigachat_lite.emulator import Emulator
from servers import until

from .helpers import (
    ASKED,
    CALLS,
    LONG,
    STREAMED,
    client_of,
    emulator_threads,
    nothing_left,
    open_files,
    outcome,
    request_bytes,
    streamed,
    talk,
)
from .test_tls import trusting

# ---- Any bytes

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
def test_what_is_no_http_gets_an_error(emulator, sent, answer):
    assert talk(emulator, sent).startswith(answer)
    assert emulator.requests == []


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", b"GET / HT", HEAD, HEAD + b"Content-Length: 9\r\n\r\nabc"])
def test_what_ends_early_is_closed(emulator, sent):
    assert talk(emulator, sent, shut=True) == b""


def test_forms_of_a_request(emulator):
    chunked = b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    chunks = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: z\r\n\r\n"
    head = b"HEAD /v1/models HTTP/1.0\nUser-Agent: t\n\n"
    said = talk(emulator, b"\r\n" + HEAD + chunked + chunks + HEAD + b"\r\n" + head, shut=True)  # three in one write
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"100", b"401", b"401", b"405"]
    assert said.endswith(b"\r\n\r\n") and [r.raw for r in emulator.requests] == [b"abcde", b"", b""]
    assert [r.version for r in emulator.requests] == ["1.1", "1.1", "1.0"]
    assert talk(emulator, b"POST http://other:1/v1/token?a=b HTTP/1.1\r\nUser-Agent: t\r\nConnection: close\r\n\r\n",
                shut=False)
    assert emulator.requests[-1].path == "/v1/token" and emulator.requests[-1].query == {"a": "b"}


def test_a_stream_of_http_1_0_ends_the_connection(emulator, raw):
    said = talk(emulator, request_bytes(raw.token).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b"Transfer-Encoding" not in said and b"\r\n\r\ndata: {" in said and said.endswith(b"data: [DONE]\n\n")


def test_noise_never_ends_it(emulator, capfd):
    for seed in range(40):
        noise = base64.b85encode(bytes(range(seed, seed + 90)))
        talk(emulator, (b"POST /v1/" + noise if seed % 2 else noise) + b"\r\n\r\n" * (seed % 3), shut=True)
    assert CALLS["models"](client_of(emulator))
    assert capfd.readouterr() == ("", "")


# ---- Connections


def test_small_answers_do_not_wait_for_acknowledgements(emulator, raw):
    began = time.monotonic()
    for _ in range(50):
        raw.ask(ASKED)
    assert time.monotonic() - began < 1.5  # 50 delayed acknowledgements are 2 s
    assert len({request.connection for request in emulator.requests}) == 1


@pytest.mark.parametrize("error", [RuntimeError, ValueError, BrokenPipeError])
def test_a_listener_that_fails_costs_nobody_an_answer(error, capfd):
    def fail(request, status):
        raise error("of the listener")

    emu = Emulator(on_response=fail).start()
    giga = client_of(emu, max_retries=0)
    assert [len(outcome(CALLS["chat"], giga)) > 9 for _ in range(2)] == [True, True]
    emu.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("settings", [
    {"fault": "slow:999999999999"}, {"chunk_delay": 1e300}, pytest.param({"fault": "drip:999999999999"}, marks=LONG),
    pytest.param({"delay": float("inf")}, marks=LONG)], ids=str)
def test_a_pause_of_any_length_is_only_a_pause(settings, capfd):
    delay = settings.pop("delay", None)
    with Emulator(**settings) as emu:
        if delay:
            emu.enqueue(delay=delay)
        giga = client_of(emu, max_retries=0)
        giga.get_token()
        assert type(outcome(streamed, giga, timeout=0.05)) is RequestTimeout
        emu.fault = None
        assert CALLS["chat"](giga)
    assert capfd.readouterr() == ("", "")


def test_closed_connections_are_forgotten_while_it_runs(emulator):
    threads, files = emulator_threads(), open_files()
    for _ in range(20):
        with socket.create_connection((emulator.host, emulator.port), 5):
            pass
    talk(emulator, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")  # all before it were accepted
    until(lambda: emulator_threads() == threads)
    assert len(open_files()) <= len(files) + 1


def many_at_a_time(emulator, count):
    """Open so many connections, then ask on each; every one is answered."""
    context = trusting(emulator) if emulator.url.startswith("https") else None
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection((emulator.host, emulator.port), 20))
                 for _ in range(count)]
        if context is not None:
            socks = [stack.enter_context(context.wrap_socket(sock)) for sock in socks]
        for sock in socks:
            sock.sendall(b"GET /v1/models HTTP/1.1\r\nUser-Agent: t\r\n\r\n")
        return [sock.recv(12) for sock in socks] == [b"HTTP/1.1 401"] * count


@pytest.mark.parametrize(("tls", "count"), [
    pytest.param(True, 20, id="20 of TLS"),
    pytest.param(True, 50, id="50 of TLS", marks=LONG),
    pytest.param(False, 200, id="200 in the clear", marks=LONG)])
def test_many_connections_at_a_time(tls, count):
    with nothing_left(), Emulator(tls=tls) as emu:
        assert many_at_a_time(emu, count)


def test_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with Emulator("::1") as emulator:
        assert emulator.url == f"http://[::1]:{emulator.port}" and CALLS["models"](client_of(emulator))


# ---- The end


def ask_slowly(emulator, sock, **script):
    emulator.enqueue(**script)
    sock.sendall(request_bytes("", STREAMED))


BUSY = {
    "nothing asked yet": lambda emu, sock: None,
    "half a request": lambda emu, sock: sock.sendall(b"POST /v1/token HTTP/1.1\r\nContent-Le"),
    "half a body": lambda emu, sock: sock.sendall(b"POST /v1/token HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
    "slow": lambda emu, sock: ask_slowly(emu, sock, fault="slow:60"),
    "stall": lambda emu, sock: ask_slowly(emu, sock, events=["a"] * 99, fault="stall:20"),
    "drip": lambda emu, sock: ask_slowly(emu, sock, events=["a"] * 99, fault="drip:60"),
    "delay": lambda emu, sock: ask_slowly(emu, sock, status=503, delay=60),
    "a next request waits": lambda emu, sock: [ask_slowly(emu, sock, status=503, delay=60) for _ in range(2)],
    "an answer nobody reads": lambda emu, sock: ask_slowly(emu, sock, body=b"x" * (16 << 20)),
    "an end nobody hears": lambda emu, sock: ask_slowly(emu, sock, status=200, headers={"Content-Length": "0"}),
}


@pytest.mark.parametrize("busy", BUSY)
def test_stop_is_at_once_whatever_goes_on(busy):
    with nothing_left():
        emu = Emulator().start()
        with socket.create_connection((emu.host, emu.port), 5) as sock:
            BUSY[busy](emu, sock)
            if "sendall" not in BUSY[busy].__code__.co_names and busy != "nothing asked yet":
                until(lambda: emu.requests)
            began = time.monotonic()
            emu.stop()
            assert time.monotonic() - began < 1
            with contextlib.suppress(ConnectionError):
                while sock.recv(1 << 20):
                    pass


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "a byte", "a part"])
def test_stop_is_at_once_during_a_handshake(sent):
    with nothing_left():
        emu = Emulator(tls=True).start()
        with socket.create_connection((emu.host, emu.port), 5) as sock:
            sock.sendall(sent)
            until(lambda: len(emulator_threads()) >= 3)  # it is being served
            began = time.monotonic()
            emu.stop()
            assert time.monotonic() - began < 1


@pytest.mark.parametrize("settings", [{}, {"tls": True}], ids=["clear", "tls"])
def test_start_and_stop_many_times(settings):
    Emulator(**settings).start().stop()  # what is imported or opened once
    times = 50 if not settings else 5
    with nothing_left():
        emu, others = Emulator(**settings), emulator_threads()
        for _ in range(times):
            assert emu.start() is emu
            socket.create_connection((emu.host, emu.port), 5).close()
            emu.stop()
            emu.stop()
            assert emulator_threads() == others


def test_stop_from_several_threads():
    with nothing_left():
        for _ in range(5):
            emu = Emulator(chunk_delay=60).start()
            socks = [socket.create_connection((emu.host, emu.port), 5) for _ in range(3)]
            assert finish(*(start(emu.stop) for _ in range(4))) == [None] * 4
            for sock in socks:  # a connection that nobody had accepted is reset
                with sock, contextlib.suppress(ConnectionResetError):
                    assert sock.recv(1) == b""


def test_stop_from_a_callable():
    def go_down(request):
        emu.stop()
        time.sleep(0.03)  # and is at work yet when the test stops it again

    with nothing_left():
        emu = Emulator().start()
        giga = client_of(emu, max_retries=0)
        emu.enqueue(go_down)
        assert isinstance(outcome(CALLS["chat"], giga), TransportError)
        emu.stop()
        emu.check()
        with pytest.raises(OSError):
            socket.create_connection((emu.host, emu.port), 1)


def test_a_taken_port_leaves_nothing_open(emulator):
    with nothing_left():
        for settings in ({}, {"tls": True}):
            other = Emulator(port=emulator.port, **settings)
            with pytest.raises(OSError):
                other.start()
            assert other.ca_bundle_file is None or not os.path.exists(os.path.dirname(other.ca_bundle_file))
            other.stop()


def run_script(body, *arguments):
    """Run a program in a process of its own, and return what it prints."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(body), *arguments], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=15)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


FORK = """
    import os, sys, threading
    from gigachat_lite import GigaChat
    from gigachat_lite.emulator import Emulator
""" + IN_CHILD


@needs_fork
@pytest.mark.parametrize("tls", [pytest.param(True, marks=LONG), False], ids=["tls", "clear"])
@pytest.mark.long
def test_forked_children_have_emulators_of_their_own(tls):
    assert run_script(FORK + """
    def serve():
        with Emulator(tls=True) as own, GigaChat(**own.config) as giga:
            assert giga.chat("x").choices
        assert threading.active_count() == 1

    with Emulator(tls=sys.argv[1] == "True", chunk_delay=0.001) as emu:
        giga = GigaChat(**emu.config, max_retries=0)
        stream = giga.stream("x")
        next(stream)
        in_child(emu.stop)  # as a child does that leaves the `with` which it has inherited
        in_child(serve)
        assert list(stream)[-1].choices[0].finish_reason == "stop"
        assert GigaChat(**emu.config, max_retries=0).chat("x").choices
    print("good")
    """, str(tls)) == "good\n"


@pytest.mark.long
def test_certificates_do_not_outlive_an_emulator_that_nobody_stopped():
    code = ("from gigachat_lite import Emulator\nemulator = Emulator(tls=True).start()\n"
            "print(emulator.ca_bundle_file)")
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, timeout=15)
    folder = os.path.dirname(done.stdout.decode().strip())
    assert done.returncode == 0 and "emulator" in folder and not os.path.exists(folder)
