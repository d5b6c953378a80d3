"""Tasks and their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select

from stacksona_adapters.protocol.chain import GENESIS
from stacksona_adapters.protocol.tasks import AGENT_EVENT_TYPES, AgentEvent, EventAccepted, TaskCreate, TaskCreated
from stacksona_adapters.server.service import records
from stacksona_adapters.server.service.errors import invalid
from stacksona_adapters.server.service.tokens import new_id
from stacksona_adapters.server.store.tables import tasks

if TYPE_CHECKING:
    from stacksona_adapters.protocol.tasks import TaskEvent
    from stacksona_adapters.server.service.context import Write

_V1_KINDS = {name: kind.value for kind, name in AGENT_EVENT_TYPES.items()}
_FIND = select(tasks.c.task_id).where(tasks.c.agent == bindparam("agent"), tasks.c.task_id == bindparam("task_id"))
_ADD = insert(tasks)

MAX_TASK_ID = 200
"""The longest task id that an agent may choose."""


def create(write: Write, agent: str, task: TaskCreate) -> TaskCreated:
    """`POST /v1/tasks`."""
    task_id = new_id("task")
    _add(write, agent, task_id, task.model_dump(mode="json", exclude_none=True))
    return TaskCreated(task_id=task_id)


def ensure(write: Write, agent: str, task_id: str) -> None:
    """Make the task of a request of the agent dialect, where it is not there yet.

    Raises:
        Invalid: If the id is too long.
    """
    if not 0 < len(task_id) <= MAX_TASK_ID:
        raise invalid("/task_id", f"must have 1 to {MAX_TASK_ID} characters")
    if write.connection.execute(_FIND, {"agent": agent, "task_id": task_id}).one_or_none() is None:
        _add(write, agent, task_id, {"agent_id": agent, "framework_origin": "Other", "task_name": task_id})


def _add(write: Write, agent: str, task_id: str, about: dict[str, Any]) -> None:
    row = {"agent": agent, "task_id": task_id, "about": records.canonical(about), "created_at": write.now}
    write.connection.execute(_ADD, {**row, "head_seq": 0, "head_hash": GENESIS})
    records.append(write, agent, task_id, "task.created", {**about, "key_of": agent})


def add_event(write: Write, agent: str, event: TaskEvent) -> EventAccepted:
    """`POST /v1/tasks/{task_id}/events`.

    Raises:
        NotFound: If the agent has no such task.
    """
    said = event.model_dump(mode="json", exclude={"task_id", "event_type"})
    event_id = new_id("evt")
    made = records.append(write, agent, event.task_id, event.event_type.value, {"event_id": event_id, **said})
    return EventAccepted(event_id=event_id, audit_hash=made)


def add_agent_event(write: Write, agent: str, task_id: str, event: AgentEvent) -> EventAccepted:
    """`POST /api/agent/tasks/{taskID}/events`; makes the task where it is not there yet."""
    ensure(write, agent, task_id)
    said = event.model_dump(mode="json", exclude_none=True)
    event_id = new_id("evt")
    # A word of the agent's own never reads like one of the gate's kinds.
    kind = _V1_KINDS.get(event.event_type) or f"event:{event.event_type}"
    made = records.append(write, agent, task_id, kind, {**said, "event_id": event_id})
    return EventAccepted(event_id=event_id, audit_hash=made)
