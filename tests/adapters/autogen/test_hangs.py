"""Exceptions and cancellation, which make an agent of autogen-agentchat from 0.6.2 on wait for ever, do not here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.tools import FunctionTool, StaticWorkbench, ToolResult

from stacksona_adapters.autogen import TeamGate
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.testing import Reviewer, RunningGate, Verdict
from tests.adapters.autogen_models import call
from tests.adapters.autogen_teams import END, Shop, asked, bounded, ends, refund, reviewed, team_of, texts


class Abort(BaseException):
    """Not an `Exception`."""


class FailingWorkbench(StaticWorkbench):
    """Raises where a workbench should answer."""

    error: BaseException = RuntimeError("the server went away")
    lists = True

    async def list_tools(self) -> Any:
        """The tools, as long as it can say them."""
        if not self.lists:
            raise RuntimeError("the server went away")
        return await super().list_tools()

    async def call_tool(self, *_: Any, **__: Any) -> ToolResult:
        """Fails."""
        self.lists = False
        raise self.error


ERRORS = [RuntimeError("the server went away"), Abort("stop"), asyncio.CancelledError("stop")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_tool_that_raises(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, error: BaseException) -> None:
    """Whatever an approved tool raises becomes a result, and the team goes on."""

    async def broken(order: str) -> str:
        """Fail."""
        raise error

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate())
        team = team_of(approvals, [call("c1", "broken", order="7")], END, tools=approvals.tools(broken))
        return await reviewed(stacksona_reviewer, approvals.run(team, "Go"), Verdict("approve"))

    result = bounded(work)

    assert texts(result)["c1"]
    assert result.messages[-1].to_text() == END


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("tools", ["all", ["other"]], ids=["gated", "ungated"])
def test_workbench_that_raises(
    stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, error: BaseException, tools: Any
) -> None:
    """Whatever a workbench raises becomes a result, whether its tool is gated or not, and the team goes on."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(), tools=tools)
        inner = FailingWorkbench([FunctionTool(shop.refund, "Pays.")])
        inner.error = error
        team = team_of(approvals, [refund("c1")], END, workbench=approvals.workbench(inner))
        return await reviewed(stacksona_reviewer, approvals.run(team, "Go"), Verdict("approve"))

    result = bounded(work)

    assert texts(result)["c1"]
    assert result.messages[-1].to_text() == END


def test_workbench_that_loses_its_server(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The agent asks for the tools again before each call; a workbench that cannot say them then does not hang it."""
    shop = Shop()

    class Lost(FailingWorkbench):
        async def list_tools(self) -> Any:
            tools = await super().list_tools()
            self.lists = False
            return tools

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate())
        workbench = approvals.workbench(Lost([FunctionTool(shop.refund, "Pays.")]))
        team = team_of(approvals, [refund("c1")], END, workbench=workbench)
        result = await reviewed(stacksona_reviewer, approvals.run(team, "Go"), Verdict("approve"))
        return result, workbench.lost

    result, lost = bounded(work)

    assert "went away" in texts(result)["c1"]
    assert "went away" in str(lost)


@pytest.mark.parametrize("workbench", [False, True], ids=["tools", "workbench"])
@pytest.mark.parametrize("own_run", [False, True], ids=["team.run", "approvals.run"])
def test_token_cancelled_while_waiting(
    stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, workbench: bool, own_run: bool
) -> None:
    """Cancelling with the token withdraws the request; nothing runs, and the team can be run again."""
    shop = Shop()

    async def work() -> Any:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        tool = FunctionTool(shop.refund, "Pays.")
        given: dict[str, Any] = {"tools": approvals.tools(tool)}
        if workbench:
            given = {"workbench": approvals.workbench(StaticWorkbench([tool]))}
        team = team_of(approvals, [refund("c1")], END, END, **given)
        token = CancellationToken()
        run = (
            approvals.run(team, "Go", cancellation_token=token)
            if own_run
            else team.run(task="Go", cancellation_token=token)
        )
        running = asyncio.ensure_future(run)
        (decision_id,) = await asyncio.to_thread(asked, stacksona_reviewer)
        token.cancel()
        await asyncio.gather(running, return_exceptions=True)
        again = await team.run(task="Say something")
        return decision_id, again

    decision_id, again = bounded(work)

    assert ends(stacksona_reviewer, decision_id) == "cancelled"
    assert shop.refunds == []
    assert again.messages[-1].to_text() == END


@pytest.mark.parametrize("gated", [True, False], ids=["gated", "ungated"])
def test_token_cancelled_while_running(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, gated: bool) -> None:
    """Cancelling while a tool runs ends the run; the outcome of a gated one stays unknown."""
    shop = Shop()

    async def work() -> None:
        approvals = TeamGate(stacksona_gate.gate(wait=None), tools="all" if gated else ["other"])
        team = team_of(approvals, [call("c1", "slow", order="7")], END, tools=approvals.tools(shop.slow))
        token = CancellationToken()
        running = asyncio.ensure_future(approvals.run(team, "Go", cancellation_token=token))
        if gated:
            await asyncio.to_thread(stacksona_reviewer.approve)
        await asyncio.to_thread(shop.running.wait)
        token.cancel()
        await asyncio.gather(running, return_exceptions=True)

    bounded(work)

    listed = stacksona_reviewer.client.reviews("unknown")  # type: ignore[arg-type]
    assert [review.outcome for review in listed] == (["unknown"] if gated else [])


def test_task_cancelled(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Cancelling the task of a run ends it, withdraws the request, and a later approval finds nothing to run."""
    shop = Shop()

    async def work() -> str:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        team = team_of(approvals, [refund("c1")], END, tools=approvals.tools(shop.refund))
        running = asyncio.ensure_future(approvals.run(team, "Go"))
        (decision_id,) = await asyncio.to_thread(asked, stacksona_reviewer)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return decision_id

    decision_id = bounded(work)

    assert ends(stacksona_reviewer, decision_id) == "cancelled"
    assert shop.refunds == []


def test_not_paused_while_it_runs(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A state that is saved within a turn cannot be continued, so a pause then is refused."""
    shop = Shop()

    async def work() -> None:
        approvals = TeamGate(stacksona_gate.gate(wait=None))
        team = team_of(approvals, [refund("c1")], END, tools=approvals.tools(shop.refund))
        running = asyncio.ensure_future(approvals.run(team, "Go"))
        await asyncio.to_thread(stacksona_reviewer.waiting)
        with pytest.raises(ConfigurationError, match="runs"):
            await approvals.pause(team)
        with pytest.raises(ConfigurationError, match="runs"):
            await approvals.run(team, "Go")
        await asyncio.to_thread(stacksona_reviewer.approve)
        await running

    bounded(work)

    assert len(shop.refunds) == 1
