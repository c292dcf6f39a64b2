"""What all requests and answers are: dicts whose keys are attributes too; and what turns them into bytes."""

from __future__ import annotations

import json
import re
from enum import Enum
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Iterable, Mapping, Sequence, TypeVar, Union
from urllib.parse import quote

from ..config import did_you_mean
from ..json_text import join_halves

if TYPE_CHECKING:
    from .tools import TokensCounts

    _Dict = Dict[str, Any]
else:  # a bare dict: typing's generic base would slow each construction down on Python 3.7
    _Dict = dict

__all__ = [
    "A",
    "APIResponse",
    "Answer",
    "Ending",
    "Obj",
    "Payload",
    "T",
    "Typed",
    "Word",
    "check_fields",
    "check_request",
    "own_id",
    "path_id",
    "plain",
    "strings",
    "to_json",
    "to_utf8",
    "wire_format",
    "with_headers",
]

O = TypeVar("O", bound="Obj")  # noqa: E741
W = TypeVar("W", bound="Word")
Payload = Union[str, Sequence[Mapping[str, Any]], Mapping[str, Any]]
BLOCKED = (
    *("blacklist", "request_blacklist", "request_whitelist", "request_filter", "response_blacklist"),
    "content_filter",
)
# Options of pydantic's model_dump that change nothing where a dict is what its wire form is.
INDIFFERENT = ("by_alias", "exclude_defaults", "exclude_unset", "mode", "round_trip", "serialize_as_any", "warnings")


def _field(name: str, nested: bool) -> property:
    """Make a declared field's attribute; much faster than a look-up that fails first and asks __getattr__."""
    if not nested:
        return property(methodcaller("get", name))

    def read(self: Obj) -> Any:
        value = self.get(name)
        if type(value) is dict:
            return self._wrap(name, value)
        if type(value) is list:
            for item in value:
                if type(item) is dict:
                    return self._wrap(name, value)
        return value

    return property(read)


def word(name: str, kind: type[Word]) -> property:
    """Make the attribute of a field that holds one of a few words; its dict keeps the plain string."""

    def read(self: Obj) -> Any:
        value = self.get(name)
        return kind(value) if isinstance(value, str) else value

    return property(read)


class Obj(_Dict):
    """A JSON object: equal to its plain dict, and readable by attributes.

    A declared field that is absent is None; any other absent name is an AttributeError that lists what is there. A
    trailing underscore is ignored (``id_`` is ``id``; type checkers know those of the official package). Nested
    objects are wrapped at their first access and put back in place, so that they keep their identity and assignments
    stick.
    """

    __slots__ = ()
    _nested: ClassVar[Dict[str, type[Obj]]] = {}
    _each: ClassVar[Dict[str, type[Obj]]] = {}  # fields that hold objects by names of their own
    _moved: ClassVar[Mapping[str, str]] = {}  # what to write in place of a field that is not there
    _open: ClassVar[bool] = False  # whether a request may have fields that are not declared
    _fields: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name in getattr(cls, "__annotations__", {}) if name[0] != "_" != name[-1]]
        cls._fields = frozenset(own).union(*(getattr(base, "_fields", ()) for base in cls.__bases__))
        for name in own:
            if not hasattr(cls, name):
                setattr(cls, name, _field(name, name in cls._nested or name in cls._each))

    if not TYPE_CHECKING:  # a type checker is to see the declared fields alone

        def __getattr__(self, name):
            try:
                value = self[name]
            except KeyError:
                return self._absent(name)
            if name[:2] == "__":  # Python asks for such names, as copy does, and a field of one is none of its answers
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; its field is obj[{name!r}]")
            return self._wrap(name, value) if type(value) is dict or type(value) is list else value

    def __setattr__(self, name: str, value: Any) -> None:
        self[self._key(name)] = value

    def __delattr__(self, name: str) -> None:
        key = self._key(name)
        if key not in self:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        del self[key]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._fields, *map(str, self)})

    def copy(self: O) -> O:
        """Copy one level, as a dict's copy does, and keep the class."""
        return type(self)(self)

    @classmethod
    def model_validate(cls: type[O], value: Any) -> O:
        """Make one of a dict; nothing is checked but that it is one, and an object of this class is returned itself."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"{cls.__name__}: a dict is needed, not {type(value).__name__}")
        return cls(value)

    @classmethod
    def model_validate_json(cls: type[O], text: str | bytes) -> O:
        """Make one of JSON; what is none is a ValueError."""
        return cls.model_validate(json.loads(text))

    def model_dump(
        self,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        exclude_none: bool = False,
        **indifferent: Any,
    ) -> Dict[str, Any]:  # "dict" is a method here
        """Copy all of it into plain dicts and lists, under the names that the API has.

        ``exclude_none`` leaves out what is None, except in free data such as the arguments of a call. Further options
        of pydantic's method are accepted where they change nothing.
        """
        for name in indifferent:
            if name not in INDIFFERENT:
                raise TypeError(f"model_dump() has no option {name!r}{did_you_mean(name, INDIFFERENT)}")
        names = set(self) if include is None else {self._key(name) for name in include}
        names -= {self._key(name) for name in exclude or ()}
        for key in self._nested.keys() & self.keys():
            self._wrap(key, self[key])
        return {
            key: plain(value, exclude_none)
            for key, value in self.items()
            if key in names and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Write it as JSON; the options are those of ``model_dump``."""
        return json.dumps(self.model_dump(**options), ensure_ascii=False, indent=indent)

    def model_copy(self: O, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> O:
        """Copy one level, or all, and set some fields of the copy."""
        import copy

        twin = copy.deepcopy(self) if deep else self.copy()
        twin.update(update or {})
        return twin

    # The names that these had in pydantic 1, for older programs
    parse_obj = model_validate

    def json(self, **options: Any) -> str:
        """Write it as JSON, like ``model_dump_json``."""
        return self.model_dump_json(**options)

    def dict(self, **options: Any) -> Dict[str, Any]:
        """Copy all of it into plain dicts and lists, like ``model_dump``."""
        return self.model_dump(**options)

    def _key(self, name: str) -> str:
        return name.rstrip("_") if name.endswith("_") and name not in self and not name.startswith("__") else name

    def _absent(self, name: str) -> Any:
        key = self._key(name)
        if key in self:
            value = self[key]
            return self._wrap(key, value) if isinstance(value, (dict, list)) else value
        if key in self._fields:
            return None
        have = ", ".join(map(str, self)) or "none"
        raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has: {have}")

    def _wrap(self, key: str, value: Any) -> Any:
        kind = self._nested.get(key)
        if kind is None:
            if key in self._fields:
                return _wrap_each(value, self._each[key]) if key in self._each else value
            kind = Obj
        if type(value) is dict:
            value = self[key] = kind(value)
        elif type(value) is list:
            for i, item in enumerate(value):
                if type(item) is dict:
                    value[i] = kind(item)
        return value


def _wrap_each(values: Any, kind: type[Obj]) -> Any:
    for key, value in values.items() if isinstance(values, dict) else ():
        if type(value) is dict:
            values[key] = kind(value)
    return values


def plain(value: Any, exclude_none: bool = False) -> Any:
    """Copy a value into plain dicts, lists and strings.

    >>> plain(Obj(a=[Obj(b=1)]))
    {'a': [{'b': 1}]}
    """
    if isinstance(value, Obj):
        return value.model_dump(exclude_none=exclude_none and type(value) is not Obj)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, exclude_none) for item in value]
    return value.value if isinstance(value, Enum) else value


class Typed(Obj):
    """A part of a request whose ``type`` has a default, for objects that are built by keywords."""

    __slots__ = ()
    _type: ClassVar[str] = "object"
    type: str
    type_: str

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **{name.rstrip("_"): value for name, value in fields.items()})
        if not args:
            self.setdefault("type", self._type)


class Answer(Obj):
    """An answer of the service; ``x_headers`` holds its request, session and client id (``x-request-id`` …)."""

    __slots__ = ("x_headers",)
    x_headers: dict[str, str | None] | None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "x_headers":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def copy(self: A) -> A:
        """Copy one level and keep the class and the headers."""
        twin = type(self)(self)
        twin.x_headers = self.x_headers
        return twin


set_x_headers: Callable[[Answer, Any], None] = vars(Answer)["x_headers"].__set__  # past the attributes that are keys
APIResponse = XHeadersMixin = Answer
A = TypeVar("A", bound=Answer)
T = TypeVar("T", bound="Union[Answer, TokensCounts]")


def with_headers(answer: T, headers: dict[str, str | None] | None) -> T:
    """Give an answer its ids, past the attributes that are keys."""
    object.__setattr__(answer, "x_headers", headers)
    return answer


class Ending:
    """What a ``finish_reason`` means, for the answers and chunks of every chat."""

    __slots__ = ()

    @property
    def blocked(self) -> bool:
        """Whether the service's filter refused the question or the answer; the text is then its refusal."""
        return getattr(self, "finish_reason", None) in BLOCKED

    @property
    def truncated(self) -> bool:
        """Whether the answer ended at ``max_tokens`` or at the end of the context."""
        return bool(getattr(self, "finish_reason", None) == "length")


class Word(str, Enum):
    """One of a few words; a word that is newer than we are is one too, so that no answer breaks by it."""

    @classmethod
    def _missing_(cls: type[W], value: object) -> W | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    def __str__(self) -> str:
        return str(self.value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (self.value,)  # Python 3.11.2 would look for a new word among the class's names


# From what a caller wrote to the body of a request


def check_fields(value: Mapping[str, Any], kind: type[Obj], where: str) -> None:
    """Refuse a field that the API does not have; ``additional_fields`` is for newer ones."""
    if kind._fields.issuperset(value):
        return
    for name in value:
        if name not in kind._fields:
            moved = kind._moved
            advice = "; " + moved[name] if name in moved else did_you_mean(name, kind._fields.union(moved))
            raise TypeError(f"{where} has no field {name!r}{advice or '; a newer field goes into additional_fields'}")


def check_request(value: Mapping[str, Any], kind: type[Obj], where: str = "") -> None:
    """Refuse unknown fields at every depth, but for free data and what the service itself wrote."""
    if kind._open or (where and value.get("role") == "assistant"):  # its own messages go back as they came
        return
    if not kind._fields.issuperset(value):
        check_fields(value, kind, where or "the request")
    for name, nested in kind._nested.items():
        held = value.get(name)
        if not held:
            continue
        path = f"{where}.{name}" if where else name
        if isinstance(held, (list, tuple)):
            for i, item in enumerate(held):
                if isinstance(item, (dict, Mapping)):  # dict first: it is the quicker one to tell
                    check_request(item, nested, f"{path}[{i}]")
        elif isinstance(held, Mapping):
            check_request(held, nested, path)


def wire_format(value: Any) -> Any:
    """Put the schema of a pydantic model in the model's place."""
    if isinstance(value, type):
        raise TypeError(f"response_format is the class {value.__name__}: chat_parse() and chat.parse() take one")
    to_schema = getattr(value.get("schema"), "model_json_schema", None) if isinstance(value, Mapping) else None
    return {**value, "schema": to_schema()} if to_schema else value


def to_json(body: Mapping[str, Any]) -> bytes:
    """Write a body as JSON in UTF-8; see ``to_utf8``."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"the request cannot be written as JSON: {exc}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return to_utf8(text)


def to_utf8(text: str) -> bytes:
    """Encode a text; halves of surrogate pairs, which UTF-8 has no room for, become U+FFFD."""
    if not isinstance(text, str):
        raise TypeError(f"a text is needed, not {type(text).__name__}")
    return join_halves(text).encode("utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def strings(value: str | Sequence[str], name: str) -> list[str]:
    """Take one string or several as a list.

    >>> strings("раз", "texts")
    ['раз']
    """
    texts = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name}: a string or a list of strings is needed")
    return texts


def path_id(value: str, name: str) -> str:
    """Quote an id for a path, so that it cannot lead to another address.

    >>> path_id("GigaChat:1/../x", "model")
    'GigaChat%3A1%2F..%2Fx'
    """
    if not isinstance(value, str) or value.strip() in ("", ".", "..") or re.search("[\ud800-\udfff]", value):
        raise ValueError(f"{name}: an id is needed{own_id(value)}")
    return quote(value, safe="")


def own_id(value: Any) -> str:
    """Say where the id is of an object that was given in place of it; of anything else, nothing."""
    name = next((key for key in value if key == "id" or key.endswith("_id")), "") if isinstance(value, Obj) else ""
    return f": give the .{name} of this {type(value).__name__}" if name else ""
