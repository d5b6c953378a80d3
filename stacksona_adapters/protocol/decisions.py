"""The one decision model that both dialects are read into, and the life of a decision."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Status(str, Enum):
    """The statuses of the wire contract, section 1."""

    ALLOW = "allow"
    REJECT = "reject"
    PENDING_REVIEW = "pending_review"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVISE = "revise"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value

    @property
    def executes(self) -> bool:
        """Whether the action may run. Every other status stops it."""
        return self in (Status.ALLOW, Status.APPROVED)

    @property
    def final(self) -> bool:
        """Whether the status can no longer change."""
        return self is not Status.PENDING_REVIEW


TRANSITIONS: MappingProxyType[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.PENDING_REVIEW: frozenset(
            {Status.APPROVED, Status.REJECTED, Status.REVISE, Status.EXPIRED, Status.CANCELLED}
        ),
        # An approval that nobody took in time expires, and one that is not wanted any more can be withdrawn.
        Status.APPROVED: frozenset({Status.EXPIRED, Status.CANCELLED}),
        Status.ALLOW: frozenset({Status.EXPIRED, Status.CANCELLED}),
        Status.REJECT: frozenset(),
        Status.REJECTED: frozenset(),
        Status.REVISE: frozenset(),
        Status.EXPIRED: frozenset(),
        Status.CANCELLED: frozenset(),
    }
)
"""Which status may follow which. `approved` and `allow` move on only while nobody has taken the permission."""


class Outcome(str, Enum):
    """How a taken permission ended. `unknown` stands until a report or a person settles it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


class Decision(BaseModel):
    """A gate's answer about one request.

    Attributes:
        decision_id: The gate's id of the decision; `None` only where a hosted gate sends none.
        status: One of `Status`.
        task_id: The task it belongs to.
        thread_id: The review thread (`THR-` and eight hex digits).
        message: What the reviewer or rule says to the agent.
        arguments: The arguments as a reviewer edited them; `None` where they were not edited.
        approval_token: The one-time token, where the agent has signed approval switched on.
        expires_at: When the request (or the unused approval) ends.
        action_digest: The digest of what may run (of the edited arguments, where they were edited).
        reviewer_id: Who decided; `None` for a rule.
        audit_hash: The hash of the decision's record in the audit chain.
        consumed_at: When the permission was taken.
        consumed_by: The attempt that took it (`Stacksona-Attempt` header), where the gate took it with the answer.
        outcome: How the taken permission ended.
        revises: The earlier decision that the request revises.
        replayed: Whether the answer is (or may be) that of an earlier request; never on the wire.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    decision_id: str | None = None
    status: Status
    task_id: str | None = None
    thread_id: str | None = None
    message: str | None = None
    arguments: dict[str, Any] | None = None
    approval_token: str | None = Field(default=None, repr=False)
    expires_at: AwareDatetime | None = None
    action_digest: str | None = None
    reviewer_id: str | None = None
    audit_hash: str | None = None
    consumed_at: AwareDatetime | None = None
    consumed_by: str | None = None
    outcome: Outcome | None = None
    revises: str | None = None
    replayed: bool = Field(default=False, exclude=True)

    @property
    def id(self) -> str:
        """The decision's id, or the thread's where the gate gives no decision id, or `?`."""
        return self.decision_id or self.thread_id or "?"
