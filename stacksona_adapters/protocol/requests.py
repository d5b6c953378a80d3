"""What an agent asks: the request for a decision, in both dialects, and what it does with one."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from stacksona_adapters.protocol.tasks import FrameworkOrigin

REDACTED = "[redacted]"
"""Stands in a request where the client hid a value; the digest is over the full value."""

ATTEMPT_HEADER = "Stacksona-Attempt"
"""Ours: names the attempt that asks, so that a gate can take an allowed permission together with the answer."""

IDEMPOTENCY_HEADER = "Idempotency-Key"

REPLAYED_HEADER = "Idempotency-Replayed"
"""Ours: `true` where the answer is the stored first answer to the same key."""

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Risk(str, Enum):
    """How much a wrong execution could cost."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __str__(self) -> str:
        return self.value


class GateRequest(BaseModel):
    """Body of `POST /v1/gate/decision`.

    Attributes:
        task_id: The task that the request belongs to (created before).
        agent_id: The agent's id, as in the task.
        framework_origin: The agent's framework.
        correlation_id: Ties the requests and events of one run.
        agent: Stable name of the agent, crew, graph or workflow; `agent_id` where it is missing.
        action: The tool's name.
        risk: `low`, `medium`, `high` or `critical`.
        risk_reason: Why, in a few words (ours).
        subject: The customer, ticket, repository or account touched.
        context: Small reviewable facts.
        arguments: What the tool will be called with; hidden values read `REDACTED`.
        redacted: JSON pointers (RFC 6901) of the hidden values (ours).
        arguments_schema: The tool's JSON schema, against which a reviewer's edit is checked (ours).
        summary: Lines for the reviewer.
        preview: A text for the reviewer, such as the e-mail's body.
        action_digest: See `canonical.action_digest`.
        expires_in: Seconds until the request expires.
        revises: The id of the earlier decision that this proposal answers.
    """

    model_config = ConfigDict(extra="ignore")

    task_id: Name
    agent_id: Name
    framework_origin: FrameworkOrigin = FrameworkOrigin.OTHER
    correlation_id: str | None = Field(default=None, max_length=200)
    agent: Name | None = None
    action: Name
    risk: Risk = Risk.MEDIUM
    risk_reason: str | None = None
    subject: str | None = None
    context: dict[str, Any] = Field(default_factory=dict)
    arguments: dict[str, Any] = Field(default_factory=dict)
    redacted: list[str] = Field(default_factory=list)
    arguments_schema: dict[str, Any] | None = None
    summary: list[str] = Field(default_factory=list)
    preview: str | None = None
    action_digest: str | None = None
    expires_in: float | None = Field(default=None, gt=0, le=366 * 24 * 3600)
    revises: str | None = None


class AgentRequest(BaseModel):
    """Body of `POST /api/agent/tasks/{taskID}/requests`; also accepts the camel-case names of the LlamaIndex guide."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    workflow_name: Name | None = Field(default=None, validation_alias=AliasChoices("workflow_name", "workflowName"))
    task_label: str | None = Field(default=None, validation_alias=AliasChoices("task_label", "taskLabel"))
    tool_name: Name = Field(validation_alias=AliasChoices("tool_name", "toolName"))
    subject: str | None = None
    preview: str | None = None
    risk_level: Risk = Field(default=Risk.MEDIUM, validation_alias=AliasChoices("risk_level", "riskLevel"))
    summary: list[str] = Field(default_factory=list)
    payload: dict[str, Any] = Field(default_factory=dict)


class ConsumeRequest(BaseModel):
    """Body of `POST /v1/gate/decision/{decision_id}/consume`."""

    model_config = ConfigDict(extra="ignore")

    action_digest: str = Field(min_length=1)
    approval_token: str | None = Field(default=None, repr=False)


class Consumed(BaseModel):
    """Answer of `consume`: the permission is taken."""

    model_config = ConfigDict(extra="ignore")

    consumed_at: str
    audit_hash: str | None = None


class ValidateRequest(BaseModel):
    """Body of `POST /api/agent/approvals/validate`."""

    model_config = ConfigDict(extra="ignore")

    task_id: Name
    signature: str = Field(min_length=1, repr=False)
