"""LangGraph's ToolNode behind a gate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as make_tool
from langgraph.config import get_config
from langgraph.prebuilt import ToolNode

from stacksona_adapters._langgraph.arguments import Arguments
from stacksona_adapters._langgraph.pause import Asking, Settled, identity, settle
from stacksona_adapters._langgraph.steps import Steps, adrive, drive
from stacksona_adapters._langgraph.tools import GuardedTool, ToolGate, denied, messages_of, mismatch, sent_back
from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import ConfigurationError, InvalidAction, ReviewPending
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools


@dataclass(frozen=True)
class _Known:
    """What stands of a call before LangGraph runs the tools of its message."""

    given: dict[str, Any]
    asking: Asking | None
    settled: Settled


class GatedToolNode(ToolNode):
    """A `ToolNode` that asks the gate about every gated call of a message before it runs the first tool of it.

    Use it wherever a `ToolNode` is used, `create_react_agent(model, GatedToolNode(...))` included. The model is told of
    every call that did not run. Where LangGraph sends each call to the node by itself (`create_react_agent`) it is
    decided, runs and pauses by itself; where it hands over the whole message, one pause is for all of its calls.

    Args:
        toolset: The tools or functions, as for `ToolNode`.
        gate: The gate.
        tools: Which of them are gated: `"all"`, their names, or a function of the name.
        risk: A level for all, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject (for all, or by tool name), or a function of name and arguments.
        wait: Seconds to wait for a person in process; 0 pauses the graph at once, which needs a checkpointer; `None`
            waits as long as the request lives.
        pausing: Gated tools that pause in themselves (they call `interrupt()`, or run an agent that pauses). LangGraph
            starts such a tool from its first line again, so that its permission covers all of its starts.
        **options: Those of `ToolNode`, such as `name`, `handle_tool_errors` and `messages_key`.

    Raises:
        ConfigurationError: If `tools=`, `risk=`, `subject=` or `wait=` makes no sense.
    """

    def __init__(
        self,
        toolset: Sequence[BaseTool | Callable[..., Any]],
        /,
        *,
        gate: AnyGate,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        pausing: Collection[str] = (),
        **options: Any,
    ) -> None:
        gate.seconds(wait)
        self._gated = ToolGate(gate, ToolPolicy(tools, risk, subject), wait, frozenset(pausing))
        self._known: dict[tuple[Any, ...], _Known] = {}
        self._revised: dict[tuple[Any, str], str] = {}
        self._key = options.get("messages_key", "messages")
        made = [each if isinstance(each, BaseTool) else make_tool(each) for each in toolset]
        self._real = {each.name: each for each in made}
        self._refuse_unknown()
        super().__init__([self._guarded(each) for each in made], **options)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run the calls of the last message; see LangGraph."""
        config = config or get_config()
        settled = drive(self._gated.gate, self._settle(input, config))
        try:
            return super().invoke(input, config, **kwargs)
        finally:
            self._forget(settled)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """See `invoke`."""
        config = config or get_config()
        settled = await adrive(self._gated.gate, self._settle(input, config), config)
        try:
            return await super().ainvoke(input, config, **kwargs)
        finally:
            self._forget(settled)

    def _guarded(self, tool: BaseTool) -> BaseTool:
        return GuardedTool.of(tool, self._gated.gate, self._play) if self._gated.policy.covers(tool.name) else tool

    def _refuse_unknown(self) -> None:
        if unknown := sorted(self._gated.policy.names - set(self._real)):
            raise ConfigurationError(f"tools= names {', '.join(unknown)}, which this node does not have.")

    def _settle(self, given: Any, config: RunnableConfig) -> Steps[list[tuple[Any, ...]]]:
        """Ask about every gated call, and keep for its stand-in what came of it."""
        calls = [call for call in _calls(given, self._key) if self._gated.policy.covers(call["name"])]
        calls = [call for call in calls if call["name"] in self._real]  # the others LangGraph answers itself
        known: dict[tuple[Any, ...], _Known] = {}
        asked: list[tuple[tuple[Any, ...], ToolCall, Asking]] = []
        for call in calls:
            place = _place(call, config)
            revises = self._revises(given, call, config)
            try:
                asked.append((place, call, self._gated.asking(self._real[call["name"]], call, config, revises)))
            except InvalidAction as error:
                known[place] = _Known(dict(call["args"]), None, error)
        if asked:
            leave = len(asked) > 1
            every = [asking for _, _, asking in asked]
            settled = yield from settle(self._gated.gate, config, every, self._gated.seconds, leave=leave)
            for (place, call, asking), result in zip(asked, settled, strict=True):
                known[place] = _Known(dict(call["args"]), asking, result)
        self._known.update(known)
        return list(known)

    def _forget(self, places: Sequence[tuple[Any, ...]]) -> None:
        for place in places:
            self._known.pop(place, None)

    def _play(self, tool: BaseTool, call: ToolCall, config: RunnableConfig) -> Steps[Any]:
        """What a tool's stand-in does when LangGraph calls it."""
        known = self._known.pop(_place(call, config), None)  # an approval is for one start of the tool
        if known is None or known.asking is None:
            error = known.settled if known else InvalidAction("this call was not asked about, or it ran already.")
            return denied(call, error)  # type: ignore[arg-type]
        settled = known.settled
        asking = known.asking
        if isinstance(settled, ReviewPending) and self._gated.seconds is None:
            # Each call of the message waits by itself, so that it runs as soon as it is decided.
            answers = yield [lambda io: io.gate.authorize(asking.action, wait=None, validate=asking.validate)]
            settled = answers[0]
        arguments = Arguments.of(tool)
        if arguments.visible(call["args"]) != arguments.visible(known.given):
            settled = mismatch(call, settled)
        if isinstance(settled, Approval):
            injected = arguments.injected(call["args"], known.given)
            call = ToolCall({**call, "args": {**injected, **settled.arguments}})
        message = yield from self._gated.run(tool, call, config, settled)
        self._remember(call, config, message)
        return message

    def _revises(self, given: Any, call: ToolCall, config: RunnableConfig) -> str | None:
        state = given.get("state") if isinstance(given, dict) and "tool_call" in given else given
        found = sent_back(messages_of(state, self._key), call["name"])
        # A call that comes by itself comes without messages before LangGraph 1.0.
        return found or self._revised.get((identity(config, "")["run_id"], call["name"]))

    def _remember(self, call: ToolCall, config: RunnableConfig, message: Any) -> None:
        place = (identity(config, "")["run_id"], call["name"])
        if found := sent_back([message], call["name"]):
            self._revised[place] = found
        else:
            self._revised.pop(place, None)


def _place(call: ToolCall, config: RunnableConfig) -> tuple[Any, ...]:
    named = identity(config, str(call["id"]))
    return (named["run_id"], named["call_id"])


def _calls(given: Any, key: str) -> Sequence[ToolCall]:
    """The calls that a ToolNode finds in its input: of the last message, or sent one by one."""
    if isinstance(given, Mapping) and "tool_call" in given:
        return [given["tool_call"]]
    if isinstance(given, list) and given and isinstance(given[-1], dict) and given[-1].get("type") == "tool_call":
        return given
    for message in reversed(messages_of(given, key)):
        if isinstance(message, AIMessage):
            return message.tool_calls
    return []
