"""A run in this process: its id, who may pause it, and what is reported when it ends."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workflows import Context, Workflow
from workflows.context.serializers import BaseSerializer, JsonSerializer
from workflows.errors import WorkflowCancelledByUser

from stacksona_adapters.client.gate import DEFAULT, AsyncGate, Wait
from stacksona_adapters.gating.tools import ToolPolicy

if TYPE_CHECKING:
    from workflows.handler import WorkflowHandler

    from stacksona_adapters.llamaindex.events import HumanReviewRequired

_current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("stacksona_workflow_run", default=None)


@dataclass(frozen=True)
class Binding:
    """How calls are gated: where, which, and how long to wait.

    Attributes:
        gate: The gate.
        policy: Which tools, and how their calls are described.
        wait: Seconds to wait for a person.

    Raises:
        ConfigurationError: If `wait` makes no sense.
    """

    gate: AsyncGate
    policy: ToolPolicy = field(default_factory=ToolPolicy)
    wait: Wait = DEFAULT

    def __post_init__(self) -> None:
        self.gate.seconds(self.wait)

    @property
    def patient(self) -> bool:
        """Whether a call waits in this process at all."""
        return self.gate.seconds(self.wait) != 0


class Pauser:
    """Knows which steps of a run wait for a person and have no patience left.

    Such a step parks: it lets go of the gate and waits for the end of this run, so that ending the run does not
    withdraw its request.

    Attributes:
        parked: What they wait for.
        paused: Whether the run has been suspended.
        changed: Set whenever a step parks.
    """

    def __init__(self) -> None:
        self.parked: list[HumanReviewRequired] = []
        self.paused = False
        self.changed = asyncio.Event()
        self._reviewing = 0

    @property
    def all_parked(self) -> bool:
        """Whether every step that waits for a person has parked."""
        return bool(self.parked) and len(self.parked) == self._reviewing

    def enter(self) -> None:
        """A step begins to wait for a person."""
        self._reviewing += 1

    def leave(self) -> None:
        """A step does not wait for a person any more."""
        self._reviewing -= 1

    async def park(self, event: HumanReviewRequired) -> None:
        """Wait until the run is suspended; never returns.

        Args:
            event: What waits.
        """
        self.parked.append(event)
        self.changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.parked.remove(event)


@dataclass(eq=False)
class Run:
    """One run of a gated workflow.

    Attributes:
        run_id: Its id; the one in its state, where it is resumed.
        pauser: Who may suspend it; `None` where nobody is there to take the pause.
        finished: Done as soon as its end has been reported.
        asked: The requests that were made, or found, in this process.
    """

    run_id: str
    pauser: Pauser | None = None
    finished: asyncio.Task[None] | None = None
    asked: set[str] = field(default_factory=set)


def current_run() -> Run | None:
    """The run that the current step belongs to; `None` where a runtime has started it in its own way."""
    return _current.get()


class GatedRuns(Workflow):
    """A workflow whose runs are known to the gate. The common part of `GatedWorkflow` and `GatedAgentWorkflow`."""

    binding: Binding

    def run(self, *args: Any, **kwargs: Any) -> WorkflowHandler:
        """Run it, as every workflow is run. Nobody is there to take a pause, so it waits in this process.

        Args:
            *args: See the workflow.
            **kwargs: See the workflow. `run_id=` names the run for the gate too: give a stable one, and a process that
                starts again from nothing finds the requests of the one that died.
        """
        return self.start(Run(str(kwargs.get("run_id") or uuid.uuid4().hex)), *args, **kwargs)

    def start(self, run: Run, *args: Any, **kwargs: Any) -> WorkflowHandler:
        """Start a run. For `run_or_pause` and `resume`."""
        # The runtime copies this context into the tasks of the run's steps.
        outside = _current.set(run)
        try:
            handler = super().run(*args, **kwargs)
        finally:
            _current.reset(outside)
        run.finished = asyncio.ensure_future(_report_end(handler, run, self.binding.gate.finish))
        return handler

    async def kept_memory(self, ctx: Context[Any]) -> dict[str, Any] | None:
        """What a suspended run must keep beside its context; nothing here. See `GatedAgentWorkflow`."""
        return None

    async def restore_memory(self, ctx: Context[Any], memory: Any, kept: dict[str, Any] | None) -> None:
        """Put back what `kept_memory` kept, or the memory that the user gave."""

    def pause_serializer(self) -> BaseSerializer:
        """What serialises the context of a suspended run."""
        return JsonSerializer()


async def _report_end(handler: WorkflowHandler, run: Run, finish: Callable[[str, str | None], None]) -> None:
    try:
        await handler.stop_event_result()
    except WorkflowCancelledByUser:
        if run.pauser is None or not run.pauser.paused:
            finish(run.run_id, "cancelled")
    except Exception as error:  # noqa: BLE001 - whoever awaits the handler gets it
        finish(run.run_id, f"{type(error).__name__}: {error}")
    else:
        finish(run.run_id, None)
