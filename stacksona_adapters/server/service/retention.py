"""Removes what is old. The trail that remains still verifies: a signed checkpoint names the heads that went."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, literal, or_, select, tuple_

from stacksona_adapters.protocol.decisions import Outcome, Status
from stacksona_adapters.server.service import grants, journal
from stacksona_adapters.server.service.checkpoints import Head, checkpoint
from stacksona_adapters.server.service.records import rfc3339
from stacksona_adapters.server.store.delivery_tables import delivery_attempts
from stacksona_adapters.server.store.policy_tables import approvals
from stacksona_adapters.server.store.tables import decisions, deliveries, idempotency, notes, records, tasks

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from stacksona_adapters.server.service.context import Read, Write

CALLS_AT_ONCE = 1000
TASKS_AT_ONCE = 200
"""Tasks that one transaction removes, so that agents never wait long for it."""


def prunable(read: Read, before: datetime, limit: int = TASKS_AT_ONCE) -> list[Head]:
    """Tasks in which nothing has happened since a moment, and nothing is open.

    Args:
        read: The transaction.
        before: The moment.
        limit: How many at the most.
    """
    last = and_(
        records.c.agent == tasks.c.agent, records.c.task_id == tasks.c.task_id, records.c.seq == tasks.c.head_seq
    )
    open_one = select(decisions.c.number).where(
        decisions.c.agent == tasks.c.agent,
        decisions.c.task_id == tasks.c.task_id,
        or_(decisions.c.status == Status.PENDING_REVIEW.value, decisions.c.outcome == Outcome.UNKNOWN.value),
    )
    query = (
        select(tasks.c.agent, tasks.c.task_id, tasks.c.head_seq, tasks.c.head_hash)
        .join(records, last)
        .where(records.c.at < rfc3339(before), ~open_one.exists(), tasks.c.agent != journal.NOBODY)
        .order_by(tasks.c.agent, tasks.c.task_id)
        .limit(limit)
    )
    return [(row.agent, row.task_id, row.head_seq, row.head_hash) for row in read.connection.execute(query)]


def prune(write: Write, before: datetime, by: str) -> int:
    """Remove some of what is older than a moment: tasks with their records, decisions, notes and deliveries.

    Args:
        write: The transaction.
        before: The moment.
        by: Who removes.

    Returns:
        How many tasks went; call it until there are none.
    """
    heads = prunable(write, before)
    for agent, task_id, _, _ in heads:
        _remove(write, agent, task_id)
    grants.forget(write, before)
    if heads:
        checkpoint(write, note={"prune": {"by": by, "before": rfc3339(before), "tasks": len(heads)}}, pruned=heads)
    return len(heads)


@dataclass(frozen=True)
class Place:
    """How far `forget_calls` came."""

    agent: str
    call: str
    key: str


def forget_calls(write: Write, before: datetime, after: Place | None) -> Place | None:
    """Forget the answers to some calls that are older than a moment.

    What made a task or a decision that is still there keeps its key: a run that has paused for longer finds its
    request by it, and would otherwise ask a second time.

    Args:
        write: The transaction.
        before: The moment.
        after: Where the call before came to.

    Returns:
        Where to go on; `None` at the end.
    """
    names = (idempotency.c.agent, idempotency.c.call, idempotency.c.key)
    query = select(*names, idempotency.c.answer).where(idempotency.c.created_at < before)
    if after is not None:
        query = query.where(tuple_(*names) > tuple_(literal(after.agent), literal(after.call), literal(after.key)))
    rows = write.connection.execute(query.order_by(*names).limit(CALLS_AT_ONCE)).all()
    for row in rows:
        if not _made_something(write, row.agent, json.loads(row.answer)):
            mine = (idempotency.c.agent == row.agent, idempotency.c.call == row.call, idempotency.c.key == row.key)
            write.connection.execute(delete(idempotency).where(*mine))
    return Place(*rows[-1][:3]) if len(rows) == CALLS_AT_ONCE else None


def _made_something(read: Read, agent: str, answer: dict[str, Any]) -> bool:
    if "decision_id" in answer:
        made = select(decisions.c.number).where(decisions.c.decision_id == answer["decision_id"])
    elif "task_id" in answer:
        made = select(tasks.c.task_id).where(tasks.c.agent == agent, tasks.c.task_id == answer["task_id"])
    else:
        return False
    return read.connection.execute(made.limit(1)).one_or_none() is not None


def _remove(write: Write, agent: str, task_id: str) -> None:
    def of(table: Any) -> ColumnElement[bool]:
        return and_(table.c.agent == agent, table.c.task_id == task_id)

    mine = select(decisions.c.decision_id).where(of(decisions))
    sent = select(deliveries.c.delivery_id).where(deliveries.c.decision_id.in_(mine))
    for gone in (
        delete(delivery_attempts).where(delivery_attempts.c.delivery_id.in_(sent)),
        delete(deliveries).where(deliveries.c.decision_id.in_(mine)),
        delete(notes).where(notes.c.decision_id.in_(mine)),
        delete(approvals).where(approvals.c.decision_id.in_(mine)),
        delete(decisions).where(of(decisions)),
        delete(records).where(of(records)),
        delete(tasks).where(of(tasks)),
    ):
        write.connection.execute(gone)
