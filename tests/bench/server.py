"""The server of the benchmark: ready-made bytes over HTTP and HTTPS, in a process of its own.

It is started by ``run.py`` with a folder to put its certificates into, prints one line of JSON with its ports, and ends
when its standard input does. The first part of a path says in which form the answer comes: ``/plain/api/v1/…``,
``/thought`` (after 5 ms), ``/burst1``, ``/burst16``, ``/burst`` (a short one), ``/paced``, ``/close`` (a stream without
framing that ends with the connection), ``/once`` (the connection is closed after the answer).
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import threading
import time
from typing import Any, Dict, List

EVENTS = 2000
PACED_EVENTS = 100
PACE = 0.003
THOUGHT = 0.005  # seconds until the answer, where many wait at a time
SILENCE = 0.2  # between the first event of a stream without framing and the rest

HEADERS = """\
Server: nginx
Date: Thu, 01 Jan 2026 10:00:00 GMT
Connection: keep-alive
Keep-Alive: timeout=15
Vary: Origin
X-Request-Id: 5f3c2c0e-6c0b-4f0e-9d43-0a5d6a0f7b11
X-Session-Id: 0d9b3f57-5a0e-4a6d-8f0f-5f7a6a1a7c22
Access-Control-Allow-Credentials: true
Access-Control-Allow-Headers: Origin, X-Requested-With, Content-Type, Accept, Authorization
Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS
Access-Control-Allow-Origin: https://example.com
Cache-Control: no-cache
Strict-Transport-Security: max-age=31536000; includeSubDomains
Allow: GET, POST
"""
ABOUT = {"created": 1767261600, "model": "GigaChat:2.0.28.2", "object": "chat.completion"}
USAGE = {"prompt_tokens": 17, "completion_tokens": 42, "total_tokens": 59, "precached_prompt_tokens": 2}
ANSWER = "На стоимость страховки дома влияют его возраст, материал стен, площадь и как часто в округе бывают пожары."


def dumps(value: Any) -> bytes:
    """Write JSON as the service does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def head(kind: str, framing: str) -> bytes:
    """Make the head of an answer: sixteen headers, as many as the service sends."""
    lines = HEADERS + "Content-Type: " + kind + "\n" + framing + "\n\n"
    return lines.replace("\n", "\r\n").encode("ascii")


def whole(value: Any, status: str = "200 OK") -> bytes:
    """Make an answer of known length."""
    body = dumps(value)
    first = ("HTTP/1.1 %s\r\n" % status).encode("ascii")
    return first + head("application/json; charset=utf-8", "Content-Length: %d" % len(body)) + body


def chunked(pieces: List[bytes]) -> bytes:
    """Frame pieces as chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def sse(count: int) -> List[bytes]:
    """Make the events of a stream, 177 bytes each but for the last ones."""
    event = b"data: " + dumps({"choices": [{"delta": {"content": " и ещё два слова"}, "index": 0}], **ABOUT}) + b"\n\n"
    end = {"choices": [{"delta": {"content": ""}, "index": 0, "finish_reason": "stop"}], **ABOUT, "usage": USAGE}
    return [event] * (count - 1) + [b"data: " + dumps(end) + b"\n\n", b"data: [DONE]\n\n"]


def joined(events: List[bytes], by: int) -> List[bytes]:
    """Join so many events to one piece."""
    return [b"".join(events[i : i + by]) for i in range(0, len(events), by)]


def answers() -> Dict[str, bytes]:
    """Make every answer before the first request comes."""
    expires = int(time.time() + 1800) * 1000
    message = {"message": {"content": ANSWER, "role": "assistant"}, "index": 0, "finish_reason": "stop"}
    vectors = [[((i * 1024 + j) * 7919 % 200003) / 100001 - 1 for j in range(1024)] for i in range(256)]
    data = [
        {"object": "embedding", "embedding": vector, "index": i, "usage": {"prompt_tokens": 6}}
        for i, vector in enumerate(vectors)
    ]
    start = b"HTTP/1.1 200 OK\r\n" + head("text/event-stream", "Transfer-Encoding: chunked")
    models = [{"id": "GigaChat", "object": "model", "owned_by": "salutedevices", "type": "chat"}]
    return {
        "oauth": whole({"access_token": "t" * 1000, "expires_at": expires}),
        "chat": whole({"choices": [message], **ABOUT, "usage": USAGE}),
        "models": whole({"data": models, "object": "list"}),
        "embeddings": whole({"object": "list", "data": data, "model": "Embeddings"}),
        "burst1": start + chunked(sse(EVENTS)) + b"0\r\n\r\n",
        "burst16": start + chunked(joined(sse(EVENTS), 16)) + b"0\r\n\r\n",
        "paced": start,
        "burst": start + chunked(sse(PACED_EVENTS)) + b"0\r\n\r\n",
        "close": b"HTTP/1.1 200 OK\r\n" + head("text/event-stream", "Connection: close"),
        "missing": whole({"status": 404, "message": "Not Found"}, "404 Not Found"),
    }


class Talk(asyncio.Protocol):
    """One connection."""

    ready: Dict[str, bytes] = {}
    opened = 0

    def connection_made(self, transport: Any) -> None:
        """Count the connection."""
        Talk.opened += 1
        self.wire = transport
        self.input = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self.input += data
        while True:
            end = self.input.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            text = self.input[:end].lower()
            at = text.find(b"\r\ncontent-length:")
            length = int(text[at + 17 : text.index(b"\r\n", at + 17)]) if at > 0 else 0
            if len(self.input) < end + length:
                return
            path, body = text.split(b" ", 2)[1].decode("ascii"), self.input[end : end + length]
            self.input = self.input[end + length :]
            self.answer(path.strip("/").split("/"), body)

    def answer(self, path: List[str], body: bytes) -> None:
        """Send what a path asks for."""
        form, name = path[0], path[-1]
        if name == "opened":
            self.wire.write(whole(Talk.opened))
        elif name == "completions" and b'"stream"' in body:
            self.wire.write(self.ready[form])
            if form == "paced":
                self.drip(sse(PACED_EVENTS))
            elif form == "close":
                events = sse(2)
                self.wire.write(events[0])
                asyncio.get_event_loop().call_later(SILENCE, self.end, b"".join(events[1:]))
        elif form == "thought" and name == "completions":
            asyncio.get_event_loop().call_later(THOUGHT, self.wire.write, self.ready["chat"])
        elif form == "once":
            self.end(self.ready[name].replace(b"keep-alive", b"close", 1))
        else:
            self.wire.write(self.ready.get("chat" if name == "completions" else name, self.ready["missing"]))

    def drip(self, events: List[bytes]) -> None:
        """Send one event now, and the others in their time."""
        if events:
            self.wire.write(chunked(events[:1]))
            asyncio.get_event_loop().call_later(PACE, self.drip, events[1:])
        else:
            self.wire.write(b"0\r\n\r\n")

    def end(self, data: bytes) -> None:
        """Send the rest and close."""
        self.wire.write(data)
        self.wire.close()


def make_context(folder: str) -> ssl.SSLContext:
    """Make a certificate, and leave the usual roots with ours among them in ``folder``, as a bank's bundle has it."""
    import certifi
    import trustme

    authority = trustme.CA()
    with open(certifi.where(), "rb") as file:
        usual = file.read()
    with open(os.path.join(folder, "bundle.pem"), "wb") as file:
        file.write(usual + b"\n" + authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def serve(folder: str) -> None:
    """Listen until standard input ends."""
    loop = asyncio.get_event_loop()
    Talk.ready = answers()
    http = await loop.create_server(Talk, "127.0.0.1", 0, backlog=512)
    https = await loop.create_server(Talk, "127.0.0.1", 0, backlog=512, ssl=make_context(folder))
    ports = {name: server.sockets[0].getsockname()[1] for name, server in (("http", http), ("https", https))}
    print(json.dumps(ports), flush=True)
    done = asyncio.Event()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=watch, daemon=True).start()
    await done.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
