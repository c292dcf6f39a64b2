"""Send the emulator what nobody foresaw: whole requests are answered, and it goes on, silent and as it was."""

from __future__ import annotations

import os
import threading

import pytest

import fuzzing
from gigachat_lite.emulator import Emulator
from gigachat_lite.emulator.service import ROUTES

SEED = 20260118  # the same cases each time; `python tests/fuzzing.py` looks for new ones


@pytest.fixture
def silent(capfd):
    """Fail the test when something was printed, by a thread that ended with an exception too."""
    yield
    assert capfd.readouterr() == ("", "")


def fuzz(count, seed, **settings):
    """Send this many requests to an emulator of this process, and return the run with its figures."""
    before = set(threading.enumerate())
    with Emulator(token_lifetime=3600.0, scope=fuzzing.SCOPE, **settings) as emulator:
        run = fuzzing.Run(fuzzing.Here(emulator), seed)
        try:
            run.go(count)
        finally:
            run.close()
    assert set(threading.enumerate()) == before
    return run


def test_arbitrary_requests_are_answered_or_turned_away(silent):
    run = fuzz(500, SEED)
    assert run.sent >= 500
    # They come past the door everywhere, or it would prove little.
    reached = {route for route, status in run.reached if status == 200}
    assert reached >= set(fuzzing.ROUTES) - {"balance", *fuzzing.GONE}
    assert {200, 400, 401, 403, 404, 405, 422} <= set(run.statuses) <= fuzzing.STATUSES


def test_every_route_of_the_service_is_drawn():
    paths = {path.replace("{}", "x") for _, path in fuzzing.ROUTES.values()}
    for version, routes in ROUTES.items():
        for route in routes:
            base = "/api/v2/" if version == "oauth" else f"/{version}/"
            path = base + route.path.replace("(.+)", "{}").replace("([^/]+)", "{}")
            assert path.replace("{}", "x") in paths and (route.method, path) in fuzzing.ROUTES.values()


@pytest.mark.long
@pytest.mark.parametrize("settings", [{}, {"strict": False}, {"max_connections": 3}, {"tls": True}])
def test_more_arbitrary_requests_of_a_new_seed(silent, settings):
    if settings.get("tls"):
        pytest.importorskip("trustme")
    fuzz(20_000, int.from_bytes(os.urandom(4), "big"), **settings)
