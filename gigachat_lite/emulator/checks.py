"""Balance, checks of texts and descriptions, and functions from an OpenAPI document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable

from .rules import (
    FUNCTION_NAME,
    SCOPES,
    anything,
    check_shape,
    find_model,
    invalid,
    of,
    parse_object,
    quote,
    read_object,
    record,
)
from .wire import Answer, Request, dumps, refuse
from .words import count_tokens, listing, mapping

if TYPE_CHECKING:
    from .service import Service

RULES = "1.0.5"  # version of what descriptions of functions are held against
MIN_WORDS = 20  # of a text that is to be judged
MAX_PARTS = 100_000  # of an OpenAPI document with its references followed
LONG = 12  # words; so long a sentence passes for a machine's here
METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
_CHECK = {strict: record({"input": of(str), "model": anything}, "input", strict=strict) for strict in (True, False)}


class Checks:
    """Answer what is asked about an account, a text or a description."""

    def __init__(self, service: Service) -> None:
        """Serve for a service, whose scope and strictness count."""
        self._service = service
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "balance", self._balance),
            ("POST", "ai/check", self._check_text),
            ("POST", "functions/validate", self._validate),
            ("POST", "functions/convert", self._convert),
        ]

    def _balance(self, request: Request) -> Answer:
        """Tell what is left, to who pays in advance."""
        if self._service.strict and self._service.scope == SCOPES[2]:
            raise refuse(403, "Permission denied")
        left = [{"usage": "GigaChat", "value": 900000}, {"usage": "embeddings", "value": 9999967}]
        return Answer(body=dumps({"balance": left}))

    def _check_text(self, request: Request) -> Answer:
        """Judge a text, for companies that pay for what they use; that it is too short has words of its own here."""
        if self._service.strict and self._service.scope != SCOPES[2]:
            raise refuse(403, "Permission denied")
        body = read_object(request)
        _CHECK[self._service.strict](body, "")
        model = find_model(body.get("model"), "aicheck")["id"]
        if self._service.strict and len(body["input"].split()) < MIN_WORDS:
            raise invalid(f"input must have at least {MIN_WORDS} words")
        return Answer(body=dumps(judge(body["input"], model == "GigaCheckDetection")))

    def _validate(self, request: Request) -> Answer:
        return Answer(body=dumps(validate(read_object(request))))

    def _convert(self, request: Request) -> Answer:
        return Answer(body=dumps({"functions": convert(parse_object(request.raw))}))


def judge(text: str, detect: bool) -> dict[str, Any]:
    """Tell what a machine wrote: long sentences, for want of a better sign; only detection finds a mixture.

    >>> judge("Коротко. Ясно.", True)
    {'category': 'human', 'characters': 14, 'tokens': 5, 'ai_intervals': []}
    """
    intervals: list[list[int]] = []
    kinds = set()
    for match in re.finditer(r"[^.!?…]+[.!?…]*", text):
        kinds.add(len(match.group().split()) >= LONG)
        if len(match.group().split()) >= LONG:
            start = match.start() + len(match.group()) - len(match.group().lstrip()) + 1
            joined = intervals and start - intervals[-1][1] <= 2
            intervals[-1:] = [[intervals[-1][0], match.end()]] if joined else [*intervals[-1:], [start, match.end()]]
    covered = sum(end - start for start, end in intervals)
    category = "mixed" if detect and len(kinds) > 1 else "ai" if 2 * covered > len(text) else "human"
    return {
        "category": category, "characters": len(text), "tokens": count_tokens(text),
        "ai_intervals": intervals if category == "mixed" else []}


# ---- Descriptions of functions


_TYPES = {
    "name": ("string", str), "description": ("string", str), "parameters": ("object", dict),
    "return_parameters": ("object", dict), "few_shot_examples": ("array", list)}


def validate(function: dict[str, Any]) -> dict[str, Any]:
    """Tell what is wrong with a description; of the words only those for a missing name or example are known."""
    errors = [_fault(f"{name} is required") for name in ("name", "parameters") if function.get(name) is None]
    for name, (kind, expected) in _TYPES.items():
        if function.get(name) is not None and not isinstance(function[name], expected):
            errors.append(_fault(f"Invalid type. Expected: {kind}", name))
    own = function.get("name")
    if isinstance(own, str) and not FUNCTION_NAME.fullmatch(own):
        errors.append(_fault(f"Invalid function name {quote(own)}", "name"))
    errors += [_fault(f"{key} is required", f"{where}.{key}") for where, key in _find_gaps(function)]
    told = {"status": 200, "message": "Incorrect function syntax" if errors else "Function is valid"}
    found = "errors" if errors else "warnings"
    faults = errors or [_fault(f"{name} are missing") for name in ("few_shot_examples", "return_parameters")
                        if not function.get(name)]
    return {**told, "json_ai_rules_version": RULES, **({found: faults} if faults else {})}


def _fault(description: str, where: str = "(root)") -> dict[str, str]:
    return {"description": description, "schema_location": where}


def _find_gaps(function: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where an object of the parameters has no properties."""
    gaps, waiting = [], [("parameters", mapping(function.get("parameters")))]
    while waiting:
        where, schema = waiting.pop()
        if where != "parameters" and schema.get("type") == "object" and schema.get("properties") is None:
            gaps.append((where, "properties"))
        waiting += [(f"{where}.{name}", mapping(inner)) for name, inner in mapping(schema.get("properties")).items()]
    return gaps


# ---- Functions from OpenAPI


def convert(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a function for each operation of an OpenAPI document, in JSON; the errors' words are not known."""
    check_shape(type(document.get("paths")) is dict)
    found, left = [], [MAX_PARTS]
    for path, item in document["paths"].items():
        shared = listing(mapping(item).get("parameters"))
        for method in METHODS:
            operation = mapping(item).get(method)
            if isinstance(operation, dict):
                found.append(_convert_operation(f"{method}_{path}", operation, shared, document, left))
    return found


def _convert_operation(
    place: str, operation: dict[str, Any], shared: list[Any], document: dict[str, Any], left: list[int],
) -> dict[str, Any]:
    """Return the function of one operation: its parameters are those of path, query and body together."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for given in shared + listing(operation.get("parameters")):
        parameter = _resolve(given, document, left)
        name = parameter.get("name")
        if isinstance(name, str):
            described = {"description": parameter["description"]} if parameter.get("description") else {}
            properties[name] = {**described, **mapping(parameter.get("schema"))}
            required += [name] if parameter.get("required") is True and name not in required else []
    body = _find_schema(_resolve(operation.get("requestBody"), document, left))
    properties.update(mapping(body.get("properties")))
    required += [name for name in listing(body.get("required")) if isinstance(name, str) and name not in required]
    parameters: dict[str, Any] = {"type": "object", "properties": dict(sorted(properties.items()))}
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", str(operation.get("operationId") or place)).strip("_")
    function = {
        "name": re.sub("^(?=[0-9])|^$", "_", name),
        "description": str(operation.get("description") or operation.get("summary") or ""),
        "parameters": {**parameters, "required": required} if required else parameters}
    responses = mapping(operation.get("responses"))
    good = next((responses[key] for key in ("200", "201", "202", "2XX", "default") if key in responses), None)
    result = _find_schema(_resolve(good, document, left))
    return {**function, "return_parameters": result} if result else function


def _find_schema(part: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body, of JSON if it can be."""
    content = mapping(part.get("content"))
    kinds = sorted(content, key=lambda kind: "json" not in kind)
    return mapping(mapping(content[kinds[0]]).get("schema")) if kinds else {}


def _resolve(value: Any, document: dict[str, Any], left: list[int]) -> dict[str, Any]:
    """Return a part of a document with its references followed, up to what is sensible."""
    return mapping(_follow(value, document, left, ()))


def _follow(value: Any, document: dict[str, Any], left: list[int], seen: tuple[str, ...]) -> Any:
    left[0] -= 1
    if isinstance(value, list):
        return [_follow(item, document, left, seen) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("$ref")
    if isinstance(name, str):
        target: Any = document
        for key in name.split("/")[1:]:
            target = mapping(target).get(key.replace("~1", "/").replace("~0", "~"))
        # One that leads back into itself stands for anything there.
        open_end = name in seen or len(seen) > 30 or left[0] < 0
        return {} if open_end else _follow(target, document, left, (*seen, name))
    return {key: _follow(item, document, left, seen) for key, item in value.items()}
