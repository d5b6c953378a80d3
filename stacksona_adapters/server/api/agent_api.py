"""Dialect `agent` (wire contract, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from stacksona_adapters.protocol.answers import write_agent
from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.requests import AgentRequest, GateRequest, ValidateRequest
from stacksona_adapters.protocol.tasks import AGENT_EVENT_TYPES, AgentEvent, EventAccepted, EventType
from stacksona_adapters.server.api.agent_v1 import look
from stacksona_adapters.server.api.http import agent_write, answer, attempt_of, body_of, text_of
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.service import decisions, permissions, revisions, tasks
from stacksona_adapters.server.service.errors import NotFound, invalid

if TYPE_CHECKING:
    from sqlalchemy import Row
    from starlette.requests import Request

    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.keys import Agent

_EXECUTED = AGENT_EVENT_TYPES[EventType.TOOL_EXECUTED]


async def add_event(request: Request) -> Response:
    """Report an event, or revise a pending thread (`event_type` `revision`)."""
    body = await body_of(request)
    event = body.as_model(AgentEvent)
    task_id = text_of(request.path_params["task_id"], "task_id")

    def act(write: Write, agent: Agent) -> tuple[int, EventAccepted]:
        if event.event_type == revisions.REVISION:
            revisions.revise(write, agent, task_id, event)
        accepted = tasks.add_agent_event(write, agent.name, task_id, event)
        if event.event_type == _EXECUTED:
            permissions.report(write, agent.name, {"thread_id": event.thread_id, **event.payload})
        return 201, accepted

    return await agent_write(request, body, act)


async def ask(request: Request) -> Response:
    """Ask for a decision."""
    body = await body_of(request)
    asked = body.as_model(AgentRequest)
    task_id = text_of(request.path_params["task_id"], "task_id")
    attempt = attempt_of(request)

    def act(write: Write, agent: Agent) -> tuple[int, dict[str, Any]]:
        tasks.ensure(write, agent.name, task_id)
        wanted = _as_v1(agent.name, task_id, asked)
        decision = decisions.request(write, agent, wanted, attempt=attempt, label=asked.task_label)
        return 200, write_agent(decision)

    return await agent_write(request, body, act)


def _as_v1(agent: str, task_id: str, asked: AgentRequest) -> GateRequest:
    return GateRequest(
        task_id=task_id,
        agent_id=agent,
        agent=asked.workflow_name,
        action=asked.tool_name,
        risk=asked.risk_level,
        subject=asked.subject,
        context={"task_label": asked.task_label} if asked.task_label else {},
        arguments=asked.payload,
        summary=asked.summary,
        preview=asked.preview,
    )


async def get_decision(request: Request) -> Response:
    """The decision of a thread, or the newest one of a task."""
    named = [name for name in ("thread_id", "task_id") if request.query_params.get(name)]
    if len(named) != 1:
        raise invalid("query", "needs one of thread_id and task_id")
    value = text_of(request.query_params[named[0]], f"query {named[0]}")

    def find(read: Read, agent: Agent) -> Row[Any]:
        if named[0] == "task_id":
            return decisions.newest(read, agent.name, value)
        if not value.startswith("THR-"):
            raise NotFound(f"There is no thread {value!r:.120}.")
        return decisions.get(read, value, agent=agent.name)

    return answer(write_agent(await look(request, find)))


async def validate(request: Request) -> Response:
    """Take a permission by its approval token, once."""
    body = await body_of(request)
    asked = body.as_model(ValidateRequest)
    attempt = attempt_of(request)

    def act(write: Write, agent: Agent) -> tuple[int, dict[str, Any]]:
        return 200, permissions.validate(write, agent.name, asked, attempt)

    return await agent_write(request, body, act)


ENDPOINTS = [
    Endpoint("POST", "/api/agent/tasks/{task_id}/events", add_event, AgentEvent, {201: EventAccepted}),
    Endpoint("POST", "/api/agent/tasks/{task_id}/requests", ask, AgentRequest, {200: Decision}),
    Endpoint("GET", "/api/agent/decisions", get_decision, None, {200: Decision}, ("thread_id", "task_id", "wait")),
    Endpoint("POST", "/api/agent/approvals/validate", validate, ValidateRequest, {200: dict}),
]
