"""Hold long streams, large files and many clients to bounds, each in a process of its own. The figures are printed.

The servers are in the test's process, and throw away what they are sent.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest

import gigachat_lite

pytestmark = pytest.mark.long
PACKAGE = str(pathlib.Path(gigachat_lite.__file__).parent.parent)
MB = 1 << 20
SIZE = 500 * MB
EVENT = b'data: {"choices":[{"delta":{"content":"\xd0\xb4\xd0\xb0 "},"index":0}],"model":"GigaChat:2.0.28.2"}\n\n'
EVENTS = 100_000
SSE, FILE, JSON = "text/event-stream", "application/octet-stream", "application/json"


def serve(sock):
    """Answer one connection: a stream, a file, or JSON about how much was sent."""
    with sock, sock.makefile("rb") as file:
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = file.readline()
                if not line:
                    return
                head += line
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            left = size = int(fields.get(b"content-length", 0))
            start = b""
            while left:
                piece = file.read(min(left, MB))
                start, left = start or piece[:4000], left - len(piece)
            path = head.split(b" ")[1]
            if b'"stream":true' in start:
                pieces, kind = [EVENT * 100] * (EVENTS // 100) + [b"data: [DONE]\n\n"], SSE
            elif path.endswith(b"/content"):
                pieces, kind = [bytes(MB)] * (SIZE // MB), FILE
            else:
                pieces, kind = [json.dumps({"id": "f", "bytes": size, "data": []}).encode()], JSON
            length = sum(map(len, pieces))
            sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode())
            for piece in pieces:
                sock.sendall(piece)


@pytest.fixture(scope="module")
def url():
    def accept():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) if hasattr(socket, "create_server") else socket.socket() as listener:
        if not listener.getsockname()[1]:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        listener.shutdown(socket.SHUT_RDWR)


SCRIPT = """if True:
    import gc, os, re, sys, threading, time
    from gigachat_lite import GigaChat

    def client():
        return GigaChat(base_url=sys.argv[1], access_token="t", env_file=False, trust_env=False, max_connections=1)

    def peak():
        with open("/proc/self/status") as status:
            return int(re.search(r"VmHWM:\\s+(\\d+)", status.read()).group(1)) * 1024

    def handles():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    with client() as giga:
        giga.get_models()
    with open("big", "wb") as file:
        file.truncate(40 << 20)  # no file that the service takes is larger
    before, began, first = peak(), time.time(), handles()
"""
WORK = {
    "a stream of 100,000 events": (
        """
    count = 0
    with client() as giga, giga.stream("?") as stream:
        for chunk in stream:
            count += 1
    assert count == 100_000 and len(stream.text) == 300_000, count
""",
        24,
    ),
    "a download of 500 MB": (
        """
    with client() as giga:
        assert giga.download_file("f", "file") == os.path.getsize("file") == 500 << 20
""",
        8,
    ),
    "an upload of 40 MB": (
        """
    with client() as giga, open("big", "rb") as file:
        assert giga.upload_file(file).bytes > 40 << 20
""",
        100,  # the file and the form that holds it
    ),
    "a thousand clients, closed": (
        """
    for _ in range(1000):
        with client() as giga:
            giga.get_models()
""",
        8,
    ),
    "a thousand clients, forgotten": (
        """
    for _ in range(1000):
        giga = client()
        giga.get_models()
        del giga
""",
        8,
    ),
}
END = """
    gc.collect()
    assert handles() == first, (first, handles())
    print(f"{(peak() - before) / 2**20:.1f} MB more at its peak, {time.time() - began:.1f} s")
"""


@pytest.mark.parametrize("name", WORK)
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them")
def test_memory_sockets_and_threads_are_bounded(name, url, tmp_path, capsys):
    script, most = WORK[name]
    environ = {**os.environ, "PYTHONPATH": PACKAGE}
    command = [sys.executable, "-W", "error", "-c", SCRIPT + script + END, url]
    done = subprocess.run(command, cwd=str(tmp_path), env=environ, capture_output=True, text=True, timeout=250)
    for path in tmp_path.iterdir():
        path.unlink()
    assert (done.returncode, done.stderr) == (0, ""), done.stderr  # a ResourceWarning would stand there
    with capsys.disabled():
        print(f"\n{name}: {done.stdout.strip()}")
    assert float(done.stdout.split(" MB")[0]) < most
