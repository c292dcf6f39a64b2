"""Batches: many requests in one file, answered in another one, later."""

from __future__ import annotations

from typing import Any, Mapping

from ..objects import Obj
from .base import Answer
from .chat import ChatCompletion
from .embeddings import Embeddings


class BatchRequestCounts(Obj):
    """How many requests a batch has, and how many of them have ended, and how."""

    __slots__ = ()
    total: int
    completed: int | None
    failed: int | None


class Batch(Answer):
    """One batch: ``status`` is created, in_progress or completed; ``output_file_id`` comes with the last of them."""

    __slots__ = ()
    id: str
    method: str
    request_counts: BatchRequestCounts
    status: str
    output_file_id: str | None
    created_at: int
    updated_at: int | None


class Batches(Answer):
    """The batches of the account.

    The service's answer has been described as an object that holds a list, a bare list and a single batch: all three
    are read, and ``batches`` is the list.
    """

    __slots__ = ()
    batches: list[Batch]

    def __init__(self, answer: Any = (), **fields: Any) -> None:
        if not isinstance(answer, Mapping):
            answer = {"batches": list(answer)} if answer or not fields else {}
        elif "batches" not in answer and ("id" in answer or "status" in answer):
            answer = {"batches": [answer]}
        super().__init__(answer, **fields)


class BatchRequest(Obj):
    """One line of a batch: an id of your own, and the body of a chat or an embeddings request."""

    __slots__ = ()
    id: str
    request: dict[str, Any]


class BatchError(Obj):
    """Why one request of a batch has no result."""

    __slots__ = ()
    status: int
    message: str


class BatchResult(Obj):
    """One line of a batch's answers, which come in no order: match them by ``id``."""

    __slots__ = ()
    id: str
    result: dict[str, Any] | None
    error: BatchError | None

    @property
    def completion(self) -> ChatCompletion:
        """The result as the answer of a chat; without one it is empty."""
        return ChatCompletion(self.result or {})

    @property
    def embeddings(self) -> Embeddings:
        """The result as vectors; without one it is empty."""
        return Embeddings(self.result or {})
