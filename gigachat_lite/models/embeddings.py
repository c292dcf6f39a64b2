"""Vectors of texts."""

from __future__ import annotations

from ..objects import Obj
from .base import Answer


class EmbeddingsUsage(Obj):
    """Tokens of one embedded text."""

    __slots__ = ()
    prompt_tokens: int


class Embedding(Obj):
    """The vector of one text, not normalised; ``index`` is its place in the request."""

    __slots__ = ()
    embedding: list[float]
    index: int
    object: str
    object_: str
    usage: EmbeddingsUsage


class Embeddings(Answer):
    """The vectors of all texts of a request, in its order."""

    __slots__ = ()
    data: list[Embedding]
    model: str
    object: str
    object_: str
