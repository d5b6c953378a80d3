"""The gate's own chain: who gave whom keys, roles and rules, in the same kind of chain as a task's.

It is the chain of an agent without a name, which no key can belong to; checkpoints, exports and their verification
treat it like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from stacksona_adapters.protocol.chain import GENESIS, canonical_value
from stacksona_adapters.server.service import records
from stacksona_adapters.server.store import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stacksona_adapters.server.service.context import Read, Write

NOBODY = ""
"""The name of the agent whose chain it is."""

CHAIN = "gate"
"""The chain's task id."""

OPERATOR = "operator"
"""Who acts where nobody has signed in: whoever can open the database."""


@dataclass(frozen=True)
class Entry:
    """One action of administration.

    Attributes:
        seq: Its number in the chain.
        moment: When.
        by: A reviewer's name, or `operator`.
        kind: What was done, such as `rule.added`.
        said: To what.
    """

    seq: int
    moment: datetime
    by: str
    kind: str
    said: dict[str, Any]


def record(write: Write, by: str, kind: str, said: Mapping[str, Any]) -> str:
    """Put an action of administration into the gate's chain; returns the record's hash.

    Args:
        write: The transaction that does it.
        by: Who: a reviewer's name, or `OPERATOR`.
        kind: What, such as `rule.added`.
        said: To what; never a secret.
    """
    _ensure(write)
    return records.append(write, NOBODY, CHAIN, kind, {**said, "by": by})


def _ensure(write: Write) -> None:
    mine = (tables.tasks.c.agent == NOBODY, tables.tasks.c.task_id == CHAIN)
    if write.connection.execute(select(tables.tasks.c.task_id).where(*mine)).one_or_none() is not None:
        return
    agent = {"name": NOBODY, "signed_approval": False, "created_at": write.now}
    write.connection.execute(insert(tables.agents), agent)
    task = {"agent": NOBODY, "task_id": CHAIN, "about": "{}", "created_at": write.now}
    write.connection.execute(insert(tables.tasks), {**task, "head_seq": 0, "head_hash": GENESIS})


def listed(read: Read, *, before: int | None = None, limit: int = 50) -> list[Entry]:
    """The newest entries first.

    Args:
        read: The transaction.
        before: The number of the last one of the page before.
        limit: How many.
    """
    table = tables.records
    query = select(table).where(table.c.agent == NOBODY, table.c.task_id == CHAIN)
    if before is not None:
        query = query.where(table.c.seq < before)
    return [_entry(row) for row in read.connection.execute(query.order_by(table.c.seq.desc()).limit(limit))]


def _entry(row: Any) -> Entry:
    said = canonical_value(row.payload)
    moment = datetime.fromisoformat(row.at.replace("Z", "+00:00"))
    return Entry(row.seq, moment, str(said.pop("by", "")), row.kind, said)
