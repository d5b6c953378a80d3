"""What time it is, as something that is passed in."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The present moment, with a time zone."""
        ...


class SystemClock:
    """The machine's own time, in UTC."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(timezone.utc)


class ManualClock:
    """A clock that moves when it is told to, for tests of what happens days later.

    Args:
        start: The first moment; the present where it is missing.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime.now(timezone.utc)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The moment that it was last set to."""
        with self._lock:
            return self._now

    def advance(self, by: timedelta) -> None:
        """Move it ahead."""
        with self._lock:
            self._now += by
