"""The gate inside of nodes, tasks and subgraphs."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from stacksona_adapters import ActionRejected, ReviewPending
from stacksona_adapters.langgraph import apermit, aresume, paused, permit, resume, resume_command
from tests.adapters.langgraph.conftest import Office, thread


class State(TypedDict, total=False):
    """A payment to make, and those made."""

    amount: float
    done: Annotated[list[Any], operator.add]


class Batch(TypedDict, total=False):
    """Several payments."""

    amounts: list[float]
    done: Annotated[list[Any], operator.add]


class Branch(TypedDict, total=False):
    """One payment of several."""

    amount: float
    done: Annotated[list[Any], operator.add]


def single(work: Any) -> Any:
    """A graph of one node."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    return builder.compile(checkpointer=InMemorySaver())


def test_a_node_pauses_and_runs_once(office: Office) -> None:
    """The node runs again from its first line; the request is the same one, and the block runs once."""
    starts = []

    def work(state: State, config: RunnableConfig) -> Any:
        starts.append(1)
        with permit(office.gate, "pay", {"amount": state["amount"]}, config=config) as allowed:
            return {"done": [office.pay(**allowed.arguments)]}

    graph = single(work)
    graph.invoke({"amount": 50}, thread())
    with pytest.raises(ReviewPending):
        resume(graph, thread(), gate=office.gate)
    office.reviewer.approve(arguments={"amount": 40})
    resume(graph, thread(), gate=office.gate)

    assert (len(starts), office.ran, len(office.requests)) == (2, [("pay", 40, "A")], 1)


def test_a_refusal_is_an_error_of_the_block(office: Office) -> None:
    """The node decides what a refusal means."""

    def work(state: State, config: RunnableConfig) -> Any:
        try:
            with permit(office.gate, "pay", {"amount": 5000}, config=config):
                return {"done": ["paid"]}
        except ActionRejected as error:
            return {"done": [error.decision_id]}

    assert single(work).invoke({}, thread())["done"] == [office.requests[0].decision_id]


def test_two_gates_and_an_own_interrupt_in_one_node(office: Office) -> None:
    """Answers come by position: the node's own question before and between the gates gets its own answer."""

    def work(state: State, config: RunnableConfig) -> Any:
        name = interrupt("name?")
        with permit(office.gate, "pay", {"amount": 50, "to": name}, config=config, slot="first") as first:
            said = [office.pay(**first.arguments)] if not office.ran else []
        return {"done": [name, *said]}

    graph = single(work)
    graph.invoke({}, thread())
    graph.invoke(Command(resume="Bo"), thread())
    assert office.requests[0].arguments == {"amount": 50, "to": "Bo"}
    office.reviewer.approve()
    result = resume(graph, thread(), gate=office.gate)

    assert result["done"] == ["Bo", "paid 50 to Bo"]
    assert (office.ran, len(office.requests)) == ([("pay", 50, "Bo")], 1)


def test_sent_branches_in_subgraphs(office: Office) -> None:
    """Three subgraphs at once, two of them with equal arguments: three requests, resumed as they are decided."""

    def work(state: State, config: RunnableConfig) -> Any:
        with permit(office.gate, "pay", {"amount": state["amount"]}, config=config) as allowed:
            return {"done": [office.pay(**allowed.arguments)]}

    inner: StateGraph[Any, Any, Any, Any] = StateGraph(Branch)
    inner.add_node("work", work)
    inner.add_edge(START, "work")
    outer: StateGraph[Any, Any, Any, Any] = StateGraph(Batch)
    outer.add_node("plan", lambda _: {})
    outer.add_node("child", inner.compile())
    outer.add_edge(START, "plan")
    outer.add_conditional_edges(
        "plan", lambda state: [Send("child", {"amount": each}) for each in state["amounts"]], ["child"]
    )
    graph = outer.compile(checkpointer=InMemorySaver())
    graph.invoke({"amounts": [50, 60, 50]}, thread())
    pause = paused(graph, thread())
    assert pause is not None
    assert len({review.interrupt_id for review in pause.reviews}) == 3
    for review in pause.reviews:
        office.reviewer.approve(review.decision_id)
        resume(graph, thread(), gate=office.gate)

    assert sorted(office.ran) == [("pay", 50, "A"), ("pay", 50, "A"), ("pay", 60, "A")]
    assert len(office.requests) == 3


def test_tasks_of_the_functional_interface(office: Office) -> None:
    """Gated tasks of an entrypoint; finished ones are not run again."""

    @task
    def pay(amount: float) -> str:
        with permit(office.gate, "pay", {"amount": amount}) as allowed:
            return office.pay(**allowed.arguments)

    @entrypoint(checkpointer=InMemorySaver())
    def work(amounts: list[float]) -> list[str]:
        return [future.result() for future in [pay(each) for each in amounts]]

    result: Any = work.invoke([50, 60], thread())
    for _ in range(5):
        for review in office.reviewer.client.reviews("new"):  # type: ignore[arg-type]
            office.reviewer.approve(review.decision_id)
        if command := resume_command(work, thread(), gate=office.gate):
            result = work.invoke(command, thread())

    assert result == ["paid 50 to A", "paid 60 to A"]
    assert sorted(office.ran) == [("pay", 50, "A"), ("pay", 60, "A")]
    assert len(office.requests) == 2


def test_async_nodes(office: Office) -> None:
    """An asynchronous node, its config given, which Python 3.10 needs."""

    async def work(state: State, config: RunnableConfig) -> Any:
        async with apermit(office.gate, "pay", {"amount": state["amount"]}, config=config) as allowed:
            return {"done": [office.pay(**allowed.arguments)]}

    async def run() -> None:
        graph = single(work)
        await graph.ainvoke({"amount": 50}, thread())
        await asyncio.to_thread(office.reviewer.approve)
        await aresume(graph, thread(), gate=office.gate)

    asyncio.run(run())
    assert (office.ran, len(office.requests)) == ([("pay", 50, "A")], 1)
