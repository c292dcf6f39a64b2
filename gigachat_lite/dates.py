"""Dates and Retry-After of HTTP headers."""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime

MAX_SLEEP = 30 * 24 * 3600.0  # seconds: time.sleep() fails for huge numbers


def parse_date(text: str | None, default: float) -> float:
    """Read an HTTP date as Unix seconds; a malformed one is the default.

    >>> parse_date("Thu, 01 Jan 1970 00:01:40 GMT", 0.0), parse_date("soon", 7.0)
    (100.0, 7.0)
    """
    try:
        date = parsedate_to_datetime(text) if text else None
        if date is not None and date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return date.timestamp() if date is not None else default
    except (TypeError, ValueError, IndexError, OverflowError):
        return default


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); nonsense is None, the most is a month.

    >>> parse_retry_after("5", 0.0), parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 90.0)
    (5.0, 10.0)
    """
    if not text:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text, re.ASCII):
        return min(float(text), MAX_SLEEP)
    date = parse_date(text, -1.0)
    return None if date < 0 else min(max(date - now, 0.0), MAX_SLEEP)
