"""What CrewAI does to a tool's result, time, count and order, and what of it must not touch an approval."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from crewai.tools import BaseTool
from pydantic import BaseModel

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.crewai import GatedCrew, GatedTool, PausedCrew
from stacksona_adapters.testing import Verdict
from stacksona_adapters.testing.harness import GATED, POLICY, Scenario
from stacksona_adapters.testing.stage import LARGE, MIDDLE, SMALL, Stage
from tests.adapters.crewai_harness import (
    DELEGATE,
    IssueRefund,
    ScriptedLLM,
    agent_of,
    crew_of,
    delegation,
    native,
    parallel_tasks,
    react,
    task_of,
    tools_of,
)

try:
    from crewai.tools.tool_failure import ToolFailure
except ImportError:  # before CrewAI 1.15.9
    ToolFailure = None


def refunding(is_native: bool, *amounts: float, goodbye: str = "all done") -> ScriptedLLM:
    """A model that refunds these amounts, a turn each."""
    calls = [(GATED, {"order_id": "A-1", "amount": amount}) for amount in amounts]
    if not is_native:
        return react(calls, goodbye)
    return native([[(f"c{turn}", tool, arguments)] for turn, (tool, arguments) in enumerate(calls)], goodbye)


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "react"])
def test_cache_replays_neither_result_nor_refusal(
    stage: Stage, scenario: Scenario, gate: Gate, is_native: bool
) -> None:
    """With CrewAI's cache on, the same call asks each time: refused, approved and run, approved and run (T8)."""
    verdicts = iter([Verdict("reject"), Verdict("approve"), Verdict("approve")])
    # Another call between them: the text path itself answers a call that repeats the one before it.
    llm = refunding(is_native, MIDDLE, SMALL, MIDDLE, SMALL, MIDDLE)
    crew = crew_of(agent_of(llm, tools_of(scenario.ledger)), cache=True)
    with stage.reviewer.deciding(lambda _: next(verdicts)):
        GatedCrew(crew, gate=gate, **POLICY).kickoff()

    assert [paid["amount"] for paid in scenario.ledger.refunds] == [SMALL, MIDDLE, SMALL, MIDDLE]
    assert len(stage.requests) == 5


def test_cache_replays_no_tool_that_crewai_makes(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """The same holds for tools that only a hook reaches: delegation is asked for and done twice (T8)."""
    work = {"task": "Settle the refund", "context": "Order A-1", "coworker": "refund clerk"}
    clerk = native([])
    crew = delegation(clerk, tools_of(scenario.ledger), cache=True)
    crew.agents[0].llm = native([[("d1", DELEGATE, work)], [("d2", DELEGATE, work)]])
    with stage.reviewer.deciding(Verdict("approve")):
        GatedCrew(crew, gate=gate, tools=[DELEGATE]).kickoff()

    assert [request.action for request in stage.requests] == [DELEGATE, DELEGATE]
    assert len(clerk.seen) == 2


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "react"])
def test_refusal_is_never_the_answer(scenario: Scenario, gate: Gate, is_native: bool) -> None:
    """A tool whose result is the agent's answer: a refusal is not, the model goes on (T20)."""
    answering = IssueRefund(ledger=scenario.ledger, result_as_answer=True)
    llm = refunding(is_native, LARGE, goodbye="I could not refund it.")
    output = GatedCrew(crew_of(agent_of(llm, [answering])), gate=gate, **POLICY).kickoff()

    assert not isinstance(output, PausedCrew)
    assert output.raw == "I could not refund it."
    if ToolFailure is not None:
        (failed,) = output.tasks_output[0].tool_failures
        assert failed.failure.details["status"] == "reject"


def test_failure_that_a_tool_declares_is_one(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """A tool that says by CrewAI's means that it failed is reported as failed, and the model reads its words."""

    class Declaring(IssueRefund):
        def _run(self, order_id: str, amount: float) -> Any:
            super()._run(order_id, amount)
            if ToolFailure is None:
                raise OSError("the till is empty")
            return ToolFailure(message="the till is empty", code="empty")

    llm = refunding(True, SMALL)
    GatedCrew(crew_of(agent_of(llm, [Declaring(ledger=scenario.ledger)])), gate=gate, **POLICY).kickoff()
    assert gate.flush(30)

    assert "the till is empty" in str(llm.seen[-1])
    assert [request.outcome for request in stage.requests] == ["failed"]


def test_refusals_use_up_no_tool(scenario: Scenario, gate: Gate) -> None:
    """Refused calls do not count against `max_usage_count`; those that ran do (T18)."""
    once = IssueRefund(ledger=scenario.ledger, max_usage_count=1)
    llm = refunding(True, LARGE, LARGE + 1, SMALL, SMALL + 1)
    GatedCrew(crew_of(agent_of(llm, [once])), gate=gate, **POLICY).kickoff()

    assert [paid["amount"] for paid in scenario.ledger.refunds] == [SMALL]
    assert "usage limit" in str(llm.seen[-1])


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "react"])
def test_edit_of_a_call_without_arguments_runs(stage: Stage, scenario: Scenario, gate: Gate, is_native: bool) -> None:
    """The model sends `{}` and the reviewer edits the defaults: the edit runs, on the text path too (T19)."""

    class Defaults(BaseModel):
        order_id: str = "A-1"
        amount: float = MIDDLE

    class Refund(IssueRefund):
        args_schema: type[BaseModel] = Defaults

    llm = native([[("c1", GATED, {})]]) if is_native else react([(GATED, {})])
    with stage.reviewer.deciding(Verdict("approve", arguments={"order_id": "A-9", "amount": 7.0})):
        GatedCrew(crew_of(agent_of(llm, [Refund(ledger=scenario.ledger)])), gate=gate, **POLICY).kickoff()

    assert scenario.ledger.refunds == [{"order_id": "A-9", "amount": 7.0}]
    assert stage.requests[0].arguments["order_id"] in ("A-1", "A-9")


def test_time_limit_of_an_agent_pauses_the_run(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """CrewAI gives up on an agent but lets its tool run; we pause before that, and an approval runs it later (T7)."""
    crew = crew_of(agent_of(refunding(True, MIDDLE), tools_of(scenario.ledger), max_execution_time=3))
    gated = GatedCrew(crew, gate=gate, **POLICY)
    paused = gated.kickoff()
    assert isinstance(paused, PausedCrew)
    stage.reviewer.approve()
    assert scenario.ledger.refunds == []

    assert not isinstance(gated.resume(paused), PausedCrew)
    assert len(scenario.ledger.refunds) == 1


def test_call_after_the_time_limit_runs_nothing(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """A call that comes when CrewAI has given up on the agent is not even asked for, though a rule allows it (T7)."""
    thinking = _slow(native([[("c1", GATED, {"order_id": "A-1", "amount": SMALL})]]))
    crew = crew_of(agent_of(thinking, tools_of(scenario.ledger), max_execution_time=1))
    with pytest.raises(Exception, match="timed out"):
        GatedCrew(crew, gate=gate, **POLICY).kickoff()

    assert (scenario.ledger.refunds, stage.requests) == ([], [])


def _slow(llm: ScriptedLLM) -> ScriptedLLM:
    """The same model, thinking for longer than its agent may take."""
    say = llm.say

    def slowly(messages: list[dict[str, Any]]) -> Any:
        threading.Event().wait(1.2)
        return say(messages)

    return ScriptedLLM(slowly)


def test_waiting_beside_other_tasks_hangs_nothing(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """A call on a task's own thread waits; the model asks again and again: one request, no hang, a pause (T6, T16)."""
    same = (GATED, {"order_id": "A-1", "amount": MIDDLE})
    stubborn = native([[(f"c{turn}", *same)] for turn in range(7)])
    archived = parallel_tasks(stubborn, tools_of(scenario.ledger))
    paused = GatedCrew(archived, gate=gate, wait=0, **POLICY).kickoff()

    assert isinstance(paused, PausedCrew)
    assert len(stage.requests) == len(paused.waiting) == 1
    assert archived.agents[1].llm.seen == []  # the next task did not begin on an unapproved assumption
    assert scenario.ledger.refunds == []


def test_same_call_twice_is_two_actions(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """Two equal calls of one turn are two requests and two refunds; a run of the same name pays neither again."""
    call = (GATED, {"order_id": "A-1", "amount": SMALL})
    for _ in range(2):
        llm = native([[("c1", *call), ("c2", *call)]])
        GatedCrew(crew_of(agent_of(llm, tools_of(scenario.ledger))), gate=gate, **POLICY).kickoff(run_id="order-A1")
        assert gate.flush(30)

    assert len(scenario.ledger.refunds) == len(stage.requests) == 2
    assert "did not run again" in str(llm.seen[-1])


def test_resumed_run_tells_results_again(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """CrewAI begins a resumed crew anew: gated calls that ran are told from the pause, not run and not asked again."""
    llm = refunding(True, SMALL, MIDDLE)
    gated = GatedCrew(crew_of(agent_of(llm, tools_of(scenario.ledger))), gate=gate, wait=0, **POLICY)
    paused = gated.kickoff({"order": "A-1"})
    assert isinstance(paused, PausedCrew)
    stage.reviewer.approve()
    gated.resume(PausedCrew.from_json(paused.to_json()))

    assert paused.inputs == {"order": "A-1"}
    assert [paid["amount"] for paid in scenario.ledger.refunds] == [SMALL, MIDDLE]
    assert len(stage.requests) == 2


def test_tool_that_pauses_inside_does_not_begin_again(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """A tool that pays and then runs an agent whose call waits: resumed, it does not pay again, a person settles it."""
    inner = GatedTool(IssueRefund(ledger=scenario.ledger), gate=gate, wait=0)

    class PayFeeAndRefund(IssueRefund):
        name: str = "settle"

        def _run(self, order_id: str, amount: float) -> str:
            super()._run(order_id, 1.0)
            return str(agent_of(refunding(True, amount), [inner], role="inner clerk").kickoff("Refund it.").raw)

    outer = native([[("c1", "settle", {"order_id": "A-1", "amount": MIDDLE})]])
    crew = crew_of(agent_of(outer, [PayFeeAndRefund(ledger=scenario.ledger)]))
    gated = GatedCrew(crew, gate=gate, tools=["settle"])
    with stage.reviewer.deciding(lambda review: Verdict("approve") if review.action == "settle" else None):
        paused = gated.kickoff()
    assert isinstance(paused, PausedCrew)
    assert paused.attempts == {}
    stage.reviewer.approve()
    gated.resume(paused)

    assert [paid["amount"] for paid in scenario.ledger.refunds] == [1.0]
    assert "never reported" in str(outer.seen[-1])


def test_one_tool_serves_runs_at_the_same_time(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """Crews that share a gated tool run beside each other, each with its own run and role (T14, T17, T23)."""
    shared = GatedTool(IssueRefund(ledger=scenario.ledger), gate=gate, risk="high", subject="order_id")

    async def both() -> list[Any]:
        crews = []
        for number in (1, 2):
            llm = native([[("c1", GATED, {"order_id": f"A-{number}", "amount": MIDDLE})]])
            crews.append(GatedCrew(crew_of(agent_of(llm, [shared], role=f"clerk {number}")), gate=gate))
        running = [asyncio.create_task(crew.akickoff(run_id=f"run-{n}")) for n, crew in enumerate(crews)]
        await asyncio.to_thread(stage.reviewer.waiting, 2)
        with stage.reviewer.deciding(Verdict("approve")):
            return await asyncio.gather(*running)

    outputs = asyncio.run(both())

    assert all(not isinstance(output, PausedCrew) for output in outputs)
    assert {(each.subject, each.context["role"]) for each in stage.requests} == {("A-1", "clerk 1"), ("A-2", "clerk 2")}
    assert len({each.task_id for each in stage.requests}) == 2


def test_revision_inside_of_a_text_parsed_run(stage: Stage, scenario: Scenario, gate: Gate) -> None:
    """On the text path as well the next proposal names the decision that it revises."""

    def at_most_half(review: Any) -> Verdict:
        return Verdict("revise", "Half.") if review.arguments["amount"] > MIDDLE else Verdict("approve")

    with stage.reviewer.deciding(at_most_half):
        crew = crew_of(agent_of(refunding(False, 80.0, 40.0), tools_of(scenario.ledger)))
        GatedCrew(crew, gate=gate, **POLICY).kickoff()
    first, second = stage.requests

    assert (first.status, second.revises) == ("revise", first.decision_id)
    assert [paid["amount"] for paid in scenario.ledger.refunds] == [40.0]


def test_guardrail_that_repeats_a_task_pays_once_more_only_if_asked(
    stage: Stage, scenario: Scenario, gate: Gate
) -> None:
    """A task's guardrail runs the agent and its tools a second time: the second refund is a request of its own."""
    tries: list[str] = []

    def picky(output: Any):
        tries.append(output.raw)
        return (len(tries) > 1, output.raw if len(tries) > 1 else "once more")

    llm = native([[("c1", GATED, {"order_id": "A-1", "amount": MIDDLE})]])
    clerk = agent_of(llm, tools_of(scenario.ledger))
    crew = crew_of(clerk, tasks=[task_of(clerk, guardrail=picky)])
    verdicts = iter([Verdict("approve"), Verdict("reject")])
    with stage.reviewer.deciding(lambda _: next(verdicts)):
        GatedCrew(crew, gate=gate, **POLICY).kickoff()

    assert len(tries) == 2
    assert [request.status for request in stage.requests] == ["approved", "rejected"]
    assert len(scenario.ledger.refunds) == 1


def test_asynchronous_tool_runs_on_its_loop(scenario: Scenario, gate: Gate) -> None:
    """A tool with an `_arun` of its own is awaited there, not run on a thread."""
    threads: list[int] = []

    class Refund(IssueRefund):
        async def _arun(self, order_id: str, amount: float) -> str:
            threads.append(threading.get_ident())
            return str(self.ledger.issue_refund(order_id, amount))

    gated: BaseTool = GatedTool(Refund(ledger=scenario.ledger), gate=gate)

    async def call() -> tuple[str, int]:
        return str(await gated.arun(order_id="A-1", amount=SMALL)), threading.get_ident()

    told, here = asyncio.run(call())
    assert told == "refunded 5.0 for A-1"
    assert threads == [here]
