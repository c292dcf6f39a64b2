"""Fixtures for your own pytest runs: an offline GigaChat, and a client on it.

In the topmost ``conftest.py`` put ``pytest_plugins = ["gigachat_lite.testing"]``; then a test is::

    def test_greeting(gigachat_emulator, gigachat):
        gigachat_emulator.enqueue(status=503)  # the next answer fails, and the client tries again
        assert gigachat.chat("Привет!").choices[0].finish_reason == "stop"
        assert gigachat_emulator.requests[-1].path.endswith("/chat/completions")

Each test gets an emulator of its own on a free port, so tests run in any order and side by side. Nothing of the
machine's environment or ``.env`` is used. A script that nobody asked for fails the test that left it.

For other settings, make a fixture of the same name; `gigachat` follows it::

    @pytest.fixture
    def gigachat_emulator():
        with Emulator(strict=False, fault="cut:100") as emulator:
            yield emulator

Code that makes its own `GigaChat()` finds the emulator by variables: ``monkeypatch.setenv`` for each of
`gigachat_emulator.environ`, or the whole run as ``python -m gigachat_lite.emulator -- pytest``.
"""

from __future__ import annotations

from typing import Any, Iterator

from .client import GigaChat
from .emulator import Emulator

try:
    import pytest
except ImportError:
    raise ImportError("gigachat_lite.testing makes pytest fixtures, so it needs pytest: pip install pytest") from None


@pytest.fixture
def gigachat_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Run an emulator for one test; what was scripted has to be asked for, unless the test did not end well anyway."""
    __tracebackhide__ = True
    emulator = Emulator().start()
    try:
        yield emulator
    finally:
        emulator.stop()
    emulator.check(unused=not getattr(request.node, "gigachat_raised", False))


@pytest.fixture
def gigachat(gigachat_emulator: Emulator) -> Iterator[GigaChat]:
    """Give a client on the emulator of the test, which makes no pauses between its tries, and close it afterwards."""
    with GigaChat(**gigachat_emulator.config, retry_backoff_factor=0) as client:
        yield client


def pytest_runtest_makereport(item: Any, call: Any) -> None:
    """Remember for the fixture's end whether a test raised: failed, was skipped, or failed as expected."""
    if call.when != "teardown":
        item.gigachat_raised = call.excinfo is not None
