"""The refund agent in CrewAI: a real crew with a scripted model, so that it needs no key."""
# ruff: noqa: E402 - CrewAI reads its environment when it is imported

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

# A demonstration tells nobody, and asks nobody whether to show traces.
for _name, _value in {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}.items():
    os.environ.setdefault(_name, _value)

from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool
from pydantic import Field

from stacksona_adapters.crewai import GatedCrew, PausedCrew
from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import StacksonaError

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate

_DECISION = re.compile(r"\n\(decision (?P<id>\S+)\)$")


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """A crew for each request, all at once; see `results.Runner`."""
    # CrewAI runs its loops and tools on the default threads of the event loop, and each waiting crew holds some.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4 * len(rows) + 4))

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(gate, row, shop)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


class _Model(BaseLLM):
    """What a language model would do: propose, propose again when asked for more, and then say how it went."""

    llm_type: str = "scripted"
    wanted: dict[str, Any] = Field(default_factory=dict)

    def call(self, messages: Any, *_: Any, **__: Any) -> Any:
        """The next proposal, or the last word."""
        results = [str(message["content"]) for message in messages if message["role"] == "tool"]
        if not results:
            return _proposal(self.wanted)
        if len(results) == 1 and _refusal(results[0]).get("status") == "revise":
            return _proposal(sent_back(self.wanted))
        return results[-1]

    async def acall(self, messages: Any, *_: Any, **__: Any) -> Any:
        """As `call`."""
        return self.call(messages)

    def supports_function_calling(self) -> bool:
        """Whether it calls tools: it does."""
        return True

    def get_input_tokens_count(self, *_: Any, **__: Any) -> int:
        """How much it reads: nobody counts."""
        return 1


async def _refund(gate: Gate, row: RefundRequest, shop: Shop) -> RowResult:
    clerk = Agent(
        role="refund clerk",
        goal="settle complaints",
        backstory=f"You are {AGENT}, an agent of the shop.",
        llm=_Model(model="scripted", wanted=row.arguments()),
        tools=[tool(TOOL)(shop.issue_refund)],
    )
    task = Task(description=f"{row.customer} wants a refund of {row.order_id}", expected_output="receipt", agent=clerk)
    crew = Crew(name="complaints", agents=[clerk], tasks=[task])
    try:
        done = await GatedCrew(crew, gate=gate, tools=[TOOL], subject="order_id", risk="high").akickoff()
    except StacksonaError as error:
        return RowResult(row, note=str(error))
    if isinstance(done, PausedCrew):
        return RowResult(row, done.waiting[0].decision_id, note="it waits for a reviewer")
    return _read(row, str(done.raw))


def _proposal(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    function = {"name": TOOL, "arguments": json.dumps(arguments)}
    return [{"id": "call_1", "type": "function", "function": function}]


def _refusal(said: str) -> dict[str, Any]:
    """What the gate told the model of a call that did not run; empty for one that ran."""
    try:
        read = json.loads(said)
    except ValueError:
        return {}
    return read if isinstance(read, dict) and read.get("executed") is False else {}


def _read(row: RefundRequest, said: str) -> RowResult:
    refused = _refusal(said)
    if refused:
        return RowResult(row, refused.get("decision_id"), note=refused.get("feedback") or refused.get("reason"))
    decision = _DECISION.search(said)
    return RowResult(row, decision["id"] if decision else None, receipt=said.partition("\n")[0])
