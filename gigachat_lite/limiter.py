"""The limit of requests at a time, and the cancellation of calls that run in another thread."""

from __future__ import annotations

import contextlib
import gc
import queue
import threading
import time
from collections import deque
from contextvars import ContextVar
from typing import Any, Callable, Deque

from .exceptions import RequestTimeout, TransportError

IDLE_SECONDS = 1.0  # after which nobody is taken to be about to read a stream


class _Thread(threading.local):
    def __init__(self) -> None:
        self.identity = object()  # unlike a thread's number, never given to another thread


this_thread = _Thread()


class Place:
    """One of the requests that may be under way at a time; released once, at the latest when it is forgotten.

    ``reader`` holds the thread or the task that has read the place's stream last, and when.
    """

    def __init__(self, limiter: ConcurrencyLimiter, for_stream: bool = False) -> None:
        self._limiter = [limiter]
        self.of_task = False
        self.reader: list[Any] = [this_thread.identity, time.monotonic()]
        if for_stream:
            limiter.streams[id(self)] = self.reader

    def release(self) -> None:
        """Let another request begin."""
        try:
            limiter = self._limiter.pop()  # atomic: two threads may close a stream at the same time
        except IndexError:
            return
        limiter.streams.pop(id(self), None)
        limiter.free.put(None)
        if limiter.callbacks:
            limiter.notify()

    __del__ = release


class ConcurrencyLimiter:
    """At most ``size`` requests at a time; others wait up to ``timeout`` seconds.

    The free places are items of a SimpleQueue and not a semaphore, because ``Place.__del__`` releases them, which may
    run inside a semaphore's own lock.
    """

    def __init__(self, size: int, timeout: float | None = None, setting: str = "max_connections") -> None:
        self.size, self.timeout, self.setting = size, timeout, setting
        self.free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(size):
            self.free.put(None)
        self.streams: dict[int, list[Any]] = {}  # the readers of the open streams, by the id of their place
        self.callbacks: Deque[Callable[[], bool]] = deque()  # of tasks that wait: wake one, if its loop still runs
        self._collected = 0.0

    def acquire(self, until: float | None = None, for_stream: bool = False) -> Place:
        """Take a place; RequestTimeout if none comes free in time."""
        try:
            self.free.get_nowait()
        except queue.Empty:
            pass
        else:
            return Place(self, for_stream)
        self._wait(self.end_of_wait(until))
        return Place(self, for_stream)

    def take(self, seconds: float = 0.0) -> bool:
        """Take one of the free places, waiting so long; tell whether there was one."""
        try:
            self.free.get(seconds > 0, max(seconds, 0.05))  # 0 may block for ever before Python 3.11
        except queue.Empty:
            return False
        return True

    def _wait(self, end: float | None) -> None:
        """Wait for a place, a second at a time, for an open stream may become garbage meanwhile."""
        while not self.collect_garbage_and_take():
            self.check_owner(this_thread.identity, "thread")
            left = 1.0 if end is None else end - time.monotonic()
            if self.take(min(left, 1.0)):
                return
            if left <= 0:
                self.check_owner(this_thread.identity, "thread", 0.0)
                raise self.timed_out("threads")

    def end_of_wait(self, until: float | None) -> float | None:
        """Return when to give up, on the monotonic clock."""
        ends = [until, None if self.timeout is None else time.monotonic() + self.timeout]
        return min((end for end in ends if end is not None), default=None)

    def notify(self) -> None:
        """Tell a waiting task that a place may be free."""
        with contextlib.suppress(IndexError):
            while not self.callbacks.popleft()():
                pass

    def check_owner(self, owner: object, who: str, idle: float = IDLE_SECONDS) -> None:
        """Raise if a thread or a task would wait for streams that it has open itself, and that nobody reads."""
        if self._all_held_by(owner, idle):
            gc.collect()  # perhaps they were forgotten, and only a reference cycle holds them
        if self._all_held_by(owner, idle):
            close = "stream.close()" if who == "thread" else "await stream.aclose()"
            raise TransportError(
                f"open streams of this {who} hold every place ({self.setting}={self.size}): read each to its end, or "
                f"end it with {close}; in a notebook a stream of an earlier cell may still be open"
            )

    def _all_held_by(self, owner: object, idle: float) -> bool:
        readers, now = list(self.streams.values()), time.monotonic()
        return len(readers) == self.size and all(who is owner and now - last >= idle for who, last in readers)

    def timed_out(self, who: str) -> RequestTimeout:
        """Make the error for a call that has waited too long; ``who`` holds the places."""
        settings = f"{self.setting}={self.size}; pool_timeout={self.timeout}, or the deadline of this call"
        return RequestTimeout(f"no free place in time: calls and open streams of other {who} hold them ({settings})")

    def collect_garbage_and_take(self) -> bool:
        """Free the streams that only a reference cycle holds, as web frameworks leave them; once a second at most."""
        if self.streams and time.monotonic() - self._collected >= 1.0:
            self._collected = time.monotonic()
            gc.collect()
        return self.take()


class Cancelled(BaseException):
    """Ends the thread of a cancelled call; nobody else sees it."""


class CancelToken:
    """Lets an event loop cancel a call in a thread: its place comes free at once, and nothing more is sent."""

    def __init__(self, place: Place | None = None) -> None:
        self.cancelled = False
        self.place = place  # taken already, for the first request of the call
        self._unused = [place] if place is not None else []

    def acquire(self, limiter: ConcurrencyLimiter, until: float | None, for_stream: bool) -> Place:
        """Return the place that was taken for the call, or another one for a further request."""
        self.place = place = self._unused.pop() if self._unused else limiter.acquire(until, for_stream)
        if self.cancelled:
            place.release()
        self.check()
        return place

    def cancel(self) -> None:
        """Cancel the call."""
        self.cancelled = True
        if self.place is not None:
            self.place.release()

    def check(self) -> None:
        """Raise Cancelled in the call's own thread."""
        if self.cancelled:
            raise Cancelled


cancel_token: ContextVar[CancelToken | None] = ContextVar("cancel_token", default=None)  # of the current call
