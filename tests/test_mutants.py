"""Break the package on purpose, in each of the places that MUTANTS names, and see that a test fails."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import gigachat_lite
from mutants import MUTANTS, Mutant

PACKAGE, TESTS = pathlib.Path(gigachat_lite.__file__).parent, pathlib.Path(__file__).parent
NAMES = sorted({name for row in MUTANTS for name in row.tests.split()})
NOTHING = Mutant("nothing", "auth.py", "", "", " ".join(NAMES))
LIMIT = 150  # seconds for a run; the watchdog of conftest.py ends a hanging test long before


def broken(mutant):
    """Give a file's text as the mutant has it."""
    text = (PACKAGE / mutant.file).read_text("utf-8")
    assert mutant is NOTHING or text.count(mutant.old) == 1, f"{mutant.file} has not once: {mutant.old}"
    return text.replace(mutant.old, mutant.new) if mutant.old else text


def run_against(mutant, folder):
    """Run the tests that ought to notice against a copy of the package that the mutant has broken."""
    shutil.copytree(str(PACKAGE), str(folder / "gigachat_lite"), ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "gigachat_lite" / mutant.file).write_text(broken(mutant), "utf-8")
    files = [str(TESTS / f"test_{name}.py") for name in mutant.tests.split()]
    command = [sys.executable, "-W", "error", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=str(folder), env=environ, capture_output=True, text=True, timeout=LIMIT)
    shutil.rmtree(str(folder / "gigachat_lite"))
    return done


@pytest.fixture(scope="module")
def runs(folders, request):
    """Begin a run for each mutant that is asked for, as many at a time as there are processors."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    asked = [call.params["mutant"] for call in calls if call is not None and "mutant" in call.params]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        homes = {mutant.name: next(folders) for mutant in asked}
        for home in homes.values():
            home.mkdir(parents=True)
        yield {mutant.name: pool.submit(run_against, mutant, homes[mutant.name]) for mutant in asked}


def test_each_mutant_breaks_the_package_in_one_place():
    for mutant in MUTANTS:
        compile(broken(mutant), mutant.file, "exec")
        assert mutant.new != mutant.old and all((TESTS / f"test_{name}.py").exists() for name in mutant.tests.split())
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30


@pytest.mark.long
@pytest.mark.parametrize("mutant", [NOTHING, *MUTANTS], ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_test_fails(mutant, runs):
    done = runs[mutant.name].result()
    assert done.returncode == (0 if mutant is NOTHING else 1), done.stdout[-3000:] + done.stderr[-2000:]
