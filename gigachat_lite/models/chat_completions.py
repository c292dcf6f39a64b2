"""Chat as version 2 of the API has it: messages of parts, tools, options, and named events.

A part of a message has no type: the key that is there is its kind. The names are the official package's; two that
version 1 has as well are called ``PrimaryChatCompletionChunk`` and ``PrimaryChatFunctionCall`` outside this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping

from .base import Answer, Ending, Obj, Payload, Typed, check_request, wire_format
from .chat import FewShotExample, as_request, fix_function, names_model

__all__ = [
    "ChatCompletionRequest", "ChatCompletionResponse", "ChatContentFile", "ChatContentPart", "ChatFilterConfig",
    "ChatFilterContentConfig", "ChatFilterResponseContentConfig", "ChatFunctionResult", "ChatFunctionSpecification",
    "ChatFunctionsTool", "ChatInlineData", "ChatLogprob", "ChatLogprobToken", "ChatMessage", "ChatMessageChunk",
    "ChatModelOptions", "ChatRankerOptions", "ChatReasoning", "ChatResponseFormat", "ChatSource", "ChatStorage",
    "ChatTool", "ChatToolConfig", "ChatToolExecution", "ChatUsage", "ChatUsageInputTokensDetails", "ChatUserInfo",
    "ChatWebSearchTool", "PrimaryChatCompletionChunk", "PrimaryChatFunctionCall", "v2_body",
]

SAID = ("message", "response.message.delta", "response.message.done")  # the events that hold the answer
# The service writes the second name, its documentation also the first, version 1 the third; the first is sent.
STATE_IDS = ("tools_state_id", "tool_state_id", "functions_state_id")


def _state_id(self: Obj) -> Any:
    """Find the id of the tools' state, by any of its names, in an object or in its messages."""
    messages = self.get("messages")
    for holder in (self, *(messages if isinstance(messages, list) else ())):
        for name in STATE_IDS if isinstance(holder, dict) else ():
            if holder.get(name) is not None:
                return holder[name]
    return None


def _option(name: str) -> property:
    """Make the attribute of a field that is sent in ``model_options`` and may be given beside them."""

    def read(self: Obj) -> Any:
        options = getattr(self, "model_options", None)
        holder = options if self.get(name) is None and isinstance(options, Obj) else self
        return holder._wrap(name, holder.get(name))

    return property(read)


class _Stateful(Obj):
    __slots__ = ()
    tools_state_id: str | None
    tool_state_id: str | None
    functions_state_id: str | None

    if not TYPE_CHECKING:
        tools_state_id = tool_state_id = functions_state_id = property(_state_id)


# Parts of a message


class ChatSource(Obj):
    """A page that an answer stands on."""

    __slots__ = ()
    url: str | None
    title: str | None


class ChatInlineData(Obj):
    """What comes with a text: ``sources`` by the numbers that the text's ``[sources=[1]]`` gives, pictures, widgets."""

    __slots__ = ()
    _each = {"sources": ChatSource}
    sources: dict[str, ChatSource] | None
    images: list[dict[str, Any]] | None
    widgets: list[dict[str, Any]] | None


class ChatContentFile(Obj):
    """A file in a message; in an answer with its type and its ``target``, which is image, audio or 3dmodel."""

    __slots__ = ()
    id: str
    id_: str
    mime: str | None
    target: str | None

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **{name.rstrip("_"): value for name, value in fields.items()})


class PrimaryChatFunctionCall(Obj):
    """A function that the model wants called, with its arguments as an object."""

    __slots__ = ()
    id: str | None
    name: str
    arguments: dict[str, Any]


class ChatFunctionResult(Obj):
    """What a called function gave: an object, or JSON of one in a string; the name is needed."""

    __slots__ = ()
    name: str
    result: Any


class ChatToolExecution(Obj):
    """A tool of the service at work; ``status`` is success or fail once it has ended."""

    __slots__ = ()
    id: str | None
    name: str | None
    status: str | None
    seconds_left: int | None
    censored: bool | None


class ChatLogprobToken(Obj):
    """A token and the logarithm of its probability."""

    __slots__ = ()
    token: str
    token_id: int
    logprob: float


class ChatLogprob(Obj):
    """The token that was chosen at one place, and the likeliest ones there."""

    __slots__ = ()
    _nested = {"chosen": ChatLogprobToken, "top": ChatLogprobToken}
    chosen: ChatLogprobToken | None
    top: list[ChatLogprobToken] | None


class ChatContentPart(Obj):
    """One part of a message: the key that is there is its kind."""

    __slots__ = ()
    _nested = {
        "files": ChatContentFile,
        "function_call": PrimaryChatFunctionCall,
        "function_result": ChatFunctionResult,
        "tool_execution": ChatToolExecution,
        "inline_data": ChatInlineData,
        "logprobs": ChatLogprob,
    }
    text: str | None
    files: list[ChatContentFile] | None
    function_call: PrimaryChatFunctionCall | None
    function_result: ChatFunctionResult | None
    tool_execution: ChatToolExecution | None
    inline_data: ChatInlineData | None
    logprobs: list[ChatLogprob] | None


class ChatMessageChunk(_Stateful):
    """A message, or what one event of a stream adds to it, which may have no content."""

    __slots__ = ()
    _nested = {
        "content": ChatContentPart,
        "function_call": PrimaryChatFunctionCall,
        "tool_execution": ChatToolExecution,
        "inline_data": ChatInlineData,
        "logprobs": ChatLogprob,
    }
    _moved = {"attachments": "files are a part of the content: {'files': [{'id': ...}]}"}
    role: str | None
    content: list[ChatContentPart] | None
    message_id: str | None
    function_call: PrimaryChatFunctionCall | None
    tool_execution: ChatToolExecution | None
    inline_data: ChatInlineData | None
    logprobs: list[ChatLogprob] | None
    finish_reason: str | None

    @property
    def text(self) -> str:
        """The text of all its parts."""
        parts = [{"text": self["content"]}] if isinstance(self.get("content"), str) else self._parts()
        return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))

    def _parts(self) -> list[Obj]:
        content = self.content
        return [part for part in content if isinstance(part, Obj)] if isinstance(content, list) else []


class ChatMessage(ChatMessageChunk):
    """A message of role user, system, assistant or tool; a string given as its content becomes a part."""

    __slots__ = ()
    role: str

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        if "content" in fields:  # not in an answer, which stays as it came
            self["content"] = as_parts(self["content"])


# Answers


class ChatUsageInputTokensDetails(Obj):
    """The tokens of a request; cached ones come on top of ``input_tokens`` and are not billed."""

    __slots__ = ()
    prompt_tokens: int | None
    cached_tokens: int | None


class ChatUsage(Obj):
    """Tokens of one answer: ``total_tokens`` is ``input_tokens`` and ``output_tokens``."""

    __slots__ = ()
    _nested = {"input_tokens_details": ChatUsageInputTokensDetails}
    input_tokens: int
    input_tokens_details: ChatUsageInputTokensDetails | None
    output_tokens: int
    total_tokens: int


class _V2Answer(Ending, _Stateful, Answer):
    """What an answer tells at a glance, of what the assistant says in it; where there is nothing, it is empty."""

    __slots__ = ()
    model: str | None
    created_at: int | None
    message_id: str | None
    thread_id: str | None
    finish_reason: str | None
    usage: ChatUsage | None
    tool_execution: ChatToolExecution | None
    logprobs: list[ChatLogprob] | None
    additional_data: Any
    _nested = {"usage": ChatUsage, "tool_execution": ChatToolExecution, "logprobs": ChatLogprob}

    @property
    def text(self) -> str:
        """The text of all its parts."""
        return "".join(message.text for message in self._said())

    @property
    def function_call(self) -> PrimaryChatFunctionCall | None:
        """The function that the model wants called."""
        for message in self._said():
            for holder in (*message._parts(), message):
                call = getattr(holder, "function_call", None)
                if isinstance(call, PrimaryChatFunctionCall):
                    return call
        return None

    @property
    def images(self) -> list[str]:
        """The ids of pictures that were drawn; ``get_image`` and ``download_file`` take one."""
        return [id for id, mime, target in self._files() if target == "image" or (not target and mime[:6] == "image/")]

    @property
    def models_3d(self) -> list[str]:
        """The ids of three-dimensional models that were made."""
        return [id for id, _, target in self._files() if target == "3dmodel"]

    def _said(self) -> Iterator[ChatMessageChunk]:
        messages = getattr(self, "messages", None)
        known = self.get("event", SAID[0]) in SAID  # what else an event says is no part of the answer
        for message in messages if known and isinstance(messages, list) else ():
            if isinstance(message, ChatMessageChunk) and message.get("role") in ("assistant", None):
                yield message

    def _files(self) -> Iterator[tuple[str, str, Any]]:
        for message in self._said():
            for part in message._parts():
                files = getattr(part, "files", None)
                for file in files if isinstance(files, list) else ():
                    if isinstance(file, dict) and isinstance(file.get("id"), str):
                        yield file["id"], str(file.get("mime")), file.get("target")


class ChatCompletionResponse(_V2Answer):
    """The whole answer of a chat.

    ``finish_reason`` is stop, length, function_call, function_call_error or one of those that ``blocked`` knows.
    """

    __slots__ = ()
    _nested = {**_V2Answer._nested, "messages": ChatMessage}
    messages: list[ChatMessage]


class PrimaryChatCompletionChunk(_V2Answer):
    """One event of a streamed chat; ``event`` is its name, and the last one, response.message.done, has the usage."""

    __slots__ = ()
    _nested = {**_V2Answer._nested, "messages": ChatMessageChunk}
    event: str | None
    messages: list[ChatMessageChunk] | None


# Requests


class ChatReasoning(Obj):
    """How long the model thinks before it answers: low, medium or high."""

    __slots__ = ()
    effort: str | None


class ChatResponseFormat(Typed):
    """The form of an answer: text, json_schema (with a dict or a pydantic model as its schema), or regex."""

    __slots__ = ()
    _type = "text"
    schema: dict[str, Any] | str | None
    schema_: dict[str, Any] | str | None
    strict: bool | None
    regex: str | None

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.update(wire_format(self))


class ChatModelOptions(Obj):
    """How the model writes; ``unnormalized_history`` keeps the service from merging messages of one role."""

    __slots__ = ()
    _nested = {"reasoning": ChatReasoning, "response_format": ChatResponseFormat}
    preset: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    repetition_penalty: float | None
    update_interval: float | None
    unnormalized_history: bool | None
    top_logprobs: int | None
    reasoning: ChatReasoning | None
    response_format: ChatResponseFormat | None


class ChatFilterContentConfig(Obj):
    """Which filters look at a request."""

    __slots__ = ()
    neuro: bool | None
    blacklist: bool | None
    whitelist: bool | None


class ChatFilterResponseContentConfig(Obj):
    """Which filters look at an answer."""

    __slots__ = ()
    blacklist: bool | None


class ChatFilterConfig(Obj):
    """Which filters look at what."""

    __slots__ = ()
    _nested = {"request_content": ChatFilterContentConfig, "response_content": ChatFilterResponseContentConfig}
    request_content: ChatFilterContentConfig | None
    response_content: ChatFilterResponseContentConfig | None


class ChatStorage(Obj):
    """Settings of a history kept by the service; an empty one switches it on."""

    __slots__ = ()
    limit: int | None
    thread_id: str | None
    metadata: dict[str, Any] | None


class ChatRankerOptions(Obj):
    """Whether the service picks the ``top_n`` tools that fit a question best, and shows the model these alone."""

    __slots__ = ()
    enabled: bool | None
    top_n: int | None
    embeddings_model: str | None


class ChatUserInfo(Obj):
    """What the model may know of the user: the time zone, by its IANA name."""

    __slots__ = ()
    timezone: str | None


class ChatToolConfig(Obj):
    """Whether tools are used: ``mode`` is auto, none or forced; forced needs just one of the two names."""

    __slots__ = ()
    mode: str | None
    tool_name: str | None
    function_name: str | None


class ChatFunctionSpecification(Obj):
    """A function that the model may call; ``parameters`` and ``return_parameters`` are JSON Schemas."""

    __slots__ = ()
    _nested = {"few_shot_examples": FewShotExample}
    name: str
    description: str | None
    parameters: dict[str, Any]
    few_shot_examples: list[FewShotExample] | None
    return_parameters: dict[str, Any] | None


class ChatFunctionsTool(Obj):
    """The caller's own functions."""

    __slots__ = ()
    _nested = {"specifications": ChatFunctionSpecification}
    specifications: list[ChatFunctionSpecification] | None


class ChatWebSearchTool(Obj):
    """How the web is searched: ``type`` is web_search, actual_info_web_search or safe_search."""

    __slots__ = ()
    type: str | None
    indexes: list[str] | None
    flags: list[str] | None


class ChatTool(Obj):
    """One tool: the key that is there is its kind, and its value the settings. ``ChatTool("memory")`` has none."""

    __slots__ = ()
    _nested = {"functions": ChatFunctionsTool, "web_search": ChatWebSearchTool}
    functions: ChatFunctionsTool | None
    web_search: ChatWebSearchTool | None
    image_generate: dict[str, Any] | None
    model_3d_generate: dict[str, Any] | None
    url_content_extraction: dict[str, Any] | None
    code_interpreter: dict[str, Any] | None
    get_datetime: dict[str, Any] | None
    memory: dict[str, Any] | None

    def __init__(self, tool: str | Mapping[str, Any] = (), **settings: Any) -> None:  # type: ignore[assignment]
        super().__init__({tool: {}} if isinstance(tool, str) else tool, **settings)


class ChatCompletionRequest(_Stateful):
    """The body of a v2 chat request.

    ``reasoning`` and ``response_format`` are sent in ``model_options``, ``profanity_check`` as the opposite of
    ``disable_filter``, and ``additional_fields`` is merged into the body.
    """

    __slots__ = ()
    _nested = {
        "messages": ChatMessage,
        "model_options": ChatModelOptions,
        "tools": ChatTool,
        "tool_config": ChatToolConfig,
        "filter_config": ChatFilterConfig,
        "ranker_options": ChatRankerOptions,
        "storage": ChatStorage,
        "user_info": ChatUserInfo,
        "reasoning": ChatReasoning,
        "response_format": ChatResponseFormat,
    }
    _moved = {
        **dict.fromkeys(ChatModelOptions._fields, "it goes into model_options"),
        "function_call": "tool_config={'mode': 'forced', 'function_name': ...} says which function is to be called",
        "functions": "functions are a tool: tools=[{'functions': {'specifications': [...]}}]",
        "function_ranker": "it is ranker_options here",
        "reasoning_effort": "it is reasoning={'effort': ...} here",
    }
    model: str | None
    messages: list[ChatMessage]
    model_options: ChatModelOptions | None
    stream: bool | None
    tools: list[ChatTool] | None
    tool_config: ChatToolConfig | None
    filter_config: ChatFilterConfig | None
    disable_filter: bool | None
    profanity_check: bool | None
    ranker_options: ChatRankerOptions | None
    storage: ChatStorage | bool | None
    user_info: ChatUserInfo | None
    assistant_id: str | None
    memory_id: str | None
    flags: list[str] | None
    reasoning: ChatReasoning | None
    response_format: ChatResponseFormat | None
    additional_fields: dict[str, Any] | None

    if not TYPE_CHECKING:
        reasoning, response_format = _option("reasoning"), _option("response_format")


# From what a caller wrote to the body of a request


def v2_body(payload: Payload, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make a v2 request body of a question, messages, or a whole request; refuse fields that nobody knows.

    Of ``config`` the model, ``profanity_check`` and ``flags`` fill what the caller left out. A configuration without a
    model leaves it out; ``names_model`` tells.

    >>> v2_body("Привет", {"model": "GigaChat-2"})
    {'messages': [{'role': 'user', 'content': [{'text': 'Привет'}]}], 'model': 'GigaChat-2'}
    """
    body, more = as_request(payload, ChatCompletionRequest)
    _name_state(body)
    body["messages"] = [_message(message) for message in body["messages"]]
    if body.get("tools") is not None:
        body["tools"] = _tools(body["tools"])
    check_request(body, ChatCompletionRequest)
    if isinstance(body.get("storage"), bool) and body.pop("storage"):
        body["storage"] = {}
    _gather_options(body)
    body.update(more)
    _fill(body, config or {})
    body.pop("stream", None)  # create() and stream() say it
    return body


def as_parts(content: Any) -> Any:
    """Make the parts that a message's content has to be of a string, a part, or a list of both.

    >>> as_parts(["Что это?", {"files": [{"id": "1"}]}])
    [{'text': 'Что это?'}, {'files': [{'id': '1'}]}]
    """
    if isinstance(content, (str, Mapping)):
        content = [content]
    if isinstance(content, (list, tuple)) and any(isinstance(part, str) for part in content):
        return [{"text": part} if isinstance(part, str) else part for part in content]
    return content


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    copied = dict(message)
    _name_state(copied)
    if "content" in copied:
        copied["content"] = as_parts(copied["content"])
    return copied


def _name_state(holder: dict[str, Any]) -> None:
    """Give the id of the tools' state the name that is sent."""
    found = [holder.pop(name) for name in STATE_IDS if name in holder]
    found = [state_id for state_id in found if state_id is not None]
    if found:
        holder["tools_state_id"] = found[0]


def _tools(tools: Any) -> list[Any]:
    if not isinstance(tools, (list, tuple)):
        raise TypeError(f"tools: a list is needed, not {type(tools).__name__}")
    return [{tool: {}} if isinstance(tool, str) else _with_functions(tool) for tool in tools]


def _with_functions(tool: Any) -> Any:
    functions = tool.get("functions") if isinstance(tool, Mapping) else None
    if not isinstance(tool, Mapping) or not isinstance(functions, (Mapping, type(None))):
        raise TypeError("functions are given in tools as {'functions': {'specifications': [...]}}")
    given = functions.get("specifications") if functions else None
    if not functions or not isinstance(given, (list, tuple)):
        return tool
    return {**tool, "functions": {**functions, "specifications": [fix_function(function) for function in given]}}


def _gather_options(body: dict[str, Any]) -> None:
    """Move what is given beside ``model_options`` into them, where they do not have it."""
    given = body.get("model_options") or {}
    if not isinstance(given, Mapping):
        raise TypeError(f"model_options: a dict is needed, not {type(given).__name__}")
    beside = {name: body.pop(name, None) for name in ("reasoning", "response_format")}
    options = {**{name: value for name, value in beside.items() if value is not None}, **given}
    if options.get("response_format") is not None:
        options["response_format"] = wire_format(options["response_format"])
    if options:
        body["model_options"] = options


def _fill(body: dict[str, Any], config: Mapping[str, Any]) -> None:
    """Fill in what the configuration says and the caller did not."""
    if not names_model(body) and config.get("model") is not None:
        body["model"] = config["model"]
    given = body.pop("profanity_check", None)
    check = config.get("profanity_check") if given is None else given
    if body.get("disable_filter") is None and check is not None:
        body["disable_filter"] = not check
    if "flags" not in body and config.get("flags") is not None:
        body["flags"] = config["flags"]


# Official names that are in this file alone
ChatFunctionExample = FewShotExample
ChatFunctionCall = PrimaryChatFunctionCall
ChatCompletionChunk = PrimaryChatCompletionChunk
