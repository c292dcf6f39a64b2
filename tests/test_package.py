"""The package as a whole: what importing it costs, that a copied folder works, its names, version and doctests."""
from __future__ import annotations

import ast
import configparser
import doctest
import functools
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import zipfile

import pytest

import gigachat_lite

PACKAGE = pathlib.Path(gigachat_lite.__file__).parent
ROOT = pathlib.Path(__file__).parent.parent
MODULES = ["gigachat_lite", *(module.name for module in pkgutil.walk_packages([str(PACKAGE)], "gigachat_lite."))]
LAZY_MODULES = (  # imported on first use
    *("__main__", "emulator", "testing", "texts", "docstrings", "annotations", "russian_root_ca", "token_file"),
    *("aio", "aio_resources", "accumulators", "diagnose", "files", "functions", "histories", "resources", "schemas"),
    *("sse", "streams"),
    *("models.assistants", "models.batches", "models.chat_completions", "models.files", "models.threads"),
    "models.tools",
)
ASK = (
    "import sys, {name} as g\n"
    "if not g.__file__.startswith({folder!r}): sys.exit(g.__file__)\n"
    "with g.Emulator() as emu, g.GigaChat(**emu.config) as giga:\n"
    "    text = ''.join(chunk.choices[0].delta.content for chunk in giga.stream('Кто ты?'))\n"
    "    if giga.chat('Кто ты?').choices[0].message.content != text: sys.exit(text)\n"
    "g.GigaChat(access_token='t', env_file=False, environ={{}})  # whose context holds the package's own root\n"
)


def python(code, *options, path=None, cwd=None):
    """Run code in a new interpreter, with warnings as errors, and return what it printed."""
    environ = {**os.environ, "PYTHONPATH": str(path or PACKAGE.parent), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", *options, "-c", code]
    done = subprocess.run(command, env=environ, cwd=cwd, timeout=20, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8")


def test_importing_it_loads_nothing_but_its_own_light_files_and_the_standard_library():
    code = (
        "import json, sys, threading\n"
        "import requests, dotenv, uuid\n"  # before Python 3.11, uuid loads subprocess
        "before = set(sys.modules)\n"
        "import gigachat_lite\n"
        "new = {name: getattr(sys.modules[name], '__file__', None) for name in set(sys.modules) - before}\n"
        "print(json.dumps([new, threading.active_count(), json.__file__]))\n"
        "import gigachat_lite.client\n"
        f"lazy = ['gigachat_lite.' + name for name in {LAZY_MODULES}]\n"
        "assert not set(lazy) & set(sys.modules)\n"
        "assert 'Emulator' in gigachat_lite.__all__ and gigachat_lite.Emulator.__name__ == 'Emulator'\n"
        "assert 'gigachat_lite.emulator' in sys.modules and gigachat_lite.Emulator is gigachat_lite.Emulator\n")
    new, threads, json_file = json.loads(python(code))
    own = {name for name in new if name.split(".")[0] == "gigachat_lite"}
    standard = os.path.dirname(os.path.dirname(json_file))
    foreign = [name for name in set(new) - own if new[name] and (
        not new[name].startswith(standard) or "site-packages" in new[name])]
    assert not foreign and threads == 1
    assert not own & {"gigachat_lite." + name for name in LAZY_MODULES}
    heavy = {"asyncio", "argparse", "difflib", "doctest", "http.server", "multiprocessing", "unittest", "xml"}
    assert not heavy & set(new) and len(set(new) - own) <= 8


def test_the_emulator_alone_needs_nothing_of_the_package(tmp_path):
    shutil.copytree(str(PACKAGE / "emulator"), str(tmp_path / "offline"))
    code = ("import sys, offline\nwith offline.Emulator() as emu: assert emu.config['base_url']\n"
            "assert not {'requests', 'urllib3', 'dotenv', 'gigachat_lite'} & set(sys.modules)")
    python(code, path=tmp_path)


def test_the_version_is_the_same_everywhere():
    setup = configparser.ConfigParser()
    setup.read(str(ROOT / "setup.cfg"), encoding="ascii")
    assert setup["metadata"]["version"] == gigachat_lite.__version__


def test_every_public_name_is_there_and_described():
    names = gigachat_lite.__all__
    assert names == sorted(set(names))
    described = [getattr(gigachat_lite, name) for name in names]
    assert all(value.__doc__ for value in described if inspect.isclass(value) or inspect.isfunction(value))
    space = {}
    exec("from gigachat_lite import *", space)  # noqa: S102 -- what a user would write
    assert set(names) <= set(space)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = gigachat_lite.Nonsense


@pytest.mark.parametrize("name, option", [
    ("gigachat_lite", "-OO"), ("project.vendor.gigachat_lite", "-bb"),
])
@pytest.mark.long
def test_a_copied_folder_is_an_installation(name, option, tmp_path):
    target = tmp_path.joinpath(*name.split("."))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(str(PACKAGE), str(target), ignore=shutil.ignore_patterns("__pycache__", ".*"))
    code = ASK.format(name=name, folder=str(tmp_path))
    code += "loaded = [module for module in sys.modules if 'gigachat_lite' in module.split('.')]\n"
    code += f"if not all(module.startswith({name!r}) for module in loaded): sys.exit(str(loaded))\n"
    python(code, option, path=tmp_path, cwd=str(tmp_path))


@pytest.mark.long
def test_a_zipped_folder_is_one_too(tmp_path):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(str(archive), "w") as zipped:
        for path in PACKAGE.rglob("*.*"):
            zipped.write(str(path), str(path.relative_to(PACKAGE.parent)))
    python(ASK.format(name="gigachat_lite", folder=str(archive)), path=archive)


@functools.lru_cache(maxsize=None)
def doctests(name):
    return doctest.testmod(importlib.import_module(name))


@pytest.mark.parametrize("name", MODULES)
def test_doctests_hold(name):
    assert importlib.import_module(name).__doc__ and doctests(name).failed == 0


def test_doctests_are_there():
    assert sum(doctests(name).attempted for name in MODULES) >= 20


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_sources_hold_no_syntax_newer_than_the_oldest_python():
    oldest = {"feature_version": (3, 7)} if sys.version_info >= (3, 8) else {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"), str(path), **oldest)
        futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        annotated = any(isinstance(node, (ast.FunctionDef, ast.AnnAssign)) for node in ast.walk(tree))
        assert len(futures) == 1 or not annotated, path.name  # annotations are written as newer Pythons read them
