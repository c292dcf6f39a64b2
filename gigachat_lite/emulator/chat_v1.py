"""The chat of the first version: what is answered, what it costs, and how it is streamed."""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

from . import validation as v
from .files import Files
from .models import versioned_name
from .replies import Reply, call_function, count_prompt_tokens, say, say_scripted
from .server_tools import choose_tool
from .state import Route, State
from .text import JSONDict, split_text
from .web import Request, Response, to_json

WAITING = "Осталось примерно 10 секунд"  # while a picture is made; the service's own words are not known


class Completion(NamedTuple):
    """Hold an answer: its choices, what they cost, and the function of the server that was at work."""

    choices: list[JSONDict]
    usage: dict[str, int]
    tool: str | None = None


def _create(state: State, request: Request) -> Response:
    body = v.parse_object(request.raw)
    completion = complete_checked(state, body, request.client_id, request.scripted_text)
    if body.get("stream") is not True:
        return Response(body=render_completion(body["model"], completion))
    render = functools.partial(_render_events, body["model"], completion)
    return state.stream(render, body.get("update_interval"))


def complete_checked(state: State, body: JSONDict, owner: str | None, scripted: str | None = None) -> Completion:
    """Answer a chat after the checks, wherever it comes from."""
    v.check_chat(body, state.strict)
    if state.strict:
        state.files.check_attached(body["messages"], owner, body["model"])
    return complete(body, state.files, owner, scripted=scripted)


def complete(
    body: JSONDict, files: Files, owner: str | None, variant: int = 0, scripted: str | None = None,
) -> Completion:
    """Answer a chat; `variant` tells one answer from another, where it is made again, `scripted` is its text."""
    messages, functions, function_call = body["messages"], body.get("functions"), body.get("function_call")
    asked = count_prompt_tokens(messages, functions, files)
    call = tool = None
    if scripted is None:
        call = call_function(messages, functions, function_call)
        tool = None if call else _choose_built_in(messages, functions, function_call)
    may_read = function_call != "none" and bool(function_call or functions)
    replies = [
        call or (say_scripted(scripted, index) if scripted is not None else say(
            messages, files, owner, tool, body.get("response_format") or {}, body.get("max_tokens"), may_read,
            index + variant)) for index in range(body.get("n") or 1)]
    spent = sum(reply.tokens for reply in replies)
    choices = [{"message": _make_message(reply), "index": index, "finish_reason": reply.finish_reason}
               for index, reply in enumerate(replies)]
    return Completion(choices, {
        "prompt_tokens": asked, "completion_tokens": spent, "total_tokens": asked + spent,
        "precached_prompt_tokens": 2}, tool)


def _choose_built_in(messages: list[JSONDict], functions: Any, function_call: Any) -> str | None:
    """Return the function of the server that is to work: it needs "auto", and to be listed where functions are."""
    if isinstance(function_call, dict):
        name = str(function_call.get("name"))
        return choose_tool(messages, [name], name) if name in v.BUILT_IN else None
    listed = [function.get("name") for function in functions or []]
    # A model in three dimensions has to be asked for by name.
    allowed = [name for name in v.BUILT_IN if name in listed] if listed else ["text2image"]
    return choose_tool(messages, allowed) if function_call == "auto" else None


def _make_message(reply: Reply) -> JSONDict:
    """Return a reply as a message; a tool's file stands before the words."""
    text = reply.text
    if reply.file:
        tag = "img src" if reply.file.target == "image" else "div data-model-id"
        text = f'<{tag}="{reply.file.file_id}" fuse="true"/> {text}'
    more = {"function_call": reply.call, "functions_state_id": reply.state_id}
    return {"content": text, "role": "assistant", **{name: value for name, value in more.items() if value}}


def render_completion(model: str, completion: Completion) -> bytes:
    """Return a whole answer."""
    return to_json({"choices": completion.choices, **_metadata(model), "usage": completion.usage})


def _metadata(model: str) -> JSONDict:
    return {"created": int(time.time()), "model": versioned_name(model), "object": "chat.completion"}


def _render_events(model: str, completion: Completion, per_event: int) -> list[bytes]:
    """Return the events of a stream, a few words each: role in the first alone, reason and usage before `[DONE]`.

    A function call comes whole, in one delta; nobody has recorded how the service sends it, nor how it speaks of a
    function of its own that is still at work, which has a role for that.
    """
    events: list[JSONDict] = []
    common = _metadata(model)
    for choice in completion.choices:
        index, deltas = choice["index"], message_deltas(choice["message"], per_event)
        if completion.tool:
            deltas.insert(0, {
                "content": WAITING, "role": "function_in_progress", "name": completion.tool,
                "created": common["created"]})
        events += [{"choices": [{"delta": delta, "index": index}], **common} for delta in deltas]
        last = {"delta": {"content": ""}, "index": index, "finish_reason": choice["finish_reason"]}
        events.append({"choices": [last], **common})
    events[-1].update(usage=completion.usage)
    return sse_events(events)


def message_deltas(message: JSONDict, per_event: int) -> list[JSONDict]:
    """Return the deltas of a message, the first of which has all of it but the rest of the text."""
    deltas = [{"content": text} for text in split_text(message["content"], per_event)]
    return [{**message, **deltas[0]}, *deltas[1:]]


def sse_events(events: list[JSONDict]) -> list[bytes]:
    """Return the bytes of events, and of the one that ends a stream."""
    return [b"data: %b\n\n" % data for data in [*map(to_json, events), b"[DONE]"]]


ROUTES = [Route("POST", "chat/completions", _create, generates=True)]
