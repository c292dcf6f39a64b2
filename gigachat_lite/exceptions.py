"""What can go wrong, as classes. Catch the one that says what you can do about it::

    GigaChatException
    ├── ConfigurationError              a setting is missing, malformed or contradictory (also a ValueError)
    │   └── ModelNotSpecifiedError      this host has no default model
    ├── ResponseError                   the service answered with an error: .status_code .message .hint .request_id
    │   ├── BadRequestError             400
    │   ├── AuthenticationError         401
    │   ├── PaymentRequiredError        402
    │   ├── ForbiddenError              403
    │   ├── NotFoundError               404
    │   ├── RequestEntityTooLargeError  413
    │   ├── UnprocessableEntityError    422
    │   ├── RateLimitError              429
    │   └── ServerError                 5xx
    ├── TransportError                  no answer, or not all of it (also a ConnectionError)
    │   ├── TLSError                    the connection could not be made secure
    │   ├── RequestTimeout              a timeout or the deadline ran out (also a TimeoutError)
    │   └── StreamError                 a stream ended before its end
    ├── LengthFinishReasonError         the answer was cut off by max_tokens
    └── ContentFilterError              the answer was replaced by the service's filter

Whatever ends a stream early carries ``.partial``, the text received until then. ``str()`` of each is one line without
secrets. Only misuse of a method, such as a misspelt field, is a plain ``TypeError``.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping

ERROR_LIMIT = 64 << 10  # bytes that are read and kept of an error's body
SCOPES = (
    "GIGACHAT_API_PERS (private persons), GIGACHAT_API_B2B (companies, prepaid), "
    "GIGACHAT_API_CORP (companies, pay as you go)"
)


class GigaChatException(Exception):
    """The root of everything that this package raises on purpose."""

    partial: str | None = None
    hurried = False  # true where only the call's deadline kept it from being tried again

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[GigaChatException], args: tuple[Any, ...], state: dict[str, Any]) -> GigaChatException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(GigaChatException, ValueError):
    """A setting is missing, malformed or contradictory; nothing was sent."""


class ModelNotSpecifiedError(ConfigurationError):
    """No model was named, and the host has no default one."""


class TransportError(GigaChatException, ConnectionError):
    """The service could not be reached, or its answer did not arrive whole."""


class TLSError(TransportError):
    """The connection could not be made secure: nothing was sent to a server that proved nothing."""


class RequestTimeout(TransportError, TimeoutError):
    """A timeout or the call's deadline ran out."""


class StreamError(TransportError):
    """A stream ended before its end; ``.partial`` holds the text received until then."""


class LengthFinishReasonError(GigaChatException):
    """The answer was cut off by ``max_tokens``; ``.completion`` holds it."""

    def __init__(self, completion: Any = None) -> None:
        super().__init__("the answer was cut off by max_tokens (finish_reason 'length')")
        self.completion = completion


class ContentFilterError(GigaChatException):
    """The answer was replaced by the service's filter; ``.completion`` holds what came."""

    def __init__(self, completion: Any = None) -> None:
        super().__init__("the answer was replaced by the service's filter (finish_reason 'blacklist')")
        self.completion = completion


class ResponseError(GigaChatException):
    """The service answered with an error.

    ``.body`` is the decoded JSON (None where there was none), ``.content`` the bytes (64 KiB at most), ``.message`` and
    ``.code`` what the service said, ``.request_id`` what its support asks for, ``.hint`` what to do about it, and
    ``.retry_after`` how many seconds it wants to be left alone, where it said so.
    """

    retry_after: float | None = None

    def __init__(
        self,
        url: str,
        status_code: int,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(url, status_code, content, headers)
        self.url = str(url)
        self.status_code = status_code
        self.content = content
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        self.body: Any = decoded(content)
        said = self.body if isinstance(self.body, dict) else {}
        self.message: str = message or str(said.get("message") or "") or excerpt(content)
        self.code: Any = said.get("code")
        self.request_id: str | None = self.headers.get("x-request-id") or self.headers.get("X-Request-Id")
        self.hint: str = hint_for(status_code, self.code, self.message, self.url)

    def __str__(self) -> str:
        what = "{} {}".format(self.status_code, self.message or "without a body")
        where = ["from " + self.url]
        if self.code is not None:
            where.append(f"code {self.code}")
        if self.request_id:
            where.append(f"request id {self.request_id}")
        line = "{} ({}). {}".format(what, ", ".join(where), self.hint)
        return " ".join(line.split())


class BadRequestError(ResponseError):
    """400: the request is malformed, or OAuth refused the scope."""


class AuthenticationError(ResponseError):
    """401: the key, the token or the password was refused."""


class PaymentRequiredError(ResponseError):
    """402: the tokens of this model are used up."""


class ForbiddenError(ResponseError):
    """403: this account may not do this."""


class NotFoundError(ResponseError):
    """404: no such model, file or address."""


class RequestEntityTooLargeError(ResponseError):
    """413: the prompt or the file is too large."""


class UnprocessableEntityError(ResponseError):
    """422: the request is well formed and wrong; ``.message`` says where."""


class RateLimitError(ResponseError):
    """429: too many requests at a time; ``.retry_after`` is the service's wish in seconds, None where it named none."""


class ServerError(ResponseError):
    """5xx: the service or its gateway failed."""


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

# What people really meet: OAuth's own codes (up to 99), and the statuses of all other answers.
HINTS: dict[int, str] = {
    1: f"The scope is misspelt: it is one of {SCOPES}.",
    4: "credentials is the authorization key of the cabinet, base64 of client_id:client_secret: copy it whole.",
    5: f"No scope was sent: give one of {SCOPES}.",
    6: "The authorization key is not known: copy it again from the cabinet, or make a new one there.",
    7: f"The key belongs to another scope: set GIGACHAT_SCOPE (scope=) to one of {SCOPES}.",
    401: "Check credentials (GIGACHAT_CREDENTIALS), or give a newer access_token.",
    402: "The tokens of this model are used up: buy more, or name another model (GIGACHAT_MODEL).",
    403: "The account's contract does not cover this call, or the address serves something else.",
    404: "Check base_url (GIGACHAT_BASE_URL) and the id.",
    413: "The prompt is larger than the model's context: shorten it or its history.",
    422: "The message says which field is wrong.",
    429: "A private person's key allows one request at a time, a company's ten: see max_connections, or repeat later.",
}


def hint_for(status: int, code: Any, message: str, url: str = "") -> str:
    """Say what to do about an answer.

    >>> hint_for(400, 7, "scope from db not fully includes consumed scope").split(":")[0]
    'The key belongs to another scope'
    """
    if isinstance(code, int) and code < 100 and code in HINTS:
        return HINTS[code]
    if status == 403 and message.startswith("Access to file"):
        return "A file is readable only with the X-Client-ID that it was made with (client_id_cvar)."
    if 300 <= status < 400:
        return "Redirects are not followed, for they would carry the token along: check base_url (GIGACHAT_BASE_URL)."
    if status in (403, 404) and "//gigachat.devices.sberbank.ru" in url:
        return HINTS[status] + " Newer models are only on GIGACHAT_BASE_URL=https://api.giga.chat/v1."
    return HINTS.get(status, "The service failed: repeat later." if status >= 500 else "")


def response_error(
    url: str, status: int, content: bytes, headers: Mapping[str, str], message: str | None = None
) -> ResponseError:
    """Make the error of the class that belongs to a status."""
    cls = BY_STATUS.get(status, ServerError if status >= 500 else ResponseError)
    return cls(url, status, content, headers, message)


def decoded(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8")) if content else None
    except (ValueError, RecursionError):
        return None


def excerpt(content: bytes) -> str:
    """Show the beginning of a body that is not the service's JSON, such as a gateway's page, without its markup."""
    words = " ".join(re.sub("<[^>]*>", " ", content[:2000].decode("utf-8", "replace")).split())
    return words if len(words) <= 200 else words[:200] + "…"
