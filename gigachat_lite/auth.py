"""Auth: access tokens, how they are got, shared by threads, renewed in time and dropped when refused."""

from __future__ import annotations

import base64
import copy
import logging
import math
import queue
import re
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, NoReturn
from urllib.parse import urlencode

from .exceptions import ConfigurationError, GigaChatException, RequestTimeout
from .faults import parse_date
from .places import Place, home_of
from .secret import Secret

if TYPE_CHECKING:
    from .token_file import TokenFile

logger = logging.getLogger("gigachat_lite")


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
    ``keeper()`` gives the file that other processes keep theirs in, or None.
    """

    def __init__(
        self,
        fetch: Callable[[float | None], Token] | None,
        token: Token | None = None,
        clock: Callable[[], float] = time.monotonic,
        keeper: Callable[[], TokenFile | None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._keeper = keeper
        self._token = token
        self._clock = clock
        self._swap = home_of(1)  # taken for moments, round the token itself
        self._fetching = home_of(1)  # the place of the one thread that fetches
        self._failure: tuple[float, Exception] | None = None
        self._refused = False  # one that was: what a file has may be no better

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
        if now >= token.renew_at:
            with Place(self._fetching) as fetching:
                try:
                    fetching.take(False)
                except queue.Empty:
                    return token
                return self._renew(token, until)
        return token

    def peek(self) -> Token | None:
        """Look at the token, good or not, without fetching one."""
        return self._token

    def drop(self, value: str) -> bool:
        """Forget a token that was refused, that very one alone; tell whether another can be had."""
        with Place(self._swap) as swap:
            swap.take()
            if self._fetch is not None and self._token is not None and self._token.value == value:
                self._token, self._refused = None, True
        return self._fetch is not None

    def _wait(self, until: float | None) -> Token:
        left = None if until is None else max(until - time.monotonic(), 0)
        with Place(self._fetching) as fetching:
            try:
                fetching.take(True, left)
            except queue.Empty:
                late = "the deadline of this call ran out while another thread fetched the access token"
                raise RequestTimeout(late) from None
            token, now = self._token, self._clock()
            if token is not None and now < token.deadline:
                return token
            if self._failure is not None and now < self._failure[0]:
                raise copy.copy(self._failure[1])
            return self._store(until)

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
            with Place(self._swap) as swap:
                swap.take()
                if self._token is token:
                    self._token = token._replace(renew_at=min(self._clock() + 1, token.deadline))
            return token

    def _store(self, until: float | None) -> Token:
        keeper = self._keeper()
        try:
            token = None if keeper is None or self._refused else keeper.load(self._token)
            if token is None:
                token = (self._fetch or refuse_to_fetch)(until)
                if keeper is not None:
                    keeper.save(token)
        except GigaChatException as exc:
            late = until is not None and time.monotonic() >= until
            if not late and not exc.hurried:  # else it was this caller's deadline that failed, and no one else's
                self._failure = (self._clock() + 1, copy.copy(exc))  # a copy holds no frames of the caller
            raise
        with Place(self._swap) as swap:
            swap.take()
            self._token, self._failure, self._refused = token, None, False
        return token


Post = Callable[..., Token]  # post(url, until, body, headers, each) asks for a token


def token_file(config: Mapping[str, Any]) -> TokenFile | None:
    """Find the file that keeps the tokens of a config's key, scope and address, where one is wanted."""
    if not config["token_cache"]:
        return None
    from .token_file import TokenFile

    key, url = config["credentials"], config["auth_url"]
    if not key and config["client_secret"]:
        key = _basic(config["client_id"], config["client_secret"])
    elif not key:
        key, url = _basic(config["user"] or "", config["password"] or ""), config["base_url"] + "/token"
    return TokenFile(config["token_cache"], key, config["scope"], url, config["token_expiry_buffer_ms"] / 1000)


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
