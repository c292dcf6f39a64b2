"""What the service turns away, and with which words.

The words are the service's own where they have been recorded or documented. Where they have not, which the comments
say, a wrong type is answered like bad JSON, and a wrong value with 422 in the tone of the known texts. What the API's
description does not settle is let through.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Callable

from .models import find_model
from .web import HTTPError, api_error

BUILT_IN = ("text2image", "get_file_content", "text2model3d")  # functions that run on the server
MAX_DEPTH = 200  # brackets within brackets; more would end in a RecursionError somewhere
MAX_QUOTE = 100  # characters of what somebody sent, in an error
FUNCTION_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")


# ---- Errors


def require_syntax(right: bool) -> None:
    """Refuse what has the wrong shape: the service has one error for that and for bad syntax."""
    if not right:
        raise api_error(400, "Your request contains invalid JSON syntax.")


def invalid_params(what: str) -> HTTPError:
    """Return the service's error for a value that it cannot take."""
    return api_error(422, f"Invalid params: {what}")


def quote(text: str) -> str:
    """Return what somebody sent, short enough for an error.

    >>> quote("temprature"), len(quote("а" * 1000))
    ('temprature', 100)
    """
    return text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE - 1] + "…"


# ---- Checks, to build tables from: each takes a value that is not null, and the path to it


Check = Callable[[Any, str], None]


def any_value(value: Any, where: str) -> None:
    """Take every value."""


def by_type(checks: dict[type, Check]) -> Check:
    """Choose the check by the type of the value; a bool is not an int here, and a subclass does not come from JSON."""
    def check(value: Any, where: str) -> None:
        require_syntax(type(value) in checks)
        checks[type(value)](value, where)
    return check


def of_type(*kinds: type) -> Check:
    """Take a value of these types."""
    return by_type(dict.fromkeys(kinds, any_value))


def in_range(span: str, *kinds: type) -> Check:
    """Take a number within an interval that is written as in mathematics: `(0, +inf)`, `[0, 1]`.

    Integers have 32 bits in the API, and a float cannot be infinite, though `1e999` is read as that.
    """
    low, high = (float(end) for end in span[1:-1].split(","))
    largest = sys.float_info.max if float in kinds else 2**31 - 1

    def check(value: Any, where: str) -> None:
        require_syntax(type(value) in kinds and -largest <= value <= largest)
        if not (low < value or (low == value and span[0] == "[")) or not value <= high:
            raise invalid_params(f"{where} must be in range {span}")
    return check


def one_of(*names: str) -> Check:
    """Take one of these strings."""
    def check(value: Any, where: str) -> None:
        require_syntax(type(value) is str)
        if value not in names:  # the service's own words are not known
            raise invalid_params(f"{where} must be one of {', '.join(names)}")
    return check


def list_of(check_item: Check) -> Check:
    """Take an array whose items pass the check; null is no item."""
    def check(value: Any, where: str) -> None:
        require_syntax(type(value) is list)
        for index, item in enumerate(value):
            check_item(item, f"{where}[{index}]")
    return check


def object_of(fields: dict[str, Check], *required: str, strict: bool = True) -> Check:
    """Take an object of these fields, where null is as good as absent; without `strict` other fields may be there.

    How the service speaks of fields that it does not know is not known itself; that a required one `is required` are
    its words for the description of a function.
    """
    def check(value: Any, where: str) -> None:
        require_syntax(type(value) is dict)
        for name, item in value.items():
            path = f"{where}.{name}" if where else name
            if name not in fields:
                if strict:
                    raise invalid_params(f"unknown field {quote(path)}")
            elif item is not None:
                fields[name](item, path)
        for name in required:
            if value.get(name) is None:
                raise invalid_params(f"{where}.{name} is required" if where else f"{name} is required")
    return check


TEXT, FLAG, OBJECT = of_type(str), of_type(bool), of_type(dict)
TEXTS = list_of(TEXT)
POSITIVE, POSITIVE_INT = in_range("(0, +inf)", int, float), in_range("(0, +inf)", int)
_FORMATS = {
    "text": object_of({"type": TEXT}),
    "json_schema": object_of({"type": TEXT, "schema": OBJECT, "strict": FLAG}),
    "regex": object_of({"type": TEXT, "regex": TEXT}, "regex"),
}


def response_format(*kinds: str) -> Check:
    """Take a `response_format` of these kinds; its errors have been seen in the second version of the API alone."""
    def check(value: Any, where: str) -> None:
        require_syntax(type(value) is dict)
        kind = "" if value.get("type") is None else value["type"]
        require_syntax(type(kind) is str)
        if kind not in kinds:
            raise api_error(400, f'Unknown type "{quote(kind)}" in response_format')
        _FORMATS[kind](value, where)
        if kind == "json_schema" and not value.get("schema"):
            raise api_error(400, "Empty schema with json format type is not supported")
    return check


# ---- Tables: the fields of the API, with those that only its SDKs know


MESSAGE = {
    # function_in_progress is a role of answers only
    "role": one_of("system", "user", "assistant", "function", "search_result"),
    **dict.fromkeys(("content", "functions_state_id", "name", "reasoning_content"), TEXT),
    # `arguments` as an object is what is recorded, as a string what the specification says.
    "function_call": object_of({"name": TEXT, "arguments": of_type(dict, str), "id": TEXT}, "name"),
    "attachments": TEXTS, "data_for_context": list_of(OBJECT), "created": of_type(int), "id": any_value,
}
FUNCTION = {
    "name": TEXT, "description": TEXT, "parameters": OBJECT, "return_parameters": OBJECT,
    "few_shot_examples": list_of(object_of({"request": TEXT, "params": OBJECT}, "request", "params")),
}
_STORAGE = {"is_stateful": FLAG, "limit": POSITIVE_INT, "assistant_id": TEXT, "thread_id": TEXT, "metadata": OBJECT}
SAMPLING = {
    "temperature": POSITIVE, "top_p": in_range("[0, 1]", int, float), "max_tokens": POSITIVE_INT,
    "repetition_penalty": POSITIVE, "update_interval": in_range("[0, +inf)", int, float)}
RANKER = {"enabled": FLAG, "top_n": POSITIVE_INT}
CHAT = {
    **SAMPLING,
    "model": any_value,  # `find_model` has the words for what is none
    "messages": list_of(object_of(MESSAGE, "role")),
    "n": in_range("[1, 4]", int),
    "function_call": by_type({
        str: one_of("none", "auto"), dict: object_of({"name": TEXT, "partial_arguments": OBJECT}, "name")}),
    "functions": list_of(object_of(FUNCTION, "name")),
    "function_ranker": object_of(RANKER),
    "response_format": response_format("text", "json_schema"),
    "reasoning_effort": one_of("low", "medium", "high"),
    "storage": object_of(_STORAGE, "is_stateful"),
    "stream": FLAG, "profanity_check": FLAG, "flags": TEXTS, "additional_data": OBJECT, "features": OBJECT,
}
_LENIENT_CHAT = {  # what the emulator itself reads
    "messages": list_of(object_of({"role": TEXT, "content": TEXT, "function_call": OBJECT}, strict=False)),
    "functions": list_of(object_of(FUNCTION, "name", strict=False)),
    "function_call": by_type({
        str: any_value, dict: object_of({"name": TEXT, "partial_arguments": OBJECT}, strict=False)}),
    "response_format": object_of({"type": TEXT, "schema": OBJECT}, strict=False),
    **{name: CHAT[name] for name in ("n", "max_tokens", "update_interval")},
}
_CHECK_CHAT = {True: object_of(CHAT), False: object_of(_LENIENT_CHAT, strict=False)}


# ---- Whole bodies


def check_chat(body: dict[str, Any], strict: bool) -> None:
    """Refuse a question that the service would refuse; without `strict` only what could not be answered."""
    _CHECK_CHAT[strict](body, "")
    if not body.get("messages"):  # the service's own words are not known
        raise invalid_params("messages must not be empty")
    find_model(body.get("model"), "chat")
    if strict:
        check_history(body["messages"])
        check_functions(body.get("functions") or [], body.get("function_call"))


def check_history(messages: list[dict[str, Any]], whole: bool = True) -> None:
    """Refuse a dialogue whose messages do not follow one another as they must; one that is not whole may end anywhere.

    A call of a function and its result are neighbours. A state id may stand for a call that was left out, but need not
    have a result: the functions that run on the server give one, too.
    """
    no_result = invalid_params("every assistant function call must have a result in history")
    called = answerable = False
    for index, message in enumerate(messages):
        role, where = message["role"], f"messages[{index}]"
        if role == "system" and index:
            raise invalid_params("system message must be the first message")
        if called and role != "function":
            raise no_result
        if role == "function" and not answerable:
            raise invalid_params("every assistant function result must have an assistant function call in history")
        _check_message(message, where)
        called = message.get("function_call") is not None
        answerable = called or (role == "assistant" and message.get("functions_state_id") is not None)
    if called and whole:
        raise no_result


def _check_message(message: dict[str, Any], where: str) -> None:
    """Refuse fields that do not go with the role, and a result that is not JSON."""
    role, content = message["role"], message.get("content") or ""
    for name, owner in (("function_call", "assistant"), ("attachments", "user")):
        if message.get(name) is not None and role != owner:  # the service's own words are not known
            raise invalid_params(f"{where}.{name} is for role {owner}, not {role}")
    if message.get("content") is None and message.get("function_call") is None:  # nor are they here
        raise invalid_params(f"{where}.content is required")
    if role == "function" and not is_json(content):
        # The beginning is reported of the first version of the API, the end is from a log of the second. Whether JSON
        # that is no object will do has not been tried.
        what = f"invalid function result for function json string {quote(content)}, error: JSON parse error"
        raise api_error(422, f"INVALID_PARAMS: {what}, {where}.content")


def check_functions(functions: list[dict[str, Any]], function_call: Any) -> None:
    """Refuse descriptions of functions that the service does not take, and a call of what is not described."""
    names = [function["name"] for function in functions]
    bad = [quote(name) for name in names if not FUNCTION_NAME.fullmatch(name)]
    if bad:
        raise invalid_params(
            "Invalid function names. Only Latin letters (A-Z or a-z), underscore (_), hyphen (-), dot (.) and digits "
            f"(not leading) are allowed.: [{', '.join(bad)}]")
    for index, function in enumerate(functions):
        if function.get("parameters") is None and function["name"] not in BUILT_IN:
            raise invalid_params(f"functions[{index}].parameters is required")
        check_schema(function.get("parameters") or {})
    if isinstance(function_call, dict) and function_call["name"] not in (*names, *BUILT_IN):
        name = quote(function_call["name"])  # the service's own words are not known
        raise invalid_params(f"function_call.name must be one of the functions, and {name} is not")


def check_schema(parameters: dict[str, Any]) -> None:
    """Refuse a schema with an object inside that has no `properties`, in which the service sees a mistake.

    That it looks into arrays as well, and what it says of a schema that is none, is not known.
    """
    waiting = [("", parameters)]
    while waiting:
        where, schema = waiting.pop()
        properties = schema.get("properties")
        if where and properties is None and schema.get("type") == "object":
            raise api_error(422, f"Field '{quote(where)}properties' is missing")
        require_syntax(properties is None or type(properties) is dict)
        inner = [(f"{where}properties.{name}.", item) for name, item in (properties or {}).items()]
        if schema.get("items") is not None and type(schema["items"]) is not list:
            inner.append((f"{where}items.", schema["items"]))
        require_syntax(all(type(item) is dict for _, item in inner))
        waiting += reversed(inner)


# ---- Syntax


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("no such number")
    return number


# NaN and Infinity are not JSON, but Python reads them; int() refuses them.
_DECODER = json.JSONDecoder(parse_float=_read_float, parse_constant=int)


def is_json(text: str) -> bool:
    """Tell whether a text is JSON."""
    try:
        _DECODER.decode(text)
        return True
    except (ValueError, RecursionError):
        return False


def parse_object(raw: bytes) -> Any:
    """Return a JSON object, in which every number is finite and nothing is nested too deeply."""
    try:
        body = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        body = None
    require_syntax(isinstance(body, dict))
    require_syntax(raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH or not _is_deep(body))
    return body


def _is_deep(value: Any) -> bool:
    """Tell whether more than `MAX_DEPTH` arrays and objects are within one another."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for outer in level if isinstance(outer, (dict, list))
                 for item in (outer.values() if isinstance(outer, dict) else outer)]
    return any(isinstance(item, (dict, list)) for item in level)
