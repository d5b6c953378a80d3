"""A refund that a person decides, in an agent of LangChain, with a pause that another process could continue.

    pip install "stacksona-adapters[server,langchain]"
    python langchain_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from stacksona_adapters import Gate
from stacksona_adapters.langchain import GateMiddleware, PausedGraph, paused, resume
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}


class Model(GenericFakeChatModel):
    """Stands in for a language model: it proposes one refund and repeats what became of it."""

    messages: Any = None

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        said = AIMessage("", tool_calls=[{"name": "issue_refund", "args": REFUND, "id": "call_1", "type": "tool_call"}])
        if isinstance(messages[-1], ToolMessage):
            said = AIMessage(messages[-1].content)
        return ChatResult(generations=[ChatGeneration(message=said)])


def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def make_agent(gate: Gate, checkpointer: InMemorySaver) -> Any:
    gated = GateMiddleware(gate=gate, tools=["issue_refund"], risk="high", subject="order_id", wait=0)
    return create_agent(Model(), [issue_refund], middleware=[gated], checkpointer=checkpointer)


def refund(gate: Gate) -> None:
    checkpointer = InMemorySaver()  # SqliteSaver or PostgresSaver outlive the process
    thread: Any = {"configurable": {"thread_id": "ticket-8821"}}
    agent = make_agent(gate, checkpointer)
    result = agent.invoke({"messages": [("user", "Please refund order 8821: it arrived broken.")]}, thread)
    pause = paused(agent, thread)
    if pause is not None:
        saved = pause.to_json()
        print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        result = resume(make_agent(gate, checkpointer), PausedGraph.from_json(saved), gate=gate, wait=None)
    print(result["messages"][-1].text)


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
