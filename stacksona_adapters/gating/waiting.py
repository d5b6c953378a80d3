"""Backoff and deadlines as arithmetic; time and chance are passed in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


def backoff(attempt: int, chance: float, *, first: float, limit: float) -> float:
    """Seconds to wait before the next try: exponential with full jitter over the upper half.

    Args:
        attempt: How many tries have failed, from 1.
        chance: A number from 0 to 1.
        first: The longest first pause, in seconds.
        limit: The longest pause, in seconds.
    """
    ceiling = min(limit, first * 2.0 ** min(attempt - 1, 30))
    return ceiling * (0.5 + 0.5 * chance)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3), or `None`.

    Args:
        headers: The answer's headers, names in lower case.
        now: The present time, aware.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - now).total_seconds())


def remaining(deadline: float | None, now: float) -> float:
    """Seconds until a deadline on the same clock; infinite where there is none, never below zero."""
    return math.inf if deadline is None else max(0.0, deadline - now)
