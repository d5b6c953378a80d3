"""A refund whose process dies at a chosen moment between the request and the report of its outcome."""
# ruff: noqa: D102 - the methods are those of the base classes

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, field_validator

from stacksona_adapters.crewai import GatedCrew
from stacksona_adapters.testing.harness import POLICY, Harness, Ran, Scenario
from tests.adapters.crewai_harness import IssueRefund, agent_of, crew_of, native

EDITED = 20.0
"""The amount that the reviewer writes; the schema that checks it is where a process can die before it takes."""


def die() -> None:
    """The end, as `kill -9` brings it."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingArguments(BaseModel):
    order_id: str
    amount: float

    @field_validator("amount")
    @classmethod
    def _checked(cls, amount: float) -> float:
        if os.environ.get("DIE") == "approved" and amount == EDITED:
            die()
        return amount


class DyingRefund(IssueRefund):
    """A refund that kills its process where the environment says so."""

    args_schema: type[BaseModel] = DyingArguments

    def _run(self, order_id: str, amount: float) -> str:
        if os.environ.get("DIE") == "taken":
            die()
        paid = super()._run(order_id, amount)
        if os.environ.get("DIE") == "ran":
            die()
        return paid

    def format_output_for_agent(self, raw_result: Any) -> str:
        if os.environ.get("DIE") == "told":
            die()
        return str(raw_result)


class DyingHarness(Harness):
    """Plays a scenario with the tool that dies."""

    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {"native": "sync"}

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        assert paused is None
        with scenario.gate() as gate:
            calls = [[(call.call_id, call.tool, call.arguments) for call in turn] for turn in scenario.turns]
            llm = native(calls)
            crew = GatedCrew(crew_of(agent_of(llm, [DyingRefund(ledger=scenario.ledger)])), gate=gate, **POLICY)
            crew.kickoff(run_id=scenario.run_id)
            told = {str(each["tool_call_id"]): str(each["content"]) for each in llm.seen[-1] if each["role"] == "tool"}
            return Ran(finished=True, told=told)
