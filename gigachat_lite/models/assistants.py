"""Assistants kept by the service."""

from __future__ import annotations

from typing import Any

from ..objects import Obj
from .base import Answer
from .chat import Function


class AssistantAttachment(Obj):
    """A file of an assistant."""

    __slots__ = ()
    file_id: str
    name: str


class Assistant(Answer):
    """An assistant: a model with instructions, files and functions; ``metadata`` holds up to 16 pairs."""

    __slots__ = ()
    assistant_id: str
    model: str
    name: str | None
    description: str | None
    instructions: str | None
    created_at: int
    updated_at: int
    file_ids: list[str] | None
    files: list[AssistantAttachment] | None
    functions: list[Function] | None
    metadata: dict[str, Any] | None
    threads_count: int | None


class Assistants(Answer):
    """Assistants; a list also where one was asked for."""

    __slots__ = ()
    data: list[Assistant]


class AssistantDelete(Answer):
    """That an assistant was deleted."""

    __slots__ = ()
    assistant_id: str
    deleted: bool


class AssistantFileDelete(Answer):
    """That a file was taken from an assistant."""

    __slots__ = ()
    file_id: str
    deleted: bool


class CreateAssistant(Answer):
    """The id of a new assistant."""

    __slots__ = ()
    assistant_id: str
    created_at: int
