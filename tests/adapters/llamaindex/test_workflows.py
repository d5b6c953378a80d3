"""Plain workflows and gated tools outside of agents."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import ActionBlocked, AlreadyTaken, ConfigurationError
from stacksona_adapters.llamaindex import (
    ApprovalRequested,
    ApprovalResolved,
    GatedTool,
    GatedWorkflow,
    PausedRun,
    gated_tools,
    resume,
    run_or_pause,
)
from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.protocol.reviews import ReviewDetail
from stacksona_adapters.testing import Reviewer, Verdict
from stacksona_adapters.testing.broken import nobody
from stacksona_adapters.testing.harness import GATED, Ledger
from tests.adapters.llamaindex_models import ScriptedModel

Requests = Callable[[], list[ReviewDetail]]
REFUND = {"order_id": "A-1", "amount": 50.0}


class AtOnce:
    """A step that fails is tried again at once, three times in all (the protocol of all releases)."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, **_: Any) -> float | None:
        """The pause before the next try; `None` ends them."""
        return 0.0 if attempts < 3 else None


class Refund(BaseModel):
    """A refund's arguments."""

    order_id: str
    amount: float = Field(gt=0)


class Typed(BaseModel):
    """A state of the author's own, without room for ours."""

    paid: int = 0


class Roomy(Typed):
    """A state with room for ours."""

    stacksona: dict[str, Any] = Field(default_factory=dict)


class Flow(GatedWorkflow):
    """Proposes a refund and pays it."""

    def __init__(self, ledger: Ledger, **options: Any) -> None:
        super().__init__(**options)
        self.ledger = ledger

    @step
    async def propose(self, ctx: Context, ev: StartEvent) -> ApprovalRequested:
        """Want the refund."""
        return ApprovalRequested(tool_name=GATED, payload=ev.get("payload", REFUND), subject="Ann")

    @step
    async def pay(self, ctx: Context, ev: ApprovalResolved) -> StopEvent:
        """Pay what is approved."""
        if not ev.approved:
            return StopEvent(result=ev.refusal)
        async with self.permit(ev) as permit:
            return StopEvent(result=self.ledger.issue_refund(**permit.arguments))


class TypedFlow(Flow):
    """The same with a typed state."""

    @step
    async def propose(self, ctx: Context[Typed], ev: StartEvent) -> ApprovalRequested:
        """Want the refund."""
        async with ctx.store.edit_state() as state:
            state.paid = 1
        return ApprovalRequested(tool_name=GATED, payload=REFUND)


class RoomyFlow(Flow):
    """The same with a typed state that has room."""

    @step
    async def propose(self, ctx: Context[Roomy], ev: StartEvent) -> ApprovalRequested:
        """Want the refund."""
        return ApprovalRequested(tool_name=GATED, payload=REFUND)


@pytest.mark.parametrize("kind", [Flow, TypedFlow, RoomyFlow])
def test_typed_state(gate: Gate, reviewer: Reviewer, requests: Requests, ledger: Ledger, kind: type[Flow]) -> None:
    """A typed state refuses keys that it does not declare; the approval neither needs one nor breaks."""

    async def play() -> Any:
        paused = await run_or_pause(kind(ledger, gate=gate, wait=0))
        assert isinstance(paused, PausedRun)
        await asyncio.to_thread(reviewer.approve)
        return await resume(kind(ledger, gate=gate, wait=0), PausedRun.from_json(paused.to_json()))

    assert asyncio.run(play()) == "refunded 50.0 for A-1"
    assert (len(requests()), ledger.refunds) == (1, [REFUND])


class Plain(Workflow):
    """A workflow without a gate."""

    @step
    async def work(self, ev: StartEvent) -> StopEvent:
        """Nothing."""
        return StopEvent()


def test_default_timeout_is_none(gate: Gate, ledger: Ledger) -> None:
    """LlamaIndex ends a workflow after 45 seconds by default, whoever is thinking; a gated one has no such default."""

    async def kept() -> dict[str, Any]:
        paused = await run_or_pause(Flow(ledger, gate=gate, wait=0))
        assert isinstance(paused, PausedRun)
        return paused.context

    assert Flow(ledger, gate=gate)._timeout is None
    assert Plain()._timeout == 45
    assert asyncio.run(kept())["is_running"] is True


def test_edit_must_fit_the_schema(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """What the schema reads is asked about and runs; what it refuses asks nobody."""

    async def play(payload: dict[str, Any]) -> Any:
        return await Flow(ledger, gate=gate, schemas={GATED: Refund}).run(payload=payload)

    with reviewer.deciding(Verdict("approve", arguments={"order_id": "A-1", "amount": 20.0})):
        asyncio.run(play({"order_id": "A-1", "amount": "50"}))
    refused = asyncio.run(play({"order_id": "A-1", "amount": -1}))

    assert ledger.refunds == [{"order_id": "A-1", "amount": 20.0}]
    assert (refused["executed"], "amount" in refused["reason"]) == (False, True)


def test_gate_that_is_down(ledger: Ledger, server: Any) -> None:
    """Without a gate the workflow gets a refusal that it can route, and nothing runs."""
    gate = server.gate(url=nobody(), api_key="sg_none", timeouts=None, wait=None)

    async def play() -> Any:
        return await Flow(ledger, gate=gate).run()

    refused = asyncio.run(asyncio.wait_for(play(), 120))

    assert (refused["status"], refused["executed"], ledger.effects) == ("unavailable", False, [])


def test_refused_event_has_no_arguments(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A step that forgets to look at `approved` gets an error where it wants the arguments."""

    class Careless(Flow):
        @step
        async def pay(self, ctx: Context, ev: ApprovalResolved) -> StopEvent:
            return StopEvent(result=self.ledger.issue_refund(**ev.arguments))

    async def play() -> None:
        await Careless(ledger, gate=gate).run()

    with reviewer.deciding(Verdict("reject", "No.")), pytest.raises(ActionBlocked, match="did not run"):
        asyncio.run(play())
    assert ledger.effects == []


def test_retried_step_does_not_run_again(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """LlamaIndex may run a failed step again; the permission is used up then, and says so."""

    class Retrying(Flow):
        @step(retry_policy=AtOnce())
        async def pay(self, ctx: Context, ev: ApprovalResolved) -> StopEvent:
            async with self.permit(ev) as permit:
                self.ledger.issue_refund(**permit.arguments)
                raise RuntimeError("the printer is out of paper")

    async def play() -> None:
        await Retrying(ledger, gate=gate).run()

    with reviewer.deciding(Verdict("approve")), pytest.raises(AlreadyTaken):
        asyncio.run(play())
    assert ledger.refunds == [REFUND]


def test_forged_event_runs_nothing(gate: Gate, ledger: Ledger, reviewer: Reviewer) -> None:
    """An event that says approved is no permission: `permit` asks the gate, about these very arguments."""

    class Forging(Flow):
        @step
        async def pay(self, ctx: Context, ev: ApprovalResolved) -> StopEvent:
            decision = ev.decision and ev.decision.model_copy(update={"status": Status.APPROVED})
            forged = ApprovalResolved(
                request=ev.request, run_id=ev.run_id, decision=decision, approved_arguments=REFUND, refusal=None
            )
            async with self.permit(forged) as permit:
                return StopEvent(result=self.ledger.issue_refund(**permit.arguments))

    async def play() -> None:
        await Forging(ledger, gate=gate).run()

    with reviewer.deciding(Verdict("reject")), pytest.raises(ActionBlocked):
        asyncio.run(play())
    assert ledger.effects == []


class Calling(Workflow):
    """A plain workflow whose step fails once after its gated call."""

    def __init__(self, tool: Any) -> None:
        super().__init__(timeout=None)
        self.tool = tool
        self.outputs: list[Any] = []

    @step(retry_policy=AtOnce())
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Call the tool."""
        self.outputs.append(await self.tool.acall(stacksona_context=ctx, **REFUND))
        if len(self.outputs) == 1:
            raise RuntimeError("once")
        return StopEvent(result="done")


def test_replayed_step_asks_once(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A step that runs again finds its request, and the tool does not run again."""
    (tool,) = gated_tools([ledger.issue_refund], gate=gate)
    flow = Calling(tool)

    async def play() -> None:
        await flow.run()

    with reviewer.deciding(Verdict("approve")) as decided:
        asyncio.run(play())

    assert (len(decided), ledger.refunds) == (1, [REFUND])
    assert [output.is_error for output in flow.outputs] == [False, True]


def test_every_way_to_call_a_gated_tool(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """The functions that a tool gives away lead to the gate as well, by position and by name."""
    (tool,) = gated_tools([ledger.issue_refund], gate=gate)
    assert isinstance(tool, GatedTool)

    async def asynchronous() -> list[str]:
        outputs = [await tool.acall("A-1", 50.0), await tool.acall(**REFUND)]
        return [output.content for output in outputs] + [await tool.async_fn(**REFUND), await tool.real_fn(**REFUND)]

    def synchronous() -> list[str]:
        return [tool.call(**REFUND).content, tool(**REFUND).content, tool.fn(**REFUND)]

    with reviewer.deciding(Verdict("reject", "Never.")) as decided:
        told = [*asyncio.run(asynchronous()), *synchronous()]

    assert (len(decided), ledger.effects) == (7, [])
    assert all("Never." in text for text in told)
    with reviewer.deciding(Verdict("approve")):
        asyncio.run(asynchronous())
        synchronous()
    assert len(ledger.refunds) == 7


def test_sync_call_does_not_block_a_loop(gate: Gate, ledger: Ledger) -> None:
    """A synchronous call on a running event loop would stop it: that is an error which says what to do."""
    (tool,) = gated_tools([ledger.issue_refund], gate=gate)

    async def play() -> None:
        with pytest.raises(ConfigurationError, match="acall"):
            tool(**REFUND)

    asyncio.run(play())
    assert ledger.effects == []


def test_predict_and_call_runs_once(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """LlamaIndex passes a single argument by position and may call a failing tool again: one request, one run."""

    def refund_all(order_id: str) -> str:
        """Refund all of an order."""
        return ledger.issue_refund(order_id, 1.0)

    (tool,) = gated_tools([FunctionTool.from_defaults(refund_all)], gate=gate)
    model = ScriptedModel(turns=[[("c1", "refund_all", {"order_id": "A-1"})]])

    async def play() -> Any:
        return await model.apredict_and_call([tool], "Refund it.")

    with reviewer.deciding(Verdict("reject")) as refused:
        asyncio.run(play())
    with reviewer.deciding(Verdict("approve")) as approved:
        asyncio.run(play())

    assert (len(refused), len(approved), len(ledger.refunds)) == (1, 1, 1)


def test_ungated_tools_are_left_alone(gate: Gate, ledger: Ledger) -> None:
    """A tool that is not gated is the very object that was given."""
    look = FunctionTool.from_defaults(ledger.look_up)

    assert gated_tools([look, ledger.issue_refund], gate=gate, tools=[GATED])[0] is look
    with pytest.raises(ConfigurationError, match="refnud"):
        gated_tools([look], gate=gate, tools=["refnud"])


def test_plain_workflows_load_without_the_core() -> None:
    """`llama_index.core` takes seconds to import; a plain workflow does not need it."""
    code = "import sys, stacksona_adapters.llamaindex as l; l.GatedWorkflow; print('llama_index.core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("wait", [-1, "soon"])
def test_wait_that_makes_no_sense(gate: Gate, ledger: Ledger, wait: Any) -> None:
    """A mistake in `wait=` is found where it is made, not when the first call waits."""
    with pytest.raises(ConfigurationError, match="wait="):
        Flow(ledger, gate=gate, wait=wait)
    with pytest.raises(ConfigurationError, match="wait="):
        gated_tools([ledger.issue_refund], gate=gate, wait=wait)
