"""Agents: what bypasses a gate elsewhere, what a refusal does to a run, and how calls are told apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import CodeActAgent, FunctionAgent, ToolCallResult
from llama_index.core.base.response.schema import Response
from llama_index.core.objects import ObjectRetriever
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.tools import FunctionTool, QueryEngineTool
from workflows import Context
from workflows.errors import WorkflowTimeoutError
from workflows.events import HumanResponseEvent

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.llamaindex import GatedAgentWorkflow, HumanReviewRequired, gated_tools
from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.protocol.reviews import ReviewDetail
from stacksona_adapters.testing import Reviewer, Verdict
from stacksona_adapters.testing.harness import GATED, GOODBYE, UNGATED, Ledger
from tests.adapters.llamaindex_models import ScriptedModel, TextModel, Turn

Requests = Callable[[], list[ReviewDetail]]
REFUND = {"order_id": "A-1", "amount": 50.0}
APPROVE, REJECT = Verdict("approve"), Verdict("reject", "Over budget.")


def agent_of(ledger: Ledger, *turns: Turn, tools: list[Any] | None = None, **options: Any) -> FunctionAgent:
    """An agent whose model proposes these turns."""
    given = tools if tools is not None else [ledger.issue_refund, ledger.look_up]
    model = ScriptedModel(turns=[list(turn) for turn in turns])
    return FunctionAgent(**{"name": "biller", "description": "pays", "tools": given, "llm": model, **options})


async def asked(workflow: GatedAgentWorkflow, message: str = "Refund it.", **options: Any) -> dict[str, ToolCallResult]:
    """The results of a run by call id."""
    result = await workflow.run(user_msg=message, **options)
    assert str(result) == GOODBYE
    return {call.tool_id: call for call in result.tool_calls}


def model_of(agent: FunctionAgent) -> ScriptedModel:
    """The agent's scripted model."""
    assert isinstance(agent.llm, ScriptedModel)
    return agent.llm


def test_outermost_object_gates_every_agent(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """Whatever agents it gets, the outer workflow asks: an inner agent's own way of calling tools is never used."""
    agent = agent_of(ledger, [("c1", GATED, REFUND)])
    with reviewer.deciding(REJECT):
        told = asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate, tools=[GATED])))

    assert "Over budget." in told["c1"].tool_output.content
    assert ledger.refunds == []


def test_gated_tool_inside_a_gated_workflow_asks_once(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A tool that asks by itself and a workflow that asks for it are one request."""
    agent = agent_of(ledger, [("c1", GATED, REFUND)], tools=gated_tools([ledger.issue_refund], gate=gate))
    with reviewer.deciding(APPROVE) as decided:
        asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate)))

    assert (len(decided), ledger.refunds) == (1, [REFUND])


def test_handoff_can_be_gated(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A refused hand-over leaves the conversation with the agent that has it; a permitted one moves it."""
    hand_over = [("h1", "handoff", {"to_agent": "biller", "reason": "it pays"})]
    for verdict, last in ((REJECT, "front"), (APPROVE, "biller")):
        front = agent_of(ledger, hand_over, name="front", can_handoff_to=["biller"])
        workflow = GatedAgentWorkflow([front, agent_of(ledger, [])], root_agent="front", gate=gate, tools=["handoff"])
        with reviewer.deciding(verdict) as decided:
            result = asyncio.run(_result(workflow))

        assert (result.current_agent_name, len(decided)) == (last, 1)


async def _result(workflow: GatedAgentWorkflow) -> Any:
    return await workflow.run(user_msg="Refund it.")


def test_retrieved_tools_are_gated(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A tool that comes from a retriever is gated like one from the list."""

    class Shelf(ObjectRetriever[Any]):
        def __init__(self) -> None:
            """No index: one tool for every question."""

        async def aretrieve(self, _: Any) -> list[Any]:
            return [FunctionTool.from_defaults(ledger.issue_refund)]

    agent = agent_of(ledger, [("c1", GATED, REFUND)], tools=[ledger.look_up])
    agent.tool_retriever = Shelf()
    with reviewer.deciding(REJECT) as decided:
        asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate, tools=[GATED])))

    assert (len(decided), ledger.refunds) == (1, [])


def test_unknown_tool_asks_nobody(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """A call of a tool that is not there is answered by the framework's own words, without a review."""
    agent = agent_of(ledger, [("c1", "issue_refunds", REFUND)])
    told = asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate)))

    assert "not found" in told["c1"].tool_output.content
    assert requests() == []


def test_arguments_that_do_not_fit_ask_nobody(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """What the tool's own schema refuses is told to the model and shown to no reviewer."""
    calls = [("c1", GATED, {"order_id": "A-1"}), ("c2", GATED, {**REFUND, "approved": True})]
    told = asyncio.run(asked(GatedAgentWorkflow([agent_of(ledger, calls)], gate=gate)))

    assert "amount" in told["c1"].tool_output.content
    assert "takes no argument approved" in told["c2"].tool_output.content
    assert (requests(), ledger.effects) == ([], [])


def test_misspelt_tool_is_refused_at_once(gate: Gate, ledger: Ledger) -> None:
    """A name in `tools=` that no agent has would leave the meant tool ungated."""
    with pytest.raises(ConfigurationError, match="isue_refund"):
        GatedAgentWorkflow([agent_of(ledger)], gate=gate, tools=["isue_refund"])


def test_gate_is_required(ledger: Ledger) -> None:
    """Without a gate there is no gated workflow, also not by the framework's own short cut."""
    with pytest.raises(TypeError, match="gate"):
        GatedAgentWorkflow([agent_of(ledger)])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="gate"):
        GatedAgentWorkflow.from_tools_or_functions([ledger.issue_refund], llm=ScriptedModel())


def test_refused_return_direct_does_not_end_the_run(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """The refusal of a tool whose result is the answer goes to the model, and its siblings' results too."""
    tools = [FunctionTool.from_defaults(ledger.issue_refund, return_direct=True), ledger.look_up]
    agent = agent_of(ledger, [("c1", GATED, REFUND), ("c2", UNGATED, {"order_id": "A-1"})], tools=tools)
    with reviewer.deciding(REJECT):
        told = asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate, tools=[GATED])))

    assert told["c1"].tool_output.is_error
    assert not told["c1"].return_direct
    assert any("did not run" in line for line in model_of(agent).seen[-1])
    assert any("was delivered" in line for line in model_of(agent).seen[-1])


def test_approved_return_direct_is_the_answer(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """An approved one ends the run with the tool's own words, also when it was edited."""
    tools = [FunctionTool.from_defaults(ledger.issue_refund, return_direct=True)]
    workflow = GatedAgentWorkflow([agent_of(ledger, [("c1", GATED, REFUND)], tools=tools)], gate=gate)
    with reviewer.deciding(Verdict("approve", arguments={**REFUND, "amount": 20.0})):
        result = asyncio.run(_result(workflow))

    assert str(result) == "refunded 20.0 for A-1"


def test_more_reviews_than_workers(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """Nine pending reviews hold none of a step's four workers: a tenth call, which is not gated, runs at once."""
    calls = [(f"c{n}", GATED, {"order_id": f"A-{n}", "amount": 50.0}) for n in range(9)]
    agent = agent_of(ledger, [*calls, ("look", UNGATED, {"order_id": "A-1"})])

    async def play() -> Any:
        handler = GatedAgentWorkflow([agent], gate=gate, tools=[GATED]).run(user_msg="Refund all.")
        waiting = await asyncio.to_thread(reviewer.waiting, 9)
        async for event in handler.stream_events():
            if isinstance(event, ToolCallResult):
                assert event.tool_name == UNGATED
                break
        assert ledger.refunds == []
        for review in waiting:
            await asyncio.to_thread(reviewer.approve, review.decision_id)
        return await handler

    assert str(asyncio.run(play())) == GOODBYE
    assert sorted(refund["order_id"] for refund in ledger.refunds) == [f"A-{n}" for n in range(9)]


def test_one_decision_resolves_one_call(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """Of three calls of a turn the approved one runs, and only that one."""
    calls = [(f"c{n}", GATED, {"order_id": f"A-{n}", "amount": 50.0}) for n in range(3)]

    def only_the_second(review: Any) -> Verdict:
        return APPROVE if review.arguments["order_id"] == "A-1" else REJECT

    with reviewer.deciding(only_the_second):
        asyncio.run(asked(GatedAgentWorkflow([agent_of(ledger, calls)], gate=gate)))

    assert [refund["order_id"] for refund in ledger.refunds] == ["A-1"]


def test_identical_calls_with_the_same_id(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """Some models use the tool's name as id: two such calls with the same arguments are two requests."""
    agent = agent_of(ledger, [(GATED, GATED, REFUND), (GATED, GATED, REFUND)])
    verdicts = iter([APPROVE, REJECT])
    with reviewer.deciding(lambda _: next(verdicts)) as decided:
        asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate)))

    assert (len(decided), ledger.refunds) == (2, [REFUND])


def test_same_id_in_the_next_turn_is_another_call(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """The id may come again in a later turn, and in a later run on the same context."""
    agent = agent_of(ledger, [(GATED, GATED, REFUND)], [(GATED, GATED, REFUND)])

    async def play() -> None:
        workflow = GatedAgentWorkflow([agent], gate=gate)
        context: Context[Any] = Context(workflow)
        await workflow.run(user_msg="Refund it.", ctx=context)
        # Whether the model sees the first run's messages again is the framework's and pydantic's business.
        model_of(agent).turns = [[(GATED, GATED, REFUND)], [], [], [(GATED, GATED, REFUND)]]
        await workflow.run(user_msg="Once more.", ctx=context)

    with reviewer.deciding(APPROVE) as decided:
        asyncio.run(play())

    assert (len(decided), len(ledger.refunds)) == (3, 3)


def test_ids_are_in_the_state(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """Decision, task and thread are kept in the workflow's state, and the stream says who has to decide."""
    events: list[Any] = []

    async def play() -> dict[str, Any]:
        agent = agent_of(ledger, [("c1", GATED, REFUND)])
        handler = GatedAgentWorkflow([agent], gate=gate).run(user_msg="Refund it.")
        events.extend([event async for event in handler.stream_events()])
        await handler
        kept: dict[str, Any] = await handler.ctx.store.get("stacksona")
        return kept

    with reviewer.deciding(APPROVE):
        (ids,) = asyncio.run(play())["reviews"].values()

    (event,) = [each for each in events if isinstance(each, HumanReviewRequired)]
    assert ids["decision_id"] == event.decision_id
    assert (ids["task_id"], ids["thread_id"]) == (event.task_id, event.thread_id)
    assert ids["thread_id"].startswith("THR-")
    assert ids["status"] == "approved"


def test_code_is_gated_as_a_whole(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """Code of a `CodeActAgent` runs only when it is approved, and a reviewer sees it."""
    ran: list[str] = []

    async def execute(code: str) -> str:
        """Run code."""
        ran.append(code)
        return "done"

    code = "issue_refund('A-1', 50.0)"
    for verdict, expected in ((REJECT, []), (APPROVE, [code])):
        model = TextModel(texts=[f"<execute>{code}</execute>", GOODBYE], mark="Result of executing")
        agent = CodeActAgent(execute, tools=[ledger.issue_refund], llm=model)
        with reviewer.deciding(verdict) as decided:
            asyncio.run(_result(GatedAgentWorkflow([agent], gate=gate, tools=["execute"])))

        assert (ran, len(decided)) == (expected, 1)
        assert reviewer.detail(decided[0]).arguments == {"code": code}


def test_tool_that_code_would_call_is_refused(gate: Gate, ledger: Ledger) -> None:
    """Code calls functions without anybody seeing it: a gated tool needs gated code, and a gated tool is none there."""
    agent = CodeActAgent(lambda code: code, tools=[ledger.issue_refund], llm=TextModel(texts=[GOODBYE]))
    with pytest.raises(ConfigurationError, match="execute"):
        GatedAgentWorkflow([agent], gate=gate, tools=[GATED])

    wrapped = gated_tools([ledger.issue_refund], gate=gate)
    agent = CodeActAgent(lambda code: code, tools=list(wrapped), llm=TextModel(texts=[GOODBYE]))
    with pytest.raises(ValueError, match="requires context"):
        asyncio.run(_ran_alone(agent))
    assert ledger.effects == []


async def _ran_alone(agent: Any) -> Any:
    return await agent.run(user_msg="Refund it.")


class Answers(CustomQueryEngine):
    """A query engine that counts."""

    asked: list[str] = []  # noqa: RUF012 - pydantic copies it

    def custom_query(self, query_str: str) -> Response:
        """Answer."""
        self.asked.append(query_str)
        return Response("42")


def test_query_engine_tools(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A query engine is asked only when it is approved, in a gated workflow and as a gated tool."""
    engine = Answers()
    tool = QueryEngineTool.from_defaults(engine, name="search", description="searches")
    turn = [("c1", "search", {"input": "salaries"})]
    for workflow in (
        GatedAgentWorkflow([agent_of(ledger, turn, tools=[tool])], gate=gate),
        agent_of(ledger, turn, tools=gated_tools([tool], gate=gate)),
    ):
        engine.asked.clear()
        with reviewer.deciding(REJECT):
            asyncio.run(_result(workflow))
        assert engine.asked == []
        with reviewer.deciding(APPROVE):
            asyncio.run(_result(workflow))
        assert engine.asked == ["salaries"]


def test_failing_tool_is_told_and_reported(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """A tool that raises is an error for the model, as always here, and its outcome at the gate is `failed`."""

    def issue_refund(order_id: str, amount: float) -> str:
        """Pay a refund."""
        raise RuntimeError(f"no money for {order_id} ({amount})")

    workflow = GatedAgentWorkflow([agent_of(ledger, [("c1", GATED, REFUND)], tools=[issue_refund])], gate=gate)
    with reviewer.deciding(APPROVE) as decided:
        told = asyncio.run(asked(workflow))
    assert gate.flush(10)

    assert told["c1"].tool_output.is_error
    assert "no money for A-1" in told["c1"].tool_output.content
    executed = next(entry for entry in reviewer.detail(decided[0]).timeline if entry.kind == "TOOL_EXECUTED")
    assert executed.payload["event_payload"]["outcome"] == "failed"


def test_timeout_is_not_silent(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """A workflow's own timeout counts while a person thinks: it raises, reports and withdraws."""
    agent = agent_of(ledger, [("c1", GATED, REFUND)])

    async def play() -> None:
        with pytest.raises(WorkflowTimeoutError):
            await GatedAgentWorkflow([agent], gate=gate, timeout=8.0).run(user_msg="Refund it.")

    asyncio.run(play())
    assert gate.flush(10)

    (review,) = requests()
    assert review.status is Status.CANCELLED
    assert "TASK_FAILED" in [entry.kind for entry in review.timeline]
    assert ledger.refunds == []


def test_plain_run_gives_up_when_its_patience_is_over(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """Where nobody can take a pause, the call is refused, said so, and withdrawn; the run goes on."""
    workflow = GatedAgentWorkflow([agent_of(ledger, [("c1", GATED, REFUND)])], gate=gate, wait=0)
    told = asyncio.run(asked(workflow))
    assert gate.flush(10)

    refusal = json.loads(told["c1"].tool_output.content)
    assert (refusal["executed"], refusal["status"]) == (False, "pending_review")
    assert [review.status for review in requests()] == [Status.CANCELLED]


class Answer(HumanResponseEvent):
    """An answer that a tool waits for."""


def test_tool_that_waits_for_an_event_runs_once(gate: Gate, reviewer: Reviewer, ledger: Ledger) -> None:
    """LlamaIndex would run such a tool again from its top; a gated one is ended with an error instead."""

    async def issue_refund(ctx: Context, order_id: str, amount: float) -> str:
        """Pay a refund, and ask a question."""
        ledger.issue_refund(order_id, amount)
        await ctx.wait_for_event(Answer)
        return "answered"

    # LlamaIndex reads the annotation of a context from the function, and this module's annotations are texts.
    issue_refund.__annotations__["ctx"] = Context
    workflow = GatedAgentWorkflow([agent_of(ledger, [("c1", GATED, REFUND)], tools=[issue_refund])], gate=gate)
    with reviewer.deciding(APPROVE):
        told = asyncio.run(asked(workflow))

    assert told["c1"].tool_output.is_error
    assert told["c1"].tool_output.content
    assert ledger.refunds == [REFUND]


def test_tool_whose_schema_is_incomplete(gate: Gate, requests: Requests, ledger: Ledger) -> None:
    """A tool whose schema pydantic cannot build is refused to the model instead of ending the run."""

    def issue_refund(order_id: str, amount: Missing) -> str:  # type: ignore[name-defined]  # noqa: F821
        """Pay a refund."""
        return ledger.issue_refund(order_id, amount)

    agent = agent_of(ledger, [("c1", GATED, REFUND)], tools=[issue_refund])
    told = asyncio.run(asked(GatedAgentWorkflow([agent], gate=gate)))

    assert "did not run" in told["c1"].tool_output.content
    assert (requests(), ledger.effects) == ([], [])
