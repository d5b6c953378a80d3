"""Plays the contract's scenarios in LlamaIndex: agents on every path, and plain workflows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

from llama_index.core.agent.workflow import FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.tools import FunctionTool, ToolOutput
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.llamaindex import (
    ApprovalRequested,
    ApprovalResolved,
    GatedAgentWorkflow,
    GatedWorkflow,
    PausedRun,
    gated_tools,
    resume,
    run_or_pause,
)
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.testing.harness import AGENT, GATED, GOODBYE, POLICY, Harness, Ran, Scenario
from tests.adapters.llamaindex_models import ScriptedModel, TextModel, Turn, react_texts

PAGE = Path(__file__).parents[2] / "docs" / "llamaindex.md"
SERVER = Path(__file__).parent / "llamaindex_mcp_server.py"


def turns_of(scenario: Scenario) -> list[Turn]:
    """The scenario's turns for a scripted model."""
    return [[(call.call_id, call.tool, call.arguments) for call in turn] for turn in scenario.turns]


class Seen:
    """Collects what the model was told."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self.results: list[str] = []

    def __call__(self, event: Event) -> None:
        """Take an event of a run's stream."""
        if isinstance(event, ToolCallResult):
            self.told[event.tool_id] = event.tool_output.content
            self.results.append(event.model_dump_json())


class AgentHarness(Harness):
    """Agents: the first path goes through all cases."""

    framework = FrameworkOrigin.LLAMAINDEX
    paths: ClassVar = {
        "agent": "async",
        "run": "async",
        "react": "async",
        "handoff": "async",
        "nested": "async",
        "from_tools": "async",
        "gated tools": "async",
        "gated tools, react": "async",
        "gated tools, plain workflow": "async",
        "predict_and_call": "async",
        "mcp": "async",
    }
    context: ClassVar = ["workflow", "step", "agent", "task"]
    page = PAGE

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """See `Harness`."""
        seen = Seen()
        with scenario.gate() as gate:
            play = getattr(self, "_play_" + scenario.path.replace(", ", "_").replace(" ", "_"))
            result = await play(scenario, gate, seen, paused)
        if isinstance(result, PausedRun):
            return Ran(told=seen.told, paused=result.to_json(), transcript="".join(seen.results))
        calls = [call for call in getattr(result, "tool_calls", []) if isinstance(call, ToolCallResult)]
        told = {call.tool_id: call.tool_output.content for call in calls}
        record = json.dumps([call.model_dump(mode="json") for call in calls])
        return Ran(told={**seen.told, **told}, finished=str(result) == GOODBYE, transcript=record)

    def forged(self, paused: str) -> str:
        """The pause with every decision in it approved."""
        return paused.replace("pending_review", "approved")

    def _functions(self, scenario: Scenario) -> list[Any]:
        ledger = scenario.ledger
        return [FunctionTool.from_defaults(ledger.issue_refund), FunctionTool.from_defaults(ledger.look_up)]

    def _agent(self, scenario: Scenario, tools: list[Any] | None = None, **options: Any) -> FunctionAgent:
        model = ScriptedModel(turns=turns_of(scenario))
        given = {"name": AGENT, "description": "Pays refunds.", "llm": model, **options}
        return FunctionAgent(tools=tools or self._functions(scenario), **given)

    async def _driven(self, workflow: GatedAgentWorkflow, scenario: Scenario, seen: Seen, paused: str | None) -> Any:
        if paused is not None:
            return await resume(workflow, PausedRun.from_json(paused), on_event=seen)
        return await run_or_pause(workflow, user_msg="Refund the order.", run_id=scenario.run_id, on_event=seen)

    async def _play_agent(self, scenario: Scenario, gate: Gate, seen: Seen, paused: str | None) -> Any:
        workflow = GatedAgentWorkflow([self._agent(scenario)], gate=gate, **POLICY)
        return await self._driven(workflow, scenario, seen, paused)

    async def _play_run(self, scenario: Scenario, gate: Gate, seen: Seen, _: str | None) -> Any:
        handler = GatedAgentWorkflow([self._agent(scenario)], gate=gate, **POLICY).run(user_msg="Refund the order.")
        async for event in handler.stream_events():
            seen(event)
        return await handler

    async def _play_react(self, scenario: Scenario, gate: Gate, seen: Seen, paused: str | None) -> Any:
        agent = ReActAgent(
            name=AGENT, tools=self._functions(scenario), llm=TextModel(texts=react_texts(turns_of(scenario)))
        )
        return await self._driven(GatedAgentWorkflow([agent], gate=gate, **POLICY), scenario, seen, paused)

    async def _play_handoff(self, scenario: Scenario, gate: Gate, seen: Seen, paused: str | None) -> Any:
        hand_over = ScriptedModel(turns=[[("h", "handoff", {"to_agent": AGENT, "reason": "it pays"})]])
        front = self._agent(scenario, name="front", llm=hand_over, can_handoff_to=[AGENT])
        # The second agent sees the first one's turn in the history.
        biller = self._agent(scenario, llm=ScriptedModel(turns=[[], *turns_of(scenario)]))
        workflow = GatedAgentWorkflow([front, biller], root_agent="front", gate=gate, **POLICY)
        return await self._driven(workflow, scenario, seen, paused)

    async def _play_nested(self, scenario: Scenario, gate: Gate, seen: Seen, _: str | None) -> Any:
        inner = GatedAgentWorkflow([self._agent(scenario)], gate=gate, **POLICY)

        async def ask_biller(question: str) -> str:
            """Ask the agent that pays."""
            return str(await inner.run(user_msg=question))

        model = ScriptedModel(turns=[[("n", "ask_biller", {"question": "Refund it."})]])
        return await FunctionAgent(name="outer", tools=[ask_biller], llm=model).run(user_msg="Refund the order.")

    async def _play_from_tools(self, scenario: Scenario, gate: Gate, seen: Seen, paused: str | None) -> Any:
        workflow = GatedAgentWorkflow.from_tools_or_functions(
            self._functions(scenario), llm=ScriptedModel(turns=turns_of(scenario)), gate=gate, **POLICY
        )
        return await self._driven(workflow, scenario, seen, paused)

    async def _play_gated_tools(self, scenario: Scenario, gate: Gate, seen: Seen, _: str | None) -> Any:
        agent = self._agent(scenario, gated_tools(self._functions(scenario), gate=gate, **POLICY))
        return await agent.run(user_msg="Refund the order.")

    async def _play_gated_tools_react(self, scenario: Scenario, gate: Gate, seen: Seen, _: str | None) -> Any:
        tools = gated_tools(self._functions(scenario), gate=gate, **POLICY)
        agent = ReActAgent(name=AGENT, tools=tools, llm=TextModel(texts=react_texts(turns_of(scenario))))
        return await agent.run(user_msg="Refund the order.")

    async def _play_gated_tools_plain_workflow(self, scenario: Scenario, gate: Gate, seen: Seen, _: str | None) -> Any:
        return await CallingFlow(gated_tools(self._functions(scenario), gate=gate, **POLICY)).run(scenario=scenario)

    async def _play_predict_and_call(self, scenario: Scenario, gate: Gate, seen: Seen, _: str | None) -> Any:
        tools = gated_tools(self._functions(scenario), gate=gate, **POLICY)
        await ScriptedModel(turns=turns_of(scenario)).apredict_and_call(tools, "Refund the order.")
        return GOODBYE

    async def _play_mcp(self, scenario: Scenario, gate: Gate, seen: Seen, paused: str | None) -> Any:
        client = BasicMCPClient(sys.executable, args=[str(SERVER), str(scenario.directory / "ledger.jsonl")])
        tools = await McpToolSpec(client).to_tool_list_async()
        workflow = GatedAgentWorkflow([self._agent(scenario, list(tools))], gate=gate, **POLICY)
        return await self._driven(workflow, scenario, seen, paused)


class CallingFlow(Workflow):
    """A plain workflow whose step calls tools."""

    def __init__(self, tools: list[Any]) -> None:
        super().__init__(timeout=None)
        self.tools = {tool.metadata.get_name(): tool for tool in tools}

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Call what the scenario says."""
        for turn in ev.scenario.turns:
            for call in turn:
                output: ToolOutput = await self.tools[call.tool].acall(**call.arguments)
                assert isinstance(output, ToolOutput)
        return StopEvent(result=GOODBYE)


class NextTurn(Event):
    """A turn begins."""

    turn: int
    sent_back: list[str]


class Answered(Event):
    """A call has its result."""

    turn: int
    call_id: str
    text: str
    decision_id: str | None = None
    sent_back: bool = False


class Refund(BaseModel):
    """The arguments of a refund."""

    order_id: str
    amount: float


class ScriptedFlow(GatedWorkflow):
    """A plain workflow that proposes what the scenario says, turn after turn."""

    def __init__(self, scenario: Scenario, gate: Gate) -> None:
        super().__init__(gate=gate, risk=POLICY["risk"], subject=POLICY["subject"], schemas={GATED: Refund})
        self.scenario = scenario

    @step
    async def begin(self, ev: StartEvent) -> NextTurn:
        """Start with the first turn."""
        return NextTurn(turn=0, sent_back=[])

    @step
    async def propose(self, ctx: Context, ev: NextTurn) -> ApprovalRequested | Answered | StopEvent | None:
        """Propose the calls of a turn."""
        turns = self.scenario.turns
        if ev.turn == len(turns):
            return StopEvent(result=GOODBYE)
        for number, call in enumerate(turns[ev.turn]):
            if call.tool != GATED:
                text = self.scenario.ledger.look_up(**call.arguments)
                ctx.send_event(Answered(turn=ev.turn, call_id=call.call_id, text=text))
                continue
            revises = ev.sent_back[number] if number < len(ev.sent_back) else None
            ctx.send_event(
                ApprovalRequested(
                    tool_name=GATED, payload=call.arguments, request_id=f"{ev.turn}:{call.call_id}", revises=revises
                )
            )
        return None

    @step
    async def pay(self, ev: ApprovalResolved) -> Answered:
        """Run what was approved."""
        turn, _, call_id = ev.request.request_id.partition(":")
        answer = {"turn": int(turn), "call_id": call_id, "decision_id": ev.decision.id if ev.decision else None}
        if not ev.approved:
            refusal = ev.refusal or {}
            sent_back = refusal.get("status") == "revise"
            return Answered(text=json.dumps(refusal), sent_back=sent_back, **answer)
        try:
            async with self.permit(ev) as permit:
                text = self.scenario.ledger.issue_refund(**permit.arguments)
                note = "A reviewer changed the arguments. " if permit.edited else ""
        except StacksonaError as error:
            return Answered(text=str(error), **answer)
        return Answered(text=note + text, **answer)

    @step
    async def collect(self, ctx: Context, ev: Answered) -> NextTurn | None:
        """Go on when all calls of a turn are answered."""
        ctx.write_event_to_stream(ev)
        got = ctx.collect_events(ev, [Answered] * len(self.scenario.turns[ev.turn]))
        if not got:
            return None
        return NextTurn(turn=ev.turn + 1, sent_back=[each.decision_id for each in got if each.sent_back])


class WorkflowHarness(Harness):
    """Plain workflows with the approval steps."""

    framework = FrameworkOrigin.LLAMAINDEX
    paths: ClassVar = {"workflow": "async", "workflow, run": "async"}
    context: ClassVar = ["workflow", "step"]
    page = PAGE

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """See `Harness`."""
        answers: list[Answered] = []

        def listen(event: Event) -> None:
            if isinstance(event, Answered):
                answers.append(event)

        with scenario.gate() as gate:
            flow = ScriptedFlow(scenario, gate)
            if scenario.path == "workflow, run":
                result = await flow.run(run_id=scenario.run_id)
            elif paused is None:
                result = await run_or_pause(flow, run_id=scenario.run_id, on_event=listen)
            else:
                result = await resume(flow, PausedRun.from_json(paused), on_event=listen)
        pause = result.to_json() if isinstance(result, PausedRun) else None
        told = {answer.call_id: answer.text for answer in answers}
        record = "".join(answer.model_dump_json() for answer in answers)
        return Ran(told=told, finished=result == GOODBYE, paused=pause, transcript=record)

    def forged(self, paused: str) -> str:
        """The pause with every decision in it approved."""
        return paused.replace("pending_review", "approved")
