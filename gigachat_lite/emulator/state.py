"""What the endpoints share: settings, what is kept in memory, and the pace of a stream."""

from __future__ import annotations

import math
import threading
from typing import Any, Callable, NamedTuple

from .files import Files
from .models import SCOPES
from .web import Response, api_error

PART_SECONDS = 0.05  # that a part of an answer would take, for `update_interval` where there is no `chunk_delay`


class State:
    """Hold settings and what clients have left here; the service runs one endpoint at a time, so nothing locks."""

    def __init__(self, scope: str, strict: bool, token_lifetime: float, chunk_delay: float) -> None:
        """Begin with nothing in memory; ValueError for settings that cannot work."""
        if scope not in SCOPES:
            raise ValueError(f"the scope is one of {', '.join(SCOPES)}, and not {scope!r}")
        if not (math.isfinite(token_lifetime) and 0 <= chunk_delay < math.inf):
            raise ValueError("token_lifetime and chunk_delay are finite numbers of seconds")
        self.scope, self.strict = scope, strict
        self.token_lifetime, self.chunk_delay = token_lifetime, chunk_delay
        self.tokens: dict[str, float] = {}  # to the end of each on the monotonic clock
        self.rquids: set[str] = set()
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget files, batches, assistants and threads."""
        self.files = Files()
        # By id: what is told of a batch, whose it is, and its requests by their ids.
        self.batches: dict[str, tuple[dict[str, Any], str | None, dict[str, dict[str, Any]]]] = {}
        self.assistants: dict[str, dict[str, Any]] = {}
        self.threads: dict[str, Any] = {}

    def check_scope(self, *scopes: str) -> None:
        """Refuse who has none of the scopes: some endpoints are for who pays in advance, some for who pays later."""
        if self.strict and self.scope not in scopes:
            raise api_error(403)

    def stream(self, render: Callable[[int], list[bytes]], interval: float | None) -> Response:
        """Return a stream of the events that `render` makes of so many parts each, for an `update_interval`."""
        parts_per_event = max(1, math.ceil(min((interval or 0) / (self.chunk_delay or PART_SECONDS), 1e9)))
        return Response(content_type="text/event-stream", events=render(parts_per_event),
                        event_delay=parts_per_event * self.chunk_delay)


class Route(NamedTuple):
    """Describe an endpoint; `generates` is set where it counts among the simultaneous generations."""

    method: str
    path: str
    handler: Callable[..., Response]
    generates: bool = False
