"""The command line: the answer on stdout, everything else on stderr, and an exit code.

What a process alone can show (streams, signals, terminals) runs as one; all else calls `main()`, which is quicker.
"""
from __future__ import annotations

import gc
import json
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
from clients import crossed
from gigachat_lite import __main__ as cli
from gigachat_lite import advice, texts
from gigachat_lite.body import Response
from gigachat_lite.diagnose import Attempt, error_from_exception, explain
from servers import CHAT_BODY, CHAT_TEXT, STREAM_BODY, STREAM_TEXT, never, refused, reply, sse, until

PACKAGE = str(pathlib.Path(gigachat_lite.__file__).parent.parent)
KEY = "YzFkMmUzZjQ6czNjcjN0LW9mLXRoZS1rZXk="
FIRST, REST = STREAM_BODY[:STREAM_BODY.index(b"\n\n") + 2], STREAM_BODY[STREAM_BODY.index(b"\n\n") + 2:]
SEE_HELP = "\nСправка: gigachat-lite --help\n"
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, signals and terminals as POSIX has them")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_over():
    gc.collect()  # what earlier tests left behind complains on stderr in Python 3.7


@pytest.fixture(autouse=True)
def russian(monkeypatch):
    monkeypatch.setenv("LC_ALL", "ru_RU.UTF-8")


def start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, close="", **environ):
    """Start the command in the (empty) working directory, with warnings as errors; `close` are shell redirections."""
    environ = {"PYTHONIOENCODING": "utf-8", **os.environ, "PYTHONPATH": PACKAGE, **environ}
    environ.pop("PYTHONUNBUFFERED", None)  # which would do the command's own flushing
    command = [sys.executable, "-W", "error", "-m", "gigachat_lite", *arguments]
    if close:
        command = ["sh", "-c", f'exec "$@" {close}', "sh", *command]
    return subprocess.Popen(command, env=environ, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)


def run(*arguments, encoding="utf-8", given=None, **options):
    """Run the command to its end, `given` being what a pipe brings; give exit code, stdout and stderr."""
    if given is not None:
        options["stdin"] = subprocess.PIPE
    process = start(*arguments, **options)
    try:
        out, err = process.communicate(given, timeout=15)
    finally:
        process.kill()
    return process.returncode, (out or b"").decode(encoding), err.decode(encoding)


def settings(running):
    return {"GIGACHAT_BASE_URL": running.base_url, "GIGACHAT_AUTH_URL": running.auth_url, "GIGACHAT_CREDENTIALS": KEY,
            "GIGACHAT_MAX_RETRIES": "0", "GIGACHAT_TOKEN_CACHE": "0"}


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run the command inside this process, with a file as stdin; give exit code, stdout and stderr."""
    def call(*arguments, given=None, stdin=os.devnull, **environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        if given is not None:
            stdin = tmp_path.parent / "stdin"
            stdin.write_bytes(given)
        capsys.readouterr()
        with open(str(stdin)) as file:
            monkeypatch.setattr(sys, "stdin", file)
            code = cli.main(arguments)
        return (code, *capsys.readouterr())

    return call


def answers(request, connection):
    """Answer a stream or a whole answer, as asked."""
    return sse(STREAM_BODY) if request.json.get("stream") else reply(body=CHAT_BODY)


def event(text, **more):
    return {"choices": [{"delta": {"content": text}, "index": 0, **more}]}


# ---- What was asked for, and what comes out


SUM = "2 + 2 = 4\n"


@pytest.mark.parametrize("arguments, given, out", [
    (["2 + 2?"], None, SUM),
    (["2", "+", "2?"], None, SUM),
    (["2", "--model", "GigaChat-2", "+", "--no-stream", "2?"], None, SUM),
    (["--model=GigaChat-2-Max", "--", "2", "+", "2?"], None, SUM),
    (["--scope", "GIGACHAT_API_CORP", "2 + 2?"], None, SUM),
    ([], b"2 + 2?\n", SUM),
    (["-"], b"2 + 2?\n", SUM),
    (["2", "+"], b"2?", SUM),
    (["-5 + 9 = ?"], b"", "5 + 9 = 14\n"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_the_emulator_needs_no_key_and_takes_nothing_from_the_environment(arguments, given, out, call):
    environ = {"GIGACHAT_BASE_URL": "https://gone.example/v1", "GIGACHAT_TIMEOUT": "soon",
               "HTTP_PROXY": "http://127.0.0.1:1"}
    assert call("--emulator", *arguments, given=given, **environ) == (0, out, "")


@pytest.mark.long
def test_the_first_command_of_the_readme_runs():
    code, out, err = run("--emulator", "Привет!", "Кто ты?")
    assert (code, err) == (0, "") and "GigaChat" in out and out.endswith("\n") and not out.endswith("\n\n")


@pytest.mark.parametrize("options, out", [
    ([], STREAM_TEXT), (["--no-stream"], CHAT_TEXT),
    (["--json"], json.dumps(json.loads(CHAT_BODY.decode()), ensure_ascii=False)), (["--raw-sse"], STREAM_BODY.decode()),
], ids=["stream", "no-stream", "json", "raw-sse"])
def test_words_and_options_reach_the_service(options, out, api, call):
    running = api(answers)
    more = ["--model", "M-1", "--system", "Кратко.", "--temperature", "0,5", "--max-tokens", "7", "--timeout", "9"]
    end = "" if "--raw-sse" in options else "\n"
    assert call("два", *options, *more, "слова", given="текст\n".encode(), **settings(running)) == (0, out + end, "")
    stream = {"stream": True} if options in ([], ["--raw-sse"]) else {}
    assert running.calls[0].json == {
        "messages": [{"role": "system", "content": "Кратко."}, {"role": "user", "content": "два слова\n\nтекст"}],
        "temperature": 0.5, "max_tokens": 7, "model": "M-1", **stream}
    assert len(running.calls) == 1


def test_nothing_is_sent_that_was_not_asked_for(api, call):
    running = api(answers)
    assert call("--system", "", "x", **settings(running))[0] == 0
    assert running.calls[0].json == {
        "messages": [{"role": "user", "content": "x"}], "model": "GigaChat", "stream": True}


def test_the_scope_goes_to_the_login(api, call):
    running = api(answers)
    assert call("--scope", "GIGACHAT_API_B2B", "x", **settings(running))[0] == 0
    assert [request.form["scope"] for request in running.requests if request.path.endswith("/oauth")] == [
        "GIGACHAT_API_B2B"]


@pytest.mark.parametrize("name, options", [(".env", []), ("work.env", ["--env-file", "work.env"])])
def test_settings_come_from_a_file(name, options, api, call, tmp_path):
    running = api(answers)
    (tmp_path / ".env").write_text("GIGACHAT_BASE_URL=https://gone.example/v1\n")
    (tmp_path / name).write_text("".join(f"{name}={value}\n" for name, value in settings(running).items()))
    assert call("x", *options)[0] == 0 and len(running.calls) == 1


@pytest.mark.long
def test_arguments_that_are_no_text_arrive_as_far_as_they_can(api):
    running = api(answers)
    odd = b"\xd0\xb4\xd0\xb0 \xff" if os.name == "posix" else "да \ufffd"
    assert run(odd, **settings(running))[0] == 0
    assert running.calls[0].json["messages"][0]["content"].startswith("да ")


@pytest.mark.parametrize("encoding", ["utf-8", "koi8-r"])  # the latter has no ў
def test_json_escapes_what_the_terminal_lacks_and_what_would_steer_it(encoding, api):
    message = {"content": "Да \x1b[31m \x9b \x7f ў", "role": "assistant"}
    running = api(reply(body=json.dumps({"choices": [{"message": message}], "тест": 1})))
    code, out, err = run("--json", "x", encoding=encoding, **settings(running), PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "") and json.loads(out)["choices"][0]["message"] == message
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", out) and out.count("\n") == 1
    assert ("Да" in out) == (encoding == "utf-8")


def test_news_of_a_functions_progress_is_no_part_of_the_answer(api, call):
    events = ['{"choices":[{"delta":{"role":"function_in_progress","name":"f","content":"ещё 30 секунд"},"index":0}]}',
              '{"choices":[{"delta":{},"index":0}]}', '{"choices":null}',
              '{"choices":[{"delta":{"content":"готово"},"index":0,"finish_reason":"stop"}]}', "[DONE]"]
    assert call("x", **settings(api(sse(events)))) == (0, "готово\n", "")


# ---- Standard input


TEXT = "Отчёт: «ёж» — 5 №"


@pytest.mark.parametrize("given", [
    TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16"), b"\xfe\xff" + TEXT.encode("utf-16-be"),
    TEXT.encode("cp1251"), TEXT.encode() + b"\r\n\n",
], ids=["utf-8", "utf-8 with a mark", "utf-16", "utf-16 big-endian", "cp1251", "line ends"])
def test_text_on_stdin_is_understood_as_people_save_it(given):
    assert cli.require_text(given) == TEXT


@pytest.mark.parametrize("given", [
    b"\x89PNG\r\n\x1a\n\0\0", TEXT.encode("utf-16-le"), b"\xff\xfe\x01", b"\xff\xfe" + TEXT.encode("utf-32-le"),
    b"%PDF\x01\xe2",
], ids=["picture", "utf-16 without a mark", "half a letter", "utf-32", "control characters"])
def test_binary_data_is_refused_in_one_sentence(given, call):
    code, out, err = call("--emulator", "Что это?", given=given)
    assert (code, out, err) == (2, "", "gigachat-lite: на stdin двоичные данные: нужен текст, лучше в utf-8" + SEE_HELP)


@pytest.mark.parametrize("text", ["\x1b[31mкрасный\x1b[0m", "a\tb\r\nc\f", "DOS\x1a", "ab\x08b\a"])
def test_what_logs_and_old_editors_leave_in_a_text_does_not_make_it_binary(text):
    assert cli.require_text(text.encode()) == text.rstrip()


@posix
@pytest.mark.parametrize("arguments, given, stdin, close, question", [
    (["Сократи"], TEXT.encode(), None, "", "Сократи\n\n" + TEXT),
    pytest.param([], TEXT.encode(), None, "", TEXT, marks=pytest.mark.long),
    pytest.param(["x"], None, subprocess.DEVNULL, "<&-", "x", marks=pytest.mark.long),
    pytest.param(["x"], b"", None, "", "x", marks=pytest.mark.long),
    pytest.param(["-", "x"], TEXT.encode(), None, "", "x\n\n" + TEXT, marks=pytest.mark.long),
    pytest.param(["x", "-"], TEXT.encode(), None, "", "x\n\n" + TEXT, marks=pytest.mark.long),
    pytest.param(["x"], None, subprocess.DEVNULL, "", "x", marks=pytest.mark.long),
], ids=["pipe", "pipe alone", "closed", "empty pipe", "dash first", "dash last", "null device"])
def test_stdin_joins_the_prompt(arguments, given, stdin, close, question, api):
    running = api(answers)
    more = {"given": given} if given is not None else {"stdin": stdin}
    assert run(*arguments, close=close, **more, **settings(running)) == (0, STREAM_TEXT + "\n", "")
    assert running.calls[0].json["messages"][0]["content"] == question


@posix
@pytest.mark.long
def test_a_terminal_is_read_when_a_dash_asks_for_it_and_else_left_alone(api):
    import pty

    running = api(answers)
    for arguments, typed, question in ((["x"], b"", "x"), (["x", "-"], b"typed\n\x04", "x\n\ntyped")):
        ours, theirs = pty.openpty()
        process = start(*arguments, stdin=theirs, **settings(running))
        os.close(theirs)
        try:
            os.write(ours, typed)
            assert process.communicate(timeout=15) == ((STREAM_TEXT + "\n").encode(), b"")
        finally:
            process.kill()
            os.close(ours)
        assert running.calls[-1].json["messages"][0]["content"] == question


@posix
@pytest.mark.long
def test_an_open_pipe_that_brings_nothing_is_told_of(api):
    process = start("x", stdin=subprocess.PIPE, **settings(api(answers)))
    try:
        assert "жду текста на stdin" in process.stderr.readline().decode()
        assert process.communicate(b"", timeout=15) == ((STREAM_TEXT + "\n").encode(), b"")
    finally:
        process.kill()


def test_a_socket_as_stdin_is_not_waited_for(monkeypatch):
    import socket

    left, right = socket.socketpair()
    with left, right, left.makefile("r") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert not cli.offers_text()


# ---- Misuse


@pytest.mark.parametrize("arguments, russian, english", [
    ([], "нет вопроса", "there is no question"),
    (["  "], "нет вопроса", "there is no question"),
    (["-"], "нет вопроса", "there is no question"),
    (["--modle", "x"], "нет такой опции: --modle (может быть, --model?);", "no such option: --modle (did you mean"),
    (["-х"], "нет такой опции: -х;", "no such option: -х;"),
    (["x", "--key=s"], "нет такой опции: --key", "no such option: --key"),
    (["x", "--mod", "M"], "нет такой опции: --mod ", "no such option: --mod "),
    (["x", "--model"], "--model: нужно значение", "--model: a value is needed"),
    (["x", "--json=1"], "--json: значение здесь не нужно", "--json: it takes no value"),
    (["x", "--temperature", "0"], "--temperature: нужно число больше нуля, а не «0»", "--temperature: a number above"),
    (["x", "--temperature", "nan"], "--temperature: нужно число больше нуля", "--temperature: a number above zero"),
    (["x", "--max-tokens", "1.5"], "--max-tokens: нужно целое число больше нуля", "--max-tokens: a whole number"),
    (["x", "--max-tokens=-3"], "--max-tokens: нужно целое число больше нуля", "--max-tokens: a whole number"),
    (["x", "--timeout", "0,05"], "--timeout: нужно число секунд", "--timeout: a number of seconds is needed"),
    (["x", "--raw-sse", "--json"], "--raw-sse и --json вместе не работают", "--raw-sse and --json exclude each other"),
    (["x", "--raw-sse", "--no-stream"], "--raw-sse и --no-stream вместе", "--raw-sse and --no-stream exclude"),
    (["x", "--emulator", "--env-file", "y"], "--emulator и --env-file вместе", "--emulator and --env-file exclude"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_command_line_that_cannot_work_is_one_sentence_in_the_users_language(arguments, russian, english, call):
    environ = {"GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_BASE_URL": "http://127.0.0.1:9/v1"}
    for locale, said, see in ("ru_RU.UTF-8", russian, "Справка"), ("C.UTF-8", english, "Help"):
        code, out, err = call(*arguments, LC_ALL=locale, **environ)
        assert (code, out) == (2, "") and err.startswith("gigachat-lite: " + said)
        assert err.endswith(f"\n{see}: gigachat-lite --help\n") and err.count("\n") == 2


@pytest.mark.parametrize("variables, letter", [
    ({"LC_ALL": "ru_RU.UTF-8"}, "н"), ({"LC_MESSAGES": "ru"}, "н"), ({"LANG": "RU_ru.koi8-r"}, "н"),
    ({"LC_ALL": "", "LANG": "ru_RU.UTF-8"}, "н"), ({"LC_ALL": "C", "LANG": "ru_RU.UTF-8"}, "t"),
    ({"LC_MESSAGES": "en_US.UTF-8", "LANG": "ru_RU.UTF-8"}, "t"), ({"LANG": "de_DE"}, "t"), ({}, "[нt]"),
], ids=str)
def test_the_language_is_that_of_the_locale(variables, letter, call, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert re.match("gigachat-lite: " + letter, call(**variables)[2])


def test_help_names_every_option_in_both_languages(call):
    for locale, first, cyrillic in (("ru_RU.UTF-8", "Использование: gigachat-lite [опции] [вопрос ...]", True),
                                    ("en_GB.UTF-8", "Usage: gigachat-lite [options] [question ...]", False)):
        code, out, err = call("--help", LC_ALL=locale, GIGACHAT_TIMEOUT="soon", COLUMNS="80")
        assert (code, err, out.splitlines()[0]) == (0, "", first)
        options = {"--" + name.replace("_", "-") for name in vars(cli.option_parser().parse_args([]))}
        assert options <= set(re.findall(r"--[\w-]+", out)) and len(options) == 14
        assert not re.search("usage:|options:" if cyrillic else "[А-я]", out.replace("доброе утро", ""))
        assert max(map(len, out.splitlines())) <= 80
    assert call("--version") == (0, f"gigachat-lite {gigachat_lite.__version__}\n", "")


def test_each_text_says_the_same_in_both_languages():
    for russian, english in texts.TEXTS.values():
        assert re.findall(r"\{\d|%\(\w+\)s|--[\w-]+", russian) == re.findall(r"\{\d|%\(\w+\)s|--[\w-]+", english)
        assert not re.search("[А-я]", re.sub("доброе утро|Привет! Кто ты", "", english))


def test_what_is_put_into_russian_is_what_the_package_says():
    answers = [Response("http://h/v1/token", status, {"X-Request-Id": "r", "Retry-After": "5"}, body)
               for status, body in ((429, b'{"code":9,"message":"m"}'), (500, b'{"status":500}'), (200, b"<p>"))]
    missing = [Response("http://h/v1/chat", 404, {}, b'{"message":"No such model"}')]
    said = "".join(str(answer.error()) for answer in answers + missing)
    attempt = Attempt("https://h/", proxy="http://p:1", timeout=5)
    for failure, (_, cure) in advice.FAILURES.items():
        error = OSError("Tunnel connection failed: 403") if failure == "proxy" else OSError()
        said += "; ".join([*explain(failure, [error], attempt), cure]) + str(error_from_exception(error, attempt))
    for _, (what, cure) in (*advice.ERRNOS, *advice.CONNECT, *advice.SOCKS):
        said += f"no connection: {what}; {cure}"
    said += str(advice.VERIFY) + "".join(f"{key}: {value}" for key, value in advice.AFTER_LOSS.items())
    said += "the stream ended before its [DONE]; ask again"  # a test below reads that from a real stream
    for key in texts.IN_RUSSIAN:
        english = re.sub(r"\{(timeout|seconds)\}", "5", str(key))
        assert key in advice.HINTS or key == advice.NOT_THE_API or english in said, key


# ---- Settings and errors


def test_a_missing_key_gives_three_lines_that_say_where_to_get_one_and_where_to_put_it(call):
    for code, out, err in (call("Привет"), call("Привет", LC_ALL="C")):
        assert (code, out) == (2, "") and len(err.splitlines()) == 3
        assert all(name in err for name in ("https://developers.sber.ru", ".env", "GIGACHAT_CREDENTIALS", "--emulator"))


@pytest.mark.parametrize("arguments, environ, words", [
    ([], {"GIGACHAT_CREDENTIALS": "ваш_ключ"}, "GIGACHAT_CREDENTIALS"),
    ([], {"GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_TIMEOUT": "soon"}, "GIGACHAT_TIMEOUT"),
    ([], {"GIGACHAT_CREDENTIALS": KEY, "GIGACHAT_BASE_URL": "https://api.giga.chat/v1"},
     "у api.giga.chat нет модели по умолчанию: назовите её (--model"),
    (["--env-file", "нет\x1b.env"], {}, "--env-file: нет файла нет .env; проверьте путь"),
    (["--env-file", ""], {}, "--env-file: нет файла"),
    (["--env-file", "."], {}, "there is no file ."),
])
def test_a_wrong_setting_is_one_line_and_exit_code_2(arguments, environ, words, call):
    code, out, err = call("x", *arguments, **environ)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and words in err and KEY not in err


def test_a_warning_looks_like_all_the_rest(api, call):
    code, out, err = call("x", GIGACHAT_MODLE="M", **settings(api(answers)))
    assert (code, out) == (0, STREAM_TEXT + "\n") and len(err.splitlines()) == 1
    assert err.startswith("gigachat-lite: GIGACHAT_MODLE") and "GIGACHAT_MODEL'" in err


@pytest.mark.parametrize("status, russian, english", [
    (400, "Чего сервис не понял", "what the service could not read"),
    (401, "Проверьте ключ (GIGACHAT_CREDENTIALS)", "Check the key (GIGACHAT_CREDENTIALS)"),
    (402, "Токены этой модели закончились", "The tokens of this model are used up"),
    (403, "Договор не включает", "The account's scope or contract"),
    (404, "Проверьте адрес (GIGACHAT_BASE_URL)", "Check base_url"),
    (413, "Текст не помещается в контекст модели: сократите", "larger than the model's context: shorten"),
    (422, "Что неверно в запросе", "says what is wrong in the request"),
    (429, "Сервер просит подождать 90 с. С ключом физического лица", "The server asks to wait 90 s. A private"),
    (500, "Сервис не справился: повторите позже", "The service failed: repeat later"),
])
def test_an_error_of_the_service_is_one_line_that_says_what_to_do(status, russian, english, api, call):
    body = json.dumps({"status": status, "message": "так \x1b]0;нельзя\n\x07\x9b"})
    running = api(reply(status, body, {"X-Request-Id": "r-1", **({"Retry-After": "90"} if status == 429 else {})}))
    for options, locale, words in (([], "ru_RU.UTF-8", russian), (["--json"], "C.UTF-8", english)):
        code, out, err = call("x", *options, LC_ALL=locale, **settings(running))
        assert (code, out) == (1, "") and err.startswith(f"gigachat-lite: {status} ") and words in err
        assert "r-1" in err and err.count("\n") == 1 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", err)


@pytest.mark.parametrize("options, words", [
    (["--model", "nope"], "Назовите другую модель (--model"),
    (["--scope", "PERS"], "верный --scope: GIGACHAT_API_PERS"),
])
def test_a_misspelt_name_is_one_line_that_names_the_option(options, words, call):
    code, out, err = call("--emulator", "x", *options)
    assert (code, out, err.count("\n")) == (1, "", 1) and words in err


def test_a_dead_network_is_one_line_and_exit_code_1(call):
    with refused() as port:
        environ = {"GIGACHAT_BASE_URL": f"http://127.0.0.1:{port}/v1", "GIGACHAT_MAX_RETRIES": "0"}
        code, out, err = call("x", GIGACHAT_ACCESS_TOKEN="t", **environ)
        assert (code, out) == (1, "") and len(err.splitlines()) == 1 and "нет соединения: там никто не отвечает" in err
        assert "no connection" in call("x", LC_ALL="C", GIGACHAT_ACCESS_TOKEN="t", **environ)[2]


def test_the_timeout_of_the_command_line_is_minded(api, call):
    code, out, err = call("--timeout", "9,0.05", "x", **settings(api(never())))
    said = "за 0.05 с ничего не пришло; дайте больше времени (--timeout"
    assert (code, out) == (1, "") and said in err and err.count("\n") == 1


def test_what_had_come_of_a_broken_stream_stays_printed(api, call):
    running = api(sse(FIRST))
    code, out, err = call("x", **settings(running))
    assert code == 1 and out.startswith("$1\\, 2") and out.endswith("\n") and len(err.splitlines()) == 1
    assert "пришло только начало ответа" in err and "поток закончился раньше, чем пришло [DONE]" in err
    assert "only the beginning of the answer has come" in call("x", LC_ALL="C", **settings(running))[2]


def test_raw_bytes_of_a_cut_stream_are_all_there_and_the_exit_code_tells_of_the_cut(api, call):
    code, out, err = call("--raw-sse", "x", **settings(api(sse(STREAM_BODY, "close").cut(len(FIRST) + 9))))
    assert (code, out) == (1, STREAM_BODY[:len(FIRST) + 9].decode()) and len(err.splitlines()) == 1


@crossed("options, reason, words", [
    pytest.param(options.split(), id=options) for options in ("", "--no-stream", "--json", "--raw-sse")], [
    pytest.param(*row, id=ascii(row[0])) for row in [
        ("length", "ответ оборван: увеличьте --max-tokens"), ("blacklist", "тема под ограничением"),
        ("error", "необычный конец ответа: finish_reason error"), ("stop", ""),
        ("\x9b\nx", "необычный конец ответа")]],
    often=lambda options, reason, words: not options or reason in ("length", "stop", "\x9b\nx"))
def test_an_answer_that_is_not_whole_says_so_on_stderr(reason, words, options, api, call):
    whole = {"choices": [{"message": {"content": "Од"}, "index": 0, "finish_reason": reason}]}
    running = api(lambda request, connection: sse([event("Од", finish_reason=reason), "[DONE]"])
                  if request.json.get("stream") else reply(body=whole))
    code, out, err = call(*options, "Привет", **settings(running))
    assert code == 0 and "Од" in out and err.count("\n") == bool(words)
    assert words in err and "\x9b" not in err and (not words or reason.split()[-1] in err)


@pytest.mark.parametrize("body", [
    {"choices": []}, {"choices": None}, {"choices": 5}, {"choices": ["x"]}, {"choices": [None]},
    *({"choices": [{"message": odd, "delta": odd}]} for odd in (None, "x", {"content": None}, {"content": ["x"]})),
], ids=str)
def test_an_answer_without_text_says_so(body, api, call):
    events = [body, event("", finish_reason="stop"), "[DONE]"]
    running = api(lambda request, connection: sse(events) if request.json.get("stream") else reply(body=body))
    for options in (["--no-stream"], []):
        assert call("x", *options, **settings(running)) == (0, "", "gigachat-lite: ответ пуст: спросите иначе\n")
    assert call("x", "--json", **settings(running)) == (0, json.dumps(body) + "\n", "")


# ---- Terminals, pipes, disks, signals


@pytest.mark.parametrize("letters, shown", [
    pytest.param("ascii", "[?] [?] [?]+", marks=pytest.mark.long),
    pytest.param("cp1251", "ж — [?]+", marks=pytest.mark.long)])
def test_a_terminal_without_the_letters_shows_question_marks(letters, shown, api):
    running = api(sse(['{"choices":[{"delta":{"content":"ж — ☃\\ud83d\\ude00\\ud800"},"index":0}]}', "[DONE]"]))
    code, out, err = run("x", encoding=letters, PYTHONIOENCODING=letters, **settings(running))
    assert (code, err) == (0, "") and re.fullmatch(shown, out.strip())


@pytest.mark.long
def test_a_terminal_without_cyrillic_is_spoken_to_in_english():
    code, _, err = run("x", encoding="ascii", PYTHONIOENCODING="ascii")
    assert code == 2 and err.startswith("There is no key") and "Traceback" not in err
    assert run("x", encoding="cp1251", PYTHONIOENCODING="cp1251")[2].startswith("Нет ключа")


STEERING = "a\x1b[31mб\x07\x08\x9b1m\x7f\rв\t\n"


@posix
@pytest.mark.parametrize("options", [[], pytest.param(["--raw-sse"], marks=pytest.mark.long)], ids=["text", "raw"])
def test_what_would_steer_a_terminal_does_not_reach_one(options, api):
    import pty

    body = 'data: {"choices":[{"delta":{"content":"%s"}}]}\n\ndata: [DONE]\n\n'
    text = STEERING if options else json.dumps(STEERING, ensure_ascii=False)[1:-1]
    running = api(sse([(body % text).encode()]))
    ours, theirs = pty.openpty()
    process = start("x", *options, stdout=theirs, TERM="dumb", **settings(running))
    os.close(theirs)
    out = b""
    try:
        process.wait(15)
        while select.select([ours], [], [], 1)[0]:
            out += os.read(ours, 65536)
    except OSError:  # Linux's way to say that nobody holds the other end
        pass
    finally:
        process.kill()
        process.stderr.close()
        os.close(ours)
    out = out.decode().replace("\r\n", "\n")
    assert "a[31mб1mв" in out and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)


def test_stderr_gets_nothing_that_would_steer_a_terminal(capsys):
    cli.say(STEERING)
    assert capsys.readouterr() == ("", "gigachat-lite: a[31mб1mв\t\n\n")


def test_a_pipe_gets_the_text_exactly(api, call):
    running = api(sse([event(STEERING, finish_reason="stop"), "[DONE]"]))
    assert call("x", **settings(running)) == (0, STEERING + "\n", "")


MODES = pytest.mark.parametrize("options", [[], ["--no-stream"], ["--json"], ["--raw-sse"], ["--help"]], ids=" ".join)


@posix
@MODES
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
def test_a_full_disk_is_one_line_in_every_mode(options, api, call, monkeypatch):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, _, err = call("x", *options, **settings(api(answers)))
    assert code == 1 and err.startswith("gigachat-lite: не удалось вывести ответ (No space left")
    assert err.count("\n") == 1


@posix
@MODES
def test_a_closed_pipe_is_silent_in_every_mode(options, api, call, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code, _, err = call("x", *options, **settings(api(answers)))
    assert (code, err) == (141, "")


@posix
@pytest.mark.parametrize("close, code, words", [
    (">/dev/full", 1, "No space left"), pytest.param("2>&-", 0, "", marks=pytest.mark.long),
    pytest.param(">&-", 1, "Bad file descriptor", marks=pytest.mark.long),
    pytest.param("2>/dev/full", 0, "", marks=pytest.mark.long), pytest.param(">&- 2>&-", 1, "", marks=pytest.mark.long),
])
def test_python_adds_nothing_when_a_stream_is_closed_or_full(close, code, words):
    status, out, err = run("--emulator", "--max-tokens", "2", "Кто ты?", close=close)
    assert status == code and err.count("\n") == bool(words) and words in err and bool(out) == (code == 0)


def first_bytes(process):
    """Wait for output of a process that goes on."""
    assert select.select([process.stdout], [], [], 10)[0], "nothing was shown before the rest was sent"
    return os.read(process.stdout.fileno(), 5)


def waits(process):
    """Tell whether a process sleeps, where the system says so: not amid the making of an answer's object."""
    path = pathlib.Path(f"/proc/{process.pid}/stat")
    return not path.exists() or path.read_text("latin-1").rpartition(")")[2].split()[0] == "S"


@posix
@pytest.mark.parametrize("options, shown", [
    ([], STREAM_TEXT), pytest.param(["--raw-sse"], STREAM_BODY.decode(), marks=pytest.mark.long)], ids=["text", "raw"])
def test_each_piece_is_shown_as_it_comes_and_a_closed_pipe_ends_quietly(options, shown, api):
    gate = threading.Event()
    running = api(sse([FIRST, gate, REST]))
    process = start("x", *options, **settings(running))
    try:
        assert first_bytes(process) == shown[:5].encode()
        process.stdout.close()
        gate.set()
        assert process.wait(15) == 141 and process.stderr.read() == b""
    finally:
        process.kill()
        process.stderr.close()


@posix
@pytest.mark.parametrize("answer", [
    pytest.param(never(), id="before the answer", marks=pytest.mark.long),
    pytest.param(sse([FIRST, 30.0]), id="inside the answer")])
def test_ctrl_c_ends_with_130_and_without_a_traceback(answer, api):
    running = api(answer)
    process = start("x", **settings(running))
    try:
        until(lambda: running.calls, 15)
        if answer.__class__.__name__ == "Answer":
            assert first_bytes(process) == STREAM_TEXT[:5].encode()
        until(lambda: waits(process), 15)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
        assert process.returncode == 130 and err == b"" and out[-1:] in (b"", b"\n")
    finally:
        process.kill()


@posix
@pytest.mark.long
def test_ctrl_c_while_stdin_is_awaited_ends_with_130():
    process = start("--emulator", "x", stdin=subprocess.PIPE)
    try:
        assert "жду текста" in process.stderr.readline().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130 and process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()


def test_the_library_loads_neither_argparse_nor_the_command_line_and_neither_of_them_the_emulator(api):
    code = ("import sys, gigachat_lite\nwith gigachat_lite.GigaChat() as giga:\n"
            "    giga.chat('x')\n    list(giga.stream('x'))\n"
            "rooms = {'argparse', 'gigachat_lite.__main__', 'gigachat_lite.emulator'}\n"
            "print(sorted(rooms & set(sys.modules)))\n"
            "import gigachat_lite.__main__\nprint('gigachat_lite.emulator' in sys.modules)")
    environ = {**os.environ, "PYTHONPATH": PACKAGE, **settings(api(answers))}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environ, timeout=15, capture_output=True)
    assert (done.stdout.split(), done.stderr) == ([b"[]", b"False"], b"")
