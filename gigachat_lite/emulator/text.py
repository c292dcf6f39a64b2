"""Texts: what a message says, how it is cut for a stream, how many tokens it has, and its vector."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import struct
from typing import Any, Dict

JSONDict = Dict[str, Any]
_PART = re.compile(r"\s*(?:\S{1,40}\s*){1,4}|\s+")
# Latin words, digits by three, letters that are words of their own, other words (Russian above all), rulers and dots.
_TOKEN = re.compile(r"[A-Za-z]{1,7}|[0-9]{1,3}|[\u3040-\u9fff\uac00-\ud7af]|\w{1,4}|[-=*#.!?]{1,4}|[^\w\s]|\n+")


def message_text(message: dict[str, Any]) -> str:
    """Return the text of a message in one line, of a long one its ends; it is empty where there is none."""
    content = message.get("content")
    content = content if isinstance(content, str) else ""
    return " ".join((content if len(content) <= 5000 else content[:2500] + " " + content[-2500:]).split())


def as_dict(value: Any) -> dict[str, Any]:
    """Return a dict, an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a list, an empty one for what is none."""
    return value if isinstance(value, list) else []


def split_text(text: str, every: int = 1) -> list[str]:
    """Return the parts that a stream sends, a few words each, `every` of them joined; an empty text is one part.

    >>> split_text("раз два три четыре пять"), split_text("")
    (['раз два три четыре ', 'пять'], [''])
    """
    parts = _PART.findall(text) or [""]
    return ["".join(parts[start:start + every]) for start in range(0, len(parts), every)]


def count_tokens(text: str) -> int:
    """Return a plausible number of tokens: in Russian one for three or four characters, as the documentation says."""
    return sum(1 for _ in _TOKEN.finditer(text))


def truncate_text(text: str, limit: int | None) -> tuple[str, int, str]:
    """Return a text within `max_tokens`, the tokens it took (its end is one of them) and the reason why it ends.

    >>> truncate_text("Hello.", None), truncate_text("один два три", 2)
    (('Hello.', 3, 'stop'), ('один два', 2, 'length'))
    """
    ends = [match.end() for match in _TOKEN.finditer(text)]
    if limit is None or len(ends) < limit:
        return text, len(ends) + 1, "stop"
    return text[:ends[limit - 1]], limit, "length"


@functools.lru_cache(maxsize=512)
def embedding_json(text: str) -> str:
    """Return the vector of a text, 1024 numbers, as JSON, because writing them out is what takes the time.

    Every word adds a vector hashed from it and half of one from its beginning, because Russian words differ at their
    ends: texts that share words are near. Words beyond 4,096 do not count: no model reads more.
    """
    mask, total, weight = int.from_bytes(b"\xff\xff\x00\x00" * 1024, "little"), 0, 0
    for word in re.findall(r"\w+", text.lower())[:4096] or [""]:
        for feature, share in ((word, 2), (word[:4] + "-", 1)):
            digest = hashlib.shake_128(feature.encode("utf-8")).digest(4096)
            total, weight = total + share * (int.from_bytes(digest, "little") & mask), weight + share
    sums = struct.unpack("<1024I", total.to_bytes(4096, "little"))
    return json.dumps([round((value / 32768 - weight) / 2, 6) for value in sums], separators=(",", ":"))
