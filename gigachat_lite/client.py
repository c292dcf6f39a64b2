"""The client, in the order in which a request flows: Transport, Client.

On the same road lie ``config.py`` and ``auth.py`` before Transport, ``trust.py``, ``adapters.py``, ``connections.py``
and ``faults.py`` below it, ``decode.py`` between Transport and Client, and the endpoints with a name of their own in
``resources.py``.
Data moves one way: config dict -> Call -> PreparedRequest -> Response -> plain data -> Obj. What decides is a pure
function over plain values; what does I/O is thin.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import importlib
import json
import logging
import os
import random
import time
import traceback
import zlib
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple, Sequence, TypeVar, cast, overload
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from requests.cookies import RequestsCookieJar
from requests.utils import select_proxy

from . import models
from .adapters import TLSAdapter
from .addresses import host_of, route_of
from .aio import AsyncNames, stream_twin, twin
from .auth import Token, TokenCache, fetch_by_key, fetch_by_password, new_token, refuse_to_fetch, token_file
from .config import DEFAULTS, coerce, did_you_mean, load_config, redact
from .connections import Try, local
from .context import chat_url, chat_url_cvar, check_headers, context_headers
from .decode import (
    HIDDEN_LIMIT,
    Body,
    Reply,
    Stream,
    decode_json,
    iter_lines,
    iter_sse,
    read_json,
    request_id,
    x_headers,
)
from .exceptions import (
    ConfigurationError,
    GigaChatException,
    ModelNotSpecifiedError,
    NotFoundError,
    excerpt,
    printable,
)
from .faults import (
    ERROR_LIMIT,
    FOREIGN,
    fault_of,
    parse_date,
    parse_retry_after,
    response_error,
    retry_delay,
    translated,
    unknown_issuer,
)
from .models import (
    A,
    Chat,
    ChatCompletion,
    Payload,
    T,
    chat_body,
    path_id,
    strings,
    to_json,
    with_headers,
)
from .models.chat import names_model
from .places import Limiter
from .secret import Hidden, Secret, unveiled, veil
from .trust import Trust
from .workers import Crew

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from .aio import AsyncParse
    from .config import Settings
    from .files import FileForm, Upload
    from .functions import Given, Run
    from .models import (
        AccessToken,
        AICheckResult,
        Balance,
        DeletedFile,
        Embeddings,
        FunctionValidation,
        Image,
        Model,
        Models,
        OpenApiFunctions,
        TokensCounts,
        UploadedFile,
        UploadedFiles,
    )
    from .resources import AssistantsResource, BatchesResource, ChatResource, ThreadsResource

    class Options(TypedDict, total=False):
        """What every call takes: further headers, another timeout, and a limit in seconds for the whole call."""

        headers: Mapping[str, str]
        timeout: float | tuple[float, float]
        deadline: float


__all__ = ["DEFAULTS", "GigaChat", "GigaChatAsyncClient", "GigaChatSyncClient", "Stream", "iter_lines", "iter_sse"]
__all__ += ["load_config", "redact"]

logger = logging.getLogger("gigachat_lite")
P = TypeVar("P")
__version__ = "0.1.0"


# ---------------------------------------------------------------------------------------------------------- Transport


class Call(NamedTuple):
    """One call of the API. ``kind`` says what sending it twice would cost: safe, generate (paid) or create."""

    method: str
    path: str  # below base_url, or a whole address
    body: bytes | Upload | None = None
    kind: str = "safe"
    stream: bool = False
    raw: bool = False  # the answer is a file, which is left to be read
    headers: Mapping[str, str] = {}
    each: Callable[[], Mapping[str, str]] | None = None  # headers made anew for each try
    timeout: tuple[float | None, float | None] | None = None
    until: float | None = None  # the deadline, on the monotonic clock
    content: str | None = "application/json"  # what the body is; None says nothing of it
    generates: bool = False  # holds a place of the limiter, as those of kind generate do

    def rewind(self, error: GigaChatException) -> bool:
        """Make the body ready to be sent again; where that cannot be, the error says so."""
        return self.body is None or isinstance(self.body, bytes) or self.body.rewind(error)


class NoCookies(RequestsCookieJar):
    """A jar that stores nothing, and spares looking for what it might store."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take nothing out of an answer."""


SPARE_CONNECTIONS = 32  # kept beyond max_connections, for the calls that the limiter does not count


class Transport:
    """One session for the two hosts, one retry loop, and the one place where foreign errors become ours."""

    def __init__(self, config: Mapping[str, Any], tokens: TokenCache, trusts: Mapping[str, Trust]) -> None:
        self.config = config
        self.tokens = tokens
        self.limiter = Limiter(config["max_connections"], config["pool_timeout"])
        self.sleep, self.chance = time.sleep, random.random
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.cookies = NoCookies()
        self.session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        self.session.adapters.clear()
        self.routes: dict[str, dict[str, str]] = {}  # the proxy of each origin, in the form that requests takes
        self.trusts: dict[str, Trust] = dict(trusts)  # those of the parent, after a fork
        for key, with_cert in (("base_url", True), ("auth_url", config["auth_client_cert"])):
            self._mount(config[key], with_cert)
        headers = {"User-Agent": "gigachat-lite/" + __version__, "Accept": "application/json"}
        self._template = requests.Request("GET", "http://localhost/", headers=headers).prepare()
        self._template._cookies = None  # type: ignore[attr-defined]
        self._template.headers["Accept-Encoding"] = "gzip"

    def _mount(self, url: str, with_cert: bool) -> None:
        origin = origin_of(url)
        if origin in self.routes:
            return
        if origin.startswith("https") and origin not in self.trusts:
            self.trusts[origin] = Trust(self.config, host_of(url), with_cert)
        self.session.mount(
            origin, TLSAdapter(self.trusts.get(origin), self.config["max_connections"] + SPARE_CONNECTIONS)
        )
        self.routes[origin] = route_of(url, self.config)

    def send(self, call: Call) -> Reply:
        """Send a call until it is answered or may not be sent again, and raise what stands in the way.

        An answer is read whole, but for a stream, whose place in the limiter goes to the caller with it.
        """
        slot = self.limiter.take(call.until) if call.kind == "generate" or call.generates else None
        try:
            reply = self._insist(call)
            if call.stream:
                reply, slot = reply._replace(slot=slot), None
            return reply
        finally:
            if slot:
                slot.give_back()

    def _insist(self, call: Call) -> Reply:
        """Send again what may be: after a 401 with a new token and after a failed chain with more roots, once each."""
        url = call.path if "://" in call.path else self.config["base_url"] + call.path
        trust = self.trusts.get(origin_of(url))
        if origin_of(url) not in self.routes:
            raise ConfigurationError(f"{host_of(url)} is not the host of base_url, and nothing is sent to any other")
        own_token = "Authorization" not in call.headers
        tries, renewed = 1, False
        while True:
            token = self.tokens.get(call.until) if own_token else None
            narrow = trust is not None and not trust.wide
            reply = self._try(call, url, token, tries)
            if reply.error is None:
                reply.note.outer = None  # it leads to the caller's frame, and so may lead back to the stream
                return reply
            reply.note.check()
            if reply.fault == 401 and token and not renewed and self.tokens.drop(token.value):
                renewed = True
                if call.rewind(reply.error):
                    continue
            if narrow and trust and unknown_issuer(reply.error, reply.note):
                trust.widen()
                continue
            wish = vars(reply.error).get("retry_after")  # not the class's 0.0, which no service has wished for
            delay = retry_delay(call.kind, reply.fault, tries, self.config, wish, self.chance)
            if delay is not None and call.until is not None and time.monotonic() + delay >= call.until:
                reply.error.hurried, delay = True, None
            if delay is None or not call.rewind(reply.error):
                raise reply.error
            (self.sleep if local.watch is None else local.watch.sleep)(delay)
            tries += 1

    def _try(self, call: Call, url: str, token: Token | None, tries: int) -> Reply:
        request = self._prepare(call, url, token)
        note = Try(call.until, (call.timeout or self.config["timeout"])[1], strict=call.raw)
        began = time.monotonic()
        reply = self._exchange(request, note, call)
        if logger.isEnabledFor(logging.DEBUG):
            ms = (time.monotonic() - began) * 1000
            status = reply.fault or reply.response.status_code
            about, path = printable(request_id(reply.response)), printable(urlsplit(url).path)
            logger.debug("%s %s: %s, try %d, %.0f ms, request id %s", call.method, path, status, tries, ms, about)
        return reply

    def _prepare(self, call: Call, url: str, token: Token | None) -> requests.PreparedRequest:
        """Copy the constant part of a request and add what this try has of its own."""
        request = self._template.copy()
        request.method, request.url, request.body = call.method, url, call.body  # type: ignore[assignment]
        headers = request.headers
        if call.body is not None:
            headers["Content-Length"] = str(len(call.body))
            if call.content:
                headers["Content-Type"] = call.content
        if call.stream:
            headers["Accept"] = "text/event-stream"
        if call.raw:
            headers["Accept"] = "*/*"
        if call.stream or call.raw:
            headers["Accept-Encoding"] = "identity"
        if token is not None:
            headers["Authorization"] = Secret("Bearer " + token.value)
        if call.headers:
            headers.update(call.headers)
        if call.each is not None:
            headers.update(call.each())
        return request

    def _exchange(self, request: requests.PreparedRequest, note: Try, call: Call) -> Reply:
        url = str(request.url)
        route = self.routes[origin_of(url)]
        outer, local.note = local.note, note  # a body that is being sent may ask something itself
        try:
            connect = note.patience((call.timeout or self.config["timeout"])[0])
            response = self.session.send(
                request,
                stream=True,
                timeout=(connect, note.read),
                allow_redirects=False,
                proxies=route,
                verify=True,
                cert=None,
            )
        except FOREIGN as exc:
            fault = fault_of(exc, note)
            return Reply(url, note, requests.Response(), error=self.translate(exc, url, note), fault=fault)
        except BaseException as exc:  # Ctrl-C, or what a handler of another signal raises
            traceback.clear_frames(exc.__traceback__)  # the headers are in them
            raise
        finally:
            local.note = outer
        try:
            return judge(Reply(url, note, response, Body(response, note)), call.stream, call.raw)
        except FOREIGN as exc:
            response.close()
            fault = fault_of(exc, note)
            error = self.translate(exc, url, note)
            return Reply(url, note, response, error=error, fault="deadline" if fault == "deadline" else "broken")
        except BaseException as exc:
            response.close()
            traceback.clear_frames(exc.__traceback__)  # the body is in them
            raise

    def translate(self, exc: Exception, url: str, note: Try) -> GigaChatException:
        """Turn a foreign exception into ours, as ``translated`` does, for one of this transport's addresses."""
        trust = self.trusts.get(origin_of(url))
        proxy = select_proxy(url, self.routes[origin_of(url)])
        return translated(exc, fault_of(exc, note), url, note, trust.roots if trust else [], proxy)


def origin_of(url: str) -> str:
    """Take the origin of an address; its final slash keeps ``https://host.evil/`` from matching a mount.

    >>> origin_of("https://api.giga.chat/v1/models")
    'https://api.giga.chat/'
    """
    return "/".join(url.split("/", 3)[:3]) + "/"


def judge(reply: Reply, stream: bool, raw: bool = False) -> Reply:
    """Read an answer, unless it is the stream or the file that was asked for, and tell whether it is an error."""
    response, body = reply.response, cast(Body, reply.body)
    status = response.status_code
    if status < 200:
        response.close()  # what follows on this connection belongs to nobody
        return refuse(reply, status, b"")
    good = 200 <= status < 300
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    file = raw and status == 200 and kind != "text/html"  # else a gateway's page
    if file or (good and stream and kind == "text/event-stream"):
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            body.close()
            what = "file" if raw else "stream"
            return refuse(reply, status, b"", f"the {what} is compressed, though it was asked for without")
        if kind != "application/json" or (body.left or 0) > HIDDEN_LIMIT:
            return reply
    try:
        if file:  # in JSON, and so perhaps an error
            data, whole = body.read_head(HIDDEN_LIMIT)
            if not whole:
                return reply._replace(data=Hidden(data))
        else:
            data = body.read_all(ERROR_LIMIT if raw or stream or not good else None)
    except (OSError, http.client.HTTPException, zlib.error):
        if good:
            raise
        data = b""  # a broken error is still that error
        body.close()
    response._content, response._content_consumed = b"", True  # type: ignore[attr-defined]
    if not good:
        return refuse(reply, status, data)
    hidden = hidden_status(data)
    if hidden:
        return refuse(reply, hidden, data)
    if stream:
        return refuse(reply, status, data[:ERROR_LIMIT], "the answer is no event stream: ")
    if raw and not file:
        return refuse(reply, status, data[:ERROR_LIMIT], "the answer is no file: ")
    return reply._replace(data=Hidden(data))


def refuse(reply: Reply, status: int, data: bytes, message: str | None = None) -> Reply:
    """Make a reply an error of its status; a message that ends in a colon goes on with what the answer was."""
    data = unveiled(data, reply.response)
    if message and message.endswith(": "):
        message += excerpt(data) or "empty"
    error = response_error(reply.url, status, data, reply.response.headers, message)
    date = parse_date(reply.response.headers.get("Date"), time.time())
    wish = parse_retry_after(reply.response.headers.get("Retry-After"), date)
    if wish is not None:
        error.retry_after = wish
        error.hint = f"The service asks to wait {wish:.10g} s. {error.hint}"
    return reply._replace(error=error, fault=status if error.status_code != 200 else "not understood")


def hidden_status(data: bytes) -> int:
    """Find the error in a 200 whose body says that it is one; 0 for none.

    >>> hidden_status(b'{"status":429,"message":"Too many requests"}'), hidden_status(b'{"status":200}')
    (429, 0)
    """
    if len(data) > HIDDEN_LIMIT or b'"status"' not in data:
        return 0
    try:
        said = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return 0
    status = said.get("status") if isinstance(said, dict) else None
    return status if isinstance(status, int) and 400 <= status < 600 else 0


# ------------------------------------------------------------------------------------------------------------- Client


_clients: WeakSet[GigaChat] = WeakSet()


@functools.lru_cache(maxsize=None)
def room(name: str) -> Any:
    """Load a module of the package on first use."""
    return importlib.import_module("." + name, __package__)


def with_field(payload: Payload, name: str, value: Any) -> dict[str, Any]:
    """Make a request of a question, of messages or of a request, with one field more.

    >>> with_field("Привет", "model", "GigaChat-2")
    {'messages': [{'role': 'user', 'content': 'Привет'}], 'model': 'GigaChat-2'}
    """
    if isinstance(payload, str):
        payload = [{"role": "user", "content": payload}]
    if isinstance(payload, (list, tuple)):
        return {"messages": payload, name: value}
    if not isinstance(payload, Mapping):
        raise TypeError(f"a string, a list of messages, a dict or Chat is needed, not {type(payload).__name__}")
    return {**payload, name: value}


def to_utf8(text: str) -> bytes:
    """Encode a text; halves of surrogate pairs, which UTF-8 has no room for, become U+FFFD."""
    if not isinstance(text, str):
        raise TypeError(f"a text is needed, not {type(text).__name__}")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


@functools.lru_cache(maxsize=None)
def watch_forks() -> None:
    """Give every client of a forked child sockets and locks of its own, from the first client on."""

    def renew() -> None:
        for client in list(_clients):
            trusts = client._transport.trusts
            for trust in trusts.values():
                trust.renew()
            for adapter in client._transport.session.adapters.values():
                if isinstance(adapter, TLSAdapter):
                    adapter.renew()
            client._start(client._tokens.peek(), trusts)

    os.register_at_fork(after_in_child=renew)


class GigaChat(AsyncNames):
    """A client of the GigaChat API.

    Settings come from the arguments, from ``GIGACHAT_*`` variables and from ``.env`` (see ``load_config``). One client
    serves any number of threads; it can be pickled, and it survives a fork. Every endpoint also takes ``headers=``,
    ``timeout=`` (seconds, or a pair for connecting and for each wait) and ``deadline=`` (seconds for the whole call,
    with all its tries and the token it may have to fetch). The settings: credentials, client_id, client_secret, scope,
    model, base_url, auth_url, access_token, user, password, verify_ssl_certs, ca_bundle_file, cert_file, key_file,
    key_file_password, auth_client_cert, ssl_context, timeout, deadline, max_connections, pool_timeout, max_retries,
    retry_backoff_factor, retry_on_status_codes, token_expiry_buffer_ms, token_cache, profanity_check, flags, proxy,
    trust_env, allow_http; and env_file, environ.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self.config: dict[str, Any] = {}
        taken: Any = settings
        # Nothing is left of them here, for a crash report shows what the locals of frames hold.
        self.config = load_config(**{name: taken.pop(name) for name in [*taken]})
        self._start(None, {})

    def _start(self, token: Token | None, trusts: Mapping[str, Trust]) -> None:
        config = self.config
        if token is None and config["access_token"]:
            token = Token(config["access_token"])
        self._tokens = TokenCache(self._way(), token, keeper=lambda: token_file(config))
        self._transport = Transport(config, self._tokens, trusts)
        self._crew = Crew(config["max_connections"])
        if hasattr(os, "register_at_fork"):
            watch_forks()
            _clients.add(self)

    def _way(self) -> Callable[[float | None], Token] | None:
        config = self.config
        if config["credentials"] or config["client_secret"]:
            return lambda until: fetch_by_key(config, self._post, until)
        if config["password"]:
            return lambda until: fetch_by_password(config, self._post, until)
        if config["access_token"] or config["cert_file"] or config["ssl_context"] is not None:
            return None
        return refuse_to_fetch

    def __enter__(self) -> GigaChat:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        host = host_of(self.config.get("base_url", ""))
        return f"GigaChat(host={host!r}, scope={self.config.get('scope')!r}, model={self.config.get('model')!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.config = state["config"]
        self._start(None, {})

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._transport.session.close()

    # Authorisation

    @property
    def token(self) -> str | None:
        """The access token that is held, without fetching one; None where there is none yet."""
        token = self._tokens.peek()
        return None if token is None else str(token.value)

    def get_token(self, *, deadline: float | None = None) -> AccessToken | None:
        """Get the access token, fetching one where needed; None for a client that authorises by its certificate."""
        token = self._tokens.get(self._until(deadline))
        if token is None:
            return None
        expires = None if token.expires_at is None else int(token.expires_at * 1000)
        return with_headers(models.AccessToken(access_token=str(token.value), expires_at=expires), token.x_headers)

    def _post(self, url: str, until: float | None, body: bytes, headers: Mapping[str, str], each: Any = None) -> Token:
        reply = self._transport.send(Call("POST", url, body, headers=headers, each=each, until=until, content=None))
        token = self._token_of(reply)
        status, headers, ids = reply.response.status_code, reply.response.headers, x_headers(reply.response)
        del reply  # it holds the body, and a crash report shows the locals of frames
        if token is None:
            raise response_error(url, status, b"", headers, "the answer holds no access token")
        return token._replace(x_headers=ids)

    def _token_of(self, reply: Reply) -> Token | None:
        date, buffer = reply.response.headers.get("Date"), self.config["token_expiry_buffer_ms"] / 1000
        try:
            data = decode_json(reply.data.open().decode("utf-8"))
            return new_token(data, date, time.time(), time.monotonic(), buffer)
        except (ValueError, AttributeError, RecursionError):
            return None

    # Endpoints: each is one Call and one type

    @property
    def chat(self) -> ChatResource:
        """Ask, and get the whole answer: ``chat(payload)``; ``chat.create``, ``.stream`` and ``.parse`` are v2's."""
        resource: ChatResource = room("resources").ChatResource(self)
        return resource

    @property
    def batches(self) -> BatchesResource:
        """Many requests at once, answered later."""
        resource: BatchesResource = room("resources").BatchesResource(self)
        return resource

    @property
    def assistants(self) -> AssistantsResource:
        """Models with instructions, files and functions, kept by the service."""
        resource: AssistantsResource = room("resources").AssistantsResource(self)
        return resource

    @property
    def threads(self) -> ThreadsResource:
        """Dialogues kept by the service."""
        resource: ThreadsResource = room("resources").ThreadsResource(self)
        return resource

    def stream(self, payload: Payload, **options: Unpack[Options]) -> Stream:
        """Ask, and get the answer as it is written; errors before its beginning are raised here (v1, as ``chat()``)."""
        body = {**self._chat_body(payload), "stream": True}
        call = Call("POST", self._chat_path(), to_json(body), "generate", stream=True)
        return Stream(self._send(call, options), self._transport.translate)

    @overload
    def chat_parse(
        self, payload: Payload, *, response_format: type[P], strict: bool = True, **options: Unpack[Options]
    ) -> tuple[ChatCompletion, P]: ...

    @overload
    def chat_parse(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> tuple[ChatCompletion, Any]: ...

    def chat_parse(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> tuple[ChatCompletion, Any]:
        """Ask for a value of a type, and get the answer and the value (API documentation, structured output).

        ``response_format`` is a dataclass, a TypedDict, a pydantic model or a JSON Schema. An answer that was cut off,
        filtered or is something else is an error of its own, with ``.completion``.
        """
        schemas = room("schemas")
        body = with_field(payload, "response_format", schemas.response_format(response_format, strict))
        completion = self.chat(body, **options)
        return completion, schemas.parse_completion(completion, response_format)

    def run_functions(
        self,
        payload: Payload,
        functions: Iterable[Given] = (),
        max_rounds: int = 5,
        on_error: str = "tell",
        **options: Unpack[Options],
    ) -> Run:
        """Ask, call the Python functions that the model wants called, and go on until it answers in words.

        ``on_error="raise"`` raises what a function raises, which else is told to the model.
        """
        run: Run = room("functions").run_functions(self, payload, functions, max_rounds, on_error, **options)
        return run

    def embeddings(
        self, texts: str | Sequence[str], model: str = "Embeddings", **options: Unpack[Options]
    ) -> Embeddings:
        """Turn texts into vectors, in their order (POST /embeddings)."""
        body = to_json({"model": model, "input": strings(texts, "texts")})
        return self._ask(Call("POST", "/embeddings", body, "generate"), models.Embeddings, options)

    def get_models(self, **options: Unpack[Options]) -> Models:
        """List the models that the service offers (GET /models)."""
        return self._ask(Call("GET", "/models"), models.Models, options)

    def get_model(self, model: str, **options: Unpack[Options]) -> Model:
        """Describe one model (GET /models/{model})."""
        return self._ask(Call("GET", "/models/" + path_id(model, "model")), models.Model, options)

    def tokens_count(
        self, input_: str | Sequence[str], model: str | None = None, **options: Unpack[Options]
    ) -> TokensCounts:
        """Count the tokens and characters of texts, in their order (POST /tokens/count)."""
        body = to_json({"model": model or self._model(), "input": strings(input_, "input_")})
        reply = self._send(Call("POST", "/tokens/count", body), options)
        return self._wrap(reply, list, models.TokensCounts)

    def get_balance(self, **options: Unpack[Options]) -> Balance:
        """Tell how many prepaid tokens are left; an account that pays as it goes gets a 403 (GET /balance)."""
        return self._ask(Call("GET", "/balance"), models.Balance, options)

    def check_ai(self, text: str, model: str, **options: Unpack[Options]) -> AICheckResult:
        """Tell whether a Russian text, of 20 words at least, was written by a model (POST /ai/check).

        ``model`` is GigaCheckClassification or GigaCheckDetection; the latter also finds the places.
        """
        body = to_json({"input": text, "model": model})
        return self._ask(Call("POST", "/ai/check", body, "generate"), models.AICheckResult, options)

    def openapi_function_convert(self, openapi_function: str, **options: Unpack[Options]) -> OpenApiFunctions:
        """Turn the text of an OpenAPI document into functions for ``chat()`` (POST /functions/convert)."""
        call = Call("POST", "/functions/convert", to_utf8(openapi_function), content=None)
        return self._ask(call, models.OpenApiFunctions, options)

    def validate_function(self, function: Any, **options: Unpack[Options]) -> FunctionValidation:
        """Check a function's description, or that of a Python function; see ``errors`` (POST /functions/validate)."""
        description = function if isinstance(function, Mapping) else room("functions").describe(function)
        return self._ask(Call("POST", "/functions/validate", to_json(description)), models.FunctionValidation, options)

    def upload_file(self, file: FileForm, purpose: str = "general", **options: Unpack[Options]) -> UploadedFile:
        """Upload a file, to be named in a message's ``attachments`` (POST /files).

        ``file`` is a path, bytes, a file opened with ``"rb"``, or (name, one of these), or (name, one of these, type).
        It is read as it is sent. Images may have 15 MB, sounds 35, texts 40; more is a ValueError before the call.
        """
        from .files import Upload

        with contextlib.closing(Upload(file, purpose)) as body:
            return self._ask(Call("POST", "/files", body, "create", each=body.headers), models.UploadedFile, options)

    def get_file(self, file: str, **options: Unpack[Options]) -> UploadedFile:
        """Describe an uploaded or generated file (GET /files/{file})."""
        return self._ask(Call("GET", "/files/" + path_id(file, "file")), models.UploadedFile, options)

    def get_files(self, **options: Unpack[Options]) -> UploadedFiles:
        """List the files that this account, and this X-Client-ID, has (GET /files)."""
        return self._ask(Call("GET", "/files"), models.UploadedFiles, options)

    def delete_file(self, file: str, **options: Unpack[Options]) -> DeletedFile:
        """Delete a file (POST /files/{file}/delete)."""
        call = Call("POST", f"/files/{path_id(file, 'file')}/delete", kind="create")
        return self._ask(call, models.DeletedFile, options)

    def get_image(self, file_id: str, **options: Unpack[Options]) -> Image:
        """Get a picture, its ``content`` in base64 (GET /files/{file_id}/content); ``save(path)`` writes it."""
        from .files import receive

        pieces: list[bytes] = []
        reply = self._send(Call("GET", f"/files/{path_id(file_id, 'file_id')}/content", raw=True), options)
        receive(reply, pieces.append, self._transport.translate)
        content = base64.b64encode(b"".join(pieces)).decode("ascii")
        return with_headers(models.Image(content=content), x_headers(reply.response))

    def download_file(self, file_id: str, path: str | os.PathLike[str], **options: Unpack[Options]) -> int:
        """Write a file's content to disk as it arrives, and tell its size (GET /files/{file_id}/content).

        It takes the place of ``path`` when it is whole; whatever goes wrong before leaves what was there.
        """
        from .files import receive, replacing

        call = Call("GET", f"/files/{path_id(file_id, 'file_id')}/content", raw=True)
        with replacing(path) as file:
            return receive(self._send(call, options), file.write, self._transport.translate)

    # The same for asyncio

    aget_token = twin(get_token)
    astream = stream_twin(stream)
    achat_parse: AsyncParse[ChatCompletion] = twin(chat_parse, counted=True)  # type: ignore[assignment]
    arun_functions = twin(run_functions, counted=True)
    aembeddings = twin(embeddings, counted=True)
    aget_models = twin(get_models)
    aget_model = twin(get_model)
    atokens_count = twin(tokens_count)
    aget_balance = twin(get_balance)
    acheck_ai = twin(check_ai, counted=True)
    aopenapi_function_convert = twin(openapi_function_convert)
    avalidate_function = twin(validate_function)
    aupload_file = twin(upload_file)
    aget_file = twin(get_file)
    aget_files = twin(get_files)
    adelete_file = twin(delete_file)
    aget_image = twin(get_image)
    adownload_file = twin(download_file)

    # What they share

    def _ask(self, call: Call, kind: type[A], options: Options) -> A:
        return self._wrap(self._send(call, options), dict, kind)

    def _wrap(self, reply: Reply, expected: type, kind: Callable[[Any], T]) -> T:
        value = read_json(reply)
        if not isinstance(value, expected):
            value = type(value).__name__  # and no more of it, for the frames of an error are shown
            what = f"the answer is a JSON {value} where a {expected.__name__} was expected"
            data = unveiled(reply.data.open()[:ERROR_LIMIT], reply.response)
            raise response_error(reply.url, reply.response.status_code, data, reply.response.headers, what)
        return with_headers(kind(value), x_headers(reply.response))

    def _send(self, call: Call, options: Options) -> Reply:
        unknown = set(options) - {"headers", "timeout", "deadline"}
        if unknown:
            name = sorted(unknown)[0]
            near = did_you_mean(name, ("headers", "timeout", "deadline"))
            if name in Chat._fields:
                place = "thread_options" if "/threads" in call.path else "a dict: {'messages': [...], %r: ...}" % name
                near = f"; a field of the request goes into {place}"
            raise TypeError(f"no such option: {name!r}{near}")
        timeout = options.get("timeout")
        call = call._replace(
            headers=self._headers(options),
            timeout=None if timeout is None else coerce("timeout", timeout, "option timeout"),
            until=self._until(options.get("deadline")),
        )
        try:
            return self._transport.send(call)
        except NotFoundError as error:
            if error.message == "No such model" and not call.path.startswith("/files"):
                self._offer_models(error, call)
            raise

    def _headers(self, options: Options) -> dict[str, str]:
        """Merge the headers of the context and of a call; of those that cannot be sent, no frame keeps anything."""
        given: Any = options.get("headers") or {}
        error: Exception = TypeError(f"headers: a dict is needed, not {type(given).__name__}")
        try:
            if isinstance(given, Mapping):
                options["headers"] = given = veil(given)  # in place: the frames above hold the same options
                return check_headers([*context_headers().items(), *given.items()])
        except (TypeError, ValueError) as exc:
            error = type(exc)(*exc.args)
        options["headers"] = given = {}
        raise error

    def _until(self, deadline: float | None) -> float | None:
        seconds = self.config["deadline"] if deadline is None else coerce("deadline", deadline, "option deadline")
        return None if seconds is None else time.monotonic() + seconds

    def _offer_models(self, error: NotFoundError, call: Call) -> None:
        """Put the models that the service offers into the error, if they are to be had within 5 s."""
        path, soon = call.path, time.monotonic() + 5
        call = Call("GET", "/models", headers=call.headers, timeout=call.timeout, until=min(call.until or soon, soon))
        try:
            offered = self._wrap(self._transport.send(call), dict, models.Models)
            kind = "embedder" if path == "/embeddings" else "chat"
            ids = [model.id for model in offered.data if path.startswith("/models") or model.type in (kind, None)]
            error.hint = f"The service offers: {', '.join(ids)}. {error.hint}"
        except (GigaChatException, *FOREIGN):  # the hint is a kindness; the error stands without it
            logger.debug("the models could not be listed")

    def _model(self) -> str:
        model: str | None = self.config["model"]
        if model is None:
            host = host_of(self.config["base_url"])
            raise ModelNotSpecifiedError(
                f"{host} has no default model: name one, as model= or GIGACHAT_MODEL (get_models() lists them)"
            )
        return model

    def _chat_path(self) -> str:
        path = chat_url_cvar.get()
        return path if path == "/chat/completions" else chat_url(self.config["base_url"], path)

    def _chat_body(self, payload: Payload) -> dict[str, Any]:
        """Make a request's body: what the caller wrote, and the config's model, profanity_check and flags."""
        body = chat_body(payload)
        if body.get("functions") or any(
            message.get("role") == "function" or "function_call" in message for message in body["messages"]
        ):
            body = room("functions").checked(body)
        if not body.get("model") and not ("storage" in body and names_model(body)):
            body["model"] = self._model()
        for name in ("profanity_check", "flags"):
            if self.config[name] is not None and name not in body:
                body[name] = self.config[name]
        return body


GigaChatSyncClient = GigaChatAsyncClient = GigaChat  # the official library's other names
