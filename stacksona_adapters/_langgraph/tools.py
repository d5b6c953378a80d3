"""A gated tool call: asked about, settled, and run by a stand-in for the tool that takes the permission itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.types import Command
from pydantic import PrivateAttr

from stacksona_adapters._langgraph.arguments import Arguments
from stacksona_adapters._langgraph.pause import MARK, Asking, Settled, graph_context, identity
from stacksona_adapters._langgraph.running import running
from stacksona_adapters._langgraph.steps import Steps, adrive, drive
from stacksona_adapters.client.gate import AnyGate, Wait
from stacksona_adapters.errors import ActionBlocked, ActionMismatch, InvalidAction, ReviewPending, StacksonaError
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note, refusal
from stacksona_adapters.gating.tools import ToolPolicy
from stacksona_adapters.protocol.tasks import FrameworkOrigin


@dataclass(frozen=True)
class ToolGate:
    """What an adapter's user said about tools, and what follows from it for a call.

    Attributes:
        gate: The gate.
        policy: Which tools are gated and how they are described.
        wait: Seconds to wait for a person.
        pausing: Tools that pause in themselves; their permission holds when LangGraph starts them again.
    """

    gate: AnyGate
    policy: ToolPolicy
    wait: Wait
    pausing: Collection[str] = ()

    @property
    def seconds(self) -> float | None:
        """Seconds to wait for a person."""
        return self.gate.seconds(self.wait)

    def asking(self, tool: BaseTool, call: ToolCall, config: RunnableConfig, revises: str | None) -> Asking:
        """What the gate is asked about a call.

        Raises:
            InvalidAction: If the tool does not accept its arguments, or the call has no id.
        """
        if not call.get("id"):
            raise InvalidAction(f"the call of {call['name']} has no id, so its request could not be found again.")
        arguments = Arguments.of(tool)
        named = identity(config, str(call["id"]))
        name = call["name"]
        action = self.policy.action(
            name,
            arguments.final(call["args"]),
            framework=FrameworkOrigin.LANGGRAPH,
            context=graph_context(config, tool_call_id=call["id"], tool=tool.description[:300] or None),
            arguments_schema=arguments.schema,
            revises=revises,
            attempt_id="/".join(map(str, named.values())) if name in self.pausing else None,
            **named,
        )
        return Asking(action, arguments.validate)

    def run(self, tool: BaseTool, call: ToolCall, config: RunnableConfig, settled: Settled) -> Steps[Any]:
        """Run a call with the very arguments in `call`, if they are what may run; else answer why it did not run.

        Raises:
            GraphBubbleUp: What LangGraph raises in the tool to pause or to hand over.
        """
        if not isinstance(settled, Approval):
            return denied(call, settled)
        approval = settled
        hidden = Arguments.of(tool).hidden
        about = {name: value for name, value in call["args"].items() if name not in hidden}
        try:
            yield lambda io: io.gate.take(approval, about)
        except StacksonaError as error:
            return denied(call, error)
        with running(self.gate, approval.asked):
            result = yield lambda io: io.call(tool.invoke, tool.ainvoke, {**call, "type": "tool_call"}, config)
        return annotated(result, call, approval)


def denied(call: ToolCall, error: StacksonaError) -> ToolMessage:
    """The answer of a call that did not run."""
    why = refusal(call["name"], error)
    mark = {"decision_id": why.decision_id, "status": why.status}
    return ToolMessage(
        why.as_text(),
        name=call["name"],
        tool_call_id=str(call["id"]),
        status="error",
        additional_kwargs={MARK: {key: value for key, value in mark.items() if value is not None}},
    )


def annotated(result: Any, call: ToolCall, approval: Approval) -> Any:
    """A tool's result with the decision in its message, and for the model what a reviewer changed."""
    if isinstance(result, ToolMessage):
        if result.tool_call_id != call["id"]:
            return result
        mark = {"decision_id": approval.decision.id, "status": str(approval.decision.status)}
        content: Any = result.content
        if note := edit_note(approval):
            content = f"{note}\n{content}" if isinstance(content, str) else [{"type": "text", "text": note}, *content]
        return result.model_copy(
            update={"content": content, "additional_kwargs": {**result.additional_kwargs, MARK: mark}}
        )
    if isinstance(result, list):
        return [annotated(each, call, approval) for each in result]
    if isinstance(result, Command) and isinstance(result.update, dict):
        update = {
            key: annotated(value, call, approval) if isinstance(value, list) else value
            for key, value in result.update.items()
        }
        return dataclasses.replace(result, update=update)
    return result


def sent_back(messages: Sequence[Any], name: str) -> str | None:
    """The decision that sent the last call of this tool back for changes, which the next call revises."""
    for message in reversed(messages):
        if isinstance(message, ToolMessage) and message.name == name and MARK in message.additional_kwargs:
            mark = message.additional_kwargs[MARK]
            return mark.get("decision_id") if mark.get("status") == "revise" else None
    return None


def messages_of(state: Any, key: str = "messages") -> Sequence[Any]:
    """The messages of a state, whatever its type."""
    if isinstance(state, list):
        return state
    found = state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)
    return found or ()


Play = Callable[[BaseTool, ToolCall, RunnableConfig], Steps[Any]]


class GuardedTool(BaseTool):
    """Stands in for a tool where LangGraph calls it: nothing reaches the tool but through the gate.

    It shows the model and LangGraph what the tool shows them.
    """

    _tool: BaseTool = PrivateAttr()
    _gate: AnyGate = PrivateAttr()
    _play: Play = PrivateAttr()

    @classmethod
    def of(cls, tool: BaseTool, gate: AnyGate, play: Play) -> GuardedTool:
        """The stand-in of a tool.

        Args:
            tool: The tool.
            gate: The gate.
            play: The steps of a call.
        """
        shown = {name: getattr(tool, name) for name in BaseTool.model_fields}
        made = cls(**shown)
        made._tool, made._gate, made._play = tool, gate, play
        return made

    @property
    def func(self) -> Any:
        """The tool's function, in which LangGraph looks for what it has to inject."""
        return getattr(self._tool, "func", None)

    @property
    def coroutine(self) -> Any:
        """The tool's asynchronous function; see `func`."""
        return getattr(self._tool, "coroutine", None)

    @property
    def tool_call_schema(self) -> Any:
        """The tool's own."""
        return self._tool.tool_call_schema

    def get_input_schema(self, config: RunnableConfig | None = None) -> Any:
        """The tool's own."""
        return self._tool.get_input_schema(config)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run a tool call through the gate; any other input is refused."""
        return drive(self._gate, self._steps(input, config or {}))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """See `invoke`."""
        return await adrive(self._gate, self._steps(input, config or {}), config)

    def _steps(self, call: Any, config: RunnableConfig) -> Steps[Any]:
        if not (isinstance(call, Mapping) and call.get("type") == "tool_call"):
            raise InvalidAction(f"{self.name} is gated: it runs as a tool call of its graph only.")
        return (yield from self._play(self._tool, ToolCall(**call), config))  # type: ignore[typeddict-item]

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise InvalidAction(f"{self.name} is gated: it runs as a tool call of its graph only.")


def mismatch(call: ToolCall, settled: Settled) -> Settled:
    """What stands in place of an approval when the call is not the one that was asked about."""
    decision = settled.decision if isinstance(settled, (Approval, ActionBlocked, ReviewPending)) else None
    return ActionMismatch(call["name"], decision, "the call changed after the decision")
