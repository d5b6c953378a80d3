"""Plays scenarios in AutoGen: teams, lone agents, workbenches, MCP, nested agents, and the core's ToolAgent."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from autogen_agentchat.agents import AssistantAgent, SocietyOfMindAgent
from autogen_agentchat.base import TaskResult, Team
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.messages import ToolCallExecutionEvent, ToolCallSummaryMessage
from autogen_agentchat.teams import RoundRobinGroupChat, SelectorGroupChat, Swarm
from autogen_agentchat.tools import AgentTool
from autogen_core import AgentId, SingleThreadedAgentRuntime
from autogen_core.tool_agent import ToolAgent, ToolException
from autogen_core.tools import FunctionTool, StaticStreamWorkbench
from autogen_ext.tools.mcp import McpWorkbench, StdioServerParams

from stacksona_adapters.autogen import PausedTeam, TeamGate
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.testing.harness import GATED, GOODBYE, POLICY, UNGATED, Harness, Ran, Scenario
from tests.adapters.autogen_models import ScriptedModel, Turn, call

SERVER = Path(__file__).with_name("autogen_mcp_server.py")


def turns_of(scenario: Scenario) -> list[Turn]:
    """The scenario's turns as a model says them."""
    turns: list[Turn] = [[call(c.call_id, c.tool, **c.arguments) for c in turn] for turn in scenario.turns]
    return [*turns, GOODBYE]


def told_by(messages: Any) -> dict[str, str]:
    """What the messages of a run told the model, by call."""
    told = {}
    for message in messages:
        if isinstance(message, ToolCallExecutionEvent):
            told.update({result.call_id: result.content for result in message.content})
        elif isinstance(message, ToolCallSummaryMessage):
            told.update({result.call_id: result.content for result in message.results})
    return told


TEAM_IN_TEAM: Mapping[str, Literal["async"]] = {"team_in_team": "async"} if hasattr(Team, "name") else {}
"""Teams as members of a team came with autogen-agentchat 0.7.0."""


class AutoGenHarness(Harness):
    """The first path goes through all cases."""

    framework = FrameworkOrigin.AUTOGEN
    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {
        "team": "async",
        "stream": "async",
        "team_run": "async",
        "selector": "async",
        "swarm": "async",
        "society": "async",
        **TEAM_IN_TEAM,
        "agent": "async",
        "agent_tool": "async",
        "workbench": "async",
        "mcp": "async",
        "tool_agent": "async",
        "own_executor": "async",
    }
    context = ("team", "agent", "participants", "transcript_summary")
    page = Path(__file__).parents[2] / "docs" / "autogen.md"

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario."""
        with scenario.gate() as gate:
            approvals = TeamGate(gate, team_id="refunds", run_id=scenario.run_id, **POLICY)
            if scenario.path in {"tool_agent", "own_executor"}:
                return await getattr(self, f"_{scenario.path}")(scenario, approvals)
            async with self._team(scenario, approvals) as team:
                if paused is not None:
                    ended = await approvals.resume(team, PausedTeam.from_json(paused))
                elif scenario.path == "stream":
                    ended = [item async for item in approvals.run_stream(team, "Refund A-1", run_id=scenario.run_id)][
                        -1
                    ]
                elif scenario.path == "team_run":
                    result = await team.run(task="Refund A-1")
                    ended = await approvals.pause(team) or result
                else:
                    ended = await approvals.run(team, "Refund A-1", run_id=scenario.run_id)
                state = json.dumps(await team.save_state(), default=str)
        return self._ran(ended, state)

    def _ran(self, ended: Any, state: str) -> Ran:
        if isinstance(ended, PausedTeam):
            return Ran(paused=ended.to_json(), transcript=state)
        assert isinstance(ended, TaskResult)
        return Ran(
            told=told_by(ended.messages),
            finished=ended.messages[-1].to_text().endswith(GOODBYE),
            transcript=state,
        )

    @asynccontextmanager
    async def _team(self, scenario: Scenario, approvals: TeamGate) -> AsyncIterator[Any]:
        ledger, model = scenario.ledger, ScriptedModel(*turns_of(scenario))
        done = TextMentionTermination(GOODBYE) | approvals.termination(handoffs=True)
        plain = [FunctionTool(ledger.issue_refund, "Pays."), FunctionTool(ledger.look_up, "Looks up.")]
        if scenario.path == "mcp":
            server = StdioServerParams(
                command=sys.executable, args=[str(SERVER), str(scenario.directory / "ledger.jsonl")]
            )
            async with McpWorkbench(server) as inner:
                yield self._round(approvals, done, AssistantAgent("clerk", model, workbench=approvals.workbench(inner)))
        elif scenario.path == "workbench":
            workbench = approvals.workbench(StaticStreamWorkbench(plain))
            yield self._round(approvals, done, AssistantAgent("clerk", model, workbench=workbench))
        elif scenario.path == "agent_tool":
            inside = AgentTool(AssistantAgent("inside", model, tools=approvals.tools(*plain), max_tool_iterations=5))
            asks = ScriptedModel([call("outer", "inside", task="Refund A-1")], GOODBYE)
            yield self._round(approvals, done, AssistantAgent("clerk", asks, tools=approvals.tools(inside)))
        elif scenario.path == "agent":
            clerk = AssistantAgent("clerk", model, tools=approvals.tools(*plain), max_tool_iterations=10)
            yield approvals.watch(clerk)[0]
        else:
            yield self._around(scenario, approvals, done, AssistantAgent("clerk", model, tools=approvals.tools(*plain)))

    def _around(self, scenario: Scenario, approvals: TeamGate, done: Any, clerk: AssistantAgent) -> Any:
        if scenario.path == "swarm":
            return Swarm(approvals.watch(clerk), termination_condition=done)
        if scenario.path == "selector":
            other = AssistantAgent("other", ScriptedModel("Nothing to say."))
            chosen = ScriptedModel(lambda _: "clerk")
            return SelectorGroupChat(
                approvals.watch(clerk, other), chosen, termination_condition=done, allow_repeated_speaker=True
            )
        if scenario.path in {"team_in_team", "society"}:
            inner: Any = RoundRobinGroupChat(approvals.watch(clerk), termination_condition=done)
            if scenario.path == "society":
                inner = SocietyOfMindAgent("inner", inner, ScriptedModel(lambda _: GOODBYE))
            outer_done = TextMentionTermination(GOODBYE) | approvals.termination()
            return RoundRobinGroupChat([inner], termination_condition=outer_done)
        return self._round(approvals, done, clerk)

    def _round(self, approvals: TeamGate, done: Any, clerk: AssistantAgent) -> RoundRobinGroupChat:
        return RoundRobinGroupChat(approvals.watch(clerk), termination_condition=done)

    async def _tool_agent(self, scenario: Scenario, approvals: TeamGate) -> Ran:
        """The core's way: a message with a call to an agent that has the tools."""
        tools = approvals.tools(scenario.ledger.issue_refund, scenario.ledger.look_up)
        runtime = SingleThreadedAgentRuntime()
        await ToolAgent.register(runtime, "tools", lambda: ToolAgent("tools", tools))
        runtime.start()
        told = {}
        for proposed in (each for turn in scenario.turns for each in turn):
            wanted = call(proposed.call_id, proposed.tool, **proposed.arguments)
            try:
                result = await runtime.send_message(wanted, AgentId("tools", "default"))
                told[proposed.call_id] = result.content
            except ToolException as error:
                told[proposed.call_id] = error.content
        await runtime.stop_when_idle()
        return Ran(told=told, finished=True, transcript=json.dumps(told))

    async def _own_executor(self, scenario: Scenario, approvals: TeamGate) -> Ran:
        """An executor of the user's own."""
        tools = {GATED: scenario.ledger.issue_refund, UNGATED: scenario.ledger.look_up}
        told = {}
        for proposed in (each for turn in scenario.turns for each in turn):
            told[proposed.call_id] = str(
                await approvals.before_executor_run(
                    "refunds",
                    proposed.tool,
                    proposed.arguments,
                    "The customer wants the money back.",
                    execute=lambda tool, arguments: tools[tool](**arguments),
                )
            )
        return Ran(told=told, finished=True, transcript=json.dumps(told))
