"""Signed checkpoints over the heads of all chains, so that a chain that is missing as a whole, or its end, is seen too.

A checkpoint is a statement in canonical JSON: its number, the hash of the one before it, the heads of the chains that
have grown since, the chains that were pruned, and what it was made for. It is signed with the gate's Ed25519 key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import bindparam, insert, select, update

from stacksona_adapters.protocol.chain import CHECKPOINT_CONTEXT, GENESIS
from stacksona_adapters.server.service.records import canonical, rfc3339
from stacksona_adapters.server.store.audit_tables import checkpoints
from stacksona_adapters.server.store.tables import tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stacksona_adapters.server.service.context import Read, Write

MOST_HEADS = 5000
"""Heads in one checkpoint; more make several."""

Head = tuple[str, str, int, str]
"""Agent, task, number and hash of a chain's last record."""

_GROWN = tasks.c.head_seq > tasks.c.checkpointed_seq
_MARK = (
    update(tasks)
    .where(tasks.c.agent == bindparam("of_agent"), tasks.c.task_id == bindparam("of_task"))
    .values(checkpointed_seq=bindparam("seq"))
)


@dataclass(frozen=True)
class AuditSigner:
    """The gate's Ed25519 key: 32 secret bytes."""

    seed: bytes

    @property
    def public_key(self) -> str:
        """The public key in hex, as auditors keep it."""
        return self._key().public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """A signature in hex."""
        return self._key().sign(message).hex()

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def pending(read: Read) -> bool:
    """Whether a chain has grown since the last checkpoint."""
    return read.connection.execute(select(tasks.c.task_id).where(_GROWN).limit(1)).one_or_none() is not None


def checkpoint(write: Write, *, note: Mapping[str, Any] | None = None, pruned: Sequence[Head] = ()) -> int:
    """Sign the heads of all chains that have grown.

    Args:
        write: The transaction.
        note: What it is made for, such as an export and by whom.
        pruned: Heads of chains that are removed with it.

    Returns:
        How many checkpoints were made; 0 where there is nothing to say.
    """
    made = 0
    said = dict(note or {})
    while True:
        heads = _grown(write)
        if not heads and not said and not pruned:
            return made
        _add(write, heads, said, pruned)
        made, said, pruned = made + 1, {}, ()


def _grown(write: Write) -> list[Head]:
    query = select(tasks).where(_GROWN).order_by(tasks.c.agent, tasks.c.task_id).limit(MOST_HEADS)
    return [(row.agent, row.task_id, row.head_seq, row.head_hash) for row in write.connection.execute(query)]


def _add(write: Write, heads: Sequence[Head], note: Mapping[str, Any], pruned: Sequence[Head]) -> None:
    last = write.connection.execute(select(checkpoints).order_by(checkpoints.c.seq.desc()).limit(1)).one_or_none()
    statement = canonical(
        {
            "seq": last.seq + 1 if last is not None else 1,
            "prev": last.hash if last is not None else GENESIS,
            "at": rfc3339(write.now),
            "heads": [list(head) for head in heads],
            "pruned": [list(head) for head in pruned],
            "note": dict(note),
        }
    )
    row = {
        "seq": last.seq + 1 if last is not None else 1,
        "statement": statement,
        "hash": "sha256:" + hashlib.sha256(statement.encode()).hexdigest(),
        "signature": write.facts.auditor.sign(CHECKPOINT_CONTEXT + statement.encode()),
    }
    write.connection.execute(insert(checkpoints), row)
    if heads:
        marks = [{"of_agent": agent, "of_task": task, "seq": seq} for agent, task, seq, _ in heads]
        write.connection.execute(_MARK, marks)
