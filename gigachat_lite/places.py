"""Places: what a thread takes, holds for a while and gives back, whatever interrupts it: Ctrl-C may come at any moment.

They are queues and not locks, because a finalizer gives places back, and semaphores deadlock there on Python 3.7.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
import time
from typing import Any, TypeVar

from .connections import local
from .exceptions import RequestTimeout, TransportError

P = TypeVar("P", bound="Place")


def home_of(size: int) -> queue.SimpleQueue[int]:
    """Make a queue of so many places, where they are while nobody has them."""
    home: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(1, size + 1):
        home.put(number)
    return home


class Place:
    """One place, not taken yet; given back once, however often it is asked to, and at the latest when forgotten.

    It goes from the queue to here and back in C from end to end, where no interrupt can part it from its holder.
    """

    __slots__ = ("_held", "_home")

    def __init__(self, home: queue.SimpleQueue[int]) -> None:
        self._home = home
        self._held: list[int] = [0]  # 0 is none, and what a place is looked for until

    def take(self, *wait: Any) -> None:
        """Take a place, or raise ``queue.Empty``; ``wait`` is what the queue's ``get`` takes."""
        self._held.extend(itertools.starmap(self._home.get, [wait]))

    def give_back(self) -> None:
        """Put it back; this takes no lock, as a finalizer must not."""
        with contextlib.suppress(IndexError):  # it was given back before
            collections.deque(map(self._home.put, iter(self._held.pop, 0)), 0)

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.give_back()

    def __del__(self) -> None:
        if len(getattr(self, "_held", ())) > 1:  # there is none where it was interrupted as it was made
            self.give_back()


class _Me(threading.local):
    def __init__(self) -> None:
        self.token = object()  # unlike a thread's number, this is never given to another thread


_me = _Me()


class Slot(Place):
    """One of the limiter's places, and whose it is."""

    __slots__ = ("_owners",)

    def __init__(self, home: queue.SimpleQueue[int], owners: dict[int, object]) -> None:
        super().__init__(home)
        self._owners = owners

    def take(self, *wait: Any) -> None:
        """Take a place for this thread, or raise ``queue.Empty``."""
        super().take(*wait)
        self.pass_on()
        if local.watch is not None:
            local.watch.slot = self

    def pass_on(self) -> None:
        """Count the place as this thread's: the one that reads the stream, not the one that opened it."""
        for number in self._held[1:]:
            self._owners[number] = _me.token

    def give_back(self) -> None:
        """Put it back, whoever had it."""
        for number in self._held[1:]:
            self._owners.pop(number, None)
        super().give_back()


class Limiter:
    """As many generating calls at a time as the key allows; the others wait, up to a limit."""

    def __init__(self, size: int, wait: float | None) -> None:
        self.size = size
        self.wait = wait
        self._settings = f"max_connections={size}, pool_timeout={wait}"
        self._free = home_of(size)
        self._owners: dict[int, object] = {}

    def take(self, until: float | None = None) -> Slot:
        """Take a place, waiting ``pool_timeout`` seconds and no longer than the deadline."""
        slot = Slot(self._free, self._owners)
        try:
            slot.take(False)
        except queue.Empty:
            self._queue_up(slot, until)
        return slot

    def _queue_up(self, slot: Slot, until: float | None) -> None:
        if list(self._owners.values()).count(_me.token) == self.size:
            raise self.own_streams("thread")
        left = None if until is None else max(until - time.monotonic(), 0)
        try:
            slot.take(True, min((x for x in (self.wait, left) if x is not None), default=None))
        except queue.Empty:
            raise self.late("threads") from None

    def own_streams(self, who: str) -> TransportError:
        """Say that nobody else can make a place free: ``who`` is a thread, or a task."""
        own = f"this {who}'s own open streams hold every place ({self._settings})"
        return TransportError(own + f": read them to the end or {'a' * (who == 'task')}close() them")

    def late(self, who: str) -> RequestTimeout:
        """Say that no place came free in time."""
        what = f"other {who}' calls and open streams hold them all ({self._settings})"
        return RequestTimeout("no free place in time: " + what)
