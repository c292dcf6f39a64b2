"""Send requests: the session and the retry loop.

``Transport.fetch()`` returns the JSON of an answer as an object of a class; ``send()`` a whole answer, or one that is
read piece by piece. All raise errors.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import random
import socket
import threading
import time
import weakref
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, TypeVar
from urllib.parse import urlsplit

import requests

from . import auth
from .body import MAX_ERROR_BODY, NETWORK_ERRORS, BodyReader, Response, check_length
from .config import convert, did_you_mean
from .context import check_headers, context_headers
from .exceptions import ConfigurationError, GigaChatException, printable
from .json_text import decode_body
from .limiter import ConcurrencyLimiter, cancel_token
from .models.base import with_headers
from .proxies import proxies_for, proxy_facts
from .tls import OLD_URLLIB3, HostTLS, TLSAdapter
from .validators import SecretStr, host_of

if TYPE_CHECKING:
    from .annotations import Options
    from .models import Answer, TokensCounts

__version__ = "0.1.0"

logger = logging.getLogger("gigachat_lite")

MAX_HIDDEN_ERROR = 4096  # bytes of a body that may be an error though its status is 200
LARGE_BODY = 256 << 10  # sent in blocks: urllib3 allows a body of bytes the connect timeout as a whole
SPARE_CONNECTIONS = 32  # kept beyond max_connections, for requests that the limiter does not count

# What is sent again, by what a second sending would cost: nothing, money, or a second file or thread.
NO_CONNECTION: set[str | int] = {"dns", "no connection", "connect timeout"}
RETRY_ON: dict[str, set[str | int]] = {
    "read": NO_CONNECTION | {"stale", "lost", "read timeout", 429, 500, 502, 503, 504},
    "paid": NO_CONNECTION | {"stale", 429, 500, 503},
    "write": NO_CONNECTION | {429, 503},
}
ASYNC_CALLS = 16  # asynchronous calls at a time of those that max_connections does not count
MAX_PAUSE = 8.0
MAX_RETRY_AFTER = 60.0
OPTIONS = ("headers", "timeout", "deadline")
X_HEADERS = ("x-request-id", "x-session-id", "x-client-id")  # kept of an answer, under the official library's names
T = TypeVar("T", bound="Answer | TokensCounts")


class Request(NamedTuple):
    """One request to the API. ``retry`` names its row of RETRY_ON."""

    method: str
    path: str  # below base_url, or a whole URL
    body: bytes | None = None
    retry: str = "read"
    stream: bool = False  # an event stream is wanted
    download: bool = False  # a file is wanted
    limited: bool | None = None  # by max_connections; by default if it is paid for
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = {}
    make_headers: Callable[[], Mapping[str, str]] | None = None  # for each attempt
    timeout: tuple[float | None, float | None] | None = None
    until: float | None = None  # the deadline, on the monotonic clock
    authorize: bool = True  # with the access token


def retry_delay(
    retry: str,
    failure: str | int | None,
    attempt: int,
    config: Mapping[str, Any],
    retry_after: float | None = None,
    chance: Callable[[], float] = random.random,
) -> float | None:
    """Return the seconds to wait before a request is sent again, or None if it is not.

    ``failure`` is a status or a word of RETRY_ON. A Retry-After of up to 60 s is waited for, a longer one is not.

    >>> config = {"max_retries": 2, "retry_backoff_factor": 0.5, "retry_on_status_codes": None}
    >>> retry_delay("paid", 503, 2, config, chance=lambda: 1.0), retry_delay("paid", 504, 1, config)
    (1.0, None)
    """
    retry_on = RETRY_ON[retry]
    if config["retry_on_status_codes"] is not None and retry != "write":
        retry_on = {item for item in retry_on if isinstance(item, str)} | set(config["retry_on_status_codes"])
    if attempt > config["max_retries"] or failure not in retry_on:
        return None
    if retry_after is not None:
        return retry_after if retry_after <= MAX_RETRY_AFTER else None
    if failure == "stale":
        return 0.0
    pause: float = min(config["retry_backoff_factor"] * 2 ** min(attempt - 1, 10), MAX_PAUSE)
    return pause * (0.5 + chance() / 2)


# Sending


class Session(requests.Session):
    """A session that follows no redirects, keeps no cookies, and reads no environment: see proxies.py."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.adapters.clear()

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: the next host would get the token."""


class Transport:
    """Sends the requests of one client. ``sleep`` and ``chance`` make the pauses between attempts."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.sleep, self.chance = time.sleep, random.random
        self.tls: dict[str, HostTLS] = {}  # by origin
        self._sessions: list[requests.Session] = []
        self._starting: dict[int, object] = {}  # by process
        token = auth.Token(config["access_token"]) if config["access_token"] else None
        post = weakref.WeakMethod(self._post_for_token)  # else only the cyclic collector would free a client
        address, self._lacks_key = auth.auth_address(config), auth.lacks_key(config)

        def fetch(until: float | None) -> auth.Token:
            return auth.fetch_token(config, address, post(), until)  # type: ignore[arg-type] # it is not None

        file = functools.partial(token_file, config)
        self.tokens = auth.TokenCache(fetch if address else None, token, file=file)
        headers = {"User-Agent": "gigachat-lite/" + __version__, "Accept-Encoding": "gzip"}
        self._template = requests.Request("GET", "http://localhost/", headers=headers).prepare()
        self._start()

    def _start(self) -> None:
        """Make what processes must not share: connections, places and locks."""
        session = Session()
        adapters: dict[str, TLSAdapter] = {}
        proxies: dict[str, dict[str, str]] = {}
        for key, with_client_cert in (("base_url", True), ("auth_url", self.config["auth_client_cert"])):
            url = self.config[key]
            origin = origin_of(url)
            if origin in adapters:
                continue
            if url.startswith("https") and origin not in self.tls:
                self.tls[origin] = HostTLS(self.config, host_of(url), with_client_cert)
            proxies[origin] = proxies_for(url, self.config)
            adapters[origin] = TLSAdapter(self.tls.get(origin), self.config["max_connections"] + SPARE_CONNECTIONS)
            session.mount(origin, adapters[origin])
        self.adapters, self.proxies = adapters, proxies  # by origin; proxies in the form that requests takes
        self._sessions.append(session)  # a parent's stays: closing it might wait for a lock held when it forked
        self.limiter = ConcurrencyLimiter(self.config["max_connections"], self.config["pool_timeout"])
        self.async_limiter = ConcurrencyLimiter(ASYNC_CALLS, self.config["pool_timeout"], "asynchronous calls")
        self.tokens.new_lock()
        self.roots_lock = threading.Lock()
        self._origin = origin_of(self.config["base_url"])
        self._process = os.getpid()

    def check_process(self) -> None:
        """Start anew in a forked child, also where C code forked it, as uWSGI does; its threads wait for the first."""
        process, mine = os.getpid(), object()
        if self._process == process:
            return
        if self._starting.setdefault(process, mine) is mine:
            try:
                self._start()
            finally:
                self._starting.pop(process)
        while self._process != process and process in self._starting:
            time.sleep(0.001)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.check_process()
        self._sessions[-1].close()

    # What endpoints call

    def fetch(self, kind: Callable[[Any], T], request: Request, options: Options, expected: type = dict) -> T:
        """Send a request, and return the JSON of its answer as an object of a class."""
        response = self.send(request, options)
        value = response.json()
        if not isinstance(value, expected):
            what = f"the answer is a JSON {type(value).__name__} where a {expected.__name__} was expected"
            raise response.error(what)
        return with_headers(kind(value), response.x_headers)

    def send(self, request: Request, options: Options | None = None) -> Any:
        """Send a request and return its answer: a Response, or a BodyReader for a stream or a file."""
        if self._process != os.getpid():
            self.check_process()
        headers = context_headers()
        if options or headers or self.config["deadline"] is not None:
            request = self._with_options(request, options or {}, headers)
        if self._lacks_key and "Authorization" not in request.headers:
            from .advice import NO_KEY

            raise ConfigurationError(NO_KEY)
        place = None
        if request.limited or (request.limited is None and request.retry == "paid"):
            cancel = cancel_token.get()
            if cancel is None:
                place = self.limiter.acquire(request.until, request.stream)
            else:
                place = cancel.acquire(self.limiter, request.until, request.stream)
        try:
            answer = self._send(request)
            if request.stream:
                answer.place, place = place, None
            return answer
        finally:
            if place is not None:
                place.release()

    def get_token(self, deadline: float | None = None) -> auth.Token | None:
        """Return a valid access token, fetching one where needed; None where none is used."""
        if self._lacks_key:
            from .advice import NO_KEY

            raise ConfigurationError(NO_KEY)
        self.check_process()
        return self.tokens.get(self.until(deadline))

    def until(self, deadline: float | None) -> float | None:
        """Turn a call's deadline in seconds, or else the client's, into a time on the monotonic clock."""
        seconds = self.config["deadline"] if deadline is None else convert("deadline", deadline, "option deadline")
        return None if seconds is None else time.monotonic() + seconds

    # The road of a request

    def _with_options(self, request: Request, options: Options, headers: Mapping[str, str]) -> Request:
        """Add what the caller said of this call, and the headers of the context."""
        for name in options:
            if name not in OPTIONS:
                raise TypeError(f"no such option: {name!r}{_option_hint(name, request)}")
        given, timeout = options.get("headers") or {}, options.get("timeout")
        if not isinstance(given, Mapping):
            raise TypeError(f"headers: a dict is needed, not {type(given).__name__}")
        return request._replace(
            headers=check_headers(headers, given),
            timeout=None if timeout is None else convert("timeout", timeout, "option timeout"),
            until=self.until(options.get("deadline")),
        )

    def _send(self, request: Request) -> Any:
        """Send a request until it is answered or may not be sent again."""
        url = request.path if "://" in request.path else self.config["base_url"] + request.path
        origin = self._origin if url.startswith(self._origin) else origin_of(url)
        if origin not in self.adapters:
            raise ConfigurationError(f"{host_of(url)} is the host of neither base_url nor auth_url: nothing is sent")
        attempt, renewed, cancel, host = 1, False, cancel_token.get(), self.tls.get(origin)
        needs_token = request.authorize and "Authorization" not in request.headers
        while True:
            if cancel is not None:
                cancel.check()
            token = self.tokens.get(request.until) if needs_token else None
            began, may_add_roots = time.monotonic(), host is not None and host.can_add_system_roots
            try:
                answer = self._attempt(request, url, origin, token)
            except GigaChatException as exc:
                error = exc.with_traceback(None)  # its frames hold the headers
            else:
                if logger.isEnabledFor(logging.DEBUG):
                    response = answer if isinstance(answer, Response) else answer.response
                    _log(request, url, attempt, began, response.status_code, response.x_headers.get("x-request-id"))
                return answer
            _log(request, url, attempt, began, error.failure, getattr(error, "request_id", None))
            if error.failure == 401 and token is not None and not renewed and self.tokens.drop(token.value):
                renewed = True
                continue
            if error.failure == "unknown issuer" and may_add_roots:
                self.load_system_roots(url)
                continue
            retry_after = vars(error).get("retry_after")
            delay = retry_delay(request.retry, error.failure, attempt, self.config, retry_after, self.chance)
            late = request.until is not None and time.monotonic() + (delay or 0) >= request.until
            if delay is None or late:
                raise error
            if cancel is not None:
                cancel.check()
            attempt += 1
            about = (request.method, urlsplit(url).path, error.failure, attempt, self.config["max_retries"] + 1, delay)
            logger.warning("%s %s: %s; attempt %d of %d follows in %.1f s", *about)
            self.sleep(delay)

    def _attempt(self, request: Request, url: str, origin: str, token: auth.Token | None) -> Any:
        """Send a request once; return its answer, or raise an error whose ``failure`` says what went wrong."""
        prepared = self._prepare(request, url, token)
        adapter, proxies = self.adapters[origin], self.proxies[origin]
        connect, read = request.timeout or self.config["timeout"]
        answered: Mapping[str, str] | None = None  # the headers

        def explain(exc: BaseException) -> GigaChatException:
            from .diagnose import Attempt, error_from_exception

            about_proxy = proxy_facts(url, proxies, self.config, request.until)
            known = Attempt(url, timeout=read, until=request.until, **about_proxy)
            if answered is not None:
                known = known._replace(answered=True, request_id=answered.get("x-request-id"))
            else:
                known = known._replace(**adapter.last_request())
            if isinstance(prepared.body, io.BytesIO):  # much of a large body may have been read
                known = known._replace(stale=False)
            return error_from_exception(exc, known)

        try:
            if request.until is not None:
                connect, read = limit_timeout(connect, request.until), limit_timeout(read, request.until)
            response = self._sessions[-1].send(
                prepared,
                stream=True,
                timeout=(connect, read),
                allow_redirects=False,
                proxies=proxies,
                verify=True,
                cert=None,
            )
            answered = response.headers
            secret = SecretStr(prepared.headers.get("Authorization", ""))
            return check_answer(request, response, explain, secret)
        except NETWORK_ERRORS as exc:
            error = explain(exc)
        raise error

    def _prepare(self, request: Request, url: str, token: auth.Token | None) -> requests.PreparedRequest:
        """Copy the constant part of a request, and add what this attempt has of its own."""
        prepared, body = self._template.copy(), request.body
        prepared.method, prepared.url, prepared.body = request.method, url, body
        headers = prepared.headers
        if body is not None:
            if len(body) > LARGE_BODY:
                prepared.body = io.BytesIO(body)  # type: ignore[assignment] # a file is a body too
            headers["Content-Length"] = str(len(body))
            if request.content_type:
                headers["Content-Type"] = request.content_type
        headers["Accept"] = "text/event-stream" if request.stream else "*/*" if request.download else "application/json"
        if request.stream or request.download:
            headers["Accept-Encoding"] = "identity"
        if token is not None:
            headers["Authorization"] = "Bearer " + token.value
        headers.update(request.headers)
        if request.make_headers is not None:
            headers.update(request.make_headers())
        return prepared

    def load_system_roots(self, url: str) -> None:
        """Add the system's roots to a host's context, once for all threads."""
        host = self.tls[origin_of(url)]
        with self.roots_lock:
            if host.can_add_system_roots:
                host.load_system_roots()

    def _post_for_token(self, url: str, body: bytes, headers: Any, until: float | None) -> Response:
        request = Request("POST", url, body, content_type=None, make_headers=headers, until=until, authorize=False)
        response: Response = self._send(request)
        return response


def token_file(config: Mapping[str, Any]) -> Any:
    """Return the file that keeps the tokens of a config, where one is wanted."""
    if not config["token_cache"]:
        return None
    from .token_file import open_token_file

    return open_token_file(config)


def _log(request: Request, url: str, attempt: int, began: float, outcome: Any, request_id: str | None) -> None:
    path, ms = printable(urlsplit(url).path), (time.monotonic() - began) * 1000
    about = ", request id " + printable(request_id) if request_id else ""
    logger.debug("%s %s: %s, attempt %d, %.0f ms%s", request.method, path, outcome, attempt, ms, about)


def check_answer(
    request: Request, answer: requests.Response, explain: Callable[[BaseException], GigaChatException], secret: str
) -> Response | BodyReader:
    """Read an answer, unless it is the stream or the file that was asked for, and raise the error that it is."""
    status, headers, good = answer.status_code, answer.headers, 200 <= answer.status_code < 300
    x_headers = dict(zip(X_HEADERS, map(headers.get, X_HEADERS)))
    response = Response(str(answer.url), status, headers, b"", secret, x_headers)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_file = request.download and status == 200 and kind != "text/html"  # else a page of a gateway
    if (good and request.stream and kind == "text/event-stream") or (is_file and kind != "application/json"):
        if headers.get("Content-Encoding", "identity").lower() == "identity":
            return BodyReader(answer, response, explain, request.until)
        answer.close()
        raise response.error("the answer is compressed, which was not asked for")
    wanted = good and not request.stream and (is_file or not request.download)
    if wanted and request.until is None:
        response = response._replace(content=answer.content)
        if OLD_URLLIB3:
            check_length(answer)
        if not response.content:
            check_length(answer, 0)
    else:
        body = BodyReader(answer, response, explain, request.until)
        response = response._replace(content=body.read(None if wanted else MAX_ERROR_BODY, or_less=not good))
    if not good:
        raise response.error()
    hidden = hidden_status(response.content)
    if hidden:
        raise response.error(status_code=hidden)
    if not wanted:
        raise response.error("the answer is no event stream: " if request.stream else "the answer is no file: ")
    return BodyReader(answer, response, explain) if request.download else response


def hidden_status(content: bytes) -> int:
    """Find the error in a 200 whose body says that it is one; 0 for none.

    >>> hidden_status(b'{"status":429,"message":"Too many requests"}'), hidden_status(b'{"status":200}')
    (429, 0)
    """
    if len(content) > MAX_HIDDEN_ERROR or b'"status"' not in content:
        return 0
    try:
        value = decode_body(content)
    except (ValueError, RecursionError):
        return 0
    status = value.get("status") if isinstance(value, dict) else None
    return status if isinstance(status, int) and 400 <= status < 600 else 0


def origin_of(url: str) -> str:
    """Return the origin of a URL; its final slash keeps ``https://host.evil/`` from matching a mount.

    >>> origin_of("https://api.giga.chat/v1/models")
    'https://api.giga.chat/'
    """
    return "/".join(url.split("/", 3)[:3]) + "/"


def limit_timeout(timeout: float | None, until: float | None) -> float | None:
    """Shorten a timeout to what is left until a deadline; ``socket.timeout`` once it has passed."""
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise socket.timeout("deadline")
    return left if timeout is None else min(timeout, left)


def _option_hint(name: str, request: Request) -> str:
    from .models import Chat

    if name in Chat.__annotations__:
        where = "thread_options" if "/threads" in request.path else "a dict: {'messages': [...], %r: ...}" % name
        return f"; a field of the request goes into {where}"
    return did_you_mean(name, OPTIONS)
