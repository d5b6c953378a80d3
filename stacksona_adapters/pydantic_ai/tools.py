"""The gate in front of an agent's tools, as a capability."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.exceptions import ApprovalRequired, ModelRetry
from pydantic_ai.messages import ToolCallPart, ToolReturn
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import AgentDepsT, DeferredToolRequests, DeferredToolResults, RunContext, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset
from typing_extensions import Self

from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import (
    ActionBlocked,
    ConfigurationError,
    GateError,
    InvalidAction,
    ReviewPending,
    StacksonaError,
)
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import refusal
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.pydantic_ai.deferred import (
    KEY,
    PutOff,
    answered,
    handed_over,
    interrupted,
    put_off,
    reruns_of,
)
from stacksona_adapters.pydantic_ai.place import Place, can_defer, can_pause, origin, own_run, place_of
from stacksona_adapters.pydantic_ai.results import check_custom, noted, shown, shown_validator, validator

Run = Callable[[Any], Awaitable[Any]]


class GatedTools(AbstractCapability[AgentDepsT]):
    """Asks the gate before an agent's tools run: function tools, toolsets, MCP tools and code that calls tools.

    It stands innermost, so that it sees the very arguments that run. A refusal is a denied tool result that the model
    can act on; where nobody decides in time, the run ends with `DeferredToolRequests` (which the agent's `output_type`
    must name) and `PausedRun` continues it. Give it to every agent: one that runs inside a tool has its own tools.

    Args:
        gate: The gate.
        tools: Which tools are gated: `"all"`, their names, or a function of the name.
        risk: A level, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject, or a function of name and arguments.
        wait: Seconds to wait in process for a person; 0 pauses at once, `None` waits as long as the request lives.
        native_tools: The kinds of tools that the model's provider may run by itself (`web_search`, ...). Nothing can
            ask about these before they run, so any other is refused before the model gets it; `None` does not look.
        attempt_id: For a durable engine that runs a tool again after a crash on purpose: names the attempt, the same
            for each replay. Without it a tool whose outcome is unknown does not run again.

    Raises:
        ConfigurationError: If one of the arguments makes no sense.
    """

    def __init__(
        self,
        gate: AnyGate,
        *,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        native_tools: Collection[str] | None = None,
        attempt_id: Callable[[RunContext[AgentDepsT]], str | None] | None = None,
    ) -> None:
        self._gate = gate.aio
        self._policy = ToolPolicy(tools, risk, subject)
        self._wait = wait
        self._native = None if native_tools is None else frozenset(native_tools)
        self._attempt_id = attempt_id
        self._runs: set[str] = set()
        self._waiting: dict[str, ReviewPending] = {}

    async def for_run(self, ctx: RunContext[AgentDepsT]) -> Self:
        """A copy for one run, which remembers what the run asked for."""
        mine = copy.copy(self)
        mine._runs, mine._waiting = set(), {}  # noqa: SLF001 - a copy of this very object
        return mine

    @classmethod
    def get_serialization_name(cls) -> str | None:
        """It holds a connection and cannot stand in an agent's spec."""
        return None

    def get_ordering(self) -> CapabilityOrdering:
        """Innermost: nothing may change the arguments after they were approved."""
        return CapabilityOrdering(position="innermost")

    def get_wrapper_toolset(self, toolset: AbstractToolset[AgentDepsT]) -> AbstractToolset[AgentDepsT]:
        """The toolset with the gate around it, the last thing before a tool."""
        return _GatedToolset(toolset, self)

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Refuse tools that the model's provider would run without asking.

        Raises:
            ConfigurationError: If there is one that `native_tools=` does not name.
        """
        given = {tool.kind for tool in request_context.model_request_parameters.native_tools}
        if self._native is not None and (refused := sorted(given - self._native)):
            raise ConfigurationError(
                f"The model's provider would run {', '.join(refused)} without asking the gate, so nothing was sent to "
                "the model. Remove it, or name it in native_tools= of GatedTools."
            )
        return request_context

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Answer the calls that were put off: refusals at once, the others as soon as the gate decides."""
        tools = _tools_of(ctx)
        calls = [call for call in requests.approvals if self.covers(call.tool_name) and call.tool_name in tools]
        answers = await asyncio.gather(*(self._answer(ctx, requests, call) for call in calls))
        return answered(requests, dict(zip((call.tool_call_id for call in calls), answers, strict=True)))

    async def _answer(
        self, ctx: RunContext[AgentDepsT], requests: DeferredToolRequests, call: ToolCallPart
    ) -> Approval | str | None:
        """The approval of a call, the refusal's text, or `None` where it has to stay open."""
        earlier = put_off(requests, call.tool_call_id)
        if earlier.refused is not None:
            return earlier.refused
        if earlier.unavailable is not None:
            return None if can_pause(ctx) else earlier.unavailable
        if earlier.decision_id is not None and not earlier.waits:
            return None  # it has waited for as long as it may
        if earlier.decision_id is not None:
            self._waiting.pop(earlier.decision_id, None)  # the wait withdraws it, where it is cancelled
        try:
            action, tool = self._deferred_action(ctx, call, earlier)
            return await self._gate.authorize(action, wait=self._wait, validate=shown_validator(tool, ctx))
        except (ReviewPending, ValidationError):
            return None  # arguments that do not fit are the model's to repair: the framework tells it
        except GateError as error:
            return None if can_pause(ctx) else refusal(call.tool_name, error).as_text()
        except (ActionBlocked, InvalidAction) as error:
            return refusal(call.tool_name, error).as_text()

    def _deferred_action(
        self, ctx: RunContext[AgentDepsT], call: ToolCallPart, earlier: PutOff
    ) -> tuple[Action, ToolsetTool[AgentDepsT]]:
        tools = _tools_of(ctx)
        if earlier.action is not None and earlier.action.name in tools:
            return earlier.action, tools[earlier.action.name]
        # Put off by somebody else, such as `requires_approval=True`: the arguments are as the model wrote them.
        tool = tools[call.tool_name]
        arguments = validator(tool, ctx)(call.args_as_dict())
        place = place_of(ctx, call.tool_call_id, call.tool_name)
        return self._action(ctx, tool.tool_def, arguments, place, earlier.reruns), tool

    async def after_run(self, ctx: RunContext[AgentDepsT], *, result: AgentRunResult[Any]) -> AgentRunResult[Any]:
        """Report that the run has ended, if it has not paused."""
        if not isinstance(result.output, DeferredToolRequests):
            for run_id in {*self._runs, origin(result.all_messages(), own_run(ctx))}:
                self._gate.finish(run_id)
        return result

    async def on_run_error(self, ctx: RunContext[AgentDepsT], *, error: BaseException) -> AgentRunResult[Any]:
        """Report that the run has failed, and withdraw what it still waits for: it cannot go on."""
        for pending in self._waiting.values():
            self._gate.withdraw(pending)
        for run_id in self._runs:
            self._gate.finish(run_id, f"{type(error).__name__}: {error}")
        raise error

    def covers(self, name: str) -> bool:
        """Whether a tool is gated."""
        return self._policy.covers(name)

    async def call(
        self, ctx: RunContext[AgentDepsT], tool: ToolsetTool[AgentDepsT], arguments: dict[str, Any], run: Run
    ) -> Any:
        """Ask, wait, take and run.

        Args:
            ctx: The context of the call.
            tool: The tool.
            arguments: The final arguments.
            run: Runs the tool.
        """
        name = tool.tool_def.name
        place = place_of(ctx, ctx.tool_call_id or "", name)
        try:
            action = self._action(ctx, tool.tool_def, arguments, place, reruns_of(ctx))
        except InvalidAction as error:
            return self._refused(ctx, name, error)
        try:
            approval, running = await self._taken(ctx, tool, action, arguments)
        except ReviewPending as pending:
            raise self._pending(ctx, pending, waits=tool.tool_def.sequential) from pending
        except GateError as error:
            return self._unavailable(ctx, action, error)
        except ActionBlocked as error:
            return self._refused(ctx, name, error)
        with self._gate.reporting(approval.asked):
            try:
                result = await run(running)
            except ApprovalRequired as deferral:
                raise interrupted(deferral, ctx) from deferral
        return result if place.nested else noted(result, approval)

    async def _taken(
        self, ctx: RunContext[AgentDepsT], tool: ToolsetTool[AgentDepsT], action: Action, arguments: Any
    ) -> tuple[Approval, Any]:
        """The approval, taken, and the arguments that run."""
        approval = handed_over(ctx, action)
        if approval is None:
            # A sequential tool would hold back the requests behind it: the handler waits for all of them together.
            wait = 0 if tool.tool_def.sequential and can_defer(ctx) else self._wait
            approval = await self._gate.authorize(action, wait=wait, validate=shown_validator(tool, ctx))
        running = arguments
        if approval.edited:
            running = validator(tool, ctx)(approval.arguments)
            await check_custom(tool, ctx, running, approval)
        await self._gate.take(approval, shown(tool.tool_def, running))
        return approval, running

    def _action(
        self, ctx: RunContext[AgentDepsT], tool_def: ToolDefinition, arguments: Any, place: Place, reruns: int
    ) -> Action:
        description = (tool_def.description or "").strip()
        self._runs.add(place.run_id)
        return self._policy.action(
            tool_def.name,
            shown(tool_def, arguments),
            run_id=place.run_id or None,
            call_id=f"{place.call_id}#{reruns}" if reruns else place.call_id,
            context=place.context,
            summary=description.splitlines()[:1],
            arguments_schema=tool_def.parameters_json_schema,
            revises=place.revises,
            attempt_id=self._attempt_id(ctx) if self._attempt_id is not None else None,
            framework=FrameworkOrigin.PYDANTICAI,
        )

    def _pending(self, ctx: RunContext[AgentDepsT], pending: ReviewPending, *, waits: bool) -> Exception:
        """How the framework is told that a call waits for a person."""
        if can_defer(ctx):
            self._waiting[pending.decision.id] = pending
            return PutOff(action=pending.action, decision_id=pending.decision.id, waits=waits).raised(ctx)
        self._gate.withdraw(pending)
        return ModelRetry(
            f"{pending.action.name} did not run: a reviewer must decide first. Call it alone, before the final result."
        )

    def _unavailable(self, ctx: RunContext[AgentDepsT], action: Action, error: GateError) -> Any:
        """How the framework is told that the gate could not be asked: a pause, where there can be one.

        Never by the error itself, which would cancel the other calls of the turn in the middle.
        """
        if can_defer(ctx) and (can_pause(ctx) or not ctx.tool_call_approved):
            said = refusal(action.name, error).as_text()
            raise PutOff(action=action, unavailable=said).raised(ctx) from error
        return self._refused(ctx, action.name, error)

    def _refused(self, ctx: RunContext[AgentDepsT], name: str, error: StacksonaError) -> Any:
        """How the model is told that a call did not run: a denied call, where the framework can still deny it."""
        refused = refusal(name, error)
        if not can_defer(ctx):
            raise ModelRetry(refused.as_text()) from error
        if not ctx.tool_call_approved:
            raise PutOff(refused=refused.as_text()).raised(ctx) from error
        return ToolReturn(refused.as_dict(), metadata={KEY: {"decision_id": refused.decision_id}})


def _tools_of(ctx: RunContext[AgentDepsT]) -> dict[str, ToolsetTool[AgentDepsT]]:
    return (ctx.tool_manager.tools if ctx.tool_manager is not None else None) or {}


@dataclass
class _GatedToolset(WrapperToolset[AgentDepsT]):
    """Hands the calls of gated tools to the capability."""

    gated: GatedTools[AgentDepsT]

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[AgentDepsT], tool: ToolsetTool[AgentDepsT]
    ) -> Any:
        async def run(arguments: dict[str, Any]) -> Any:
            return await self.wrapped.call_tool(name, arguments, ctx, tool)

        return await (self.gated.call(ctx, tool, tool_args, run) if self.gated.covers(name) else run(tool_args))
