"""Flows: a step whose gated actions wait for a reviewer pauses the flow; resumed, its route runs the step again.

CrewAI does not run a paused method again when a flow is resumed: it takes it for done and gives the next router a
`HumanFeedbackResult`. So the router behind a pausing step asks `runs_again(result)` and routes back to the step.
What the resuming process says as feedback has no meaning: the step asks the gate.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from stacksona_adapters._extras import extra
from stacksona_adapters.crewai._crew import GatedCrew
from stacksona_adapters.crewai._paused import PausedCrew
from stacksona_adapters.errors import ConfigurationError, ReviewPending

with extra("crewai"):
    from crewai.crews.crew_output import CrewOutput
    from crewai.flow import Flow, flow_context
    from crewai.flow.async_feedback import HumanFeedbackPending, PendingFeedbackContext
    from crewai.flow.human_feedback import HumanFeedbackResult

F = TypeVar("F", bound=Callable[..., Any])

WAITING = "stacksona_waiting"
PAUSED = "stacksona_paused_crew"


def pausing(method: F) -> F:
    """A flow's method that pauses its flow where a gated action in it waits for a reviewer.

    Write it below `@start()`, `@listen(...)` or `@router(...)`. It stands for every `ReviewPending`: of
    `@gate.protect(wait=0)`, of `gate.permit(...)`. The next process finds the same requests where the actions have a
    stable run, such as `with gate.task("Refund", run_id=self.flow_id)`.

    Args:
        method: The method; not a coroutine function (CrewAI runs it on a thread of its own).

    Raises:
        ConfigurationError: For a coroutine function.
    """
    if inspect.iscoroutinefunction(method):
        raise ConfigurationError(f"{method.__name__} is a coroutine function; a pausing method is a plain one.")

    @functools.wraps(method)
    def paused_or_done(flow: Any, *args: Any, **kwargs: Any) -> Any:
        with _reviews_pause(flow, method.__name__):
            return method(flow, *args, **kwargs)

    return paused_or_done  # type: ignore[return-value]


def runs_again(result: Any) -> bool:
    """Whether a router got the pause of the step before it: route back to that step.

    Args:
        result: What the router was called with.
    """
    return isinstance(result, HumanFeedbackResult) and WAITING in result.metadata


def kickoff_in(
    flow: Flow[Any], crew: GatedCrew, inputs: dict[str, Any] | None = None, *, run_id: str | None = None
) -> CrewOutput:
    """Run a gated crew as a step of a flow; a crew that waits for a reviewer pauses the flow.

    Args:
        flow: The flow, `self` in its method.
        crew: The crew, the same one whenever the step runs.
        inputs: The inputs of the crew.
        run_id: Names the run; the flow's id and the method's name where it is `None`.

    Returns:
        The crew's output.

    Raises:
        HumanFeedbackPending: CrewAI's own pause: it saves the flow and returns from the flow's kickoff.
        ConfigurationError: In a coroutine function, or for another crew than the one that was paused.
    """
    method = flow_context.current_flow_method_name.get()
    earlier = _take_pause(flow, method)
    if earlier is not None:
        result = crew.resume(earlier)
    else:
        result = crew.kickoff(inputs, run_id=run_id or f"{flow.flow_id}:{method}")
    if isinstance(result, PausedCrew):
        waiting = [call.decision_id for call in result.waiting]
        raise _pause(flow, method, waiting, {PAUSED: result.model_dump(mode="json")})
    return result


@contextmanager
def _reviews_pause(flow: Any, method: str) -> Iterator[None]:
    try:
        yield
    except ReviewPending as pending:
        raise _pause(flow, method, [pending.decision.id], {}) from pending


def _pause(flow: Any, method: str, waiting: Sequence[str], more: dict[str, Any]) -> HumanFeedbackPending:
    context = PendingFeedbackContext(
        flow_id=flow.flow_id,
        flow_class=f"{type(flow).__module__}.{type(flow).__qualname__}",
        method_name=method,
        method_output=None,
        message=f"{method} waits for a reviewer of the gate.",
        metadata={WAITING: list(waiting), **more},
    )
    return HumanFeedbackPending(context=context, callback_info={"decision_ids": list(waiting)})


def _take_pause(flow: Any, method: str) -> PausedCrew | None:
    """The pause that this very resumption is about; a later run of the same step begins anew."""
    resumed = flow.last_human_feedback
    if resumed is None or resumed.method_name != method or PAUSED not in resumed.metadata:
        return None
    return PausedCrew.model_validate(resumed.metadata.pop(PAUSED))
