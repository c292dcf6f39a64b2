"""Explain failures: what happened, where, and what to do about it.

Imported when something has failed. ``error_from_exception()`` turns what requests, urllib3, http.client, ssl, PySocks
or the system raised into an error of this package, ``error_from_response()`` an answer with a status or a body that is
none of the API's. Functions over plain values; advice.py has a table for each kind of failure.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import re
import socket
import ssl
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, NamedTuple, Tuple
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from urllib3 import exceptions as urllib3_errors
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from . import advice, exceptions
from .advice import Advice, Table
from .dates import parse_date, parse_retry_after
from .exceptions import GigaChatException, ResponseError, excerpt, one_line, printable
from .proxies import login_schemes
from .tls import GIVEN_CONTEXT
from .validators import host_of

if TYPE_CHECKING:
    from .body import Response

HIDDEN = {"request", "response", "url", "pool", "conn", "_pool"}  # attributes of foreign exceptions
PROTOCOL_ERRORS = (http.client.HTTPException, urllib3_errors.DecodeError, urllib3_errors.InvalidHeader)
TOKEN_IN_JSON = re.compile(rb'("(?:access_token|tok)"\s*:\s*")[^"]*')


class Attempt(NamedTuple):
    """What is known of the attempt that failed."""

    url: str
    proxy: str = ""
    proxy_source: str = ""  # the setting or the variable that names the proxy
    refusal_headers: Callable[[], Mapping[str, str]] = dict  # ask the proxy for the headers of its refusal
    roots: List[str] = []  # the names of the root certificates in use
    sent_chain: Tuple[int, str] = (0, "")  # how many certificates the server sent, and the issuer of the last
    client_cert: bool | None = False  # whether there is one to be sent; None where that is not known
    timeout: float | None = None  # to read, in seconds
    until: float | None = None  # the deadline, on the monotonic clock
    answered: bool = False  # the headers of an answer had come
    request_id: str | None = None
    before_tls: bool = False  # a new connection without TLS as yet: to a proxy, if there is one
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

    # The system's own ETIMEDOUT is a socket.timeout too, from Python 3.10 on.
    timeout = has(ConnectTimeoutError, urllib3_errors.ReadTimeoutError, requests.exceptions.Timeout)
    timeout = timeout or any(isinstance(item, socket.timeout) and not item.errno for item in chain)
    if timeout and attempt.until is not None and time.monotonic() >= attempt.until - 0.01:
        return "deadline"
    if tunnel_status(chain) or socks_reply(chain) is not None:
        return "proxy"
    cut = any(map(_is_eof, chain)) or has(ConnectionError, http.client.RemoteDisconnected)
    if has(ssl.SSLError, requests.exceptions.SSLError) and not cut and not timeout:
        return "unknown issuer" if verify_code(chain) in advice.UNKNOWN_ISSUER else "tls"
    if isinstance(exc, ValueError) and not has(urllib3_errors.InvalidHeader):
        return "not sent"  # refused by requests or urllib3
    if has(socket.gaierror):
        return "dns"
    if has(NewConnectionError):  # before ConnectTimeoutError, whose subclass it is in urllib3 1.26
        return "no connection"
    in_connect = bool(attempt.proxy) and attempt.before_tls
    if has(ConnectTimeoutError) or (timeout and (attempt.in_handshake or in_connect)):
        return "connect timeout"
    if any(isinstance(item, OSError) and item.filename for item in chain):
        return "file"
    if attempt.in_handshake:
        return "no connection"
    if timeout:
        return "body timeout" if attempt.answered else "read timeout"
    if in_connect:
        return "proxy"  # nothing has reached the service
    cut_body = has(http.client.IncompleteRead) or any(map(_is_cut_status, chain))
    if bad_chunk(chain) or (has(*PROTOCOL_ERRORS) and not cut and not cut_body):
        return "protocol"
    if attempt.answered or (has(http.client.HTTPException) and not cut):
        return "broken"
    return "stale" if attempt.stale and cut and not _headers_begun(chain) else "lost"


def bad_chunk(chain: list[BaseException]) -> bool:
    """Tell a chunk whose length is no number from one that is missing, which http.client calls the same.

    >>> bad_chunk([http.client.IncompleteRead(b"")])
    False
    """
    for exc in chain:
        reason, length = exc.__context__, getattr(exc, "length", None)
        if isinstance(exc, urllib3_errors.InvalidChunkLength) and length:
            return True
        if isinstance(exc, http.client.IncompleteRead) and isinstance(reason, ValueError):
            return not str(reason).endswith(("b''", 'b""'))
    return False


def _is_cut_status(exc: BaseException) -> bool:
    """Tell whether a connection ended within the status line of an answer."""
    line = str(getattr(exc, "line", "\n")) if isinstance(exc, http.client.BadStatusLine) else "\n"
    return not line.endswith("\n") and line[:5] == "HTTP/"[: len(line)]


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
            waiting += [getattr(item, "reason", None), getattr(item, "socket_err", None), item.__cause__]
            if isinstance(item, (NewConnectionError, ConnectTimeoutError)):
                waiting.append(item.__context__)
    return found


def tunnel_status(chain: list[BaseException]) -> int:
    """Return the status with which a proxy refused a CONNECT, 0 where none did.

    >>> tunnel_status([OSError("Tunnel connection failed: 403 Forbidden")])
    403
    """
    texts = (str(item) for item in chain if isinstance(item, OSError))
    found = (re.search(r"Tunnel connection failed: (\d+)", text) for text in texts)
    return next((int(match.group(1)) for match in found if match), 0)


def socks_reply(chain: list[BaseException]) -> str | None:
    """Return what a SOCKS proxy replied, as PySocks says it; None where none did, or the network to it failed."""
    kind = getattr(sys.modules.get("socks"), "ProxyError", ())
    reply = next((item for item in reversed(chain) if isinstance(item, kind)), None)  # the innermost
    return None if reply is None or getattr(reply, "socket_err", None) else str(getattr(reply, "msg", ""))


def verify_code(chain: list[BaseException]) -> int | None:
    """Return OpenSSL's reason for refusing a certificate, None where none was refused."""
    codes = (getattr(exc, "verify_code", None) for exc in chain if isinstance(exc, ssl.SSLCertVerificationError))
    return next((code for code in codes if code), None)


def error_from_exception(exc: BaseException, attempt: Attempt) -> GigaChatException:
    """Turn an exception of requests, urllib3, http.client, ssl or the system into one of this package.

    Its cause keeps neither the request, the response and the pool, which hold secrets, nor the frames that had them.
    """
    if isinstance(exc, GigaChatException):  # a TransportError is an OSError, and caught with those of the network
        return exc
    failure, chain = failure_of(exc, attempt), exception_chain(exc)
    what, cure = explain(failure, chain, attempt)
    timeout = failure in ("connect timeout", "read timeout", "body timeout", "deadline")
    kind = exceptions.RequestTimeout if timeout else exceptions.TransportError
    if failure in ("tls", "unknown issuer"):
        kind = exceptions.TLSError
    tail = f" (request id {attempt.request_id[:64]})" if attempt.request_id else ""
    error = kind(one_line(f"{_where(attempt)}: {what}", f"; {cure}{tail}"))
    error.hint, error.request_id = cure, attempt.request_id
    for item in chain:
        item.__traceback__ = item.__context__ = None
        for name in HIDDEN.intersection(vars(item)):
            setattr(item, name, None)
    error.failure, error.__cause__ = failure, exc
    return error


def _where(attempt: Attempt) -> str:
    host = urlsplit(attempt.url).netloc
    if not attempt.proxy:
        return host
    return f"{host} through the proxy {attempt.proxy.rpartition('@')[2].rpartition('/')[2]} ({attempt.proxy_source})"


def first(table: Table, text: str) -> Advice:
    """Return the first row of a table whose pattern is found."""
    return next(row for pattern, row in table if re.search(pattern, text, re.IGNORECASE))


def explain(failure: str, chain: list[BaseException], attempt: Attempt) -> Advice:
    """Say what happened and what to do about it.

    >>> explain("no connection", [ConnectionRefusedError(errno.ECONNREFUSED, "refused")], Attempt("https://host/"))[0]
    'no connection: nothing listens there (refused)'
    """
    if failure in ("tls", "unknown issuer"):
        return explain_tls(chain, attempt)
    if failure == "proxy":
        return explain_proxy(chain, attempt)
    system = next((item for item in reversed(chain) if isinstance(item, OSError) and item.strerror), OSError())
    (what, cure), why = advice.FAILURES[failure], tls_words(system) or str(system.strerror or "")
    detail, detail_cure = first(advice.ERRNOS, error_name(system))
    if failure == "protocol":
        what, cure = first(advice.PROTOCOL, " ".join(f"{type(item).__name__}{item.args!r}" for item in chain))
        why = str(chain[-1].args[0] if chain[-1].args else "")[:60]
        if attempt.proxy and attempt.url.startswith("http:"):
            what, cure = advice.NO_HTTP_PROXY
    elif failure == "file":
        why = f"{system.filename}: {why}"
    elif failure == "no connection" and attempt.in_handshake:
        what, cure = advice.CUT_HANDSHAKE
    elif failure in ("no connection", "dns"):
        what, cure = f"{what}: {detail}" if detail not in what else what, detail_cure
    elif failure in ("lost", "broken") and error_name(system) not in ("", "ECONNRESET", "ECONNABORTED", "EPIPE"):
        what, cure = f"{what}: {detail}", detail_cure.replace(advice.PROXY, "")
    if attempt.proxy and cure.endswith(advice.PROXY):
        cure = advice.CHECK_SOCKS if attempt.proxy.startswith("socks") else advice.CHECK_PROXY
    scheme = "https" if attempt.url.startswith("https") else "proxy" if attempt.proxy else "http"
    wanted = advice.AFTER_LOSS[scheme, attempt.client_cert]
    what, cure = what.format(timeout=attempt.timeout), cure.format(wanted=wanted)
    return what + (why and f" ({why})"), cure


def error_name(exc: OSError) -> str:
    """Name an error of the system as C does, "" for one without a number.

    >>> error_name(OSError(errno.EMFILE, "")), error_name(socket.gaierror(socket.EAI_AGAIN, ""))
    ('EMFILE', 'EAI_AGAIN')
    """
    if isinstance(exc, ssl.SSLError):  # whose numbers are OpenSSL's
        return ""
    if isinstance(exc, socket.gaierror):
        return next((name for name in dir(socket) if name[:4] == "EAI_" and getattr(socket, name) == exc.errno), "EAI_")
    return errno.errorcode.get(exc.errno or 0, "")


def explain_proxy(chain: list[BaseException], attempt: Attempt) -> Advice:
    """Say what a proxy refuses, with its own words for it, and what to do."""
    reply, status, proxy = socks_reply(chain), tunnel_status(chain), urlsplit(attempt.proxy)
    texts = [str(item) for item in chain if isinstance(item, OSError)]
    why = next((text.partition(": ")[2] for text in texts if text.startswith("Tunnel connection failed")), "")
    if reply is not None:
        (what, cure), why = first(advice.SOCKS, reply), reply
    elif status:
        what, cure = first(advice.CONNECT, str(status))
    else:
        what, cure = advice.NO_HTTP_PROXY
    headers = attempt.refusal_headers() if status == 407 or 300 <= status < 400 else {}
    wanted, location = login_schemes(headers.get("Proxy-Authenticate", "")), headers.get("Location", "")
    if wanted and "basic" not in wanted.lower():
        what, cure = advice.UNSUPPORTED_LOGIN
    elif status == 407 and proxy.password:
        what, cure = advice.REFUSED_LOGIN
    elif location:
        cure = f"{cure}: {other_host('', location) or 'see its address'}"
    if proxy.password:
        why = why.replace(unquote(proxy.password), "***")
    what, cure = (text.format(schemes=wanted, scheme=proxy.scheme) for text in (what, cure))
    return what + (why and f" ({why})"), cure


def tls_words(exc: BaseException | None) -> str:
    """Say what OpenSSL says, without its numbers and places; "" of any other exception.

    >>> tls_words(ssl.SSLError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof while reading (_ssl.c:1020)"))
    'unexpected eof while reading'
    """
    if not isinstance(exc, ssl.SSLError):
        return ""
    why = getattr(exc, "verify_message", "") or getattr(exc, "reason", "") or exc.strerror or str(exc)
    words = re.sub(r"^\[.*?\] | \(_ssl.*$", "", str(why)).replace("_", " ").rstrip(".")
    return words.lower() if words.isupper() else words  # a reason, as in CERTIFICATE_REQUIRED


def explain_tls(chain: list[BaseException], attempt: Attempt) -> Advice:
    """Say why a TLS connection failed, and what to do."""
    code, (count, issuer) = verify_code(chain), attempt.sent_chain
    error = next((exc for exc in chain if isinstance(exc, ssl.SSLError)), None)
    words = tls_words(error) or str(chain[-1])
    if code:
        cure = next((cure for codes, cure in advice.VERIFY if code in codes), advice.FAULTY)
    else:
        cure = next(cure for pattern, cure in advice.HANDSHAKE if re.search(pattern, words.lower()))
        cure = cure.format(cert=advice.CLIENT_CERT[attempt.client_cert])
    if code in advice.UNKNOWN_ISSUER:
        alone = code != 18 and count < 2
        cure = advice.GIVE_CONTEXT if attempt.roots == [GIVEN_CONTEXT] else advice.NO_CHAIN if alone else cure
        words += f" {issuer!r}" if issuer else ""
    roots = (root if len(root) <= 60 else f"{root[:20]}…{root[-36:]}" for root in attempt.roots)  # a file by its name
    return f"TLS failed: {words} (roots: {', '.join(roots)})", cure


# Answers

BY_STATUS: dict[int, type[ResponseError]] = {
    **{400: exceptions.BadRequestError, 401: exceptions.AuthenticationError, 402: exceptions.PaymentRequiredError},
    **{403: exceptions.ForbiddenError, 404: exceptions.NotFoundError, 413: exceptions.RequestEntityTooLargeError},
    **{422: exceptions.UnprocessableEntityError, 429: exceptions.RateLimitError},
}


def hint_for(status: int, code: Any, message: str, url: str = "", gateway: str = "") -> str:
    """Say what to do about an answer; ``gateway`` names the author of a page that is not the service's JSON.

    >>> hint_for(400, 7, "scope from db not fully includes consumed scope").split(":")[0]
    'The key belongs to another scope'
    >>> hint_for(413, None, "413 Request Entity Too Large", gateway="A gateway (nginx)").split(":")[0]
    'A gateway (nginx) rejects requests of this size'
    """
    if type(code) is int and code < 100 and code in advice.HINTS:  # a bool is an int too
        return advice.HINTS[code]
    newer, place = advice.NEWER if advice.CLASSIC in url else "", url.rpartition("/")[2]
    if status == 404 and "/files/" in url and not gateway:
        return advice.NO_FILE
    for pattern, hint in advice.BY_MESSAGE:
        if re.search(pattern, message):
            return hint + (newer if status == 404 else "")
    if gateway or (not message and status not in (401, 402, 403, 404, 429)):
        gateway = gateway or "The service or a gateway"
        other = advice.OTHER_PAGE_5XX if status >= 500 else advice.OTHER_PAGE_4XX
        return advice.PAGES.get(status, other).format(gateway=gateway) + (newer if status in (403, 404, 405) else "")
    if status == 429 and place in ("oauth", "token"):
        return advice.TOO_MANY_TOKENS
    if status == 413 and place == "files":
        return advice.LARGE_FILE
    other = advice.OTHER_5XX if status >= 500 else advice.OTHER_4XX
    return advice.HINTS.get(status, other) + (newer if status in (403, 404) else "")


def redirect_hint(url: str, location: str) -> str:
    """Say what to do about a redirect.

    >>> redirect_hint("https://api.giga.chat/v1", "https://login.example/?next=api").split(":")[0]
    'Redirects are not followed, and this one leads to login.example'
    """
    if not location:
        return advice.NOT_THE_API
    host = other_host(url, location)
    return advice.ELSEWHERE.format(host=host) if host else advice.REDIRECT


def other_host(url: str, location: str) -> str:
    """Return the host that a Location leads to, "" where that is the same, or where there is no telling."""
    with contextlib.suppress(ValueError):
        host = host_of(urljoin(url, location))
        return host if host != host_of(url) else ""
    return ""


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
    cls = BY_STATUS.get(status, exceptions.ServerError if status >= 500 else ResponseError)
    error = cls(response.url, status, content, headers, message or None)
    error.failure = status
    error.hint = hint_for(status, error.code, error.message, error.url, gateway_of(response, error))
    schemes = login_schemes(headers.get("Proxy-Authenticate", "")) if status == 407 else ""
    if 200 <= status < 300 and advice.SAID_COMPRESSED not in error.message:
        error.hint = advice.NOT_THE_API + (advice.NEWER if advice.CLASSIC in error.url else "")
    elif 300 <= status < 400:
        error.hint = redirect_hint(error.url, headers.get("Location", ""))
    elif schemes and "basic" not in schemes.lower():
        error.hint = ": ".join(advice.UNSUPPORTED_LOGIN).format(schemes=schemes)
    retry_after = parse_retry_after(headers.get("Retry-After"), parse_date(headers.get("Date"), time.time()))
    if retry_after is not None:
        error.retry_after = retry_after
        error.hint = advice.WAIT.format(seconds=f"{retry_after:.10g}") + error.hint
    return error


def gateway_of(response: Response, error: ResponseError) -> str:
    """Name the author of an answer that has not the form of the service's JSON, "" for the service itself."""
    body, status, server = error.body, error.status_code, printable(response.headers.get("Server", ""))[:30]
    form = isinstance(body, dict) and (not body.keys().isdisjoint(("status", "code")) or status in (401, 403))
    if form or not response.content.strip():
        return ""
    author = f"The proxy {response.proxy} or a gateway" if response.proxy else "A gateway"
    return author + (f" ({server})" if server else "")


def mask(content: bytes, authorization: str) -> bytes:
    """Replace the key or token of a request, and any token that the service gave out, by ``***``.

    >>> mask(b"no such token: abcdefgh", "Bearer abcdefgh")
    b'no such token: ***'
    """
    secret = authorization.rpartition(" ")[2].encode("utf-8", "replace")
    if len(secret) >= 8:  # what is shorter would be found anywhere
        content = content.replace(secret, b"***")
    return TOKEN_IN_JSON.sub(rb"\1***", content)
