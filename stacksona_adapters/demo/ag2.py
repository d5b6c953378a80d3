"""The refund agent in ag2: a real agent with a scripted model, so that it needs no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ag2 import Agent, Context
from ag2.config import LLMClient, ModelConfig
from ag2.events import (
    BaseEvent,
    ModelMessage,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResultEvent,
    ToolResultsEvent,
)

from stacksona_adapters.ag2 import AgentGate, PausedAgent
from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """An agent for each request, all at once; see `results.Runner`."""
    approvals = AgentGate(gate, subject="order_id", risk="high")

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(approvals, row, shop)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _refund(approvals: AgentGate, row: RefundRequest, shop: Shop) -> RowResult:
    agent: Agent[Any] = Agent(AGENT, config=_Config(row.arguments()), tools=approvals.tools(_tool(shop)))
    done = await approvals.ask(agent, json.dumps(row.arguments(), ensure_ascii=False))
    if isinstance(done, PausedAgent):
        return RowResult(row, done.decision_ids[0], note="waits for a reviewer")
    last = _results(list(await done.history.get_events()))[-1]
    refused = _refusal(_text(last))
    if refused:
        return RowResult(row, refused.get("decision_id"), note=refused.get("feedback") or refused.get("reason"))
    return RowResult(row, last.result.metadata.get("stacksona_decision_id"), receipt=_text(last).partition("\n")[0])


def _tool(shop: Shop) -> Any:
    """The shop's tool as a function: ag2 copies its tools, and there is only one shop."""

    async def issue_refund(order_id: str, customer: str, amount: float, currency: str, reason: str) -> str:
        """Pay a refund to a customer."""
        return shop.issue_refund(order_id, customer, amount, currency, reason)

    return issue_refund


class _Config(ModelConfig):
    """A model that wants one refund."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted

    @property
    def provider(self) -> Any:
        """There is none."""
        raise NotImplementedError

    @property
    def model(self) -> str:
        """There is none."""
        raise NotImplementedError

    def copy(self, **_: Any) -> _Config:
        """The same model."""
        return self

    def create(self) -> LLMClient:
        """The model's client."""
        return _Model(self._wanted)

    def create_files_client(self) -> Any:
        """There is none."""
        raise NotImplementedError


class _Model(LLMClient):
    """What a language model would do: propose, propose again when asked for more, and then say how it went."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted

    async def __call__(self, messages: Sequence[BaseEvent], context: Context, **_: Any) -> ModelResponse:
        told = [_text(each) for each in _results(messages)]
        if not told:
            return _proposal(self._wanted, 1)
        if len(told) == 1 and _refusal(told[0]).get("status") == "revise":
            return _proposal(sent_back(self._wanted), 2)
        message = ModelMessage(told[-1])
        await context.send(message)
        return ModelResponse(message)


def _proposal(wanted: dict[str, Any], number: int) -> ModelResponse:
    call = ToolCallEvent(TOOL, id=f"call_{number}", arguments=json.dumps(wanted, ensure_ascii=False))
    return ModelResponse(tool_calls=ToolCallsEvent([call]))


def _results(events: Sequence[BaseEvent]) -> list[ToolResultEvent]:
    return [result for event in events if isinstance(event, ToolResultsEvent) for result in event.results]


def _text(result: ToolResultEvent) -> str:
    return "\n".join(part.content for part in result.result.parts if isinstance(part, TextInput))


def _refusal(said: str) -> dict[str, Any]:
    """What the gate told the model of a call that did not run; empty for one that ran."""
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("executed") is False else {}
