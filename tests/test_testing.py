"""The fixtures for users, in a project of their own: pytest runs it in a process, as users run theirs."""
from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

import gigachat_lite

PACKAGE = str(pathlib.Path(gigachat_lite.__file__).parent.parent)
CONFTEST = 'pytest_plugins = ["gigachat_lite.testing"]\n'
# What each test of the project is to come to; those that leave something behind are told so in a second line.
OUTCOMES = {
    "test_answers": ["PASSED"],
    "test_is_alone": ["PASSED"],
    "test_uses_its_scripts_and_waits_for_nothing": ["PASSED"],
    "test_leaves_two_scripts": ["PASSED", "ERROR"],
    "test_fails_and_leaves_a_script": ["FAILED"],
    "test_is_skipped_and_leaves_a_script": ["SKIPPED"],
    "test_fails_as_expected_and_leaves_a_script": ["XFAIL"],
    "test_meets_a_script_that_raises": ["PASSED", "ERROR"],
    "test_fails_after_a_script_that_raises": ["FAILED", "ERROR"],
    "Styled::test_passes": ["PASSED"],
    "Styled::test_leaves_a_script": ["PASSED", "ERROR"],
    "Styled::test_fails_and_leaves_a_script": ["FAILED"],
    "TestLenient::test_uses_settings_of_its_own": ["PASSED"],
}
TESTS = '''
import time
import unittest

import pytest
from gigachat_lite import Emulator, GigaChat


def test_answers(gigachat_emulator, gigachat):
    assert gigachat.chat("Сколько будет 2 + 2?").choices[0].message.content == "2 + 2 = 4"
    assert gigachat.config["access_token"] is None and gigachat.config["user"] is None

def test_is_alone(gigachat_emulator, gigachat):
    assert gigachat_emulator.requests == [] and isinstance(gigachat, GigaChat)

def test_uses_its_scripts_and_waits_for_nothing(gigachat_emulator, gigachat):
    for status in (503, 500):
        gigachat_emulator.enqueue(status=status)
    began = time.monotonic()
    assert gigachat.chat("Привет!").choices[0].finish_reason == "stop"
    assert time.monotonic() - began < 0.7  # two pauses would be longer

def test_leaves_two_scripts(gigachat_emulator):
    gigachat_emulator.enqueue(status=418)
    gigachat_emulator.enqueue(status=503, path="/models")

def test_fails_and_leaves_a_script(gigachat_emulator):
    gigachat_emulator.enqueue(status=503)
    assert gigachat_emulator.requests

def test_is_skipped_and_leaves_a_script(gigachat_emulator):
    gigachat_emulator.enqueue(status=503)
    pytest.skip("not today")

@pytest.mark.xfail
def test_fails_as_expected_and_leaves_a_script(gigachat_emulator):
    gigachat_emulator.enqueue(status=503)
    assert gigachat_emulator.requests

def refuse_hats(request):
    assert "hat" not in request.path

def test_meets_a_script_that_raises(gigachat_emulator, gigachat):
    gigachat_emulator.enqueue(refuse_hats)
    gigachat.chat("Привет!")

def test_fails_after_a_script_that_raises(gigachat_emulator, gigachat):
    gigachat_emulator.enqueue(refuse_hats)
    assert gigachat.chat("Привет!").choices == []

class Styled(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def offline(self, gigachat_emulator, gigachat):
        self.emulator, self.client = gigachat_emulator, gigachat

    def test_passes(self):
        self.assertTrue(self.client.get_models().data)

    def test_leaves_a_script(self):
        self.emulator.enqueue(status=503)

    def test_fails_and_leaves_a_script(self):
        self.emulator.enqueue(status=503)
        self.assertTrue(self.emulator.requests)

class TestLenient:
    @pytest.fixture
    def gigachat_emulator(self):
        with Emulator(scope="GIGACHAT_API_CORP", fault="502*1") as emulator:
            yield emulator

    def test_uses_settings_of_its_own(self, gigachat, gigachat_emulator):
        assert gigachat.get_models().data and gigachat.config["scope"] == "GIGACHAT_API_CORP"
        assert [request.path for request in gigachat_emulator.requests[1:]] == ["/api/v1/models"] * 2
'''


def run_pytest(folder, *options):
    """Run pytest in a folder as a user would, with warnings as errors; give its exit code and what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ.update(PYTHONPATH=PACKAGE, PYTHONIOENCODING="utf-8", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", COLUMNS="200")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=str(folder), env=environ, timeout=20, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8")


def outcomes(report):
    """Return the outcomes of each test from pytest's progress lines, in the order in which they came."""
    found = {}
    for name, outcome in re.findall(r"^test_all\.py::(\S+) ([A-Z]+)", report, re.MULTILINE):
        found.setdefault(name, []).append(outcome)
    return found


@pytest.mark.long
def test_a_project_of_its_own_has_the_fixtures(tmp_path, monkeypatch):
    for name, value in {"BASE_URL": "https://gone.example/v1", "USER": "me", "PASSWORD": "p", "MODEL": "Nope"}.items():
        monkeypatch.setenv("GIGACHAT_" + name, value)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    (tmp_path / ".env").write_text("GIGACHAT_ACCESS_TOKEN=t\nGIGACHAT_TIMEOUT=soon\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_all.py").write_text(TESTS, encoding="utf-8")
    code, report = run_pytest(tmp_path, "-vv", "-rA")
    assert outcomes(report) == OUTCOMES, report
    assert code == 1
    # The summary names what was not asked for, and tells what a callable had against the request.
    errors = dict(re.findall(r"^ERROR test_all\.py::(\S+) - (.*)", report, re.MULTILINE))
    assert "418" in errors["test_leaves_two_scripts"] and "/models" in errors["test_leaves_two_scripts"]
    assert "503" in errors["Styled::test_leaves_a_script"]
    assert "hat" in errors["test_meets_a_script_that_raises"] + errors["test_fails_after_a_script_that_raises"]


def test_without_pytest_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "gigachat_lite.testing", raising=False)
    monkeypatch.setitem(sys.modules, "pytest", None)  # what an import meets where it is not installed
    with pytest.raises(ImportError, match="needs pytest: pip install pytest$"):
        importlib.import_module("gigachat_lite.testing")
