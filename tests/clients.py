"""What tests of the client share: clients that are closed when their test ends, and work in threads."""
from __future__ import annotations

import threading

from gigachat_lite import GigaChat

OPENED = []  # emptied by conftest.py after each test


def new_client(**settings):
    """Make a client that takes nothing from the machine and is closed when its test ends."""
    OPENED.append(GigaChat(**{"env_file": False, "environ": {}, "trust_env": False, **settings}))
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
