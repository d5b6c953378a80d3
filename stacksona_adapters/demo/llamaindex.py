"""The refund agent in LlamaIndex: a real agent with a scripted model, so that it needs no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.mock import MockLLM

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.llamaindex import GatedAgentWorkflow

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate

_RESULT = "Observation: "


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """One agent, a run for each request, all at once; see `results.Runner`."""
    agent = ReActAgent(name=AGENT, tools=[shop.issue_refund], llm=_Model(max_tokens=None))
    workflow = GatedAgentWorkflow([agent], gate=gate, subject="order_id", risk="high")

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(workflow, row)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _refund(workflow: GatedAgentWorkflow, row: RefundRequest) -> RowResult:
    try:
        done: Any = await workflow.run(user_msg=json.dumps(row.arguments(), ensure_ascii=False))
    except StacksonaError as error:
        return RowResult(row, note=str(error))
    last = done.tool_calls[-1]
    refused = _refusal(last.tool_output.content)
    if refused:
        return RowResult(row, refused.get("decision_id"), note=refused.get("feedback") or refused.get("reason"))
    return RowResult(row, last.get("decision_id"), receipt=str(last.tool_output.raw_output))


class _Model(MockLLM):
    """What a language model would do: propose, propose again when asked for more, and then say how it went."""

    async def astream_chat(self, messages: Sequence[ChatMessage], **_: Any) -> AsyncGenerator[ChatResponse, None]:
        """The next proposal, or the last word.

        Args:
            messages: The conversation.
        """
        text = _next(messages)

        async def reply() -> AsyncGenerator[ChatResponse, None]:
            yield ChatResponse(message=ChatMessage(role="assistant", content=text), delta=text)

        return reply()


def _next(messages: Sequence[ChatMessage]) -> str:
    said = [str(message.content) for message in messages if message.role.value == "user"]
    results = [text.removeprefix(_RESULT) for text in said if text.startswith(_RESULT)]
    wanted: dict[str, Any] = json.loads(next(text for text in said if not text.startswith(_RESULT)))
    if not results:
        return _proposal(wanted)
    if len(results) == 1 and _refusal(results[0]).get("status") == "revise":
        return _proposal(sent_back(wanted))
    return f"Thought: I can answer.\nAnswer: {results[-1]}"


def _proposal(arguments: dict[str, Any]) -> str:
    return f"Thought: I pay it.\nAction: {TOOL}\nAction Input: {json.dumps(arguments, ensure_ascii=False)}"


def _refusal(text: str) -> dict[str, Any]:
    """What the gate told the model of a call that did not run; empty for one that ran."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and said.get("executed") is False else {}
