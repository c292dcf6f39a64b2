"""Chat as version 2 of the API has it: messages of parts, tools, options, and named events.

A part of a message has no type: the key that is there is its kind. The names are the official package's; two that
version 1 has as well are called ``PrimaryChatCompletionChunk`` and ``PrimaryChatFunctionCall`` outside this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping

from ..fields import Config
from ..objects import Obj, RequestPart
from .base import Answer, Ending
from .chat import FewShotExample, fix_function
from .response_format import wire_format

__all__ = [
    "ChatCompletionRequest", "ChatCompletionResponse", "ChatContentFile", "ChatContentPart", "ChatFilterConfig",
    "ChatFilterContentConfig", "ChatFilterResponseContentConfig", "ChatFunctionResult", "ChatFunctionSpecification",
    "ChatFunctionsTool", "ChatInlineData", "ChatLogprob", "ChatLogprobToken", "ChatMessage", "ChatMessageChunk",
    "ChatModelOptions", "ChatRankerOptions", "ChatReasoning", "ChatResponseFormat", "ChatSource", "ChatStorage",
    "ChatTool", "ChatToolConfig", "ChatToolExecution", "ChatUsage", "ChatUsageInputTokensDetails", "ChatUserInfo",
    "ChatWebSearchTool", "PrimaryChatCompletionChunk", "PrimaryChatFunctionCall",
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


def name_state(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a request or a message, with the id of the tools' state under the name that is sent."""
    found = [holder[name] for name in STATE_IDS if holder.get(name) is not None]
    renamed = {name: value for name, value in holder.items() if name not in STATE_IDS}
    return {**renamed, STATE_IDS[0]: found[0]} if found else renamed


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
    sources: dict[str, ChatSource] | None
    images: list[dict[str, Any]] | None
    widgets: list[dict[str, Any]] | None


class ChatContentFile(RequestPart):
    """A file in a message; in an answer with its type and its ``target``, which is image, audio or 3dmodel."""

    __slots__ = ()
    id: str
    id_: str
    mime: str | None
    target: str | None


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
    chosen: ChatLogprobToken | None
    top: list[ChatLogprobToken] | None


class ChatContentPart(Obj):
    """One part of a message: the key that is there is its kind."""

    __slots__ = ()
    text: str | None
    files: list[ChatContentFile] | None
    function_call: PrimaryChatFunctionCall | None
    function_result: ChatFunctionResult | None
    tool_execution: ChatToolExecution | None
    inline_data: ChatInlineData | None
    logprobs: list[ChatLogprob] | None


def as_parts(content: Any) -> Any:
    """Make the parts that a message's content has to be of a string, a part, or a list of both.

    >>> as_parts(["Что это?", {"files": [{"id": "1"}]}])
    [{'text': 'Что это?'}, {'files': [{'id': '1'}]}]
    """
    if not isinstance(content, Iterable):
        return content
    parts = [content] if isinstance(content, (str, Mapping)) else content
    return [{"text": part} if isinstance(part, str) else part for part in parts]


def _normalize_message(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    named = name_state(message)
    return {**named, "content": as_parts(named["content"])} if "content" in named else named


class ChatMessageChunk(_Stateful):
    """A message, or what one event of a stream adds to it, which may have no content."""

    __slots__ = ()
    model_config = Config(
        normalize=_normalize_message,
        advice={"attachments": "files are a part of the content: {'files': [{'id': ...}]}"},
    )
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
        return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


class ChatMessage(RequestPart, ChatMessageChunk):
    """A message of role user, system, assistant or tool; a string given as its content becomes a part."""

    __slots__ = ()
    role: str


# Answers


class ChatUsageInputTokensDetails(Obj):
    """The tokens of a request; cached ones come on top of ``input_tokens`` and are not billed."""

    __slots__ = ()
    prompt_tokens: int | None
    cached_tokens: int | None


class ChatUsage(Obj):
    """Tokens of one answer: ``total_tokens`` is ``input_tokens`` and ``output_tokens``."""

    __slots__ = ()
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
    messages: list[ChatMessage]


class PrimaryChatCompletionChunk(_V2Answer):
    """One event of a streamed chat; ``event`` is its name, and the last one, response.message.done, has the usage."""

    __slots__ = ()
    event: str | None
    messages: list[ChatMessageChunk] | None


# Requests


class ChatReasoning(Obj):
    """How long the model thinks before it answers: low, medium or high."""

    __slots__ = ()
    effort: str | None


class ChatResponseFormat(RequestPart):
    """The form of an answer: text, json_schema (with a dict or a pydantic model as its schema), or regex."""

    __slots__ = ()
    model_config = Config({"type": "text"}, normalize=wire_format)
    type: str
    type_: str
    schema: dict[str, Any] | str | None
    schema_: dict[str, Any] | str | None
    strict: bool | None
    regex: str | None


class ChatModelOptions(Obj):
    """How the model writes; ``unnormalized_history`` keeps the service from merging messages of one role."""

    __slots__ = ()
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


def _option(name: str) -> property:
    """Make the attribute of a field that is sent in ``model_options`` and may be given beside them."""
    read: Any = getattr(ChatModelOptions, name).fget

    def read_either(self: Obj) -> Any:
        options = getattr(self, "model_options", None)
        return read(options if self.get(name) is None and isinstance(options, dict) else self)

    return property(read_either)


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
    model_config = Config(function=True, normalize=fix_function)
    name: str
    description: str | None
    parameters: dict[str, Any]
    few_shot_examples: list[FewShotExample] | None
    return_parameters: dict[str, Any] | None


class ChatFunctionsTool(Obj):
    """The caller's own functions."""

    __slots__ = ()
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
    model_config = Config(normalize=lambda tool: {tool: {}} if isinstance(tool, str) else tool)
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
    model_config = Config(
        advice={
            **dict.fromkeys(ChatModelOptions.model_fields, "it goes into model_options"),
            "function_call": "tool_config={'mode': 'forced', 'function_name': ...} says which function is to be called",
            "functions": "functions are a tool: tools=[{'functions': {'specifications': [...]}}]",
            "function_ranker": "it is ranker_options here",
            "reasoning_effort": "it is reasoning={'effort': ...} here",
        }
    )
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


# Official names that are in this file alone
ChatFunctionExample = FewShotExample
ChatFunctionCall = PrimaryChatFunctionCall
ChatCompletionChunk = PrimaryChatCompletionChunk
