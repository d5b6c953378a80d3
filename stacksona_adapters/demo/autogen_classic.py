"""The refund agent in AutoGen's classic API (0.2): two real agents and a scripted model, so that it needs no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autogen import Agent, ConversableAgent

from stacksona_adapters.autogen_classic import GatedUserProxyAgent
from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import AGENT, TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate

_DECISIONS = "stacksona_decision_ids"


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """A chat for each request, all at once; see `results.Runner`."""

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(gate, row, shop)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _refund(gate: Gate, row: RefundRequest, shop: Shop) -> RowResult:
    assistant = ConversableAgent("assistant", llm_config=False, human_input_mode="NEVER")
    model = _Model(row.arguments())
    assistant.register_reply([Agent, None], model.reply, position=0, ignore_async_in_sync_chat=True)
    executor = GatedUserProxyAgent(
        AGENT,
        gate=gate,
        risk="high",
        subject="order_id",
        human_input_mode="NEVER",
        code_execution_config=False,
        is_termination_msg=lambda message: message.get("content") == "TERMINATE",
    )
    executor.register_function({TOOL: shop.issue_refund})
    await executor.a_initiate_chat(assistant, message=f"Refund {row.order_id}", silent=True)
    return _result(row, model.last)


def _result(row: RefundRequest, last: dict[str, Any]) -> RowResult:
    """What the last answer of the tool says."""
    said = str(last.get("content") or "")
    ids = (last.get("context") or {}).get(_DECISIONS) or [None]
    refused = _refusal(said)
    if refused:
        return RowResult(row, refused.get("decision_id"), note=refused.get("feedback") or refused.get("reason"))
    return RowResult(row, ids[-1], receipt=said.partition("\n")[0])


class _Model:
    """What a language model would do: propose, propose again when asked for more, and then end the chat."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self.last: dict[str, Any] = {}

    def reply(self, recipient: Any, messages: Any = None, sender: Any = None, config: Any = None) -> tuple[bool, Any]:
        """The assistant's next message."""
        told = [message for message in messages or [] if message.get("tool_responses")]
        if not told:
            return True, _proposal(self._wanted, 1)
        self.last = told[-1]
        if len(told) == 1 and _refusal(str(self.last.get("content"))).get("status") == "revise":
            return True, _proposal(sent_back(self._wanted), 2)
        return True, "TERMINATE"


def _proposal(wanted: dict[str, Any], number: int) -> dict[str, Any]:
    function = {"name": TOOL, "arguments": json.dumps(wanted, ensure_ascii=False)}
    return {"content": None, "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}]}


def _refusal(said: str) -> dict[str, Any]:
    """What the gate told the model of a call that did not run; empty for one that ran."""
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("executed") is False else {}
