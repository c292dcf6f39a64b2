"""Faults by name: how the emulator spoils an answer, ``NAME[:VALUE][*TIMES]``, as in ``cut:100`` or ``502*2``."""

from __future__ import annotations

import math
import re
from typing import Callable, NamedTuple

from .wire import Answer, Request, dumps, refuse, refuse_page


class Fault(NamedTuple):
    """Hold one fault: its name, its number, if it has one, and how many answers it is to spoil."""

    name: str
    value: float | None = None
    times: float = math.inf

    def spoil(self, answer: Answer, request: Request) -> Answer | None:
        """Return the spoilt answer; None where it does not apply, as a fault of streams to a plain answer."""
        if (self.name == "oauth-429") != request.path.endswith(("/oauth", "/token")):
            return None
        return self.force(answer)

    def force(self, answer: Answer) -> Answer | None:
        """Return the spoilt answer, whatever was asked."""
        spoilt = FAULTS[self.name].apply(answer, self.value or 0)
        return None if spoilt is None else spoilt._replace(done=answer.done)


class Kind(NamedTuple):
    """Describe a kind of fault; `value` is what its number is without being given, None where it takes none."""

    about: str
    value: float | None
    apply: Callable[[Answer, float], Answer | None]


def _tear(how: str) -> Callable[[Answer, float], Answer]:
    return lambda answer, at: answer._replace(tear=how, at=int(at))


def _break_off(answer: Answer, after: float) -> Answer | None:
    """Put an error object in the place of what follows some events of a stream."""
    if answer.events is None:
        return None
    error = b"data: %b\n\n" % dumps({"status": 500, "message": "Internal Server Error"})
    return answer._replace(events=[*answer.events[:int(after)], error])


def _end_lines(answer: Answer, _: float) -> Answer | None:
    if answer.events is None:
        return None
    return answer._replace(events=[event.replace(b"\n", b"\r\n") for event in answer.events])


FAULTS = {
    "slow": Kind("the answer comes after VALUE seconds", 3, lambda answer, value: answer._replace(delay=value)),
    "cut": Kind("the connection ends after VALUE bytes of the body", 100, _tear("cut")),
    "stall": Kind("nothing more comes after VALUE bytes of the body", 100, _tear("stall")),
    "drip": Kind("the body comes byte by byte, VALUE seconds apart", 0.05,
                 lambda answer, value: answer._replace(tear="drip", pause=value)),
    "crlf": Kind("the lines of a stream end with CRLF", None, _end_lines),
    "close-delimited": Kind("the end of the connection is the end of the body", None, _tear("close")),
    "html": Kind("200 with a page of HTML", None, lambda *_: refuse_page(503).answer._replace(status=200)),
    "empty": Kind("200 without a body", None, lambda *_: Answer()),
    "429-in-200": Kind("200, whose body says 429", None,
                       lambda *_: refuse(429, "Too many requests").answer._replace(status=200)),
    "error-in-stream": Kind("an error object after VALUE events of a stream", 2, _break_off),
    "expired-token": Kind("401 Token has expired", None, lambda *_: refuse(401, "Token has expired").answer),
    "oauth-429": Kind("429 where tokens are made", None, lambda *_: refuse(429, "Too many requests").answer),
    "reset": Kind("the connection is reset before the answer, or after VALUE bytes of its body", -1,
                  lambda answer, at: answer._replace(tear="reset", at=int(at) if at >= 0 else None)),
    "502": Kind("502 and a page of the gateway", None, lambda *_: refuse_page(502).answer),
    "stale": Kind("the connection, promised to go on, is reset when the next request comes", None, _tear("stale")),
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
