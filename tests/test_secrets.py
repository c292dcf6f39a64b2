"""Plant a marker in every secret, and look for it wherever it could show: logs, errors, frames, reprs, output, disk.

What a process must hold to do its work is not looked for: `client.config`, the prepared request while it is under way.
"""

from __future__ import annotations

import base64
import logging
import os
import sys
import traceback

import pytest

from clients import new_client
from gigachat_lite import ConfigurationError, GigaChat, GigaChatException, redact
from gigachat_lite import __main__ as cli
from servers import CHAT_BODY, STREAM_BODY, drop, never, oauth_reply, raw, refused, reply, sse

CLIENT, SECRET, TOKEN, PASSWORD = "11111111-2222-4333-8444-555555555555", "cl13ntMARK", "t0k3nMARKt0k3n", "passw0rdMARK"
PROXY_PASSWORD, KEY_PASSWORD, GIVEN = "pr0xyMARK", "k3yMARK", "g1v3nMARKg1v3n"


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


KEY = basic(CLIENT, SECRET)
MARKS = [KEY, SECRET, TOKEN, PASSWORD, PROXY_PASSWORD, KEY_PASSWORD, GIVEN, basic("maria", PASSWORD)]
MARKS += [basic("us", PROXY_PASSWORD), KEY[8:28]]
WAYS = {
    "key": {"credentials": KEY},
    "halves": {"client_id": CLIENT, "client_secret": SECRET},
    "password": {"user": "maria", "password": PASSWORD},
    "token": {"access_token": GIVEN},
    "token and key": {"access_token": GIVEN, "credentials": KEY},
}


def leaks(text):
    return [mark for mark in MARKS if mark in text]


def deep(value, depth=3):
    """Show a value as a crash reporter does: its repr, and that of what it holds."""
    yield repr(value)
    if depth:
        held = (
            list(value.values()) if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else []
        )
        for item in list(held)[:50]:
            yield from deep(item, depth - 1)


def chain(error):
    """List an error, its causes and its contexts."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def seen_of(error):
    """Gather all that a log, a debugger or a crash reporter sees of an error, frames of other packages included."""
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    for each in chain(error):
        shown += f"{each!s} {each!r} {each.args!r}" + " ".join(deep(vars(each)))
        for name in ("request", "response"):
            assert getattr(each, name, None) is None, f"{each!r} has a {name}"
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                for name, value in frame.f_locals.items():
                    found = leaks(" ".join(deep(value)))
                    assert not found, f"{name} of {frame.f_code.co_filename}:{frame.f_code.co_name} shows {found}"
    return shown


def read(stream):
    return list(stream)


CALLS = {
    "chat": lambda giga: giga.chat("?"),
    "stream": lambda giga: read(giga.stream("?")),
    "v2 stream": lambda giga: read(giga.chat.stream("?")),
    "models": lambda giga: giga.get_models(),
    "upload": lambda giga: giga.upload_file(("a.txt", b"x")),
    "token": lambda giga: giga.get_token(),
    "embeddings": lambda giga: giga.embeddings("?"),
}
FATES = {
    "good": reply(body=CHAT_BODY),
    "stream": sse(STREAM_BODY),
    "cut stream": sse([STREAM_BODY[:40]]),
    "error in a stream": sse([b'data: {"status": 500, "message": "x"}\n\n']),
    **{
        str(status): reply(status, {"status": status, "message": "no"})
        for status in (400, 401, 403, 404, 422, 429, 500)
    },
    "redirect": reply(302, headers={"Location": "http://127.0.0.1/"}),
    "html": reply(body="<html>", headers={"Content-Type": "text/html"}),
    "lost": drop("rst"),
    "short": reply(body=CHAT_BODY, length=9999),
    "garbage": raw(b"\x00\xff\r\n\r\n"),
    "silence": never(),
}


def attempt(work):
    """Do what may fail, and give all that is seen of it."""
    try:
        return repr(work())
    except (GigaChatException, TypeError) as error:
        return seen_of(error)


@pytest.fixture
def log(caplog):
    """Log everything there is; give the records as all that a handler can make of them."""
    caplog.set_level(logging.DEBUG)

    def text():
        return caplog.text + " ".join(f"{record.msg} {record.args!r} {record.exc_text}" for record in caplog.records)

    return text


def on_disk(path):
    return "".join(each.read_text("latin-1") for each in path.rglob("*") if each.is_file())


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("way", WAYS)
def test_no_answer_brings_a_secret_to_light(way, fate, api, log, tmp_path, capfd):
    running = api(
        FATES[fate],
        oauth=lambda request, connection: oauth_reply(
            TOKEN, form="token" if request.path.endswith("/token") else "oauth"
        ),
    )
    giga = new_client(
        base_url=running.base_url, auth_url=running.auth_url, max_retries=1, timeout=(5, 0.05), **WAYS[way]
    )
    giga._transport.sleep = lambda seconds: None
    shown = ""
    for name, call in CALLS.items():
        if fate != "silence" or name in ("chat", "models"):
            shown += attempt(lambda call=call: call(giga))
    shown += repr(giga) + repr(giga.config) + repr(redact(giga.config)) + str(giga) + repr(giga._tokens.peek())
    shown += " ".join(deep(vars(giga))) + log() + "".join(capfd.readouterr()) + on_disk(tmp_path.parent)
    assert not leaks(shown)


@pytest.fixture
def nobody():
    """Give a port that refuses connections."""
    with refused() as port:
        yield port


@pytest.mark.parametrize("fate", ["refused", 400, 401, 500, "garbage", "empty", "list", "lost", "html"])
@pytest.mark.parametrize("way", ["key", "halves", "password"])
def test_no_trouble_with_a_token_brings_a_secret_to_light(way, fate, api, nobody, log):
    bodies = {"garbage": b"{", "empty": b"", "list": [], "html": "<html>"}
    oauth = reply(fate, {"code": 6, "message": "no"}) if isinstance(fate, int) else reply(body=bodies.get(fate, b""))
    running = api(reply(body=CHAT_BODY), oauth=drop("rst") if fate == "lost" else oauth)
    port = nobody if fate == "refused" else running.port
    base = f"http://127.0.0.1:{port}/api"
    giga = new_client(base_url=base + "/v1", auth_url=base + "/v2/oauth", max_retries=0, **WAYS[way])
    shown = attempt(lambda: giga.chat("?")) + attempt(giga.get_token) + log()
    assert not leaks(shown) and "Error" in shown


@pytest.mark.parametrize("trouble", ["407", "refused", "tls", "good"])
def test_no_proxy_and_no_certificate_brings_a_secret_to_light(trouble, server, proxy, nobody, certs, log):
    running = server(reply(body=CHAT_BODY), context=certs.context())
    way = proxy(running.port, credentials="us:other" if trouble == "407" else "us:" + PROXY_PASSWORD)
    port = nobody if trouble == "refused" else way.port
    trusted = {} if trouble == "tls" else {"ca_bundle_file": str(certs.ca_pem)}
    given = {"access_token": GIVEN, "proxy": f"http://us:{PROXY_PASSWORD}@127.0.0.1:{port}", **trusted}
    giga = new_client(base_url=running.at("localhost") + "/api/v1", max_retries=0, **given)
    shown = attempt(lambda: giga.chat("?")) + " ".join(deep(vars(giga))) + log()
    assert not leaks(shown) and ("Error" in shown) == (trouble != "good")


@pytest.mark.parametrize(
    "settings",
    [
        {"cert_file": __file__, "key_file": __file__, "key_file_password": KEY_PASSWORD},
        {"credentials": KEY + " x"},
        {"credentials": SECRET + "Ж"},
        {"access_token": TOKEN + "\n" + TOKEN},
        {"user": "maria", "password": PASSWORD * 99},
        {"user": "ma:ria", "password": PASSWORD},
        {"password": PASSWORD},
        {"proxy": f"ftp://us:{PROXY_PASSWORD}@h"},
        {"proxy": f"http://us:{PROXY_PASSWORD}@h:port"},
        {"base_url": f"https://maria:{PASSWORD}@h"},
        {"credentails": KEY},
        {"client_secret": SECRET},
        {"credentials": KEY, "timeout": "soon"},
        {"key_file_password": KEY_PASSWORD},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_no_setting_that_is_refused_shows_a_secret(settings, log):
    for given in (settings, {"environ": {"GIGACHAT_" + key.upper(): value for key, value in settings.items()}}):
        given = {"env_file": False, "environ": {}, **given}
        assert not leaks(attempt(lambda given=given: GigaChat(**given)) + log())
    with pytest.raises((ConfigurationError, TypeError)):
        GigaChat(env_file=False, environ={}, **settings)


@pytest.mark.parametrize("fate", ["good", "stream", "401", "500", "cut stream", "garbage"])
def test_the_command_line_shows_none_and_takes_none(fate, api, monkeypatch, tmp_path, capfd, log):
    running = api(FATES[fate], oauth=oauth_reply(TOKEN))
    names = {"BASE_URL": running.base_url, "AUTH_URL": running.auth_url, "CREDENTIALS": KEY, "MAX_RETRIES": "0"}
    for name, value in names.items():
        monkeypatch.setenv("GIGACHAT_" + name, value)
    for arguments in (
        ["?"],
        ["--json", "?"],
        ["--raw-sse", "?"],
        ["--help"],
        ["--credentials", "x"],
        ["--timeout", "x", "?"],
    ):
        with open(os.devnull) as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            cli.main(arguments)
    assert not leaks("".join(capfd.readouterr()) + log())
    options = set(vars(cli.option_parser().parse_args([])))
    assert not options & {"credentials", "client_secret", "access_token", "password", "key_file_password", "proxy"}
    kept = on_disk(tmp_path.parent)  # the token file, and in it the token alone
    assert set(leaks(kept)) <= {TOKEN}
    files = [each for each in tmp_path.parent.rglob("*") if each.is_file()]
    assert len(files) == (0 if fate == "401" and not kept else 1) and not leaks(str(files))
