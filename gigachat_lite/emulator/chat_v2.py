"""The chat of the second version: messages of parts, tools, named events; what is refused, and with which words.

Where the words have not been recorded, which the comments say, they are in the tone of those that have.
"""

from __future__ import annotations

import functools
import time
import uuid
from typing import Any

from . import validation as v
from .models import find_model, versioned_name
from .replies import Reply, call_function, count_prompt_tokens, say, say_scripted
from .server_tools import choose_tool
from .state import Route, State
from .text import JSONDict, as_dict, as_list, split_text
from .threads import find_assistant, find_thread
from .web import Request, Response, api_error, json_response, to_json

# ---- What is refused

_STATES = ("tools_state_id", "tool_state_id", "functions_state_id")  # what is recorded, described, and of the first


def _check_result(value: Any, where: str) -> None:
    """Check the result of a function: JSON as such, or an object in a string."""
    v.require_syntax(type(value) is dict and type(value.get("name")) is str)
    result = value.get("result")
    if isinstance(result, str) and not v.is_json(result):
        name, text = v.quote(value["name"]), v.quote(result)
        raise api_error(400, f"invalid function result for function {name} json string {text}, error: JSON parse error")
    v.object_of({"name": v.TEXT, "result": v.any_value})(value, where)


_PART = {
    "text": v.TEXT,
    "files": v.list_of(v.object_of({"id": v.TEXT, "mime": v.TEXT, "target": v.TEXT}, "id")),
    "function_call": v.object_of({"id": v.TEXT, "name": v.TEXT, "arguments": v.OBJECT}, "name"),
    "function_result": _check_result,
    # These three come in answers, and go back with the history.
    "tool_execution": v.OBJECT, "inline_data": v.OBJECT, "logprobs": v.list_of(v.OBJECT),
}


def _check_part(value: Any, where: str) -> None:
    v.object_of(_PART)(value, where)
    if all(item is None for item in value.values()):  # the service's own words are not known
        raise v.invalid_params(f"{where} must have one of {', '.join(_PART)}")


_MESSAGE = {
    "role": v.one_of("system", "user", "assistant", "tool", "function", "reasoning"),
    "content": v.list_of(_check_part),
    **{name: _PART[name] for name in ("inline_data", "tool_execution", "logprobs")},
    **dict.fromkeys(("message_id", "finish_reason", *_STATES), v.TEXT),
}


def _refuse_interpreter(value: Any, where: str) -> None:
    raise api_error(422, "Tool code_interpreter is unavailable")


_SEARCHES = v.one_of("actual_info_web_search", "web_search", "safe_search")
_TOOLS: dict[str, v.Check] = {
    "functions": v.object_of({"specifications": v.list_of(v.object_of(v.FUNCTION, "name"))}),
    "web_search": v.object_of({"type": _SEARCHES, "indexes": v.TEXTS, "flags": v.TEXTS}),
    "code_interpreter": _refuse_interpreter,
    **dict.fromkeys(
        ("image_generate", "model_3d_generate", "url_content_extraction", "get_datetime", "memory"), v.OBJECT),
}


def _check_tool(value: Any, where: str) -> None:
    v.require_syntax(type(value) is dict)
    for name in value:
        if name not in _TOOLS:
            raise api_error(404, f"Unknown tool {v.quote(name)}")
    if len(value) != 1:  # the service's own words are not known
        raise v.invalid_params(f"{where} must have one key")
    v.object_of(_TOOLS)(value, where)


_OPTIONS = {
    **v.SAMPLING,
    "unnormalized_history": v.FLAG,
    "top_logprobs": v.in_range("[1, 5]", int),
    "response_format": v.response_format("text", "json_schema", "regex"),
    "preset": v.TEXT,
    "reasoning": v.object_of({"effort": v.one_of("low", "medium", "high", "off")}),
}
_TOOL_CONFIG = {"mode": v.TEXT, "tool_name": v.TEXT, "function_name": v.TEXT}
_FILTER = {"neuro": v.FLAG, "blacklist": v.FLAG, "whitelist": v.FLAG}
_CHAT = {
    "model": v.any_value,  # `find_model` has the words for what is none
    "messages": v.list_of(v.object_of(_MESSAGE, "role")),
    "model_options": v.object_of(_OPTIONS),
    "tools": v.list_of(_check_tool),
    "tool_config": v.object_of({**_TOOL_CONFIG, "mode": v.one_of("auto", "none", "forced")}, "mode"),
    "ranker_options": v.object_of({**v.RANKER, "embeddings_model": v.TEXT}),
    "user_info": v.object_of({"timezone": v.TEXT}),
    "filter_config": v.object_of({
        "request_content": v.object_of(_FILTER), "response_content": v.object_of({"blacklist": v.FLAG})}),
    "storage": v.object_of({"limit": v.POSITIVE_INT, "thread_id": v.TEXT, "metadata": v.OBJECT}),
    "stream": v.FLAG, "disable_filter": v.FLAG, "flags": v.TEXTS,
    **dict.fromkeys(("assistant_id", "memory_id", "tools_state_id"), v.TEXT),
}
_LENIENT_FORMAT = v.object_of({"type": v.TEXT, "schema": v.OBJECT, "regex": v.TEXT}, strict=False)
_LENIENT_CONTENT = v.by_type({str: v.any_value, list: v.list_of(v.of_type(str, dict))})
_LENIENT_CHAT = {  # what the emulator itself reads
    "messages": v.list_of(v.object_of({"role": v.TEXT, "content": _LENIENT_CONTENT}, strict=False)),
    "model_options": v.object_of({
        **{name: _OPTIONS[name] for name in ("max_tokens", "update_interval")}, "response_format": _LENIENT_FORMAT,
    }, strict=False),
    "tools": v.list_of(v.of_type(dict, str)),
    "tool_config": v.object_of(_TOOL_CONFIG, strict=False),
}
_CHECK = {True: v.object_of(_CHAT), False: v.object_of(_LENIENT_CHAT, strict=False)}


def _check_chat(body: JSONDict, strict: bool) -> None:
    """Refuse a question that the service would refuse; without `strict` only what could not be answered.

    The model is looked at by who knows the assistants, as one of them may stand for it.
    """
    _CHECK[strict](body, "")
    if not body.get("messages"):  # the service's own words are not known
        raise v.invalid_params("messages must not be empty")
    if strict:
        _check_history(body["messages"])
        functions = _list_functions(body)
        v.check_functions(functions, None)
        _check_tool_config(body.get("tool_config") or {}, [function["name"] for function in functions])


def _check_history(messages: list[JSONDict]) -> None:
    """Refuse a dialogue in which calls and results do not follow one another.

    A late system message is let through: the service makes one of a user of it.
    """
    no_result = v.invalid_params("every assistant function call must have a result in history")
    open_calls, answerable = 0, False
    for index, message in enumerate(messages):
        parts = message.get("content") or []
        calls = sum(part.get("function_call") is not None for part in parts)
        results = sum(part.get("function_result") is not None for part in parts)
        states = any(message.get(name) is not None for name in _STATES)
        if open_calls and not results:
            raise no_result
        if results and not (open_calls or answerable):
            raise v.invalid_params("every assistant function result must have an assistant function call in history")
        if not parts and not states:  # the service's own words are not known
            raise v.invalid_params(f"messages[{index}].content is required")
        role = message["role"]
        if (calls and role != "assistant") or (results > 0) != (role in ("tool", "function")):  # nor are they here
            known = "function_call is for role assistant, and function_result for role tool, which must have one"
            raise v.invalid_params(f"messages[{index}].content: {known}")
        open_calls = calls if calls else max(0, open_calls - results)
        answerable = calls > 0 or (role == "assistant" and states) or (answerable and results > 0)
    if open_calls:
        raise no_result


def _check_tool_config(config: JSONDict, names: list[str]) -> None:
    """Refuse a `tool_config` that cannot be obeyed; the service's own words are not known."""
    function, tool = config.get("function_name"), config.get("tool_name")
    if config.get("mode") == "forced" and (function is None) == (tool is None):
        raise v.invalid_params("tool_config must have one of tool_name, function_name with mode forced")
    if function is not None and function not in names:
        known = "tool_config.function_name must be one of the functions"
        raise v.invalid_params(f"{known}, and {v.quote(function)} is not")
    if tool is not None and (tool not in _TOOLS or tool == "functions"):
        raise api_error(404, f"Unknown tool {v.quote(tool)}")


# ---- In the terms of the first version


def _v1_message(message: JSONDict) -> JSONDict:
    """Return a message as the first version has it."""
    content = message.get("content")
    parts = [{"text": content}] if isinstance(content, str) else [
        {"text": part} if isinstance(part, str) else part for part in content or []]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    made: JSONDict = {"role": message.get("role"), "content": "\n".join(texts)}
    for part in parts:
        call, result = part.get("function_call"), part.get("function_result")
        if call is not None:
            made["function_call"] = call
        if result is not None:
            result = as_dict(result).get("result")
            made["role"], made["content"] = "function", result if isinstance(result, str) else to_json(result).decode()
    ids = [as_dict(file).get("id") for part in parts for file in as_list(part.get("files"))]
    return {**made, "attachments": [file_id for file_id in ids if isinstance(file_id, str)]}


def _list_functions(body: JSONDict) -> list[JSONDict]:
    """Return the descriptions of functions among the tools."""
    tools = [as_dict(tool).get("functions") for tool in body.get("tools") or []]
    return [function for tool in tools for function in as_list(as_dict(tool).get("specifications"))]


# ---- Answers


def _create(state: State, request: Request) -> Response:
    """Answer a chat, whole or in events."""
    body = v.parse_object(request.raw)
    _check_chat(body, state.strict)
    model = _find_model(state, body)
    messages = [_v1_message(message) for message in body["messages"]]
    if state.strict:
        state.files.check_attached(messages, request.client_id, model)
    tool, reply = _make_reply(state, body, messages, request)
    asked = count_prompt_tokens(messages, body.get("tools"), state.files)
    metadata = {"model": versioned_name(model), "created_at": int(time.time())}
    end = {"finish_reason": reply.finish_reason, "usage": {
        "input_tokens": asked, "input_tokens_details": {"prompt_tokens": asked, "cached_tokens": 2},
        "output_tokens": reply.tokens, "total_tokens": asked + reply.tokens}}
    if body.get("stream") is not True:
        made, last = _parts_of(reply)
        return json_response(
            {**metadata, "messages": [{**_message_head(reply, tool), "content": [*made, last]}], **end})
    render = functools.partial(_render_events, metadata, reply, tool, end)
    return state.stream(render, (body.get("model_options") or {}).get("update_interval"))


def _find_model(state: State, body: JSONDict) -> str:
    """Return the model, which an assistant or a thread may stand for."""
    model, assistant = body.get("model"), body.get("assistant_id")
    thread = as_dict(body.get("storage")).get("thread_id")
    if isinstance(assistant, str):
        model = find_assistant(state, assistant)["model"]
    elif model is None and isinstance(thread, str):
        model = find_thread(state, thread).model
    return find_model(model, "chat")["id"]


def _make_reply(state: State, body: JSONDict, messages: list[JSONDict], request: Request) -> tuple[str | None, Reply]:
    """Call a function, use a tool, whose name is returned too, or say something."""
    config, options = body.get("tool_config") or {}, body.get("model_options") or {}
    forced, wanted, idle = config.get("function_name"), config.get("tool_name"), config.get("mode") == "none"
    if request.scripted_text is not None:
        return None, say_scripted(request.scripted_text)
    if not idle and not wanted:
        call = call_function(messages, _list_functions(body), {"name": forced} if forced else "auto")
        if call is not None:
            return None, call
    listed = [name for tool in body.get("tools") or [] for name in ([tool] if isinstance(tool, str) else tool)]
    tool = None if idle or forced else choose_tool(messages, listed, wanted)
    return tool, say(messages, state.files, request.client_id, tool, options.get("response_format") or {},
                     options.get("max_tokens"))


def _message_head(reply: Reply, tool: str | None) -> JSONDict:
    """Return the beginning of a message, with a state where a function was called or a tool at work."""
    return {"role": "assistant", **({"tool_state_id": str(uuid.uuid4())} if reply.call or tool else {})}


def _parts_of(reply: Reply) -> tuple[list[JSONDict], JSONDict]:
    """Return the part of the file that a tool has made, if any, and that of a call or of what a text says."""
    if reply.call:
        return [], {"function_call": {"id": str(uuid.uuid4()), **reply.call}}
    file = reply.file
    made = [{"files": [{"id": file.file_id, "mime": file.mime, "target": file.target}]}] if file else []
    return made, {"text": reply.text, **({"inline_data": reply.sources} if reply.sources else {})}


def _render_events(metadata: JSONDict, reply: Reply, tool: str | None, end: JSONDict, per_event: int) -> list[bytes]:
    """Return the events of a stream: a tool's, those of the words, and the last, which holds a call whole."""
    made, last = _parts_of(reply)
    work = {"id": "", "name": tool}
    parts: list[tuple[str, JSONDict]] = []
    if tool:
        parts = [("tool.in_progress", {"tool_execution": work}),
                 ("tool.completed", {"tool_execution": {**work, "status": "success"}})]
    if not reply.call:
        made += [{"inline_data": reply.sources}] if reply.sources else []
        parts += [("message.delta", part) for part in made]
        parts += [("message.delta", {"text": text}) for text in split_text(reply.text, per_event)]
    events = [(name, {"messages": [{"role": "assistant", "content": [part]}]}) for name, part in parts]
    if reply.call or tool:
        called = {"content": [last]} if reply.call else {}
        end = {"messages": [{**_message_head(reply, tool), **called}], **end}
    return [b"event: response.%b\ndata: %b\n\n" % (name.encode("ascii"), to_json({**metadata, **data}))
            for name, data in [*events, ("message.done", end)]]


ROUTES = [Route("POST", "chat/completions", _create, generates=True)]
