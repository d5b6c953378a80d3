"""A flow with two steps that wait for a reviewer: an action of its own, then a crew. Played in any process."""
# ruff: noqa: D102 - the methods are the steps of the flow

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from crewai.flow import Flow, listen, router, start
from crewai.flow.async_feedback import HumanFeedbackPending
from crewai.flow.persistence import SQLiteFlowPersistence
from pydantic import BaseModel

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.crewai import GatedCrew, kickoff_in, pausing, runs_again
from stacksona_adapters.testing.harness import GATED, POLICY, Harness, Ran, Scenario
from tests.adapters.crewai_harness import agent_of, crew_of, native, tools_of


class State(BaseModel):
    """What is done."""

    id: str = ""
    log: list[str] = []


class Settlement(Flow[State]):
    """Pays a fee by itself, then lets a crew pay the refund."""

    suppress_flow_events: bool = True
    gate: Any = None
    scenario: Any = None

    @start()
    def begin(self) -> str:
        self.state.log.append("begin")
        return "begun"

    @router(begin)
    def to_fee(self) -> str:
        return "fee"

    @listen("fee")
    @pausing
    def pay_fee(self) -> str:
        self.state.log.append("fee")
        pay = self.gate.protect(GATED, risk="high", subject="order_id", wait=0)(self.scenario.ledger.issue_refund)
        with self.gate.task("Settlement", run_id=f"{self.flow_id}:fee"):
            return str(pay(order_id="FEE", amount=20.0))

    @router(pay_fee)
    def after_fee(self, result: Any) -> str:
        return "fee" if runs_again(result) else "crew"

    @listen("crew")
    def refund(self) -> str:
        self.state.log.append("crew")
        calls = [[(call.call_id, call.tool, call.arguments) for call in turn] for turn in self.scenario.turns]
        crew = GatedCrew(crew_of(agent_of(native(calls), tools_of(self.scenario.ledger))), gate=self.gate, **POLICY)
        return str(kickoff_in(self, crew).raw)

    @router(refund)
    def after_refund(self, result: Any) -> str:
        return "crew" if runs_again(result) else "settled"

    @listen("settled")
    def end(self) -> str:
        self.state.log.append("end")
        return "settled"


class FlowHarness(Harness):
    """The settlement as scenario: its pause is the flow's id."""

    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {"flow": "sync"}

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        with scenario.gate() as gate:
            return self._played(scenario, gate, paused)

    def _played(self, scenario: Scenario, gate: Gate, paused: str | None) -> Ran:
        kept = SQLiteFlowPersistence(str(scenario.directory / "flows.db"))
        if paused is None:
            flow = Settlement(persistence=kept, gate=gate, scenario=scenario)
            result = flow.kickoff()
        else:
            flow = Settlement.from_pending(paused, kept, gate=gate, scenario=scenario)
            result = flow.resume("approved")  # nobody believes it
        if isinstance(result, HumanFeedbackPending):
            return Ran(paused=result.context.flow_id, told={"waiting": json.dumps(result.callback_info)})
        return Ran(finished=result == "settled", transcript=json.dumps(flow.state.log))
