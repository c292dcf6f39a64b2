"""Chat as version 1 of the API has it: requests and answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Iterable, Mapping, Union

from ..fields import Config
from ..objects import Obj, OpenEnum, RequestPart
from .base import Answer, Ending

if TYPE_CHECKING:
    from .response_format import JsonSchemaResponseFormat

TAG = r"<[a-zA-Z][^<>]*>"
FILE_ID = r"""\s(src|data-model-id)\s*=\s*["']([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})["']"""
# What belongs to a JSON Schema, where a description of a function has it beside its name.
SCHEMA = (
    *("type", "properties", "required", "additionalProperties", "$defs", "definitions", "dependentRequired"),
    *("dependentSchemas", "patternProperties", "propertyNames", "minProperties", "maxProperties"),
)


class MessagesRole(OpenEnum):
    """The roles of a message; a plain string does as well."""

    ASSISTANT = "assistant"
    SYSTEM = "system"
    USER = "user"
    FUNCTION = "function"
    FUNCTION_IN_PROGRESS = "function_in_progress"
    SEARCH_RESULT = "search_result"


# Requests


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


class FunctionParametersProperty(RequestPart):
    """The JSON Schema of one parameter. Its ``items`` is read as ``["items"]``, since dicts have such a method."""

    __slots__ = ()
    model_config = Config({"type": "object"}, extra=True)
    type: str
    type_: str
    description: str | None
    enum: list[str] | None
    properties: dict[str, FunctionParametersProperty] | None


class FunctionParameters(RequestPart):
    """The JSON Schema of a function's parameters; whatever else such a schema has is kept too."""

    __slots__ = ()
    model_config = Config({"type": "object"}, extra=True)
    type: str
    type_: str
    properties: dict[str, FunctionParametersProperty] | None
    required: list[str] | None


class Function(Obj):
    """A function that the model may call; ``parameters`` and ``return_parameters`` are JSON Schemas."""

    __slots__ = ()
    model_config = Config(function=True, normalize=fix_function)
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


class Messages(RequestPart):
    """One message of a dialogue; the content of role ``function`` is a string that holds a JSON object."""

    __slots__ = ()
    model_config = Config({"content": ""})  # the API wants one, if only an empty one
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
    model_config = Config(advice={"tools": "version 1 has functions; tools are for chat.create()"})
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


Payload = Union[str, Iterable[Mapping[str, Any]], Mapping[str, Any]]  # a question, messages, or a whole request


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
    role: MessagesRole | None
    content: str | None
    reasoning_content: str | None
    function_call: FunctionCall | None
    functions_state_id: str | None
    name: str | None
    created: int | None


class ChoicesChunk(Obj):
    """One of the answers in an event of a stream; ``finish_reason`` comes with the last one."""

    __slots__ = ()
    delta: MessagesChunk
    index: int
    finish_reason: str | None


class ChatCompletionChunk(ChunkAnswer):
    """One event of a streamed chat; ``usage`` comes with the last one."""

    __slots__ = ()
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
