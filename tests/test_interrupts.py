"""Hold the promises about what may come at any moment: Ctrl-C, another signal's handler, a fork."""
from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest

from clients import needs_fork, new_client
from gigachat_lite import GigaChatException
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, reply, sse
from streaming import EVENTS

MODELS = reply(body={"object": "list", "data": []})


class OutOfTime(Exception):
    """What a job queue's or an alarm's handler raises; no exception of the network."""


def read_all(giga):
    return "".join(chunk.text for chunk in giga.stream("x"))


CALLS = {"chat": lambda giga: giga.chat("x"), "models": lambda giga: giga.get_models(), "stream": read_all,
         "download": lambda giga: giga.get_image("f-1"), "upload": lambda giga: giga.upload_file(("a.txt", b"a"))}


@pytest.mark.parametrize("reused", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_what_a_signal_handler_raises_comes_through_and_nothing_is_repeated(name, reused, api, interrupt):
    rung = []

    def answer(request, connection):
        if len(rung) == reused:
            rung.append(request)
            interrupt(OutOfTime("over"))
            connection.hold()
        rung.append(request)
        return MODELS if request.path.endswith("/models") else reply(body=CHAT_BODY)

    running = api(answer)
    giga = new_client(base_url=running.base_url, access_token="t", max_connections=1, pool_timeout=1)
    if reused:
        giga.get_models()
    with pytest.raises(OutOfTime):
        CALLS[name](giga)
    assert len(running.requests) == 1 + reused
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT  # the place is free


@pytest.mark.parametrize("error", [OSError("over"), TimeoutError("over"), ValueError("over"), LookupError("over")],
                         ids=repr)
def test_an_error_of_a_handler_that_looks_like_the_network_s_repeats_no_paid_call(error, api, interrupt):
    def answer(request, connection):
        if request.path.endswith("/models"):
            return MODELS
        if len(running.requests) == 2:
            interrupt(error)
            connection.hold()
        return reply(body=CHAT_BODY)

    running = api(answer)
    giga = new_client(base_url=running.base_url, access_token="t", max_connections=1, pool_timeout=1)
    giga.get_models()
    with pytest.raises(GigaChatException):
        giga.chat("x")
    assert len(running.requests) == 2 and giga.chat("x").choices[0].message.content == CHAT_TEXT


def test_what_a_signal_handler_raises_in_a_body_ends_the_stream_and_frees_its_place(api, interrupt):
    def answer(request, connection):
        if len(running.requests) == 1:
            connection.send(sse(EVENTS[:1]).wire[:-5])
            connection.hold(read)
            interrupt(OutOfTime("over"))
            connection.hold()
        return reply(body=CHAT_BODY)

    running, read = api(answer), threading.Event()
    giga = new_client(base_url=running.base_url, access_token="t", max_connections=1, pool_timeout=1)
    stream = giga.stream("x")
    next(stream)
    read.set()
    with pytest.raises(OutOfTime):
        next(stream)
    with pytest.raises(GigaChatException, match="closed before its end"):
        next(stream)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


def interrupted(work, at):
    """Do work and raise KeyboardInterrupt at its `at`-th line of the package; tell whether it came so far."""
    lines = [0]

    def trace(frame, event, arg):
        if os.sep + "gigachat_lite" + os.sep not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] >= at and not below_a_finalizer(frame):  # which Python lets raise nothing
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def below_a_finalizer(frame):
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


# A socket that is forgotten in an interrupted call is closed then, and Python says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["chat", "stream", "token"])
def test_ctrl_c_at_any_line_leaves_a_client_that_works(name, step, api):
    def answer(request, connection):
        return sse(STREAM_BODY) if b'"stream":' in request.body else reply(body=CHAT_BODY)

    def token():
        giga._tokens.drop(giga.token)
        giga.get_token()

    giga = new_client(base_url=api(answer).base_url, auth_url=api([]).auth_url, credentials="aWQ6c2VjcmV0",
                      max_connections=1, pool_timeout=0.05, timeout=(5, 5))
    work = token if name == "token" else lambda: CALLS[name](giga)
    work()
    at, tried = step // 2 + 1, 0
    while interrupted(work, at):
        gc.collect()
        assert giga._transport.limiter._free.qsize() == 1 and giga._tokens._fetching.qsize() == 1, at
        at, tried = at + step, tried + 1
    assert tried > 20 and read_all(giga) == STREAM_TEXT


@needs_fork
@pytest.mark.parametrize("early", [True, False])
def test_a_child_of_a_busy_moment_comes_to_its_end(early, api, tmp_path):
    """The fork comes while another thread holds the lock of urllib3's pool, which urllib3 takes again at the end."""
    script = """if True:
        import os, sys, threading
        from gigachat_lite import GigaChat
        giga = GigaChat(base_url=sys.argv[1], access_token="t", env_file=False, trust_env=False)
        giga.get_models()
        (pool,) = [pool for adapter in giga._transport.session.adapters.values() for pool in adapter._pools.values()]
        pool.pool.mutex.acquire()  # as a thread does that gives its connection back
        child = os.fork()
        if child == 0:
            if sys.argv[2] == "True":
                sys.exit(0)
            print(giga.get_models().object, flush=True)
            sys.exit(0)  # as the worker of a server ends: what is registered for the end is run
        pool.pool.mutex.release()
        assert os.waitpid(child, 0)[1] == 0
    """
    command = [sys.executable, "-W", "ignore", "-c", script, api(MODELS).base_url, str(early)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stdout, done.stderr) == (0, "" if early else "list\n", "")
