"""The reviewer's API and the errors of every API (wire contract, sections 5 and 6)."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stacksona_adapters.protocol.decisions import Outcome, Status
from stacksona_adapters.protocol.grants import GrantRequest
from stacksona_adapters.protocol.requests import Risk

PROBLEM_JSON = "application/problem+json"


class Folder(str, Enum):
    """The reviewer's folders; the first four are given by the contract."""

    NEW = "new"
    REVIEWING = "reviewing"
    APPROVED = "approved"
    REJECTED = "rejected"
    SENT_BACK = "sent_back"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


class TimelineEntry(BaseModel):
    """One record of a task's audit chain, as a reviewer sees it."""

    model_config = ConfigDict(extra="ignore")

    at: datetime
    kind: str
    summary: str | None = None
    payload: dict[str, Any] = Field(default_factory=dict)
    audit_hash: str | None = None


class Note(BaseModel):
    """A reviewer's note on a request."""

    model_config = ConfigDict(extra="ignore")

    at: datetime
    reviewer_id: str
    text: str


class Approval(BaseModel):
    """One reviewer's approval of a request that needs several.

    Attributes:
        reviewer_id: Who approved.
        at: When.
        action_digest: The version that was approved: the agent's, or one with changes.
        arguments: The changed arguments; `None` where they were approved as asked.
        message: What the agent will be told.
        counts: Whether the reviewer may (still) decide on the request; only such an approval counts.
    """

    model_config = ConfigDict(extra="ignore")

    reviewer_id: str
    at: datetime
    action_digest: str
    arguments: dict[str, Any] | None = None
    message: str | None = None
    counts: bool = True


class Review(BaseModel):
    """An entry of `GET /v1/reviews`.

    `approvals_needed` is how many reviewers must approve the same version while it is pending, and `approvals_given`
    how many have approved the version that most have.
    """

    model_config = ConfigDict(extra="ignore")

    decision_id: str
    thread_id: str
    task_id: str
    agent: str
    action: str
    subject: str | None = None
    risk: Risk
    risk_reason: str | None = None
    summary: list[str] = Field(default_factory=list)
    arguments: dict[str, Any] = Field(default_factory=dict)
    redacted: list[str] = Field(default_factory=list)
    status: Status
    created_at: datetime
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    reviewer_id: str | None = None
    message: str | None = None
    claimed_by: str | None = None
    consumed_at: datetime | None = None
    outcome: Outcome | None = None
    action_digest: str | None = None
    approvals_given: int = 0
    approvals_needed: int = 1


class ReviewDetail(Review):
    """Answer of `GET /v1/reviews/{decision_id}`.

    `may_decide` and `why_not` are about the reviewer who asks, while there is something to decide or settle;
    `stuck` says why nobody can approve a pending request as things are.
    """

    context: dict[str, Any] = Field(default_factory=dict)
    preview: str | None = None
    timeline: list[TimelineEntry] = Field(default_factory=list)
    notes: list[Note] = Field(default_factory=list)
    revises: str | None = None
    rule: dict[str, Any] | None = None
    edited_arguments: dict[str, Any] | None = None
    arguments_schema: dict[str, Any] | None = None
    audit_hash: str | None = None
    approvals: list[Approval] = Field(default_factory=list)
    may_decide: bool | None = None
    why_not: str | None = None
    stuck: str | None = None


class ReviewPage(BaseModel):
    """A page of reviews; `next` is the cursor of the following page."""

    model_config = ConfigDict(extra="ignore")

    reviews: list[Review]
    next: str | None = None


class DecideRequest(BaseModel):
    """Body of `POST /v1/reviews/{decision_id}/decide`.

    `action_digest` names the version that the reviewer saw; a request that changed since is a 409. It may also name a
    version that another reviewer has approved with changes, which `approve` without `arguments` then approves too.
    `grant` is for outcome `approve`: which later requests it allows too.
    """

    model_config = ConfigDict(extra="ignore")

    outcome: Literal["approve", "reject", "revise"]
    message: str | None = Field(default=None, max_length=10_000)
    arguments: dict[str, Any] | None = None
    action_digest: str | None = None
    grant: GrantRequest | None = None


class NoteRequest(BaseModel):
    """Body of `POST /v1/reviews/{decision_id}/notes`."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(min_length=1, max_length=10_000)


class SettleRequest(BaseModel):
    """Body of `POST /v1/reviews/{decision_id}/settle`, for an outcome that nobody reported."""

    model_config = ConfigDict(extra="ignore")

    outcome: Literal["ran", "did_not_run"]
    message: str | None = Field(default=None, max_length=10_000)


class FieldError(BaseModel):
    """One wrong field of a 422."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldError] | None = None


class DecisionWebhook(BaseModel):
    """The body of the webhook that tells an agent of a reviewer's decision (wire contract, section 3)."""

    model_config = ConfigDict(extra="ignore")

    thread_id: str
    task_id: str
    decision: Status
    message: str | None = None
    tenant_id: str
    workflow_name: str | None = None
    task_label: str | None = None
    decision_id: str | None = None
