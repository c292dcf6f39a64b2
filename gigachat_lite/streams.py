"""The streams of v2 and of threads: what their events are, and what they add up to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Iterator, Mapping

from .decode import ERRORS, Assembly, EventStream, decode_json, is_error
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

__all__ = ["ChatStream", "ThreadStream"]


class ThreadAssembly(Assembly):
    """The events of a thread's run: each tells the tokens of its own share, and the whole has one message."""

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one event, and its usage to that of those before."""
        before, usage = self._top.get("usage"), chunk.get("usage")
        super().add(chunk)
        if isinstance(before, dict):
            more = usage if isinstance(usage, dict) else {}
            self._top["usage"] = {**before, **{key: _plus(before.get(key), value) for key, value in more.items()}}

    def whole(self) -> dict[str, Any]:
        """Put the answer together."""
        whole = super().whole()
        choices = whole.pop("choices")
        if choices:
            whole.update({"message": choices[0]["message"], "finish_reason": self.finish_reason()})
        return whole


def _plus(before: Any, value: Any) -> Any:
    if isinstance(before, (int, float)) and isinstance(value, (int, float)):
        return before + value
    return before if value is None else value


class MessageAssembly:
    """The events of a v2 chat.

    Messages of one event belong to those before by role, the second of a role to the second. Neighbouring texts become
    one; a call or a file that the end repeats is there once.
    """

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._messages: dict[tuple[Any, int], dict[str, Any]] = {}
        self._parts: dict[tuple[Any, int], list[Any]] = {}  # of content: a list of strings is one text

    def add(self, event: Mapping[str, Any]) -> None:
        """Add one event; what is not of the documented form is left out, never fatal."""
        self._top.update((key, value) for key, value in event.items() if value is not None)
        messages, seen = event.get("messages"), []  # type: Any, list[Any]
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict):
                role = message.get("role")
                role = role if isinstance(role, str) and role else "assistant"
                self._add_message((role, seen.count(role)), message)
                seen.append(role)

    def _add_message(self, key: tuple[Any, int], message: Mapping[str, Any]) -> None:
        whole = self._messages.setdefault(key, {"role": key[0]})
        said = {name: value for name, value in message.items() if value is not None}
        whole.update(said, content=None, role=key[0])
        parts, content = self._parts.setdefault(key, []), message.get("content")
        for part in [{"text": content}] if isinstance(content, str) else content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            if len(part) == 1 and isinstance(part.get("text"), str):
                if not parts or not isinstance(parts[-1], list):
                    parts.append([])
                parts[-1].append(part["text"])
            elif not self._repeats(part, parts):
                parts.append(dict(part))

    def _repeats(self, part: Mapping[str, Any], parts: list[Any]) -> bool:
        """Tell whether a part is there already; a call may have got its id meanwhile."""
        call = part.get("function_call")
        for other in parts if "text" not in part and "logprobs" not in part else ():
            before = other.get("function_call") if isinstance(other, dict) else None
            if isinstance(call, dict) and isinstance(before, dict):
                ids = {str(one["id"]) for one in (call, before) if one.get("id")}
                if len(ids) < 2 and all(call.get(name) == before.get(name) for name in ("name", "arguments")):
                    other.update(part)
                    other["function_call"] = {**before, **call}
                    return True
            elif part == other:
                return True
        return False

    def text(self) -> str:
        """Join what has come of the answer's text."""
        parts = [part for key, some in self._parts.items() if key[0] == "assistant" for part in some]
        texts = [part if isinstance(part, list) else [part.get("text")] for part in parts]
        return "".join(text for some in texts for text in some if isinstance(text, str))

    def get(self, key: str) -> Any:
        """Get what the events said beside the messages."""
        return self._top.get(key)

    def finish_reason(self) -> str | None:
        """Get why the answer ended, None before it has."""
        reason: str | None = self._top.get("finish_reason")
        return reason

    def whole(self) -> dict[str, Any]:
        """Put the answer together."""
        messages = []
        for key, message in self._messages.items():
            parts = [{"text": "".join(part)} if isinstance(part, list) else part for part in self._parts[key]]
            messages.append({**message, "content": parts})
        return {**self._top, "messages": messages}


class ThreadStream(EventStream):
    """The events of a thread's run; otherwise as ``Stream``."""

    _assembling = ThreadAssembly
    _chunk, _whole, _usage = ThreadCompletionChunk, ThreadCompletion, Usage
    if TYPE_CHECKING:
        completion: ThreadCompletion | None

        def __iter__(self) -> Iterator[ThreadCompletionChunk]: ...
        def __next__(self) -> ThreadCompletionChunk: ...
        @property
        def usage(self) -> Usage | None: ...


class ChatStream(EventStream):
    """The named events of a v2 stream, ``.event`` their name; otherwise as ``Stream``.

    Events that nobody knows are passed on. The end is ``response.message.done``: with it the answer is whole, and the
    place is free.
    """

    _end = "response.message.done"
    _assembling = MessageAssembly
    _chunk, _whole, _usage = PrimaryChatCompletionChunk, ChatCompletionResponse, ChatUsage
    if TYPE_CHECKING:
        completion: ChatCompletionResponse | None

        def __iter__(self) -> Iterator[PrimaryChatCompletionChunk]: ...
        def __next__(self) -> PrimaryChatCompletionChunk: ...
        @property
        def usage(self) -> ChatUsage | None: ...

    def _advance(self) -> PrimaryChatCompletionChunk:
        if self.completion is not None:
            self._shut(self._body.finish)
            raise StopIteration
        for name, data in self._events:
            if self._closing or data == "[DONE]":
                break
            chunk = self._decode(name, data)
            if name == self._end:
                self._complete()
                if self._reply.slot:
                    self._reply.slot.give_back()
            if chunk is not None:
                return chunk
        raise self._early_end()

    def _decode(self, name: str, data: str) -> PrimaryChatCompletionChunk | None:
        """Make a chunk of an event; None for an unknown one that is no JSON object."""
        try:
            value = decode_json(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self._pass_over(name, data, name in SAID)
            return None
        if name in ERRORS or (name in SAID and not value.keys() & {"messages", "finish_reason"}):
            error = value.get("error")
            error = error if isinstance(error, dict) else value
            if name in ERRORS or is_error(error):
                self._raise_event(error, data if error is value else json.dumps(error))
        if name in SAID:
            self._assembly.add(value)
        if name == "message" and "messages" not in value:
            return None
        value.setdefault("event", name)
        return with_headers(PrimaryChatCompletionChunk(value), self.x_headers)
