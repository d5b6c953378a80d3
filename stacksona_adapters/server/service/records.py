"""Each task's chain of records: every one holds the hash of the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select, update

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.protocol.canonical import canonical_json
from stacksona_adapters.protocol.chain import GENESIS, canonical_value, record_hash
from stacksona_adapters.protocol.reviews import TimelineEntry
from stacksona_adapters.server.service.errors import Invalid, NotFound
from stacksona_adapters.server.store.tables import decisions, records, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, Row

    from stacksona_adapters.server.service.context import Read, Write

_HEAD = select(tasks.c.head_seq, tasks.c.head_hash).where(
    tasks.c.agent == bindparam("agent"), tasks.c.task_id == bindparam("task_id")
)
_ADD = insert(records)
_MOVE = (
    update(tasks)
    .where(tasks.c.agent == bindparam("of_agent"), tasks.c.task_id == bindparam("of_task"))
    .values(head_seq=bindparam("seq"), head_hash=bindparam("hash"))
)


def canonical(value: Any) -> str:
    """Canonical JSON, as text.

    Raises:
        Invalid: If the value has none.
    """
    try:
        return canonical_json(value).decode()
    except InvalidAction as error:
        raise Invalid(str(error)) from error


def append(write: Write, agent: str, task_id: str, kind: str, payload: Mapping[str, Any]) -> str:
    """Add a record to a task's chain.

    Returns:
        Its hash.

    Raises:
        NotFound: If the agent has no such task.
        Invalid: If the payload has no canonical JSON.
    """
    head = write.connection.execute(_HEAD, {"agent": agent, "task_id": task_id}).one_or_none()
    if head is None:
        raise NotFound(f"There is no task {task_id!r:.120}; create it first by POST /v1/tasks.")
    return _append(write, agent, task_id, (head.head_seq, head.head_hash), kind, payload)


def _append(
    write: Write, agent: str, task_id: str, head: tuple[int, str], kind: str, payload: Mapping[str, Any]
) -> str:
    seq, at, text = head[0] + 1, rfc3339(write.now), canonical(dict(payload))
    made = record_hash(head[1], seq, task_id, at, kind, text)
    row = {"agent": agent, "task_id": task_id, "seq": seq, "at": at, "kind": kind, "payload": text, "hash": made}
    write.connection.execute(_ADD, row)
    write.connection.execute(_MOVE, {"of_agent": agent, "of_task": task_id, "seq": seq, "hash": made})
    return made


def rfc3339(moment: datetime) -> str:
    """A moment in UTC, always with microseconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_SUMMARIES = ("event_summary", "summary", "message", "text")


def timeline(read: Read, agent: str, task_id: str) -> list[TimelineEntry]:
    """A task's last thousand records, oldest first."""
    mine = select(records).where(records.c.agent == agent, records.c.task_id == task_id)
    rows = read.connection.execute(mine.order_by(records.c.seq.desc()).limit(1000)).all()
    return [_entry(row) for row in reversed(rows)]


def _entry(row: Row[Any]) -> TimelineEntry:
    payload = canonical_value(row.payload)
    said = next((payload[name] for name in _SUMMARIES if isinstance(payload.get(name), str)), None)
    at = datetime.fromisoformat(row.at.replace("Z", "+00:00"))
    return TimelineEntry(at=at, kind=row.kind, summary=said, payload=payload, audit_hash=row.hash)


@dataclass(frozen=True)
class Verified:
    """What the check of all chains found.

    Attributes:
        chains: How many chains were checked: that of each task, and the gate's own.
        records: How many records.
        broken: What is wrong with the first broken record; `None` where every chain holds.
        agent: Whose task the broken record belongs to.
        task_id: The task.
        seq: The record's number in the task's chain.
    """

    chains: int
    records: int
    broken: str | None = None
    agent: str | None = None
    task_id: str | None = None
    seq: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every chain holds."""
        return self.broken is None


@dataclass(frozen=True)
class _Break:
    seq: int
    why: str


def verify(connection: Connection) -> Verified:
    """Check every chain, and that the decisions are what their chains say."""
    chains = checked = 0
    heads = connection.execute(select(tasks).order_by(tasks.c.created_at, tasks.c.agent, tasks.c.task_id)).all()
    for head in heads:
        mine = (records.c.agent == head.agent, records.c.task_id == head.task_id)
        rows = connection.execute(select(records).where(*mine).order_by(records.c.seq)).all()
        of_task = (decisions.c.agent == head.agent, decisions.c.task_id == head.task_id)
        decided = connection.execute(select(decisions).where(*of_task)).all()
        chains, checked = chains + 1, checked + len(rows)
        found = _check_chain(head, rows) or _check_decisions(rows, decided)
        if found is not None:
            return Verified(chains, checked, found.why, head.agent, head.task_id, found.seq)
    return _check_orphans(connection, Verified(chains, checked))


def _check_chain(head: Row[Any], rows: Iterable[Row[Any]]) -> _Break | None:
    prev, seq = GENESIS, 0
    for seq, row in enumerate(rows, 1):
        if row.seq != seq:
            return _Break(seq, "the record is missing")
        if record_hash(prev, row.seq, row.task_id, row.at, row.kind, row.payload) != row.hash:
            return _Break(seq, "the record was changed: its hash does not fit what it says and the record before it")
        prev = row.hash
    if (seq, prev) != (head.head_seq, head.head_hash):
        return _Break(seq + 1, f"the chain should end with record {head.head_seq}, {head.head_hash}")
    return None


def _check_decisions(rows: Iterable[Row[Any]], decided: Iterable[Row[Any]]) -> _Break | None:
    by_hash = {row.hash: row for row in rows}
    for decision in decided:
        row = by_hash.get(decision.audit_hash)
        if row is None:
            return _Break(0, f"decision {decision.decision_id} names a record that the chain does not have")
        said = canonical_value(row.payload)
        is_now = (decision.decision_id, decision.status, decision.action_digest)
        if (said.get("decision_id"), said.get("status"), said.get("action_digest")) != is_now:
            return _Break(row.seq, f"decision {decision.decision_id} is not what the record says")
    return None


def _check_orphans(connection: Connection, result: Verified) -> Verified:
    joined = (tasks.c.agent == records.c.agent) & (tasks.c.task_id == records.c.task_id)
    query = select(records).outerjoin(tasks, joined).where(tasks.c.task_id.is_(None)).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        return result
    why = "the record belongs to a task that is missing"
    return Verified(result.chains, result.records, why, row.agent, row.task_id, row.seq)
