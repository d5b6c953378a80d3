"""Plays the contract's scenarios in PydanticAI: a function model, and every way in which it runs a tool."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.tools import DeferredToolRequests, RunContext
from pydantic_ai.toolsets import FunctionToolset

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import ReviewPending
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.pydantic_ai import GatedTools, PausedRun, resume
from stacksona_adapters.testing.harness import AGENT, GOODBYE, POLICY, Harness, ProposedCall, Ran, Scenario

PAGE = Path(__file__).parents[2] / "docs" / "pydantic_ai.md"
PROMPT = "Refund order A-1."
OUTPUT = [str, DeferredToolRequests]
VERSION = tuple(int(part) for part in metadata.version("pydantic-ai-slim").split(".")[:2])
ABANDONED = {
    "cancel_withdraws[run_sync]": "`run_sync` before pydantic-ai 2.22 abandons a run that Ctrl-C interrupts, "
    "so that its request stays open until it expires."
}
"""From 2.22 on `run_sync` cancels the run."""


def scripted(turns: Sequence[Sequence[ProposedCall]]) -> FunctionModel:
    """A model that proposes the calls of the turn that the history says, and says goodbye after the last."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn >= len(turns):
            return ModelResponse(parts=[TextPart(GOODBYE)])
        return ModelResponse(parts=[ToolCallPart(c.tool, c.arguments, tool_call_id=c.call_id) for c in turns[turn]])

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        for number, part in enumerate(answer(messages, info).parts):
            if isinstance(part, TextPart):
                yield part.content
            elif isinstance(part, ToolCallPart):
                arguments = part.args_as_json_str()
                yield {number: DeltaToolCall(part.tool_name, arguments, tool_call_id=part.tool_call_id)}

    return FunctionModel(answer, stream_function=stream)


class PydanticAIHarness(Harness):
    """The harness of `stacksona_adapters.pydantic_ai`."""

    framework = FrameworkOrigin.PYDANTICAI
    paths: ClassVar = {
        "run": "async",
        "run_sync": "sync",
        "run_stream": "async",
        "run_stream_events": "async",
        "iter": "async",
        "toolset given to the run": "async",
        "agent inside of a tool": "async",
        "code that calls tools": "async",
        "history with an open call": "async",
    }
    context: ClassVar = ["run_id", "conversation_id", "output_type", "step", "prompt"]
    page = PAGE
    limits: ClassVar = ABANDONED if VERSION < (2, 22) else {}

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """See `Harness.run`."""
        with scenario.gate() as gate:
            agent = gated_agent(scenario, gate)
            if paused is not None:
                return asyncio.run(_resumed(agent, gate, paused))
            return _ran(agent.run_sync(PROMPT, conversation_id=scenario.run_id))

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """See `Harness.arun`."""
        with scenario.gate() as gate:
            if paused is not None:
                return await _resumed(gated_agent(scenario, gate), gate, paused)
            return await PATHS[scenario.path](scenario, gate)

    def forged(self, paused: str) -> str:
        """Whoever can write the pause can also write that all is approved."""
        return paused.replace('"pending_review"', '"approved"').replace('"tool_call_approved": false', '"x": 1')


def gated_agent(scenario: Scenario, gate: Gate, **more: Any) -> Agent[None, Any]:
    """The scenario's agent."""
    ledger = scenario.ledger

    def issue_refund(order_id: str, amount: float) -> str:
        """Pay a refund."""
        return ledger.issue_refund(order_id, amount)

    def look_up(order_id: str) -> str:
        """Look an order up."""
        return ledger.look_up(order_id)

    given: dict[str, Any] = {"tools": [issue_refund, look_up], "capabilities": [GatedTools(gate, **POLICY)], **more}
    return Agent(scripted(scenario.turns), name=AGENT, output_type=OUTPUT, **given)


async def _resumed(agent: Agent[None, Any], gate: Gate, paused: str) -> Ran:
    try:
        return _ran(await resume(agent, PausedRun.from_json(paused), gate))
    except ReviewPending:
        return Ran(paused=paused)


def _ran(result: Any, output: Any = None) -> Ran:
    messages: list[ModelMessage] = result.all_messages()
    answers = [
        part for message in messages for part in message.parts if part.part_kind in ("tool-return", "retry-prompt")
    ]
    paused = PausedRun.of(result) if output is None else None
    return Ran(
        told={part.tool_call_id: str(part.content) for part in answers},
        finished=(result.output if output is None else output) == GOODBYE,
        paused=paused.to_json() if paused is not None else None,
        transcript=ModelMessagesTypeAdapter.dump_json(messages).decode(),
    )


async def _run(scenario: Scenario, gate: Gate) -> Ran:
    return _ran(await gated_agent(scenario, gate).run(PROMPT, conversation_id=scenario.run_id))


async def _run_stream(scenario: Scenario, gate: Gate) -> Ran:
    async with gated_agent(scenario, gate).run_stream(PROMPT) as stream:
        return _ran(stream, await stream.get_output())


async def _run_stream_events(scenario: Scenario, gate: Gate) -> Ran:
    stream = gated_agent(scenario, gate).run_stream_events(PROMPT)
    if hasattr(stream, "__aenter__"):  # from pydantic-ai 2.0 on
        async with stream as events:
            return _ran([event async for event in events][-1].result)
    return _ran([event async for event in stream][-1].result)


async def _iter(scenario: Scenario, gate: Gate) -> Ran:
    async with gated_agent(scenario, gate).iter(PROMPT) as run:
        async for _ in run:
            pass
    return _ran(run.result)


async def _toolset(scenario: Scenario, gate: Gate) -> Ran:
    toolset: FunctionToolset[None] = FunctionToolset([scenario.ledger.issue_refund])
    return _ran(await gated_agent(scenario, gate, tools=[]).run(PROMPT, toolsets=[toolset]))


async def _inside_of_a_tool(scenario: Scenario, gate: Gate) -> Ran:
    inner = gated_agent(scenario, gate)

    async def delegate(ctx: RunContext[None]) -> str:
        return str((await inner.run(PROMPT, usage=ctx.usage)).output)

    calls = [[ProposedCall(call_id="d1", tool="delegate")]]
    outer = Agent(scripted(calls), name="boss", tools=[delegate], capabilities=[GatedTools(gate, **POLICY)])
    return _ran(await outer.run(PROMPT))


async def _code(scenario: Scenario, gate: Gate) -> Ran:
    async def code(ctx: RunContext[None]) -> str:
        assert ctx.tool_manager is not None
        results = []
        for call in scenario.turns[0]:
            part = ToolCallPart(call.tool, call.arguments, tool_call_id=uuid.uuid4().hex)
            results.append(str(await ctx.tool_manager.handle_call(part)))
        return "\n".join(results)

    outer = scenario.model_copy(update={"turns": [[ProposedCall(call_id="o1", tool="code")]]})
    return _ran(await gated_agent(outer, gate, tools=[code, scenario.ledger.issue_refund]).run(PROMPT))


async def _open_call(scenario: Scenario, gate: Gate) -> Ran:
    calls = [ToolCallPart(call.tool, call.arguments, tool_call_id=call.call_id) for call in scenario.turns[0]]
    history = [ModelRequest(parts=[UserPromptPart(PROMPT)]), ModelResponse(parts=calls)]
    return _ran(await gated_agent(scenario, gate).run(message_history=history))


PATHS: dict[str, Callable[[Scenario, Gate], Awaitable[Ran]]] = {
    "run": _run,
    "run_stream": _run_stream,
    "run_stream_events": _run_stream_events,
    "iter": _iter,
    "toolset given to the run": _toolset,
    "agent inside of a tool": _inside_of_a_tool,
    "code that calls tools": _code,
    "history with an open call": _open_call,
}
