"""The models and scopes of the service."""

from __future__ import annotations

from typing import Any

from .web import api_error

SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")
MODELS = {  # as recorded, in its order
    "chat": tuple("GigaChat" + name for name in (
        "", "-2", "-2-Max", "-2-Max-preview", "-2-Pro", "-2-Pro-preview", "-2-preview", "-Max", "-Max-preview", "-Plus",
        "-Pro", "-Pro-preview", "-preview")),
    "filter": ("GigaFilter",),
    "aicheck": ("GigaCheckClassification", "GigaCheckDetection"),
    "embedder": ("Embeddings", "Embeddings-2", "EmbeddingsGigaR", "GigaEmbeddings-3B-2025-09"),
}
UNLISTED = ("GigaChat-3-Ultra", "GigaChat-3-Pro", "GigaChat-3-Lightning", "GigaChat-2-Reasoning")  # of a later time
VERSIONS = {  # as recorded; the other chat models answer as 2.0.28.2, and one without a version
    "GigaChat-2-Max": ":2.0.30.01", "GigaChat-3-Ultra": ":32.3.18.5", "GigaChat-3-Lightning": ""}


def find_model(name: Any, *types: str) -> dict[str, str]:
    """Return the description of a model that is of one of the types, of any where none is given."""
    for kind in types or MODELS:
        if name in MODELS[kind] or (kind == "chat" and name in UNLISTED):
            return {"id": name, "object": "model", "owned_by": "salutedevices", "type": kind}
    raise api_error(404, "No such model")


def versioned_name(model: str) -> str:
    """Return how a model calls itself in an answer.

    >>> versioned_name("GigaChat"), versioned_name("GigaChat-3-Lightning")
    ('GigaChat:2.0.28.2', 'GigaChat-3-Lightning')
    """
    return model + VERSIONS.get(model, ":2.0.28.2")
