"""What the model is told of an action that did not run or ran edited: one wording for all adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stacksona_adapters.errors import ActionBlocked, GateError, ReviewPending, StacksonaError
from stacksona_adapters.gating.flow import Approval


@dataclass(frozen=True)
class Refusal:
    """An action that did not run, as a result that a model can act on.

    Attributes:
        action: The action's name.
        status: The decision's status, or `unavailable` where there was no answer to trust.
        reason: Why, and what to do.
        decision_id: The decision, for transcript and trail.
        feedback: What the reviewer or rule said.
        revise: Whether a changed proposal is wanted; it should name `decision_id` in `revises`.
    """

    action: str
    status: str
    reason: str
    decision_id: str | None = None
    feedback: str | None = None
    revise: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The refusal as JSON values."""
        facts = {
            "executed": False,
            "action": self.action,
            "status": self.status,
            "reason": self.reason,
            "decision_id": self.decision_id,
            "feedback": self.feedback,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def as_text(self) -> str:
        """The refusal as one JSON text, for frameworks whose tool results are texts."""
        return json.dumps(self.as_dict(), ensure_ascii=False)


def refusal(action: str, error: StacksonaError) -> Refusal:
    """The refusal that an error stands for.

    Args:
        action: The action's name.
        error: What the flow raised.
    """
    if isinstance(error, ActionBlocked):
        status = str(error.decision.status) if error.decision is not None else "blocked"
        return Refusal(action, status, str(error), error.decision_id, error.detail, status == "revise")
    if isinstance(error, ReviewPending):
        return Refusal(action, "pending_review", str(error), error.decision.id)
    if isinstance(error, GateError):
        return Refusal(action, "unavailable", f"{action} did not run: {error}")
    return Refusal(action, "invalid", f"{action} did not run: {error}")


def edit_note(approval: Approval) -> str | None:
    """What the model is told of a reviewer's edit, so that it knows what ran; `None` where nothing was edited."""
    if not approval.edited:
        return None
    changed = changes(approval.asked.action.arguments, approval.arguments)
    said = f" Reviewer: {approval.decision.message}" if approval.decision.message else ""
    what = json.dumps(changed, ensure_ascii=False)
    return f"A reviewer changed the arguments before {approval.asked.action.name} ran; it ran with {what}.{said}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments whose value is another now; a removed one is `None`."""
    names = [*after, *(name for name in before if name not in after)]
    return {name: after.get(name) for name in names if before.get(name) != after.get(name)}
