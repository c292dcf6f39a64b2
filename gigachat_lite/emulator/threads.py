"""What the service keeps of dialogues: assistants, and threads of messages, which are run; in memory, for everybody.

Only the official SDK knows these calls, so that no words for what is wrong with them are known.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Callable

from .chat import Completion, complete, list_attachments, name_version
from .rules import (
    CHAT,
    FUNCTION,
    MESSAGE,
    anything,
    check_attachments,
    check_functions,
    check_history,
    check_shape,
    each,
    find_model,
    in_range,
    invalid,
    of,
    read_object,
    record,
)
from .wire import Answer, Request, dumps, refuse
from .words import count_tokens, mapping, pieces

if TYPE_CHECKING:
    from .service import Service

MAX_METADATA = 16  # pairs
KIND = "threads.messages.run"

_TEXT = of(str)


def _check_metadata(value: Any, where: str) -> None:
    check_shape(type(value) is dict)
    if len(value) > MAX_METADATA:
        raise invalid(f"{where} must not have more than {MAX_METADATA} pairs")


_ASSISTANT = {
    "model": anything,  # `find_model` has the words for what is none
    "name": _TEXT,
    "description": _TEXT,
    "instructions": _TEXT,
    "file_ids": each(_TEXT),
    "metadata": _check_metadata,
    "functions": each(record(FUNCTION, "name")),
}
_RUN = {
    **{name: CHAT[name] for name in (
        "model", "top_p", "max_tokens", "repetition_penalty", "profanity_check", "flags", "function_call", "functions",
        "stream", "update_interval")},
    "temperature": in_range("(0, 2]", int, float),
    "limit": in_range("(0, +inf)", int),
    "thread_id": _TEXT,
    "assistant_id": _TEXT,
}
_MESSAGES = {
    # The official SDK writes out what a message has not, an `id` under a name of its own.
    True: each(record({**MESSAGE, "id_": anything}, "role")),
    False: each(record({
        "role": _TEXT, "content": _TEXT, "function_call": of(dict), "attachments": each(_TEXT)}, "role", strict=False)),
}
_ADDED = {"thread_id": _TEXT, "model": anything, "assistant_id": _TEXT}


def _read(request: Request, fields: dict[str, Any], *required: str, strict: bool = True) -> dict[str, Any]:
    """Return a body without what is null in it."""
    body = read_object(request)
    record(fields, *required, strict=strict)(body, "")
    return {name: value for name, value in body.items() if value is not None}


# ---- Assistants


class Assistants:
    """Keep assistants."""

    def __init__(self, service: Service) -> None:
        """Begin without any, for a service whose files they may have."""
        self._service, self._lock = service, threading.Lock()
        self._assistants: dict[str, dict[str, Any]] = {}
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "assistants", self._list),
            ("POST", "assistants", self._create),
            ("POST", "assistants/modify", self._modify),
            ("POST", "assistants/delete", self._delete),
            ("POST", "assistants/files/delete", self._delete_file),
        ]

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._assistants = {}

    def find(self, assistant_id: str) -> dict[str, Any]:
        """Return an assistant."""
        found = self._assistants.get(assistant_id)
        if found is None:
            raise refuse(404, "No such assistant")
        return found

    def peek(self, assistant_id: str | None) -> dict[str, Any]:
        """Return an assistant, nothing in the place of one that has gone."""
        return self._assistants.get(assistant_id or "", {})

    def _list(self, request: Request) -> Answer:
        """Describe all assistants, or one, which comes in a list too."""
        wanted = request.query.get("assistant_id")
        with self._lock:
            found = list(self._assistants.values()) if wanted is None else [self.find(wanted)]
            return Answer(body=dumps({"data": found}))

    def _create(self, request: Request) -> Answer:
        body = _read(request, _ASSISTANT, "name", strict=self._service.strict)
        find_model(body.get("model"), "chat")
        self._check(body, request)
        now = int(time.time())
        facts: dict[str, Any] = {"assistant_id": str(uuid.uuid4()), "created_at": now}
        given: dict[str, Any] = {name: body[name] for name in ("name", "instructions", "model") if name in body}
        with self._lock:
            self._assistants[facts["assistant_id"]] = {**facts, **given, "updated_at": now, **body}
        return Answer(body=dumps(facts))

    def _check(self, body: dict[str, Any], request: Request) -> None:
        """Refuse functions and files that nobody could use."""
        if self._service.strict:
            check_functions(body.get("functions") or [], None)
            for file_id in body.get("file_ids") or []:
                self._service.files.get(file_id, request.headers.get("x-client-id"))

    def _modify(self, request: Request) -> Answer:
        fields = {**_ASSISTANT, "assistant_id": _TEXT}
        body = _read(request, fields, "assistant_id", strict=self._service.strict)
        if "model" in body:
            find_model(body["model"], "chat")
        self._check(body, request)
        with self._lock:
            changed = {**self.find(body["assistant_id"]), **body, "updated_at": int(time.time())}
            self._assistants[body["assistant_id"]] = changed
        return Answer(body=dumps(changed))

    def _delete(self, request: Request) -> Answer:
        body = _read(request, {"assistant_id": _TEXT}, "assistant_id", strict=self._service.strict)
        with self._lock:
            self.find(body["assistant_id"])
            del self._assistants[body["assistant_id"]]
        return Answer(body=dumps({"assistant_id": body["assistant_id"], "deleted": True}))

    def _delete_file(self, request: Request) -> Answer:
        """Take a file from an assistant; the file itself stays."""
        fields = {"assistant_id": _TEXT, "file_id": _TEXT}
        body = _read(request, fields, *fields, strict=self._service.strict)
        with self._lock:
            found = self.find(body["assistant_id"])
            if body["file_id"] not in (found.get("file_ids") or []):
                raise refuse(404, "No such file")
            left = [file_id for file_id in found["file_ids"] if file_id != body["file_id"]]
            self._assistants[body["assistant_id"]] = {**found, "file_ids": left, "updated_at": int(time.time())}
        return Answer(body=dumps({"file_id": body["file_id"], "deleted": True}))


# ---- Threads


class Thread:
    """Hold a thread: its messages as they came, each with an id, a time and, for an answer, the reason of its end."""

    def __init__(self, model: str, assistant_id: str | None) -> None:
        """Begin without a message."""
        self.id, self.model, self.assistant_id = str(uuid.uuid4()), model, assistant_id
        self.created_at = self.updated_at = int(time.time())
        self.messages: list[dict[str, Any]] = []
        self.run_from = self.takes = 0  # where the last run begins, and how often its answer was made again

    def describe(self) -> dict[str, Any]:
        """Return what a list says of it; nothing takes any time here, so that it is always ready."""
        assistant = {} if self.assistant_id is None else {"assistant_id": self.assistant_id}
        return {
            "id": self.id, "model": self.model, **assistant, "created_at": self.created_at,
            "updated_at": self.updated_at, "status": "ready", "run_lock": False}

    def add(self, message: dict[str, Any], **facts: Any) -> dict[str, Any]:
        """Add a message, and return it with its id."""
        self.updated_at = int(time.time())
        told = {"message_id": str(uuid.uuid4()), "created_at": self.updated_at}
        self.messages.append({**{k: v for k, v in message.items() if v is not None}, **facts, **told})
        return self.messages[-1]


class Threads:
    """Keep threads and run them."""

    def __init__(self, service: Service) -> None:
        """Begin without any, for a service whose files, assistants and settings are used."""
        self._service, self._lock = service, threading.Lock()
        self._threads: dict[str, Thread] = {}
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "threads", self._list),
            ("POST", "threads", self._create),
            ("POST", "threads/retrieve", self._retrieve),
            ("POST", "threads/delete", self._delete),
            ("GET", "threads/messages", self._list_messages),
            ("POST", "threads/messages", self._add_messages),
            ("GET", "threads/run", self._look),
            ("POST", "threads/run", lambda request: self._hold(self._run, request)),
            ("POST", "threads/messages/run", lambda request: self._hold(self._run_messages, request)),
            ("POST", "threads/messages/rerun", lambda request: self._hold(self._rerun, request)),
        ]

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._threads = {}

    def find(self, thread_id: str | None) -> Thread:
        """Return a thread."""
        found = self._threads.get(thread_id or "")
        if found is None:
            raise refuse(404, "No such thread")
        return found

    # -- What is kept

    def _list(self, request: Request) -> Answer:
        """Describe threads, the newest first: those of some assistants, or of all."""
        wanted = [value for name, value in request.pairs if name == "assistants_ids"]
        with self._lock:
            found = [thread.describe() for thread in reversed(list(self._threads.values()))
                     if not wanted or thread.assistant_id in wanted]
        return Answer(body=dumps({"threads": _page(request, found)}))

    def _create(self, request: Request) -> Answer:
        _read(request, {}, strict=self._service.strict)
        with self._lock:
            return Answer(body=dumps(self._begin({}).describe()))

    def _begin(self, body: dict[str, Any]) -> Thread:
        """Make a thread, with the model of its assistant, one that was named or the usual one."""
        assistant = body.get("assistant_id")
        given = self._service.assistants.find(assistant)["model"] if assistant else body.get("model", "GigaChat")
        thread = Thread(find_model(given, "chat")["id"], assistant)
        self._threads[thread.id] = thread
        return thread

    def _retrieve(self, request: Request) -> Answer:
        """Describe the threads that there are of those that were named."""
        body = _read(request, {"threads_ids": each(_TEXT)}, "threads_ids", strict=self._service.strict)
        with self._lock:
            found = [self._threads[name].describe() for name in body["threads_ids"] if name in self._threads]
        return Answer(body=dumps({"threads": found}))

    def _delete(self, request: Request) -> Answer:
        body = _read(request, {"thread_id": _TEXT}, "thread_id", strict=self._service.strict)
        with self._lock:
            self.find(body["thread_id"])
            del self._threads[body["thread_id"]]
        return Answer()

    def _list_messages(self, request: Request) -> Answer:
        with self._lock:
            thread = self.find(request.query.get("thread_id"))
            found = [{**self._describe(message), "model": thread.model} for message in thread.messages]
        return Answer(body=dumps({"thread_id": thread.id, "messages": _page(request, found, last=True)}))

    def _describe(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message as it is listed, its files with their names."""
        files = [{"file_id": name, "name": mapping(self._service.files.peek(name)).get("filename", "")}
                 for name in message.get("attachments") or []]
        told = {"message_id": message["message_id"], "role": message["role"], "content": message.get("content", "")}
        told.update({"attachments": files} if files else {}, created_at=message["created_at"])
        kept = ("function_call", "functions_state_id", "name", "finish_reason")
        return {**told, **{name: message[name] for name in kept if name in message}}

    def _add_messages(self, request: Request) -> Answer:
        strict = self._service.strict
        body = _read(request, {**_ADDED, "messages": _MESSAGES[strict]}, "messages", strict=strict)
        with self._lock:
            thread = self._extend(body, request)
            added = thread.messages[len(thread.messages) - len(body["messages"]):]
        told = [{"created_at": message["created_at"], "message_id": message["message_id"]} for message in added]
        return Answer(body=dumps({"thread_id": thread.id, "messages": told}))

    def _extend(self, body: dict[str, Any], request: Request) -> Thread:
        """Add messages to a thread, a new one where none is named."""
        if not body["messages"]:
            raise invalid("messages must not be empty")
        messages = [{k: v for k, v in message.items() if v is not None} for message in body["messages"]]
        thread = self.find(body["thread_id"]) if "thread_id" in body else None
        if self._service.strict:
            check_history(thread.messages + messages if thread else messages, whole=False)
            check_attachments(messages, self._service.files)
            model = thread.model if thread else str(body.get("model"))
            self._service.files.check_attached(list_attachments(messages), request.headers.get("x-client-id"), model)
        thread = thread or self._begin(body)
        for message in messages:
            thread.add(message)
        return thread

    # -- Runs

    def _hold(self, run: Callable[[Request], Answer], request: Request) -> Answer:
        """Take a place for a run first: who is refused one may come again, and must find the thread as it was."""
        done = self._service.begin()
        try:
            with self._lock:
                return run(request)._replace(done=done)
        except BaseException:
            done()
            raise

    def _look(self, request: Request) -> Answer:
        """Tell how the last run of a thread goes: it has ended."""
        with self._lock:
            thread = self.find(request.query.get("thread_id"))
            found = list(map(self._describe, thread.messages[thread.run_from:]))
        return Answer(body=dumps({
            "status": "ready", "thread_id": thread.id, "updated_at": thread.updated_at, "model": thread.model,
            "messages": found}))

    def _run(self, request: Request) -> Answer:
        """Begin a run, which has ended by the time that somebody looks; a stream shows it at once."""
        body = _read(request, _RUN, "thread_id", strict=self._service.strict)
        thread, completion = self._answer(self.find(body["thread_id"]), body, request)
        if body.get("stream") is True:
            return self._render(thread, completion, body)
        return Answer(body=dumps({"status": "in_progress", "thread_id": thread.id, "created_at": thread.updated_at}))

    def _run_messages(self, request: Request) -> Answer:
        strict = self._service.strict
        body = _read(request, {**_RUN, "messages": _MESSAGES[strict]}, "messages", strict=strict)
        self._check_run(body, body["messages"])
        return self._render(*self._answer(self._extend(body, request), body, request), body)

    def _rerun(self, request: Request) -> Answer:
        """Answer the last question anew, in other words."""
        body = _read(request, _RUN, "thread_id", strict=self._service.strict)
        thread = self.find(body["thread_id"])
        again = bool(thread.messages) and thread.messages[-1]["role"] == "assistant"
        self._check_run(body, thread.messages[:-1] if again else thread.messages)
        if again:
            thread.messages.pop()
        return self._render(*self._answer(thread, body, request, thread.takes + again), body)

    def _check_run(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """Refuse a run before anything has changed."""
        if not messages or messages[-1]["role"] == "assistant":
            raise invalid("a thread must end with a message to be answered")
        if "assistant_id" in body:
            self._service.assistants.find(body["assistant_id"])
        if self._service.strict:
            check_functions(body.get("functions") or [], body.get("function_call"))

    def _answer(
        self, thread: Thread, body: dict[str, Any], request: Request, take: int = 0,
    ) -> tuple[Thread, Completion]:
        """Let the model of a thread answer its last message, and add the answer."""
        self._check_run(body, thread.messages)
        thread.assistant_id = thread.assistant_id or body.get("assistant_id")
        assistant = self._service.assistants.peek(body.get("assistant_id", thread.assistant_id))
        options = {name: body[name] for name in _RUN if name in body}
        chat = {"functions": assistant.get("functions"), **options, "messages": thread.messages[-body.get("limit", 0):]}
        completion = complete(chat, self._service.files, request.headers.get("x-client-id"), take)
        choice = completion.choices[0]
        answered = [index for index, message in enumerate(thread.messages) if message["role"] == "assistant"]
        thread.run_from, thread.takes = answered[-1] + 1 if answered else 0, take
        thread.add(choice["message"], finish_reason=choice["finish_reason"])
        return thread, completion

    def _render(self, thread: Thread, completion: Completion, body: dict[str, Any]) -> Answer:
        """Return an answer whole or in events, each with its own share of the tokens."""
        choice, usage = completion.choices[0], dict(completion.usage)
        usage.pop("precached_prompt_tokens")
        ids = {"thread_id": thread.id, "message_id": thread.messages[-1]["message_id"]}
        facts = {"created": int(time.time()), "model": name_version(thread.model), "object": KIND}
        if body.get("stream") is not True:
            return Answer(body=dumps({
                "object": KIND, "model": facts["model"], **ids, "created": facts["created"], "usage": usage,
                "message": choice["message"], "finish_reason": choice["finish_reason"]}))
        every = self._service.pace(body.get("update_interval"))
        return self._service.stream(_render_events(choice, usage, facts, ids, every), every)


def _page(request: Request, found: list[dict[str, Any]], last: bool = False) -> list[dict[str, Any]]:
    """Return what a query wants of a list: those `before` a time in Unix seconds, `limit` of them at most."""
    limit, before = (request.query.get(name, "") for name in ("limit", "before"))
    check_shape(all(not text or (text.isdecimal() and len(text) < 16) for text in (limit, before)))
    if before:
        found = [item for item in found if item["created_at"] < int(before)]
    return found if not limit else found[-int(limit):] if last and int(limit) else found[:int(limit)]


def _render_events(
    choice: dict[str, Any], usage: dict[str, int], facts: dict[str, Any], ids: dict[str, Any], every: int,
) -> list[bytes]:
    """Return the events of a run: the question counts in the first, and the last has words and the reason."""
    texts = pieces(choice["message"]["content"], every)
    deltas = [{"content": text} for text in texts]
    deltas[0] = {**choice["message"], **deltas[0]}
    left, asked, events = usage["completion_tokens"], usage["prompt_tokens"], []
    for place, delta in enumerate(deltas):
        last = place == len(deltas) - 1
        spent = left if last else min(left, count_tokens(texts[place]))
        told: dict[str, Any] = {"delta": delta, "index": 0}
        told.update({"finish_reason": choice["finish_reason"]} if last else {})
        share = {"prompt_tokens": asked, "completion_tokens": spent, "total_tokens": asked + spent}
        events.append({"choices": [told], **facts, "usage": share, **ids})
        left, asked = left - spent, 0
    return [b"data: %b\n\n" % data for data in [*map(dumps, events), b"[DONE]"]]
