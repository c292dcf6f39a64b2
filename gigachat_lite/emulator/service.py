"""The service that is emulated: tokens, limits and endpoints; what goes in is a request, what comes out an answer."""

from __future__ import annotations

import base64
import math
import os
import re
import threading
import time
from typing import Any, Callable
from urllib.parse import unquote

from .batches import Batches
from .chat import Completion, complete, list_attachments, render_completion, render_events
from .checks import Checks
from .files import Files
from .primary import Primary
from .rules import (
    MODELS,
    SCOPES,
    check_chat,
    check_embeddings,
    check_headers,
    check_oauth,
    check_tokens_count,
    find_model,
    read_login,
    read_object,
)
from .threads import Assistants, Threads
from .wire import REASONS, Answer, Refused, Request, dumps, refuse, refuse_page
from .words import count_tokens, embed

# Fixed, so that a .env written once goes on working with every later emulator; worth nothing anywhere else.
CLIENT_ID, CLIENT_SECRET = "e0000000-0000-4000-8000-000000000001", "e0000000-0000-4000-8000-000000000002"
PACE = 0.05  # seconds that a part of an answer would take, for `update_interval` where there is no `chunk_delay`
PATIENCE = 0.1  # seconds to wait for a place: a caller who has just got an answer may be faster than its bookkeeping


class Service:
    """Answer requests as the API and its OAuth host do; the settings are those of `Emulator`."""

    user, password = "emulator", "offline"
    credentials = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode("ascii")).decode("ascii")

    def __init__(
        self, scope: str, strict: bool, token_lifetime: float, chunk_delay: float, max_connections: int | None
    ) -> None:
        """Begin without tokens and files; ValueError for settings that cannot work."""
        if scope not in SCOPES:
            raise ValueError(f"the scope is one of {', '.join(SCOPES)}, and not {scope!r}")
        if not (math.isfinite(token_lifetime) and 0 <= chunk_delay < math.inf):
            raise ValueError("token_lifetime and chunk_delay are finite numbers of seconds")
        if max_connections is not None and not (isinstance(max_connections, int) and max_connections > 0):
            raise ValueError("max_connections is a whole number, at least 1")
        self.scope, self.strict = scope, strict
        self.token_lifetime, self.chunk_delay = token_lifetime, chunk_delay
        self.files, self.batches = Files(), Batches(self)
        self.assistants, self.threads = Assistants(self), Threads(self)
        self._tokens: dict[str, float] = {}
        self._rquids: set[str] = set()
        self._generations = threading.Semaphore(max_connections or (1 if scope == SCOPES[0] else 10))
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []
        rooms = (Checks(self), self.batches, self.assistants, self.threads)
        self._routes: dict[str, list[tuple[str, str, Callable[..., Answer]]]] = {
            "v1": [
                ("POST", "token", self._log_in),
                ("GET", "models", self._list_models),
                ("GET", "models/(.+)", self._get_model),
                ("POST", "chat/completions", self._chat),
                ("POST", "embeddings", self._embeddings),
                ("POST", "tokens/count", self._tokens_count),
                ("POST", "files", self._upload),
                ("GET", "files", self._list_files),
                ("GET", "files/([^/]+)", self._get_file),
                ("GET", "files/([^/]+)/content", self._get_content),
                ("POST", "files/([^/]+)/delete", self._delete_file),
                *(route for room in rooms for route in room.routes),
            ],
            "v2": Primary(self).routes,
            "oauth": [("POST", "oauth", self._oauth)],
        }

    def respond(self, request: Request) -> Answer:
        """Return what the service would say, whatever was asked."""
        try:
            return self._route(request)
        except Refused as refused:
            return refused.answer
        except Exception as exc:  # a fault of the emulator is a 500 to the caller, never a lost connection
            self._failures.append(exc)
            return refuse(500, REASONS[500]).answer

    def expire_tokens(self) -> None:
        """Let every token given out so far be answered 401 "Token has expired" from now on."""
        with self._lock:
            self._tokens = dict.fromkeys(self._tokens, float("-inf"))

    def _route(self, request: Request) -> Answer:
        base = re.match(r"(?:/api)?/(v[12])/", request.path)
        version, name = (base.group(1), request.path[base.end():]) if base else ("", "")
        if request.path.endswith("/oauth"):
            version, name = "oauth", "oauth"
        found = {method: (handler, match) for method, pattern, handler in self._routes.get(version, [])
                 for match in [re.fullmatch(pattern, name)] if match}
        if not found:  # the gateway does not let other paths through
            raise refuse_page(403)
        check_headers(request, self.strict)
        if request.method not in found:
            raise refuse(405, REASONS[405])
        if name not in ("oauth", "token"):
            self._check_token(request)
        handler, match = found[request.method]
        return handler(request, *map(unquote, match.groups()))

    # -- Tokens

    def _check_token(self, request: Request) -> None:
        """Refuse who has no good token, unless a client's certificate speaks for him."""
        given = request.headers.get("authorization", "")
        if request.client_cert and not given:
            return
        scheme, _, token = given.partition(" ")
        deadline = self._tokens.get(token.strip()) if scheme.lower() == "bearer" else None
        if deadline is None:
            raise refuse(401, "Unauthorized")
        if time.monotonic() >= deadline:
            raise refuse(401, "Token has expired")

    def _issue_token(self, header: bytes, *sizes: int) -> tuple[str, float]:
        """Return a new token that looks like a JWE or a JWT, and its end in Unix seconds."""
        parts = [header] + [os.urandom(size) for size in sizes]
        token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii") for part in parts)
        with self._lock:
            self._tokens[token] = time.monotonic() + self.token_lifetime
        return token, time.time() + self.token_lifetime

    def _oauth(self, request: Request) -> Answer:
        with self._lock:
            check_oauth(request, self._rquids, self.strict)
        login = read_login(request, "basic", "bearer")  # some clients say Bearer, and the service takes it
        scope = request.form().get("scope", "")
        if login is None:
            raise refuse(400, "Can't decode 'Authorization' header", code=4)
        if login != (CLIENT_ID, CLIENT_SECRET):
            raise refuse(401, "credentials doesn't match db data", code=6)
        if not scope:
            raise refuse(400, "scope is empty", code=5)
        if scope not in SCOPES:
            raise refuse(400, "scope data format invalid", code=1)
        if scope != self.scope:
            raise refuse(400, "scope from db not fully includes consumed scope", code=7)
        token, end = self._issue_token(b'{"cty":"jwt","enc":"A256CBC-HS512","alg":"RSA-OAEP-256"}', 256, 16, 560, 32)
        return Answer(body=dumps({"access_token": token, "expires_at": int(end * 1000)}))

    def _log_in(self, request: Request) -> Answer:
        if read_login(request, "basic") != (self.user, self.password):
            raise refuse(401, "Unauthorized")
        token, end = self._issue_token(b'{"alg":"RS256","typ":"JWT"}', 180, 256)
        return Answer(body=dumps({"tok": token, "exp": int(end)}))

    # -- Models, counts, vectors

    def _list_models(self, request: Request) -> Answer:
        data = [find_model(name) for names in MODELS.values() for name in names]
        return Answer(body=dumps({"object": "list", "data": data}))

    def _get_model(self, request: Request, name: str) -> Answer:
        return Answer(body=dumps(find_model(name)))

    def _tokens_count(self, request: Request) -> Answer:
        body = read_object(request)
        check_tokens_count(body, self.strict)
        return Answer(body=dumps([
            {"object": "tokens", "tokens": count_tokens(text), "characters": len(text)} for text in _texts(body)]))

    def _embeddings(self, request: Request) -> Answer:
        return Answer(body=self.embed(read_object(request)), done=self.begin())

    def embed(self, body: dict[str, Any]) -> bytes:
        """Return the vectors of texts, as a body; the question for them is checked here, wherever it comes from."""
        check_embeddings(body, self.strict)
        items = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":{embed(text)},'
            f'"usage":{{"prompt_tokens":{count_tokens(text) + 1}}}}}' for index, text in enumerate(_texts(body)))
        answer = f'{{"object":"list","data":[{items}],"model":"{body["model"]}"}}'
        return answer.encode("ascii")

    # -- Chat

    def begin(self) -> Callable[[], None]:
        """Take one of the places for generations, or refuse; what is returned gives it back, once.

        This comes last, so that nothing can fail between it and the answer that carries it.
        """
        if not self._generations.acquire(timeout=PATIENCE):
            raise refuse(429, "Too many requests")
        held = [self._generations]

        def done() -> None:
            while held:
                held.pop().release()
        return done

    def pace(self, interval: float | None) -> int:
        """Return how many parts of an answer leave as one event, for an `update_interval` in seconds."""
        return max(1, math.ceil(min((interval or 0) / (self.chunk_delay or PACE), 1e9)))

    def stream(self, events: list[bytes], every: int) -> Answer:
        """Return a stream, of events that hold so many parts each."""
        return Answer(content_type="text/event-stream", events=events, pause=every * self.chunk_delay)

    def _chat(self, request: Request) -> Answer:
        body = read_object(request)
        completion = self.complete(body, request.headers.get("x-client-id"))
        if body.get("stream") is not True:
            return Answer(body=render_completion(body["model"], completion), done=self.begin())
        every = self.pace(body.get("update_interval"))
        return self.stream(render_events(body["model"], completion, every), every)._replace(done=self.begin())

    def complete(self, body: dict[str, Any], owner: str | None) -> Completion:
        """Answer a chat of the first version, which is checked here, wherever it comes from."""
        check_chat(body, self.files, self.strict)
        if self.strict:
            self.files.check_attached(list_attachments(body["messages"]), owner, body["model"])
        return complete(body, self.files, owner)

    # -- Files

    def _upload(self, request: Request) -> Answer:
        return Answer(body=dumps(self.files.add(request)))

    def _list_files(self, request: Request) -> Answer:
        return Answer(body=dumps(self.files.list(request.headers.get("x-client-id"))))

    def _get_file(self, request: Request, name: str) -> Answer:
        return Answer(body=dumps(self.files.get(name, request.headers.get("x-client-id"))))

    def _get_content(self, request: Request, name: str) -> Answer:
        return Answer(200, *self.files.content(name, request.headers.get("x-client-id")))

    def _delete_file(self, request: Request, name: str) -> Answer:
        return Answer(body=dumps(self.files.delete(name, request.headers.get("x-client-id"))))


def _texts(body: dict[str, Any]) -> list[str]:
    return [body["input"]] if isinstance(body["input"], str) else body["input"]
