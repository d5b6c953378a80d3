"""Which waiting requests people have been told of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.server.store.tables import decisions, secrets

if TYPE_CHECKING:
    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write

_THROUGH = "notified_through"
_UNTIL = "notifying_until"
_MOST = 500

LEASE = timedelta(minutes=10)
"""How long the process that tells people has for it, all its attempts included; then another one tells them."""


@dataclass(frozen=True)
class Waiting:
    """A request that waits for a reviewer."""

    decision_id: str
    agent: str
    action: str
    risk: str
    subject: str | None


@dataclass(frozen=True)
class Claimed:
    """Requests that this process tells people of now, oldest first, and the number of the last one."""

    waiting: list[Waiting]
    through: int


def unannounced(read: Read) -> bool:
    """Whether a request waits that nobody was told of, and that no process is telling of."""
    if _leased(read):
        return False
    query = select(decisions.c.number).where(*_new(read)).limit(1)
    return read.connection.execute(query).one_or_none() is not None


def _leased(read: Read) -> bool:
    kept = _kept(read, _UNTIL)
    return kept is not None and datetime.fromisoformat(kept) > read.now


def _new(read: Read) -> tuple[Any, ...]:
    return decisions.c.status == Status.PENDING_REVIEW.value, decisions.c.number > int(_kept(read, _THROUGH) or 0)


def claim(write: Write) -> Claimed | None:
    """Take the requests that nobody was told of, for `LEASE`; a process that dies meanwhile leaves them to another."""
    if _leased(write):
        return None
    query = select(decisions).where(*_new(write)).order_by(decisions.c.number).limit(_MOST)
    rows = write.connection.execute(query).all()
    if not rows:
        return None
    _keep(write, _UNTIL, (write.now + LEASE).isoformat())
    return Claimed([_waiting(row) for row in rows], rows[-1].number)


def told(write: Write, claimed: Claimed) -> None:
    """People were told, or could not be; the next ones are free."""
    _keep(write, _THROUGH, str(claimed.through))
    _keep(write, _UNTIL, write.now.isoformat())


def _waiting(row: Row[Any]) -> Waiting:
    return Waiting(row.decision_id, row.label, row.action, row.risk, json.loads(row.request).get("subject"))


def _kept(read: Read, name: str) -> str | None:
    return read.connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()


def _keep(write: Write, name: str, value: str) -> None:
    changed = write.connection.execute(update(secrets).where(secrets.c.name == name).values(value=value))
    if changed.rowcount == 0:
        write.connection.execute(insert(secrets), {"name": name, "value": value})
