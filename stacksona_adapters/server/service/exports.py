"""The export of one request: everything that is known of it, with the whole chain of its task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from stacksona_adapters.protocol.chain import GENESIS, canonical_value
from stacksona_adapters.server.service import decisions, records, reviews
from stacksona_adapters.server.store import tables
from stacksona_adapters.server.store.audit_tables import checkpoints

if TYPE_CHECKING:
    from datetime import datetime

    from stacksona_adapters.protocol.reviews import ReviewDetail
    from stacksona_adapters.server.service.context import Read, Write


class Format(str, Enum):
    """What an export is written as."""

    JSON = "json"
    HTML = "html"
    JSON_LINES = "jsonl"


@dataclass(frozen=True)
class Checkpoint:
    """The last signed checkpoint over all chains.

    Attributes:
        seq: Its number.
        at: When it was signed.
        hash: The hash of what it says.
        signature: The gate's signature, in hex.
    """

    seq: int
    at: str
    hash: str
    signature: str


@dataclass(frozen=True)
class Exported:
    """An export.

    Attributes:
        at: When.
        by: Who exports.
        agent: Whose key asked.
        review: The request.
        records: Its task's records, oldest first, with all that is needed to check their hashes.
        signed: How many of the records a signed checkpoint covers.
        checkpoint: The last one; `None` where nothing has been signed yet.
        public_key: The key that signs, in hex.
    """

    at: datetime
    by: str
    agent: str
    review: ReviewDetail
    records: list[dict[str, Any]]
    signed: int
    checkpoint: Checkpoint | None
    public_key: str

    def as_json(self) -> dict[str, Any]:
        """The form of `GET /v1/reviews/{decision_id}/export`."""
        by = {"exported_at": records.rfc3339(self.at), "exported_by": self.by}
        return {**by, "review": self.review.model_dump(mode="json"), "records": self.records}


def export(write: Write, by: str, which: str, form: Format) -> Exported:
    """A request's whole history; that it was exported, by whom and as what, is a part of it.

    Args:
        write: The transaction.
        by: Who exports.
        which: The decision's id, or its thread's.
        form: What it will be written as.

    Raises:
        NotFound: If there is no such decision.
    """
    row = decisions.get(write, which)
    said = {"decision_id": row.decision_id, "by": by, "format": form.value}
    records.append(write, row.agent, row.task_id, "review.exported", said)
    table = tables.tasks
    mine = (table.c.agent == row.agent, table.c.task_id == row.task_id)
    return Exported(
        at=write.now,
        by=by,
        agent=row.agent,
        review=reviews.detail(write, row.decision_id),
        records=_chain(write, row.agent, row.task_id),
        signed=write.connection.execute(select(table.c.checkpointed_seq).where(*mine)).scalar_one(),
        checkpoint=_last_checkpoint(write),
        public_key=write.facts.auditor.public_key,
    )


def _chain(read: Read, agent: str, task_id: str) -> list[dict[str, Any]]:
    table = tables.records
    query = select(table).where(table.c.agent == agent, table.c.task_id == task_id).order_by(table.c.seq)
    prev, listed = GENESIS, []
    for row in read.connection.execute(query):
        told = {"seq": row.seq, "task": row.task_id, "at": row.at, "kind": row.kind, "prev": prev}
        listed.append({**told, "payload": canonical_value(row.payload), "hash": row.hash})
        prev = row.hash
    return listed


def _last_checkpoint(read: Read) -> Checkpoint | None:
    row = read.connection.execute(select(checkpoints).order_by(checkpoints.c.seq.desc()).limit(1)).one_or_none()
    return None if row is None else Checkpoint(row.seq, json.loads(row.statement)["at"], row.hash, row.signature)
