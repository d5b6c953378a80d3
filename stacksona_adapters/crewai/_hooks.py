"""CrewAI's hooks: who is calling, and the gate for the tools that CrewAI makes itself.

CrewAI goes on with the tool when a hook raises. So the hook before a tool raises nothing: it runs the tool itself, if
the gate permits, and then answers `False`, with which CrewAI does not run it (nor takes its result from a cache); the
hook after the tool puts the result in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stacksona_adapters._extras import extra
from stacksona_adapters.crewai._call import GatedCall, GateTerms, covered, facts_of, names_of
from stacksona_adapters.crewai._run import CrewRun, Frame, current_frame, enclosing
from stacksona_adapters.crewai._tool import GatedTool
from stacksona_adapters.gating.refusal import Refusal

with extra("crewai"):
    from crewai.hooks import InterceptionPoint, ToolCallHookContext
    from crewai.hooks.contexts import StepContext
    from crewai.hooks.dispatch import get_scoped_hooks, scoped_hooks
    from crewai.hooks.tool_hooks import run_after_tool_call_hooks
    from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool


class Hooks:
    """The hooks of one run.

    Args:
        terms: The adapter's terms.
        run: The run.
    """

    def __init__(self, terms: GateTerms, run: CrewRun) -> None:
        self._terms = terms
        self._run = run
        self._outer: dict[InterceptionPoint, list[Any]] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """A block in which they are called, after all other hooks, for this run alone."""
        self._outer = {point: get_scoped_hooks(point) for point in InterceptionPoint}
        ours = {
            InterceptionPoint.PRE_STEP: self.before_step,
            InterceptionPoint.PRE_TOOL_CALL: self.before_tool,
            InterceptionPoint.POST_TOOL_CALL: self.after_tool,
        }
        # A scope replaces the one around it, so it takes that one's hooks along.
        with scoped_hooks({point: [*self._outer[point], *_listed(ours.get(point))] for point in InterceptionPoint}):
            yield

    def before_step(self, context: StepContext) -> None:
        """A task begins: none does in a run that waits.

        Raises:
            Stopped: If the run waits or was cancelled.
        """
        if context.kind != "task":
            return
        self._run.begin(context.task)
        if self._run.stopping:
            self._run.stop(Frame("", {}, context.agent, context.task, context.crew))

    def before_tool(self, context: ToolCallHookContext) -> bool | None:
        """A tool is about to be called.

        Returns:
            `False`, with which CrewAI does not run it: it ran here, or must not run. `None` for tools that ask
            themselves or are not gated.
        """
        parent = enclosing(current_frame.get(), context.agent, context.task)
        frame = Frame(context.tool_name, dict(context.tool_input), context.agent, context.task, context.crew, parent)
        current_frame.set(frame)
        try:
            frame.said = self._gated(context)
        except Exception as error:  # noqa: BLE001 - CrewAI would run the tool
            name = context.tool_name
            frame.said = Refusal(name, "invalid", f"{name} did not run: {type(error).__name__}: {error}").as_text()
        finally:
            current_frame.set(frame)
        return None if frame.said is None else False

    def after_tool(self, context: ToolCallHookContext) -> str | None:
        """A tool was called: the model gets what `before_tool` has for it, as the other hooks leave it."""
        frame = current_frame.get()
        if frame is None or frame.said is None:
            return None
        context.tool_result = context.raw_tool_result = frame.said
        frame.said = None
        # The others saw "blocked by hook"; what they redact of a result, they must redact of this one.
        with scoped_hooks(self._outer):
            return run_after_tool_call_hooks(context)

    def _gated(self, context: ToolCallHookContext) -> str | None:
        """What the model is told of a call that this hook is responsible for; `None` for others."""
        tool = getattr(context.tool, "_original_tool", None) or context.tool
        if isinstance(tool, GatedTool) or not covered(self._terms.policy, names_of(tool, context.tool_name)):
            return None
        if context.tool is None:
            return Refusal(context.tool_name, "invalid", f"{context.tool_name} did not run: no such tool.").as_text()
        structured = context.tool
        facts = facts_of(self._terms.policy, tool, context.tool_name)
        try:
            arguments = facts.validate(context.tool_input)
        except ValueError as error:
            return f"{context.tool_name} did not run: its arguments do not fit: {error}"
        delegates = isinstance(tool, BaseAgentTool)
        call = GatedCall(self._terms, facts, arguments, structured.format_output_for_agent, reenters=delegates)
        return call.perform(structured.invoke).told


def _listed(hook: Any) -> list[Any]:
    return [] if hook is None else [hook]
