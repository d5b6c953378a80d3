"""An agent changes a request that still waits for a reviewer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.protocol.requests import GateRequest, Risk
from stacksona_adapters.server.service import approvals, decisions, rules
from stacksona_adapters.server.service.errors import Conflict, Invalid, NotFound, invalid
from stacksona_adapters.server.service.pointers import join
from stacksona_adapters.server.service.rules import RuleOutcome

if TYPE_CHECKING:
    from stacksona_adapters.protocol.tasks import AgentEvent
    from stacksona_adapters.server.service.context import Write
    from stacksona_adapters.server.service.keys import Agent

REVISION = "revision"
"""The `event_type` of a revision."""


class Revision(BaseModel):
    """The `payload` of a revision: what is there replaces what was asked first."""

    model_config = ConfigDict(extra="ignore")

    subject: str | None = None
    preview: str | None = None
    summary: list[str] | None = None
    payload: dict[str, Any] | None = None
    risk_level: Risk | None = Field(default=None, validation_alias=AliasChoices("risk_level", "riskLevel"))


def revise(write: Write, agent: Agent, task_id: str, event: AgentEvent) -> None:
    """Change a pending request; a rule may then reject it, and none ever allows it.

    Raises:
        Invalid: If the event names no thread, or its payload is wrong.
        NotFound: If the thread is not one of this agent and task.
        Conflict: If it was decided already.
    """
    if event.thread_id is None:
        raise invalid("/thread_id", "is needed for a revision")
    row = decisions.settle_time(write, decisions.get(write, event.thread_id, agent=agent.name))
    if row.task_id != task_id:
        raise NotFound(f"There is no thread {event.thread_id!r:.120} in this task.")
    if row.status != Status.PENDING_REVIEW.value:
        raise Conflict(f"The decision is {row.status} and cannot be revised.", **decisions.standing(row))
    fields = _read(event.payload).model_dump(mode="json", exclude_none=True)
    asked = decisions.read_request(row).model_dump(mode="json", exclude_none=True)
    names = {"payload": "arguments", "risk_level": "risk"}
    updated = {**asked, **{names.get(name, name): value for name, value in fields.items()}, "action_digest": None}
    if "arguments" in updated and "payload" in fields:
        updated["redacted"] = []
    elif asked.get("redacted"):
        updated["action_digest"] = row.action_digest
    request = GateRequest.model_validate(updated)
    values: dict[str, Any] = {
        "request": request.model_dump_json(exclude_none=True),
        "risk": request.risk.value,
        "action_digest": decisions.checked_digest(request),
    }
    outcome, rule = rules.judge(rules.remembered(write), decisions.rule_call(write, agent.name, request))
    if outcome is RuleOutcome.REJECT and rule is not None:
        values |= {"status": Status.REJECTED.value, "decided_at": write.now, "rule": json.dumps(rule.as_dict())}
        values["message"] = f"A rule of the gate forbids the revised request ({rule.parameter}: {rule.type})."
    said: dict[str, Any] = {"changed": fields, "rule": rule.as_dict() if rule is not None else None}
    # Also where the digest is the same: risk, summary and preview are part of what was approved.
    if withdrawn := approvals.forget(write, row.decision_id):
        said["approvals_withdrawn"] = withdrawn
    decisions.change(write, row, "decision.revised", values, said)


def _read(payload: dict[str, Any]) -> Revision:
    try:
        return Revision.model_validate(payload)
    except ValidationError as error:
        wrong = [(join(("payload", *e["loc"])), e["msg"]) for e in error.errors(include_url=False)]
        raise Invalid("The revision cannot be used.", wrong) from error
