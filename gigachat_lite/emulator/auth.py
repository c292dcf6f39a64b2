"""Access tokens: OAuth by key, login by password, and the check of every other request."""

from __future__ import annotations

import base64
import os
import re
import time

from .models import SCOPES
from .state import Route, State
from .web import HTTPError, Request, Response, api_error, json_response, to_json

# Fixed, so that a .env written once goes on working with every later emulator; worth nothing anywhere else.
CLIENT_ID, CLIENT_SECRET = "e0000000-0000-4000-8000-000000000001", "e0000000-0000-4000-8000-000000000002"
USER, PASSWORD = "emulator", "offline"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


def check_user_agent(state: State, request: Request) -> None:
    """Refuse a caller without a `User-Agent`, as the gateway does, whose error has no `status`."""
    if state.strict and not request.headers.get("user-agent"):
        raise HTTPError(403, to_json({"message": "Unauthorized"}) + b"\n")


def check_token(state: State, request: Request) -> None:
    """Refuse who has no good token, unless a client's certificate speaks for him."""
    given = request.headers.get("authorization", "")
    if request.client_cert and not given:
        return
    scheme, _, token = given.partition(" ")
    deadline = state.tokens.get(token.strip()) if scheme.lower() == "bearer" else None
    if deadline is None:
        raise api_error(401, "Unauthorized")
    if time.monotonic() >= deadline:
        raise api_error(401, "Token has expired")


def _check_rquid(state: State, request: Request) -> None:
    """Refuse a `RqUID` that is missing, is not a UUID4 or was used, whose status alone is documented."""
    rquid = request.headers.get("rquid", "").lower()
    if state.strict and not UUID4.fullmatch(rquid):
        raise api_error(400, "RqUID header is missing or is not a UUID version 4", code=2)
    if state.strict and rquid in state.rquids:
        raise api_error(400, "RqUID header must be new for every request, and this one is not", code=2)
    state.rquids.add(rquid)


def _read_login(request: Request, *schemes: str) -> tuple[str, str] | None:
    """Return the two halves of a Basic header, None where it does not decode."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    try:
        user, colon, password = base64.b64decode(key.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        return None
    return (user, password) if colon and scheme.lower() in schemes else None


def _issue_token(state: State, header: bytes, *sizes: int) -> tuple[str, float]:
    """Return a new token that looks like a JWE or a JWT, and its end in Unix seconds."""
    parts = [header] + [os.urandom(size) for size in sizes]
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii") for part in parts)
    state.tokens[token] = time.monotonic() + state.token_lifetime
    return token, time.time() + state.token_lifetime


def _oauth(state: State, request: Request) -> Response:
    _check_rquid(state, request)
    login = _read_login(request, "basic", "bearer")  # some clients say Bearer, and the service takes it
    scope = request.form().get("scope", "")
    for wrong, status, code, message in (
            (login is None, 400, 4, "Can't decode 'Authorization' header"),
            (login != (CLIENT_ID, CLIENT_SECRET), 401, 6, "credentials doesn't match db data"),
            (not scope, 400, 5, "scope is empty"),
            (scope not in SCOPES, 400, 1, "scope data format invalid"),
            (scope != state.scope, 400, 7, "scope from db not fully includes consumed scope")):
        if wrong:
            raise api_error(status, message, code)
    token, end = _issue_token(state, b'{"cty":"jwt","enc":"A256CBC-HS512","alg":"RSA-OAEP-256"}', 256, 16, 560, 32)
    return json_response({"access_token": token, "expires_at": int(end * 1000)})


def _log_in(state: State, request: Request) -> Response:
    if _read_login(request, "basic") != (USER, PASSWORD):
        raise api_error(401, "Unauthorized")
    token, end = _issue_token(state, b'{"alg":"RS256","typ":"JWT"}', 180, 256)
    return json_response({"tok": token, "exp": int(end)})


OAUTH_ROUTES = [Route("POST", "oauth", _oauth)]
ROUTES = [Route("POST", "token", _log_in)]
