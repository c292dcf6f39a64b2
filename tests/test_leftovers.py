"""Answers and files that end or break at an odd place: before the request was read, without an end, amid an upload."""
from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
import urllib3

from clients import new_client
from gigachat_lite import (
    PaymentRequiredError,
    RequestEntityTooLargeError,
    ResponseError,
    TransportError,
)
from servers import STREAM_BODY, STREAM_TEXT, raw, reply, sse

OLD_URLLIB3 = not hasattr(urllib3, "BaseHTTPResponse")  # before 2.0
MODELS = reply(body={"object": "list", "data": []})
LARGE = "x" * (9 << 20)  # more than the kernel takes


class Hasty:
    """Answer GETs well, and any POST by its first bytes, before the rest was sent; then hang up."""

    def __init__(self, status):
        self.status, self.posts, self.stopping = status, 0, False
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            sock = self.listener.accept()[0]
            if self.stopping:
                return sock.close()
            self.threads.append(threading.Thread(target=self.serve, args=(sock,), daemon=True))
            self.threads[-1].start()

    def serve(self, sock):
        with contextlib.suppress(OSError), sock:
            while True:
                head = sock.recv(300)
                if head.startswith(b"POST"):
                    self.posts += 1
                    answer = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" % self.status
                    return sock.sendall(answer)
                if not head:
                    return None
                if head.startswith(b"GET"):
                    sock.sendall(MODELS.wire)

    def stop(self):
        self.stopping = True
        with contextlib.suppress(OSError):
            socket.create_connection(self.listener.getsockname(), 1).close()
        self.threads[0].join(5)
        self.listener.close()


@pytest.fixture
def hasty():
    made = []
    yield lambda status: made.append(Hasty(status)) or made[-1]
    for each in made:
        each.stop()


@pytest.mark.parametrize("reused", [True, False])
@pytest.mark.parametrize("status, error", [(413, RequestEntityTooLargeError), (402, PaymentRequiredError)])
def test_an_answer_before_the_question_was_read_is_heard_and_nothing_is_sent_again(status, error, reused, hasty):
    server = hasty(status)
    giga = new_client(base_url=server.url, access_token="t", timeout=(5, 5))
    if reused:
        giga.get_models()
    with pytest.raises((error, TransportError) if OLD_URLLIB3 else error):  # the old one hears no answer after a reset
        giga.chat(LARGE)
    assert server.posts == 1
    assert giga.get_models().object == "list"


# Some Pythons, as 3.8, 3.9 and that of Debian 12, tell OpenSSL 3 to take a cut for an end.
BLIND = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)


@pytest.mark.parametrize("end, whole", [
    ("fin", True), pytest.param("cut", False, marks=pytest.mark.skipif(BLIND, reason="it is told nothing"))])
def test_a_file_that_ends_with_its_tls_connection_ends_as_tls_has_it(end, whole, api, certs, tmp_path):
    answer = raw(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + b"x" * 1000, end)
    running = api(answer, context=certs.context())
    giga = new_client(base_url=running.base_url, access_token="t", timeout=(5, 5), ca_bundle_file=certs.ca_pem)
    if whole:
        assert giga.download_file("f-1", tmp_path / "file") == 1000
    else:
        with pytest.raises(TransportError, match="broke off"):
            giga.download_file("f-1", tmp_path / "file")


def test_a_page_in_place_of_a_stream_is_not_read_to_its_end(api):
    def answer(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"<p>no stream</p>" + b"x" * (1 << 20))
        connection.hold()  # it never ends

    giga = new_client(base_url=api(answer).base_url, access_token="t", timeout=(5, 5))
    with pytest.raises(ResponseError, match="no event stream: no stream") as caught:
        giga.stream("x")
    assert len(caught.value.content) <= 65536


def test_an_empty_compressed_body_is_empty(api):
    giga = new_client(base_url=api(reply(headers={"Content-Encoding": "gzip"})).base_url, access_token="t")
    with pytest.raises(ResponseError, match="the answer is empty"):
        giga.get_models()


def test_a_stream_goes_on_where_tls_ends_without_a_word_after_its_own_end(api, certs):
    running = api(raw(sse(STREAM_BODY, framing="close").wire, "cut"), context=certs.context())
    giga = new_client(base_url=running.base_url, access_token="t", ca_bundle_file=certs.ca_pem)
    assert "".join(chunk.text for chunk in giga.stream("x")) == STREAM_TEXT
