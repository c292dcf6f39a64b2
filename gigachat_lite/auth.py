"""Authorization: access tokens, how they are fetched, shared by threads, renewed in time and dropped when refused."""

from __future__ import annotations

import base64
import copy
import logging
import math
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple
from urllib.parse import urlencode

from .dates import parse_date
from .exceptions import GigaChatException, RequestTimeout
from .json_text import decode_body
from .validators import SecretStr

if TYPE_CHECKING:
    from .token_file import TokenFile

logger = logging.getLogger("gigachat_lite")

EARLY_RENEWAL_TIMEOUT = 10.0  # seconds that an early renewal may cost the call that makes it


class Token(NamedTuple):
    """An access token: ``expires_at`` in Unix seconds, ``deadline`` and ``renew_at`` on the monotonic clock."""

    value: str
    expires_at: float | None = None
    deadline: float = math.inf
    renew_at: float = math.inf
    x_headers: dict[str, str | None] | None = None


def new_token(data: Mapping[str, Any], date: str | None, wall: float, clock: float, buffer: float = 60.0) -> Token:
    """Make a token of an answer of OAuth (``access_token``, ``expires_at``) or of ``/token`` (``tok``, ``exp``).

    Its lifetime is measured by the server's clock where the answer has a Date, so that a wrong clock here does no harm;
    one outside (0, 24 h] means a broken clock, and the documented 30 minutes are taken. Values below 10**12 are
    seconds, others milliseconds. The last min(buffer, lifetime / 4) seconds are for renewing it.

    >>> new_token({"tok": "t", "exp": 1700001800}, None, wall=1700000000.0, clock=5.0)[1:4]
    (1700001800.0, 1805.0, 1745.0)
    """
    value = data.get("access_token") or data.get("tok")
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("the answer holds no access token")
    expires: Any = data.get("expires_at") or data.get("exp")
    is_number = isinstance(expires, (int, float)) and expires is not True and abs(expires) < 10**20
    seconds = float(expires) if is_number else math.nan
    seconds = seconds / 1000 if seconds >= 10**12 else seconds
    lifetime = seconds - parse_date(date, wall)
    if not 0 < lifetime <= 86400:
        lifetime = 1800.0
    if not math.isfinite(seconds):
        seconds = wall + lifetime
    deadline = clock + lifetime
    return Token(SecretStr(value), seconds, deadline, deadline - min(buffer, lifetime / 4))


class TokenCache:
    """One token for all threads, fetched by one of them at a time.

    In the last part of its life one thread renews it while the others go on with it; once it has expired, everybody
    waits for one fetch. ``fetch(until)`` gets a new one, or is None where none is needed; ``file()`` returns the token
    file that other processes share, or None.
    """

    def __init__(
        self,
        fetch: Callable[[float | None], Token] | None,
        token: Token | None = None,
        clock: Callable[[], float] = time.monotonic,
        file: Callable[[], TokenFile | None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._file = file
        self._token = token
        self._clock = clock
        self._failure: tuple[float, GigaChatException] | None = None  # raised again until that moment
        self._refused = False  # the token file may still hold the refused token
        self.new_lock()

    def new_lock(self) -> None:
        """Make the locks anew in a forked child, for another thread of the parent may have held them."""
        self._fetch_lock = threading.Lock()  # held by the one thread that fetches
        self._token_lock = threading.Lock()  # held for moments, while the token is replaced

    def get(self, until: float | None = None) -> Token | None:
        """Return a token that is valid now, fetching one where needed; None where none is used.

        ``until``, on the system's monotonic clock, limits the fetch and the wait for another thread's.
        """
        token, now = self._token, self._clock()
        if token is None and self._fetch is None:
            return None
        if token is None or now >= token.deadline:
            return self._fetch_or_wait(until)
        if now >= token.renew_at and self._fetch_lock.acquire(blocking=False):
            try:
                return self._renew_early(token, until)
            finally:
                self._fetch_lock.release()
        return token

    def peek(self) -> Token | None:
        """Return the token, valid or not, without fetching one."""
        return self._token

    def drop(self, value: str) -> bool:
        """Forget a token that was refused, unless it was replaced already; tell whether another can be had."""
        with self._token_lock:
            if self._fetch is not None and self._token is not None and self._token.value == value:
                self._token, self._refused = None, True
        return self._fetch is not None

    def _fetch_or_wait(self, until: float | None) -> Token:
        if not self._fetch_lock.acquire(timeout=-1 if until is None else max(until - time.monotonic(), 0)):
            raise RequestTimeout("the deadline of this call ran out while another thread fetched the access token")
        try:
            token, now = self._token, self._clock()
            if token is not None and now < token.deadline:
                return token
            if self._failure is not None and now < self._failure[0]:
                raise copy.copy(self._failure[1])
            return self._load_or_fetch(until)
        finally:
            self._fetch_lock.release()

    def _renew_early(self, token: Token, until: float | None) -> Token:
        """Renew a token that is still valid; a failure leaves it in use, and is not repeated for a second."""
        current = self._token
        if current is not token:
            return current or token
        now = time.monotonic()
        limit = min(EARLY_RENEWAL_TIMEOUT, token.deadline - self._clock())
        if until is not None:
            limit = min(limit, (until - now) / 2)  # the call itself needs time too
        try:
            return self._load_or_fetch(now + limit)
        except GigaChatException as exc:
            logger.warning("the access token could not be renewed early, the old one stays in use: %s", exc)
            with self._token_lock:
                if self._token is token:
                    self._token = token._replace(renew_at=min(self._clock() + 1, token.deadline))
            return token

    def _load_or_fetch(self, until: float | None) -> Token:
        file = self._file()
        token = None if file is None or self._refused else file.load(self._token)
        if token is None:
            try:
                token = self._fetch(until)  # type: ignore[misc] # get() has looked
            except GigaChatException as exc:
                if until is None:  # else the failure may be this caller's deadline, and nobody else's
                    self._failure = (self._clock() + 1, copy.copy(exc))
                raise
            if file is not None:
                file.save(token)
        with self._token_lock:
            self._token, self._failure, self._refused = token, None, False
        return token


# Where tokens come from

def lacks_key(config: Mapping[str, Any]) -> bool:
    """Tell whether nothing is set that authorises a call: no key, password or token, and no client certificate."""
    given = config["access_token"] or config["cert_file"] or config["ssl_context"] is not None
    return auth_address(config) is None and not given


def auth_address(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the URL that gives out tokens, and the key that it wants; None without a key and a password."""
    if config["credentials"] or config["client_secret"]:
        key = config["credentials"] or basic(config["client_id"], config["client_secret"])
        return config["auth_url"], key
    if config["password"]:
        return config["base_url"] + "/token", basic(config["user"], config["password"])
    return None


def fetch_token(config: Mapping[str, Any], address: tuple[str, str], post: Any, until: float | None) -> Token:
    """Fetch a token with a key from OAuth, or with a user's password from POST /token.

    ``post(url, body, make_headers, until)`` sends a request and returns the response.
    """
    url, key = address
    by_key = bool(config["credentials"] or config["client_secret"])
    body = urlencode({"scope": config["scope"]}).encode("ascii") if by_key else b""

    def headers() -> dict[str, str]:
        made = {"Authorization": "Basic " + key}
        if by_key:  # a new RqUID for each attempt
            made.update({"Content-Type": "application/x-www-form-urlencoded", "RqUID": str(uuid.uuid4())})
        return made

    response = post(url, body, headers, until)
    now, buffer = (response.headers.get("Date"), time.time(), time.monotonic()), config["token_expiry_buffer_ms"] / 1000
    try:
        token = new_token(decode_body(response.content), *now, buffer)
    except (ValueError, AttributeError, RecursionError):
        token = None
    if token is None:  # raised without the body, which may hold a token all the same
        raise response._replace(content=b"").error("the answer holds no access token")
    return token._replace(x_headers=response.x_headers)


def basic(user: str, password: str) -> str:
    """Encode a user and a password for HTTP Basic (RFC 7617)."""
    return SecretStr(base64.b64encode(f"{user}:{password}".encode()).decode("ascii"))
