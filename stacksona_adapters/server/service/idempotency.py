"""The first answer again, for a call that comes again (draft-ietf-httpapi-idempotency-key-header)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select

from stacksona_adapters.server.service.errors import Invalid
from stacksona_adapters.server.store.tables import idempotency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stacksona_adapters.server.service.context import Write

_FIND = select(idempotency.c.body_hash, idempotency.c.status, idempotency.c.answer).where(
    idempotency.c.agent == bindparam("agent"),
    idempotency.c.call == bindparam("call"),
    idempotency.c.key == bindparam("key"),
)
_ADD = insert(idempotency)


@dataclass(frozen=True)
class Stored:
    """An answer: its status code, its JSON text, and whether it is the stored one of an earlier call."""

    status: int
    text: str
    replayed: bool = False


@dataclass(frozen=True)
class Once:
    """Names a call: whose, which, its `Idempotency-Key`, and the hash of its body."""

    agent: str
    call: str
    key: str
    body_hash: str


def reused(answer: dict[str, Any]) -> Invalid:
    """The refusal of a key that came before with another body; it names what was made then (ours)."""
    refusal = Invalid("This Idempotency-Key was used for another body; use a new key for a new request.")
    made = {name: answer[name] for name in ("decision_id", "task_id") if answer.get(name)}
    refusal.facts.update(type="urn:stacksona:idempotency-key-reused", **made)
    return refusal


def once(write: Write, name: Once | None, act: Callable[[Write], Stored]) -> Stored:
    """Act, unless the same call was answered before; the answer is kept in the same transaction as the effect.

    A refusal is not kept: it had no effect, and asking again may find that the reason has gone.

    Raises:
        Invalid: If the key came before with another body.
    """
    if name is None:
        return act(write)
    of = {"agent": name.agent, "call": name.call, "key": name.key}
    row = write.connection.execute(_FIND, of).one_or_none()
    if row is not None:
        if row.body_hash != name.body_hash:
            raise reused(json.loads(row.answer))
        return Stored(row.status, row.answer, replayed=True)
    answer = act(write)
    row_values = {**of, "body_hash": name.body_hash, "status": answer.status, "answer": answer.text}
    write.connection.execute(_ADD, {**row_values, "created_at": write.now})
    return answer


def forget(write: Write, agent: str, calls: Sequence[str]) -> None:
    """Forget the answers to some calls, because what they did was undone."""
    mine = delete(idempotency).where(idempotency.c.agent == agent, idempotency.c.call.in_(calls))
    write.connection.execute(mine)
