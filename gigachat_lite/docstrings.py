"""Docstrings of Google's, Sphinx's and NumPy's style, or of none, as descriptions of what they speak of."""

from __future__ import annotations

import inspect
import re
from typing import Iterable, Iterator

_PARAMETERS = "Args|Arguments|Parameters|Params|Attributes|Keyword Args|Keyword Arguments|Аргументы|Параметры|Поля"
_OTHERS = "Returns?|Yields?|Raises|Examples?|Возвращает|Исключения|Примеры?"
_SECTION = re.compile(rf"(?:(?P<parameters>{_PARAMETERS})|{_OTHERS})\s*:")
_ENTRY = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?(?:\s*:|\s+[-–—])(?:\s+(?P<text>.*)|$)")
_UNDERLINE = re.compile(r"\s*-{3,}\s*")
_TYPED = re.compile(r"(?<=\w)\s*:.*")  # behind the name of a parameter
_SPHINX = re.compile(r":(?P<kind>\w+)(?P<name>(?:\s[^:]*)?):\s*(?P<text>.*)")


def read_docstring(doc: str, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Split a docstring into its text and the descriptions of these names.

    They stand in a section (``Args:``, ``Параметры:``, NumPy's underlined ``Parameters``), in Sphinx's fields (``:param
    city: …``), or on lines of their own (``city: …``, ``city — …``). What is returned, raised, or shown as an example
    belongs to neither.

    >>> read_docstring("Погода.\\n\\nArgs:\\n    city (str): город,\\n        по-русски\\n", ["city"])
    ('Погода.', {'city': 'город, по-русски'})
    """
    known, text = set(names), []  # type: set[str], list[str]
    notes: dict[str, list[str]] = {}
    target, edge = text, -1  # where lines go, and the indent at which that ends
    section, entries = -1, True  # the indent of the section's head, and whether names may stand in it
    for line in _indent_numpy(inspect.cleandoc(doc).splitlines()):
        bare_line, indent = line.strip(), len(line) - len(line.lstrip())
        if bare_line and target is not text and indent <= edge:
            if indent <= section:
                section, entries = -1, True
            target, edge = ([], section) if section >= 0 else (text, -1)
        head, field, entry = (rule.match(bare_line) for rule in (_SECTION, _SPHINX, _ENTRY))
        if head is not None and head.end() == len(bare_line):
            target, edge, section, entries = [], indent, indent, bool(head.group("parameters"))
            continue
        found = field or (entry if entry and entries and entry.group("name") in known else None)
        if found is not None:
            name = (found.group("name").split() or [""])[-1].lstrip("*")
            mine = name in known and (field is None or field.group("kind") in ("param", "parameter", "arg", "key"))
            target, edge = notes.setdefault(name, []) if mine else [], indent
            bare_line = found.group("text") or ""
        target.append(bare_line)
    return _flow(text), {name: _flow(lines) for name, lines in notes.items() if any(lines)}


def _indent_numpy(lines: list[str]) -> Iterator[str]:
    """Write NumPy's sections, whose heads are underlined, as those that are indented; types are left out."""
    inside = False
    for line, below in zip(lines, [*lines[1:], ""]):
        if _UNDERLINE.fullmatch(below) and line.strip():
            inside = _SECTION.fullmatch(line.strip() + ":") is not None
            yield line.strip() + ":" if inside else line
        elif not _UNDERLINE.fullmatch(line):
            yield "    " + _TYPED.sub(":", line) if inside else line


def _flow(lines: list[str]) -> str:
    """Join lines into paragraphs of one line each."""
    paragraphs = "\n".join(lines).split("\n\n")
    return "\n".join(filter(None, (" ".join(paragraph.split()) for paragraph in paragraphs)))
