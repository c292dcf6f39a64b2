"""Injected faults by name: how the emulator spoils a response, ``NAME[:VALUE][*TIMES]``, as in ``cut:100``."""

from __future__ import annotations

import math
import re
from typing import Callable, NamedTuple

from .web import TOKEN_PATHS, Request, Response, api_error, gateway_error, to_json


class Fault(NamedTuple):
    """Hold one fault: its name, its number, if it has one, and how many responses it is to spoil."""

    name: str
    value: float | None = None
    times: float = math.inf

    def matches(self, request: Request) -> bool:
        """Tell whether a fault of all responses spoils one to this request: tokens have a fault of their own."""
        return (self.name == "oauth-429") == request.path.endswith(TOKEN_PATHS)

    def inject(self, response: Response) -> Response | None:
        """Return the spoilt response; None where it does not apply, as a fault of streams to a whole answer."""
        spoilt = FAULTS[self.name].inject(response, self.value or 0)
        return None if spoilt is None else spoilt._replace(on_sent=response.on_sent)


class FaultKind(NamedTuple):
    """Describe a kind of fault; `value` is what its number is without being given, None where it takes none."""

    about: str
    value: float | None
    inject: Callable[[Response, float], Response | None]


def _deliver(how: str) -> Callable[[Response, float], Response]:
    return lambda response, at: response._replace(delivery=how, at=int(at))


def _replace_by(error: Response) -> Callable[[Response, float], Response]:
    return lambda response, _: error


def _error_event(response: Response, after: float) -> Response | None:
    """Put an error object in the place of what follows some events of a stream."""
    if response.events is None:
        return None
    error = b"data: %b\n\n" % to_json({"status": 500, "message": "Internal Server Error"})
    return response._replace(events=[*response.events[:int(after)], error])


def _end_lines_with_crlf(response: Response, _: float) -> Response | None:
    if response.events is None:
        return None
    return response._replace(events=[event.replace(b"\n", b"\r\n") for event in response.events])


_BUSY = api_error(429).response
FAULTS = {
    "slow": FaultKind("the answer comes after VALUE seconds", 3, lambda response, s: response._replace(delay=s)),
    "cut": FaultKind("the connection ends after VALUE bytes of the body", 100, _deliver("cut")),
    "stall": FaultKind("nothing more comes after VALUE bytes of the body", 100, _deliver("stall")),
    "drip": FaultKind("the body comes byte by byte, VALUE seconds apart", 0.05,
                      lambda response, value: response._replace(delivery="drip", event_delay=value)),
    "crlf": FaultKind("the lines of a stream end with CRLF", None, _end_lines_with_crlf),
    "close-delimited": FaultKind("the end of the connection is the end of the body", None, _deliver("close")),
    "html": FaultKind("200 with a page of HTML", None, _replace_by(gateway_error(503).response._replace(status=200))),
    "empty": FaultKind("200 without a body", None, _replace_by(Response())),
    "429-in-200": FaultKind("200, whose body says 429", None, _replace_by(_BUSY._replace(status=200))),
    "error-in-stream": FaultKind("an error object after VALUE events of a stream", 2, _error_event),
    "expired-token": FaultKind("401 Token has expired", None,
                               _replace_by(api_error(401, "Token has expired").response)),
    "oauth-429": FaultKind("429 where tokens are made", None, _replace_by(_BUSY)),
    "reset": FaultKind("the connection is reset before the answer, or after VALUE bytes of its body", -1,
                       lambda response, at: response._replace(delivery="reset", at=int(at) if at >= 0 else None)),
    "502": FaultKind("502 and a page of the gateway", None, _replace_by(gateway_error(502).response)),
    "stale": FaultKind("the connection, promised to go on, is reset when the next request comes", None,
                       _deliver("stale")),
}


def parse_fault(text: str) -> Fault:
    """Read ``NAME[:VALUE][*TIMES]``; ValueError says what is wrong.

    >>> parse_fault("cut:10*2"), parse_fault("crlf")
    (Fault(name='cut', value=10.0, times=2), Fault(name='crlf', value=None, times=inf))
    """
    match = re.fullmatch(r"\s*([\w-]+)\s*(?::\s*([0-9]{0,9}\.?[0-9]{1,9})\s*)?(?:\*\s*([1-9][0-9]{0,8})\s*)?", text)
    name, value, times = match.groups() if match else (re.split("[:*]", text)[0].strip(), None, None)
    if name not in FAULTS:
        raise ValueError(f"no such fault: {text!r}; it is NAME[:VALUE][*TIMES], with one of {', '.join(FAULTS)}")
    if match is None:
        raise ValueError(f"a fault is NAME[:VALUE][*TIMES] with numbers, TIMES at least 1, and not {text!r}")
    usual = FAULTS[name].value
    if value is not None and usual is None:
        raise ValueError(f"the fault {name} takes no value: {text!r}")
    return Fault(name, usual if value is None else float(value), math.inf if times is None else int(times))
