"""Proxies: which one leads to a host, where it is named, and which authentication it wants."""

from __future__ import annotations

import functools
import http.client
import os
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


def proxy_facts(url: str, proxies: dict[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what is known of the proxy for a URL, as arguments of diagnose.Attempt; nothing where there is none."""
    proxy = select_proxy(url, proxies)
    if not proxy:
        return {}
    schemes = functools.partial(proxy_schemes, proxy, f"{host_of(url)}:{urlsplit(url).port or 443}")
    return {"proxy": proxy, "proxy_source": proxy_source(proxy, config), "proxy_schemes": schemes}


def proxy_source(proxy: str, config: Mapping[str, Any]) -> str:
    """Name the setting or the variable that a proxy comes from."""
    if config["proxy"]:
        return "proxy, GIGACHAT_PROXY"
    environ = os.environ if config["environ"] is None else config["environ"]
    address = proxy.rpartition("://")[2]
    named = (name for name, value in environ.items() if name.lower().endswith("_proxy") and address in value)
    return next(named, "from the system's settings")


def proxy_schemes(proxy: str, target: str) -> list[str]:
    """Ask a proxy that refused a CONNECT, without a password, which authentication it wants (RFC 9110, 11.7.1).

    http.client does not keep the headers of a refusal before Python 3.12.
    """
    parts = urlsplit(proxy)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=2)
    try:
        connection.request("CONNECT", target)
        wanted = connection.getresponse().headers.get_all("Proxy-Authenticate", [])
        return [scheme.split(None, 1)[0] for scheme in wanted if scheme.strip()]
    except (OSError, http.client.HTTPException):
        return []
    finally:
        connection.close()


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
