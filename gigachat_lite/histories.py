"""Check a dialogue with calls of functions as the service does, before it is asked: it would refuse it with 422."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from .json_text import decode_json
from .models.chat_completions import STATE_IDS


def check_history(messages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a dialogue that the service refuses; the ValueError has the index of the message.

    A call of a function is followed by its result, and a result is JSON. In v1 only the first message may be a system
    message. In v2, whose content is a list of parts, several calls and results may follow each other.
    """
    v2 = any(isinstance(message.get("content"), (list, tuple)) for message in messages)
    waiting: list[tuple[int, Any]] = []  # calls without a result: index of the message, name of the function
    may_answer = False  # whether a result may come though no call waits for it
    for i, message in enumerate(messages):
        if message.get("role") == "system" and i and not v2:
            raise ValueError(f"messages[{i}]: a system message is only allowed as the first message")
        calls, results = _calls_and_results(message, f"messages[{i}]")
        if waiting and not results:
            raise _unanswered(*waiting[0], i)
        if results and not waiting and not may_answer:
            raise ValueError(f"messages[{i}]: this result has no call of a function before it")
        waiting = [(i, name) for name in calls] or waiting[results:]
        may_answer = bool(calls) or any(map(message.get, STATE_IDS)) or (v2 and may_answer and results > 0)
    if waiting:
        raise _unanswered(*waiting[0], len(messages))


def _unanswered(index: int, name: Any, due: int) -> ValueError:
    return ValueError(f"messages[{index}]: the call of function {name!r} has no result: messages[{due}] has to be it")


def _calls_and_results(message: Mapping[str, Any], where: str) -> tuple[list[Any], int]:
    """List the names of the functions that a message calls, and count the results in it."""
    content = message.get("content")
    if not isinstance(content, (list, tuple)):
        result = message.get("role") in ("function", "tool")
        if result and not is_json(content):
            raise ValueError(
                f"{where}.content: a result is a string that holds JSON, such as json.dumps({{'result': …}})"
            )
        call = message.get("function_call")
        return [call.get("name")] if isinstance(call, Mapping) else [], int(result)
    parts = [part for part in content if isinstance(part, Mapping)]
    calls = [part["function_call"] for part in parts if isinstance(part.get("function_call"), Mapping)]
    results = [part["function_result"] for part in parts if isinstance(part.get("function_result"), Mapping)]
    if any(isinstance(call.get("arguments"), str) for call in calls):
        raise ValueError(f"{where}: in v2 the arguments of a function_call are an object, not a string")
    if any(isinstance(result.get("result"), str) and not is_json(result["result"]) for result in results):
        raise ValueError(f"{where}: the result of a function_result is an object, or a string that holds JSON")
    return [call.get("name") for call in calls], len(results)


def is_json(text: Any) -> bool:
    """Tell whether a text is JSON as the service reads it: without NaN and Infinity."""
    try:
        decode_json(text)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
