"""Vectors of texts."""

from __future__ import annotations

from .base import Answer, Obj

__all__ = ["Embedding", "Embeddings", "EmbeddingsUsage"]


class EmbeddingsUsage(Obj):
    """Tokens of one embedded text."""

    __slots__ = ()
    prompt_tokens: int


class Embedding(Obj):
    """The vector of one text, not normalised; ``index`` is its place in the request."""

    __slots__ = ()
    _nested = {"usage": EmbeddingsUsage}
    embedding: list[float]
    index: int
    object: str
    object_: str
    usage: EmbeddingsUsage


class Embeddings(Answer):
    """The vectors of all texts of a request, in its order."""

    __slots__ = ()
    _nested = {"data": Embedding}
    data: list[Embedding]
    model: str
    object: str
    object_: str
