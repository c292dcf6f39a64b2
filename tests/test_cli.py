"""The command line, run as a process: the answer on stdout, everything else on stderr, and an exit code."""
from __future__ import annotations

import gc
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import threading

import pytest

import gigachat_lite
from gigachat_lite.__main__ import main
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, never, refused, reply, sse, until

PACKAGE = str(pathlib.Path(gigachat_lite.__file__).parent.parent)
KEY = "YzFkMmUzZjQ6czNjcjN0LW9mLXRoZS1rZXk="
FIRST, REST = STREAM_BODY[:STREAM_BODY.index(b"\n\n") + 2], STREAM_BODY[STREAM_BODY.index(b"\n\n") + 2:]


def start(*arguments, **environ):
    """Start the command in the (empty) working directory, with warnings as errors."""
    environ = {"PYTHONIOENCODING": "utf-8", **os.environ, "PYTHONPATH": PACKAGE, **environ}
    environ.pop("PYTHONUNBUFFERED", None)  # which would do the command's own flushing
    command = [sys.executable, "-W", "error", "-m", "gigachat_lite", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)


def run(*arguments, encoding="utf-8", **environ):
    """Run the command to its end; give exit code, stdout and stderr."""
    process = start(*arguments, **environ)
    try:
        out, err = process.communicate(timeout=15)
    finally:
        process.kill()
    return process.returncode, out.decode(encoding), err.decode(encoding)


def settings(running):
    return {"GIGACHAT_BASE_URL": running.base_url, "GIGACHAT_AUTH_URL": running.auth_url, "GIGACHAT_CREDENTIALS": KEY}


def call(capsys, monkeypatch, *arguments, **environ):
    """Run the command inside this process, which is quicker; give exit code, stdout and stderr."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    gc.collect()  # what earlier tests left behind complains on stderr in Python 3.7
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as exit:  # of argparse
        code = exit.code
    return (code, *capsys.readouterr())


def test_the_emulator_needs_no_key_and_streams_to_stdout_alone(capsys, monkeypatch):
    code, out, err = run("--emulator", "Привет!", "Кто ты?")
    assert (code, err) == (0, "") and "GigaChat" in out and out.endswith("\n") and not out.endswith("\n\n")
    assert call(capsys, monkeypatch, "--emulator", "--no-stream", "Привет! Кто ты?") == (0, out, "")


@pytest.mark.long
def test_the_emulator_listens_to_nothing_of_the_environment():
    environ = {"GIGACHAT_BASE_URL": "https://gone.example/v1", "GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_TIMEOUT": "soon",
               "HTTP_PROXY": "http://127.0.0.1:1"}
    code, out, err = run("--emulator", "--model", "GigaChat-2", "Сколько будет 2 + 2?", **environ)
    assert (code, out, err) == (0, "2 + 2 = 4\n", "")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "no-stream"])
def test_words_and_settings_reach_the_service(stream, api, capsys, monkeypatch):
    def handler(request, connection):
        return sse(STREAM_BODY) if request.json.get("stream") else reply(body=CHAT_BODY)

    running = api(handler)
    options = ["--model", "M-1"] + ([] if stream else ["--no-stream"])
    code, out, err = call(capsys, monkeypatch, "два", "слова", *options, **settings(running))
    assert (code, out, err) == (0, (STREAM_TEXT if stream else CHAT_TEXT) + "\n", "")
    assert running.calls[0].json["messages"] == [{"role": "user", "content": "два слова"}]
    assert running.calls[0].json["model"] == "M-1" and len(running.calls) == 1


def test_settings_come_from_dotenv_too_and_odd_arguments_arrive(api, tmp_path):
    running = api(sse(STREAM_BODY))
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings(running).items()))
    odd = b"\xd0\xb4\xd0\xb0 \xff" if os.name == "posix" else "да \ufffd"
    assert run(odd)[0] == 0
    assert running.calls[0].json["messages"][0]["content"].startswith("да ")


@pytest.mark.long
def test_version_and_help_need_no_settings(capsys, monkeypatch):
    assert run("--version") == (0, f"gigachat-lite {gigachat_lite.__version__}\n", "")
    code, out, err = call(capsys, monkeypatch, "--help", GIGACHAT_TIMEOUT="soon")
    assert code == 0 and err == "" and not {"--model", "--no-stream", "--emulator", "--version"} - set(out.split())


@pytest.mark.long
def test_without_a_question_the_usage_is_shown():
    code, out, err = run("--emulator")
    assert (code, out) == (2, "") and "usage: gigachat-lite" in err and "Traceback" not in err


def test_a_missing_key_gives_three_lines_that_say_where_to_get_one_and_where_to_put_it():
    code, out, err = run("Привет")
    assert (code, out) == (2, "") and len(err.splitlines()) == 3
    assert all(words in err for words in ("https://developers.sber.ru", ".env", "GIGACHAT_CREDENTIALS", "--emulator"))


@pytest.mark.parametrize("environ, words", [
    ({"GIGACHAT_CREDENTIALS": "ваш_ключ"}, "GIGACHAT_CREDENTIALS"),
    ({"GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_TIMEOUT": "soon"}, "GIGACHAT_TIMEOUT"),
    ({"GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_BASE_URL": "https://api.giga.chat/v1"}, "model"),
])
def test_a_wrong_setting_is_one_line_and_exit_code_2(environ, words, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "x", **environ)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and words in err and KEY not in err


def test_an_unknown_model_is_one_line_that_lists_the_known_ones_and_exit_code_1(capsys, monkeypatch):
    for options in ([], ["--no-stream"]):
        code, out, err = call(capsys, monkeypatch, "--emulator", "--model", "nope", "x", *options)
        assert (code, out) == (1, "") and len(err.splitlines()) == 1 and "GigaChat-2-Max" in err


def test_a_dead_network_is_one_line_and_exit_code_1(capsys, monkeypatch):
    with refused() as port:
        code, out, err = call(capsys, monkeypatch, "x", GIGACHAT_ACCESS_TOKEN="t", GIGACHAT_BASE_URL=f"http://127.0.0.1:{port}/v1",
                              GIGACHAT_MAX_RETRIES="0")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1 and "no connection" in err


def test_what_had_come_of_a_broken_stream_stays_printed(api, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "x", **settings(api(sse(FIRST))))
    assert code == 1 and out.startswith("$1\\, 2") and out.endswith("\n") and len(err.splitlines()) == 1


@pytest.mark.parametrize("body", ['{"choices":[]}', '{"choices":null}', '{"choices":[{"message":{"content":null}}]}'])
def test_an_answer_without_text_is_no_traceback(body, api, capsys, monkeypatch):
    code, out, _ = call(capsys, monkeypatch, "--no-stream", "x", **settings(api(reply(body=body))))
    assert "None" not in out and code in (0, 1)


def test_news_of_a_functions_progress_is_no_part_of_the_answer(api, capsys, monkeypatch):
    events = ['{"choices":[{"delta":{"role":"function_in_progress","name":"f","content":"ещё 30 секунд"},"index":0}]}',
              '{"choices":[{"delta":{},"index":0}]}', '{"choices":null}',
              '{"choices":[{"delta":{"content":"готово"},"index":0,"finish_reason":"stop"}]}', "[DONE]"]
    assert call(capsys, monkeypatch, "x", **settings(api(sse(events)))) == (0, "готово\n", "")


def test_a_terminal_without_the_letters_shows_question_marks(api):
    running = api(sse(['{"choices":[{"delta":{"content":"ж — ☃\\ud83d\\ude00\\ud800"},"index":0}]}', "[DONE]"]))
    for letters, wanted in (("ascii", "[?] [?] [?]+"), ("cp1251", "ж — [?]+")):
        code, out, err = run("x", encoding=letters, PYTHONIOENCODING=letters, **settings(running))
        assert (code, err) == (0, "") and re.fullmatch(wanted, out.strip())
    code, out, err = run("x", encoding="ascii", PYTHONIOENCODING="ascii")
    assert code == 2 and "GIGACHAT_CREDENTIALS" in err and "Traceback" not in err


def first_bytes(process):
    """Wait for output of a process that goes on."""
    assert select.select([process.stdout], [], [], 10)[0], "nothing was shown before the rest was sent"
    return os.read(process.stdout.fileno(), 5)


def waits(process):
    """Tell whether a process sleeps, where the system says so: not amid the making of an answer's object."""
    path = pathlib.Path(f"/proc/{process.pid}/stat")
    return not path.exists() or path.read_text("latin-1").rpartition(")")[2].split()[0] == "S"


posix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals as POSIX has them")


@posix
def test_each_piece_is_shown_as_it_comes_and_a_closed_pipe_ends_quietly(api):
    gate = threading.Event()
    running = api(sse([FIRST, gate, REST]))
    process = start("x", **settings(running))
    try:
        assert first_bytes(process) == STREAM_TEXT[:5].encode()
        process.stdout.close()
        gate.set()
        assert process.wait(15) == 141 and process.stderr.read() == b""
    finally:
        process.kill()
        process.stderr.close()


@posix
@pytest.mark.parametrize("answer", [never(), sse([FIRST, 30.0])], ids=["before the answer", "inside the answer"])
def test_ctrl_c_ends_with_130_and_without_a_traceback(answer, api):
    running = api(answer)
    process = start("x", **settings(running))
    try:
        until(lambda: running.calls, 15)
        if answer.__class__.__name__ == "Answer":
            assert first_bytes(process) == STREAM_TEXT[:5].encode()
        until(lambda: waits(process), 15)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=15)
        assert process.returncode == 130 and err == b""
    finally:
        process.kill()


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
@pytest.mark.parametrize("flags", [[], ["--no-stream"]], ids=["stream", "whole"])
def test_an_answer_that_is_not_whole_says_so_on_stderr(flags, api, capsys, monkeypatch):
    events = [{"choices": [{"delta": {"content": "Од"}, "index": 0, "finish_reason": "length"}]}, "[DONE]"]
    whole = {"choices": [{"message": {"content": "Од"}, "index": 0, "finish_reason": "length"}]}
    running = api(lambda request, connection: sse(events) if request.json.get("stream") else reply(body=whole))
    code, out, err = call(capsys, monkeypatch, *flags, "Привет", **settings(running))
    assert (code, out) == (0, "Од\n") and "length" in err


def test_an_empty_question_is_not_sent(capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "  ")
    assert (code, out) == (2, "") and "вопрос пуст" in err


def test_a_full_disk_is_no_traceback():
    with open("/dev/full", "wb") as full:
        environ = {**os.environ, "PYTHONPATH": PACKAGE}
        process = subprocess.Popen([sys.executable, "-m", "gigachat_lite", "--emulator", "x"], env=environ, stdout=full,
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        err = process.communicate(timeout=15)[1]
    assert process.returncode in (1, 74, 120) and b"Traceback" not in err
