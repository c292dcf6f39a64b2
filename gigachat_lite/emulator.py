"""Serve an offline GigaChat on this machine: OAuth and API, without a key, a network or a dependency.

    with Emulator() as emu:
        giga = GigaChat(**emu.config)

It answers as the service was recorded, down to the order of keys and the bytes of a stream, and says something
sensible in Russian, the same each time. `enqueue()` scripts the next answers, `requests` remembers what was asked.
It speaks HTTP on bare sockets, to be cheap enough to sit under a benchmark and to survive any bytes. From a shell:
`python -m gigachat_lite.emulator --port 8090`. The file imports nothing of the package and can be copied alone.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import uuid
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable, Iterator, Mapping, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["Emulator", "Request", "main"]

MAX_HEAD, MAX_BODY, MAX_REMEMBERED, MAX_IDLE = 64 << 10, 100 << 20, 10_000, 75.0  # bytes, requests, seconds
SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")
MODELS = {  # as recorded, in its order
    "chat": (
        "GigaChat", "GigaChat-2", "GigaChat-2-Max", "GigaChat-2-Max-preview", "GigaChat-2-Pro",
        "GigaChat-2-Pro-preview", "GigaChat-2-preview", "GigaChat-Max", "GigaChat-Max-preview", "GigaChat-Plus",
        "GigaChat-Pro", "GigaChat-Pro-preview", "GigaChat-preview"),
    "filter": ("GigaFilter",),
    "aicheck": ("GigaCheckClassification", "GigaCheckDetection"),
    "embedder": ("Embeddings", "Embeddings-2", "EmbeddingsGigaR", "GigaEmbeddings-3B-2025-09"),
}
VERSIONS = {"GigaChat-2-Max": "2.0.30.01"}  # the other chat models answer as 2.0.28.2
# Fixed, so that a .env written once goes on working with every later emulator; worth nothing anywhere else.
CLIENT_ID, CLIENT_SECRET = "e0000000-0000-4000-8000-000000000001", "e0000000-0000-4000-8000-000000000002"

_JSON, _FORM = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
_THREAD = "gigachat-emulator"
_REASONS = {int(status): status.phrase for status in HTTPStatus}
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


# ---- Requests: what arrived, as a test wants to look at it


class Headers(Mapping[str, str]):
    """Hold header fields, found in any case of their names; the `repr` masks secrets, for test output gets public."""

    def __init__(self, fields: dict[str, str]) -> None:
        """Take fields whose names are in lower case already."""
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        secret = ("authorization", "proxy-authorization", "cookie")
        return repr({k: re.sub(r"(?s)^(\w+ )?.*", r"\1***", v) if k in secret else v for k, v in self.items()})


class Request:
    """Hold one request: `path` still percent-encoded, `raw` the bytes of the body, `body` what they mean.

    `connection` counts the connections of the emulator from 1, `time` is on the monotonic clock.
    """

    def __init__(self, method: str, target: str, version: str, headers: Headers, raw: bytes, connection: int) -> None:
        """Take a request apart; `target` may be in the absolute form that a client sends to a proxy."""
        self.path, _, query = re.sub(r"^\w+://[^/?]*", "", target).partition("?")
        self.query: dict[str, str] = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        self.method, self.version, self.headers, self.raw = method, version, headers, raw
        self.connection, self.time = connection, time.monotonic()

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path}, headers={self.headers!r}, body={self.body!r})"

    @property
    def body(self) -> Any:
        """Return the body as parsed JSON, as a dict of form fields, or as bytes where it is neither."""
        kind = self.headers.get("content-type", "").lower()
        if kind.startswith(_FORM):
            return self.form()
        try:
            return self.json() if "json" in kind or not kind else self.raw
        except ValueError:
            return self.raw

    def form(self) -> dict[str, str]:
        """Return the body as the fields of a form, whatever its declared type."""
        return dict(parse_qsl(self.raw.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> Any:
        """Return the body as JSON, whatever its declared type; ValueError where it is none."""
        try:
            return json.loads(self.raw.decode("utf-8"))
        except RecursionError:  # thousands of brackets
            raise ValueError("nested too deeply") from None


# ---- Answers: status, headers and bytes, before any socket is touched


class _Answer(NamedTuple):
    """Describe an answer: `headers` beat the usual ones (None takes one away), `events` make it a stream."""

    status: int = 200
    body: bytes = b""
    content_type: str = _JSON
    headers: Mapping[str, str | None] = {}
    events: list[bytes] | None = None


class _Refused(Exception):
    """Leave a handler with an answer that is an error."""

    def __init__(self, *answer: Any) -> None:
        self.answer = _Answer(*answer)


def _dumps(value: Any) -> bytes:
    """Return compact JSON, letters as they are; half a surrogate pair, which an escape may hold, becomes a `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _refuse(status: int, message: str, code: int | None = None) -> _Refused:
    """Return the service's error: the OAuth host has a `code` where the API has `status`; a newline ends it."""
    first = {"status": status} if code is None else {"code": code}
    return _Refused(status, _dumps({**first, "message": message}) + b"\n")


def _refuse_page(status: int) -> _Refused:
    """Return the error page of the gateway, which stands before the API and speaks HTML."""
    title = f"{status} {_REASONS[status]}"
    head, foot = f"<head><title>{title}</title></head>", "<hr><center>nginx</center>"
    lines = ("<html>", head, "<body>", f"<center><h1>{title}</h1></center>", foot, "</body>", "</html>", "")
    return _Refused(status, "\r\n".join(lines).encode("ascii"), "text/html")


def _render_head(answer: _Answer, request: Request | None, close: bool) -> bytes:
    """Return status line and headers; the OAuth host sends no ids and, in the recordings, no `Date`."""
    content_type, fields = answer.content_type, [("Server", "SynGX")]
    if request is not None and request.path.endswith("/oauth"):
        content_type = content_type.replace(_JSON, "application/json")
        fields.append(("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate"))
    else:
        asked: Mapping[str, str] = request.headers if request is not None else {}
        fields += [("Date", formatdate(usegmt=True)), ("Allow", "GET, POST")]
        fields += [(name, asked.get(name.lower()) or str(uuid.uuid4())) for name in ("X-Request-Id", "X-Session-Id")]
        fields += [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN")]
    fields += [("Content-Type", content_type), ("Connection", "close" if close else "keep-alive")]
    if answer.events is None:
        fields.append(("Content-Length", str(len(answer.body))))
    elif request is None or request.version != "1.0":  # which knows only the end of the connection
        fields.append(("Transfer-Encoding", "chunked"))
    if answer.headers:
        given = {name.lower() for name in answer.headers}
        fields = [field for field in fields if field[0].lower() not in given]
        fields += [(name, value) for name, value in answer.headers.items() if value is not None]
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}", *map(": ".join, fields), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


# ---- Connection: HTTP/1.1 on a bare socket


_REQUEST_LINE = re.compile(rb"([A-Za-z]+) ([!-~\x80-\xff]+) HTTP/(1\.[01])\r?\n")
# A lone carriage return in a value would be echoed with an id, and so forge a header of the answer.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})[ \t]*(?:;.*)?\r?\n")


class _Connection:
    """Read requests from a socket and write answers to it; what the network does wrong leaves as OSError."""

    def __init__(self, sock: socket.socket, number: int, pause: Callable[[], bool]) -> None:
        """Take over a socket; `pause` waits between two events of a stream and tells whether to go on."""
        sock.settimeout(MAX_IDLE)
        self._sock, self._number, self._pause = sock, number, pause
        self._reader = sock.makefile("rb")

    def read_request(self) -> Request | None:
        """Return the next request, None at the end of the connection; raise `_Refused` for what is not HTTP."""
        lines = self._read_head()
        if not lines:
            return None
        first, fields = _REQUEST_LINE.fullmatch(lines[0]), [_FIELD.fullmatch(line) for line in lines[1:]]
        headers: dict[str, str] = {}
        for field in fields:
            name, value = (part.decode("latin-1") for part in field.groups()) if field else ("", "")
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        if first is None or "" in headers:
            raise _refuse_page(400)
        body = self._read_body(headers)
        method, target, version = (part.decode("latin-1") for part in first.groups())
        return Request(method, target, version, Headers(headers), body, self._number)

    def _read_head(self) -> list[bytes]:
        """Return the lines of a head, none at the end of the connection; empty lines may stand before it."""
        lines: list[bytes] = []
        left = MAX_HEAD
        while True:
            # A TLS handshake has no line end and waits for an answer: refuse at the first byte what is no method.
            start = self._reader.peek(1)[:1] if not lines else b""
            if start.strip() and not start.isalpha():
                raise _refuse_page(400)
            line = self._reader.readline(left)
            left -= len(line)
            if not left:
                raise _refuse_page(431)
            if line.strip():
                lines.append(line)
            elif lines or not line:
                return lines if line else []

    def _read_body(self, headers: dict[str, str]) -> bytes:
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            raise _refuse_page(400)
        if length is not None and not (length.isdecimal() and len(length) < 19):
            raise _refuse_page(400)
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._take(int(length or 0)) if coding is None else self._read_chunks()

    def _read_chunks(self) -> bytes:
        body, wanted = b"", 1
        while wanted:
            size = _CHUNK_SIZE.fullmatch(self._reader.readline(4096))
            if size is None:
                raise _refuse_page(400)
            wanted = int(size.group(1), 16)
            body += self._take(wanted, MAX_BODY - len(body))
            while self._reader.readline(4096).strip():
                if wanted:  # only the last chunk may be followed by lines, which mean nothing here
                    raise _refuse_page(400)
        return body

    def _take(self, size: int, limit: int = MAX_BODY) -> bytes:
        if size > limit:
            raise _refuse(413, "Payload too large")
        taken = self._reader.read(size)
        if len(taken) < size:
            raise ConnectionError("the request ended early")
        return taken

    def write_answer(self, answer: _Answer, request: Request | None) -> bool:
        """Send an answer and tell whether the connection goes on.

        Head and body leave in one write, or Nagle's algorithm and delayed acknowledgements would hold the second back.
        """
        wish = request.headers.get("connection", "").lower() if request is not None else "close"
        close = "close" in wish or (request is not None and request.version == "1.0" and "keep-alive" not in wish)
        # A scripted framing need not be true, and then the next answer could not be told from the rest of this one.
        close = close or any(name.lower() in ("content-length", "transfer-encoding") for name in answer.headers)
        if answer.events is not None:
            return self._write_events(answer, request, answer.events, close)
        bare = answer.status in (204, 304) or (request is not None and request.method == "HEAD")
        self._sock.sendall(_render_head(answer, request, close) + (b"" if bare else answer.body))
        return not close

    def _write_events(self, answer: _Answer, request: Request | None, events: list[bytes], close: bool) -> bool:
        chunked = request is None or request.version != "1.0"
        pending = _render_head(answer, request, close or not chunked)
        for left, event in zip(range(len(events) - 1, -1, -1), events):
            pending += b"%x\r\n%b\r\n" % (len(event), event) if chunked else event
            self._sock.sendall(pending if left or not chunked else pending + b"0\r\n\r\n")
            pending = b""
            if left and not self._pause():
                return False
        return chunked and not close

    def close(self) -> None:
        """End the connection so that the other side can read the last answer, though not all of its bytes were read."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(0.5)
            while self._sock.recv(65536):
                pass
        self._reader.close()
        self._sock.close()


# ---- Words: what the emulator says, pure functions of the question


_TOKEN = re.compile(r"[A-Za-z0-9]{1,7}|\w{1,4}|[^\w\s]")
_PIECE = re.compile(r"\s*(?:\S+\s*){1,4}|\s+")
_SUM = re.compile(r"(\d{1,9})\s*([-+*])\s*(\d{1,9})")
_RANGE = re.compile(r"(?:от|from|с) (\d{1,4}) (?:до|to|по) (\d{1,4})", re.IGNORECASE)
_NAME = re.compile(r"меня зовут ([^\W\d_]{2,30})", re.IGNORECASE)
_INTRODUCTION = (
    "Здравствуйте! Я GigaChat, а точнее его эмулятор: отвечаю по-русски, без сети и без ключа, и на один и тот же "
    "вопрос всегда одинаково. Спросите о чём-нибудь, и вы увидите, как придёт ответ.")
_TOPICS = {
    "страхов":
        "На стоимость страховки дома влияют прежде всего:\n\n"
        "1. **Стоимость и площадь дома**: чем дороже его восстановить, тем выше взнос.\n"
        "2. **Материал стен и возраст**: деревянный дом страховать дороже, чем кирпичный.\n"
        "3. **Место**: риск паводка, лесных пожаров и краж в округе.\n"
        "4. **Набор рисков и франшиза**: чем больше вы берёте на себя, тем дешевле полис.",
    "байкал":
        "Байкал — самое глубокое озеро на Земле: до 1642 метров. Ему около 25 миллионов лет, и в нём примерно пятая "
        "часть пресной воды планеты, не считая льда. В озеро впадает более трёхсот рек, а вытекает одна — Ангара.",
    r"столиц\w+ росси": "Столица России — Москва.",
    r"\bстих|четверостиш":
        "Летит строка за строкой,\nКак снег за окном в декабре,\nИ каждый ответ за тобой —\nКак свет на вечерней заре.",
    r"\bкод\b|python|питон":
        'Вот небольшой пример на Python:\n\n```python\ndef greet(name):\n    return "Привет, " + name\n```',
    r"\b(спасибо|благодарю|thanks)\b": "Пожалуйста! Если появятся ещё вопросы, я здесь.",
    r"\b(привет|здравствуй|hello\b)|добр\w+ (день|вечер|утро)|кто (же )?ты|как тебя зовут|что ты умеешь": _INTRODUCTION,
}


def _compose(messages: list[dict[str, Any]]) -> str:
    """Return the answer to the last question of a dialogue.

    >>> _compose([{"role": "user", "content": text} for text in ("Меня зовут Анна", "Как меня зовут?")])
    'Вас зовут Анна.'
    """
    said = [" ".join(m["content"].split()) for m in messages if m.get("role") == "user" and m.get("content")]
    question, earlier = said[-1] if said else "Кто ты?", said[-2::-1]
    if "как меня зовут" in question.lower():
        names = [name for text in earlier for name in _NAME.findall(text)[-1:]]
        return f"Вас зовут {names[0]}." if names else "Вы ещё не представились."
    name = _NAME.search(question)
    if name:
        return f"Очень приятно, {name.group(1)}! Чем могу помочь?"
    answer = _calculate(question) or next((v for k, v in _TOPICS.items() if re.search(k, question, re.IGNORECASE)), "")
    if answer:
        return answer
    quotes = [text if len(text) <= 80 else text[:80].rpartition(" ")[0] + "…" for text in [question] + earlier]
    before = f"Перед этим было: «{quotes[1]}». " if earlier else ""
    return (
        f"Вы написали: «{quotes[0]}». {before}Я эмулятор и по существу судить не берусь, а настоящий GigaChat ответит "
        "на такой же запрос.")


def _calculate(question: str) -> str:
    """Answer a sum or a request to count, with nothing where the question is neither.

    >>> _calculate("Сколько будет 2 + 2?"), _calculate("Count from 1 to 3")
    ('2 + 2 = 4', '1, 2, 3')
    """
    found = _SUM.search(question)
    if found:
        left, sign, right = int(found.group(1)), found.group(2), int(found.group(3))
        value = left + right if sign == "+" else left - right if sign == "-" else left * right
        return f"{left} {sign} {right} = {value}"
    found = _RANGE.search(question)
    return ", ".join(map(str, range(int(found.group(1)), int(found.group(2)) + 1)[:200])) if found else ""


def _count_tokens(text: str) -> int:
    """Return a plausible number of tokens: in Russian one for three or four characters, as the documentation says."""
    return len(_TOKEN.findall(text))


@functools.lru_cache(maxsize=64)
def _cut_tokens(text: str, limit: int | None) -> tuple[str, int, str]:
    """Return a text within `max_tokens`, the tokens it took (its end is one of them) and the reason why it ends.

    >>> _cut_tokens("Hello.", None), _cut_tokens("один два три", 2)
    (('Hello.', 3, 'stop'), ('один два', 2, 'length'))
    """
    ends = [match.end() for match in _TOKEN.finditer(text)]
    if limit is None or len(ends) < limit:
        return text, len(ends) + 1, "stop"
    return text[:ends[limit - 1]], limit, "length"


@functools.lru_cache(maxsize=512)
def _embed(text: str) -> str:
    """Return the vector of a text, 1024 numbers, as JSON, because writing them out is what takes the time.

    Every word adds a vector hashed from it and half of one from its beginning, because Russian words differ at their
    ends: texts that share words are near.
    """
    total = [0.0] * 1024
    for word in re.findall(r"\w+", text.lower()) or [""]:
        for feature, weight in ((word, 1.0), (word[:4] + "-", 0.5)):
            digest = hashlib.shake_256(feature.encode("utf-8", "replace")).digest(2048)
            total = [value + weight * part for value, part in zip(total, struct.unpack("<1024h", digest))]
    return json.dumps([round(value / 32768, 6) for value in total], separators=(",", ":"))


# ---- Checks: what the service turns away


def _read_object(request: Request) -> Any:
    """Return the body as a JSON object."""
    body = None
    with contextlib.suppress(ValueError):
        body = request.json()
    _check_shape(isinstance(body, dict))
    return body


def _check_shape(right: bool) -> None:
    """Refuse what has the wrong shape: the service has one error for that and for bad syntax."""
    if not right:
        raise _refuse(400, "Your request contains invalid JSON syntax.")


def _read_texts(body: dict[str, Any]) -> Any:
    texts = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
    _check_shape(isinstance(texts, list) and all(isinstance(text, str) for text in texts))
    return texts


def _read_messages(body: dict[str, Any]) -> Any:
    messages = body.get("messages") or []
    _check_shape(isinstance(messages, list) and all(
        isinstance(message, dict) and isinstance(message.get("content") or "", str) for message in messages))
    if not messages:  # the service's own words are not known
        raise _refuse(422, "Invalid params: messages must not be empty")
    if any(message.get("role") == "system" for message in messages[1:]):
        raise _refuse(422, "Invalid params: system message must be the first message")
    return messages


def _read_positive(body: dict[str, Any], name: str, *kinds: type) -> Any:
    value = body.get(name)
    _check_shape(value is None or type(value) in kinds)  # a bool is an int, but not here
    if value is not None and not value > 0:
        raise _refuse(422, f"Invalid params: {name} must be in range (0, +inf)")
    return value


def _find_model(name: Any, *types: str) -> dict[str, str]:
    """Return the description of a model that is of one of the types, of any where none is given."""
    for kind in types or MODELS:
        if name in MODELS[kind]:
            return {"id": name, "object": "model", "owned_by": "salutedevices", "type": kind}
    raise _refuse(404, "No such model")


def _read_login(request: Request, *schemes: str) -> tuple[str, str] | None:
    """Return the two halves of a Basic header, None where it does not decode."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    try:
        user, colon, password = base64.b64decode(key.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        return None
    return (user, password) if colon and scheme.lower() in schemes else None


# ---- Emulator: the service itself


class Emulator:
    """Run an offline GigaChat in threads of this process: a context manager, or `start()` and `stop()`.

    It listens on loopback unless told otherwise, on a free port unless given one. `token_lifetime` is in seconds,
    `scope` what its key is good for, `chunk_delay` the seconds between two events of a stream. `requests` holds what
    was asked, the last 10,000, and may be cleared. Addresses are known once it has started; `base_url` works without
    its `/api` as well.
    """

    user, password = "emulator", "offline"
    credentials = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode("ascii")).decode("ascii")

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *,
        token_lifetime: float = 1800.0, scope: str = SCOPES[0], chunk_delay: float = 0.0,
    ) -> None:
        """Keep the settings; nothing listens before `start()`."""
        self.host, self.port, self.scope = host, port, scope
        self.token_lifetime, self.chunk_delay = token_lifetime, chunk_delay
        self.url = self.base_url = self.auth_url = ""
        self.requests: list[Request] = []
        self._tokens: dict[str, float] = {}
        self._script: list[tuple[str | None, _Answer]] = []
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._listener: socket.socket
        self._acceptor: threading.Thread | None = None
        self._connections: dict[threading.Thread, socket.socket] = {}

    def __repr__(self) -> str:
        return f"<Emulator {self.url or 'not started'}>"

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings of a client that talks to this emulator and takes nothing from the machine around it."""
        scope = {} if self.scope == SCOPES[0] else {"scope": self.scope}
        return dict(
            scope, base_url=self.base_url, auth_url=self.auth_url, credentials=self.credentials,
            env_file=False, environ={}, trust_env=False)

    def enqueue(
        self, status: int = 200, headers: Mapping[str, str | None] | None = None, body: Any = None, *,
        path: str | None = None,
    ) -> None:
        """Script the next answer, first in first out, in place of the real one and of every check.

        It goes to the next request of the API, or to the next whose path ends with `path` (`path="/oauth"`). A dict or
        a list is sent as JSON, text and bytes as they are; an error without a body gets the service's usual one.
        `headers` beat the usual ones, None takes one away; a Content-Length need not be true, the connection ends then.
        """
        if body is None:
            body = _refuse(status, _REASONS.get(status, "")).answer.body if status >= 400 else b""
        elif isinstance(body, str):
            body = body.encode("utf-8")
        elif not isinstance(body, (bytes, bytearray)):
            body = _dumps(body) + (b"\n" if status >= 400 else b"")
        given = {name: None if value is None else str(value) for name, value in (headers or {}).items()}
        with self._lock:
            self._script.append((path, _Answer(int(status), bytes(body), headers=given)))

    def expire_tokens(self) -> None:
        """Let every token given out so far be answered 401 "Token has expired" from now on."""
        with self._lock:
            self._tokens = dict.fromkeys(self._tokens, float("-inf"))

    # -- Life: one thread accepts, one serves each connection

    def start(self) -> Emulator:
        """Listen, and return the emulator; OSError where the port is taken."""
        if self._acceptor is None:
            self._listener = _listen(self.host, self.port)
            self.port = self._listener.getsockname()[1]
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
            self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
            self.base_url, self.auth_url = self.url + "/api/v1", self.url + "/api/v2/oauth"
            self._stopping.clear()
            self._acceptor = threading.Thread(target=self._accept, name=_THREAD, daemon=True)
            self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection at once, streams too, and wait for the threads; again is harmless."""
        acceptor, self._acceptor = self._acceptor, None
        self._stopping.set()
        while acceptor is not None and acceptor.is_alive():
            _hang_up(self._listener)  # wakes the thread on Linux; elsewhere a caller does
            with contextlib.suppress(OSError):
                socket.create_connection((urlsplit(self.url).hostname or "", self.port), 1).close()
            acceptor.join(1)
        for sock in self._connections.values():
            _hang_up(sock)
        for thread in self._connections:
            thread.join(5)
        self._connections = {}

    def _accept(self) -> None:
        number = 0
        with self._listener:
            while not self._stopping.is_set():
                try:
                    sock, number = self._listener.accept()[0], number + 1
                except OSError:  # out of descriptors: wait instead of spinning
                    self._stopping.wait(0.05)
                    continue
                thread = threading.Thread(target=self._serve, args=(sock, number), name=_THREAD, daemon=True)
                try:
                    thread.start()
                    self._connections = {t: s for t, s in self._connections.items() if t.is_alive()}
                    self._connections[thread] = sock
                except RuntimeError:  # no more threads
                    sock.close()

    def _serve(self, sock: socket.socket, number: int) -> None:
        connection = _Connection(sock, number, self._pause)
        with contextlib.suppress(OSError):  # the caller has gone, or stop() hung up
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._converse(connection):
                pass
        connection.close()

    def _converse(self, connection: _Connection) -> bool:
        """Serve one request; tell whether another may follow."""
        try:
            request = connection.read_request()
        except _Refused as refused:
            return connection.write_answer(refused.answer, None)
        return request is not None and connection.write_answer(self._answer(request), request)

    def _pause(self) -> bool:
        return not (self._stopping.wait(self.chunk_delay) if self.chunk_delay > 0 else self._stopping.is_set())

    # -- Answers

    def _answer(self, request: Request) -> _Answer:
        """Remember a request and return what was scripted for it, or else what the service would say."""
        with self._lock:
            self.requests.append(request)
            del self.requests[:-MAX_REMEMBERED]
            for index, (path, answer) in enumerate(self._script):
                if request.path.endswith(path) if path else not request.path.endswith(("/oauth", "/token")):
                    del self._script[index]
                    return answer
        try:
            return self._route(request)
        except _Refused as refused:
            return refused.answer
        except Exception:  # a fault of the emulator is a 500 to the caller, never a lost connection
            return _refuse(500, _REASONS[500]).answer

    def _route(self, request: Request) -> _Answer:
        name = "oauth" if request.path.endswith("/oauth") else re.sub(r"^(/api)?/v1/", "", request.path)
        routes = {
            "oauth": self._oauth, "token": self._log_in, "models": self._models, "chat/completions": self._chat,
            "embeddings": self._embeddings, "tokens/count": self._tokens_count}
        handler = routes.get("models" if name.startswith("models/") else name)
        if handler is None:  # the gateway does not let other paths through
            raise _refuse_page(403)
        if request.method != ("GET" if name.startswith("models") else "POST"):
            raise _refuse(405, _REASONS[405])
        if name not in ("oauth", "token"):
            self._check_token(request)
        return handler(request)

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        deadline = self._tokens.get(token.strip()) if scheme.lower() == "bearer" else None
        if deadline is None:
            raise _refuse(401, "Unauthorized")
        if time.monotonic() >= deadline:
            raise _refuse(401, "Token has expired")

    def _issue_token(self, header: bytes, *sizes: int) -> tuple[str, float]:
        """Return a new token that looks like a JWE or a JWT, and its end in Unix seconds."""
        parts = [header] + [os.urandom(size) for size in sizes]
        token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii") for part in parts)
        with self._lock:
            self._tokens[token] = time.monotonic() + self.token_lifetime
        return token, time.time() + self.token_lifetime

    def _oauth(self, request: Request) -> _Answer:
        if not _UUID4.fullmatch(request.headers.get("rquid", "")):  # the service's own words are not known
            raise _refuse(400, "RqUID header is missing or is not a UUID version 4", code=2)
        login = _read_login(request, "basic", "bearer")  # some clients say Bearer, and the service takes it
        scope = request.form().get("scope", "")
        if login is None:
            raise _refuse(400, "Can't decode 'Authorization' header", code=4)
        if login != (CLIENT_ID, CLIENT_SECRET):
            raise _refuse(401, "credentials doesn't match db data", code=6)
        if not scope:
            raise _refuse(400, "scope is empty", code=5)
        if scope not in SCOPES:
            raise _refuse(400, "scope data format invalid", code=1)
        if scope != self.scope:
            raise _refuse(400, "scope from db not fully includes consumed scope", code=7)
        token, end = self._issue_token(b'{"cty":"jwt","enc":"A256CBC-HS512","alg":"RSA-OAEP-256"}', 256, 16, 560, 32)
        return _Answer(body=_dumps({"access_token": token, "expires_at": int(end * 1000)}))

    def _log_in(self, request: Request) -> _Answer:
        if _read_login(request, "basic") != (self.user, self.password):
            raise _refuse(401, "Unauthorized")
        token, end = self._issue_token(b'{"alg":"RS256","typ":"JWT"}', 180, 256)
        return _Answer(body=_dumps({"tok": token, "exp": int(end)}))

    def _models(self, request: Request) -> _Answer:
        name = unquote(request.path.partition("/models/")[2])
        if request.path.endswith("/models"):
            data = [_find_model(name) for names in MODELS.values() for name in names]
            return _Answer(body=_dumps({"object": "list", "data": data}))
        return _Answer(body=_dumps(_find_model(name)))

    def _tokens_count(self, request: Request) -> _Answer:
        body = _read_object(request)
        texts, _ = _read_texts(body), _find_model(body.get("model"))
        return _Answer(body=_dumps([
            {"object": "tokens", "tokens": _count_tokens(text), "characters": len(text)} for text in texts]))

    def _embeddings(self, request: Request) -> _Answer:
        body = _read_object(request)
        texts, model = _read_texts(body), _find_model(body.get("model"), "embedder")["id"]
        items = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":{_embed(text)},'
            f'"usage":{{"prompt_tokens":{_count_tokens(text) + 1}}}}}' for index, text in enumerate(texts))
        return _Answer(body=f'{{"object":"list","data":[{items}],"model":"{model}"}}'.encode("ascii"))

    def _chat(self, request: Request) -> _Answer:
        body = _read_object(request)
        messages, model = _read_messages(body), _find_model(body.get("model"), "chat")["id"]
        _read_positive(body, "repetition_penalty", int, float)
        text, spent, reason = _cut_tokens(_compose(messages), _read_positive(body, "max_tokens", int))
        asked = 8 + sum(4 + _count_tokens(message.get("content") or "") for message in messages)
        version = VERSIONS.get(model, "2.0.28.2")
        common = {"created": int(time.time()), "model": f"{model}:{version}", "object": "chat.completion"}
        usage = {"usage": {
            "prompt_tokens": asked, "completion_tokens": spent, "total_tokens": asked + spent,
            "precached_prompt_tokens": 2}}
        if body.get("stream") is True:
            return _Answer(content_type="text/event-stream", events=_render_events(text, reason, common, usage))
        choice = {"message": {"content": text, "role": "assistant"}, "index": 0, "finish_reason": reason}
        return _Answer(body=_dumps({"choices": [choice], **common, **usage}))


def _render_events(text: str, reason: str, common: dict[str, Any], usage: dict[str, Any]) -> list[bytes]:
    """Return the events of a stream, a few words each: role in the first alone, reason and usage before `[DONE]`."""
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in _PIECE.findall(text) or [""]]
    deltas[0]["role"] = "assistant"
    events: list[dict[str, Any]] = [{"choices": [{"delta": delta, "index": 0}], **common} for delta in deltas]
    last = {"delta": {"content": ""}, "index": 0, "finish_reason": reason}
    events.append({"choices": [last], **common, **usage})
    return [b"data: %b\n\n" % data for data in [*map(_dumps, events), b"[DONE]"]]


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; its queue is deep, so that hundreds may come at once."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # on Windows the option would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address[0], port, *address[2:]))
        listener.listen(256)
    except BaseException:
        listener.close()
        raise
    return listener


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may have been faster
        sock.shutdown(socket.SHUT_RDWR)


# ---- Command line


def main(argv: list[str] | None = None) -> int:
    """Run the emulator until Ctrl-C or SIGTERM, print the settings that lead a client to it, return the exit code."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m gigachat_lite.emulator", description="An offline GigaChat: no key, no network, no surprises.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="port, 0 for any free one (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        with Emulator(options.host, options.port) as emulator:
            _wait_for_signal(emulator)
    except (OSError, OverflowError) as exc:
        taken = getattr(exc, "errno", None) == errno.EADDRINUSE
        reason = "the port is taken, choose another with --port" if taken else getattr(exc, "strerror", None) or exc
        print(f"Cannot listen on {options.host} port {options.port}: {str(reason).rstrip('.')}.", file=sys.stderr)
        return 1
    return 0


def _wait_for_signal(emulator: Emulator) -> None:
    """Print the settings and wait; a handler only sets a flag, because a lock could deadlock in it."""
    import signal

    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    print(
        f"GigaChat emulator listens on {emulator.url} (Ctrl-C ends it).\n"
        f"Put these lines into .env, or export them in a shell:\n\nGIGACHAT_BASE_URL={emulator.base_url}\n"
        f"GIGACHAT_AUTH_URL={emulator.auth_url}\nGIGACHAT_CREDENTIALS={emulator.credentials}", flush=True)
    while not ended:
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
