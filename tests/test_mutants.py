"""Break the package on purpose, and see that a test fails: `pytest -m long tests/test_mutants.py`.

Each row of tests/mutants.py is put into a copy of the package, and the tests that it names are run there, by a pytest
of its own. The same tests have to pass in a copy without it, or their failure would say nothing.
"""
from __future__ import annotations

import ast
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

import gigachat_lite
from conftest import settings_of_the_machine
from mutants import MUTANTS

PACKAGE, TESTS = pathlib.Path(gigachat_lite.__file__).parent, pathlib.Path(__file__).parent
ALSO_LONG = ["-m", "long or not long"]
PATIENCE = 120.0  # seconds for one run; the watchdog of conftest.py ends a test that hangs long before
BLOCK = re.compile(r"^(?=[\w@]|    (?:def |@))", re.MULTILINE)  # where a function, a method or a class may begin


def changes_of(mutant):
    return ((mutant.old, mutant.new), *mutant.more)


def nodes_of(tests):
    """Spell out the tests of a row as pytest takes them."""
    named = (test.partition("::") for test in tests.split() if test != "long")
    return [f"tests/test_{file}.py" + (f"::test_{name}" if name else "") for file, _, name in named]


def selections():
    """Group all tests that rows name by what one run takes: whole files, and long tests of any file."""
    every = [(node, is_long(mutant)) for mutant in MUTANTS for node in nodes_of(mutant.tests)]
    files = {node.partition("::")[0] for node, _ in every}
    long = sorted({node for node, long in every if long})
    return {**{file: [file] for file in sorted(files)}, "long": ALSO_LONG + long}


def is_long(mutant):
    return "long" in mutant.tests.split()


def test_each_mutant_has_its_place_and_its_tests():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    sources = {file: (PACKAGE / file).read_bytes().decode("utf-8") for file in {mutant.file for mutant in MUTANTS}}
    tests = {node.partition("::")[0] for mutant in MUTANTS for node in nodes_of(mutant.tests)}
    tests = {name: set(re.findall(r"(?m)^def (\w+)", (TESTS.parent / name).read_text("utf-8"))) for name in tests}
    for mutant in MUTANTS:
        for old, _ in changes_of(mutant):
            assert sources[mutant.file].count(old) == 1, f"{mutant.name}: this is not once in {mutant.file}: {old!r}"
        for file, _, name in (node.partition("::") for node in nodes_of(mutant.tests)):
            assert name in tests[file] or not name, f"{mutant.name}: there is no {name} in {file}"


def test_each_mutant_is_python():
    sources = {file: (PACKAGE / file).read_bytes().decode("utf-8") for file in {mutant.file for mutant in MUTANTS}}
    blocks = {file: [match.start() for match in BLOCK.finditer(source)] for file, source in sources.items()}
    for mutant in MUTANTS:
        source, starts = sources[mutant.file], blocks[mutant.file]
        for old, new in changes_of(mutant):
            # The block round it is enough: to parse the whole file each time would take seconds.
            place, end = source.index(old), source.index(old) + len(old)
            begin = max(start for start in starts if start <= place)
            after = min((start for start in starts if start > end), default=None)
            ast.parse("class Block:\n" * (source[begin] == " ") + source[begin:place] + new + source[end:after])


def copy_package(folder, mutant=None):
    """Copy the package and its tests, with a mutant in them or not."""
    for source in (PACKAGE, TESTS):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = TESTS.parent / "pyproject.toml"
    if settings.exists():
        shutil.copy(settings, folder)
    if mutant is not None:
        path = folder / PACKAGE.name / mutant.file
        source = path.read_bytes().decode("utf-8")
        for old, new in changes_of(mutant):
            source = source.replace(old, new)
        path.write_bytes(source.encode("utf-8"))


def run_tests(selection, mutant=None):
    """Run tests in a copy; give the exit code and what was said, None for a run that came to no end."""
    left_out = {*settings_of_the_machine(), "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTHONSTARTUP"}
    environ = {name: value for name, value in os.environ.items() if name not in left_out}
    with tempfile.TemporaryDirectory(prefix="gigachat-lite-mutant-") as folder:
        copy_package(pathlib.Path(folder), mutant)
        environ.update(PYTHONPATH=folder, TMPDIR=folder)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", *selection]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environ, timeout=PATIENCE,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired as exc:
            return None, (exc.output or b"").decode("utf-8", "replace")
        return done.returncode, done.stdout.decode("utf-8", "replace")


def noticed(code, said):
    """Tell whether a test failed, or hung until the watchdog ended it; tests that cannot be found tell nothing."""
    failed = re.search(r"^(FAILED|ERROR) tests/", said, re.MULTILINE) or "Timeout (0:0" in said
    return code == 1 and bool(failed)


@pytest.fixture(scope="module")
def runs(request):
    """Begin all runs that were asked for, some at a time, so that each test waits for its own alone."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        begun = {}
        for item in request.session.items:
            given = item.callspec.params if hasattr(item, "callspec") else {}
            if item.function is test_without_mutants_the_tests_pass:
                begun[given["name"]] = pool.submit(run_tests, selections()[given["name"]])
            elif item.function is test_a_mutant_is_noticed:
                mutant = given["mutant"]
                more = ALSO_LONG if is_long(mutant) else []
                begun[mutant.name] = pool.submit(run_tests, more + nodes_of(mutant.tests), mutant)
        yield begun
        for future in begun.values():
            future.cancel()


@pytest.mark.long
@pytest.mark.parametrize("name", selections())
def test_without_mutants_the_tests_pass(runs, name):
    code, said = runs[name].result()
    assert code == 0, said


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_is_noticed(runs, mutant):
    code, said = runs[mutant.name].result()
    assert noticed(code, said), f"{mutant.file}: {mutant.old!r} -> {mutant.new!r}, exit code {code}\n{said}"
