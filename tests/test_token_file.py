"""Hold the promises about access tokens on disk: who shares them, what is not trusted, and that no call fails of it."""
from __future__ import annotations

import json
import logging
import math
import os
import pathlib
import stat
import subprocess
import sys
import time

import pytest

import gigachat_lite
from clients import needs_fork, new_client
from gigachat_lite import AuthenticationError, ConfigurationError, ServerError
from gigachat_lite import __main__ as cli
from gigachat_lite.auth import Token, TokenCache
from gigachat_lite.config import load_config
from gigachat_lite.token_file import TokenFile, cache_folder, open_token_file, parse
from servers import CHAT_BODY, CHAT_TEXT, oauth_reply, reply

KEY = "MTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1OjY2NjY2NjY2LTc3Nzc="
MODELS = reply(body={"object": "list", "data": []})
PACKAGE = str(pathlib.Path(gigachat_lite.__file__).parent.parent)
posix = pytest.mark.skipif(os.name != "posix", reason="owners, modes and links as POSIX has them")
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def folder(tmp_path):
    return tmp_path.parent / "tokens"


@pytest.fixture
def client(folder):
    """Make clients of a server, with the key and the folder unless told otherwise."""
    def make(server, **settings):
        given = {"credentials": KEY, "token_cache": folder, "retry_backoff_factor": 0, **settings}
        return new_client(base_url=server.base_url, auth_url=server.auth_url, **given)

    return make


def only_file(folder):
    path, = folder.iterdir()
    return path


def warnings(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def token(value="kept", left=1800.0):
    now = time.monotonic()
    return Token(value, time.time() + left, now + left, now + left * 0.9)


# ---- Sharing


def test_a_second_client_needs_no_oauth_call(api, client):
    server = api(MODELS)
    first, second = client(server).get_token(), client(server).get_token()
    assert (first, server.oauth_calls) == (second, 1) and abs(second.expires_at / 1000 - time.time() - 1800) < 60
    third = client(server)
    third.get_models()
    assert server.oauth_calls == 1 and server.calls[0].headers["authorization"] == f"Bearer {first.access_token}"


def test_the_library_keeps_nothing_unless_asked(api, client, folder):
    server = api(MODELS)
    for off in (None, False):
        client(server, token_cache=off).get_token()
    client(server, token_cache=None, environ={"GIGACHAT_TOKEN_CACHE": "0"}).get_token()
    assert server.oauth_calls == 3 and not folder.exists() and not os.path.exists(cache_folder())
    for _ in range(2):
        client(server, token_cache=None, environ={"GIGACHAT_TOKEN_CACHE": str(folder)}).get_token()
    assert server.oauth_calls == 4


def test_true_is_the_users_cache_folder(api, client, monkeypatch, tmp_path):
    server, home = api(MODELS), tmp_path.parent / "home"
    client(server, token_cache=True).get_token()
    if sys.platform.startswith("linux"):
        assert only_file(home / ".cache" / "gigachat_lite")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        client(server, token_cache=True).get_token()
        assert only_file(tmp_path / "x" / "gigachat_lite")
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification wants ignored
        assert cache_folder() == str(home / ".cache" / "gigachat_lite")


def test_each_key_scope_and_address_has_a_file(api, client, folder):
    server, other = api(MODELS), api(MODELS)
    ways = [{}, {"scope": "GIGACHAT_API_B2B"}, {"credentials": "YTpi"}]
    ways += [{"credentials": None, "user": "a", "password": password} for password in "bc"]
    for _ in range(2):
        for way in ways:
            client(server, **way).get_token()
        client(other).get_token()
    assert (server.oauth_calls, other.oauth_calls, len(list(folder.iterdir()))) == (len(ways), 1, len(ways) + 1)
    client(server, credentials=None, client_id="a", client_secret="b").get_token()
    assert server.oauth_calls == len(ways)  # the same key in two halves


@posix
def test_the_file_is_private_and_holds_no_key(api, client, folder):
    mask = os.umask(0)
    try:
        value = client(api(MODELS)).get_token().access_token
    finally:
        os.umask(mask)
    path = only_file(folder)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, path)] == [0o700, 0o600]
    data = json.loads(path.read_text())
    assert set(data) == {"access_token", "expires_at", "expires_here"} and data["access_token"] == value
    assert KEY not in path.read_text() + path.name


def test_a_renewed_token_is_taken_from_another_process(folder):
    file = TokenFile(str(folder), "key", "scope", "url", 60.0)
    file.save(token("renewed"))
    cache = TokenCache(lambda until: pytest.fail("a fetch"), token("old")._replace(renew_at=0.0), file=lambda: file)
    assert cache.get().value == "renewed"


def test_a_refused_token_is_not_read_back(folder):
    def fetch(until):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    answers, now = [ServerError("url", 500), token("fresh")], time.monotonic()
    file = TokenFile(str(folder), "key", "scope", "url", 60.0)
    file.save(token("refused"))
    cache = TokenCache(fetch, clock=lambda: now, file=lambda: file)
    assert cache.get().value == "refused" and cache.drop("refused")
    with pytest.raises(ServerError):
        cache.get()
    now += 2  # a failure is remembered for a second
    assert cache.get().value == file.load(None).value == "fresh"


def test_a_kept_token_ends_by_this_machines_clock(folder):
    file, now = TokenFile(str(folder), "key", "scope", "url", 60.0), time.monotonic()
    for left, wanted in ((1800, 1740), (40, 30)):  # the last quarter, or the last minute, is for renewing it
        file.save(Token("kept", time.time() - 86400, now + left, now + left - 1))  # the service is a day behind
        loaded = file.load(None)
        assert loaded.value == "kept" and abs(loaded.deadline - now - left) < 5 and "kept" not in repr(loaded)
        assert abs(loaded.renew_at - now - wanted) < 5 and file.load(loaded) is None


@pytest.mark.parametrize("left", [-5, 0, 90000, float("nan")])
def test_an_old_token_is_not_used(left, api, client, folder):
    server = api(MODELS)
    client(server).get_token()
    path = only_file(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "expires_here": time.time() + left}))
    assert client(server).get_token().access_token == "token-2" and server.oauth_calls == 2
    assert json.loads(path.read_text())["access_token"] == "token-2"


def only_the_second(request, connection):
    return MODELS if request.headers["authorization"] == "Bearer token-2" else reply(401)


def test_a_revoked_token_in_the_file_is_replaced(api, client, folder):
    server = api(only_the_second)
    client(server).get_token()
    for _ in range(2):
        client(server).get_models()
    assert (len(server.calls), server.oauth_calls) == (3, 2)
    assert json.loads(only_file(folder).read_text())["access_token"] == "token-2"


def test_a_refused_key_leaves_the_file_alone(api, client, folder):
    server = api(reply(401), oauth=[oauth_reply("t"), reply(401), reply(500), reply(500), reply(500)])
    client(server).get_token()
    before = only_file(folder).read_bytes()
    for error in (AuthenticationError, ServerError):
        with pytest.raises(error):
            client(server).get_models()
    assert only_file(folder).read_bytes() == before


@needs_fork
def test_many_processes_never_read_a_torn_file(api, client, folder):
    server = api(MODELS)
    children = []
    for number in range(8):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                giga = client(server)
                giga.get_models()
                keep = open_token_file(giga.config)
                for each in range(50):
                    keep.save(token(f"{number}-{each}" * (1 + each * number)))
                code = 0
            finally:
                os._exit(code)
    keep, seen = open_token_file(client(server).config), set()
    while children:
        for path in folder.glob("*.json"):
            assert parse(path.read_bytes(), time.time(), 0.0, 60.0), "a torn file"
        seen.add(keep.load(None))
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            assert status == 0
            children.remove(done)
    assert len(seen) > 1 and only_file(folder).suffix == ".json"
    assert client(server).get_token().access_token and 1 <= server.oauth_calls <= 8


# ---- What is not trusted


def make_link(path, folder):
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def make_pipe(path, folder):
    path.unlink()
    os.mkfifo(path, 0o600)


def give_away(path, folder):
    os.chown(path, 12345, -1)


def make_readable(path, folder):
    path.chmod(0o604)


def open_folder(path, folder):
    folder.chmod(0o777)


def open_folder_to_a_group(path, folder):
    folder.chmod(0o770)


def give_folder_away(path, folder):
    os.chown(folder, 12345, -1)


@posix
@pytest.mark.parametrize("spoil, why, heals", [
    (make_link, "it is a symbolic link", True),
    (make_readable, "others have access to it (mode 0604)", True),
    (make_pipe, "it is no regular file", True),
    pytest.param(give_away, "it belongs to another user", True, marks=root),
    (open_folder, "others have access to it (mode 0777)", False),
    (open_folder_to_a_group, "others have access to it (mode 0770)", False),
    pytest.param(give_folder_away, "it belongs to another user", False, marks=root),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_others_can_reach_is_not_used(spoil, why, heals, api, client, folder, caplog):
    server = api(MODELS)
    client(server).get_token()
    path = only_file(folder)
    spoil(path, folder)
    assert client(server).get_token().access_token == "token-2"
    warning, = warnings(caplog)
    assert why in warning and str(folder) in warning and "token-1" not in warning
    caplog.clear()
    assert client(server).get_token().access_token == ("token-2" if heals else "token-3")
    assert len(warnings(caplog)) == (0 if heals else 1)
    assert not heals or (stat.S_ISREG(path.lstat().st_mode) and stat.S_IMODE(path.lstat().st_mode) == 0o600)


def kept(**more):
    """Write a file's content, good for ten minutes but for what is wrong with it."""
    fields = {"access_token": "kept", "expires_at": time.time() + 600, "expires_here": time.time() + 600}
    return json.dumps({**fields, **more}).encode()


@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"null", b"[" * 60000, b"\xff\xfe", b'{"access_token": "kept", "expires', b"x" * 10**6,
    {"access_token": None}, {"access_token": "a b"}, {"access_token": "a\r\nb"}, {"access_token": ["t"]},
    {"expires_at": "soon"}, {"expires_at": 10**400}, {"expires_at": math.nan},
    {"expires_here": "soon"}, {"expires_here": None}, {"expires_here": 10**400}, {"expires_here": math.nan},
], ids=lambda data: f"{len(data)} bytes" if isinstance(data, bytes) else repr(data)[:40])
def test_a_torn_or_foreign_file_is_replaced(data, api, client, folder, caplog):
    server = api(MODELS)
    client(server).get_token()
    path = only_file(folder)
    path.write_bytes(kept())
    assert client(server).get_token().access_token == "kept" and server.oauth_calls == 1
    path.write_bytes(data if isinstance(data, bytes) else kept(**data))
    assert client(server).get_token().access_token == "token-2" and server.oauth_calls == 2
    assert client(server).get_token().access_token == "token-2" and not warnings(caplog)


# ---- Places that cannot be used


@posix
def test_a_full_disk_costs_a_warning(api, client, folder):
    server = api(MODELS)
    folder.mkdir(0o700)
    script = """if True:
        import logging, os, resource, signal, sys
        from gigachat_lite import GigaChat
        folder = os.environ["GIGACHAT_TOKEN_CACHE"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from now on every file is full
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        logging.basicConfig(format="%(levelname)s %(message)s")
        with GigaChat() as giga:
            print(giga.get_token().access_token, giga.get_models().object, *os.listdir(folder))
    """
    environ = {"GIGACHAT_BASE_URL": server.base_url, "GIGACHAT_AUTH_URL": server.auth_url, "GIGACHAT_CREDENTIALS": KEY,
               "GIGACHAT_TOKEN_CACHE": str(folder), "PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=15)
    assert done.stdout == "token-1 list\n", done.stderr
    assert done.stderr.startswith("WARNING the token is not kept: ") and "File too large" in done.stderr
    assert "GIGACHAT_TOKEN_CACHE=0" in done.stderr and "token-1" not in done.stderr and done.stderr.count("\n") == 1


@posix
@pytest.mark.parametrize("home", ["/proc/no-such", "/dev/null", "nowhere"], ids=["read-only", "file", "relative"])
def test_without_a_usable_home_the_token_lives_in_memory(home, api, client, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("HOME", home)
    server = api(MODELS)
    giga = client(server, token_cache=True)
    assert giga.get_token() == giga.get_token() and server.oauth_calls == 1
    assert not warnings(caplog) and "the token is not kept" in " ".join(warnings(caplog, logging.INFO))
    assert os.listdir(".") == []
    monkeypatch.setenv("HOME", "/")
    for place in ("/proc/no-such/place", __file__):  # one that was named is worth a warning
        caplog.clear()
        client(server, token_cache=place).get_token()
        warning = warnings(caplog)[-1]
        assert place in warning and (place == __file__ or "GIGACHAT_TOKEN_CACHE=0" in warning)


def test_the_switch_is_a_word_or_a_path(tmp_path):
    for word, wanted in (("yes", True), ("0", False), ("off", False), ("./tokens", str(tmp_path / "tokens"))):
        assert load_config(env_file=False, environ={"GIGACHAT_TOKEN_CACHE": word})["token_cache"] == wanted


@pytest.mark.parametrize("value", ["flase", "tokens", "a\0/b", "/\ud800"])
def test_a_misspelt_switch_is_no_folder(value):
    with pytest.raises(ConfigurationError, match=r"GIGACHAT_TOKEN_CACHE: (true, false or a folder|a letter of it)"):
        load_config(env_file=False, environ={"GIGACHAT_TOKEN_CACHE": value})


# ---- The command line


@pytest.fixture
def command(api, monkeypatch, tmp_path):
    """Give the variables of a server to the command; `command.server` counts what it was asked."""
    server = api(reply(body=CHAT_BODY))
    monkeypatch.setenv("GIGACHAT_BASE_URL", server.base_url)
    monkeypatch.setenv("GIGACHAT_AUTH_URL", server.auth_url)
    monkeypatch.setenv("GIGACHAT_CREDENTIALS", KEY)
    return server


def test_the_command_line_keeps_its_token(command):
    environ = {**os.environ, "PYTHONPATH": PACKAGE, "PYTHONIOENCODING": "utf-8"}
    for _ in range(2):
        words = [sys.executable, "-W", "error", "-m", "gigachat_lite", "--no-stream", "?"]
        done = subprocess.run(words, env=environ, timeout=15, stdin=subprocess.DEVNULL, capture_output=True)
        assert (done.returncode, done.stdout.decode().rstrip(), done.stderr) == (0, CHAT_TEXT, b"")
    assert (command.oauth_calls, len(command.calls)) == (1, 2)


@pytest.mark.parametrize("arguments, environ, dotenv, calls", [
    ([], {}, "", 1), (["--no-token-cache"], {}, "", 2), ([], {"GIGACHAT_TOKEN_CACHE": "0"}, "", 2),
    ([], {}, "GIGACHAT_TOKEN_CACHE=off", 2), (["--no-token-cache"], {"GIGACHAT_TOKEN_CACHE": "1"}, "", 2),
    ([], {"GIGACHAT_TOKEN_CACHE": "1"}, "GIGACHAT_TOKEN_CACHE=0", 1),
])
def test_the_command_line_can_be_told_not_to(arguments, environ, dotenv, calls, command, monkeypatch, tmp_path, capsys):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text(dotenv)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert [cli.main(["--no-stream", *arguments, "?"]) for _ in range(2)] == [0, 0]
    assert command.oauth_calls == calls and os.path.exists(cache_folder()) == (calls == 1)
    assert capsys.readouterr() == (2 * (CHAT_TEXT + "\n"), "")


def test_tokens_of_the_emulator_are_not_kept(monkeypatch, tmp_path, capsys):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert cli.main(["--emulator", "--no-stream", "?"]) == 0
    assert not os.path.exists(cache_folder())
