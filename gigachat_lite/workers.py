"""The threads below the asynchronous names: a ``Crew`` of a client's own, and the ``Job`` that each call is.

The coroutine of a call starts its job and waits; a thread of the crew does the work, in the caller's context. Whoever
ends it early shuts its socket down and gives its place back; the worker alone closes the response. What passes between
threads are single steps, without locks, so that a finalizer may end a call too. asyncio is imported on first use.
"""

from __future__ import annotations

import _thread
import contextlib
import contextvars
import os
import queue
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Mapping

from .connections import Try, local
from .exceptions import RequestTimeout, StreamError
from .secret import veil

if TYPE_CHECKING:
    import asyncio

UNCOUNTED = 16  # calls at a time of those that max_connections does not count
AHEAD = 256  # events that a worker may be ahead of their reader before it waits
IDLE = 5.0  # seconds that a thread waits for more work
FOREVER = 1e8


class Ended(BaseException):
    """Unwinds a worker whose call was ended from outside; nobody else sees it."""


class Lane:
    """Calls that share a limit: as many as there are places run, the others wait in line, without a thread."""

    def __init__(self, size: int, employ: Callable[[Job], None]) -> None:
        self.size = size
        self.running: dict[Job, Any] = {}  # and the task of each
        self._employ = employ
        self._free = deque(range(size))
        self._line: Deque[Job] = deque()

    def enter(self, job: Job) -> None:
        """Run a job as soon as there is a place."""
        self._line.append(job)
        self._pump()

    def leave(self, job: Job) -> None:
        """Take a job out of the line, or give its place to the next, once."""
        try:
            self._free.append(job.places.pop())
        except IndexError:
            self.strike(job)
        self.running.pop(job, None)
        job.task = None
        self._pump()

    def strike(self, job: Job) -> bool:
        """Take a job out of the line; False where it is not in it."""
        try:
            self._line.remove(job)
        except ValueError:
            return False
        return True

    def _pump(self) -> None:
        while self._line:
            try:
                place = self._free.pop()
            except IndexError:
                return  # whoever leaves comes here
            try:
                job = self._line.popleft()
            except IndexError:
                self._free.append(place)
                continue  # a job that came in between has found no place
            self.running[job] = job.task
            job.places.append(place)
            if job.ended:
                self.leave(job)
            else:
                self._employ(job)


class Crew:
    """A client's worker threads, as many as calls are in flight; they keep no process alive, and end when idle.

    They are started without waiting until they run, which ``threading.Thread`` does and an event loop must not.
    """

    def __init__(self, size: int) -> None:
        self.lanes = Lane(UNCOUNTED, self._employ), Lane(size, self._employ)
        self._idle: Deque[queue.SimpleQueue[Job | None]] = deque()
        self._closed = False

    def close(self) -> None:
        """End the threads: those without work now, the others after it."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().put(None)

    def _employ(self, job: Job) -> None:
        inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        try:
            inbox = self._idle.pop()
        except IndexError:
            try:
                _thread.start_new_thread(self._work, (inbox,))  # which keeps what it is given
            except RuntimeError as exc:  # there are too many, or the interpreter ends
                job.fail(exc)
        inbox.put(job)

    def _work(self, inbox: queue.SimpleQueue[Job | None]) -> None:
        job = inbox.get()
        while job is not None:
            job.run()
            self._idle.append(inbox)
            job.done()  # now, so that whoever gets its place gets this thread
            job = None
            try:
                job = inbox.get(timeout=0 if self._closed else IDLE)
            except queue.Empty:
                try:
                    self._idle.remove(inbox)
                except ValueError:  # somebody is about to put something into it
                    job = inbox.get()


class Mail:
    """What the workers have for one loop; however much it is, the loop is woken once."""

    def __init__(self) -> None:
        self._woken = False
        self._box: Deque[asyncio.Future[None]] = deque()

    def post(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        """Let a waiter go on, from any thread; RuntimeError where the loop is closed."""
        self._box.append(waiter)
        if not self._woken:
            self._woken = True
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._box:
            waiter = self._box.popleft()
            if not waiter.done():
                waiter.set_result(None)


_mails: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mail] = weakref.WeakKeyDictionary()


class Guard:
    """Held by a timer of the loop and by nothing else: when the loop is closed it goes, and ends the call."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def late(self) -> None:
        """Tell that the time to wait for a place is over."""
        self._job.late(self)

    def __del__(self) -> None:
        self._job.end()


class Job:
    """One call. Its loop calls ``until()`` and ``result()``, its worker ``run()``, and any thread ``end()``."""

    def __init__(self, method: Callable[..., Any], args: Any, kwargs: dict[str, Any], counted: bool) -> None:
        if isinstance(kwargs.get("headers"), Mapping):
            kwargs["headers"] = veil(kwargs["headers"])  # in place: the coroutine's frame holds the same ones
        self._method, self._args, self._kwargs, self._counted = method, args, kwargs, counted
        self._context = contextvars.copy_context()
        self._process = os.getpid()
        self._loop: Any = None
        self._deadline: float | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: Callable[[], asyncio.TimerHandle | None] = lambda: None
        self._go: queue.SimpleQueue[None] = queue.SimpleQueue()  # wakes a worker that pauses
        self.task: Any = None
        self.places: list[int] = []  # its place in the lane, while it has one
        self.note: Try | None = None  # of the try that is on its way, and the place of the limiter that it has
        self.slot: Any = None
        self.finished = self.ended = False
        self.value: Any = None
        self.error: BaseException | None = None

    # In the loop

    async def until(self, ready: Callable[[], Any]) -> None:
        """Wait until the worker has brought something about; whatever ends the wait early ends the call."""
        if self._waiter is not None:
            raise StreamError("another task is reading this stream")
        try:
            if self._loop is None:
                self._start()
            while not ready():
                waiter = self._waiter = self._loop.create_future()
                if not ready():  # it may have come before there was a waiter
                    await waiter
            self._waiter = None
        except BaseException:
            self.end()
            raise

    def over(self) -> bool:
        """Tell whether nothing more will come."""
        return self.finished or self.ended

    def result(self) -> Any:
        """Give what came of the call."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
            return self.value
        finally:
            del error  # its traceback leads here

    def _start(self) -> None:
        """Get in line, for as long as the limiter and the deadline allow."""
        import asyncio

        owner: Any = getattr(self._method, "__self__", None)
        client = getattr(owner, "_client", owner)
        self._deadline = client._until(self._kwargs.get("deadline"))
        self._limiter, self._lane = client._transport.limiter, client._crew.lanes[self._counted]
        self._loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        self._mail = _mails.setdefault(self._loop, Mail())
        self._lane.enter(self)
        seconds = FOREVER
        if not self.places and not self.over():
            own = list(self._lane.running.values()).count(self.task)
            if own == self._lane.size and self._lane.strike(self):
                raise self._limiter.own_streams("task")
            left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0)
            limits = (left, self._limiter.wait if self._counted else None)
            seconds = min((limit for limit in limits if limit is not None), default=FOREVER)
        self._arm(Guard(self), seconds)

    def _arm(self, guard: Guard, seconds: float) -> None:
        self._timer = weakref.ref(self._loop.call_later(seconds, guard.late))

    def late(self, guard: Guard) -> None:
        """Give up waiting for a place; a call that has begun is let be."""
        if self._lane.strike(self):
            in_time = RequestTimeout("the deadline of this call ran out before its turn came")
            self.fail(self._limiter.late("tasks") if self._counted else in_time)
        else:
            self._arm(guard, FOREVER)

    # In any thread

    def end(self) -> None:
        """End the call, whatever it is doing, unless it is over; not in a forked child, whose sockets are not its."""
        timer, over = self._timer(), self.over()
        self.ended = self.ended or not over
        if timer is not None:
            timer.cancel()
        if over or self._loop is None or self._process != os.getpid():
            return
        if self.note is not None:
            self.note.cut()
        if self.slot is not None:
            self.slot.give_back()
        self._go.put(None)
        self._lane.leave(self)
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End the call with an error."""
        self.error = error
        self.end()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            try:
                self._mail.post(self._loop, waiter)
            except RuntimeError:  # the loop is closed
                self.end()

    # In the worker; Transport, its connections and its limiter know it as ``local.watch``

    def run(self) -> None:
        """Do the work."""
        local.watch = self
        try:
            self.check()
            if self._deadline is not None:  # some of it was spent in the line
                self._kwargs["deadline"] = max(self._deadline - time.monotonic(), 1e-6)
            self.value = self._context.run(self._work)
        except Ended:
            pass
        except BaseException as exc:
            if not self.ended:
                self.error = exc
        local.watch = None
        if self.note is not None:
            self.note.watch = None  # which leads back here, from the connections
            self.note = None

    def done(self) -> None:
        """Make room for others, and tell the loop."""
        self._lane.leave(self)
        self.finished = True
        self._wake()

    def _work(self) -> Any:
        return self._method(*self._args, **self._kwargs)

    def check(self) -> None:
        """Raise where the call was ended, but not where another thread goes on with what it has left behind."""
        if self.ended and local.watch is self:
            raise Ended

    def idle(self) -> None:
        """Do what there is to do before waiting for the network."""
        self.check()

    def sleep(self, seconds: float) -> None:
        """Pause before another try, unless the call is ended."""
        with contextlib.suppress(queue.Empty):
            self._go.get(timeout=seconds)
        self.check()


class StreamJob(Job):
    """A call that is a stream: its events are handed over whenever the worker would wait for more."""

    def __init__(self, method: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        super().__init__(method, args, kwargs, True)
        self.stream: Any = None
        self.tap: Any = None
        self.events: Deque[Any] = deque()
        self._paused = False

    def opened(self) -> Any:
        """Tell whether the headers are there."""
        return self.stream is not None or self.over()

    def ready(self) -> Any:
        """Tell whether there is something to take."""
        return self.events or self.over()

    def take(self) -> Any:
        """Take an event; a worker that is too far ahead goes on when half of them are taken."""
        event = self.events.popleft()
        if self._paused and len(self.events) <= AHEAD // 2:
            self._paused = False
            self._go.put(None)
        return event

    def idle(self) -> None:
        """Hand over what has come, and wait for a reader who is slow."""
        self.check()
        if self.events:
            self._wake()
        while len(self.events) > AHEAD:
            self._paused = True
            if len(self.events) > AHEAD:
                self._go.get()
            self.check()

    def _work(self) -> None:
        with super()._work() as stream:
            if self.tap is not None:
                stream.tap(self.tap)
            self.stream = stream
            self._wake()
            self.events.extend(iter(stream))
