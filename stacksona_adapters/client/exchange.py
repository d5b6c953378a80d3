"""One call with its retries as a flow of two primitive effects, and the two drivers that run every flow."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from stacksona_adapters.client.settings import Settings
from stacksona_adapters.errors import GateUnavailable
from stacksona_adapters.gating.effects import Effect, Flow, Send
from stacksona_adapters.gating.waiting import backoff, remaining, retry_after
from stacksona_adapters.protocol.calls import Answer, Call

T = TypeVar("T")

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Attempt(Effect[Answer]):
    """Send the call once, within so many seconds; answered with an `Answer` or a thrown `GateUnavailable`."""

    call: Call[Any]
    seconds: float


@dataclass(frozen=True)
class Pause(Effect[None]):
    """Wait so many seconds."""

    seconds: float


def exchange(call: Call[T], settings: Settings, clock: Callable[[], float] = time.monotonic) -> Flow[T]:
    """Try a call until it is answered, cannot be repeated, or the total time-out is over.

    Raises:
        GateError: If there is no answer to trust.
    """
    deadline = clock() + settings.timeouts.total + call.hold
    attempt = 0
    while True:
        attempt += 1
        asked_pause = 0.0
        try:
            answer = yield from Attempt(call, remaining(deadline, clock())).ask()
            asked_pause = retry_after(answer.headers, datetime.now(timezone.utc)) or 0.0
            return call.read(answer)
        except GateUnavailable:
            if not call.repeatable or attempt > settings.retries:
                raise
            pause = max(asked_pause, backoff(attempt, random.random(), first=FIRST_PAUSE, limit=LONGEST_PAUSE))
            if pause >= remaining(deadline, clock()):
                raise
        yield from Pause(pause).ask()


def expand(flow: Flow[T], settings: Settings) -> Flow[T]:
    """The same flow with every `Send` replaced by its attempts and pauses."""
    try:
        effect = next(flow)
        while True:
            try:
                answer = yield from (exchange(effect.call, settings) if isinstance(effect, Send) else effect.ask())
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - it is thrown into the flow, which decides
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()


def drive(flow: Flow[T], perform: Callable[[Effect[Any]], Any]) -> T:
    """Run a flow to its end on this thread."""
    try:
        effect = next(flow)
        while True:
            try:
                answer = perform(effect)
            except BaseException as error:  # noqa: BLE001 - it is thrown into the flow, which decides
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()


async def adrive(flow: Flow[T], perform: Callable[[Effect[Any]], Awaitable[Any]]) -> T:
    """Run a flow to its end on this event loop."""
    try:
        effect = next(flow)
        while True:
            try:
                answer = await perform(effect)
            except BaseException as error:  # noqa: BLE001 - it is thrown into the flow, which decides
                effect = flow.throw(error)
            else:
                effect = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        flow.close()
