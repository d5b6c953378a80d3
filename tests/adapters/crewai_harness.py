"""CrewAI for the adapter contract: a scripted model, the scenario's two tools, and every path that runs a tool."""
# ruff: noqa: D102, E402 - the methods are those of the base classes; the environment is set before CrewAI is imported

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

# Before the first import: nothing is sent anywhere, and no file of another version of CrewAI is read.
_STORAGE = tempfile.TemporaryDirectory(prefix="crewai-")
os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true", CREWAI_TESTING="true"
)
os.environ.setdefault("CREWAI_STORAGE_DIR", _STORAGE.name)

from crewai import Agent, Crew, Process, Task
from crewai.llms.base_llm import BaseLLM
from crewai.mcp import MCPServerStdio
from crewai.tools import BaseTool
from crewai.utilities.string_utils import sanitize_tool_name
from pydantic import BaseModel, Field

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.crewai import GatedCrew, PausedCrew
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.testing.harness import (
    GATED,
    GOODBYE,
    POLICY,
    UNGATED,
    Harness,
    Ledger,
    ProposedCall,
    Ran,
    Scenario,
)

DELEGATE = "delegate_work_to_coworker"
SERVER = Path(__file__).with_name("crewai_mcp_server.py")

Say = Callable[[list[dict[str, Any]]], Any]
"""What a model answers to its messages: a text, or native calls as (id, tool, arguments)."""


class ScriptedLLM(BaseLLM):
    """A model that says what a function of its messages says."""

    llm_type: str = "scripted"
    native: bool = True
    say: Any = None
    seen: list[Any] = Field(default_factory=list)

    def __init__(self, say: Say, *, native: bool = True) -> None:
        super().__init__(model="scripted", native=native, say=say)

    def copy(self, **_: Any) -> ScriptedLLM:  # type: ignore[override]
        return self

    def supports_function_calling(self) -> bool:
        return self.native

    def supports_stop_words(self) -> bool:
        return False

    def get_context_window_size(self) -> int:
        return 100_000

    def get_input_tokens_count(self, *_: Any, **__: Any) -> int:
        return 1

    def call(self, messages: Any, *_: Any, **__: Any) -> Any:
        plain = json.loads(json.dumps(messages, default=str))
        self.seen.append(plain)
        answer = self.say(plain)
        if isinstance(answer, list):
            return [
                {"id": call_id, "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
                for call_id, tool, arguments in answer
            ]
        return answer

    async def acall(self, messages: Any, *_: Any, **__: Any) -> Any:
        return self.call(messages)


def native(turns: list[list[tuple[str, str, dict[str, Any]]]], goodbye: str = GOODBYE) -> ScriptedLLM:
    """A model with native calls: the next turn is the one that its messages do not have yet."""

    def say(messages: list[dict[str, Any]]) -> Any:
        done = sum(1 for message in messages if message.get("tool_calls"))
        return turns[done] if done < len(turns) else goodbye

    return ScriptedLLM(say)


def observations(messages: list[dict[str, Any]]) -> list[str]:
    """The results of text-parsed calls that stand in a model's messages."""
    own = [str(message.get("content")) for message in messages if message["role"] == "assistant"]
    own = [content.partition("\nYou ONLY have access")[0] for content in own]  # CrewAI repeats the format now and then
    return [text for content in own for text in re.split(r"\nObservation:", content)[1:]]


def react(turns: list[tuple[str, dict[str, Any]]], goodbye: str = GOODBYE) -> ScriptedLLM:
    """A model without native calls: its calls are texts, one a turn."""

    def say(messages: list[dict[str, Any]]) -> str:
        done = len(observations(messages))
        if done < len(turns):
            tool, arguments = turns[done]
            return f"Thought: next\nAction: {tool}\nAction Input: {json.dumps(arguments)}"
        return f"Thought: I now know the final answer\nFinal Answer: {goodbye}"

    return ScriptedLLM(say, native=False)


class RefundArguments(BaseModel):
    order_id: str
    amount: float


class IssueRefund(BaseTool):
    """The gated tool of the scenario."""

    name: str = GATED
    description: str = "Pay a refund."
    args_schema: type[BaseModel] = RefundArguments
    ledger: Any = None

    def _run(self, order_id: str, amount: float) -> str:
        return str(self.ledger.issue_refund(order_id, amount))


class LookUp(BaseTool):
    """The other tool of the scenario."""

    name: str = UNGATED
    description: str = "Look an order up."
    ledger: Any = None

    def _run(self, order_id: str) -> str:
        return str(self.ledger.look_up(order_id))


def tools_of(ledger: Ledger) -> list[BaseTool]:
    """The scenario's tools."""
    return [IssueRefund(ledger=ledger), LookUp(ledger=ledger)]


def agent_of(llm: ScriptedLLM, tools: list[BaseTool] | None = None, role: str = "refund clerk", **fields: Any) -> Agent:
    """An agent of the scenario."""
    return Agent(role=role, goal="settle refunds", backstory="works at the till", llm=llm, tools=tools or [], **fields)


def task_of(agent: Agent | None, **fields: Any) -> Task:
    """A task of the scenario."""
    given: dict[str, Any] = {"description": "Settle the refund of A-1", "expected_output": "a receipt", **fields}
    return Task(agent=agent, **given)


def crew_of(*agents: Agent, tasks: list[Task] | None = None, **fields: Any) -> Crew:
    """A crew named billing."""
    return Crew(name="billing", agents=list(agents), tasks=tasks or [task_of(agents[0])], **fields)


def delegation(llm: ScriptedLLM, tools: list[BaseTool], **fields: Any) -> Crew:
    """A boss who delegates all the work to the clerk."""
    work = {"task": "Settle the refund", "context": "Order A-1", "coworker": "refund clerk"}
    boss = agent_of(native([[("delegate", DELEGATE, work)]]), role="boss", allow_delegation=True)
    return crew_of(boss, agent_of(llm, tools), tasks=[task_of(boss)], **fields)


def hierarchy(llm: ScriptedLLM, tools: list[BaseTool]) -> Crew:
    """A crew whose manager delegates."""
    work = {"task": "Settle the refund", "context": "Order A-1", "coworker": "refund clerk"}
    manager = native([[("delegate", DELEGATE, work)]])
    return crew_of(agent_of(llm, tools), tasks=[task_of(None)], process=Process.hierarchical, manager_llm=manager)


def parallel_tasks(llm: ScriptedLLM, tools: list[BaseTool]) -> Crew:
    """A task that runs beside another one."""
    clerk, archivist = agent_of(llm, tools), agent_of(native([], "filed"), role="archivist")
    beside = task_of(clerk, async_execution=True)
    return crew_of(clerk, archivist, tasks=[beside, task_of(archivist, description="File it", context=[beside])])


def mcp_tools(llm: ScriptedLLM, ledger: Ledger) -> Crew:
    """An agent whose tools are those of an MCP server, a process of its own."""
    environment = {**os.environ, "LEDGER": str(ledger._file), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    server = MCPServerStdio(command=sys.executable, args=[str(SERVER)], env=environment)
    return crew_of(agent_of(llm, mcps=[server]))


def name_of_mcp_tool(tool: str) -> str:
    """CrewAI's name for a tool of the scenario's MCP server."""
    return str(sanitize_tool_name(f"{sys.executable}_{SERVER}_{tool}"))


class CrewAIHarness(Harness):
    """The contract on CrewAI."""

    framework: ClassVar[FrameworkOrigin] = FrameworkOrigin.CREWAI
    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {
        "native": "sync",
        "akickoff": "async",
        "react": "sync",
        "delegated": "sync",
        "delegated_react": "sync",
        "hierarchical": "sync",
        "parallel_tasks": "sync",
        "mcp": "sync",
        "akickoff_react": "async",
        "akickoff_mcp": "async",
    }
    context: ClassVar[list[str]] = ["crew", "role", "task", "expected_output", "delegation_chain"]
    page: ClassVar[Path] = Path(__file__).parents[2] / "docs" / "crewai.md"

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        with scenario.gate() as gate:
            crew, llm = self._crew(scenario, gate)
            if paused is None:
                return self._ran(crew.kickoff(run_id=scenario.run_id), llm, scenario)
            return self._ran(crew.resume(PausedCrew.from_json(paused)), llm, scenario)

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        with scenario.gate() as gate:
            crew, llm = self._crew(scenario, gate)
            if paused is None:
                return self._ran(await crew.akickoff(run_id=scenario.run_id), llm, scenario)
            return self._ran(await crew.aresume(PausedCrew.from_json(paused)), llm, scenario)

    def forged(self, paused: str) -> str:
        """Every call approved, by the pause's own words."""
        content = json.loads(paused)
        for call in content["waiting"]:
            call["status"] = "approved"
        content["attempts"] = {call["decision_id"]: "approved" for call in content["waiting"]}
        return json.dumps(content)

    def _crew(self, scenario: Scenario, gate: Gate) -> tuple[GatedCrew, ScriptedLLM]:
        kind = scenario.path.removeprefix("akickoff_")
        llm = _model(scenario.turns, kind)
        tools = tools_of(scenario.ledger)
        if kind == "mcp":
            crew = mcp_tools(llm, scenario.ledger)
        elif kind.startswith("delegated"):
            crew = delegation(llm, tools)
        elif kind == "hierarchical":
            crew = hierarchy(llm, tools)
        elif kind == "parallel_tasks":
            crew = parallel_tasks(llm, tools)
        else:
            crew = crew_of(agent_of(llm, tools))
        return GatedCrew(crew, gate=gate, **POLICY), llm

    def _ran(self, result: Any, llm: ScriptedLLM, scenario: Scenario) -> Ran:
        if isinstance(result, PausedCrew):
            return Ran(paused=result.to_json())
        messages = llm.seen[-1] if llm.seen else []
        texts = [json.dumps(output.messages, default=str) for output in result.tasks_output]
        calls = [call for turn in scenario.turns for call in turn]
        return Ran(told=_told(messages, calls), finished=True, transcript="\n".join(texts))


def _model(turns: list[list[ProposedCall]], kind: str) -> ScriptedLLM:
    if kind in ("react", "delegated_react"):
        return react([(call.tool, call.arguments) for turn in turns for call in turn])
    name = name_of_mcp_tool if kind == "mcp" else str
    return native([[(call.call_id, name(call.tool), call.arguments) for call in turn] for turn in turns])


def _told(messages: list[dict[str, Any]], calls: list[ProposedCall]) -> dict[str, str]:
    told = {str(message["tool_call_id"]): str(message["content"]) for message in messages if message["role"] == "tool"}
    return told or {call.call_id: text for call, text in zip(calls, observations(messages), strict=False)}
