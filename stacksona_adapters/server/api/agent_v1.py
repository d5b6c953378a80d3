"""Dialect `v1` (wire contract, section 2)."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from stacksona_adapters.protocol.answers import write_v1
from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.protocol.dialects import LONG_POLL_LIMIT
from stacksona_adapters.protocol.requests import Consumed, ConsumeRequest, GateRequest
from stacksona_adapters.protocol.tasks import EventAccepted, EventType, TaskCreate, TaskCreated, TaskEvent
from stacksona_adapters.server.api.changes import wait_for
from stacksona_adapters.server.api.http import (
    agent_of,
    agent_write,
    answer,
    attempt_of,
    bearer,
    body_of,
    served,
    text_of,
)
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.service import decisions, permissions, tasks
from stacksona_adapters.server.service.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row
    from starlette.requests import Request

    from stacksona_adapters.protocol.decisions import Decision
    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.keys import Agent


async def create_task(request: Request) -> Response:
    """Create a task."""
    body = await body_of(request)
    task = body.as_model(TaskCreate)
    return await agent_write(request, body, lambda write, agent: (201, tasks.create(write, agent.name, task)))


async def add_event(request: Request) -> Response:
    """Report a milestone of a task."""
    body = await body_of(request)
    event = body.as_model(TaskEvent)
    if event.task_id != request.path_params["task_id"]:
        raise invalid("/task_id", "is not the task of the address")

    def act(write: Write, agent: Agent) -> tuple[int, EventAccepted]:
        accepted = tasks.add_event(write, agent.name, event)
        if event.event_type is EventType.TOOL_EXECUTED:
            permissions.report(write, agent.name, event.event_payload)
        return 201, accepted

    return await agent_write(request, body, act)


async def ask(request: Request) -> Response:
    """Ask for a decision."""
    body = await body_of(request)
    asked = body.as_model(GateRequest)
    attempt = attempt_of(request)

    def act(write: Write, agent: Agent) -> tuple[int, dict[str, Any]]:
        decision = decisions.request(write, agent, asked, attempt=attempt, label=None)
        return code(decision), write_v1(decision)

    return await agent_write(request, body, act)


def code(decision: Decision) -> int:
    """200 for what is final, 202 for what waits for a person."""
    return 202 if decision.status is Status.PENDING_REVIEW else 200


def wait_of(request: Request) -> float:
    """How long the caller waits for a final decision, in seconds.

    Raises:
        Invalid: If it is no number, or negative.
    """
    text = request.query_params.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise invalid("query wait", "must be a number of seconds, at most 60")
    return min(seconds, LONG_POLL_LIMIT)


async def get_decision(request: Request) -> Response:
    """The decision now, or as soon as it is final."""
    decision_id = text_of(request.path_params["decision_id"], "decision_id")

    def find(read: Read, agent: Agent) -> Row[Any]:
        return decisions.get(read, decision_id, agent=agent.name)

    decision = await look(request, find)
    return answer(write_v1(decision), code(decision))


async def look(request: Request, find: Callable[[Read, Agent], Row[Any]]) -> Decision:
    """A decision, waited for as long as the caller asks (`wait`).

    Args:
        request: The request.
        find: Finds it among the agent's decisions.
    """
    gate, key, seconds = served(request), bearer(request), wait_of(request)

    def now(read: Read) -> tuple[Decision, bool]:
        row = find(read, agent_of(read, key))
        return decisions.answer(read, row, token=True), decisions.overdue(row, read.now)

    decision, late = await gate.read(now)
    end = asyncio.get_running_loop().time() + seconds
    while late or not decision.status.final:
        with gate.changes.waiting(str(decision.decision_id)) as changed:
            if late:
                await gate.write(partial(_settle, str(decision.decision_id)))
            decision, late = await gate.read(now)  # what changed before the event was there
            left = end - asyncio.get_running_loop().time()
            if decision.status.final or left <= 0 or gate.changes.closing:
                break
            await wait_for(changed, left)
            decision, late = await gate.read(now)
    return decision


def _settle(decision_id: str, write: Write) -> None:
    decisions.settle_time(write, decisions.get(write, decision_id))


async def consume(request: Request) -> Response:
    """Take the permission, once."""
    body = await body_of(request)
    asked = body.as_model(ConsumeRequest)
    decision_id = text_of(request.path_params["decision_id"], "decision_id")
    attempt = attempt_of(request)

    def act(write: Write, agent: Agent) -> tuple[int, dict[str, Any]]:
        return 200, permissions.consume(write, agent.name, decision_id, asked, attempt)

    return await agent_write(request, body, act)


async def cancel(request: Request) -> Response:
    """Withdraw a request."""
    body = await body_of(request, optional=True)
    decision_id = text_of(request.path_params["decision_id"], "decision_id")

    def act(write: Write, agent: Agent) -> tuple[int, dict[str, Any]]:
        return 200, write_v1(decisions.cancel(write, agent.name, decision_id))

    return await agent_write(request, body, act)


ENDPOINTS = [
    Endpoint("POST", "/v1/tasks", create_task, TaskCreate, {201: TaskCreated}),
    Endpoint("POST", "/v1/tasks/{task_id}/events", add_event, TaskEvent, {201: EventAccepted}),
    Endpoint("POST", "/v1/gate/decision", ask, GateRequest, {200: dict, 202: dict}),
    Endpoint("GET", "/v1/gate/decision/{decision_id}", get_decision, None, {200: dict, 202: dict}, ("wait",)),
    Endpoint("POST", "/v1/gate/decision/{decision_id}/consume", consume, ConsumeRequest, {200: Consumed}),
    Endpoint("POST", "/v1/gate/decision/{decision_id}/cancel", cancel, None, {200: dict}),
]
