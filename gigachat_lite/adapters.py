"""What requests and urllib3 do not do by themselves.

* TLSAdapter: a requests adapter that uses one trust and nothing else, directly and through a proxy.
* Try, and the connections that keep it: what one try of a request went through, and the deadline it has to mind.
"""

from __future__ import annotations

import functools
import http.client
import socket
import sys
import threading
import time
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from .config import Secret
from .trust import NamedContext, Trust

PIECE = 65536
INTERIM_LIMIT = 100  # answers of status 1xx before the one that counts, and lines in each
OLD_URLLIB3 = not hasattr(urllib3.response, "BaseHTTPResponse")  # before 2.0


# One try of a request, and the connections that keep a note of it


class Try:
    """What one try of a request went through, noted by its connection, and the limits it minds.

    ``until`` is the deadline on the monotonic clock, ``read`` the patience in seconds for each wait; None is none.
    ``connecting``: not yet connected; ``fresh``: the connection was made for this try; ``heard``: a byte of the answer
    came; ``sock``: what to shut down to end it; ``outer``: what the caller is handling, which is no part of this try;
    ``watch``: who may end it from another thread, with the call that it belongs to (a ``Job`` of aio.py).
    """

    __slots__ = ("_once", "connecting", "fresh", "heard", "outer", "read", "sock", "until", "watch")

    def __init__(self, until: float | None = None, read: float | None = None) -> None:
        self.until = until
        self.read = read
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
    ended = False

    def readinto(self, buffer: Any) -> Any:
        """Read what has arrived; wait no longer than the read timeout and the deadline allow."""
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


class PacedResponse(http.client.HTTPResponse):
    """An http.client answer whose raw reader minds the note of the try that it answers."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw: Any = self.fp.raw
        raw.__class__ = PacedIO
        raw.note = local.note or Try()
        raw.limit = sock.gettimeout()
        self._paced = raw

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
        super().send(data)  # type: ignore[misc]


class OldPool:
    """A mixin for the pools of urllib3 1.26, which leave their connections to complain when they are forgotten."""

    pool: Any

    def __del__(self) -> None:
        idle = getattr(self.pool, "queue", None)  # without the queue's lock, as a finalizer must
        while idle:
            connection = idle.pop()
            if connection is not None:
                connection.close()


@functools.lru_cache(maxsize=None)
def paced(pool: Any) -> Any:
    """Derive a pool whose connections keep notes from one of urllib3's (or PySocks') own."""
    connection = type("Paced" + pool.ConnectionCls.__name__, (PacedConnection, pool.ConnectionCls), {})
    bases = (OldPool, pool) if OLD_URLLIB3 else (pool,)
    return type("Paced" + pool.__name__, bases, {"ConnectionCls": connection})


class TLSAdapter(HTTPAdapter):
    """A requests adapter with one trust of its own, valid directly and through a proxy.

    requests would load certifi or ``REQUESTS_CA_BUNDLE`` into any context at each new connection; here ``cert_verify``
    does nothing and the pool is taken from the adapter's own managers.
    """

    def __init__(self, trust: Trust | None, pool_size: int) -> None:
        self.trust = trust
        self._pools: dict[str | None, Any] = {}
        super().__init__(pool_connections=2, pool_maxsize=pool_size)

    def _tls(self) -> dict[str, Any]:
        if self.trust is None:
            return {}
        context = self.trust.context
        # Without assert_hostname=False urllib3 matches names itself where the caller's context says not to.
        return {"ssl_context": context, "assert_hostname": None if context.check_hostname else False}

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """Make the pool manager with the adapter's context."""
        super().init_poolmanager(connections, maxsize, block, **kwargs, **self._tls())
        self._pace(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make a proxy's pool manager with the adapter's context."""
        known = proxy in self.proxy_manager
        if not known:  # without a delay: urllib3 lets Nagle's algorithm hold each request back for 40 ms behind a proxy
            kwargs.update(self._tls(), socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            self._pace(manager)
            if getattr(manager, "proxy", None) is not None:  # SOCKS has none, and its password elsewhere
                # The password has gone into the headers; urllib3's errors lead to whatever is held here.
                manager.proxy = manager.connection_pool_kw["_proxy"] = manager.proxy._replace(auth=None)
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Make the headers for a proxy, with a password that shows itself in no repr."""
        return {name: Secret(value) for name, value in super().proxy_headers(proxy).items()}

    @staticmethod
    def _pace(manager: Any) -> None:
        classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: paced(pool) for scheme, pool in classes.items()}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the context has it all."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Take the pool of the adapter's own managers (requests from 2.32.2 on asks here)."""
        return self.get_connection(request.url, proxies)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        """Take the pool for the mounted origin, made once for each way to it (requests before 2.32 asks here)."""
        proxy = select_proxy(url, proxies)
        pool = self._pools.get(proxy)
        if pool is None:
            manager = self.proxy_manager_for(proxy) if proxy else self.poolmanager
            pool = self._pools[proxy] = manager.connection_from_url(url)
        return pool

    def close(self) -> None:
        """Close the connections that are not in use; urllib3 2 would wait until nobody holds an answer of the pool."""
        while self._pools:
            self._pools.popitem()[1].close()
        super().close()

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """Wrap urllib3's answer without what nobody reads here: cookies, a guess at the encoding, headers once more."""
        response = requests.Response.__new__(requests.Response)
        response.__dict__.update(_BLANK)
        response.status_code, response.reason, response.headers = resp.status, resp.reason, resp.headers
        response.raw, response.url, response.request = resp, req.url, req
        response.history = []
        return response


_BLANK = vars(requests.Response())
