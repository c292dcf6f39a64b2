"""Models, embeddings and token counts."""

from __future__ import annotations

from typing import Any

from . import validation as v
from .http import Request, Response, json_response
from .models import MODELS, find_model
from .state import Route, State
from .text import count_tokens, embedding_json

_FIELDS = {"model": v.any_value, "input": v.by_type({str: v.any_value, list: v.TEXTS})}
_CHECK = {strict: v.object_of(_FIELDS, "input", strict=strict) for strict in (True, False)}


def _list_models(state: State, request: Request) -> Response:
    data = [find_model(name) for names in MODELS.values() for name in names]
    return json_response({"object": "list", "data": data})


def _get_model(state: State, request: Request, name: str) -> Response:
    return json_response(find_model(name))


def _read_texts(state: State, body: dict[str, Any], *types: str) -> list[str]:
    """Check a body with an input, and return its texts; a count of tokens knows every kind of model."""
    _CHECK[state.strict](body, "")
    find_model(body.get("model"), *types)
    return [body["input"]] if isinstance(body["input"], str) else body["input"]


def _count_tokens(state: State, request: Request) -> Response:
    texts = _read_texts(state, v.read_object(request))
    return json_response([
        {"object": "tokens", "tokens": count_tokens(text), "characters": len(text)} for text in texts])


def embed(state: State, body: dict[str, Any]) -> bytes:
    """Return the vectors of texts as a body of JSON, after the checks."""
    items = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{embedding_json(text)},'
        f'"usage":{{"prompt_tokens":{count_tokens(text) + 1}}}}}'
        for index, text in enumerate(_read_texts(state, body, "embedder")))
    return f'{{"object":"list","data":[{items}],"model":"{body["model"]}"}}'.encode("ascii")


def _embeddings(state: State, request: Request) -> Response:
    return Response(body=embed(state, v.read_object(request)))


ROUTES = [
    Route("GET", "models", _list_models),
    Route("GET", "models/(.+)", _get_model),
    Route("POST", "tokens/count", _count_tokens),
    Route("POST", "embeddings", _embeddings, generates=True),
]
