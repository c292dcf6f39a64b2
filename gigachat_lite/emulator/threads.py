"""What the service keeps of dialogues: assistants, and threads of messages, which are run; in memory, for everybody.

Only the official SDK knows these calls, so that no words for what is wrong with them are known.
"""

from __future__ import annotations

import functools
import time
import uuid
from typing import Any

from . import validation as v
from .chat_v1 import Completion, complete, message_deltas, sse_events
from .models import find_model, versioned_name
from .state import Route, State
from .text import JSONDict, as_dict, count_tokens
from .web import Request, Response, api_error, json_response

MAX_METADATA = 16  # pairs
KIND = "threads.messages.run"


def _check_metadata(value: Any, where: str) -> None:
    v.require_syntax(type(value) is dict)
    if len(value) > MAX_METADATA:
        raise v.invalid_params(f"{where} must not have more than {MAX_METADATA} pairs")


_ASSISTANT = {
    **dict.fromkeys(("name", "description", "instructions"), v.TEXT),
    "model": v.any_value,  # `find_model` has the words for what is none
    "file_ids": v.TEXTS,
    "metadata": _check_metadata,
    "functions": v.list_of(v.object_of(v.FUNCTION, "name")),
}
_RUN = {
    **{name: v.CHAT[name] for name in (
        *v.SAMPLING, "model", "profanity_check", "flags", "function_call", "functions", "stream")},
    "temperature": v.in_range("(0, 2]", int, float),
    "limit": v.POSITIVE_INT, "thread_id": v.TEXT, "assistant_id": v.TEXT,
}
_MESSAGES = {
    # The official SDK writes out what a message has not, an `id` under a name of its own.
    True: v.list_of(v.object_of({**v.MESSAGE, "id_": v.any_value}, "role")),
    False: v.list_of(v.object_of({
        "role": v.TEXT, "content": v.TEXT, "function_call": v.OBJECT, "attachments": v.TEXTS}, "role", strict=False)),
}
_ADDED = {"thread_id": v.TEXT, "model": v.any_value, "assistant_id": v.TEXT}


def _read(state: State, request: Request, fields: JSONDict, *required: str) -> JSONDict:
    """Return a body without what is null in it."""
    body = v.parse_object(request.raw)
    v.object_of(fields, *required, strict=state.strict)(body, "")
    return {name: value for name, value in body.items() if value is not None}


# ---- Assistants


def find_assistant(state: State, assistant_id: str) -> JSONDict:
    """Return an assistant."""
    if assistant_id not in state.assistants:
        raise api_error(404, "No such assistant")
    return state.assistants[assistant_id]


def _list_assistants(state: State, request: Request) -> Response:
    """Describe all assistants, or one, which comes in a list too."""
    wanted = request.query.get("assistant_id")
    return json_response({"data": [find_assistant(state, wanted)] if wanted else list(state.assistants.values())})


def _create_assistant(state: State, request: Request) -> Response:
    body = _read(state, request, _ASSISTANT, "name")
    find_model(body.get("model"), "chat")
    _check_assistant(state, body, request)
    now = int(time.time())
    info: JSONDict = {"assistant_id": str(uuid.uuid4()), "created_at": now}
    state.assistants[info["assistant_id"]] = {**info, **body, "updated_at": now}
    return json_response(info)


def _check_assistant(state: State, body: JSONDict, request: Request) -> None:
    """Refuse functions and files that nobody could use."""
    if state.strict:
        v.check_functions(body.get("functions") or [], None)
        for file_id in body.get("file_ids") or []:
            state.files.get(file_id, request.client_id)


def _modify_assistant(state: State, request: Request) -> Response:
    body = _read(state, request, {**_ASSISTANT, "assistant_id": v.TEXT}, "assistant_id")
    if "model" in body:
        find_model(body["model"], "chat")
    _check_assistant(state, body, request)
    return json_response(_change_assistant(state, body["assistant_id"], body))


def _change_assistant(state: State, assistant_id: str, changes: JSONDict) -> JSONDict:
    changed = {**find_assistant(state, assistant_id), **changes, "updated_at": int(time.time())}
    state.assistants[assistant_id] = changed
    return changed


def _delete_assistant(state: State, request: Request) -> Response:
    assistant_id = _read(state, request, {"assistant_id": v.TEXT}, "assistant_id")["assistant_id"]
    find_assistant(state, assistant_id)
    del state.assistants[assistant_id]
    return json_response({"assistant_id": assistant_id, "deleted": True})


def _remove_assistant_file(state: State, request: Request) -> Response:
    """Take a file from an assistant; the file itself stays."""
    body = _read(state, request, {"assistant_id": v.TEXT, "file_id": v.TEXT}, "assistant_id", "file_id")
    file_ids = find_assistant(state, body["assistant_id"]).get("file_ids") or []
    if body["file_id"] not in file_ids:
        raise api_error(404, "No such file")
    left = [file_id for file_id in file_ids if file_id != body["file_id"]]
    _change_assistant(state, body["assistant_id"], {"file_ids": left})
    return json_response({"file_id": body["file_id"], "deleted": True})


# ---- Threads


class Thread:
    """Hold a thread: its messages as they came, each with an id, a time and, for an answer, the reason of its end."""

    def __init__(self, model: str, assistant_id: str | None) -> None:
        """Begin without a message."""
        self.id, self.model, self.assistant_id = str(uuid.uuid4()), model, assistant_id
        self.created_at = self.updated_at = int(time.time())
        self.messages: list[JSONDict] = []
        self.run_from = self.reruns = 0  # where the last run begins, and how often its answer was made again

    def describe(self) -> JSONDict:
        """Return what a list says of it; nothing takes any time here, so that it is always ready."""
        assistant = {} if self.assistant_id is None else {"assistant_id": self.assistant_id}
        return {
            "id": self.id, "model": self.model, **assistant, "created_at": self.created_at,
            "updated_at": self.updated_at, "status": "ready", "run_lock": False}

    def add(self, message: JSONDict, **more: Any) -> None:
        """Add a message, with an id."""
        self.updated_at = int(time.time())
        given = {name: value for name, value in message.items() if value is not None}
        self.messages.append({**given, **more, "message_id": str(uuid.uuid4()), "created_at": self.updated_at})


def find_thread(state: State, thread_id: str | None) -> Thread:
    """Return a thread."""
    thread = state.threads.get(thread_id or "")
    if not isinstance(thread, Thread):
        raise api_error(404, "No such thread")
    return thread


def _list_threads(state: State, request: Request) -> Response:
    """Describe threads, the newest first: those of some assistants, or of all."""
    wanted = [value for name, value in request.pairs if name == "assistants_ids"]
    found = [thread.describe() for thread in reversed(list(state.threads.values()))
             if not wanted or thread.assistant_id in wanted]
    return json_response({"threads": _paginate(request, found)})


def _create_thread(state: State, request: Request) -> Response:
    _read(state, request, {})
    return json_response(_new_thread(state, {}).describe())


def _new_thread(state: State, body: JSONDict) -> Thread:
    """Make a thread, with the model of its assistant, one that was named or the usual one."""
    assistant = body.get("assistant_id")
    model = find_assistant(state, assistant)["model"] if assistant else body.get("model", "GigaChat")
    thread = Thread(find_model(model, "chat")["id"], assistant)
    state.threads[thread.id] = thread
    return thread


def _retrieve_threads(state: State, request: Request) -> Response:
    """Describe the threads that there are of those that were named."""
    names = _read(state, request, {"threads_ids": v.TEXTS}, "threads_ids")["threads_ids"]
    return json_response({"threads": [state.threads[name].describe() for name in names if name in state.threads]})


def _delete_thread(state: State, request: Request) -> Response:
    thread_id = _read(state, request, {"thread_id": v.TEXT}, "thread_id")["thread_id"]
    find_thread(state, thread_id)
    del state.threads[thread_id]
    return Response()


def _list_messages(state: State, request: Request) -> Response:
    thread = find_thread(state, request.query.get("thread_id"))
    found = [{**_describe_message(state, message), "model": thread.model} for message in thread.messages]
    return json_response({"thread_id": thread.id, "messages": _paginate(request, found, last=True)})


def _describe_message(state: State, message: JSONDict) -> JSONDict:
    """Return a message as it is listed, its files with their names."""
    files = [{"file_id": name, "name": as_dict(state.files.look_up(name)).get("filename", "")}
             for name in message.get("attachments") or []]
    listed = {"message_id": message["message_id"], "role": message["role"], "content": message.get("content", "")}
    listed.update({"attachments": files} if files else {}, created_at=message["created_at"])
    kept = ("function_call", "functions_state_id", "name", "finish_reason")
    return {**listed, **{name: message[name] for name in kept if name in message}}


def _add_messages(state: State, request: Request) -> Response:
    body = _read(state, request, {**_ADDED, "messages": _MESSAGES[state.strict]}, "messages")
    thread = _extend(state, body, request)
    added = [{"created_at": message["created_at"], "message_id": message["message_id"]}
             for message in thread.messages[-len(body["messages"]):]]
    return json_response({"thread_id": thread.id, "messages": added})


def _extend(state: State, body: JSONDict, request: Request) -> Thread:
    """Add messages to a thread, a new one where none is named."""
    if not body["messages"]:
        raise v.invalid_params("messages must not be empty")
    messages = [{name: value for name, value in message.items() if value is not None} for message in body["messages"]]
    thread = find_thread(state, body["thread_id"]) if "thread_id" in body else None
    if state.strict:
        v.check_history(thread.messages + messages if thread else messages, whole=False)
        model = thread.model if thread else str(body.get("model"))
        state.files.check_attached(messages, request.client_id, model)
    thread = thread or _new_thread(state, body)
    for message in messages:
        thread.add(message)
    return thread


def _paginate(request: Request, found: list[JSONDict], last: bool = False) -> list[JSONDict]:
    """Return what a query wants of a list: those `before` a time in Unix seconds, `limit` of them at most."""
    limit, before = (request.query.get(name, "") for name in ("limit", "before"))
    v.require_syntax(all(not text or (text.isdecimal() and len(text) < 16) for text in (limit, before)))
    if before:
        found = [item for item in found if item["created_at"] < int(before)]
    return found if not limit else found[-int(limit):] if last and int(limit) else found[:int(limit)]


# ---- Runs


def _get_run(state: State, request: Request) -> Response:
    """Tell how the last run of a thread goes: it has ended."""
    thread = find_thread(state, request.query.get("thread_id"))
    found = [_describe_message(state, message) for message in thread.messages[thread.run_from:]]
    return json_response({
        "status": "ready", "thread_id": thread.id, "updated_at": thread.updated_at, "model": thread.model,
        "messages": found})


def _run(state: State, request: Request) -> Response:
    """Begin a run, which has ended by the time that somebody looks; a stream shows it at once."""
    body = _read(state, request, _RUN, "thread_id")
    thread = find_thread(state, body["thread_id"])
    response = _complete(state, thread, body, request)
    if body.get("stream") is True:
        return response
    return json_response({"status": "in_progress", "thread_id": thread.id, "created_at": thread.updated_at})


def _run_messages(state: State, request: Request) -> Response:
    body = _read(state, request, {**_RUN, "messages": _MESSAGES[state.strict]}, "messages")
    _check_run(state, body, body["messages"])
    return _complete(state, _extend(state, body, request), body, request)


def _rerun(state: State, request: Request) -> Response:
    """Answer the last question anew, in other words."""
    body = _read(state, request, _RUN, "thread_id")
    thread = find_thread(state, body["thread_id"])
    again = bool(thread.messages) and thread.messages[-1]["role"] == "assistant"
    _check_run(state, body, thread.messages[:-1] if again else thread.messages)
    if again:
        thread.messages.pop()
    return _complete(state, thread, body, request, thread.reruns + again)


def _check_run(state: State, body: JSONDict, messages: list[JSONDict]) -> None:
    """Refuse a run before anything has changed."""
    if not messages or messages[-1]["role"] == "assistant":
        raise v.invalid_params("a thread must end with a message to be answered")
    if "assistant_id" in body:
        find_assistant(state, body["assistant_id"])
    if state.strict:
        v.check_functions(body.get("functions") or [], body.get("function_call"))


def _complete(state: State, thread: Thread, body: JSONDict, request: Request, variant: int = 0) -> Response:
    """Let the model of a thread answer its last message, add the answer, and return it whole or in events."""
    _check_run(state, body, thread.messages)
    thread.assistant_id = thread.assistant_id or body.get("assistant_id")
    assistant = state.assistants.get(body.get("assistant_id") or thread.assistant_id or "", {})
    options = {name: body[name] for name in _RUN if name in body}
    chat = {"functions": assistant.get("functions"), **options, "messages": thread.messages[-body.get("limit", 0):]}
    completion = complete(chat, state.files, request.client_id, variant, request.scripted_text)
    choice = completion.choices[0]
    answered = [index for index, message in enumerate(thread.messages) if message["role"] == "assistant"]
    thread.run_from, thread.reruns = answered[-1] + 1 if answered else 0, variant
    thread.add(choice["message"], finish_reason=choice["finish_reason"])
    return _render(state, thread, completion, body)


def _render(state: State, thread: Thread, completion: Completion, body: JSONDict) -> Response:
    """Return an answer whole or in events, each with its own share of the tokens."""
    choice, usage = completion.choices[0], dict(completion.usage)
    usage.pop("precached_prompt_tokens")
    ids = {"thread_id": thread.id, "message_id": thread.messages[-1]["message_id"]}
    created, model = int(time.time()), versioned_name(thread.model)
    if body.get("stream") is not True:
        return json_response({
            "object": KIND, "model": model, **ids, "created": created, "usage": usage,
            "message": choice["message"], "finish_reason": choice["finish_reason"]})
    metadata = {"created": created, "model": model, "object": KIND}
    render = functools.partial(_render_events, choice, usage, metadata, ids)
    return state.stream(render, body.get("update_interval"))


def _render_events(
    choice: JSONDict, usage: dict[str, int], metadata: JSONDict, ids: JSONDict, per_event: int,
) -> list[bytes]:
    """Return the events of a run: the question counts in the first, and the last has words and the reason."""
    deltas = message_deltas(choice["message"], per_event)
    left, asked, events = usage["completion_tokens"], usage["prompt_tokens"], []
    for place, delta in enumerate(deltas):
        last = place == len(deltas) - 1
        spent = left if last else min(left, count_tokens(delta["content"]))
        part: JSONDict = {"delta": delta, "index": 0}
        part.update({"finish_reason": choice["finish_reason"]} if last else {})
        share = {"prompt_tokens": asked, "completion_tokens": spent, "total_tokens": asked + spent}
        events.append({"choices": [part], **metadata, "usage": share, **ids})
        left, asked = left - spent, 0
    return sse_events(events)


ROUTES = [
    Route("GET", "assistants", _list_assistants),
    Route("POST", "assistants", _create_assistant),
    Route("POST", "assistants/modify", _modify_assistant),
    Route("POST", "assistants/delete", _delete_assistant),
    Route("POST", "assistants/files/delete", _remove_assistant_file),
    Route("GET", "threads", _list_threads),
    Route("POST", "threads", _create_thread),
    Route("POST", "threads/retrieve", _retrieve_threads),
    Route("POST", "threads/delete", _delete_thread),
    Route("GET", "threads/messages", _list_messages),
    Route("POST", "threads/messages", _add_messages),
    Route("GET", "threads/run", _get_run),
    Route("POST", "threads/run", _run, generates=True),
    Route("POST", "threads/messages/run", _run_messages, generates=True),
    Route("POST", "threads/messages/rerun", _rerun, generates=True),
]
