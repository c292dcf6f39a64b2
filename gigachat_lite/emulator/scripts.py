"""Scripts: responses that a test has prepared."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, NamedTuple

from .faults import Fault, parse_fault
from .web import TOKEN_PATHS, Request, Response, api_error, to_json

GENERATION_PATHS = ("/chat/completions", "/run", "/rerun")  # the ends of the paths where the model says something


def response(
    status: int | None = None, headers: Mapping[str, str | None] | None = None, body: Any = None, *,
    events: Iterable[Any] | None = None, delay: float = 0.0, fault: str | None = None,
) -> Response:
    """Make a response, as `Emulator.enqueue()` takes it and as a scripted callable may return it."""
    status = 200 if status is None else status
    if not (isinstance(status, int) and 200 <= status <= 599):
        raise ValueError(f"the status of a response is a number from 200 to 599, not {status!r}; a body goes into "
                         "body=, what the model says into text=")
    given = {name: None if value is None else str(value) for name, value in (headers or {}).items()}
    made = Response(status, _encode(body, status), headers=given, delay=float(delay))
    if events is not None:
        made = made._replace(content_type="text/event-stream", events=[_encode_event(event) for event in events])
    return made if fault is None else parse_fault(fault).inject(made) or made


def _encode(body: Any, status: int) -> bytes:
    """Return a body as bytes: a dict or a list is JSON, an error without a body gets the service's usual one."""
    if body is None:
        return api_error(status).response.body if status >= 400 else b""
    if isinstance(body, str):
        return body.encode("utf-8")
    return bytes(body) if isinstance(body, (bytes, bytearray)) else to_json(body) + (b"\n" if status >= 400 else b"")


def _encode_event(event: Any) -> bytes:
    """Return an event as bytes: bytes stay as they are, text and JSON become a `data:` line."""
    if isinstance(event, (bytes, bytearray)):
        return bytes(event)
    return b"data: %b\n\n" % (event.encode("utf-8") if isinstance(event, str) else to_json(event))


class Script(NamedTuple):
    """Hold a prepared response: for which path, how it is made (None is the service's own), what spoils it.

    `text` is what the model says in the service's own response.
    """

    path: str | None
    make: Callable[[Request], Any] | None
    delay: float
    fault: Fault | None
    about: str
    text: str | None = None

    def matches(self, request: Request) -> bool:
        """Tell whether it is for this request: of the path that was named, or any but those for a token."""
        if self.text is not None and not (request.method == "POST" and request.path.endswith(GENERATION_PATHS)):
            return False
        return request.path.endswith(self.path) if self.path is not None else not request.path.endswith(TOKEN_PATHS)

    def run(self, request: Request, service: Callable[[Request], Response]) -> Response:
        """Return the response to a request, of the service where the script has none; it raises what a test's may."""
        request.scripted_text = self.text
        made = self.make(request) if self.make is not None else None
        if made is None:
            return service(request)
        if isinstance(made, tuple) and not isinstance(made, Response):
            raise TypeError("a scripted function returns a body, a status, emulator.response(…) or None")
        if isinstance(made, Response):
            return made
        return response(made) if type(made) is int else response(body=made)

    def spoil(self, made: Response) -> Response:
        """Return the response with its fault and its delay."""
        made = (self.fault.inject(made) if self.fault else None) or made
        return made._replace(delay=self.delay) if self.delay else made
