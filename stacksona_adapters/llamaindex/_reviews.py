"""What a step does that waits for a person: be counted, and park or give up when its patience is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stacksona_adapters.errors import ActionBlocked, ReviewPending, StacksonaError
from stacksona_adapters.llamaindex._running import Binding, Pauser, current_run
from stacksona_adapters.llamaindex.events import HumanReviewRequired, without_token
from stacksona_adapters.protocol.decisions import Decision


def required(event: HumanReviewRequired) -> HumanReviewRequired:
    """The event, known from now on to stand for a request that this process has just asked about.

    Args:
        event: What waits.
    """
    run = current_run()
    if run is not None:
        run.asked.add(event.request.request_id)
    return event


@asynccontextmanager
async def reviewing(binding: Binding, event: HumanReviewRequired) -> AsyncIterator[Pauser | None]:
    """Around a step that waits for a person; yields who may suspend the run.

    Args:
        binding: How it is gated.
        event: What waits.
    """
    run = current_run()
    if run is None or run.pauser is None:
        yield None
        return
    run.pauser.enter()
    try:
        if not binding.patient and event.request.request_id in run.asked:
            await run.pauser.park(event)  # without patience the answer of a moment ago is good enough
        yield run.pauser
    finally:
        run.pauser.leave()


async def patience_over(
    binding: Binding, pauser: Pauser | None, event: HumanReviewRequired, pending: ReviewPending
) -> StacksonaError:
    """Park until the run is suspended. Where nobody can take the pause, give up: the request is withdrawn.

    Args:
        binding: How it is gated.
        pauser: Who may suspend the run.
        event: What waits.
        pending: The request.

    Returns:
        Why the action did not run.
    """
    if pauser is not None:
        await pauser.park(event)
    return await give_up(binding, pending)


async def give_up(binding: Binding, pending: ReviewPending) -> StacksonaError:
    """Withdraw a request that nobody waits for any more.

    Args:
        binding: How it is gated.
        pending: The request.

    Returns:
        Why the action did not run.
    """
    try:
        asked = await binding.gate.request(pending.action)
    except StacksonaError as error:
        return error
    binding.gate.withdraw(asked)
    return pending


def pending_decision(pending: ReviewPending) -> Decision:
    """The decision that is waited for, as it may be kept in a run's state.

    Args:
        pending: What the gate said.

    Raises:
        ReviewPending: If there is none.
    """
    found = decision_of(pending)
    if found is None:
        raise pending
    return without_token(found)


def decision_of(error: StacksonaError) -> Decision | None:
    """The decision that an error is about, where there is one."""
    found = error.decision if isinstance(error, (ActionBlocked, ReviewPending)) else None
    return found if isinstance(found, Decision) else None
