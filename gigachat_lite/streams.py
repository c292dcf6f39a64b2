"""The streams of v2 chat and of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

from .accumulators import MessageAccumulator, ThreadAccumulator
from .json_text import decode_json
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
from .sse import ERROR_EVENTS, EventStream, is_error

__all__ = ["ChatStream", "ThreadStream"]


class ThreadStream(EventStream):
    """The events of a thread's run; otherwise as ``Stream``."""

    _accumulator = ThreadAccumulator
    _chunk, _whole, _usage = ThreadCompletionChunk, ThreadCompletion, Usage
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

    _end = "response.message.done"
    _accumulator = MessageAccumulator
    _chunk, _whole, _usage = PrimaryChatCompletionChunk, ChatCompletionResponse, ChatUsage
    if TYPE_CHECKING:
        completion: ChatCompletionResponse | None

        def __iter__(self) -> Iterator[PrimaryChatCompletionChunk]: ...
        def __next__(self) -> PrimaryChatCompletionChunk: ...
        @property
        def usage(self) -> ChatUsage | None: ...

    def _decode(self, name: str, data: str) -> Any:
        """Make a chunk of an event; None for an unknown one that is no JSON object."""
        try:
            value = decode_json(data, self._halves)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            return self._pass_over(name, data, name in SAID)
        if name in ERROR_EVENTS or (name in SAID and not value.keys() & {"messages", "finish_reason"}):
            error = value.get("error")
            error = error if isinstance(error, dict) else value
            if name in ERROR_EVENTS or is_error(error):
                raise self._error_of_event(error)
        if name in SAID:
            self._answer.add(value)
        if name == self._end:
            self._body.release()
        if name == "message" and "messages" not in value:
            return None
        value.setdefault("event", name)
        return with_headers(PrimaryChatCompletionChunk(value), self.x_headers)
