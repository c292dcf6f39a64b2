"""Fields of the classes in models: what their annotations say, their attributes, and how values are read for them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from enum import Enum, EnumMeta
from functools import lru_cache
from operator import methodcaller
from sys import modules
from types import MappingProxyType
from typing import Any, Callable, Dict, NamedTuple, Sequence

from .config import did_you_mean
from .validators import boolean

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "Any": object}
# What a field may need, by the kind that its annotation names
NEEDED = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


class Field(NamedTuple):
    """What an annotation says: ``list[Usage] | None`` is ("list", Usage), ``str | None`` is ("", str, str)."""

    container: str  # list, dict, or empty for a value alone
    kind: Any  # str, int, float, bool, object for anything, or a class of ours; None for what has several types
    exact: type | None = None  # of values that are sent as they are


@lru_cache(maxsize=None)  # most fields are one of a few types
def split_annotation(annotation: str) -> tuple[str, str]:
    """Split an annotation into its container and the name of what is in it.

    >>> split_annotation("dict[str, Usage] | None"), split_annotation("int | None")
    (('dict', 'Usage'), ('', 'int'))
    """
    container, _, item = annotation.replace(" | None", "").replace(" | bool", "").rstrip("]").rpartition("[")
    return container, item.split(", ")[-1]


def read_annotation(annotation: Any, names: Mapping[str, Any]) -> Field:
    """Read an annotation, a string because of ``from __future__ import annotations``; ``names`` has the classes in it.

    >>> read_annotation("list[str] | None", {})
    Field(container='list', kind=<class 'str'>, exact=None)
    """
    container, name = split_annotation(annotation) if isinstance(annotation, str) else ("", "")
    kind = TYPES.get(name)
    if kind is not None and container in ("", "list", "dict"):
        return Field(container, kind, None if container else kind)
    kind = names.get(name)
    if container in ("", "list", "dict") and is_object(kind):
        return Field(container, kind)
    return Field("", kind, str) if isinstance(kind, EnumMeta) else Field("", None)


def is_object(kind: Any) -> bool:
    """Tell whether a field's kind is a class of objects."""
    return isinstance(getattr(kind, "model_config", None), Config)


def make_attribute(name: str, field: Field) -> property:
    """Make a declared field's attribute; much faster than a look-up that fails first and asks __getattr__."""
    container, kind, _ = field
    if not is_object(kind) and not isinstance(kind, EnumMeta):
        return property(methodcaller("get", name))

    def read_word(self: Dict[str, Any]) -> Any:
        value = self.get(name)
        return kind(value) if isinstance(value, str) else value

    def read_object(self: Dict[str, Any]) -> Any:
        value = self.get(name)
        if type(value) is dict:
            value = self[name] = wrap_items(value, kind) if container == "dict" else kind(value)
        elif type(value) is list:
            for item in value:
                if type(item) is dict:
                    return wrap_items(value, kind)
        return value

    return property(read_object if is_object(kind) else read_word)


def wrap_items(values: Any, kind: Any) -> Any:
    """Make objects of the dicts that are in a list or a dict, in their places."""
    for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
        if type(value) is dict:
            values[key] = kind(value)
    return values


class Config:
    """What a request may have beyond the fields of a class.

    ``defaults`` are fields of objects built by keywords. ``extra`` allows any other fields, as a JSON Schema has, and
    ``function`` a Python function in place of the object. ``normalize`` brings shorter forms to the one that is sent.
    ``advice`` says what to write in place of a field that is not there.
    """

    def __init__(
        self,
        defaults: Mapping[str, Any] = MappingProxyType({}),
        extra: bool = False,
        function: bool = False,
        normalize: Callable[[Any], Any] | None = None,
        advice: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.defaults, self.advice, self.normalize = defaults, advice, normalize
        self.extra, self.function = extra, function


def declare_fields(cls: Any) -> None:
    """Make a class's table of fields, and their attributes; annotations may name it, and what its module has already.

    ``id_`` is for type checkers: at run time any name may end with an underscore.
    """
    own, slots = vars(cls).get("__annotations__", {}), vars(cls).get("__slots__", ())
    names = ChainMap({cls.__name__: cls}, getattr(modules.get(cls.__module__), "__dict__", {}))
    cls.model_fields = {}
    for base in reversed(cls.__bases__):
        cls.model_fields.update(getattr(base, "model_fields", {}))
    for name, annotation in own.items():
        if name[0] != "_" != name[-1] and "ClassVar" not in str(annotation):
            field = cls.model_fields[name] = read_annotation(annotation, names)
            if name not in slots and name not in vars(cls):
                setattr(cls, name, make_attribute(name, field))


# Checks of fields, by the annotations of a class


def check_request(value: Mapping[str, Any], kind: Any, where: str = "") -> dict[str, Any]:
    """Copy an object of a request in the form that is sent; TypeError names the field that is wrong.

    Values are read as pydantic reads them: a number may be text, numpy's or a Decimal, a list any iterable. None says
    that a field is not given. What the service itself wrote goes back as it came.
    """
    if kind.model_config.extra:
        return dict(value)
    if where and value.get("role") == "assistant":
        return without_none(value)
    fields, checked = kind.model_fields, {}
    for name, item in value.items():
        field = fields.get(name)
        if item is None and (field is None or field.container or field.kind is not object):
            continue
        if field is None:
            check_fields({name: item}, kind, where or "the request")
        elif type(item) is not field.exact:
            item = read_value(item, field, f"{where}.{name}" if where else name)
        checked[name] = item
    return checked


def check_fields(value: Mapping[str, Any], kind: Any, where: str) -> None:
    """Refuse a field that the API does not have; ``additional_fields`` is for newer ones."""
    advised = kind.model_config.advice
    for name in value:
        if name not in kind.model_fields:
            advice = "; " + advised[name] if name in advised else did_you_mean(name, {*kind.model_fields, *advised})
            raise TypeError(f"{where} has no field {name!r}{advice or '; a newer field goes into additional_fields'}")


def read_value(value: Any, field: Field, where: str) -> Any:
    """Read what a caller gave for a field; see ``check_request``."""
    container, kind, _ = field
    if kind is None:  # of several types
        return value
    if container == "list":
        return [read_item(item, kind, f"{where}[{i}]") for i, item in enumerate(as_list(value, where))]
    if container == "dict" and not isinstance(value, Mapping):
        raise type_error(where, "a dict", value)
    if container == "dict" and kind is not object:
        return {name: read_item(item, kind, f"{where}.{name}") for name, item in value.items()}
    return value if kind is object else read_item(value, kind, where)


def read_item(value: Any, kind: Any, where: str) -> Any:
    """Read one value of a field."""
    if not issubclass(kind, dict):
        kind = str if isinstance(kind, EnumMeta) else kind
        return value if type(value) is kind else read_scalar(value, kind, where)
    normalize = kind.model_config.normalize
    value = normalize(value) if normalize else value
    if isinstance(value, (dict, Mapping)):
        return check_request(value, kind, where)
    if kind.model_config.function:
        return value
    raise type_error(where, f"a dict or {kind.__name__}", value)


def read_scalar(value: Any, kind: type, where: str) -> Any:
    """Read a string, a number or a truth value."""
    plain = value.value if isinstance(value, Enum) else value
    plain = plain.tolist() if hasattr(plain, "tolist") and not isinstance(plain, (str, float)) else plain  # numpy's
    if isinstance(plain, kind if kind is not float else (int, float)) and (kind is bool or not isinstance(plain, bool)):
        return plain
    try:
        if kind is bool:
            return boolean(plain)
        number = float(plain) if kind is not str else 0.5
        if kind is float:
            return number
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise type_error(where, NEEDED[kind], value)


def as_list(value: Any, where: str) -> Sequence[Any]:
    """Take whatever holds several values as a list, in its order: also an iterator, a dict's values, numpy's array."""
    if isinstance(value, (list, tuple)):
        return value
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise type_error(where, "a list", value)
    return list(value)


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what is given of a request or a message: None says that something is not, as in the settings.

    >>> without_none({"model": "GigaChat", "temperature": None})
    {'model': 'GigaChat'}
    """
    return {name: value for name, value in fields.items() if value is not None}


def type_error(where: str, what: str, value: Any) -> TypeError:
    """Make the error of a field that cannot be read; it does not show the value, which may be private."""
    return TypeError(f"{where}: {what} is needed, not {type(value).__name__}{own_id(value)}")


def own_id(value: Any) -> str:
    """Say where the id is of an object that was given in place of it; of anything else, nothing."""
    keys = value if is_object(type(value)) else ()
    name = next((key for key in keys if key == "id" or key.endswith("_id")), "")
    return f": give the .{name} of this {type(value).__name__}" if name else ""


def strings(value: Any, name: str) -> list[str]:
    """Take one string or several as a list.

    >>> strings("раз", "texts")
    ['раз']
    """
    return [value] if isinstance(value, str) else list(read_value(value, Field("list", str), name))
