"""The format that an answer is to have."""

from __future__ import annotations

from typing import Any, Mapping, Union

from .base import Typed, wire_format

__all__ = ["JsonSchemaResponseFormat", "ResponseFormat"]


class JsonSchemaResponseFormat(Typed):
    """Text that is JSON of a schema: a dict, or a pydantic model.

    Without ``required`` in the schema any JSON object may come; with it those fields come, and with ``strict`` no
    others.
    """

    __slots__ = ()
    _type = "json_schema"
    schema: dict[str, Any]
    schema_: dict[str, Any]
    strict: bool | None

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.update(wire_format(self))


ResponseFormat = Union[JsonSchemaResponseFormat, Mapping[str, Any]]
