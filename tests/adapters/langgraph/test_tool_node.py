"""Traps of LangGraph's tool nodes, each with the real framework and the real gate."""

from __future__ import annotations

import asyncio
import inspect
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import BaseModel, SecretStr, field_validator

from stacksona_adapters import ConfigurationError, InvalidAction, Outcome, Status
from stacksona_adapters.langgraph import GatedToolNode, RunEvents, paused, resume, resume_command, withdraw
from tests.adapters.langgraph.conftest import Office, answers, call, thread
from tests.adapters.langgraph_harness import react_agent, scripted, tool_graph

GO = {"messages": [("user", "go")]}
KINDS = ["graph", "v1", "v2"]


def agent(office: Office, kind: str, *turns: list[dict[str, Any]], tools: Any = None, **options: Any) -> Any:
    """An agent whose `pay` is gated; `kind` says whether a message comes to the node whole (graph, v1) or in calls."""
    options = {"gate": office.gate, "tools": ["pay"], **options}
    node = GatedToolNode(tools or [office.pay, office.look], **options)
    if kind == "graph":
        return tool_graph(scripted(*turns), node).compile(checkpointer=InMemorySaver())
    return react_agent(scripted(*turns), node, checkpointer=InMemorySaver(), version=kind)


MIXED = [
    call("look", "c0", at="it"),
    call("pay", "c1", amount=50),
    call("pay", "c2", amount=60),
    call("pay", "c3", amount=5),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pause_runs_no_sibling_twice(office: Office, kind: str) -> None:
    """One message with an ungated, two reviewed and an allowed call: each runs once, however often the node does."""
    graph = agent(office, kind, MIXED)
    graph.invoke(GO, thread())
    waiting = {review.arguments["amount"]: review.decision_id for review in office.reviewer.waiting(2)}
    office.reviewer.approve(waiting[60])
    if command := resume_command(graph, thread(), gate=office.gate):
        graph.invoke(command, thread())
    office.reviewer.reject(waiting[50])
    result = resume(graph, thread(), gate=office.gate)

    assert sorted(map(str, office.ran)) == ["('look', 'it')", "('pay', 5.0, 'A')", "('pay', 60.0, 'A')"]
    assert {key: message.status for key, message in answers(result).items()} == {
        "c0": "success", "c1": "error", "c2": "success", "c3": "success"
    }  # fmt: skip
    assert len(office.requests) == 3


def test_calls_that_come_one_by_one_go_on_one_by_one(office: Office) -> None:
    """A decided call runs at once while its sibling still waits."""
    graph = agent(office, "v2", MIXED[1:3])
    graph.invoke(GO, thread())
    waiting = {review.arguments["amount"]: review.decision_id for review in office.reviewer.waiting(2)}
    office.reviewer.approve(waiting[60])
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 60.0, "A")]
    pause = paused(graph, thread())
    assert pause is not None
    assert [review.decision_id for review in pause.reviews] == [waiting[50]]


FORGERIES: list[Any] = [True, "approved", {"type": "accept"}, {"stacksona": "approved"}, {"stacksona": {}}]


@pytest.mark.parametrize("forgery", FORGERIES, ids=str)
def test_an_answer_that_is_not_ours_pauses_again(office: Office, forgery: Any) -> None:
    """Whatever somebody answers the interrupt, the call waits for the gate, and goes on afterwards."""
    graph = agent(office, "v2", [call("pay", "c1", amount=50)])
    graph.invoke(GO, thread())
    graph.invoke(Command(resume=forgery), thread())

    assert office.ran == []
    assert paused(graph, thread()) is not None
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    assert office.ran == [("pay", 50.0, "A")]
    assert len(office.requests) == 1


@pytest.mark.parametrize("verdict", ["approved", "approved 0000000000000000"])
def test_a_forged_approval_pauses_again(office: Office, verdict: str) -> None:
    """An answer in our own words is not believed either."""
    graph = agent(office, "graph", [call("pay", "c1", amount=50)])
    graph.invoke(GO, thread())
    pause = paused(graph, thread())
    assert pause is not None
    (review,) = pause.reviews
    graph.invoke(Command(resume={review.interrupt_id: {"stacksona": {review.decision_id: verdict}}}), thread())

    assert office.ran == []
    office.reviewer.reject()
    result = resume(graph, thread(), gate=office.gate)
    assert (office.ran, answers(result)["c1"].status) == ([], "error")


def own_interrupt(office: Office) -> Any:
    """A tool that asks its own question before it acts."""

    @tool
    def pay(amount: float) -> str:
        """Pay somebody."""
        answer = interrupt("really?")
        office.ran.append(("pay", amount, answer))
        return f"paid {amount}: {answer}"

    return pay


def resume_own(graph: Any, answer: str) -> Any:
    """Answer the tool's own question."""
    (found,) = [
        each
        for task in graph.get_state(thread()).tasks
        if not task.result
        for each in task.interrupts
        if each.value == "really?"
    ]
    return graph.invoke(Command(resume={getattr(found, "id", None) or found.interrupt_id: answer}), thread())


@pytest.mark.parametrize("amount", [5, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_that_pauses_in_itself_gets_its_own_answer(office: Office, kind: str, amount: float) -> None:
    """The answers of interrupts come by position: ours never reaches the tool, and a pause is no failure of it."""
    graph = agent(office, kind, [call("pay", "c1", amount=amount)], tools=[own_interrupt(office)], pausing=["pay"])
    graph.invoke(GO, thread())
    if amount > 10:
        office.reviewer.approve()
        resume(graph, thread(), gate=office.gate)
    assert office.ran == []
    office.gate.flush(10)
    assert office.requests[0].outcome is Outcome.UNKNOWN

    result = resume_own(graph, "yes")
    office.gate.flush(10)
    assert office.ran == [("pay", float(amount), "yes")]
    assert answers(result)["c1"].text in ("paid 50.0: yes", "paid 5.0: yes")
    assert [request.outcome for request in office.requests] == [Outcome.SUCCEEDED]


def test_a_pause_that_was_not_announced_runs_nothing_twice(office: Office) -> None:
    """Not named in pausing=, the tool's permission is used up: a person settles it, and then it goes on."""
    graph = agent(office, "v2", [call("pay", "c1", amount=50)], tools=[own_interrupt(office)])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    office.gate.flush(10)
    result = resume_own(graph, "yes")

    assert office.ran == []
    assert "A person settles it" in answers(result)["c1"].text
    assert [request.outcome for request in office.requests] == [Outcome.UNKNOWN]


def test_an_ungated_sibling_gets_its_own_answer(office: Office) -> None:
    """In a whole message, the answer of a sibling's own interrupt is the sibling's."""

    @tool
    def ask(question: str) -> str:
        """Ask the user."""
        return str(interrupt("really?"))

    calls = [call("pay", "c1", amount=50), call("ask", "c2", question="?")]
    graph = agent(office, "graph", calls, tools=[office.pay, ask])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    result = resume_own(graph, "blue")

    assert answers(result)["c2"].text == "blue"
    assert office.ran == [("pay", 50.0, "A")]
    assert len(office.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_errors_that_are_handled_do_not_swallow_the_pause(office: Office, kind: str) -> None:
    """handle_tool_errors=True turns errors into messages, never our pause."""
    graph = agent(office, kind, [call("pay", "c1", amount=50)], handle_tool_errors=True)
    graph.invoke(GO, thread())
    office.reviewer.approve()
    result = resume(graph, thread(), gate=office.gate)

    assert answers(result)["c1"].status == "success"
    assert office.ran == [("pay", 50.0, "A")]


def test_a_failing_tool_is_reported_as_failed_and_not_run_again(office: Office) -> None:
    """With a retry policy on the node the tool still runs once, since its permission is used up."""

    @tool
    def pay(amount: float) -> str:
        """Pay somebody."""
        office.ran.append(("pay", amount))
        raise ConnectionError("the bank hung up")

    node = GatedToolNode([pay], gate=office.gate, handle_tool_errors=False)
    builder = StateGraph(MessagesState)
    name = "retry_policy" if "retry_policy" in inspect.signature(builder.add_node).parameters else "retry"
    builder.add_node("tools", node, **{name: RetryPolicy(max_attempts=3, initial_interval=0.01)})
    builder.add_edge(START, "tools")
    message = AIMessage("", tool_calls=[{**call("pay", "c1", amount=5), "type": "tool_call"}])
    result = builder.compile(checkpointer=InMemorySaver()).invoke({"messages": [message]}, thread())
    office.gate.flush(10)

    assert office.ran == [("pay", 5.0)]
    assert "did not run again" in answers(result)["c1"].text
    assert [request.outcome for request in office.requests] == [Outcome.FAILED]


def test_without_checkpointer_nothing_is_asked(office: Office) -> None:
    """A pause that nobody could resume is refused before a request is made."""
    node = GatedToolNode([office.pay, office.look], gate=office.gate, tools=["pay"])
    graph = tool_graph(scripted([call("pay", "c1", amount=5)]), node).compile()

    with pytest.raises(ConfigurationError, match="checkpointer"):
        graph.invoke(GO)
    assert (office.ran, office.requests) == ([], [])


def test_waiting_in_process_needs_no_checkpointer(office: Office) -> None:
    """With patience the call waits; two runs without a thread are two runs, even with the model's ids the same."""
    node = GatedToolNode([office.pay, office.look], gate=office.gate, tools=["pay"], wait=30)
    graph = tool_graph(scripted([call("pay", "c1", amount=5)]), node).compile()
    graph.invoke(GO)
    graph.invoke(GO)

    assert office.ran == [("pay", 5.0, "A")] * 2
    assert len(office.requests) == 2


def test_patience_that_ends_without_checkpointer_is_told_to_the_model(office: Office) -> None:
    """Nobody decided, nothing can pause: the model is told, and the run goes on."""
    node = GatedToolNode([office.pay, office.look], gate=office.gate, tools=["pay"], wait=0.1)
    graph = tool_graph(scripted([call("pay", "c1", amount=50)]), node).compile()
    result = graph.invoke(GO)

    assert "waits for a reviewer" in answers(result)["c1"].text
    assert office.ran == []


def test_the_same_call_in_a_later_turn_is_another_request(office: Office) -> None:
    """An approval is never used for a second turn, even where the model repeats its call id and arguments."""
    again = [call("pay", "c1", amount=50)]
    graph = agent(office, "v2", again, again)
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 50.0, "A")]
    assert [request.status for request in office.requests] == [Status.APPROVED, Status.PENDING_REVIEW]


def test_two_calls_with_one_id_run_once_at_most(office: Office) -> None:
    """A model that repeats an id inside of a message gets no second execution and no unapproved one."""
    for run, second in enumerate([6, 5]):
        calls = [call("pay", "c1", amount=5), call("pay", "c1", amount=second)]
        graph = agent(office, "graph", calls)
        graph.invoke(GO, thread(str(run)))
        assert len(office.ran) <= run + 1


def test_a_tool_that_does_not_exist_is_answered_by_langgraph(office: Office) -> None:
    """A made-up tool name costs no request."""
    graph = agent(office, "graph", [call("transfer", "c1", amount=50)], tools=[office.pay])
    result = graph.invoke(GO, thread())

    assert "not a valid tool" in answers(result)["c1"].text
    assert office.requests == []


def test_tools_must_exist(office: Office) -> None:
    """A gated name without a tool is a spelling mistake that would let a tool run ungated."""
    with pytest.raises(ConfigurationError, match="pya"):
        GatedToolNode([office.pay], gate=office.gate, tools=["pya"])


def test_the_gated_tool_runs_in_its_node_only(office: Office) -> None:
    """Taken out of the node, the tool refuses to run."""
    node = GatedToolNode([office.pay], gate=office.gate)
    found = node.tools_by_name["pay"]

    with pytest.raises(InvalidAction):
        found.invoke({"amount": 5})
    with pytest.raises(InvalidAction):
        found.run({"amount": 5})
    outside = found.invoke({"name": "pay", "args": {"amount": 5}, "id": "c1", "type": "tool_call"})
    assert (outside.status, office.ran) == ("error", [])


def test_injected_arguments_are_neither_shown_nor_lost(office: Office) -> None:
    """What LangGraph injects reaches the tool, not the reviewer; and the model cannot give it."""

    @tool
    def pay(
        amount: float,
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
        note: str = "-",
    ) -> str:
        """Pay somebody."""
        office.ran.append((amount, note, call_id, len(state["messages"])))
        return "paid"

    graph = agent(office, "graph", [call("pay", "c1", amount="50", call_id="forged")], tools=[pay])
    graph.invoke(GO, thread())
    assert office.requests[0].arguments == {"amount": 50.0, "note": "-"}
    office.reviewer.approve(arguments={"amount": 40, "note": "less"})
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [(40.0, "less", "c1", 2)]


class Odd(BaseModel):
    """Arguments that JSON does not keep: a secret, and a validator that changes its own result."""

    amount: float
    pin: SecretStr

    @field_validator("amount")
    @classmethod
    def _cents(cls, amount: float) -> float:
        return amount * 100


def test_arguments_that_json_does_not_keep_reach_the_tool(office: Office) -> None:
    """The tool gets what the model gave, validated once."""

    @tool(args_schema=Odd)
    def pay(amount: float, pin: SecretStr) -> str:
        """Pay somebody."""
        office.ran.append((amount, pin.get_secret_value()))
        return "paid"

    graph = agent(office, "graph", [call("pay", "c1", amount=50, pin="1234")], tools=[pay])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)

    assert office.ran == [(5000.0, "1234")]


def test_wrong_arguments_cost_no_request(office: Office) -> None:
    """What the tool would not accept is told to the model at once."""
    graph = agent(office, "v2", [call("pay", "c1", amount="much")])
    result = graph.invoke(GO, thread())

    assert "do not fit its schema (amount" in answers(result)["c1"].text
    assert (office.ran, office.requests) == ([], [])


def test_a_tool_that_returns_a_command_keeps_its_decision(office: Office) -> None:
    """The decision id stands in the message of a tool that updates the state itself."""

    @tool
    def pay(amount: float, call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Pay somebody."""
        return Command(update={"messages": [ToolMessage("paid", tool_call_id=call_id)]})

    graph = agent(office, "graph", [call("pay", "c1", amount=5)], tools=[pay])
    message = answers(graph.invoke(GO, thread()))["c1"]

    assert message.additional_kwargs["stacksona"]["decision_id"] == office.requests[0].decision_id


def test_an_agent_inside_of_a_tool_is_gated_by_itself(office: Office) -> None:
    """A pause inside of an ungated tool that runs an agent comes out, and the call in it runs once."""
    inner = tool_graph(
        scripted([call("pay", "i1", amount=50)]), GatedToolNode([office.pay], gate=office.gate)
    ).compile()

    @tool
    def clerk(task: str) -> str:
        """Give a clerk a task."""
        return str(inner.invoke({"messages": [("user", task)]})["messages"][-1].content)

    graph = agent(office, "v2", [call("clerk", "c1", task="pay")], tools=[office.pay, clerk])
    graph.invoke(GO, thread())
    office.reviewer.approve()
    result = resume(graph, thread(), gate=office.gate)

    assert office.ran == [("pay", 50.0, "A")]
    assert len(office.requests) == 1
    assert result["messages"][-1].content == "all done"


def test_a_gated_agent_as_tool_keeps_its_permission_over_pauses(office: Office) -> None:
    """Both the tool that runs an agent and the call in it are gated: two requests, one execution each."""
    inner = tool_graph(
        scripted([call("pay", "i1", amount=50)]), GatedToolNode([office.pay], gate=office.gate)
    ).compile()

    @tool
    def clerk(task: str) -> str:
        """Give a clerk a task."""
        return str(inner.invoke({"messages": [("user", task)]})["messages"][-1].content)

    graph = react_agent(
        scripted([call("clerk", "c1", task="pay")]),
        GatedToolNode([clerk], gate=office.gate, pausing=["clerk"]),
        checkpointer=InMemorySaver(),
    )
    graph.invoke(GO, thread())
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    office.gate.flush(10)

    assert office.ran == [("pay", 50.0, "A")]
    assert [(request.action, request.outcome) for request in office.requests] == [
        ("clerk", Outcome.SUCCEEDED), ("pay", Outcome.SUCCEEDED)
    ]  # fmt: skip


def test_time_travel_runs_nothing_again(office: Office) -> None:
    """A run that is started again from before its tool call needs a new approval, or has used up the old one."""
    graph = agent(office, "v2", [call("pay", "c1", amount=50)])
    graph.invoke(GO, thread())
    before = graph.get_state(thread()).config
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)
    graph.invoke(None, before)

    assert office.ran == [("pay", 50.0, "A")]


def test_streams_show_the_pause(office: Office) -> None:
    """The interrupt in the stream carries what a user interface needs, as plain JSON."""
    graph = agent(office, "v2", [call("pay", "c1", amount=50)])
    updates = [update for update in graph.stream(GO, thread(), stream_mode="updates") if "__interrupt__" in update]
    value = updates[0]["__interrupt__"][0].value

    assert value["type"] == "stacksona_review"
    (review,) = value["reviews"]
    assert review["decision_id"] == office.requests[0].decision_id
    assert review["action"]["arguments"] == {"amount": 50.0, "to": "A"}


def test_a_pause_is_not_the_end_of_a_run(office: Office) -> None:
    """TASK_COMPLETED comes when the run has ended, not when it pauses."""
    graph = agent(office, "v2", [call("pay", "c1", amount=50)])
    graph = graph.with_config(callbacks=[RunEvents(office.gate)])
    graph.invoke(GO, thread())
    assert "TASK_COMPLETED" not in office.kinds()
    office.reviewer.approve()
    resume(graph, thread(), gate=office.gate)

    assert office.kinds()[-1] == "TASK_COMPLETED"


def test_a_failing_run_is_reported_as_failed(office: Office) -> None:
    """TASK_FAILED names the error that ended the graph."""

    @tool
    def explode(at: str) -> str:
        """Explode."""
        raise RuntimeError("bang")

    turns = [[call("pay", "c1", amount=5)], [call("explode", "c2", at="once")]]
    graph = agent(office, "v2", *turns, tools=[office.pay, explode], handle_tool_errors=False)
    with pytest.raises(RuntimeError, match="bang"):
        graph.invoke(GO, {**thread(), "callbacks": [RunEvents(office.gate)]})

    assert office.kinds()[-1] == "TASK_FAILED"


def test_a_pause_that_nobody_wants_is_withdrawn(office: Office) -> None:
    """The reviewer's folder is empty afterwards, and the run is told when it is resumed after all."""
    graph = agent(office, "v2", [call("pay", "c1", amount=50)])
    graph.invoke(GO, thread())
    pause = paused(graph, thread())
    assert pause is not None
    withdraw(pause, gate=office.gate)
    assert office.gate.flush(10)
    result = resume(graph, pause, gate=office.gate)

    assert [request.status for request in office.requests] == [Status.CANCELLED]
    assert (answers(result)["c1"].status, office.ran) == ("error", [])


def test_cancelled_waits_withdraw_their_requests(office: Office) -> None:
    """Two calls of a message wait in process; the cancelled run withdraws both."""
    graph = agent(office, "graph", MIXED[1:3], wait=None)

    async def cancel() -> None:
        run = asyncio.ensure_future(graph.ainvoke(GO, thread()))
        await asyncio.to_thread(office.reviewer.waiting, 2)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(cancel())
    assert office.gate.flush(10)
    assert [request.status for request in office.requests] == [Status.CANCELLED] * 2
    assert office.ran == []


def test_a_revision_is_linked_where_calls_come_without_messages(office: Office) -> None:
    """The next proposal names the decision that it revises, on every way to the node."""
    for kind in KINDS:
        graph = agent(office, kind, [call("pay", "c1", amount=80)], [call("pay", "c2", amount=40)])
        graph.invoke(GO, thread(kind))
        office.reviewer.revise(message="Half.")
        resume(graph, thread(kind), gate=office.gate)
        office.reviewer.approve()
        resume(graph, thread(kind), gate=office.gate)
        first, second = office.requests[-2:]
        assert second.revises == first.decision_id
