"""JSON objects: dicts whose keys are attributes too. All requests and answers are such."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Iterable, Iterator, TypeVar

from .config import did_you_mean
from .fields import Config, Field, declare_fields, wrap_items

if TYPE_CHECKING:
    _Dict = Dict[str, Any]
else:  # a bare dict: typing's generic base would slow each construction down on Python 3.7
    _Dict = dict

O = TypeVar("O", bound="Obj")  # noqa: E741
W = TypeVar("W", bound="OpenEnum")
# Options of pydantic's model_dump that change nothing where a dict is what its wire form is.
INDIFFERENT = ("by_alias", "exclude_defaults", "exclude_unset", "mode", "round_trip", "serialize_as_any", "warnings")


class OpenEnum(str, Enum):
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


class Obj(_Dict):
    """A JSON object: equal to its plain dict, and readable by attributes.

    A declared field that is absent is None; any other absent name is an AttributeError that lists what is there. A
    trailing underscore is ignored (``id_`` is ``id``; type checkers know those of the official package). Nested
    objects are wrapped at their first access and put back in place, so that they keep their identity and assignments
    stick.
    """

    __slots__ = ()
    model_config: ClassVar[Config] = Config()  # the rules of the class in requests
    model_fields: ClassVar[Dict[str, Field]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declare_fields(cls)

    if not TYPE_CHECKING:  # a type checker is to see the declared fields alone

        def __getattr__(self, name):
            key = self._key(name)
            if key in self.model_fields:
                return None if key == name else getattr(self, key)
            if key not in self:
                have = ", ".join(map(str, self)) or "none"
                raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has: {have}")
            if name[:2] == "__":  # Python asks for such names, as copy does, and a field of one is none of its answers
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; its field is obj[{name!r}]")
            value = self[key]
            if type(value) is dict:
                value = self[key] = Obj(value)
            return wrap_items(value, Obj) if type(value) is list else value

    def __setattr__(self, name: str, value: Any) -> None:
        self[self._key(name)] = value

    def __delattr__(self, name: str) -> None:
        key = self._key(name)
        if key not in self:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        del self[key]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.model_fields, *map(str, self)})

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
        for key in self.model_fields.keys() & self.keys() if exclude_none else ():
            getattr(self, key)  # which makes objects of the dicts in it
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

    # Types of fields for pydantic, of either version, and routes of FastAPI

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from .pydantic_types import core_schema

        return core_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        from .pydantic_types import json_schema

        return json_schema(cls)

    @classmethod
    def __get_validators__(cls) -> Iterator[Callable[[Any], Any]]:
        from .pydantic_types import validator

        yield validator(cls)

    @classmethod
    def __modify_schema__(cls, schema: Dict[str, Any]) -> None:
        from .pydantic_types import json_schema

        schema.update(json_schema(cls))


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


class RequestPart(Obj):
    """A part of a request, which callers build by keywords; the API needs some fields that they may leave out."""

    __slots__ = ()
    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **{name.rstrip("_"): value for name, value in fields.items()} if fields else fields)
        if not args:
            for name, value in self.model_config.defaults.items():
                self.setdefault(name, value)
        normalize = self.model_config.normalize
        for name, value in normalize(self).items() if normalize and fields else ():
            if name in self:
                self[name] = value
