"""The refund agent in AutoGen: a real agent with a scripted model, so that it needs no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import ToolCallExecutionEvent
from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    ModelFamily,
    ModelInfo,
    RequestUsage,
)

from stacksona_adapters.autogen import PausedTeam, TeamGate
from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate

_NOTHING = RequestUsage(prompt_tokens=0, completion_tokens=0)
_NAME = AGENT.replace("-", "_")


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """An agent for each request, all at once; see `results.Runner`."""

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(gate, row, shop)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _refund(gate: Gate, row: RefundRequest, shop: Shop) -> RowResult:
    approvals = TeamGate(gate, team_id="refunds", subject="order_id", risk="high")
    agent = AssistantAgent(
        _NAME, _Model(row.arguments()), tools=approvals.tools(shop.issue_refund), max_tool_iterations=3
    )
    approvals.watch(agent)
    done = await approvals.run(agent, json.dumps(row.arguments(), ensure_ascii=False))
    if isinstance(done, PausedTeam):
        return RowResult(row, done.decision_ids[0], note="waits for a reviewer")
    event = [message for message in done.messages if isinstance(message, ToolCallExecutionEvent)][-1]
    said = event.content[-1].content
    refused = _refusal(said)
    if refused:
        return RowResult(row, refused.get("decision_id"), note=refused.get("feedback") or refused.get("reason"))
    return RowResult(row, event.metadata.get("stacksona_decision_ids"), receipt=said.partition("\n")[0])


def _refusal(said: str) -> dict[str, Any]:
    """What the gate told the model of a call that did not run; empty for one that ran."""
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("executed") is False else {}


class _Model(ChatCompletionClient):
    """What a language model would do: propose, propose again when asked for more, and then say how it went."""

    component_type = "model"

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted

    async def create(self, messages: Sequence[LLMMessage], **_: Any) -> CreateResult:
        """The next proposal, or the last word.

        Args:
            messages: The conversation.
        """
        told = [each.content[-1].content for each in messages if isinstance(each, FunctionExecutionResultMessage)]
        if not told:
            return _proposal(self._wanted, 1)
        made = sum(isinstance(each, AssistantMessage) for each in messages)
        if made == 1 and _refusal(told[-1]).get("status") == "revise":
            return _proposal(sent_back(self._wanted), 2)
        return CreateResult(finish_reason="stop", content=told[-1], usage=_NOTHING, cached=False)

    def create_stream(self, messages: Sequence[LLMMessage], **_: Any) -> AsyncGenerator[str | CreateResult, None]:
        """The same, in one piece."""

        async def stream() -> AsyncGenerator[str | CreateResult, None]:
            yield await self.create(messages)

        return stream()

    async def close(self) -> None:
        """Nothing is open."""

    def actual_usage(self) -> RequestUsage:
        """Nothing was used."""
        return _NOTHING

    def total_usage(self) -> RequestUsage:
        """Nothing was used."""
        return _NOTHING

    def count_tokens(self, messages: Sequence[LLMMessage], **_: Any) -> int:
        """Nothing is counted."""
        return len(messages)

    def remaining_tokens(self, messages: Sequence[LLMMessage], **_: Any) -> int:
        """Enough."""
        return 100_000 - len(messages)

    @property
    def model_info(self) -> ModelInfo:
        """A model that calls functions."""
        return ModelInfo(
            vision=False, function_calling=True, json_output=True, family=ModelFamily.UNKNOWN, structured_output=True
        )

    @property
    def capabilities(self) -> Any:
        """See `model_info`."""
        return self.model_info


def _proposal(wanted: dict[str, Any], number: int) -> CreateResult:
    call = FunctionCall(id=f"call_{number}", name=TOOL, arguments=json.dumps(wanted, ensure_ascii=False))
    return CreateResult(finish_reason="function_calls", content=[call], usage=_NOTHING, cached=False)
