"""Check and convert single settings: a function takes what a user gave, and raises ValueError for what cannot work."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import math
import os
import re
import ssl
from typing import Any, Callable
from urllib.parse import unquote, urlsplit

from urllib3.util import parse_url

logger = logging.getLogger("gigachat_lite")

GIGACHAT_DOMAINS = ("sberbank.ru", "giga.chat", "sberdevices.ru", "sbrf.ru")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAX_SECONDS = 10**8  # a larger limit means none


class SecretStr(str):
    """A string whose repr is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


# Addresses


def host_of(url: str) -> str:
    """Return the host of a URL, in lower case and without a port.

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


def is_gigachat(host: str) -> bool:
    """Tell whether a host belongs to the service.

    >>> is_gigachat("api.giga.chat"), is_gigachat("giga.chat.example.com"), is_gigachat("notsberbank.ru")
    (True, False, False)
    """
    return any(host == domain or host.endswith("." + domain) for domain in GIGACHAT_DOMAINS)


def address(value: Any) -> str:
    """Normalise a URL: scheme and host in lower case, no default port, no final slash; https:// where none is given."""
    value = text(value)
    try:
        parts = urlsplit(value if "://" in value else "https://" + value)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        port, host = 0, ""
    if port == 0:
        raise ValueError("this is not an address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user and a password do not belong into an address: give user and password")
    usable = re.fullmatch(r"[\w.-]+|[0-9a-f:.%]+", host) and not re.search(r"\s", value)
    if parts.scheme not in ("http", "https") or not usable or parts.query or parts.fragment:
        raise ValueError("an address such as https://api.giga.chat/v1 is needed")
    netloc = f"[{host}]" if ":" in host else host
    if port and port != {"http": 80, "https": 443}[parts.scheme]:
        netloc += f":{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def base_url(value: Any) -> str:
    """Normalise the address of the API; for GigaChat hosts the path is completed to /api/v1, or /v1 on giga.chat."""
    url = re.sub("/chat/completions$", "", address(value))
    host, path = host_of(url), urlsplit(url).path
    if is_gigachat(host) and path in ("", "/api"):
        url = url[: -len(path) or None] + ("/v1" if host.endswith("giga.chat") else "/api/v1")
    return url


def auth_url(value: Any) -> str:
    """Normalise the address of OAuth; a host alone gets the path that the service has there."""
    url = address(value)
    return url + "/api/v2/oauth" if url.count("/") == 2 else url


def proxy(value: Any) -> SecretStr:
    """Check the address of a proxy; urllib3 would show the password in an error of its own."""
    value = text(value)
    host, user, url = "", "", ""
    with contextlib.suppress(ValueError):
        parts = urlsplit(value if "://" in value else "http://" + value)
        user, url = unquote(f"{parts.username}{parts.password}"), parts.geturl()
        if (parts.port or 1) > 0 and parse_url(url).host:
            host = parts.hostname or ""
    if not re.fullmatch(r"\S+", host):
        raise ValueError("an address such as http://proxy.example:3128 is needed")
    if not re.fullmatch("[\x00-\xff]*", user):
        raise ValueError("the user and the password of a proxy have letters beyond Latin-1, which requests cannot send")
    return SecretStr(url)


# Text, keys and tokens


def text(value: Any) -> str:
    """Take a string without surrounding white space and quotes."""
    if not isinstance(value, str):
        raise ValueError(f"a string is needed, not {type(value).__name__}")
    value = value.strip()
    while len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    if not value:
        raise ValueError("it is empty")
    return _utf8(value)


def _utf8(value: str) -> str:
    if re.search("[\ud800-\udfff]", value):  # Python keeps undecodable bytes of a variable in this form
        raise ValueError("a letter of it is not UTF-8")
    return value


def user_name(value: Any) -> str:
    """Take a user name for HTTP Basic, which has no colon (RFC 7617)."""
    if ":" in text(value):
        raise ValueError("a user name cannot have a colon")
    return text(value)


def password(value: Any) -> SecretStr:
    """Take a password as it is."""
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > 1024:
        raise ValueError("a string of at most 1024 bytes is needed")
    return SecretStr(_utf8(value))


def _without_scheme(value: Any) -> str:
    return re.sub(r"^(basic|bearer)\s+", "", text(value), flags=re.IGNORECASE)


def is_key(value: str) -> bool:
    """Tell whether a string decodes to client_id:client_secret."""
    try:
        return b":" in base64.b64decode(_without_scheme(value), validate=True)
    except (binascii.Error, ValueError):
        return False


def key(value: Any) -> SecretStr:
    """Take an authorization key; refuse what is commonly given in its place."""
    found = _without_scheme(value)
    advice = "give the authorization key of the cabinet, base64 of client_id:client_secret"
    if not found.isascii():
        raise ValueError("this is a placeholder, not a key: " + advice)
    if UUID.fullmatch(found):
        raise ValueError("this is a client id or secret, not a key: give client_id and client_secret, or " + advice)
    if UUID.match(found) and ":" in found:
        raise ValueError("this is client_id:client_secret as it stands: give client_id and client_secret, or " + advice)
    if found.startswith("eyJ") or found.count(".") >= 2:
        raise ValueError("this is an access token, not a key: give it as access_token, or " + advice)
    if re.search(r"[\s\x00-\x1f]", found):
        raise ValueError("there is white space inside the key: " + advice)
    if not is_key(found):
        logger.warning("credentials does not decode as base64 of client_id:client_secret; the service may refuse it")
    return SecretStr(found)


def token(value: Any) -> SecretStr:
    """Take an access token."""
    found = _without_scheme(value)
    if not re.fullmatch(r"[\x21-\x7e]+", found):
        raise ValueError("a token has no spaces and no letters beyond ASCII")
    return SecretStr(found)


# Numbers, switches and lists


def boolean(value: Any) -> bool:
    """Take True, False, or a word for one of them."""
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on", "y", "t"):
        return True
    if word in ("0", "false", "no", "off", "n", "f"):
        return False
    raise ValueError("true or false is needed")


def number(value: Any) -> float:
    """Take a number that is not negative."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a number is needed") from None
    if isinstance(value, bool) or math.isnan(found) or found < 0:
        raise ValueError("a number that is not negative is needed")
    return found


def seconds(value: Any) -> float | None:
    """Take a limit in seconds; ``inf`` is none."""
    found = number(value)
    if found == 0:
        raise ValueError("0 seconds is no time; inf means no limit")
    return None if found > MAX_SECONDS else found


def whole_number(least: int, most: int = 10**9) -> Callable[[Any], int]:
    """Make a function that takes a whole number within limits."""

    def convert(value: Any) -> int:
        found = number(value)
        if not least <= found <= most or found != int(found):
            raise ValueError(f"a whole number from {least} to {most} is needed")
        return int(found)

    return convert


def items(value: Any) -> list[Any]:
    """Take a list as a list, as JSON, or as words with commas."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip().startswith("[") else value.split(",")
        except (ValueError, RecursionError):
            raise ValueError("a list such as 429,503 or [429, 503] is needed") from None
    elif isinstance(value, (int, float)):
        value = [value]
    return [item.strip() if isinstance(item, str) else item for item in value if item != ""]


def timeout(value: Any) -> tuple[float | None, float | None]:
    """Take seconds, or a pair: to connect, and for each wait after that."""
    parts = value if isinstance(value, (tuple, list)) else items(str(value))
    if len(parts) not in (1, 2):
        raise ValueError("seconds are needed, as 30, or a pair to connect and to wait, as 10,180")
    connect, read = (None if part is None else seconds(part) for part in (parts[0], parts[-1]))
    return connect, read


def status_codes(value: Any) -> tuple[int, ...]:
    """Take a list of HTTP status codes."""
    return tuple(whole_number(100, 599)(item) for item in items(value))


# Files and objects


def path(value: Any) -> str:
    """Take a path, with ~ expanded."""
    found = os.path.expanduser(os.fspath(value) if isinstance(value, os.PathLike) else text(value))
    try:
        if b"\0" not in os.fsencode(found):
            return found
    except UnicodeEncodeError:
        pass
    raise ValueError("a letter of it cannot stand in a path")


def existing_file(value: Any) -> str:
    """Take the path of a file or folder that is there."""
    found = path(value)
    if "-----BEGIN" in found:  # perhaps a private key
        raise ValueError("this is the text of a file: give the path of one")
    if not os.path.exists(found):
        raise ValueError(f"there is no file {found}")
    return found


def token_cache(value: Any) -> bool | str:
    """Take a switch, or a folder, whose name has a slash: a misspelt switch is no folder."""
    with contextlib.suppress(ValueError):
        return boolean(value)
    if isinstance(value, str) and not re.search(r"[/\\~]", value):
        raise ValueError("true, false or a folder such as ./tokens is needed")
    with contextlib.suppress(OSError):
        return os.path.abspath(path(value))
    raise ValueError("the working directory is gone: give the whole path of a folder")


def ssl_context(value: Any) -> ssl.SSLContext:
    """Take a ready ssl.SSLContext."""
    if not isinstance(value, ssl.SSLContext):
        raise ValueError("an ssl.SSLContext is needed")
    return value
