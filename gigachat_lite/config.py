"""Settings: from arguments, the environment and ``.env`` into one plain dict, checked before anything is sent."""

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
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple
from urllib.parse import urlsplit

from .addresses import auth_url, base_url, host_of, is_loopback, proxy_address
from .exceptions import ConfigurationError, printable
from .secret import Hidden, Secret, redact, veil

__all__ = ["DEFAULTS", "load_config", "redact"]

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class Settings(TypedDict, total=False):
        """What GigaChat() and load_config() take; None is "not given"."""

        env_file: bool | str | os.PathLike[str] | None
        environ: Mapping[str, str] | None
        credentials: str | None
        client_id: str | None
        client_secret: str | None
        scope: str | None
        model: str | None
        base_url: str | None
        auth_url: str | None
        access_token: str | None
        user: str | None
        password: str | None
        verify_ssl_certs: bool | None
        ca_bundle_file: str | os.PathLike[str] | None
        cert_file: str | os.PathLike[str] | None
        key_file: str | os.PathLike[str] | None
        key_file_password: str | None
        auth_client_cert: bool | None
        ssl_context: ssl.SSLContext | None
        timeout: float | tuple[float, float] | None
        deadline: float | None
        max_connections: int | None
        pool_timeout: float | None
        max_retries: int | None
        retry_backoff_factor: float | None
        retry_on_status_codes: Iterable[int] | None
        token_expiry_buffer_ms: float | None
        token_cache: bool | str | os.PathLike[str] | None
        profanity_check: bool | None
        flags: list[str] | None
        proxy: str | None
        trust_env: bool | None
        allow_http: bool | None


logger = logging.getLogger("gigachat_lite")

DEFAULTS: dict[str, Any] = {
    "credentials": None,
    "client_id": None,
    "client_secret": None,
    "scope": "GIGACHAT_API_PERS",
    "model": None,  # "GigaChat", except on *.giga.chat
    "base_url": "https://gigachat.devices.sberbank.ru/api/v1",
    "auth_url": "https://ngw.devices.sberbank.ru:9443/api/v2/oauth",
    "access_token": None,
    "user": None,
    "password": None,
    "verify_ssl_certs": True,
    "ca_bundle_file": None,
    "cert_file": None,
    "key_file": None,
    "key_file_password": None,
    "auth_client_cert": True,
    "ssl_context": None,
    "timeout": (10.0, 180.0),  # seconds to connect, and for each wait after it
    "deadline": None,  # seconds for a whole call
    "max_connections": None,  # 1 for an authorization key of scope PERS, else 10
    "pool_timeout": 60.0,
    "max_retries": 2,
    "retry_backoff_factor": 0.5,
    "retry_on_status_codes": None,
    "token_expiry_buffer_ms": 60000.0,
    "token_cache": None,  # off, but for the command line
    "profanity_check": None,
    "flags": None,
    "proxy": None,
    "trust_env": True,
    "allow_http": False,
}
PREFIX = "GIGACHAT_"
KEY_ALIASES = ("AUTH_KEY", "API_KEY", "AUTHORIZATION_KEY", "AUTHORIZATION_DATA")
WAYS = (("credentials",), ("client_id", "client_secret"), ("user", "password"))
NOT_WITH_CONTEXT = ("ca_bundle_file", "cert_file", "key_file", "key_file_password", "verify_ssl_certs")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


class Layer(NamedTuple):
    """The settings of one source, and how it names them: ``origin % name``."""

    origin: str
    values: dict[str, Any]
    names: Mapping[str, str] = {}  # what the source itself calls them, where that is not the setting's name

    def name(self, key: str) -> str:
        """Name a setting and where it came from, for an error."""
        return self.origin % self.names.get(key, key)


def load_config(
    env_file: bool | str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    **given: Any,
) -> dict[str, Any]:
    """Gather all settings into a plain dict with every key of DEFAULTS.

    An argument is stronger than the environment, which is stronger than a ``.env`` file found from the working
    directory upwards; None and empty strings mean "not given". ``env_file`` names a file or, as False, reads none;
    ``environ`` replaces ``os.environ``, which is never changed. Raises ConfigurationError, naming the setting and its
    source, for what cannot work.
    """
    given, environ = veil(given), veil(os.environ if environ is None else environ)
    given.pop("verbose", None)  # of the official library's older versions, where it did nothing either
    for key in given:
        if key not in DEFAULTS:
            raise TypeError(f"no such setting: {key!r}{did_you_mean(key, DEFAULTS)}")
    layers = [
        Layer("argument %s", {key: value for key, value in given.items() if value is not None and value != ""}),
        _layer("environment variable %s", environ, "the environment"),
    ]
    path = _env_path(env_file)
    if path:
        layers.append(_layer("%s in " + path.replace("%", "%%"), _read_env_file(path), path))
    _choose_way(layers)
    _make_way_for_context(layers)
    config = dict(DEFAULTS)
    source: dict[str, int] = {}
    for rank in reversed(range(len(layers))):
        for key, value in layers[rank].values.items():
            config[key] = coerce(key, value, layers[rank].name(key))
            source[key] = rank
    _settle(config, lambda key: layers[source[key]].name(key) if key in source else key, source)
    return config


def coerce(key: str, value: Any, where: str) -> Any:
    """Give a setting its type, or say what is wrong with it and where it came from."""
    try:
        return COERCE[key](value.open() if isinstance(value, Hidden) else value)
    except (TypeError, ValueError) as exc:
        what = printable(f"{where}: {exc}")  # a path may hold anything
    raise ConfigurationError(what)  # here, so that no frame that held a refused secret goes along


HABITS = {"api_key": "credentials", "auth_key": "credentials", "token": "access_token", "verify": "verify_ssl_certs"}


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Name the nearest known name.

    >>> did_you_mean("verify_ssl", DEFAULTS)
    "; did you mean 'verify_ssl_certs'?"
    """
    import difflib

    known = list(known)
    near = [HABITS[name]] if HABITS.get(name) in known else difflib.get_close_matches(str(name), known, 1)
    return f"; did you mean {prefix + near[0]!r}?" if near else ""


def _layer(origin: str, environ: Mapping[str, str], where: str) -> Layer:
    """Pick the settings out of variables: known names, aliases, nothing empty; warn of names nobody knows."""
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in environ.items():
        key = name[len(PREFIX) :].lower() if name.startswith(PREFIX) else ""
        if not key or key == "verbose" or not value or not value.strip():
            continue
        setting = key
        if key.upper() in KEY_ALIASES:
            setting = "credentials"
        elif key == "token":
            setting = "credentials" if _is_key(value) else "access_token"
        elif key not in DEFAULTS or key == "ssl_context":
            logger.warning("%s in %s is not a setting of gigachat_lite%s", *_unknown(name, key, where))
            continue
        if setting == key or setting not in found:  # the setting's own name is stronger than an alias
            found[setting], names[setting] = value, name
    return Layer(origin, found, names)


def _unknown(name: str, key: str, where: str) -> tuple[str, str, str]:
    """Say what a variable is called that nobody knows; one from a line without "=" has its value in its name.

    >>> _unknown("GIGACHAT_CREDENTIALS:c2VjcmV0==", "credentials:c2vjcmv0==", ".env")
    ('GIGACHAT_CREDENTIALS…', '.env', '; is there a "=" behind its name?')
    """
    if re.fullmatch("[A-Z][A-Z0-9_]{,40}", name):
        return name, where, did_you_mean(key.upper(), [known.upper() for known in DEFAULTS], PREFIX)
    known = max((known for known in DEFAULTS if key.startswith(known)), key=len, default="")
    return PREFIX + known.upper() + "…", where, '; is there a "=" behind its name?'


def _env_path(env_file: bool | str | os.PathLike[str] | None) -> str:
    if env_file is False:
        return ""
    if env_file is not None and env_file is not True:
        path: str = coerce("env_file", env_file, "argument env_file")
        if not os.path.exists(path) or os.path.isdir(path):
            raise ConfigurationError(printable(f"argument env_file: there is no file {path}"))
        return path
    from dotenv import find_dotenv

    try:
        path = find_dotenv(usecwd=True)
        if path and hasattr(os, "geteuid"):
            open_to_all = os.stat(os.path.dirname(path)).st_mode & 0o002
            if open_to_all and not {os.stat(path).st_uid, os.lstat(path).st_uid} <= {os.geteuid(), 0}:
                logger.warning("%s is skipped: it is another user's, in a folder that anyone may write to", path)
                return ""
    except OSError:  # the working directory or the file is gone
        return ""
    return path


def decode_text(content: bytes) -> str | None:
    """Decode what editors really leave: utf-8, utf-16 with a mark, cp1251; None for what is none of them.

    >>> decode_text("да".encode("cp1251")), decode_text("да".encode("utf-16"))
    ('да', 'да')
    """
    utf_16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1251"):
        with contextlib.suppress(UnicodeDecodeError):  # which holds the text, and that may be a key
            return content.decode(encoding)
    return None


def _read_env_file(path: str) -> dict[str, str]:
    import io

    from dotenv import dotenv_values

    try:
        with open(path, "rb") as file:
            decoded = decode_text(file.read())
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from exc
    if decoded is None:
        raise ConfigurationError(f"{path} is neither utf-8, utf-16 nor cp1251")
    text = Secret(decoded)
    del decoded
    logger.debug("settings are read from %s", path)
    found = veil(_pairs(dotenv_values(stream=io.StringIO(text), interpolate=False)))
    for number in _odd_lines(text, found):
        logger.warning("%s, line %d is not understood: NAME=value is needed, its quotes closed", path, number)
    return found


def _pairs(values: Mapping[str, str | None]) -> dict[str, str]:
    sound = re.compile(rf"{PREFIX}\w{{1,30}}|(?!{PREFIX})\w+")  # a longer one may be a whole line, with a key in it
    return {name: value for name, value in values.items() if value is not None and sound.fullmatch(name)}


def _odd_lines(text: str, found: Iterable[str]) -> list[int]:
    """Number the lines that begin with a setting and brought none, as one with a colon in place of the equals sign."""
    names = (re.match(rf"\s*(?:export\s+)?({PREFIX}[A-Z_]*)", line) for line in text.splitlines())
    return [i for i, name in enumerate(names, 1) if name and not any(known.startswith(name[1]) for known in found)]


def _choose_way(layers: list[Layer]) -> None:
    """Keep the way to a token that the strongest layer names, and drop the others.

    The second half of a pair may stand in a weaker layer. An access token of a weaker layer than the way is dropped
    too: it belongs to another account as likely as not.
    """
    half = None
    for rank, layer in enumerate(layers):
        for way in WAYS:
            if not any(key in layer.values for key in way):
                continue
            missing = [key for key in way if not any(key in weaker.values for weaker in layers[rank:])]
            if not missing:
                for other in layers:
                    for key in {key for names in WAYS for key in names} - set(way):
                        other.values.pop(key, None)
                for weaker in layers[rank + 1 :]:
                    weaker.values.pop("access_token", None)
                return
            if half is None:
                there = next(key for key in way if key in layer.values)
                half = "{} needs {} beside it".format(layer.name(there), " and ".join(missing))
        if half and rank == 0:
            break
    if half and any(key in layer.values for layer in layers for key in ("access_token", "cert_file", "ssl_context")):
        for layer in layers:  # no pair is needed, so half of one does no harm
            for key in (key for way in WAYS for key in way):
                layer.values.pop(key, None)
    elif half:
        raise ConfigurationError(half)


def _make_way_for_context(layers: list[Layer]) -> None:
    """Drop, and name in one warning, the TLS settings that a ready ssl_context stands in for."""
    if any("ssl_context" in layer.values for layer in layers):
        dropped = []
        for layer in layers:
            for key in NOT_WITH_CONTEXT:
                if key in layer.values:
                    del layer.values[key]
                    dropped.append(layer.name(key))
        if dropped:
            logger.warning("ssl_context is given, so these are not applied: %s", ", ".join(dropped))


def _settle(config: dict[str, Any], name: Callable[[str], str], rank: Mapping[str, int]) -> None:
    """Fill the defaults that depend on other settings, and refuse what cannot work together."""
    for key in ("base_url", "auth_url"):
        scheme, host = urlsplit(config[key]).scheme, host_of(config[key])
        if scheme == "http" and not config["allow_http"] and not is_loopback(host):
            advice = "use https://, or allow_http=True (GIGACHAT_ALLOW_HTTP)"
            raise ConfigurationError(f"{name(key)}: http:// would send the key in clear text; {advice}")
    if config["model"] is None and not ("." + host_of(config["base_url"])).endswith(".giga.chat"):
        config["model"] = "GigaChat"
    if config["max_connections"] is None:
        key = config["credentials"] or config["client_secret"]
        config["max_connections"] = 1 if key and config["scope"] == "GIGACHAT_API_PERS" else 10
    if not config["verify_ssl_certs"]:
        if config["ca_bundle_file"] and rank["ca_bundle_file"] < rank["verify_ssl_certs"]:
            config["verify_ssl_certs"] = True
        else:
            logger.warning("TLS verification is off (%s): anyone on the way can read the key", name("verify_ssl_certs"))
    for key, partner in (("key_file", "cert_file"), ("key_file_password", "cert_file")):
        if config[key] and not config[partner]:
            raise ConfigurationError(f"{name(key)} needs {partner} beside it")


def _text(value: Any) -> str:
    return _utf_8(_bare(value))


def _utf_8(text: str) -> str:
    if re.search("[\ud800-\udfff]", text):  # as Python keeps the bytes of a variable that are none
        raise ValueError("a letter of it is not UTF-8")
    return text


def _bare(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a string is needed, not {type(value).__name__}")
    text = value.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if not text:
        raise ValueError("it is empty")
    return text


def _name(value: Any) -> str:
    """Take what stands before the colon of Basic authorisation, and so has none (RFC 7617)."""
    name = _text(value)
    if ":" in name:
        raise ValueError("it has no colon")
    return name


def _secret(value: Any) -> Secret:
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > 1024:
        raise ValueError("a string of at most 1024 bytes is needed")
    return Secret(_utf_8(value))


def _without_scheme(value: Any) -> str:
    return re.sub(r"^(basic|bearer)\s+", "", _text(value), flags=re.IGNORECASE)


def _is_key(value: str) -> bool:
    try:
        return b":" in base64.b64decode(_without_scheme(value), validate=True)
    except (binascii.Error, ValueError):
        return False


def _key(value: Any) -> Secret:
    key = Secret(_without_scheme(value))
    advice = "give the authorization key of the cabinet, base64 of client_id:client_secret"
    if not key.isascii():
        raise ValueError("this is a placeholder, not a key: " + advice)
    if UUID.fullmatch(key):
        raise ValueError("this is a client id or secret, not a key: give client_id and client_secret, or " + advice)
    if re.fullmatch(f"{UUID.pattern}:.+", key, re.IGNORECASE):
        raise ValueError("this is client_id:client_secret as it stands: give client_id and client_secret, or " + advice)
    if key.startswith("eyJ") or key.count(".") >= 2:
        raise ValueError("this is an access token, not a key: give it as access_token, or " + advice)
    if re.search(r"[\s\x00-\x1f]", key):
        raise ValueError("there is white space inside the key: " + advice)
    if not _is_key(key):
        logger.warning("credentials does not decode as base64 of client_id:client_secret; the service may refuse it")
    return key


def _token(value: Any) -> Secret:
    token = _without_scheme(value)
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("a token has no spaces and no letters beyond ASCII")
    return Secret(token)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on", "y", "t"):
        return True
    if word in ("0", "false", "no", "off", "n", "f"):
        return False
    raise ValueError("true or false is needed")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # whole numbers know no end
        raise ValueError("a number is needed") from None
    if isinstance(value, bool) or math.isnan(number) or number < 0:
        raise ValueError("a number that is not negative is needed")
    return number


def _limit(value: Any) -> float | None:
    """Take a limit in seconds; ``inf`` is none, and so is more than the system can count."""
    number = _number(value)
    if number == 0:
        raise ValueError("0 seconds is no time; inf means no limit")
    return None if number > 10**8 else number


def _count(least: int, most: int = 10**9) -> Callable[[Any], int]:
    def coerce(value: Any) -> int:
        number = _number(value)
        if not least <= number <= most or number != int(number):
            raise ValueError(f"a whole number from {least} to {most} is needed")
        return int(number)

    return coerce


def _items(value: Any) -> list[Any]:
    """Take a list as a list, as JSON or as words with commas."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip().startswith("[") else value.split(",")
        except (ValueError, RecursionError):
            raise ValueError("a list such as 429,503 or [429, 503] is needed") from None
    elif isinstance(value, (int, float)):
        value = [value]
    return [item.strip() if isinstance(item, str) else item for item in value if item != ""]


def _timeout(value: Any) -> tuple[float | None, float | None]:
    parts = value if isinstance(value, (tuple, list)) else _items(str(value))
    if len(parts) not in (1, 2):
        raise ValueError("seconds are needed, as 30, or a pair to connect and to wait, as 10,180")
    connect, read = (None if part is None else _limit(part) for part in (parts[0], parts[-1]))
    return connect, read


def _codes(value: Any) -> tuple[int, ...]:
    codes = tuple(_count(100)(item) for item in _items(value))
    if any(code > 599 for code in codes):
        raise ValueError("status codes from 100 to 599 are needed")
    return codes


def _path(value: Any) -> str:
    path = os.path.expanduser(os.fspath(value) if isinstance(value, os.PathLike) else _bare(value))
    try:
        if b"\0" not in os.fsencode(path):
            return path
    except UnicodeEncodeError:
        pass
    raise ValueError("a letter of it cannot stand in a path")


def _file(value: Any) -> str:
    path = _path(value)
    if "-----BEGIN" in path:  # perhaps a private key
        raise ValueError("this is the text of a file: give the path of one")
    if not os.path.exists(path):
        raise ValueError(f"there is no file {path}")
    return path


def _token_cache(value: Any) -> bool | str:
    """Take a switch, or a folder to keep tokens in, whose name has a slash: a misspelt switch is none."""
    with contextlib.suppress(ValueError):
        return _bool(value)
    if isinstance(value, str) and not re.search(r"[/\\~]", value):
        raise ValueError("true, false or a folder such as ./tokens is needed")
    with contextlib.suppress(OSError):
        return os.path.abspath(_path(value))
    raise ValueError("the working directory is gone: give the whole path of a folder")


def _context(value: Any) -> ssl.SSLContext:
    if not isinstance(value, ssl.SSLContext):
        raise ValueError("an ssl.SSLContext is needed")
    return value


COERCE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("scope", "model"), _text),
    **dict.fromkeys(("client_id", "user"), _name),
    **dict.fromkeys(("password", "key_file_password"), _secret),
    "base_url": lambda value: base_url(_text(value)),
    "auth_url": lambda value: auth_url(_text(value)),
    **dict.fromkeys(("ca_bundle_file", "cert_file", "key_file"), _file),
    "env_file": _path,
    **dict.fromkeys(("verify_ssl_certs", "auth_client_cert", "profanity_check", "trust_env", "allow_http"), _bool),
    **dict.fromkeys(("deadline", "pool_timeout"), _limit),
    **dict.fromkeys(("retry_backoff_factor", "token_expiry_buffer_ms"), _number),
    "credentials": _key,
    "client_secret": lambda value: Secret(_text(value)),
    "access_token": _token,
    "ssl_context": _context,
    "token_cache": _token_cache,
    "timeout": _timeout,
    "max_connections": _count(1, 10**4),
    "max_retries": _count(0),
    "retry_on_status_codes": _codes,
    "flags": _items,
    "proxy": lambda value: proxy_address(_text(value)),
}
