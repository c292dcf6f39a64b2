"""Give every test a clean environment, a time limit, certificates and servers that stop by themselves."""
from __future__ import annotations

import faulthandler
import gc
import importlib.util
import itertools
import os
import pathlib
import signal
import socket
import tempfile
import threading
import time

import pytest

from certs import Certs
from clients import OPENED
from peers import print_table
from servers import Api, ConnectProxy, Server

LIMIT, LONG_LIMIT = 20.0, 300.0  # seconds for one test, its fixtures included
NETWORK = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"}
NETWORK |= {"ssl_cert_file", "ssl_cert_dir", "sslkeylogfile", "netrc", "xdg_cache_home"}


def pytest_addoption(parser):
    parser.addoption(
        "--peer", choices=["official"],
        help="put the official SDK through tests/official/test_defects.py too, and print what both did")


def pytest_configure(config):
    config.watchdog_file = os.fdopen(os.dup(2), "w")  # the real stderr: pytest captures the one that tests see
    config.watchdog_limit, config.watchdog_wound = 0.0, 0.0
    if config.getoption("peer") and importlib.util.find_spec("gigachat") is None:
        raise pytest.UsageError("--peer=official needs the official SDK: pip install gigachat (Python 3.8 or newer)")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run the whole suite in two processes, where pytest-xdist is there and nothing else was asked for.

    One file is ready before a second process is; the long runs print figures, count threads and measure memory.
    """
    option = config.option
    whole = not (option.file_or_dir or option.markexpr or option.keyword or option.usepdb or option.capture == "no")
    if whole and "PYTEST_XDIST_WORKER" not in os.environ and getattr(option, "numprocesses", 0) is None:
        option.numprocesses = 2


def pytest_unconfigure(config):
    faulthandler.cancel_dump_traceback_later()
    config.watchdog_file.close()


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("peer"):
        from importlib.metadata import version

        print_table(terminalreporter, version("gigachat"))


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked long, unless -m speaks of it."""
    if "long" in (config.getoption("markexpr") or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_collection_finish(session):
    """Take what is there for the whole run out of the collector's sight: each gc.collect of a test walks all of it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """End the run with every thread's stack when a test hangs: nothing gentler ends a thread that waits in C.

    Winding the watchdog up costs a thread, so tests that follow within a second share what it was wound up for.
    """
    if not item.config.getoption("usepdb"):
        limit, now = LONG_LIMIT if item.get_closest_marker("long") else LIMIT, time.monotonic()
        if item.config.watchdog_limit != limit or now > item.config.watchdog_wound + 1:
            item.config.watchdog_limit, item.config.watchdog_wound = limit, now
            faulthandler.dump_traceback_later(limit + 1, exit=True, file=item.config.watchdog_file)


@pytest.fixture(scope="session")
def folders():
    """Number the folders of this run under a root of its own.

    pytest's tmp_path looks through all of them for each, and shares its root with other runs, whose clearing-up of old
    folders can meet ours.
    """
    with tempfile.TemporaryDirectory(prefix="gigachat-lite-tests-") as root:
        yield (pathlib.Path(root) / str(number) for number in itertools.count())


def new_folder(folders):
    """Make an empty folder to work in, and a home beside it."""
    path = next(folders) / "work"
    path.mkdir(parents=True)
    (path.parent / "home").mkdir()
    return path


def live_in(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent / "home"))
    monkeypatch.setenv("USERPROFILE", str(path.parent / "home"))
    monkeypatch.chdir(path)


def settings_of_the_machine():
    """List the variables that would reach a client from the machine or from what a module has set."""
    return [name for name in os.environ if name.lower() in NETWORK or name.upper().startswith("GIGACHAT_")]


@pytest.fixture
def tmp_path(folders, monkeypatch):
    """Make an empty folder for a test, which is its working directory."""
    path = new_folder(folders)
    live_in(path, monkeypatch)
    return path


@pytest.fixture(scope="session")
def clean_machine(folders):
    """Keep the machine's settings out of all tests: variables, home, and a working directory that is empty."""
    path = new_folder(folders)
    with pytest.MonkeyPatch.context() as patch:
        for name in settings_of_the_machine():
            patch.delenv(name)
        live_in(path, patch)
        yield str(path), str(path.parent / "home")


@pytest.fixture(autouse=True)
def clean_environment(clean_machine):
    """Keep out what a module has set, and leave nothing: clients of `new_client` are closed, files need `tmp_path`."""
    set_by_a_module = {name: os.environ.pop(name) for name in settings_of_the_machine()}
    yield
    os.environ.update(set_by_a_module)
    while OPENED:
        OPENED.pop().close()
    assert [name for path in clean_machine for name in os.listdir(path)] == [], "a test left files: it needs tmp_path"


@pytest.fixture(scope="session")
def certs(folders):
    return Certs(new_folder(folders))


class Resolver:
    """Stand in for DNS, below requests and urllib3: `resolve(*names)` leads these names to 127.0.0.1.

    The port stays as asked. From the first call on any other name is unknown (gaierror); `asked` lists all names.
    """

    def __init__(self, monkeypatch):
        self._monkeypatch, self._real, self._names, self.asked = monkeypatch, socket.getaddrinfo, set(), []

    def __call__(self, *names):
        self._names.update(names)
        self._monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host, *args, **kwargs):
        name = host.decode("ascii") if isinstance(host, bytes) else host
        self.asked.append(name)
        if name not in self._names | {"localhost", "127.0.0.1", None}:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._real("127.0.0.1" if name in self._names else host, *args, **kwargs)


@pytest.fixture
def interrupt():
    """Give a function that lets a signal's handler raise an error in the main thread, once.

    It sends the signal until it is handled: one that comes just before a system call does not end it.
    """
    if not hasattr(signal, "pthread_kill"):
        pytest.skip("no way to interrupt a thread here")
    errors, handled = [], threading.Event()

    def handle(signum, frame):
        if errors:
            handled.set()
            raise errors.pop()

    def send(error):
        errors.append(error)
        while not handled.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    yield send
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def resolve(monkeypatch):
    return Resolver(monkeypatch)


@pytest.fixture
def _running():
    """Stop all servers of the test, then raise the first error of their handlers."""
    running, errors = [], []
    yield running
    for each in reversed(running):
        try:
            each.stop()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _factory(kind):
    """Make a fixture that starts servers of this kind: called with the arguments of the class, returns the server."""
    @pytest.fixture
    def fixture(_running):
        def start(*args, **options):
            _running.append(kind(*args, **options))
            return _running[-1]

        return start

    return fixture


server, api, proxy = _factory(Server), _factory(Api), _factory(ConnectProxy)
