"""Permissions: taken once, their outcome reported, or settled by a person."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select

from stacksona_adapters.protocol.decisions import Decision, Outcome, Status
from stacksona_adapters.server.service import decisions, idempotency, policies, records
from stacksona_adapters.server.service.errors import Conflict, Gone, NotPermitted, invalid
from stacksona_adapters.server.service.tokens import hashed, new_id
from stacksona_adapters.server.store import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Row

    from stacksona_adapters.protocol.requests import ConsumeRequest, ValidateRequest
    from stacksona_adapters.protocol.reviews import SettleRequest
    from stacksona_adapters.server.service.context import Write

_CONSUME = "/v1/gate/decision/{}/consume"
_BY_TOKEN = select(tables.decisions).where(
    tables.decisions.c.agent == bindparam("agent"),
    tables.decisions.c.task_id == bindparam("task_id"),
    tables.decisions.c.token_hash == bindparam("token_hash"),
)


def consume(write: Write, agent: str, decision_id: str, asked: ConsumeRequest, attempt: str | None) -> dict[str, Any]:
    """Take the permission, once.

    Raises:
        NotFound: If it is not the agent's.
        Conflict: If it was taken before.
        Gone: If its time is over.
        NotPermitted: If it was not approved.
        Invalid: If digest or token do not match.
    """
    row = decisions.get(write, decision_id, agent=agent)
    _check_takable(write, row)
    if not hmac.compare_digest(row.action_digest.encode(), asked.action_digest.encode()):
        raise invalid("/action_digest", "is not the digest of what was approved")
    if row.token_hash is not None:
        _check_token(write, row, asked.approval_token)
    taken = _take(write, row, attempt)
    return {"consumed_at": records.rfc3339(taken.consumed_at), "audit_hash": taken.audit_hash}


def validate(write: Write, agent: str, asked: ValidateRequest, attempt: str | None) -> dict[str, Any]:
    """Take the permission by its approval token alone (agent dialect).

    Raises:
        Invalid: If the token is not one of this agent's and task's.
        Conflict: If it was used before.
        Gone: If its time is over.
        NotPermitted: If the decision is no approval any more.
    """
    of = {"agent": agent, "task_id": asked.task_id, "token_hash": hashed(asked.signature)}
    row = write.connection.execute(_BY_TOKEN, of).one_or_none()
    if row is None or not write.facts.signer.genuine(asked.signature):
        raise invalid("/signature", "is not an approval token of this task")
    _check_takable(write, row)
    taken = _take(write, row, attempt)
    return {
        "valid": True,
        "status": "valid",
        "task_id": taken.task_id,
        "thread_id": taken.thread_id,
        "decision_id": taken.decision_id,
        "consumed_at": records.rfc3339(taken.consumed_at),
    }


def _check_takable(write: Write, row: Row[Any]) -> None:
    status = Status(row.status)
    if status is Status.EXPIRED or decisions.overdue(row, write.now):
        raise Gone("The time of this decision is over; ask again.", **decisions.standing(row))
    if not status.executes:
        raise NotPermitted(f"The decision is {status}, not an approval.", **decisions.standing(row))
    if row.consumed_at is not None:
        raise Conflict("The permission was taken before.", **_taken(row))


def _taken(row: Row[Any]) -> dict[str, Any]:
    at = records.rfc3339(row.consumed_at)
    return {**decisions.standing(row), "outcome": row.outcome, "consumed_at": at, "consumed_by": row.consumed_by}


def _check_token(write: Write, row: Row[Any], token: str | None) -> None:
    if token is None:
        raise invalid("/approval_token", "is needed: this agent has signed approval switched on")
    if not hmac.compare_digest(hashed(token), row.token_hash) or not write.facts.signer.genuine(token):
        raise invalid("/approval_token", "is not the approval token of this decision")


def _take(write: Write, row: Row[Any], attempt: str | None) -> Row[Any]:
    values = {"consumed_at": write.now, "consumed_by": attempt, "outcome": Outcome.UNKNOWN.value}
    return decisions.change(write, row, "permission.taken", values, {"taken_by": attempt})


def report(write: Write, agent: str, payload: Mapping[str, Any]) -> None:
    """Close a taken permission by the payload of a TOOL_EXECUTED event; one that names none closes nothing."""
    named = payload.get("decision_id") or payload.get("thread_id")
    outcome = payload.get("outcome")
    if not isinstance(named, str) or outcome not in (Outcome.SUCCEEDED.value, Outcome.FAILED.value):
        return
    query = select(tables.decisions).where(
        (tables.decisions.c.decision_id == named) | (tables.decisions.c.thread_id == named),
        tables.decisions.c.agent == agent,
    )
    row = write.connection.execute(query).one_or_none()
    if row is not None and row.outcome == Outcome.UNKNOWN.value:
        decisions.change(write, row, "permission.closed", {"outcome": outcome}, {"outcome": outcome, "by": agent})


def settle(write: Write, reviewer: str, decision_id: str, asked: SettleRequest) -> Decision:
    """Close a permission whose outcome nobody reported, or give it back for one more use.

    Raises:
        NotFound: If there is no such decision.
        NotPermitted: If somebody else must decide on it.
        Conflict: If its outcome is known, or it was never taken.
    """
    row = decisions.get(write, decision_id)
    policies.check_may_decide(write, row, reviewer)
    if row.outcome != Outcome.UNKNOWN.value:
        raise Conflict("There is nothing to settle: its outcome is not unknown.", outcome=row.outcome)
    said = {"by": reviewer, "outcome": asked.outcome, "message": asked.message}
    if asked.outcome == "ran":
        values: dict[str, Any] = {"outcome": Outcome.SUCCEEDED.value}
    else:
        values = {"outcome": None, "consumed_at": None, "consumed_by": None, **_renewed(write, row)}
        calls = [f"POST {_CONSUME.format(name)}" for name in (row.decision_id, row.thread_id)]
        idempotency.forget(write, row.agent, calls)
    now = decisions.change(write, row, "permission.settled", values, said)
    return decisions.answer(write, now, token=False)


def _renewed(write: Write, row: Row[Any]) -> dict[str, Any]:
    """A permission that is given back can be used again for a while, with a new token."""
    expires_at = row.expires_at
    if expires_at is not None and expires_at <= write.now:
        expires_at = write.now + write.facts.approval_lifetime
    if row.token_nonce is None:
        return {"expires_at": expires_at}
    return signed(write, row.decision_id, row.action_digest, expires_at)


def signed(write: Write, decision_id: str, digest: str, expires_at: Any) -> dict[str, Any]:
    """The columns of a fresh approval token; its lifetime ends with `expires_at`."""
    limit = write.now + write.facts.approval_lifetime
    ends = limit if expires_at is None else min(expires_at, limit)
    nonce = new_id("nonce")
    token = write.facts.signer.token(decision_id, digest, ends, nonce)
    return {"expires_at": ends, "token_nonce": nonce, "token_hash": hashed(token)}
