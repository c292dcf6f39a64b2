"""The balance, and the check of a text for traces of a machine: each is for customers of some scopes alone."""

from __future__ import annotations

import re
from typing import Any

from . import validation as v
from .http import Request, Response, api_error, json_response
from .models import SCOPES, find_model
from .state import Route, State
from .text import count_tokens

MIN_WORDS = 20  # of a text that is to be judged
LONG_SENTENCE = 12  # words; so long a sentence passes for a machine's here
_FIELDS = {"input": v.TEXT, "model": v.any_value}


def _get_balance(state: State, request: Request) -> Response:
    """Tell what is left, to who pays in advance."""
    if state.strict and state.scope == SCOPES[2]:
        raise api_error(403)
    left = [{"usage": "GigaChat", "value": 900000}, {"usage": "embeddings", "value": 9999967}]
    return json_response({"balance": left})


def _check_text(state: State, request: Request) -> Response:
    """Judge a text, for companies that pay for what they use; that it is too short has words of its own here."""
    if state.strict and state.scope != SCOPES[2]:
        raise api_error(403)
    body = v.read_object(request)
    v.object_of(_FIELDS, "input", strict=state.strict)(body, "")
    model = find_model(body.get("model"), "aicheck")["id"]
    if state.strict and len(body["input"].split()) < MIN_WORDS:
        raise v.invalid_params(f"input must have at least {MIN_WORDS} words")
    return json_response(classify_text(body["input"], model == "GigaCheckDetection"))


def classify_text(text: str, detect: bool) -> dict[str, Any]:
    """Tell what a machine wrote: long sentences, for want of a better sign; only detection finds a mixture.

    >>> classify_text("Коротко. Ясно.", True)
    {'category': 'human', 'characters': 14, 'tokens': 5, 'ai_intervals': []}
    """
    intervals: list[list[int]] = []
    kinds = set()
    for match in re.finditer(r"[^.!?…]+[.!?…]*", text):
        kinds.add(len(match.group().split()) >= LONG_SENTENCE)
        if len(match.group().split()) >= LONG_SENTENCE:
            start = match.start() + len(match.group()) - len(match.group().lstrip()) + 1
            joined = intervals and start - intervals[-1][1] <= 2
            intervals[-1:] = [[intervals[-1][0], match.end()]] if joined else [*intervals[-1:], [start, match.end()]]
    covered = sum(end - start for start, end in intervals)
    category = "mixed" if detect and len(kinds) > 1 else "ai" if 2 * covered > len(text) else "human"
    return {
        "category": category, "characters": len(text), "tokens": count_tokens(text),
        "ai_intervals": intervals if category == "mixed" else []}


ROUTES = [Route("GET", "balance", _get_balance), Route("POST", "ai/check", _check_text)]
