"""The hooks that the vendor's v1 guide shows: plain `requests.post` calls with a bearer key."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import requests

from tests.server.conftest import World


def post(world: World, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """A call as the guide's hooks make it."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    answer = requests.post(f"{world.url}{path}", json=body, headers=headers, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def test_tasks_and_events_by_requests(world: World) -> None:
    """Create a task, then log milestones of its life; each has its place in the audit chain."""
    key = world.service.add_agent("refund-bot").key
    origin = {"agent_id": "refund-bot", "framework_origin": "PydanticAI"}
    task = post(world, "/v1/tasks", key, {**origin, "task_name": "Refund order 8821", "metadata": {"order": "8821"}})
    hashes = []
    for kind in ("TASK_STARTED", "TOOL_REQUESTED", "TASK_COMPLETED"):
        event = {
            **origin,
            "task_id": task["task_id"],
            "event_type": kind,
            "event_payload": {"order": "8821"},
            "occurred_at": datetime.now(timezone.utc).isoformat(),
            "correlation_id": "run-1",
        }
        hashes.append(post(world, f"/v1/tasks/{task['task_id']}/events", key, event)["audit_hash"])

    assert len(set(hashes)) == 3
    assert world.service.verify_audit().ok
