"""The models that the service offers."""

from __future__ import annotations

from .base import Answer


class Model(Answer):
    """One model; ``type`` is chat, embedder, aicheck or filter."""

    __slots__ = ()
    id: str
    id_: str
    object: str
    object_: str
    owned_by: str
    type: str | None


class Models(Answer):
    """The models that the service offers."""

    __slots__ = ()
    data: list[Model]
    object: str
    object_: str
