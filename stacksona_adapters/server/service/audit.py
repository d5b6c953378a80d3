"""Exports of the audit trail, and the check of the gate's own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from stacksona_adapters.protocol.canonical import canonical_json
from stacksona_adapters.protocol.chain import CHECKPOINT_CONTEXT, EXPORT_CONTEXT, EXPORT_FORMAT, GENESIS
from stacksona_adapters.protocol.ed25519 import verify as genuine
from stacksona_adapters.server.service import grants, records
from stacksona_adapters.server.store.audit_tables import checkpoints
from stacksona_adapters.server.store.tables import records as records_table
from stacksona_adapters.server.store.tables import tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

    from stacksona_adapters.server.service.context import Read
    from stacksona_adapters.server.service.records import Verified


def export(read: Read, *, by: str, agent: str | None = None, task_id: str | None = None) -> Iterator[bytes]:
    """The trail as JSON Lines: a header, the signed checkpoints, every record, and a signature over all of it.

    Args:
        read: A transaction that sees one moment of the database.
        by: Who exports.
        agent: Only this agent's tasks.
        task_id: Only this task.

    Yields:
        Line after line, each with its line end.
    """
    whole = hashlib.sha256()
    count = 0
    for line in _lines(read, by, agent, task_id):
        text = canonical_json(line) + b"\n"
        whole.update(text)
        count += 1
        yield text
    digest = whole.digest()
    signature = read.facts.auditor.sign(EXPORT_CONTEXT + digest)
    yield canonical_json({"type": "end", "lines": count, "sha256": digest.hex(), "signature": signature}) + b"\n"


def _lines(read: Read, by: str, agent: str | None, task_id: str | None) -> Iterator[dict[str, Any]]:
    yield {
        "type": "header",
        "format": EXPORT_FORMAT,
        "exported_at": records.rfc3339(read.now),
        "exported_by": by,
        "agent": agent,
        "task": task_id,
        "public_key": read.facts.auditor.public_key,
    }
    for row in read.connection.execute(select(checkpoints).order_by(checkpoints.c.seq)):
        yield {"type": "checkpoint", "statement": row.statement, "signature": row.signature}
    query = select(tasks).order_by(tasks.c.agent, tasks.c.task_id)
    query = query if agent is None else query.where(tasks.c.agent == agent)
    query = query if task_id is None else query.where(tasks.c.task_id == task_id)
    for head in read.connection.execute(query).all():
        yield from _records(read, head)


def _records(read: Read, head: Row[Any]) -> Iterator[dict[str, Any]]:
    mine = (records_table.c.agent == head.agent, records_table.c.task_id == head.task_id)
    for row in read.connection.execute(select(records_table).where(*mine).order_by(records_table.c.seq)):
        # The payload as text: it is what was hashed, to the letter.
        said = {"at": row.at, "kind": row.kind, "payload": row.payload, "hash": row.hash}
        yield {"type": "record", "agent": row.agent, "task": row.task_id, "seq": row.seq, **said}


def verify(connection: Connection, public_key: str) -> Verified:
    """Check every chain, the decisions, the signed checkpoints over the chains' heads, and the reviewers' grants.

    Args:
        connection: The database.
        public_key: The gate's own, in hex.
    """
    found = records.verify(connection)
    if found.broken is not None:
        return found
    heads: dict[tuple[str, str], tuple[int, str]] = {}
    prev = GENESIS
    for number, row in enumerate(connection.execute(select(checkpoints).order_by(checkpoints.c.seq)), 1):
        why = _wrong(row, number, prev, public_key)
        if why is not None:
            return replace(found, broken=f"checkpoint {number}: {why}")
        _gather(heads, json.loads(row.statement))
        prev = row.hash
    found = _check_heads(connection, heads, found)
    why = grants.forged(connection) if found.ok else None
    return found if why is None else replace(found, broken=why)


def _wrong(row: Row[Any], number: int, prev: str, public_key: str) -> str | None:
    statement = row.statement.encode()
    said = json.loads(row.statement)
    if (row.seq, said["seq"], said["prev"]) != (number, number, prev):
        return "it is missing or out of place"
    if row.hash != "sha256:" + hashlib.sha256(statement).hexdigest():
        return "it was changed"
    if not genuine(bytes.fromhex(public_key), CHECKPOINT_CONTEXT + statement, bytes.fromhex(row.signature)):
        return "its signature is not the gate's"
    return None


def _gather(heads: dict[tuple[str, str], tuple[int, str]], said: dict[str, Any]) -> None:
    for agent, task, seq, head in said["heads"]:
        heads[agent, task] = (seq, head)
    for agent, task, _, _ in said["pruned"]:
        heads.pop((agent, task), None)


def _check_heads(connection: Connection, heads: dict[tuple[str, str], tuple[int, str]], found: Verified) -> Verified:
    for (agent, task), (seq, head) in heads.items():
        query = select(records_table.c.hash).where(
            records_table.c.agent == agent, records_table.c.task_id == task, records_table.c.seq == seq
        )
        if connection.execute(query).scalar() != head:
            why = "a signed checkpoint names this record, and the chain does not have it"
            return replace(found, broken=why, agent=agent, task_id=task, seq=seq)
    return found
