"""Texts that a regular expression matches, made without `re`, whose patterns may take for ever."""

from __future__ import annotations

import random
import re
import string
from functools import partial
from typing import Callable

MAX_TEXT, MAX_REPEAT, MAX_DEPTH = 5000, 1000, 50
_Generator = Callable[[], str]
_CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_", "s": " "}
_CLASSES.update({"D": string.ascii_letters, "W": "-", "S": string.ascii_letters + string.digits})
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", **dict.fromkeys("bBAZz", "")}
_ALL = string.ascii_letters + string.digits + string.punctuation + " "
_LETTER = r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)|[^\\]"
_ATOM = re.compile(rf"\[(?P<denied>\^?)(?P<set>\]?(?:\\.|[^\\])*?)\]|(?P<letter>{_LETTER})", re.DOTALL)
_RANGE = re.compile(rf"({_LETTER})(?:-({_LETTER}))?", re.DOTALL)
_GROUP = re.compile(r"(?!\?)|\?:|\?P?<[^\W\d]\w*>")
_REPEAT = re.compile(r"(?:([*+?])|\{(?=\d|,\d)(\d{0,4})(,?)(\d{0,4})\})[?+]?")


def generate_match(pattern: str, seed: str) -> str:
    r"""Return a text that a pattern matches as a whole, another for another seed; ValueError where it is none.

    As for engines that generate by automata, groups that look around, refer to others or set flags are none.

    >>> len(generate_match("[A-Z]{3}-[0-9]{4}", "")), generate_match(r"^(a{2}b)c{2}$", "")
    (8, 'aabcc')
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

    def parse(self, depth: int = 0) -> _Generator:
        """Read up to a closing bracket or the end."""
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        options: list[list[_Generator]] = [[]]
        while self.rest and self.rest[0] != ")":
            if self._skip("|"):
                options.append([])
            else:
                atom = self._parse_group(depth) if self._skip("(") else self._parse_atom()
                options[-1].append(self._parse_repeat(atom))
        return lambda: "".join(part() for part in self._rng.choice(options))

    def _parse_repeat(self, atom: _Generator) -> _Generator:
        found = _REPEAT.match(self.rest)
        if found is None:
            return atom
        self.rest = self.rest[found.end():]
        sign, low, comma, high = found.groups()
        least = 1 if sign == "+" else int(low or 0)
        most = 1 if sign == "?" else int(high or (least + 3 if sign or comma else least))
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

    def _parse_atom(self) -> _Generator:
        """Read a letter, an escape or a set."""
        atom = _ATOM.match(self.rest)
        if atom is None or atom.group() in ("[", "*", "+", "?"):
            raise ValueError("it breaks off, or has nothing to repeat")
        self.rest = self.rest[atom.end():]
        sign, letter = atom.group("letter"), (atom.group("letter") or "")[1:]
        if sign is None:
            return partial(self._rng.choice, _letters_of(atom.group("set"), atom.group("denied")))
        if sign == "." or letter in _CLASSES:
            return partial(self._rng.choice, _CLASSES.get(letter, string.ascii_letters))
        if letter.isdigit() and letter != "0":
            raise ValueError("it refers to a group")
        text = "" if sign in "^$" else _unescape(sign)
        return lambda: text

    def _parse_group(self, depth: int) -> _Generator:
        kind = _GROUP.match(self.rest)
        if kind is None:
            raise ValueError("a group that looks around, refers to another or has flags")
        self.rest = self.rest[kind.end():]
        make = self.parse(depth + 1)
        if not self._skip(")"):
            raise ValueError("a bracket is missing")
        return make

    def _skip(self, sign: str) -> bool:
        """Tell whether a sign is next, and go past it."""
        found = self.rest.startswith(sign)
        self.rest = self.rest[found:]
        return found


def _unescape(sign: str) -> str:
    """Return what a letter or an escape stands for, `\\x41` and `\\u0416` too."""
    if len(sign) > 2:
        return chr(int(sign[2:], 16))
    return _ESCAPES.get(sign[1], sign[1]) if len(sign) == 2 else sign


def _letters_of(text: str, denied: str) -> str:
    """Return the letters of a set that may be taken, all of the usual ones but these for one that is denied."""
    letters = ""
    for low, high in _RANGE.findall(text):
        first, last = _unescape(low), _unescape(high or low)
        if low[1:] in _CLASSES:
            letters += _CLASSES[low[1:]]
        elif first and last:
            letters += "".join(map(chr, range(ord(first), min(ord(last), ord(first) + 200) + 1)))
    chosen = "".join(letter for letter in _ALL if letter not in letters) if denied else letters
    if not chosen:
        raise ValueError("a set without letters")
    return chosen
