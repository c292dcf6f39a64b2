"""From what a caller gives to the body of a request, and its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Generator, Iterable, Mapping
from enum import Enum
from typing import Any
from urllib.parse import quote
from uuid import UUID

from .exceptions import ModelNotSpecifiedError
from .fields import as_list, check_request, own_id, type_error, without_none
from .json_text import join_halves
from .models.chat import Chat
from .objects import Obj
from .validators import host_of

# Bodies of chats


def chat_body(payload: Any, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make a v1 request body of a question, messages, or a whole request; refuse unknown fields.

    The model, ``profanity_check`` and ``flags`` of a config fill what the caller left out.

    >>> chat_body("Привет")
    {'messages': [{'role': 'user', 'content': 'Привет'}]}
    """
    request, more = as_request(payload, Chat)
    body = check_request(request, Chat)
    if body.get("response_format") is not None:
        from .models.response_format import wire_format

        body["response_format"] = wire_format(body["response_format"])
    body.update(more)
    body.pop("stream", None)  # chat() and stream() say it
    if config is not None:
        if not body.get("model") and not ("storage" in body and names_model(body)):
            body["model"] = config["model"] or default_model(config)
        for name in ("profanity_check", "flags"):
            if config[name] is not None and name not in body:
                body[name] = config[name]
    return body


def v2_body(payload: Any, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make a v2 request body of a question, messages, or a whole request; refuse fields that nobody knows.

    Of ``config`` the model, ``profanity_check`` and ``flags`` fill what the caller left out. A configuration without a
    model leaves it out; ``names_model`` tells.

    >>> v2_body("Привет", {"model": "GigaChat-2"})
    {'messages': [{'role': 'user', 'content': [{'text': 'Привет'}]}], 'model': 'GigaChat-2'}
    """
    from .models.chat_completions import ChatCompletionRequest, name_state
    from .models.response_format import wire_format

    request, more = as_request(payload, ChatCompletionRequest)
    if isinstance(request.get("storage"), bool) and request.pop("storage"):
        request["storage"] = {}
    body = check_request(name_state(request), ChatCompletionRequest)
    beside = {name: body.pop(name) for name in ("reasoning", "response_format") if name in body}
    options = {**beside, **body.get("model_options", {})}
    if options.get("response_format") is not None:
        options["response_format"] = wire_format(options["response_format"])
    if options:
        body["model_options"] = options
    body.update(more)
    body.pop("stream", None)  # create() and stream() say it
    config = config or {}
    given = body.pop("profanity_check", None)
    check = config.get("profanity_check") if given is None else given
    if not names_model(body) and config.get("model") is not None:
        body["model"] = config["model"]
    if check is not None and body.get("disable_filter") is None:
        body["disable_filter"] = not check
    if config.get("flags") is not None and "flags" not in body:
        body["flags"] = config["flags"]
    return body


def as_mapping(payload: Any) -> Mapping[str, Any]:
    """Take a question or messages as a request."""
    if isinstance(payload, str):
        return {"messages": [{"role": "user", "content": payload}]}
    if isinstance(payload, Mapping):
        return payload
    if isinstance(payload, Iterable) and not isinstance(payload, (bytes, bytearray)):
        return {"messages": payload}
    raise TypeError(f"a string, a list of messages, a dict or Chat is needed, not {type(payload).__name__}")


def as_request(payload: Any, kind: type[Obj]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Copy a question, messages or a whole request into a request, and take ``additional_fields`` out of it."""
    payload = as_mapping(payload)
    if "messages" not in payload and "role" in payload:
        raise TypeError("this is one message, for it has a role: give a list of messages")
    body = without_none(payload)
    more = body.pop("additional_fields", {})
    if not isinstance(more, Mapping):
        raise type_error("additional_fields", "a dict", more)
    if "messages" not in body:
        check_request(body, kind)  # perhaps it was misspelt
        raise TypeError("the request needs messages, a list")
    body["messages"] = messages = list(as_list(body["messages"], "messages"))
    for i, message in enumerate(messages):
        if not isinstance(message, (dict, Mapping)):  # dict first: it is the quicker one to tell
            raise type_error(f"messages[{i}]", "a dict or Messages", message)
    return body, more


def with_field(payload: Any, name: str, value: Any) -> dict[str, Any]:
    """Make a request of a question, of messages or of a request, with one field more.

    >>> with_field("Привет", "model", "GigaChat-2")
    {'messages': [{'role': 'user', 'content': 'Привет'}], 'model': 'GigaChat-2'}
    """
    return {**as_mapping(payload), name: value}


def default_model(config: Mapping[str, Any]) -> str:
    """Return the model of a config; ModelNotSpecifiedError where it has none."""
    model: str | None = config["model"]
    if model is None:
        host = host_of(config["base_url"])
        raise ModelNotSpecifiedError(
            f"{host} has no default model: name one, as model= or GIGACHAT_MODEL (get_models() lists them)"
        )
    return model


def names_model(body: Mapping[str, Any]) -> bool:
    """Tell whether a request says which model answers: by its name, or by an assistant or a thread that has one.

    >>> names_model({"messages": [], "storage": {"thread_id": "t"}})
    True
    """
    storage = body.get("storage")
    stored = storage if isinstance(storage, Mapping) else {}
    held = (body.get("model"), body.get("assistant_id"), stored.get("assistant_id"), stored.get("thread_id"))
    return any(held)  # what is empty names nothing


def has_functions(body: Mapping[str, Any]) -> bool:
    """Tell whether a request has functions, or messages with their calls or results."""
    for message in body["messages"]:
        if "function_call" in message or message.get("role") == "function":
            return True
    return bool(body.get("functions"))


def path_id(value: str, name: str) -> str:
    """Quote an id for a path, so that it cannot lead to another address.

    >>> path_id("GigaChat:1/../x", "model")
    'GigaChat%3A1%2F..%2Fx'
    """
    if not isinstance(value, str) or value.strip() in ("", ".", "..") or re.search("[\ud800-\udfff]", value):
        raise ValueError(f"{name}: an id is needed{own_id(value)}")
    return quote(value, safe="")


# JSON


def _jsonable(value: Any) -> Any:
    """Give a value that JSON has not the form that everybody expects: text for a date, a list for an array."""
    if isinstance(value, (Mapping, Enum)):
        return dict(value) if isinstance(value, Mapping) else value.value
    for method in ("tolist", "isoformat", "__float__"):  # of numpy and pandas; of dates; of Decimal
        if hasattr(value, method):
            number = getattr(value, method)()
            return int(number) if method == "__float__" and number == int(number) else number
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (Collection, Generator)) and not isinstance(value, (bytes, bytearray)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_jsonable)


def to_json(body: Mapping[str, Any]) -> bytes:
    """Write a body as JSON in UTF-8; see ``to_utf8``. Numpy's values, dates and the like get their usual form."""
    try:
        text = _encoder.encode(body)
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"the request cannot be written as JSON: {_path_of_error(body)}{exc}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return to_utf8(text)


def to_utf8(text: str) -> bytes:
    """Encode a text; halves of surrogate pairs, which UTF-8 has no room for, become U+FFFD."""
    if not isinstance(text, str):
        raise TypeError(f"a text is needed, not {type(text).__name__}")
    return join_halves(text).encode("utf-8")


def _path_of_error(value: Any, where: str = "") -> str:
    """Find the part of a body that cannot be written; empty where it holds itself."""
    pairs: Any = value.items() if isinstance(value, Mapping) else ()
    pairs = enumerate(value) if isinstance(value, (list, tuple)) else pairs
    try:
        for key, item in pairs:
            try:
                _encoder.encode(item)
            except (TypeError, ValueError):
                return _path_of_error(item, f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key}")
    except RecursionError:
        return ""
    return where.lstrip(".") + ": " if where else ""
