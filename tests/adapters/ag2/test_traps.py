"""What goes wrong easily between ag2 1.x and a gate: nested agents, half-finished turns, edits, saved events."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from ag2 import Agent, ToolResult
from ag2.agent import AgentReply
from ag2.events import ToolResultsEvent
from ag2.tools import ShellTool

from stacksona_adapters.ag2 import AgentGate, PausedAgent
from stacksona_adapters.errors import ConfigurationError, GateError
from stacksona_adapters.testing import Reviewer, RunningGate, Verdict
from tests.adapters.ag2_harness import Script, Turn, call, told_by

APPROVE = Verdict("approve")


class Shop:
    """Tools that remember what they did."""

    def __init__(self) -> None:
        self.refunds: list[tuple[str, float]] = []
        self.looks = 0

    @property
    def tools(self) -> list[Any]:
        """The tools as functions."""

        async def refund(order: str, amount: float, currency: str = "EUR") -> str:
            """Pay a refund."""
            self.refunds.append((order, amount))
            return f"refunded {amount} {currency}"

        def look(order: str) -> str:
            """Look an order up."""
            self.looks += 1
            return f"{order}: 40"

        return [refund, look]


def refund(call_id: str = "c1", amount: Any = 40) -> Any:
    """A refund that a model proposes."""
    return call(call_id, "refund", order="7", amount=amount)


def clerk(approvals: AgentGate, shop: Shop, *turns: Turn, **options: Any) -> Agent[Any]:
    """An agent with gated tools."""
    return Agent("clerk", config=Script(*turns), tools=approvals.tools(*shop.tools), **options)


async def events_of(reply: Any) -> list[Any]:
    """The events of a reply."""
    assert isinstance(reply, AgentReply)
    return list(await reply.history.get_events())


def test_what_ran_is_not_run_again(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A turn of three calls: one ran, one is approved at once, one later; each runs once, gated or not."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=0), tools=["refund"])
        calls = [call("c0", "look", order="7"), refund("c1", 1), refund("c2", 2)]
        paused = await approvals.ask(clerk(approvals, shop, calls), "Go")
        assert isinstance(paused, PausedAgent)
        await asyncio.to_thread(stacksona_reviewer.approve, paused.calls["c1"])
        still = await approvals.resume(clerk(approvals, shop, calls), paused)
        assert isinstance(still, PausedAgent)
        assert (shop.refunds, list(still.calls)) == ([("7", 1.0)], ["c2"])
        await asyncio.to_thread(stacksona_reviewer.approve)
        restored = PausedAgent.from_json(still.to_json())
        ended = await approvals.resume(clerk(approvals, shop, calls, "bye"), restored)
        return await events_of(ended)

    events = asyncio.run(work())

    assert (shop.refunds, shop.looks) == ([("7", 1.0), ("7", 2.0)], 1)
    assert set(told_by(events)) == {"c0", "c1", "c2"}


def test_arguments_are_those_that_run(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The reviewer sees defaults and converted values; what does not fit the function is never asked about."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=0))
        return await approvals.ask(clerk(approvals, shop, [refund("c1", "many")], [refund("c2", "40")]), "Go")

    paused = asyncio.run(work())
    (request,) = stacksona_reviewer.waiting()

    assert request.arguments == {"order": "7", "amount": 40.0, "currency": "EUR"}
    assert list(paused.calls) == ["c2"]


def test_edit_and_decision_stand_in_the_result(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The result's metadata has the decision, its text says what ran."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=None))
        edit = Verdict("approve", arguments={"order": "7", "amount": 5, "currency": "EUR"})
        with stacksona_reviewer.deciding(edit) as decided:
            reply = await approvals.ask(clerk(approvals, shop, [refund()], "bye"), "Go")
        return await events_of(reply), decided

    events, decided = asyncio.run(work())
    (results,) = [event for event in events if isinstance(event, ToolResultsEvent)]

    assert shop.refunds == [("7", 5.0)]
    assert results.results[0].result.metadata["stacksona_decision_id"] == decided[0]
    assert "A reviewer changed the arguments" in told_by(events)["c1"]


def test_final_result_keeps_its_one_part(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A tool whose result ends the turn does so after an edit too."""

    async def finish(word: str) -> ToolResult:
        """End the turn."""
        return ToolResult(word, final=True)

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=None))
        agent = Agent("clerk", config=Script([call("c1", "finish", word="no")]), tools=approvals.tools(finish))
        with stacksona_reviewer.deciding(Verdict("approve", arguments={"word": "yes"})):
            return await approvals.ask(agent, "Go")

    assert asyncio.run(work()).body == "yes"


def boss(approvals: AgentGate, shop: Shop) -> Agent[Any]:
    """An agent that has the clerk for a tool."""
    delegate = clerk(approvals, shop, [refund()], "done").as_tool(description="Asks the clerk.", name="ask_clerk")
    return Agent("boss", config=Script([call("o1", "ask_clerk", objective="Refund")], "bye"), tools=[delegate])


def test_nested_agent_waits_where_it_cannot_pause(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """An agent inside of another one has no turn of its own to end, so with wait=0 it waits."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=0))
        with stacksona_reviewer.deciding(APPROVE):
            return await approvals.ask(boss(approvals, shop), "Go")

    assert asyncio.run(work()).body == "bye"
    assert shop.refunds == [("7", 40.0)]


def test_nested_agent_gives_up(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Where its patience is over, the request is withdrawn, so that nobody approves what will not run."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=0.3))
        running = asyncio.ensure_future(approvals.ask(boss(approvals, shop), "Go"))
        (waiting,) = await asyncio.to_thread(stacksona_reviewer.waiting)
        await running
        return waiting.decision_id

    decision_id = asyncio.run(work())
    pause, deadline = threading.Event(), time.monotonic() + 30
    while not stacksona_reviewer.detail(decision_id).status.final and time.monotonic() < deadline:
        pause.wait(0.05)

    assert stacksona_reviewer.detail(decision_id).status == "cancelled"
    assert shop.refunds == []


def test_reply_that_is_answered(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A conversation that goes on pauses as well."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=0))
        first = await approvals.ask(clerk(approvals, shop, "What is the order?"), "Refund")
        assert isinstance(first, AgentReply)
        agent = clerk(approvals, shop, [refund()], "bye")
        paused = await approvals.ask(first, "Order 7", config=Script([refund()]))
        assert isinstance(paused, PausedAgent)
        await asyncio.to_thread(stacksona_reviewer.approve)
        return await approvals.resume(agent, paused)

    assert asyncio.run(work()).body == "bye"
    assert shop.refunds == [("7", 40.0)]


def test_gate_down_at_resume(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Without a gate a resume raises, nothing ran, and the same pause can be resumed later."""
    shop = Shop()

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=0))
        paused = await approvals.ask(clerk(approvals, shop, [refund()]), "Go")
        assert isinstance(paused, PausedAgent)
        await asyncio.to_thread(stacksona_reviewer.approve)
        lonely = AgentGate(stacksona_gate.gate(api_key="sg_wrong", wait=0))
        with pytest.raises(GateError):
            await lonely.resume(clerk(lonely, shop, [refund()]), paused)
        return await approvals.resume(clerk(approvals, shop, [refund()], "bye"), paused)

    assert asyncio.run(work()).body == "bye"
    assert shop.refunds == [("7", 40.0)]


def test_pause_that_cannot_be_read(stacksona_gate: RunningGate) -> None:
    """A pause that is none, holds no call, or names an unknown class is refused."""
    approvals = AgentGate(stacksona_gate.gate())
    empty = PausedAgent(run_id="r", agent="clerk", events=[], calls={})
    strange = PausedAgent(run_id="r", agent="clerk", events=[{"type": "os.system", "data": {}}], calls={})

    with pytest.raises(ConfigurationError, match="no paused agent"):
        PausedAgent.from_json("{}")
    for paused, why in ((empty, "no call"), (strange, "os.system")):
        with pytest.raises(ConfigurationError, match=why):
            asyncio.run(approvals.resume(clerk(approvals, Shop()), paused))


def test_tool_that_takes_no_hook(stacksona_gate: RunningGate) -> None:
    """A tool that runs at the provider or takes no middleware from outside is refused, with what to do."""
    approvals = AgentGate(stacksona_gate.gate())

    with pytest.raises(ConfigurationError, match=r"approvals\.hook"):
        approvals.tools(ShellTool())


def test_failing_tool_is_reported(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A tool that raises is told to the model and closes its permission as failed."""

    async def broken() -> str:
        """Fail."""
        raise RuntimeError("no money left")

    async def work() -> Any:
        approvals = AgentGate(stacksona_gate.gate(wait=None))
        agent = Agent("clerk", config=Script([call("c1", "broken")], "bye"), tools=approvals.tools(broken))
        with stacksona_reviewer.deciding(APPROVE) as decided:
            reply = await approvals.ask(agent, "Go")
        return await events_of(reply), decided[0]

    events, decision_id = asyncio.run(work())
    pause, deadline = threading.Event(), time.monotonic() + 30
    while stacksona_reviewer.detail(decision_id).outcome != "failed" and time.monotonic() < deadline:
        pause.wait(0.05)

    assert "no money left" in told_by(events)["c1"]
    assert stacksona_reviewer.detail(decision_id).outcome == "failed"
