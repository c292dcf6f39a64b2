"""The exceptions of the package; catch the one that says what you can do about it::

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
    ├── ContentFilterError              the answer was replaced by the service's filter
    ├── ParseError                      the model's text is not what was asked for (also a ValueError)
    └── FunctionCallError               the model wants a call that cannot be made

The last four are raised by ``chat_parse`` and ``run_functions``. Whatever ends a stream early carries ``.partial``, the
text received until then; whatever ends ``run_functions`` early carries ``.messages``, the history until then. ``str()``
of each is one line without secrets, and so is its only argument. All can be pickled. Only misuse, such as a misspelt
field, is a plain ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

import html
import re
from typing import Any, Mapping

from .json_text import decode_body

MAX_MESSAGE = 300  # characters of str(error)
HIDDEN = re.compile(r"(?is)<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)")  # what no browser shows of a page


class GigaChatException(Exception):
    """The base of all exceptions of this package."""

    partial: str | None = None
    messages: list[Any] | None = None
    hint: str = ""  # what to do about it
    request_id: str | None = None
    failure: str | int | None = None  # what the retry rules of transport.py go by: a word, or the status


class ConfigurationError(GigaChatException, ValueError):
    """A setting is missing, malformed or contradictory; nothing was sent."""


class ModelNotSpecifiedError(ConfigurationError):
    """No model was named, and the host has no default one."""


class TransportError(GigaChatException, ConnectionError):
    """The service could not be reached, or its answer did not arrive whole."""


class TLSError(TransportError):
    """The TLS handshake failed, or a certificate was refused."""


class RequestTimeout(TransportError, TimeoutError):
    """A timeout or the call's deadline ran out."""


class StreamError(TransportError):
    """A stream stopped before its last event; ``.partial`` holds the text received until then."""


class _AnswerError(GigaChatException):
    text = property(lambda self: self.partial or "")
    _message = ""

    def __init__(self, completion: Any = None) -> None:
        is_message = isinstance(completion, str)  # from args, as Celery does
        reason = getattr(completion, "finish_reason", None) or "blacklist"
        super().__init__(completion if is_message else printable(self._message.format(reason)))
        self.completion = None if is_message else completion


class LengthFinishReasonError(_AnswerError):
    """The answer was cut off by ``max_tokens``; ``.completion`` holds it."""

    _message = "the answer was cut off (finish_reason 'length'): raise max_tokens, or ask for less"


class ContentFilterError(_AnswerError):
    """The answer was replaced by the service's filter; ``.completion`` holds what came."""

    _message = "the answer was replaced by the service's filter (finish_reason {!r})"


class ParseError(GigaChatException, ValueError):
    """The answer is not what was asked for; ``.text`` is what the model wrote, ``.completion`` the whole answer."""

    def __init__(self, what: str, text: str = "", completion: Any = None) -> None:
        super().__init__(printable(what))
        self.text = self.partial = text
        self.completion = completion

    def __str__(self) -> str:
        return f"the model's text cannot be used: {self.args[0]}"


class FunctionCallError(GigaChatException):
    """A call that the model wants cannot be made.

    ``.call`` is what it wants, ``.completion`` its answer, and ``.messages`` the whole history with that answer at its
    end: whoever adds the results can go on from there.
    """

    def __init__(self, what: str, messages: Any = None, completion: Any = None, call: Any = None) -> None:
        super().__init__(printable(what))
        self.messages = messages
        self.completion = completion
        self.call = call


class ResponseError(GigaChatException):
    """The service answered with an error.

    ``.body`` is the decoded JSON (None where there was none), ``.content`` the bytes (64 KiB at most), ``.message`` and
    ``.code`` what the service said, ``.request_id`` what its support asks for, ``.hint`` what to do about it, and
    ``.retry_after`` its Retry-After in seconds, where it sent one. ``ResponseError(str(error))`` is an error with that
    text and status alone.
    """

    retry_after: float | None = None

    def __init__(
        self, url: str, status_code: int | None = None, content: bytes | None = b"",
        headers: Mapping[str, str] | None = None, message: str | None = None,
    ) -> None:
        self.url = str(url)
        super().__init__(self.url)
        if status_code is None:  # made from its args, as Celery does
            self.url, message, status = "", self.url, self.url[:3]
            status_code = int(status) if status.isdecimal() else 0
        self.status_code, self.content = status_code, content or b""
        self.headers: Mapping[str, str] = headers if headers is not None else {}
        try:
            self.body: Any = decode_body(self.content)
        except (ValueError, RecursionError):
            self.body = None
        said = self.body if isinstance(self.body, dict) else {}
        self.message: str = message or str(said.get("message") or "") or excerpt(self.content)
        self.code: Any = said.get("code")
        self.request_id = {name.lower(): value for name, value in self.headers.items()}.get("x-request-id")
        self.hint = ""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "hint" and self.url:
            self.args = (self._text(),)

    def _text(self) -> str:
        where = ["from " + self.url[:100]] + ([f"code {str(self.code)[:20]}"] if self.code is not None else [])
        where += [f"request id {self.request_id[:64]}"] if self.request_id else []
        status, what = f"{self.status_code} ", self.message or "without a body"
        what = what if what.startswith(status) else status + what  # a gateway's page begins with it
        return one_line(what, f" ({', '.join(where)}). {self.hint}")


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
    """429: too many requests at a time; ``.retry_after`` is its Retry-After in seconds, 0.0 where it sent none."""

    retry_after = 0.0  # so that a program can sleep for it, whatever the service said


class ServerError(ResponseError):
    """5xx: the service or its gateway failed."""


def excerpt(content: bytes) -> str:
    """Show the beginning of a body that is not the service's JSON: of a page its title and text, without its markup.

    >>> excerpt(b"<html><title>Busy</title><style>p { color: red }</style><h1>Busy</h1><p>Try&nbsp;later</p>")
    'Busy Try later'
    """
    text, said = HIDDEN.sub("<>", content.decode("utf-8", "replace")), ""
    for part in map(printable, map(html.unescape, re.split("<[^<>]*>", text))):
        if len(said) <= 200 and (f" {part} " not in said + " " if len(part) < 9 else part not in said):
            said += f" {part}"  # a page says the same as title and heading
    said = said.strip() or ("a page without text" if content.strip() else "")
    return said if len(said) <= 200 else said[:200] + "…"


def one_line(what: str, end: str) -> str:
    """Join what happened and what to do into one line of at most 300 characters; the former is cut first.

    >>> one_line("host: " + 400 * "x", "; ask again")[-20:]
    'xxxxxxxx…; ask again'
    """
    end = end[: len(end) - len(end.lstrip())] + printable(end)
    what, room = printable(what), max(MAX_MESSAGE - len(end), 80)
    line = (what if len(what) <= room else what[: room - 1] + "…") + end
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def printable(text: str) -> str:
    """Make one line of a text that came from outside, without what could colour or forge a line.

    >>> printable("a\\x1b[31m b\\n")
    'a [31m b'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
