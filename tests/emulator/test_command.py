"""The emulator's command line: what it prints, what a command behind ``--`` finds, and with which code it ends."""
from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

import gigachat_lite
from gigachat_lite.emulator import FAULTS, Emulator
from gigachat_lite.emulator.__main__ import main

from .helpers import LONG

PACKAGE = str(pathlib.Path(gigachat_lite.__file__).parent.parent)
PYTHON = [sys.executable, "-S", "-E", "-c"]  # the quickest start
posix = pytest.mark.skipif(os.name != "posix", reason="signals and descriptors of POSIX")

SHOW_ENVIRON = """
import json, os
print(json.dumps({name: value for name, value in os.environ.items() if name[:9].upper() in ("GIGACHAT_", "NO_PROXY")}))
"""
ASK_OURS = """
import os, gigachat_lite
with gigachat_lite.GigaChat() as giga:
    print(giga.chat("2 + 2?").choices[0].message.content, os.path.basename(os.environ.get("GIGACHAT_CERT_FILE", "")))
"""
# Log in and ask with the standard library; print what shows how the emulator was set up.
PROBE = """
import http.client, json, os, time, uuid
host = os.environ["GIGACHAT_BASE_URL"].split("/")[2]
opened = []
def ask(path, body, **headers):
    opened.append(http.client.HTTPConnection(host))
    opened[-1].request("GET" if body is None else "POST", path, body, dict(headers, **{"User-Agent": "probe"}))
    return opened[-1].getresponse()
key = "Basic " + os.environ["GIGACHAT_CREDENTIALS"]
form = "application/x-www-form-urlencoded"
answer = ask("/api/v2/oauth", "scope=" + os.environ["GIGACHAT_SCOPE"], Authorization=key, RqUID=str(uuid.uuid4()),
             **{"Content-Type": form})
token = json.load(answer)
def chat(**fields):
    body = dict(fields, model="GigaChat", messages=[{"role": "user", "content": "?"}])
    return ask("/api/v1/chat/completions", json.dumps(body), Authorization="Bearer " + token["access_token"],
               **{"Content-Type": "application/json"}).status
print(json.dumps({
    "oauth": answer.status, "lifetime": round(token["expires_at"] / 1000 - time.time(), -1),
    "unknown field": chat(nonsense=1), "streams": [chat(stream=True) for _ in range(3)]}))
"""
# Ask three times without a token, and print the status of each answer.
KNOCK = """
import os, socket
port = int(os.environ["GIGACHAT_BASE_URL"].split(":")[2].split("/")[0])
for path in (b"/api/v1/models", b"/api/v1/models?secret", b"/\\x9b2J"):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\\r\\nUser-Agent: k\\r\\nConnection: close\\r\\n\\r\\n")
        print(sock.makefile("rb").readline().split()[1].decode())
"""
# Tell of signals: how many SIGINT there were until an end is asked for, and whether the emulator still answers then.
LISTEN = """
import os, signal, socket, sys, time
port = int(os.environ["GIGACHAT_BASE_URL"].split(":")[2].split("/")[0])
interrupts = []
def end(*_):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        os.write(1, b"%d %s\\n" % (len(interrupts), sock.recv(8)))  # print is not for handlers
signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), end)
parent = os.getppid()
os.write(1, b"ready\\n")
for _ in range(500):
    time.sleep(0.01)  # pause() would not see a signal that comes just before it
    if os.getppid() != parent:
        break
"""


def call(capfd, *arguments):
    """Run the command line in this process; give exit code, stdout and stderr, a command's own included."""
    capfd.readouterr()
    try:
        code = main(arguments)
    except SystemExit as exit:  # of argparse
        code = exit.code
    return (code, *capfd.readouterr())


@pytest.fixture
def start():
    """Start the command line as a process, which is ended with its test."""
    started = []

    def start(*arguments, **options):
        environ = {**os.environ, "PYTHONPATH": PACKAGE}
        command = [sys.executable, "-W", "error", "-m", "gigachat_lite.emulator", *arguments]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen(command, env=environ, **{**pipes, **options}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ask_models(config):
    with gigachat_lite.GigaChat(env_file=False, trust_env=False, **config) as giga:
        return len(giga.get_models().data)


# ---- Without a command


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_without_a_command_it_runs_until_a_signal(number, start):
    process = start("--port", "0", "--scope", "GIGACHAT_API_B2B", "--verbose")
    lines = [process.stdout.readline().decode().rstrip()]
    while not lines[-1].startswith("GIGACHAT_SCOPE="):
        lines.append(process.stdout.readline().decode().rstrip())
        assert process.poll() is None
    settings = dict(line.split("=", 1) for line in lines if line.startswith("GIGACHAT_"))
    assert list(settings) == ["GIGACHAT_BASE_URL", "GIGACHAT_AUTH_URL", "GIGACHAT_CREDENTIALS", "GIGACHAT_SCOPE"]
    assert settings["GIGACHAT_BASE_URL"].split("/api")[0] in lines[0]
    assert ask_models({"environ": settings}) > 2
    process.send_signal(number)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out) == (0, b"")
    assert err.decode().splitlines() == ["POST /api/v2/oauth 200", "GET /api/v1/models 200"]


def test_where_it_cannot_listen_is_one_line(capfd):
    with Emulator() as emulator:
        for host, port in ((emulator.host, emulator.port), ("192.0.2.1", 9), ("a" * 70, 9)):
            code, out, err = call(capfd, "--host", host, "--port", str(port), "--", *PYTHON, "print(1)")
            assert (code, out) == (1, "") and err.count("\n") == 1 and f"port {port}" in err
            assert ("taken" in err) == (port == emulator.port)


@pytest.mark.parametrize("arguments, words", [
    (["python", "script.py"], "unrecognized arguments: python script.py (a command goes behind --)"),
    (["--verbose", "--"], "a command is missing"),
    (["--verb"], "unrecognized arguments: --verb"),
    (["--fault", "nonsense:1"], "no such fault: 'nonsense:1'"),
    (["--fault", "crlf:1"], "takes no value"),
    (["--scope", "B2B"], "GIGACHAT_API_B2B"),
    (["--chunk-delay", "-1"], "--chunk-delay"),
    (["--port", "65536"], "--port: a number from 0 to 65535"),
    (["--token-lifetime", "nan"], "--token-lifetime"),
    (["--max-connections", "-2"], "--max-connections"),
    (["--client-cert", "required"], "--client-cert needs --tls"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_options_are_refused_with_exit_code_2(arguments, words, capfd):
    code, out, err = call(capfd, "--host", "192.0.2.1", *arguments)  # with which nothing starts
    assert (code, out) == (2, "") and words in err and err.startswith("usage: ") and err.count("\n") == 2


@pytest.mark.parametrize("arguments", [["--fault", "help"], ["--help"]], ids=" ".join)
def test_every_fault_is_listed_with_its_meaning(arguments, capfd):
    code, out, err = call(capfd, *arguments)
    assert (code, err) == (0, "")
    listed = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ") and line.split()[0] in FAULTS}
    assert list(listed) == list(FAULTS) and all(kind.about in listed[name] for name, kind in FAULTS.items())
    assert "VALUE is 100 unless given" in listed["cut"] and "VALUE is" not in listed["crlf"] + listed["reset"]


# ---- What a command finds


@posix
@pytest.mark.parametrize("name", [
    "python%d.%d" % sys.version_info[:2],
    *(pytest.param(name, marks=pytest.mark.long) for name in ("python", "python3"))])
def test_python_is_the_interpreter_that_runs_this(name, start, tmp_path, monkeypatch):
    for other in (name, "python2", "python3.1"):
        (tmp_path / other).write_text("#!/bin/sh\necho another python\n")
        (tmp_path / other).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    show = "import sys, gigachat_lite; print(sys.executable, gigachat_lite.__file__)"
    process = start("--", name, "-c", show)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b"")
    assert os.fsdecode(out) == f"{sys.executable} {gigachat_lite.__file__}\n"
    for other in (str(tmp_path / name), "python2", "python3.1"):  # a path is taken at its word, other versions too
        assert start("--", other, "-c", show).communicate(timeout=10)[0] == b"another python\n"


@pytest.mark.parametrize(("options", "module"), [
    pytest.param([], "gigachat_lite", id="http", marks=LONG),
    pytest.param([], "gigachat", id="official", marks=LONG),
    pytest.param(["--tls", "--client-cert", "required"], "gigachat_lite", id="mTLS"),
])
def test_a_program_runs_offline_as_it_is(options, module, capfd, monkeypatch, tmp_path):
    pytest.importorskip("trustme" if options else module)
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    for name, value in {"BASE_URL": "https://gone.example", "USER": "me", "PASSWORD": "p", "TIMEOUT": "soon"}.items():
        monkeypatch.setenv("GIGACHAT_" + name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    if module == "gigachat_lite":
        settings = "GIGACHAT_CREDENTIALS=YTpi\nGIGACHAT_SCOPE=GIGACHAT_API_CORP\nGIGACHAT_MODEL=Nope\n"
        (tmp_path / ".env").write_text(settings)
    code, certificate = ASK_OURS.replace("gigachat_lite", module), "client.pem" if options else ""
    assert call(capfd, *options, "--", sys.executable, "-c", code) == (0, f"2 + 2 = 4 {certificate}\n", "")


@pytest.mark.parametrize("outer, expected", [
    ({}, {"GIGACHAT_MODEL": "GigaChat", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}),
    ({"GIGACHAT_MODEL": "GigaChat-2-Max"}, {"GIGACHAT_MODEL": "GigaChat-2-Max"}),
    ({"GIGACHAT_MODEL": ""}, {"GIGACHAT_MODEL": "GigaChat"}),
    ({"NO_PROXY": "a.example"}, dict.fromkeys(["NO_PROXY", "no_proxy"], "a.example,127.0.0.1,localhost")),
    ({"no_proxy": "a.example"}, dict.fromkeys(["NO_PROXY", "no_proxy"], "a.example,127.0.0.1,localhost")),
    ({"no_proxy": "a", "NO_PROXY": "*"}, {"no_proxy": "a,127.0.0.1,localhost", "NO_PROXY": "*"}),
    ({"GIGACHAT_TOKEN": "t", "GIGACHAT_PROXY": "http://a:1", "gigachat_password": "p"}, {}),
], ids=lambda value: " ".join(value) or "nothing")
def test_the_variables_of_a_command(outer, expected, capfd, monkeypatch):
    for name, value in outer.items():
        monkeypatch.setenv(name, value)
    code, out, err = call(capfd, "--", *PYTHON, SHOW_ENVIRON)
    assert (code, err) == (0, "")
    found = json.loads(out)
    url = found["GIGACHAT_BASE_URL"].split("/api")[0]
    usual = {"GIGACHAT_BASE_URL": url + "/api/v1", "GIGACHAT_AUTH_URL": url + "/api/v2/oauth",
             "GIGACHAT_CREDENTIALS": Emulator.credentials, "GIGACHAT_SCOPE": "GIGACHAT_API_PERS",
             "GIGACHAT_MODEL": "GigaChat", "GIGACHAT_TOKEN_CACHE": "0",
             "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    assert found == {**usual, **expected} and not url.endswith(":8090")
    with pytest.raises(ConnectionRefusedError):  # the emulator has ended with the command
        socket.create_connection(("127.0.0.1", int(url.split(":")[2])))


@pytest.mark.parametrize("options, expected", [
    ([], {"oauth": 200, "lifetime": 1800, "unknown field": 422, "streams": [200] * 3}),
    (["--token-lifetime", "60", "--scope", "GIGACHAT_API_CORP", "--no-strict", "--chunk-delay", "30",
      "--max-connections", "2"], {"oauth": 200, "lifetime": 60, "unknown field": 200, "streams": [200, 200, 429]}),
], ids=["none", "all"])
def test_the_options_reach_the_emulator(options, expected, capfd):
    code, out, err = call(capfd, *options, "--", *PYTHON, PROBE)
    assert (code, err) == (0, "") and json.loads(out) == expected


def test_faults_spoil_answers_and_verbose_tells_without_secrets(capfd):
    options = ["--verbose", "--fault", "oauth-429", "--fault", "502*1"]
    code, out, err = call(capfd, *options, "--", *PYTHON, KNOCK)
    assert (code, out.split()) == (0, ["502", "401", "403"])
    assert err.splitlines() == ["GET /api/v1/models 502", "GET /api/v1/models 401", r"GET /\x9b2J 403"]


@posix
def test_a_command_has_streams_directory_and_open_files(capfdbinary, tmp_path):
    code = "import os, sys; os.write(1, sys.stdin.buffer.read() + os.read(int(sys.argv[1]), 9)); print(os.getcwd())"
    kept, readers = os.dup(0), []
    for text in (b"\x00\xff\r\nin", b"more"):
        reader, writer = os.pipe()
        os.write(writer, text)
        os.close(writer)
        readers.append(reader)
    os.dup2(readers[0], 0)
    os.set_inheritable(readers[1], True)
    try:
        assert call(capfdbinary, "--", *PYTHON, code, str(readers[1])) == (
            0, b"\x00\xff\r\ninmore" + os.fsencode(f"{tmp_path}\n"), b"")
    finally:
        os.dup2(kept, 0)
        for number in (kept, *readers):
            os.close(number)


# ---- How a command ends


@pytest.mark.parametrize("command, expected", [
    ([*PYTHON, "raise SystemExit(0)"], 0),
    ([*PYTHON, "raise SystemExit(3)"], 3),
    ([*PYTHON, "import os; os.kill(os.getpid(), 9)"], 137),
    ([*PYTHON, "import sys; sys.exit(len(sys.argv))", "--", "--port", "--"], 4),
], ids=["0", "3", "killed", "more --"])
def test_the_exit_code_is_the_commands(command, expected, capfd):
    assert call(capfd, "--", *command) == (expected, "", "")


@pytest.mark.parametrize("name, mode, expected", [
    ("no-such-program", None, 127), ("./gone/program", None, 127), ("./program", 0o644, 126), (".", None, 126),
    pytest.param("./program", 0o755, 126, id="no format"),
])
def test_a_command_that_cannot_run_is_one_sentence(name, mode, expected, capfd, tmp_path):
    if mode is not None:
        (tmp_path / "program").write_text("neither a script nor a program")
        (tmp_path / "program").chmod(mode)
    code, out, err = call(capfd, "--", name, "argument")
    assert (code, out) == (expected, "")
    assert err.startswith(f"Cannot run {name}: ") and err.endswith(".\n") and err.count("\n") == 1


@posix
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.long)])
def test_which_signals_are_passed_on(name, start):
    process = start("--", *PYTHON, LISTEN, name, start_new_session=True)
    assert process.stdout.readline() == b"ready\n"
    for number in (signal.SIGINT, signal.SIGQUIT, getattr(signal, name)):
        process.send_signal(number)
    # Neither of the first two was passed on, nor did they end the emulator.
    assert process.stdout.readline() == b"0 HTTP/1.1\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it; now the command has no handler left
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (130, b"", b"")


@posix
@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "usual"])
def test_a_command_finds_signals_as_the_emulator_found_them(ignored, capfd):
    show = "import signal; print([int(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)])"
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    kept = [signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL) for number in numbers]
    try:
        assert call(capfd, "--", *PYTHON, show) == (0, f"[{', '.join(str(int(ignored)) * 3)}]\n", "")
        assert all(signal.getsignal(number) == (signal.SIG_IGN if ignored else signal.SIG_DFL) for number in numbers)
    finally:
        for number, handler in zip(numbers, kept):
            signal.signal(number, handler)


@posix
@pytest.mark.long
def test_a_closed_stderr_puts_nothing_on_stdout(start):
    process = start("--verbose", "--", "no-such-program", stderr=None, preexec_fn=lambda: os.close(2))
    assert process.communicate(timeout=10) == (b"", None) and process.returncode == 127


@posix
def test_a_blocked_sigchld_hides_no_end(capfd):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        assert call(capfd, "--", *PYTHON, "raise SystemExit(3)")[0] == 3
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
