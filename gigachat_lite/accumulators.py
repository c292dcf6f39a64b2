"""Add the events of a stream up to the answer that the same request would have without streaming."""

from __future__ import annotations

from typing import Any, Iterator, Mapping


class ChatAccumulator:
    """The events of a v1 chat."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._usage: Any = None
        self._choices: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}  # by the index of a choice and the name of the field

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one event; what is not of the documented form is left out."""
        self._top.update(chunk)
        usage, choices = chunk.get("usage"), chunk.get("choices")
        if usage is not None:
            self._usage = usage
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            index, delta = choice.get("index"), choice.get("delta")
            index = index if isinstance(index, int) else 0
            whole = self._choices.get(index)
            if whole is None:
                whole = self._choices[index] = {"message": {}, "index": index}
            if choice.get("finish_reason"):
                whole["finish_reason"] = choice["finish_reason"]
            if not isinstance(delta, dict) or delta.get("role") == "function_in_progress":
                continue
            for key, value in delta.items():
                if key not in ("content", "reasoning_content"):
                    if value is not None:
                        whole["message"][key] = value
                elif isinstance(value, str):
                    self._texts.setdefault((index, key), []).append(value)

    def text(self) -> str:
        """Return what has come of the first choice's text."""
        return "".join(self._texts.get((0, "content"), ()))

    def usage(self) -> Any:
        """Return the tokens used, None before they are told."""
        return self._usage

    def finish_reason(self) -> Any:
        """Return why the first choice ended, None before it has."""
        return self._choices.get(0, {}).get("finish_reason")

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            texts = {key: "".join(pieces) for (at, key), pieces in self._texts.items() if at == index}
            choices.append({**choice, "message": {"content": "", **texts, **choice["message"]}})
        usage = {} if self._usage is None else {"usage": self._usage}
        return {**self._top, **usage, "choices": choices}


class ThreadAccumulator(ChatAccumulator):
    """The events of a thread's run: each tells the tokens of its own share, and the whole has one message."""

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one event, and its usage to that of those before."""
        before, usage = self._usage, chunk.get("usage")
        super().add(chunk)
        if isinstance(before, dict):
            self._usage = {**before, **{key: _plus(before.get(key), value) for key, value in _items(usage)}}

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        whole = super().whole()
        choices = whole.pop("choices")
        if choices:
            whole.update({"message": choices[0]["message"], "finish_reason": self.finish_reason()})
        return whole


def _items(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else ()


def _plus(before: Any, value: Any) -> Any:
    if isinstance(before, (int, float)) and isinstance(value, (int, float)):
        return before + value
    return before if value is None else value


class MessageAccumulator:
    """The events of a v2 chat.

    Messages of one event belong to those before by role, the second of a role to the second. Neighbouring texts become
    one; a call or a file that the end repeats is there once.
    """

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._messages: dict[tuple[str, int], dict[str, Any]] = {}  # by role and number
        self._parts: dict[tuple[str, int], list[Any]] = {}  # of their content: a list of strings is one text

    def add(self, event: Mapping[str, Any]) -> None:
        """Add one event; what is not of the documented form is left out."""
        self._top.update((key, value) for key, value in event.items() if value is not None)
        roles: list[str] = []
        for message in _dicts(event.get("messages")):
            role = message.get("role")
            role = role if isinstance(role, str) and role else "assistant"
            key = role, roles.count(role)
            roles.append(role)
            said = {name: value for name, value in message.items() if value is not None}
            self._messages.setdefault(key, {}).update(said, content=None, role=role)
            content = message.get("content")
            content = [{"text": content}] if isinstance(content, str) else content
            self._add_parts(self._parts.setdefault(key, []), content)

    def _add_parts(self, parts: list[Any], content: Any) -> None:
        for part in _dicts(content):
            if len(part) == 1 and isinstance(part.get("text"), str):
                if not parts or not isinstance(parts[-1], list):
                    parts.append([])
                parts[-1].append(part["text"])
            elif "text" in part or "logprobs" in part or not any(_is_same(part, other) for other in parts):
                parts.append(dict(part))

    def text(self) -> str:
        """Return what has come of the answer's text."""
        parts = [part for key, some in self._parts.items() if key[0] == "assistant" for part in some]
        texts = [part if isinstance(part, list) else [part.get("text")] for part in parts]
        return "".join(text for some in texts for text in some if isinstance(text, str))

    def usage(self) -> Any:
        """Return the tokens used, None before they are told."""
        return self._top.get("usage")

    def finish_reason(self) -> Any:
        """Return why the answer ended, None before it has."""
        return self._top.get("finish_reason")

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        messages = []
        for key, message in self._messages.items():
            parts = [{"text": "".join(part)} if isinstance(part, list) else part for part in self._parts[key]]
            messages.append({**message, "content": parts})
        return {**self._top, "messages": messages}


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _is_same(part: Mapping[str, Any], other: Any) -> bool:
    """Tell whether a part is there already; a call gets its id from the later of the two."""
    call = part.get("function_call")
    before = other.get("function_call") if isinstance(other, dict) else None
    if not (isinstance(call, dict) and isinstance(before, dict)):
        return bool(part == other)
    if any(call.get(name) != before.get(name) for name in ("name", "arguments")):
        return False
    if call.get("id") and before.get("id") and call["id"] != before["id"]:
        return False
    other["function_call"] = {**before, **call}
    return True
