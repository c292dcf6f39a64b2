"""The functions that run on the server: pictures and models that are files then, documents that are read, searches."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Iterable, NamedTuple

from .files import Files
from .function_calls import word_stems
from .text import as_list, message_text

MAX_READ = 100_000  # characters of a document in which an answer is looked for


class Tool(NamedTuple):
    """Describe a function of the server: `wanted_by` is a pattern of questions, the rest is of what it makes."""

    wanted_by: str
    mime: str = ""
    target: str = ""
    suffix: str = ""
    caption: str = ""


# By the names of the first version, and those of the second that it has not.
TOOLS = {
    "text2model3d": Tool(r"\b3[dд]\b|тр[её]хмерн", "application/octet-stream", "3dmodel", ".fbx", "вот модель"),
    "text2image": Tool(
        r"рису|изобрази|картинк|иллюстрац|\bdraw|\bpaint|\bpicture|\bimage", "image/jpeg", "image", ".jpg",
        "вот рисунок"),
    "url_content_extraction": Tool(r"https?://"),
    "web_search": Tool(r"найди|поищи|новост|интернет|сегодня|последн|\bsearch|\blatest|\bnews"),
}
RENAMED = {"image_generate": "text2image", "model_3d_generate": "text2model3d"}


def choose_tool(messages: list[dict[str, Any]], allowed: Iterable[str], forced: str | None = None) -> str | None:
    """Return the tool that the last question wants, of those that it may have, by the name it is allowed under.

    >>> choose_tool([{"role": "user", "content": "Нарисуй кота"}], ["web_search", "image_generate"])
    'image_generate'
    """
    last = messages[-1]
    if last.get("role") != "user":
        return None
    names = {RENAMED.get(name, name): name for name in allowed}
    if forced is not None:
        return forced if RENAMED.get(forced, forced) in TOOLS else None
    question = message_text(last)
    return next((names[name] for name, tool in TOOLS.items()
                 if name in names and re.search(tool.wanted_by, question, re.IGNORECASE)), None)


class GeneratedFile(NamedTuple):
    """Hold what a tool has made: the file and the words that go with it."""

    file_id: str
    tool: Tool
    caption: str


def generate_file(name: str, messages: list[dict[str, Any]], files: Files, owner: str | None) -> GeneratedFile | None:
    """Make what a tool makes, as a file of the caller's; None where it makes none."""
    tool = TOOLS.get(RENAMED.get(name, name))
    if tool is None or not tool.suffix:
        return None
    question = message_text(messages[-1])
    content = draw_jpeg(question) if tool.target == "image" else _MODEL
    info = files.store(owner, "generated" + tool.suffix, content, tool.mime, "general")
    short = question if len(question) <= 80 else question[:80].rpartition(" ")[0] + "…"
    return GeneratedFile(info["id"], tool, f"{tool.caption} по вашей просьбе: «{short}».")


# ---- Documents


def read_document(messages: list[dict[str, Any]], files: Files) -> str | None:
    """Answer a question from the first text among its attachments, None where there is none."""
    for file_id in as_list(messages[-1].get("attachments")):
        info = files.look_up(file_id)
        if info is not None and info["modalities"] == ["text"]:
            return _best_sentence(files.text(file_id), info, message_text(messages[-1]))
    return None


def _best_sentence(text: str, info: dict[str, Any], question: str) -> str:
    """Return the sentence of a document that shares most words with a question, the first where none does."""
    name = info["filename"]
    parts = re.split(r"(?<=[.!?…])\s+|\n+", text[:MAX_READ])
    sentences = [part for part in map(str.strip, parts) if part]
    if not sentences:
        return f"Файл «{name}» получен, байт в нём {info['bytes']}, но эмулятор читает только простой текст."
    asked = word_stems(question).keys()
    best = max(sentences[:2000], key=lambda sentence: len(asked & word_stems(sentence).keys()))
    return f"В файле «{name}» сказано: «{best if len(best) <= 500 else best[:500] + '…'}»"


def count_attachment_tokens(messages: list[dict[str, Any]], files: Files) -> int:
    """Return how many tokens the attachments of a dialogue take."""
    ids = [file_id for message in messages for file_id in as_list(message.get("attachments"))]
    return sum(files.count_tokens(file_id) for file_id in ids if isinstance(file_id, str))


# ---- Searches


def add_sources(messages: list[dict[str, Any]], said: str) -> tuple[str, dict[str, Any]]:
    """Return an answer with marks of where it is from, and what the marks mean."""
    title = message_text(messages[-1])[:60]
    sources = {str(number): {"url": f"https://example.com/{number}", "title": f"{title} ({number})"}
               for number in (1, 2)}
    return f"{said} [sources=[1, 2]]", {"images": [], "sources": sources}


# ---- A JPEG: a mosaic, every text its own

_SIDE = 8  # blocks; each is 8 pixels wide
_CATEGORIES = list(range(12))  # of differences, each with a code of four bits
_MODEL = b"; FBX 7.4.0 project file\n; an empty scene\nFBXHeaderExtension:  {\n\tFBXVersion: 7400\n}\nObjects:  {\n}\n"


def draw_jpeg(text: str) -> bytes:
    """Return a picture of 64 by 64 pixels in two colours, symmetrical, the same each time for the same text.

    Every block has one colour, so that of its cosines only the first is sent, and the tables can be the simplest ones
    of ITU T.81: all coefficients are quantized by 8, and the end of a block is a single bit.
    """
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    colours = [tuple(digest[at:at + 3]) for at in (0, 3)]
    bits, before = [], [128, 128, 128]
    for block in range(_SIDE * _SIDE):
        row, column = divmod(block, _SIDE)
        place = row * _SIDE // 2 + min(column, _SIDE - 1 - column)
        colour = colours[digest[6 + place // 8] >> place % 8 & 1]
        for component in range(3):
            bits.append(_code(colour[component] - before[component]) + "0")
        before = list(colour)
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    data = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    return _HEAD + data + b"\xff\xd9"


def _code(difference: int) -> str:
    """Return the bits of a difference: the code of its category, and its own as T.81 has them (F.1.2.1).

    >>> _code(0), _code(3), _code(-3)
    ('0000', '001011', '001000')
    """
    size = abs(difference).bit_length()
    value = difference if difference >= 0 else difference + (1 << size) - 1
    return f"{size:04b}" + (f"{value:0{size}b}" if size else "")


def _segment(mark: int, content: Iterable[int]) -> bytes:
    body = bytes(content)
    return bytes([0xFF, mark]) + (len(body) + 2).to_bytes(2, "big") + body


_EDGE = _SIDE * 8
_HEAD = b"".join([
    b"\xff\xd8", _segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), _segment(0xDB, [0] + [8] * 64),
    _segment(0xC0, [8, 0, _EDGE, 0, _EDGE, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]),
    _segment(0xC4, [0x00, 0, 0, 0, len(_CATEGORIES), *[0] * 12, *_CATEGORIES]),
    _segment(0xC4, [0x10, 1, *[0] * 15, 0]),
    _segment(0xDA, [3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
])
