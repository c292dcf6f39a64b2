"""Descriptions of functions: their validation, and their making from an OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import Any

from . import validation as v
from .state import Route, State
from .text import as_dict, as_list
from .web import HTTPError, Request, Response, json_response

RULES_VERSION = "1.0.5"  # of what descriptions of functions are held against
MAX_PARTS = 100_000  # of an OpenAPI document with its references followed
METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
def validate_function(function: dict[str, Any]) -> dict[str, Any]:
    """Tell what is wrong with a description; of the words only those for a missing name or example are known."""
    errors = [_problem(f"{name} is required") for name in ("name", "parameters") if function.get(name) is None]
    try:
        v.object_of(v.FUNCTION, strict=False)(function, "")
        given = {name: value for name, value in function.items() if value is not None}
        v.check_functions([{"parameters": {}, "name": "any", **given}], None)
    except HTTPError as error:
        errors = errors or [_problem(json.loads(error.response.body.decode("utf-8"))["message"])]
    problems = errors or [_problem(f"{name} are missing") for name in ("few_shot_examples", "return_parameters")
                          if not function.get(name)]
    message = "Incorrect function syntax" if errors else "Function is valid"
    more = {"errors" if errors else "warnings": problems} if problems else {}
    return {"status": 200, "message": message, "json_ai_rules_version": RULES_VERSION, **more}


def _problem(description: str, where: str = "(root)") -> dict[str, str]:
    return {"description": description, "schema_location": where}


# ---- Functions from OpenAPI


def functions_from_openapi(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a function for each operation of an OpenAPI document, in JSON; the errors' words are not known."""
    v.require_syntax(type(document.get("paths")) is dict)
    paths = _resolve(document["paths"], document, [MAX_PARTS], ())
    return [
        _convert_operation(f"{method}_{path}", item[method], as_list(item.get("parameters")))
        for path, item in paths.items() if isinstance(item, dict)
        for method in METHODS if isinstance(item.get(method), dict)]


def _convert_operation(place: str, operation: dict[str, Any], shared: list[Any]) -> dict[str, Any]:
    """Return the function of one operation: its parameters are those of path, query and body together."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in map(as_dict, shared + as_list(operation.get("parameters"))):
        name = parameter.get("name")
        if isinstance(name, str):
            described = {"description": parameter["description"]} if parameter.get("description") else {}
            properties[name] = {**described, **as_dict(parameter.get("schema"))}
            required += [name] if parameter.get("required") is True and name not in required else []
    body = _find_schema(operation.get("requestBody"))
    properties.update(as_dict(body.get("properties")))
    required += [name for name in as_list(body.get("required")) if isinstance(name, str) and name not in required]
    parameters: dict[str, Any] = {"type": "object", "properties": dict(sorted(properties.items()))}
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", str(operation.get("operationId") or place)).strip("_")
    function = {
        "name": re.sub("^(?=[0-9])|^$", "_", name),
        "description": str(operation.get("description") or operation.get("summary") or ""),
        "parameters": {**parameters, "required": required} if required else parameters}
    responses = as_dict(operation.get("responses"))
    good = next((responses[key] for key in ("200", "201", "202", "2XX", "default") if key in responses), None)
    result = _find_schema(good)
    return {**function, "return_parameters": result} if result else function


def _find_schema(part: Any) -> dict[str, Any]:
    """Return the schema of a body, of JSON if it can be."""
    content = as_dict(as_dict(part).get("content"))
    kinds = sorted(content, key=lambda kind: "json" not in kind)
    return as_dict(as_dict(content[kinds[0]]).get("schema")) if kinds else {}


def _resolve(value: Any, document: dict[str, Any], left: list[int], seen: tuple[str, ...]) -> Any:
    """Return a part of a document with its references followed, as long as some parts are left to be returned."""
    left[0] -= 1
    if isinstance(value, list):
        return [_resolve(item, document, left, seen) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("$ref")
    if isinstance(name, str):
        target: Any = document
        for key in name.split("/")[1:]:
            target = as_dict(target).get(key.replace("~1", "/").replace("~0", "~"))
        # One that leads back into itself stands for anything there.
        open_end = name in seen or len(seen) > 30 or left[0] < 0
        return {} if open_end else _resolve(target, document, left, (*seen, name))
    return {key: _resolve(item, document, left, seen) for key, item in value.items()}


def _validate(state: State, request: Request) -> Response:
    return json_response(validate_function(v.parse_object(request.raw)))


def _convert(state: State, request: Request) -> Response:
    return json_response({"functions": functions_from_openapi(v.parse_object(request.raw))})


ROUTES = [Route("POST", "functions/validate", _validate), Route("POST", "functions/convert", _convert)]
