"""A peer of the benchmark at work: ``work.py PEER BUNDLE`` reads orders from standard input, one JSON list a line.

An order is the name of a piece of work, the address of the API, how often to do it, and whether with a new client; the
answer is a JSON object with the CPU seconds and the seconds on the wall that it took, of this process alone.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import threading
import time
from statistics import median
from typing import Any, Callable, Dict, Iterator, List

QUESTION = "Какие факторы влияют на стоимость страховки на дом?"
TEXTS = ["Сколько стоит страховка?"] * 256
KEY = base64.b64encode(b"00000000-0000-4000-8000-000000000001:00000000-0000-4000-8000-000000000002").decode("ascii")
THREADS = 32
CONNECTIONS = 200  # for as many streams at a time


class Official:
    """The official library, as its README has it."""

    def __init__(self, url: str, bundle: str) -> None:
        from gigachat import GigaChat

        self.client: Any = GigaChat(
            base_url=url,
            auth_url=auth_of(url),
            credentials=KEY,
            model="GigaChat",
            ca_bundle_file=bundle,
            timeout=60,
            max_connections=CONNECTIONS,
        )

    def chat(self) -> str:
        """Ask, and take the text."""
        return self.client.chat(QUESTION).choices[0].message.content

    def stream(self) -> Iterator[str]:
        """Ask, and take each piece of the text."""
        for chunk in self.client.stream(QUESTION):
            yield chunk.choices[0].delta.content

    def embeddings(self) -> List[List[float]]:
        """Get 256 vectors of 1024 numbers."""
        return [item.embedding for item in self.client.embeddings(TEXTS).data]

    def models(self) -> Any:
        """Make the smallest call there is."""
        return self.client.get_models().data[0]


class Ours(Official):
    """This library: the same calls."""

    def __init__(self, url: str, bundle: str) -> None:
        from gigachat_lite import GigaChat

        self.client = GigaChat(
            base_url=url,
            auth_url=auth_of(url),
            credentials=KEY,
            model="GigaChat",
            ca_bundle_file=bundle,
            max_connections=CONNECTIONS,
            allow_http=True,
            env_file=False,
        )


class Raw:
    """What one writes by hand with requests, without looking twice."""

    def __init__(self, url: str, bundle: str) -> None:
        import requests

        self.url = url
        self.session = requests.Session()
        self.session.verify = bundle
        answer = self.session.post(auth_of(url), data={"scope": "GIGACHAT_API_PERS"}, headers={"RqUID": "1"})
        self.session.headers["Authorization"] = "Bearer " + answer.json()["access_token"]

    def _post(self, path: str, body: Dict[str, Any], stream: bool = False) -> Any:
        response = self.session.post(self.url + path, json=body, stream=stream, timeout=60)
        response.raise_for_status()
        return response

    def _chat(self, **more: Any) -> Any:
        body = {"model": "GigaChat", "messages": [{"role": "user", "content": QUESTION}], **more}
        return self._post("/chat/completions", body, bool(more))

    def chat(self) -> str:
        """Ask, and take the text."""
        return self._chat().json()["choices"][0]["message"]["content"]

    def stream(self) -> Iterator[str]:
        """Ask, and take each piece of the text."""
        for line in self._chat(stream=True).iter_lines():
            if line == b"data: [DONE]":
                return
            if line.startswith(b"data: "):
                yield json.loads(line[6:])["choices"][0]["delta"]["content"]

    def embeddings(self) -> List[List[float]]:
        """Get 256 vectors of 1024 numbers."""
        data = self._post("/embeddings", {"model": "Embeddings", "input": TEXTS}).json()["data"]
        return [item["embedding"] for item in data]

    def models(self) -> Any:
        """Make the smallest call there is."""
        return self.session.get(self.url + "/models", timeout=60).json()["data"][0]


PEERS: Dict[str, Callable[[str, str], Any]] = {"official": Official, "raw": Raw, "ours": Ours}


def auth_of(url: str) -> str:
    """Find the address of the tokens beside that of the API."""
    return "/".join(url.split("/", 3)[:3]) + "/plain/oauth"


def in_threads(work: Callable[[], Any], count: int) -> None:
    """Do a piece of work ``count`` times in all, in 32 threads; an error of one of them is raised here."""
    errors: List[BaseException] = []

    def repeat() -> None:
        try:
            for _ in range(count // THREADS):
                work()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=repeat) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def drain(stream: Iterator[str]) -> None:
    """Read a stream to its end, as somebody does who shows it."""
    size = 0
    for text in stream:
        size += len(text)
    assert size >= 0


def first_event(peer: Any, count: int) -> Dict[str, float]:
    """Measure how long the first event takes, reading the rest outside the measure."""
    spent = 0.0
    for _ in range(count):
        began = time.perf_counter()
        stream = iter(peer.stream())
        next(stream)
        spent += time.perf_counter() - began
        drain(stream)
    return {"cpu": 0.0, "wall": spent}


def many_streams(client: Any, count: int) -> Dict[str, float]:
    """Read so many streams at the same time, in one event loop, and take the median of the times to a first event."""
    firsts: List[float] = []

    async def read() -> None:
        size, first = 0, 0.0
        async for chunk in client.astream(QUESTION):
            first = first or time.perf_counter()
            size += len(chunk.choices[0].delta.content)
        assert size
        firsts.append(first)

    async def read_all() -> Dict[str, float]:
        await client.aget_models()
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*[read() for _ in range(count)])
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "first": median(firsts) - wall}
        await client.aclose()
        return spent

    return asyncio.run(read_all())


def memory(peer: Any) -> Dict[str, float]:
    """Measure what one answer full of vectors keeps of memory while it is held, in bytes."""
    import tracemalloc

    peer.models()
    tracemalloc.start()
    held = peer.client.embeddings(TEXTS) if hasattr(peer, "client") else peer.embeddings()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del held
    return {"kept": size}


def do(peer: Any, work: str, count: int) -> Dict[str, float]:
    """Do a piece of work so many times, and say what it took."""
    if work == "first":
        return first_event(peer, count)
    if work == "memory":
        return memory(peer)
    if work == "streams":
        return many_streams(peer.client, count)
    wall, cpu = time.perf_counter(), time.process_time()
    if work == "threads":
        in_threads(peer.chat, count)
    else:
        for _ in range(count):
            if work == "stream":
                drain(peer.stream())
            else:
                getattr(peer, work)()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def main() -> None:
    """Obey until the orders end; a client is kept for each address."""
    make, bundle = PEERS[sys.argv[1]], sys.argv[2]
    peers: Dict[str, Any] = {}
    for line in sys.stdin:
        work, url, count, anew = json.loads(line)
        if anew or url not in peers:
            peers[url] = make(url, bundle)
        print(json.dumps(do(peers[url], work, count)), flush=True)


if __name__ == "__main__":
    main()
