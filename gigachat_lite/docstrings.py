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
    target, target_indent = text, -1  # where lines go, until one is indented no deeper
    section_indent, takes_names = -1, True  # of the section that the line is in; -1 for none
    for line in _indent_numpy(inspect.cleandoc(doc).splitlines()):
        stripped, indent = line.strip(), len(line) - len(line.lstrip())
        if stripped and target is not text and indent <= target_indent:
            if indent <= section_indent:
                section_indent, takes_names = -1, True
            target, target_indent = ([], section_indent) if section_indent >= 0 else (text, -1)
        head, field, entry = (rule.match(stripped) for rule in (_SECTION, _SPHINX, _ENTRY))
        if head is not None and head.end() == len(stripped):
            target, target_indent, section_indent, takes_names = [], indent, indent, bool(head.group("parameters"))
            continue
        found = field or (entry if entry and takes_names and entry.group("name") in known else None)
        if found is not None:
            name = (found.group("name").split() or [""])[-1].lstrip("*")
            described = name in known and (field is None or field.group("kind") in ("param", "parameter", "arg", "key"))
            target, target_indent = notes.setdefault(name, []) if described else [], indent
            stripped = found.group("text") or ""
        target.append(stripped)
    return _join_paragraphs(text), {name: _join_paragraphs(lines) for name, lines in notes.items() if any(lines)}


def _indent_numpy(lines: list[str]) -> Iterator[str]:
    """Write NumPy's sections, whose heads are underlined, as those that are indented; types are left out."""
    inside = False
    for line, below in zip(lines, [*lines[1:], ""]):
        if _UNDERLINE.fullmatch(below) and line.strip():
            inside = _SECTION.fullmatch(line.strip() + ":") is not None
            yield line.strip() + ":" if inside else line
        elif not _UNDERLINE.fullmatch(line):
            yield "    " + _TYPED.sub(":", line) if inside else line


def _join_paragraphs(lines: list[str]) -> str:
    """Join lines into paragraphs of one line each."""
    paragraphs = "\n".join(lines).split("\n\n")
    return "\n".join(filter(None, (" ".join(paragraph.split()) for paragraph in paragraphs)))
