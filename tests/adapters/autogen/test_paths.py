"""Handoffs, code and MCP tools of AutoGen, each refused, edited, paused and resumed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.messages import HandoffMessage
from autogen_agentchat.teams import RoundRobinGroupChat, Swarm
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeExecutor, CodeResult
from autogen_ext.tools.code_execution import PythonCodeExecutionTool
from autogen_ext.tools.mcp import McpWorkbench, StdioServerParams

from stacksona_adapters.autogen import PausedTeam, TeamGate
from stacksona_adapters.testing import Reviewer, RunningGate, Verdict
from stacksona_adapters.testing.harness import GATED, Ledger
from tests.adapters.autogen_harness import SERVER
from tests.adapters.autogen_models import ScriptedModel, call
from tests.adapters.autogen_teams import END, bounded, ends, reviewed, team_of, texts

# CodeExecutorAgent warns from 0.7.2 on where it has no `approval_func`; the gate is in its executor.
pytestmark = pytest.mark.filterwarnings("ignore:No approval function set:UserWarning")

APPROVE, REJECT = Verdict("approve"), Verdict("reject", "Not our customer.")


def swarm(approvals: TeamGate) -> Swarm:
    """Triage hands off to billing; sales may be asked too."""
    triage = AssistantAgent(
        "triage", ScriptedModel([call("h1", "transfer_to_billing")], f"I keep it. {END}"), handoffs=["billing", "sales"]
    )
    billing = AssistantAgent("billing", ScriptedModel(f"Billing here. {END}"))
    sales = AssistantAgent("sales", ScriptedModel(f"Sales here. {END}"))
    done = TextMentionTermination(END) | approvals.termination(handoffs=["billing"])
    return Swarm(approvals.watch(triage, billing, sales), termination_condition=done)


@pytest.mark.parametrize(
    ("verdict", "last"),
    [
        (APPROVE, "billing"),
        (REJECT, "triage"),
        (Verdict("approve", arguments={"target": "sales", "message": "Ask sales."}), "sales"),
    ],
    ids=["approved", "rejected", "edited"],
)
@pytest.mark.parametrize("wait", [None, 0], ids=["waits", "pauses"])
def test_handoff(
    stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, verdict: Verdict, last: str, wait: float | None
) -> None:
    """A handoff goes where the reviewer lets it go, or back to who wanted it; in process and after a pause."""

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=wait))
        team = swarm(approvals)
        with stacksona_reviewer.deciding(verdict) as decided:
            ended = await approvals.run(team, "My invoice is wrong.")
            if isinstance(ended, PausedTeam):
                await asyncio.to_thread(ends, stacksona_reviewer, ended.decision_ids[0])
                again = TeamGate(stacksona_gate.gate(wait=0))
                ended = await again.resume(swarm(again), PausedTeam.from_json(ended.to_json()))
        return ended, decided

    ended, decided = bounded(work)
    handoffs = [message for message in ended.messages if isinstance(message, HandoffMessage)]

    assert ended.messages[-1].source == last
    assert handoffs[-1].metadata["stacksona_decision_ids"] == decided[0]
    if last == "triage":
        assert "Not our customer." in handoffs[-1].content


def test_handoff_that_is_not_gated(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Without `handoffs=` a team hands off as it likes."""

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        triage = AssistantAgent("triage", ScriptedModel([call("h1", "transfer_to_billing")]), handoffs=["billing"])
        billing = AssistantAgent("billing", ScriptedModel(END))
        done = TextMentionTermination(END) | approvals.termination()
        return await approvals.run(Swarm(approvals.watch(triage, billing), termination_condition=done), "Go")

    assert bounded(work).messages[-1].source == "billing"


class Runner(CodeExecutor):
    """Remembers the code that it ran."""

    component_type = "code_executor"

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> CodeResult:
        """Run nothing."""
        self.ran += [block.code.strip() for block in code_blocks]
        return CodeResult(exit_code=0, output="42")

    async def start(self) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""

    async def restart(self) -> None:
        """Nothing."""


def coders(approvals: TeamGate, runner: Runner, **options: Any) -> RoundRobinGroupChat:
    """A team of one who runs code."""
    coder = CodeExecutorAgent("coder", code_executor=approvals.code_executor(runner), **options)
    return RoundRobinGroupChat(approvals.watch(coder), max_turns=1, termination_condition=approvals.termination())


CODE = "Run\n```python\nprint(42)\n```"
EDIT = Verdict("approve", arguments={"code_blocks": [{"language": "python", "code": "print(41)"}]})


@pytest.mark.parametrize(
    ("verdict", "ran", "said"),
    [(APPROVE, ["print(42)"], "42"), (EDIT, ["print(41)"], "reviewer changed"), (REJECT, [], "did not run")],
    ids=["approved", "edited", "rejected"],
)
@pytest.mark.parametrize("wait", [None, 0], ids=["waits", "pauses"])
def test_code(
    stacksona_gate: RunningGate,
    stacksona_reviewer: Reviewer,
    verdict: Verdict,
    ran: list[str],
    said: str,
    wait: float | None,
) -> None:
    """Code runs as approved or not at all, and the team is told; in process and after a pause."""
    runner = Runner()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=wait))
        with stacksona_reviewer.deciding(verdict):
            ended = await approvals.run(coders(approvals, runner), CODE)
            if not isinstance(ended, PausedTeam):
                return ended
            await asyncio.to_thread(ends, stacksona_reviewer, ended.decision_ids[0])
            again = TeamGate(stacksona_gate.gate(wait=0))
            return await again.resume(coders(again, runner), ended)

    ended = bounded(work)

    assert runner.ran == ran
    assert any(said in message.to_text() for message in ended.messages)
    assert not any("exited with an error" in message.to_text() for message in ended.messages)


def test_refused_code_costs_no_retry(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """An agent that tries again after failing code does not take a refusal for failing code."""
    runner = Runner()
    model = ScriptedModel("```python\nprint(42)\n```", "It was refused.")

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        team = coders(approvals, runner, model_client=model, max_retries_on_error=3)
        return await reviewed(stacksona_reviewer, approvals.run(team, "Print 42"), REJECT)

    ended = bounded(work)

    assert runner.ran == []
    assert len(model.shown) == 2
    assert ended.messages[-1].to_text() == "It was refused."
    assert any("stacksona_decision_ids" in message.metadata for message in ended.messages)


def test_code_tool(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A tool that runs code asks through its executor."""
    runner = Runner()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=None), tools=["execute_code"])
        tool = PythonCodeExecutionTool(approvals.code_executor(runner))
        turns = ([call("c1", "CodeExecutor", code="print(42)")], END)
        team = team_of(approvals, *turns, tools=[tool])
        return await reviewed(stacksona_reviewer, approvals.run(team, "Go"), REJECT)

    assert "did not run" in texts(bounded(work))["c1"]
    assert runner.ran == []


def test_mcp(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, tmp_path: Path) -> None:
    """A tool of a real MCP server pauses, and runs in another team object with the reviewer's edit."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    server = StdioServerParams(command=sys.executable, args=[str(SERVER), str(tmp_path / "ledger.jsonl")])

    def going(inner: McpWorkbench, approvals: TeamGate) -> RoundRobinGroupChat:
        turns = ([call("c1", GATED, order_id="A-1", amount="40")], END)
        return team_of(approvals, *turns, workbench=approvals.workbench(inner))

    async def within(work: Any) -> Any:
        async with McpWorkbench(server) as inner:
            approvals = TeamGate(stacksona_gate.gate(wait=0))
            running: Coroutine[Any, Any, Any] = work(going(inner, approvals), approvals)
            return await running

    async def work() -> Any:
        paused = await within(lambda team, approvals: approvals.run(team, "Go"))
        assert isinstance(paused, PausedTeam)
        edit = {"order_id": "A-1", "amount": 5}
        await asyncio.to_thread(lambda: stacksona_reviewer.approve(arguments=edit))
        return await within(lambda team, approvals: approvals.resume(team, paused))

    ended = bounded(work)

    assert ledger.refunds == [{"order_id": "A-1", "amount": 5.0}]
    assert "A reviewer changed the arguments" in texts(ended)["c1"]
