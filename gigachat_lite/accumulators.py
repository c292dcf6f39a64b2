"""Add the events of a stream up to the answer that the same request would have without streaming."""

from __future__ import annotations

from typing import Any, Mapping


class ChatAccumulator:
    """The events of a v1 chat."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._usage: Any = None
        self._choices: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, list[str]] = {}
        self._reasoning: dict[int, list[str]] = {}

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
            if index not in self._choices:
                self._choices[index] = {"message": {}, "index": index}
                self._texts[index], self._reasoning[index] = [], []
            if choice.get("finish_reason"):
                self._choices[index]["finish_reason"] = choice["finish_reason"]
            if not isinstance(delta, dict) or delta.get("role") == "function_in_progress":
                continue
            for key, value in delta.items():
                if key in ("content", "reasoning_content"):
                    if isinstance(value, str):
                        (self._texts if key == "content" else self._reasoning)[index].append(value)
                elif value is not None:
                    self._choices[index]["message"][key] = value

    def text(self) -> str:
        """Return what has come of the first choice's text."""
        return "".join(self._texts.get(0, ()))

    def usage(self) -> Any:
        """Return the tokens used, None before they are told."""
        return self._usage

    def finish_reason(self) -> str | None:
        """Return why the first choice ended, None before it has."""
        reason: str | None = self._choices.get(0, {}).get("finish_reason")
        return reason

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            message = {"content": "".join(self._texts[index]), **choice["message"]}
            if self._reasoning[index]:
                message["reasoning_content"] = "".join(self._reasoning[index])
            choices.append({**choice, "message": message})
        usage = {} if self._usage is None else {"usage": self._usage}
        return {**self._top, **usage, "choices": choices}


class ThreadAccumulator(ChatAccumulator):
    """The events of a thread's run: each tells the tokens of its own share, and the whole has one message."""

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one event, and its usage to that of those before."""
        before, usage = self._usage, chunk.get("usage")
        super().add(chunk)
        if isinstance(before, dict):
            more = usage if isinstance(usage, dict) else {}
            self._usage = {**before, **{key: _plus(before.get(key), value) for key, value in more.items()}}

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        whole = super().whole()
        choices = whole.pop("choices")
        if choices:
            whole.update({"message": choices[0]["message"], "finish_reason": self.finish_reason()})
        return whole


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
        self._messages: dict[tuple[Any, int], dict[str, Any]] = {}
        self._parts: dict[tuple[Any, int], list[Any]] = {}  # of content: a list of strings is one text

    def add(self, event: Mapping[str, Any]) -> None:
        """Add one event; what is not of the documented form is left out."""
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
        """Return what has come of the answer's text."""
        parts = [part for key, some in self._parts.items() if key[0] == "assistant" for part in some]
        texts = [part if isinstance(part, list) else [part.get("text")] for part in parts]
        return "".join(text for some in texts for text in some if isinstance(text, str))

    def usage(self) -> Any:
        """Return the tokens used, None before they are told."""
        return self._top.get("usage")

    def finish_reason(self) -> str | None:
        """Return why the answer ended, None before it has."""
        reason: str | None = self._top.get("finish_reason")
        return reason

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        messages = []
        for key, message in self._messages.items():
            parts = [{"text": "".join(part)} if isinstance(part, list) else part for part in self._parts[key]]
            messages.append({**message, "content": parts})
        return {**self._top, "messages": messages}
