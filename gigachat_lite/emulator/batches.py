"""Batches: many questions in one file, answered when nobody looks."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from .chat import render_completion
from .rules import SCOPES, check_shape, invalid, parse_object, quote
from .wire import Answer, Refused, Request, dumps, refuse

if TYPE_CHECKING:
    from .service import Service

METHODS = ("chat_completions", "embedder")


class _Batch(NamedTuple):
    facts: dict[str, Any]
    owner: str | None
    questions: list[tuple[str, dict[str, Any]]]


class Batches:
    """Keep batches; each goes one state on with every look at it, as nothing here takes any time."""

    def __init__(self, service: Service) -> None:
        """Begin without any, for a service that answers what is in them."""
        self._service, self._lock = service, threading.Lock()
        self._batches: dict[str, _Batch] = {}
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("POST", "batches", self._create),
            ("GET", "batches", self._list),
        ]

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._batches = {}

    def _check_scope(self) -> None:
        """Refuse who does not pay for what he uses."""
        if self._service.strict and self._service.scope != SCOPES[2]:
            raise refuse(403, "Permission denied")

    def _create(self, request: Request) -> Answer:
        self._check_scope()
        method, now = request.query.get("method", ""), int(time.time())
        if method not in METHODS:  # the service's own words are not known
            raise invalid(f"method must be one of {', '.join(METHODS)}")
        questions = read_questions(request.raw)
        facts: dict[str, Any] = {
            "id": str(uuid.uuid4()), "method": method, "request_counts": {"total": len(questions)},
            "status": "created", "created_at": now, "updated_at": now}
        with self._lock:
            self._batches[facts["id"]] = _Batch(facts, request.headers.get("x-client-id"), questions)
        return Answer(body=dumps(facts))

    def _list(self, request: Request) -> Answer:
        """Describe all batches, or one, which comes in a list too."""
        self._check_scope()
        wanted = request.query.get("batch_id")
        with self._lock:
            if wanted is not None and wanted not in self._batches:
                raise refuse(404, "Batch task not found")
            found = [self._move(name) for name in self._batches if wanted in (None, name)]
        return Answer(body=dumps({"batches": found}))

    def _move(self, name: str) -> dict[str, Any]:
        """Take a batch one state on, and describe it."""
        facts, owner, questions = self._batches[name]
        if facts["status"] == "created":
            facts = {**facts, "status": "in_progress"}
        elif facts["status"] == "in_progress":
            lines = [self._answer(facts["method"], *question, owner) for question in questions]
            failed = sum(not good for _, good in lines)
            output = b"".join(line for line, _ in lines)
            file = self._service.files.store(owner, f"{name}.jsonl", output, "application/jsonl", "general")
            counts = {"total": len(lines), "completed": len(lines) - failed, "failed": failed}
            facts = {
                "id": name, "method": facts["method"], "request_counts": counts, "status": "completed",
                "output_file_id": file["id"], "created_at": facts["created_at"], "updated_at": int(time.time())}
        self._batches[name] = _Batch(facts, owner, questions)
        return facts

    def _answer(self, method: str, name: str, body: dict[str, Any], owner: str | None) -> tuple[bytes, bool]:
        """Return the line that answers a question, and whether it does so without an error."""
        try:
            if method == "embedder":
                result = self._service.embed(body)
            else:
                result = render_completion(str(body.get("model")), self._service.complete(body, owner))
            return b'{"id":%b,"result":%b}\n' % (dumps(name), result), True
        except Refused as refused:
            return b'{"id":%b,"error":%b}\n' % (dumps(name), refused.answer.body.strip()), False


def read_questions(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return ids and questions of the lines of a batch; the service's own words for what is wrong are not known."""
    questions: dict[str, dict[str, Any]] = {}
    for line in raw.splitlines():
        if not line.strip():
            continue
        item = parse_object(line)
        name, body = item.get("id"), item.get("request")
        check_shape(type(name) is str and type(body) is dict)
        if name in questions:
            raise invalid(f"id must be unique, and {quote(name)} is not")
        questions[name] = body
    if not questions:
        raise invalid("a batch must have at least one request")
    return list(questions.items())
