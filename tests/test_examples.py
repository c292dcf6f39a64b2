"""Every example runs as it is, prints what it is there to show, and stands in the index, which names nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import gigachat_lite
from clients import needs_fork
from gigachat_lite import Emulator

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, "examples")
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(gigachat_lite.__file__)))
EXAMPLES = sorted(name for name in os.listdir(FOLDER) if name.endswith(".py"))
CORP = {"scope": "GIGACHAT_API_CORP"}
LAKE = "а вытекает одна — Ангара."
NO_FLASK = "Этому примеру нужен Flask: pip install flask\n"

# Pieces of what each prints.
EXPECTED = {
    "ask.py": ["Вы написали: «Почему небо голубое?»"],
    "ask_a_document.py": ["козу?\n  В файле «contract.txt» сказано: «Собаку держать можно, козу нельзя.»\n"],
    "batch.py": [": created\n", ": in_progress\n", "сумма: 2 + 2 = 4\n", f"{LAKE}\n"],
    "chat_loop.py": ["GigaChat: Очень приятно, Оля!", "GigaChat: Вас зовут Оля.\n"],
    "context_headers.py": [
        "Раз? X-Session-ID: s-42, X-Request-ID: ",
        "Два? X-Session-ID: s-42, X-Request-ID: 11111111-2222-4333-8444-555555555555\n",
        "Три? X-Session-ID: s-42, X-Request-ID: ", "Четыре? X-Session-ID: s-43, X-Request-ID: "],
    "draw_and_look.py": ["cat.jpg, байт: 458\n", "«Что на картинке?»"],
    "example_embeddings.py": ["Что с курсом рубля?\n  0.37  Курс рубля вырос\n", "снег?\n  0.59  В лесу пошёл снег\n"],
    "example_functions.py": [
        "Вызов: exchange_rate {'currency': 'USD'}\n", "курс — 90.0",
        "Вызов: weather {'city': 'Иркутск', 'days': 3}\n", "температура — -3"],
    "flask_stream.py": [f"{LAKE}\nСтатус: 200 OK\n"],
    "many_threads.py": [f"Сколько будет {n} * {n}? - {n} * {n} = {n * n}\n" for n in range(1, 9)],
    "moving.py": ["Очень приятно, Оля! Чем могу помочь?\nВас зовут Оля.\nБайкал", f"{LAKE}\nТокенов в вопросе: 5\n"],
    "streaming.py": [f"{LAKE}\nТокенов: 85\n"],
    "streaming_asyncio.py": [f"{LAKE}\nСколько будет 2 + 2? - 2 + 2 = 4\n", "Сколько будет 100 - 1? - 100 - 1 = 99\n"],
    "structured_output.py": ["Booking(city='Казань', date='12 марта', time='19:30', guests=4)\n", "столов 1\n"],
    "test_with_emulator.py": ["3 passed"],
    "tls.py": [
        "1. Ничего не указывать: http://127.0.0.1", "2. Файл с корневым сертификатом: не настроено: ",
        "3. Свой ssl_context: http://127.0.0.1", "4. Сертификат клиента: не настроено: "],
    "tokens_and_money.py": [
        "До запроса: 5 токенов, 0.00 руб.", "Всего: 85 токенов, 0.00 руб.", "Осталось GigaChat: 900000 токенов\n"],
    "web_search.py": ["Ищу…\nБайкал", f"{LAKE} [sources=[1, 2]]\n[1] ", "[2] Найди новости о Байкале (2): https://"],
}
TYPED = {"chat_loop.py": "Меня зовут Оля\n\nКак меня зовут?\n"}
SERVICES = {"batch.py": CORP}


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


# Reads orders, one a line, and forks for each a child that becomes the script, so that imports, which take longest of a
# run, are made once. The code of its end goes back as waitpid has it.
NURSERY = """
import asyncio, gc, json, os, runpy, signal, sys, uuid
import dotenv
from gigachat_lite import GigaChat, resources

gc.freeze()  # the ends of children would walk and copy all of it
with open(0, "rb", buffering=0, closefd=False) as orders:
    for order in iter(orders.readline, b""):
        child = os.fork()
        if child == 0:
            break
        os.write(1, b"%d\\n" % os.waitpid(child, 0)[1])
    else:
        sys.exit()
script, folder, environ, files = json.loads(order)
signal.alarm(15)
os.environ.clear()
os.environ.update(environ)
os.chdir(folder)
for number, name in enumerate(files):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
sys.argv, sys.path[0] = [script], os.path.dirname(script)
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def nursery():
    command = [sys.executable, "-W", "error", "-c", NURSERY]
    environ = dict(os.environ, PYTHONPATH=PACKAGE, PYTHONIOENCODING="utf-8")
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        yield started
        started.stdin.close()


def environ_of(emulator):
    """Set the variables as somebody does, and give temporary files a folder beside the working directory."""
    spare = os.path.join(os.path.dirname(os.getcwd()), "spare")
    os.makedirs(spare, exist_ok=True)
    environ = dict(os.environ, PYTHONPATH=PACKAGE, PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1")
    return dict(environ, **emulator.environ, TMPDIR=spare, TEMP=spare, TMP=spare)


def run(script, emulator, *arguments, typed=""):
    """Run a script in an interpreter of its own."""
    command = [sys.executable, "-W", "error", script, *arguments]
    environ = environ_of(emulator)
    return subprocess.run(command, input=typed, capture_output=True, encoding="utf-8", env=environ, timeout=15)


def run_in(nursery, script, emulator, typed):
    """Run a script as `run` does, without the time that a new interpreter takes."""
    environ = environ_of(emulator)
    files = [os.path.join(environ["TMPDIR"], name) for name in ("typed", "printed", "complaints")]
    with open(files[0], "w", encoding="utf-8") as file:
        file.write(typed)
    nursery.stdin.write(json.dumps([script, os.getcwd(), environ, files]).encode() + b"\n")
    nursery.stdin.flush()
    end = int(nursery.stdout.readline())
    printed = []
    for name in files[1:]:
        with open(name, encoding="utf-8") as file:
            printed.append(file.read())
    return subprocess.CompletedProcess([script], os.WEXITSTATUS(end) if os.WIFEXITED(end) else -end, *printed)


# A new interpreter takes ten times as long as a fork of one, and pytest in the last of them three times more.
@pytest.mark.parametrize("name, alone", [
    pytest.param(name, alone, marks=[pytest.mark.long] if alone else [needs_fork], id=name + alone * " alone")
    for name in EXAMPLES for alone in (False, True) if alone or name != "test_with_emulator.py"])
def test_it_runs_as_it_is(name, alone, nursery, tmp_path):
    path, typed = os.path.join(FOLDER, name), TYPED.get(name, "")
    with Emulator(**SERVICES.get(name, {})) as emulator:
        done = run(path, emulator, typed=typed) if alone else run_in(nursery, path, emulator, typed)
    if name == "flask_stream.py" and importlib.util.find_spec("flask") is None:
        assert (done.returncode, done.stdout, done.stderr) == (1, "", NO_FLASK)
        return
    assert (done.returncode, done.stderr) == (0, "")
    for fragment in EXPECTED[name]:
        assert fragment in done.stdout
    assert os.listdir(".") == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_short_and_knows_nothing_of_the_emulator(name):
    text = read(name)
    assert text.startswith('"""') and len(text.splitlines()) <= 40
    assert name == "test_with_emulator.py" or not re.search("emulator|эмулятор", text, re.IGNORECASE)


def test_the_index_names_each_example_once_in_either_language_in_the_same_order():
    russian, english = read("README.md").split("\n## In English\n")
    lists = [re.findall(r"^(\d+)\. \[(.+?)\]\((.+?)\)", part, re.MULTILINE) for part in (russian, english)]
    assert lists[0] == lists[1]
    assert [int(number) for number, _, _ in lists[0]] == list(range(1, len(EXAMPLES) + 1))
    assert sorted(name for _, name, _ in lists[0]) == EXAMPLES
    assert all(name == target for _, name, target in lists[0])
    assert set(re.findall(r"\w+\.py", russian + english)) == set(EXAMPLES)


# ---- The other ways through some of them


@pytest.mark.long
def test_tls_with_certificates_at_hand(tmp_path):
    with Emulator(tls=True, client_cert="required") as emulator:
        shutil.copy(emulator.client_cert_file, "client.pem")
        shutil.copy(emulator.client_key_file, "client.key")
        shutil.copy(emulator.client_cert_file, "corporate-ca.pem")
        wrong_root = run(os.path.join(FOLDER, "tls.py"), emulator)
        shutil.copy(emulator.ca_bundle_file, "corporate-ca.pem")
        right_root = run(os.path.join(FOLDER, "tls.py"), emulator)
    for done in (wrong_root, right_root):
        assert done.returncode == 0
        assert re.fullmatch(r"ssl_context is given, so these are not applied: .+\n", done.stderr)
    assert [line[0] for line in wrong_root.stdout.splitlines() if ": не работает: TLS with " in line] == ["2", "3"]
    # A context holds the client certificate itself, and this one holds none.
    assert [line[0] for line in right_root.stdout.splitlines() if " отвечает, моделей: " in line] == ["1", "2", "4"]


@pytest.mark.long
def test_a_batch_of_another_day_and_a_key_that_may_not(tmp_path):
    with Emulator(**CORP) as emulator:
        script = os.path.join(FOLDER, "batch.py")
        name = re.match("Пакет (.+): created", run(script, emulator).stdout).group(1)
        again = run(script, emulator, name)
    assert (again.returncode, again.stdout.split(":")[0], again.stderr) == (0, "сумма", "")
    with Emulator() as emulator:
        refused = run(script, emulator)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Этому ключу пакеты недоступны: 403 ") and "Traceback" not in refused.stderr


@pytest.mark.long
def test_flask_is_named_where_it_is_missing(tmp_path):
    code = "import runpy, sys; sys.modules['flask'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    with Emulator() as emulator:
        done = run("-c", emulator, code, os.path.join(FOLDER, "flask_stream.py"))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", NO_FLASK)


@pytest.mark.long
def test_the_official_sdk_runs_what_stands_before_the_move(tmp_path, monkeypatch):
    pytest.importorskip("gigachat")
    monkeypatch.setenv("GIGACHAT_MODEL", "GigaChat")  # that client has none by default
    text = read("moving.py")
    before, after = re.findall(r"((?:^(?:# )?from .+\n)+)", text, re.MULTILINE)
    assert before.replace("# ", "") == after.replace("gigachat_lite", "gigachat")
    with open("moving_before.py", "w", encoding="utf-8") as file:
        file.write(text.replace(after, before.replace("# ", "")))
    with Emulator() as emulator:
        done = run("moving_before.py", emulator)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == run(os.path.join(FOLDER, "moving.py"), emulator).stdout
