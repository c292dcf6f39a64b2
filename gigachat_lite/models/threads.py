"""Threads: dialogues kept by the service."""

from __future__ import annotations

from typing import Any

from ..objects import Obj, OpenEnum
from .base import Answer
from .chat import (
    ChatAnswer,
    ChatFunctionCall,
    ChoicesChunk,
    ChunkAnswer,
    Function,
    FunctionCall,
    Messages,
    MessagesRole,
    Usage,
)


class ThreadStatus(OpenEnum):
    """How far a thread's run is."""

    IN_PROGRESS = "in_progress"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"


class _Running(Answer):
    __slots__ = ()
    status: ThreadStatus


class Thread(_Running):
    """A thread; ``run_lock`` says whether an answer is being written in it."""

    __slots__ = ()
    id: str
    id_: str
    assistant_id: str | None
    model: str
    created_at: int
    updated_at: int
    run_lock: bool


class Threads(Answer):
    """Threads."""

    __slots__ = ()
    threads: list[Thread]


class ThreadMessageAttachment(Obj):
    """A file of a message."""

    __slots__ = ()
    file_id: str
    name: str


class ThreadMessage(Obj):
    """A message of a thread."""

    __slots__ = ()
    message_id: str
    role: MessagesRole
    content: str
    attachments: list[ThreadMessageAttachment] | None
    created_at: int
    model: str | None
    function_call: FunctionCall | None
    finish_reason: str | None


class ThreadMessages(Answer):
    """The messages of a thread."""

    __slots__ = ()
    thread_id: str
    messages: list[ThreadMessage]


class ThreadMessageResponse(Obj):
    """The id of a message that was added to a thread."""

    __slots__ = ()
    created_at: int
    message_id: str


class ThreadMessagesResponse(Answer):
    """The ids of messages that were added to a thread."""

    __slots__ = ()
    thread_id: str
    messages: list[ThreadMessageResponse]


class ThreadRunOptions(Obj):
    """How a thread is answered; ``limit`` is the number of messages that the model is shown."""

    __slots__ = ()
    temperature: float | None
    top_p: float | None
    limit: int | None
    max_tokens: int | None
    repetition_penalty: float | None
    profanity_check: bool | None
    flags: list[str] | None
    function_call: str | ChatFunctionCall | dict[str, Any] | None
    functions: list[Function] | None


class ThreadRunResponse(_Running):
    """That a run has begun."""

    __slots__ = ()
    thread_id: str
    created_at: int


class ThreadRunResult(_Running):
    """How far a run is, and the messages that it wrote."""

    __slots__ = ()
    thread_id: str
    updated_at: int
    model: str
    messages: list[ThreadMessage] | None


class ThreadCompletion(ChatAnswer):
    """The whole answer of a run: one ``message``, no choices."""

    __slots__ = ()
    object: str
    object_: str
    model: str
    thread_id: str
    message_id: str
    created: int
    usage: Usage
    message: Messages
    finish_reason: str | None

    def _choice(self) -> Obj:
        return self


class ThreadCompletionChunk(ChunkAnswer):
    """One event of a streamed run; its ``usage`` is that of this event alone."""

    __slots__ = ()
    object: str
    object_: str
    model: str
    thread_id: str
    message_id: str
    created: int
    usage: Usage
    choices: list[ChoicesChunk]
