"""Traps of LangChain's agent middleware, each with the real framework and the real gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ToolRetryMiddleware,
    hook_config,
)
from langchain_core.messages import AIMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from stacksona_adapters import ConfigurationError, Outcome, Status
from stacksona_adapters.langchain import GateMiddleware, aresume, paused, resume
from tests.adapters.langgraph.conftest import Office, answers, call, thread
from tests.adapters.langgraph_harness import scripted

GO: Any = {"messages": [("user", "go")]}


def agent(
    office: Office,
    *turns: list[dict[str, Any]],
    tools: Any = None,
    before: Any = (),
    after: Any = (),
    checkpointer: Any = None,
    **options: Any,
) -> Any:
    """An agent whose `pay` is gated, with other middleware around the gate's."""
    gated = GateMiddleware(**{"gate": office.gate, "tools": ["pay"], **options})
    return create_agent(
        scripted(*turns),
        tools or [tool(office.pay), tool(office.look)],
        middleware=[*before, gated, *after],
        checkpointer=InMemorySaver() if checkpointer is None else checkpointer,
    )


class Changing(AgentMiddleware[Any, Any]):
    """Changes the amount of every call."""

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """See LangChain."""
        changed = {**request.tool_call, "args": {**request.tool_call["args"], "amount": 999}}
        return handler(request.override(tool_call=changed))


def test_arguments_changed_after_the_approval_do_not_run(office: Office) -> None:
    """Middleware behind the gate cannot change what was approved."""
    graph = agent(office, [call("pay", "c1", amount=50)], after=[Changing()])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    result = resume(graph, thread(), gate=office.gate)

    assert office.ran == []
    assert "other arguments than those approved" in answers(result)["c1"].text


def test_arguments_changed_before_the_gate_are_what_it_sees(office: Office) -> None:
    """Middleware in front of the gate changes what is asked about."""
    graph = agent(office, [call("pay", "c1", amount=50)], before=[Changing()])
    graph.invoke(GO, thread())
    assert office.requests[0].arguments == {"amount": 999.0, "to": "A"}
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 999.0, "A")]


def test_a_retry_behind_the_gate_runs_nothing_twice(office: Office) -> None:
    """One approval is one execution, though the retry middleware calls again."""

    @tool
    def pay(amount: float) -> str:
        """Pay somebody."""
        office.ran.append(("pay", amount))
        raise ConnectionError("the bank hung up")

    retry = ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False)
    graph = agent(office, [call("pay", "c1", amount=5)], tools=[pay], after=[retry])
    result = graph.invoke(GO, thread())
    office.gate.flush(10)

    assert office.ran == [("pay", 5.0)]
    assert "did not run again" in answers(result)["c1"].text
    assert [request.outcome for request in office.requests] == [Outcome.FAILED]


def test_a_retry_in_front_of_the_gate_runs_nothing_twice_either(office: Office) -> None:
    """Whether this LangChain lets the pause through such a retry or not, at most one payment is made."""
    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    graph = agent(office, [call("pay", "c1", amount=50)], before=[retry])
    graph.invoke(GO, thread())
    assert office.ran == []
    if paused(graph, thread()) is not None:  # since 1.4.0
        office.reviewer.approve()
        resume(graph, thread(), gate=office.gate)
        assert office.ran == [("pay", 50.0, "A")]
    assert len(office.requests) == 1


class Jumping(AgentMiddleware[Any, Any]):
    """Sends the last calls to the tools once more, past everything that decided in after_model."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped = False

    @hook_config(can_jump_to=["tools"])
    def before_model(self, state: Any, runtime: Any) -> Any:
        """See LangChain."""
        if self.jumped or not any(message.type == "tool" for message in state["messages"]):
            return None
        self.jumped = True
        calls = [{**call("pay", "c9", amount=5000), "type": "tool_call"}]
        return {"jump_to": "tools", "messages": [AIMessage("", tool_calls=calls)]}


def test_a_jump_to_the_tools_is_gated(office: Office) -> None:
    """Calls that another middleware sends to the tools meet the gate."""
    graph = agent(office, [call("look", "c1", at="it")], before=[Jumping()])
    graph.invoke(GO, thread())

    assert office.ran == [("look", "it")]
    assert [request.status for request in office.requests] == [Status.REJECT]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_parallel_calls_go_on_by_themselves(office: Office, asynchronous: bool) -> None:
    """A decided call runs while its sibling waits; allowed and ungated ones run at once, and none twice."""
    calls = [
        call("look", "c0", at="it"), call("pay", "c1", amount=50), call("pay", "c2", amount=60),
        call("pay", "c3", amount=5),
    ]  # fmt: skip
    graph = agent(office, calls)

    def go_on() -> Any:
        if asynchronous:
            return asyncio.run(aresume(graph, thread(), gate=office.gate))
        return resume(graph, thread(), gate=office.gate)

    if asynchronous:
        asyncio.run(graph.ainvoke(GO, thread()))
    else:
        graph.invoke(GO, thread())
    assert sorted(map(str, office.ran)) == ["('look', 'it')", "('pay', 5.0, 'A')"]
    waiting = {review.arguments["amount"]: review.decision_id for review in office.reviewer.waiting(2)}
    office.reviewer.approve(waiting[60])
    go_on()
    assert office.ran[2:] == [("pay", 60.0, "A")]
    office.reviewer.reject(waiting[50])
    result = go_on()

    assert len(office.ran) == 3
    assert answers(result)["c1"].status == "error"
    assert len(office.requests) == 3


def test_a_tool_that_pauses_in_itself(office: Office) -> None:
    """Its own question gets its own answer, its permission holds, and the pause is no failure."""

    @tool
    def pay(amount: float) -> str:
        """Pay somebody."""
        answer = interrupt("really?")
        office.ran.append(("pay", amount, answer))
        return f"paid: {answer}"

    graph = agent(office, [call("pay", "c1", amount=50)], tools=[pay], pausing=["pay"])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    (found,) = [each for task in graph.get_state(thread()).tasks for each in task.interrupts]
    assert (found.value, office.ran) == ("really?", [])
    result = graph.invoke(Command(resume={found.id: "yes"}), thread())
    office.gate.flush(10)

    assert office.ran == [("pay", 50.0, "yes")]
    assert answers(result)["c1"].text == "paid: yes"
    assert [request.outcome for request in office.requests] == [Outcome.SUCCEEDED]


def test_beside_langchain_s_own_reviewer(office: Office) -> None:
    """LangChain's human-in-the-loop pauses first, and the gate sees what that person edited."""
    theirs = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
    graph = agent(office, [call("pay", "c1", amount=50)], before=[theirs])
    graph.invoke(GO, thread())
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 60}}}
    graph.invoke(Command(resume={"decisions": [edit]}), thread())
    assert office.requests[0].arguments == {"amount": 60.0, "to": "A"}
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 60.0, "A")]


def test_a_made_up_tool_is_refused(office: Office) -> None:
    """With everything gated, a name that the agent does not have costs no request."""
    gated = GateMiddleware(gate=office.gate)
    model = scripted([call("transfer", "c1", amount=50)])
    result = create_agent(model, [tool(office.pay)], middleware=[gated], checkpointer=InMemorySaver()).invoke(
        GO, thread()
    )

    assert answers(result)["c1"].status == "error"
    assert (office.ran, office.requests) == ([], [])


def test_a_refused_return_direct_tool_ends_the_agent(office: Office) -> None:
    """The refusal is then the agent's last word."""

    @tool(return_direct=True)
    def pay(amount: float) -> str:
        """Pay somebody."""
        return "paid"

    result = agent(office, [call("pay", "c1", amount=5000)], tools=[pay]).invoke(GO, thread())

    assert "did not run" in result["messages"][-1].text


def test_injected_arguments(office: Office) -> None:
    """What LangChain injects reaches the tool and not the reviewer."""

    @tool
    def pay(amount: float, call_id: Annotated[str, InjectedToolCallId], to: str = "A") -> str:
        """Pay somebody."""
        office.ran.append((amount, to, call_id))
        return "paid"

    graph = agent(office, [call("pay", "c1", amount=50)], tools=[pay])
    graph.invoke(GO, thread())
    assert office.requests[0].arguments == {"amount": 50.0, "to": "A"}
    office.reviewer.approve(arguments={"amount": 40, "to": "B"})
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [(40.0, "B", "c1")]


def test_an_agent_as_tool_is_gated_by_itself(office: Office) -> None:
    """The pause of an agent inside of a tool comes out, and goes in again."""
    inner = create_agent(
        scripted([call("pay", "i1", amount=50)]),
        [tool(office.pay)],
        middleware=[GateMiddleware(gate=office.gate, tools=["pay"])],
    )

    @tool
    def clerk(task: str) -> str:
        """Give a clerk a task."""
        return str(inner.invoke({"messages": [("user", task)]})["messages"][-1].content)

    graph = agent(office, [call("clerk", "c1", task="pay")], tools=[clerk])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 50.0, "A")]
    assert len(office.requests) == 1


def test_without_checkpointer_nothing_is_asked(office: Office) -> None:
    """A pause that nobody could resume is refused before a request is made."""
    with pytest.raises(ConfigurationError, match="checkpointer"):
        agent(office, [call("pay", "c1", amount=50)], checkpointer=False).invoke(GO)
    assert (office.ran, office.requests) == ([], [])


def test_a_new_message_on_a_paused_thread_leaves_the_request_alone(office: Office) -> None:
    """A user who writes on while a call waits gets no payment without the approval."""
    graph = agent(office, [call("pay", "c1", amount=50)], [call("look", "c2", at="it")])
    graph.invoke(GO, thread())
    graph.invoke({"messages": [("user", "never mind")]}, thread())

    assert ("pay", 50.0, "A") not in office.ran
    assert [request.status for request in office.requests] == [Status.PENDING_REVIEW]
