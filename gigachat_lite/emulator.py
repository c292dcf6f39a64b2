"""Serve an offline GigaChat on this machine: OAuth and API, without a key, a network or a dependency.

    with Emulator() as emu:
        giga = GigaChat(**emu.config)

It answers as the service was recorded, down to the order of keys and the bytes of a stream, and says something sensible in
Russian, the same each time. `enqueue()` scripts the next answers, `requests` remembers what was asked. It speaks HTTP on
bare sockets, to be cheap enough to sit under a benchmark and to survive any bytes. From a shell:
`python -m gigachat_lite.emulator --port 8090`. The file imports nothing of the package and can be copied alone.
"""

from __future__ import annotations

import base64
import errno
import functools
import hashlib
import json
import os
import re
import selectors
import socket
import struct
import sys
import threading
import time
import uuid
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple
from urllib.parse import parse_qsl, unquote

__all__ = ["Emulator", "Request", "main"]

MAX_HEAD, MAX_BODY, MAX_REMEMBERED = 64 << 10, 100 << 20, 10_000
SCOPES = ("GIGACHAT_API_PERS", "GIGACHAT_API_B2B", "GIGACHAT_API_CORP")
# The recorded list, in its order.
MODELS = dict.fromkeys(
    (
        "GigaChat",
        "GigaChat-2",
        "GigaChat-2-Max",
        "GigaChat-2-Max-preview",
        "GigaChat-2-Pro",
        "GigaChat-2-Pro-preview",
        "GigaChat-2-preview",
        "GigaChat-Max",
        "GigaChat-Max-preview",
        "GigaChat-Plus",
        "GigaChat-Pro",
        "GigaChat-Pro-preview",
        "GigaChat-preview",
    ),
    "chat",
)
MODELS.update({"GigaFilter": "filter", "GigaCheckClassification": "aicheck", "GigaCheckDetection": "aicheck"})
MODELS.update(dict.fromkeys(("Embeddings", "Embeddings-2", "EmbeddingsGigaR", "GigaEmbeddings-3B-2025-09"), "embedder"))
VERSIONS = {"GigaChat-2-Max": "2.0.30.01"}  # the other chat models answer as 2.0.28.2
# Fixed, so that a .env written once goes on working with every later emulator; worth nothing anywhere else.
CLIENT_ID, CLIENT_SECRET = "e0000000-0000-4000-8000-000000000001", "e0000000-0000-4000-8000-000000000002"

_JSON, _FORM = "application/json; charset=utf-8", "application/x-www-form-urlencoded"
_REASONS = {int(status): status.phrase for status in HTTPStatus}
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


# ---- Requests: what arrived, as a test wants to look at it


class Headers(Mapping[str, str]):
    """Hold header fields, found in any case of their names; the `repr` masks secrets, for test output becomes public."""

    __slots__ = ("_fields",)

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
        return repr({k: re.sub(r"^(\w+ )?.*", r"\1***", v, flags=re.S) if k in secret else v for k, v in self.items()})


class Request:
    """Hold one request: `path` still percent-encoded, `raw` the bytes of the body, `body` what they mean.

    `connection` counts the connections of the emulator from 1, `time` is on the monotonic clock.
    """

    __slots__ = ("connection", "headers", "method", "path", "query", "raw", "time", "version")

    def __init__(self, method: str, target: str, version: str, fields: dict[str, str], raw: bytes = b"") -> None:
        """Take a request apart; `target` may be in the absolute form that a client sends to a proxy."""
        path, _, query = re.sub(r"^\w+://[^/?]*", "", target).partition("?")
        self.method, self.path, self.version, self.raw = method, path, version, raw
        self.headers = Headers(fields)
        self.query: dict[str, str] = dict(parse_qsl(query, keep_blank_values=True))
        self.time, self.connection = time.monotonic(), 0

    def __repr__(self) -> str:
        return "Request(%s %s, headers=%r, body=%r)" % (self.method, self.path, self.headers, self.body)

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

    def is_last(self) -> bool:
        """Tell whether the connection ends after this request."""
        wish = self.headers.get("connection", "").lower()
        return "close" in wish or (self.version == "1.0" and "keep-alive" not in wish)


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

    def __init__(self, status: int, body: bytes, content_type: str = _JSON) -> None:
        super().__init__(status)
        self.answer = _Answer(status, body, content_type)


def _dumps(value: Any) -> bytes:
    """Return compact JSON, letters as they are; half of a surrogate pair, legal as an escape, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _refuse(status: int, message: str, code: int | None = None) -> _Refused:
    """Return the service's error: the OAuth host has a `code` where the API has `status`; a newline ends it."""
    first = {"status": status} if code is None else {"code": code}
    return _Refused(status, _dumps(dict(first, message=message)) + b"\n")


def _refuse_page(status: int) -> _Refused:
    """Return the error page of the gateway, which stands before the API and speaks HTML."""
    page = (
        "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    ).format("%d %s" % (status, _REASONS[status]))
    return _Refused(status, page.encode("ascii"), "text/html")


def _render_head(answer: _Answer, request: Request | None, framing: tuple[str, str], close: bool) -> bytes:
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
    fields += [("Content-Type", content_type), framing, ("Connection", "close" if close else "keep-alive")]
    if answer.headers:
        given = {name.lower() for name in answer.headers}
        fields = [field for field in fields if field[0].lower() not in given]
        fields += [(name, value) for name, value in answer.headers.items() if value is not None]
    lines = ["HTTP/1.1 %d %s" % (answer.status, _REASONS.get(answer.status, ""))]
    return "\r\n".join(lines + ["%s: %s" % field for field in fields] + ["", ""]).encode("latin-1", "replace")


# ---- Connection: HTTP/1.1 on a bare socket


_HEAD_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(r"([A-Za-z]+) (\S+) HTTP/(1\.[01])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\0]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


def _parse_head(head: bytes) -> Request:
    """Return a request without its body. A carriage return inside a field is refused, or an echoed id could forge headers.

    >>> _parse_head(b"GET /v1/models?a=b HTTP/1.1\\r\\nHost: c")
    Request(GET /v1/models, headers={'host': 'c'}, body=b'')
    """
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    line, fields = _REQUEST_LINE.fullmatch(first), {}  # type: Any, Dict[str, str]
    for field in map(_FIELD.fullmatch, lines):
        if field is None:
            raise _refuse_page(400)
        name, value = field.group(1).lower(), field.group(2)
        fields[name] = fields[name] + ", " + value if name in fields else value
    if line is None:
        raise _refuse_page(400)
    return Request(line.group(1), line.group(2), line.group(3), fields)


class _Connection:
    """Read requests from a socket and write answers to it; what the network does wrong leaves as OSError."""

    def __init__(self, sock: socket.socket, pause: Callable[[], bool]) -> None:
        """Take over a socket; `pause` waits between two events of a stream and tells whether to go on."""
        self._sock, self._pause, self._buffer = sock, pause, bytearray()

    def read_request(self) -> Request | None:
        """Return the next request, None at the end of the connection; raise `_Refused` for what is not HTTP."""
        head = self._read_head()
        if head is None:
            return None
        request = _parse_head(head)
        request.raw = self._read_body(request.headers)
        return request

    def _read_head(self) -> bytes | None:
        seen = 0
        while True:
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))]
            # A TLS handshake has no line end and waits for an answer: refuse at the first byte what is no method.
            if self._buffer and not self._buffer[:1].isalpha():
                raise _refuse_page(400)
            end = _HEAD_END.search(self._buffer, max(0, seen - 3))
            seen = end.start() if end else len(self._buffer)
            if seen > MAX_HEAD:
                raise _refuse_page(431)
            if end:
                return self._take(end.end())[:seen]
            if not self._fill():
                return None

    def _read_body(self, headers: Headers) -> bytes:
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if length is None and coding is None:
            return b""
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            raise _refuse_page(400)
        if length is not None and not (length.isdecimal() and len(length) < 19):
            raise _refuse_page(400)
        if int(length or 0) > MAX_BODY:
            raise _refuse(413, "Payload too large")
        if not self._buffer and headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._read_chunks() if length is None else self._take(int(length))

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = _CHUNK_SIZE.fullmatch(self._take_line())
            if size is None:
                raise _refuse_page(400)
            wanted = int(size.group(1), 16)
            if len(body) + wanted > MAX_BODY:
                raise _refuse(413, "Payload too large")
            body += self._take(wanted)
            while self._take_line():
                if wanted:  # only the last chunk may be followed by lines, which mean nothing here
                    raise _refuse_page(400)
            if not wanted:
                return bytes(body)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._fill():
                raise ConnectionError("the request ended early")
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _take_line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD or not self._fill():
                raise ConnectionError("no line of a chunked body")
        return self._take(self._buffer.index(b"\n") + 1).rstrip(b"\r\n")

    def _fill(self) -> bool:
        data = self._sock.recv(65536)
        self._buffer += data
        return bool(data)

    def write_answer(self, answer: _Answer, request: Request | None) -> bool:
        """Send an answer and tell whether the connection goes on.

        Head and body leave in one write, or Nagle's algorithm and delayed acknowledgements would hold the second back.
        """
        given = {name.lower() for name in answer.headers}
        # A scripted framing need not be true, and then the next answer could not be told from the rest of this one.
        close = request is None or request.is_last() or bool(given & {"content-length", "transfer-encoding"})
        if answer.events is not None:
            return self._write_events(answer, request, answer.events, close)
        head = _render_head(answer, request, ("Content-Length", str(len(answer.body))), close)
        bare = answer.status in (204, 304) or (request is not None and request.method == "HEAD")
        self._sock.sendall(head if bare else head + answer.body)
        return not close

    def _write_events(self, answer: _Answer, request: Request | None, events: list[bytes], close: bool) -> bool:
        pending = _render_head(answer, request, ("Transfer-Encoding", "chunked"), close)
        for left, event in zip(range(len(events) - 1, -1, -1), events):
            pending += b"%x\r\n%b\r\n" % (len(event), event)
            self._sock.sendall(pending if left else pending + b"0\r\n\r\n")
            pending = b""
            if left and not self._pause():
                return False
        return not close

    def close(self) -> None:
        """End the connection so that the other side can read the last answer though its own bytes were not all read."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(0.5)
            while self._sock.recv(65536):
                pass
        except OSError:
            pass
        self._sock.close()


# ---- Words: what the emulator says, pure functions of the question


_TOKEN = re.compile(r"[A-Za-z0-9]{1,7}|\w{1,4}|[^\w\s]")
_PIECE = re.compile(r"\s*(?:\S+\s*){1,4}|\s+")
_SUM = re.compile(r"(\d{1,9})\s*([-+*])\s*(\d{1,9})")
_RANGE = re.compile(r"(?:от|from|с) (\d{1,4}) (?:до|to|по) (\d{1,4})", re.IGNORECASE)
_NAME = re.compile(r"меня зовут ([^\W\d_]{2,30})", re.IGNORECASE)
_INTRODUCTION = (
    "Здравствуйте! Я GigaChat, а точнее его эмулятор: отвечаю по-русски, без сети и без ключа, и на один и тот же вопрос "
    "всегда одинаково. Спросите о чём-нибудь, и вы увидите, как придёт ответ."
)
_TOPICS = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        ("как меня зовут", "Вы ещё не представились."),
        (
            "страхов",
            (
                "На стоимость страховки дома влияют прежде всего:\n\n"
                "1. **Стоимость и площадь дома**: чем дороже его восстановить, тем выше взнос.\n"
                "2. **Материал стен и возраст**: деревянный дом страховать дороже, чем кирпичный.\n"
                "3. **Место**: риск паводка, лесных пожаров и краж в округе.\n"
                "4. **Набор рисков и франшиза**: чем больше вы берёте на себя, тем дешевле полис.\n"
                "5. **Охрана и сигнализация**: за них обычно дают скидку."
            ),
        ),
        (
            "байкал",
            (
                "Байкал — самое глубокое озеро на Земле: до 1642 метров. Ему около 25 миллионов лет, и в нём примерно пятая часть "
                "пресной воды планеты, не считая льда. В озеро впадает более трёхсот рек, а вытекает одна — Ангара. Здесь живут "
                "байкальская нерпа и омуль."
            ),
        ),
        (r"столиц\w+ росси", "Столица России — Москва."),
        (
            r"\bстих|четверостиш",
            "Летит строка за строкой,\nКак снег за окном в декабре,\n"
            "И каждый ответ за тобой —\nКак свет на вечерней заре.",
        ),
        (
            r"\bкод\b|python|питон",
            "Вот небольшой пример на Python:\n\n```python\ndef greet(name):\n"
            '    return "Привет, " + name\n\n\nprint(greet("мир"))\n```',
        ),
        ("погод", "У эмулятора нет ни окна, ни сети, поэтому прогноза я не знаю. Обычно помогает зонт."),
        (r"\b(спасибо|благодарю|thanks)\b", "Пожалуйста! Если появятся ещё вопросы, я здесь."),
        (
            r"\b(привет|здравствуй|hello\b)|добр\w+ (день|вечер|утро)|кто (же )?ты|как тебя зовут|что ты умеешь",
            _INTRODUCTION,
        ),
    )
)


def _compose(messages: list[dict[str, Any]]) -> str:
    """Return the answer to the last question of a dialogue.

    >>> _compose([{"role": "user", "content": text} for text in ("Меня зовут Анна", "Как меня зовут?")])
    'Вас зовут Анна.'
    """
    said = [" ".join(m["content"].split()) for m in messages if m.get("role") == "user" and m.get("content")]
    if not said:
        return _INTRODUCTION
    text = _recall(said[-1], " | ".join(reversed(said[:-1]))) or _calculate(said[-1])
    text = text or next((answer for pattern, answer in _TOPICS if pattern.search(said[-1])), "")
    if text:
        return text
    text = "Вы написали: «%s». " % _quote(said[-1])
    if said[:-1]:
        text += "Перед этим было: «%s». " % _quote(said[-2])
    return text + "Я эмулятор и по существу судить не берусь, а настоящий GigaChat ответит на такой же запрос."


def _recall(question: str, earlier: str) -> str:
    """Answer what takes the history of a dialogue, newest first in `earlier`, to answer.

    >>> _recall("Меня зовут Анна", "")
    'Очень приятно, Анна! Чем могу помочь?'
    """
    name = _NAME.search(question)
    if name:
        return "Очень приятно, %s! Чем могу помочь?" % name.group(1)
    if earlier and re.search(r"о ч[её]м мы|что я (спра|спро|говорил|сказал|писал)", question, re.IGNORECASE):
        return "До этого вы написали: «%s»." % _quote(earlier.partition(" | ")[0])
    name = _NAME.search(earlier) if "как меня зовут" in question.lower() else None
    return "Вас зовут %s." % name.group(1) if name else ""


def _calculate(question: str) -> str:
    """Answer a sum or a request to count.

    >>> _calculate("Сколько будет 2 + 2?"), _calculate("Count from 1 to 3")
    ('2 + 2 = 4', '1, 2, 3')
    """
    found = _SUM.search(question)
    if found:
        left, sign, right = int(found.group(1)), found.group(2), int(found.group(3))
        return "%d %s %d = %d" % (left, sign, right, {"+": left + right, "-": left - right, "*": left * right}[sign])
    found = _RANGE.search(question)
    return ", ".join(map(str, range(int(found.group(1)), int(found.group(2)) + 1)[:200])) if found else ""


def _quote(text: str) -> str:
    return text if len(text) <= 80 else (text[:80].rpartition(" ")[0] or text[:80]) + "…"


def _cut_tokens(text: str, limit: int | None) -> tuple[str, int, str]:
    """Return a text within `max_tokens`, the tokens it took (its end is one of them) and the reason why it ends.

    >>> _cut_tokens("Hello.", None), _cut_tokens("один два три", 2)
    (('Hello.', 3, 'stop'), ('один два', 2, 'length'))
    """
    ends = [match.end() for match in _TOKEN.finditer(text)]
    if limit is None or len(ends) < limit:
        return text, len(ends) + 1, "stop"
    return text[: ends[limit - 1]], limit, "length"


def _count_tokens(text: str) -> int:
    """Return a plausible number of tokens: in Russian one for three or four characters, as the documentation says.

    >>> _count_tokens("First text"), _count_tokens("сколько токенов?")
    (2, 5)
    """
    return len(_TOKEN.findall(text))


@functools.lru_cache(maxsize=512)
def _embed(text: str) -> str:
    """Return the vector of a text, 1024 numbers as JSON (writing them is what takes time, so that form is remembered).

    Every word adds a vector hashed from it and half of one from its beginning, because Russian words differ at their
    ends: texts that share words are near.
    """
    total = [0.0] * 1024
    for word in re.findall(r"\w+", text.lower()) or [""]:
        for feature, weight in ((word, 1.0), (word[:4] + "-", 0.5)):
            digest = hashlib.shake_256(feature.encode("utf-8", "replace")).digest(2048)
            total = [value + weight * part for value, part in zip(total, struct.unpack("<1024h", digest))]
    return json.dumps([round(value / 32768, 6) for value in total], separators=(",", ":"))


def _make_token(header: bytes, *sizes: int) -> str:
    """Return a new token that looks like a JWE or a JWT: a header and random parts of the given sizes."""
    parts = [header] + [os.urandom(size) for size in sizes]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode("ascii") for part in parts)


# ---- Checks: what the service turns away


def _read_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object; the service has one error for bad syntax and for a wrong shape."""
    try:
        body = request.json()
    except ValueError:
        body = None
    _check_shape(isinstance(body, dict))
    return body  # type: ignore[no-any-return]


def _read_texts(body: dict[str, Any]) -> list[str]:
    texts = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
    _check_shape(isinstance(texts, list) and all(isinstance(text, str) for text in texts))
    return texts  # type: ignore[return-value]


def _read_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages") or []
    _check_shape(
        isinstance(messages, list)
        and all(isinstance(message, dict) and isinstance(message.get("content") or "", str) for message in messages)
    )
    if not messages:  # the service's own words are not known
        raise _refuse(422, "Invalid params: messages must not be empty")
    if any(message.get("role") == "system" for message in messages[1:]):
        raise _refuse(422, "Invalid params: system message must be the first message")
    return messages  # type: ignore[no-any-return]


def _check_shape(right: bool) -> None:
    if not right:
        raise _refuse(400, "Your request contains invalid JSON syntax.")


def _check_positive(name: str, value: Any, *kinds: type) -> None:
    _check_shape(value is None or type(value) in kinds)
    if value is not None and not value > 0:
        raise _refuse(422, "Invalid params: %s must be in range (0, +inf)" % name)


def _check_model(name: Any, *kinds: str) -> str:
    if not isinstance(name, str) or MODELS.get(name) not in (kinds or MODELS.values()):
        raise _refuse(404, "No such model")
    return name


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

    It listens on loopback unless told otherwise, on a free port unless given one. `token_lifetime` is in seconds, `scope`
    what its key is good for, `chunk_delay` the seconds between two events of a stream. `requests` holds what was asked,
    the last 10,000, and may be cleared.
    """

    user, password = "emulator", "offline"
    credentials = base64.b64encode(("%s:%s" % (CLIENT_ID, CLIENT_SECRET)).encode("ascii")).decode("ascii")

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token_lifetime: float = 1800.0,
        scope: str = SCOPES[0],
        chunk_delay: float = 0.0,
    ) -> None:
        """Keep the settings; nothing listens before `start()`."""
        self.host, self.port, self.scope = host, port, scope
        self.token_lifetime, self.chunk_delay = token_lifetime, chunk_delay
        self.requests: list[Request] = []
        self._tokens: dict[str, float] = {}
        self._script: list[tuple[str | None, _Answer]] = []
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._acceptor: threading.Thread | None = None
        self._alarm: socket.socket | None = None
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._accepted = 0

    def __repr__(self) -> str:
        return "<Emulator %s>" % self.url

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Return the address without a path; its port is known once the emulator has started."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return "http://%s:%d" % ("[%s]" % host if ":" in host else host, self.port)

    @property
    def base_url(self) -> str:
        """Return the base of the API; the form without `/api` works as well."""
        return self.url + "/api/v1"

    @property
    def auth_url(self) -> str:
        """Return the address of OAuth."""
        return self.url + "/api/v2/oauth"

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings of a client that talks to this emulator and takes nothing from the machine around it."""
        scope = {} if self.scope == SCOPES[0] else {"scope": self.scope}
        return dict(
            scope,
            base_url=self.base_url,
            auth_url=self.auth_url,
            credentials=self.credentials,
            env_file=False,
            environ={},
            trust_env=False,
        )

    def enqueue(
        self,
        status: int = 200,
        headers: Mapping[str, str | None] | None = None,
        body: Any = None,
        *,
        path: str | None = None,
    ) -> None:
        """Script the next answer, first in first out, in place of the real one and of every check.

        It goes to the next request of the API, or to the next whose path ends with `path` (`path="/oauth"`). A dict or a
        list is sent as JSON, text and bytes as they are; an error without a body gets the service's usual one. `headers`
        beat the usual ones, None takes one away; a Content-Length need not be true, the connection ends after it.
        """
        if body is None:
            body = _refuse(status, _REASONS.get(status, "")).answer.body if status >= 400 else b""
        elif isinstance(body, str):
            body = body.encode("utf-8")
        elif not isinstance(body, (bytes, bytearray)):
            body = _dumps(body) + (b"\n" if status >= 400 else b"")
        with self._lock:
            self._script.append((path, _Answer(int(status), bytes(body), headers=dict(headers or {}))))

    def expire_tokens(self) -> None:
        """Let every token given out so far be answered 401 "Token has expired" from now on."""
        with self._lock:
            self._tokens = dict.fromkeys(self._tokens, float("-inf"))

    # -- Life: one thread accepts, one serves each connection

    def start(self) -> Emulator:
        """Listen, and return the emulator; OSError where the port is taken."""
        if self._acceptor is None:
            listener = _listen(self.host, self.port)
            self.port = listener.getsockname()[1]
            self._alarm, alarmed = socket.socketpair()
            self._stopping.clear()
            self._acceptor = threading.Thread(
                target=self._accept, args=(listener, alarmed), name="gigachat-emulator", daemon=True
            )
            self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection at once, streams too, and wait for the threads; a second call is harmless."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is None or self._alarm is None:
            return
        self._stopping.set()
        self._alarm.close()
        acceptor.join()
        with self._lock:
            threads = list(self._connections.values())
            for sock in self._connections:
                _hang_up(sock)
        for thread in threads:
            thread.join(5)

    def _accept(self, listener: socket.socket, alarmed: socket.socket) -> None:
        with listener, alarmed, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(alarmed, selectors.EVENT_READ)  # readable when stop() closes the other end
            while not self._stopping.is_set():
                selector.select()
                try:
                    self._welcome(listener.accept()[0])
                except BlockingIOError:
                    pass
                except (OSError, RuntimeError):  # out of descriptors or threads: wait instead of spinning
                    self._stopping.wait(0.05)

    def _welcome(self, sock: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(sock,), name="gigachat-emulator", daemon=True)
        with self._lock:
            self._connections[sock] = thread
        try:
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread.start()
        except BaseException:
            self._connections.pop(sock)
            sock.close()
            raise

    def _serve(self, sock: socket.socket) -> None:
        connection = _Connection(sock, self._pause)
        with self._lock:
            self._accepted += 1
            number = self._accepted
        try:
            while self._converse(connection, number):
                pass
        except OSError:  # the caller has gone, or stop() hung up
            pass
        connection.close()
        with self._lock:
            self._connections.pop(sock, None)

    def _converse(self, connection: _Connection, number: int) -> bool:
        """Serve one request; tell whether another may follow."""
        try:
            request = connection.read_request()
        except _Refused as refused:
            return connection.write_answer(refused.answer, None)
        if request is None:
            return False
        request.connection = number
        return connection.write_answer(self._answer(request), request)

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
        name = re.sub(r"^(/api)?/v1/", "", request.path) if not request.path.endswith("/oauth") else "oauth"
        routes = {
            "oauth": self._oauth,
            "token": self._log_in,
            "models": self._models,
            "chat/completions": self._chat,
            "embeddings": self._embeddings,
            "tokens/count": self._tokens_count,
        }
        handler = self._model if name.startswith("models/") else routes.get(name)
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
        token = _make_token(header, *sizes)
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

    def _models(self, _: Request) -> _Answer:
        return _Answer(body=_dumps({"object": "list", "data": [_describe_model(name) for name in MODELS]}))

    def _model(self, request: Request) -> _Answer:
        return _Answer(body=_dumps(_describe_model(_check_model(unquote(request.path.rpartition("/models/")[2])))))

    def _tokens_count(self, request: Request) -> _Answer:
        body = _read_object(request)
        texts, _ = _read_texts(body), _check_model(body.get("model"))
        return _Answer(
            body=_dumps(
                [{"object": "tokens", "tokens": _count_tokens(text), "characters": len(text)} for text in texts]
            )
        )

    def _embeddings(self, request: Request) -> _Answer:
        body = _read_object(request)
        texts, model = _read_texts(body), _check_model(body.get("model"), "embedder")
        items = ",".join(
            '{"object":"embedding","index":%d,"embedding":%s,"usage":{"prompt_tokens":%d}}'
            % (index, _embed(text), _count_tokens(text) + 1)
            for index, text in enumerate(texts)
        )
        return _Answer(body=('{"object":"list","data":[%s],"model":"%s"}' % (items, model)).encode("ascii"))

    def _chat(self, request: Request) -> _Answer:
        body = _read_object(request)
        messages, model = _read_messages(body), _check_model(body.get("model"), "chat")
        _check_positive("max_tokens", body.get("max_tokens"), int)
        _check_positive("repetition_penalty", body.get("repetition_penalty"), int, float)
        text, spent, reason = _cut_tokens(_compose(messages), body.get("max_tokens"))
        asked = 8 + sum(4 + _count_tokens(message.get("content") or "") for message in messages)
        common = {
            "created": int(time.time()),
            "model": "%s:%s" % (model, VERSIONS.get(model, "2.0.28.2")),
            "object": "chat.completion",
        }
        usage = {
            "usage": {
                "prompt_tokens": asked,
                "completion_tokens": spent,
                "total_tokens": asked + spent,
                "precached_prompt_tokens": 2,
            }
        }
        if body.get("stream") is True:
            return _Answer(content_type="text/event-stream", events=_render_events(text, reason, common, usage))
        choice = {"message": {"content": text, "role": "assistant"}, "index": 0, "finish_reason": reason}
        return _Answer(body=_dumps({"choices": [choice], **common, **usage}))


def _render_events(text: str, reason: str, common: dict[str, Any], usage: dict[str, Any]) -> list[bytes]:
    """Return the events of a stream, a few words each: the role in the first alone, reason and usage before `[DONE]`."""
    choices: list[dict[str, Any]] = [
        {"delta": {"content": piece}, "index": 0} for piece in _PIECE.findall(text) or [""]
    ]
    choices[0]["delta"]["role"] = "assistant"
    last = {"delta": {"content": ""}, "index": 0, "finish_reason": reason}
    events: list[dict[str, Any]] = [{"choices": [choice], **common} for choice in choices]
    events.append({"choices": [last], **common, **usage})
    return [b"data: %b\n\n" % data for data in [_dumps(event) for event in events] + [b"[DONE]"]]


def _describe_model(name: str) -> dict[str, str]:
    return {"id": name, "object": "model", "owned_by": "salutedevices", "type": MODELS[name]}


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that does not block; the queue is deep, so that hundreds may come at once."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # on Windows the option would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _hang_up(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # the caller was faster
        pass


# ---- Command line


def main(argv: list[str] | None = None) -> int:
    """Run the emulator until Ctrl-C or SIGTERM, print the settings that lead a client to it, and return the exit code."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m gigachat_lite.emulator",
        description="An offline GigaChat: no key, no network, the same answers.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="port, 0 for any free one (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        with Emulator(options.host, options.port) as emulator:
            _wait_for_signal(emulator)
    except (OSError, OverflowError) as exc:
        taken = getattr(exc, "errno", None) == errno.EADDRINUSE
        reason = "the port is taken, choose another with --port" if taken else getattr(exc, "strerror", None) or exc
        print("Cannot listen on %s port %d: %s." % (options.host, options.port, reason), file=sys.stderr)
        return 1
    return 0


def _wait_for_signal(emulator: Emulator) -> None:
    """Print the settings and wait; a handler only sets a flag, because a lock could deadlock in it."""
    import signal

    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    print(
        "GigaChat emulator listens on {0.url} (Ctrl-C ends it).\n"
        "Put these lines into .env, or export them in a shell:\n\nGIGACHAT_BASE_URL={0.base_url}\n"
        "GIGACHAT_AUTH_URL={0.auth_url}\nGIGACHAT_CREDENTIALS={0.credentials}".format(emulator),
        flush=True,
    )
    while not ended:
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
