"""The service that is emulated: what goes in is a request, what comes out a response; no socket is touched here."""

from __future__ import annotations

import base64
import re
import threading
from urllib.parse import unquote

from . import auth, batches, chat_v1, chat_v2, endpoints, function_specs, threads
from .models import SCOPES
from .state import Route, State
from .web import REASONS, HTTPError, Request, Response, api_error, gateway_error

SLOT_TIMEOUT = 0.1  # seconds to wait for a slot: a caller who has just got an answer may be faster than its bookkeeping
ROUTES: dict[str, list[Route]] = {
    "v1": [route for module in (auth, endpoints, chat_v1, function_specs, batches, threads) for route in module.ROUTES],
    "v2": chat_v2.ROUTES,
    "oauth": auth.OAUTH_ROUTES,
}


class Service(State):
    """Answer requests as the API and its OAuth host do; the settings are those of `Emulator`."""

    user, password = auth.USER, auth.PASSWORD
    credentials = base64.b64encode(f"{auth.CLIENT_ID}:{auth.CLIENT_SECRET}".encode("ascii")).decode("ascii")

    def __init__(
        self, scope: str, strict: bool, token_lifetime: float, chunk_delay: float, max_connections: int | None,
    ) -> None:
        """Begin without tokens and files; ValueError for settings that cannot work."""
        super().__init__(scope, strict, token_lifetime, chunk_delay)
        if max_connections is not None and not (isinstance(max_connections, int) and max_connections > 0):
            raise ValueError("max_connections is a whole number, at least 1")
        self._slots = threading.Semaphore(max_connections or (1 if scope == SCOPES[0] else 10))
        self._errors: list[BaseException] = []

    def respond(self, request: Request) -> Response:
        """Return what the service would say, whatever was asked."""
        try:
            return self._route(request)
        except HTTPError as error:
            return error.response
        except Exception as exc:  # a bug of the emulator is a 500 to the caller, never a lost connection
            self._errors.append(exc)
            return api_error(500, REASONS[500]).response

    def expire_tokens(self) -> None:
        """Let every token given out so far be answered 401 "Token has expired" from now on."""
        with self.lock:
            self.tokens = dict.fromkeys(self.tokens, float("-inf"))

    def _route(self, request: Request) -> Response:
        base = re.match(r"(?:/api)?/(v[12])/", request.path)
        version, name = (base.group(1), request.path[base.end():]) if base else ("", "")
        if request.path.endswith("/oauth"):
            version, name = "oauth", "oauth"
        found = {route.method: (route, match) for route in ROUTES.get(version, [])
                 for match in [re.fullmatch(route.path, name)] if match}
        if not found:  # the gateway does not let other paths through
            raise gateway_error(403)
        auth.check_user_agent(self, request)
        if request.method not in found:
            raise api_error(405)
        if name not in ("oauth", "token"):
            auth.check_token(self, request)
        route, match = found[request.method]
        return self._run(route, request, *map(unquote, match.groups()))

    def _run(self, route: Route, request: Request, *names: str) -> Response:
        """Run the handler of a route, one at a time; a generation takes a slot until its response is sent."""
        if route.generates and not self._slots.acquire(timeout=SLOT_TIMEOUT):
            raise api_error(429)
        release = self._slots.release if route.generates else None
        try:
            with self.lock:
                return route.handler(self, request, *names)._replace(on_sent=release)
        except BaseException:
            if release is not None:
                release()
            raise
