"""A refund that a person decides, in LlamaIndex, with a pause that another process could continue.

    pip install "stacksona-adapters[server,llamaindex]"
    python llamaindex_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import asyncio
import json
import sys
from typing import Any

from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.mock import MockLLM

from stacksona_adapters import Gate
from stacksona_adapters.llamaindex import GatedAgentWorkflow, PausedRun, resume, run_or_pause
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}


class Model(MockLLM):
    """Stands in for a language model: it proposes one refund and repeats what became of it."""

    async def astream_chat(self, messages: Any, **_: Any) -> Any:
        said = str(messages[-1].content)
        text = f"Thought: I pay it.\nAction: issue_refund\nAction Input: {json.dumps(REFUND)}"
        if said.startswith("Observation:"):
            text = f"Thought: That is all.\nAnswer: {said.removeprefix('Observation:').strip()}"

        async def reply() -> Any:
            yield ChatResponse(message=ChatMessage(role="assistant", content=text), delta=text)

        return reply()


def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def make_agent(gate: Gate, wait: float | None) -> GatedAgentWorkflow:
    agent = ReActAgent(name="refund-bot", tools=[issue_refund], llm=Model())
    return GatedAgentWorkflow(
        agents=[agent], gate=gate, tools=["issue_refund"], risk="high", subject="order_id", wait=wait
    )


async def refund(gate: Gate) -> None:
    result = await run_or_pause(make_agent(gate, wait=0), user_msg="Please refund order 8821: it arrived broken.")
    if isinstance(result, PausedRun):
        saved = result.to_json()
        print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        result = await resume(make_agent(gate, wait=None), PausedRun.from_json(saved))
    print(result)


def main() -> None:
    if sys.stdin.isatty():
        with local_gate("gate.db", agent="refund-bot") as gate:
            asyncio.run(refund(gate))
        return
    edit = Verdict("approve", "Without the shipping.", {**REFUND, "amount": 37.5})
    with running_gate() as server, server.reviewer().deciding(edit):
        asyncio.run(refund(server.gate("refund-bot")))


if __name__ == "__main__":
    main()
