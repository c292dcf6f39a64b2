"""Checks of a dialogue with calls of functions: what the service would refuse with 422, before it is asked."""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from .schemas import objects

STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")  # the second version has all three
NOTHING = object()


def check_history(messages: Sequence[Any]) -> None:
    """Refuse a dialogue that the service refuses, with the index of the message: ValueError.

    A call of a function and its result are neighbours; a result is JSON. The first version takes a system message only
    at the beginning. The second, whose content is lists, takes several calls and results in a row.
    """
    second = any(isinstance(message.get("content"), (list, tuple)) for message in objects(messages))
    waiting: list[tuple[int, Any]] = []  # calls without a result
    answerable = False
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role is None:
            raise ValueError(f"{where} needs to be an object with a role")
        if role == "system" and i and not second:
            raise ValueError(f"{where}: a system message is only allowed as the first message")
        stateful = role == "assistant" and any(message.get(name) is not None for name in STATE_IDS)
        calls, results = _check_message(message, where)
        if waiting and not results:
            raise _unanswered(*waiting[0], i)
        if results and not waiting and not answerable:
            raise ValueError(f"{where}: this result has no call of a function before it")
        waiting = [(i, call.get("name")) for call in calls] or waiting[results:]
        answerable = bool(calls) or stateful or (second and answerable and results > 0)
    if waiting:
        raise _unanswered(*waiting[0], len(messages))


def _unanswered(index: int, name: Any, due: int) -> ValueError:
    return ValueError(f"messages[{index}]: the call of function {name!r} has no result: messages[{due}] has to be it")


def _check_message(message: Mapping[str, Any], where: str) -> tuple[list[Mapping[str, Any]], int]:
    """Check what one message holds; list the calls in it, and count the results."""
    role, content, call = message.get("role"), message.get("content"), message.get("function_call")
    if call is not None and (role != "assistant" or not isinstance(call, Mapping)):
        raise ValueError(f"{where}.function_call is an object, in messages of role assistant alone")
    if message.get("attachments") is not None and role != "user":
        raise ValueError(f"{where}.attachments are for role user alone")
    if not content and not call and any(message.get(name) is not None for name in STATE_IDS):
        return [], 0  # in the second version a state may stand alone
    if (content is None and call is None) or content in ([], ()):
        raise ValueError(f"{where}.content is needed")
    if isinstance(content, (list, tuple)):
        return _check_parts(content, role, where)
    result = role in ("function", "tool")
    if result and not _is_json(content):
        raise ValueError(f"{where}.content: a result is a string that holds JSON, such as json.dumps({{'result': …}})")
    return [] if call is None else [call], int(result)


def _check_parts(parts: Sequence[Any], role: Any, where: str) -> tuple[list[Mapping[str, Any]], int]:
    """Check the parts of a message of the second version, where calls and results are parts."""
    calls, results = [], 0
    for i, part in enumerate(parts):
        at = f"{where}.content[{i}]"
        if isinstance(part, str):
            continue
        if not isinstance(part, Mapping):
            raise ValueError(f"{at} is no part of a message")
        call, result = part.get("function_call"), part.get("function_result")
        if call is not None:
            if not isinstance(call, Mapping) or not isinstance(call.get("arguments") or {}, Mapping):
                raise ValueError(f"{at}.function_call needs arguments that are an object, not a string")
            calls.append(call)
        if result is not None:
            if not isinstance(result, Mapping) or not isinstance(result.get("name"), str):
                raise ValueError(f"{at}.function_result needs the name of the function")
            if isinstance(result.get("result"), str) and not _is_json(result["result"]):
                raise ValueError(f"{at}.function_result.result has to be an object, or a string that holds JSON")
            results += 1
    if calls and role != "assistant":
        raise ValueError(f"{where}: a function_call is for role assistant")
    if bool(results) is not (role in ("function", "tool")):
        raise ValueError(f"{where} of role {str(getattr(role, 'value', role))!r} " + (
            "has a function_result, which is for role tool" if results else "needs a function_result"))
    return calls, results


def _is_json(text: Any) -> bool:
    return isinstance(text, str) and read(text) is not NOTHING


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")  # but Python reads it


def read(text: str) -> Any:
    """Read JSON as the service does; what is none is ``NOTHING``."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return NOTHING
