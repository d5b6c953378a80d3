"""A refund that a person decides, in CrewAI, with a pause that another process could continue.

    pip install "stacksona-adapters[server,crewai]"
    python crewai_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import json
import os
import sys
from typing import Any

os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true")

from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool

from stacksona_adapters import Gate
from stacksona_adapters.crewai import GatedCrew, PausedCrew
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}


class Model(BaseLLM):
    """Stands in for a language model: it proposes one refund and repeats what became of it."""

    llm_type: str = "scripted"

    def call(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        results = [message["content"] for message in messages if message["role"] == "tool"]
        if results:
            return results[-1]
        function = {"name": "issue_refund", "arguments": json.dumps(REFUND)}
        return [{"id": "call_1", "type": "function", "function": function}]

    async def acall(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        return self.call(messages)

    def supports_function_calling(self) -> bool:
        return True

    def get_input_tokens_count(self, *args: Any, **kwargs: Any) -> int:
        return 1


@tool("issue_refund")
def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def make_crew(gate: Gate, wait: float | None) -> GatedCrew:
    clerk = Agent(
        role="refund clerk",
        goal="settle complaints",
        backstory="You work in the shop.",
        llm=Model(model="scripted"),
        tools=[issue_refund],
    )
    task = Task(description="Refund order {order_id}: it arrived broken.", expected_output="A receipt.", agent=clerk)
    crew = Crew(name="complaints", agents=[clerk], tasks=[task])
    return GatedCrew(crew, gate=gate, tools=["issue_refund"], risk="high", subject="order_id", wait=wait)


def refund(gate: Gate) -> None:
    result = make_crew(gate, wait=0).kickoff({"order_id": "8821"})
    if isinstance(result, PausedCrew):
        saved = result.to_json()
        print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        result = make_crew(gate, wait=None).resume(PausedCrew.from_json(saved))
    print(result)


def main() -> None:
    if sys.stdin.isatty():
        with local_gate("gate.db", agent="refund-bot") as gate:
            refund(gate)
        return
    edit = Verdict("approve", "Without the shipping.", {**REFUND, "amount": 37.5})
    with running_gate() as server, server.reviewer().deciding(edit):
        refund(server.gate("refund-bot"))


if __name__ == "__main__":
    main()
