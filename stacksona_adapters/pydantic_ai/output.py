"""The gate in front of what an agent returns: in process as a capability, or after the run."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.output import OutputContext
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import AgentDepsT, RunContext
from typing_extensions import Self

from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import RevisionRequested
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.refusal import refusal
from stacksona_adapters.gating.revision import sent_back
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy
from stacksona_adapters.protocol.canonical import digest
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.pydantic_ai.place import context_of, history, last_results, origin, own_run, prompt_of
from stacksona_adapters.pydantic_ai.typed import Typed

Handler = Callable[[Any], Awaitable[Any]]


class GatedOutput(AbstractCapability[AgentDepsT]):
    """Asks the gate before an agent returns its output, or before an output function runs.

    The output is held back while a person decides; a stream yields no partial output before. Sent back, the model
    tries again, within the agent's retries for outputs; rejected, the run ends with the error. The framework cannot
    pause here: for decisions that take days, let the run end without it and use `review_output`.

    Args:
        gate: The gate.
        risk: A level, a mapping of names to levels, or a function of name and arguments. The name is that of the
            output function, or `output:` and the type's name.
        subject: The field that holds the subject, or a function of name and arguments.
        wait: Seconds to wait for a person; `None` as long as the request lives.
    """

    def __init__(self, gate: AnyGate, *, risk: RiskOf = None, subject: SubjectOf = None, wait: Wait = DEFAULT) -> None:
        self._gate = gate.aio
        self._policy = ToolPolicy("all", risk, subject)
        self._wait = wait
        self._returned: dict[str, Any] = {}

    @classmethod
    def get_serialization_name(cls) -> str | None:
        """It holds a connection and cannot stand in an agent's spec."""
        return None

    def get_ordering(self) -> CapabilityOrdering:
        """Innermost: an output function gets what was approved."""
        return CapabilityOrdering(position="innermost")

    async def for_run(self, ctx: RunContext[AgentDepsT]) -> Self:
        """A copy for one run, which remembers what it returned: a stream is asked for its output more than once."""
        mine = copy.copy(self)
        mine._returned = {}  # noqa: SLF001 - a copy of this very object
        return mine

    async def wrap_output_process(
        self, ctx: RunContext[AgentDepsT], *, output_context: OutputContext, output: Any, handler: Handler
    ) -> Any:
        """Hold the output back until it is decided.

        Raises:
            ModelRetry: If the model shall try again, and for a part of an output.
            ReviewPending: If nobody decided in time.
            ActionBlocked: If the answer stops it.
            GateError: If there is no answer to trust.
        """
        if ctx.partial_output:
            raise ModelRetry("The output is held back until all of it is decided.")
        if output_context.has_function:
            return await self._gated(ctx, output_context, output, handler)
        return await self._gated(ctx, output_context, await handler(output), _unchanged)

    async def after_run(self, ctx: RunContext[AgentDepsT], *, result: AgentRunResult[Any]) -> AgentRunResult[Any]:
        """Report that the run has ended."""
        self._gate.finish(origin(result.all_messages(), own_run(ctx)))
        return result

    async def on_run_error(self, ctx: RunContext[AgentDepsT], *, error: BaseException) -> AgentRunResult[Any]:
        """Report that the run has failed."""
        self._gate.finish(own_run(ctx), f"{type(error).__name__}: {error}")
        raise error

    async def _gated(self, ctx: RunContext[AgentDepsT], about: OutputContext, value: Any, handler: Handler) -> Any:
        typed = Typed.of_context(about, value)
        action = self._action(ctx, about, typed, value)
        key = digest({"call": action.call_id, "arguments": action.arguments})
        if key not in self._returned:
            self._returned[key] = await self._decided(ctx, action, typed, value, handler)
        return self._returned[key]

    async def _decided(
        self, ctx: RunContext[AgentDepsT], action: Action, typed: Typed, value: Any, handler: Handler
    ) -> Any:
        try:
            approval = await self._gate.authorize(action, wait=self._wait, validate=typed.checked)
        except RevisionRequested as error:
            if ctx.retry >= ctx.max_retries:
                raise
            raise ModelRetry(refusal(action.name, error).as_text()) from error
        running = typed.value(approval.arguments) if approval.edited else value
        await self._gate.take(approval, typed.arguments(running))
        with self._gate.reporting(approval.asked):
            return await handler(running)

    def _action(self, ctx: RunContext[AgentDepsT], about: OutputContext, typed: Typed, value: Any) -> Action:
        messages = history(ctx)
        run_id = origin(messages, own_run(ctx))
        call = about.tool_call
        earlier = sent_back(last_results(messages, call.tool_name if call is not None else None))
        return self._policy.action(
            about.function_name or typed.name,
            typed.arguments(value),
            run_id=run_id or None,
            call_id=call.tool_call_id if call is not None else f"output-{ctx.run_step}",
            context=context_of(ctx, messages, run_id),
            arguments_schema=typed.schema,
            revises=earlier[0] if earlier else None,
            framework=FrameworkOrigin.PYDANTICAI,
        )


async def _unchanged(output: Any) -> Any:
    return output


@asynccontextmanager
async def review_output(
    gate: AnyGate,
    result: AgentRunResult[Any] | Action,
    output_type: Any = None,
    *,
    risk: RiskOf = None,
    subject: SubjectOf = None,
    wait: Wait = DEFAULT,
) -> AsyncIterator[Any]:
    """Review a run's output after the run, before the application acts on it; the block is the acting.

    Nothing of the framework waits, so that it can take days: keep `error.action.model_dump_json()` of the
    `ReviewPending`, and ask again with `Action.model_validate_json(...)`, in any process.

    Args:
        gate: The gate.
        result: What `agent.run(...)` returned, or the action of an earlier `ReviewPending`.
        output_type: The output's type; needed for an action, by default that of the output.
        risk: See `GatedOutput`.
        subject: See `GatedOutput`.
        wait: Seconds to wait for a person.

    Yields:
        The output, as the reviewer may have edited it. The end of the block is reported as the action's outcome.

    Raises:
        ReviewPending: If nobody decided in time.
        ActionBlocked: If the answer stops it; of a `RevisionRequested`, `detail` is what the reviewer wants.
        GateError: If there is no answer to trust.
    """
    typed = Typed.of(output_type, None if isinstance(result, Action) else result.output)
    action = result if isinstance(result, Action) else _finished(ToolPolicy("all", risk, subject), result, typed)
    async with gate.aio.permit(action, wait=wait, validate=typed.checked) as permit:
        yield typed.value(permit.arguments)


def _finished(policy: ToolPolicy, result: AgentRunResult[Any], typed: Typed) -> Action:
    messages = result.all_messages()
    run_id = origin(messages, "")
    facts = {"run_id": run_id, "output_type": typed.name, "prompt": prompt_of(messages)}
    return policy.action(
        typed.name,
        typed.arguments(result.output),
        run_id=run_id or None,
        call_id=f"output-{len(messages)}",
        context={name: value for name, value in facts.items() if value},
        arguments_schema=typed.schema,
        framework=FrameworkOrigin.PYDANTICAI,
    )
