"""TLS: the SSL context of each host, the Russian root certificate, and the adapter that makes requests use them."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import sys
import threading
import time
import warnings
from typing import Any, Iterator, List, Mapping, Tuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.exceptions import InsecureRequestWarning

from .exceptions import ConfigurationError
from .validators import host_of, is_gigachat

OLD_URLLIB3 = not hasattr(urllib3, "BaseHTTPResponse")  # before 2.0
PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN, unnamed before Python 3.10: an intermediate CA may be the root
STALE_SECONDS = 0.5  # a kept connection that is lost later than this may have carried the request to the service
GIVEN_CONTEXT = "those of the given ssl_context"


class ClientContext(ssl.SSLContext):
    """An SSL context that remembers, for each thread, how far its last new connection came.

    ``progress.value`` is None after a request on a kept connection, "handshake" while nothing of the request can have
    been sent, and then "connected"; ``progress.chain`` is what ``sent_chain()`` says of a certificate that was refused.
    """

    progress: threading.local

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Make the TLS connection; an end without TLS's own is a cut, not the end of a body."""
        self.progress.value, self.progress.chain = "handshake", (0, "")
        wrapped = super().wrap_socket(*args, **{**kwargs, "suppress_ragged_eofs": False})
        self.progress.value = "connected"
        return wrapped


class ClientSocket(ssl.SSLSocket):
    """A TLS connection that notes what the server has sent when its certificate is refused."""

    def do_handshake(self, block: bool = False) -> None:
        """Make the handshake."""
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError:
            self.context.progress.chain = sent_chain(self)  # type: ignore[attr-defined] # of a ClientContext
            raise


def sent_chain(wrapped: ssl.SSLSocket) -> tuple[int, str]:
    """Tell how many certificates a server has sent, and who issued the last; (0, "") where Python does not say.

    That is private up to Python 3.12, and there from 3.10 on.
    """
    try:
        chain = wrapped._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        issuer = dict(pair for pairs in chain[-1].get_info()["issuer"] for pair in pairs)
        return len(chain), str(issuer.get("commonName") or issuer.get("organizationName") or "")
    except Exception:  # of whatever stands in its place
        return 0, ""


class SocketOptions(List[Tuple[int, int, int]]):
    """Socket options that note, for each thread, when urllib3 makes a new socket with them.

    That tells a new connection from a kept one; urllib3's own count of connections does not, for it connects again in
    the place of a connection that was dropped.
    """

    def __init__(self) -> None:
        super().__init__([(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
        self.sent = threading.local()

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        self.sent.new_socket = True
        return super().__iter__()


class IPContext:
    """Give OpenSSL the server's IP address to check, which urllib3 1.26 leaves out."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._context, self._host = context, host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def wrap_socket(self, sock: socket.socket, server_hostname: str | None = None, **kwargs: Any) -> ssl.SSLSocket:
        """Make the TLS connection."""
        return self._context.wrap_socket(sock, server_hostname=server_hostname or self._host, **kwargs)


class HostTLS:
    """The SSL context of one host, and the names of the root certificates in it.

    A ready ``ssl_context`` wins over ``verify_ssl_certs=False``, that over ``ca_bundle_file`` (unless a stronger source
    names the file: see config.py), that over the default: for hosts of the service the Russian root alone, which loads
    in a millisecond, and the roots of the system and of certifi once a server needs them; for any other host the
    latter, and never the Russian root.
    """

    def __init__(self, config: Mapping[str, Any], host: str, with_client_cert: bool = True) -> None:
        self.host = host
        self.roots: list[str] = []
        self.client_cert: bool | None = bool(with_client_cert and config["cert_file"])
        self.can_add_system_roots = False
        self._environ: Mapping[str, str] | None = config["environ"]
        self._trust_env = config["trust_env"]
        if config["ssl_context"] is not None:
            self.context: ssl.SSLContext = config["ssl_context"]
            self.client_cert = None  # not known
            self.roots.append(GIVEN_CONTEXT)
            return
        self.context = new_context(config["verify_ssl_certs"])
        if not config["verify_ssl_certs"]:
            self.roots.append("none, for verification is off")
        elif config["ca_bundle_file"]:
            load_roots(self.context, config["ca_bundle_file"], "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)")
            self.roots.append("ca_bundle_file " + config["ca_bundle_file"])
        elif is_gigachat(host):
            from .russian_root_ca import PEM

            self.context.load_verify_locations(cadata=PEM)
            self.roots.append("the Russian Trusted Root CA of this package")
            self.can_add_system_roots = True
        else:
            self.load_system_roots()
        if self.client_cert:
            from .client_cert import load_client_cert

            load_client_cert(self.context, config)

    def load_system_roots(self) -> None:
        """Add the roots of the system and of certifi, or of REQUESTS_CA_BUNDLE."""
        path, name = DEFAULT_CA_BUNDLE_PATH, "certifi"
        environ = os.environ if self._environ is None else self._environ
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if self._trust_env else ():
            if environ.get(variable):
                path = str(environ[variable])
                name = f"{variable} {path}"
                break
        load_roots(self.context, path, name)
        load_default_certs(self.context, self._environ)
        self.roots += [describe_default_certs(environ), name]
        self.can_add_system_roots = False


class TLSAdapter(HTTPAdapter):
    """A requests adapter for one host, whose own SSL context alone decides, directly and through a proxy.

    requests itself would load certifi or ``REQUESTS_CA_BUNDLE`` into any context with each new connection.
    """

    def __init__(self, tls: HostTLS | None, pool_size: int) -> None:
        self.tls = tls
        self._pools: dict[str | None, Any] = {}  # by proxy
        self._socket_options = SocketOptions()
        self._sent = self._socket_options.sent  # what is known of each thread's last request
        self._progress = getattr(tls and tls.context, "progress", None)
        if tls is not None:
            self._ignore_warning(tls.host)
        super().__init__(pool_connections=2, pool_maxsize=pool_size)

    def _ignore_warning(self, host: str) -> None:
        """Keep urllib3 from warning of unverified requests to a host, for the client has warned once."""
        if self.tls is not None and self.tls.context.verify_mode == ssl.CERT_NONE:
            made_to = f"Unverified HTTPS request is being made to host '{re.escape(host)}'"
            warnings.filterwarnings("ignore", made_to, InsecureRequestWarning)

    def _tls_options(self) -> dict[str, Any]:
        if self.tls is None:
            return {}
        context: Any = self.tls.context
        check_hostname = context.check_hostname
        if OLD_URLLIB3 and (":" in self.tls.host or re.fullmatch(r"[\d.]+", self.tls.host)):
            context = IPContext(context, self.tls.host)
        # Without assert_hostname=False urllib3 checks names itself where the given context says not to.
        return {"ssl_context": context, "assert_hostname": None if check_hostname else False}

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """Make the pool manager with the host's context."""
        more = {**self._tls_options(), "socket_options": self._socket_options}
        super().init_poolmanager(connections, maxsize, block, **kwargs, **more)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make a proxy's pool manager with the host's context."""
        self._ignore_warning(host_of(proxy))  # which urllib3 may name instead
        # Without these options urllib3 leaves Nagle's algorithm on, which holds each request back for 40 ms.
        return super().proxy_manager_for(proxy, **kwargs, **self._tls_options(), socket_options=self._socket_options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the context has all roots and certificates."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """Return the pool of this adapter's own managers (requests asks here from 2.32 on)."""
        proxy = select_proxy(request.url, proxies)
        pool = self._pools.get(proxy)
        if pool is None:
            manager = self.proxy_manager_for(proxy) if proxy else self.poolmanager
            pool = self._pools[proxy] = manager.connection_from_url(request.url)
        self._sent.new_socket, self._sent.began = False, time.monotonic()
        if self._progress is not None:
            self._progress.value = None
        return pool

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        """Return the pool of this adapter's own managers (requests asked here before 2.32)."""
        return self.get_connection_with_tls_context(requests.Request(url=url), None, proxies)

    def last_request(self) -> dict[str, Any]:
        """Tell what is known of this thread's last request, which failed, as arguments of diagnose.Attempt.

        ``before_tls`` and ``in_handshake``: nothing of it was sent; ``stale``: it met a kept connection, and ended at
        once.
        """
        kept = not getattr(self._sent, "new_socket", True)  # True where nothing is known, as of a mock
        progress = getattr(self._progress, "value", None)
        return {
            "before_tls": self._progress is not None and not kept and progress is None,
            "in_handshake": progress == "handshake",
            "stale": kept and time.monotonic() - float(self._sent.began) < STALE_SECONDS,
            "sent_chain": getattr(self._progress, "chain", (0, "")),
            "roots": self.tls.roots if self.tls else [],
            "client_cert": self.tls.client_cert if self.tls else False,
        }

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._pools:
            self._pools.popitem()[1].close()
        super().close()


def new_context(verify: bool = True) -> ssl.SSLContext:
    """Make a client's context: TLS 1.2 at least, no roots yet.

    ``ssl.create_default_context`` is not used because from Python 3.13 on it refuses many corporate roots.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.progress, context.sslsocket_class = threading.local(), ClientSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        with contextlib.suppress(AttributeError):  # of a mock library's SSLContext
            context.verify_flags |= PARTIAL_CHAIN
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def load_roots(context: ssl.SSLContext, path: str, name: str) -> None:
    """Load root certificates from a file in PEM or DER, told apart by content, or from a folder in OpenSSL's form."""
    try:
        if os.path.isdir(path):
            if not any(re.fullmatch(r"[0-9a-f]{8}\.\d+", entry) for entry in os.listdir(path)):
                raise ValueError("it has no hashed names: run openssl rehash, or give one file")
            context.load_verify_locations(capath=path)
            return
        with open(path, "rb") as file:
            content = file.read()
        if b"-----BEGIN" in content:
            context.load_verify_locations(cafile=path)
        else:
            context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(content))
    except ssl.SSLError as exc:
        raise ConfigurationError(f"{name}: {path} holds no certificate in PEM or DER") from exc
    except (OSError, ValueError) as exc:
        where = name if path in name else f"{name}: {path}"
        raise ConfigurationError(f"{where} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


def describe_default_certs(environ: Mapping[str, str]) -> str:
    """Name the system's roots, or the variable of OpenSSL that takes their place."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = environ.get(name)
        if path:
            return f"{name} {path}" + ("" if os.path.exists(path) else " (not there)")
    return "the system's store"


def load_default_certs(context: ssl.SSLContext, environ: Mapping[str, str] | None) -> None:
    """Load the system's roots; SSL_CERT_FILE and SSL_CERT_DIR are read from ``environ``, by default the process's."""
    if environ is None or sys.platform == "win32":
        context.load_default_certs()
        return
    names = ssl.get_default_verify_paths()
    file = environ.get(names.openssl_cafile_env, names.openssl_cafile)
    folder = environ.get(names.openssl_capath_env, names.openssl_capath)
    with contextlib.suppress(OSError):  # as OpenSSL passes over what cannot be read
        context.load_verify_locations(cafile=file)
    with contextlib.suppress(OSError):
        context.load_verify_locations(capath=folder)
