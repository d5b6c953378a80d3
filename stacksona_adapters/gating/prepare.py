"""From an action to the request that describes it, and from a decision to the arguments that may run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stacksona_adapters.errors import ActionMismatch, GateProtocolError, InvalidEdit
from stacksona_adapters.gating.action import Action, make_action
from stacksona_adapters.gating.effects import TaskRef
from stacksona_adapters.gating.redaction import Redaction, restore
from stacksona_adapters.gating.risk import RiskPolicy, classify
from stacksona_adapters.protocol.canonical import action_digest, idempotency_key, jsonable
from stacksona_adapters.protocol.decisions import Decision, Status
from stacksona_adapters.protocol.dialects import Dialect
from stacksona_adapters.protocol.requests import GateRequest
from stacksona_adapters.protocol.tasks import TaskCreate

Validate = Callable[[dict[str, Any]], Any]
"""Checks edited arguments with the tool's own schema and returns the arguments as the tool would get them."""


@dataclass(frozen=True)
class Terms:
    """What the owner of a gate settled once for all of its actions.

    Attributes:
        dialect: How the gate is spoken to.
        agent: The agent's name, where an action has none.
        redaction: What leaves the process.
        risk: The user's risk policy.
        wait: Seconds to wait for a person; `None` for as long as the request lives, 0 to suspend at once.
        expires_in: Seconds until a request expires, where the action says nothing.
    """

    dialect: Dialect
    agent: str
    redaction: Redaction = field(default_factory=Redaction)
    risk: RiskPolicy | None = None
    wait: float | None = None
    expires_in: float | None = None


@dataclass(frozen=True)
class Asked:
    """A request that the gate has answered.

    Attributes:
        action: The action with its identity filled in.
        decision: The newest answer.
        task: The task it belongs to.
        digest: The digest of the action's full arguments.
        wire_digest: The digest of what the gate was shown.
        redacted: Where arguments were hidden from the gate.
        attempt: Who takes the permission.
        fresh: Whether this very call made the request (`False`: it was made before).
    """

    action: Action
    decision: Decision
    task: TaskRef
    digest: str
    wire_digest: str
    redacted: tuple[str, ...]
    attempt: str
    fresh: bool = True

    @property
    def status(self) -> Status:
        """The status of the newest answer."""
        return self.decision.status

    def at(self, decision: Decision) -> Asked:
        """The same request with a newer answer."""
        return replace(self, decision=decision)


def digest_of(action: Action, arguments: Mapping[str, Any] | None = None) -> str:
    """The digest of an action, or of the same action with other arguments."""
    chosen = action.arguments if arguments is None else arguments
    return action_digest(action.agent or "", action.name, action.subject, chosen)


def task_create(action: Action) -> TaskCreate:
    """The task of an action's run."""
    return TaskCreate(
        agent_id=action.agent or "",
        framework_origin=action.framework,
        task_name=action.run_label or f"{action.agent} run",
        metadata={"run_id": action.run_id} if action.run_id else {},
    )


def correlation(run_id: str) -> str:
    """A correlation id for a run: the run's own id, or its hash where that is too long."""
    return run_id if len(run_id) <= 200 else hashlib.sha256(run_id.encode()).hexdigest()


def gate_request(terms: Terms, action: Action, task: TaskRef) -> GateRequest:
    """The request as it goes over the wire: classified, digested in full, redacted."""
    level = action.risk
    reason = action.risk_reason
    if level is None:
        level, found = classify(action.name, action.arguments, terms.risk)
        reason = reason or found
    shown = terms.redaction.apply(action.arguments)
    context = terms.redaction.apply(action.context).value
    return GateRequest(
        task_id=task.task_id,
        agent_id=task.agent,
        framework_origin=action.framework,
        correlation_id=task.correlation_id,
        agent=action.agent,
        action=action.name,
        risk=level,
        risk_reason=reason,
        subject=action.subject,
        context=context,
        arguments=shown.value,
        redacted=list(shown.pointers),
        arguments_schema=action.arguments_schema,
        summary=[terms.redaction.text(line) or "" for line in action.summary],
        preview=terms.redaction.text(action.preview),
        action_digest=digest_of(action),
        expires_in=action.expires_in or terms.expires_in,
        revises=action.revises,
    )


def wire_digest(terms: Terms, action: Action, arguments: Mapping[str, Any]) -> str:
    """The digest that the gate holds for an action with these arguments: of the full ones, or of what it was shown."""
    seen = arguments if terms.dialect.sends_digest else terms.redaction.apply(arguments).value
    return digest_of(action, seen)


def request_key(action: Action) -> str:
    """The idempotency key of a request: the caller's, else from agent, run, call id and digest."""
    if action.idempotency_key:
        return action.idempotency_key
    return idempotency_key("request", action.agent, action.run_id, action.call_id, digest_of(action))


def bind(asked: Asked, decision: Decision) -> Decision:
    """The decision, if it is about this very request.

    Raises:
        GateProtocolError: If its digest is another, it edits arguments without their digest, or a gate that gave the
            digest before gives none now (it would then count as a gate that cannot take permissions).
    """
    if decision.action_digest is None and asked.decision.action_digest is not None:
        raise GateProtocolError(f"The gate's decision {decision.id} has lost its digest; nothing ran.")
    if decision.arguments is None:
        expected = asked.wire_digest
    elif decision.status is Status.APPROVED:
        expected = digest_of(asked.action, decision.arguments)
    else:
        raise GateProtocolError("The gate sent edited arguments without an approval; nothing ran.")
    if decision.action_digest != expected and not (decision.action_digest is None and decision.arguments is None):
        raise GateProtocolError(f"The gate's decision {decision.id} is about another action (digest); nothing ran.")
    return decision


def approved_arguments(asked: Asked, validate: Validate | None) -> dict[str, Any]:
    """The arguments that may run: the asked ones, or the reviewer's edit as the tool's schema reads it.

    Raises:
        InvalidEdit: If the edit does not fit the tool.
    """
    edited = asked.decision.arguments
    if edited is None:
        return asked.action.arguments
    full = restore(edited, asked.action.arguments, asked.redacted)
    if validate is None:
        return dict(full)
    try:
        checked = jsonable(validate(full))
    except (ValueError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise InvalidEdit(asked.action.name, asked.decision, str(error)) from error
    return dict(checked)


def check_running(terms: Terms, asked: Asked, approved: Mapping[str, Any], running: Any) -> str:
    """Compare what is about to run with what may run.

    Returns:
        The digest to take the permission with, computed from what is about to run (where a reviewer edited: of the edit
        as the gate sent it, which what runs was compared with).

    Raises:
        ActionMismatch: If they differ.
    """
    about = make_action(asked.action.name, running).arguments
    if digest_of(asked.action, about) != digest_of(asked.action, approved):
        raise ActionMismatch(asked.action.name, asked.decision, "the arguments changed after the decision")
    if asked.decision.arguments is not None:
        return digest_of(asked.action, asked.decision.arguments)
    return wire_digest(terms, asked.action, about)
