"""Measure what an upload and a download of 100 MB take of memory: ``python tests/bench/memory.py [--tls]``.

Each figure is of a fresh process that has made its client and one small call before: the peak above that, of Python's
own objects (tracemalloc) and, in another process, of the whole one (VmHWM where there is one, else ru_maxrss). What
the work has to load of modules counts, so that ours is a megabyte, with ``--size 10`` as with ``--size 1000``. The
server is a process of its own, which throws away what it gets, and makes up what it sends. Beside this library stand
raw requests and, where it is installed, the official library. It takes about half a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from statistics import median
from typing import Any, Callable, Dict, List, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
PIECE = bytes(range(256)) * 256
FILE = {"id": "f-1", "object": "file", "created_at": 1, "filename": "big.bin", "purpose": "general"}


# ---- The server: memory.py serve SIZE [FOLDER]


def talk(sock: socket.socket, size: int, context: Optional[ssl.SSLContext]) -> None:
    """Answer the requests of one connection, without keeping what comes or having what goes."""
    if context is not None:
        sock = context.wrap_socket(sock, server_side=True)
    buffer = memoryview(bytearray(1 << 16))
    with sock, sock.makefile("rb") as file:
        for line in file:
            length = 0
            for field in iter(file.readline, b"\r\n"):
                name, _, value = field.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            left = length
            while left:
                left -= file.readinto(buffer[: min(left, len(buffer))]) or left
            body = json.dumps({**FILE, "bytes": length, "data": []}).encode("ascii")
            if b"/content" in line:
                send_head(sock, "application/octet-stream", size)
                for done in range(0, size, len(PIECE)):
                    sock.sendall(PIECE[: size - done])
            else:
                send_head(sock, "application/json", len(body))
                sock.sendall(body)


def send_head(sock: socket.socket, kind: str, length: int) -> None:
    """Begin an answer of this length."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, length)
    sock.sendall(head.encode("ascii"))


def serve(size: int, folder: str) -> None:
    """Listen until standard input ends; with a folder over TLS, whose authority is left there."""
    context = None
    if folder:
        from server import make_context

        context = make_context(folder)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0], size, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


# ---- A piece of work, in a process of its own: memory.py work NAME HOW URL FILE BUNDLE


def ours(url: str, bundle: str) -> Any:
    """Make a client of this library, and a small call."""
    from gigachat_lite import GigaChat

    giga = GigaChat(
        base_url=url, access_token="t", ca_bundle_file=bundle or None, env_file=False, environ={}, trust_env=False
    )
    giga.get_models()
    return giga


def official(url: str, bundle: str) -> Any:
    """Make a client of the official library, and a small call."""
    from gigachat import GigaChat

    giga = GigaChat(base_url=url, access_token="t", ca_bundle_file=bundle or None, timeout=60)
    giga.get_models()
    return giga


def raw(url: str, bundle: str) -> Any:
    """Make a session, and a small call."""
    import requests

    session = requests.Session()
    session.verify = bundle or True
    session.get(url + "/models").raise_for_status()
    return session


def post(session: Any, url: str, path: str) -> int:
    """Upload as the documentation of requests has it."""
    with open(path, "rb") as file:
        response = session.post(url + "/files", files={"file": file}, data={"purpose": "general"})
    size: int = response.json()["bytes"]
    return size


def content(session: Any, url: str, path: str) -> int:
    """Download in one piece."""
    with open(path + ".got", "wb") as file:
        return file.write(session.get(url + "/files/f-1/content").content)


def iter_content(session: Any, url: str, path: str) -> int:
    """Download piece by piece."""
    with session.get(url + "/files/f-1/content", stream=True) as response, open(path + ".got", "wb") as file:
        return sum(file.write(piece) for piece in response.iter_content(1 << 16))


def official_upload(giga: Any, url: str, path: str) -> int:
    """Upload as the official library's examples do."""
    with open(path, "rb") as file:
        size: int = giga.upload_file(file).bytes_
    return size


WORKS: Dict[str, Any] = {  # title: who does it, and how
    "upload, ours: upload_file(path)": (ours, lambda giga, url, path: giga.upload_file(path).bytes),
    "upload, official: upload_file(open(path))": (official, official_upload),
    "upload, raw: requests.post(files=)": (raw, post),
    "download, ours: download_file": (ours, lambda giga, url, path: giga.download_file("f-1", path + ".got")),
    "download, raw: iter_content": (raw, iter_content),
    "download, raw: response.content": (raw, content),
    "download, ours: get_image": (ours, lambda giga, url, path: len(giga.get_image("f-1").content)),
    "download, official: get_image": (official, lambda giga, url, path: len(giga.get_image("f-1").content)),
}


def status(name: str) -> int:
    """Read a figure of this process from the system, in bytes; 0 where it has no such figures."""
    try:
        with open("/proc/self/status") as file:
            return int(re.findall(name + r":\s+(\d+) kB", file.read())[0]) << 10
    except (OSError, IndexError):
        return 0


def resident() -> Callable[[], int]:
    """Begin to watch the memory of this process, and return what tells how far it has risen since."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak so far is forgotten
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1 << 10
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    start = status("VmRSS")
    return lambda: status("VmHWM") - start


def work(title: str, how: str, url: str, path: str, bundle: str) -> None:
    """Do a piece of work once, and print its size, its peak above what was there before, and its seconds."""
    make, do = WORKS[title]
    peer = make(url, bundle)
    risen: Callable[[], int]
    if how == "tracemalloc":
        tracemalloc.start()
        risen = lambda: tracemalloc.get_traced_memory()[1]  # noqa: E731 -- what was there before is not traced
    else:
        risen = resident()
    began = time.perf_counter()
    size = do(peer, url, path)
    seconds = time.perf_counter() - began
    print(json.dumps({"size": size, "peak": risen(), "seconds": seconds}))


# ---- The table


def measure(title: str, how: str, url: str, path: str, bundle: str, size: int) -> Dict[str, float]:
    """Have a piece of work done in a fresh process."""
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env.update(PYTHONPATH=CHECKOUT, PYTHONHASHSEED="0")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        env.pop(name, None)
    command = [sys.executable, os.path.abspath(__file__), "work", title, how, url, path, bundle]
    found: Dict[str, float] = json.loads(subprocess.check_output(command, env=env).decode("ascii"))
    assert found["size"] >= size, "not all of it came over"
    return found


def show(bytes_: float) -> str:
    """Write a number of bytes in MB."""
    return "%.2f MB" % (bytes_ / 1e6)


def table(url: str, path: str, bundle: str, size: int, rounds: int) -> None:
    """Print a row for each piece of work, the median of its rounds."""
    print("| %-42s | %-12s | %-12s | %-7s |" % ("work", "tracemalloc", "resident", "seconds"))
    print("|%s|%s|%s|%s|" % ("-" * 44, "-" * 14, "-" * 14, "-" * 9))
    for title, (make, _) in WORKS.items():
        if make is official and importlib.util.find_spec("gigachat") is None:
            continue
        found: Dict[str, List[Dict[str, float]]] = {
            how: [measure(title, how, url, path, bundle, size) for _ in range(rounds)]
            for how in ("tracemalloc", "resident")
        }
        peaks = [show(median(one["peak"] for one in found[how])) for how in ("tracemalloc", "resident")]
        seconds = median(one["seconds"] for one in found["resident"])
        print("| %-42s | %12s | %12s | %7.2f |" % (title, peaks[0], peaks[1], seconds), flush=True)


def main() -> None:
    """Make the file, start the server, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--tls", action="store_true", help="over HTTPS (needs trustme)")
    parser.add_argument("--size", type=int, default=100, metavar="MB", help="of the file; default 100")
    parser.add_argument("--rounds", type=int, default=3, help="of each; default 3")
    options = parser.parse_args()
    size = options.size * 1000 * 1000
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "big.bin")
        with open(path, "wb") as file:
            for done in range(0, size, len(PIECE)):
                file.write(PIECE[: size - done])
        command = [sys.executable, os.path.abspath(__file__), "serve", str(size), folder if options.tls else ""]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            scheme, bundle = ("https", os.path.join(folder, "bundle.pem")) if options.tls else ("http", "")
            url = "%s://127.0.0.1:%d/api/v1" % (scheme, int(server.stdout.readline()))
            table(url, path, bundle, size, options.rounds)
        finally:
            server.communicate(b"")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        main()
