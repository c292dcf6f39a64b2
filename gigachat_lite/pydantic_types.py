"""The classes of models as types of pydantic's fields, version 1 or 2; imported when pydantic asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from .fields import is_object, read_item

JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def validator(kind: Any) -> Callable[[Any], Any]:
    """Make the function that reads a value; answers, and fields that are not declared, are taken as they came."""

    def validate(value: Any) -> Any:
        try:
            if isinstance(value, kind) or hasattr(kind, "x_headers"):
                return kind.model_validate(value)
            known, more = value, {}
            if isinstance(value, Mapping) and not kind.model_config.extra:
                known = {name: item for name, item in value.items() if name in kind.model_fields}
                more = {name: item for name, item in value.items() if name not in known}
            return kind({**kind.model_validate(read_item(known, kind, kind.__name__)), **more})
        except TypeError as exc:
            raise ValueError(str(exc)) from None  # which pydantic adds to its own

    return validate


def core_schema(kind: Any) -> Any:
    """Make the schema by which pydantic 2 reads and writes a class."""
    from pydantic_core import core_schema as schemas

    return schemas.no_info_plain_validator_function(
        validator(kind), serialization=schemas.plain_serializer_function_ser_schema(kind.model_dump)
    )


def json_schema(kind: Any, outer: tuple[type, ...] = ()) -> dict[str, Any]:
    """Describe a class as a JSON Schema; a class inside itself is an object of any form."""
    properties: dict[str, Any] = {}
    for name, (container, item, _) in kind.model_fields.items():
        if name == "x_headers":  # which is beside the fields
            continue
        if is_object(item):
            schema = {"type": "object"} if item in (kind, *outer) else json_schema(item, (kind, *outer))
        elif item in (None, object):
            schema = {}
        else:
            schema = {"type": JSON_TYPES.get(item, "string")}
        if container == "list":
            schema = {"type": "array", "items": schema}
        elif container == "dict":
            schema = {"type": "object", "additionalProperties": schema}
        properties[name] = schema
    return {"title": kind.__name__, "type": "object", "description": kind.__doc__, "properties": properties}
