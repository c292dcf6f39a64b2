"""The chat of the first version: what is answered, what it costs, and how it is streamed."""

from __future__ import annotations

import time
import uuid
from typing import Any, NamedTuple

from .calls import call_function, compose_json
from .files import Files
from .rules import BUILT_IN
from .tools import choose_tool, count_attached, make_file, read_document
from .wire import dumps
from .words import compose, count_tokens, cut_tokens, mapping, pieces, vary

VERSIONS = {  # as recorded; the other chat models answer as 2.0.28.2, and one without a version
    "GigaChat-2-Max": ":2.0.30.01", "GigaChat-3-Ultra": ":32.3.18.5", "GigaChat-3-Lightning": ""}
WAITING = "Осталось примерно 10 секунд"  # while a picture is made; the service's own words are not known


class Completion(NamedTuple):
    """Hold an answer: its choices, what they cost, and the function of the server that was at work."""

    choices: list[dict[str, Any]]
    usage: dict[str, int]
    tool: str | None = None


def name_version(model: str) -> str:
    """Return how a model calls itself in an answer.

    >>> name_version("GigaChat"), name_version("GigaChat-3-Lightning")
    ('GigaChat:2.0.28.2', 'GigaChat-3-Lightning')
    """
    return model + VERSIONS.get(model, ":2.0.28.2")


def complete(body: dict[str, Any], files: Files, owner: str | None, take: int = 0) -> Completion:
    """Answer a chat; `take` tells one try from another, where a text is to be made again."""
    messages, functions = body["messages"], body.get("functions")
    asked = 8 + sum(4 + count_tokens(message.get("content") or "") for message in messages)
    asked += count_tokens(dumps(functions).decode("utf-8")) if functions else 0
    asked += count_attached(messages, files)
    call = call_function(messages, functions, body.get("function_call"))
    tool = None if call else _choose_built_in(messages, functions, body.get("function_call"))
    choices, spent = [], 0
    for index in range(body.get("n") or 1):
        if call is None:
            message, tokens, reason = _say(body, files, owner, tool, index + take)
        else:
            tokens, reason = count_call(*call), "function_call"
            message = {
                "content": "", "role": "assistant", "function_call": {"name": call[0], "arguments": call[1]},
                "functions_state_id": str(uuid.uuid4())}
        choices.append({"message": message, "index": index, "finish_reason": reason})
        spent += tokens
    return Completion(choices, {
        "prompt_tokens": asked, "completion_tokens": spent, "total_tokens": asked + spent,
        "precached_prompt_tokens": 2}, tool)


def count_call(name: str, arguments: dict[str, Any]) -> int:
    """Return what a call of a function costs."""
    return 1 + count_tokens(name) + count_tokens(dumps(arguments).decode("utf-8"))


def _choose_built_in(messages: list[dict[str, Any]], functions: Any, function_call: Any) -> str | None:
    """Return the function of the server that is to work: it needs "auto", and to be listed where functions are."""
    if isinstance(function_call, dict):
        name = str(function_call.get("name"))
        return choose_tool(messages, [name], name) if name in BUILT_IN else None
    listed = [function.get("name") for function in functions or []]
    # A model in three dimensions has to be asked for by name.
    allowed = [name for name in BUILT_IN if name in listed] if listed else ["text2image"]
    return choose_tool(messages, allowed) if function_call == "auto" else None


def _say(
    body: dict[str, Any], files: Files, owner: str | None, tool: str | None, take: int,
) -> tuple[dict[str, Any], int, str]:
    """Return a message in words, what it costs and why it ends; a tool's file stands before the words."""
    messages, wish = body["messages"], body.get("response_format") or {}
    work = make_file(tool, messages, files, owner) if tool else None
    read = body.get("function_call") != "none" and (body.get("function_call") or body.get("functions"))
    told = read_document(messages, files) if read and not work else None
    if wish.get("type") == "json_schema" and wish.get("schema") is not None:
        text, told = compose_json(messages, wish["schema"]), None
    else:
        text = vary(work.words if work else told or compose(messages), take)
    text, tokens, reason = cut_tokens(text, body.get("max_tokens"))
    if work:
        tag = "img src" if work.tool.target == "image" else "div data-model-id"
        text = f'<{tag}="{work.file_id}" fuse="true"/> {text}'
    state = {"functions_state_id": str(uuid.uuid4())} if work or told else {}
    return {"content": text, "role": "assistant", **state}, tokens, reason


def render_completion(model: str, completion: Completion, kind: str = "chat.completion") -> bytes:
    """Return a whole answer."""
    return dumps({"choices": completion.choices, **_facts(model, kind), "usage": completion.usage})


def _facts(model: str, kind: str) -> dict[str, Any]:
    return {"created": int(time.time()), "model": name_version(model), "object": kind}


def render_events(model: str, completion: Completion, every: int) -> list[bytes]:
    """Return the events of a stream, a few words each: role in the first alone, reason and usage before `[DONE]`.

    A function call comes whole, in one delta; nobody has recorded how the service sends it, nor how it speaks of a
    function of its own that is still at work, which has a role for that.
    """
    events: list[dict[str, Any]] = []
    common = _facts(model, "chat.completion")
    for choice in completion.choices:
        index, deltas = choice["index"], [{"content": text} for text in pieces(choice["message"]["content"], every)]
        deltas[0] = {**choice["message"], **deltas[0]}
        if completion.tool:
            deltas.insert(0, {
                "content": WAITING, "role": "function_in_progress", "name": completion.tool,
                "created": common["created"]})
        events += [{"choices": [{"delta": delta, "index": index}], **common} for delta in deltas]
        last = {"delta": {"content": ""}, "index": index, "finish_reason": choice["finish_reason"]}
        events.append({"choices": [last], **common})
    events[-1].update(usage=completion.usage)
    return [b"data: %b\n\n" % data for data in [*map(dumps, events), b"[DONE]"]]


def list_attachments(messages: list[dict[str, Any]]) -> list[list[str]]:
    """Return the ids of the files of each message."""
    return [mapping(message).get("attachments") or [] for message in messages]
