"""A run that suspends while a person thinks, and goes on in any process."""

from __future__ import annotations

import asyncio
import inspect
import uuid
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from workflows import Context
from workflows.context.state_store import UnserializableKeyWarning
from workflows.errors import ContextSerdeError

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.llamaindex._running import GatedRuns, Pauser, Run

if TYPE_CHECKING:
    from workflows.events import Event
    from workflows.handler import WorkflowHandler

REVIEW_STEPS = frozenset({"review_step", "review_call_step"})
"""The steps that wait for a person. A suspended run names them, so they may never be renamed."""

OnEvent = Callable[["Event"], Any]
"""Gets every event of the run's stream; may be asynchronous."""

_LOOK_AGAIN = 0.02
_PATIENCE = 5.0


class PendingReview(BaseModel):
    """A request that a suspended run waits for.

    Attributes:
        tool_name: The action's name.
        arguments: Its arguments.
        decision_id: The decision's id at the gate.
        task_id: The task's id at the gate.
        thread_id: The review thread's id at the gate.
    """

    model_config = ConfigDict(frozen=True)

    tool_name: str
    arguments: dict[str, Any]
    decision_id: str
    task_id: str | None = None
    thread_id: str | None = None


class PausedRun(BaseModel):
    """A suspended run, as JSON. It holds no permission: a resumed run asks the gate.

    Attributes:
        run_id: The run.
        reviews: What it waits for.
        context: The workflow's serialised context.
        memory: The agent's chat messages, where LlamaIndex does not serialise them with the context.
    """

    run_id: str
    reviews: list[PendingReview]
    context: dict[str, Any]
    memory: dict[str, Any] | None = None
    version: int = Field(default=1, ge=1, le=1)

    def to_json(self) -> str:
        """The pause as text, to be kept anywhere. It contains the conversation: keep it as safe as that."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> PausedRun:
        """Read what `to_json` wrote.

        Args:
            text: The text.

        Raises:
            ConfigurationError: If it is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "text"
            raise ConfigurationError(
                f"This is no suspended run ({where}: {first['msg']}); pass what PausedRun.to_json() returned."
            ) from error


async def run_or_pause(
    workflow: GatedRuns, *, run_id: str | None = None, on_event: OnEvent | None = None, **start: Any
) -> Any:
    """Run a gated workflow to its end, or until nothing but people's decisions is left to wait for.

    A request is waited for as long as the workflow's `wait=` says; `wait=0` suspends at once.

    Args:
        workflow: A `GatedWorkflow` or `GatedAgentWorkflow`.
        run_id: Your own name of the run, such as an order's id: a process that starts again from nothing under the
            same name finds the requests of the one that died.
        on_event: Gets the events that `handler.stream_events()` would yield.
        **start: What `workflow.run` takes: `user_msg=`, `start_event=`, `ctx=`, ...

    Returns:
        The workflow's result, or a `PausedRun`.

    Raises:
        ConfigurationError: If the workflow cannot be suspended.
    """
    run = Run(run_id or uuid.uuid4().hex, Pauser())
    return await _drive(workflow, _gated(workflow).start(run, **start), run, on_event)


async def resume(workflow: GatedRuns, paused: PausedRun, *, on_event: OnEvent | None = None, memory: Any = None) -> Any:
    """Go on with a suspended run, in any process, any number of times; each permission is still taken once.

    Args:
        workflow: The workflow, made as it was made for the suspended run.
        paused: The suspended run.
        on_event: Gets the events of the run's stream.
        memory: The agent's memory, where it is more than a `ChatMemoryBuffer`.

    Returns:
        The workflow's result, or a `PausedRun` again.

    Raises:
        ConfigurationError: If the pause is not one of this workflow.
    """
    context = _restored(_gated(workflow), paused)
    run = Run(paused.run_id, Pauser())
    handler = workflow.start(run, ctx=context)
    # Before anything else is awaited, so that no step has looked for its memory yet.
    await workflow.restore_memory(handler.ctx, memory, paused.memory)
    return await _drive(workflow, handler, run, on_event)


def _gated(workflow: GatedRuns) -> GatedRuns:
    if not isinstance(workflow, GatedRuns):
        raise ConfigurationError(
            f"{type(workflow).__name__} does not ask a gate: use GatedWorkflow, or GatedAgentWorkflow(agents=[agent])."
        )
    return workflow


def _restored(workflow: GatedRuns, paused: PausedRun) -> Context[Any]:
    steps = paused.context.get("workers") or {}
    live = [name for name, work in steps.items() if work.get("in_progress") or work.get("queue")]
    unknown = [name for name in live if not callable(getattr(workflow, name, None))]
    if unknown or not live:
        # LlamaIndex would skip the state of such a step and wait for ever.
        raise ConfigurationError(
            f"The suspended run stands in {', '.join(unknown) or 'no step'}, which {type(workflow).__name__} does not "
            f"have; resume it with the workflow that it was suspended with."
        )
    try:
        return Context.from_dict(workflow, paused.context)
    except (ContextSerdeError, ValidationError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise ConfigurationError(
            f"The suspended run cannot be read by {type(workflow).__name__} ({error}); resume it with the workflow "
            f"that it was suspended with."
        ) from error


async def _drive(workflow: GatedRuns, handler: WorkflowHandler, run: Run, on_event: OnEvent | None) -> Any:
    pauser = run.pauser or Pauser()
    relay = asyncio.ensure_future(_relay(handler, on_event))
    try:
        while not relay.done():
            await _until_parked(relay, pauser)
            if not relay.done() and await _only_people_left(handler, pauser):
                return await _suspend(workflow, handler, run, pauser)
        await relay
        return await handler
    except BaseException:
        # Nobody waits for this run any more: its requests are withdrawn.
        await handler.cancel_run()
        raise
    finally:
        relay.cancel()
        if run.finished is not None:
            await asyncio.wait({run.finished}, timeout=_PATIENCE)


async def _relay(handler: WorkflowHandler, on_event: OnEvent | None) -> None:
    async for event in handler.stream_events():
        if on_event is not None:
            answer = on_event(event)
            if inspect.isawaitable(answer):
                await answer


async def _until_parked(relay: asyncio.Task[None], pauser: Pauser) -> None:
    if pauser.parked:
        await asyncio.wait({relay}, timeout=_LOOK_AGAIN)
        return
    pauser.changed.clear()
    parked = asyncio.ensure_future(pauser.changed.wait())
    try:
        await asyncio.wait({relay, parked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        parked.cancel()


async def _only_people_left(handler: WorkflowHandler, pauser: Pauser) -> bool:
    """Whether every live step waits for a person, and did so a moment ago: no event was on its way to another."""
    for _ in range(2):
        if not pauser.all_parked or set(await handler.ctx.running_steps()) - REVIEW_STEPS:
            return False
        await asyncio.sleep(_LOOK_AGAIN)
    return pauser.all_parked


async def _suspend(workflow: GatedRuns, handler: WorkflowHandler, run: Run, pauser: Pauser) -> PausedRun:
    memory = await workflow.kept_memory(handler.ctx)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnserializableKeyWarning)  # its memory, which is kept above
        context = handler.ctx.to_dict(serializer=workflow.pause_serializer())
    reviews = [
        PendingReview(
            tool_name=each.request.tool_name,
            arguments=each.request.payload,
            decision_id=each.decision_id,
            task_id=each.task_id,
            thread_id=each.thread_id,
        )
        for each in pauser.parked
    ]
    pauser.paused = True
    await handler.cancel_run()
    return PausedRun(run_id=run.run_id, reviews=reviews, context=context, memory=memory)
