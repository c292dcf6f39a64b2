"""Python functions for the model: their descriptions, their results as JSON, and the loop that calls them."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import json
import math
import os
import uuid
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Tuple, Union

from . import models
from .config import did_you_mean
from .docstrings import read_docstring
from .exceptions import FunctionCallError, GigaChatException
from .fields import check_fields
from .histories import check_history
from .json_text import decode_json
from .models import Chat, Function, Messages, Obj, Payload
from .models.chat_completions import as_parts
from .payload import as_request
from .schemas import Field, Mismatch, accepts_none, decode, describe_object, hints_of, unwrap

Given = Union[str, Mapping[str, Any], Callable[..., Any], Tuple[Mapping[str, Any], Callable[..., Any]]]

MAX_ERROR_TEXT = 500  # characters of an exception that the model is told


class Run(NamedTuple):
    """What ``run_functions`` returns: the last answer, the whole history with it, and the tokens of all answers."""

    completion: models.ChatCompletion
    messages: List[Messages]
    usage: models.Usage

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.completion.text


class ChatRun(NamedTuple):
    """What ``chat.run_functions`` returns: the same of v2."""

    completion: models.ChatCompletionResponse
    messages: List[models.ChatMessage]
    usage: models.ChatUsage

    @property
    def text(self) -> str:
        """The text of the last answer."""
        return self.completion.text


# Descriptions


def describe(function: Callable[..., Any], **fields: Any) -> Function:
    """Describe a Python callable as a function that the model may call.

    The parameters come from the signature and its annotations, their descriptions from the docstring; without an
    annotation the type is that of the default, or else a string. ``few_shot_examples`` and ``return_parameters`` are
    taken from attributes of that name. What ``functools.partial`` has bound is no parameter. ``fields`` win over all
    that. TypeError for what cannot be described.
    """
    check_fields(fields, Function, "the description")
    inner, code = _unwrap_callable(function)
    name = str(fields.get("name") or getattr(inner, "__name__", type(inner).__name__))
    parameters, hints = _parameters(function), hints_of(code)
    text, notes = read_docstring((inner is not code and code.__doc__) or inspect.getdoc(inner) or "", parameters)
    examples, returned = (getattr(function, key, None) for key in ("few_shot_examples", "return_parameters"))
    found = {
        "name": name,
        "description": text,
        "parameters": describe_object(_fields(parameters, hints, notes), name),
        "few_shot_examples": examples if isinstance(examples, (list, tuple)) else None,
        "return_parameters": returned if isinstance(returned, Mapping) else None,
        **fields,
    }
    return Function({key: value for key, value in found.items() if value not in (None, "")})


def as_functions(functions: Any) -> tuple[list[Mapping[str, Any]], dict[str, Callable[..., Any]]]:
    """Split functions into descriptions for a request and callables by name.

    Each is a callable, a description of one's own (sent as it is), both as a pair, or the name of a built-in function.
    """
    descriptions: list[Mapping[str, Any]] = []
    callables: dict[str, Callable[..., Any]] = {}
    for i, given in enumerate(_check_list(functions, "functions")):
        description, function = given if isinstance(given, tuple) and len(given) == 2 else (given, given)
        if isinstance(description, str):
            description = Function(name=description)
        elif callable(description):
            description = describe(description)
        if not isinstance(description, Mapping):
            raise TypeError(f"functions[{i}]: a callable or a description is needed, not {type(description).__name__}")
        name = description.get("name")
        if any(name == other.get("name") for other in descriptions):
            raise ValueError(f"functions[{i}]: there is a function {name!r} already")
        descriptions.append(description)
        if callable(function):
            hints_of(_unwrap_callable(function)[1])  # what cannot be called is to fail before anything is paid for
            _parameters(function)
            callables[str(name)] = function
    return descriptions, callables


def prepare_request(body: dict[str, Any]) -> dict[str, Any]:
    """Describe the Python functions in a request of either version, and check its history."""
    if not _continues(body):
        check_history(body["messages"])
    if body.get("functions"):
        body = {**body, "functions": as_functions(body["functions"])[0]}
    tools = list(body.get("tools") or ())
    for i, tool in enumerate(tools):
        held = tool.get("functions") if isinstance(tool, Mapping) else None
        if isinstance(held, Mapping) and held.get("specifications"):
            tools[i] = {**tool, "functions": {**held, "specifications": as_functions(held["specifications"])[0]}}
    return {**body, "tools": tools} if tools else body


def _continues(body: Mapping[str, Any]) -> bool:
    """Tell whether the service has the beginning of the dialogue."""
    return bool(body.get("storage") or body.get("assistant_id"))


def _check_list(given: Any, what: str) -> Iterable[Any]:
    """Return a list of functions; one alone would be taken apart into its letters or keys."""
    if isinstance(given, (str, Mapping)) or callable(given) or not isinstance(given or (), Iterable):
        raise TypeError(f"{what}: a list is needed, not {type(given).__name__}")
    return given or ()


def _unwrap_callable(function: Any) -> tuple[Any, Any]:
    """Return what a callable is below ``functools.partial``, and the code of it, which has the annotations."""
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"a function is needed, not {function!r}")
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = inner if inspect.isroutine(inner) else type(inner).__call__
    if inspect.iscoroutinefunction(code) or inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise TypeError(f"{getattr(code, '__qualname__', code)} has to return its result: it is async or a generator")
    return inner, code


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """List the parameters of a callable but those that a ``functools.partial`` has bound."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as exc:
        raise TypeError(f"{function!r} cannot be described: {exc}") from exc
    bound = _bound_names(function)
    return {name: parameter for name, parameter in parameters.items() if name not in bound}


def _bound_names(function: Any) -> set[str]:
    """List the names that partials have bound: a key or a connection perhaps, which the model is not to see."""
    names: set[str] = set()
    while isinstance(function, functools.partial) or hasattr(function, "__wrapped__"):
        if isinstance(function, functools.partial):
            names.update(function.keywords)
            function = function.func
        else:
            function = function.__wrapped__
    return names


def _fields(
    parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any], notes: Mapping[str, str]
) -> list[Field]:
    """List the parameters that the model can fill: not ``*args`` and ``**kwargs``, whose names are unknown."""
    fields = []
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        kind = type(default) if isinstance(default, (bool, int, float, str, list, dict)) else str
        hint, note, _ = unwrap(hints.get(name, kind))
        required = required and not (name in hints and accepts_none(hint))
        fields.append(Field(name, hint, required, note or notes.get(name, ""), default))
    return fields


# Calls


def _bind(function: Callable[..., Any], arguments: Any) -> Callable[[], Any]:
    """Bind the model's arguments, an object or a string with one; Mismatch where they do not fit.

    They become what the annotations say; without an annotation anything fits. Null for a parameter that has a default
    and is not Optional is no argument.
    """
    given = _read_arguments(arguments)
    if given is None:
        raise Mismatch("the arguments have to be an object")
    bound = inspect.signature(function).bind_partial()
    parameters, hints = _parameters(function), hints_of(_unwrap_callable(function)[1])
    fields = _fields(parameters, hints, {})
    for field in fields:
        name, absent, value = field.name, field.name not in given, given.pop(field.name, None)
        takes_none = accepts_none(field.hint) or field.hint is Any or (name not in hints and field.required)
        if value is not None:
            bound.arguments[name] = _decode_argument(value, field, name in hints)
        elif field.required and (absent or not takes_none):
            raise Mismatch(f"{name} is missing")
        elif takes_none and (not absent or parameters[name].default is inspect.Parameter.empty):
            bound.arguments[name] = None
    rest = [name for name, parameter in parameters.items() if parameter.kind == parameter.VAR_KEYWORD]
    for name in given:
        if not rest or name in _bound_names(function):
            raise Mismatch(f"there is no parameter {name!r}{did_you_mean(name, [field.name for field in fields])}")
    if rest:
        bound.arguments[rest[0]] = given
    return functools.partial(function, *bound.args, **bound.kwargs)


def _read_arguments(arguments: Any) -> dict[str, Any] | None:
    """Copy the arguments of a call, which may be null or JSON in a string; None where they are no object."""
    if isinstance(arguments, str):
        arguments = _decode_or_keep(arguments.strip() or "{}")
    arguments = {} if arguments is None else arguments
    return dict(arguments) if isinstance(arguments, Mapping) else None


def _decode_or_keep(text: str) -> Any:
    try:
        return decode_json(text)
    except (ValueError, RecursionError):
        return text


def _decode_argument(value: Any, field: Field, annotated: bool) -> Any:
    try:
        return decode(value, field.hint, field.name)
    except TypeError:  # beside a description of one's own an annotation may be anything
        return value
    except Mismatch:
        if annotated:
            raise
        return value


def result_json(value: Any) -> str:
    """Write what a function returned as a JSON object, which the service wants; TypeError for what cannot be JSON.

    What is no object is wrapped: a text becomes ``{"result": "…"}``. A text that is a JSON object or array already is
    not written twice.

    >>> result_json("солнечно"), result_json('{"t": 5}'), result_json([1, 2])
    ('{"result": "солнечно"}', '{"t": 5}', '{"result": [1, 2]}')
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = _decode_or_keep(value)
    text = json.dumps(plain_data(value), ensure_ascii=False)
    return text if text.startswith("{") else f'{{"result": {text}}}'


# Methods that make plain data of what other libraries have: pydantic 2 and 1, pandas, numpy.
_CONVERSIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model_dump", {"mode": "json"}), ("dict", {}), ("to_dict", {}), ("tolist", {}), ("item", {}),
)


def plain_data(value: Any) -> Any:
    """Make dicts, lists, strings and numbers of a value: of dataclasses, sets, dates, numpy's and pandas' types.

    What is missing (NaN, NaT, pandas.NA) is None; bytes are their text in UTF-8. TypeError for what has no obvious
    form in JSON.
    """
    if isinstance(value, enum.Enum):
        return plain_data(value.value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (float, datetime.date, datetime.time)) or type(value).__name__ == "NAType":
        return _plain_scalar(value)
    if isinstance(value, Mapping):
        return {_plain_key(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_data(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (decimal.Decimal, uuid.UUID, os.PathLike)):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return _convert(value)


def _plain_scalar(value: Any) -> Any:
    if type(value).__name__ == "NAType" or value != value:
        return None
    if not isinstance(value, float):
        return value.isoformat()
    if math.isinf(value):
        raise TypeError("JSON has no infinite numbers")
    return value


def _plain_key(key: Any) -> Any:
    key = plain_data(key)
    if isinstance(key, (dict, list)):
        raise TypeError("JSON has no such keys")
    return key


def _convert(value: Any) -> Any:
    """Make plain data of an object of another library by a method of its own."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m") and not hasattr(value, "to_numpy"):  # numpy's dates: in nanoseconds they would become ints
        value = value.astype(kind + "8[us]")
    for name, options in _CONVERSIONS:
        if hasattr(value, name) and not isinstance(value, type):
            return plain_data(getattr(value, name)(**options))
    raise TypeError(f"{type(value).__name__} has no form in JSON")


# The loop


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

    The functions are those of the request and these. There are at most ``max_rounds`` rounds of calls, and so at most
    ``max_rounds + 1`` paid requests. An exception of a function, or arguments that do not fit, are told to the model
    as ``{"error": …}``, text of the exception included; with ``on_error="raise"`` they are raised as they are, wrong
    arguments as FunctionCallError. A function that is not there and rounds that are used up are FunctionCallErrors
    anyway, and a result that cannot be JSON is a TypeError. What ends the loop early keeps the history: ``.messages``
    of every GigaChatException and of that TypeError. A forced ``function_call`` holds for the first request. ``send``
    is ``chat`` or, for version 2, ``chat.create``; ``options`` go to every request.
    """
    if on_error not in ("tell", "raise"):
        raise ValueError(f'on_error is "tell" or "raise", not {on_error!r}')
    if not isinstance(max_rounds, int) or max_rounds < 0:
        raise ValueError(f"max_rounds is a whole number, 0 or more, not {max_rounds!r}")
    dialogue = (Dialogue if version == 1 else DialogueV2)(payload, functions)
    rounds = 0
    while True:
        completion, calls = dialogue.ask(send, options)
        if not calls:
            return dialogue.run_type(completion, dialogue.messages, dialogue.usage)
        if rounds == max_rounds:
            what = f"after {max_rounds} rounds of calls the model still wants {calls[0].get('name')!r} called"
            raise FunctionCallError(what, dialogue.messages, completion, calls[0])
        for call in calls:
            if str(call.get("name")) not in dialogue.callables:
                there = ", ".join(dialogue.callables) or "none"
                what = f"the model wants {call.get('name')!r} called, and the Python functions are: {there}"
                raise FunctionCallError(what, dialogue.messages, completion, call)
        dialogue.add_results([(call, _result(dialogue, call, completion, on_error)) for call in calls])
        rounds += 1


def _result(dialogue: Dialogue, call: Mapping[str, Any], completion: Any, on_error: str) -> str:
    """Call a function and write its result, or what went wrong, as a JSON object."""
    name = call["name"]
    try:
        bound = _bind(dialogue.callables[name], call.get("arguments"))
    except Mismatch as exc:
        if on_error == "raise":
            what = f"the arguments of {name!r} do not fit: {exc}"
            raise FunctionCallError(what, dialogue.messages, completion, call) from exc
        return result_json({"error": f"wrong arguments: {exc}"})
    try:
        result = bound()
    except Exception as exc:
        if on_error == "raise":
            raise
        return result_json({"error": f"{type(exc).__name__}: {exc}"[:MAX_ERROR_TEXT]})
    try:
        return result_json(result)
    except (TypeError, ValueError, RecursionError) as exc:
        error = TypeError(f"the result of {name!r} cannot be written as JSON: {exc}")
        error.messages = dialogue.messages  # type: ignore[attr-defined] # which were paid for
        raise error from exc


def _add(total: dict[str, Any], more: Any) -> None:
    """Add up usage, nested details included; what is no number is left out."""
    for name, value in more.items() if isinstance(more, Mapping) else ():
        known = total.get(name)
        if isinstance(value, Mapping) and isinstance(known, (dict, type(None))):
            _add(total.setdefault(name, {}), value)
        elif isinstance(value, (int, float)) and isinstance(known, (int, float, type(None))):
            total[name] = (known or 0) + value


class Dialogue:
    """A request of v1 that grows by the answers and by the results of the calls in them."""

    run_type: Any = Run
    request_type: type[Obj] = Chat

    def __init__(self, payload: Payload, functions: Iterable[Given]) -> None:
        self.body, more = as_request(payload, self.request_type)
        if more:
            self.body["additional_fields"] = more
        self.usage: Obj = models.Usage()
        given = self.take_functions()
        descriptions, self.callables = as_functions([*given, *_check_list(functions, "functions")])
        self.put_functions(descriptions)
        self.messages: list[Any] = [self.message(message) for message in self.body["messages"]]
        if not _continues(self.body):
            check_history(self.messages)

    def message(self, fields: Mapping[str, Any]) -> Obj:
        """Make a message of what the caller gave."""
        return Messages(fields)

    def take_functions(self) -> Iterable[Given]:
        """Take the functions out of the request."""
        return _check_list(self.body.pop("functions", None), "functions")

    def put_functions(self, descriptions: list[Mapping[str, Any]]) -> None:
        """Put the descriptions into the request, and let the model choose where the caller did not say."""
        if descriptions:
            self.body["functions"] = descriptions
            self.body.setdefault("function_call", "auto")

    def ask(self, send: Callable[..., Any], options: Mapping[str, Any]) -> tuple[Any, list[Mapping[str, Any]]]:
        """Send the request, add the answer to it, and return the answer and the calls in it."""
        try:
            completion = send({**self.body, "messages": self.messages}, **options)
        except GigaChatException as error:
            error.messages = self.messages  # which were paid for
            raise
        _add(self.usage, completion.get("usage"))
        calls, reason = self.add_answer(completion), completion.finish_reason
        unread = not calls and reason in ("error", "function_call", "function_call_error")
        if unread or not all(isinstance(call, Mapping) for call in calls):
            raise FunctionCallError("the model made a call that the service could not read", self.messages, completion)
        self.stop_forcing()
        return completion, calls

    def stop_forcing(self) -> None:
        """Leave the next choice to the model: a call forced again and again would never end."""
        if isinstance(self.body.get("function_call"), Mapping):
            self.body["function_call"] = "auto"

    def add_answer(self, completion: Any) -> list[Any]:
        """Add the message of an answer, its state id included, and return its calls."""
        try:
            answer = completion["choices"][0]["message"] or {}
            message = Messages({**answer, "role": answer.get("role") or "assistant"})
        except (AttributeError, TypeError, LookupError):
            raise FunctionCallError("the answer has no choices", self.messages, completion) from None
        if not isinstance(message.get("content"), str):
            message["content"] = ""
        self.messages.append(message)
        return [message["function_call"]] if message.get("function_call") else []

    def add_results(self, results: list[tuple[Mapping[str, Any], str]]) -> None:
        """Add the results of calls."""
        self.messages += [Messages(role="function", name=call["name"], content=text) for call, text in results]


class DialogueV2(Dialogue):
    """The same of v2, where calls and results are parts of messages."""

    run_type, request_type = ChatRun, models.ChatCompletionRequest

    def __init__(self, payload: Any, functions: Iterable[Given]) -> None:
        super().__init__(payload, functions)
        self.usage = models.ChatUsage()
        self.state: dict[str, str] = {}  # the id of the last answer, under its name in requests

    def message(self, fields: Mapping[str, Any]) -> Obj:
        return models.ChatMessage(**fields)

    def take_functions(self) -> Iterable[Given]:
        given, tools = [], []  # type: list[Given], list[Any]
        for tool in _check_list(self.body.get("tools"), "tools"):
            if isinstance(tool, Mapping) and isinstance(tool.get("functions"), Mapping):
                given += _check_list(tool["functions"].get("specifications"), "specifications")
            else:
                tools.append(tool)
        self.body["tools"] = tools
        return given

    def put_functions(self, descriptions: list[Mapping[str, Any]]) -> None:
        if descriptions:
            self.body["tools"].append({"functions": {"specifications": descriptions}})
        if not self.body["tools"]:
            del self.body["tools"]

    def stop_forcing(self) -> None:
        if (self.body.get("tool_config") or {}).get("mode") == "forced":
            self.body["tool_config"] = {"mode": "auto"}

    def add_answer(self, completion: Any) -> list[Any]:
        messages, state, calls = completion.get("messages"), completion.tools_state_id, []
        messages = [one for one in messages if isinstance(one, Mapping)] if isinstance(messages, list) else []
        if not messages and not completion.finish_reason:
            raise FunctionCallError("the answer has no messages", self.messages, completion)
        self.state = {"tools_state_id": state} if state else {}
        for message in messages:
            parts = _request_parts(message) if message.get("role") in ("assistant", None) else []
            calls += [part["function_call"] for part in parts if "function_call" in part]
            if parts:
                content = [_with_object(part) for part in parts]
                self.messages.append(models.ChatMessage({"role": "assistant", "content": content, **self.state}))
        return calls

    def add_results(self, results: list[tuple[Mapping[str, Any], str]]) -> None:
        parts = [{"function_result": {"name": call["name"], "result": json.loads(text)}} for call, text in results]
        self.messages.append(models.ChatMessage({"role": "tool", "content": parts, **self.state}))


def _request_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take from an answer's message the parts that a request may have; a call may stand beside the content."""
    content, beside = as_parts(message.get("content")), message.get("function_call")
    found = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    if beside and not any("function_call" in part for part in found):
        found.append({"function_call": beside})
    names = ("text", "files", "function_call")
    parts = [{name: part[name] for name in names if part.get(name) is not None} for part in found]
    return [part for part in parts if part]


def _with_object(part: dict[str, Any]) -> dict[str, Any]:
    """Give a call the object that its arguments are in a request; answers may have null or a string."""
    call = part.get("function_call")
    if not isinstance(call, Mapping):
        return part
    return {**part, "function_call": {**call, "arguments": _read_arguments(call.get("arguments")) or {}}}
