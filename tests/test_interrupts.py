"""Hold the promises about what may come at any moment: Ctrl-C, another signal's handler, a fork."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from clients import IN_CHILD, needs_fork, new_client
from gigachat_lite import GigaChatException
from servers import CHAT_BODY, CHAT_TEXT, oauth_reply, reply, sse
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
@pytest.mark.parametrize("kind", [KeyboardInterrupt, OutOfTime, ValueError, LookupError])
def test_what_a_signal_handler_raises_comes_through_and_nothing_is_repeated(kind, name, reused, api, interrupt):
    answered, error = [], kind("over")

    def answer(request, connection):
        if len(answered) == reused:
            answered.append(request)
            interrupt(error)
            connection.hold()
        answered.append(request)
        return MODELS if request.path.endswith("/models") else reply(body=CHAT_BODY)

    running = api(answer)
    giga = new_client(base_url=running.base_url, access_token="t", max_connections=1, pool_timeout=1)
    if reused:
        giga.get_models()
    with pytest.raises(kind) as caught:
        CALLS[name](giga)
    assert caught.value is error and len(running.requests) == 1 + reused
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT  # the place is free


def test_ctrl_c_while_a_token_is_fetched_leaves_the_next_call_to_fetch_it(api, interrupt):
    def answer(request, connection):
        if len(running.requests) == 1:
            interrupt(KeyboardInterrupt())
            connection.hold()
        return oauth_reply("t-1")

    running = api(reply(body=CHAT_BODY), oauth=answer)
    giga = new_client(base_url=running.base_url, auth_url=running.auth_url, credentials="aWQ6c2VjcmV0", pool_timeout=1)
    with pytest.raises(KeyboardInterrupt):
        giga.chat("x")
    assert giga.chat("x", deadline=5).choices[0].message.content == CHAT_TEXT and giga.token == "t-1"
    assert len(running.requests) == 3


@pytest.mark.parametrize("kind", [OSError, TimeoutError])
def test_an_error_of_a_handler_that_looks_like_the_network_s_repeats_no_paid_call(kind, api, interrupt):
    def answer(request, connection):
        if request.path.endswith("/models"):
            return MODELS
        if len(running.requests) == 2:
            interrupt(kind("over"))
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
    with pytest.raises(GigaChatException, match="closed before its"):
        next(stream)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


@needs_fork
def test_a_child_of_a_busy_moment_sends_its_own_requests(api, tmp_path):
    """The fork comes while another thread holds the lock of urllib3's pool."""
    script = "import os, sys\n" + textwrap.dedent(IN_CHILD) + textwrap.dedent("""
        from gigachat_lite import GigaChat
        giga = GigaChat(base_url=sys.argv[1], access_token="t", env_file=False, trust_env=False)
        giga.get_models()
        adapter = next(iter(giga.transport.adapters.values()))  # of base_url
        with adapter.poolmanager.connection_from_url(sys.argv[1]).pool.mutex:
            in_child(lambda: print(giga.get_models().object, flush=True))
        """)
    command = [sys.executable, "-W", "ignore", "-c", script, api(MODELS).base_url]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stdout, done.stderr) == (0, "list\n", "")
