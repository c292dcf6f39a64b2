"""Make the asynchronous name of a method: the same method of the same object, run in a thread by aio.py."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Coroutine

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    from .aio import AsyncStream
    from .annotations import Opened, T
    from .sse import C, U, W

    P = ParamSpec("P")


def async_method(
    method: Callable[Concatenate[Any, P], T], limited: bool = False
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Make the asynchronous name of a method; ``limited`` if max_connections counts its requests."""

    @functools.wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        from .aio import run_in_thread

        return await run_in_thread(self.transport, _bound(self, method), args, kwargs, limited)

    return _rename(call)  # type: ignore[no-any-return]


def async_stream(
    method: Callable[Concatenate[Any, P], Opened[C, W, U]],
) -> Callable[Concatenate[Any, P], AsyncStream[C, W, U]]:
    """Make the asynchronous name of a method that opens a stream."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        from .aio import AsyncStream

        return AsyncStream(self.transport, _bound(self, method), args, kwargs)

    return _rename(call)  # type: ignore[no-any-return]


def _bound(owner: Any, method: Callable[..., Any]) -> Any:
    """Return the method of an object, or of an asynchronous resource's synchronous one; a subclass may override it."""
    return getattr(getattr(owner, "resource", owner), method.__name__)


def _rename(function: Any) -> Any:
    """Name a function as it is called: ``GigaChat.aembeddings``, ``AsyncBatchesResource.create``."""
    owner, _, name = function.__qualname__.rpartition(".")
    owner, name = ("Async" + owner, name) if owner.endswith("Resource") else (owner, "a" + name)
    function.__name__, function.__qualname__ = name, f"{owner}.{name}"
    return function
