"""The chat of the second version: messages of parts, tools, named events; what is refused, and with which words.

Where the words have not been recorded, which the comments say, they are in the tone of those that have.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from .calls import call_function, compose_json
from .chat import count_call, list_attachments, name_version
from .patterns import compose_match
from .rules import (
    FUNCTION,
    Check,
    anything,
    by_type,
    check_attachments,
    check_functions,
    check_shape,
    each,
    find_model,
    in_range,
    invalid,
    is_json,
    of,
    one_of,
    quote,
    read_object,
    record,
    response_format,
)
from .tools import choose_tool, count_attached, make_file, read_document, search
from .wire import Answer, Request, dumps, refuse
from .words import compose, count_tokens, cut_tokens, listing, mapping, pieces, text_of

if TYPE_CHECKING:
    from .service import Service

CACHED = 2  # tokens, beside those that are counted

# ---- What is refused

_TEXT, _FLAG, _OBJECT = of(str), of(bool), of(dict)
_TEXTS = each(_TEXT)
_STATES = ("tools_state_id", "tool_state_id", "functions_state_id")  # what is recorded, described, and of the first


def _check_result(value: Any, where: str) -> None:
    """Check the result of a function: JSON as such, or an object in a string."""
    check_shape(type(value) is dict and type(value.get("name")) is str)
    result = value.get("result")
    if isinstance(result, str) and not is_json(result):
        name, text = quote(value["name"]), quote(result)
        raise refuse(400, f"invalid function result for function {name} json string {text}, error: JSON parse error")
    record({"name": _TEXT, "result": anything})(value, where)


_CALL = record({"id": _TEXT, "name": _TEXT, "arguments": _OBJECT}, "name")
_PART = {
    "text": _TEXT,
    "files": each(record({"id": _TEXT, "mime": _TEXT, "target": _TEXT}, "id")),
    "function_call": _CALL,
    "function_result": _check_result,
    "tool_execution": _OBJECT,  # these three come in answers, and go back with the history
    "inline_data": _OBJECT,
    "logprobs": each(_OBJECT),
}


def _check_part(value: Any, where: str) -> None:
    record(_PART)(value, where)
    if all(item is None for item in value.values()):  # the service's own words are not known
        raise invalid(f"{where} must have one of {', '.join(_PART)}")


_MESSAGE = {
    "role": one_of("system", "user", "assistant", "tool", "function", "reasoning"),
    "content": each(_check_part),
    "message_id": _TEXT,
    "inline_data": _OBJECT,
    "tool_execution": _OBJECT,
    "logprobs": each(_OBJECT),
    "finish_reason": _TEXT,
    **dict.fromkeys(_STATES, _TEXT),
}



def _refuse_interpreter(value: Any, where: str) -> None:
    raise refuse(422, "Tool code_interpreter is unavailable")


_SEARCHES = one_of("actual_info_web_search", "web_search", "safe_search")
_TOOLS: dict[str, Check] = {
    "functions": record({"specifications": each(record(FUNCTION, "name"))}),
    "image_generate": _OBJECT,
    "model_3d_generate": _OBJECT,
    "web_search": record({"type": _SEARCHES, "indexes": _TEXTS, "flags": _TEXTS}),
    "url_content_extraction": _OBJECT,
    "code_interpreter": _refuse_interpreter,
    "get_datetime": _OBJECT,
    "memory": _OBJECT,
}


def _check_tool(value: Any, where: str) -> None:
    check_shape(type(value) is dict)
    for name in value:
        if name not in _TOOLS:
            raise refuse(404, f"Unknown tool {quote(name)}")
    if len(value) != 1:  # the service's own words are not known
        raise invalid(f"{where} must have one key")
    record(_TOOLS)(value, where)


_OPTIONS = {
    "temperature": in_range("(0, +inf)", int, float),
    "top_p": in_range("[0, 1]", int, float),
    "max_tokens": in_range("(0, +inf)", int),
    "repetition_penalty": in_range("(0, +inf)", int, float),
    "update_interval": in_range("[0, +inf)", int, float),
    "unnormalized_history": _FLAG,
    "top_logprobs": in_range("[1, 5]", int),
    "response_format": response_format("text", "json_schema", "regex"),
    "preset": _TEXT,
    "reasoning": record({"effort": one_of("low", "medium", "high", "off")}),
}
_FILTER = {"neuro": _FLAG, "blacklist": _FLAG, "whitelist": _FLAG}
_CHAT = {
    "model": anything,  # `find_model` has the words for what is none
    "messages": each(record(_MESSAGE, "role")),
    "model_options": record(_OPTIONS),
    "stream": _FLAG,
    "tools": each(_check_tool),
    "tool_config": record({"mode": one_of("auto", "none", "forced"), "tool_name": _TEXT, "function_name": _TEXT},
                          "mode"),
    "ranker_options": record({"enabled": _FLAG, "top_n": in_range("(0, +inf)", int), "embeddings_model": _TEXT}),
    "user_info": record({"timezone": _TEXT}),
    "disable_filter": _FLAG,
    "filter_config": record({
        "request_content": record(_FILTER), "response_content": record({"blacklist": _FLAG})}),
    "storage": record({"limit": in_range("(0, +inf)", int), "thread_id": _TEXT, "metadata": _OBJECT}),
    "assistant_id": _TEXT,
    "memory_id": _TEXT,
    "flags": _TEXTS,
    "tools_state_id": _TEXT,
}
_LENIENT = {  # what the emulator itself reads
    "messages": each(record({
        "role": _TEXT, "content": by_type({str: anything, list: each(by_type({str: anything, dict: anything}))}),
    }, strict=False)),
    "model_options": record({
        **{name: _OPTIONS[name] for name in ("max_tokens", "update_interval")},
        "response_format": record({"type": _TEXT, "schema": _OBJECT, "regex": _TEXT}, strict=False)}, strict=False),
    "tools": each(of(dict, str)),
    "tool_config": record({"mode": _TEXT, "tool_name": _TEXT, "function_name": _TEXT}, strict=False),
    "storage": anything,
    "assistant_id": anything,
}
_CHECK = {True: record(_CHAT), False: record(_LENIENT, strict=False)}


def check_primary(body: dict[str, Any], known_files: Any, strict: bool) -> None:
    """Refuse a question that the service would refuse; without `strict` only what could not be answered.

    The model is looked at by who knows the assistants, as one of them may stand for it.
    """
    _CHECK[strict](body, "")
    if not body.get("messages"):  # the service's own words are not known
        raise invalid("messages must not be empty")
    if strict:
        _check_history(body["messages"])
        functions = list_functions(body)
        check_functions(functions, None)
        _check_wish(body.get("tool_config") or {}, [function["name"] for function in functions])
        check_attachments([convert_message(message) for message in body["messages"]], known_files)


def _check_history(messages: list[dict[str, Any]]) -> None:
    """Refuse a dialogue in which calls and results do not follow one another.

    A late system message is let through: the service makes one of a user of it.
    """
    open_calls, answerable = 0, False
    for index, message in enumerate(messages):
        parts = message.get("content") or []
        calls = sum(part.get("function_call") is not None for part in parts)
        results = sum(part.get("function_result") is not None for part in parts)
        states = any(message.get(name) is not None for name in _STATES)
        if open_calls and not results:
            raise invalid("every assistant function call must have a result in history")
        if results and not (open_calls or answerable):
            raise invalid("every assistant function result must have an assistant function call in history")
        if not parts and not states:  # the service's own words are not known
            raise invalid(f"messages[{index}].content is required")
        _check_roles(message["role"], calls, results, f"messages[{index}]")
        open_calls = calls if calls else max(0, open_calls - results)
        answerable = calls > 0 or (message["role"] == "assistant" and states) or (answerable and results > 0)
    if open_calls:
        raise invalid("every assistant function call must have a result in history")


def _check_roles(role: str, calls: int, results: int, where: str) -> None:
    """Refuse parts that do not go with the role; the service's own words are not known."""
    if calls and role != "assistant":
        raise invalid(f"{where}.content: function_call is for role assistant, not {role}")
    if results and role not in ("tool", "function"):
        raise invalid(f"{where}.content: function_result is for role tool, not {role}")
    if role in ("tool", "function") and not results:
        raise invalid(f"{where}.content: function_result is required for role {role}")


def _check_wish(wish: dict[str, Any], names: list[str]) -> None:
    """Refuse a `tool_config` that cannot be obeyed; the service's own words are not known."""
    function, tool = wish.get("function_name"), wish.get("tool_name")
    if wish.get("mode") == "forced" and (function is None) == (tool is None):
        raise invalid("tool_config must have one of tool_name, function_name with mode forced")
    if function is not None and function not in names:
        raise invalid(f"tool_config.function_name must be one of the functions, and {quote(function)} is not")
    if tool is not None and (tool not in _TOOLS or tool == "functions"):
        raise refuse(404, f"Unknown tool {quote(tool)}")


# ---- What it means to the rooms that speak of the first version


def convert_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as the first version has it."""
    content = message.get("content")
    parts = [{"text": content}] if isinstance(content, str) else [
        {"text": part} if isinstance(part, str) else part for part in content or []]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    made: dict[str, Any] = {"role": message.get("role"), "content": "\n".join(texts)}
    for part in parts:
        call, result = part.get("function_call"), part.get("function_result")
        if call is not None:
            made["function_call"] = call
        if result is not None:
            result = mapping(result).get("result")
            made["role"], made["content"] = "function", result if isinstance(result, str) else dumps(result).decode()
    ids = [mapping(file).get("id") for part in parts for file in listing(part.get("files"))]
    return {**made, "attachments": [file_id for file_id in ids if isinstance(file_id, str)]}


def list_functions(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptions of functions among the tools."""
    tools = [mapping(tool).get("functions") for tool in body.get("tools") or []]
    return [function for tool in tools for function in listing(mapping(tool).get("specifications"))]


# ---- Answers


class Said(NamedTuple):
    """Hold an answer: what came before its words, the words, a call in their place, and what it cost."""

    text: str
    call: dict[str, Any] | None
    before: dict[str, Any]
    tool: str | None
    finish_reason: str
    usage: dict[str, Any]


class Primary:
    """Answer the chat of the second version."""

    def __init__(self, service: Service) -> None:
        """Serve for a service, whose files and settings are used."""
        self._service = service
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [("POST", "chat/completions", self.create)]

    def create(self, request: Request) -> Answer:
        """Answer a chat, whole or in events."""
        service, body, owner = self._service, read_object(request), request.headers.get("x-client-id")
        check_primary(body, service.files, service.strict)
        model = self._find_model(body)
        messages = [convert_message(message) for message in body["messages"]]
        if service.strict:
            service.files.check_attached(list_attachments(messages), owner, model)
        said, options = self._say(body, messages, owner), body.get("model_options") or {}
        facts = {"model": name_version(model), "created_at": int(time.time())}
        if body.get("stream") is not True:
            return Answer(body=_render(facts, said), done=service.begin())
        every = service.pace(options.get("update_interval"))
        return service.stream(_render_events(facts, said, every), every)._replace(done=service.begin())

    def _find_model(self, body: dict[str, Any]) -> str:
        """Return the model, which an assistant or a thread may stand for."""
        model, assistant = body.get("model"), body.get("assistant_id")
        thread = mapping(body.get("storage")).get("thread_id")
        if isinstance(assistant, str):
            model = self._service.assistants.find(assistant)["model"]
        elif model is None and isinstance(thread, str):
            model = self._service.threads.find(thread).model
        return find_model(model, "chat")["id"]

    def _say(self, body: dict[str, Any], messages: list[dict[str, Any]], owner: str | None) -> Said:
        """Call a function, use a tool, or say something."""
        files, functions, wish = self._service.files, list_functions(body), body.get("tool_config") or {}
        asked = 8 + sum(4 + count_tokens(message["content"]) for message in messages) + count_attached(messages, files)
        asked += count_tokens(dumps(body["tools"]).decode("utf-8")) if body.get("tools") else 0
        forced = wish.get("function_name")
        listed = [name for tool in body.get("tools") or [] for name in ([tool] if isinstance(tool, str) else tool)]
        idle = wish.get("mode") == "none"
        call = None if idle or wish.get("tool_name") else call_function(
            messages, functions, {"name": forced} if forced else "auto")
        if call is not None:
            made = {"id": str(uuid.uuid4()), "name": call[0], "arguments": call[1]}
            return Said("", made, {}, None, "function_call", _count(asked, count_call(*call)))
        tool = None if idle or forced else choose_tool(messages, listed, wish.get("tool_name"))
        text, before = self._word(body, messages, tool, owner)
        text, tokens, reason = cut_tokens(text, (body.get("model_options") or {}).get("max_tokens"))
        return Said(text, None, before, tool, reason, _count(asked, tokens))

    def _word(
        self, body: dict[str, Any], messages: list[dict[str, Any]], tool: str | None, owner: str | None,
    ) -> tuple[str, dict[str, Any]]:
        """Return the text of an answer, and the part of what a tool has found or made."""
        wish = (body.get("model_options") or {}).get("response_format") or {}
        if wish.get("type") == "json_schema" and wish.get("schema") is not None:
            return compose_json(messages, wish["schema"]), {}
        if wish.get("type") == "regex" and wish.get("regex"):
            try:
                return compose_match(wish["regex"], text_of(messages[-1])), {}
            except ValueError as exc:  # the service's own words are not known
                raise refuse(400, f"Invalid regex in response_format: {exc}") from None
        work = make_file(tool, messages, self._service.files, owner) if tool else None
        if work:
            return work.words, {"files": [{"id": work.file_id, "mime": work.tool.mime, "target": work.tool.target}]}
        said = read_document(messages, self._service.files) or compose(messages)
        if tool == "web_search":
            text, found = search(messages, said)
            return text, {"inline_data": found}
        return said, {}


def _count(asked: int, spent: int) -> dict[str, Any]:
    return {
        "input_tokens": asked, "input_tokens_details": {"prompt_tokens": asked, "cached_tokens": CACHED},
        "output_tokens": spent, "total_tokens": asked + spent}


def _head(said: Said) -> dict[str, Any]:
    """Return the beginning of a message, with a state where a function was called or a tool at work."""
    state = {"tool_state_id": str(uuid.uuid4())} if said.call or said.tool else {}
    return {"role": "assistant", **state}


def _render(facts: dict[str, Any], said: Said) -> bytes:
    """Return a whole answer; what was found stands in the part of the text, what was made in one before it."""
    parts: list[dict[str, Any]]
    if said.call:
        parts = [{"function_call": said.call}]
    elif "inline_data" in said.before:
        parts = [{"text": said.text, **said.before}]
    else:
        parts = [part for part in (said.before, {"text": said.text}) if part]
    messages = [{**_head(said), "content": parts}]
    return dumps({**facts, "messages": messages, "finish_reason": said.finish_reason, "usage": said.usage})


def _render_events(facts: dict[str, Any], said: Said, every: int) -> list[bytes]:
    """Return the events of a stream: a tool's, those of the words, and the last, which holds a call whole."""
    named: list[tuple[str, dict[str, Any]]] = []
    if said.tool:
        work = {"id": "", "name": said.tool}
        named += [("tool.in_progress", {"tool_execution": work}),
                  ("tool.completed", {"tool_execution": {**work, "status": "success"}})]
    texts = [] if said.call else [{"text": text} for text in pieces(said.text, every)]
    named += [("message.delta", part) for part in (said.before, *texts) if part]
    events = [(name, {"messages": [{"role": "assistant", "content": [part]}]}) for name, part in named]
    done: dict[str, Any] = {"finish_reason": said.finish_reason, "usage": said.usage}
    if said.call or said.tool:
        called = {"content": [{"function_call": said.call}]} if said.call else {}
        done = {"messages": [{**_head(said), **called}], **done}
    events.append(("message.done", done))
    return [b"event: response.%b\ndata: %b\n\n" % (name.encode("ascii"), dumps({**facts, **data}))
            for name, data in events]
