"""The asynchronous names: each is the synchronous method of the same client, run in a thread (``workers.py``)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Generic, NoReturn, TypeVar

from .exceptions import StreamError
from .workers import Crew, Job, StreamJob

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec, Protocol, Unpack, overload

    from .aio_resources import AsyncAssistantsResource, AsyncBatchesResource, AsyncChatResource, AsyncThreadsResource
    from .client import Options
    from .models import Payload

    P = ParamSpec("P")

T = TypeVar("T")
S = TypeVar("S")
C = TypeVar("C", covariant=True)  # an event of a stream, its whole answer, and the tokens used
W = TypeVar("W", covariant=True)
U = TypeVar("U", covariant=True)


class AsyncStream(Generic[C, W, U]):
    """The events of a streamed answer, each as it arrives: an asynchronous iterator and context manager.

    The request is sent by the first step, or by ``async with``, which raises what goes wrong before the beginning.
    ``.text``, ``.finish_reason`` and ``.usage`` are of what has arrived, at most some hundred events ahead of the loop;
    ``.completion`` is the whole answer, once its end was seen. An early end is an error with ``.partial``. Leaving the
    loop, ``aclose()``, a cancelled task and a closed event loop end the call and free its place at once.
    """

    def __init__(self, job: StreamJob) -> None:
        self._job = job
        self._closed = False

    def __aiter__(self) -> AsyncStream[C, W, U]:
        return self

    async def __anext__(self) -> C:
        job = self._job
        if not job.events:
            await job.until(job.ready)
        if job.events:
            event: C = job.take()
            return event
        self._finish()

    async def __aenter__(self) -> AsyncStream[C, W, U]:
        await self._job.until(self._job.opened)
        if self._job.stream is None:
            self._finish()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._job.end()

    async def aclose(self) -> None:
        """End the stream and free its place; a task that waits for its next event gets StreamError."""
        self._closed = self._closed or bool(self._job.events) or not self._job.finished
        self._job.end()
        self._job.events.clear()

    def tap(self, write: Callable[[bytes], object]) -> None:
        """Hand the bytes to ``write`` too, as ``Stream.tap`` does, in the worker; before the first step."""
        self._job.tap = write

    @property
    def text(self) -> str:
        """The text of the first choice, as far as it has come."""
        return self._of("text") or ""

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, None before it has."""
        reason: str | None = self._of("finish_reason")
        return reason

    @property
    def usage(self) -> U:
        """The tokens used, None before they are told."""
        usage: U = self._of("usage")
        return usage

    @property
    def completion(self) -> W:
        """The whole answer, None before its end."""
        completion: W = self._of("completion")
        return completion

    @property
    def x_headers(self) -> dict[str, str | None]:
        """The ids of the answer, once it has begun."""
        return self._of("x_headers") or {}

    def _of(self, name: str) -> Any:
        return getattr(self._job.stream, name, None)

    def _finish(self) -> NoReturn:
        """Say how the stream ended."""
        if self._job.error is not None:
            raise self._job.error
        if not self._closed and not self._job.ended:
            raise StopAsyncIteration
        error = StreamError("the stream was closed before its end")
        error.partial = self.text
        raise error


# From a method to its twin


def twin(
    method: Callable[Concatenate[Any, P], T], counted: bool = False
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Make the asynchronous twin of a method; those that generate are ``counted``, by max_connections."""

    @functools.wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        job = Job(_bound(self, method), args, kwargs, counted)
        await job.until(job.over)
        job.end()  # its timer
        return job.result()

    return _named(call)  # type: ignore[no-any-return]


def stream_twin(
    method: Callable[Concatenate[Any, P], Opened[C, W, U]],
) -> Callable[Concatenate[Any, P], AsyncStream[C, W, U]]:
    """Make the asynchronous twin of a method that opens a stream."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return AsyncStream(StreamJob(_bound(self, method), args, kwargs))

    return _named(call)  # type: ignore[no-any-return]


def _bound(owner: Any, method: Callable[..., Any]) -> Any:
    """Find the method of an object, or of the one whose twin it is; a subclass may have its own."""
    return getattr(getattr(owner, "_twin", owner), method.__name__)


def _named(function: Any) -> Any:
    """Name a twin as it is called: ``GigaChat.aembeddings``, ``AsyncBatchesResource.create``."""
    owner, _, name = function.__qualname__.rpartition(".")
    owner, name = ("Async" + owner, name) if owner.endswith("Resource") else (owner, "a" + name)
    function.__name__, function.__qualname__ = name, f"{owner}.{name}"
    return function


class AsyncNames:
    """What GigaChat has for asyncio beside the twins of its methods."""

    _crew: Crew

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self: Any) -> None:
        """Close the connections that are not in use, and end the threads that have nothing to do."""
        crew, self._crew = self._crew, Crew(self._transport.limiter.size)
        crew.close()
        self.close()

    @property
    def achat(self: Any) -> AsyncChatResource:
        """The twin of ``chat``: ``await achat(payload)``; ``achat.create``, ``.stream`` and ``.parse`` are v2's."""
        from .aio_resources import AsyncChatResource

        return AsyncChatResource(self.chat)

    @property
    def a_batches(self: Any) -> AsyncBatchesResource:
        """The twin of ``batches``."""
        from .aio_resources import AsyncBatchesResource

        return AsyncBatchesResource(self.batches)

    @property
    def a_assistants(self: Any) -> AsyncAssistantsResource:
        """The twin of ``assistants``."""
        from .aio_resources import AsyncAssistantsResource

        return AsyncAssistantsResource(self.assistants)

    @property
    def a_threads(self: Any) -> AsyncThreadsResource:
        """The twin of ``threads``."""
        from .aio_resources import AsyncThreadsResource

        return AsyncThreadsResource(self.threads)


if TYPE_CHECKING:

    class Opened(Protocol[C, W, U]):
        """What a method that streams returns."""

        def __next__(self) -> C: ...
        @property
        def completion(self) -> W: ...
        @property
        def usage(self) -> U: ...

    class AsyncParse(Protocol[W]):
        """The twin of a method that parses, of which a type checker would see the first overload alone."""

        @overload
        def __call__(
            self, payload: Payload, *, response_format: type[T], strict: bool = True, **options: Unpack[Options]
        ) -> Coroutine[Any, Any, tuple[W, T]]: ...

        @overload
        def __call__(
            self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
        ) -> Coroutine[Any, Any, tuple[W, Any]]: ...
