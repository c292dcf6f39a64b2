"""Context variables: most travel as headers of every request made in their context, two change an address.

New threads begin with an empty context: set them there again, run the thread's work by
``contextvars.copy_context().run``, or give ``headers=`` to the call.
"""

from __future__ import annotations

import enum
import re
from contextvars import ContextVar
from typing import Any, Mapping

__all__ = [
    "agent_id_cvar",
    "authorization_cvar",
    "chat_completions_url_cvar",
    "chat_url_cvar",
    "client_id_cvar",
    "custom_headers_cvar",
    "operation_id_cvar",
    "request_id_cvar",
    "service_id_cvar",
    "session_id_cvar",
    "trace_id_cvar",
]

authorization_cvar: ContextVar[str | None] = ContextVar("authorization_cvar", default=None)
"""A whole Authorization header, used in place of the client's own token; its 401 is final."""
client_id_cvar: ContextVar[str | None] = ContextVar("client_id_cvar", default=None)
"""X-Client-ID: your user's id; a file can be read only with the value it was made with."""
session_id_cvar: ContextVar[str | None] = ContextVar("session_id_cvar", default=None)
"""X-Session-ID: a constant one makes the service's prompt cache hit."""
request_id_cvar: ContextVar[str | None] = ContextVar("request_id_cvar", default=None)
"""X-Request-ID: your own id of the request; the service makes one where there is none."""
service_id_cvar: ContextVar[str | None] = ContextVar("service_id_cvar", default=None)
"""X-Service-ID."""
operation_id_cvar: ContextVar[str | None] = ContextVar("operation_id_cvar", default=None)
"""X-Operation-ID."""
trace_id_cvar: ContextVar[str | None] = ContextVar("trace_id_cvar", default=None)
"""X-Trace-ID."""
agent_id_cvar: ContextVar[str | None] = ContextVar("agent_id_cvar", default=None)
"""X-Agent-ID."""
custom_headers_cvar: ContextVar[Mapping[str, str] | None] = ContextVar("custom_headers_cvar", default=None)
"""Any further headers, as a mapping; stronger than the variables above, weaker than ``headers=`` of a call."""
chat_url_cvar: ContextVar[str] = ContextVar("chat_url_cvar", default="/chat/completions")
"""Where ``chat()`` and ``stream()`` post to: a path below base_url, or /v1/… or /api/v1/… of its host."""
chat_completions_url_cvar: ContextVar[str | None] = ContextVar("chat_completions_url_cvar", default=None)
"""The same for v2's ``chat.create()``, ``.stream()`` and ``.parse()``; None is their own address."""

_HEADERS = (
    ("Authorization", authorization_cvar),
    ("X-Client-ID", client_id_cvar),
    ("X-Session-ID", session_id_cvar),
    ("X-Request-ID", request_id_cvar),
    ("X-Service-ID", service_id_cvar),
    ("X-Operation-ID", operation_id_cvar),
    ("X-Trace-ID", trace_id_cvar),
    ("X-Agent-ID", agent_id_cvar),
)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
RESERVED_HEADERS = ("connection", "content-length", "host", "transfer-encoding")


def context_headers() -> dict[str, str]:
    """Collect the headers that the context asks for.

    >>> token = session_id_cvar.set("s-1")
    >>> context_headers()["X-Session-ID"] == "s-1"
    True
    >>> session_id_cvar.reset(token)
    """
    # An empty one says nothing: programs pass on what may not be there.
    headers = {name: value for name, variable in _HEADERS for value in [variable.get()] if value}
    custom = custom_headers_cvar.get() or {}
    if not isinstance(custom, Mapping):
        raise TypeError(f"custom_headers_cvar: a dict is needed, not {type(custom).__name__}")
    return {**headers, **custom}


def chat_url(base_url: str, path: str) -> str:
    """Tell where a chat goes that one of the two variables sends elsewhere.

    >>> chat_url("https://api.giga.chat/v1", "/v3/chat"), chat_url("https://api.giga.chat/v1", "/my/chat")
    ('https://api.giga.chat/v3/chat', 'https://api.giga.chat/v1/my/chat')
    """
    if "://" in path:
        return path
    path = "/" + path.lstrip("/")
    versioned = re.match(r"/(api/)?v\d+(/|$)", path)
    return ("/".join(base_url.split("/", 3)[:3]) if versioned else base_url) + path


def check_headers(*given: Mapping[str, Any]) -> dict[str, str]:
    """Merge headers whatever their case, the last one wins; refuse what HTTP cannot carry, without showing values."""
    checked: dict[str, tuple[str, str]] = {}
    for name, value in [item for headers in given for item in headers.items()]:
        value = value.value if isinstance(value, enum.Enum) else value
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            begins = _NAME.match(name) if isinstance(name, str) else None  # a value may follow
            shown = repr((begins[0] if begins else "")[:40] + "…") if isinstance(name, str) else type(name).__name__
            raise ValueError(f"{shown} is no name of a header")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} is no string of ASCII or Latin-1 letters")
        if name.lower() in RESERVED_HEADERS:
            raise ValueError(f"header {name} belongs to the connection, not to the caller")
        # Plain strings, for a recorder cannot write a subclass.
        checked[name.lower()] = "Authorization" if name.lower() == "authorization" else str(name), str(value)
    return dict(checked.values())
