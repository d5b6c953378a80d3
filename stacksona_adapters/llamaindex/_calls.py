"""A tool's call at the gate: what is asked, with which arguments it runs, and what the model is told."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import TextBlock
from llama_index.core.tools import AsyncBaseTool, FunctionTool, ToolOutput
from workflows import Context

from stacksona_adapters.errors import ReviewPending, StacksonaError
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note, refusal
from stacksona_adapters.llamaindex._reviews import decision_of
from stacksona_adapters.llamaindex._running import Binding
from stacksona_adapters.llamaindex._schemas import read_arguments
from stacksona_adapters.protocol.decisions import Decision


class ToolFailed(Exception):
    """The tool says that it failed, without raising.

    Attributes:
        output: What it said.
    """

    def __init__(self, output: ToolOutput) -> None:
        super().__init__(output.content)
        self.output = output


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes:
        output: What the model is told.
        arguments: The arguments that ran, or would have run.
        decision: The decision; `None` where there was none.
    """

    output: ToolOutput
    arguments: dict[str, Any]
    decision: Decision | None = None


@dataclass(frozen=True)
class CalledTool:
    """A tool as the adapter calls it: with arguments that its own schema has read."""

    tool: AsyncBaseTool

    @property
    def name(self) -> str:
        """Its name."""
        return self.tool.metadata.get_name()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its arguments."""
        return dict(self.tool.metadata.get_parameters_dict())

    def validate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments as its schema reads them, as plain JSON values, which is how LlamaIndex calls tools.

        Args:
            arguments: As a model or a reviewer wrote them.

        Raises:
            InvalidAction: If they do not fit.
        """
        model = self.tool.metadata.fn_schema
        if model is None:
            return dict(arguments)
        return read_arguments(self.name, model, arguments, further=self._takes_anything())

    def _takes_anything(self) -> bool:
        if not isinstance(self.tool, FunctionTool):
            return False
        kinds = {parameter.kind for parameter in inspect.signature(self.tool.real_fn).parameters.values()}
        return inspect.Parameter.VAR_KEYWORD in kinds

    async def run(self, ctx: Context[Any] | None, arguments: dict[str, Any]) -> ToolOutput:
        """Call it.

        Args:
            ctx: The run's context, for a tool that wants it.
            arguments: The arguments.

        Raises:
            ToolFailed: If its output is an error.
        """
        tool, more = self.tool, {}
        if isinstance(tool, FunctionTool) and tool.requires_context and tool.ctx_param_name and ctx is not None:
            more = {tool.ctx_param_name: ctx}
        output: ToolOutput = await tool.acall(**{**arguments, **more})
        if output.is_error:
            raise ToolFailed(output)
        return output


def refused(name: str, arguments: dict[str, Any], error: StacksonaError) -> Outcome:
    """What the model is told of a call that did not run; as an error, so that it never is a final answer.

    Args:
        name: The tool's name.
        arguments: What it would have got.
        error: Why it did not run.
    """
    found = refusal(name, error)
    output = ToolOutput(
        tool_name=name, content=found.as_text(), raw_input=arguments, raw_output=found.as_dict(), is_error=True
    )
    return Outcome(output, arguments, decision_of(error))


async def run_approved(
    binding: Binding, approval: Approval, tool: CalledTool, ctx: Context[Any] | None, asked: dict[str, Any]
) -> Outcome:
    """Take the permission and run the tool, once; what goes wrong is told to the model.

    Args:
        binding: How it is gated.
        approval: What may run.
        tool: The tool.
        ctx: The run's context.
        asked: The arguments that were asked about.
    """
    running = dict(approval.arguments) if approval.edited else asked
    try:
        await binding.gate.take(approval, running)
    except StacksonaError as error:
        return refused(tool.name, running, error)
    try:
        with binding.gate.reporting(approval.asked):
            output = await tool.run(ctx, running)
    except ToolFailed as failed:
        output = failed.output
    except Exception as error:  # noqa: BLE001 - the framework's own way: the model is told
        told = str(error) or type(error).__name__
        output = ToolOutput(tool_name=tool.name, content=told, raw_input=running, raw_output=told, is_error=True)
    note = edit_note(approval)
    if note is not None and not tool.tool.metadata.return_direct:
        output.blocks = [TextBlock(text=note), *output.blocks]
    return Outcome(output, running, approval.decision)


async def ask_and_run(
    binding: Binding, action: Action, tool: CalledTool, ctx: Context[Any] | None, arguments: dict[str, Any]
) -> Outcome:
    """Ask about a call, wait as long as the binding says, and run it.

    Args:
        binding: How it is gated.
        action: The call.
        tool: The tool.
        ctx: The run's context.
        arguments: The very arguments that the action describes.

    Raises:
        ReviewPending: If nobody has decided in that time.
    """
    try:
        approval = await binding.gate.authorize(action, wait=binding.wait, validate=tool.validate)
    except ReviewPending:
        raise
    except StacksonaError as error:
        return refused(tool.name, arguments, error)
    return await run_approved(binding, approval, tool, ctx, arguments)
