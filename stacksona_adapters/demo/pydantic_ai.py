"""The refund agent in PydanticAI: a real agent with a scripted model, so that it needs no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.pydantic_ai import GatedTools

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """One agent, a run for each request, all at once; see `results.Runner`."""
    agent = Agent(
        FunctionModel(_model),
        name=AGENT,
        tools=[shop.issue_refund],
        capabilities=[GatedTools(gate, subject="order_id", risk="high")],
    )

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(agent, row)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _refund(agent: Agent[None, str], row: RefundRequest) -> RowResult:
    try:
        done = await agent.run(json.dumps(row.arguments(), ensure_ascii=False))
    except StacksonaError as error:
        return RowResult(row, note=str(error))
    return _read(row, _returns(done.all_messages())[-1])


def _model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """What a language model would do: propose, propose again when asked for more, and then say how it went."""
    returns = _returns(messages)
    wanted = _wanted(messages)
    if not returns:
        return ModelResponse(parts=[ToolCallPart(TOOL, wanted)])
    if len(returns) == 1 and _refusal(returns[0]).get("status") == "revise":
        return ModelResponse(parts=[ToolCallPart(TOOL, sent_back(wanted))])
    return ModelResponse(parts=[TextPart(str(returns[-1].content))])


def _wanted(messages: Sequence[ModelMessage]) -> dict[str, Any]:
    """The refund that the prompt is about; the framework may put a warning of its own before it."""
    prompts = [part for message in messages for part in message.parts if isinstance(part, UserPromptPart)]
    wanted: dict[str, Any] = json.loads(str(prompts[-1].content))
    return wanted


def _returns(messages: Sequence[ModelMessage]) -> list[ToolReturnPart]:
    return [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]


def _refusal(part: ToolReturnPart) -> dict[str, Any]:
    """What the gate told the model of a call that did not run; empty for one that ran."""
    try:
        said = json.loads(str(part.content))
    except ValueError:
        return {}
    return said if isinstance(said, dict) and said.get("executed") is False else {}


def _read(row: RefundRequest, part: ToolReturnPart) -> RowResult:
    refused = _refusal(part)
    if refused:
        return RowResult(row, refused.get("decision_id"), note=refused.get("feedback") or refused.get("reason"))
    return RowResult(row, part.metadata["stacksona"]["decision_id"], receipt=str(part.content).partition("\n")[0])
