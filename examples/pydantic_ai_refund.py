"""A refund that a person decides, in PydanticAI, with a pause that another process could continue.

    pip install "stacksona-adapters[server,pydantic-ai]"
    python pydantic_ai_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import asyncio
import sys

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import DeferredToolRequests

from stacksona_adapters import Gate
from stacksona_adapters.local import local_gate
from stacksona_adapters.pydantic_ai import GatedTools, PausedRun, resume
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Stands in for a language model: it proposes one refund and repeats what became of it."""
    if not any(isinstance(message, ModelResponse) for message in messages):
        return ModelResponse(parts=[ToolCallPart("issue_refund", REFUND)])
    return ModelResponse(parts=[TextPart(str(messages[-1].parts[-1].content))])


def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def make_agent(gate: Gate) -> Agent[None, str | DeferredToolRequests]:
    gated = GatedTools(gate, tools=["issue_refund"], risk="high", subject="order_id", wait=0)
    return Agent(
        FunctionModel(model),
        name="refund-bot",
        tools=[issue_refund],
        capabilities=[gated],
        output_type=[str, DeferredToolRequests],
    )


async def refund(gate: Gate) -> None:
    result = await make_agent(gate).run("Please refund order 8821: it arrived broken.")
    paused = PausedRun.of(result)
    if paused is None:  # a rule decided
        print(result.output)
        return
    saved = paused.to_json()
    print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

    # The same lines, days later, in any process:
    result = await resume(make_agent(gate), PausedRun.from_json(saved), gate, wait=None)
    print(result.output)


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
