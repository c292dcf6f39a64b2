"""Batches: many requests in one file, answered when nobody looks."""

from __future__ import annotations

import time
import uuid
from typing import Any

from . import validation as v
from .chat_v1 import complete_checked, render_completion
from .endpoints import embed
from .models import SCOPES
from .state import Route, State
from .web import HTTPError, Request, Response, api_error, json_response, to_json

METHODS = ("chat_completions", "embedder")


def _create(state: State, request: Request) -> Response:
    state.check_scope(SCOPES[2])
    method, now = request.query.get("method", ""), int(time.time())
    if method not in METHODS:  # the service's own words are not known
        raise v.invalid_params(f"method must be one of {', '.join(METHODS)}")
    requests = _parse_requests(request.raw)
    info: dict[str, Any] = {
        "id": str(uuid.uuid4()), "method": method, "request_counts": {"total": len(requests)},
        "status": "created", "created_at": now, "updated_at": now}
    state.batches[info["id"]] = info, request.client_id, requests
    return json_response(info)


def _list(state: State, request: Request) -> Response:
    """Describe all batches, or one, which comes in a list too; each goes one state on with every look at it."""
    state.check_scope(SCOPES[2])
    wanted = request.query.get("batch_id")
    if wanted is not None and wanted not in state.batches:
        raise api_error(404, "Batch task not found")
    return json_response({"batches": [_advance(state, name) for name in state.batches if wanted in (None, name)]})


def _advance(state: State, name: str) -> dict[str, Any]:
    """Take a batch one state on, and describe it."""
    info, owner, requests = state.batches[name]
    if info["status"] == "created":
        info = {**info, "status": "in_progress"}
    elif info["status"] == "in_progress":
        lines = [_run(state, info["method"], key, body, owner) for key, body in requests.items()]
        failed = sum(not good for _, good in lines)
        output = b"".join(line for line, _ in lines)
        file = state.files.store(owner, f"{name}.jsonl", output, "application/jsonl", "general")
        counts = {"total": len(lines), "completed": len(lines) - failed, "failed": failed}
        info = {
            "id": name, "method": info["method"], "request_counts": counts, "status": "completed",
            "output_file_id": file["id"], "created_at": info["created_at"], "updated_at": int(time.time())}
    state.batches[name] = info, owner, requests
    return info


def _run(state: State, method: str, name: str, body: dict[str, Any], owner: str | None) -> tuple[bytes, bool]:
    """Return the line that answers a request, and whether it does so without an error."""
    try:
        if method == "embedder":
            result = embed(state, body)
        else:
            result = render_completion(str(body.get("model")), complete_checked(state, body, owner))
        return b'{"id":%b,"result":%b}\n' % (to_json(name), result), True
    except HTTPError as error:
        return b'{"id":%b,"error":%b}\n' % (to_json(name), error.response.body.strip()), False


def _parse_requests(raw: bytes) -> dict[str, dict[str, Any]]:
    """Return the requests in the lines of a batch; the service's own words for what is wrong are not known."""
    requests: dict[str, dict[str, Any]] = {}
    for line in filter(bytes.strip, raw.splitlines()):
        item = v.parse_object(line)
        name, body = item.get("id"), item.get("request")
        v.require_syntax(type(name) is str and type(body) is dict)
        if name in requests:
            raise v.invalid_params(f"id must be unique, and {v.quote(name)} is not")
        requests[name] = body
    if not requests:
        raise v.invalid_params("a batch must have at least one request")
    return requests


ROUTES = [Route("POST", "batches", _create), Route("GET", "batches", _list)]
