"""A run in a process of its own that kills itself at a named moment; started again it goes on from what it has."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from workflows import step
from workflows.events import StartEvent, StopEvent

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.llamaindex import (
    ApprovalRequested,
    ApprovalResolved,
    GatedAgentWorkflow,
    GatedWorkflow,
    HumanReviewRequired,
    PausedRun,
    resume,
    run_or_pause,
)
from stacksona_adapters.testing.harness import AGENT, GATED, Ledger
from tests.adapters.llamaindex_models import ScriptedModel

KINDS = ("agent", "workflow")
MOMENTS = ("requested", "suspended", "before the tool", "in the tool", "after the tool")
REFUND = {"order_id": "A-1", "amount": 50.0}


class Shop:
    """The tool, and the moments around it."""

    def __init__(self, given: dict[str, str]) -> None:
        self.directory = Path(given["directory"])
        self._die_at = given.get("die_at")
        self._ledger = Ledger(self.directory / "ledger.jsonl", die=self._die_at == "in the tool")

    def moment(self, name: str) -> None:
        """Die here, if this is the moment."""
        if name == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def issue_refund(self, order_id: str, amount: float) -> str:
        """Pay a refund."""
        self.moment("before the tool")
        told = self._ledger.issue_refund(order_id, amount)
        self.moment("after the tool")
        return told

    def listen(self, event: Any) -> None:
        """Take the run's events."""
        if isinstance(event, HumanReviewRequired):
            self.moment("requested")


class Flow(GatedWorkflow):
    """Proposes a refund and pays it."""

    shop: Shop

    @step
    async def propose(self, ev: StartEvent) -> ApprovalRequested:
        """Want the refund."""
        return ApprovalRequested(tool_name=GATED, payload=REFUND, request_id="refund")

    @step
    async def pay(self, ev: ApprovalResolved) -> StopEvent:
        """Pay what is approved."""
        try:
            async with self.permit(ev) as permit:
                return StopEvent(result=self.shop.issue_refund(**permit.arguments))
        except StacksonaError as error:
            return StopEvent(result=str(error))


def workflow_of(kind: str, gate: Gate, shop: Shop) -> GatedWorkflow | GatedAgentWorkflow:
    """The workflow of a kind."""
    if kind == "workflow":
        flow = Flow(gate=gate, wait=0)
        flow.shop = shop
        return flow
    agent = FunctionAgent(name=AGENT, tools=[shop.issue_refund], llm=ScriptedModel(turns=[[("c1", GATED, REFUND)]]))
    return GatedAgentWorkflow([agent], gate=gate, wait=0)


async def play(given: dict[str, str]) -> None:
    """Run, or resume what is there, until the run ends or nobody has decided."""
    shop = Shop(given)
    pause = shop.directory / "pause.json"
    with Gate(AGENT, url=given["url"], api_key=given["api_key"], state_dir=shop.directory / "state") as gate:
        workflow = workflow_of(given["kind"], gate, shop)
        if pause.exists():
            result = await resume(workflow, PausedRun.from_json(pause.read_text("utf-8")), on_event=shop.listen)
        else:
            start = {"user_msg": "Refund it."} if given["kind"] == "agent" else {}
            result = await run_or_pause(workflow, run_id="order-8821", on_event=shop.listen, **start)
            if isinstance(result, PausedRun):
                pause.write_text(result.to_json(), "utf-8")
                shop.moment("suspended")


if __name__ == "__main__":
    asyncio.run(play(json.loads(sys.argv[1])))
