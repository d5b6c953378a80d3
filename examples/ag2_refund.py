"""A refund that a person decides, in ag2 1.x, with a pause that another process could continue.

    pip install "stacksona-adapters[server,ag2]"
    python ag2_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import asyncio
import json
import sys
from typing import Any

from ag2 import Agent
from ag2.events import ToolCallEvent, ToolResultsEvent
from ag2.testing import TestConfig

from stacksona_adapters import Gate
from stacksona_adapters.ag2 import AgentGate, PausedAgent
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}
PROPOSAL = ToolCallEvent("issue_refund", id="call_1", arguments=json.dumps(REFUND))


async def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def make_agent(approvals: AgentGate, *script: str | ToolCallEvent) -> Agent[Any]:
    model = TestConfig(*script)  # stands in for a language model
    return Agent("refund-bot", "You pay refunds.", config=model, tools=approvals.tools(issue_refund))


def gated(gate: Gate, wait: float | None) -> AgentGate:
    return AgentGate(gate, risk="high", subject="order_id", wait=wait)


async def refund(gate: Gate) -> None:
    approvals = gated(gate, wait=0)
    ended = await approvals.ask(make_agent(approvals, PROPOSAL, "Done."), "Refund order 8821: it arrived broken.")
    if isinstance(ended, PausedAgent):
        saved = ended.to_json()
        print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        approvals = gated(gate, wait=None)
        ended = await approvals.resume(make_agent(approvals, "Done."), PausedAgent.from_json(saved))
    assert not isinstance(ended, PausedAgent)
    for event in await ended.history.get_events():
        if isinstance(event, ToolResultsEvent):
            for result in event.results:
                print(*(getattr(part, "content", part) for part in result.result.parts), sep="\n")
    print(ended.body)


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
