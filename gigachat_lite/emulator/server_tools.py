"""The functions that run on the server: pictures and models that are files then, documents that are read, searches."""

from __future__ import annotations

import re
from typing import Iterable, NamedTuple

from .files import Files
from .function_calls import word_stems
from .text import JSONDict, as_list, message_text

MAX_READ = 100_000  # characters of a document in which an answer is looked for


class Tool(NamedTuple):
    """Describe a function of the server: `wanted_by` is a pattern of questions, the rest is of its file."""

    wanted_by: str
    mime: str = ""
    target: str = ""
    suffix: str = ""
    caption: str = ""
    file_id: str = ""


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


def choose_tool(messages: list[JSONDict], allowed: Iterable[str], forced: str | None = None) -> str | None:
    """Return the tool that the last question wants, of those that it may have, by the name it is allowed under.

    >>> choose_tool([{"role": "user", "content": "Нарисуй кота"}], ["web_search", "image_generate"])
    'image_generate'
    """
    if messages[-1].get("role") != "user":
        return None
    names = {RENAMED.get(name, name): name for name in allowed}
    if forced is not None:
        return forced if RENAMED.get(forced, forced) in TOOLS else None
    return next((names[name] for name, tool in TOOLS.items()
                 if name in names and re.search(tool.wanted_by, message_text(messages[-1]), re.IGNORECASE)), None)


def generate_file(name: str, messages: list[JSONDict], files: Files, owner: str | None) -> Tool | None:
    """Make what a tool makes, as a file of the caller's, and return the tool with it; None where it makes none."""
    tool = TOOLS.get(RENAMED.get(name, name))
    if tool is None or not tool.suffix:
        return None
    question = message_text(messages[-1])
    content = make_jpeg(question) if tool.target == "image" else _MODEL
    info = files.store(owner, "generated" + tool.suffix, content, tool.mime, "general")
    short = question if len(question) <= 80 else question[:80].rpartition(" ")[0] + "…"
    return tool._replace(file_id=info["id"], caption=f"{tool.caption} по вашей просьбе: «{short}».")


# ---- Documents


def read_document(messages: list[JSONDict], files: Files) -> str | None:
    """Answer a question from the first text among its attachments, None where there is none."""
    for file_id in as_list(messages[-1].get("attachments")):
        info = files.look_up(file_id)
        if info is not None and info["modalities"] == ["text"]:
            return _best_sentence(files.text(file_id), info, message_text(messages[-1]))
    return None


def _best_sentence(text: str, info: JSONDict, question: str) -> str:
    """Return the sentence of a document that shares most words with a question, the first where none does."""
    name = info["filename"]
    parts = re.split(r"(?<=[.!?…])\s+|\n+", text[:MAX_READ])
    sentences = [part for part in map(str.strip, parts) if part]
    if not sentences:
        return f"Файл «{name}» получен, байт в нём {info['bytes']}, но эмулятор читает только простой текст."
    asked = word_stems(question).keys()
    best = max(sentences[:2000], key=lambda sentence: len(asked & word_stems(sentence).keys()))
    return f"В файле «{name}» сказано: «{best if len(best) <= 500 else best[:500] + '…'}»"


# ---- Searches


def add_sources(messages: list[JSONDict], said: str) -> tuple[str, JSONDict]:
    """Return an answer with marks of where it is from, and what the marks mean."""
    title = message_text(messages[-1])[:60]
    sources = {str(number): {"url": f"https://example.com/{number}", "title": f"{title} ({number})"}
               for number in (1, 2)}
    return f"{said} [sources=[1, 2]]", {"images": [], "sources": sources}


# ---- Files


_MODEL = b"; FBX 7.4.0 project file\n; an empty scene\nFBXHeaderExtension:  {\n\tFBXVersion: 7400\n}\nObjects:  {\n}\n"
_JPEG_START = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
# Quantization by 1; 256 by 256 pixels of one component; a code of one bit for "as the block before" and for "the end".
_JPEG_END = (
    b"\xff\xdb\0\x43\0" + b"\1" * 64 + b"\xff\xc0\0\x0b\x08\1\0\1\0\1\1\x11\0"
    + b"".join(b"\xff\xc4\0\x14" + table + b"\1" + b"\0" * 16 for table in (b"\x00", b"\x10"))
    + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\0" * 256 + b"\xff\xd9")


def make_jpeg(text: str) -> bytes:
    """Return a grey picture (ITU T.81), the same each time for the same text, which stands in its comment."""
    comment = text[:1000].encode("utf-8", "replace")
    return b"%b\xff\xfe%b%b%b" % (_JPEG_START, (len(comment) + 2).to_bytes(2, "big"), comment, _JPEG_END)
