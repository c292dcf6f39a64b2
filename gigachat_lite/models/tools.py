"""Counts of tokens, the balance, and what the service says of texts and descriptions of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

from ..objects import Obj
from .base import Answer
from .chat import Function

if TYPE_CHECKING:
    _List = List["TokensCount"]
else:
    _List = list


class TokensCount(Answer):
    """How many tokens and characters one text has."""

    __slots__ = ()
    tokens: int
    characters: int
    object: str
    object_: str


class TokensCounts(_List):
    """The counts of all texts of a request, in its order: a list, since the API answers with a bare array."""

    __slots__ = ("x_headers",)
    x_headers: dict[str, str | None] | None

    def __init__(self, counts: Any = ()) -> None:
        super().__init__(TokensCount(item) if type(item) is dict else item for item in counts)
        self.x_headers = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), list(self), self.x_headers))


def _rebuild(kind: type[TokensCounts], counts: list[Any], x_headers: dict[str, str | None] | None) -> TokensCounts:
    twin = kind(counts)
    twin.x_headers = x_headers
    return twin


class BalanceValue(Obj):
    """What is left of one prepaid package: ``usage`` names the model, ``value`` is in tokens."""

    __slots__ = ()
    usage: str
    value: float


class Balance(Answer):
    """The prepaid tokens that are left, by model; who pays as they go has none and is answered 403."""

    __slots__ = ()
    balance: list[BalanceValue]


class AICheckResult(Answer):
    """Who wrote a text: ``category`` is ai, human or mixed, ``ai_intervals`` the model's parts, as pairs of indices."""

    __slots__ = ()
    category: str
    characters: int
    tokens: int
    ai_intervals: list[list[int]] | None


class OpenApiFunctions(Answer):
    """The functions that an OpenAPI document describes."""

    __slots__ = ()
    functions: list[Function]


class FunctionIssue(Obj):
    """What is wrong with a description of a function, or might be better, and where."""

    __slots__ = ()
    description: str
    schema_location: str


class FunctionValidation(Answer):
    """What the service says of a description of a function; its status is 200 whether it is valid or not."""

    __slots__ = ()
    status: int
    message: str
    json_ai_rules_version: str | None
    errors: list[FunctionIssue] | None
    warnings: list[FunctionIssue] | None

    @property
    def valid(self) -> bool:
        """Whether no errors were found; warnings do no harm."""
        return not self.errors
