"""JSON Schemas of Python types, and Python values out of the JSON that a model wrote.

A type is a dataclass, a TypedDict, an annotation (Optional, Literal, Enum, list, dict …), a pydantic model where the
caller has pydantic, or a JSON Schema as a dict. The service has no choice between types, so ``Optional[X]`` is
described as X that may be left out, and other Unions are refused.
"""

from __future__ import annotations

import collections.abc as abc
import contextlib
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
from .json_text import replace_halves
from .payload import with_field


class Mismatch(ValueError):
    """A value is not of its type; the text says where, and shows types but no values."""


class Field(NamedTuple):
    """One field of an object, or one parameter of a function."""

    name: str
    hint: Any
    required: bool
    description: str = ""
    default: Any = None


# Requests and answers


def response_format(kind: Any, strict: bool = True) -> dict[str, Any]:
    """Make the ``response_format`` of a request for a type; ValueError for an empty schema."""
    schema = schema_of(kind)
    if not schema:
        raise ValueError("response_format: the schema is empty, and the service does not take that")
    return {"type": "json_schema", "schema": schema, "strict": strict}


def with_response_format(payload: Any, kind: Any, strict: bool) -> dict[str, Any]:
    """Make a request of either version for an answer of a type."""
    body = with_field(payload, "response_format", response_format(kind, strict))
    if isinstance(body.get("model_options"), Mapping):  # of v2
        body["model_options"] = {**body["model_options"], "response_format": body["response_format"]}
    return body


def parse_completion(completion: Any, kind: Any) -> Any:
    """Read the value of a type out of an answer of either version of the API.

    An answer cut off by ``max_tokens`` is a LengthFinishReasonError, one that the filter replaced a ContentFilterError,
    and anything else without the value a ParseError. Each has ``.completion``, and the text as ``.partial``.
    """
    text = completion.text
    error: GigaChatException | None = None
    if completion.truncated:
        error = LengthFinishReasonError(completion)
    elif completion.blocked:
        error = ContentFilterError(completion)
    elif completion.finish_reason == "function_call":
        error = ParseError("the model called a function instead of answering", text, completion)
    elif not text.strip():
        error = ParseError(f"there is none (finish_reason {completion.finish_reason!r})", text, completion)
    if error is None:
        try:
            return parse(text, kind)
        except ParseError as exc:
            error = exc
            error.completion = completion
    error.partial = text
    raise error


# From a text to values


def parse(text: str, kind: Any) -> Any:
    """Read the value of a type out of a text with JSON, which may have fences and prose around it.

    Where several JSON values stand in the text, the longest that fits is taken. ParseError where none does.

    >>> parse('Вот ответ: {"город": "Тула"}. Удачи!', dict)
    {'город': 'Тула'}
    """
    first: Mismatch | None = None
    for value in _find_json(text):
        try:
            return _decode_as(value, kind)
        except Mismatch as exc:
            first = first or exc
    what = "there is no JSON in it that is whole and correct" if first is None else str(first)
    raise ParseError(what, text) from None


def _decode_as(value: Any, kind: Any) -> Any:
    """Decode a value of a type; of a JSON Schema the outermost level is checked."""
    if not isinstance(kind, Mapping):
        return decode(value, kind)
    wanted = kind.get("type")
    if isinstance(wanted, str) and wanted != _type_name(value) and (wanted, type(value)) != ("integer", int):
        raise _wrong("", f"{wanted} as the schema says", value)
    for name in kind.get("required") or ():
        if isinstance(value, dict) and name not in value:
            raise Mismatch(f"{name} is missing")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)  # models write line ends into strings
_FENCE = re.compile(r"```\w*\s(.*?)```", re.DOTALL)
_OPENING = re.compile(r'\{\s*["}]|\[\s*(?:["{\[\]\d-]|true|false|null)')  # where an object or an array may begin


def _find_json(text: str) -> Iterator[Any]:
    """Find the JSON in a text: the whole of it, or else what is in fences and between words, the longest first."""
    whole = text.strip("\ufeff \t\r\n")
    try:
        yield replace_halves(_decoder.decode(whole))
        return
    except (ValueError, RecursionError):
        pass
    found = list(_find_values(whole))
    for fence in _FENCE.findall(whole):
        with contextlib.suppress(ValueError, RecursionError):
            found.append((len(fence), replace_halves(_decoder.decode(fence.strip()))))
    for _, value in sorted(found, key=lambda pair: -pair[0]):
        yield value


def _find_values(text: str) -> Iterator[tuple[int, Any]]:
    """Find objects and arrays between other words, with their lengths.

    The search ends at an object that is broken, for what stands inside it is a fragment and not the answer.
    """
    opening = _OPENING.search(text)
    while opening is not None:
        try:
            value, end = _decoder.raw_decode(text, opening.start())
        except ValueError:
            if opening.group()[-1] in '"{[':
                return
            end = opening.end()  # "[1, см. ниже]"
        except RecursionError:
            return
        else:
            yield end - opening.start(), replace_halves(value)
        opening = _OPENING.search(text, end)


# What sort of type an annotation is


_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_TEXTS: dict[Any, tuple[str, Callable[[str], Any]]] = {  # types whose values are strings in JSON: format, constructor
    datetime.datetime: ("date-time", lambda text: datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))),
    datetime.date: ("date", datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.fromisoformat),
    uuid.UUID: ("uuid", uuid.UUID),
    decimal.Decimal: ("", decimal.Decimal),
}
_ARRAYS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset, abc.Set: set, abc.MutableSet: set,
    abc.Sequence: list, abc.MutableSequence: list, abc.Collection: list, abc.Iterable: list,
}
_OBJECTS = (dict, abc.Mapping, abc.MutableMapping)


def unwrap(hint: Any) -> tuple[Any, str, str]:
    """Return the type in an annotation, the text that ``Annotated`` gives it, and ``Required`` or ``NotRequired``."""
    note = mark = ""
    while True:
        name = getattr(getattr(hint, "__origin__", None), "_name", None)
        if hasattr(hint, "__metadata__"):
            note = note or next((text for text in hint.__metadata__ if isinstance(text, str)), "")
            hint = hint.__origin__
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif name in ("Required", "NotRequired"):
            hint, mark = hint.__args__[0], name
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint, note, mark


def _classify(hint: Any, where: str) -> tuple[str, Any]:
    """Tell the sort of a type, a key of the table below, and what belongs to it."""
    hint = unwrap(hint)[0]
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
    return _classify_class(origin, where, args)


def _classify_class(kind: type, where: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    if issubclass(kind, enum.Enum):
        return "enum", kind
    if hasattr(kind, "model_json_schema") or hasattr(kind, "__get_validators__"):
        return "pydantic", kind
    if not (dataclasses.is_dataclass(kind) or _is_typed_dict(kind)):
        raise TypeError(f"{where}: {kind.__name__} is no type that JSON could hold; a dataclass would be")
    if args:
        raise TypeError(f"{where}: {kind.__name__} has parameters; a class of it that names its types would do")
    return "object", kind


def _is_typed_dict(kind: type) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def accepts_none(hint: Any) -> bool:
    """Tell whether an annotation is Optional.

    >>> accepts_none(Union[int, None]), accepts_none(int)
    (True, False)
    """
    hint = unwrap(hint)[0]
    return hint in (None, type(None)) or type(None) in (getattr(hint, "__args__", None) or ())


def hints_of(thing: Any) -> dict[str, Any]:
    """Evaluate the annotations of a class or a function; TypeError where that cannot be done."""
    more: dict[str, Any] = {"include_extras": True} if sys.version_info >= (3, 9) else {}
    try:
        return typing.get_type_hints(thing, **more)
    except Exception as exc:
        name = getattr(thing, "__qualname__", repr(thing))
        advice = "they have to be known where it is defined"
        if isinstance(exc, TypeError):
            advice = "Python before 3.10 has Optional[int] and List[int] for int | None and list[int]"
        raise TypeError(f"the annotations of {name} cannot be read: {exc}; {advice}") from exc


def fields_of(kind: Any) -> list[Field]:
    """List the fields of a dataclass or a TypedDict; descriptions come from docstring, metadata and Annotated."""
    hints = hints_of(kind)
    notes = read_docstring(kind.__dict__.get("__doc__") or "", hints)[1]
    if _is_typed_dict(kind):
        needed = getattr(kind, "__required_keys__", hints if kind.__total__ else ())
        return [_field(name, hint, name in needed, notes.get(name, "")) for name, hint in hints.items()]
    fields = []
    for field in dataclasses.fields(kind):
        if field.init:
            absent = field.default is dataclasses.MISSING
            required = absent and field.default_factory is dataclasses.MISSING
            note = field.metadata.get("description") or notes.get(field.name, "")
            fields.append(_field(field.name, hints[field.name], required, note, None if absent else field.default))
    return fields


def _field(name: str, hint: Any, required: bool, note: str, default: Any = None) -> Field:
    kind, own_note, mark = unwrap(hint)
    required = mark == "Required" or (required and mark != "NotRequired" and not accepts_none(kind))
    return Field(name, kind, required, own_note or note, default)


# From types to schemas; ``inside`` holds the objects that a type is part of


def schema_of(kind: Any) -> dict[str, Any]:
    """Describe a type as a JSON Schema.

    At the root, where no field is required all are: with none the service may answer with any object.
    """
    if isinstance(kind, Mapping):
        return dict(kind)
    where = getattr(kind, "__name__", "the type")
    sort = _classify(kind, where)[0]
    if sort == "pydantic":
        return _pydantic_schema(kind)
    schema = describe_type(kind, where)
    if sort == "object" and schema["properties"]:
        schema.setdefault("required", list(schema["properties"]))
    return schema


def describe_type(hint: Any, where: str, inside: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Describe an annotation; TypeError for what a schema cannot say."""
    sort, kind = _classify(hint, where)
    return _SORTS[sort][0](kind, where, inside)


def describe_object(fields: Iterable[Field], where: str, inside: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Describe an object of these fields; ``properties`` is there even when it is empty, as the service wants it."""
    properties: dict[str, Any] = {}
    required = []
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


def _describe_object(kind: Any, where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    if kind in inside:  # it would take references, which the service is not known to understand
        raise TypeError(f"{where}: {kind.__name__} holds itself, which a schema without references cannot say")
    return describe_object(fields_of(kind), kind.__name__, (*inside, kind))


def _describe_union(kinds: tuple[Any, ...], where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    schemas = [describe_type(kind, where, inside) for kind in kinds if kind is not type(None)]
    if len(schemas) > 1 and all(schema in ({"type": "integer"}, {"type": "number"}) for schema in schemas):
        return {"type": "number"}
    if len(schemas) != 1:
        raise TypeError(f"{where}: the service takes no Union of several types; describe one that holds them all")
    return schemas[0]


def _describe_array(kind: tuple[Any, tuple[Any, ...]], where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    return {"type": "array", "items": describe_type(kind[1][0] if kind[1] else Any, where + "[]", inside)}


def _describe_tuple(kind: tuple[Any, tuple[Any, ...]], where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    items = [describe_type(arg, where + "[]", inside) for arg in kind[1]]
    same = {"items": items[0]} if all(item == items[0] for item in items) else {}
    return {"type": "array", **same, "minItems": len(items), "maxItems": len(items)}


def _describe_mapping(kind: Any, where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": describe_type(kind, where, inside) or True}


def _describe_text(kind: Any, *_: Any) -> dict[str, Any]:
    return {"type": "string", "format": _TEXTS[kind][0]} if _TEXTS[kind][0] else {"type": "string"}


def _describe_values(values: Iterable[Any], *_: Any) -> dict[str, Any]:
    values = [value for value in values if value is not None]
    names = {_NAMES.get(type(value)) for value in values}
    return {"type": names.pop(), "enum": values} if len(names) == 1 else {"enum": values}


def _describe_pydantic(kind: Any, where: str, inside: tuple[Any, ...]) -> dict[str, Any]:
    schema = _pydantic_schema(kind)
    definitions = schema.pop("$defs", None) or schema.pop("definitions", {})
    inlined: dict[str, Any] = _inline(schema, definitions, where)
    return inlined


def _pydantic_schema(kind: Any) -> dict[str, Any]:
    return dict(kind.model_json_schema() if hasattr(kind, "model_json_schema") else kind.schema())


def _inline(schema: Any, definitions: Mapping[str, Any], where: str, inside: tuple[str, ...] = ()) -> Any:
    """Put what the references of a pydantic model's schema point to in their place."""
    if isinstance(schema, list):
        return [_inline(item, definitions, where, inside) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _inline(item, definitions, where, inside) for name, item in schema.items()}
    if isinstance(found.get("allOf"), list) and len(found["allOf"]) == 1:  # pydantic before 2.9 does so with references
        found = {**found.pop("allOf")[0], **found}
    if not isinstance(found.get("$ref"), str):
        return found
    name = found.pop("$ref").rpartition("/")[2]
    if name in inside:
        raise TypeError(f"{where}: {name} holds itself, which a schema without references cannot say")
    return {**_inline(definitions[name], definitions, where, (*inside, name)), **found}


def enum_values(kind: type[enum.Enum]) -> list[Any]:
    """List the members' values, or their names where a value is none that JSON has."""
    values = [member.value for member in kind]
    return values if all(type(value) in (str, int, float, bool) for value in values) else list(kind.__members__)


# From JSON to values; ``path`` leads to the value


def decode(value: Any, hint: Any, path: str = "") -> Any:
    """Turn JSON data into a value of a type; Mismatch, with the path to it, for what does not fit.

    A whole float is an int, an int is a float, a member of an Enum may be given by its name, and fields that a
    dataclass does not have are left out.

    >>> decode({"a": [1, 2.0]}, typing.Dict[str, typing.Tuple[int, ...]])
    {'a': (1, 2)}
    """
    sort, kind = _classify(hint, path or "the type")
    return _SORTS[sort][1](value, kind, path)


def _decode_plain(value: Any, kind: Any, path: str) -> Any:
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if kind is float and type(value) is int and abs(value) < 1 << 1023:
        return float(value)
    return _check_type(value, kind, path)


def _decode_text(value: Any, kind: Any, path: str) -> Any:
    if kind is decimal.Decimal and type(value) in (int, float):
        value = repr(value)
    text = _check_type(value, str, path)
    try:
        return _TEXTS[kind][1](text.strip())
    except (ValueError, ArithmeticError):
        raise Mismatch(f"{path or 'it'} has to be a {_TEXTS[kind][0] or 'decimal number'} as a string") from None


def _decode_union(value: Any, kinds: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    error = None
    for kind in sorted(kinds, key=lambda kind: kind is not type(value)):  # 1 stays an int in Union[float, int]
        try:
            return decode(value, kind, path)
        except Mismatch as exc:
            error = error or exc
    raise error or _wrong(path, "null", value)


def _decode_literal(value: Any, values: tuple[Any, ...], path: str) -> Any:
    for known in values:
        if known == value and type(known) is type(value):
            return known
    raise Mismatch(f"{path or 'it'} has to be one of {', '.join(map(repr, values))}")


def _decode_enum(value: Any, kind: Any, path: str) -> Any:
    for member in kind:
        if member.value == value and type(member.value) is type(value):
            return member
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    raise Mismatch(f"{path or 'it'} has to be one of {', '.join(map(repr, enum_values(kind)))}")


def _decode_array(value: Any, kind: tuple[Any, tuple[Any, ...]], path: str) -> Any:
    item = kind[1][0] if kind[1] else Any
    items = [decode(each, item, f"{path}[{i}]") for i, each in enumerate(_check_type(value, list, path))]
    try:
        return _ARRAYS[kind[0]](items)
    except TypeError:  # a set takes no lists
        raise Mismatch(f"{path or 'it'} holds what a {kind[0].__name__} cannot hold") from None


def _decode_tuple(value: Any, kind: tuple[Any, tuple[Any, ...]], path: str) -> Any:
    if len(_check_type(value, list, path)) != len(kind[1]):
        raise Mismatch(f"{path or 'it'} has to have {len(kind[1])} items, not {len(value)}")
    return tuple(decode(each, item, f"{path}[{i}]") for i, (each, item) in enumerate(zip(value, kind[1])))


def _decode_mapping(value: Any, kind: Any, path: str) -> Any:
    return {name: decode(item, kind, _join(path, name)) for name, item in _check_type(value, dict, path).items()}


def _decode_object(value: Any, kind: Any, path: str) -> Any:
    _check_type(value, dict, path)
    values = {}
    for field in fields_of(kind):
        if field.name in value:
            values[field.name] = decode(value[field.name], field.hint, _join(path, field.name))
        elif field.required:
            raise Mismatch(f"{_join(path, field.name)} is missing")
    if _is_typed_dict(kind):
        return {**value, **values}
    for needed in dataclasses.fields(kind):  # Optional without a default: not required, and None
        if needed.init and needed.default is needed.default_factory is dataclasses.MISSING:
            values.setdefault(needed.name, None)
    try:
        return kind(**values)
    except (TypeError, ValueError) as exc:  # of its __post_init__
        raise Mismatch(f"{path or kind.__name__}: {exc}") from exc


def _decode_pydantic(value: Any, kind: Any, path: str) -> Any:
    try:
        return kind.model_validate(value) if hasattr(kind, "model_validate") else kind.parse_obj(value)
    except ValueError as exc:
        error: dict[str, Any] = next(iter(getattr(exc, "errors", list)()), {})
        path = ".".join(filter(None, [path, *map(str, error.get("loc", ()))]))
        raise Mismatch(f"{path or kind.__name__}: {error.get('msg', 'it is refused')}") from exc


def _check_type(value: Any, kind: type, path: str) -> Any:
    """Return a value of just this type of JSON; Mismatch for another."""
    if type(value) is not kind:
        raise _wrong(path, {**_NAMES, dict: "object", list: "array"}[kind], value)
    return value


def _wrong(path: str, wanted: str, value: Any) -> Mismatch:
    return Mismatch(f"{path or 'it'} has to be {wanted}, not {_type_name(value)}")


def _type_name(value: Any) -> str:
    return {**_NAMES, dict: "object", list: "array", int: "number"}.get(type(value), type(value).__name__)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_SORTS: dict[str, tuple[Callable[[Any, str, tuple[Any, ...]], dict[str, Any]], Callable[[Any, Any, str], Any]]] = {
    "any": (lambda kind, where, inside: {}, lambda value, kind, path: value),
    "array": (_describe_array, _decode_array),
    "enum": (lambda kind, where, inside: _describe_values(enum_values(kind)), _decode_enum),
    "literal": (_describe_values, _decode_literal),
    "mapping": (_describe_mapping, _decode_mapping),
    "object": (_describe_object, _decode_object),
    "plain": (lambda kind, where, inside: {"type": _NAMES[kind]}, _decode_plain),
    "pydantic": (_describe_pydantic, _decode_pydantic),
    "text": (_describe_text, _decode_text),
    "tuple": (_describe_tuple, _decode_tuple),
    "union": (_describe_union, _decode_union),
}
