"""Tools that ask the gate wherever they are called."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from llama_index.core.tools import BaseTool, FunctionTool, ToolOutput, adapt_to_async_tool
from workflows import Context
from workflows.errors import WorkflowRuntimeError

from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import ConfigurationError, ReviewPending, StacksonaError
from stacksona_adapters.gating.revision import sent_back
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools
from stacksona_adapters.llamaindex import _state
from stacksona_adapters.llamaindex._calls import CalledTool, Outcome, ask_and_run, refused
from stacksona_adapters.llamaindex._reviews import give_up
from stacksona_adapters.llamaindex._running import Binding
from stacksona_adapters.llamaindex._schemas import describe
from stacksona_adapters.llamaindex.events import ApprovalRequested

_CONTEXT = "stacksona_context"


class GatedTool(FunctionTool):
    """A tool that asks the gate first, in any agent, workflow or query pipeline, and by itself.

    It waits in this process, inside of the framework's own call. To suspend a run, give the agent to
    `GatedAgentWorkflow`, which takes these tools too.

    Args:
        inner: The tool.
        binding: How it is gated.
    """

    def __init__(self, inner: BaseTool, binding: Binding) -> None:
        self.inner = adapt_to_async_tool(inner)
        self.binding = binding
        self._in_flight: Counter[str] = Counter()
        super().__init__(async_fn=self._function, metadata=self.inner.metadata)
        # An agent hands its context to tools that ask for it.
        self.requires_context, self.ctx_param_name = True, _CONTEXT

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Ask, wait, and run. A call that may not run has `is_error=True` and says why."""
        ctx = kwargs.pop(_CONTEXT, None) or _step_context()
        return (await self._outcome(ctx, self._named(args, kwargs))).output

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """See `acall`.

        Raises:
            ConfigurationError: On a thread whose event loop is running, which it would block.
        """
        kwargs.pop(_CONTEXT, None)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._outcome(None, self._named(args, kwargs))).output
        raise ConfigurationError(
            f"{self.metadata.get_name()} would block this event loop while it waits: await acall() instead."
        )

    async def _function(self, *args: Any, **kwargs: Any) -> Any:
        """What `fn`, `async_fn` and `real_fn` lead to."""
        outcome = await self._outcome(_step_context(), self._named(args, kwargs))
        return outcome.output.content if outcome.output.is_error else outcome.output.raw_output

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = list(self.metadata.get_parameters_dict().get("properties", {}))
        if len(args) > len(names):
            raise TypeError(f"{self.metadata.get_name()} takes {len(names)} arguments, {len(args)} were given")
        return {**dict(zip(names, args, strict=False)), **kwargs}

    async def _outcome(self, ctx: Context[Any] | None, arguments: dict[str, Any]) -> Outcome:
        tool = CalledTool(self.inner)
        try:
            arguments = tool.validate(arguments)
        except StacksonaError as error:
            return refused(tool.name, arguments, error)
        if ctx is None:
            return await self._asked(None, tool, ApprovalRequested(tool_name=tool.name, payload=arguments), "")
        request, run_id = await _request(ctx, tool.name, arguments)
        async with self._counted(f"{run_id}:{request.request_id}") as number:
            request.request_id = f"{request.request_id}:{number}"
            return await self._asked(ctx, tool, request, run_id)

    async def _asked(
        self, ctx: Context[Any] | None, tool: CalledTool, request: ApprovalRequested, run_id: str
    ) -> Outcome:
        arguments = request.payload
        try:
            action = describe(self.binding, request, run_id, tool.schema)
            if not run_id:
                action = action.model_copy(update={"run_id": None, "call_id": None})
            outcome = await ask_and_run(self.binding, action, tool, ctx, arguments)
        except ReviewPending as pending:
            return refused(tool.name, arguments, await give_up(self.binding, pending))
        except StacksonaError as error:
            return refused(tool.name, arguments, error)
        return outcome

    @asynccontextmanager
    async def _counted(self, call: str) -> AsyncIterator[int]:
        """The place of a call among the same calls that are on their way at this moment."""
        number = self._in_flight[call]
        self._in_flight[call] += 1
        try:
            yield number
        finally:
            self._in_flight[call] -= 1
            if not self._in_flight[call]:
                del self._in_flight[call]


def gated_tools(
    tools_or_functions: Sequence[BaseTool | Callable[..., Any]],
    *,
    gate: AnyGate,
    tools: Tools = "all",
    risk: RiskOf = None,
    subject: SubjectOf = None,
    wait: Wait = DEFAULT,
) -> list[BaseTool]:
    """The same tools, of which some ask the gate: for `FunctionAgent`, `ReActAgent`, MCP tools, query engines, steps.

    Args:
        tools_or_functions: The tools.
        gate: The gate.
        tools: Which are gated: `"all"`, their names, or a function of the name.
        risk: A level for each, a mapping of names to levels, or a function of name and arguments.
        subject: The argument that holds the subject, for all or by tool, or a function of name and arguments.
        wait: Seconds to wait in this process for a person. When they are over the call is refused and withdrawn.

    Raises:
        ConfigurationError: If `tools=` names one that is not there.
    """
    policy = ToolPolicy(tools, risk, subject)
    given = [_tool_of(each) for each in tools_or_functions]
    require_names(policy, {each.metadata.get_name() for each in given})
    binding = Binding(gate.aio, policy, wait)
    return [GatedTool(each, binding) if policy.covers(each.metadata.get_name()) else each for each in given]


def _tool_of(given: BaseTool | Callable[..., Any]) -> BaseTool:
    return given if isinstance(given, BaseTool) else FunctionTool.from_defaults(given)


def require_names(policy: ToolPolicy, names: set[str]) -> None:
    """A gated name that no tool has would leave a tool of a similar name ungated.

    Args:
        policy: Which tools are gated.
        names: The names that there are.

    Raises:
        ConfigurationError: If there is one.
    """
    missing = sorted(policy.names - names)
    if missing:
        raise ConfigurationError(f"tools= names {', '.join(missing)}, but there are only: {', '.join(sorted(names))}.")


def _step_context() -> Context[Any] | None:
    """The context of the step that runs here; llama-index-workflows knows it since 2.18."""
    find = getattr(Context, "get_step_context", None)
    if find is None:
        return None
    try:
        found: Context[Any] = find()
    except WorkflowRuntimeError:
        return None
    return found


async def _request(ctx: Context[Any], name: str, arguments: dict[str, Any]) -> tuple[ApprovalRequested, str]:
    """The request of a call in a run: named by where the run stands and what is called, never by how often it was."""
    run_id = await _state.run_id_of(ctx)
    agent = await _look(ctx, "current_agent_name")
    task = await _look(ctx, "user_msg_str")
    memory = await _look(ctx, "memory")
    place = len(await memory.aget_all()) if hasattr(memory, "aget_all") else 0
    results = await _look(ctx, "current_tool_calls") or []
    earlier = [each.tool_output.content for each in results if each.tool_name == name]
    key = f"{place}:{await _look(ctx, 'num_iterations') or 0}:{_state.content_key(name, arguments)}"
    request = ApprovalRequested(
        tool_name=name,
        payload=arguments,
        request_id=key,
        context={"workflow": "agent", "step": "call_tool", **_known(agent=agent, task=task and str(task)[:500])},
        revises=next(iter(sent_back(earlier[-1:])), None),
    )
    return request, run_id


async def _look(ctx: Context[Any], key: str) -> Any:
    try:
        return await ctx.store.get(key, default=None)
    except (ValueError, AttributeError):  # the author's typed state has no such field
        return None


def _known(**found: Any) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}
