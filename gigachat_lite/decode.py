"""Decode: from the bytes of an answer, whole or an error, to plain data and to the events of a stream."""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
import traceback
import zlib
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, NamedTuple, NoReturn, TypeVar, cast

import requests

from .connections import PIECE, Try
from .exceptions import GigaChatException, StreamError, TLSError, TransportError, excerpt, printable
from .faults import ERROR_LIMIT, FOREIGN, response_error
from .models import (
    Answer,
    ChatCompletion,
    ChatCompletionChunk,
    Obj,
    Usage,
    with_headers,
)
from .secret import Hidden, unveiled

__all__ = ["Stream", "iter_lines", "iter_sse"]

LOOK_ON = 0.05  # seconds to wait, after a stream's own end, for the end of its body
GZIP_MAGIC = b"\x1f\x8b"
MEMBERS = 100  # of a gzip body (RFC 1952, 2.2), each of which costs a copy of what is left
EVENT_LIMIT = 8 << 20  # bytes of one event
HIDDEN_LIMIT = 4096  # bytes of a body that may be an error though its status is 200


def iter_lines(chunks: Iterable[bytes], limit: int = EVENT_LIMIT) -> Iterator[bytes]:
    """Split bytes into lines at LF, CR and CRLF, wherever the chunks break; each line the moment its end arrives.

    Works on an open binary file too. A line longer than ``limit`` bytes raises StreamError. What follows the last line
    end is given as a line of its own, when the bytes end.

    >>> list(iter_lines([b"a\\r", b"\\nb\\n\\nc"]))
    [b'a', b'b', b'', b'c']
    """
    pieces: list[bytes] = []
    size, after_cr = 0, False
    for chunk in chunks:
        if after_cr and chunk:
            chunk = chunk[1:] if chunk[0] == 10 else chunk
            after_cr = False
        if not chunk:
            continue
        pieces.append(chunk)
        size += len(chunk)
        if b"\n" in chunk or b"\r" in chunk:
            data = b"".join(pieces)
            lines = data.splitlines()  # of bytes: at LF, CR and CRLF alone
            pieces = [] if data[-1] in b"\r\n" else [lines.pop()]
            after_cr = data[-1] == 13
            for line in lines:
                if size > limit and len(line) > limit:
                    break
                yield line
            else:
                size = len(pieces[0]) if pieces else 0
        if size > limit:
            raise StreamError(f"a line of the stream is longer than {limit} bytes")
    if pieces:
        yield b"".join(pieces)


def iter_sse(lines: Iterable[bytes], limit: int = EVENT_LIMIT) -> Iterator[tuple[str, str]]:
    """Gather lines into server-sent events, as pairs of name and data (WHATWG HTML, 9.2.6).

    An event without data is none, and one that is unfinished when the lines end is dropped. ``[DONE]``, the service's
    own mark, is given at its line end, without waiting for the empty line, and ends the events.

    >>> list(iter_sse([b"event: ping", b"data: 1", b"data:2", b"", b": remark", b"data: [DONE]", b"data: 3", b""]))
    [('ping', '1\\n2'), ('message', '[DONE]')]
    """
    name, size, first = "message", 0, True
    data: list[bytes] = []
    for line in lines:
        if first:
            line, first = line[3:] if line.startswith(b"\xef\xbb\xbf") else line, False
        if not line:
            if data:
                yield name, b"\n".join(data).decode("utf-8")
            name, data, size = "message", [], 0
            continue
        if line[:6] == b"data: ":
            field, value = b"data", line[6:]
        else:
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            if not data and value.strip() == b"[DONE]":
                yield name, "[DONE]"
                return
            data.append(value)
            size += len(value) + 1
            if size > limit + 1:
                raise StreamError(f"an event of the stream is longer than {limit} bytes")
        elif field == b"event":
            name = value.decode("utf-8") or "message"


class Body:
    """The bytes of an answer as they arrive: whole, or an error.

    ``read()`` gives what has arrived, and b"" at the end, when the connection has been given back. A body shorter than
    its Content-Length raises ``http.client.IncompleteRead``, which urllib3 1.26 and ``read1`` leave out.
    """

    def __init__(self, response: requests.Response, note: Try) -> None:
        self.note = note
        self.tap: Callable[[bytes], object] | None = None
        self._raw = cast(Any, response.raw)
        self._read1: Callable[[int], bytes] = self._raw._fp.read1
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        length = response.headers.get("Content-Length", "").partition(",")[0].strip()  # a proxy may say it twice
        counted = getattr(self._raw._fp, "length", None)  # where http.client will stop, however it is written
        said = int(length) if re.fullmatch("[0-9]+", length) and not chunked else None
        self.left = counted if isinstance(counted, int) else said
        self._encoding = response.headers.get("Content-Encoding", "identity").lower()
        # An answer without a body that announces one, as a 204 may: what follows on its connection belongs to nobody.
        self._owed = counted == 0 and (chunked or bool(length.strip("0")))
        coding = response.headers.get("Transfer-Encoding", "identity").lower()
        if coding != "identity" and not getattr(self._raw._fp, "chunked", True):
            raise TransportError(printable(f"the answer comes in a Transfer-Encoding that is not known: {coding}"))

    def read(self) -> bytes:
        """Read what has arrived, waiting for one byte at least."""
        data: bytes = self._read1(PIECE) if self.left != 0 else b""
        if self.tap is not None:
            self.tap(data)
        if self.left is not None:
            self.left -= len(data)
        if not data:
            if self.left:
                raise http.client.IncompleteRead(b"", self.left)
            self._give_back()
        return data

    def read_all(self, limit: int | None = None) -> bytes:
        """Read and decompress the whole body; with a limit in bytes, as much as that, and the rest is dropped."""
        pieces, size = [], 0
        while limit is None or size < limit:
            piece = self.read()
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
        else:
            self.close()
        return self._decompress(b"".join(pieces)[:limit], limit)

    def read_head(self, size: int) -> tuple[bytes, bool]:
        """Read ``size`` bytes, or some more, and tell whether that is all that there is."""
        head = b""
        while len(head) <= size:
            piece = self.read()
            if not piece:
                return head, True
            head += piece
        return head, False

    def _decompress(self, data: bytes, limit: int | None) -> bytes:
        if self._encoding not in ("gzip", "x-gzip") or not data:
            return data
        plain = b""
        for _ in range(MEMBERS):
            unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
            plain += unzip.decompress(data, 0 if limit is None else limit - len(plain))
            if not unzip.eof and limit is None:
                raise http.client.IncompleteRead(b"")
            data = unzip.unused_data
            if data[:2] != GZIP_MAGIC or (limit is not None and len(plain) >= limit):
                return plain
        raise TransportError(f"the answer is compressed in more than {MEMBERS} parts")

    def finish(self) -> None:
        """Give the connection back if the body ends within 50 ms, else close it."""
        try:
            self.note.until = time.monotonic() + min(LOOK_ON, self.note.patience(LOOK_ON) or 0)
            while self.read():
                pass
        except FOREIGN:  # whatever it was, the stream was whole before it
            self.close()

    def close(self) -> None:
        """Close the connection, unless it was given back."""
        try:
            self._raw.close()
            self._raw.release_conn()
        except RuntimeError:  # called below its own reader, as by a signal handler
            self.abandon()

    def abandon(self) -> None:
        """Close the connection without taking a lock, as a finalizer must."""
        connection = getattr(self._raw, "_connection", None)
        if connection is not None:
            self._raw._connection = None
            connection.close()

    def _give_back(self) -> None:
        self._raw._fp.close()
        if self._owed or getattr(self._raw._fp, "surplus", False):
            self.close()
        elif self.note.let_go():
            self._raw.release_conn()
        else:  # another thread is shutting it down
            self.close()


class Reply(NamedTuple):
    """What one try brought: an answer (whole, or a stream yet to be read), or an error and the word for it."""

    url: str
    note: Try
    response: requests.Response
    body: Body | None = None
    data: Hidden = Hidden(b"")  # of bytes: frames of an error hold a reply, and a gateway may echo what it was sent
    error: GigaChatException | None = None
    fault: str | int = ""
    slot: Any = None  # the place of the limiter that a stream holds: pass_on(), give_back()

def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)


def decode_json(text: str) -> Any:
    """Decode JSON, without the search for white space round it where there is none."""
    try:
        value, end = _decoder.raw_decode(text)
    except ValueError:
        end = -1
    return value if end == len(text) else _decoder.decode(text)


def read_json(reply: Reply) -> Any:
    """Decode the body of an answer; one that is not JSON is an error that shows its beginning."""
    try:
        return decode_json(reply.data.open().decode("utf-8"))
    except (ValueError, RecursionError):
        data = unveiled(reply.data.open()[:ERROR_LIMIT], reply.response)
    # Raised here and not above, for JSON's own error carries the whole text.
    what = "is empty" if not data.strip() else "is not JSON but: " + excerpt(data)
    raise response_error(reply.url, reply.response.status_code, data, reply.response.headers, "the answer " + what)


def x_headers(response: requests.Response) -> dict[str, str | None]:
    """Take the ids out of an answer's headers, under the official library's names."""
    return {name: response.headers.get(name) for name in ("x-request-id", "x-session-id", "x-client-id")}


def request_id(response: requests.Response) -> str:
    """Take the id that the service's support asks for, for a log, where a gateway's echo is not to stand."""
    said = response.headers.get("X-Request-Id")
    return unveiled(said.encode("utf-8", "replace"), response).decode("utf-8", "replace") if said else ""


class Assembly:
    """The events of a stream added up to the answer that the same request would have without streaming."""

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, dict[str, list[str]]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add one event; what is not of the documented form is left out, never fatal."""
        usage = self._top.get("usage")
        self._top.update(chunk)
        if usage is not None and self._top.get("usage") is None:
            self._top["usage"] = usage
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._add_choice(choice)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if not isinstance(index, int):
            index = 0
        whole = self._choices.get(index)
        if whole is None:
            whole = self._choices[index] = {"message": {}, "index": index}
            self._texts[index] = {"content": [], "reasoning_content": []}
        if choice.get("finish_reason"):
            whole["finish_reason"] = choice["finish_reason"]
        delta = choice.get("delta")
        if not isinstance(delta, dict) or delta.get("role") == "function_in_progress":
            return
        texts = self._texts[index]
        for key, value in delta.items():
            if key not in texts:
                if value is not None:
                    whole["message"][key] = value
            elif isinstance(value, str):
                texts[key].append(value)

    def text(self, index: int = 0, key: str = "content") -> str:
        """Join what has come of a choice's text."""
        texts = self._texts.get(index)
        return "".join(texts[key]) if texts else ""

    def get(self, key: str) -> Any:
        """Get what the events said beside the choices."""
        return self._top.get(key)

    def finish_reason(self) -> str | None:
        """Get why the first choice ended, None before it has."""
        reason: str | None = self._choices.get(0, {}).get("finish_reason")
        return reason

    def whole(self) -> dict[str, Any]:
        """Put the answer together."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            message = {"content": self.text(index), **choice["message"]}
            if self._texts[index]["reasoning_content"]:
                message["reasoning_content"] = self.text(index, "reasoning_content")
            choices.append({**choice, "message": message})
        return {**self._top, "choices": choices}


ERRORS = ("error", "response.error")


def is_error(value: Mapping[str, Any]) -> bool:
    """Tell whether an event without an answer is an error; a run's ``status`` is a word, an error's a number.

    >>> is_error({"status": 429, "message": "Too many requests"}), is_error({"status": "in_progress"})
    (True, False)
    """
    return isinstance(value.get("status"), int) or isinstance(value.get("message"), str)


S = TypeVar("S", bound="EventStream")


class EventStream:
    """The events of a streamed answer, each the moment it arrives: an iterator and a context manager.

    ``.text``, ``.finish_reason`` and ``.usage`` grow with it; ``.completion`` is the whole answer, once its end was
    seen. An early end is an error with ``.partial``, the text until then; nothing is repeated or left out. It holds a
    place of ``max_connections`` until it is read to its end, closed or forgotten. ``close()`` from another thread ends
    its reader at once, with StreamError.
    """

    _end = "[DONE]"  # what the stream ends with
    _assembling: Any = Assembly
    _chunk: type[Answer]  # the classes of an event, of the whole answer, and of the tokens used
    _whole: type[Answer]
    _usage: type[Obj]

    def __init__(self, reply: Reply, translate: Callable[[Exception, str, Try], GigaChatException]) -> None:
        self.x_headers = x_headers(reply.response)
        self._reply = reply
        self._body = cast(Body, reply.body)
        self._translate = translate
        self._events = iter_sse(iter_lines(iter(self._body.read, b"")))
        self._assembly = self._assembling()
        self._reader: int | None = None
        self._holder = threading.get_ident()
        self._open = True
        self._closing = False
        self._error: GigaChatException | None = None
        self.completion: Any = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._reader is not None:
            raise self._cut_short("another thread is reading this stream")
        if not self._open:
            self._after_the_end()
        note, me = self._reply.note, threading.get_ident()
        try:
            self._reader, note.outer = me, sys.exc_info()[1]
            if me != self._holder:
                self._holder = me
                if self._reply.slot:
                    self._reply.slot.pass_on()
            return self._advance()
        except StopIteration:
            raise
        except (GigaChatException, *FOREIGN) as exc:
            self._fail(exc)
        except BaseException:
            self._shut(self._body.close)
            raise
        finally:
            self._reader = note.outer = None

    def _advance(self) -> Any:
        for name, data in self._events:
            if self._closing:
                break
            if data == "[DONE]":
                self._complete()
                self._shut(self._body.finish)
                raise StopIteration
            chunk = self._decode(name, data)
            if chunk is not None:
                return chunk
        raise self._early_end()

    def _early_end(self) -> StreamError:
        ended = f"the stream ended before its {self._end}"
        return StreamError("the stream was closed before its end" if self._closing else ended)

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):  # a finalizer takes no lock: the connection is closed, not given back
            self._open = False
            self._body.abandon()
            if self._reply.slot:
                self._reply.slot.give_back()

    @property
    def text(self) -> str:
        """The text of the first choice, as far as it has come."""
        text: str = self._assembly.text()
        return text

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, None before it has."""
        reason: str | None = self._assembly.finish_reason()
        return reason

    @property
    def usage(self) -> Any:
        """The tokens used, which come with the last event; those of a thread's run come with each, and are added up."""
        usage = self._assembly.get("usage")
        return self._usage(usage) if isinstance(usage, dict) else None

    def tap(self, write: Callable[[bytes], object]) -> None:
        """Hand the bytes to ``write`` too, as they arrive and before they are decoded, as a report of a fault wants it.

        It is called with b"" at the end. What it raises ends the stream as a fault of the network would.
        """
        self._body.tap = write

    def close(self) -> None:
        """End the stream and free its place; a reader in another thread gets its error at once."""
        if self._reader is not None:  # reading now: in another thread, or below the signal handler that closes
            self._closing = True
            self._reply.note.cut()
        elif self._open:
            self._shut(self._body.close if self.completion is None else self._body.finish)

    def _decode(self, name: str, data: str) -> Any:
        """Make a chunk of an event; None for one without choices, as a heartbeat is, or one with the usage alone."""
        try:
            value = decode_json(data)
        except (ValueError, RecursionError):
            value = None
        known = name in ("message", "error")
        if not isinstance(value, dict):
            self._pass_over(name, data, known)
            return None
        choices = value.get("choices")
        if name == "error" or (known and not choices and is_error(value)):
            self._raise_event(value, data)
        if known or choices:
            self._assembly.add(value)
        if not choices or not isinstance(choices, list):
            return None
        return with_headers(self._chunk(value), self.x_headers)

    def _pass_over(self, name: str, data: str, known: bool) -> None:
        """Pass over an event that is no JSON object, if nobody knows its name."""
        if name in ERRORS:
            raise StreamError("the service ended the stream: " + excerpt(unveiled(data.encode(), self._reply.response)))
        if known and data.strip():
            raise StreamError("an event of the stream is no JSON object")

    def _raise_event(self, value: dict[str, Any], data: str) -> NoReturn:
        status = value.get("status")
        if isinstance(status, int) and 400 <= status < 600:
            content = unveiled(data.encode("utf-8"), self._reply.response)
            raise response_error(self._reply.url, status, content, self._reply.response.headers)
        reason = excerpt(unveiled(str(value.get("message") or "").encode("utf-8", "replace"), self._reply.response))
        raise StreamError("the service ended the stream: " + (reason or "without a reason"))

    def _complete(self) -> None:
        self.completion = with_headers(self._whole(self._assembly.whole()), self.x_headers)

    def _fail(self, exc: Exception) -> NoReturn:
        note, url = self._reply.note, self._reply.url
        if isinstance(exc, UnicodeDecodeError):
            exc = StreamError("an event of the stream is not UTF-8")
        error = self._translate(exc, url, note)
        traceback.clear_frames(exc.__traceback__)  # the event is in them
        if type(error) is TransportError or isinstance(error, TLSError):
            cause, error = error.__cause__, StreamError(*error.args)
            error.__cause__ = cause
        error.partial = self.text
        self._error = error
        self._shut(self._body.close)
        raise error

    def _after_the_end(self) -> NoReturn:
        if self._error is not None:
            raise self._error
        if self.completion is not None:
            raise StopIteration
        raise self._cut_short("the stream was closed before its end")

    def _cut_short(self, why: str) -> StreamError:
        error = StreamError(why)
        error.partial = self.text
        return error

    def _shut(self, end: Callable[[], None]) -> None:
        self._open = False
        try:
            end()
        finally:
            if self._reply.slot:
                self._reply.slot.give_back()


class Stream(EventStream):
    """The events of a streamed chat."""

    __doc__ = EventStream.__doc__
    _chunk, _whole, _usage = ChatCompletionChunk, ChatCompletion, Usage
    if TYPE_CHECKING:
        completion: ChatCompletion | None

        def __iter__(self) -> Iterator[ChatCompletionChunk]: ...
        def __next__(self) -> ChatCompletionChunk: ...
        @property
        def usage(self) -> Usage | None: ...
