"""The format that an answer is to have."""

from __future__ import annotations

from typing import Any, Mapping, Union

from ..fields import Config
from ..objects import RequestPart


def wire_format(value: Any) -> Any:
    """Put the schema of a pydantic model in the model's place."""
    if isinstance(value, type):
        raise TypeError(f"response_format is the class {value.__name__}: chat_parse() and chat.parse() take one")
    to_schema = getattr(value.get("schema"), "model_json_schema", None) if isinstance(value, Mapping) else None
    return {**value, "schema": to_schema()} if to_schema else value


class JsonSchemaResponseFormat(RequestPart):
    """Text that is JSON of a schema: a dict, or a pydantic model.

    Without ``required`` in the schema any JSON object may come; with it those fields come, and with ``strict`` no
    others.
    """

    __slots__ = ()
    model_config = Config({"type": "json_schema"}, normalize=wire_format)
    type: str
    type_: str
    schema: dict[str, Any]
    schema_: dict[str, Any]
    strict: bool | None


ResponseFormat = Union[JsonSchemaResponseFormat, Mapping[str, Any]]
