"""Server-sent events: from the bytes of an answer to lines, events, and the chunks of a streamed chat."""

from __future__ import annotations

import os
from itertools import chain
from typing import Any, Callable, Generic, Iterable, Iterator, Mapping, TypeVar

from .accumulators import ChatAccumulator
from .body import BodyReader, error_of_event, stream_error
from .exceptions import GigaChatException, StreamError
from .json_text import decode_json, unfinished
from .models.base import set_x_headers, with_headers
from .models.chat import ChatCompletion, ChatCompletionChunk, Usage

__all__ = ["Stream", "iter_lines", "iter_sse"]

EVENT_LIMIT = 8 << 20  # bytes of one event
LONG_EVENT = 65536  # bytes that are joined with each new chunk
ERROR_EVENTS = ("error", "response.error")


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
        if chunk[-1:] == b"\n" and not pieces and len(chunk) <= limit:  # whole lines, as nearly always
            yield from chunk.splitlines()  # of bytes: at LF, CR and CRLF alone
            continue
        if not chunk:
            continue
        pieces.append(chunk)
        size += len(chunk)
        if b"\n" in chunk or b"\r" in chunk:
            data = b"".join(pieces)
            lines = data.splitlines()
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
    name, size, data = "message", 0, []  # type: str, int, list[bytes]
    lines = iter(lines)
    first = next(lines, b"")
    for line in chain((first[3:] if first.startswith(b"\xef\xbb\xbf") else first,), lines):
        if line[:6] == b"data: ":
            field, value = b"data", line[6:]
        elif line:
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
        else:
            if data:
                yield name, (data[0] if len(data) == 1 else b"\n".join(data)).decode("utf-8")
                data = []
            name, size = "message", 0
            continue
        if field == b"data":
            if not data and len(value) < 9 and value.strip() == b"[DONE]":
                yield name, "[DONE]"
                return
            data.append(value)
            size += len(value) + 1
            if size > limit + 1:
                raise StreamError(f"an event of the stream is longer than {limit} bytes")
        elif field == b"event":
            name = value.decode("utf-8") or "message"


def iter_events(chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Do the same as ``iter_sse(iter_lines(chunks))``, several times faster where chunks hold whole ``data:`` events.

    >>> list(iter_events([b"data: 1\\n\\nevent: ping\\ndata: 2\\n\\nda", b"ta: [DONE]\\n"]))
    [('message', '1'), ('ping', '2'), ('message', '[DONE]')]
    """
    rest, chunks = b"", iter(chunks)
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        if data.find(b"\r") >= 0 or data[:1] == b"\xef" or len(rest) > LONG_EVENT:  # find: "in" is five times dearer
            break
        end = data.rfind(b"\n\n") + 2
        for block in data[: end - 2].split(b"\n\n") if end > 1 else ():
            if block.startswith(b"data: {") and block.find(b"\n") < 0:
                yield "message", block[6:].decode("utf-8")
                continue
            if block == b"data: [DONE]":
                yield "message", "[DONE]"
                return
            for event in iter_sse([*block.split(b"\n"), b""]):
                yield event
                if event[1] == "[DONE]":
                    return
        rest = data[end:] if end > 1 else data
        if rest and rest[-1:] == b"\n" and b"[DONE]" in rest:  # given without waiting for its empty line
            data = rest
            break
    else:
        data = rest
    yield from iter_sse(iter_lines(chain((data,), chunks)))


C = TypeVar("C", covariant=True)  # an event of a stream, its whole answer, and the tokens used
W = TypeVar("W", covariant=True)
U = TypeVar("U", covariant=True)
S = TypeVar("S", bound="EventStream[Any, Any, Any]")


class EventStream(Generic[C, W, U]):
    """The events of a streamed answer, each the moment it arrives: an iterator and a context manager.

    ``.text``, ``.finish_reason`` and ``.usage`` grow with it; ``.completion`` is the whole answer, once its end was
    seen. An early end is an error with ``.partial``, the text until then; each event comes once, in order. It holds a
    place of ``max_connections`` until it is read to its end, closed or forgotten. ``close()`` from another thread ends
    its reader at once, with StreamError.
    """

    END = "[DONE]"  # the data or the name of the last event
    ANSWER_EVENTS: tuple[str, ...] = ("message",)  # the names of the events that hold the answer
    ANSWER_KEYS: tuple[str, ...] = ("choices",)  # one of which such an event has, unless it is an error
    ACCUMULATOR: Any = ChatAccumulator
    CHUNK: Any  # the classes of an event, of the whole answer, and of the tokens used
    WHOLE: Any
    USAGE: Any

    def __init__(self, body: BodyReader) -> None:
        self.x_headers = body.response.x_headers
        self.completion: W | None = None
        self._body = body
        self._events = iter_events(body)
        self.accumulator = self.ACCUMULATOR()
        self._halves: dict[tuple[Any, ...], str] = {}  # of surrogate pairs, by their place in an event
        self._error: GigaChatException | None = None
        self._closed = False

    def __iter__(self) -> Iterator[C]:
        # A generator that the stream itself does not hold: so a forgotten stream is freed at once.
        body = self._body
        if body.reading:
            raise self._with_partial(StreamError("another thread is reading this stream"))
        if body.process != os.getpid():
            raise self._with_partial(StreamError("this stream belongs to the process that opened it"))
        if self._error is not None:
            raise self._error
        if self.completion is not None:
            body.drain()
            return
        try:
            for name, data in self._events:
                if self._closed:
                    break
                done = data == "[DONE]"
                chunk = None if done else self._decode(name, data)
                if self.END in (name, data):
                    self._complete()
                if chunk is not None:
                    if self.completion is not None:
                        body.release()  # the caller need not go on
                    yield chunk
                if done or self.completion is not None:
                    break
            if self.completion is None:
                how = "was closed before its end" if self._closed else f"ended before its {self.END}; ask again"
                raise StreamError("the stream " + how)
        except GeneratorExit:
            raise
        except (GigaChatException, UnicodeDecodeError) as exc:
            error = self._finish(exc)
        except BaseException:
            self.close()
            raise
        else:
            body.drain()
            return
        raise error.with_traceback(None)

    def _complete(self) -> None:
        for rest in unfinished(self._halves):
            self.accumulator.add(rest)
        self.completion = with_headers(self.WHOLE(self.accumulator.whole()), self.x_headers)

    def __next__(self) -> C:
        for chunk in self:
            return chunk
        raise StopIteration

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def text(self) -> str:
        """The text of the first choice, as far as it has come."""
        text: str = self.accumulator.text()
        return text

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, None before it has."""
        reason: str | None = self.accumulator.finish_reason()
        return reason

    @property
    def usage(self) -> U | None:
        """The tokens used, which come with the last event; those of a thread's run come with each, and are added up."""
        usage = self.accumulator.usage()
        return self.USAGE(usage) if isinstance(usage, dict) else None

    def tap(self, write: Callable[[bytes], object]) -> None:
        """Hand the bytes to ``write`` too, as they arrive and before they are decoded; b"" at the end."""
        self._body.tap = write

    def before_read(self, call: Callable[[], object]) -> None:
        """Call a function before each wait for the network."""
        self._body.before_read = call

    def interrupt(self) -> None:
        """End what another thread reads; unlike ``close()`` it takes no lock, and leaves closing to that thread."""
        self._body.interrupt()

    def close(self) -> None:
        """End the stream and free its place; a reader in another thread gets its error at once."""
        self._closed = True
        if self.completion is not None and not self._body.closed:
            self._body.drain()
        else:
            self._body.close()

    def _decode(self, name: str, data: str) -> Any:
        """Make a chunk of an event; None for one that says nothing. Unknown events need not be JSON objects."""
        try:
            value = decode_json(data, self._halves)
        except (ValueError, RecursionError):
            value = None
        known = name in self.ANSWER_EVENTS
        if not isinstance(value, dict):
            if name in ERROR_EVENTS:
                raise error_of_event(self._body.response, {"message": data})
            if known and data.strip():
                raise StreamError("an event of the stream is no JSON object")
            return None
        if name in ERROR_EVENTS or (known and not any(map(value.get, self.ANSWER_KEYS))):
            error = value.get("error")
            error = error if isinstance(error, dict) else value
            if name in ERROR_EVENTS or is_error(error):
                raise error_of_event(self._body.response, error)
        return self.read_event(name, value)

    def read_event(self, name: str, value: dict[str, Any]) -> Any:
        """Add an event to the answer, and make a chunk of it; None for a heartbeat, or the usage alone."""
        choices = value.get("choices")
        if choices or name in self.ANSWER_EVENTS:
            self.accumulator.add(value)
        if not choices or not isinstance(choices, list):
            return None
        chunk = self.CHUNK(value)
        set_x_headers(chunk, self.x_headers)
        return chunk

    def _finish(self, exc: Exception) -> GigaChatException:
        """End the stream with an error that carries the text until then."""
        error = stream_error(exc, self.x_headers.get("x-request-id"))
        self._error = self._with_partial(error)
        self._body.close()
        return self._error

    def _with_partial(self, error: GigaChatException) -> GigaChatException:
        error.partial = self.text
        return error


def is_error(value: Mapping[str, Any]) -> bool:
    """Tell whether an event without an answer is an error; a run's ``status`` is a word, an error's a number.

    >>> is_error({"status": 429, "message": "Too many requests"}), is_error({"status": "in_progress"})
    (True, False)
    """
    return isinstance(value.get("status"), int) or isinstance(value.get("message"), str)


class Stream(EventStream[ChatCompletionChunk, ChatCompletion, Usage]):
    """The events of a streamed chat."""

    __doc__ = EventStream.__doc__
    CHUNK, WHOLE, USAGE = ChatCompletionChunk, ChatCompletion, Usage
