"""The client, in the order in which a request flows: Auth, Transport, Client.

On the same road lie ``config.py`` before Auth, ``trust.py``, ``adapters.py`` and ``faults.py`` below Transport, and
``decode.py`` between Transport and Client. Data moves one way: config dict -> Call -> PreparedRequest -> Response ->
plain data -> Obj. What decides is a pure function over plain values; what does I/O is thin.
"""

from __future__ import annotations

import base64
import copy
import functools
import http.client
import json
import logging
import math
import os
import queue
import random
import re
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, NoReturn, Sequence
from urllib.parse import urlencode, urlsplit
from weakref import WeakSet

import requests
from requests.cookies import RequestsCookieJar
from requests.utils import get_environ_proxies, select_proxy

from .adapters import TLSAdapter, Try, local
from .config import DEFAULTS, Secret, check_proxy, coerce, did_you_mean, host_of, is_loopback, load_config, redact
from .context import check_headers, context_headers
from .decode import Body, Reply, Stream, decode_json, iter_lines, iter_sse, read_json, unveiled, x_headers
from .exceptions import (
    ConfigurationError,
    GigaChatException,
    ModelNotSpecifiedError,
    NotFoundError,
    RequestTimeout,
    TransportError,
    excerpt,
    printable,
)
from .faults import (
    ERROR_LIMIT,
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
    AccessToken,
    Chat,
    ChatCompletion,
    Embeddings,
    Model,
    Models,
    Payload,
    T,
    TokensCounts,
    chat_body,
    path_id,
    strings,
    to_json,
    with_headers,
)
from .trust import Trust

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from .config import Settings

    class Options(TypedDict, total=False):
        """What every call takes: further headers, another timeout, and a limit in seconds for the whole call."""

        headers: Mapping[str, str]
        timeout: float | tuple[float, float]
        deadline: float


__all__ = ["DEFAULTS", "GigaChat", "Stream", "iter_lines", "iter_sse", "load_config", "redact"]

logger = logging.getLogger("gigachat_lite")
__version__ = "0.1.0"


# --------------------------------------------------------------------------------------------------------------- Auth


class Token(NamedTuple):
    """An access token: ``expires_at`` in Unix seconds, ``deadline`` and ``renew_at`` on the monotonic clock."""

    value: str
    expires_at: float | None = None
    deadline: float = math.inf
    renew_at: float = math.inf
    x_headers: dict[str, str | None] | None = None


def new_token(data: Mapping[str, Any], date: str | None, wall: float, clock: float, buffer: float = 60.0) -> Token:
    """Make a token of an OAuth answer (``access_token``, ``expires_at``) or of ``/token``'s (``tok``, ``exp``).

    Its lifetime is measured by the server's own clock where the answer has a Date, so that a wrong clock here does no
    harm; one outside (0, 24 h] is a broken clock somewhere, and the documented 30 minutes are taken. Values below
    10**12 are seconds, others milliseconds. The last min(buffer, lifetime / 4) seconds are for renewing it.

    >>> new_token({"tok": "t", "exp": 1700001800}, None, wall=1700000000.0, clock=5.0)[1:4]
    (1700001800.0, 1805.0, 1745.0)
    """
    value = data.get("access_token") or data.get("tok")
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("the answer holds no access token")
    expires = data.get("expires_at") or data.get("exp")
    try:
        seconds = float(expires) if isinstance(expires, (int, float)) and expires is not True else math.nan
    except OverflowError:  # JSON's whole numbers know no end
        seconds = math.nan
    seconds = seconds / 1000 if seconds >= 10**12 else seconds
    lifetime = seconds - parse_date(date, wall)
    if not 0 < lifetime <= 86400:
        lifetime = 1800.0
    if not math.isfinite(seconds):
        seconds = wall + lifetime
    deadline = clock + lifetime
    return Token(Secret(value), seconds, deadline, deadline - min(buffer, lifetime / 4))


EARLY_LIMIT = 10.0  # seconds that an early renewal may cost the call that meets it


class TokenCache:
    """One token for all threads, fetched by one of them at a time.

    In the last part of its life one thread renews it and the others go on with the old one; once it has expired,
    everybody waits for one fetch. ``fetch(until)`` gets a new one, or is None where there is nothing to get one with.
    """

    def __init__(
        self,
        fetch: Callable[[float | None], Token] | None,
        token: Token | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._token = token
        self._clock = clock
        self._swap = threading.Lock()  # held for moments, round the token itself
        self._fetching = threading.Lock()  # held by the one thread that fetches
        self._failure: tuple[float, Exception] | None = None

    def get(self, until: float | None = None) -> Token | None:
        """Get a token that is good now, fetching one where needed; None where none is used.

        ``until``, on the system's monotonic clock, bounds the fetch and the wait for another thread's.
        """
        token = self._token
        now = self._clock()
        if token is None and self._fetch is None:
            return None
        if token is None or now >= token.deadline:
            return self._wait(until)
        if now >= token.renew_at and self._fetching.acquire(False):
            try:
                return self._renew(token, until)
            finally:
                self._fetching.release()
        return token

    def peek(self) -> Token | None:
        """Look at the token, good or not, without fetching one."""
        return self._token

    def drop(self, value: str) -> bool:
        """Forget a token that was refused, that very one alone; tell whether another can be had."""
        with self._swap:
            if self._fetch is not None and self._token is not None and self._token.value == value:
                self._token = None
        return self._fetch is not None

    def _wait(self, until: float | None) -> Token:
        left = -1 if until is None else max(until - time.monotonic(), 0)
        if not self._fetching.acquire(timeout=left):
            raise RequestTimeout("the deadline of this call ran out while another thread fetched the access token")
        try:
            token, now = self._token, self._clock()
            if token is not None and now < token.deadline:
                return token
            if self._failure is not None and now < self._failure[0]:
                raise copy.copy(self._failure[1])
            return self._store(until)
        finally:
            self._fetching.release()

    def _renew(self, token: Token, until: float | None) -> Token:
        """Renew early; a failure leaves the old token in use, and a moment's peace."""
        current = self._token
        if current is not token:
            return current or token
        now = time.monotonic()
        limit = min(EARLY_LIMIT, token.deadline - self._clock())
        if until is not None:
            limit = min(limit, (until - now) / 2)  # the call itself is to have time left
        try:
            return self._store(now + limit)
        except GigaChatException as exc:
            logger.warning("the access token could not be renewed early, the old one stays in use: %s", exc)
            with self._swap:
                if self._token is token:
                    self._token = token._replace(renew_at=min(self._clock() + 1, token.deadline))
            return token

    def _store(self, until: float | None) -> Token:
        assert self._fetch is not None
        try:
            token = self._fetch(until)
        except GigaChatException as exc:
            late = until is not None and time.monotonic() >= until
            if not late and not exc.hurried:  # else it was this caller's deadline that failed, and no one else's
                self._failure = (self._clock() + 1, copy.copy(exc))  # a copy holds no frames of the caller
            raise
        with self._swap:
            self._token, self._failure = token, None
        return token


Post = Callable[..., Token]  # post(url, until, body, headers, each) asks for a token


def fetch_by_key(config: Mapping[str, Any], post: Post, until: float | None) -> Token:
    """Get a token for an authorization key, by OAuth; each try has an RqUID of its own, as the API wants it."""
    import uuid

    key = config["credentials"] or _basic(config["client_id"], config["client_secret"])
    headers = {"Authorization": Secret("Basic " + key), "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"scope": config["scope"]}).encode("ascii")
    return post(config["auth_url"], until, body, headers, lambda: {"RqUID": str(uuid.uuid4())})


def fetch_by_password(config: Mapping[str, Any], post: Post, until: float | None) -> Token:
    """Get a token for a user and a password, from the API host's own ``/token``."""
    headers = {"Authorization": Secret("Basic " + _basic(config["user"], config["password"]))}
    return post(config["base_url"] + "/token", until, b"", headers)


def refuse_to_fetch(until: float | None) -> NoReturn:
    """Say which settings could authorise; nothing is sent."""
    raise ConfigurationError(
        "no way to authorise: set credentials (GIGACHAT_CREDENTIALS, in the environment or in a .env of the working "
        "directory or above it), client_id and client_secret, user and password, access_token, or cert_file; a key is "
        "made at https://developers.sber.ru/studio"
    )


def _basic(user: str, password: str) -> Secret:
    return Secret(base64.b64encode((f"{user}:{password}").encode()).decode("ascii"))


# ---------------------------------------------------------------------------------------------------------- Transport


class Call(NamedTuple):
    """One call of the API. ``kind`` says what sending it twice would cost: safe, generate (paid) or create."""

    method: str
    path: str  # below base_url, or a whole address
    body: bytes | None = None
    kind: str = "safe"
    stream: bool = False
    headers: Mapping[str, str] = {}
    each: Callable[[], Mapping[str, str]] | None = None  # headers made anew for each try
    timeout: tuple[float | None, float | None] | None = None
    until: float | None = None  # the deadline, on the monotonic clock


class _Me(threading.local):
    def __init__(self) -> None:
        self.token = object()  # unlike a thread's number, this is never given to another thread


_me = _Me()


class Slot:
    """One of the limiter's places; given back once, however often it is asked to, without taking a lock."""

    __slots__ = ("_once", "_owners")

    def __init__(self, number: int, home: queue.SimpleQueue[int], owners: dict[int, object]) -> None:
        self._once = [(number, home)]
        self._owners = owners
        self.pass_on()

    def pass_on(self) -> None:
        """Count the place as this thread's: the one that reads the stream, not the one that opened it."""
        for number, _ in self._once:
            self._owners[number] = _me.token

    def give_back(self) -> None:
        """Put the place back; safe in a finalizer."""
        try:
            number, home = self._once.pop()
        except IndexError:
            return
        self._owners.pop(number, None)
        home.put(number)


class Limiter:
    """As many generating calls at a time as the key allows; the others wait, up to a limit.

    A SimpleQueue, because a finalizer gives places back, and semaphores deadlock there on Python 3.7.
    """

    def __init__(self, size: int, wait: float | None) -> None:
        self.size = size
        self.wait = wait
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._owners: dict[int, object] = {}
        for number in range(size):
            self._free.put(number)

    def take(self, until: float | None = None) -> Slot:
        """Take a place, waiting ``pool_timeout`` seconds and no longer than the deadline."""
        try:
            number = self._free.get_nowait()
        except queue.Empty:
            number = self._queue_up(until)
        return Slot(number, self._free, self._owners)

    def _queue_up(self, until: float | None) -> int:
        settings = f"max_connections={self.size}, pool_timeout={self.wait}"
        if list(self._owners.values()).count(_me.token) == self.size:
            raise TransportError(
                f"this thread's own open streams hold every place ({settings}): read them to the end or close() them"
            )
        left = None if until is None else max(until - time.monotonic(), 0)
        try:
            return self._free.get(timeout=min((x for x in (self.wait, left) if x is not None), default=None))
        except queue.Empty:
            raise RequestTimeout(
                f"no free place in time: other threads' calls and open streams hold them all ({settings})"
            ) from None


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
        proxy, where = self.config["proxy"], "proxy (GIGACHAT_PROXY)"
        here = origin.startswith("http:") and is_loopback(host_of(url))  # clear text that is not to leave this machine
        if proxy is None and self.config["trust_env"] and not here:
            proxy = Secret(select_proxy(url, get_environ_proxies(url, no_proxy=None)) or "")
            where = "the proxy of the environment"
        self.routes[origin] = {urlsplit(url).scheme: check_proxy(proxy, where)} if proxy else {}

    def send(self, call: Call) -> Reply:
        """Send a call until it is answered or may not be sent again, and raise what stands in the way.

        An answer is read whole, but for a stream, whose place in the limiter goes to the caller with it.
        """
        slot = self.limiter.take(call.until) if call.kind == "generate" else None
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
        own_token = "://" not in call.path and "Authorization" not in call.headers
        tries, renewed = 1, False
        while True:
            token = self.tokens.get(call.until) if own_token else None
            narrow = trust is not None and not trust.wide
            reply = self._try(call, url, token, tries)
            if reply.error is None:
                reply.note.outer = None  # it leads to the caller's frame, and so may lead back to the stream
                return reply
            if reply.fault == 401 and token and not renewed and self.tokens.drop(token.value):
                renewed = True
                continue
            if narrow and trust and unknown_issuer(reply.error, reply.note):
                trust.widen()
                continue
            wish = getattr(reply.error, "retry_after", None)
            delay = retry_delay(call.kind, reply.fault, tries, self.config, wish, self.chance)
            if delay is not None and call.until is not None and time.monotonic() + delay >= call.until:
                reply.error.hurried, delay = True, None
            if delay is None:
                raise reply.error
            self.sleep(delay)
            tries += 1

    def _try(self, call: Call, url: str, token: Token | None, tries: int) -> Reply:
        request = self._prepare(call, url, token)
        note = Try(call.until, (call.timeout or self.config["timeout"])[1])
        began = time.monotonic()
        reply = self._exchange(request, note, call)
        if logger.isEnabledFor(logging.DEBUG):
            ms = (time.monotonic() - began) * 1000
            status = reply.fault or reply.response.status_code
            about = printable(reply.response.headers.get("X-Request-Id") or "")
            path = urlsplit(url).path
            logger.debug("%s %s: %s, try %d, %.0f ms, request id %s", call.method, path, status, tries, ms, about)
        return reply

    def _prepare(self, call: Call, url: str, token: Token | None) -> requests.PreparedRequest:
        """Copy the constant part of a request and add what this try has of its own."""
        request = self._template.copy()
        request.method, request.url, request.body = call.method, url, call.body
        headers = request.headers
        if call.body is not None:
            headers["Content-Length"] = str(len(call.body))
            headers["Content-Type"] = "application/json"
        if call.stream:
            headers["Accept"] = "text/event-stream"
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
        local.note = note
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
        except Exception as exc:
            fault = fault_of(exc, note)
            return Reply(url, note, requests.Response(), error=self.translate(exc, url, note), fault=fault)
        finally:
            local.note = None
        try:
            return judge(Reply(url, note, response, Body(response, note)), call.stream)
        except Exception as exc:
            response.close()
            fault = fault_of(exc, note)
            error = self.translate(exc, url, note)
            return Reply(url, note, response, error=error, fault="deadline" if fault == "deadline" else "broken")
        except BaseException:
            response.close()
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


def judge(reply: Reply, stream: bool) -> Reply:
    """Read an answer, unless it is the stream that was asked for, and tell whether it is an error."""
    response, body = reply.response, reply.body
    assert body is not None
    status = response.status_code
    if status < 200:
        response.close()  # what follows on this connection belongs to nobody
        return refuse(reply, status, b"")
    good = 200 <= status < 300
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if good and stream and kind == "text/event-stream":
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            body.close()
            return refuse(reply, status, b"", "the stream is compressed, though it was asked for without")
        return reply
    try:
        data = body.read_all(None if good else ERROR_LIMIT)
    except (OSError, http.client.HTTPException, zlib.error):
        if good:
            raise
        data = b""  # a broken error is still that error
        body.close()
    response._content, response._content_consumed = data, True  # type: ignore[attr-defined]
    if not good:
        return refuse(reply, status, data)
    hidden = hidden_status(data)
    if hidden:
        return refuse(reply, hidden, data)
    if stream:
        return refuse(reply, status, data[:ERROR_LIMIT], "the answer is no event stream: " + (excerpt(data) or "empty"))
    return reply._replace(data=data)


def refuse(reply: Reply, status: int, data: bytes, message: str | None = None) -> Reply:
    """Make a reply an error of its status."""
    message = message and unveiled(message.encode("utf-8", "replace"), reply.response).decode("utf-8", "replace")
    error = response_error(reply.url, status, unveiled(data, reply.response), reply.response.headers, message)
    date = parse_date(reply.response.headers.get("Date"), time.time())
    error.retry_after = parse_retry_after(reply.response.headers.get("Retry-After"), date)
    if error.retry_after is not None:
        error.hint = f"The service asks to wait {error.retry_after:g} s. {error.hint}"
    return reply._replace(error=error, fault=status if error.status_code != 200 else "not understood")


def hidden_status(data: bytes) -> int:
    """Find the error in a 200 whose body says that it is one; 0 for none.

    >>> hidden_status(b'{"status":429,"message":"Too many requests"}'), hidden_status(b'{"status":200}')
    (429, 0)
    """
    if len(data) > 4096 or b'"status"' not in data:
        return 0
    try:
        said = json.loads(data.decode("utf-8"))
    except ValueError:
        return 0
    status = said.get("status") if isinstance(said, dict) else None
    return status if isinstance(status, int) and 400 <= status < 600 else 0


# ------------------------------------------------------------------------------------------------------------- Client


_clients: WeakSet[GigaChat] = WeakSet()


@functools.lru_cache(maxsize=None)
def watch_forks() -> None:
    """Give every client of a forked child sockets and locks of its own, from the first client on."""

    def renew() -> None:
        for client in list(_clients):
            trusts = client._transport.trusts
            for trust in trusts.values():
                trust.renew()
            client._start(client._tokens.peek(), trusts)

    os.register_at_fork(after_in_child=renew)


class GigaChat:
    """A client of the GigaChat API.

    Settings come from the arguments, from ``GIGACHAT_*`` variables and from ``.env`` (see ``load_config``). One client
    serves any number of threads; it can be pickled, and it survives a fork. Every endpoint also takes ``headers=``,
    ``timeout=`` (seconds, or a pair for connecting and for each wait) and ``deadline=`` (seconds for the whole call,
    with all its tries and the token it may have to fetch). The settings: credentials, client_id, client_secret, scope,
    model, base_url, auth_url, access_token, user, password, verify_ssl_certs, ca_bundle_file, cert_file, key_file,
    key_file_password, auth_client_cert, ssl_context, timeout, deadline, max_connections, pool_timeout, max_retries,
    retry_backoff_factor, retry_on_status_codes, token_expiry_buffer_ms, profanity_check, flags, proxy, trust_env,
    allow_http; and env_file, environ.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self.config: dict[str, Any] = {}
        try:
            self.config = load_config(**settings)
        finally:
            settings.clear()  # type: ignore[attr-defined] # a crash report shows the locals of frames
        self._start(None, {})

    def _start(self, token: Token | None, trusts: Mapping[str, Trust]) -> None:
        config = self.config
        if token is None and config["access_token"]:
            token = Token(config["access_token"])
        self._tokens = TokenCache(self._way(), token)
        self._transport = Transport(config, self._tokens, trusts)
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

    def get_token(self, *, deadline: float | None = None) -> AccessToken | None:
        """Get the access token, fetching one where needed; None for a client that authorises by its certificate."""
        token = self._tokens.get(self._until(deadline))
        if token is None:
            return None
        expires = None if token.expires_at is None else int(token.expires_at * 1000)
        return with_headers(AccessToken(access_token=str(token.value), expires_at=expires), token.x_headers)

    def _post(self, url: str, until: float | None, body: bytes, headers: Mapping[str, str], each: Any = None) -> Token:
        reply = self._transport.send(Call("POST", url, body, headers=headers, each=each, until=until))
        token = self._token_of(reply)
        response = reply.response
        del reply  # it holds the body, and a crash report shows the locals of frames
        if token is None:
            raise response_error(url, response.status_code, b"", response.headers, "the answer holds no access token")
        return token._replace(x_headers=x_headers(response))

    def _token_of(self, reply: Reply) -> Token | None:
        date, buffer = reply.response.headers.get("Date"), self.config["token_expiry_buffer_ms"] / 1000
        try:
            data = decode_json(reply.data.decode("utf-8"))
            return new_token(data, date, time.time(), time.monotonic(), buffer)
        except (ValueError, AttributeError, RecursionError):
            return None

    # Endpoints: each is one Call and one type

    def chat(self, payload: Payload, **options: Unpack[Options]) -> ChatCompletion:
        """Ask, and get the whole answer (API documentation, POST /chat/completions).

        ``payload`` is a question, a list of messages, or a whole request as a dict or ``Chat``.
        """
        call = Call("POST", "/chat/completions", to_json(self._chat_body(payload)), "generate")
        return self._ask(call, ChatCompletion, options)

    def stream(self, payload: Payload, **options: Unpack[Options]) -> Stream:
        """Ask, and get the answer as it is written; errors before its beginning are raised here."""
        body = {**self._chat_body(payload), "stream": True}
        call = Call("POST", "/chat/completions", to_json(body), "generate", stream=True)
        return Stream(self._send(call, options), self._transport.translate)

    def embeddings(
        self, texts: str | Sequence[str], model: str = "Embeddings", **options: Unpack[Options]
    ) -> Embeddings:
        """Turn texts into vectors, in their order (POST /embeddings)."""
        body = to_json({"model": model, "input": strings(texts, "texts")})
        return self._ask(Call("POST", "/embeddings", body, "generate"), Embeddings, options)

    def get_models(self, **options: Unpack[Options]) -> Models:
        """List the models that the service offers (GET /models)."""
        return self._ask(Call("GET", "/models"), Models, options)

    def get_model(self, model: str, **options: Unpack[Options]) -> Model:
        """Describe one model (GET /models/{model})."""
        return self._ask(Call("GET", "/models/" + path_id(model, "model")), Model, options)

    def tokens_count(
        self, input_: str | Sequence[str], model: str | None = None, **options: Unpack[Options]
    ) -> TokensCounts:
        """Count the tokens and characters of texts, in their order (POST /tokens/count)."""
        body = to_json({"model": model or self._model(), "input": strings(input_, "input_")})
        reply = self._send(Call("POST", "/tokens/count", body), options)
        return self._wrap(reply, list, TokensCounts)

    # What they share

    def _ask(self, call: Call, kind: type[A], options: Options) -> A:
        return self._wrap(self._send(call, options), dict, kind)

    def _wrap(self, reply: Reply, expected: type, kind: Callable[[Any], T]) -> T:
        value = read_json(reply)
        if not isinstance(value, expected):
            what = f"the answer is a JSON {type(value).__name__} where a {expected.__name__} was expected"
            raise response_error(
                reply.url, reply.response.status_code, reply.data[:ERROR_LIMIT], reply.response.headers, what
            )
        return with_headers(kind(value), x_headers(reply.response))

    def _send(self, call: Call, options: Options) -> Reply:
        unknown = set(options) - {"headers", "timeout", "deadline"}
        if unknown:
            name = sorted(unknown)[0]
            near = did_you_mean(name, ("headers", "timeout", "deadline"))
            if name in Chat._fields:
                near = f"; a field of the request goes into a dict: chat({{'messages': [...], {name!r}: ...}})"
            raise TypeError(f"no such option: {name!r}{near}")
        headers = check_headers([*context_headers().items(), *(options.get("headers") or {}).items()])
        if "Authorization" in headers:
            headers["Authorization"] = Secret(headers["Authorization"])
        timeout = options.get("timeout")
        call = call._replace(
            headers=headers,
            timeout=None if timeout is None else coerce("timeout", timeout, "option timeout"),
            until=self._until(options.get("deadline")),
        )
        try:
            return self._transport.send(call)
        except NotFoundError as error:
            if error.message == "No such model":
                self._offer_models(error, call)
            raise

    def _until(self, deadline: float | None) -> float | None:
        seconds = self.config["deadline"] if deadline is None else coerce("deadline", deadline, "option deadline")
        return None if seconds is None else time.monotonic() + seconds

    def _offer_models(self, error: NotFoundError, call: Call) -> None:
        """Put the models that the service offers into the error, if they are to be had within 5 s."""
        path, soon = call.path, time.monotonic() + 5
        call = Call("GET", "/models", headers=call.headers, timeout=call.timeout, until=min(call.until or soon, soon))
        try:
            models = self._wrap(self._transport.send(call), dict, Models)
            kind = "embedder" if path == "/embeddings" else "chat"
            ids = [model.id for model in models.data if path.startswith("/models") or model.type in (kind, None)]
            error.hint = f"The service offers: {', '.join(ids)}. {error.hint}"
        except Exception:  # the hint is a kindness; the error stands without it
            logger.debug("the models could not be listed")

    def _model(self) -> str:
        model: str | None = self.config["model"]
        if model is None:
            host = host_of(self.config["base_url"])
            raise ModelNotSpecifiedError(
                f"{host} has no default model: name one, as model= or GIGACHAT_MODEL (get_models() lists them)"
            )
        return model

    def _chat_body(self, payload: Payload) -> dict[str, Any]:
        """Make a request's body: what the caller wrote, and the config's model, profanity_check and flags."""
        body = chat_body(payload)
        if body.get("model") is None:
            body["model"] = self._model()
        for name in ("profanity_check", "flags"):
            if self.config[name] is not None and name not in body:
                body[name] = self.config[name]
        return body
