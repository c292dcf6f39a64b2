"""What the tests of streams share: clients, servers that fall silent, and readers that check how a stream ends."""
from __future__ import annotations

import sys
import threading

import pytest

from gigachat_lite import GigaChat, StreamError
from servers import STREAM_BODY, Answer, sse

FRAMINGS = ["chunked", "length", "close"]
ROADS = ["plain", "tls", "proxy"]
SOME = [("plain", "chunked"), ("plain", "length"), ("tls", "close")]  # where time is spent
EVENTS = [event + b"\n\n" for event in STREAM_BODY.split(b"\n\n")[:-1]]  # of the recorded stream; the last is [DONE]


def new_client(running=None, **settings):
    """Make a client of a server that takes nothing from the machine and never pauses before it sends again."""
    given = {"access_token": "token", "timeout": 5, "env_file": False, "environ": {}, "trust_env": False}
    if running is not None:
        given["base_url"] = running.url + "/api/v1"
    giga = GigaChat(**dict(given, **settings))
    giga.transport.sleep = lambda seconds: None
    return giga


def roads(server, proxy, certs, client):
    """Make what starts a server and a client on a plain connection, on TLS, or on TLS through a CONNECT proxy."""

    def start(road, script, **settings):
        if road == "plain":
            running = server(script)
            return running, client(running, **settings)
        running = server(script, context=certs.context())
        settings.update(base_url=running.at("localhost") + "/api/v1", ca_bundle_file=str(certs.ca_pem))
        if road == "proxy":
            settings["proxy"] = proxy(running.port).url
        return running, client(running, **settings)

    return start


def held(events, framing="chunked"):
    """Send these events, and then neither an end nor anything else until the peer closes."""
    answer = sse(events, framing, {"Content-Length": 99999} if framing == "length" else None)
    steps = answer.steps[:-1] if framing == "chunked" else answer.steps

    def handler(request, connection):
        connection.play(Answer(steps, answer.head_size))
        connection.hold()

    return handler


def read(stream):
    """Join the text of a stream from its events."""
    return "".join(chunk.choices[0].delta.content for chunk in stream)


def fails(stream, kind=StreamError):
    """Read a stream to its error, check that it stays one, and give the text and the error."""
    got = []
    with pytest.raises(kind) as caught:
        for chunk in stream:
            got.append(chunk.choices[0].delta.content)
    text, error = "".join(got), caught.value
    assert type(error) is kind and error.partial == text == stream.text and stream.completion is None
    for _ in range(2):
        with pytest.raises(kind) as again:
            next(stream)
        assert again.value.partial == text
    return text, error


class Worker(threading.Thread):
    """Do something in another thread; `result()` gives what came of it, or fails the test when it hangs."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self._work, self._error = work, None
        self.start()

    def run(self):
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error

    def result(self):
        self.join(5)
        assert not self.is_alive(), "it hangs"
        if self._error is not None:
            raise self._error
        return self._value

    def is_reading(self):
        """Tell whether it is in a read of its socket."""
        frame = sys._current_frames().get(self.ident)
        while frame is not None and frame.f_code.co_name != "readinto":
            frame = frame.f_back
        return frame is not None
