"""A refund that a person decides, in AutoGen's classic API (0.2), with a pause that another process could continue.

    pip install "stacksona-adapters[server,autogen-classic]"
    python autogen_classic_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import json
import sys
from typing import Any

from autogen import Agent, ConversableAgent

from stacksona_adapters import Gate
from stacksona_adapters.autogen_classic import GatedUserProxyAgent, PausedChat
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "issue_refund", "arguments": json.dumps(REFUND)}}


def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def say(recipient: Any, messages: Any = None, sender: Any = None, config: Any = None) -> tuple[bool, Any]:
    """Stands in for a language model: it proposes one refund and repeats what became of it."""
    results = [message for message in messages if message.get("tool_responses")]
    if not results:
        return True, {"content": None, "tool_calls": [CALL]}
    return True, f"{results[-1]['content']} TERMINATE"


def make_agents(gate: Gate, wait: float | None) -> tuple[ConversableAgent, GatedUserProxyAgent]:
    assistant = ConversableAgent("assistant", llm_config=False, human_input_mode="NEVER")
    assistant.register_reply([Agent, None], say, position=0)
    executor = GatedUserProxyAgent(
        "executor",
        gate=gate,
        risk="high",
        subject="order_id",
        wait=wait,
        human_input_mode="NEVER",
        code_execution_config=False,
        is_termination_msg=lambda message: "TERMINATE" in str(message.get("content")),
    )
    executor.register_function({"issue_refund": issue_refund})
    return assistant, executor


def refund(gate: Gate) -> None:
    assistant, executor = make_agents(gate, wait=0)
    try:
        executor.initiate_chat(assistant, message="Refund order 8821: it arrived broken.")
    except PausedChat as paused:
        saved = paused.to_json()
        print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        assistant, executor = make_agents(gate, wait=None)
        executor.resume(PausedChat.from_json(saved), assistant)


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
