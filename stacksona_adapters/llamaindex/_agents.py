"""Agents whose tool calls ask the gate: every call of every agent of an `AgentWorkflow`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, CodeActAgent, ToolCall, ToolCallResult
from llama_index.core.agent.workflow.base_agent import BaseWorkflowAgent
from llama_index.core.agent.workflow.workflow_events import AgentInput, AgentSetup, AgentWorkflowStartEvent
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import BaseTool, ToolOutput, adapt_to_async_tool
from workflows import Context, step
from workflows.context.serializers import BaseSerializer

from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import ConfigurationError, ReviewPending, StacksonaError
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools
from stacksona_adapters.llamaindex import _state
from stacksona_adapters.llamaindex._calls import CalledTool, Outcome, ask_and_run, refused
from stacksona_adapters.llamaindex._reviews import patience_over, pending_decision, required, reviewing
from stacksona_adapters.llamaindex._running import Binding, GatedRuns
from stacksona_adapters.llamaindex._schemas import describe
from stacksona_adapters.llamaindex._serializer import PauseSerializer
from stacksona_adapters.llamaindex._tools import GatedTool, require_names
from stacksona_adapters.llamaindex._workflow import REVIEWS_AT_ONCE
from stacksona_adapters.llamaindex.events import ApprovalRequested, GatedCall, HumanReviewRequired

HANDOFF = "handoff"
EXECUTE = "execute"


class GatedAgentWorkflow(GatedRuns, AgentWorkflow):
    """An `AgentWorkflow` that asks the gate before each gated tool call.

    ::

        agent = GatedAgentWorkflow(agents=[agent], gate=gate, tools=["issue_refund"])

    It takes any agents (`FunctionAgent`, `ReActAgent`, `CodeActAgent`, your own) and sees every call that they make:
    functions, MCP tools, query engines, retrieved tools, hand-overs (`handoff`) and code (`execute`). Use it as the
    outermost object: an agent of it that runs by itself asks nobody.

    Args:
        agents: The agents.
        gate: The gate.
        tools: Which tools are gated: `"all"`, their names, or a function of the name.
        risk: A level for each, a mapping of names to levels, or a function of name and arguments.
        subject: The argument that holds the subject, for all or by tool, or a function of name and arguments.
        wait: Seconds to wait in this process for a person; see `run_or_pause`.
        **options: Further arguments of `AgentWorkflow`.

    Raises:
        ConfigurationError: If `tools=` names a tool that no agent has, or one that a `CodeActAgent` would call from
            its code without being seen.
    """

    def __init__(
        self,
        agents: list[BaseWorkflowAgent],
        *,
        gate: AnyGate,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        **options: Any,
    ) -> None:
        super().__init__(agents, **options)
        self.binding = Binding(gate.aio, ToolPolicy(tools, risk, subject), wait)
        self._own = {
            (agent.name, tool.metadata.get_name()): tool.binding
            for agent in agents
            for tool in agent.tools or []
            if isinstance(tool, GatedTool)
        }
        _check_names(self.binding.policy, agents)
        for agent in agents:
            _check_code(self.binding.policy, agent)

    @step
    async def init_run(self, ctx: Context, ev: AgentWorkflowStartEvent) -> AgentInput:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin, with a name for the run that lasts over a suspension."""
        await _state.begin(ctx)
        first: AgentInput = await super().init_run(ctx, ev)
        return first

    @step
    async def run_agent_step(self, ctx: Context, ev: AgentSetup) -> AgentOutput:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Let the model propose, and note what it did."""
        output: AgentOutput = await super().run_agent_step(ctx, ev)
        await _state.note_turn(ctx, output.tool_calls)
        return output

    @step
    async def call_tool(self, ctx: Context, ev: ToolCall) -> ToolCallResult | GatedCall:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run a call that is not gated; send a gated one to the gate."""
        agent = await ctx.store.get("current_agent_name")
        binding = self._binding(agent, ev.tool_name)
        if binding is None:
            result: ToolCallResult = await super().call_tool(ctx, ev)
            return result
        ctx.write_event_to_stream(ToolCall(tool_name=ev.tool_name, tool_kwargs=ev.tool_kwargs, tool_id=ev.tool_id))
        call_id, revises = await _state.identify(ctx, ev)
        name = type(self).__name__
        task = str(await ctx.store.get("user_msg_str", default=""))[:500]
        request = ApprovalRequested(
            tool_name=ev.tool_name,
            payload=ev.tool_kwargs,
            label=name,
            summary=[f"{agent} wants to call {ev.tool_name}"],
            context={"workflow": name, "step": "call_tool", "agent": agent, "task": task},
            revises=revises,
            request_id=call_id,
        )
        return GatedCall(request=request, run_id=await _state.run_id_of(ctx), tool_id=ev.tool_id)

    @step(num_workers=REVIEWS_AT_ONCE)
    async def gated_call_step(self, ctx: Context, ev: GatedCall) -> ToolCallResult | HumanReviewRequired:
        """Ask the gate. What a rule permits runs here; a person's decision is left to `review_call_step`."""
        try:
            return await self._answer(ctx, ev, 0)
        except ReviewPending as pending:
            decision = pending_decision(pending)
            await _state.remember(ctx, ev.request.request_id, decision)
            event = HumanReviewRequired(request=ev.request, decision=decision, run_id=ev.run_id, tool_id=ev.tool_id)
            return required(event)

    @step(num_workers=REVIEWS_AT_ONCE)
    async def review_call_step(self, ctx: Context, ev: HumanReviewRequired) -> ToolCallResult:
        """Wait for the person and run. In a resumed run it runs again from its top and finds the same request."""
        call = GatedCall(request=ev.request, run_id=ev.run_id, tool_id=ev.tool_id or "")
        agent = await ctx.store.get("current_agent_name")
        binding = self._binding(agent, ev.request.tool_name) or self.binding
        async with reviewing(binding, ev) as pauser:
            try:
                return await self._answer(ctx, call, binding.wait)
            except ReviewPending as pending:
                error = await patience_over(binding, pauser, ev, pending)
        tool = await self._tool(ctx, agent, ev.request.tool_name)
        return await self._told(ctx, call, tool, refused(ev.request.tool_name, ev.request.payload, error))

    def _binding(self, agent: str, tool: str) -> Binding | None:
        own = self._own.get((agent, tool))
        if own is not None:
            return own
        return self.binding if self.binding.policy.covers(tool) else None

    async def _tool(self, ctx: Context, agent: str, name: str) -> CalledTool | None:
        for tool in await self.get_tools(agent, name):
            if tool.metadata.name == name:
                return CalledTool(tool.inner if isinstance(tool, GatedTool) else adapt_to_async_tool(tool))
        return None

    async def _answer(self, ctx: Context, call: GatedCall, wait: Wait) -> ToolCallResult:
        name, payload = call.request.tool_name, call.request.payload
        agent = await ctx.store.get("current_agent_name")
        tool = await self._tool(ctx, agent, name)
        if tool is None:
            missing = ToolOutput(
                tool_name=name, content=f"Tool {name} not found.", raw_input=payload, raw_output=None, is_error=True
            )
            return await self._told(ctx, call, None, Outcome(missing, payload))
        binding = replace(self._binding(agent, name) or self.binding, wait=wait)
        try:
            arguments = tool.validate(payload)
            request = call.request.model_copy(update={"payload": arguments})
            action = describe(binding, request, call.run_id, tool.schema)
            outcome = await ask_and_run(binding, action, tool, ctx, arguments)
        except ReviewPending:
            raise
        except StacksonaError as error:
            outcome = refused(name, payload, error)
        return await self._told(ctx, call, tool, outcome)

    async def _told(self, ctx: Context, call: GatedCall, tool: CalledTool | None, outcome: Outcome) -> ToolCallResult:
        """The result as the agent's own step would return it, with the decision's id."""
        decision = outcome.decision
        if decision is not None:
            await _state.remember(ctx, call.request.request_id, decision)
        result = ToolCallResult(
            tool_name=call.request.tool_name,
            tool_kwargs=outcome.arguments,
            tool_id=call.tool_id,
            tool_output=outcome.output,
            # A refusal is never the agent's answer, also not that of a tool whose results are.
            return_direct=tool is not None and tool.tool.metadata.return_direct and not outcome.output.is_error,
        )
        # An event takes fields of ours; this one stays with the run's results and its stream.
        result["decision_id"] = decision.id if decision is not None else None
        ctx.write_event_to_stream(result)
        return result

    @classmethod
    def from_tools_or_functions(  # type: ignore[override]
        cls,
        tools_or_functions: list[BaseTool | Callable[..., Any]],
        llm: LLM | None = None,
        system_prompt: str | None = None,
        **options: Any,
    ) -> GatedAgentWorkflow:
        """One agent with these tools, as `AgentWorkflow.from_tools_or_functions` makes it, gated.

        Args:
            tools_or_functions: The tools.
            llm: The model.
            system_prompt: What the agent is told.
            **options: `gate=` and the other arguments of `GatedAgentWorkflow`.
        """
        plain = AgentWorkflow.from_tools_or_functions(tools_or_functions, llm=llm, system_prompt=system_prompt)
        return cls(list(plain.agents.values()), **options)

    async def kept_memory(self, ctx: Context[Any]) -> dict[str, Any] | None:
        """The chat messages, where the memory cannot be serialised with the context.

        That is `core.memory.Memory` always, and `ChatMemoryBuffer` since pydantic 2.14.
        """
        memory = await ctx.store.get("memory", default=None)
        if memory is None:
            return None
        try:
            self.pause_serializer().serialize(memory)
        except ValueError:
            messages = [message.model_dump(mode="json") for message in await memory.aget_all()]
            return {"messages": messages, "token_limit": getattr(memory, "token_limit", None)}
        return None

    async def restore_memory(self, ctx: Context[Any], memory: Any, kept: dict[str, Any] | None) -> None:
        """Put the memory back: the one that the user gave, else one with the kept messages."""
        if memory is None and kept is not None:
            messages = [ChatMessage.model_validate(each) for each in kept["messages"]]
            memory = ChatMemoryBuffer.from_defaults(chat_history=messages, token_limit=kept["token_limit"])
        if memory is not None:
            await ctx.store.set("memory", memory)

    def pause_serializer(self) -> BaseSerializer:
        """JSON, where a tool's result that has no JSON form is kept as its text."""
        return PauseSerializer()


def _check_names(policy: ToolPolicy, agents: Sequence[BaseWorkflowAgent]) -> None:
    if any(agent.tool_retriever is not None for agent in agents):
        return  # which tools there are is known at run time only
    names = {tool.metadata.get_name() for agent in agents for tool in _tools(agent)}
    require_names(policy, names | ({HANDOFF} if len(agents) > 1 else set()))


def _check_code(policy: ToolPolicy, agent: BaseWorkflowAgent) -> None:
    if not isinstance(agent, CodeActAgent) or policy.covers(EXECUTE):
        return
    names = {tool.metadata.get_name() for tool in _tools(agent)}
    unseen = sorted(name for name in names if policy.covers(name))
    if unseen or agent.tool_retriever is not None:
        raise ConfigurationError(
            f"{agent.name} calls {', '.join(unseen) or 'its tools'} from code, where no call can be gated: "
            f"add {EXECUTE!r} to tools=, so that the code is gated."
        )


def _tools(agent: BaseWorkflowAgent) -> list[BaseTool]:
    return [tool for tool in agent.tools or [] if isinstance(tool, BaseTool)]
