"""What stands in the framework's own deferred requests and results of a call that was put off.

Nothing in it permits anything: a call runs only after `take` at the gate, in the process that runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext, ToolApproved, ToolDenied

from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval

KEY = "stacksona"
"""Our key in the metadata of deferred requests and results."""

RERUNS = "stacksona_reruns"
"""How often a call began to run and was put off from within; each time needs a permission of its own."""

# `DeferredToolResults.answered_by` came with pydantic-ai 2.54.
_NAMES_REVIEWERS = "answered_by" in {field.name for field in fields(DeferredToolResults)}


class PutOff(BaseModel):
    """Why a call was put off.

    Attributes:
        action: What the gate is asked.
        decision_id: The pending decision.
        waits: Whether the handler shall wait for it, because the call did not.
        refused: The refusal for the model, where it is decided already.
        unavailable: The refusal for the model where the run cannot pause, because the gate could not be asked.
        reruns: See `RERUNS`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    action: Action | None = None
    decision_id: str | None = None
    waits: bool = False
    refused: str | None = None
    unavailable: str | None = None
    reruns: int = Field(default=0, ge=0)

    def raised(self, ctx: RunContext[Any]) -> ApprovalRequired:
        """The exception that puts the call off."""
        whole = self.model_copy(update={"reruns": self.reruns or reruns_of(ctx)})
        return ApprovalRequired(metadata={KEY: whole.model_dump(mode="json", exclude_none=True)})


def put_off(requests: DeferredToolRequests, call_id: str) -> PutOff:
    """Why a call was put off; empty where somebody else did it, or where it was changed to make no sense."""
    try:
        return PutOff.model_validate(requests.metadata.get(call_id, {}).get(KEY, {}))
    except ValidationError:
        return PutOff()


def reruns_of(ctx: RunContext[Any]) -> int:
    """How often the call began to run and was put off from within."""
    metadata = ctx.tool_call_metadata
    count = metadata.get(RERUNS) if isinstance(metadata, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0


def handed_over(ctx: RunContext[Any], action: Action) -> Approval | None:
    """The approval of this very action that `answered` handed over in this process; it is still to be taken."""
    metadata = ctx.tool_call_metadata
    approval = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    if not isinstance(approval, Approval):
        return None
    asked = approval.asked.action
    same = (asked.name, asked.arguments, asked.call_id) == (action.name, action.arguments, action.call_id)
    return approval if same else None


def interrupted(deferral: ApprovalRequired, ctx: RunContext[Any]) -> ApprovalRequired:
    """The deferral of a call that had begun to run: its next run needs a permission of its own."""
    metadata = dict(deferral.metadata or {})
    ours = metadata.get(KEY) if isinstance(metadata.get(KEY), Mapping) else {}
    return ApprovalRequired(metadata={**metadata, KEY: {**(ours or {}), "reruns": reruns_of(ctx) + 1}})


def answered(
    requests: DeferredToolRequests, answers: Mapping[str, Approval | str | None]
) -> DeferredToolResults | None:
    """The framework's results of calls that were put off.

    Args:
        requests: The framework's requests.
        answers: By call id an approval, a refusal for the model, or `None` for what stays open.

    Returns:
        The results of all that is decided; `None` where nothing is.
    """
    approvals: dict[str, Any] = {}
    metadata: dict[str, dict[str, Any]] = {}
    reviewers: dict[str, str] = {}
    for call_id, answer in answers.items():
        if isinstance(answer, str):
            # Never ModelRetry, which would spend the tool's retries.
            approvals[call_id] = ToolDenied(answer)
        elif answer is not None:
            approvals[call_id] = ToolApproved()
            reruns = put_off(requests, call_id).reruns
            metadata[call_id] = {**requests.metadata.get(call_id, {}), KEY: answer, RERUNS: reruns}
            if answer.decision.reviewer_id:
                reviewers[call_id] = answer.decision.reviewer_id
    if not approvals:
        return None
    more: dict[str, Any] = {"answered_by": reviewers} if _NAMES_REVIEWERS else {}
    return DeferredToolResults(approvals=approvals, metadata=metadata, **more)
