"""The delivery log: what is due, who sends it, how it went, what is sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from stacksona_adapters.server.service import journal
from stacksona_adapters.server.service.errors import Conflict, NotFound
from stacksona_adapters.server.store.delivery_tables import delivery_attempts
from stacksona_adapters.server.store.tables import agents, deliveries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write

PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""Pauses after each failed attempt, about three days in all (the schedule that Standard Webhooks suggests)."""

PAGE = 50
"""How many deliveries a page of the log shows."""

LEASE = timedelta(minutes=2)
"""How long a claimed delivery belongs to the process that claimed it; longer than an attempt may take."""


@dataclass(frozen=True)
class Claimed:
    """A delivery that this process sends now."""

    delivery_id: str
    url: str
    secret: str | None
    body: str


@dataclass(frozen=True)
class Attempt:
    """One attempt, as it is listed."""

    at: datetime
    status: int | None
    error: str | None
    seconds: float


@dataclass(frozen=True)
class DeliveryInfo:
    """A delivery, as it is listed: `pending`, `delivered` or `dead`."""

    delivery_id: str
    agent: str
    decision_id: str
    url: str
    state: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None
    number: int


@dataclass(frozen=True)
class DeliveryPage:
    """A page of the log.

    Attributes:
        listed: Its deliveries, the newest first.
        newer: The number after which newer ones follow; `None` on the newest page.
        older: The number before which older ones follow; `None` on the oldest page.
    """

    listed: list[DeliveryInfo]
    newer: int | None
    older: int | None


def due(read: Read) -> bool:
    """Whether something is to be sent now."""
    query = select(deliveries.c.number).where(*_due(read)).limit(1)
    return read.connection.execute(query).one_or_none() is not None


def _due(read: Read) -> tuple[Any, ...]:
    return deliveries.c.state == "pending", deliveries.c.next_attempt_at <= read.now


def claim(write: Write, limit: int) -> list[Claimed]:
    """Take what is due; until its lease is over nobody else takes it.

    Every writing transaction of every process runs alone (see `store.writer`), so that two cannot claim one row. A
    process that dies while it sends leaves the lease to run out, and another sends it again under the same id.
    """
    query = (
        select(deliveries, agents.c.webhook_secret)
        .join(agents, agents.c.name == deliveries.c.agent)
        .where(*_due(write))
        .order_by(deliveries.c.next_attempt_at)
        .limit(limit)
    )
    rows = write.connection.execute(query).all()
    for row in rows:
        leased = update(deliveries).where(deliveries.c.number == row.number).values(next_attempt_at=write.now + LEASE)
        write.connection.execute(leased)
    return [Claimed(row.delivery_id, row.url, row.webhook_secret, row.body) for row in rows]


def attempted(
    write: Write, delivery_id: str, *, status: int | None, error: str | None, seconds: float, final: bool
) -> None:
    """Record an attempt, and when the next one is: never after a success, the last pause, or a final refusal."""
    row = _get(write, delivery_id)
    tried = {"delivery_id": delivery_id, "at": write.now, "status": status, "error": error, "seconds": seconds}
    write.connection.execute(insert(delivery_attempts), tried)
    values: dict[str, Any] = {"attempts": row.attempts + 1, "last_error": error}
    if error is None:
        values |= {"state": "delivered", "delivered_at": write.now, "next_attempt_at": None}
    elif final or row.attempts >= len(PAUSES):
        values |= {"state": "dead", "next_attempt_at": None}
    else:
        values |= {"next_attempt_at": write.now + PAUSES[row.attempts]}
    write.connection.execute(update(deliveries).where(deliveries.c.number == row.number).values(**values))


def resend(write: Write, delivery_id: str, *, by: str) -> None:
    """Send a delivery again from its first attempt; the receiver knows it by its `webhook-id`.

    Raises:
        NotFound: If there is no such delivery.
        Conflict: If it is still being delivered.
    """
    row = _get(write, delivery_id)
    if row.state == "pending":
        raise Conflict("It is still being delivered.", state=row.state)
    values = {"state": "pending", "attempts": 0, "next_attempt_at": write.now}
    write.connection.execute(update(deliveries).where(deliveries.c.number == row.number).values(**values))
    journal.record(write, by, "delivery.resent", {"delivery": delivery_id, "decision_id": row.decision_id})


def listed(read: Read) -> list[DeliveryInfo]:
    """The newest deliveries first."""
    return page(read).listed


def page(
    read: Read, *, state: str | None = None, before: int | None = None, after: int | None = None, limit: int = PAGE
) -> DeliveryPage:
    """A page of the log, the newest first.

    Args:
        read: The transaction.
        state: Only `pending`, `delivered` or `dead` ones.
        before: Only older ones than the one with this number (`older` of another page).
        after: Only newer ones than the one with this number (`newer` of another page).
        limit: How many at most.
    """
    number = deliveries.c.number
    query = select(deliveries).limit(limit + 1)
    if state is not None:
        query = query.where(deliveries.c.state == state)
    if after is not None:
        rows = read.connection.execute(query.where(number > after).order_by(number)).all()
        found = [_info(row) for row in reversed(rows[:limit])]
        return DeliveryPage(found, found[0].number if len(rows) > limit else None, found[-1].number if found else None)
    query = query if before is None else query.where(number < before)
    rows = read.connection.execute(query.order_by(number.desc())).all()
    found = [_info(row) for row in rows[:limit]]
    newer = found[0].number if found and before is not None else None
    return DeliveryPage(found, newer, found[-1].number if len(rows) > limit else None)


def counts(read: Read) -> dict[str, int]:
    """How many deliveries there are of each state."""
    query = select(deliveries.c.state, func.count().label("many")).group_by(deliveries.c.state)
    nothing = dict.fromkeys(("dead", "pending", "delivered"), 0)
    return nothing | {row.state: row.many for row in read.connection.execute(query)}


def attempts(read: Read, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    """Every attempt of some deliveries, oldest first."""
    query = (
        select(delivery_attempts)
        .where(delivery_attempts.c.delivery_id.in_(delivery_ids))
        .order_by(delivery_attempts.c.number)
    )
    found: dict[str, list[Attempt]] = {delivery_id: [] for delivery_id in delivery_ids}
    for row in read.connection.execute(query):
        found[row.delivery_id].append(Attempt(row.at, row.status, row.error, row.seconds))
    return found


def _get(read: Read, delivery_id: str) -> Row[Any]:
    row = read.connection.execute(select(deliveries).where(deliveries.c.delivery_id == delivery_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id!r:.120}.")
    return row


def _info(row: Row[Any]) -> DeliveryInfo:
    return DeliveryInfo(
        row.delivery_id,
        row.agent,
        row.decision_id,
        row.url,
        row.state,
        row.attempts,
        row.created_at,
        row.next_attempt_at,
        row.delivered_at,
        row.last_error,
        row.number,
    )
