"""asyncio: calls and streams of the synchronous client, each run in a daemon thread of its own.

A call takes its place of the client's limiter in the event loop, without a thread; its thread then runs the synchronous
method with that place. Cancelling a call frees the place at once; its thread may go on until the read timeout, and
sends nothing more.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import contextvars
import functools
import math
import queue
import time
from collections import deque
from typing import Any, Callable, Deque, Generic, Mapping, NoReturn

from .exceptions import StreamError
from .limiter import CancelToken, ConcurrencyLimiter, Place, cancel_token
from .sse import C, U, W
from .transport import Transport

READ_AHEAD = 256  # events that a thread may be ahead of the loop
CLOSED = "the stream was closed before its end"


async def acquire(limiter: ConcurrencyLimiter, until: float | None, task: Any) -> Place:
    """Take a place of the limiter for a task, waiting without a thread."""
    loop, end = asyncio.get_running_loop(), limiter.end_of_wait(until)
    while not (limiter.take() or limiter.collect_garbage_and_take()):
        limiter.check_owner(task, "task")
        left = 1.0 if end is None else end - time.monotonic()
        if left <= 0:
            limiter.check_owner(task, "task", 0.0)
            raise limiter.timed_out("tasks")
        waiter = loop.create_future()
        wake = functools.partial(_wake, loop, waiter)
        limiter.callbacks.append(wake)
        timer = loop.call_later(min(left, 1.0), _set_result, waiter)  # an open stream may become garbage meanwhile
        try:
            if limiter.free.empty():  # else a place came free before there was a callback
                await waiter
        except BaseException:
            if wake not in limiter.callbacks:
                limiter.notify()  # for the next one in line
            raise
        finally:
            with contextlib.suppress(ValueError):
                limiter.callbacks.remove(wake)
            timer.cancel()
    return Place(limiter)


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: Any = None) -> bool:
    """Settle a future from any thread; False where its loop is closed."""
    try:
        loop.call_soon_threadsafe(_set_result, future, result)
    except RuntimeError:
        return False
    return True


def _set_result(future: asyncio.Future[Any], result: Any = None) -> None:
    if not future.done():
        future.set_result(result)


def _start_thread(context: contextvars.Context, token: CancelToken, work: Callable[..., Any], *args: Any) -> None:
    """Run work in a daemon thread, in a caller's context; Thread.start() would block the loop until it runs."""
    context.run(cancel_token.set, token)
    _thread.start_new_thread(functools.partial(context.run, work), args)


def _call_with_deadline(method: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], until: float | None) -> Any:
    """Call a method, with a deadline less what was spent waiting."""
    more = {} if until is None else {"deadline": max(until - time.monotonic(), 1e-6)}
    return method(*args, **{**kwargs, **more})


async def run_in_thread(
    transport: Transport, method: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], limited: bool
) -> Any:
    """Call a method in a thread, and return what it returns."""
    transport.check_process()
    loop, until = asyncio.get_running_loop(), transport.until(kwargs.get("deadline"))
    limiter = transport.limiter if limited else transport.async_limiter
    place = await acquire(limiter, until, asyncio.current_task())
    token, future = CancelToken(place if limited else None), loop.create_future()

    def work() -> None:
        result = error = None
        try:
            result = _call_with_deadline(method, args, kwargs, until)
        except BaseException as exc:
            error = exc
        _wake(loop, future, (result, error))
        error = None  # whose traceback leads back here

    try:
        _start_thread(contextvars.copy_context(), token, work)
        result, error = await future
        if error is not None:
            raise error
        return result
    finally:
        token.cancel()
        place.release()


class _StreamThread:
    """The thread's side of an AsyncStream: reads the stream, and wakes the loop before each wait for the network."""

    def __init__(self, loop: asyncio.AbstractEventLoop, place: Place) -> None:
        self.loop, self.place = loop, place
        self.events: Deque[Any] = deque()
        self.stream: Any = None
        self.error: BaseException | None = None
        self.finished = self.paused = False
        self.token = CancelToken(place)
        self.waiter: asyncio.Future[None] | None = None
        self.resume: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self, open_stream: Callable[[], Any], tap: Callable[[bytes], object] | None) -> None:
        """Read the stream to its end."""
        try:
            with open_stream() as stream:
                stream.before_read(self.before_read)
                if tap is not None:
                    stream.tap(tap)
                self.stream = stream
                self.events.extend(stream)
        except BaseException as exc:
            self.error = exc
        self.finished = True
        self.wake()

    def before_read(self) -> None:
        """Wake the loop, and wait where it is far behind."""
        self.wake()
        self.paused = True
        while len(self.events) > READ_AHEAD and not (self.loop.is_closed() or self.token.cancelled):
            with contextlib.suppress(queue.Empty):
                self.resume.get(timeout=1.0)
        self.paused = False
        if self.loop.is_closed():
            self.token.cancel()
        self.token.check()

    def wake(self) -> None:
        """Let the loop look at what is there."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            _wake(self.loop, waiter)

    def stop(self) -> None:
        """Cancel the stream, from any thread, also in a finalizer."""
        self.token.cancel()
        if self.stream is not None and not self.finished:
            self.stream.interrupt()
        self.resume.put(None)
        self.wake()


def _of_stream(name: str, default: Any, doc: str) -> Any:
    return property(lambda self: getattr(self._thread and self._thread.stream, name, default), doc=doc)


class AsyncStream(Generic[C, W, U]):
    """The events of a streamed answer, each as it arrives: an asynchronous iterator and context manager.

    The request is sent by the first step, or by ``async with``, which raises what goes wrong before the beginning.
    ``.text``, ``.finish_reason`` and ``.usage`` are of what has arrived, at most some hundred events ahead of the loop;
    ``.completion`` is the whole answer, once its end was seen. An early end is an error with ``.partial``. Leaving the
    loop, ``aclose()`` and a cancelled task end the stream and free its place at once; so does a closed event loop, with
    the next event.
    """

    text: str = _of_stream("text", "", "The text of the first choice, as far as it has come.")
    finish_reason: str | None = _of_stream("finish_reason", None, "Why the first choice ended, None before it has.")
    usage: U = _of_stream("usage", None, "The tokens used, None before they are told.")
    completion: W = _of_stream("completion", None, "The whole answer, None before its end.")
    x_headers: dict[str, str | None] = _of_stream("x_headers", {}, "The ids of the answer, once it has begun.")

    def __init__(self, transport: Transport, method: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._transport = transport
        self._open = functools.partial(_call_with_deadline, method, args, kwargs)
        self._deadline = kwargs.get("deadline")
        self._context = contextvars.copy_context()
        self._tap: Callable[[bytes], object] | None = None
        self._thread: _StreamThread | None = None
        self._waiting = self._closed = False

    def __aiter__(self) -> AsyncStream[C, W, U]:
        return self

    async def __anext__(self) -> C:
        thread = self._thread
        if thread is None or not thread.events:
            thread = await self._wait(lambda thread: thread.events or thread.finished)
        if not thread.events or self._closed:
            self._raise_ending(thread)
        event: C = thread.events.popleft()
        if thread.paused and len(thread.events) <= READ_AHEAD // 2:
            thread.resume.put(None)
        return event

    async def __aenter__(self) -> AsyncStream[C, W, U]:
        thread = await self._wait(lambda thread: thread.stream is not None or thread.finished)
        if thread.stream is None:
            self._raise_ending(thread)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    async def aclose(self) -> None:
        """End the stream and free its place; a task that waits for its next event gets StreamError."""
        thread = self._thread
        self._closed = self._closed or thread is None or bool(thread.events) or not thread.finished
        if thread is not None:
            thread.events.clear()
            thread.stop()

    def tap(self, write: Callable[[bytes], object]) -> None:
        """Hand the bytes to ``write`` too, as ``Stream.tap`` does, in the thread; before the first step."""
        self._tap = write

    async def _wait(self, ready: Callable[[_StreamThread], Any]) -> _StreamThread:
        """Wait until the thread has brought something about; what ends the wait early ends the stream."""
        if self._waiting:
            raise StreamError("another task is reading this stream")
        if self._closed and self._thread is None:
            raise StreamError(CLOSED)
        self._waiting = True
        try:
            thread = self._thread or await self._start()
            thread.place.reader[:] = asyncio.current_task(), math.inf
            while not ready(thread) and not self._closed:
                waiter = thread.waiter = thread.loop.create_future()
                if not ready(thread):  # it may have come before there was a waiter
                    await waiter
            return thread
        except BaseException:
            if self._thread is not None:
                self._thread.stop()
                self._closed = True
            raise
        finally:
            self._waiting = False
            if self._thread is not None:
                self._thread.place.reader[1] = time.monotonic()

    async def _start(self) -> _StreamThread:
        """Send the request."""
        self._transport.check_process()
        until, limiter = self._transport.until(self._deadline), self._transport.limiter
        place = await acquire(limiter, until, asyncio.current_task())
        if self._closed:
            place.release()
            raise StreamError(CLOSED)
        place.of_task = True
        limiter.streams[id(place)] = place.reader
        thread = self._thread = _StreamThread(asyncio.get_running_loop(), place)
        _start_thread(self._context, thread.token, thread.run, functools.partial(self._open, until), self._tap)
        return thread

    def _raise_ending(self, thread: _StreamThread) -> NoReturn:
        """Raise what the end of the stream raises."""
        if thread.error is not None and not self._closed:
            raise thread.error
        if not self._closed:
            raise StopAsyncIteration
        error = StreamError(CLOSED)
        error.partial = self.text
        raise error
