"""Which waiting requests people have been told of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.server.store.tables import decisions, secrets

if TYPE_CHECKING:
    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write

_THROUGH = "notified_through"
_MOST = 500


@dataclass(frozen=True)
class Waiting:
    """A request that waits for a reviewer."""

    decision_id: str
    agent: str
    action: str
    risk: str
    subject: str | None


def unannounced(read: Read) -> bool:
    """Whether a request waits that nobody was told of."""
    query = select(decisions.c.number).where(*_new(read)).limit(1)
    return read.connection.execute(query).one_or_none() is not None


def _new(read: Read) -> tuple[Any, ...]:
    kept = read.connection.execute(select(secrets.c.value).where(secrets.c.name == _THROUGH)).scalar()
    return decisions.c.status == Status.PENDING_REVIEW.value, decisions.c.number > int(kept or 0)


def claim(write: Write) -> list[Waiting]:
    """Take the requests that nobody was told of, oldest first; no other process tells of them again."""
    query = select(decisions).where(*_new(write)).order_by(decisions.c.number).limit(_MOST)
    rows = write.connection.execute(query).all()
    if rows:
        _keep(write, str(rows[-1].number))
    return [_waiting(row) for row in rows]


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(row.decision_id, row.label, row.action, row.risk, json.loads(row.request).get("subject"))


def _keep(write: Write, value: str) -> None:
    changed = write.connection.execute(update(secrets).where(secrets.c.name == _THROUGH).values(value=value))
    if changed.rowcount == 0:
        write.connection.execute(insert(secrets), {"name": _THROUGH, "value": value})
