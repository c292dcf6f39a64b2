"""What requests does not do by itself: an adapter that uses one trust and nothing else, directly and by a proxy."""

from __future__ import annotations

import functools
import queue
import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from .connections import OLD_URLLIB3, PacedConnection
from .secret import Secret
from .trust import Trust


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

    def renew(self) -> None:
        """Give the old pools free locks in a forked child: at its end urllib3 closes them, and would wait for ever."""
        for pool in self._pools.values():
            idle = pool.pool
            if isinstance(idle, queue.Queue):
                kept = idle.queue
                idle.__init__(idle.maxsize)  # type: ignore[misc]
                idle.queue = kept

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
