"""Answers of the service, with the ids of their requests beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union

from ..objects import Obj

if TYPE_CHECKING:
    from .tools import TokensCounts

BLOCKED = (
    *("blacklist", "request_blacklist", "request_whitelist", "request_filter", "response_blacklist"),
    "content_filter",
)


class Answer(Obj):
    """An answer of the service; ``x_headers`` holds its request, session and client id (``x-request-id`` …)."""

    __slots__ = ("x_headers",)
    x_headers: dict[str, str | None] | None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "x_headers":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def copy(self: A) -> A:
        """Copy one level and keep the class and the headers."""
        twin = type(self)(self)
        twin.x_headers = self.x_headers
        return twin


set_x_headers: Callable[[Answer, Any], None] = vars(Answer)["x_headers"].__set__  # past the attributes that are keys
APIResponse = XHeadersMixin = WithXHeaders = Answer  # its names in the official package, some of them old
A = TypeVar("A", bound=Answer)
T = TypeVar("T", bound="Union[Answer, TokensCounts]")


def with_headers(answer: T, headers: dict[str, str | None] | None) -> T:
    """Give an answer its ids, past the attributes that are keys."""
    object.__setattr__(answer, "x_headers", headers)
    return answer


class Ending:
    """What a ``finish_reason`` means, for the answers and chunks of every chat."""

    __slots__ = ()

    @property
    def blocked(self) -> bool:
        """Whether the service's filter refused the question or the answer; the text is then its refusal."""
        return getattr(self, "finish_reason", None) in BLOCKED

    @property
    def truncated(self) -> bool:
        """Whether the answer ended at ``max_tokens`` or at the end of the context."""
        return bool(getattr(self, "finish_reason", None) == "length")
