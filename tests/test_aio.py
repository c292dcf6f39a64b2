"""Test the asynchronous names: they do what the synchronous ones do, and however a call ends, nothing stays held."""
from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings

import pytest

import gigachat_lite
from clients import crossed, finish, new_client, start
from gigachat_lite import (
    AuthenticationError,
    Emulator,
    GigaChat,
    RateLimitError,
    RequestTimeout,
    StreamError,
    TransportError,
    aio,
    session_id_cvar,
)
from gigachat_lite.aio import AsyncStream
from gigachat_lite.aio_resources import (
    AsyncAssistantsResource,
    AsyncBatchesResource,
    AsyncThreadsResource,
)
from gigachat_lite.client import AsyncChatResource, ChatResource
from gigachat_lite.resources import AssistantsResource, BatchesResource, ThreadsResource
from servers import CHAT_BODY, CHAT_TEXT, STREAM_TEXT, STREAM_TEXTS, never, oauth_reply, reply, sse, until
from streaming import EVENTS, ROADS, held, roads

RESOURCES = [
    (ChatResource, AsyncChatResource), (BatchesResource, AsyncBatchesResource),
    (AssistantsResource, AsyncAssistantsResource), (ThreadsResource, AsyncThreadsResource),
]
GROUPS = {"chat": "achat", "batches": "a_batches", "assistants": "a_assistants", "threads": "a_threads"}
CHAT = reply(body=CHAT_BODY)
pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")


@pytest.fixture
def client():
    def make(running=None, **settings):
        given = {"access_token": "token", "timeout": 5, "max_connections": 1}
        if running is not None:
            given["base_url"] = running.url + "/api/v1"
        return new_client(**dict(given, **settings))

    return make


@pytest.fixture
def open_road(server, proxy, certs, client):
    return roads(server, proxy, certs, client)


def free(giga):
    """Tell whether no call holds a place of a client, or waits for one."""
    limiters = giga.transport.limiter, giga.transport.async_limiter
    return all(limiter.free.qsize() == limiter.size and not limiter.callbacks for limiter in limiters)


def threads():
    """Count the threads of asynchronous calls: their outermost function is one of aio.py."""
    count = 0
    for frame in list(sys._current_frames().values()):
        while frame.f_back is not None:
            frame = frame.f_back
        count += frame.f_code.co_filename == aio.__file__
    return count


def over(giga, running=None):
    """Check that no call of a client holds a place now, and that their threads and connections end on their own."""
    assert free(giga)
    until(lambda: threads() == 0)
    if running is not None:
        until(lambda: running.open == 0)


def text_of(chunk):
    return chunk.choices[0].delta.content


async def read(stream):
    """Join the text of a stream."""
    return "".join([text_of(chunk) async for chunk in stream])


async def soon(condition):
    """Wait, without holding the loop, for what a thread brings about."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


async def cancelled(task):
    """Cancel a task and wait until it is."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# The names


def methods(owner):
    """List the public methods of a class."""
    return {name: value for name, value in inspect.getmembers(owner, inspect.isfunction)
            if not name.startswith("_") or name == "__call__"}


def test_every_method_has_an_asynchronous_name():
    ours = methods(GigaChat)
    names = {name for name in ours if "a" + name in ours} - {"close"}
    assert len(names) == 18 and set(ours) == names | {"a" + name for name in names} | {"close", "aclose"}
    pairs = [(ours[name], ours["a" + name]) for name in names]
    for resource, its_async in RESOURCES:
        one, other = methods(resource), methods(its_async)
        assert set(one) == set(other)
        pairs += [(one[name], other[name]) for name in one]
    for one, other in pairs:
        assert inspect.signature(one) == inspect.signature(other) and one.__doc__ == other.__doc__
        assert "stream" in one.__name__ or inspect.iscoroutinefunction(other)
    giga = new_client(access_token="t")
    assert all(hasattr(giga, name) for pair in GROUPS.items() for name in pair)
    assert GigaChat.aembeddings.__qualname__ == "GigaChat.aembeddings"
    assert gigachat_lite.GigaChatAsyncClient is gigachat_lite.GigaChatSyncClient is GigaChat


def weather(city: str) -> str:
    """Погода в городе."""
    return f"{city}: +20"


@dataclasses.dataclass
class Reply:
    text: str


def everything(path):
    """Yield every call there is, as its name and arguments; some need an answer of those before."""
    yield ("get_token",)
    yield "chat", "Привет"
    yield "stream", "Расскажи о Байкале"
    yield "chat_parse", "Кто ты?", {"response_format": Reply}
    yield "run_functions", "Погода в Москве?", [weather]
    yield "embeddings", ["раз", "два"]
    yield ("get_models",)
    yield "get_model", "GigaChat"
    yield "tokens_count", ["раз", "два"]
    yield ("get_balance",)
    yield "check_ai", "слово " * 30, "GigaCheckDetection"
    yield "openapi_function_convert", '{"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {}}'
    yield "validate_function", weather
    file = yield "upload_file", ("кот.txt", "Кот сидит на окне.".encode())
    yield "get_file", file.id_
    yield ("get_files",)
    yield "get_image", file.id_
    yield "download_file", file.id_, str(path)
    yield "delete_file", file.id_
    yield "chat.create", "Привет"
    yield "chat.stream", "Расскажи о Байкале"
    yield "chat.parse", "Кто ты?", {"response_format": Reply}
    yield "chat.run_functions", "Погода в Москве?", [weather]
    batch = yield "batches.create", ["Привет"]
    for _ in range(3):
        yield "batches.get", batch.id_
    yield ("batches.list",)
    yield "batches.results", batch.id_
    made = yield "assistants.create", "GigaChat", "имя"
    yield ("assistants.get",)
    yield "assistants.update", made.assistant_id, "другое"
    yield "assistants.delete_file", made.assistant_id, "нет"
    yield "assistants.delete", made.assistant_id
    thread = yield ("threads.create_thread",)
    yield ("threads.get_threads",)
    yield ("threads.list",)
    yield "threads.retrieve", [thread]
    yield "threads.add_message", thread, "Привет"
    yield "threads.add_messages", thread, ["Привет"]
    yield "threads.get_messages", thread
    yield "threads.run", thread
    yield "threads.get_run", thread
    yield "threads.run_stream", thread
    yield "threads.run_messages", ["Привет"], thread
    yield "threads.rerun_messages", thread
    yield "threads.run_messages_stream", ["Привет"], thread
    yield "threads.rerun_messages_stream", thread
    yield "threads.delete", thread


async def do_all(giga, path, is_async):
    """Do every call by its synchronous or its asynchronous name, and return the results by name."""
    script, result, results = everything(path), None, {}
    with contextlib.suppress(StopIteration):
        while True:
            name, *args = script.send(result)
            options = args.pop() if isinstance(args[-1:] and args[-1], dict) else {}
            group, _, last = name.rpartition(".")
            owner = getattr(giga, GROUPS[group] if is_async else group) if group else giga
            try:
                result = getattr(owner, last if group or not is_async else "a" + last)(*args, **options)
                if "stream" in name:
                    chunks = [chunk async for chunk in result] if is_async else list(result)
                    results[name] = chunks, result.completion, result.text, result.finish_reason, result.usage
                else:
                    result = results[name] = await result if is_async else result
            except gigachat_lite.GigaChatException as error:
                result = results[name] = error
    return results


def plain(value):
    """Write a result without what differs from call to call."""
    text = repr((type(value), value, str(value)))
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"\b1[0-9]{9}([0-9]{3})?\b|127\.0\.0\.1:\d+|\d{2}:\d{2}:\d{2}", "N", text)


def test_asynchronous_names_give_what_their_methods_give(tmp_path):
    with Emulator(scope="GIGACHAT_API_CORP") as one, Emulator(scope="GIGACHAT_API_CORP") as other:
        sync = asyncio.run(do_all(new_client(**one.config), tmp_path / "a", False))
        results = asyncio.run(do_all(new_client(**other.config), tmp_path / "a", True))
        assert len(one.requests) == len(other.requests)
    names = {name for name in methods(GigaChat) if "a" + name in methods(GigaChat)} - {"close"}
    groups = [(group, resource) for group, (resource, _) in zip(GROUPS, RESOURCES)]
    names |= {f"{group}.{name}".replace(".__call__", "") for group, owner in groups for name in methods(owner)}
    assert set(sync) == set(results) == names
    assert {name: plain(value) for name, value in results.items()} == {
        name: plain(value) for name, value in sync.items()}
    failed = [name for name, value in results.items() if isinstance(value, Exception)]
    assert len(failed) < 6, failed


def test_a_subclass_may_have_a_method_of_its_own(server):
    class Loud(GigaChat):
        def embeddings(self, texts, **options):
            return [text.upper() for text in texts]

    with Loud(access_token="t", env_file=False, environ={}) as giga:
        assert asyncio.run(giga.aembeddings(["да"])) == ["ДА"]


def test_synchronous_programs_do_not_import_asyncio():
    code = "import sys, gigachat_lite\nwith gigachat_lite.GigaChat(access_token='t', env_file=False): pass\n"
    code += "assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=20, env={
        **os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(gigachat_lite.__file__))})


# Where the work is done


def test_headers_and_functions_see_the_callers_context(api, client):
    running = api(CHAT)

    async def ask(giga, name):
        session_id_cvar.set(name)
        await giga.achat("x")
        stream = giga.astream("x")
        session_id_cvar.set("later")
        with contextlib.suppress(gigachat_lite.GigaChatException):
            await stream.__anext__()

    async def main():
        giga = client(running, max_connections=3)
        await asyncio.gather(*[ask(giga, name) for name in "abc"])

    asyncio.run(main())
    assert sorted(request.headers["X-Session-ID"] for request in running.calls) == sorted("aabbcc")


def test_python_functions_run_in_the_calls_thread():
    seen = []

    def look(city: str) -> str:
        """Погода в городе."""
        seen.append((threading.get_ident(), session_id_cvar.get()))
        raise StopIteration

    async def late(city: str) -> str:
        """Never called."""

    async def main(emulator):
        async with new_client(**emulator.config) as giga:
            session_id_cvar.set("s")
            with pytest.raises(TypeError, match="async"):
                await giga.arun_functions("Погода в Москве?", [late])
            with pytest.raises(RuntimeError, match="StopIteration"):
                await giga.arun_functions("Погода в Москве?", [look], on_error="raise")
            run = await giga.achat.run_functions("Погода в Москве?", [weather])
            assert "+20" in str(run.messages)

    with Emulator() as emulator:
        asyncio.run(main(emulator))
    assert len(seen) == 1 and seen[0][0] != threading.get_ident() and seen[0][1] == "s"


def test_each_call_has_a_thread_until_it_ends(server, client):
    gate = threading.Event()
    running = server(CHAT.after(gate))

    async def main():
        async with client(running, max_connections=3) as giga:
            tasks = [asyncio.ensure_future(giga.achat("x")) for _ in range(10)]
            await soon(lambda: len(running.requests) == 3)
            assert threads() == 3
            lists = [asyncio.ensure_future(giga.aget_models()) for _ in range(20)]  # not counted, and not held up
            await soon(lambda: len(running.requests) == 3 + 16)
            assert threads() == 19
            gate.set()
            assert [(await task).text for task in tasks] == [CHAT_TEXT] * 10
            await asyncio.gather(*lists)
            over(giga)
            names = {thread.name for thread in threading.enumerate()}
            assert not [name for name in names if name.startswith(("asyncio", "ThreadPool"))]

    asyncio.run(main())
    assert len(running.requests) == 30


# Waiting for a place


@pytest.mark.parametrize("kind", ["call", pytest.param("embeddings", marks=pytest.mark.long), "stream"])
@pytest.mark.parametrize("pool_timeout, deadline", [  # collecting garbage may take 0.1 s of these
    (0.3, None), (None, 0.3), pytest.param(1000, 0.3, marks=pytest.mark.long)])
def test_a_task_waits_no_longer_than_allowed(server, client, kind, pool_timeout, deadline):
    running = server(held(EVENTS[:1]))
    giga = client(running, pool_timeout=pool_timeout)
    options = {"deadline": deadline} if deadline else {}

    async def main():
        async with giga.astream("x") as stream:
            await stream.__anext__()
            ask = {"call": giga.achat, "embeddings": giga.aembeddings, "stream": giga.astream}[kind]("x", **options)
            waiting, ticks = asyncio.ensure_future(read(ask) if kind == "stream" else ask), 0
            while not waiting.done():
                await asyncio.sleep(0.001)
                ticks += 1
            assert ticks > 3  # the loop was not held
            with pytest.raises(RequestTimeout, match="other tasks hold them .*max_connections=1; pool_timeout="):
                await waiting
        over(giga, running)
        assert len(running.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_a_waiting_call_does_not_hold_a_stream_up(server, client, kind):
    gate = threading.Event()
    running = server([sse([EVENTS[0], gate, *EVENTS[1:]]), CHAT if kind == "call" else sse(EVENTS)])
    giga = client(running)

    async def main():
        async with giga.astream("x") as stream:
            text = text_of(await stream.__anext__())
            work = giga.achat("x") if kind == "call" else read(giga.astream("x"))
            waiting = asyncio.ensure_future(work)
            await soon(lambda: giga.transport.limiter.callbacks)
            assert len(running.requests) == 1
            gate.set()
            assert text + await read(stream) == STREAM_TEXT
            answer = await waiting
        assert answer == STREAM_TEXT if kind == "stream" else answer.text == CHAT_TEXT
        over(giga)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["call", pytest.param("stream", marks=pytest.mark.long)])
def test_waiting_for_a_stream_of_ones_own_is_refused(server, client, kind):
    running = server([held(EVENTS[:1]), CHAT])
    giga = client(running, pool_timeout=2)

    async def main():
        stream = giga.astream("x")
        await stream.__anext__()
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"streams of this task hold every place .*await stream\.aclose\(\)"):
            await (giga.achat("x") if kind == "call" else read(giga.astream("x")))
        assert time.monotonic() - began < 4 and len(running.requests) == 1
        await stream.aclose()
        assert (await giga.achat("x")).text == CHAT_TEXT

    asyncio.run(main())
    over(giga)


@pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])
def test_a_forgotten_stream_keeps_no_task_waiting(server, client, kind):
    running = server([held(EVENTS[:1]), CHAT])
    giga = client(running, pool_timeout=2)

    async def leave():
        ring = {"stream": giga.stream("x") if kind == "synchronous" else giga.astream("x")}
        ring["self"] = ring
        if kind == "synchronous":
            next(ring["stream"])
        else:
            await ring["stream"].__anext__()

    async def main():
        await asyncio.ensure_future(leave())
        assert (await giga.achat("x")).text == CHAT_TEXT

    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the collector may come to the socket first
            asyncio.run(main())
    finally:
        gc.enable()


def test_a_deadline_counts_from_the_call(server, client):
    gates = [threading.Event(), threading.Event()]
    running = server([CHAT.after(gates[0]), CHAT.after(gates[1])])

    async def main():
        giga = client(running)
        first = asyncio.ensure_future(giga.achat("x"))
        await soon(lambda: running.requests)
        began = time.monotonic()
        second = asyncio.ensure_future(giga.achat("x", deadline=0.4))
        await asyncio.sleep(0.3)
        gates[0].set()
        await first
        with pytest.raises(RequestTimeout):
            await second
        assert 0.39 < time.monotonic() - began < 0.65  # from its turn on it would be 0.7
        over(giga)

    asyncio.run(main())


# Ends


async def by_break(giga):
    async for chunk in giga.astream("x"):
        assert text_of(chunk) == STREAM_TEXTS[0]
        break


async def by_with(giga):
    async with giga.astream("x") as stream:
        await stream.__anext__()


async def by_aclose(giga):
    stream = giga.astream("x")
    await stream.__anext__()
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StreamError, match="closed before its end") as caught:
        await stream.__anext__()
    assert caught.value.partial == STREAM_TEXTS[0] == stream.text and stream.completion is None


async def by_aclose_in_another_task(giga):
    stream = giga.astream("x")
    await stream.__anext__()
    reading = asyncio.ensure_future(stream.__anext__())
    await asyncio.sleep(0.01)
    with pytest.raises(StreamError, match="another task"):
        await stream.__anext__()
    await stream.aclose()
    with pytest.raises(StreamError, match="closed before its end"):
        await reading


async def by_cancelling(giga):
    async def run():
        async for _ in giga.astream("x"):
            seen.append(1)

    seen = []
    task = asyncio.ensure_future(run())
    await soon(lambda: seen)
    await cancelled(task)


async def by_timeout(giga):
    stream = giga.astream("x")
    await stream.__anext__()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stream.__anext__(), 0.01)


async def by_an_error_in_the_loop(giga):
    with contextlib.suppress(ZeroDivisionError):
        async for _ in giga.astream("x"):
            raise ZeroDivisionError
    gc.collect()


async def by_del(giga):
    stream = giga.astream("x")
    await stream.__anext__()
    del stream


async def by_the_collector(giga):
    ring = {"stream": giga.astream("x")}
    ring["self"] = ring
    await ring["stream"].__anext__()
    del ring
    gc.collect()


WAYS = [by_break, by_with, by_aclose, by_aclose_in_another_task, by_cancelling, by_timeout, by_an_error_in_the_loop]
WAYS += [by_del, by_the_collector]


@pytest.mark.parametrize("road, leave", [("plain", leave) for leave in WAYS] + [
    pytest.param(road, leave, marks=[pytest.mark.long] if leave is by_break else [])
    for road in ROADS[1:] for leave in (by_break, by_aclose_in_another_task, by_cancelling)])
def test_a_stream_left_frees_its_place_at_once(open_road, road, leave):
    running, giga = open_road(road, [held(EVENTS[:1]), CHAT], max_connections=1, pool_timeout=5)

    async def main():
        await leave(giga)
        assert free(giga)
        assert (await giga.achat("x")).text == CHAT_TEXT
        assert free(giga)

    asyncio.run(main())
    until(lambda: running.open <= 1)
    giga.close()
    over(giga, running)


def oauth_answer(request, connection):
    return oauth_reply("fresh")


def half(request, connection):
    connection.send(reply(body=CHAT_BODY).wire[:-9])
    connection.hold()


# What the server does with the call, further settings, and what tells that the call has come so far
STAGES = {
    "connecting": ([CHAT], {"greet": ["stall"]}, lambda running: running.connections),
    "before the headers": ([never(), CHAT], {}, lambda running: running.calls),
    "in the body": ([half, CHAT], {}, lambda running: running.calls),
    "in a pause": ([reply(503, headers={"Retry-After": 50}), CHAT], {}, lambda running: running.calls),
    "fetching a token": ([CHAT], {"oauth": [never(), oauth_answer]}, lambda running: running.oauth_calls),
}


@crossed("stage, kind", STAGES, ["call", "stream", "timeout"], often=lambda stage, kind: (
    kind == "call" or stage == "before the headers" or (stage, kind) == ("in the body", "stream")))
def test_a_cancelled_call_frees_its_place_at_once(api, client, stage, kind):
    script, options, come = STAGES[stage]
    running = api(script, **options)
    settings = {"base_url": "https" + running.base_url[4:], "timeout": (0.6, 5)} if stage == "connecting" else {}
    if stage == "fetching a token":
        settings = {"access_token": None, "client_id": "a", "client_secret": "b", "auth_url": running.auth_url}
    giga, paused, go_on = client(running, **settings), [], threading.Event()
    giga.transport.sleep = lambda seconds: paused.append(seconds) or go_on.wait(5)

    async def main():
        work = read(giga.astream("x")) if kind == "stream" else giga.achat("x")
        task = asyncio.ensure_future(asyncio.wait_for(work, 0.1) if kind == "timeout" else work)
        await soon(lambda: paused if stage == "in a pause" else come(running))
        began = time.monotonic()
        if kind == "timeout":
            with pytest.raises(asyncio.TimeoutError):
                await task
        else:
            await cancelled(task)
        assert time.monotonic() - began < 0.4 and free(giga)
        if stage == "fetching a token":
            go_on.set()
            running.hang_up()  # other calls would wait for this fetch too
        if stage != "connecting":
            assert (await giga.achat("x")).text == CHAT_TEXT

    asyncio.run(main())
    giga.close()
    sent = running.connections, len(running.requests)
    go_on.set()
    running.hang_up()  # else the thread would wait for its timeout
    over(giga, running)
    assert (running.connections, len(running.requests)) == sent


@pytest.mark.parametrize("kind", ["call", "stream", "uncounted"])
def test_a_call_cancelled_in_line_is_never_sent(server, client, kind):
    running = server(never())
    giga = client(running)
    limiter = giga.transport.async_limiter if kind == "uncounted" else giga.transport.limiter

    async def main():
        ask = giga.aget_models if kind == "uncounted" else lambda: giga.achat("x")
        before = [asyncio.ensure_future(ask()) for _ in range(limiter.size)]
        await soon(lambda: len(running.requests) == limiter.size)
        task = asyncio.ensure_future(read(giga.astream("x")) if kind == "stream" else ask())
        await soon(lambda: len(limiter.callbacks) == 1)
        await cancelled(task)
        assert not limiter.callbacks and len(running.requests) == limiter.size
        for one in before:
            await cancelled(one)
        assert free(giga)

    asyncio.run(main())
    running.hang_up()
    over(giga, running)
    assert len(running.requests) == limiter.size


def test_a_waiting_task_that_is_cancelled_keeps_nobody_waiting(server, client):
    gate = threading.Event()
    running = server([CHAT.after(gate), CHAT])
    giga = client(running)

    async def main():
        first, second, third = [asyncio.ensure_future(giga.achat("x")) for _ in range(3)]
        await soon(lambda: running.requests and len(giga.transport.limiter.callbacks) == 2)
        second.cancel()
        gate.set()
        await first
        assert (await asyncio.wait_for(third, 3)).text == CHAT_TEXT
        assert second.cancelled() and len(running.requests) == 2
        over(giga)

    asyncio.run(main())


def test_a_stream_closed_in_line_is_never_sent(server, client):
    running = server(held(EVENTS[:1]))
    giga = client(running, pool_timeout=5)

    async def main():
        async with giga.astream("x") as stream:
            await stream.__anext__()
            other = giga.astream("x")
            waiting = asyncio.ensure_future(other.__anext__())
            await soon(lambda: giga.transport.limiter.callbacks)
            await other.aclose()
        with pytest.raises(StreamError, match="closed before its end"):
            await asyncio.wait_for(waiting, 1)
        over(giga, running)
        assert len(running.requests) == 1

    asyncio.run(main())


# Closed loops


@pytest.mark.parametrize("work", ["call", "held stream", "task", "in line"])
def test_calls_of_a_closed_loop_end(server, client, work):
    running = server([held(EVENTS[:1]), sse(EVENTS), CHAT])
    giga, kept = client(running), []

    async def begin():
        kept.append(giga.astream("x"))
        await kept[0].__anext__()
        if work == "in line":
            kept.append(asyncio.ensure_future(giga.achat("x")))
            await soon(lambda: giga.transport.limiter.callbacks)
        elif work == "task":
            kept.append(asyncio.ensure_future(kept[0].__anext__()))
            await asyncio.sleep(0.01)

    async def ask():
        kept.append(asyncio.ensure_future(giga.achat("x")))
        await soon(lambda: running.requests)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask() if work == "call" else begin())
    assert not free(giga)
    loop.set_exception_handler(lambda loop, context: None)  # of tasks that are destroyed
    loop.close()
    running.hang_up()  # what nobody cancelled ends with its answer, a stream with its next event
    limiter = giga.transport.limiter
    until(lambda: limiter.free.qsize() == limiter.size, 1)
    until(lambda: threads() == running.open == 0)
    asyncio.run(still_works(giga))


async def still_works(giga):
    """Check that a call waits for an open stream, and is answered after it."""
    async with giga.astream("x") as stream:
        task = asyncio.ensure_future(giga.achat("x"))
        await asyncio.sleep(0.01)
        assert await read(stream) == STREAM_TEXT
        assert (await asyncio.wait_for(task, 3)).text == CHAT_TEXT


@pytest.mark.parametrize("work", ["waiting for its place", "waiting for its answer", "reading"])
def test_the_end_of_asyncio_run_ends_what_is_pending(server, client, work):
    running = server(never() if work == "waiting for its answer" else held(EVENTS[:1]))
    giga, tasks = client(running), []

    async def main():
        if work != "waiting for its answer":
            stream = giga.astream("x")
            await stream.__anext__()
            tasks.append(asyncio.ensure_future(stream.__anext__()))
        if work != "reading":
            tasks.append(asyncio.ensure_future(giga.achat("x")))
        await soon(lambda: giga.transport.limiter.callbacks if work == "waiting for its place" else running.requests)
        await asyncio.sleep(0.01)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 2 and all(task.cancelled() for task in tasks)
    assert free(giga) and len(running.requests) == 1
    running.hang_up()
    over(giga, running)


# Streams


def test_a_stream_says_what_a_synchronous_one_says(server, client):
    running = server(sse(EVENTS))
    giga = client(running)

    async def main():
        stream = giga.astream("x")
        assert (stream.text, stream.completion, stream.usage, stream.x_headers) == ("", None, None, {})
        seen = []
        stream.tap(seen.append)
        assert [text_of(chunk) async for chunk in stream] == list(STREAM_TEXTS)
        assert free(giga)
        assert [chunk async for chunk in stream] == []
        assert b"".join(seen).count(b"data:") == 6
        async with giga.astream("x") as other:
            assert len(running.requests) == 2
            assert await read(other) == STREAM_TEXT == other.text
        assert [chunk async for chunk in other] == []
        assert stream.completion == other.completion and stream.x_headers == other.x_headers
        assert stream.usage.total_tokens == 59 and stream.finish_reason == "stop"
        assert "another" not in str(giga) and isinstance(stream, AsyncStream)

    asyncio.run(main())
    assert running.connections == 1  # each was given back


def test_errors_come_where_they_are_met_and_stay(server, client):
    cut = sse([*EVENTS[:2], b'data: {"status": 429, "message": "Too many"}\n\n'])
    running = server([sse(EVENTS[:3]), cut, reply(401), reply(401), held(EVENTS[:1])])
    giga = client(running)

    async def fails(stream, kind, partial):
        got = []
        for _ in range(3):
            with pytest.raises(kind) as caught:
                async for chunk in stream:
                    got.append(text_of(chunk))
            assert type(caught.value) is kind and getattr(caught.value, "partial", None) == partial
        assert free(giga) and "".join(got) == (partial or "")

    async def main():
        await fails(giga.astream("x"), StreamError, "".join(STREAM_TEXTS[:3]))
        await fails(giga.astream("x"), RateLimitError, "".join(STREAM_TEXTS[:2]))
        with pytest.raises(AuthenticationError):
            async with giga.astream("x"):
                pass
        with pytest.raises(AuthenticationError):
            await giga.achat("x")
        await fails(giga.astream("x", deadline=0.1), RequestTimeout, STREAM_TEXTS[0])
        with pytest.raises(TypeError, match="no such option"):
            await giga.achat("x", temperature=1)
        with pytest.raises(gigachat_lite.ConfigurationError, match="deadline"):
            await giga.achat("x", deadline="soon")
        assert free(giga)

    asyncio.run(main())


def test_a_slow_consumer_slows_the_reader_down(server, client):
    count, sent = 40000, []
    piece = EVENTS[1] * 20

    def flood(request, connection):
        connection.send(sse([]).head.replace(b"Transfer-Encoding: chunked", b"Connection: close"))
        for _ in range(count // 20):
            connection.send(piece)
            sent.append(20)
        connection.send(EVENTS[4] + EVENTS[5])
        connection.close()

    running = server(flood)
    giga = client(running)

    async def main():
        stream = giga.astream("x")
        await stream.__anext__()
        before = -1
        while len(sent) != before:  # until the server waits
            before = len(sent)
            await asyncio.sleep(0.1)
        assert sum(sent) < count
        size = 1
        async for _ in stream:
            size += 1
        assert size == count + 1 and stream.finish_reason == "stop"

    asyncio.run(main())
    assert sum(sent) == count
    over(giga, running)


# Loops, processes


def test_one_client_serves_several_loops(server, client):
    running = server(lambda request, connection: sse(EVENTS) if b'"stream"' in request.body else CHAT)
    giga = client(running, max_connections=4, pool_timeout=10)

    async def main():
        texts = await asyncio.gather(*[read(giga.astream("x")) for _ in range(5)], giga.achat("x"))
        return [*texts[:5], texts[5].text]

    expected = [STREAM_TEXT] * 5 + [CHAT_TEXT]
    for _ in range(3):
        assert asyncio.run(main()) == expected
    assert finish(*[start(lambda: asyncio.run(main())) for _ in range(5)]) == [expected] * 5
    over(giga)


def test_a_client_can_be_pickled_and_used_after_aclose(server, client):
    running = server(CHAT)
    giga = client(running)

    async def main():
        async with giga:
            await giga.achat("x")
            other = pickle.loads(pickle.dumps(giga))
        await giga.achat("x")
        async with other:
            return (await other.achat("x")).text

    assert asyncio.run(main()) == CHAT_TEXT


def test_no_thread_keeps_the_process_alive(server):
    running = server(held(EVENTS[:1]))
    code = """if True:
        import asyncio, sys
        from gigachat_lite import GigaChat
        giga, kept = GigaChat(base_url=sys.argv[1], access_token="t", env_file=False, max_connections=4), []

        async def main():
            kept.append(giga.astream("x"))
            await kept[0].__anext__()
            kept.append(asyncio.ensure_future(giga.achat("x")))
            await asyncio.sleep(0.1)

        asyncio.run(main())
        print("ended")
    """
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, running.url + "/api/v1"]
    environ = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(gigachat_lite.__file__))}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True, timeout=10)
    assert done.stdout.strip() == b"ended"
