"""What tests of the client share: clients that are closed when their test ends, and work in threads."""
from __future__ import annotations

import itertools
import os
import threading

import pytest

from gigachat_lite import GigaChat

PARAM = type(pytest.param())
OPENED = []  # emptied by conftest.py after each test
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
# For scripts of tests: do work in a forked child, which must end well.
IN_CHILD = """
    def in_child(work):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException as error:
                print("child:", repr(error), flush=True)
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, "the child failed"
"""


def crossed(names, *columns, often, indirect=False):
    """Parametrize with every row of the columns; those for which `often` is false are long.

    Elements may be `pytest.param`s of several values; `often` is given the values of a whole row.
    """
    rows = []
    for parts in itertools.product(*columns):
        params = [part if isinstance(part, PARAM) else pytest.param(part, id=str(part)) for part in parts]
        values = [value for param in params for value in param.values]
        marks = [mark for param in params for mark in param.marks] + ([] if often(*values) else [pytest.mark.long])
        rows.append(pytest.param(*values, marks=marks, id="-".join(param.id for param in params)))
    return pytest.mark.parametrize(names, rows, indirect=indirect)


def new_client(**settings):
    """Make a client that is closed when its test ends; conftest.py keeps the machine's settings out."""
    OPENED.append(GigaChat(**{"env_file": False, "trust_env": False, **settings}))
    return OPENED[-1]


def start(work, *args):
    """Run work in a thread; `finish` returns what it returned or raised."""
    box = []

    def run():
        try:
            box.append(work(*args))
        except Exception as error:
            box.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.box = box
    thread.start()
    return thread


def finish(*threads):
    """Wait for threads and list what each returned or raised."""
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "a thread hangs"
    return [thread.box[0] for thread in threads]
