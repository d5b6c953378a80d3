"""The gate of agents."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from ag2 import Agent, Context, MemoryStream
from ag2.agent import AgentReply
from ag2.events import BaseEvent, ClientToolCallEvent, TextInput, ToolCallEvent, ToolErrorEvent, ToolResultEvent
from ag2.middleware import BaseMiddleware, Middleware, ToolExecution, ToolMiddleware, ToolResultType
from ag2.tools import Toolkit
from ag2.tools.final import FunctionTool
from ag2.tools.tool import Tool

from stacksona_adapters.ag2 import _transcript as transcript
from stacksona_adapters.ag2._arguments import Arguments
from stacksona_adapters.ag2._paused import PausedAgent, dumped
from stacksona_adapters.client.gate import AnyGate
from stacksona_adapters.client.permit import DEFAULT, Wait
from stacksona_adapters.errors import ConfigurationError, GateError, ReviewPending, StacksonaError
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note, refusal
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools
from stacksona_adapters.protocol.tasks import FrameworkOrigin

DECISION = "stacksona_decision_id"
"""The key of a tool result's metadata under which the decision's id stands."""


@dataclass
class _Run:
    run_id: str
    agent: str
    stream_id: Any
    open: dict[str, str] = field(default_factory=dict)
    resumed: dict[str, str] = field(default_factory=dict)
    errors: list[GateError] = field(default_factory=list)


_RUN: ContextVar[_Run | None] = ContextVar("stacksona_ag2_run", default=None)


class _FailedResult(Exception):
    """Only makes the report say that the call failed."""


class _Replay(BaseMiddleware):
    """Gives the results that a paused turn had already, so that nothing runs a second time."""

    def __init__(self, event: BaseEvent, context: Context, *, done: dict[str, ToolResultEvent]) -> None:
        super().__init__(event, context)
        self._done = done

    async def on_tool_execution(
        self, call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        done = self._done.get(event.id)
        return done if done is not None else await call_next(event, context)


class AgentGate:
    """The gate of ag2 agents. One may serve many agents and many runs at once.

    Args:
        gate: The gate; either face.
        tools: Which tools are gated: `"all"`, their names, or a function of the name.
        risk: A level for every tool, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject (for every tool, or by tool name), or a function.
        wait: Seconds to wait for a person inside of the call; 0 pauses at once, `None`: as long as the request lives.
            Where a run cannot pause (inside of another agent, or outside of `ask`), 0 means `None`.

    Raises:
        ConfigurationError: If an argument makes no sense.
    """

    def __init__(
        self,
        gate: AnyGate,
        *,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
    ) -> None:
        self._gate = gate.aio
        self._policy = ToolPolicy(tools, risk, subject)
        self._wait = wait

    @property
    def hook(self) -> ToolMiddleware:
        """For whatever takes `middleware=` of tools: `MCPToolkit`, `Toolkit`, `agent.as_tool`."""
        return self._hook(Arguments(None))

    def tools(self, *tools: Callable[..., Any] | Tool) -> list[Tool]:
        """Gate functions, tools and plain toolkits, for `Agent(tools=...)`.

        The gate goes with the tool: also to subtasks and to agents that are used as tools, which an agent's own
        middleware does not reach.

        Args:
            *tools: Functions, `FunctionTool`s, or `Toolkit`s of such.

        Raises:
            ConfigurationError: If one takes no middleware; its message says what to do.
        """
        return [self._tool(tool) for tool in tools]

    async def ask(
        self, agent: Agent[Any] | AgentReply[Any, Any], *message: Any, run_id: str | None = None, **options: Any
    ) -> AgentReply[Any, Any] | PausedAgent:
        """Ask an agent as its own `ask` does, and keep book of the run at the gate.

        Args:
            agent: The agent, or a reply of its that is answered.
            *message: What it is asked.
            run_id: Your own id of the run, for example of the conversation; a fresh one where it is `None`.
            **options: The other arguments of the agent's `ask`.

        Returns:
            The reply, or the pause where a reviewer is needed.
        """
        if isinstance(agent, Agent):
            options["stream"] = options.get("stream") or MemoryStream()
            stream, name = options["stream"], agent.name
        else:
            stream, name = agent.context.stream, "agent"
        run = _Run(run_id or f"ag2_{uuid.uuid4().hex}", name, stream.id)
        return await self._drive(run, lambda: agent.ask(*message, **options))

    async def resume(
        self, agent: Agent[Any], paused: PausedAgent, **options: Any
    ) -> AgentReply[Any, Any] | PausedAgent:
        """Go on with a paused answer, in this process or another one that has built the same agent.

        The gate is asked again about every call that waits. What was approved runs, once, with the approved arguments;
        what ran before is not run again.

        Args:
            agent: The agent, built as before.
            paused: The pause. Save the one that comes back: it replaces the one that you gave.
            **options: The arguments of the agent's own `resume`, for example `dependencies=`.

        Returns:
            The reply; or the pause, where a call still waits or a new one does.

        Raises:
            ConfigurationError: If the pause cannot be read.
            GateError: If the gate cannot be asked and nothing was decided.
        """
        before, calls, done = paused.trajectory()
        stream = options.pop("stream", None) or MemoryStream()
        middleware = [*options.pop("middleware", ()), Middleware(_Replay, done=done)]
        run = _Run(paused.run_id, paused.agent, stream.id, resumed=dict(paused.calls))
        ended = await self._drive(
            run, lambda: agent.resume(*before, calls, stream=stream, middleware=middleware, **options)
        )
        if run.errors and isinstance(ended, PausedAgent) and ended.calls == paused.calls:
            raise run.errors[0]
        return ended

    async def _drive(
        self, run: _Run, work: Callable[[], Awaitable[AgentReply[Any, Any]]]
    ) -> AgentReply[Any, Any] | PausedAgent:
        inside = _RUN.set(run)
        try:
            reply = await work()
        except BaseException as error:
            self._gate.finish(run.run_id, f"{type(error).__name__}: {error}")
            raise
        finally:
            _RUN.reset(inside)
        if run.open:
            events = dumped(await reply.history.get_events())
            return PausedAgent(run_id=run.run_id, agent=run.agent, events=events, calls=run.open)
        self._gate.finish(run.run_id)
        return reply

    def _tool(self, tool: Callable[..., Any] | Tool) -> Tool:
        if isinstance(tool, Toolkit) and type(tool) is Toolkit:
            return Toolkit(*(self._tool(each) for each in tool.tools), name=tool.name)
        found = tool if isinstance(tool, Tool) else FunctionTool.ensure_tool(tool)
        if not isinstance(found, FunctionTool):
            raise ConfigurationError(
                f"{type(tool).__name__} cannot be gated from outside; give it middleware=[approvals.hook] itself."
            )
        return found.with_middleware(self._hook(Arguments(found)))

    def _hook(self, arguments: Arguments) -> ToolMiddleware:
        # A plain function: tools are deep-copied, and an object would be copied with its state.
        async def hook(call_next: ToolExecution, event: ToolCallEvent, context: Context) -> ToolResultType:
            if not self._policy.covers(event.name):
                return await call_next(event, context)
            return await self._call(arguments, call_next, event, context)

        return hook

    async def _call(
        self, arguments: Arguments, call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        run = _RUN.get()
        pauses = run is not None and run.stream_id == context.stream.id
        wait = self._gate.seconds(self._wait)
        if wait == 0 and not pauses:
            wait = None
        try:
            action = await self._action(arguments, event, context, run)
        except ValueError as error:  # what the model wrote fits no tool: nobody has to look at it
            return ToolErrorEvent.from_call(event, error)
        try:
            approval = await self._gate.authorize(action, wait=wait, validate=arguments.edited)
            await self._gate.take(approval, approval.arguments)
        except ReviewPending as pending:
            if run is not None and pauses:
                return _paused(run, event, pending.decision.id)
            self._gate.withdraw(await self._gate.request(pending.action))
            return _refused(event, pending)
        except StacksonaError as error:
            if run is not None and event.id in run.resumed and isinstance(error, GateError):
                run.errors.append(error)
                return _paused(run, event, run.resumed[event.id])
            return _refused(event, error)
        return await self._run(approval, call_next, event, context)

    async def _run(
        self, approval: Approval, call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        running = copy(event)
        running.arguments = json.dumps(approval.arguments)
        running.serialized_arguments = dict(approval.arguments)
        result: ToolResultType | None = None
        try:
            with self._gate.reporting(approval.asked):
                result = await call_next(running, context)
                if isinstance(result, ToolErrorEvent):
                    raise _FailedResult(str(result.error))
        except _FailedResult:
            pass  # the framework has a way of saying so
        return _noted(result, approval)

    async def _action(self, arguments: Arguments, event: ToolCallEvent, context: Context, run: _Run | None) -> Action:
        events = list(await context.stream.history.get_events())
        run_id = run.run_id if run is not None else f"ag2_{context.stream.id}"
        name = run.agent if run is not None else "agent"
        return self._policy.action(
            event.name,
            arguments.read(event.serialized_arguments),
            framework=FrameworkOrigin.AUTOGEN,
            run_id=run_id,
            run_label=f"ag2 agent {name}",
            call_id=event.id,
            arguments_schema=arguments.schema,
            revises=transcript.revises(event, events),
            summary=(f"{name} wants to run {event.name}.",),
            context={
                "agent": name,
                "task": transcript.task(events),
                "transcript_summary": transcript.summary(events),
                "nested": run is not None and run.stream_id != context.stream.id,
            },
        )


def _paused(run: _Run, event: ToolCallEvent, decision_id: str) -> ClientToolCallEvent:
    """Hands the call back to the caller, which ends the turn with the call open in the history."""
    run.open[event.id] = decision_id
    return ClientToolCallEvent.from_call(event)


def _refused(event: ToolCallEvent, error: StacksonaError) -> ToolResultEvent:
    refused = refusal(event.name, error)
    result = ToolResultEvent.from_call(event, refused.as_text())
    if refused.decision_id is not None:
        result.result.metadata[DECISION] = refused.decision_id
    return result


def _noted(result: ToolResultType | None, approval: Approval) -> ToolResultType:
    """The result with the decision's id, and with what the model is told of a reviewer's edit."""
    assert result is not None  # noqa: S101 - the call has returned
    if isinstance(result, ToolResultEvent):
        result.result.metadata[DECISION] = approval.decision.id
        note = edit_note(approval)
        if note is not None and not result.result.final:  # a final result has one part only
            result.result.parts.append(TextInput(note))
    return result
