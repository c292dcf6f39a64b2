"""Explain failures: exceptions of requests and urllib3 and answers with an error become one error of this package.

Imported when something has failed. Pure functions over plain values; tables where they can be.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import traceback
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from .auth import parse_date
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
    excerpt,
)
from .tls import GIVEN_CONTEXT
from .validators import host_of

if TYPE_CHECKING:
    from .body import Response

SCOPES = (
    "GIGACHAT_API_PERS (private persons), GIGACHAT_API_B2B (companies, prepaid), "
    "GIGACHAT_API_CORP (companies, pay as you go)"
)
UNKNOWN_ISSUER = (2, 18, 19, 20, 21)  # OpenSSL's verify codes that more root certificates may cure
MAX_SLEEP = 30 * 24 * 3600.0  # a program may sleep for what it is told, and no platform sleeps for ever
TOKEN_IN_JSON = re.compile(rb'("(?:access_token|tok)"\s*:\s*")[^"]*')


class Attempt(NamedTuple):
    """What is known of the attempt that failed."""

    url: str
    proxy: str | None = None
    roots: list[str] = []
    timeout: float | None = None  # to read, in seconds
    until: float | None = None  # the deadline, on the monotonic clock
    answered: bool = False  # the headers of an answer had come
    in_handshake: bool = False  # nothing was sent yet
    stale: bool = False  # a kept connection, and lost at once


# Exceptions


def failure_of(exc: BaseException, attempt: Attempt) -> str:
    """Say in a word what went wrong, as the retry rules have it.

    >>> failure_of(socket.timeout("late"), Attempt("https://host/")), failure_of(OSError(), Attempt("https://host/"))
    ('read timeout', 'lost')
    """
    chain = exception_chain(exc)

    def has(*types: type[BaseException]) -> bool:
        return any(isinstance(item, types) for item in chain)

    timeout = has(socket.timeout, ConnectTimeoutError, ReadTimeoutError, requests.exceptions.Timeout)
    if timeout and attempt.until is not None and time.monotonic() >= attempt.until - 0.01:
        return "deadline"
    if any("Tunnel connection failed" in str(item) for item in chain if isinstance(item, OSError)):
        return "proxy"
    cut = any(map(_is_eof, chain)) or has(ConnectionError, http.client.RemoteDisconnected)
    if has(ssl.SSLError, requests.exceptions.SSLError) and not cut and not timeout:
        return "unknown issuer" if verify_code(chain) in UNKNOWN_ISSUER else "tls"
    if isinstance(exc, ValueError):
        return "not sent"  # refused by requests or urllib3
    if has(socket.gaierror):
        return "dns"
    if has(NewConnectionError):  # before ConnectTimeoutError, whose subclass it is in urllib3 1.26
        return "refused"
    if has(ConnectTimeoutError) or (attempt.in_handshake and timeout):
        return "connect timeout"
    if attempt.in_handshake:
        return "refused"
    if timeout:
        return "body timeout" if attempt.answered else "read timeout"
    if attempt.answered or (has(http.client.HTTPException) and not cut):
        return "broken"
    return "stale" if attempt.stale and cut and not _headers_begun(chain) else "lost"


def _headers_begun(chain: list[BaseException]) -> bool:
    """Tell whether a connection ended among the headers of an answer, whose status line had come."""
    frames = [frame for exc in chain for frame, _ in traceback.walk_tb(exc.__traceback__)]
    return any(frame.f_code.co_name == http.client.parse_headers.__name__ for frame in frames)


def _is_eof(exc: BaseException) -> bool:
    """Tell whether TLS has ended in an odd way; Python and OpenSSL have several names for that."""
    if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return True
    text = f"{getattr(exc, 'reason', '')} {exc}"  # an SSLError of one's own making has no reason
    return isinstance(exc, ssl.SSLError) and ("_EOF_" in text or "unexpected eof" in text.lower())


def exception_chain(exc: BaseException) -> list[BaseException]:
    """List an exception and all that it carries: arguments, reasons and causes.

    Of contexts only the system's error behind a failed connection, which urllib3 1.26 has there: another one may be
    what the caller is handling.
    """
    found: list[BaseException] = []
    waiting: list[Any] = [exc]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and not any(item is seen for seen in found):
            found.append(item)
            waiting += item.args
            waiting += [getattr(item, "reason", None), item.__cause__]
            if isinstance(item, (NewConnectionError, ConnectTimeoutError)):
                waiting.append(item.__context__)
    return found


WHAT_HAPPENED = {
    "dns": "the name cannot be resolved; check base_url, auth_url, and whether a proxy is needed (GIGACHAT_PROXY)",
    "refused": "no connection; check base_url (GIGACHAT_BASE_URL) or auth_url, and whether a proxy is needed",
    "connect timeout": "no connection within the connect timeout; a proxy may be needed (proxy, GIGACHAT_PROXY)",
    "read timeout": "nothing came for {timeout} s (timeout, GIGACHAT_TIMEOUT)",
    "body timeout": "nothing came for {timeout} s (timeout, GIGACHAT_TIMEOUT)",
    "deadline": "the deadline of this call ran out; give it more (deadline, GIGACHAT_DEADLINE)",
    "proxy": "the proxy refuses the connection",
    "broken": "the answer broke off before its end; ask again",
    "stale": "the connection was closed before the answer; ask again",
    "lost": "the connection was closed before the answer (is a client certificate wanted? cert_file, key_file)",
    "not sent": "the request cannot be sent",
}
CHECK_PROXY = "; check the proxy and its password (GIGACHAT_PROXY, HTTP_PROXY, HTTPS_PROXY)"


def error_from_exception(exc: BaseException, attempt: Attempt) -> GigaChatException:
    """Turn an exception of requests, urllib3, http.client, ssl or the system into one of this package.

    Its cause keeps neither the request and the response, which hold the token, nor the frames that had them.
    """
    if isinstance(exc, GigaChatException):  # a TransportError is an OSError, and caught with those of the network
        return exc
    failure, chain = failure_of(exc, attempt), exception_chain(exc)
    error: GigaChatException
    if failure in ("tls", "unknown issuer"):
        error = TLSError(explain_tls(chain, host_of(attempt.url), attempt.roots))
    else:
        timeout = failure in ("connect timeout", "read timeout", "body timeout", "deadline")
        error = (RequestTimeout if timeout else TransportError)(_explain(failure, chain, attempt))
    for item in chain:
        item.__traceback__ = item.__context__ = None
        for name in ("request", "response", "url"):
            if getattr(item, name, None) is not None:
                setattr(item, name, None)
    error.failure, error.__cause__ = failure, exc
    return error


def _explain(failure: str, chain: list[BaseException], attempt: Attempt) -> str:
    plain = failure == "lost" and attempt.url.startswith("http:")  # no certificates without TLS
    what = WHAT_HAPPENED["stale" if plain else failure].format(timeout=attempt.timeout)
    if attempt.proxy and failure in ("proxy", "stale", "lost", "dns", "refused", "connect timeout"):
        what = what.partition(";")[0] + CHECK_PROXY
    tunnel = next((str(item) for item in chain if "Tunnel connection failed" in str(item) and not item.__cause__), "")
    system = next((item.strerror for item in reversed(chain) if isinstance(item, OSError) and item.strerror), "")
    why = tunnel[tunnel.find("Tunnel") :].split("'")[0] or system
    through = " through the proxy " + attempt.proxy.rpartition("://")[2].rpartition("@")[2] if attempt.proxy else ""
    return f"{urlsplit(attempt.url).netloc}{through}: {what}{why and f' ({why})'}"


def verify_code(chain: list[BaseException]) -> int | None:
    """Return OpenSSL's reason for refusing a certificate, None where none was refused."""
    codes = (getattr(exc, "verify_code", None) for exc in chain if isinstance(exc, ssl.SSLCertVerificationError))
    return next((code for code in codes if code), None)


def explain_tls(chain: list[BaseException], host: str, roots: list[str]) -> str:
    """Say in one line why a TLS connection failed, and what to do."""
    code = verify_code(chain)
    error = next((exc for exc in chain if isinstance(exc, ssl.SSLError)), None)
    why = getattr(error, "verify_message", "") or getattr(error, "reason", None) or str(error or chain[-1])
    words = re.sub(r"^\[.*?\] | \(_ssl.*$", "", str(why)).replace("_", " ").lower().rstrip(".")
    if code in UNKNOWN_ISSUER and roots == [GIVEN_CONTEXT]:
        advice = "load the missing root into the ssl_context"
    elif code in UNKNOWN_ISSUER:
        advice = "give the missing root as ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)"
    elif code == 62 or "match" in words:
        advice = "the certificate is another host's: check base_url and auth_url"
    elif code in (9, 10):
        advice = "check the clock of this machine; if it is right, the server's certificate has to be renewed"
    elif "certificate required" in words or "handshake failure" in words or "alert" in words:
        advice = "the server may want a client certificate (cert_file, key_file), or other ones than given"
    elif "wrong version" in words or "unknown protocol" in words:
        advice = "the server does not speak TLS there: check the port and the proxy"
    else:
        advice = "check base_url, auth_url and the proxy"
    return "TLS with {} failed: {}. Roots in use: {}. What to do: {}.".format(host, words, ", ".join(roots), advice)


# Answers


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
NOT_THE_API = (
    "That is not the API: check base_url (it ends in /api/v1, or /v1 on api.giga.chat), auth_url and the proxy."
)
# By the codes of OAuth (up to 99), and by the statuses of all other answers.
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
        return "Name another model: get_models() lists them." + (NEWER if CLASSIC in url else "")
    if status in (403, 404) and CLASSIC in url:
        return HINTS[status] + NEWER
    return HINTS.get(status, "The service failed: repeat later." if status >= 500 else "")


def error_from_response(response: Response, message: str = "", status_code: int | None = None) -> ResponseError:
    """Make the error of an answer, with a hint; the key or token that was sent is masked in it.

    A message that ends in a colon goes on with an excerpt of the body. Cookies are left out of the headers.
    """
    content = mask(response.content, response.authorization)
    headers: Mapping[str, str] = CaseInsensitiveDict(
        (name, mask(value.encode("latin-1", "replace"), response.authorization).decode("latin-1"))
        for name, value in response.headers.items()
        if name.lower() != "set-cookie"
    )
    if message.endswith(": "):
        message += excerpt(content) or "empty"
    status = response.status_code if status_code is None else status_code
    cls = BY_STATUS.get(status, ServerError if status >= 500 else ResponseError)
    error = cls(response.url, status, content, headers, message or None)
    error.failure = status
    error.hint = hint_for(status, error.code, error.message, error.url)
    if 200 <= status < 300 or (status in (403, 404, 405) and error.body is None and content):
        error.hint = NOT_THE_API + (NEWER if CLASSIC in error.url else "")
    retry_after = parse_retry_after(headers.get("Retry-After"), parse_date(headers.get("Date"), time.time()))
    if retry_after is not None:
        error.retry_after = retry_after
        error.hint = f"The service asks to wait {retry_after:.10g} s. {error.hint}"
    return error


def mask(content: bytes, authorization: str) -> bytes:
    """Replace the key or token of a request, and any token that the service gave out, by ``***``.

    >>> mask(b"no such token: abcdefgh", "Bearer abcdefgh")
    b'no such token: ***'
    """
    secret = authorization.rpartition(" ")[2].encode("utf-8", "replace")
    if len(secret) >= 8:  # what is shorter would be found anywhere
        content = content.replace(secret, b"***")
    return TOKEN_IN_JSON.sub(rb"\1***", content)


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); nonsense is None, the most is a month.

    >>> parse_retry_after("5", 0.0), parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 90.0)
    (5.0, 10.0)
    """
    if not text:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text, re.ASCII):
        return min(float(text), MAX_SLEEP)
    date = parse_date(text, -1.0)
    return None if date < 0 else min(max(date - now, 0.0), MAX_SLEEP)
