"""What the model says, in both versions of the chat, and what it costs."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from .canned import canned_reply, rephrase
from .files import Files
from .function_calls import choose_call, compose_json
from .regex_text import generate_match
from .server_tools import Tool, add_sources, generate_file, read_document
from .text import JSONDict, as_list, count_tokens, message_text, truncate_text
from .web import api_error, to_json


class Reply(NamedTuple):
    """Hold an answer in words, or a call of a function in their place; a tool's file or sources go with the words."""

    text: str
    finish_reason: str
    tokens: int
    call: JSONDict | None = None
    file: Tool | None = None
    sources: JSONDict | None = None
    state_id: str = ""  # where a function was called, a file made or a document read


def count_prompt_tokens(messages: list[JSONDict], described: Any, files: Files) -> int:
    """Return what a dialogue costs, with the functions or tools that are described to the model, and attachments."""
    ids = [file_id for message in messages for file_id in as_list(message.get("attachments"))]
    tokens = 8 + sum(4 + count_tokens(message.get("content") or "") for message in messages)
    tokens += count_tokens(to_json(described).decode("utf-8")) if described else 0
    return tokens + sum(files.count_tokens(file_id) for file_id in ids if isinstance(file_id, str))


def call_function(messages: list[JSONDict], functions: Any, function_call: Any) -> Reply | None:
    """Return the call of a function, None where words are the answer."""
    call = choose_call(messages, functions, function_call)
    if call is None:
        return None
    name, arguments = call
    tokens = 1 + count_tokens(name) + count_tokens(to_json(arguments).decode("utf-8"))
    return Reply("", "function_call", tokens, {"name": name, "arguments": arguments}, state_id=str(uuid.uuid4()))


def say_scripted(text: str, variant: int = 0) -> Reply:
    """Return the text of a script."""
    text = rephrase(text, variant)
    return Reply(text, "stop", count_tokens(text) + 1)


def say(
    messages: list[JSONDict], files: Files, owner: str | None, tool: str | None, response_format: Any,
    max_tokens: int | None, may_read: bool = True, variant: int = 0,
) -> Reply:
    """Return an answer in words: of a format, about a file that was made or attached, or a canned one."""
    kind, file, found, sources = response_format.get("type"), None, None, None
    if kind == "json_schema" and response_format.get("schema") is not None:
        text = compose_json(messages, response_format["schema"])
    elif kind == "regex" and response_format.get("regex"):
        try:
            text = generate_match(response_format["regex"], message_text(messages[-1]))
        except ValueError as exc:  # the service's own words are not known
            raise api_error(400, f"Invalid regex in response_format: {exc}") from None
    else:
        file = generate_file(tool, messages, files, owner) if tool else None
        found = read_document(messages, files) if may_read and not file else None
        text = rephrase(file.caption if file else found or canned_reply(messages), variant)
    if tool == "web_search":
        text, sources = add_sources(messages, text)
    text, tokens, reason = truncate_text(text, max_tokens)
    return Reply(text, reason, tokens, None, file, sources, str(uuid.uuid4()) if file or found else "")
