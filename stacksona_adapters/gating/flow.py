"""The one flow of a gated action, as generators of typed effects: ask, wait, take, report.

A driver performs the effects (`stacksona_adapters.client`); a test can stop the flow at each of them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

from stacksona_adapters.errors import (
    ActionBlocked,
    ActionCancelled,
    ActionExpired,
    ActionMismatch,
    ActionRejected,
    AlreadyTaken,
    GateError,
    GateProtocolError,
    GateRequestRefused,
    InvalidEdit,
    OutcomeUnknown,
    ReviewPending,
    RevisionRequested,
)
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.effects import (
    Abandon,
    Await,
    FindTask,
    Flow,
    KeepTask,
    Report,
    Send,
    TakeAlone,
    TaskRef,
    Withdraw,
)
from stacksona_adapters.gating.prepare import (
    Asked,
    Terms,
    Validate,
    approved_arguments,
    bind,
    check_running,
    correlation,
    digest_of,
    gate_request,
    request_key,
    task_create,
    wire_digest,
)
from stacksona_adapters.protocol.canonical import idempotency_key
from stacksona_adapters.protocol.decisions import Decision, Outcome, Status
from stacksona_adapters.protocol.dialects import Take, TakeResult
from stacksona_adapters.protocol.requests import GateRequest
from stacksona_adapters.protocol.tasks import EventType

_BLOCKED_BY: dict[Status, type[ActionBlocked]] = {
    Status.REJECT: ActionRejected,
    Status.REJECTED: ActionRejected,
    Status.REVISE: RevisionRequested,
    Status.EXPIRED: ActionExpired,
    Status.CANCELLED: ActionCancelled,
}


@dataclass(frozen=True)
class Approval:
    """An action that may run, not yet taken.

    Attributes:
        asked: The request and its answer.
        arguments: What may run: the asked arguments, or the reviewer's edit as the tool's schema reads it.
    """

    asked: Asked
    arguments: dict[str, Any]

    @property
    def decision(self) -> Decision:
        """The decision that approves it."""
        return self.asked.decision

    @property
    def edited(self) -> bool:
        """Whether a reviewer changed the arguments."""
        return self.asked.decision.arguments is not None


def task_of(terms: Terms, action: Action) -> Flow[TaskRef]:
    """The task of the action's run: known, or created at the gate."""
    known = yield from FindTask(action.run_id).ask()
    if known is not None:
        return known
    run_id = action.run_id or uuid.uuid4().hex
    agent = action.agent or terms.agent
    key = idempotency_key("task", agent, run_id)
    call = terms.dialect.create_task(task_create(action.with_identity(agent, run_id)), key)
    fresh = True
    task_id = f"task_{key[:32]}"
    if call is not None:
        try:
            created = yield from Send(call).ask()
            task_id, fresh = created.task_id, not created.replayed
        except GateRequestRefused as refusal:
            # The run was described in other words before: the gate names the task that it made then.
            task_id, fresh = refusal.earlier("task_id"), False
    task = TaskRef(task_id, correlation(run_id), agent, action.framework)
    yield from KeepTask(run_id, task).ask()
    if fresh:
        yield from Report(task, EventType.TASK_STARTED, {"run_id": run_id}).ask()
    return task


def ask(terms: Terms, action: Action) -> Flow[Asked]:
    """Ask the gate about an action; a run that comes again finds its earlier request.

    Raises:
        GateError: If there is no answer to trust; nothing ran.
    """
    task = yield from task_of(terms, action)
    action = action.with_identity(terms.agent, task.correlation_id)
    request = gate_request(terms, action, task)
    unanswered = Asked(
        action=action,
        decision=Decision(status=Status.PENDING_REVIEW, task_id=task.task_id),
        task=task,
        digest=digest_of(action),
        wire_digest=wire_digest(terms, action, action.arguments),
        redacted=tuple(request.redacted),
        attempt=action.attempt_id or uuid.uuid4().hex,
    )
    try:
        asked = yield from _decide(terms, unanswered, request)
    except GateError as error:
        yield from Report(task, EventType.TOOL_REQUESTED, _facts(unanswered, error=str(error))).ask()
        raise
    if asked.fresh:
        yield from _report_request(asked)
    return asked


def _decide(terms: Terms, asked: Asked, request: GateRequest) -> Flow[Asked]:
    attempt = asked.attempt if asked.action.take_at_once else None
    call = terms.dialect.request(request, request_key(asked.action), attempt)
    try:
        decision = yield from Send(call).ask()
    except GateRequestRefused as refusal:
        # The same call was described in other words before (another transcript, say). What counts is the digest,
        # which `bind` compares: it is the request that this run made.
        earlier = Decision(status=Status.PENDING_REVIEW, decision_id=refusal.earlier("decision_id"))
        decision = yield from Send(terms.dialect.fetch(earlier)).ask()
        decision = decision.model_copy(update={"replayed": True})
    except BaseException as interruption:
        # Cancelled or interrupted while it asked: the request may have been made all the same.
        if not isinstance(interruption, (Exception, GeneratorExit)):
            yield from Abandon(call, asked.task, asked.attempt, asked.action.name).ask()
        raise
    decision = bind(asked, decision)
    if decision.task_id is not None and decision.task_id != asked.task.task_id:
        asked = replace(asked, task=replace(asked.task, task_id=decision.task_id))
    return replace(asked, decision=decision, fresh=not decision.replayed)


def _report_request(asked: Asked) -> Flow[None]:
    facts = _facts(asked)
    yield from Report(asked.task, EventType.TOOL_REQUESTED, {**facts, "status": str(asked.decision.status)}).ask()
    if asked.action.revises:
        revision = {**facts, "revises": asked.action.revises}
        yield from Report(asked.task, EventType.TASK_REVISED, revision).ask()
    if asked.decision.status is Status.PENDING_REVIEW:
        yield from Report(asked.task, EventType.REVIEW_REQUESTED, facts).ask()
    if asked.decision.status is Status.REJECT:
        reason = {**facts, "message": asked.decision.message}
        yield from Report(asked.task, EventType.GUARDRAIL_TRIGGERED, reason).ask()


def _facts(asked: Asked, **more: Any) -> dict[str, Any]:
    return {"decision_id": asked.decision.decision_id, "action": asked.action.name, **more}


def wait(terms: Terms, asked: Asked, seconds: float | None) -> Flow[Asked]:
    """Wait until the request is decided, or the caller's patience is over (the answer is then still pending).

    Args:
        terms: The gate's terms.
        asked: The request.
        seconds: The caller's patience; `None` for as long as the request lives.
    """
    if asked.decision.status.final:
        return asked
    try:
        decision = yield from _newest(terms, asked, seconds)
    except BaseException as interruption:
        # Cancelled or interrupted while it waited: nobody shall review a dead action.
        if not isinstance(interruption, (Exception, GeneratorExit)):
            yield from Withdraw(asked.decision, asked.task).ask()
        raise
    asked = asked.at(bind(asked, decision))
    if decision.status.final:
        result = _facts(asked, status=str(decision.status), reviewer_id=decision.reviewer_id, message=decision.message)
        yield from Report(asked.task, EventType.REVIEW_RESULT_RECEIVED, result).ask()
    return asked


def _newest(terms: Terms, asked: Asked, seconds: float | None) -> Flow[Decision]:
    if seconds is not None and seconds <= 0:
        if asked.fresh:
            return asked.decision
        return (yield from Send(terms.dialect.fetch(asked.decision)).ask())
    return (yield from Await(asked.decision, terms.dialect, seconds).ask())


def require(asked: Asked, validate: Validate | None = None) -> Flow[Approval]:
    """Go on only with an approval, its edit validated.

    Raises:
        ReviewPending: If a person has not decided yet.
        ActionBlocked: If the answer stops the action.
    """
    decision = asked.decision
    if not decision.status.final:
        raise ReviewPending(asked.action, decision)
    if not decision.status.executes:
        raise _BLOCKED_BY[decision.status](asked.action.name, decision)
    try:
        return Approval(asked, approved_arguments(asked, validate))
    except InvalidEdit as error:
        facts = _facts(asked, error=str(error), invalid_edit=True)
        yield from Report(asked.task, EventType.GUARDRAIL_TRIGGERED, facts).ask()
        raise


def authorize(terms: Terms, action: Action, seconds: float | None, validate: Validate | None = None) -> Flow[Approval]:
    """Ask and wait.

    Raises:
        ReviewPending: If it is still pending when the caller's patience is over.
        ActionBlocked: If the answer stops the action.
        GateError: If there is no answer to trust.
    """
    asked = yield from ask(terms, action)
    asked = yield from wait(terms, asked, seconds)
    return (yield from require(asked, validate))


def take(terms: Terms, approval: Approval, running: Any) -> Flow[None]:
    """Take the permission, once, for exactly the arguments that are about to run.

    Args:
        terms: The gate's terms.
        approval: What may run.
        running: The arguments that the tool is about to get.

    Raises:
        ActionMismatch: If they are not what was approved, here or by the gate's word.
        AlreadyTaken: If the permission was used before.
        OutcomeUnknown: If it was used before and its outcome was never reported.
        GateError: If the gate cannot be asked.
    """
    asked = approval.asked
    digest = check_running(terms, asked, approval.arguments, running)
    replayed = asked.action.attempt_id is not None  # by a durable engine, on purpose
    if asked.decision.consumed_by is not None and asked.decision.consumed_by == asked.attempt:
        # An allow that the gate took for us together with its answer: good for one taking of this very approval.
        if not replayed and not (yield from TakeAlone(asked.attempt).ask()):
            raise AlreadyTaken(asked.action.name, asked.decision)
        return
    key = asked.attempt if replayed else uuid.uuid4().hex
    call = terms.dialect.take(asked.decision, digest, asked.attempt, key)
    result = TakeResult(Take.NOT_SERVED) if call is None else (yield from Send(call).ask())
    if result.kind is Take.NOT_SERVED and asked.decision.action_digest is None:
        yield from _take_alone(asked)
    elif result.kind is not Take.TAKEN:
        raise _not_taken(asked, result)


def _take_alone(asked: Asked) -> Flow[None]:
    """At a gate without our extensions one process can still keep its own promise."""
    if not (yield from TakeAlone(request_key(asked.action)).ask()):
        raise AlreadyTaken(asked.action.name, asked.decision)


def _not_taken(asked: Asked, result: TakeResult) -> ActionBlocked | GateProtocolError:
    name, decision = asked.action.name, asked.decision
    if result.kind is Take.TAKEN_BEFORE:
        blocked = OutcomeUnknown if result.outcome is Outcome.UNKNOWN else AlreadyTaken
        return blocked(name, decision)
    if result.kind is Take.EXPIRED:
        return ActionExpired(name, decision, result.detail)
    if result.kind is Take.MISMATCH:
        return ActionMismatch(name, decision, result.detail)
    if result.kind is Take.NOT_APPROVED:
        return ActionBlocked(name, decision, result.detail or "the gate no longer permits it")
    return GateProtocolError(f"The gate does not know its own decision {decision.id}; {name} did not run.")


def report(asked: Asked, outcome: Outcome, seconds: float, error: str | None = None) -> Flow[None]:
    """Say how the action ended; this closes the permission.

    Args:
        asked: The request.
        outcome: `SUCCEEDED` or `FAILED`; `UNKNOWN` leaves the permission open for a person to settle.
        seconds: How long the action ran.
        error: What went wrong, in a few words.
    """
    facts = _facts(asked, duration_ms=round(seconds * 1000, 3))
    if error is not None:
        facts["error"] = error[:1000]
    if outcome is Outcome.UNKNOWN:
        yield from Report(asked.task, EventType.TASK_UPDATED, {**facts, "interrupted": True}).ask()
    else:
        yield from Report(asked.task, EventType.TOOL_EXECUTED, {**facts, "outcome": str(outcome)}).ask()


def withdraw(decision: Decision, task: TaskRef) -> Flow[None]:
    """Cancel a request at the gate, for a caller that gave up."""
    yield from Withdraw(decision, task).ask()
