"""Wakes those who wait for a decision, and those who follow a stream."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from stacksona_adapters.server.store.tables import changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from stacksona_adapters.server.service.context import Read

_MOST = 2000

EVERYTHING = "*"
"""The topic of every change."""


@dataclass(frozen=True)
class Change:
    """A decision changed."""

    cursor: int
    agent: str
    decision_id: str


def changes_after(read: Read, cursor: int, *, agent: str | None = None, limit: int = _MOST) -> list[Change]:
    """The changes after a cursor, oldest first."""
    query = select(changes).where(changes.c.cursor > cursor).order_by(changes.c.cursor).limit(limit)
    if agent is not None:
        query = query.where(changes.c.agent == agent)
    return [Change(row.cursor, row.agent, row.decision_id) for row in read.connection.execute(query)]


class Changes:
    """Follows the table of changes and sets an event for whoever waits.

    A commit of this process and a notification of another one `wake` it; it looks by itself every `interval` seconds,
    so a wake that was missed costs one interval. It lives on one event loop.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.closing = False

    @property
    def open_waits(self) -> int:
        """How many long polls and streams wait here."""
        return len({event for topic, events in self._waiting.items() if topic != "*" for event in events})

    def wake(self) -> None:
        """Something changed; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # the loop is closed, so nobody waits
            return

    @contextmanager
    def waiting(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event that is set when something changes about a topic.

        Args:
            *topics: A decision's id, an agent's name (`agent:NAME`), or `*` for any decision.
        """
        event = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(event)
        if self.closing:
            event.set()
        try:
            yield event
        finally:
            for topic in topics:
                self._waiting[topic].discard(event)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def close(self) -> None:
        """Wake everybody for good: the gate stops."""
        self.closing = True
        for events in list(self._waiting.values()):
            for event in events:
                event.set()

    async def follow(self, cursor: int, read: Callable[[int], Awaitable[list[Change]]]) -> None:
        """Follow the table until cancelled.

        Args:
            cursor: Where to begin.
            read: Gives the changes after a cursor.
        """
        while True:
            found = await read(cursor)
            for change in found:
                cursor = change.cursor
                for topic in (change.decision_id, f"agent:{change.agent}", "*"):
                    for event in self._waiting.get(topic, ()):
                        event.set()
            if len(found) < _MOST:
                await wait_for(self._woken, self._interval)
                self._woken.clear()


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set within some seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True
