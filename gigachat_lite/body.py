"""Answers: a whole one with its JSON, and one that is read piece by piece as it arrives."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import re
import socket
import time
from typing import Any, Callable, Iterator, Mapping, NamedTuple

import requests
from urllib3.exceptions import HTTPError

from .exceptions import GigaChatException, StreamError, TLSError, TransportError, excerpt, one_line
from .json_text import decode_body
from .limiter import Place, this_thread

NETWORK_ERRORS = (OSError, HTTPError, http.client.HTTPException)  # what requests and those below it raise
MAX_ERROR_BODY = 64 << 10  # bytes that are read and kept of an error's body
CHUNK = 65536
DRAIN_SECONDS = 0.05  # to wait for the end of a body after the end of its stream


class Response(NamedTuple):
    """A whole answer; ``authorization`` is what the request was sent with, to be masked in errors."""

    url: str
    status_code: int
    headers: Mapping[str, str]
    content: bytes
    authorization: str = ""
    x_headers: dict[str, str | None] = {}
    proxy: str = ""  # that may have answered in place of the server

    def json(self) -> Any:
        """Decode the body."""
        try:
            return decode_body(self.content)
        except (ValueError, RecursionError):
            pass
        raise self.error("the answer is not JSON: " if self.content.strip() else "the answer is empty")

    def error(self, message: str = "", status_code: int | None = None) -> GigaChatException:
        """Make an error of this answer; a message that ends in a colon goes on with an excerpt of the body."""
        from .diagnose import error_from_response

        return error_from_response(self._replace(content=self.content[:MAX_ERROR_BODY]), message, status_code)


class BodyReader:
    """Reads a body in pieces, and raises if it ends early; its end frees the connection and the limiter's place.

    Iterating gives bytes as they arrive. ``before_read`` is called before each wait for the network, ``tap`` with the
    bytes, and with b"" at the end.
    """

    def __init__(
        self,
        answer: requests.Response,
        response: Response,
        explain: Callable[[BaseException], GigaChatException],
        until: float | None = None,
    ) -> None:
        self.answer, self.response, self.until = answer, response, until
        self.place: Place | None = None
        self.closed = self.reading = False
        self.before_read: Callable[[], object] | None = None
        self.tap: Callable[[bytes], object] | None = None
        self._explain, self.process = explain, os.getpid()
        self._read, self._below = available_reader(answer)

    def read(self, limit: int | None = None, or_less: bool = False) -> bytes:
        """Read all of it, or the first bytes up to a limit; ``or_less`` takes what came of a body that breaks off."""
        pieces, size = [], 0
        try:
            for piece in self:
                pieces.append(piece)
                size += len(piece)
                if limit is not None and size >= limit:
                    self.close()
                    break
        except GigaChatException:
            if not or_less:
                raise
        return b"".join(pieces)[:limit]

    def __iter__(self) -> Iterator[bytes]:
        if self.response.content:  # read already
            yield self.response.content
            return
        received, error = 0, None  # type: int, GigaChatException | None
        try:
            while True:
                if self.before_read is not None:
                    self.before_read()
                if self.place is not None and not self.place.of_task:
                    self.place.reader[:] = this_thread.identity, time.monotonic()
                self.reading = True
                try:
                    if self.until is not None and time.monotonic() >= self.until:
                        raise socket.timeout("deadline")
                    data = b"" if self.closed else self._read()
                    if not data and not self.closed:
                        check_length(self.answer, received)
                except (ValueError, AttributeError, *NETWORK_ERRORS) as exc:
                    if not self.closed and not isinstance(exc, NETWORK_ERRORS):
                        raise
                    error = self._explain(exc)
                self.reading = False
                if self.closed:  # by another thread, which looks like the end of the bytes, or an error
                    error = StreamError("the stream was closed before its end")
                if error is not None:
                    break
                if self.tap is not None:
                    self.tap(data)
                if not data:
                    break
                received += len(data)
                yield data
        except BaseException as exc:
            if not isinstance(exc, GeneratorExit):
                self._end(give_back=False)
            raise
        self._end(give_back=error is None)
        if error is not None:
            raise error

    def drain(self) -> None:
        """After the end of a stream: keep the connection if the body ends within 50 ms, else close it."""
        sock, ended = getattr(getattr(self.answer.raw, "connection", None), "sock", None), False
        if sock is not None and not self.closed:
            with contextlib.suppress(Exception):  # whatever it is, also of a mock's socket: the stream was whole before
                timeout = sock.gettimeout()
                sock.settimeout(DRAIN_SECONDS)
                ended = not (self._read() and self._read())
                sock.settimeout(timeout)
        self._end(give_back=ended)

    def close(self) -> None:
        """Close the connection; a thread that is reading gets its error at once, and closes it then."""
        if self.reading:
            self.interrupt()
            self.release()
        else:
            self._end(give_back=False)

    def interrupt(self) -> None:
        """End what another thread reads, or will read; it takes no lock, as a finalizer must not.

        A shutdown through a copy of the socket's descriptor wakes the reader; closing would wait for it.
        """
        self.closed = True
        if not self.reading or self.process != os.getpid():  # in a forked child it is the parent's connection
            return
        try:
            with socket.fromfd(self.answer.raw.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
                copy.shutdown(socket.SHUT_RDWR)
        except (AttributeError, ValueError, OSError):  # closed already, or a mock
            pass

    def release(self) -> None:
        """Free the place of the limiter."""
        place, self.place = self.place, None
        if place is not None:
            place.release()

    def _end(self, give_back: bool) -> None:
        self.closed, self.reading = True, False
        release_conn = getattr(self.answer.raw, "release_conn", None)
        try:
            if give_back and release_conn is not None:
                if self._below is not None:
                    self._below.close()  # else the connection's next request would find it busy
                release_conn()
            self.answer.close()
        finally:
            place, self.place = self.place, None
            if place is not None:
                place.release()

    def __reduce__(self) -> Any:
        raise TypeError("an open stream or file cannot be pickled")

    def __del__(self) -> None:
        if not self.closed and self.answer.raw is not None:
            self.answer.raw.close()  # and no more: giving the connection back would take locks


def stream_error(exc: Exception, request_id: str | None) -> GigaChatException:
    """Make the error that ends a stream: a StreamError, unless it says more, with the request id."""
    error = exc if isinstance(exc, GigaChatException) else StreamError("an event of the stream is not UTF-8")
    if type(error) is TransportError or isinstance(error, TLSError):
        error = StreamError(*exc.args)
        error.__dict__.update(exc.__dict__)
        error.__cause__ = exc.__cause__
    elif isinstance(error, StreamError) and request_id and not error.request_id:
        error.request_id = request_id
        error.args = (one_line(str(error), f" (request id {request_id[:64]})"),)
    return error


def error_of_event(response: Response, value: Mapping[str, Any]) -> GigaChatException:
    """Make the error that an event of a stream says."""
    from .diagnose import mask
    from .payload import to_json

    status = value.get("status")
    if isinstance(status, int) and 400 <= status < 600:
        return response._replace(content=to_json(value)).error(status_code=status)
    message = mask(str(value.get("message") or "").encode("utf-8", "replace"), response.authorization)
    return StreamError("the service ended the stream: " + (excerpt(message) or "without a reason"))


def available_reader(answer: requests.Response) -> tuple[Callable[[], bytes], http.client.HTTPResponse | None]:
    """Return a function that reads what has arrived of a body, and b"" at its end, and what it reads from.

    http.client's response below urllib3's is private there, and worth it: before 2.2 there is no other way to read what
    has arrived, and since then urllib3's own ``read1`` costs more than all the rest of an event (seen in 1.26.5 to
    2.8.0). In recorded and mocked answers there is none, and the public ways are taken.
    """
    raw, below = answer.raw, getattr(answer.raw, "_fp", None)
    if answer.headers.get("Content-Encoding", "identity").lower() == "identity":
        if isinstance(below, http.client.HTTPResponse):
            return functools.partial(below.read1, CHUNK), below
        if raw is not None and hasattr(raw, "read1"):
            return functools.partial(raw.read1, CHUNK), None
    if raw is None:
        bytes(answer.content)  # a mock's, where iter_content finds the content from now on
    pieces = answer.iter_content(CHUNK)
    return lambda: next(pieces, b""), None


def check_length(answer: requests.Response, received: int | None = None) -> None:
    """Raise for a body shorter than its Content-Length, as urllib3 1.26 and ``read1`` do not.

    A proxy may announce the length twice, as ``5, 5``. ``received`` counts the bytes of a body read by ``read1``; one
    that is empty and without a length comes of headers that were cut.
    """
    headers, least = answer.headers, 0
    length = headers.get("Content-Length", "").partition(",")[0].strip()
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        return
    if received is None:
        received = answer.raw.tell() if hasattr(answer.raw, "tell") else None
    elif headers.get("Content-Encoding", "identity").lower() != "identity":
        return  # it counts what was decompressed
    else:
        least = int(answer.status_code == 200 and not length)
    if received is not None and received < (int(length) if re.fullmatch("[0-9]+", length) else least):
        raise http.client.IncompleteRead(b"")
