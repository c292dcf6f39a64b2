"""Connections that keep a note of each try of a request, and mind its timeouts and its deadline.

Types of exceptions tell too little of what went wrong, and differ between versions; the note tells the rest.
"""

from __future__ import annotations

import errno
import http.client
import io
import socket
import sys
import threading
import time
from typing import Any

import urllib3

from .trust import NamedContext

PIECE = 65536
INTERIM_LIMIT = 100  # answers of status 1xx before the one that counts, and lines in each
OLD_URLLIB3 = not hasattr(urllib3.response, "BaseHTTPResponse")  # before 2.0


class Try:
    """What one try of a request went through, noted by its connection, and the limits it minds.

    ``until`` is the deadline on the monotonic clock, ``read`` the patience in seconds for each wait; None is none.
    ``connecting``: not yet connected; ``fresh``: the connection was made for this try; ``heard``: a byte of the answer
    came; ``sock``: what to shut down to end it; ``outer``: what the caller is handling, which is no part of this try;
    ``strict``: TLS itself has to tell the end of the bytes; ``watch``: who may end it from another thread, with the
    call that it belongs to (a ``Job`` of aio.py).
    """

    __slots__ = ("_once", "connecting", "fresh", "heard", "outer", "read", "sock", "strict", "until", "watch")

    def __init__(self, until: float | None = None, read: float | None = None, strict: bool = False) -> None:
        self.until = until
        self.read = read
        self.strict = strict
        self.connecting = self.fresh = self.heard = False
        self.sock: socket.socket | None = None
        self.outer = sys.exc_info()[1]
        self._once = [True]
        self.watch = local.watch
        if self.watch is not None:
            self.watch.note = self
            self.watch.check()

    def patience(self, limit: float | None) -> float | None:
        """Shorten a limit to what is left until the deadline; a deadline that has passed raises ``socket.timeout``."""
        if self.until is None:
            return limit
        left = self.until - time.monotonic()
        if left <= 0:
            raise socket.timeout("deadline")
        return left if limit is None else min(limit, left)

    def cut(self) -> None:
        """End the try from another thread: a shutdown wakes its reader at once, which a close does not."""
        try:
            if self.let_go() and self.sock is not None:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # an SSLSocket's own takes the TLS from its reader
        except OSError:
            pass  # already down

    def let_go(self) -> bool:
        """Tell whoever asks first, and nobody after: the one that ends the try, or gives its connection back."""
        try:
            return self._once.pop()
        except IndexError:
            return False

    def check(self) -> None:
        """Raise where the call was ended from another thread, which leaves nothing to be done for it."""
        if self.watch is not None:
            self.watch.check()


class _Local(threading.local):
    note: Try | None = None
    watch: Any = None


local = _Local()  # the try that this thread is sending, and who may end its call


class PacedIO(socket.SocketIO):
    """The raw reader below http.client: holds the deadline in headers, bodies and a proxy's answer."""

    _sock: Any
    note: Try
    limit: float | None
    ended = mute = False

    def readinto(self, buffer: Any) -> Any:
        """Read what has arrived; wait no longer than the read timeout and the deadline allow."""
        if self.mute:
            return None
        if self.note.watch is not None:
            self.note.watch.idle()
        if self.note.until is not None:
            self._sock.settimeout(self.note.patience(self.limit))
        count = super().readinto(buffer)
        if count:
            self.note.heard = True
        elif count == 0:
            self.ended = True
        return count


class PacedReader(io.BufferedReader):
    """The buffer above it: notes, when it is closed, whether more had come than the answer that it was for."""

    surplus = False
    raw: Any

    def close(self) -> None:
        """Close, after a look at what is left, which is not to be waited for."""
        if not self.closed:
            self.raw.mute = True
            try:
                self.surplus = self.surplus or bool(self.peek(1))
            finally:  # whoever reads here goes on, if this was called below it
                self.raw.mute = False
        super().close()


class PacedResponse(http.client.HTTPResponse):
    """An http.client answer whose raw reader minds the note of the try that it answers."""

    fp: Any = None

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        made, self.fp = self.fp, None  # in this order, for an interrupt may come between
        raw: Any = made.detach()
        raw.__class__ = PacedIO
        raw.note = local.note or Try()
        raw.limit = sock.gettimeout()
        self.fp = self._reader = PacedReader(raw)
        self._paced = raw

    @property
    def surplus(self) -> bool:
        """Whether bytes came with the answer, now that it was read, that belong to none."""
        return self._reader.surplus

    def begin(self) -> None:
        """Read the headers to their end, which http.client sees in the end of the connection too."""
        super().begin()
        if self._paced.ended:
            raise http.client.IncompleteRead(b"")

    def _read_status(self) -> tuple[str, int, str]:
        """Skip interim answers; http.client skips 100 alone and would take a 103 for the answer (RFC 9110, 15.2)."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        for _ in range(INTERIM_LIMIT):
            if not 100 < status < 200 or status == 101:
                break
            for _ in range(INTERIM_LIMIT):
                if not self.fp.readline(PIECE).strip():
                    break
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason


class PacedConnection:
    """A mixin for urllib3's connections: keeps the note of the try, and times what is sent."""

    response_class = PacedResponse
    host: str
    sock: Any
    ssl_context: Any

    def connect(self) -> None:
        """Connect, and note how far it came."""
        note = local.note or Try()
        note.connecting = note.fresh = True
        if OLD_URLLIB3 and getattr(self, "ssl_context", None) is not None:
            self.ssl_context = NamedContext(self.ssl_context, getattr(self, "_tunnel_host", None) or self.host)
        super().connect()  # type: ignore[misc]
        note.connecting = note.heard = False
        note.sock = self.sock
        note.check()
        self.is_verified = True  # else urllib3 warns of unverified HTTPS on every request; the client has warned once

    def _new_conn(self) -> Any:
        sock = super()._new_conn()  # type: ignore[misc]
        try:
            sock.settimeout((local.note or Try()).patience(sock.gettimeout()))  # what is left, for the handshake
        except OSError:
            sock.close()
            raise
        return sock

    def _tunnel(self) -> None:
        limit = self.sock.gettimeout()
        super()._tunnel()  # type: ignore[misc]
        self.sock.settimeout((local.note or Try()).patience(limit))

    def send(self, data: Any) -> None:
        """Send within the read timeout and the deadline; urllib3 would give a whole body the connect timeout."""
        note = local.note
        if note is not None and not note.connecting:
            if self.sock is None:
                self.connect()
            note.sock = self.sock
            note.check()
            self.sock.settimeout(note.patience(note.read))
            if hasattr(self.sock, "suppress_ragged_eofs"):
                # A file may end with its connection, and nothing but TLS can tell this from a cut (RFC 9112, 9.8).
                self.sock.suppress_ragged_eofs = not note.strict
        try:
            super().send(data)  # type: ignore[misc]
        except ConnectionResetError as exc:
            if note is None or note.connecting:
                raise
            # Every urllib3 reads on after this one, for the answer may be there already: to a body too large, say.
            raise BrokenPipeError(errno.EPIPE, exc.strerror) from exc
