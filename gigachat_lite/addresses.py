"""Addresses: what base_url, auth_url and proxy may be, and which proxy an address is asked through."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Mapping
from urllib.parse import unquote, urlsplit

from requests.utils import get_environ_proxies, select_proxy
from urllib3.util import parse_url

from .exceptions import ConfigurationError
from .secret import Secret
from .trust import is_gigachat


def host_of(url: str) -> str:
    """Take the host out of a URL, in lower case and without a port.

    >>> host_of("https://API.giga.chat:443/v1"), host_of("http://[::1]:80/")
    ('api.giga.chat', '::1')
    """
    return urlsplit(url).hostname or ""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("127.example.com")
    (True, True, False)
    """
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def address(text: str) -> str:
    """Take an address as people write it: any case of scheme, with or without a final slash or the default port."""
    try:
        parts = urlsplit(text if "://" in text else "https://" + text)
        port, host = parts.port, parts.hostname or ""
        if port == 0:
            raise ValueError
    except ValueError:
        raise ValueError("this is not an address") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user and a password do not belong into an address: give user and password")
    usable = re.fullmatch(r"[\w.-]+|[0-9a-f:.%]+", host) and not re.search(r"\s", text)
    if parts.scheme not in ("http", "https") or not usable or parts.query or parts.fragment:
        raise ValueError("an address such as https://api.giga.chat/v1 is needed")
    path = parts.path.rstrip("/")
    netloc = f"[{host}]" if ":" in host else host
    if port and port != {"http": 80, "https": 443}[parts.scheme]:
        netloc += f":{port}"
    return f"{parts.scheme}://{netloc}{path}"


def base_url(text: str) -> str:
    """Take the API's address, also with too much or too little of a path behind a GigaChat host."""
    url = re.sub("/chat/completions$", "", address(text))
    if is_gigachat(host_of(url)) and urlsplit(url).path in ("", "/api"):
        url = url[: -len(urlsplit(url).path) or None] + ("/v1" if host_of(url).endswith("giga.chat") else "/api/v1")
    return url


def auth_url(text: str) -> str:
    """Take the address where tokens are made; a host alone gets the path that the service has there."""
    url = address(text)
    return url + "/api/v2/oauth" if url.count("/") == 2 else url


def proxy_address(text: str) -> Secret:
    """Take what urllib3 can take apart, for its own error would show the password."""
    usable = False
    with contextlib.suppress(ValueError):
        parts = urlsplit(text if "://" in text else "http://" + text)
        words = (parts.hostname or "").split()
        usable = len(words) == 1 and (parts.port or 1) > 0 and bool(parse_url(parts.geturl()).host)
    if not usable:
        raise ValueError("an address such as http://proxy.example:3128 is needed")
    if not re.fullmatch("[\x00-\xff]*", unquote(f"{parts.username}{parts.password}")):
        raise ValueError("the user and the password of a proxy have letters beyond Latin-1, which requests cannot send")
    return Secret(parts.geturl())


def check_proxy(proxy: str, origin: str) -> Secret:
    """Refuse a proxy that requests cannot use, before it raises something less clear; give it back with its scheme."""
    try:
        checked, why = proxy_address(proxy.strip()), ""
    except ValueError as exc:
        why = str(exc)
    if why:  # raised here, so that no frame that held the address goes along
        raise ConfigurationError(f"{origin}: {why}")
    scheme = checked.partition("://")[0].lower()
    if scheme == "http":
        return checked
    if scheme not in ("socks4", "socks4a", "socks5", "socks5h"):
        raise ConfigurationError(f"{origin}: a proxy of scheme {scheme!r} is not supported; use http:// or socks5h://")
    try:
        import socks  # type: ignore[import-untyped] # noqa: F401
    except ImportError:
        raise ConfigurationError(
            f"{origin}: a SOCKS proxy needs PySocks (pip install pysocks), or use an http:// proxy"
        ) from None
    return checked


def route_of(url: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Find the proxy of an address, in the form that requests takes; empty where it is asked directly.

    Clear text between two programs of this machine, for which no ``allow_http`` is needed, does not leave it.
    """
    scheme, proxy, where = urlsplit(url).scheme, config["proxy"], "proxy (GIGACHAT_PROXY)"
    at_home = scheme == "http" and is_loopback(host_of(url))
    if proxy is None and config["trust_env"] and not at_home:
        proxy = Secret(select_proxy(url, get_environ_proxies(url, no_proxy=None)) or "")
        where = "the proxy of the environment"
    if not proxy or (at_home and not config["allow_http"] and not is_loopback(host_of(proxy))):
        return {}
    return {scheme: check_proxy(proxy, where)}
