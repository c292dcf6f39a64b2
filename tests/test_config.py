"""Settings: where they come from, which source wins, what each becomes, and what is refused before anything is sent."""
from __future__ import annotations

import base64
import logging
import os
import pathlib
import pickle
import ssl
import subprocess
import sys
import traceback

import pytest

from gigachat_lite import ConfigurationError, GigaChat, ModelNotSpecifiedError, load_config, redact
from gigachat_lite.config import DEFAULTS
from gigachat_lite.proxies import proxies_for

KEY = base64.b64encode(b"c1d2e3f4-0000-4000-8000-000000000001:s3cr3t-of-the-key").decode()
OTHER_KEY = base64.b64encode(b"c1d2e3f4-0000-4000-8000-000000000002:an0ther-s3cr3t").decode()
UUID = "c1d2e3f4-0000-4000-8000-000000000001"
JWE = "eyJjdHkiOiJqd3QiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIn0.aaaa-SECRET.bbbb.cccc.dddd"
PACKAGE = str(pathlib.Path(sys.modules["gigachat_lite"].__file__).parent.parent)
FILES = ("ca_bundle_file", "cert_file", "key_file")
SECRET = "-".join(["S3CRET", "VALUE"])  # put together here, so that no line of this file in a traceback shows it
SECRETS = ("credentials", "client_secret", "access_token", "password", "key_file_password", "proxy")

# key: (as an argument, as text, what it becomes); files are made by the fixture `sample`
SAMPLES = {
    "credentials": (KEY, KEY, KEY),
    "client_id": ("id-1", "id-1", "id-1"),
    "client_secret": ("s3", "s3", "s3"),
    "scope": ("GIGACHAT_API_CORP", "GIGACHAT_API_CORP", "GIGACHAT_API_CORP"),
    "model": ("GigaChat-2", "GigaChat-2", "GigaChat-2"),
    "base_url": ("https://api.giga.chat/v1", "https://api.giga.chat/v1/", "https://api.giga.chat/v1"),
    "auth_url": ("https://a.example/oauth", "https://a.example/oauth/", "https://a.example/oauth"),
    "access_token": ("tok.1", "tok.1", "tok.1"),
    "user": ("maria", "maria", "maria"),
    "password": ("pa ss#1", "'pa ss#1'", "pa ss#1"),
    "verify_ssl_certs": (False, "no", False),
    "ca_bundle_file": (None, None, None),
    "cert_file": (None, None, None),
    "key_file": (None, None, None),
    "key_file_password": ("k3y", "k3y", "k3y"),
    "auth_client_cert": (False, "0", False),
    "timeout": ((3, 44), "3,44", (3.0, 44.0)),
    "deadline": (7, "7", 7.0),
    "max_connections": (4, "4", 4),
    "pool_timeout": (1.5, "1.5", 1.5),
    "max_retries": (0, "0", 0),
    "retry_backoff_factor": (0, "0", 0.0),
    "retry_on_status_codes": ([429, 503], "429, 503", (429, 503)),
    "token_expiry_buffer_ms": (5000, "5000", 5000.0),
    "token_cache": (True, "on", True),
    "profanity_check": (True, "true", True),
    "flags": (["a", "b"], "a, b", ["a", "b"]),
    "proxy": ("http://proxy.example:3128", "http://proxy.example:3128", "http://proxy.example:3128"),
    "trust_env": (False, "off", False),
    "allow_http": (True, "1", True),
}
PARTNERS = {  # what a setting cannot do without
    "client_id": ("client_secret",),
    "client_secret": ("client_id",),
    "user": ("password",),
    "password": ("user",),
    "key_file": ("cert_file",),
    "key_file_password": ("cert_file",),
}


def load(**given):
    """Load with nothing of the machine, unless the test says otherwise."""
    return load_config(**{"env_file": False, "environ": {}, **given})


def env_name(key):
    return "GIGACHAT_" + key.upper()


def messages(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def shown(error):
    """Give all that a log would show of an error, its causes included."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)) + repr(error) + str(error.args)


@pytest.fixture
def sample(tmp_path):
    """Give a setting's sample: (argument, text, expected)."""
    def get(key):
        if key not in FILES:
            return SAMPLES[key]
        path = tmp_path / (key + ".pem")
        path.write_text("pem")
        return path, str(path), str(path)

    return get


@pytest.fixture
def dotenv(tmp_path):
    """Write a .env into the working directory."""
    def write(text, encoding="utf-8", folder=tmp_path):
        path = folder / ".env"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return str(path)

    return write


# ---- Where settings come from


def test_the_samples_cover_every_setting():
    assert set(SAMPLES) | {"ssl_context"} == set(DEFAULTS) == set(load()) - {"environ", "proxy_source"}


@pytest.mark.parametrize("key", SAMPLES)
def test_every_setting_can_be_given_in_every_layer(key, sample, dotenv, monkeypatch):
    used = (key,) + PARTNERS.get(key, ())
    expected = sample(key)[2]
    configs = [load(**{name: sample(name)[0] for name in used})]
    configs.append(load(environ={env_name(name): sample(name)[1].strip("'") for name in used}))
    dotenv("".join(f"{env_name(name)}={sample(name)[1]}\n" for name in used))
    configs.append(load_config(environ={}))
    for name in used:
        monkeypatch.setenv(env_name(name), sample(name)[1].strip("'"))
    configs.append(load_config(env_file=False))
    assert [config[key] for config in configs] == [expected] * 4 != [load()[key]] * 4
    assert all(isinstance(config[key], str) or type(config[key]) is type(expected) for config in configs)


def test_an_ssl_context_is_an_argument_only(caplog):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert load(ssl_context=context)["ssl_context"] is context
    assert load(environ={"GIGACHAT_SSL_CONTEXT": "x"})["ssl_context"] is None
    assert len(messages(caplog)) == 1 and "GIGACHAT_SSL_CONTEXT" in messages(caplog)[0]


@pytest.mark.parametrize("key, texts, wanted", [
    ("scope", ("A", "B", "C"), ("A", "B", "C")),
    ("model", ("A", "B", "C"), ("A", "B", "C")),
    ("credentials", (KEY, OTHER_KEY, KEY[::-1]), (KEY, OTHER_KEY, KEY[::-1])),
    ("base_url", ("https://a/v1", "https://b/v1", "https://c/v1"), ("https://a/v1", "https://b/v1", "https://c/v1")),
    ("timeout", ("1", "2", "3"), ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))),
    ("verify_ssl_certs", ("false", "true", "false"), (False, True, False)),
    ("max_retries", ("0", "1", "3"), (0, 1, 3)),
    ("proxy", ("http://a:1", "http://b:1", "http://c:1"), ("http://a:1", "http://b:1", "http://c:1")),
])
def test_an_argument_beats_the_environment_which_beats_dotenv_which_beats_the_default(key, texts, wanted, dotenv):
    dotenv(f"{env_name(key)}={texts[2]}\n")
    environ = {env_name(key): texts[1]}
    assert load_config(environ=environ, **{key: texts[0]})[key] == wanted[0]
    assert load_config(environ=environ)[key] == wanted[1]
    assert load_config(environ={})[key] == wanted[2]
    assert load()[key] == (DEFAULTS[key] or "GigaChat" if key == "model" else DEFAULTS[key])


@pytest.mark.parametrize("key", SAMPLES)
def test_none_and_empty_mean_not_given_in_every_layer(key, dotenv):
    default = load()[key]
    assert load(**{key: None})[key] == load(**{key: ""})[key] == default
    assert load(environ={env_name(key): ""})[key] == load(environ={env_name(key): "  "})[key] == default
    for text in ("", "''", '""', "   # nothing"):
        dotenv(f"{env_name(key)}={text}\n{env_name(key)}\n")
        assert load_config(environ={})[key] == default


def test_none_and_empty_do_not_hide_a_weaker_layer(dotenv):
    dotenv("GIGACHAT_SCOPE=from-file\n")
    assert load_config(environ={"GIGACHAT_SCOPE": ""}, scope=None)["scope"] == "from-file"
    assert load_config(environ={"GIGACHAT_SCOPE": "from-environment"}, scope="")["scope"] == "from-environment"


def test_false_and_zero_are_given(dotenv):
    dotenv("GIGACHAT_VERIFY_SSL_CERTS=true\nGIGACHAT_MAX_RETRIES=5\n")
    config = load_config(environ={}, verify_ssl_certs=False, max_retries=0)
    assert config["verify_ssl_certs"] is False and config["max_retries"] == 0


def test_the_environment_is_the_process_environment_unless_given(monkeypatch):
    monkeypatch.setenv("GIGACHAT_SCOPE", "of-the-process")
    assert load_config(env_file=False)["scope"] == "of-the-process"
    assert load_config(env_file=False, environ={})["scope"] == DEFAULTS["scope"]
    assert load_config(env_file=False, environ={"GIGACHAT_SCOPE": "given"})["scope"] == "given"
    assert GigaChat(env_file=False, environ={"GIGACHAT_SCOPE": "given"}).config["scope"] == "given"


def test_a_config_is_a_plain_dict_of_its_own_each_time():
    first = load(flags=["a"])
    assert type(first) is dict
    first["flags"].append("b")
    first["scope"] = "x"
    assert load()["scope"] == DEFAULTS["scope"] == "GIGACHAT_API_PERS" and load()["flags"] is None


# ---- .env


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom", "cp1251"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_dotenv_is_read_in_the_encodings_that_editors_leave(encoding, end, dotenv):
    text = end.join(["GIGACHAT_SCOPE=первая", "# ключ", "GIGACHAT_PASSWORD='пароль'", "GIGACHAT_USER=u", ""])
    if encoding == "utf-16-be-bom":
        dotenv(b"\xfe\xff" + text.encode("utf-16-be"))
    else:
        dotenv(text, encoding)
    config = load_config(environ={})
    assert (config["scope"], config["password"], config["user"]) == ("первая", "пароль", "u")


@pytest.mark.parametrize("content", [b"GIGACHAT_SCOPE=\x98\xff", b"\xff\xfeG"], ids=["cp1251-hole", "half-utf-16"])
def test_dotenv_in_no_known_encoding_is_a_clear_error(content, dotenv):
    path = dotenv(content)
    with pytest.raises(ConfigurationError, match="utf-8") as caught:
        load_config(environ={})
    assert path in str(caught.value)


def test_dotenv_values_are_taken_literally(dotenv, monkeypatch):
    monkeypatch.setenv("INNER", "expanded")
    dotenv("GIGACHAT_USER=u\nexport GIGACHAT_PASSWORD=a${INNER}b$INNER\nGIGACHAT_SCOPE=x # remark\n")
    config = load_config()
    assert config["password"] == "a${INNER}b$INNER" and config["scope"] == "x"


def test_dotenv_never_changes_the_process_environment(dotenv):
    dotenv("GIGACHAT_SCOPE=x\nUNRELATED_TO_ALL=1\nPATH=/nowhere\n")
    before = dict(os.environ)
    assert load_config()["scope"] == "x"
    assert dict(os.environ) == before


def test_dotenv_is_looked_for_upwards_from_the_working_directory(dotenv, tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    dotenv("GIGACHAT_SCOPE=above\n")
    monkeypatch.chdir(deep)
    assert load_config(environ={})["scope"] == "above"
    dotenv("GIGACHAT_SCOPE=here\n", folder=deep)
    assert load_config(environ={})["scope"] == "here"


def test_env_file_names_another_file_or_none(dotenv, tmp_path):
    dotenv("GIGACHAT_SCOPE=found\n")
    named = tmp_path / "prod.env"
    named.write_text("GIGACHAT_SCOPE=named\n")
    for env_file in (named, str(named), "prod.env"):
        assert load_config(env_file=env_file, environ={})["scope"] == "named"
    assert load_config(env_file=False, environ={})["scope"] == DEFAULTS["scope"]
    assert load_config(env_file=None, environ={})["scope"] == "found"


@pytest.mark.parametrize("name", ["absent.env", "."])
def test_a_named_file_that_is_not_there_is_an_error(name, dotenv):
    dotenv("GIGACHAT_SCOPE=found\n")
    with pytest.raises(ConfigurationError, match="env_file.*" + name):
        load_config(env_file=name, environ={})


def test_a_vanished_working_directory_has_no_dotenv(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_config(environ={})["scope"] == DEFAULTS["scope"]


def test_one_debug_line_says_which_file_was_read(dotenv, caplog):
    caplog.set_level(logging.DEBUG, "gigachat_lite")
    path = dotenv(f"GIGACHAT_CREDENTIALS={KEY}\n")
    load_config(environ={})
    assert len(caplog.records) == 1 and path in caplog.text and KEY not in caplog.text


root_only = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


@root_only
@pytest.mark.parametrize("mode, owner, read", [
    (0o777, 12345, False),
    (0o1777, 12345, False),
    (0o755, 12345, True),
    (0o775, 12345, True),
    (0o777, 0, True),
])
def test_anothers_dotenv_in_a_folder_open_to_all_is_skipped(mode, owner, read, dotenv, tmp_path, caplog):
    path = dotenv("GIGACHAT_BASE_URL=https://evil.example/v1\n")
    os.chown(path, owner, -1)
    tmp_path.chmod(mode)
    assert (load_config(environ={})["base_url"] == "https://evil.example/v1") is read
    assert bool(messages(caplog)) is not read and (read or path in messages(caplog)[0])
    assert load_config(environ={}, env_file=path)["base_url"] == "https://evil.example/v1"


@root_only
def test_anothers_link_in_a_folder_open_to_all_is_skipped(tmp_path, dotenv, monkeypatch):
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    (tmp_path / "mine.log").write_text("GIGACHAT_BASE_URL=https://evil.example/v1\n")
    (open_folder / ".env").symlink_to(tmp_path / "mine.log")
    os.chown(str(open_folder / ".env"), 12345, -1, follow_symlinks=False)
    open_folder.chmod(0o777)
    monkeypatch.chdir(open_folder)
    assert load_config(environ={})["base_url"] == DEFAULTS["base_url"]


# ---- Names


@pytest.mark.parametrize("name", ["AUTH_KEY", "API_KEY", "AUTHORIZATION_KEY", "AUTHORIZATION_DATA", "TOKEN"])
def test_names_seen_in_the_wild_give_the_key(name, dotenv, caplog):
    assert load(environ={"GIGACHAT_" + name: KEY})["credentials"] == KEY
    dotenv(f"GIGACHAT_{name}={KEY}\n")
    assert load_config(environ={})["credentials"] == KEY and not caplog.records


@pytest.mark.parametrize("text, key", [
    (KEY, "credentials"),
    ("Basic " + KEY, "credentials"),
    (JWE, "access_token"),
    ("Bearer " + JWE, "access_token"),
    ("opaque-token", "access_token"),
])
def test_gigachat_token_is_read_by_its_shape(text, key):
    config = load(environ={"GIGACHAT_TOKEN": text})
    assert config[key] == text.split()[-1]
    assert config[{"credentials": "access_token", "access_token": "credentials"}[key]] is None


@pytest.mark.parametrize("order", [1, -1])
def test_the_proper_name_is_stronger_than_an_alias(order):
    items = [("GIGACHAT_CREDENTIALS", KEY), ("GIGACHAT_API_KEY", OTHER_KEY)]
    assert load(environ=dict(items[::order]))["credentials"] == KEY


@pytest.mark.parametrize("alias", ["GIGACHAT_API_KEY", "GIGACHAT_AUTH_KEY"])
def test_an_error_names_the_alias_that_holds_the_bad_value(alias):
    with pytest.raises(ConfigurationError, match=alias):
        load(environ={alias: UUID})


@pytest.mark.parametrize("name, nearest", [
    ("GIGACHAT_CREDENTAILS", "credentials"),
    ("GIGACHAT_VERIFY_SSL", "verify_ssl_certs"),
    ("GIGACHAT_BASEURL", "base_url"),
    ("GIGACHAT_ZZZZZZ", ""),
])
def test_an_unknown_variable_is_warned_of_once_with_the_nearest_name(name, nearest, caplog, dotenv):
    load(environ={name: "V4LUE"})
    assert len(caplog.records) == 1 and name in caplog.text and "V4LUE" not in caplog.text
    assert nearest.lower() in caplog.text.lower() and ("did you mean" in caplog.text) is bool(nearest)
    caplog.clear()
    path = dotenv(name + "=V4LUE\n")
    load_config(environ={})
    assert len(caplog.records) == 1 and path in caplog.text and "V4LUE" not in caplog.text


def test_other_peoples_variables_are_no_business_of_ours(caplog):
    load(environ={"GIGA_CREDENTIALS": "x", "HTTP_PROXY": "y", "GIGACHAT": "z"})
    assert not caplog.records


@pytest.mark.parametrize("make", [load, GigaChat], ids=["load_config", "GigaChat"])
@pytest.mark.parametrize("name, nearest", [
    ("verify_ssl", "verify_ssl_certs"), ("credentails", "credentials"), ("max_retry", "max_retries"), ("qqq", None)])
def test_an_unknown_argument_is_a_type_error_without_its_value(make, name, nearest):
    with pytest.raises(TypeError, match=name) as caught:
        make(**{name: SECRET})
    assert SECRET not in shown(caught.value) and ("did you mean" in str(caught.value)) is bool(nearest)
    assert nearest is None or repr(nearest) in str(caught.value)


# ---- What values become


@pytest.mark.parametrize("key, value, wanted", [
    *[("verify_ssl_certs", text, True) for text in ("1", "true", "TRUE", "Yes", " on ", "y", True, 1)],
    *[("verify_ssl_certs", text, False) for text in ("0", "false", "False", "NO", "off", "n", False, 0)],
    ("timeout", 30, (30.0, 30.0)),
    ("timeout", "30", (30.0, 30.0)),
    ("timeout", (1, 2.5), (1.0, 2.5)),
    ("timeout", [1, 2], (1.0, 2.0)),
    ("timeout", "1, 2.5", (1.0, 2.5)),
    ("timeout", "[1, 2.5]", (1.0, 2.5)),
    ("timeout", "inf", (None, None)),
    ("timeout", "10,inf", (10.0, None)),
    ("deadline", "0.5", 0.5),
    ("deadline", float("inf"), None),
    ("pool_timeout", "inf", None),
    ("max_connections", " 3 ", 3),
    ("max_retries", 4.0, 4),
    ("retry_on_status_codes", 429, (429,)),
    ("retry_on_status_codes", "429", (429,)),
    ("retry_on_status_codes", "[429, 500]", (429, 500)),
    ("retry_on_status_codes", "429,500,", (429, 500)),
    ("retry_on_status_codes", {503}, (503,)),
    ("retry_on_status_codes", [], ()),
    ("flags", "preprocess", ["preprocess"]),
    ("flags", '["a", "b"]', ["a", "b"]),
    ("flags", ("a", "b"), ["a", "b"]),
    ("scope", "  GIGACHAT_API_B2B ", "GIGACHAT_API_B2B"),
    ("scope", '"GIGACHAT_API_B2B"', "GIGACHAT_API_B2B"),
    ("model", "'GigaChat-2'", "GigaChat-2"),
    ("access_token", "Bearer " + JWE, JWE),
    ("access_token", ' "' + JWE + '"\n', JWE),
    ("proxy", "proxy.example:3128", "http://proxy.example:3128"),
    ("proxy", "http://us:pa@proxy.example:3128", "http://us:pa@proxy.example:3128"),
    ("proxy", "socks5h://proxy.example:1080", "socks5h://proxy.example:1080"),
])
def test_good_values_become_their_type(key, value, wanted):
    got = load(**{key: value})[key]
    assert got == wanted and type(got) in (type(wanted), type(load(**{key: value})[key]))


@pytest.mark.parametrize("password", [" spaces ", '"quoted"', "Basic x", "дверь", "a=b#c$d"])
def test_passwords_are_taken_as_they_are(password):
    assert load(user="u", password=password)["password"] == password
    assert load(environ={"GIGACHAT_USER": "u", "GIGACHAT_PASSWORD": password})["password"] == password


@pytest.mark.parametrize("key", FILES)
def test_a_file_is_found_at_home_and_a_missing_one_is_named(key, tmp_path):
    home = pathlib.Path.home() / "x.pem"
    home.write_text("pem")
    more = {} if key != "key_file" else {"cert_file": str(home)}
    assert load(**{key: "~/x.pem", **more})[key] == str(home)
    with pytest.raises(ConfigurationError, match=f"argument {key}.*absent.pem"):
        load(**{key: "absent.pem", **more})


BAD = [
    ("max_connections", "1000000000"), ("base_url", "https://host.example:0/v1"),
    ("verify_ssl_certs", "maybe"),
    ("allow_http", "2"),
    ("timeout", "soon"),
    ("timeout", "1,2,3"),
    ("timeout", "-1"),
    ("timeout", "0"),
    ("timeout", "nan"),
    ("timeout", "[1"),
    ("deadline", "0"),
    ("pool_timeout", "-5"),
    ("max_connections", "0"),
    ("max_connections", "1.5"),
    ("max_connections", "many"),
    ("max_retries", "-1"),
    ("max_retries", "inf"),
    ("retry_backoff_factor", "-0.1"),
    ("retry_on_status_codes", "99"),
    ("retry_on_status_codes", "600"),
    ("retry_on_status_codes", "abc"),
    ("retry_on_status_codes", "[429"),
    ("token_expiry_buffer_ms", "x"),
    ("flags", "[1,"),
    ("ca_bundle_file", "/absent/zzz.pem"),
    ("base_url", "ftp://host.example/v1"),
    ("proxy", "http://us:zzzS3CRET@"),
    ("proxy", "http://us:zzzS3CRET@host:port"),
    ("proxy", "http://us:zzzS3CRET@host:99999"),
    ("credentials", "zzzS3CRET with spaces"),
    ("credentials", JWE),
    ("access_token", "zzzS3CRET zzz"),
    ("access_token", "zzzS3CRETжжж"),
]


def refused(source, **given):
    """Load what cannot work, see that the error names its source and shows no secret, and return it."""
    with pytest.raises(ConfigurationError) as caught:
        load(**given)
    text = str(caught.value)
    assert text.startswith(source + ": ") and "\n" not in text and isinstance(caught.value, ValueError)
    return shown(caught.value)


@pytest.mark.parametrize("key, value", BAD, ids=[f"{key}={value[:12]}" for key, value in BAD])
def test_a_bad_value_is_an_error_that_names_the_setting_and_its_source(key, value, dotenv):
    path, name = dotenv(f"{env_name(key)}={value}"), env_name(key)
    texts = refused(f"argument {key}", **{key: value})
    texts += refused(f"environment variable {name}", environ={name: value})
    texts += refused(f"{name} in {path}", env_file=path)
    assert key not in SECRETS or not any(word in texts for word in ("S3CRET", "us:", JWE[:20]))


@pytest.mark.parametrize("make", [
    object, lambda: SECRET.encode(), lambda: {SECRET: 1}], ids=["object", "bytes", "dict"])
def test_a_value_of_a_wrong_type_is_refused_like_any_other(make):
    for key in DEFAULTS:
        value = make()
        if key in ("flags", "retry_on_status_codes", "timeout") and type(value) is not object:
            continue  # taken as the lists that they may be
        partners = {name: "x" for name in PARTNERS.get(key, ()) if name not in FILES}
        assert SECRET not in refused(f"argument {key}", **{key: value}, **partners)


def test_the_percent_sign_in_a_path_is_no_format(tmp_path):
    odd = tmp_path / "100%s.env"
    odd.write_text("GIGACHAT_TIMEOUT=soon\n")
    with pytest.raises(ConfigurationError, match="GIGACHAT_TIMEOUT in .*100%s.env: "):
        load_config(env_file=odd, environ={})


# ---- The key


@pytest.mark.parametrize("text", [
    KEY, f"  {KEY}\n", f'"{KEY}"', f"'{KEY}'", f"Basic {KEY}", f"bearer {KEY}", f"BASIC   {KEY} ", f' "Basic {KEY}" ',
    f"\u00a0{KEY}\u00a0", f"{KEY}\r\n",
])
def test_what_clings_to_a_copied_key_is_taken_off(text, caplog):
    assert load(credentials=text)["credentials"] == KEY and not caplog.records


@pytest.mark.parametrize("key, advice", [
    (JWE, "access_token"),
    ("eyJhbGciOi.eyJzdWIi.SECRETsig", "access_token"),
    ("opaque.but-of.three-parts-SECRET", "access_token"),
    (UUID, "client_secret"),
    (UUID.upper(), "client_secret"),
    ("ваш_ключ_авторизации", "placeholder"),
    ("<ключ>", "placeholder"),
    ("…", "placeholder"),
    (KEY[:20] + " " + KEY[20:], "space"),
    (KEY[:20] + "\n" + KEY[20:], "space"),
    (f"client_id: {UUID}", "space"),
])
def test_what_is_plainly_no_key_is_refused_without_showing_it(key, advice):
    with pytest.raises(ConfigurationError, match="argument credentials.*" + advice) as caught:
        load(credentials=key)
    assert (key not in shown(caught.value) and key[:16] not in str(caught.value)) or key in ("…", "<ключ>")


@pytest.mark.parametrize("key", ["not-base64!", "YWJj", KEY[:-5]])
def test_a_key_that_merely_does_not_decode_is_warned_about(key, caplog):
    assert load(credentials=key)["credentials"] == key
    assert len(messages(caplog)) == 1 and "base64" in caplog.text and key not in caplog.text


# ---- Addresses


@pytest.mark.parametrize("text, wanted", [
    ("https://api.giga.chat/v1", "https://api.giga.chat/v1"),
    ("https://api.giga.chat/v1/", "https://api.giga.chat/v1"),
    ("https://api.giga.chat/v1//", "https://api.giga.chat/v1"),
    ("  'https://api.giga.chat/v1/' ", "https://api.giga.chat/v1"),
    ("HTTPS://API.Giga.Chat/v1", "https://api.giga.chat/v1"),
    ("https://api.giga.chat:443/v1", "https://api.giga.chat/v1"),
    ("https://api.giga.chat:8443/v1", "https://api.giga.chat:8443/v1"),
    ("api.giga.chat/v1", "https://api.giga.chat/v1"),
    ("api.giga.chat", "https://api.giga.chat/v1"),
    ("https://api.giga.chat/", "https://api.giga.chat/v1"),
    ("https://gigachat.devices.sberbank.ru", "https://gigachat.devices.sberbank.ru/api/v1"),
    ("https://own.example", "https://own.example"),
    ("https://own.example/Deep/Path/", "https://own.example/Deep/Path"),
    ("http://localhost:8080/v1/", "http://localhost:8080/v1"),
    ("http://127.0.0.1:80/v1", "http://127.0.0.1/v1"),
    ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
    ("localhost:8443/v1", "https://localhost:8443/v1"),
])
def test_a_base_url_is_taken_as_people_write_it(text, wanted):
    assert load(base_url=text)["base_url"] == wanted


@pytest.mark.parametrize("text, wanted", [
    ("https://api.giga.chat", "https://api.giga.chat/v1"),
    ("https://api.giga.chat/v1/chat/completions", "https://api.giga.chat/v1"),
    ("gigachat.devices.sberbank.ru/api", "https://gigachat.devices.sberbank.ru/api/v1"),
    ("https://host.example/api", "https://host.example/api"), ("https://host.example", "https://host.example"),
])
def test_a_base_url_with_too_much_or_too_little_of_a_path_is_understood(text, wanted):
    assert load(base_url=text)["base_url"] == wanted


@pytest.mark.parametrize("name, advice", [
    ("api_key", "credentials"), ("verify", "verify_ssl_certs"), ("token", "access_token"),
])
def test_names_that_other_libraries_use_lead_to_ours(name, advice):
    with pytest.raises(TypeError, match=f"did you mean {advice!r}"):
        load(**{name: "x"})


@pytest.mark.parametrize("pair", [("user", "password"), ("client_id", "client_secret")])
def test_a_name_with_a_colon_is_refused_for_basic_authorisation_would_cut_it(pair):
    with pytest.raises(ConfigurationError, match="argument " + pair[0] + ".*colon"):
        load(**dict(zip(pair, ("a:b", "c"))))


def test_half_of_a_pair_does_no_harm_where_no_pair_is_needed():
    config = load(environ={"GIGACHAT_CLIENT_ID": UUID}, access_token="token")
    assert config["access_token"] == "token" and config["client_id"] is None


def test_a_bare_auth_host_gets_the_oauth_path_or_none():
    assert load(auth_url="https://ngw.devices.sberbank.ru:9443/")["auth_url"] in (
        "https://ngw.devices.sberbank.ru:9443/api/v2/oauth", "https://ngw.devices.sberbank.ru:9443")


@pytest.mark.parametrize("key", ["base_url", "auth_url"])
@pytest.mark.parametrize("text", [
    "https://", "https:///v1", "ftp://host.example", "https://host.example:port/", "https://host.example:99999/",
    "https://[::1/v1", "https://host.example/v1?x=1", "https://host.example/v1#x", "https://ho st.example/", "file:///x",
    "https://host.example/v 1",
])
def test_what_is_no_address_is_refused(key, text):
    with pytest.raises(ConfigurationError, match="argument " + key):
        load(**{key: text})


@pytest.mark.parametrize("key", ["base_url", "auth_url"])
@pytest.mark.parametrize("user", ["us:S3CRET@", "S3CRET@", ":S3CRET@", "us%40x:S3CRET@", "@"])
def test_a_user_and_password_inside_an_address_are_refused(key, user):
    for text in (f"https://{user}host.example/v1", f"{user}host.example/v1", f"http://{user}localhost/v1"):
        with pytest.raises(ConfigurationError, match=f"argument {key}.*password") as caught:
            load(**{key: text})
        assert "S3CRET" not in shown(caught.value)


@pytest.mark.parametrize("key", ["base_url", "auth_url"])
@pytest.mark.parametrize("host, refused", [
    ("host.example", True), ("10.0.0.5", True), ("127.0.0.1.example", True), ("localhost.example", True),
    ("0.0.0.0", True),  # noqa: S104 -- a host that is asked, not one to listen on
    ("[fe80::1]", True), ("127.0.0.1", False), ("127.8.8.8", False), ("localhost", False),
    ("LOCALHOST", False), ("[::1]", False),
])
def test_clear_text_http_goes_to_this_machine_alone(key, host, refused):
    url = f"http://{host}:8080/v1"
    if refused:
        for more in ({}, {"allow_http": False}):
            with pytest.raises(ConfigurationError, match=f"argument {key}.*clear.*allow_http"):
                load(**{key: url}, **more)
        load(**{key: url}, allow_http=True)
    else:
        assert load(**{key: url})[key] == url.lower()


def test_a_name_of_any_case_is_read_from_a_file_and_a_line_without_its_sign_is_told(tmp_path, caplog):
    (tmp_path / ".env").write_text("GIGACHAT_Scope=GIGACHAT_API_CORP\nGIGACHAT_MODEL: GigaChat-2\nexport OTHER\n")
    config = load_config(environ={})
    assert (config["scope"], config["model"]) == ("GIGACHAT_API_CORP", "GigaChat")
    said, = [record.getMessage() for record in caplog.records if record.name == "gigachat_lite" and record.levelno > 20]
    assert said.endswith(".env, line 2 is not understood: NAME=value is needed, its quotes closed")


@pytest.mark.parametrize("proxy, more, used", [
    ("http://proxy.corp:3128", {}, False), ("http://proxy.corp:3128", {"allow_http": True}, True),
    ("http://127.0.0.1:3128", {}, True), ("http://localhost:3128", {}, True)])
def test_a_proxy_elsewhere_gets_no_clear_text_of_this_machine(proxy, more, used):
    here, service = "http://localhost:8080/v1", "https://api.giga.chat/v1"
    config = load(proxy=proxy, base_url=here, **more)
    assert proxies_for(here, config) == ({"http": proxy} if used else {})
    assert proxies_for(service, config) == {"https": proxy}


@pytest.mark.parametrize("url, model", [
    (None, "GigaChat"),
    ("https://gigachat-preview.devices.sberbank.ru/api/v1", "GigaChat"),
    ("https://own.example/v1", "GigaChat"),
    ("https://notgiga.chat/v1", "GigaChat"),
    ("https://giga.chat.example/v1", "GigaChat"),
    ("https://giga.chat/v1", None),
    ("https://api.giga.chat/v1", None),
    ("https://API.GIGA.CHAT:8443/v1", None),
])
def test_giga_chat_has_no_default_model_and_every_other_host_has(url, model):
    assert load(base_url=url)["model"] == model
    assert load(base_url=url, model="X")["model"] == "X"


@pytest.mark.parametrize("ask", ["chat", "stream", "tokens_count"])
def test_the_error_of_a_missing_model_says_how_to_name_one(ask, resolve):
    resolve()
    client = GigaChat(base_url="https://api.giga.chat", access_token="t", env_file=False, environ={})
    with pytest.raises(ModelNotSpecifiedError, match="api.giga.chat.*model=.*GIGACHAT_MODEL"):
        getattr(client, ask)("x")
    assert not resolve.asked


# ---- The way to a token


USER = {"user": "u", "password": "p"}
PAIR = {"client_id": "i", "client_secret": "s"}
KEYS = {"credentials": KEY}


@pytest.mark.parametrize("argument, environ, file, wanted", [
    (KEYS, {}, {}, KEYS),
    (PAIR, {}, {}, PAIR),
    (USER, {}, {}, USER),
    ({**KEYS, **PAIR, **USER}, {}, {}, KEYS),
    ({**PAIR, **USER}, {}, {}, PAIR),
    (USER, KEYS, {}, USER),
    (PAIR, KEYS, USER, PAIR),
    ({}, USER, KEYS, USER),
    ({}, PAIR, KEYS, PAIR),
    ({}, {}, {**PAIR, **USER}, PAIR),
    ({"user": "u"}, {"password": "p"}, KEYS, USER),
    ({"client_id": "i"}, {}, {"client_secret": "s", **KEYS}, PAIR),
    ({"access_token": "t"}, KEYS, {}, {"access_token": "t", **KEYS}),
    ({"access_token": "t", **KEYS}, {}, {}, {"access_token": "t", **KEYS}),
    ({"access_token": "t"}, {}, {}, {"access_token": "t"}),
    ({}, {**KEYS, "access_token": "t"}, {}, {"access_token": "t", **KEYS}),
    (KEYS, {"access_token": "t"}, {}, KEYS),
    ({}, USER, {"access_token": "t"}, USER),
])
def test_the_way_of_the_strongest_layer_wins_and_a_key_comes_first_inside_one(argument, environ, file, wanted, dotenv):
    dotenv("".join(f"{env_name(key)}={value}\n" for key, value in file.items()))
    config = load_config(environ={env_name(key): value for key, value in environ.items()}, **argument)
    got = {key: config[key] for key in (*KEYS, *PAIR, *USER, "access_token") if config[key] is not None}
    assert got == wanted


def test_certificates_never_switch_off_a_way_of_another_layer(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("pem")
    environ = {"GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_KEY_FILE": "key_file"}
    config = load(environ={**environ, "GIGACHAT_CA_BUNDLE_FILE": "ca_bundle_file"}, cert_file="cert_file")
    assert config["credentials"] == KEY and [config[name] for name in FILES] == list(FILES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert load(environ={"GIGACHAT_CREDENTIALS": KEY}, ssl_context=context)["credentials"] == KEY


@pytest.mark.parametrize("given, names", [
    ({"client_id": "i"}, "argument client_id.*client_secret"),
    ({"client_secret": "S3CRET"}, "argument client_secret.*client_id"),
    ({"user": "u"}, "argument user.*password"),
    ({"password": "S3CRET"}, "argument password.*user"),
    ({"client_id": "i", "environ": {"GIGACHAT_CREDENTIALS": KEY}}, "argument client_id.*client_secret"),
    ({"key_file": __file__}, "argument key_file.*cert_file"),
    ({"key_file_password": "S3CRET"}, "argument key_file_password.*cert_file"),
    ({"environ": {"GIGACHAT_USER": "u"}}, "environment variable GIGACHAT_USER.*password"),
    ({"environ": {"GIGACHAT_KEY_FILE": __file__}}, "environment variable GIGACHAT_KEY_FILE.*cert_file"),
])
def test_a_contradiction_is_an_error_before_any_network(given, names):
    for make in (load, lambda **more: GigaChat(**{"env_file": False, "environ": {}, **more})):
        with pytest.raises(ConfigurationError, match=names) as caught:
            make(**given)
        assert "S3CRET" not in shown(caught.value)


def test_with_no_way_at_all_the_first_request_says_so_before_any_network(resolve):
    resolve()
    client = GigaChat(env_file=False, environ={})
    for ask in (client.get_models, client.get_token, lambda: client.chat("x"), lambda: client.stream("x")):
        with pytest.raises(ConfigurationError, match="GIGACHAT_CREDENTIALS"):
            ask()
    assert not resolve.asked


@pytest.mark.parametrize("given, wanted", [
    ({"credentials": KEY}, 1),
    ({**PAIR}, 1),
    ({"credentials": KEY, "scope": "GIGACHAT_API_CORP"}, 10),
    ({"credentials": KEY, "scope": "GIGACHAT_API_B2B"}, 10),
    ({**USER}, 10),
    ({"access_token": "t"}, 10),
    ({"credentials": KEY, "max_connections": 3}, 3),
])
def test_max_connections_follows_from_the_key_and_its_scope(given, wanted):
    assert load(**given)["max_connections"] == wanted


# ---- TLS settings


def test_an_ssl_context_wins_whole_with_one_warning_that_names_the_rest(tmp_path, caplog):
    (tmp_path / "ca.pem").write_text("pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    environ = {"GIGACHAT_CA_BUNDLE_FILE": "ca.pem", "GIGACHAT_VERIFY_SSL_CERTS": "false"}
    client = GigaChat(ssl_context=context, environ=environ, env_file=False, access_token="t")
    assert client.config["ssl_context"] is context and len(messages(caplog)) == 1
    text = caplog.text.lower()
    assert "ca_bundle_file" in text and "verify_ssl_certs" in text and "cert_file" not in text


@pytest.mark.parametrize("argument, environ, verified", [
    ({"verify_ssl_certs": False, "ca_bundle_file": "ca.pem"}, {}, False),
    ({"verify_ssl_certs": False}, {"GIGACHAT_CA_BUNDLE_FILE": "ca.pem"}, False),
    ({"ca_bundle_file": "ca.pem"}, {"GIGACHAT_VERIFY_SSL_CERTS": "false"}, True),
    ({}, {"GIGACHAT_CA_BUNDLE_FILE": "ca.pem", "GIGACHAT_VERIFY_SSL_CERTS": "false"}, False),
    ({"ca_bundle_file": "ca.pem"}, {}, True),
])
def test_only_a_stronger_bundle_beats_verification_switched_off(argument, environ, verified, tmp_path, caplog):
    (tmp_path / "ca.pem").write_text("pem")
    assert load(environ=environ, **argument)["verify_ssl_certs"] is verified
    assert len(messages(caplog)) == (0 if verified else 1)


# ---- Showing


def test_redact_and_repr_show_no_secret(caplog):
    caplog.set_level(logging.DEBUG)
    secrets = {"credentials": KEY, "access_token": JWE, "key_file_password": "S3CRET-1", "cert_file": __file__,
               "proxy": "http://us:S3CRET-2@proxy.example:1"}
    config = load(**secrets)
    redacted = redact(config)
    assert [redacted[key] for key in ("credentials", "access_token", "key_file_password", "proxy")] == ["***"] * 4
    assert set(redacted) == set(config) and redacted["scope"] == config["scope"] and config["credentials"] == KEY
    everything = [repr(redacted), str(redacted), repr(config), f"{config}", caplog.text]
    for pair in (USER, PAIR):
        pair = dict.fromkeys(pair, "S3CRET-3")
        shown_ids = ("'user': 'S3CRET-3'", "'client_id': 'S3CRET-3'")
        everything += [repr([item for item in redact(load(**pair)).items() if "%r: %r" % item not in shown_ids])]
    client = GigaChat(credentials=KEY, access_token=JWE, proxy=secrets["proxy"], env_file=False, environ={})
    everything += [repr(client), str(client), repr(vars(client))]
    for secret in (KEY, JWE, "S3CRET-1", "S3CRET-2", "S3CRET-3"):
        assert not [text for text in everything if secret in text]
    assert all(part in repr(client) for part in ("gigachat.devices.sberbank.ru", "GIGACHAT_API_PERS", "GigaChat"))


def test_redact_takes_a_partial_dict_and_leaves_what_is_unset():
    assert redact({"credentials": None, "password": "x", "model": "m"}) == {
        "credentials": None, "password": "***", "model": "m"}


def test_secrets_stay_ordinary_strings_and_survive_pickling():
    config = load(credentials=KEY)
    assert config["credentials"] + "" == KEY and f"{config['credentials']}" == KEY
    assert pickle.loads(pickle.dumps(config)) == config
    assert repr(pickle.loads(pickle.dumps(config))["credentials"]) != repr(KEY)


def test_nothing_is_read_at_import(tmp_path):
    (tmp_path / ".env").write_bytes(b"GIGACHAT_TIMEOUT=soon\n\xff\xfe\x98")
    code = "import logging; logging.basicConfig(level=0); import gigachat_lite, gigachat_lite.client; print('ok')"
    environ = {**os.environ, "PYTHONPATH": PACKAGE, "GIGACHAT_CREDENTAILS": "x", "GIGACHAT_MAX_RETRIES": "-7"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=str(tmp_path), env=environ,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    assert done.stdout.strip() == b"ok"


def test_a_path_that_holds_anything_is_named_in_one_printable_line():
    with pytest.raises(ConfigurationError) as caught:
        load(ca_bundle_file="/absent/a\n\x1b[31mb.pem")
    assert str(caught.value).isprintable() and "/absent/a" in str(caught.value)
