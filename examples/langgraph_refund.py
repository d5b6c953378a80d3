"""A refund that a person decides, in LangGraph, with a pause that another process could continue.

    pip install "stacksona-adapters[server,langgraph]"
    python langgraph_refund.py

Needs no API key: the planner is scripted, and the gate runs in this process. Started from a terminal it prints a link
to the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import operator
import sys
from typing import Annotated, Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from stacksona_adapters import Gate
from stacksona_adapters.langgraph import PausedGraph, add_gated_node, paused, resume
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}


class Refund(BaseModel):
    order_id: str
    amount: float
    reason: str


class State(TypedDict, total=False):
    ticket_id: str
    proposed_action: dict[str, Any]
    answer: str
    stacksona: Annotated[dict[str, Any], operator.or_]  # the decisions of gated nodes


def plan_action(state: State) -> State:
    """Stands in for a language model that reads the ticket."""
    return {"proposed_action": {"target_node": "issue_refund", "args": REFUND}}


def route_after_planning(state: State) -> str:
    return state["proposed_action"]["target_node"]  # whatever it says: a gated node asks before it acts


def issue_refund(state: State, arguments: dict[str, Any]) -> State:
    return {"answer": f"Refunded {arguments['amount']:.2f} EUR for order {arguments['order_id']}."}


def make_graph(gate: Gate, checkpointer: InMemorySaver) -> Any:
    builder = StateGraph(State)
    builder.add_node("plan_action", plan_action)
    add_gated_node(
        builder,
        "issue_refund",
        issue_refund,
        gate=gate,
        arguments=lambda state: state["proposed_action"]["args"],
        schema=Refund,
        revise="plan_action",
        risk="high",
        subject="order_id",
        wait=0,
    )
    builder.add_edge(START, "plan_action")
    builder.add_conditional_edges("plan_action", route_after_planning, ["issue_refund", END])
    return builder.compile(checkpointer=checkpointer)


def refund(gate: Gate) -> None:
    checkpointer = InMemorySaver()  # SqliteSaver or PostgresSaver outlive the process
    thread: Any = {"configurable": {"thread_id": "ticket-8821"}}
    result = make_graph(gate, checkpointer).invoke({"ticket_id": "8821"}, thread)
    pause = paused(make_graph(gate, checkpointer), thread)
    if pause is not None:
        saved = pause.to_json()
        print(f"Paused: decision {result['stacksona']['issue_refund']['decision_id']}. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        result = resume(make_graph(gate, checkpointer), PausedGraph.from_json(saved), gate=gate, wait=None)
    print(result.get("answer") or result["stacksona"]["issue_refund"]["reason"])
    print(result["stacksona"]["issue_refund"].get("note", ""))


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
