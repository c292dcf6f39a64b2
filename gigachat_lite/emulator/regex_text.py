"""Texts that a regular expression matches, made without `re`, whose patterns may take for ever."""

from __future__ import annotations

import random
import re
import string
from typing import Callable

MAX_TEXT, MAX_REPEAT, MAX_DEPTH = 5000, 1000, 50
_Generator = Callable[[], str]
_CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_", "s": " "}
_CLASSES.update({"D": string.ascii_letters, "W": "-", "S": string.ascii_letters + string.digits})
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "b": "", "B": "", "A": "", "Z": "", "z": ""}
_ALL = string.ascii_letters + string.digits + string.punctuation + " "
# A group's name, the name of the one it repeats, what looks ahead or behind, and the end of flags.
_GROUP = re.compile(r"\?(?:P?<([^\W\d]\w*)>|P=(\w+)\)|(<?[=!])|[aiLmsux]*(?:-[imsx]+)?([:)]))")
_REPEAT = re.compile(r"(?:([*+?])|\{(\d{0,4})(,?)(\d{0,4})\})[?+]?")


def generate_match(pattern: str, seed: str) -> str:
    r"""Return a text that a pattern matches as a whole, another for another seed; ValueError where it is none.

    What looks ahead or behind is left out of account.

    >>> len(generate_match("[A-Z]{3}-[0-9]{4}", "")), generate_match(r"^(a{2}b)c{2}\1$", "")
    (8, 'aabccaab')
    """
    if len(pattern) > MAX_TEXT:
        raise ValueError("too long")
    parser = _Parser(pattern, random.Random(seed))  # noqa: S311 -- the same seed is to give the same text
    make = parser.parse()
    if parser.rest:
        raise ValueError("a bracket too many")
    return make()[:MAX_TEXT]


class _Parser:
    """Read a pattern into a function that makes a text."""

    def __init__(self, pattern: str, rng: random.Random) -> None:
        self.rest, self._rng, self._size = pattern, rng, 0
        self._groups: dict[str, str] = {}
        self._count = 0

    def parse(self, depth: int = 0) -> _Generator:
        """Read up to a closing bracket or the end."""
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        options: list[list[_Generator]] = [[]]
        while self.rest and self.rest[0] != ")":
            if self._skip("|"):
                options.append([])
            else:
                options[-1].append(self._parse_repeat(self._parse_atom(depth)))
        return lambda: "".join(part() for part in self._rng.choice(options))

    def _parse_repeat(self, atom: _Generator) -> _Generator:
        found = _REPEAT.match(self.rest)
        if found is None or found.group() in ("{}", "{}?"):
            return atom
        self.rest = self.rest[found.end():]
        sign, low, comma, high = found.groups()
        least = int(low or 0) if sign is None else 1 if sign == "+" else 0
        most = int(high or (least + 3 if comma else low or 0)) if sign is None else 1 if sign == "?" else least + 3
        if most < least or least > MAX_REPEAT:
            raise ValueError("a repetition that cannot be")

        def make() -> str:
            made = ""
            for _ in range(self._rng.randint(least, most)):
                if self._size > MAX_TEXT:  # of all that was made: what is repeated repeats itself
                    break
                text = atom()
                self._size += len(text) + 1
                made += text
            return made
        return make

    def _parse_atom(self, depth: int) -> _Generator:
        sign = self._next()
        if sign == "(":
            return self._parse_group(depth)
        if sign == "[":
            return self._pick(self._parse_set())
        if sign in "*+?":
            raise ValueError("nothing to repeat")
        if sign == ".":
            return self._pick(string.ascii_letters)
        if sign != "\\":
            return lambda: "" if sign in "^$" else sign
        letter = self._next()
        if letter in _CLASSES:
            return self._pick(_CLASSES[letter])
        if letter.isdigit() and letter != "0":
            return lambda: self._groups.get(letter, "")
        text = self._read_escape(letter)
        return lambda: text

    def _parse_group(self, depth: int) -> _Generator:
        kind = _GROUP.match(self.rest)
        if kind is None and self.rest[:1] == "?":
            raise ValueError("an unknown group")
        self.rest = self.rest[kind.end():] if kind else self.rest
        name, same, ahead, end = kind.groups() if kind else (None,) * 4
        if same:
            return lambda: self._groups.get(same, "")
        if end == ")":  # flags
            return str
        names: list[str] = []
        if kind is None or name:
            self._count += 1
            names = [str(self._count), *([name] if name else [])]
        inner = self.parse(depth + 1)
        if not self._skip(")"):
            raise ValueError("a bracket is missing")

        def make() -> str:
            text = inner()
            self._groups.update(dict.fromkeys(names, text))
            return text
        return str if ahead else make

    def _read_escape(self, letter: str) -> str:
        """Return what an escape stands for, `\\x41` and `\\u0416` too."""
        size = {"x": 2, "u": 4}.get(letter, 0)
        code, self.rest = self.rest[:size], self.rest[size:]
        return chr(int(code, 16)) if size else _ESCAPES.get(letter, letter)

    def _parse_set(self) -> str:
        """Return the letters of a set that may be taken, all of the usual ones but these for one that is denied."""
        denied, letters, first = self._skip("^"), "", True
        while first or not self._skip("]"):
            first, low = False, self._next()
            if low == "\\" and self.rest[:1] in _CLASSES:
                letters += _CLASSES[self._next()]
                continue
            low = high = self._read_escape(self._next()) if low == "\\" else low
            if self.rest[:1] == "-" and self.rest[1:2] not in ("]", ""):
                self._next()
                high = self._next()
                high = self._read_escape(self._next()) if high == "\\" else high
            if low and high:
                letters += "".join(map(chr, range(ord(low), min(ord(high), ord(low) + 200) + 1)))
        chosen = "".join(letter for letter in _ALL if letter not in letters) if denied else letters
        if not chosen:
            raise ValueError("a set without letters")
        return chosen

    def _pick(self, letters: str) -> _Generator:
        return lambda: self._rng.choice(letters)

    def _next(self) -> str:
        if not self.rest:
            raise ValueError("it breaks off")
        sign, self.rest = self.rest[0], self.rest[1:]
        return sign

    def _skip(self, sign: str) -> bool:
        """Tell whether a sign is next, and go past it."""
        found = self.rest.startswith(sign)
        self.rest = self.rest[found:]
        return found
