"""Emulators of each kind, and who speaks to them."""

from __future__ import annotations

import pytest

from caller import Caller
from gigachat_lite.emulator import Emulator

from .helpers import Raw, client_of, honest_answers


@pytest.fixture
def emulator():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def raw(emulator):
    with Raw(emulator, client_of(emulator).get_token().access_token) as caller:
        del emulator.requests[:]
        yield caller


@pytest.fixture(scope="session")
def honest():
    return honest_answers()


def caller_of(**settings):
    @pytest.fixture(scope="session")
    def fixture():
        with Emulator(**settings) as emulator, Caller(emulator) as caller:
            caller.token = caller.oauth("scope=" + emulator.scope).json["access_token"]
            yield caller

    return fixture


caller, lenient, company = caller_of(), caller_of(strict=False), caller_of(scope="GIGACHAT_API_CORP")
