"""Faults: from what went wrong to whether a call is sent again, and to the error that says what to do.

Pure functions over plain values, as tables where they can be.
"""

from __future__ import annotations

import http.client
import math
import random
import re
import socket
import ssl
import time
import traceback
import zlib
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Callable, Mapping, Union
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from .addresses import host_of
from .exceptions import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    GigaChatException,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    RequestTimeout,
    ResponseError,
    ServerError,
    TLSError,
    TransportError,
    UnprocessableEntityError,
)
from .trust import UNKNOWN_ISSUER, explain, verify_code

if TYPE_CHECKING:
    from .connections import Try

ERROR_LIMIT = 64 << 10  # bytes that are read and kept of an error's body
SCOPES = (
    "GIGACHAT_API_PERS (private persons), GIGACHAT_API_B2B (companies, prepaid), "
    "GIGACHAT_API_CORP (companies, pay as you go)"
)
# What requests, urllib3 and those below them raise. Anything else is the caller's own, as of a signal's handler.
FAILURES = (ValueError, TypeError, AttributeError, LookupError)  # on this side, of whatever they read or were given
FOREIGN = (OSError, HTTPError, http.client.HTTPException, zlib.error, *FAILURES)
Fault = Union[str, int]  # a word for what went wrong on the way, or the status of the answer

NOT_SENT: set[Fault] = {"refused", "dns", "connect timeout"}
SENT_AGAIN: dict[str, set[Fault]] = {
    "safe": NOT_SENT | {"stale", "lost", "read timeout", 429, 500, 502, 503, 504},
    "generate": NOT_SENT | {"stale", 429, 500, 502, 503},
    "create": NOT_SENT | {429, 503},
}
LONGEST_PAUSE = 8.0
LONGEST_WISH = 60.0
LONGEST_TOLD = 30 * 24 * 3600.0  # a program may sleep for what it is told, and no platform sleeps for ever


def fault_of(exc: BaseException, note: Try) -> Fault:
    """Tell what went wrong from an exception and the connection's note; types alone differ between versions."""
    chain = linked(exc, note.outer)
    late = note.until is not None and time.monotonic() >= note.until - 0.01

    def any_is(*types: type[BaseException]) -> bool:
        return any(isinstance(item, types) for item in chain)

    if late and any_is(socket.timeout, ConnectTimeoutError, ReadTimeoutError):
        return "deadline"
    if any(isinstance(item, OSError) and "Tunnel connection failed" in str(item) for item in chain):
        return "proxy"
    tls = [item for item in chain if isinstance(item, (ssl.SSLError, requests.exceptions.SSLError))]
    eof = any(
        isinstance(item, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or "EOF" in str(getattr(item, "reason", ""))
        for item in tls
    )
    eof = eof or any("unexpected eof" in str(item).lower() for item in tls if isinstance(item, ssl.SSLError))
    if tls and not eof and not any_is(socket.timeout):
        return "tls"
    if any_is(socket.gaierror):
        return "dns"
    if isinstance(exc, FAILURES):
        return "not sent"  # refused on this side, such as an address that no adapter is mounted for
    if any_is(NewConnectionError):
        return "refused"
    if any_is(ConnectTimeoutError):
        return "connect timeout"
    if note.connecting:
        return "connect timeout" if any_is(socket.timeout) else "refused"
    if any_is(requests.exceptions.ReadTimeout, ReadTimeoutError, socket.timeout):
        return "read timeout"
    if note.heard:
        return "broken"
    closed = eof or any_is(ConnectionError, http.client.BadStatusLine)  # and not what the caller's own code raised
    return "stale" if closed and note.sock is not None and not note.fresh else "lost"


def unknown_issuer(exc: BaseException, note: Try) -> bool:
    """Tell whether a certificate was refused for want of a root, so that more of them may cure it."""
    return verify_code(linked(exc, note.outer)) in UNKNOWN_ISSUER


def retry_delay(
    kind: str,
    fault: Fault,
    tries: int,
    config: Mapping[str, Any],
    wish: float | None = None,
    chance: Callable[[], float] = random.random,
) -> float | None:
    """Decide how long to wait before a call is sent again; None means that it is not.

    ``wish`` is the service's Retry-After in seconds: up to 60 s it is waited for, beyond that nobody waits.

    >>> config = {"max_retries": 2, "retry_backoff_factor": 0.5, "retry_on_status_codes": None}
    >>> retry_delay("generate", 503, 2, config, chance=lambda: 1.0), retry_delay("generate", 504, 1, config)
    (1.0, None)
    """
    faults = SENT_AGAIN[kind]
    if config["retry_on_status_codes"] is not None and kind != "create":
        faults = {fault for fault in faults if isinstance(fault, str)} | set(config["retry_on_status_codes"])
    if tries > config["max_retries"] or fault not in faults:
        return None
    if wish is not None:
        return wish if wish <= LONGEST_WISH else None
    if fault == "stale":
        return 0.0
    pause: float = min(config["retry_backoff_factor"] * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
    return pause * (0.5 + chance() / 2)


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); nonsense is none, more than a month one.

    >>> parse_retry_after("5", 0.0), parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 90.0)
    (5.0, 10.0)
    >>> parse_retry_after("inf", 0.0) is None
    True
    """
    if not text:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text, re.ASCII):
        return min(float(text), LONGEST_TOLD)
    date = parse_date(text, math.nan)
    return None if math.isnan(date) else min(max(date - now, 0.0), LONGEST_TOLD)


def parse_date(text: str | None, default: float) -> float:
    """Read an HTTP date as Unix seconds; a malformed one is none.

    >>> parse_date("Thu, 01 Jan 1970 00:01:40 GMT", 0.0), parse_date("soon", 7.0)
    (100.0, 7.0)
    """
    try:
        date = parsedate_to_datetime(text) if text else None
        if date is not None and date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return date.timestamp() if date is not None else default
    except (TypeError, ValueError, IndexError, OverflowError):
        return default


WHAT_HAPPENED = {
    "dns": "the name cannot be resolved; check base_url, auth_url, and whether a proxy is needed (GIGACHAT_PROXY)",
    "refused": "no connection; check base_url (GIGACHAT_BASE_URL) or auth_url, and whether a proxy is needed",
    "connect timeout": "no connection within the connect timeout; a proxy may be needed (proxy, GIGACHAT_PROXY)",
    "read timeout": "nothing came for {read} s (timeout, GIGACHAT_TIMEOUT)",
    "deadline": "the deadline of this call ran out; give it more (deadline, GIGACHAT_DEADLINE)",
    "proxy": "the proxy refuses the connection",
    "broken": "the answer broke off before its end; ask again",
    "stale": "the connection was closed before the answer; ask again",
    "lost": "the connection was closed before the answer (is a client certificate wanted? cert_file, key_file)",
}


def translated(
    exc: Exception, fault: Fault, url: str, note: Try, roots: list[str], proxy: str | None = None
) -> GigaChatException:
    """Turn an exception of requests, urllib3, http.client, ssl or the system into ours, and keep it as the cause.

    Causes are freed of requests, answers and the locals of finished frames, for these hold the token.
    """
    if isinstance(exc, GigaChatException):
        return exc
    chain = linked(exc, note.outer)
    for item in chain:
        traceback.clear_frames(item.__traceback__)
        for name in ("request", "response", "url"):
            if getattr(item, name, None) is not None:
                setattr(item, name, None)
    error: GigaChatException
    if fault == "tls":
        error = TLSError(explain(chain, host_of(url), roots))
    else:
        said = "stale" if fault == "lost" and url.startswith("http:") else str(fault)  # no certificates without TLS
        what = WHAT_HAPPENED.get(said, "the request failed").format(read=note.read)
        if proxy and fault in {"proxy", "stale", "lost", *NOT_SENT}:
            what = what.partition(";")[0]
            what += "; check the proxy and its password (GIGACHAT_PROXY, HTTP_PROXY, HTTPS_PROXY)"
        system = next((i.strerror for i in reversed(chain) if isinstance(i, OSError) and i.strerror), None)
        tunnel = next((str(i) for i in chain if "Tunnel connection failed" in str(i) and not i.__cause__), "")
        why = tunnel[tunnel.find("Tunnel") :].split("'")[0] if tunnel else system or ""
        why = why or ("" if fault in WHAT_HAPPENED else type(exc).__name__)
        through = " through the proxy " + proxy.rpartition("://")[2].rpartition("@")[2] if proxy else ""
        timeout = fault in ("connect timeout", "read timeout", "deadline")
        cls = RequestTimeout if timeout else TransportError
        error = cls(f"{urlsplit(url).netloc}{through}: {what}{why and f' ({why})'}")
    error.__cause__ = exc
    return error


BY_STATUS: dict[int, type[ResponseError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: ForbiddenError,
    404: NotFoundError,
    413: RequestEntityTooLargeError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

CLASSIC = "//gigachat.devices.sberbank.ru"
NEWER = " Newer models are only on GIGACHAT_BASE_URL=https://api.giga.chat/v1."
ELSEWHERE = "That is not the API: check base_url (it ends in /api/v1, or /v1 on api.giga.chat), auth_url and the proxy."

# What people really meet: OAuth's own codes (up to 99), and the statuses of all other answers.
HINTS: dict[int, str] = {
    1: f"The scope is misspelt: it is one of {SCOPES}.",
    4: "credentials is the authorization key of the cabinet, base64 of client_id:client_secret: copy it whole.",
    5: f"No scope was sent: give one of {SCOPES}.",
    6: "The authorization key is not known: copy it again from the cabinet, or make a new one there.",
    7: f"The key belongs to another scope: set GIGACHAT_SCOPE (scope=) to one of {SCOPES}.",
    400: "The message says what the service could not read.",
    401: "Check the key (GIGACHAT_CREDENTIALS), the token or the password that this client was given.",
    402: "The tokens of this model are used up: buy more, or name another model (GIGACHAT_MODEL).",
    403: "The account's contract does not cover this call, or the address serves something else.",
    404: "Check base_url (GIGACHAT_BASE_URL) and the id.",
    407: "The proxy wants a user and a password: proxy=http://user:password@host:port (GIGACHAT_PROXY, HTTP_PROXY).",
    413: "The prompt is larger than the model's context: shorten it or its history.",
    422: "The message says what is wrong in the request.",
    429: "A private person's key allows one request at a time, a company's ten: see max_connections, or repeat later.",
}


def hint_for(status: int, code: Any, message: str, url: str = "") -> str:
    """Say what to do about an answer.

    >>> hint_for(400, 7, "scope from db not fully includes consumed scope").split(":")[0]
    'The key belongs to another scope'
    """
    if type(code) is int and code < 100 and code in HINTS:  # a bool is an int too
        return HINTS[code]
    if status == 403 and message.startswith("Access to file"):
        return "A file is readable only with the X-Client-ID that it was made with (client_id_cvar)."
    if "SSL certificate" in message:
        return "The server wants a client certificate: give cert_file and key_file."
    if status == 429 and url.endswith(("/oauth", "/token")):
        return "Tokens are asked for too often: repeat later, and let one client serve all calls."
    if 300 <= status < 400:
        return "Redirects are not followed, for they would carry the token along: check base_url (GIGACHAT_BASE_URL)."
    if status == 404 and "/files/" in url:
        return "Check the file's id; a file that was deleted is gone."
    if status == 413 and url.endswith("/files"):
        return "The file is too large: an image may have 15 MB, audio 35 MB, a text 40 MB."
    if status == 422 and "image processing" in message:
        return "Name a model that reads pictures, such as GigaChat-2-Pro or GigaChat-2-Max."
    if status == 400 and "JSON syntax" in message:
        return "Some value has another type than the API wants, as a string where a number is due."
    if status == 404 and message == "No such model":
        return "Name another model." + (NEWER if CLASSIC in url else "")
    if status in (403, 404) and CLASSIC in url:
        return HINTS[status] + NEWER
    return HINTS.get(status, "The service failed: repeat later." if status >= 500 else "")


def response_error(
    url: str, status: int, content: bytes, headers: Mapping[str, str], message: str | None = None
) -> ResponseError:
    """Make the error of the class that belongs to a status, with a hint.

    Its headers lack the cookies, which the client does not keep and a crash report shall not show.
    """
    headers = CaseInsensitiveDict((name, value) for name, value in headers.items() if name.lower() != "set-cookie")
    cls = BY_STATUS.get(status, ServerError if status >= 500 else ResponseError)
    error = cls(url, status, content, headers, message)
    error.hint = hint_for(status, error.code, error.message, error.url)
    if 200 <= status < 300 or (status in (403, 404, 405) and error.body is None and content):
        error.hint = ELSEWHERE + (NEWER if CLASSIC in error.url else "")
    return error


def linked(exc: BaseException | None, outer: BaseException | None = None) -> list[BaseException]:
    """List an exception and all that it carries: arguments, reasons, causes and contexts, but not the ``outer`` one."""
    found: list[BaseException] = []
    waiting: list[Any] = [exc]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and item is not outer and not any(item is seen for seen in found):
            found.append(item)
            waiting += item.args
            waiting += [getattr(item, name, None) for name in ("reason", "__cause__", "__context__")]
    return found
