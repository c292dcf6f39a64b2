"""Chat as version 1 of the API has it: its requests, its answers, and the body that a caller's words become."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Mapping

from ..exceptions import ModelNotSpecifiedError
from ..validators import host_of
from .base import Answer, Ending, Obj, Payload, Typed, Word, check_request, own_id, wire_format, word

if TYPE_CHECKING:
    from .response_format import JsonSchemaResponseFormat

__all__ = [
    "Chat",
    "ChatAnswer",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatFunctionCall",
    "Choices",
    "ChoicesChunk",
    "ChunkAnswer",
    "FewShotExample",
    "Function",
    "FunctionCall",
    "FunctionParameters",
    "FunctionParametersProperty",
    "FunctionRanker",
    "Messages",
    "MessagesChunk",
    "MessagesRole",
    "Storage",
    "Usage",
    "as_request",
    "chat_body",
    "default_model",
    "fix_function",
    "has_functions",
    "names_model",
]

TAG = r"<[a-zA-Z][^<>]*>"
FILE_ID = r"""\s(src|data-model-id)\s*=\s*["']([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})["']"""
# What belongs to a JSON Schema, where a description of a function has it beside its name.
SCHEMA = (
    *("type", "properties", "required", "additionalProperties", "$defs", "definitions", "dependentRequired"),
    *("dependentSchemas", "patternProperties", "propertyNames", "minProperties", "maxProperties"),
)


class MessagesRole(Word):
    """The roles of a message; a plain string does as well."""

    ASSISTANT = "assistant"
    SYSTEM = "system"
    USER = "user"
    FUNCTION = "function"
    FUNCTION_IN_PROGRESS = "function_in_progress"
    SEARCH_RESULT = "search_result"


# Requests


class FunctionCall(Obj):
    """A function that the model wants called, or that it is told to call."""

    __slots__ = ()
    name: str
    arguments: dict[str, Any] | None
    partial_arguments: dict[str, Any] | None
    id: str | None


class ChatFunctionCall(Obj):
    """The function that the model is told to call; it keeps ``partial_arguments`` and finds the rest."""

    __slots__ = ()
    name: str
    partial_arguments: dict[str, Any] | None


class FewShotExample(Obj):
    """A question and the arguments that a good call of the function would have."""

    __slots__ = ()
    request: str
    params: dict[str, Any]


class FunctionParametersProperty(Typed):
    """The JSON Schema of one parameter. Its ``items`` is read as ``["items"]``, since dicts have such a method."""

    __slots__ = ()
    _open = True
    _each = {"properties": Obj}  # which is this class, below
    description: str | None
    enum: list[str] | None
    properties: dict[str, FunctionParametersProperty] | None


FunctionParametersProperty._each["properties"] = FunctionParametersProperty


class FunctionParameters(Typed):
    """The JSON Schema of a function's parameters; whatever else such a schema has is kept too."""

    __slots__ = ()
    _open = True
    _each = {"properties": FunctionParametersProperty}
    properties: dict[str, FunctionParametersProperty] | None
    required: list[str] | None


class Function(Obj):
    """A function that the model may call; ``parameters`` and ``return_parameters`` are JSON Schemas."""

    __slots__ = ()
    _nested = {"parameters": FunctionParameters, "few_shot_examples": FewShotExample}
    name: str
    description: str | None
    parameters: FunctionParameters | None
    few_shot_examples: list[FewShotExample] | None
    return_parameters: dict[str, Any] | None


class FunctionRanker(Obj):
    """Whether the service picks the ``top_n`` functions that fit a question best, and shows the model these alone."""

    __slots__ = ()
    enabled: bool | None
    top_n: int | None


class Messages(Obj):
    """One message of a dialogue; the content of role ``function`` is a string that holds a JSON object."""

    __slots__ = ()
    _nested = {"function_call": FunctionCall, "data_for_context": Obj}  # which is Messages, below
    role: MessagesRole
    content: str
    attachments: list[str] | None
    function_call: FunctionCall | None
    functions_state_id: str | None
    name: str | None
    reasoning_content: str | None
    data_for_context: list[Messages] | None
    created: int | None
    id: str | None
    id_: str | None

    if not TYPE_CHECKING:
        role = word("role", MessagesRole)

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        if not args and "role" in fields:  # built by keywords: the API wants a content, if only an empty one
            self.setdefault("content", "")


Messages._nested["data_for_context"] = Messages


class Storage(Obj):
    """Settings of a history kept by the service."""

    __slots__ = ()
    is_stateful: bool
    limit: int | None
    assistant_id: str | None
    thread_id: str | None
    metadata: dict[str, Any] | None


class Chat(Obj):
    """The body of a v1 chat request; ``additional_fields`` is merged into it and carries what is newer than we are."""

    __slots__ = ()
    _nested = {"messages": Messages, "functions": Function, "function_ranker": FunctionRanker, "storage": Storage}
    _moved = {"tools": "version 1 has functions; tools are for chat.create()"}
    model: str | None
    messages: list[Messages]
    temperature: float | None
    top_p: float | None
    n: int | None
    stream: bool | None
    max_tokens: int | None
    repetition_penalty: float | None
    update_interval: float | None
    function_call: str | ChatFunctionCall | FunctionCall | dict[str, Any] | None
    functions: list[Function] | None
    function_ranker: FunctionRanker | None
    response_format: JsonSchemaResponseFormat | dict[str, Any] | None
    reasoning_effort: str | None
    profanity_check: bool | None
    flags: list[str] | None
    storage: Storage | None
    additional_data: dict[str, Any] | None
    features: dict[str, Any] | None
    additional_fields: dict[str, Any] | None


# Answers


class Usage(Obj):
    """Tokens of one answer: ``total_tokens`` is what is billed; cached ones are not among ``prompt_tokens``."""

    __slots__ = ()
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    precached_prompt_tokens: int | None
    system_tokens: int | None


class Choices(Obj):
    """One of the answers; ``finish_reason`` is stop, length, function_call, blacklist or error."""

    __slots__ = ()
    _nested = {"message": Messages}
    message: Messages
    index: int
    finish_reason: str | None


class ChunkAnswer(Ending, Answer):
    """What an answer tells at a glance, of its first choice; where there is none, it is empty."""

    __slots__ = ()
    _part: ClassVar[str] = "delta"

    @property
    def text(self) -> str:
        """The text; empty for a report of a function that is still at work."""
        said = self._said()
        content = said.get("content") if said.get("role") != "function_in_progress" else ""
        return content if isinstance(content, str) else ""

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: stop, length, function_call, blacklist or error; None while it has not."""
        return self._choice().get("finish_reason")

    @property
    def function_call(self) -> FunctionCall | None:
        """The function that the model wants called."""
        call = getattr(self._said(), "function_call", None)
        return call if isinstance(call, FunctionCall) else None

    def _choice(self) -> Obj:
        choices = getattr(self, "choices", None)
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Obj) and choice.get("index") in (0, None):
                return choice
        return Obj()

    def _said(self) -> Obj:
        said = getattr(self._choice(), self._part, None)
        return said if isinstance(said, Obj) else Obj()


class ChatAnswer(ChunkAnswer):
    """A whole answer, which may have files beside its text."""

    __slots__ = ()
    _part = "message"

    @property
    def images(self) -> list[str]:
        """The ids of pictures that were drawn; ``get_image`` and ``download_file`` take one."""
        return file_ids(self.text)[0]

    @property
    def models_3d(self) -> list[str]:
        """The ids of three-dimensional models that were made."""
        return file_ids(self.text)[1]


class ChatCompletion(ChatAnswer):
    """The whole answer of a chat."""

    __slots__ = ()
    _nested = {"choices": Choices, "usage": Usage}
    choices: list[Choices]
    created: int
    model: str
    object: str
    object_: str
    usage: Usage
    thread_id: str | None
    message_id: str | None


class MessagesChunk(Obj):
    """What one event of a stream adds to the message; its role comes with the first event alone."""

    __slots__ = ()
    _nested = {"function_call": FunctionCall}
    role: MessagesRole | None
    content: str | None
    reasoning_content: str | None
    function_call: FunctionCall | None
    functions_state_id: str | None
    name: str | None
    created: int | None

    if not TYPE_CHECKING:
        role = word("role", MessagesRole)


class ChoicesChunk(Obj):
    """One of the answers in an event of a stream; ``finish_reason`` comes with the last one."""

    __slots__ = ()
    _nested = {"delta": MessagesChunk}
    delta: MessagesChunk
    index: int
    finish_reason: str | None


class ChatCompletionChunk(ChunkAnswer):
    """One event of a streamed chat; ``usage`` comes with the last one."""

    __slots__ = ()
    _nested = {"choices": ChoicesChunk, "usage": Usage}
    choices: list[ChoicesChunk]
    created: int
    model: str
    object: str
    object_: str
    usage: Usage | None
    thread_id: str | None
    message_id: str | None


def file_ids(text: str) -> tuple[list[str], list[str]]:
    """Find the files that a text shows: pictures, and three-dimensional models.

    A tag is known by its attribute, not by its name: ``data-model-id`` is a model, and so is a ``src`` beside a
    ``cover``; any other ``src`` is a picture. Only ids count, so that addresses of the web are none.

    >>> file_ids('<img src="3727db23-91a3-44fa-a6b7-9f0a311d3e9e" fuse="true"/> розовый кот')
    (['3727db23-91a3-44fa-a6b7-9f0a311d3e9e'], [])
    """
    images: dict[str, None] = {}
    models: dict[str, None] = {}
    for tag in re.findall(TAG, text):
        for name, file_id in re.findall(FILE_ID, tag):
            (images if name == "src" and " cover" not in tag else models)[file_id] = None
    return list(images), list(models)


# From what a caller wrote to the body of a request


def chat_body(payload: Payload, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make a v1 request body of a question, messages, or a whole request; refuse unknown fields.

    The model, ``profanity_check`` and ``flags`` of a config fill what the caller left out.

    >>> chat_body("Привет")
    {'messages': [{'role': 'user', 'content': 'Привет'}]}
    """
    body, more = as_request(payload, Chat)
    if isinstance(body.get("functions"), (list, tuple)):
        body["functions"] = [fix_function(function) for function in body["functions"]]
    check_request(body, Chat)
    for i, message in enumerate(body["messages"]):
        if "attachments" in message:
            check_attachments(message["attachments"], f"messages[{i}].attachments")
    if body.get("response_format") is not None:
        body["response_format"] = wire_format(body["response_format"])
    body.update(more)
    body.pop("stream", None)  # chat() and stream() say it
    if config is not None:
        if not body.get("model") and not ("storage" in body and names_model(body)):
            body["model"] = config["model"] or default_model(config)
        for name in ("profanity_check", "flags"):
            if config[name] is not None and name not in body:
                body[name] = config[name]
    return body


def default_model(config: Mapping[str, Any]) -> str:
    """Return the model of a config; ModelNotSpecifiedError where it has none."""
    model: str | None = config["model"]
    if model is None:
        host = host_of(config["base_url"])
        raise ModelNotSpecifiedError(
            f"{host} has no default model: name one, as model= or GIGACHAT_MODEL (get_models() lists them)"
        )
    return model


def has_functions(body: Mapping[str, Any]) -> bool:
    """Tell whether a request has functions, or messages with their calls or results."""
    for message in body["messages"]:
        if "function_call" in message or message.get("role") == "function":
            return True
    return bool(body.get("functions"))


def with_field(payload: Payload, name: str, value: Any) -> dict[str, Any]:
    """Make a request of a question, of messages or of a request, with one field more.

    >>> with_field("Привет", "model", "GigaChat-2")
    {'messages': [{'role': 'user', 'content': 'Привет'}], 'model': 'GigaChat-2'}
    """
    if isinstance(payload, str):
        payload = [{"role": "user", "content": payload}]
    if isinstance(payload, (list, tuple)):
        return {"messages": payload, name: value}
    if not isinstance(payload, Mapping):
        raise TypeError(f"a string, a list of messages, a dict or Chat is needed, not {type(payload).__name__}")
    return {**payload, name: value}


def check_attachments(ids: Any, where: str) -> None:
    """Refuse what is no list of ids, such as a file's own object or one id alone."""
    for one in ids if isinstance(ids, (list, tuple)) else [ids]:
        if not isinstance(one, str) or one is ids:
            raise TypeError(f"{where} is a list of ids, not of {type(one).__name__}{own_id(one)}")


def as_request(payload: Payload, kind: type[Obj]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Copy a question, messages or a whole request into a request, and take ``additional_fields`` out of it."""
    if isinstance(payload, str):
        return {"messages": [{"role": "user", "content": payload}]}, {}
    if not isinstance(payload, Mapping):
        if not isinstance(payload, (list, tuple)):
            raise TypeError(f"a string, a list of messages, a dict or Chat is needed, not {type(payload).__name__}")
        payload = {"messages": list(payload)}
    if "messages" not in payload and "role" in payload:
        raise TypeError("this is one message, for it has a role: give a list of messages")
    body = given(payload)
    more = body.pop("additional_fields", None) or {}
    if not isinstance(more, Mapping):
        raise TypeError(f"additional_fields: a dict is needed, not {type(more).__name__}")
    messages = body.get("messages")
    if not isinstance(messages, (list, tuple)):
        check_request(body, kind)  # perhaps it was misspelt
        raise TypeError("the request needs messages, a list")
    for i, message in enumerate(messages):
        if not isinstance(message, (dict, Mapping)):
            raise TypeError(f"messages[{i}] is no message but {type(message).__name__}")
    if any(None in message.values() for message in messages):
        body["messages"] = [given(message) for message in messages]
    return body, more


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what is given of a request or a message: None says that something is not, as in the settings.

    >>> given({"model": "GigaChat", "temperature": None})
    {'model': 'GigaChat'}
    """
    return {name: value for name, value in fields.items() if value is not None}


def fix_function(function: Any) -> Any:
    """Read a JSON Schema as a description of a function, which has a name and the schema as its ``parameters``.

    >>> fix_function({"title": "f", "properties": {}, "required": []})
    {'name': 'f', 'parameters': {'type': 'object', 'properties': {}, 'required': []}}
    """
    if not isinstance(function, Mapping) or (function.get("name") and "properties" not in function):
        return function
    fixed = dict(function)
    if not fixed.get("name") and fixed.get("title"):
        fixed = {"name": fixed.pop("title"), **{key: value for key, value in fixed.items() if key != "name"}}
    if not fixed.get("parameters") and "properties" in fixed:
        schema = {name: fixed.pop(name) for name in SCHEMA if name in fixed}
        fixed["parameters"] = {"type": "object", **schema}
    return fixed


def names_model(body: Mapping[str, Any]) -> bool:
    """Tell whether a request says which model answers: by its name, or by an assistant or a thread that has one.

    >>> names_model({"messages": [], "storage": {"thread_id": "t"}})
    True
    """
    storage = body.get("storage")
    stored = storage if isinstance(storage, Mapping) else {}
    held = (body.get("model"), body.get("assistant_id"), stored.get("assistant_id"), stored.get("thread_id"))
    return any(held)  # what is empty names nothing
