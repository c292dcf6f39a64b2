"""Hold one client to what many threads and processes do with it at once, while tokens end and connections break.

A few hundred calls in every run, ten thousand with ``-m long``, which prints what they met.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clients import needs_fork, new_client
from gigachat_lite import AuthenticationError, RateLimitError, ServerError, TransportError
from servers import drop, oauth_reply, reply, sse, until

KEY = "MTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1OjY2NjY2NjY2LTc3Nzc="
THREADS, PLACES, LIFE = 32, 8, 2.0


class Service:
    """A service that ends tokens, refuses, breaks off and hangs up at random, and counts what it was asked."""

    def __init__(self, seed):
        self.chance, self.lock = random.Random(seed), threading.Lock()
        self.issued, self.revoked, self.good = 0, 0, set()
        self.working = self.most = self.fetching = self.most_fetching = 0
        self.faults = {}

    def oauth(self, request, connection):
        with self.lock:
            self.fetching += 1
            self.most_fetching = max(self.most_fetching, self.fetching)
            self.issued += 1
            token = f"token-{self.issued}"
            self.good.add(token)
        try:
            return oauth_reply(token, LIFE)
        finally:
            with self.lock:
                self.fetching -= 1

    def calls(self, request, connection):
        token = request.headers["Authorization"].rpartition(" ")[2]
        with self.lock:
            self.working += 1
            self.most = max(self.most, self.working)
            number = self.chance.random()
            if number < 0.01 and token in self.good:
                self.good.discard(token)
                self.revoked += 1
            known = token in self.good
        try:
            if not known:
                return self.note("401", reply(401, {"status": 401, "message": "Token has expired"}))
            return self.fault(number, question(request)) or answer(request)
        finally:
            with self.lock:
                self.working -= 1

    def fault(self, number, about):
        if number < 0.03:
            return self.note("429", reply(429, {"status": 429}, {"Retry-After": "0"}))
        if number < 0.04:
            return self.note("503", reply(503, {"status": 503}))
        if number < 0.05:
            return self.note("hung up", drop("rst"))
        if number < 0.06:
            return self.note("broken off", reply(body={"choices": [about]}, length=999))
        return None

    def note(self, name, fate):
        with self.lock:
            self.faults[name] = self.faults.get(name, 0) + 1
        return fate


def question(request):
    """Find the question that a request asks: q-NUMBER."""
    return re.search(rb"q-\d+-", request.body).group().decode()


def answer(request):
    """Answer with the question."""
    about = question(request)
    if request.path.endswith("/embeddings"):
        return reply(body={"object": "list", "data": [{"embedding": [int(about[2:-1])]}]})
    if request.path.endswith("/files"):
        return reply(body={"id": about, "object": "file"})
    if b'"stream":true' in request.body:
        return sse([{"choices": [{"delta": {"content": piece}, "index": 0}]} for piece in about] + ["[DONE]"])
    return reply(body={"choices": [{"message": {"role": "assistant", "content": about}, "index": 0}]})


def read(stream):
    with stream:
        for _ in stream:
            pass
    return stream.text


ASK = [
    lambda giga, about: giga.chat(about).choices[0].message.content,
    lambda giga, about: read(giga.stream(about)),
    lambda giga, about: f"q-{giga.embeddings(about).data[0].embedding[0]}-",
    lambda giga, about: giga.upload_file((about + ".txt", b"x")).id,
]


def ask(giga, number):
    """Ask a question; tell whether it was answered, which only its own answer does."""
    about = f"q-{number}-"
    try:
        assert ASK[number % len(ASK)](giga, about) == about, "an answer to another question"
    except (TransportError, ServerError, RateLimitError, AuthenticationError) as error:  # once too often in a row
        return type(error).__name__
    return "answered"


@pytest.mark.parametrize(
    "calls, tls",
    [
        (400, False),
        pytest.param(10_000, False, marks=pytest.mark.long),
        pytest.param(2000, True, marks=pytest.mark.long),
    ],
)
def test_many_threads_get_their_own_answers(calls, tls, api, certs, capsys):
    service, began = Service(calls), time.monotonic()
    running = api(service.calls, oauth=service.oauth, **({"context": certs.context()} if tls else {}))
    base = running.at("localhost")
    giga = new_client(
        credentials=KEY,
        base_url=base + "/api/v1",
        auth_url=base + "/api/v2/oauth",
        max_retries=4,
        ca_bundle_file=str(certs.ca_pem),
        max_connections=PLACES,
    )
    giga.transport.sleep = lambda seconds: None
    with ThreadPoolExecutor(THREADS) as pool:
        ends = list(pool.map(lambda number: ask(giga, number), range(calls)))
    took = time.monotonic() - began
    counts = {end: ends.count(end) for end in sorted(set(ends))}
    with capsys.disabled():
        if calls > 400:
            print(
                f"\n{calls:,} calls of {THREADS} threads in {took:.0f} s: {counts}; met {service.faults}; "
                f"{service.issued} tokens for {service.revoked} revoked; {running.connections} connections"
            )
    assert counts["answered"] >= calls * 0.95
    # One at the start, one for each that was revoked, and one for each three quarters of a life.
    assert 1 <= service.issued <= 1 + service.revoked + took / (LIFE * 0.75) + 1 and service.most_fetching == 1
    assert service.most <= PLACES + THREADS  # uploads hold no place
    assert giga.transport.limiter.free.qsize() == PLACES
    giga.close()
    until(lambda: running.open == 0)


def test_generating_calls_stay_within_their_places(api):
    service = Service(1)
    service.chance = random.Random()
    service.chance.random = lambda: 1.0
    held = threading.Semaphore(0)

    def slow(request, connection):
        fate = service.calls(request, connection)
        with service.lock:
            service.working += 1
            service.most = max(service.most, service.working)
        held.acquire(timeout=0.02)
        with service.lock:
            service.working -= 1
        return fate

    running = api(slow, oauth=service.oauth)
    giga = new_client(credentials=KEY, base_url=running.base_url, auth_url=running.auth_url, max_connections=4)
    with ThreadPoolExecutor(THREADS) as pool:
        ends = list(pool.map(lambda number: ask(giga, number * len(ASK)), range(64)))
    assert set(ends) == {"answered"} and 2 <= service.most <= 4 and running.connections <= 5


@needs_fork
def test_children_of_a_busy_process_work(api):
    service = Service(2)
    service.chance.random = lambda: 1.0
    running = api(service.calls, oauth=service.oauth)
    giga = new_client(credentials=KEY, base_url=running.base_url, auth_url=running.auth_url, max_connections=PLACES)
    assert ask(giga, 0) == "answered"
    stop = threading.Event()

    def work():
        number, ends = 100, set()
        while not stop.is_set():
            ends.add(ask(giga, number))
            number += 1
        return ends

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(work) for _ in range(4)]
        children = []
        for child in range(4):
            children.append(os.fork())
            if children[-1] == 0:
                code = 1
                try:
                    code = 0 if all(ask(giga, 1000 * (child + 1) + number) == "answered" for number in range(8)) else 2
                finally:
                    os._exit(code)
        codes = [os.waitpid(child, 0)[1] for child in children]
        stop.set()
        ends = [each.result() for each in busy]
    assert codes == [0] * 4 and ends == [{"answered"}] * 4
    assert service.issued <= 5 + 5 * 2  # each process renews its own, and no oftener than it ends
