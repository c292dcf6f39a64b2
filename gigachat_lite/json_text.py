"""JSON from the network: strict, with or without a byte order mark, and without halves of surrogate pairs."""

from __future__ import annotations

import json
import re
from typing import Any, Tuple

Path = Tuple[Any, ...]  # keys and indices that lead to a text
HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_reject_constant)


def decode_json(text: str, halves: dict[Path, str] | None = None) -> Any:
    """Decode JSON, and refuse NaN and Infinity; faster than json.loads where no white space surrounds the value.

    A half of a surrogate pair, which cannot be printed or encoded, becomes U+FFFD. With ``halves``, a dict that the
    events of one stream share, a half at the end of a text waits there for the event that has the other one.

    >>> halves = {}
    >>> [decode_json(event, halves)["text"] for event in (r'{"text": "a\\ud83d"}', r'{"text": "\\ude00b"}')]
    ['a', '😀b']
    """
    try:
        value, end = _decoder.raw_decode(text)
    except ValueError:
        end = -1
    value = value if end == len(text) else _decoder.decode(text)
    return replace_halves(value, halves) if halves or ("\\u" in text and HALF.search(text)) else value


def decode_body(content: bytes) -> Any:
    """Decode the JSON of a body; ValueError or RecursionError for what is none."""
    return decode_json(content.decode("utf-8-sig"))


def unfinished(halves: dict[Path, str]) -> list[Any]:
    """Make events of the halves that still wait at the end of a stream.

    >>> unfinished({("choices", 0, "text"): "\\ud83d"})
    [{'choices': [{'text': '\ufffd', 'index': 0}]}]
    """
    events = []
    for path in halves:
        value: Any = "\ufffd"
        for key in reversed(path):
            if isinstance(key, int):
                value = [None] * key + [{**value, "index": key} if isinstance(value, dict) else value]
            else:
                value = {key: value}
        events.append(value)
    return events


def join_halves(text: str) -> str:
    """Join the halves of surrogate pairs in a text; one that is alone becomes U+FFFD.

    >>> join_halves("\\ud83d\\ude00"), join_halves("\\ude00")
    ('😀', '\ufffd')
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def replace_halves(value: Any, halves: dict[Path, str] | None = None, path: Path = ()) -> Any:
    """Copy a JSON value with halves of surrogate pairs joined or replaced; ``halves`` as in ``decode_json``."""
    if isinstance(value, dict):
        return {join_halves(key): replace_halves(item, halves, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_halves(item, halves, (*path, _index(item, place))) for place, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    if halves is not None:
        waited = halves.pop(path, "") if value else ""
        if value and "\ud800" <= value[-1] <= "\udbff":
            halves[path], value = value[-1], value[:-1]
        value = waited + value
    return join_halves(value)


def _index(item: Any, place: int) -> int:
    """Return the index of a choice, which its place in an event need not be."""
    index = item.get("index") if isinstance(item, dict) else None
    return index if type(index) is int and 0 <= index < 100 else place
