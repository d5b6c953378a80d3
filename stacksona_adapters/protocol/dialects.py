"""The two dialects as one set of calls, so that nothing above knows which one is spoken."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from stacksona_adapters.errors import ConfigurationError, GateProtocolError, GateRequestRefused
from stacksona_adapters.protocol.answers import read_agent, read_v1
from stacksona_adapters.protocol.calls import Answer, Call, json_object, raise_for_status, read_model, read_nothing
from stacksona_adapters.protocol.decisions import Decision, Outcome
from stacksona_adapters.protocol.requests import (
    ATTEMPT_HEADER,
    REPLAYED_HEADER,
    AgentRequest,
    Consumed,
    ConsumeRequest,
    GateRequest,
)
from stacksona_adapters.protocol.tasks import AGENT_EVENT_TYPES, TaskCreate, TaskCreated, TaskEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

LONG_POLL_LIMIT = 60.0
"""The longest `wait` that a server grants, in seconds."""


class Take(str, Enum):
    """What the gate says when a permission is to be taken."""

    TAKEN = "taken"
    TAKEN_BEFORE = "taken_before"
    EXPIRED = "expired"
    MISMATCH = "mismatch"
    NOT_APPROVED = "not_approved"
    NOT_SERVED = "not_served"


@dataclass(frozen=True)
class TakeResult:
    """The answer to taking a permission; `outcome` is that of the earlier taking."""

    kind: Take
    outcome: Outcome | None = None
    detail: str | None = None


class Dialect(Protocol):
    """What a dialect can say. `None` instead of a call means that it has no such call."""

    @property
    def name(self) -> str:
        """`v1` or `agent`."""
        ...

    def create_task(self, task: TaskCreate, key: str) -> Call[TaskCreated] | None:
        """Create a task; where the dialect has no such call, the task's id is the caller's."""
        ...

    def event(self, event: TaskEvent, key: str) -> Call[None]:
        """Report an event."""
        ...

    @property
    def sends_digest(self) -> bool:
        """Whether a request carries the digest of its full arguments; else the gate digests what it was shown."""
        ...

    def request(self, request: GateRequest, key: str, attempt: str | None) -> Call[Decision]:
        """Ask for a decision; with an attempt, an allowed permission is taken at once."""
        ...

    def fetch(self, decision: Decision, wait: float = 0.0) -> Call[Decision]:
        """The decision now, or as soon as it is final within `wait` seconds."""
        ...

    def take(self, decision: Decision, digest: str, attempt: str, key: str) -> Call[TakeResult] | None:
        """Take the permission, once; the same key again is the same taking."""
        ...

    def cancel(self, decision: Decision, key: str) -> Call[None] | None:
        """Withdraw the request."""
        ...


def new_task_id() -> str:
    """A task id made by the client, for the dialect that has no call to create one."""
    return f"task_{uuid.uuid4().hex}"


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _replayed(answer: Answer) -> bool:
    return answer.headers.get(REPLAYED_HEADER.lower()) == "true"


def _with_replay(answer: Answer, decision: Decision) -> Decision:
    # Only our own gate says when it repeats its first answer; any other one might.
    replayed = _replayed(answer) or decision.action_digest is None
    return decision.model_copy(update={"replayed": replayed})


class V1Dialect:
    """`POST /v1/...` (wire contract, section 2)."""

    name = "v1"
    sends_digest = True

    def create_task(self, task: TaskCreate, key: str) -> Call[TaskCreated]:
        """`POST /v1/tasks`."""
        body = task.model_dump(mode="json", exclude_none=True)

        def read(answer: Answer) -> TaskCreated:
            return read_model(TaskCreated)(answer).model_copy(update={"replayed": _replayed(answer)})

        return Call("POST", "/v1/tasks", read, body, idempotency_key=key)

    def event(self, event: TaskEvent, key: str) -> Call[None]:
        """`POST /v1/tasks/{task_id}/events`."""
        path = _path("v1", "tasks", event.task_id, "events")
        return Call("POST", path, read_nothing, event.model_dump(mode="json"), idempotency_key=key)

    def request(self, request: GateRequest, key: str, attempt: str | None) -> Call[Decision]:
        """`POST /v1/gate/decision`."""

        def read(answer: Answer) -> Decision:
            decision = _with_replay(answer, read_v1(json_object(answer)))
            if decision.task_id not in (None, request.task_id):
                raise GateProtocolError("The gate answered about another task; nothing ran.")
            return decision

        body = request.model_dump(mode="json", exclude_none=True)
        headers = {ATTEMPT_HEADER: attempt} if attempt else {}
        return Call("POST", "/v1/gate/decision", read, body, headers=headers, idempotency_key=key)

    def fetch(self, decision: Decision, wait: float = 0.0) -> Call[Decision]:
        """`GET /v1/gate/decision/{decision_id}?wait=S`."""
        if decision.decision_id is None:
            raise GateProtocolError("The gate gave no decision id, so it cannot be asked again; nothing ran.")

        def read(answer: Answer) -> Decision:
            return same(decision, read_v1(json_object(answer)))

        hold = min(wait, LONG_POLL_LIMIT)
        query = {"wait": f"{hold:.3f}"} if hold > 0 else {}
        return Call("GET", _path("v1", "gate", "decision", decision.decision_id), read, query=query, hold=hold)

    def take(self, decision: Decision, digest: str, attempt: str, key: str) -> Call[TakeResult] | None:
        """`POST /v1/gate/decision/{decision_id}/consume`."""
        return _consume(decision, digest, attempt, key) if decision.decision_id is not None else None

    def cancel(self, decision: Decision, key: str) -> Call[None] | None:
        """`POST /v1/gate/decision/{decision_id}/cancel`."""
        if decision.decision_id is None:
            return None
        path = _path("v1", "gate", "decision", decision.decision_id, "cancel")
        return Call("POST", path, read_nothing, {}, idempotency_key=key)


class AgentDialect:
    """`POST /api/agent/...` (wire contract, section 3); sends only the fields that the contract gives."""

    name = "agent"
    sends_digest = False

    def create_task(self, task: TaskCreate, key: str) -> Call[TaskCreated] | None:
        """A task needs no creating here."""

    def event(self, event: TaskEvent, key: str) -> Call[None]:
        """`POST /api/agent/tasks/{taskID}/events`."""
        payload = {**event.event_payload, "correlation_id": event.correlation_id}
        tool = event.event_payload.get("action")
        body = {
            "event_type": AGENT_EVENT_TYPES[event.event_type],
            "event_summary": AGENT_EVENT_TYPES[event.event_type] + (f": {tool}" if tool else ""),
            "payload": payload,
        }
        path = _path("api", "agent", "tasks", event.task_id, "events")
        return Call("POST", path, read_nothing, body, idempotency_key=key)

    def request(self, request: GateRequest, key: str, attempt: str | None) -> Call[Decision]:
        """`POST /api/agent/tasks/{taskID}/requests`."""
        lines = [*request.summary, *([f"Revises {request.revises}"] if request.revises else [])]
        body = AgentRequest(
            workflow_name=request.agent or request.agent_id,
            task_label=request.action,
            tool_name=request.action,
            subject=request.subject,
            preview=request.preview,
            risk_level=request.risk,
            summary=lines,
            payload=request.arguments,
        )
        return self.send(request.task_id, body, key, attempt)

    def send(self, task_id: str, body: AgentRequest, key: str | None, attempt: str | None = None) -> Call[Decision]:
        """The request as the contract gives it, for the raw client too."""

        def read(answer: Answer) -> Decision:
            decision = _with_replay(answer, read_agent(json_object(answer)))
            if decision.task_id != task_id:
                raise GateProtocolError("The gate answered about another task; nothing ran.")
            return decision

        path = _path("api", "agent", "tasks", task_id, "requests")
        headers = {ATTEMPT_HEADER: attempt} if attempt else {}
        fields = body.model_dump(mode="json", exclude_none=True)
        return Call("POST", path, read, fields, headers=headers, idempotency_key=key)

    def fetch(self, decision: Decision, wait: float = 0.0) -> Call[Decision]:
        """`GET /api/agent/decisions?thread_id=...`."""

        def read(answer: Answer) -> Decision:
            return same(decision, read_agent(json_object(answer)))

        query = {"thread_id": decision.thread_id or decision.id}
        hold = min(wait, LONG_POLL_LIMIT)
        if hold > 0 and decision.decision_id is not None:
            query["wait"] = f"{hold:.3f}"
        return Call("GET", "/api/agent/decisions", read, query=query, hold=hold)

    def take(self, decision: Decision, digest: str, attempt: str, key: str) -> Call[TakeResult] | None:
        """One-time validation of the token where there is one, else `consume` where the gate has it."""
        if decision.approval_token is None:
            return _consume(decision, digest, attempt, key) if decision.decision_id is not None else None
        body = {"task_id": decision.task_id, "signature": decision.approval_token}
        call_key = f"{key}-validate"
        return Call("POST", "/api/agent/approvals/validate", _read_validation, body, idempotency_key=call_key)

    def cancel(self, decision: Decision, key: str) -> Call[None] | None:
        """Ours; the agent dialect alone has no such call."""
        return V1Dialect().cancel(decision, key)


def same(asked: Decision, got: Decision) -> Decision:
    """`got`, if it is about the decision that was asked for.

    Raises:
        GateProtocolError: If it is about another one, or says less than the first answer said of itself.
    """
    for name in ("decision_id", "thread_id", "task_id"):
        before, now = getattr(asked, name), getattr(got, name)
        if before is not None and now != before and not (now is None and name != "decision_id"):
            raise GateProtocolError(f"The gate answered about another decision ({name} differs); nothing ran.")
    return got


def _consume(decision: Decision, digest: str, attempt: str, key: str) -> Call[TakeResult]:
    body = ConsumeRequest(action_digest=digest, approval_token=decision.approval_token)
    path = _path("v1", "gate", "decision", decision.id, "consume")
    headers = {ATTEMPT_HEADER: attempt}
    fields = body.model_dump(exclude_none=True)
    return Call("POST", path, _read_consumed, fields, headers=headers, idempotency_key=f"{key}-consume")


_CONSUME_REFUSALS = {
    403: Take.NOT_APPROVED,
    404: Take.NOT_SERVED,
    405: Take.NOT_SERVED,
    409: Take.TAKEN_BEFORE,
    410: Take.EXPIRED,
    422: Take.MISMATCH,
}


def _read_consumed(answer: Answer) -> TakeResult:
    if answer.status_code not in _CONSUME_REFUSALS:
        read_model(Consumed)(answer)
        return TakeResult(Take.TAKEN)
    body: Mapping[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    outcome = body.get("outcome")
    known = outcome in [str(o) for o in Outcome]
    return TakeResult(_CONSUME_REFUSALS[answer.status_code], Outcome(outcome) if known else None, body.get("detail"))


def _read_validation(answer: Answer) -> TakeResult:
    try:
        raise_for_status(answer)
    except GateRequestRefused as refusal:
        outcome = refusal.problem.get("outcome")
        kind = Take.TAKEN_BEFORE if answer.status_code == 409 else Take.NOT_APPROVED
        known = outcome in [str(o) for o in Outcome]
        return TakeResult(kind, Outcome(outcome) if known else None, str(refusal.problem.get("detail") or refusal))
    body = json_object(answer)
    flags = [body[name] for name in ("valid", "validated", "success") if name in body]
    words = [body["status"]] if "status" in body else []
    good = all(flag is True for flag in flags) and all(word in ("valid", "validated", "success") for word in words)
    if good and (flags or words):
        return TakeResult(Take.TAKEN)
    return TakeResult(Take.NOT_APPROVED, detail="the approval token was not confirmed")


def choose_dialect(name: str | None, url: str) -> Dialect:
    """The dialect for a gate: by name, else `agent` for a host under `.stacksona.cloud`, else `v1`.

    Raises:
        ConfigurationError: If the name is none of `v1` and `agent`.
    """
    host = urlsplit(url).hostname or ""
    chosen = name or ("agent" if host.endswith(".stacksona.cloud") else "v1")
    if chosen == "v1":
        return V1Dialect()
    if chosen == "agent":
        return AgentDialect()
    raise ConfigurationError(f"Unknown dialect {chosen!r}: STACKSONA_DIALECT and dialect= know 'v1' and 'agent'.")
