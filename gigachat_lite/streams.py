"""The streams of v2 chat and of threads."""

from __future__ import annotations

from typing import Any

from .accumulators import MessageAccumulator, ThreadAccumulator
from .models.base import with_headers
from .models.chat import Usage
from .models.chat_completions import SAID, ChatCompletionResponse, ChatUsage, PrimaryChatCompletionChunk
from .models.threads import ThreadCompletion, ThreadCompletionChunk
from .sse import EventStream

__all__ = ["ChatStream", "ThreadStream"]


class ThreadStream(EventStream[ThreadCompletionChunk, ThreadCompletion, Usage]):
    """The events of a thread's run; otherwise as ``Stream``."""

    ACCUMULATOR = ThreadAccumulator
    CHUNK, WHOLE, USAGE = ThreadCompletionChunk, ThreadCompletion, Usage


class ChatStream(EventStream[PrimaryChatCompletionChunk, ChatCompletionResponse, ChatUsage]):
    """The named events of a v2 stream, ``.event`` their name; otherwise as ``Stream``.

    Unknown events are passed on. The end is ``response.message.done``: with it the answer is whole, and the place of
    ``max_connections`` is free.
    """

    END, ANSWER_EVENTS, ANSWER_KEYS = "response.message.done", SAID, ("messages", "finish_reason")
    ACCUMULATOR = MessageAccumulator
    CHUNK, WHOLE, USAGE = PrimaryChatCompletionChunk, ChatCompletionResponse, ChatUsage

    def read_event(self, name: str, value: dict[str, Any]) -> Any:
        """Add an event to the answer, if it is of it, and make a chunk of it."""
        if name in SAID:
            self.accumulator.add(value)
        if name == "message" and "messages" not in value:
            return None
        value.setdefault("event", name)
        return with_headers(PrimaryChatCompletionChunk(value), self.x_headers)
