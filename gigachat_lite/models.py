"""The API's requests and answers: dicts whose keys are attributes too.

Every class lists the fields that the API documents, for editors and type checkers; unknown fields are kept and can be
read in the same two ways. The same classes build requests, and plain dicts are accepted wherever they are.
A field that a dict's own method hides (``items``, ``keys``, ``get`` …) is read as ``obj["items"]``.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Dict,
    List,
    Mapping,
    Sequence,
    TypeVar,
    Union,
)
from urllib.parse import quote

from .config import did_you_mean

if TYPE_CHECKING:
    _Dict = Dict[str, Any]
    _List = List["TokensCount"]
else:  # a bare dict: typing's generic base would slow each construction down on Python 3.7
    _Dict, _List = dict, list

O = TypeVar("O", bound="Obj")  # noqa: E741
Payload = Union[str, Sequence[Mapping[str, Any]], Mapping[str, Any]]


def _field(name: str) -> property:
    """Make a declared field's attribute: three times as fast as a look-up that fails first and asks __getattr__."""

    def read(self: Obj) -> Any:
        value = self.get(name)
        return self._wrap(name, value) if type(value) is dict or type(value) is list else value

    return property(read)


class Obj(_Dict):
    """A JSON object: equal to its plain dict, and readable by attributes.

    A declared field that is absent is None; any other absent name is an AttributeError that lists what is there. A
    trailing underscore is ignored (``id_`` is ``id``). Nested objects are wrapped at their first access and put back in
    place, so that they keep their identity and assignments stick.
    """

    __slots__ = ()
    _nested: ClassVar[dict[str, type[Obj]]] = {}
    _fields: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = {name for base in cls.__mro__ for name in getattr(base, "__annotations__", {})}
        cls._fields = frozenset(name for name in names if not name.startswith("_"))
        for name in cls._fields:
            if not hasattr(cls, name):
                setattr(cls, name, _field(name))

    if not TYPE_CHECKING:  # a type checker is to see the declared fields alone

        def __getattr__(self, name):
            try:
                value = self[name]
            except KeyError:
                return self._absent(name)
            return self._wrap(name, value) if type(value) is dict or type(value) is list else value

    def __setattr__(self, name: str, value: Any) -> None:
        self[self._key(name)] = value

    def __delattr__(self, name: str) -> None:
        key = self._key(name)
        if key not in self:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        del self[key]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._fields, *map(str, self)})

    def copy(self: O) -> O:
        """Copy one level, as a dict's copy does, and keep the class."""
        return type(self)(self)

    def _key(self, name: str) -> str:
        return name.rstrip("_") if name.endswith("_") and name not in self and not name.startswith("__") else name

    def _absent(self, name: str) -> Any:
        key = self._key(name)
        if key in self:
            return self._wrap(key, self[key]) if isinstance(self[key], (dict, list)) else self[key]
        if key in self._fields:
            return None
        have = ", ".join(map(str, self)) or "none"
        raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has: {have}")

    def _wrap(self, key: str, value: Any) -> Any:
        kind = self._nested.get(key)
        if kind is None:
            if key in self._fields:
                return value
            kind = Obj
        if type(value) is dict:
            value = self[key] = kind(value)
        else:
            for i, item in enumerate(value):
                if type(item) is dict:
                    value[i] = kind(item)
        return value


class Answer(Obj):
    """An answer of the service; ``x_headers`` holds its request, session and client id (``x-request-id`` …)."""

    __slots__ = ("x_headers",)
    x_headers: dict[str, str | None] | None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "x_headers":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def copy(self: A) -> A:
        """Copy one level and keep the class and the headers."""
        twin = type(self)(self)
        twin.x_headers = self.x_headers
        return twin


A = TypeVar("A", bound=Answer)
T = TypeVar("T", bound="Union[Answer, TokensCounts]")


def with_headers(answer: T, headers: dict[str, str | None] | None) -> T:
    """Give an answer its ids, past the attributes that are keys."""
    object.__setattr__(answer, "x_headers", headers)
    return answer


class MessagesRole(str, Enum):
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


class FewShotExample(Obj):
    """A question and the arguments that a good call of the function would have."""

    __slots__ = ()
    request: str
    params: dict[str, Any]


class Function(Obj):
    """A function that the model may call; ``parameters`` and ``return_parameters`` are JSON Schemas."""

    __slots__ = ()
    _nested = {"few_shot_examples": FewShotExample}
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    few_shot_examples: list[FewShotExample] | None
    return_parameters: dict[str, Any] | None


class Messages(Obj):
    """One message of a dialogue; the content of role ``function`` is a string that holds a JSON object."""

    __slots__ = ()
    role: MessagesRole | str
    content: str
    attachments: list[str] | None
    function_call: FunctionCall | None
    functions_state_id: str | None
    name: str | None
    reasoning_content: str | None
    data_for_context: list[Messages] | None
    created: int | None
    id: str | None


Messages._nested = {"function_call": FunctionCall, "data_for_context": Messages}


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
    _nested = {"messages": Messages, "functions": Function, "storage": Storage}
    model: str | None
    messages: list[Messages]
    temperature: float | None
    top_p: float | None
    n: int | None
    stream: bool | None
    max_tokens: int | None
    repetition_penalty: float | None
    update_interval: float | None
    function_call: str | FunctionCall | dict[str, Any] | None
    functions: list[Function] | None
    function_ranker: dict[str, Any] | None
    response_format: dict[str, Any] | None
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


class ChatCompletion(Answer):
    """The whole answer of a chat."""

    __slots__ = ()
    _nested = {"choices": Choices, "usage": Usage}
    choices: list[Choices]
    created: int
    model: str
    object: str
    usage: Usage
    thread_id: str | None
    message_id: str | None


class MessagesChunk(Obj):
    """What one event of a stream adds to the message; its role comes with the first event alone."""

    __slots__ = ()
    _nested = {"function_call": FunctionCall}
    role: MessagesRole | str | None
    content: str | None
    reasoning_content: str | None
    function_call: FunctionCall | None
    functions_state_id: str | None
    name: str | None
    created: int | None


class ChoicesChunk(Obj):
    """One of the answers in an event of a stream; ``finish_reason`` comes with the last one."""

    __slots__ = ()
    _nested = {"delta": MessagesChunk}
    delta: MessagesChunk
    index: int
    finish_reason: str | None


class ChatCompletionChunk(Answer):
    """One event of a streamed chat; ``usage`` comes with the last one."""

    __slots__ = ()
    _nested = {"choices": ChoicesChunk, "usage": Usage}
    choices: list[ChoicesChunk]
    created: int
    model: str
    object: str
    usage: Usage | None
    thread_id: str | None
    message_id: str | None


class EmbeddingsUsage(Obj):
    """Tokens of one embedded text."""

    __slots__ = ()
    prompt_tokens: int


class Embedding(Obj):
    """The vector of one text, not normalised; ``index`` is its place in the request."""

    __slots__ = ()
    _nested = {"usage": EmbeddingsUsage}
    embedding: list[float]
    index: int
    object: str
    usage: EmbeddingsUsage | None


class Embeddings(Answer):
    """The vectors of all texts of a request, in its order."""

    __slots__ = ()
    _nested = {"data": Embedding}
    data: list[Embedding]
    model: str
    object: str


class Model(Answer):
    """One model; ``type`` is chat, embedder, aicheck or filter."""

    __slots__ = ()
    id: str
    object: str
    owned_by: str
    type: str | None


class Models(Answer):
    """The models that the service offers."""

    __slots__ = ()
    _nested = {"data": Model}
    data: list[Model]
    object: str


class TokensCount(Answer):
    """How many tokens and characters one text has."""

    __slots__ = ()
    tokens: int
    characters: int
    object: str


class TokensCounts(_List):
    """The counts of all texts of a request, in its order: a list, since the API answers with a bare array."""

    __slots__ = ("x_headers",)
    x_headers: dict[str, str | None] | None

    def __init__(self, counts: Any = ()) -> None:
        super().__init__(TokensCount(item) if type(item) is dict else item for item in counts)
        self.x_headers = None


class AccessToken(Answer):
    """A token; ``expires_at`` is Unix time in milliseconds. Its repr masks the token, json.dumps does not."""

    __slots__ = ()
    access_token: str
    expires_at: int | None

    def __repr__(self) -> str:
        shown: Mapping[str, Any] = {key: "***" if key == "access_token" else value for key, value in self.items()}
        return f"{type(self).__name__}({shown!r})"

    __str__ = __repr__


# From what a caller wrote to the body of a request


def chat_body(payload: Payload) -> dict[str, Any]:
    """Make a v1 request body of a question, messages, or a whole request; refuse fields that nobody knows.

    >>> chat_body("Привет")
    {'messages': [{'role': 'user', 'content': 'Привет'}]}
    """
    if isinstance(payload, str):
        return {"messages": [{"role": "user", "content": payload}]}
    if not isinstance(payload, Mapping):
        if not isinstance(payload, (list, tuple)):
            raise TypeError(f"a string, a list of messages, a dict or Chat is needed, not {type(payload).__name__}")
        payload = {"messages": list(payload)}
    if "messages" not in payload and "role" in payload:
        raise TypeError("this is one message, for it has a role: give a list of messages")
    body = dict(payload)
    more = body.pop("additional_fields", None) or {}
    if not isinstance(more, Mapping):
        raise TypeError(f"additional_fields: a dict is needed, not {type(more).__name__}")
    check_fields(body, Chat, "the request")
    if not isinstance(body.get("messages"), (list, tuple)):
        raise TypeError("the request needs messages, a list")
    for i, message in enumerate(body["messages"]):
        if not isinstance(message, Mapping):
            raise TypeError(f"messages[{i}] is no message but {type(message).__name__}")
        if message.get("role") != "assistant":  # what the service wrote goes back as it came
            check_fields(message, Messages, f"messages[{i}]")
    for i, function in enumerate(body.get("functions") or ()):
        if isinstance(function, Mapping):
            check_fields(function, Function, f"functions[{i}]")
    if isinstance(body.get("storage"), Mapping):
        check_fields(body["storage"], Storage, "storage")
    body.update(more)
    body.pop("stream", None)  # chat() and stream() say it
    return body


def check_fields(value: Mapping[str, Any], kind: type[Obj], where: str) -> None:
    """Refuse a field that the API does not have; ``additional_fields`` is for newer ones."""
    for name in value:
        if name not in kind._fields:
            advice = did_you_mean(name, kind._fields) or "; a newer field goes into additional_fields"
            raise TypeError(f"{where} has no field {name!r}{advice}")


def to_json(body: Mapping[str, Any]) -> bytes:
    """Write a body as JSON in UTF-8; halves of surrogate pairs, which UTF-8 has no room for, become U+FFFD."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"the request cannot be written as JSON: {exc}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def strings(value: str | Sequence[str], name: str) -> list[str]:
    """Take one string or several as a list.

    >>> strings("раз", "texts")
    ['раз']
    """
    texts = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name}: a string or a list of strings is needed")
    return texts


def path_id(value: str, name: str) -> str:
    """Quote an id for a path, so that it cannot lead to another address.

    >>> path_id("GigaChat:1/../x", "model")
    'GigaChat%3A1%2F..%2Fx'
    """
    if not isinstance(value, str) or value.strip() in ("", ".", "..") or re.search("[\ud800-\udfff]", value):
        raise ValueError(f"{name}: an id is needed")
    return quote(value, safe="")
