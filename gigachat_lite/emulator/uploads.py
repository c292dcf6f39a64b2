"""The endpoints of files."""

from __future__ import annotations

from .http import Request, Response, json_response
from .state import Route, State


def _upload(state: State, request: Request) -> Response:
    return json_response(state.files.add(request))


def _list_files(state: State, request: Request) -> Response:
    return json_response(state.files.list(request.client_id))


def _get_file(state: State, request: Request, file_id: str) -> Response:
    return json_response(state.files.get(file_id, request.client_id))


def _get_content(state: State, request: Request, file_id: str) -> Response:
    return Response(200, *state.files.content(file_id, request.client_id))


def _delete_file(state: State, request: Request, file_id: str) -> Response:
    return json_response(state.files.delete(file_id, request.client_id))


ROUTES = [
    Route("POST", "files", _upload),
    Route("GET", "files", _list_files),
    Route("GET", "files/([^/]+)", _get_file),
    Route("GET", "files/([^/]+)/content", _get_content),
    Route("POST", "files/([^/]+)/delete", _delete_file),
]
