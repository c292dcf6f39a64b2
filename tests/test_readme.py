"""The README is a promise: its code runs, its output comes, its tables are complete, in Russian too."""

from __future__ import annotations

import contextvars
import inspect
import os
import re
import shutil
import sys
import types

import pytest

import gigachat_lite
from gigachat_lite import Emulator, GigaChat
from gigachat_lite.__main__ import option_parser
from gigachat_lite.config import DEFAULTS
from gigachat_lite.emulator import FAULTS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = {}
for page in ("README.md", "README.ru.md", "examples/README.md"):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        PAGES[page] = file.read()
README, RUSSIAN = PAGES["README.md"], PAGES["README.ru.md"]
FENCED = r"^```(\w+)\n(.*?)^```$"
BLOCKS = re.findall(FENCED, README, re.MULTILINE | re.DOTALL)
CODE = [(number, text) for number, (kind, text) in enumerate(BLOCKS) if kind == "python"]


@pytest.fixture
def settings(monkeypatch):
    """An emulator, and the environment of somebody who uses it."""
    with Emulator() as emu:
        for name in ("base_url", "auth_url", "credentials"):
            monkeypatch.setenv("GIGACHAT_" + name.upper(), emu.config[name])
        yield emu


def run(code):
    module = types.ModuleType("readme")  # dataclasses look for the module of their class
    sys.modules["readme"] = module
    try:
        contextvars.copy_context().run(exec, compile(code, "README.md", "exec", dont_inherit=True), vars(module))
    finally:
        del sys.modules["readme"]
    return vars(module)


@pytest.mark.parametrize("number, code", CODE, ids=["block-%d" % number for number, _ in CODE])
def test_code_of_the_readme_runs(number, code, settings, certs, tmp_path, capsys, monkeypatch):
    for name, path in (
        ("corporate-ca.pem", certs.ca_pem),
        ("client.pem", certs.client_pem),
        ("client.key", certs.client_key),
    ):
        shutil.copy(str(path), name)
    names = run(code)
    for test in [names[name] for name in names if name.startswith("test_")]:
        with Emulator() as emu, GigaChat(**emu.config, retry_backoff_factor=0) as giga:
            given = {"gigachat": giga, "gigachat_emulator": emu, "monkeypatch": monkeypatch}
            test(**{name: given[name] for name in inspect.signature(test).parameters})
    printed = capsys.readouterr().out
    assert "print(" not in code or printed
    assert "cut after" not in printed and "Error" not in printed


def test_the_first_block_prints_what_the_readme_shows(settings, capsys):
    number, code = CODE[0]
    run(code)
    kind, shown = BLOCKS[number + 1]
    assert kind == "text"
    assert capsys.readouterr().out.strip() == shown.strip()


def test_every_setting_stands_in_the_table():
    section = README[README.index("\n## Settings\n"):README.index("\n## Four ways in\n")]
    rows = "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == set(DEFAULTS)


def test_every_option_of_the_command_stands_in_the_readme():
    section = README[README.index("\n## Command line\n"):README.index("\n## The emulator\n")]
    given = {name for action in option_parser()._actions for name in action.option_strings if name.startswith("--")}
    assert given - {"--help", "--version"} == set(re.findall(r"`(--[a-z-]+)`", section))


def test_every_fault_stands_in_the_readme():
    section = README[README.index("\n## The emulator\n"):README.index("\n## Headers from the context\n")]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    assert {re.findall(r"[\w-]+", name)[0]: about.strip() for name, about in rows} == {
        name: kind.about for name, kind in FAULTS.items()}


def test_the_error_tree_is_the_one_of_the_code():
    tree = next(text for kind, text in BLOCKS if kind == "text" and "├──" in text)
    code = "\n".join(line.strip() for line in gigachat_lite.exceptions.__doc__.splitlines())
    assert all(line.strip() in code for line in tree.splitlines())


# ---- The pages together


def prose(page):
    """A page without its code."""
    return re.sub(FENCED, "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The addresses of the headings inside a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def tables(page):
    """The names in the first column of each row of each table, where code stands there."""
    return [re.findall(r"`[^`]+`", line.split("|")[1]) for line in prose(page).splitlines() if line.startswith("|")]


def test_the_russian_page_has_the_same_code_in_the_same_order():
    assert re.findall(FENCED, RUSSIAN, re.MULTILINE | re.DOTALL) == BLOCKS


def test_the_russian_page_has_the_same_sections_tables_and_names():
    for found in (
        lambda page: re.findall(r"^(#+) ", prose(page), re.MULTILINE),
        lambda page: [line.count("|") for line in prose(page).splitlines() if line.startswith("|")],
        lambda page: [row for row in tables(page) if row],
        lambda page: {name for name in re.findall(r"`([^`]+)`", prose(page)) if re.fullmatch(r"[\w.$*/()=-]+", name)},
    ):
        assert found(RUSSIAN) == found(README)


@pytest.mark.parametrize("name", list(PAGES))
def test_links_lead_somewhere(name):
    links = [link for link in re.findall(r"\]\((.+?)\)", prose(PAGES[name])) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        assert not path or os.path.exists(os.path.join(ROOT, os.path.dirname(name), path))
        assert not anchor or anchor in anchors(PAGES[name])
