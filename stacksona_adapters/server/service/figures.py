"""What an operator counts: requests by status, what waits and for how long, deliveries, chains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from stacksona_adapters.protocol.decisions import Outcome, Status
from stacksona_adapters.server.service.history import waits_since
from stacksona_adapters.server.store.audit_tables import checkpoints
from stacksona_adapters.server.store.tables import decisions, deliveries, tasks

if TYPE_CHECKING:
    from sqlalchemy import Column

    from stacksona_adapters.server.service.context import Read

WINDOW = timedelta(days=1)
"""Waiting times are those of the decisions of this long."""


@dataclass(frozen=True)
class Figures:
    """The gate in figures.

    Attributes:
        decisions: How many there are of each status.
        unknown: Permissions that were taken and whose outcome nobody reported.
        oldest_pending: Seconds that the oldest pending request has waited; 0 where none waits.
        median_wait: Seconds from request to a reviewer's decision, in the last day; `None` where there was none.
        p95_wait: Its 95th percentile.
        deliveries: How many webhooks there are of each state.
        tasks: Chains.
        records: Records in all chains.
        checkpoint: The number of the last signed checkpoint.
    """

    decisions: dict[str, int]
    unknown: int
    oldest_pending: float
    median_wait: float | None
    p95_wait: float | None
    deliveries: dict[str, int]
    tasks: int
    records: int
    checkpoint: int


def figures(read: Read) -> Figures:
    """The gate in figures, now."""
    run = read.connection.execute
    by_status = _counted(read, decisions.c.status)
    by_state = _counted(read, deliveries.c.state)
    unknown = run(select(func.count()).where(decisions.c.outcome == Outcome.UNKNOWN.value)).scalar_one()
    chains, entries = run(select(func.count(), func.coalesce(func.sum(tasks.c.head_seq), 0))).one()
    waits = waits_since(read, read.now - WINDOW)
    return Figures(
        decisions={status.value: by_status.get(status.value, 0) for status in Status},
        unknown=unknown,
        oldest_pending=_oldest(read),
        median_wait=waits.median,
        p95_wait=waits.p95,
        deliveries={state: by_state.get(state, 0) for state in ("pending", "delivered", "dead")},
        tasks=chains,
        records=int(entries),
        checkpoint=run(select(func.max(checkpoints.c.seq))).scalar() or 0,
    )


def _counted(read: Read, column: Column[str]) -> dict[str, int]:
    query = select(column, func.count().label("many")).group_by(column)
    return {row[0]: row.many for row in read.connection.execute(query)}


def _oldest(read: Read) -> float:
    query = (
        select(decisions.c.created_at)
        .where(decisions.c.status == Status.PENDING_REVIEW.value)
        .order_by(decisions.c.number)
        .limit(1)
    )
    created = read.connection.execute(query).scalar()
    return 0.0 if created is None else max(0.0, (read.now - created).total_seconds())
