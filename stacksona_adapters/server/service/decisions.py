"""A decision's life: asked for, looked at, changed, withdrawn, expired."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, update

from stacksona_adapters.protocol.decisions import TRANSITIONS, Decision, Outcome, Status
from stacksona_adapters.protocol.requests import REDACTED, GateRequest
from stacksona_adapters.protocol.reviews import DecisionWebhook
from stacksona_adapters.server.service import grants, records, rules
from stacksona_adapters.server.service.errors import Conflict, NotFound, invalid
from stacksona_adapters.server.service.pointers import find
from stacksona_adapters.server.service.rules import RuleOutcome
from stacksona_adapters.server.service.tokens import new_id
from stacksona_adapters.server.store.tables import agents, changes, decisions, deliveries

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.keys import Agent

_ADD = insert(decisions)
_ADD_CHANGE = insert(changes)
_BY_ID = select(decisions).where(decisions.c.decision_id == bindparam("id"))
_BY_THREAD = select(decisions).where(decisions.c.thread_id == bindparam("id"))
_NEWEST = (
    select(decisions)
    .where(decisions.c.agent == bindparam("agent"), decisions.c.task_id == bindparam("task_id"))
    .order_by(decisions.c.number.desc())
    .limit(1)
)
_KNOWN = select(agents.c.name).where(agents.c.name == bindparam("name"))
_FIRST_STATUS = {
    RuleOutcome.ALLOW: Status.ALLOW,
    RuleOutcome.REJECT: Status.REJECT,
    RuleOutcome.REVIEW: Status.PENDING_REVIEW,
}


def request(write: Write, agent: Agent, asked: GateRequest, *, attempt: str | None, label: str | None) -> Decision:
    """Judge a request by the rules, then by the reviewers' grants, and keep it for a person where neither settles it.

    Args:
        write: The transaction.
        agent: Whose key it was.
        asked: The request.
        attempt: The `Stacksona-Attempt` header; an allowed permission is then taken at once.
        label: The agent dialect's `task_label`.

    Raises:
        NotFound: If the agent has no such task.
        Invalid: If the digest is not that of the arguments, or a redacted value is none.
    """
    digest = checked_digest(asked)
    outcome, rule = rules.judge(rules.remembered(write), rule_call(write, agent.name, asked))
    named = rule.as_dict() if rule is not None else None
    grant = grants.use(write, agent.name, asked, named) if outcome is RuleOutcome.REVIEW else None
    if grant is not None:
        outcome, named = RuleOutcome.ALLOW, grant
    status = _FIRST_STATUS[outcome]
    taken = status is Status.ALLOW and attempt is not None
    row: dict[str, Any] = {
        "decision_id": new_id("dec"),
        "thread_id": f"THR-{secrets.token_hex(4).upper()}",
        "agent": agent.name,
        "task_id": asked.task_id,
        "status": status.value,
        "request": asked.model_dump_json(exclude_none=True),
        "label": asked.agent or asked.agent_id,
        "action": asked.action,
        "risk": asked.risk.value,
        "task_label": label,
        "rule": json.dumps(named) if named is not None else None,
        "grant_id": grant["id"] if grant is not None else None,
        "action_digest": digest,
        "message": _rule_message(status, rule),
        "created_at": write.now,
        "decided_at": write.now if status.final else None,
        "expires_at": expiry(write.now, asked.expires_in),
        "consumed_at": write.now if taken else None,
        "consumed_by": attempt if taken else None,
        "outcome": Outcome.UNKNOWN.value if taken else None,
    }
    row["audit_hash"] = _record_request(write, row, asked, named)
    write.connection.execute(_ADD, row)
    note_change(write, agent.name, row["decision_id"])
    return Decision(
        **{name: row[name] for name in _ANSWERED if name in row},
        arguments=None,
        revises=asked.revises,
    )


_ANSWERED = (
    *("decision_id", "status", "task_id", "thread_id", "message", "expires_at", "action_digest", "reviewer_id"),
    *("audit_hash", "consumed_at", "consumed_by", "outcome"),
)


def rule_call(read: Read, agent: str, asked: GateRequest) -> rules.Call:
    """What the rules look at in a request of a key's agent."""
    name = asked.agent or asked.agent_id
    posing = name != agent and read.connection.execute(_KNOWN, {"name": name}).first() is not None
    return rules.Call((agent, name), asked.action, asked.arguments, posing)


def _rule_message(status: Status, rule: rules.Rule | None) -> str | None:
    if status is not Status.REJECT or rule is None:
        return None
    return f"A rule of the gate forbids it ({rule.parameter}: {rule.type})."


def _record_request(write: Write, row: dict[str, Any], asked: GateRequest, rule: dict[str, Any] | None) -> str:
    said = {
        "decision_id": row["decision_id"],
        "thread_id": row["thread_id"],
        "status": row["status"],
        "action_digest": row["action_digest"],
        "request": asked.model_dump(mode="json", exclude_none=True),
        "rule": rule,
        "taken_by": row["consumed_by"],
    }
    return records.append(write, row["agent"], row["task_id"], "decision.requested", said)


def expiry(now: datetime, seconds: float | None) -> datetime | None:
    """When something ends that lasts for `seconds`."""
    return None if seconds is None else now + timedelta(seconds=seconds)


def checked_digest(asked: GateRequest) -> str:
    """The digest of a request: computed by the gate, or the client's where values are hidden from the gate.

    Raises:
        Invalid: If it does not fit.
    """
    if asked.redacted:
        for pointer in asked.redacted:
            if find(asked.arguments, pointer) != REDACTED:
                raise invalid("/redacted", f"there is no {REDACTED!r} at {pointer!r:.200}")
        if asked.action_digest is None:
            raise invalid("/action_digest", "is needed where values are redacted")
        return asked.action_digest
    computed = digest_of(asked, asked.arguments)
    if asked.action_digest not in (None, computed):
        raise invalid("/action_digest", "is not the digest of this agent, action, subject and arguments")
    return computed


def digest_of(asked: GateRequest, arguments: dict[str, Any]) -> str:
    """What binds an approval to an action (wire contract, section 4), for these arguments.

    Raises:
        Invalid: If the arguments have no canonical JSON.
    """
    action = {"agent": asked.agent or asked.agent_id, "action": asked.action, "subject": asked.subject}
    return "sha256:" + hashlib.sha256(records.canonical({**action, "arguments": arguments}).encode()).hexdigest()


def read_request(row: Row[Any]) -> GateRequest:
    """The request of a row, as the agent sent or last revised it."""
    return GateRequest.model_validate_json(row.request)


def get(read: Read, decision_id: str, *, agent: str | None = None) -> Row[Any]:
    """A decision by its id or its thread's.

    Args:
        read: The transaction.
        decision_id: `dec_...` or `THR-...`.
        agent: The agent that asks; `None` for a reviewer, who sees all.

    Raises:
        NotFound: If there is none, or it is another agent's.
    """
    query = _BY_THREAD if decision_id.startswith("THR-") else _BY_ID
    row = read.connection.execute(query, {"id": decision_id}).one_or_none()
    if row is None or (agent is not None and row.agent != agent):
        raise NotFound(f"There is no decision {decision_id!r:.120}.")
    return row


def newest(read: Read, agent: str, task_id: str) -> Row[Any]:
    """The newest decision of a task.

    Raises:
        NotFound: If the agent has no such task, or it has no decision.
    """
    row = read.connection.execute(_NEWEST, {"agent": agent, "task_id": task_id}).one_or_none()
    if row is None:
        raise NotFound(f"There is no decision for task {task_id!r:.120}.")
    return row


def overdue(row: Row[Any], now: datetime) -> bool:
    """Whether its time is over though it is not marked so yet."""
    waiting = row.consumed_at is None and Status.EXPIRED in TRANSITIONS[Status(row.status)]
    return waiting and row.expires_at is not None and row.expires_at <= now


def answer(read: Read, row: Row[Any], *, token: bool) -> Decision:
    """A row as the decision that goes over the wire.

    Args:
        read: The transaction.
        row: A row of `decisions`.
        token: Whether to give the approval token (to the agent only).
    """
    fields = {name: getattr(row, name) for name in _ANSWERED}
    return Decision(
        **fields,
        arguments=json.loads(row.edited_arguments) if row.edited_arguments is not None else None,
        approval_token=approval_token(read, row) if token else None,
        revises=json.loads(row.request).get("revises"),
    )


def approval_token(read: Read, row: Row[Any]) -> str | None:
    """The token of an approved decision that nobody has taken, where its agent has signed approval."""
    if row.token_nonce is None or row.consumed_at is not None or not Status(row.status).executes:
        return None
    return read.facts.signer.token(row.decision_id, row.action_digest, row.expires_at, row.token_nonce)


def change(write: Write, row: Row[Any], kind: str, values: dict[str, Any], said: dict[str, Any]) -> Row[Any]:
    """Change a decision, in its task's chain and in the stream too.

    Args:
        write: The transaction.
        row: The decision as it is.
        kind: The record's kind.
        values: The columns that change.
        said: What the record says besides id, status and digest.

    Returns:
        The decision as it is now.

    Raises:
        Conflict: If that status may not follow the present one.
    """
    status = values.get("status", row.status)
    if status != row.status and Status(status) not in TRANSITIONS[Status(row.status)]:
        raise Conflict(f"The decision is {row.status}.", **standing(row))
    about = {
        "decision_id": row.decision_id,
        "thread_id": row.thread_id,
        "status": status,
        "action_digest": values.get("action_digest", row.action_digest),
    }
    made = records.append(write, row.agent, row.task_id, kind, {**about, **said})
    query = update(decisions).where(decisions.c.number == row.number).values(**values, audit_hash=made)
    write.connection.execute(query)
    note_change(write, row.agent, row.decision_id)
    now = get(write, row.decision_id)
    if now.status != row.status:
        _queue_delivery(write, now)
    return now


def standing(row: Row[Any]) -> dict[str, Any]:
    """What a caller who came too late is told."""
    decided = records.rfc3339(row.decided_at) if row.decided_at is not None else None
    return {
        "decision_id": row.decision_id,
        "decision_status": row.status,
        "decided_by": row.reviewer_id,
        "reviewer_id": row.reviewer_id,
        "decided_at": decided,
    }


def note_change(write: Write, agent: str, decision_id: str) -> None:
    """Put a decision into the stream, and forget what no stream can resume over."""
    made = write.connection.execute(_ADD_CHANGE, {"agent": agent, "decision_id": decision_id})
    cursor = made.inserted_primary_key[0] if made.inserted_primary_key else 0
    if cursor % 1000 == 0:
        write.connection.execute(delete(changes).where(changes.c.cursor <= cursor - write.facts.history))
    write.batch.changed = True


def _queue_delivery(write: Write, row: Row[Any]) -> None:
    url = write.connection.execute(select(agents.c.webhook_url).where(agents.c.name == row.agent)).scalar_one()
    if url is None:
        return
    body = DecisionWebhook(
        thread_id=row.thread_id,
        task_id=row.task_id,
        decision=Status(row.status),
        message=row.message,
        tenant_id=write.facts.tenant_id,
        workflow_name=row.label,
        task_label=row.task_label,
        decision_id=row.decision_id,
    )
    values = {"delivery_id": new_id("msg"), "agent": row.agent, "decision_id": row.decision_id, "url": url}
    values |= {"body": body.model_dump_json(), "state": "pending", "attempts": 0}
    write.connection.execute(insert(deliveries), {**values, "created_at": write.now, "next_attempt_at": write.now})


def expire(write: Write, row: Row[Any]) -> Row[Any]:
    """Mark a decision whose time is over."""
    values = {"status": Status.EXPIRED.value, "message": row.message or "Its time was over."}
    values |= {"decided_at": row.decided_at or write.now}
    return change(write, row, "decision.expired", values, {"expires_at": records.rfc3339(row.expires_at)})


def due(read: Read, limit: int = 200) -> list[str]:
    """The ids of decisions whose time is over and that are not marked so yet."""
    open_statuses = [status.value for status, after in TRANSITIONS.items() if Status.EXPIRED in after]
    query = (
        select(decisions.c.decision_id)
        .where(decisions.c.expires_at <= read.now, decisions.c.status.in_(open_statuses))
        .where(decisions.c.consumed_at.is_(None))
        .order_by(decisions.c.expires_at)
        .limit(limit)
    )
    return list(read.connection.execute(query).scalars())


def expire_due(write: Write) -> int:
    """Mark what is due; returns how many were marked."""
    marked = 0
    for decision_id in due(write):
        row = get(write, decision_id)
        if overdue(row, write.now):
            expire(write, row)
            marked += 1
    return marked


def settle_time(write: Write, row: Row[Any]) -> Row[Any]:
    """The decision as it is at this moment: expired, if its time is over."""
    return expire(write, row) if overdue(row, write.now) else row


def cancel(write: Write, agent: str, decision_id: str) -> Decision:
    """Withdraw a request, or an approval that nobody has taken.

    Raises:
        NotFound: If it is not the agent's.
        Conflict: If it was taken, or ended another way.
    """
    row = settle_time(write, get(write, decision_id, agent=agent))
    if row.consumed_at is not None:
        raise Conflict("The permission was taken before.", outcome=row.outcome, **standing(row))
    if row.status != Status.CANCELLED.value:
        if Status.CANCELLED not in TRANSITIONS[Status(row.status)]:
            raise Conflict(f"The decision is {row.status}.", **standing(row))
        values = {"status": Status.CANCELLED.value, "decided_at": write.now}
        row = change(write, row, "decision.cancelled", values, {"by": agent})
    return answer(write, row, token=False)
