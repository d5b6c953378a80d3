"""Suspending and resuming: what LlamaIndex loses, refuses or runs again, and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.tools import FunctionTool
from workflows import Context

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.llamaindex import GatedAgentWorkflow, GatedWorkflow, PausedRun, resume, run_or_pause
from stacksona_adapters.llamaindex._pausing import REVIEW_STEPS
from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.protocol.reviews import ReviewDetail
from stacksona_adapters.testing import Reviewer
from stacksona_adapters.testing.gate import RunningGate
from stacksona_adapters.testing.harness import AGENT, GATED, GOODBYE, UNGATED, Ledger
from tests.adapters.llamaindex import killed
from tests.adapters.llamaindex_models import ScriptedModel, Turn

Requests = Callable[[], list[ReviewDetail]]
REFUND = {"order_id": "A-1", "amount": 50.0}
CALL: Turn = [("c1", GATED, REFUND)]


def workflow_of(gate: Gate, ledger: Ledger, *turns: Turn, tools: list[Any] | None = None) -> GatedAgentWorkflow:
    """A gated agent that suspends at once."""
    model = ScriptedModel(turns=[list(turn) for turn in turns or (CALL,)])
    given = tools if tools is not None else [ledger.issue_refund, ledger.look_up]
    agent = FunctionAgent(name="biller", tools=given, llm=model)
    return GatedAgentWorkflow([agent], gate=gate, tools=[GATED], wait=0)


async def paused_run(workflow: GatedAgentWorkflow, **options: Any) -> PausedRun:
    """A run that has suspended, through its JSON."""
    paused = await run_or_pause(workflow, user_msg="Refund it.", **options)
    assert isinstance(paused, PausedRun), paused
    return PausedRun.from_json(paused.to_json())


@pytest.mark.parametrize("memory", [None, Memory.from_defaults, ChatMemoryBuffer.from_defaults])
def test_memory_survives(gate: Gate, reviewer: Reviewer, ledger: Ledger, memory: Any) -> None:
    """LlamaIndex drops an agent's memory from its snapshot, by kind and by pydantic's version; a pause keeps it."""

    async def play() -> Any:
        given = {} if memory is None else {"memory": memory(token_limit=10_000)}
        paused = await paused_run(workflow_of(gate, ledger), **given)
        await asyncio.to_thread(reviewer.approve)
        again = workflow_of(gate, ledger)
        result = await resume(again, paused)
        return result, again.agents["biller"].llm

    result, model = asyncio.run(play())

    assert (str(result), ledger.refunds) == (GOODBYE, [REFUND])
    assert model.seen[-1][0] == "user: Refund it."


def test_own_memory_is_put_back(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A memory of one's own is given to `resume` and is used."""

    async def play() -> Memory:
        memory = Memory.from_defaults(session_id="s", token_limit=10_000)
        paused = await paused_run(workflow_of(gate, ledger), memory=memory)
        await asyncio.to_thread(reviewer.approve)
        await resume(workflow_of(gate, ledger), paused, memory=memory)
        return memory

    memory = asyncio.run(play())

    assert [message.role.value for message in asyncio.run(memory.aget_all())][-1] == "assistant"


class Opaque:
    """A result without a JSON form."""

    def __str__(self) -> str:
        return "opaque"


def test_earlier_result_without_json(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """One earlier tool result that is no JSON keeps LlamaIndex from serialising at all; a pause keeps its text."""

    def look_up(order_id: str) -> Any:
        """Look up."""
        return Opaque() if order_id else None

    look = FunctionTool.from_defaults(look_up)

    async def play() -> Any:
        turns = ([("c0", UNGATED, {"order_id": "A-1"})], [*CALL, ("c2", UNGATED, {"order_id": "A-2"})])
        paused = await paused_run(workflow_of(gate, ledger, *turns, tools=[ledger.issue_refund, look]))
        await asyncio.to_thread(reviewer.approve)
        return await resume(workflow_of(gate, ledger, *turns, tools=[ledger.issue_refund, look]), paused)

    result = asyncio.run(play())

    assert (str(result), ledger.refunds) == (GOODBYE, [REFUND])
    assert [call.tool_output.content for call in result.tool_calls if call.tool_name == UNGATED] == ["opaque"] * 2


def test_undecided_resume_pauses_again(gate: Gate, reviewer: Reviewer, requests: Requests, ledger: Ledger) -> None:
    """A resumed run whose request is still open suspends again with the same request, any number of times."""

    async def play() -> Any:
        paused = await paused_run(workflow_of(gate, ledger))
        for _ in range(3):
            again = await resume(workflow_of(gate, ledger), paused)
            assert [each.decision_id for each in again.reviews] == [each.decision_id for each in paused.reviews]
            paused = again
        await asyncio.to_thread(reviewer.approve)
        return await resume(workflow_of(gate, ledger), paused)

    assert str(asyncio.run(play())) == GOODBYE
    assert (len(requests()), ledger.refunds) == (1, [REFUND])


def test_pausing_withdraws_nothing_and_cancelling_does(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """LlamaIndex ends a suspended run and a cancelled one by the same call; only the second one's request is dead."""
    asyncio.run(paused_run(workflow_of(gate, ledger)))
    assert gate.flush(10)
    assert [request.status for request in requests()] == [Status.PENDING_REVIEW]


def test_own_snapshot_finds_the_request(gate: Gate, reviewer: Reviewer, requests: Requests, ledger: Ledger) -> None:
    """A context that the user serialised, taken up by another process, runs its step again and asks nothing new."""

    async def play() -> Any:
        workflow = workflow_of(gate, ledger)
        workflow.binding = type(workflow.binding)(gate.aio, workflow.binding.policy, None)
        handler = workflow.run(user_msg="Refund it.")
        await asyncio.to_thread(reviewer.waiting)
        memory = await handler.ctx.store.get("memory")
        snapshot = json.loads(json.dumps(handler.ctx.to_dict()))
        again = workflow_of(gate, ledger)
        again.binding = workflow.binding
        # The first run still waits, as in a process that does not know yet that it has been replaced.
        second = again.run(ctx=Context.from_dict(again, snapshot))
        await second.ctx.store.set("memory", memory)
        await asyncio.to_thread(reviewer.approve)
        return await asyncio.gather(handler, second)

    first, second = asyncio.run(play())

    assert (str(first), str(second)) == (GOODBYE, GOODBYE)
    assert (len(requests()), ledger.refunds) == (1, [REFUND])


def test_same_name_finds_the_request(gate: Gate, reviewer: Reviewer, requests: Requests, ledger: Ledger) -> None:
    """A process that starts from nothing under the same `run_id` finds the request of the one that died."""

    async def play() -> Any:
        await paused_run(workflow_of(gate, ledger), run_id="order-8821")
        await asyncio.to_thread(reviewer.approve)
        return await run_or_pause(workflow_of(gate, ledger), user_msg="Refund it.", run_id="order-8821")

    assert str(asyncio.run(play())) == GOODBYE
    assert (len(requests()), ledger.refunds) == (1, [REFUND])


def test_resumed_after_its_end(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """The same pause resumed again after it has ended runs nothing again, and the model is told."""

    async def play() -> Any:
        paused = await paused_run(workflow_of(gate, ledger))
        await asyncio.to_thread(reviewer.approve)
        await resume(workflow_of(gate, ledger), paused)
        return await resume(workflow_of(gate, ledger), paused)

    result = asyncio.run(play())

    assert "did not run again" in result.tool_calls[0].tool_output.content
    assert ledger.refunds == [REFUND]


EMPTY = '{"run_id": "r", "reviews": [], "context": {}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no suspended run"),
        ("{}", "no suspended run"),
        ('{"run_id": "r", "reviews": [], "context": {}}', "no step"),
    ],
)
def test_no_pause(gate: Gate, ledger: Ledger, text: str, says: str) -> None:
    """What is no pause is refused in a sentence that says what to pass."""

    async def play() -> None:
        await resume(workflow_of(gate, ledger), PausedRun.from_json(text))

    with pytest.raises(ConfigurationError, match=says):
        asyncio.run(play())


def test_pause_of_another_workflow(gate: Gate, ledger: Ledger) -> None:
    """LlamaIndex skips the state of a step that it does not know and waits for ever; that is refused instead."""

    async def play() -> None:
        paused = await paused_run(workflow_of(gate, ledger))
        await resume(killed.Flow(gate=gate), paused)

    with pytest.raises(ConfigurationError, match="review_call_step"):
        asyncio.run(play())


def test_ungated_workflow_is_refused(ledger: Ledger) -> None:
    """An agent that asks nobody cannot be suspended for a reviewer: the error says what to use."""

    async def play() -> None:
        await run_or_pause(FunctionAgent(tools=[ledger.look_up], llm=ScriptedModel()), user_msg="Hi.")  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match="GatedAgentWorkflow"):
        asyncio.run(play())


def test_persisted_names_do_not_change() -> None:
    """A suspended run names steps and event classes; an upgrade that renamed one would lose runs."""
    from stacksona_adapters.llamaindex import events

    assert frozenset({"review_step", "review_call_step"}) == REVIEW_STEPS
    assert callable(GatedWorkflow.approval_step)
    assert callable(GatedAgentWorkflow.gated_call_step)
    for name in ("ApprovalRequested", "ApprovalResolved", "GatedCall", "HumanReviewRequired"):
        assert getattr(events, name).__module__ == "stacksona_adapters.llamaindex.events"


def test_events_and_errors_of_a_listener(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """A listener may be asynchronous; one that raises ends the run, and nobody reviews its request any more."""

    async def listen(event: Any) -> None:
        if type(event).__name__ == "HumanReviewRequired":
            raise ValueError("cannot listen")

    async def play() -> None:
        workflow = workflow_of(gate, ledger)
        workflow.binding = type(workflow.binding)(gate.aio, workflow.binding.policy, None)
        await run_or_pause(workflow, user_msg="Refund it.", on_event=listen)

    with pytest.raises(ValueError, match="cannot listen"):
        asyncio.run(play())
    assert gate.flush(10)
    assert [request.status for request in requests()] in ([Status.CANCELLED], [Status.PENDING_REVIEW])


@pytest.mark.parametrize("moment", killed.MOMENTS)
@pytest.mark.parametrize("kind", killed.KINDS)
def test_killed_at_any_moment(
    server: RunningGate, reviewer: Reviewer, requests: Requests, tmp_path: Path, kind: str, moment: str
) -> None:
    """A process killed between request and report never makes a second request or execution; a person settles it."""
    given = {"url": server.url, "api_key": server.agent_key(AGENT), "directory": str(tmp_path), "kind": kind}
    if moment not in {"requested", "suspended"}:
        assert _elsewhere(given) == 0
        reviewer.approve()
    assert _elsewhere({**given, "die_at": moment}) == -signal.SIGKILL
    if moment in {"requested", "suspended"}:
        reviewer.approve()
    for _ in range(2):
        assert _elsewhere(given) == 0
    ledger = Ledger(tmp_path / "ledger.jsonl")

    assert len(requests()) == 1
    assert ledger.refunds == ([] if moment == "before the tool" else [REFUND])

    if moment == "before the tool":
        reviewer.settle(requests()[0].decision_id, ran=False, message="The shop's books have no such refund.")
        for _ in range(2):
            assert _elsewhere(given) == 0
        assert (len(requests()), ledger.refunds) == (1, [REFUND])


def _elsewhere(given: dict[str, str]) -> int:
    command = [sys.executable, "-m", killed.__name__, json.dumps(given)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr[-3000:]
    return done.returncode
