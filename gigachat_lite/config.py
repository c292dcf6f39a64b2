"""Settings: from arguments, the environment and ``.env`` into one plain dict, checked before anything is sent."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple

from . import validators
from .exceptions import ConfigurationError, printable
from .validators import SecretStr, host_of, is_loopback

__all__ = ["DEFAULTS", "load_config", "redact"]

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
    "timeout": (10.0, 180.0),  # seconds to connect, and for each wait after that
    "deadline": None,  # seconds for a whole call
    "max_connections": None,  # 1 for an authorization key of scope PERS, else 10
    "pool_timeout": None,  # seconds to wait while max_connections requests are under way
    "max_retries": 2,
    "retry_backoff_factor": 0.5,
    "retry_on_status_codes": None,
    "token_expiry_buffer_ms": 60000.0,
    "token_cache": None,  # off, except for the command line
    "profanity_check": None,
    "flags": None,
    "proxy": None,
    "trust_env": True,
    "allow_http": False,
}
VALIDATORS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("scope", "model"), validators.text),
    **dict.fromkeys(("client_id", "user"), validators.user_name),
    **dict.fromkeys(("password", "key_file_password"), validators.password),
    **dict.fromkeys(("ca_bundle_file", "cert_file", "key_file"), validators.existing_file),
    **dict.fromkeys(("verify_ssl_certs", "auth_client_cert", "profanity_check"), validators.boolean),
    **dict.fromkeys(("trust_env", "allow_http"), validators.boolean),
    **dict.fromkeys(("deadline", "pool_timeout"), validators.seconds),
    **dict.fromkeys(("retry_backoff_factor", "token_expiry_buffer_ms"), validators.number),
    "base_url": validators.base_url,
    "auth_url": validators.auth_url,
    "env_file": validators.path,
    "credentials": validators.key,
    "client_secret": lambda value: SecretStr(validators.text(value)),
    "access_token": validators.token,
    "ssl_context": validators.ssl_context,
    "token_cache": validators.token_cache,
    "timeout": validators.timeout,
    "max_connections": validators.whole_number(1, 10**4),
    "max_retries": validators.whole_number(0),
    "retry_on_status_codes": validators.status_codes,
    "flags": validators.items,
    "proxy": validators.proxy,
}
SECRETS = ("credentials", "client_secret", "access_token", "password", "key_file_password", "proxy")
PREFIX = "GIGACHAT_"
KEY_ALIASES = ("auth_key", "api_key", "authorization_key", "authorization_data")
AUTH_METHODS = (("credentials",), ("client_id", "client_secret"), ("user", "password"))
REPLACED_BY_SSL_CONTEXT = ("ca_bundle_file", "cert_file", "key_file", "key_file_password", "verify_ssl_certs")
# What people write in place of a setting's name.
COMMON_NAMES = {
    "api_key": "credentials", "auth_key": "credentials", "token": "access_token", "verify": "verify_ssl_certs"
}


class Source(NamedTuple):
    """The settings of one source; ``label % name`` names a setting and where it came from."""

    label: str
    values: dict[str, Any]
    names: Mapping[str, str] = {}  # what the source calls a setting, where that is another name

    def name(self, key: str) -> str:
        """Name a setting for an error."""
        return self.label % self.names.get(key, key)


def load_config(
    env_file: bool | str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    **given: Any,
) -> dict[str, Any]:
    """Collect all settings into a plain dict with every key of DEFAULTS.

    An argument wins over the environment, the environment over a ``.env`` file found from the working directory
    upwards; None and empty strings mean "not given". ``env_file`` names a file, or reads none where it is False;
    ``environ`` replaces ``os.environ``, which is never changed, also for proxies and certificates: the variables of
    those that it has stand in the config as ``environ``, which is None for the process's own; ``proxy_source`` says
    where ``proxy`` comes from. Raises ConfigurationError, naming the setting and its source, for what cannot work.
    """
    given.pop("verbose", None)  # a setting of older versions of the official library, without effect there too
    for key in given:
        if key not in DEFAULTS:
            raise TypeError(f"no such setting: {key!r}{did_you_mean(key, DEFAULTS)}")
    sources = [
        Source("argument %s", {key: value for key, value in given.items() if value is not None and value != ""}),
        _from_variables("environment variable %s", os.environ if environ is None else environ, "the environment"),
    ]
    path = _find_env_file(env_file)
    if path:
        sources.append(_from_variables("%s in " + path.replace("%", "%%"), _read_env_file(path), path))
    _choose_auth_method(sources)
    _drop_replaced_by_ssl_context(sources)
    config = dict(DEFAULTS)
    ranks: dict[str, int] = {}  # 0 is the strongest source
    for rank in reversed(range(len(sources))):
        for key, value in sources[rank].values.items():
            config[key] = convert(key, value, sources[rank].name(key))
            ranks[key] = rank
    config["environ"] = None if environ is None else _network_variables(environ)
    config["proxy_source"] = sources[ranks["proxy"]].name("proxy") if "proxy" in ranks else None
    _check_together(config, ranks, lambda key: sources[ranks[key]].name(key) if key in ranks else key)
    return config


def convert(key: str, value: Any, name: str) -> Any:
    """Check a setting and give it its type; ``name`` is what an error calls it."""
    try:
        return VALIDATORS[key](value.value if isinstance(value, enum.Enum) else value)
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(printable(f"{name}: {exc}")) from None


def redact(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a config for printing, with its secrets masked.

    >>> redact({"credentials": "c2VjcmV0", "scope": "GIGACHAT_API_PERS", "password": None})
    {'credentials': '***', 'scope': 'GIGACHAT_API_PERS', 'password': None}
    """
    return {key: "***" if key in (*SECRETS, "environ") and value else value for key, value in config.items()}


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Name the nearest known name.

    >>> did_you_mean("verify_ssl", DEFAULTS)
    "; did you mean 'verify_ssl_certs'?"
    """
    import difflib

    known = list(known)
    common = COMMON_NAMES.get(name)
    near = [common] if common in known else difflib.get_close_matches(str(name), known, 1)
    return f"; did you mean {prefix + str(near[0])!r}?" if near else ""


# Sources


def _from_variables(label: str, environ: Mapping[str, str], where: str) -> Source:
    """Pick the settings out of variables: known names, aliases, nothing empty; warn of unknown names."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in environ.items():
        key = name[len(PREFIX) :].lower() if name.startswith(PREFIX) else ""
        if not key or key == "verbose" or not value or not value.strip():
            continue
        setting = key
        if key in KEY_ALIASES:
            setting = "credentials"
        elif key == "token":
            setting = "credentials" if validators.is_key(value) else "access_token"
        elif key not in DEFAULTS or key == "ssl_context":
            _warn_of_unknown(name, key, where)
            continue
        if setting == key or setting not in values:  # a setting's own name wins over an alias
            values[setting], names[setting] = value, name
    return Source(label, values, names)


def _network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick the variables that requests and OpenSSL go by; a proxy's may have a password in it."""
    known = re.compile(r"\w+_proxy|(REQUESTS|CURL)_CA_BUNDLE|SSL_CERT_(FILE|DIR)", re.IGNORECASE)
    return {name: SecretStr(value) for name, value in environ.items() if known.fullmatch(name)}


def _warn_of_unknown(name: str, key: str, where: str) -> None:
    if re.fullmatch("[A-Z][A-Z0-9_]{,40}", name):
        hint = did_you_mean(key.upper(), [known.upper() for known in DEFAULTS], PREFIX)
    else:  # perhaps a line without "=", and so with its value in its name
        known = max((known for known in DEFAULTS if key.startswith(known)), key=len, default="")
        name, hint = PREFIX + known.upper() + "…", '; is there a "=" behind its name?'
    logger.warning("%s in %s is not a setting of gigachat_lite%s", name, where, hint)


def _find_env_file(env_file: bool | str | os.PathLike[str] | None) -> str:
    """Find the file to read; one that another user could have planted in a shared folder is skipped."""
    if env_file is False:
        return ""
    if env_file is not None and env_file is not True:
        path: str = convert("env_file", env_file, "argument env_file")
        if not os.path.exists(path) or os.path.isdir(path):
            raise ConfigurationError(printable(f"argument env_file: there is no file {path}"))
        return path
    from dotenv import find_dotenv

    try:
        path = find_dotenv(usecwd=True)
        if path and hasattr(os, "geteuid"):
            shared = os.stat(os.path.dirname(path)).st_mode & 0o002
            if shared and not {os.stat(path).st_uid, os.lstat(path).st_uid} <= {os.geteuid(), 0}:
                logger.warning("%s is skipped: it is another user's, in a folder that anyone may write to", path)
                return ""
    except OSError:  # the working directory or the file is gone
        return ""
    return path


def decode_text(content: bytes) -> str | None:
    """Decode what editors write: utf-8, utf-16 with a byte order mark, cp1251; None for anything else.

    >>> decode_text("да".encode("cp1251")), decode_text("да".encode("utf-16"))
    ('да', 'да')
    """
    utf_16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1251"):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return None


def _read_env_file(path: str) -> dict[str, str]:
    import io

    from dotenv import dotenv_values

    try:
        with open(path, "rb") as file:
            text = decode_text(file.read())
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from exc
    if text is None:
        raise ConfigurationError(f"{path} is neither utf-8, utf-16 nor cp1251")
    logger.debug("settings are read from %s", path)
    sound = re.compile(rf"{PREFIX}\w{{1,30}}|(?!{PREFIX})\w+")  # a longer name may be a whole line, with a key in it
    pairs = dotenv_values(stream=io.StringIO(text), interpolate=False).items()
    found = {name: value for name, value in pairs if value is not None and sound.fullmatch(name)}
    for line_number, line in enumerate(text.splitlines(), 1):
        name = re.match(rf"\s*(?:export\s+)?({PREFIX}[A-Z_]*)", line)
        if name and not any(known.startswith(name[1]) for known in found):
            form = "NAME=value is needed, its quotes closed"
            logger.warning("%s, line %d is not understood: %s", path, line_number, form)
    return found


# What belongs together


def _choose_auth_method(sources: list[Source]) -> None:
    """Keep the auth method that the strongest source names, and drop the others.

    The second half of a pair may stand in a weaker source. An access token of a weaker source is dropped too, for it
    may belong to another account.
    """
    problem = None
    for rank, source in enumerate(sources):
        for method in AUTH_METHODS:
            if not any(key in source.values for key in method):
                continue
            missing = [key for key in method if not any(key in weaker.values for weaker in sources[rank:])]
            if not missing:
                _drop(sources, {key for keys in AUTH_METHODS for key in keys} - set(method))
                _drop(sources[rank + 1 :], {"access_token"})
                return
            if problem is None:
                there = next(key for key in method if key in source.values)
                problem = "{} needs {} beside it".format(source.name(there), " and ".join(missing))
        if problem and rank == 0:
            break
    if problem:
        if not any(key in source.values for source in sources for key in ("access_token", "cert_file", "ssl_context")):
            raise ConfigurationError(problem)
        _drop(sources, {key for keys in AUTH_METHODS for key in keys})


def _drop(sources: Iterable[Source], keys: Iterable[str]) -> list[str]:
    """Remove settings, and list the names of those that were there."""
    return [source.name(key) for source in sources for key in keys if source.values.pop(key, None) is not None]


def _drop_replaced_by_ssl_context(sources: list[Source]) -> None:
    if any("ssl_context" in source.values for source in sources):
        dropped = _drop(sources, REPLACED_BY_SSL_CONTEXT)
        if dropped:
            logger.warning("ssl_context is given, so these are not applied: %s", ", ".join(dropped))


def _check_together(config: dict[str, Any], ranks: Mapping[str, int], name: Callable[[str], str]) -> None:
    """Fill in the defaults that depend on other settings, and refuse what cannot work together."""
    for key in ("base_url", "auth_url"):
        if config[key].startswith("http:") and not config["allow_http"] and not is_loopback(host_of(config[key])):
            advice = "use https://, or allow_http=True (GIGACHAT_ALLOW_HTTP)"
            raise ConfigurationError(f"{name(key)}: http:// would send the key in clear text; {advice}")
    if config["model"] is None and not ("." + host_of(config["base_url"])).endswith(".giga.chat"):
        config["model"] = "GigaChat"
    if config["max_connections"] is None:
        key = config["credentials"] or config["client_secret"]
        config["max_connections"] = 1 if key and config["scope"] == "GIGACHAT_API_PERS" else 10
    if not config["verify_ssl_certs"]:
        if config["ca_bundle_file"] and ranks["ca_bundle_file"] < ranks["verify_ssl_certs"]:
            config["verify_ssl_certs"] = True
        else:
            logger.warning("TLS verification is off (%s): anyone on the way can read the key", name("verify_ssl_certs"))
    for key in ("key_file", "key_file_password"):
        if config[key] and not config["cert_file"]:
            raise ConfigurationError(f"{name(key)} needs cert_file beside it")
