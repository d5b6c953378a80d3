"""Plays scenarios in ag2 1.x: agents, runs that stream, replies, subtasks, agents as tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ag2 import Agent, Context
from ag2.agent import AgentReply
from ag2.config import LLMClient, ModelConfig
from ag2.events import (
    BaseEvent,
    ModelMessage,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResultEvent,
    ToolResultsEvent,
)
from ag2.tools import Toolkit, tool

from stacksona_adapters.ag2 import AgentGate, PausedAgent
from stacksona_adapters.ag2._paused import dumped
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.testing.harness import GOODBYE, POLICY, Harness, Ran, Scenario

Turn = str | list[ToolCallEvent]


def call(call_id: str, name: str, **arguments: Any) -> ToolCallEvent:
    """A call that a model makes."""
    return ToolCallEvent(name, id=call_id, arguments=json.dumps(arguments))


class ScriptedClient(LLMClient):
    """Says what the script says; the turn is counted in the messages that it is shown."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns

    async def __call__(self, messages: Sequence[BaseEvent], context: Context, **_: Any) -> ModelResponse:
        """The next turn."""
        said = self._turns[sum(isinstance(message, ToolCallsEvent) for message in messages)]
        if isinstance(said, str):
            message = ModelMessage(said)
            await context.send(message)
            return ModelResponse(message)
        return ModelResponse(tool_calls=ToolCallsEvent(list(said)))


class Script(ModelConfig):
    """A model with a script."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = turns

    @property
    def provider(self) -> Any:
        """None."""
        raise NotImplementedError

    @property
    def model(self) -> str:
        """None."""
        raise NotImplementedError

    def copy(self, **_: Any) -> Script:
        """The same script."""
        return self

    def create(self) -> LLMClient:
        """A client."""
        return ScriptedClient(self.turns)


def turns_of(scenario: Scenario) -> list[Turn]:
    """The scenario's turns as a model says them."""
    turns: list[Turn] = [[call(c.call_id, c.tool, **c.arguments) for c in turn] for turn in scenario.turns]
    return [*turns, GOODBYE]


def told_by(events: Sequence[BaseEvent]) -> dict[str, str]:
    """What the model was told, by call."""
    results = [result for event in events if isinstance(event, ToolResultsEvent) for result in event.results]
    return {each.parent_id: text_of(each) for each in results}


def text_of(result: ToolResultEvent) -> str:
    """A result as text."""
    return " ".join(part.content for part in result.result.parts if isinstance(part, TextInput))


def tools_of(scenario: Scenario) -> list[Any]:
    """The scenario's tools as functions."""

    def issue_refund(order_id: str, amount: float) -> str:
        """Pay a refund."""
        return scenario.ledger.issue_refund(order_id, amount)

    async def look_up(order_id: str) -> str:
        """Look an order up."""
        return scenario.ledger.look_up(order_id)

    return [issue_refund, look_up]


class Ag2Harness(Harness):
    """The first path goes through all cases."""

    framework = FrameworkOrigin.AUTOGEN
    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {
        "ask": "async",
        "plain_ask": "async",
        "run": "async",
        "decorated": "async",
        "toolkit": "async",
        "toolkit_hook": "async",
        "agent_as_tool": "async",
        "subtask": "async",
    }
    context = ("agent", "task", "transcript_summary")
    page = Path(__file__).parents[2] / "docs" / "ag2.md"

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario."""
        with scenario.gate() as gate:
            approvals = AgentGate(gate, **POLICY)
            agent = self._agent(scenario, approvals)
            if paused is not None:
                ended = await approvals.resume(agent, PausedAgent.from_json(paused))
            elif scenario.path == "plain_ask":
                ended = await agent.ask("Refund A-1")
            elif scenario.path == "run":
                async with agent.run("Refund A-1") as run:
                    ended = await run.result()
            else:
                ended = await approvals.ask(agent, "Refund A-1", run_id=scenario.run_id)
        if isinstance(ended, PausedAgent):
            return Ran(paused=ended.to_json(), transcript=json.dumps(ended.events))
        assert isinstance(ended, AgentReply)
        events = list(await ended.history.get_events())
        return Ran(told=told_by(events), finished=ended.body == GOODBYE, transcript=json.dumps(dumped(events)))

    def _agent(self, scenario: Scenario, approvals: AgentGate) -> Agent[Any]:
        script, functions = Script(*turns_of(scenario)), tools_of(scenario)
        if scenario.path == "decorated":
            functions = [tool(each) for each in functions]
        if scenario.path == "toolkit":
            return Agent("clerk", config=script, tools=approvals.tools(Toolkit(*functions)))
        if scenario.path == "toolkit_hook":
            return Agent("clerk", config=script, tools=[Toolkit(*functions, middleware=[approvals.hook])])
        clerk: Agent[Any] = Agent("clerk", config=script, tools=approvals.tools(*functions))
        if scenario.path == "agent_as_tool":
            delegate = clerk.as_tool(description="Asks the clerk.", name="ask_clerk")
            asks = Script([call("outer", "ask_clerk", objective="Refund A-1")], GOODBYE)
            return Agent("boss", config=asks, tools=[delegate])
        if scenario.path == "subtask":
            asks = Script([call("outer", "run_subtask", task="Refund A-1")], GOODBYE)
            return _with_subtasks(asks, script, approvals.tools(*functions))
        return clerk


def _with_subtasks(asks: Script, script: Script, tools: Any) -> Agent[Any]:
    from ag2.agent import TaskConfig

    return Agent("boss", config=asks, tools=tools, tasks=TaskConfig(config=script))
