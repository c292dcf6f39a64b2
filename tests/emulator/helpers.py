"""What tests of the emulator share: questions, calls of our client, and HTTP without it."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import socket
import threading

import pytest

from clients import new_client
from gigachat_lite.emulator import Emulator

LONG = pytest.mark.long
QUESTION = "Расскажи о Байкале"
ASKED = {"model": "GigaChat", "messages": [{"role": "user", "content": QUESTION}]}
STREAMED = dict(ASKED, stream=True)
CHAT, CHAT2 = "/api/v1/chat/completions", "/api/v2/chat/completions"
SYNTAX = (400, "Your request contains invalid JSON syntax.")
WEATHER = {"name": "getWeather", "description": "Погода в городе", "parameters": {
    "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}


def v1(text, **fields):
    """Return a question of the first version."""
    message = {"role": "user", "content": text, **fields.pop("message", {})}
    return {"model": "GigaChat-2-Max", "messages": [message], **fields}


def v2(text, *more, **fields):
    """Return a question of the second version."""
    message = {"role": "user", "content": [{"text": text}]}
    return {"model": "GigaChat-3-Ultra", "messages": [message, *more], **fields}


def refused(answer):
    """Return status and text of an error."""
    assert answer.content.endswith(b"}\n") and list(answer.json) == ["status", "message"]
    return answer.status, answer.json["message"]


def upload(caller, data, mime="text/plain", name="a.txt", **headers):
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {mime}\r\n\r\n'
    body = head.encode() + data + b"\r\n--x--\r\n"
    answer = caller.ask("POST", "/v1/files", body, Content_Type="multipart/form-data; boundary=x", **headers)
    return answer.json["id"]


def client_of(emulator, **settings):
    """Make a client of an emulator that makes no pause between its tries."""
    return new_client(**dict(dict(emulator.config, retry_backoff_factor=0), **settings))


def streamed(giga, payload=QUESTION, **options):
    return "".join(chunk.choices[0].delta.content for chunk in giga.stream(payload, **options))


CALLS = {
    "chat": lambda giga, **options: giga.chat(QUESTION, **options).choices[0].message.content,
    "stream": streamed,
    "embeddings": lambda giga, **options: len(giga.embeddings(["раз"], **options).data),
    "models": lambda giga, **options: len(giga.get_models(**options).data),
}


def outcome(work, *args, **options):
    """Return what a call returned, or the error that it raised."""
    try:
        return work(*args, **options)
    except Exception as error:
        return error


def asked(emulator, ending):
    return [request for request in emulator.requests if request.path.endswith(ending)]


class Raw:
    """Speak HTTP to an emulator over one connection that is closed at the end of `with`."""

    def __init__(self, emulator, token="", port=None):
        self.connection = http.client.HTTPConnection(emulator.host, port or emulator.port, timeout=5)
        self.token, self.headers = token, {"User-Agent": "tests", "Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = "Bearer " + token

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def send(self, body=None, path=CHAT, method="POST", **headers):
        """Send a request and return the response, its body still to be read."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        self.connection.request(method, path, data, dict(self.headers, **given))
        return self.connection.getresponse()

    def ask(self, *args, **options):
        """Send a request; return status and body."""
        response = self.send(*args, **options)
        return response.status, response.read()


def talk(emulator, sent, shut=False):
    """Send bytes over a connection of their own, and return all that comes back until it ends."""
    with socket.create_connection((emulator.host, emulator.port), 5) as sock:
        sock.sendall(sent)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def request_bytes(token, body=STREAMED):
    data = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nUser-Agent: tests\r\nAuthorization: Bearer {token}\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def open_files():
    """List the descriptors of this process, where the system tells."""
    try:
        return sorted(os.listdir("/proc/self/fd"))
    except OSError:
        return []


def emulator_threads():
    return [thread for thread in threading.enumerate() if "emulator" in thread.name]


@contextlib.contextmanager
def nothing_left():
    """Check that threads and descriptors are what they were."""
    threads, files = emulator_threads(), open_files()
    yield
    assert emulator_threads() == threads
    if len(open_files()) > len(files):
        gc.collect()  # what a client forgot is no matter here
        assert len(open_files()) <= len(files)


def honest_answers():
    """Return what each call gives when nothing is spoilt."""
    with Emulator() as emulator, new_client(**emulator.config) as giga:
        return {name: call(giga) for name, call in CALLS.items()}
