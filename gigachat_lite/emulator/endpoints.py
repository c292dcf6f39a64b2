"""Endpoints of a few lines: models, token counts, embeddings, files, the balance, the check of a text."""

from __future__ import annotations

import re
from typing import Any

from . import validation as v
from .models import MODELS, SCOPES, find_model
from .state import Route, State
from .text import count_tokens, embedding_json
from .web import Request, Response, json_response

MIN_WORDS = 20  # of a text that is to be judged
LONG_SENTENCE = 12  # words; so long a sentence passes for a machine's here
_INPUT = {"model": v.any_value, "input": v.by_type({str: v.any_value, list: v.TEXTS})}


# ---- Models, token counts, embeddings


def _read_texts(state: State, body: dict[str, Any], *types: str) -> list[str]:
    """Check a body with an input, and return its texts; a count of tokens knows every kind of model."""
    v.object_of(_INPUT, "input", strict=state.strict)(body, "")
    find_model(body.get("model"), *types)
    return [body["input"]] if isinstance(body["input"], str) else body["input"]


def _count_tokens(state: State, request: Request) -> Response:
    return json_response([{"object": "tokens", "tokens": count_tokens(text), "characters": len(text)}
                          for text in _read_texts(state, v.parse_object(request.raw))])


def embed(state: State, body: dict[str, Any]) -> bytes:
    """Return the vectors of texts as a body of JSON, after the checks."""
    items = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{embedding_json(text)},'
        f'"usage":{{"prompt_tokens":{count_tokens(text) + 1}}}}}'
        for index, text in enumerate(_read_texts(state, body, "embedder")))
    return f'{{"object":"list","data":[{items}],"model":"{body["model"]}"}}'.encode("ascii")


# ---- Balance and texts: each is for customers of some scopes alone


def _get_balance(state: State, request: Request) -> Response:
    """Tell what is left, to who pays in advance."""
    state.check_scope(*SCOPES[:2])
    return json_response({"balance": [
        {"usage": "GigaChat", "value": 900000}, {"usage": "embeddings", "value": 9999967}]})


def _check_text(state: State, request: Request) -> Response:
    """Judge a text, for companies that pay for what they use; that it is too short has words of its own here."""
    state.check_scope(SCOPES[2])
    body = v.parse_object(request.raw)
    v.object_of({"input": v.TEXT, "model": v.any_value}, "input", strict=state.strict)(body, "")
    model = find_model(body.get("model"), "aicheck")["id"]
    if state.strict and len(body["input"].split()) < MIN_WORDS:
        raise v.invalid_params(f"input must have at least {MIN_WORDS} words")
    return json_response(classify_text(body["input"], model == "GigaCheckDetection"))


def classify_text(text: str, detect: bool) -> dict[str, Any]:
    """Tell what a machine wrote: long sentences, for want of a better sign; only detection finds a mixture.

    >>> classify_text("Коротко. Ясно.", True)
    {'category': 'human', 'characters': 14, 'tokens': 5, 'ai_intervals': []}
    """
    sentences = list(re.finditer(r"[^\s.!?…][^.!?…]*[.!?…]*", text))
    long = [sentence for sentence in sentences if len(sentence.group().split()) >= LONG_SENTENCE]
    covered = sum(len(sentence.group()) for sentence in long)
    category = "mixed" if detect and 0 < len(long) < len(sentences) else "ai" if 2 * covered > len(text) else "human"
    return {
        "category": category, "characters": len(text), "tokens": count_tokens(text),
        "ai_intervals": [[found.start() + 1, found.end()] for found in long] if category == "mixed" else []}


ROUTES = [
    Route("GET", "models", lambda state, request: json_response(
        {"object": "list", "data": [find_model(name) for names in MODELS.values() for name in names]})),
    Route("GET", "models/(.+)", lambda state, request, name: json_response(find_model(name))),
    Route("POST", "tokens/count", _count_tokens),
    Route("POST", "embeddings", lambda state, request: Response(body=embed(state, v.parse_object(request.raw))), True),
    Route("POST", "files", lambda state, request: json_response(state.files.add(request))),
    Route("GET", "files", lambda state, request: json_response(state.files.list(request.client_id))),
    Route("GET", "files/([^/]+)", lambda state, request, name: json_response(
        state.files.get(name, request.client_id))),
    Route("GET", "files/([^/]+)/content", lambda state, request, name: Response(
        200, *state.files.content(name, request.client_id))),
    Route("POST", "files/([^/]+)/delete", lambda state, request, name: json_response(
        state.files.delete(name, request.client_id))),
    Route("GET", "balance", _get_balance),
    Route("POST", "ai/check", _check_text),
]
