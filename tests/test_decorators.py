"""Methods wrapped by other libraries' decorators, which look at names, signatures and coroutine functions."""
from __future__ import annotations

import asyncio
import functools
import inspect
import warnings

import pytest

from clients import new_client
from gigachat_lite import ServerError
from servers import CHAT_BODY, CHAT_TEXT, reply

GROUPS = ["chat", "batches", "assistants", "threads"]
ASYNC_GROUPS = ["achat", "a_batches", "a_assistants", "a_threads"]


@pytest.fixture
def giga():
    return new_client(access_token="t")


def methods(owner):
    """List the public methods of a client or of a group of endpoints."""
    found = ((name, getattr(owner, name)) for name in dir(owner) if not name.startswith("_") and name[-1] != "_")
    return [(name, value) for name, value in found if inspect.isroutine(value)]


def asyncio_sees(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # inspect has the same since Python 3.14
        return asyncio.iscoroutinefunction(function)


def test_every_method_has_its_name_and_signature(giga):
    owners = [giga, *(getattr(giga, name) for name in [*GROUPS, *ASYNC_GROUPS])]
    named = [pair for owner in owners for pair in methods(owner)] + [("chat", giga.chat), ("achat", giga.achat)]
    assert len(named) > 80
    for name, method in named:
        assert method.__name__ == name or (name, method.__name__) == ("list", "get_threads")
        assert "args" not in inspect.signature(method).parameters and "self" not in inspect.signature(method).parameters
        assert functools.wraps(method)(lambda: None).__name__ == method.__name__ and method.__doc__
    assert list(inspect.signature(giga.chat).parameters) == ["payload", "options"]
    assert inspect.signature(giga.achat) == inspect.signature(giga.chat)
    assert list(inspect.signature(giga.aembeddings).parameters) == ["texts", "model", "options"]


def test_awaited_names_are_coroutine_functions(giga):
    names = [pair for pair in methods(giga) if pair[0][0] == "a" and pair[0][1:] in dir(giga)] + [("achat", giga.achat)]
    names += [pair for group in ASYNC_GROUPS for pair in methods(getattr(giga, group))]
    assert len(names) > 40
    for name, method in names:
        awaited = "stream" not in name
        assert inspect.iscoroutinefunction(method) is awaited and asyncio_sees(method) is awaited, name
    for name, method in [("chat", giga.chat), *methods(giga.chat)]:
        assert not inspect.iscoroutinefunction(method), name


def retried_by_tenacity(ask):
    tenacity = pytest.importorskip("tenacity")
    return tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none(),
                          retry=tenacity.retry_if_exception_type(ServerError))(ask)


def retried_by_backoff(ask):
    backoff = pytest.importorskip("backoff")
    return backoff.on_exception(backoff.constant, ServerError, max_tries=3, interval=0, jitter=None)(ask)


@pytest.mark.parametrize("retried", [retried_by_tenacity, retried_by_backoff])
@pytest.mark.parametrize("kind", ["chat", "embeddings", "achat", "aembeddings"])
def test_calls_are_retried_by_other_libraries(retried, kind, server):
    running = server([reply(504), reply(504), reply(body=CHAT_BODY)])
    giga = new_client(base_url=running.url, access_token="t", max_retries=0)
    ask = retried(getattr(giga, kind))
    answer = asyncio.run(ask("?")) if kind.startswith("a") else ask("?")
    assert len(running.requests) == 3 and ("chat" not in kind or answer.text == CHAT_TEXT)


def test_asynchronous_names_call_a_stub(giga):
    giga.chat = giga.batches = giga.embeddings = lambda *args, **options: args
    giga.chat.create = giga.batches.get = lambda *args, **options: ("v2", *args)
    for ask, wanted in ((giga.achat, ("?",)), (giga.achat.create, ("v2", "?")), (giga.a_batches.get, ("v2", "?")),
                        (giga.aembeddings, ("?",))):
        assert asyncio.run(ask("?")) == wanted
