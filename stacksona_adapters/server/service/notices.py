"""Which waiting requests people have been told of: new ones, and those that wait for another approval."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.server.service.approvals import progress
from stacksona_adapters.server.store.policy_tables import approvals
from stacksona_adapters.server.store.tables import decisions, secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write

_THROUGH = "notified_through"
_APPROVED_THROUGH = "notified_through_approval"
_UNTIL = "notifying_until"
_MOST = 500

_OF = approvals.c.decision_id == decisions.c.decision_id
_PENDING = decisions.c.status == Status.PENDING_REVIEW.value

LEASE = timedelta(minutes=10)
"""How long the process that tells people has for it, all its attempts included; then another one tells them."""


@dataclass(frozen=True)
class Waiting:
    """A request that waits for a reviewer; `approved` says how far it is where it waits for another approval."""

    decision_id: str
    agent: str
    action: str
    risk: str
    subject: str | None
    approved: str = ""


@dataclass(frozen=True)
class Claimed:
    """Requests that this process tells people of now, and the numbers of the last new one and of the last approval."""

    waiting: list[Waiting]
    through: int
    approved_through: int


def unannounced(read: Read) -> bool:
    """Whether a request or an approval waits for somebody whom nobody has told, and no process is telling."""
    if _leased(read):
        return False
    new = select(decisions.c.number).where(*_new(read)).limit(1)
    half = select(approvals.c.number).join(decisions, _OF).where(*_half(read)).limit(1)
    return any(read.connection.execute(query).one_or_none() is not None for query in (new, half))


def _leased(read: Read) -> bool:
    kept = _kept(read, _UNTIL)
    return kept is not None and datetime.fromisoformat(kept) > read.now


def _new(read: Read) -> tuple[Any, ...]:
    return _PENDING, decisions.c.number > _number(read, _THROUGH)


def _half(read: Read) -> tuple[Any, ...]:
    return _PENDING, approvals.c.number > _number(read, _APPROVED_THROUGH)


def _number(read: Read, name: str) -> int:
    return int(_kept(read, name) or 0)


def claim(write: Write) -> Claimed | None:
    """Take the requests that nobody was told of, for `LEASE`; a process that dies meanwhile leaves them to another."""
    if _leased(write):
        return None
    new = write.connection.execute(
        select(decisions).where(*_new(write)).order_by(decisions.c.number).limit(_MOST)
    ).all()
    columns: list[Any] = [*decisions.c, approvals.c.number.label("approval")]
    approved: Any = select(*columns).join(approvals, _OF).where(*_half(write))
    half = write.connection.execute(approved.order_by(approvals.c.number).limit(_MOST)).all()
    if not new and not half:
        return None
    _keep(write, _UNTIL, (write.now + LEASE).isoformat())
    through = new[-1].number if new else _number(write, _THROUGH)
    approved_through = half[-1].approval if half else _number(write, _APPROVED_THROUGH)
    return Claimed(_together(write, new, half), through, approved_through)


def _together(read: Read, new: Sequence[Row[Any]], half: Sequence[Row[Any]]) -> list[Waiting]:
    """Each request once; of those that were approved only such as need somebody else."""
    rows = {row.number: row for row in (*half, *new)}
    known = progress(read, list(rows.values()))
    fresh = {row.number for row in new}
    found = []
    for number, row in sorted(rows.items()):
        has, needs = known.get(row.decision_id, (0, 1))
        if has or number in fresh:
            found.append(_waiting(row, f"{has} of {needs} approvals" if has else ""))
    return found


def told(write: Write, claimed: Claimed) -> None:
    """People were told, or could not be; the next ones are free."""
    _keep(write, _THROUGH, str(claimed.through))
    _keep(write, _APPROVED_THROUGH, str(claimed.approved_through))
    _keep(write, _UNTIL, write.now.isoformat())


def _waiting(row: Row[Any], approved: str) -> Waiting:
    return Waiting(row.decision_id, row.label, row.action, row.risk, json.loads(row.request).get("subject"), approved)


def _kept(read: Read, name: str) -> str | None:
    return read.connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()


def _keep(write: Write, name: str, value: str) -> None:
    changed = write.connection.execute(update(secrets).where(secrets.c.name == name).values(value=value))
    if changed.rowcount == 0:
        write.connection.execute(insert(secrets), {"name": name, "value": value})
