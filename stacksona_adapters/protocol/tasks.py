"""Tasks and their events (wire contract, sections 2 and 3)."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class FrameworkOrigin(str, Enum):
    """Where an agent's request comes from; the contract's closed list."""

    LANGGRAPH = "LangGraph"
    CREWAI = "CrewAI"
    AUTOGEN = "AutoGen"
    LLAMAINDEX = "LlamaIndex"
    PYDANTICAI = "PydanticAI"
    CUSTOM_API = "CustomAPI"
    OTHER = "Other"

    def __str__(self) -> str:
        return self.value


class EventType(str, Enum):
    """The milestones of a task."""

    TASK_STARTED = "TASK_STARTED"
    TASK_UPDATED = "TASK_UPDATED"
    TOOL_REQUESTED = "TOOL_REQUESTED"
    TOOL_EXECUTED = "TOOL_EXECUTED"
    GUARDRAIL_TRIGGERED = "GUARDRAIL_TRIGGERED"
    REVIEW_REQUESTED = "REVIEW_REQUESTED"
    REVIEW_RESULT_RECEIVED = "REVIEW_RESULT_RECEIVED"
    TASK_COMPLETED = "TASK_COMPLETED"
    TASK_FAILED = "TASK_FAILED"
    TASK_REVISED = "TASK_REVISED"

    def __str__(self) -> str:
        return self.value


class TaskCreate(BaseModel):
    """Body of `POST /v1/tasks`."""

    model_config = ConfigDict(extra="ignore")

    agent_id: str = Field(min_length=1, max_length=200)
    framework_origin: FrameworkOrigin
    task_name: str = Field(min_length=1, max_length=500)
    task_description: str | None = None
    governance_context: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class TaskCreated(BaseModel):
    """Answer of `POST /v1/tasks`."""

    model_config = ConfigDict(extra="ignore")

    task_id: str = Field(min_length=1)
    replayed: bool = Field(default=False, exclude=True)


class TaskEvent(BaseModel):
    """Body of `POST /v1/tasks/{task_id}/events`."""

    model_config = ConfigDict(extra="ignore")

    task_id: str = Field(min_length=1)
    agent_id: str = Field(min_length=1, max_length=200)
    event_type: EventType
    event_payload: dict[str, Any]
    framework_origin: FrameworkOrigin
    occurred_at: AwareDatetime
    correlation_id: str = Field(min_length=1, max_length=200)
    metadata: dict[str, Any] = Field(default_factory=dict)


class EventAccepted(BaseModel):
    """Answer to an event."""

    model_config = ConfigDict(extra="ignore")

    event_id: str
    audit_hash: str | None = None


class AgentEvent(BaseModel):
    """Body of `POST /api/agent/tasks/{taskID}/events`. `revision` with a `thread_id` changes a pending request."""

    model_config = ConfigDict(extra="ignore")

    event_type: str = Field(min_length=1, max_length=100)
    event_summary: str | None = None
    payload: dict[str, Any] = Field(default_factory=dict)
    thread_id: str | None = None
    occurred_at: datetime | None = None


AGENT_EVENT_TYPES = {kind: kind.value.lower().replace("_", ".", 1) for kind in EventType}
"""`TASK_STARTED` is `task.started` in the agent dialect, and so on."""
