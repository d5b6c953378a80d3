"""Gated nodes: whatever leads to them, asks first."""

from __future__ import annotations

import asyncio
import dataclasses
import operator
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from stacksona_adapters import ConfigurationError, GateUnavailable, Status
from stacksona_adapters.langgraph import add_gated_node, aresume, paused, resume
from stacksona_adapters.testing.broken import nobody
from tests.adapters.langgraph.conftest import Office, thread

Records = Annotated[dict[str, Any], operator.or_]


class Plan(TypedDict, total=False):
    """What the guide's graph plans."""

    ticket_id: str
    proposed_action: dict[str, Any]
    amounts: list[float]
    stacksona: Records
    result: str
    done: Annotated[list[Any], operator.add]


class Payment(BaseModel):
    """The arguments of a payment."""

    amount: float
    to: str = "A"


def route_after_planning(state: Plan) -> str:
    """The guide's conditional edge: a pure function of the state."""
    return str(state["proposed_action"]["target_node"])


def planner(office: Office, amount: float, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    """The guide's graph: plan, then go where the plan says; `pay` is gated."""

    def plan(state: Plan) -> Any:
        office.ran.append(("plan",))
        again = state.get("stacksona")
        args = {"amount": amount / 2 if again else amount}
        return {"proposed_action": {"target_node": "pay", "args": args}}

    def pay(state: Plan, arguments: dict[str, Any]) -> Any:
        return {"result": office.pay(**arguments)}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Plan)
    builder.add_node("plan", plan)
    builder.add_node("notify", lambda _: {"done": ["notified"]})
    builder.add_node("sorry", lambda _: {"done": ["sorry"]})
    settings: dict[str, Any] = {
        "gate": office.gate,
        "arguments": lambda state: state["proposed_action"]["args"],
        "schema": Payment,
        "then": "notify",
        "rejected": "sorry",
        "revise": "plan",
        "risk": "high",
        "subject": "to",
        **options,
    }
    add_gated_node(builder, "pay", pay, **settings)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", route_after_planning, ["pay", END])
    return builder


def test_the_guide_s_graph(office: Office) -> None:
    """The decision id is in the state before the pause; the approved branch runs once, planning is not repeated."""
    graph = planner(office, 50).compile(checkpointer=InMemorySaver())
    graph.invoke({"ticket_id": "T-1"}, thread())
    record = graph.get_state(thread()).values["stacksona"]["pay"]
    (request,) = office.requests

    assert record["decision_id"] == request.decision_id
    assert (request.subject, request.risk, request.arguments) == ("A", "high", {"amount": 50.0, "to": "A"})
    assert request.context["thread_id"] == "t"
    assert (request.context["current_node"], request.context["next_node"]) == ("pay", "pay.run")

    office.reviewer.approve()
    result = resume(graph, thread(), gate=office.gate)
    assert office.ran == [("plan",), ("pay", 50.0, "A")]
    assert (result["result"], result["done"]) == ("paid 50.0 to A", ["notified"])
    assert result["stacksona"]["pay"]["status"] == "approved"
    assert len(office.requests) == 1


@pytest.mark.parametrize(("amount", "paying"), [(5, True), (5000, False)])
def test_rules_decide_without_a_pause(office: Office, amount: float, paying: bool) -> None:
    """What a rule allows runs at once; what it rejects takes the branch of refusals."""
    result = planner(office, amount).compile(checkpointer=InMemorySaver()).invoke({}, thread())

    assert office.ran == [("plan",), *([("pay", 5.0, "A")] if paying else [])]
    assert result["done"] == ["notified" if paying else "sorry"]


def test_a_rejection_takes_its_branch(office: Office) -> None:
    """The refusal stands in the state with the reviewer's words; nothing behind the action runs."""
    graph = planner(office, 50).compile(checkpointer=InMemorySaver())
    graph.invoke({}, thread())
    office.reviewer.reject(message="No receipt.")
    result = resume(graph, thread(), gate=office.gate)

    assert (office.ran, result["done"]) == ([("plan",)], ["sorry"])
    record = result["stacksona"]["pay"]
    assert (record["status"], record["executed"], record["feedback"]) == ("rejected", False, "No receipt.")


def test_a_revision_goes_back_to_the_planner(office: Office) -> None:
    """The next proposal names the decision that it revises."""
    graph = planner(office, 80).compile(checkpointer=InMemorySaver())
    graph.invoke({}, thread())
    office.reviewer.revise(message="Half.")
    resume(graph, thread(), gate=office.gate)
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    first, second = office.requests

    assert second.revises == first.decision_id
    assert office.ran == [("plan",), ("plan",), ("pay", 40.0, "A")]


def test_edited_arguments_run_and_are_told(office: Office) -> None:
    """The reviewer's arguments reach the node, as its schema reads them, and the state says so."""
    graph = planner(office, 50).compile(checkpointer=InMemorySaver())
    graph.invoke({}, thread())
    office.reviewer.approve(arguments={"amount": 20, "to": "B"})
    result = resume(graph, thread(), gate=office.gate)

    assert office.ran[1:] == [("pay", 20.0, "B")]
    assert "reviewer changed the arguments" in result["stacksona"]["pay"]["note"]


def test_async(office: Office) -> None:
    """The same with `ainvoke` and an asynchronous action."""

    async def pay(state: Plan, arguments: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return {"result": office.pay(**arguments)}

    async def run() -> Any:
        builder: StateGraph[Any, Any, Any, Any] = StateGraph(Plan)
        add_gated_node(builder, "pay", pay, gate=office.gate, arguments=lambda state: state["proposed_action"])
        builder.add_edge(START, "pay")
        graph = builder.compile(checkpointer=InMemorySaver())
        await graph.ainvoke({"proposed_action": {"amount": 50}}, thread())
        await asyncio.to_thread(office.reviewer.approve)
        return await aresume(graph, thread(), gate=office.gate)

    assert asyncio.run(run())["result"] == "paid 50 to A"
    assert office.ran == [("pay", 50, "A")]


def test_a_command_cannot_go_around_the_gate(office: Office) -> None:
    """A node that jumps to the action by `Command` meets the gate."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Plan)
    builder.add_node(
        "jump", lambda _: Command(goto="pay", update={"proposed_action": {"amount": 5000}}), destinations=("pay",)
    )
    builder.add_edge(START, "jump")
    pay = {"gate": office.gate, "arguments": lambda state: state["proposed_action"]}
    add_gated_node(builder, "pay", lambda _, arguments: {"result": office.pay(**arguments)}, **pay)
    builder.compile(checkpointer=InMemorySaver()).invoke({}, thread())

    assert [request.status for request in office.requests] == [Status.REJECT]
    assert office.ran == []


def test_sent_branches_are_decided_by_themselves(office: Office) -> None:
    """`Send` to the node, three times at once: three requests, each runs or not by itself."""

    def pay(state: Plan, arguments: dict[str, Any]) -> Any:
        return {"done": [office.pay(**arguments)]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Plan)
    builder.add_node("plan", lambda _: {})
    add_gated_node(builder, "pay", pay, gate=office.gate, arguments=lambda state: state["proposed_action"])
    builder.add_edge(START, "plan")
    builder.add_conditional_edges(
        "plan",
        lambda state: [Send("pay", {"proposed_action": {"amount": each}}) for each in state["amounts"]],
        ["pay"],
    )
    graph = builder.compile(checkpointer=InMemorySaver())
    graph.invoke({"amounts": [50, 60, 5]}, thread())
    waiting = {review.arguments["amount"]: review.decision_id for review in office.reviewer.waiting(2)}
    assert office.ran == [("pay", 5, "A")]
    office.reviewer.reject(waiting[50])
    resume(graph, thread(), gate=office.gate)
    office.reviewer.approve(waiting[60])
    result = resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 5, "A"), ("pay", 60, "A")]
    assert sorted(result["done"]) == ["paid 5 to A", "paid 60 to A"]
    assert len(office.requests) == 3


def test_what_was_asked_runs_though_the_state_changed(office: Office) -> None:
    """A branch that changes the state during the review changes nothing of the approved action."""
    builder = planner(office, 50, schema=None)
    graph = builder.compile(checkpointer=InMemorySaver())
    graph.invoke({}, thread())
    graph.update_state(thread(), {"proposed_action": {"target_node": "pay", "args": {"amount": 999}}}, as_node="notify")
    assert office.ran == [("plan",)]
    pause = paused(graph, thread())
    office.reviewer.approve()
    if pause is not None:
        resume(graph, pause, gate=office.gate)

    assert ("pay", 999, "A") not in office.ran


def test_an_edge_out_of_the_node_is_refused(office: Office) -> None:
    """LangGraph would take it whatever the gate says, so the node refuses to ask at all."""
    builder = planner(office, 5)
    builder.add_edge("pay", "notify")

    with pytest.raises(ConfigurationError, match="then="):
        builder.compile(checkpointer=InMemorySaver()).invoke({}, thread())
    assert (office.requests, office.ran) == ([], [("plan",)])


def test_a_state_without_the_key_is_refused(office: Office) -> None:
    """LangGraph drops what the schema does not have, the decision id too."""

    class Bare(TypedDict):
        amount: float

    with pytest.raises(ConfigurationError, match="stacksona"):
        add_gated_node(StateGraph(Bare), "pay", lambda *_: {}, gate=office.gate, arguments=lambda state: state)


class Model(BaseModel):
    """A state as a pydantic model."""

    amount: float
    stacksona: Records = Field(default_factory=dict)
    result: str = ""


@dataclasses.dataclass
class Data:
    """A state as a dataclass."""

    amount: float
    stacksona: Records = dataclasses.field(default_factory=dict)
    result: str = ""


@pytest.mark.parametrize("schema", [Model, Data])
def test_states_of_every_kind(office: Office, schema: Any) -> None:
    """States that are pydantic models or dataclasses keep their record too."""

    def pay(state: Any, arguments: dict[str, Any]) -> Any:
        assert isinstance(state, schema)
        return {"result": office.pay(**arguments)}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(schema)
    add_gated_node(builder, "pay", pay, gate=office.gate, arguments=lambda state: {"amount": state.amount})
    builder.add_edge(START, "pay")
    graph = builder.compile(checkpointer=InMemorySaver())
    graph.invoke({"amount": 50}, thread())
    office.reviewer.approve()
    result = resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 50.0, "A")]
    assert result["stacksona"]["pay"]["decision_id"] == office.requests[0].decision_id


def test_without_gate_the_run_fails_and_can_go_on(office: Office) -> None:
    """An outage ends the run with its error; the same thread continues when the gate is back."""
    saver = InMemorySaver()
    down = Office(office.server)
    down.gate = type(office.gate)("clerk", url=nobody(), api_key="sg_x", wait=0)
    with pytest.raises(GateUnavailable):
        planner(down, 5).compile(checkpointer=saver).invoke({}, thread())
    assert down.ran == [("plan",)]
    planner(office, 5).compile(checkpointer=saver).invoke(None, thread())

    assert office.ran == [("pay", 5.0, "A")]
