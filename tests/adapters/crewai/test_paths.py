"""Every way to reach a gated tool asks first, with a hook of CrewAI or without one (traps T1-T5, T13, T15, T22)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crewai import Agent
from crewai.hooks import InterceptionPoint, get_hooks, register_hook, unregister_hook
from crewai.hooks.dispatch import scoped_hooks
from crewai.tools import BaseTool, tool

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.crewai import GatedCrew, GatedTool, PausedCrew
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.testing import Verdict
from stacksona_adapters.testing.harness import GATED, POLICY, Scenario
from stacksona_adapters.testing.stage import LARGE, MIDDLE, SMALL, Stage
from tests.adapters.crewai_harness import (
    DELEGATE,
    IssueRefund,
    agent_of,
    crew_of,
    delegation,
    native,
    react,
    task_of,
    tools_of,
)

ARGUMENTS = {"order_id": "A-1", "amount": LARGE}
WAYS: dict[str, Callable[[BaseTool], Any]] = {
    "run": lambda gated: gated.run(**ARGUMENTS),
    "_run": lambda gated: gated._run(**ARGUMENTS),
    "_run by position": lambda gated: gated._run("A-1", LARGE),
    "arun": lambda gated: asyncio.run(gated.arun(**ARGUMENTS)),
    "_arun": lambda gated: asyncio.run(gated._arun(**ARGUMENTS)),
    "invoke": lambda gated: gated.to_structured_tool().invoke(ARGUMENTS),
    "ainvoke": lambda gated: asyncio.run(gated.to_structured_tool().ainvoke(ARGUMENTS)),
    "func": lambda gated: gated.to_structured_tool().func(**ARGUMENTS),
    "Agent.kickoff": lambda gated: _agent(gated).kickoff("Settle it."),
}


def _agent(gated: BaseTool) -> Agent:
    return agent_of(native([[("c1", GATED, ARGUMENTS)]]), [gated])


def decorated(scenario: Scenario) -> BaseTool:
    """The refund as a function tool, whose `run` does not call `_run`."""

    @tool(GATED)
    def refund(order_id: str, amount: float) -> str:
        """Pay a refund."""
        return scenario.ledger.issue_refund(order_id, amount)

    return refund


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["class", "function"])
def test_gated_tool_asks_however_it_is_called(
    stage: Stage, scenario: Scenario, gate: Gate, way: str, kind: str
) -> None:
    """A wrapped tool does not run where the gate rejects, on paths that know no hook of CrewAI (T2)."""
    bare = IssueRefund(ledger=scenario.ledger) if kind == "class" else decorated(scenario)
    WAYS[way](GatedTool(bare, gate=gate, risk="high"))

    assert scenario.ledger.refunds == []
    assert [request.status for request in stage.requests] == ["reject"]


def test_gated_tool_gives_the_tools_own_result(scenario: Scenario, gate: Gate) -> None:
    """Called by hand, an allowed tool's result is that of the tool, sync and async."""
    gated = GatedTool(IssueRefund(ledger=scenario.ledger), gate=gate)

    assert gated.run(order_id="A-1", amount=SMALL) == "refunded 5.0 for A-1"
    assert asyncio.run(gated.arun(order_id="A-2", amount=SMALL)) == "refunded 5.0 for A-2"


def test_wait_never_blocks_an_event_loop(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """Called synchronously on the thread of a loop, a gated tool refuses instead of blocking it."""
    gated = GatedTool(IssueRefund(ledger=scenario.ledger), gate=gate)

    async def call() -> str:
        return str(gated.run(order_id="A-1", amount=SMALL))

    assert "thread of an event loop" in asyncio.run(call())
    assert (scenario.ledger.refunds, stage.requests) == ([], [])


def test_crew_kickoff_itself_asks(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """A gated crew's tools ask even where somebody runs the bare crew."""
    crew = crew_of(agent_of(native([[("c1", GATED, ARGUMENTS)]]), tools_of(scenario.ledger)))
    GatedCrew(crew, gate=gate, **POLICY)
    crew.kickoff()

    assert scenario.ledger.refunds == []
    assert len(stage.requests) == 1


@pytest.mark.parametrize("outcome", ["reject", "approve"])
def test_delegation_is_gated(stage: Stage, scenario: Scenario, gate: Gate, outcome: str) -> None:
    """Delegation, a tool that CrewAI makes while it runs, asks as well; the request says who delegates what."""
    clerk = native([[("c1", GATED, {"order_id": "A-1", "amount": SMALL})]])
    crew = GatedCrew(delegation(clerk, tools_of(scenario.ledger)), gate=gate, tools=[DELEGATE, GATED])
    with stage.reviewer.deciding(_only(DELEGATE, outcome)):
        crew.kickoff()
    asked = stage.requests[0]

    assert (asked.action, asked.context["role"], asked.arguments["coworker"]) == (DELEGATE, "boss", "refund clerk")
    assert len(scenario.ledger.refunds) == (outcome == "approve")


def _only(action: str, outcome: Any) -> Any:
    return lambda review: Verdict(outcome) if review.action == action else None


def test_delegation_goes_on_inside_after_a_pause(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """A coworker's call waits inside of an approved delegation: resumed, the delegation is not asked for again (T5)."""
    clerk = native([[("c1", GATED, {"order_id": "A-1", "amount": MIDDLE})]])
    crew = GatedCrew(delegation(clerk, tools_of(scenario.ledger)), gate=gate, tools=[DELEGATE, GATED], wait=0)
    before = crew.kickoff()
    stage.reviewer.approve()
    inside = crew.resume(_paused(before))
    assert [call.action for call in _paused(inside).waiting] == [GATED]
    stage.reviewer.approve()
    ended = crew.resume(PausedCrew.from_json(_paused(inside).to_json()))

    assert not isinstance(ended, PausedCrew)
    assert scenario.ledger.refunds == [{"order_id": "A-1", "amount": MIDDLE}]
    assert gate.flush(30)
    outcomes = [(request.action, request.outcome) for request in stage.requests]
    assert outcomes == [(DELEGATE, "succeeded"), (GATED, "succeeded")]


def _paused(result: Any) -> PausedCrew:
    assert isinstance(result, PausedCrew), result
    return result


def test_error_in_a_hook_lets_nothing_run(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """CrewAI runs the tool when a hook raises; ours refuses, whatever the user's own `risk=` raises (T1)."""
    clerk = native([[("c1", GATED, {"order_id": "A-1", "amount": SMALL})]])
    crew = delegation(clerk, tools_of(scenario.ledger))

    def broken(name: str, arguments: Any) -> str:
        raise ZeroDivisionError(name)

    GatedCrew(crew, gate=gate, tools=[DELEGATE], risk=broken).kickoff()

    told = str(crew.agents[0].llm.seen[-1])
    assert "ZeroDivisionError" in told
    assert "did not run" in told
    assert (scenario.ledger.effects, stage.requests) == ([], [])


def test_second_tool_of_the_same_name_is_gated(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """CrewAI shows a second tool of a name as `issue_refund_2`; the name that `tools=` says means both (T13)."""
    tools: list[BaseTool] = [IssueRefund(ledger=scenario.ledger), IssueRefund(ledger=scenario.ledger)]
    llm = native([[("c1", GATED, ARGUMENTS), ("c2", f"{GATED}_2", ARGUMENTS)]])
    GatedCrew(crew_of(agent_of(llm, tools)), gate=gate, **POLICY).kickoff()

    assert scenario.ledger.refunds == []
    assert [request.action for request in stage.requests] == [GATED, GATED]


def test_hooks_are_of_one_run_only(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """No hook stays behind, and other crews of the process are not gated (T15)."""
    gated = GatedCrew(crew_of(agent_of(native([]), tools_of(scenario.ledger))), gate=gate, **POLICY)
    gated.kickoff()
    assert [get_hooks(point) for point in InterceptionPoint] == [[] for _ in InterceptionPoint]

    crew_of(
        agent_of(native([[("c1", GATED, {"order_id": "A-1", "amount": 1.0})]]), tools_of(scenario.ledger))
    ).kickoff()
    assert len(scenario.ledger.refunds) == 1
    assert stage.requests == []


def test_hooks_of_the_user_still_hold(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """Hooks around ours run, and what they redact of a result is redacted where ours ran the tool (T22)."""
    asked: list[str] = []
    crew = delegation(native([], goodbye="the code is SECRET"), tools_of(scenario.ledger))
    gated = GatedCrew(crew, gate=gate, tools=[DELEGATE])

    def redact(context: Any) -> str | None:
        return context.tool_result.replace("SECRET", "***") if "SECRET" in context.tool_result else None

    register_hook(InterceptionPoint.POST_TOOL_CALL, redact)
    try:
        with scoped_hooks({InterceptionPoint.PRE_TOOL_CALL: [lambda context: asked.append(context.tool_name)]}):
            with stage.reviewer.deciding(Verdict("approve")):
                gated.kickoff()
    finally:
        unregister_hook(InterceptionPoint.POST_TOOL_CALL, redact)

    told = str(crew.agents[0].llm.seen[-1])
    assert asked == [DELEGATE]
    assert "the code is ***" in told
    assert "SECRET" not in told


def test_refused_where_it_cannot_be_gated(scenario: Scenario, gate: Gate) -> None:
    """A streaming crew, a running loop, another crew's pause, no pause at all and no tool are errors that say so."""
    crew = crew_of(agent_of(native([]), tools_of(scenario.ledger)))
    gated = GatedCrew(crew, gate=gate)

    async def on_a_loop() -> None:
        gated.kickoff()

    with pytest.raises(ConfigurationError, match="await akickoff"):
        asyncio.run(on_a_loop())
    other = PausedCrew(run_id="r", crew="another", waiting=[])
    with pytest.raises(ConfigurationError, match="another crew"):
        gated.resume(other)
    with pytest.raises(ConfigurationError, match="no paused crew"):
        PausedCrew.from_json('{"waiting": 1}')
    with pytest.raises(ConfigurationError, match="cannot be gated"):
        GatedTool(crew.agents[0].tools[0], gate=gate)
    with pytest.raises(ConfigurationError, match="checkpoint"):
        GatedTool.model_validate(crew.agents[0].tools[0].model_dump(mode="json"))
    crew.stream = True
    with pytest.raises(ConfigurationError, match="stream=False"):
        gated.kickoff()


@pytest.mark.parametrize("version", ["1.9.0", "1.15.2"])
def test_versions_whose_hooks_fail_open_are_refused(tmp_path: Path, version: str) -> None:
    """An older CrewAI (1.9.0 runs tools that a hook forbids) is refused by name before it is imported (T3)."""
    found = tmp_path / f"crewai-{version}.dist-info"
    found.mkdir()
    (found / "METADATA").write_text(f"Metadata-Version: 2.1\nName: crewai\nVersion: {version}\n", encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", "import stacksona_adapters.crewai"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert f"UnsupportedVersion: crewai {version} is installed" in done.stderr
    assert "crewai>=1.15.3" in done.stderr


def test_text_parsed_call_of_a_raising_tool_runs_once(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """CrewAI calls a raising tool of the text path six times; a gated one asks once, runs once and says why (T4)."""

    class Failing(IssueRefund):
        def _run(self, order_id: str, amount: float) -> str:
            super()._run(order_id, amount)
            raise OSError("the till is jammed")

    llm = react([(GATED, {"order_id": "A-1", "amount": SMALL})])
    GatedCrew(crew_of(agent_of(llm, [Failing(ledger=scenario.ledger)])), gate=gate, **POLICY).kickoff()
    assert gate.flush(30)

    assert len(scenario.ledger.refunds) == 1
    assert [(request.status, request.outcome) for request in stage.requests] == [("allow", "failed")]
    assert "the till is jammed" in str(llm.seen[-1])


def test_task_of_a_crew_needs_no_agent_tools(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """Tools that stand at the task, not at its agent, are gated."""
    clerk = agent_of(native([[("c1", GATED, ARGUMENTS)]]))
    crew = crew_of(clerk, tasks=[task_of(clerk, tools=tools_of(scenario.ledger))])
    GatedCrew(crew, gate=gate, **POLICY).kickoff()

    assert scenario.ledger.refunds == []
    assert len(stage.requests) == 1
