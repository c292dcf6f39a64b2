"""JSON Schemas of Python types, and Python values out of what a model wrote.

A type is a dataclass, a TypedDict, anything that annotations are made of (Optional, Literal, Enum, list, dict …), a
pydantic model where the caller has pydantic, or a JSON Schema as a dict. The service knows no choice between types, so
``Optional[X]`` is described as X that may be left out, and other Unions are refused.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import json
import math
import re
import sys
import types
import typing
import uuid
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, NoReturn, TypeVar, Union

from .docstrings import read_docstring
from .exceptions import ContentFilterError, GigaChatException, LengthFinishReasonError, ParseError
from .models.chat import with_field


class Mismatch(ValueError):
    """A value is not of its type; the text says where, and shows types alone: values are the user's business."""


class Field(NamedTuple):
    """One field of an object, or one parameter of a function."""

    name: str
    hint: Any
    required: bool
    description: str = ""
    default: Any = None


# ---- Answers


def response_format(kind: Any, strict: bool = True) -> dict[str, Any]:
    """Make the ``response_format`` of a request for a type; ValueError for an empty schema, which is refused.

    One that is whole already is sent as it is; what it says itself wins over ``strict``.
    """
    if isinstance(kind, Mapping) and kind.get("type") in ("text", "regex"):
        raise ValueError(f"response_format: no value can be read out of {kind['type']!r}: give a type or a JSON Schema")
    schema = schema_of(kind)
    if not schema:
        raise ValueError("response_format: the schema is empty, and the service does not take that")
    more = {name: value for name, value in kind.items() if value is not None} if _is_whole(kind) else {}
    return {"type": "json_schema", "strict": strict, **more, "schema": schema}


def with_response_format(payload: Any, kind: Any, strict: bool) -> dict[str, Any]:
    """Make a request of either version for an answer of a type."""
    body = with_field(payload, "response_format", response_format(kind, strict))
    if isinstance(body.get("model_options"), Mapping):  # of v2
        body["model_options"] = {**body["model_options"], "response_format": body["response_format"]}
    return body


def _is_whole(kind: Any) -> bool:
    """Tell whether this is a whole ``response_format``, with a type or a schema in it."""
    return isinstance(kind, Mapping) and kind.get("type") == "json_schema"


def parse_completion(completion: Mapping[str, Any], kind: Any) -> Any:
    """Read the value of a type out of an answer of either version of the API.

    An answer cut off by ``max_tokens`` is a LengthFinishReasonError, one that the filter replaced a ContentFilterError,
    and anything else without the value a ParseError. Each has ``.completion``, and the text as ``.partial``.
    """
    text, reason = answer_of(completion)
    error: GigaChatException | None = None
    if reason == "length":
        error = LengthFinishReasonError(completion)
    elif re.search("blacklist|whitelist|filter", reason):
        error = ContentFilterError(completion)
    elif reason == "function_call":
        error = ParseError("the model called a function instead of answering", text)
    elif not text.strip():
        error = ParseError(f"there is none (finish_reason {reason!r})", text)
    if error is None:
        try:
            return parse(text, kind)
        except ParseError as exc:
            error = exc
    error.partial = text
    if isinstance(error, ParseError):
        error.completion = completion
    raise error


def answer_of(completion: Mapping[str, Any]) -> tuple[str, str]:
    """Take text and finish_reason of the answer; both may be empty, and what has another form than is known is passed.

    >>> answer_of({"messages": [{"role": "assistant", "content": [{"text": "Да"}]}], "finish_reason": "stop"})
    ('Да', 'stop')
    """
    for choice in objects(completion.get("choices"))[:1]:
        return text_of(choice.get("message")), str(choice.get("finish_reason") or "")
    messages = objects(completion.get("messages"))
    reasons = [completion.get("finish_reason"), *(message.get("finish_reason") for message in messages)]
    said = [text_of(message) for message in messages if message.get("role") in ("assistant", None)]
    return "".join(said), str(next(filter(None, reversed(reasons)), ""))


def text_of(message: Any) -> str:
    """Join the text of a message, whose content is a string in v1 and a list of parts in v2."""
    content = message.get("content") if isinstance(message, Mapping) else None
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def objects(value: Any) -> list[Mapping[str, Any]]:
    """List the objects in a list; what else an answer may hold there, null above all, is left out."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


# ---- Out of a text


def parse(text: str, kind: Any) -> Any:
    """Read the value of a type out of a text; fences and prose round the JSON do no harm.

    Where several JSON values stand in the text, the longest that fits is taken. ParseError where none does.

    >>> parse('Вот ответ: {"город": "Тула"}. Удачи!', dict)
    {'город': 'Тула'}
    """
    first: Mismatch | None = None
    for value in _find_json(text):
        try:
            return _of_kind(value, kind)
        except Mismatch as exc:
            first = first or exc
    what = "there is no JSON in it that is whole and correct" if first is None else str(first)
    raise ParseError(what, text) from None


def _of_kind(value: Any, kind: Any) -> Any:
    """Decode a value of a type; of a JSON Schema that is a dict the outermost level is looked at."""
    if _is_whole(kind):
        kind = kind.get("schema") or {}
    if not isinstance(kind, Mapping):
        return decode(value, kind)
    schema = schema_of(kind)
    wanted = schema.get("type")
    if isinstance(wanted, str) and wanted != _type_name(value) and (wanted, type(value)) != ("integer", int):
        raise _wrong("", f"{wanted} as the schema says", value)
    missing = [name for name in schema.get("required") or () if isinstance(value, dict) and name not in value]
    if missing:
        raise Mismatch(f"{missing[0]} is missing")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # but Python reads it


_decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)  # models write line ends into strings


def _find_json(text: str) -> Iterator[Any]:
    """Find the JSON in a text: the whole of it, or else what is in fences and braces, the longest first."""
    whole = text.strip("\ufeff \t\r\n")
    try:
        yield _decoder.decode(whole)
        return
    except (ValueError, RecursionError):
        pass
    found = []
    for fence in re.finditer(r"```\w*\s(.*?)```", whole, re.DOTALL):
        try:
            found.append((fence.end(1) - fence.start(1), _decoder.decode(fence.group(1).strip())))
        except (ValueError, RecursionError):
            continue
    found += _find_braces(whole)
    for _, value in sorted(found, key=lambda pair: -pair[0]):
        yield value


_OPENING = re.compile(r'\{\s*["}]|\[\s*(?:["{\[\]\d-]|true|false|null)')  # where an object or an array may begin
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]]', re.DOTALL)
MAX_FAILURES = 1000  # each costs json's error a look through the text before it


def _find_braces(text: str) -> Iterator[tuple[int, Any]]:
    """Find objects and arrays between other words; the work is bounded, whatever the text is.

    What stands inside one that is broken is a fragment, not an answer: the search goes on behind it.
    """
    failures, opening = 0, _OPENING.search(text)
    while opening is not None and failures < MAX_FAILURES:
        place = opening.start()
        try:
            value, end = _decoder.raw_decode(text, place)
        except ValueError:
            failures, end = failures + 1, _skip(text, place)
        except RecursionError:
            return
        else:
            yield end - place, value
        opening = _OPENING.search(text, end)


def _skip(text: str, place: int) -> int:
    """Find the end of what opens at a place; where it does not close, that is the end of the text."""
    depth = 0
    for token in _TOKEN.finditer(text, place):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token.group(), 0)
        if not depth:
            return token.end()
    return len(text)


# ---- What sort of type an annotation is


_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_TEXTS: dict[Any, tuple[str | None, Callable[[str], Any]]] = {  # types whose values JSON has as strings
    datetime.datetime: ("date-time", lambda text: datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))),
    datetime.date: ("date", datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.fromisoformat),
    uuid.UUID: ("uuid", uuid.UUID),
    decimal.Decimal: (None, decimal.Decimal),
}
_ARRAYS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset, abc.Set: set, abc.MutableSet: set,
    abc.Sequence: list, abc.MutableSequence: list, abc.Collection: list, abc.Iterable: list,
}
_OBJECTS = (dict, abc.Mapping, abc.MutableMapping)


def bare(hint: Any) -> tuple[Any, str, str]:
    """Undress an annotation: the type in it, the text that ``Annotated`` gives it, and ``NotRequired`` or the like."""
    note = mark = ""
    while True:
        name = getattr(getattr(hint, "__origin__", None), "_name", None)
        if hasattr(hint, "__metadata__"):
            note = note or next((text for text in hint.__metadata__ if isinstance(text, str)), "")
            hint = hint.__origin__
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif name in ("Required", "NotRequired", "ReadOnly"):
            mark = mark if name == "ReadOnly" else name
            hint = hint.__args__[0]
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint, note, mark


def _sort(hint: Any, where: str) -> tuple[str, Any]:
    """Tell the sort of a type and what belongs to it; both the description and the decoding go by that."""
    hint = bare(hint)[0]
    hint = type(None) if hint is None else hint
    origin = getattr(hint, "__origin__", hint)
    args = tuple(arg for arg in getattr(hint, "__args__", None) or () if not isinstance(arg, TypeVar))
    if origin is Union or isinstance(hint, getattr(types, "UnionType", ())):
        return "union", args
    if getattr(origin, "_name", None) == "Literal":
        return "literal", args
    if hint is Any or hint is object or isinstance(hint, TypeVar):
        return "any", None
    if not isinstance(origin, type):
        raise TypeError(f"{where}: {hint!r} is no type that JSON could hold")
    if origin in _NAMES:
        return "plain", origin
    if origin in _TEXTS:
        return "text", origin
    if origin in _ARRAYS:
        return ("tuple" if origin is tuple and args and args[-1] is not Ellipsis else "array"), (origin, args)
    if origin in _OBJECTS:
        return "mapping", args[1] if len(args) == 2 else Any
    sort, kind = _sort_class(origin, where)
    if args and sort == "object":
        raise TypeError(f"{where}: {hint!r} has parameters; a class of it that names its types would do")
    return sort, kind


def _sort_class(kind: type, where: str) -> tuple[str, Any]:
    if issubclass(kind, enum.Enum):
        return "enum", kind
    if hasattr(kind, "model_json_schema") or hasattr(kind, "__get_validators__"):
        return "pydantic", kind
    if dataclasses.is_dataclass(kind) or is_typed_dict(kind):
        return "object", kind
    raise TypeError(f"{where}: {kind.__name__} is no type that JSON could hold; a dataclass would be")


def is_typed_dict(kind: Any) -> bool:
    """Tell whether a class is a TypedDict, of ``typing`` or of ``typing_extensions``."""
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__total__")


def accepts_none(hint: Any) -> bool:
    """Tell whether an annotation is Optional.

    >>> accepts_none(Union[int, None]), accepts_none(int)
    (True, False)
    """
    hint = bare(hint)[0]
    return hint in (None, type(None)) or type(None) in (getattr(hint, "__args__", None) or ())


def hints_of(thing: Any) -> dict[str, Any]:
    """Evaluate the annotations of a class or a function; TypeError where that cannot be done."""
    more: dict[str, Any] = {"include_extras": True} if sys.version_info >= (3, 9) else {}
    try:
        return typing.get_type_hints(thing, **more)
    except Exception as exc:
        name = getattr(thing, "__qualname__", repr(thing))
        advice = "; Python before 3.10 has Optional[int] and List[int] for int | None and list[int]"
        advice = advice if isinstance(exc, TypeError) else "; they have to be known where it is defined"
        raise TypeError(f"the annotations of {name} cannot be read: {exc}{advice}") from exc


def fields_of(kind: Any) -> list[Field]:
    """List the fields of a dataclass or a TypedDict; descriptions come from docstring, metadata and Annotated."""
    hints = hints_of(kind)
    notes = read_docstring(kind.__dict__.get("__doc__") or "", hints)[1]
    if is_typed_dict(kind):
        needed = getattr(kind, "__required_keys__", hints if kind.__total__ else ())
        return [_field(name, hint, name in needed, notes.get(name, "")) for name, hint in hints.items()]
    fields = []
    for field in dataclasses.fields(kind):
        if field.init:
            absent = field.default is dataclasses.MISSING
            needed = absent and field.default_factory is dataclasses.MISSING
            note = field.metadata.get("description") or notes.get(field.name, "")
            fields.append(_field(field.name, hints[field.name], needed, note, None if absent else field.default))
    return fields


def _field(name: str, hint: Any, needed: bool, note: str, default: Any = None) -> Field:
    kind, own, mark = bare(hint)
    needed = mark == "Required" or (needed and mark != "NotRequired" and not accepts_none(kind))
    return Field(name, kind, needed, own or note, default)


# ---- From types to schemas


def schema_of(kind: Any) -> dict[str, Any]:
    """Describe a type as a JSON Schema; a dict is one already, and a whole ``response_format`` is opened.

    A field with a default or ``Optional`` is not required. Where nothing is, all fields are made so, for without a list
    of required ones the service may answer with any object. TypeError for what JSON could not hold.

    >>> schema_of(typing.List[int])
    {'type': 'array', 'items': {'type': 'integer'}}
    """
    if isinstance(kind, Mapping):
        return schema_of(kind.get("schema") or {}) if _is_whole(kind) else dict(kind)
    where = getattr(kind, "__name__", "the type")
    if _sort(kind, where)[0] == "pydantic":  # its references point to the root, which is here
        return _pydantic_schema(kind)
    schema = describe_type(kind, where)
    if _sort(kind, where)[0] == "object" and schema["properties"] and not schema.get("required"):
        schema["required"] = list(schema["properties"])
    return schema


def describe_type(hint: Any, where: str, inside: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Describe an annotation; ``inside`` are the objects round it, for none may hold itself."""
    sort, kind = _sort(hint, where)
    if sort == "union":
        return _describe_union(kind, where, inside)
    if sort in ("array", "tuple"):
        return _describe_array(sort, kind[1], where, inside)
    if sort == "mapping":
        return {"type": "object", "properties": {}, "additionalProperties": describe_type(kind, where, inside) or True}
    if sort == "object":
        if kind in inside:  # such a schema takes references, which nobody has seen the service understand
            raise TypeError(f"{where}: {kind.__name__} holds itself, which a schema without references cannot say")
        return describe_object(fields_of(kind), kind.__name__, (*inside, kind))
    if sort == "pydantic":
        return _without_references(_pydantic_schema(kind), where)
    if sort == "plain":
        return {"type": _NAMES[kind]}
    if sort == "text":
        return {"type": "string", "format": _TEXTS[kind][0]} if _TEXTS[kind][0] else {"type": "string"}
    if sort == "any":
        return {}
    values = enum_values(kind) if sort == "enum" else [value for value in kind if value is not None]
    names = {_NAMES.get(type(value)) for value in values}
    return {"type": names.pop(), "enum": values} if len(names) == 1 and None not in names else {"enum": values}


def _pydantic_schema(kind: Any) -> dict[str, Any]:
    return dict(kind.model_json_schema() if hasattr(kind, "model_json_schema") else kind.schema())


def _without_references(root: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Put what references of a pydantic model point to in their place, for the model is not the root here."""
    schema = {name: value for name, value in root.items() if name not in ("$defs", "definitions")}
    resolved: dict[str, Any] = _resolve(schema, root, where)
    return resolved


def _resolve(schema: Any, root: Mapping[str, Any], where: str, inside: tuple[str, ...] = ()) -> Any:
    if isinstance(schema, list):
        return [_resolve(item, root, where, inside) for item in schema]
    if not isinstance(schema, dict):
        return schema
    path = schema.get("$ref")
    if path in inside:
        raise TypeError(f"{where}: {path} holds itself, which a schema without references cannot say")
    found = {name: _resolve(item, root, where, inside) for name, item in schema.items()}
    if not isinstance(path, str):
        return found
    del found["$ref"]
    target: Any = root
    for step in path.split("/")[1:]:
        target = target[step]
    return {**_resolve(target, root, where, (*inside, path)), **found}


def _describe_union(kinds: tuple[Any, ...], where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    schemas = [describe_type(kind, where, inside) for kind in kinds if kind is not type(None)]
    if len(schemas) > 1 and all(schema in ({"type": "integer"}, {"type": "number"}) for schema in schemas):
        return {"type": "number"}
    if len(schemas) != 1:
        raise TypeError(f"{where}: the service takes no Union of several types; describe one that holds them all")
    return schemas[0]


def _describe_array(sort: str, args: tuple[Any, ...], where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    items = [describe_type(arg, where + "[]", inside) for arg in args if arg is not Ellipsis] or [{}]
    schema: dict[str, Any] = {"type": "array"}
    if all(item == items[0] for item in items):  # else they have nothing in common that could be said
        schema["items"] = items[0]
    if sort == "tuple":
        schema.update(minItems=len(items), maxItems=len(items))
    return schema


def describe_object(fields: Iterable[Field], where: str, inside: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Describe an object of these fields; ``properties`` is there even when it is empty, as the service wants it."""
    properties, required = {}, []
    for field in fields:
        schema = properties[field.name] = describe_type(field.hint, f"{where}.{field.name}", inside)
        if field.description:
            schema["description"] = field.description
        default = field.default.value if isinstance(field.default, enum.Enum) else field.default
        if type(default) in (str, int, bool) or (type(default) is float and math.isfinite(default)):
            schema["default"] = default
        if field.required:
            required.append(field.name)
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def enum_values(kind: type[enum.Enum]) -> list[Any]:
    """List what stands for the members in JSON: their values, or their names where a value is nothing that JSON has."""
    values = [member.value for member in kind]
    return values if all(type(value) in (str, int, float, bool) for value in values) else list(kind.__members__)


# ---- From JSON to values


def decode(value: Any, hint: Any, path: str = "") -> Any:
    """Turn what JSON holds into a value of a type; Mismatch, with the path to it, for what does not fit.

    Nothing is guessed but this: a whole float is an int, an int is a float, and a member of an Enum may be given by its
    name. Fields that a dataclass does not know are left out.

    >>> decode({"a": [1, 2.0]}, typing.Dict[str, typing.Tuple[int, ...]])
    {'a': (1, 2)}
    """
    sort, kind = _sort(hint, path or "the type")
    return value if sort == "any" else _DECODERS[sort](value, kind, path)


def _decode_plain(value: Any, kind: Any, path: str) -> Any:
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if kind is float and type(value) is int:
        return float(value) if abs(value) < 1 << 1023 else value
    if type(value) is not kind:
        raise _wrong(path, _NAMES[kind], value)
    return value


def _decode_text(value: Any, kind: Any, path: str) -> Any:
    name, read = _TEXTS[kind]
    if kind is decimal.Decimal and type(value) in (int, float):
        value = repr(value)
    if not isinstance(value, str):
        raise _wrong(path, "string", value)
    try:
        return read(value.strip())
    except (ValueError, ArithmeticError):
        raise Mismatch(f"{path or 'it'} has to be a {name or 'decimal number'} as a string") from None


def _decode_union(value: Any, kinds: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    kinds = tuple(sorted(kinds, key=lambda kind: kind is not type(value)))  # 1 stays an int in Union[float, int]
    errors = []
    for kind in kinds:
        try:
            return decode(value, kind, path)
        except Mismatch as exc:
            errors.append(exc)
    raise errors[0] if errors else _wrong(path, "null", value)


def _decode_literal(value: Any, values: tuple[Any, ...], path: str) -> Any:
    for known in values:
        if known == value and type(known) is type(value):
            return known
    raise Mismatch(f"{path or 'it'} has to be one of {', '.join(map(repr, values))}")


def _decode_enum(value: Any, kind: Any, path: str) -> Any:
    for member in kind:
        if member.value == value and isinstance(member.value, bool) is isinstance(value, bool):
            return member
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    raise Mismatch(f"{path or 'it'} has to be one of {', '.join(map(repr, enum_values(kind)))}")


def _decode_array(value: Any, kind: tuple[Any, tuple[Any, ...]], path: str) -> Any:
    if not isinstance(value, list):
        raise _wrong(path, "array", value)
    item = kind[1][0] if kind[1] else Any
    items = [decode(each, item, f"{path}[{i}]") for i, each in enumerate(value)]
    try:
        return _ARRAYS[kind[0]](items)
    except TypeError:  # a set takes no lists
        raise Mismatch(f"{path or 'it'} holds what a {kind[0].__name__} cannot hold") from None


def _decode_tuple(value: Any, kind: tuple[Any, tuple[Any, ...]], path: str) -> Any:
    if not isinstance(value, list) or len(value) != len(kind[1]):
        raise _wrong(path, f"array of {len(kind[1])}", value)
    return tuple(decode(each, item, f"{path}[{i}]") for i, (each, item) in enumerate(zip(value, kind[1])))


def _decode_mapping(value: Any, kind: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(path, "object", value)
    return {name: decode(item, kind, _join(path, name)) for name, item in value.items()}


def _decode_object(value: Any, kind: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(path, "object", value)
    fields = {field.name: field for field in fields_of(kind)}
    values = {name: decode(value[name], fields[name].hint, _join(path, name)) for name in fields if name in value}
    missing = [name for name, field in fields.items() if field.required and name not in value]
    if missing:
        raise Mismatch(f"{_join(path, missing[0])} is missing")
    if is_typed_dict(kind):
        return {**value, **values}
    for field in dataclasses.fields(kind):  # Optional without a default: not required, and nobody else fills it
        if field.init and field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            values[field.name] = None
    try:
        return kind(**values)
    except (TypeError, ValueError) as exc:  # its __post_init__ looked closer
        raise Mismatch(f"{path or kind.__name__}: {exc}") from exc


def _decode_pydantic(value: Any, kind: Any, path: str) -> Any:
    try:
        return kind.model_validate(value) if hasattr(kind, "model_validate") else kind.parse_obj(value)
    except ValueError as exc:
        error: dict[str, Any] = next(iter(getattr(exc, "errors", list)()), {})
        for step in error.get("loc", ()):
            path = f"{path}[{step}]" if isinstance(step, int) else _join(path, str(step))
        raise Mismatch(f"{path or kind.__name__}: {error.get('msg', 'it is refused')}") from exc


_DECODERS: dict[str, Callable[[Any, Any, str], Any]] = {
    "plain": _decode_plain, "text": _decode_text, "union": _decode_union, "literal": _decode_literal,
    "enum": _decode_enum, "array": _decode_array, "tuple": _decode_tuple, "mapping": _decode_mapping,
    "object": _decode_object, "pydantic": _decode_pydantic,
}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_name(value: Any) -> str:
    names = {**_NAMES, dict: "object", list: "array", int: "number"}
    return names.get(type(value), type(value).__name__)


def _wrong(path: str, wanted: str, value: Any) -> Mismatch:
    return Mismatch(f"{path or 'it'} has to be {wanted}, not {_type_name(value)}")
