"""Access tokens."""

from __future__ import annotations

from typing import Any, Mapping

from .base import Answer


class _Masked(Answer):
    __slots__ = ()
    _masked = ""

    def __repr__(self) -> str:
        shown: Mapping[str, Any] = {key: "***" if key == self._masked else value for key, value in self.items()}
        return f"{type(self).__name__}({shown!r})"

    __str__ = __repr__


class AccessToken(_Masked):
    """A token; ``expires_at`` is Unix time in milliseconds. Its repr masks the token, json.dumps does not."""

    __slots__ = ()
    _masked = "access_token"
    access_token: str
    expires_at: int | None


class Token(_Masked):
    """A token as it is given for a user and a password; ``exp`` is Unix time in seconds or milliseconds."""

    __slots__ = ()
    _masked = "tok"
    tok: str
    exp: int | None
