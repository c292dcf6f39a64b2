"""The streams of v2 chat and of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

from .accumulators import MessageAccumulator, ThreadAccumulator
from .models import (
    ChatCompletionResponse,
    ChatUsage,
    PrimaryChatCompletionChunk,
    ThreadCompletion,
    ThreadCompletionChunk,
    Usage,
    with_headers,
)
from .models.chat_completions import SAID
from .sse import EventStream

__all__ = ["ChatStream", "ThreadStream"]


class ThreadStream(EventStream):
    """The events of a thread's run; otherwise as ``Stream``."""

    ACCUMULATOR = ThreadAccumulator
    CHUNK, WHOLE, USAGE = ThreadCompletionChunk, ThreadCompletion, Usage
    if TYPE_CHECKING:
        completion: ThreadCompletion | None

        def __iter__(self) -> Iterator[ThreadCompletionChunk]: ...
        def __next__(self) -> ThreadCompletionChunk: ...
        @property
        def usage(self) -> Usage | None: ...


class ChatStream(EventStream):
    """The named events of a v2 stream, ``.event`` their name; otherwise as ``Stream``.

    Unknown events are passed on. The end is ``response.message.done``: with it the answer is whole, and the place of
    ``max_connections`` is free.
    """

    END, ANSWER_EVENTS, ANSWER_KEYS = "response.message.done", SAID, ("messages", "finish_reason")
    ACCUMULATOR = MessageAccumulator
    CHUNK, WHOLE, USAGE = PrimaryChatCompletionChunk, ChatCompletionResponse, ChatUsage
    if TYPE_CHECKING:
        completion: ChatCompletionResponse | None

        def __iter__(self) -> Iterator[PrimaryChatCompletionChunk]: ...
        def __next__(self) -> PrimaryChatCompletionChunk: ...
        @property
        def usage(self) -> ChatUsage | None: ...

    def read_event(self, name: str, value: dict[str, Any]) -> Any:
        """Add an event to the answer, if it is of it, and make a chunk of it."""
        if name in SAID:
            self.accumulator.add(value)
        if name == "message" and "messages" not in value:
            return None
        value.setdefault("event", name)
        return with_headers(PrimaryChatCompletionChunk(value), self.x_headers)
