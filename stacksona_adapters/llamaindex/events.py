"""The typed events of an approval.

A suspended run names these classes by their module, so neither they nor their fields may ever be renamed.
"""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import Field
from workflows.events import Event, InputRequiredEvent

from stacksona_adapters.errors import ActionBlocked
from stacksona_adapters.protocol.decisions import Decision


class ApprovalRequested(Event):
    """An action that a step wants to take: return it (or send it) to have it decided.

    Attributes:
        tool_name: The action's name.
        payload: Its arguments, as they will run.
        label: What the run is about, for people; the task's name.
        subject: The customer, ticket or account touched.
        risk_level: `low`, `medium`, `high` or `critical`; else the gate's policy says it.
        summary: Lines for the reviewer.
        context: Small facts for the reviewer.
        revises: The decision that asked for this changed proposal.
        task_id: Your own name of the run; the workflow's run where it is `None`.
        request_id: Names this request within the run. It travels with the event, so a step that runs again, here or in
            another process, finds the request that it made. Give one of your own to survive the loss of the event too.
    """

    tool_name: str
    payload: dict[str, Any] = Field(default_factory=dict)
    label: str | None = None
    subject: str | None = None
    risk_level: str | None = None
    summary: list[str] = Field(default_factory=list)
    context: dict[str, Any] = Field(default_factory=dict)
    revises: str | None = None
    task_id: str | None = None
    request_id: str = Field(default_factory=lambda: uuid.uuid4().hex)


class HumanReviewRequired(InputRequiredEvent):
    """A person has to decide. Comes on the event stream by itself; nothing has to be answered to it.

    Attributes:
        request: What waits.
        decision: The gate's answer so far; only the gate's next answer counts.
        run_id: The run that it belongs to.
        tool_id: The model's id of the call, for an agent's tool.
    """

    request: ApprovalRequested
    decision: Decision
    run_id: str
    tool_id: str | None = None

    @property
    def decision_id(self) -> str:
        """The decision's id."""
        return self.decision.id

    @property
    def task_id(self) -> str | None:
        """The task's id at the gate."""
        return self.decision.task_id

    @property
    def thread_id(self) -> str | None:
        """The review thread's id at the gate."""
        return self.decision.thread_id


class ApprovalResolved(Event):
    """A request is decided. Run the action inside of `self.permit(event)`, which takes the permission.

    Attributes:
        request: What was asked.
        run_id: The run that it belongs to.
        decision: The decision; `None` where the gate gave no answer to trust.
        approved_arguments: What may run.
        refusal: Why it may not run, as JSON values; `None` where it may.
    """

    request: ApprovalRequested
    run_id: str
    decision: Decision | None = None
    approved_arguments: dict[str, Any] | None = None
    refusal: dict[str, Any] | None = None

    @property
    def approved(self) -> bool:
        """Whether the action may run; `permit` asks the gate again."""
        executes = self.decision is not None and self.decision.status.executes
        return executes and self.refusal is None and self.approved_arguments is not None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that were approved: the reviewer's where they were edited.

        Raises:
            ActionBlocked: If it was not approved.
        """
        if not self.approved or self.approved_arguments is None:
            reason = (self.refusal or {}).get("reason")
            raise ActionBlocked(self.request.tool_name, self.decision, reason and str(reason))
        return self.approved_arguments


class GatedCall(Event):
    """An agent's tool call on its way to the gate; internal, and public only in a suspended run's JSON.

    Attributes:
        request: What will be asked.
        run_id: The run that it belongs to.
        tool_id: The model's id of the call.
    """

    request: ApprovalRequested
    run_id: str
    tool_id: str


def without_token(decision: Decision) -> Decision:
    """The decision as it may be kept: the one-time token is not for state and streams.

    Args:
        decision: The decision.
    """
    return decision.model_copy(update={"approval_token": None})
