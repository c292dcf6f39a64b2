"""Hold streams to their ends: left, forgotten, closed, interrupted or out of time, they leave nothing held."""
from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
import traceback
import warnings

import pytest

from clients import crossed
from gigachat_lite import RequestTimeout, StreamError, TransportError
from gigachat_lite.limiter import ConcurrencyLimiter
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, STREAM_TEXTS, Answer, reply, sse, until
from streaming import EVENTS, FRAMINGS, ROADS, SOME, Worker, fails, held, new_client, read, roads

CHAT = reply(body=CHAT_BODY)
TWO_TEXTS = "".join(STREAM_TEXTS[:2])


@pytest.fixture
def client():
    with contextlib.ExitStack() as stack:
        yield lambda running=None, **settings: stack.enter_context(new_client(running, **settings))


@pytest.fixture
def open_road(server, proxy, certs, client):
    return roads(server, proxy, certs, client)


# Places: a stream that is left frees its own


def by_break(giga):
    for _ in giga.stream("x"):
        break


def by_close(giga):
    stream = giga.stream("x")
    next(stream)
    stream.close()
    stream.close()


def by_del(giga):
    stream = giga.stream("x")
    next(stream)
    del stream


def by_not_reading(giga):
    giga.stream("x")


def by_with(giga):
    with giga.stream("x") as stream:
        next(stream)


def by_generator(giga):
    def texts():
        for chunk in giga.stream("x"):
            yield chunk.choices[0].delta.content

    assert next(texts()) == STREAM_TEXTS[0]


def by_generator_with(giga):
    def texts():
        with giga.stream("x") as stream:
            for chunk in stream:
                yield chunk.choices[0].delta.content

    for text in texts():
        assert text == STREAM_TEXTS[0]
        break


def by_collector_only(giga):
    ring = {"stream": giga.stream("x")}
    ring["self"] = ring
    next(ring["stream"])
    del ring
    with warnings.catch_warnings():  # the collector may come to the socket before it comes to the stream
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def by_interrupt(giga):
    with pytest.raises(KeyboardInterrupt), giga.stream("x") as stream:
        for _ in stream:
            raise KeyboardInterrupt


def by_error_in_the_loop(giga):
    with contextlib.suppress(ZeroDivisionError):
        for _ in giga.stream("x"):
            raise ZeroDivisionError


def by_another_thread(giga):
    stream = giga.stream("x")
    Worker(lambda: (next(stream), stream.close())).result()


def by_next_with_a_default(giga):
    assert next(giga.stream("x"), None).choices


def by_forgetting_it_in_a_handler(giga):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        stream = giga.stream("x")
        next(stream)


def by_forgetting_it_after_an_error(giga):
    def ask():
        stream = giga.stream("x")
        for _ in stream:
            raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        ask()


WAYS_TO_LEAVE = [by_break, by_close, by_del, by_not_reading, by_with, by_generator, by_generator_with]
WAYS_TO_LEAVE += [by_collector_only, by_interrupt, by_error_in_the_loop, by_another_thread, by_next_with_a_default]
WAYS_TO_LEAVE += [by_forgetting_it_in_a_handler, by_forgetting_it_after_an_error]


def test_a_place_counts_for_the_thread_that_reads_and_not_for_the_one_that_opened_the_stream(server, client):
    gate = threading.Event()
    running = server([sse([EVENTS[0], gate, *EVENTS[1:]]), CHAT])
    giga = client(running, max_connections=1, pool_timeout=5)
    stream = giga.stream("x")
    next(stream)
    reader = Worker(lambda: read(stream))
    until(reader.is_reading)
    threading.Timer(0.1, gate.set).start()
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT  # waits for its turn instead of being refused
    assert reader.result() == "".join(STREAM_TEXTS[1:])


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE)
def test_a_stream_left_early_frees_its_place_and_its_connection(server, client, leave):
    running = server([held(EVENTS[:2]), CHAT])
    giga = client(running, max_connections=1, pool_timeout=5)
    gc.disable()  # nothing but by_collector_only is to need it
    try:
        leave(giga)
        assert giga.chat("x").choices[0].message.content == CHAT_TEXT
    finally:
        gc.enable()
    until(lambda: running.open == 1)
    assert running.connections == 2


@pytest.mark.parametrize("road", ["tls", "proxy"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_forgotten_stream_is_closed_on_every_road(open_road, road, framing):
    running, giga = open_road(road, [held(EVENTS[:2], framing), CHAT], max_connections=1)
    by_del(giga)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT
    until(lambda: running.open == 1)


def test_a_finalizer_takes_no_lock_of_the_pool(server, client):
    running = server([held(EVENTS[:2]), CHAT])
    giga = client(running, max_connections=1)
    streams = [giga.stream("x")]
    adapter = giga.transport.adapters[running.url + "/"]
    with adapter.poolmanager.connection_from_url(running.url).pool.mutex:
        Worker(streams.clear).result()
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


@contextlib.contextmanager
def on_alarm(handler):
    """Have a signal handled in the middle of what is done here."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_while_waiting_leaves_nothing_held(server, client):
    def interrupt(*_):
        raise KeyboardInterrupt

    running = server([held(EVENTS[:2]), CHAT])
    giga = client(running, max_connections=1, timeout=8)
    stream = giga.stream("x")
    with pytest.raises(KeyboardInterrupt), on_alarm(interrupt):
        list(stream)
    until(lambda: running.open == 0)
    with pytest.raises(StreamError):
        next(stream)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


def test_a_signal_handler_may_close_the_stream_that_it_interrupts(server, client):
    running = server([held(EVENTS[:2]), CHAT])
    giga = client(running, max_connections=1, timeout=8)
    stream = giga.stream("x")
    with on_alarm(lambda *_: stream.close()):
        assert fails(stream)[0] == TWO_TEXTS
    until(lambda: running.open == 0)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


def test_a_thread_that_holds_every_place_itself_gets_a_clear_error_at_once(server, client):
    running = server([sse(STREAM_BODY), sse(STREAM_BODY), CHAT])
    giga = client(running, max_connections=2, pool_timeout=8)
    one, two = giga.stream("x"), giga.stream("x")
    for call in (giga.chat, giga.stream, giga.embeddings):
        with pytest.raises(TransportError, match=r"of this thread.*max_connections=2.*stream\.close\(\)") as caught:
            call("x")
        assert not isinstance(caught.value, RequestTimeout)
        assert "Empty" not in "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert len(running.requests) == 2
    assert read(one) == read(two) == STREAM_TEXT and giga.chat("x")


@pytest.mark.parametrize("pool_timeout, deadline", [(0.05, None), (8, 0.05), (None, 0.05)])
def test_another_thread_waits_for_a_place_only_so_long(server, client, pool_timeout, deadline):
    giga = client(server([held(EVENTS[:1])]), max_connections=1, pool_timeout=pool_timeout)
    with giga.stream("x"), pytest.raises(RequestTimeout, match=r"max_connections.*pool_timeout"):
        Worker(lambda: giga.chat("x", deadline=deadline)).result()


def test_another_thread_gets_the_place_as_soon_as_the_stream_ends(server, client):
    running = server([held(EVENTS), CHAT])
    giga = client(running, max_connections=1, pool_timeout=8)
    stream = giga.stream("x")
    worker = Worker(lambda: giga.chat("x"))
    assert len(running.requests) == 1 and read(stream) == STREAM_TEXT
    assert worker.result().choices[0].message.content == CHAT_TEXT


def test_a_place_released_twice_is_one_place():
    limiter = ConcurrencyLimiter(1, timeout=0.05)
    place = limiter.acquire()
    for _ in range(3):
        place.release()
    other = limiter.acquire()
    with pytest.raises(RequestTimeout):
        limiter.acquire()
    place.release()
    with pytest.raises(RequestTimeout):
        limiter.acquire()
    del other
    limiter.acquire()


def test_a_stream_holds_nobody_up_who_asks_for_models_or_counts(server, client):
    counts, models = reply(body="[]"), reply(body={"data": []})
    giga = client(server([held(EVENTS[:1]), models, counts]), max_connections=1, pool_timeout=0.05)
    with giga.stream("x"):
        assert giga.get_models() == {"data": []} and giga.tokens_count(["x"]) == []


def test_no_more_streams_are_open_than_allowed(server, client):
    now, most, lock = [], [], threading.Lock()

    def count(request, connection):
        with lock:
            now.append(request)
            most.append(len(now))
        connection.play(Answer(sse(EVENTS[:-1]).steps[:-1]))
        with lock:
            now.remove(request)
        connection.play(Answer(sse(EVENTS[-1:]).steps[1:]))

    giga = client(server(count), max_connections=3)
    workers = [Worker(lambda: [read(giga.stream("x")) for _ in range(3)]) for _ in range(8)]
    assert all(worker.result() == [STREAM_TEXT] * 3 for worker in workers)
    assert len(most) == 24 and max(most) <= 3


# Closing from outside


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_closing_from_another_thread_ends_a_waiting_reader_at_once(open_road, road, framing):
    running, giga = open_road(road, [held(EVENTS[:2], framing), CHAT], max_connections=1, timeout=8)
    stream = giga.stream("x")
    reader = Worker(lambda: fails(stream))
    until(lambda: stream.text == TWO_TEXTS and reader.is_reading())
    stream.close()
    assert reader.result()[0] == TWO_TEXTS
    until(lambda: running.open == 0)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT and running.connections == 2


def test_a_second_reader_is_refused_and_the_first_goes_on(server, client):
    gate = threading.Event()
    stream = client(server(sse([*EVENTS[:2], gate, *EVENTS[2:]]))).stream("x")
    reader = Worker(lambda: list(stream))
    until(lambda: stream.text == TWO_TEXTS and reader.is_reading())
    with pytest.raises(StreamError, match="another thread") as caught:
        next(stream)
    gate.set()
    assert len(reader.result()) == 5 and stream.text == STREAM_TEXT and caught.value.partial == TWO_TEXTS


def test_a_stream_closed_by_anyone_gives_nothing_more(server, client):
    giga = client(server(sse([STREAM_BODY])))
    for close in (lambda stream: stream.close(), lambda stream: Worker(stream.close).result()):
        stream = giga.stream("x")
        assert next(stream).choices[0].delta.content == stream.text == STREAM_TEXTS[0]
        close(stream)
        for _ in range(2):
            with pytest.raises(StreamError) as caught:
                next(stream)
            assert caught.value.partial == stream.text == STREAM_TEXTS[0] and stream.completion is None


# Time


@pytest.mark.parametrize("road, framing", SOME)
def test_silence_in_mid_stream_is_a_timeout_with_what_came(open_road, road, framing):
    running, giga = open_road(road, [held(EVENTS[:2], framing), CHAT], max_connections=1)
    text, error = fails(giga.stream("x", timeout=(5, 0.08)), RequestTimeout)
    assert text == TWO_TEXTS and "0.08" in str(error)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT and len(running.requests) == 2


@crossed("road, framing", ROADS, FRAMINGS, often=lambda *row: row in SOME[1:])
def test_a_deadline_ends_a_stream_that_drips_on(open_road, road, framing):
    _, giga = open_road(road, [sse(EVENTS[:2] + [0.02, b": ping\n\n"] * 999, framing), CHAT], max_connections=1)
    began = time.monotonic()
    text, error = fails(giga.stream("x", deadline=0.15, timeout=8), RequestTimeout)
    assert 0.15 <= time.monotonic() - began < 3 and text == TWO_TEXTS and "deadline" in str(error)
    assert giga.chat("x").choices[0].message.content == CHAT_TEXT


def test_a_deadline_ends_a_body_that_drips_by_bytes(server, client):
    giga = client(server(sse(STREAM_BODY).drip(0.02, part="body")), timeout=8)
    with pytest.raises(RequestTimeout, match="deadline") as caught:
        read(giga.stream("x", deadline=0.1))
    assert caught.value.partial == ""


def test_a_deadline_ends_a_silent_stream(server, client):
    giga = client(server(held(EVENTS[:2])), timeout=8)
    text, error = fails(giga.stream("x", deadline=0.1), RequestTimeout)
    assert text == TWO_TEXTS and "deadline" in str(error)
