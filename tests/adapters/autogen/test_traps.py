"""What goes wrong easily between AutoGen and a gate: pauses, repeats, handoffs, code, nested agents."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.messages import ToolCallSummaryMessage
from autogen_agentchat.teams import DiGraphBuilder, GraphFlow, MagenticOneGroupChat, RoundRobinGroupChat
from autogen_agentchat.tools import AgentTool
from autogen_core.tools import BaseTool, StaticStreamWorkbench, StaticWorkbench, StreamTool

from stacksona_adapters.autogen import GatedTool, GatedWorkbench, NotExecuted, PausedTeam, TeamGate
from stacksona_adapters.errors import ConfigurationError, GateError
from stacksona_adapters.testing import Reviewer, RunningGate, Verdict
from stacksona_adapters.testing.harness import ProposedCall
from stacksona_adapters.testing.processes import OtherProcess
from stacksona_adapters.testing.stage import staged
from tests.adapters.autogen_harness import AutoGenHarness
from tests.adapters.autogen_models import ScriptedModel, call
from tests.adapters.autogen_teams import END, Shop, asked, bounded, ends, refund, reviewed, team_of, texts

APPROVE = Verdict("approve")


def requests(reviewer: Reviewer) -> list[Any]:
    """All requests that are pending, with their details."""
    return [reviewer.detail(review.decision_id) for review in reviewer.waiting()]


def test_arguments_are_those_that_run(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The reviewer sees defaults and converted values; what does not fit the function is never asked about."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        wrong = call("c1", "refund", order="7", amount="many")
        team = team_of(approvals, [wrong, refund("c2")], END, tools=approvals.tools(shop.refund))
        return await approvals.run(team, "Refund order 7")

    paused = bounded(work)
    (request,) = requests(stacksona_reviewer)

    assert request.arguments == {"order": "7", "amount": 40.0, "currency": "EUR"}
    assert len(paused.calls) == 1


def test_request_says_who_and_what_was_said(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The request has participants, the asking agent, its conversation in short, and the team as subject."""

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0), team_id="billing")
        planner = AssistantAgent("planner", ScriptedModel("Refund order 7, it is broken."))
        executor = AssistantAgent("executor", ScriptedModel([refund("c1")], END), tools=approvals.tools(Shop().refund))
        team = RoundRobinGroupChat(
            approvals.watch(planner, executor), termination_condition=MaxMessageTermination(9) | approvals.termination()
        )
        return await approvals.run(team, "The customer is angry.")

    bounded(work)
    (request,) = requests(stacksona_reviewer)

    assert request.subject == "billing"
    assert request.context["participants"] == ["planner", "executor"]
    assert request.context["agent"] == "executor"
    summary = request.context["transcript_summary"]
    assert "user: The customer is angry." in summary
    assert "planner: Refund order 7, it is broken." in summary
    assert "executor -> refund(" in summary


def test_asking_on_in_the_same_turn_asks_once(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A model that is called again with the paused result and retries (max_tool_iterations) makes no second request."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        turns = ([refund("c1")], [refund("c2")], "I wait.", END)
        team = team_of(approvals, *turns, tools=approvals.tools(shop.refund), max_tool_iterations=5)
        paused = await approvals.run(team, "Go")
        assert isinstance(paused, PausedTeam)
        await asyncio.to_thread(stacksona_reviewer.approve)
        return paused, await approvals.resume(team, paused)

    paused, result = bounded(work)

    assert len(paused.calls) == 1
    assert shop.refunds == [("7", 40.0)]
    assert result.messages[-1].to_text() == END


def test_two_of_the_same_in_one_turn_are_two(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Two equal calls of one turn are two requests, each decided by itself."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        team = team_of(approvals, [refund("c1"), refund("c2")], END, tools=approvals.tools(shop.refund))
        paused = await approvals.run(team, "Go")
        assert isinstance(paused, PausedTeam)
        await asyncio.to_thread(stacksona_reviewer.approve, paused.decision_ids[0])
        still = await approvals.resume(team, paused)
        await asyncio.to_thread(stacksona_reviewer.reject, paused.decision_ids[1])
        assert isinstance(still, PausedTeam)
        return paused, still, await approvals.resume(team, PausedTeam.from_json(still.to_json()))

    paused, still, result = bounded(work)

    assert len(set(paused.decision_ids)) == 2
    assert still.decision_ids == paused.decision_ids[1:]
    assert shop.refunds == [("7", 40.0)]
    assert sorted("did not run" in text for text in texts(result).values()) == [False, True]


@pytest.mark.parametrize("call_id", ["c1", ""])
def test_same_call_later_is_another_one(
    stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, call_id: str
) -> None:
    """Call ids that repeat or are empty do not let a second call run on the first one's approval."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        turns = ([refund(call_id)], [refund(call_id)], END)
        team = team_of(approvals, *turns, tools=approvals.tools(shop.refund))
        return await reviewed(stacksona_reviewer, approvals.run(team, "Go"), APPROVE, Verdict("reject"))

    result = bounded(work)

    assert shop.refunds == [("7", 40.0)]
    assert "did not run" in texts(result)[call_id]


def test_decisions_stand_in_the_transcript(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """After a pause the team reads call, arguments and decision; ids and statuses stand in the message's metadata."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        team = team_of(approvals, [refund("c1"), refund("c2", 50)], END, tools=approvals.tools(shop.refund))
        paused = await approvals.run(team, "Go")
        assert isinstance(paused, PausedTeam)
        first, second = paused.decision_ids
        edit = {"order": "7", "amount": 5, "currency": "EUR"}
        await asyncio.to_thread(lambda: stacksona_reviewer.approve(first, arguments=edit))
        await asyncio.to_thread(stacksona_reviewer.reject, second)
        return paused, await approvals.resume(team, paused)

    paused, result = bounded(work)
    (summary,) = [message for message in result.messages if isinstance(message, ToolCallSummaryMessage)]

    assert summary.metadata["stacksona_decision_ids"] == ",".join(paused.decision_ids)
    assert summary.metadata["stacksona_statuses"] == "approved,rejected"
    assert json.loads(summary.tool_calls[0].arguments)["amount"] == 5
    assert [each.is_error for each in summary.results] == [False, True]
    assert "A reviewer changed the arguments" in summary.results[0].content


def test_gate_down_at_resume(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Without a gate a resume raises, nothing ran, and the same pause can be resumed later."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0, timeouts=None))
        team = team_of(approvals, [refund("c1")], END, tools=approvals.tools(shop.refund))
        paused = await approvals.run(team, "Go")
        assert isinstance(paused, PausedTeam)
        await asyncio.to_thread(stacksona_reviewer.approve)
        lonely = TeamGate(stacksona_gate.gate(api_key="sg_wrong", wait=0))
        with pytest.raises(GateError):
            await lonely.resume(team_of(lonely, END, tools=lonely.tools(shop.refund)), paused)
        assert shop.refunds == []
        return await approvals.resume(team, paused)

    assert bounded(work).messages[-1].to_text() == END
    assert shop.refunds == [("7", 40.0)]


def test_resume_needs_the_tool(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A team that was built without the tool is told so before anything runs."""
    shop = Shop()

    async def work() -> None:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        team = team_of(approvals, [refund("c1")], END, tools=approvals.tools(shop.refund))
        paused = await approvals.run(team, "Go")
        assert isinstance(paused, PausedTeam)
        await asyncio.to_thread(stacksona_reviewer.approve)
        other = TeamGate(stacksona_gate.gate(wait=0))
        with pytest.raises(ConfigurationError, match="refund"):
            await other.resume(team_of(other, END), paused)
        with pytest.raises(ConfigurationError, match="team"):
            await TeamGate(stacksona_gate.gate(), team_id="other").resume(team, paused)

    bounded(work)
    assert shop.refunds == []


def test_paused_team_must_be_resumed(stacksona_gate: RunningGate) -> None:
    """A team that waits is not started over by mistake; a text that is no pause is refused."""

    async def work() -> None:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        team = team_of(approvals, [refund("c1")], END, tools=approvals.tools(Shop().refund))
        await approvals.run(team, "Go")
        with pytest.raises(ConfigurationError, match="resume"):
            await approvals.run(team, "Go on")

    bounded(work)
    with pytest.raises(ConfigurationError, match="no paused team"):
        PausedTeam.from_json("{}")


def test_condition_is_needed_and_combined_with_or(stacksona_gate: RunningGate) -> None:
    """A team without the review's condition, or with `&`, would go on talking while it waits: refused."""
    approvals = TeamGate(stacksona_gate.gate())
    team = RoundRobinGroupChat([AssistantAgent("clerk", ScriptedModel(END))])

    with pytest.raises(ConfigurationError, match="termination"):
        bounded(lambda: approvals.run(team, "Go"))
    with pytest.raises(ConfigurationError, match=r"\|"):
        _ = approvals.termination() & TextMentionTermination(END)


def test_nothing_is_dumped_without_its_gate(stacksona_gate: RunningGate) -> None:
    """A component that would be loaded again without a gate cannot be dumped."""
    approvals = TeamGate(stacksona_gate.gate())
    tool = approvals.tools(Shop().refund)[0]

    for component in (tool, approvals.workbench(StaticWorkbench([])), approvals.termination()):
        with pytest.raises(NotImplementedError, match="gate"):
            component.dump_component()
    with pytest.raises(NotImplementedError):
        AssistantAgent("clerk", ScriptedModel(END), tools=[tool]).dump_component()


def test_wrappers_are_no_bypass(stacksona_gate: RunningGate) -> None:
    """AutoGen streams past `call_tool` and `run_json` where a class looks as if it could; ours do so only gated."""
    approvals = TeamGate(stacksona_gate.gate())
    tool = approvals.tools(Shop().refund)[0]
    workbench = approvals.workbench(StaticStreamWorkbench([]))

    assert isinstance(tool, GatedTool)
    assert not isinstance(tool, StreamTool)
    assert isinstance(workbench, GatedWorkbench)
    assert not isinstance(workbench, StaticStreamWorkbench)
    assert not hasattr(workbench, "call_tool_stream")
    with pytest.raises(ConfigurationError, match="already"):
        approvals.tools(tool)
    with pytest.raises(ConfigurationError, match="no tool"):
        approvals.tools("refund")  # type: ignore[arg-type]


def test_agent_as_a_tool(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """An agent used as a tool streams past `run_json`; it is asked about, and its own tools name its agent."""
    shop = Shop()

    async def work(verdict: Verdict) -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        inside = AssistantAgent(
            "inside", ScriptedModel([refund("i1")], END), tools=approvals.tools(shop.refund, agent="inside")
        )
        turns = ([call("c1", "inside", task="Refund order 7")], END)
        team = team_of(approvals, *turns, tools=approvals.tools(AgentTool(inside)))
        agents: list[str] = []

        def decide(review: Any) -> Verdict:
            agents.append(stacksona_reviewer.detail(review.decision_id).context["agent"])
            return verdict

        with stacksona_reviewer.deciding(decide):
            result = await approvals.run(team, "Go")
        return agents, result

    agents, result = bounded(lambda: work(Verdict("reject")))
    assert (agents, shop.refunds) == (["clerk"], [])
    assert "did not run" in texts(result)["c1"]

    agents, result = bounded(lambda: work(APPROVE))
    assert (agents, shop.refunds) == (["clerk", "inside"], [("7", 40.0)])


def test_magentic_one_keeps_its_task(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """MagenticOne takes the messages of a resume for its task; it hears the old task again with them."""
    shop = Shop()
    asked: list[str] = []

    def orchestrate(messages: Any) -> str:
        text = str(messages[-1].content)
        asked.append(text)
        if "is_request_satisfied" not in text:
            return "Noted."
        satisfied = "refunded 40.0" in "".join(str(message.content) for message in messages)
        reason = {"reason": "so", "answer": satisfied}
        never = {"reason": "so", "answer": False}
        ledger = {"is_request_satisfied": reason, "is_in_loop": never, "is_progress_being_made": reason}
        told = {"reason": "so", "answer": "Refund it."}
        return json.dumps({**ledger, "instruction_or_question": told, "next_speaker": {**told, "answer": "clerk"}})

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        clerk = AssistantAgent("clerk", ScriptedModel([refund("c1")], "Done."), tools=approvals.tools(shop.refund))
        team = MagenticOneGroupChat(
            approvals.watch(clerk), ScriptedModel(orchestrate), termination_condition=approvals.termination()
        )
        paused = await approvals.run(team, "Refund order 7 of Ann")
        assert isinstance(paused, PausedTeam)
        asked.clear()
        await asyncio.to_thread(stacksona_reviewer.approve)
        return await approvals.resume(team, paused)

    bounded(work)

    assert shop.refunds == [("7", 40.0)]
    assert "Refund order 7 of Ann" in asked[0]


def test_graph_goes_on_with_its_next_node(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A paused GraphFlow goes on along its edges."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=0))
        clerk = AssistantAgent("clerk", ScriptedModel([refund("c1")]), tools=approvals.tools(shop.refund))
        writer = AssistantAgent("writer", ScriptedModel(END))
        graph = DiGraphBuilder().add_node(clerk).add_node(writer).add_edge(clerk, writer).build()
        team = GraphFlow(approvals.watch(clerk, writer), graph, termination_condition=approvals.termination())
        paused = await approvals.run(team, "Go")
        assert isinstance(paused, PausedTeam)
        await asyncio.to_thread(stacksona_reviewer.approve)
        return await approvals.resume(team, paused)

    result = bounded(work)

    assert shop.refunds == [("7", 40.0)]
    assert [message.source for message in result.messages if message.to_text() == END] == ["writer"]


def test_killed_while_it_waits(tmp_path: Path) -> None:
    """A process killed between request and decision, and run again under the same run id, asks once and runs once."""
    with staged(AutoGenHarness(), "team", tmp_path) as stage:
        scenario = stage.scenario(ProposedCall(call_id="c1", arguments={"order_id": "A-1", "amount": 50}), wait=None)
        first = OtherProcess(stage.harness, scenario)
        decision_id = stage.reviewer.waiting()[0].decision_id
        first.signal(signal.SIGKILL)
        assert first.ended() == -signal.SIGKILL
        stage.reviewer.approve(decision_id)

        for _ in range(2):
            OtherProcess(stage.harness, scenario).ran()

        assert len(stage.requests) == 1
        assert len(scenario.ledger.refunds) == 1


def test_own_executor(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """`before_executor_run` says that it is paused and for which decision, and goes on when it is called again."""
    shop = Shop()

    async def work() -> None:
        approvals = TeamGate(stacksona_gate.gate("autogen-ops-team", wait=0), team_id="ops")
        approvals.tools(shop.refund)
        given = ("ops", "refund", {"order": "7", "amount": 40}, "The customer wants it back.")
        paused = await approvals.before_executor_run(*given)
        (request,) = requests(stacksona_reviewer)

        assert paused["message"] == "Execution paused for Stacksona review"
        assert paused["decision_id"] == request.decision_id
        assert (request.agent, request.action, request.subject) == ("autogen-ops-team", "refund", "ops")
        assert request.context["transcript_summary"] == "The customer wants it back."
        assert request.context["tool_args"] == request.arguments
        assert (await approvals.before_executor_run(*given))["decision_id"] == request.decision_id
        await asyncio.to_thread(stacksona_reviewer.approve)
        assert await approvals.before_executor_run(*given) == "refunded 40.0 EUR for 7"

        again = await approvals.before_executor_run(*given)
        assert again["decision_id"] != request.decision_id
        await asyncio.to_thread(stacksona_reviewer.reject)
        refused = await approvals.before_executor_run(*given)
        assert (refused["executed"], refused["status"]) == (False, "rejected")
        with pytest.raises(ConfigurationError, match="unknown_tool"):
            await approvals.before_executor_run("ops", "unknown_tool", {}, "")

    bounded(work)
    assert shop.refunds == [("7", 40.0)]


def test_tool_alone(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A gated tool that is called without an agent refuses by raising, with the decision's id in the text."""
    from autogen_core import CancellationToken

    async def work() -> None:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        tool: BaseTool[Any, Any] = approvals.tools(Shop().refund)[0]
        asked = tool.run_json({"order": "7", "amount": 1}, CancellationToken())
        with pytest.raises(NotExecuted, match="did not run"):
            await reviewed(stacksona_reviewer, asked, Verdict("reject"))

    bounded(work)


def test_cancelled_between_turns(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A cancelled run leaves no request behind, even where the model asked for several calls at once."""

    async def work() -> list[str]:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        team = team_of(approvals, [refund("c1"), refund("c2", 50)], END, tools=approvals.tools(Shop().refund))
        running = asyncio.ensure_future(approvals.run(team, "Go"))
        waiting = await asyncio.to_thread(asked, stacksona_reviewer, 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return waiting

    assert [ends(stacksona_reviewer, each) for each in bounded(work)] == ["cancelled", "cancelled"]
