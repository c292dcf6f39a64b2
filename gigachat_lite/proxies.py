"""Proxies: which one leads to a host, where it is named, and which authentication it wants."""

from __future__ import annotations

import functools
import http.client
import io
import os
import re
import socket
import time
from typing import Any, Mapping
from urllib.parse import urlsplit

from requests.utils import address_in_network, get_environ_proxies, is_ipv4_address, is_valid_cidr, select_proxy

from . import validators
from .exceptions import ConfigurationError
from .validators import SecretStr, host_of, is_loopback


def proxies_for(url: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Find the proxy for a URL, in the form that requests takes; empty where there is none.

    Clear text for this machine, which needs no ``allow_http``, does not go through a proxy elsewhere.
    """
    scheme, proxy, where = urlsplit(url).scheme, config["proxy"], "proxy (GIGACHAT_PROXY)"
    local = scheme == "http" and is_loopback(host_of(url))
    if proxy is None and config["trust_env"] and not local:
        proxy, where = select_proxy(url, environ_proxies(url, config["environ"])), "the proxy of the environment"
    if not proxy or (local and not config["allow_http"] and not is_loopback(host_of(proxy))):
        return {}
    try:
        return {scheme: usable_proxy(proxy)}
    except ValueError as exc:
        raise ConfigurationError(f"{where}: {exc}") from None


def proxy_facts(url: str, proxies: dict[str, str], config: Mapping[str, Any], until: float | None) -> dict[str, Any]:
    """Tell what is known of the proxy for a URL, as arguments of diagnose.Attempt; nothing where there is none."""
    proxy = select_proxy(url, proxies)
    if not proxy:
        return {}
    headers = functools.partial(refusal_headers, proxy, f"{host_of(url)}:{urlsplit(url).port or 443}", until)
    return {"proxy": proxy, "proxy_source": proxy_source(url, config), "refusal_headers": headers}


def proxy_source(url: str, config: Mapping[str, Any]) -> str:
    """Name the setting or the variable that the proxy for a URL comes from.

    >>> proxy_source("https://host/", {"proxy": "", "environ": {"HTTP_PROXY": "p:1", "HTTPS_PROXY": "p:1"}})
    'HTTPS_PROXY'
    """
    if config["proxy"]:
        return str(config["proxy_source"])
    environ = os.environ if config["environ"] is None else config["environ"]
    for wanted in (urlsplit(url).scheme + "_proxy", "all_proxy"):
        for name in sorted(environ, key=str.isupper):  # one in lower case wins
            if name.lower() == wanted and environ[name]:
                return str(name)
    return "of the system"


def refusal_headers(proxy: str, target: str, until: float | None) -> Mapping[str, str]:
    """Ask a proxy that refused a CONNECT once more, without a password, for the headers of its refusal.

    http.client drops them before Python 3.12. It takes 2 s at most, and no longer than until the deadline ``until``.
    """
    parts, end, data = urlsplit(proxy), time.monotonic() + 2, b""
    end = end if until is None else min(end, until)
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii", "replace")
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), end - time.monotonic()) as sock:
            sock.sendall(request)
            while b"\r\n\r\n" not in data and len(data) < 16384:
                sock.settimeout(end - time.monotonic())
                data += sock.recv(4096) or b"\r\n\r\n"
        headers = http.client.parse_headers(io.BytesIO(data.partition(b"\n")[2]))
        return {name: ", ".join(headers.get_all(name, [])) for name in ("Proxy-Authenticate", "Location")}
    except (OSError, ValueError, http.client.HTTPException):  # a ValueError where no time is left
        return {}


def login_schemes(authenticate: str) -> str:
    """Name the schemes of a Proxy-Authenticate header (RFC 9110, 11.7.1).

    >>> login_schemes('Negotiate, NTLM, Basic realm="the office, second floor"')
    'Negotiate or NTLM or Basic'
    """
    words = [item.split()[0] for item in re.sub('"[^"]*"', "", authenticate).split(",") if item.strip()]
    return " or ".join(word for word in words if re.fullmatch(r"[A-Za-z][\w-]{,20}", word))


def environ_proxies(url: str, environ: Mapping[str, str] | None) -> dict[str, str]:
    """List the proxies of an environment by scheme, none for a host of NO_PROXY; None is the process's environment."""
    if environ is None:
        found: dict[str, str] = get_environ_proxies(url, no_proxy=None)
        return found
    ordered = sorted(environ, key=str.islower)  # names in lower case win, as everywhere
    by_scheme = {name.lower()[: -len("_proxy")]: environ[name] for name in ordered if name.lower().endswith("_proxy")}
    host, netloc = host_of(url), urlsplit(url).netloc
    for item in by_scheme.get("no", "").replace(" ", "").lower().split(","):
        name = item.lstrip(".")
        network = is_ipv4_address(host) and is_valid_cidr(name) and address_in_network(host, name)
        if name and (network or name in ("*", host, netloc, f"[{host}]") or host.endswith("." + name)):
            return {}
    return by_scheme


def usable_proxy(value: Any) -> SecretStr:
    """Check that requests can use a proxy here."""
    checked = validators.proxy(value)
    scheme = checked.partition("://")[0].lower()
    if scheme not in ("http", "socks4", "socks4a", "socks5", "socks5h"):
        raise ValueError(f"a proxy of scheme {scheme!r} is not supported; use http:// or socks5h://")
    if scheme != "http":
        try:
            import socks  # type: ignore[import-untyped] # noqa: F401
        except ImportError:
            advice = "pip install 'gigachat-lite[socks]', or use an http:// proxy"
            raise ValueError("a SOCKS proxy needs PySocks: " + advice) from None
    return checked
