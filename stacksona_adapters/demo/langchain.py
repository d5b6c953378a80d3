"""The refund agent in LangChain: a real agent with a scripted model, so that it needs no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.langchain import GateMiddleware, RunEvents

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """An agent for each request, all at once; see `results.Runner`."""

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(gate, row, shop)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


class _Model(BaseChatModel):
    """What a language model would do: propose, propose again when asked for more, and then say how it went."""

    wanted: dict[str, Any]

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """A real one would tell its provider."""
        return self

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        results = [message for message in messages if isinstance(message, ToolMessage)]
        said = AIMessage("Done.")
        if not results:
            said = _proposal(self.wanted, 1)
        elif len(results) == 1 and _mark(results[0]).get("status") == "revise":
            said = _proposal(sent_back(self.wanted), 2)
        return ChatResult(generations=[ChatGeneration(message=said)])


async def _refund(gate: Gate, row: RefundRequest, shop: Shop) -> RowResult:
    gated = GateMiddleware(gate=gate, tools=[TOOL], subject="order_id", risk="high")
    agent = create_agent(_Model(wanted=row.arguments()), [shop.issue_refund], middleware=[gated])
    config: Any = {"configurable": {"thread_id": row.id}, "callbacks": [RunEvents(gate)]}
    asked: Any = {"messages": [("user", f"{row.customer} wants a refund of {row.order_id}")]}
    try:
        done = await agent.ainvoke(asked, config)
    except StacksonaError as error:
        return RowResult(row, note=str(error))
    return _read(row, [message for message in done["messages"] if isinstance(message, ToolMessage)][-1])


def _proposal(arguments: dict[str, Any], number: int) -> AIMessage:
    call: Any = {"name": TOOL, "args": arguments, "id": f"call_{number}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


def _mark(message: ToolMessage) -> dict[str, Any]:
    mark: dict[str, Any] = message.additional_kwargs.get("stacksona", {})
    return mark


def _read(row: RefundRequest, message: ToolMessage) -> RowResult:
    decision_id, said = _mark(message).get("decision_id"), str(message.content)
    if message.status == "error":
        why = json.loads(said)
        return RowResult(row, decision_id, note=why.get("feedback") or why["reason"])
    return RowResult(row, decision_id, receipt=said.rpartition("\n")[2])
