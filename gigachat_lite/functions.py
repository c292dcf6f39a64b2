"""Python callables as functions of the model: their descriptions, checks of a history, and the loop that calls them."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import json
import os
import re
import uuid
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Union

from . import models
from .config import did_you_mean
from .docstrings import read_docstring
from .exceptions import FunctionCallError, GigaChatException
from .histories import NOTHING, STATE_IDS, read
from .histories import check_history as check_history
from .models import Chat, Function, Messages, Obj, Payload, chat_body, check_fields
from .models.chat import as_request
from .models.chat_completions import as_parts
from .schemas import (
    Field,
    Mismatch,
    accepts_none,
    answer_of,
    bare,
    decode,
    describe_object,
    fields_of,
    hints_of,
    is_typed_dict,
    objects,
    text_of,
)

Given = Union[str, Mapping[str, Any], Callable[..., Any], Tuple[Mapping[str, Any], Callable[..., Any]]]
_Parameters = Mapping[str, inspect.Parameter]

BUILT_IN = ("text2image", "get_file_content", "text2model3d")  # these run on the server
ERROR_LIMIT = 500  # characters of an exception's text that the model is shown
_NAME = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")


class Run(NamedTuple):
    """What ``run_functions`` returns: the last answer, the whole history with it, and the tokens of all answers."""

    completion: models.ChatCompletion
    messages: List[Messages]
    usage: models.Usage

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return answer_of(self.completion)[0]


class ChatRun(NamedTuple):
    """What ``chat.run_functions`` returns: the same of the second version."""

    completion: models.ChatCompletionResponse
    messages: List[models.ChatMessage]
    usage: models.ChatUsage

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return answer_of(self.completion)[0]


# ---- From a callable to its description


def describe(function: Callable[..., Any], **fields: Any) -> Function:
    """Describe a Python callable as a function that the model may call.

    The parameters come from the signature and its annotations, their descriptions from the docstring; without an
    annotation the type is that of the default, or else a string. ``few_shot_examples`` and ``return_parameters`` are
    taken from attributes of that name, the latter also from the annotation where that is a dataclass or a TypedDict.
    What ``functools.partial`` has bound is no parameter. ``fields`` win over all that. TypeError for what cannot be
    described, ValueError for a name that the API refuses.
    """
    check_fields(fields, Function, "the description")
    inner, code = _insides(function)
    name = str(fields.get("name") or getattr(inner, "__name__", type(inner).__name__))
    parameters, hints = _parameters(function), hints_of(code)
    examples, returned = (getattr(function, key, None) for key in ("few_shot_examples", "return_parameters"))
    text, notes = read_docstring((inner is not code and code.__doc__) or inspect.getdoc(inner) or "", parameters)
    found = {
        "name": name,
        "description": text,
        "parameters": describe_object(_fields(parameters, hints, notes), name),
        "few_shot_examples": examples if isinstance(examples, (list, tuple)) else None,
        "return_parameters": returned if isinstance(returned, Mapping) else _describe_return(hints.get("return")),
        **fields,
    }
    description = Function({key: value for key, value in found.items() if value not in (None, "")})
    check_functions([description])
    return description


def as_functions(functions: Iterable[Given]) -> tuple[list[Mapping[str, Any]], dict[str, Callable[..., Any]]]:
    """Split functions into descriptions for a request and callables by name; all of them are checked.

    Each is a callable, a description of one's own (sent as it is), both as a pair, or the name of a built-in function.
    """
    descriptions: list[Mapping[str, Any]] = []
    callables: dict[str, Callable[..., Any]] = {}
    for i, given in enumerate(_several(functions, "functions")):
        described, function = given if isinstance(given, tuple) and len(given) == 2 else (given, given)
        if isinstance(described, str):
            described = Function(name=described)
        elif callable(described):
            described = describe(described)
        if not isinstance(described, Mapping):
            raise TypeError(f"functions[{i}]: a callable or a description is needed, not {type(described).__name__}")
        descriptions.append(described)
        if callable(function):
            hints_of(_insides(function)[1])  # what cannot be read is to fail before anything is paid for
            _parameters(function)
            callables[str(described.get("name"))] = function
    check_functions(descriptions)
    return descriptions, callables


def _several(given: Any, what: str) -> Iterable[Any]:
    """Give what is a list of functions; one alone is a slip, and would be spread into its letters or keys."""
    if isinstance(given, (str, Mapping)) or callable(given) or not isinstance(given or (), Iterable):
        raise TypeError(f"{what}: a list is needed, not {type(given).__name__}")
    return given or ()


def _insides(function: Any) -> tuple[Any, Any]:
    """Find what a callable is below ``functools.partial``, and the code of it, which has the annotations."""
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"a function is needed, not {function!r}")
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = inner if inspect.isroutine(inner) else type(inner).__call__
    if inspect.iscoroutinefunction(code) or inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(f"{getattr(code, '__qualname__', code)} has to return its result: it is async or a generator")
    return inner, code


def _parameters(function: Any) -> _Parameters:
    """List the parameters of a callable but those that a ``functools.partial`` has bound."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as exc:
        raise TypeError(f"{function!r} cannot be described: {exc}") from exc
    bound = _bound(function)
    return {name: parameter for name, parameter in parameters.items() if name not in bound}


def _bound(function: Any) -> set[str]:
    """Name what partials have bound: a key or a connection perhaps, which is no business of the model's."""
    names: set[str] = set()
    while isinstance(function, functools.partial) or hasattr(function, "__wrapped__"):
        if isinstance(function, functools.partial):
            names.update(function.keywords)
            function = function.func
        else:
            function = function.__wrapped__
    return names


def _fields(parameters: _Parameters, hints: Mapping[str, Any], notes: Mapping[str, str]) -> list[Field]:
    """List the parameters that the model can fill: not ``*args`` and ``**kwargs``, whose names nobody knows."""
    fields = []
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        known = default if isinstance(default, (bool, int, float, str, list, dict)) else ""
        hint, note, _ = bare(hints.get(name, type(known)))
        required = parameter.default is parameter.empty and not (name in hints and accepts_none(hint))
        fields.append(Field(name, hint, required, note or notes.get(name, ""), default))
    return fields


def _describe_return(hint: Any) -> dict[str, Any] | None:
    """Describe a result that has fields; the model does well without a description of any other."""
    if not (dataclasses.is_dataclass(hint) or is_typed_dict(hint)):
        return None
    try:
        return describe_object(fields_of(hint), "the result", (hint,))
    except TypeError:  # it is written as JSON all the same
        return None


# ---- Checks: what the service would refuse with 422, before it is asked


def check_functions(functions: Sequence[Mapping[str, Any]], function_call: Any = None) -> None:
    """Refuse descriptions that the service refuses, and a ``function_call`` of what is not described: ValueError."""
    names: list[str] = []
    for i, function in enumerate(functions):
        name, parameters, where = function.get("name"), function.get("parameters"), f"functions[{i}]"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{where}: {name!r} is no name for a function: Latin letters, digits (not first), _, - and . are"
            )
        if name in names:
            raise ValueError(f"{where}: there is a function {name!r} already")
        names.append(name)
        where += f" ({name})"
        if parameters is None and name not in BUILT_IN:
            raise ValueError(f"{where} needs parameters, a JSON Schema; {{}} will do")
        _check_schema(parameters or {}, where + ".parameters")
        for j, example in enumerate(function.get("few_shot_examples") or ()):
            if not (isinstance(example, Mapping) and {"request", "params"} <= set(example)):
                raise ValueError(f"{where}.few_shot_examples[{j}] needs request and params")
    forced = function_call.get("name") if isinstance(function_call, Mapping) else None
    if forced is not None and forced not in (*names, *BUILT_IN):
        raise ValueError(f"function_call: {forced!r} is not among the functions{did_you_mean(forced, names)}")


def _check_schema(schema: Any, where: str, depth: int = 0) -> None:
    """Refuse an object inside a schema that has no ``properties``, for the service does; they may be empty."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties", {}), Mapping) or depth > 100:
        raise ValueError(f"{where} is no JSON Schema")
    if depth and schema.get("type") == "object" and schema.get("properties") is None:
        raise ValueError(f"{where} is an object without properties, which the service refuses: add 'properties': {{}}")
    for name, inner in (schema.get("properties") or {}).items():
        _check_schema(inner, f"{where}.properties.{name}", depth + 1)
    if isinstance(schema.get("items"), Mapping):
        _check_schema(schema["items"], where + ".items", depth + 1)


def check_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Check the functions and the history of a request of the first version, and describe its callables."""
    functions = as_functions(body.get("functions") or ())[0]
    check_functions(functions, body.get("function_call"))
    if not body.get("storage"):  # else the service has the beginning
        check_history(body["messages"])
    return {**body, "functions": functions} if functions else dict(body)


# ---- Calling


def _bind(function: Callable[..., Any], arguments: Any) -> inspect.BoundArguments:
    """Make a call of the model's arguments, an object or a string that holds one.

    They become what the annotations say, Enums and dataclasses included; without an annotation anything fits. Null for
    a parameter that has a default and is not Optional is no argument. Mismatch where they do not fit.
    """
    if isinstance(arguments, str):
        arguments = read(arguments) if arguments.strip() else {}
    if arguments is not None and not isinstance(arguments, Mapping):
        raise Mismatch("the arguments have to be an object")
    given, bound = dict(arguments or {}), inspect.signature(function).bind_partial()
    parameters, hints = _parameters(function), hints_of(_insides(function)[1])
    fields = {field.name: field for field in _fields(parameters, hints, {})}
    for name, field in fields.items():
        nothing, value, free = name not in given, given.pop(name, None), name not in hints
        nullable = accepts_none(field.hint) or field.hint is Any or (free if field.required else field.default is None)
        if value is not None:
            bound.arguments[name] = _fit(value, field, free)
        elif field.required and (nothing or not nullable):
            raise Mismatch(f"{name} is missing")
        elif nullable and (not nothing or parameters[name].default is inspect.Parameter.empty):
            bound.arguments[name] = None
    rest = [name for name, one in parameters.items() if one.kind == one.VAR_KEYWORD]
    wrong = next((name for name in given if not rest or name in _bound(function)), None)
    if wrong is not None:
        raise Mismatch(f"there is no parameter {wrong!r}{did_you_mean(wrong, fields)}")
    if rest:
        bound.arguments[rest[0]] = given
    return bound


def _fit(value: Any, field: Field, free: bool) -> Any:
    try:
        return decode(value, field.hint, field.name)
    except TypeError:  # beside a description of one's own an annotation may be anything
        return value
    except Mismatch:
        if free:  # nobody has said what it is to be
            return value
        raise


def result_json(value: Any) -> str:
    """Write what a function returned as a JSON object, which the service wants.

    What is no object is wrapped: a text becomes ``{"result": "…"}``. A text that is a JSON object or array already is
    not written twice. TypeError or ValueError for what JSON has no room for.

    >>> result_json("солнечно"), result_json('{"t": 5}'), result_json([1, 2])
    ('{"result": "солнечно"}', '{"t": 5}', '{"result": [1, 2]}')
    """
    known = read(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else NOTHING
    text = json.dumps(value if known is NOTHING else known, ensure_ascii=False, allow_nan=False, default=_plain)
    return text if text.startswith("{") else f'{{"result": {text}}}'


def _plain(value: Any) -> Any:
    """Make plain data of one value; json.dumps comes back for what is inside."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID, os.PathLike)):
        return str(value)
    for name, options in (("model_dump", {"mode": "json"}), ("dict", {})):  # a pydantic model, of version 2 or 1
        if hasattr(value, name) and not isinstance(value, type):
            return getattr(value, name)(**options)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


# ---- The loop


def run_functions(
    send: Callable[..., Any],
    payload: Any,
    functions: Iterable[Given] = (),
    max_rounds: int = 5,
    on_error: str = "tell",
    version: int = 1,
    **options: Any,
) -> Any:
    """Ask, call the Python functions that the model wants called, and go on until it answers in words.

    The functions are those of the request and these. ``max_rounds`` bounds the rounds of calls, so that there are at
    most ``max_rounds + 1`` paid requests. An exception of a function, or arguments that do not fit, are told to the
    model as ``{"error": …}``, text of the exception included; with ``on_error="raise"`` they are raised as they are,
    wrong arguments as FunctionCallError. A function that is not there and rounds that are used up are
    FunctionCallErrors anyway. What ends the loop early keeps the history: ``.messages`` of every GigaChatException.
    A forced ``function_call`` holds for the first request. ``send`` is ``chat`` or, for version 2,
    ``chat.create``; ``options`` go to every request.
    """
    if on_error not in ("tell", "raise") or version not in (1, 2):
        raise ValueError('on_error is "tell" or "raise", version is 1 or 2')
    if not isinstance(max_rounds, int) or max_rounds < 0:
        raise ValueError(f"max_rounds is a whole number, 0 or more, not {max_rounds!r}")
    talk = _TALKS[version](send, payload, functions)
    for left in range(max_rounds, -1, -1):
        completion, calls = talk.ask(options)
        _add(talk.usage, completion.get("usage"))
        if not calls:
            return talk.end(completion, talk.messages, talk.usage)
        if not left:
            what = f"after {max_rounds} rounds of calls the model still wants {calls[0].get('name')!r} called"
            raise FunctionCallError(what, talk.messages, completion, calls[0])
        for call in calls:
            if call.get("name") not in list(talk.callables):  # which nothing has to be hashed for
                there = ", ".join(talk.callables) or "none"
                what = f"the model wants {call.get('name')!r} called, and the Python functions are: {there}"
                raise FunctionCallError(what, talk.messages, completion, call)
        talk.add_results([(call, _result(talk, call, completion, on_error)) for call in calls])
    raise AssertionError("the last round returns or raises")


def _result(talk: _Talk, call: Mapping[str, Any], completion: Any, on_error: str) -> str:
    """Call a function and write its result, or what went wrong, as a JSON object."""
    function, name = talk.callables[call["name"]], call["name"]
    try:
        bound = _bind(function, call.get("arguments"))
    except Mismatch as exc:
        if on_error == "raise":
            what = f"the arguments of {name!r} do not fit: {exc}"
            raise FunctionCallError(what, talk.messages, completion, call) from exc
        return result_json({"error": f"wrong arguments: {exc}"})
    try:
        return result_json(function(*bound.args, **bound.kwargs))
    except Exception as exc:
        if on_error == "raise":
            raise
        return result_json({"error": _describe_error(exc)[:ERROR_LIMIT]})


def _describe_error(exc: Exception) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # it cannot be written itself
        return type(exc).__name__


def _add(total: dict[str, Any], more: Any) -> None:
    """Add up usage, nested details included; what changes its form on the way is left as it was."""
    for name, value in more.items() if isinstance(more, Mapping) else ():
        known = total.get(name)
        if isinstance(value, Mapping) and isinstance(known, (dict, type(None))):
            _add(total.setdefault(name, {}), value)
        elif isinstance(value, (int, float)) and isinstance(known, (int, float, type(None))):
            total[name] = (known or 0) + value


class _Talk:
    """A dialogue with functions, in the form of the first version of the API."""

    end: Any = Run
    kind: type[Obj] = Messages

    def __init__(self, send: Callable[..., Any], payload: Payload, functions: Iterable[Given]) -> None:
        self.send = send
        self.usage: Obj = models.Usage()
        self.body, given = self.open(payload)
        descriptions, self.callables = as_functions([*given, *_several(functions, "functions")])
        self.describe(descriptions)
        self.messages: list[Any] = [self.kind(message) for message in self.body["messages"]]
        if not self.body.get("storage") and not self.body.get("assistant_id"):  # else the service has the beginning
            check_history(self.messages)

    def open(self, payload: Payload) -> tuple[dict[str, Any], Iterable[Given]]:
        """Make a body of the payload, and take out the functions that it brings."""
        body, more = as_request(payload, Chat)
        body = chat_body(body)
        given = _several(body.pop("functions", None), "functions")
        return ({**body, "additional_fields": more} if more else body), given

    def describe(self, descriptions: list[Mapping[str, Any]]) -> None:
        """Put the descriptions into the body, and let the model choose where the caller did not say."""
        check_functions(descriptions, self.body.get("function_call"))
        if descriptions:
            self.body["functions"] = descriptions
            self.body.setdefault("function_call", "auto")

    def ask(self, options: Mapping[str, Any]) -> tuple[Any, list[Mapping[str, Any]]]:
        """Send the dialogue; add the answer to it and list the calls that it holds."""
        try:
            completion = self.send({**self.body, "messages": self.messages}, **options)
        except GigaChatException as error:
            error.messages = self.messages  # rounds that were paid for
            raise
        calls, reason = self.read(completion), answer_of(completion)[1]
        unread = not calls and reason in ("error", "function_call", "function_call_error")
        if unread or not all(isinstance(call, Mapping) for call in calls):
            raise FunctionCallError("the model made a call that the service could not read", self.messages, completion)
        self.loosen()
        return completion, calls

    def loosen(self) -> None:
        """Leave the next choice to the model: a call forced again and again would never end."""
        if isinstance(self.body.get("function_call"), Mapping):
            self.body["function_call"] = "auto"

    def read(self, completion: Mapping[str, Any]) -> list[Any]:
        """Add the message of an answer to the dialogue, its state id included."""
        choices = objects(completion.get("choices"))
        answer = (choices[0].get("message") or {}) if choices else None
        if not isinstance(answer, Mapping):
            raise FunctionCallError("the answer has no choices", self.messages, completion)
        message = Messages({**answer, "role": answer.get("role") or "assistant"})
        if not isinstance(message.get("content"), str):
            message["content"] = text_of(message)
        self.messages.append(message)
        return [message["function_call"]] if message.get("function_call") else []

    def add_results(self, results: list[tuple[Mapping[str, Any], str]]) -> None:
        """Add the results of calls."""
        self.messages += [Messages(role="function", name=call["name"], content=text) for call, text in results]


class _Talk2(_Talk):
    """The same in the form of the second version: content in parts, calls and results among them."""

    end, kind = ChatRun, models.ChatMessage
    state: str | None = None

    def __init__(self, send: Callable[..., Any], payload: Any, functions: Iterable[Given]) -> None:
        super().__init__(send, payload, functions)
        self.usage = models.ChatUsage()

    def open(self, payload: Any) -> tuple[dict[str, Any], Iterable[Given]]:
        body, more = as_request(payload, models.ChatCompletionRequest)
        body["messages"] = [
            {**message, "content": as_parts(message["content"])} if "content" in message else message
            for message in body["messages"]
        ]
        given, tools = [], []  # type: list[Given], list[Any]
        for tool in _several(body.pop("tools", None), "tools"):
            if isinstance(tool, Mapping) and isinstance(tool.get("functions"), Mapping):
                given += _several(tool["functions"].get("specifications"), "specifications")
            else:
                tools.append(tool)
        return {**body, "tools": tools, **({"additional_fields": more} if more else {})}, given

    def describe(self, descriptions: list[Mapping[str, Any]]) -> None:
        config = self.body.get("tool_config")
        forced = config.get("function_name") if isinstance(config, Mapping) else None
        check_functions(descriptions, None if forced is None else {"name": forced})
        if descriptions:
            self.body["tools"].append({"functions": {"specifications": descriptions}})
        if not self.body["tools"]:
            del self.body["tools"]

    def loosen(self) -> None:
        config = self.body.get("tool_config")
        if isinstance(config, Mapping) and config.get("mode") == "forced":
            self.body["tool_config"] = {"mode": "auto"}

    def read(self, completion: Mapping[str, Any]) -> list[Any]:
        """Add the messages of an answer, with the parts and under the name of the state id that a request may have."""
        calls, messages = [], objects(completion.get("messages"))
        if not messages and not completion.get("finish_reason"):
            raise FunctionCallError("the answer has no messages", self.messages, completion)
        for message in messages:
            parts = _known_parts(message)
            if message.get("role") not in ("assistant", None) or not parts:
                continue
            states = [holder[name] for holder in (message, completion) for name in STATE_IDS if holder.get(name)]
            self.state = states[0] if states else None
            self.messages.append(self.kind({"role": "assistant", "content": parts, **self.state_id()}))
            calls += [part["function_call"] for part in parts if "function_call" in part]
            for part in parts:
                if isinstance(part.get("function_call"), Mapping):
                    part["function_call"] = _with_object(part["function_call"])
        return calls

    def state_id(self) -> dict[str, str]:
        """Give the id of the last answer, under its name in requests."""
        return {"tools_state_id": self.state} if self.state else {}

    def add_results(self, results: list[tuple[Mapping[str, Any], str]]) -> None:
        parts = [{"function_result": {"name": call["name"], "result": json.loads(text)}} for call, text in results]
        self.messages.append(self.kind({"role": "tool", "content": parts, **self.state_id()}))


def _known_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take from a message what a request may have; a call may stand beside the content."""
    known, content = ("text", "files", "function_call"), as_parts(message.get("content"))
    parts = [{name: part[name] for name in known if part.get(name) is not None} for part in objects(content)]
    if message.get("function_call") and not any("function_call" in part for part in parts):
        parts.append({"function_call": message["function_call"]})
    return [part for part in parts if part]


def _with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    """Give a call the object that its arguments have to be in a request; answers may have null or a string of JSON."""
    arguments = call.get("arguments")
    arguments = read(arguments) if isinstance(arguments, str) else arguments
    return {**call, "arguments": arguments if isinstance(arguments, Mapping) else {}}


_TALKS = {1: _Talk, 2: _Talk2}
