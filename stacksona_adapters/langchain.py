"""LangChain: a gate in front of the tools of `create_agent`, as middleware.

::

    from stacksona_adapters import Gate
    from stacksona_adapters.langchain import GateMiddleware

    agent = create_agent(model, tools, middleware=[GateMiddleware(gate=Gate("refund-bot"), tools=["issue_refund"])])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from stacksona_adapters._extras import extra
from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import AlreadyTaken, InvalidAction
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools

with extra("langchain"):
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import ToolCall, ToolMessage
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool
    from langgraph.types import Command

from stacksona_adapters._langgraph.events import RunEvents
from stacksona_adapters._langgraph.pause import Settled, settle
from stacksona_adapters._langgraph.resume import (
    PausedGraph,
    PausedReview,
    apaused,
    aresume,
    aresume_command,
    paused,
    resume,
    resume_command,
    withdraw,
)
from stacksona_adapters._langgraph.steps import Steps, adrive, drive
from stacksona_adapters._langgraph.tools import GuardedTool, ToolGate, denied, messages_of, sent_back

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest  # since 1.0.4; elsewhere before

__all__ = [
    "GateMiddleware",
    "PausedGraph",
    "PausedReview",
    "RunEvents",
    "apaused",
    "aresume",
    "aresume_command",
    "paused",
    "resume",
    "resume_command",
    "withdraw",
]


class GateMiddleware(AgentMiddleware[Any, Any]):
    """Asks the gate before a tool of the agent runs; the model is told of every call that did not.

    Each call is a task of its own in the agent's graph: it is decided, runs and pauses by itself. List it after
    middleware that changes arguments: a call that is changed after its approval does not run.

    Args:
        gate: The gate.
        tools: Which tools are gated: `"all"`, their names, or a function of the name.
        risk: A level for all, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject (for all, or by tool name), or a function of name and arguments.
        wait: Seconds to wait for a person in process; 0 pauses the graph at once, which needs a checkpointer; `None`
            waits as long as the request lives.
        pausing: Gated tools that pause in themselves (they call `interrupt()`, or run an agent that pauses). LangGraph
            starts such a tool from its first line again, so that its permission covers all of its starts.

    Raises:
        ConfigurationError: If `tools=`, `risk=`, `subject=` or `wait=` makes no sense.
    """

    def __init__(
        self,
        *,
        gate: AnyGate,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        pausing: Collection[str] = (),
    ) -> None:
        super().__init__()
        gate.seconds(wait)
        self._gated = ToolGate(gate, ToolPolicy(tools, risk, subject), wait, frozenset(pausing))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """The hook for `invoke` and `stream`; see LangChain."""
        if not self._gated.policy.covers(request.tool_call["name"]):
            return handler(request)
        result: ToolMessage | Command[Any] = drive(self._gated.gate, self._steps(request, handler))
        return result

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """The hook for `ainvoke` and `astream`; see LangChain."""
        if not self._gated.policy.covers(request.tool_call["name"]):
            return await handler(request)
        steps = self._steps(request, handler)
        result: ToolMessage | Command[Any] = await adrive(self._gated.gate, steps, request.runtime.config)
        return result

    def _steps(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Steps[Any]:
        call, tool, config = request.tool_call, request.tool, request.runtime.config
        if tool is None:
            missing = "the agent has no such tool; a middleware that adds it stands before the gate's."
            return denied(call, InvalidAction(missing))
        revises = sent_back(messages_of(request.state), call["name"])
        try:
            asking = self._gated.asking(tool, call, config, revises)
        except InvalidAction as error:
            return denied(call, error)
        (settled,) = yield from settle(self._gated.gate, config, [asking], self._gated.seconds)
        if not isinstance(settled, Approval):
            return denied(call, settled)
        return (yield lambda _: handler(self._permitted(request, tool, settled)))

    def _permitted(self, request: ToolCallRequest, tool: BaseTool, approval: Approval) -> ToolCallRequest:
        """The request with the approved arguments, and a tool that runs with no others, and once."""
        unused: list[Settled] = [approval]

        def play(inner: BaseTool, call: ToolCall, config: RunnableConfig) -> Steps[Any]:
            settled = unused.pop() if unused else AlreadyTaken(call["name"], approval.decision)
            return (yield from self._gated.run(inner, call, config, settled))

        guarded = GuardedTool.of(tool, self._gated.gate, play)
        call = ToolCall({**request.tool_call, "args": approval.arguments})
        return request.override(tool=guarded, tool_call=call)
