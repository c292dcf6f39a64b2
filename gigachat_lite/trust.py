"""Whose certificates are trusted: the one file to read for it.

The national root that most GigaChat hosts need is package data (``russian_trusted_root_ca.pem``), and it is trusted for
GigaChat hosts alone.
"""

from __future__ import annotations

import os
import pkgutil
import re
import ssl
import threading
from typing import Any, Mapping

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from .exceptions import ConfigurationError

GIGACHAT_DOMAINS = ("sberbank.ru", "giga.chat", "sberdevices.ru", "sbrf.ru")
ROOT_FILE = "russian_trusted_root_ca.pem"
PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN, unnamed before Python 3.10: an intermediate alone will do
CALLERS_OWN = "those of the given ssl_context"
UNKNOWN_ISSUER = (2, 18, 19, 20, 21)  # OpenSSL's verify codes that more roots may cure


def is_gigachat(host: str) -> bool:
    """Tell whether a host is one of the service's own, for which the national root is trusted.

    >>> is_gigachat("api.giga.chat"), is_gigachat("giga.chat.example.com"), is_gigachat("notsberbank.ru")
    (True, False, False)
    """
    return any(host == domain or host.endswith("." + domain) for domain in GIGACHAT_DOMAINS)


class Trust:
    """Whose certificates one host may show: an SSL context, the names of the roots in it, and whether it may grow.

    The precedence is: a ready ``ssl_context``; verification switched off; ``ca_bundle_file``; the default trust. By
    default a GigaChat host is met with the national root alone, which spares loading a hundred others; ``widen()`` adds
    the system's and certifi's when that was not enough. No other host is ever met with the national root.
    """

    def __init__(self, config: Mapping[str, Any], host: str, with_cert: bool = True) -> None:
        self.roots: list[str] = []
        self.wide = True
        self._lock = threading.Lock()
        self._trust_env = bool(config["trust_env"])
        if config["ssl_context"] is not None:
            self.context: ssl.SSLContext = config["ssl_context"]
            self.roots.append(CALLERS_OWN)
            return
        self.context = new_context(config["verify_ssl_certs"])
        if not config["verify_ssl_certs"]:
            self.roots.append("none, for verification is off")
        elif config["ca_bundle_file"]:
            load_bundle(self.context, config["ca_bundle_file"], "ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)")
            self.roots.append("ca_bundle_file " + config["ca_bundle_file"])
        elif is_gigachat(host):
            self.context.load_verify_locations(cadata=own_root())
            self.roots.append("the Russian Trusted Root CA of this package")
            self.wide = False
        else:
            self._load_wide()
        if with_cert and config["cert_file"]:
            load_client_cert(self.context, config)

    def renew(self) -> None:
        """Make the lock anew in a forked child, for another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def widen(self) -> None:
        """Add the system's and certifi's roots to the same context, once, however many threads ask."""
        with self._lock:
            if not self.wide:
                self._load_wide()
                self.wide = True

    def _load_wide(self) -> None:
        path, name = DEFAULT_CA_BUNDLE_PATH, "certifi"
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if self._trust_env else ():
            if os.environ.get(variable):
                path = os.environ[variable]
                name = f"{variable} {path}"
                break
        load_bundle(self.context, path, name)
        self.context.load_default_certs()
        self.roots += ["the system's store", name]


def own_root() -> str:
    """Read the national root, which is package data."""
    try:
        return (pkgutil.get_data(__package__, ROOT_FILE) or b"").decode("ascii")
    except OSError as exc:
        raise ConfigurationError(f"{ROOT_FILE} is missing from the package gigachat_lite: install it again") from exc


def new_context(verify: bool = True) -> ssl.SSLContext:
    """Make a client's context: TLS 1.2 at least, no roots yet.

    ``ssl.create_default_context`` is not used because from Python 3.13 on it is strict in a way that many corporate
    roots fail.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        context.verify_flags |= PARTIAL_CHAIN
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class NamedContext:
    """An SSL context for urllib3 1.26, which names no host to OpenSSL where that is an address.

    OpenSSL could not check the certificate then, and Python refuses to begin.
    """

    def __init__(self, context: Any, host: str) -> None:
        self._context = getattr(context, "_context", context)
        self._host = host.strip("[]")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def wrap_socket(self, sock: Any, server_hostname: str | None = None, **kwargs: Any) -> Any:
        """Wrap a socket, with the host's name or address in any case."""
        return self._context.wrap_socket(sock, server_hostname=server_hostname or self._host, **kwargs)


def load_bundle(context: ssl.SSLContext, path: str, origin: str) -> None:
    """Trust the certificates of a file (PEM or DER, told apart by content) or of a folder in OpenSSL's form."""
    try:
        if os.path.isdir(path):
            if not any(re.fullmatch(r"[0-9a-f]{8}\.\d+", name) for name in os.listdir(path)):
                raise ConfigurationError(f"{origin}: {path} has no hashed names: run openssl rehash, or give one file")
            context.load_verify_locations(capath=path)
            return
        with open(path, "rb") as file:
            content = file.read()
        if b"-----BEGIN" in content:
            context.load_verify_locations(cafile=path)
        else:
            context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(content))
    except ssl.SSLError as exc:
        raise ConfigurationError(f"{origin}: {path} holds no certificate in PEM or DER") from exc
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{origin}: {path} cannot be read: {_reason(exc)}") from exc


def load_client_cert(context: ssl.SSLContext, config: Mapping[str, Any]) -> None:
    """Show the client certificate of the config; OpenSSL is kept from asking for a password on the terminal."""
    cert, key, password = config["cert_file"], config["key_file"], config["key_file_password"]
    try:
        context.load_cert_chain(cert, key, password=password or (lambda: ""))
    except ssl.SSLError as exc:
        where = "cert_file {}{}".format(cert, " with key_file " + key if key else "")
        if exc.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            what = "the key does not belong to the certificate"
        elif b"ENCRYPTED" in _content(key or cert):
            what = "key_file_password is wrong" if password else "the key is encrypted: give key_file_password"
        else:
            what = "a certificate and its key are needed, both in PEM"
        raise ConfigurationError(f"{where}: {what}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"key_file_password: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"cert_file, key_file: cannot be read: {_reason(exc)}") from exc


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc)


def verify_code(chain: list[BaseException]) -> int | None:
    """Find OpenSSL's reason for refusing a certificate, None where it refused none."""
    codes = (getattr(exc, "verify_code", None) for exc in chain if isinstance(exc, ssl.SSLCertVerificationError))
    return next((code for code in codes if code), None)


def explain(chain: list[BaseException], host: str, roots: list[str]) -> str:
    """Say in one line why a connection could not be made secure, and which line mends it."""
    code = verify_code(chain)
    error = next((exc for exc in chain if isinstance(exc, ssl.SSLError)), None)
    why = getattr(error, "verify_message", "") or getattr(error, "reason", None) or str(error or chain[-1])
    words = re.sub(r"^\[.*?\] | \(_ssl.*$", "", str(why)).replace("_", " ").lower().rstrip(".")
    if code in UNKNOWN_ISSUER and roots == [CALLERS_OWN]:
        mend = "load the missing root into the ssl_context"
    elif code in UNKNOWN_ISSUER:
        mend = "give the missing root as ca_bundle_file (GIGACHAT_CA_BUNDLE_FILE)"
    elif code == 62 or "match" in words:
        mend = "the certificate is another host's: check base_url and auth_url"
    elif code in (9, 10):
        mend = "check the clock of this machine; if it is right, the server's certificate has to be renewed"
    elif "certificate required" in words or "handshake failure" in words or "alert" in words:
        mend = "the server may want a client certificate (cert_file, key_file), or other ones than given"
    elif "wrong version" in words or "unknown protocol" in words:
        mend = "the server does not speak TLS there: check the port and the proxy"
    else:
        mend = "check base_url, auth_url and the proxy"
    return "TLS with {} failed: {}. Roots in use: {}. What to do: {}.".format(host, words, ", ".join(roots), mend)
