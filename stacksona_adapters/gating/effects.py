"""The questions that a flow may ask. Each is data; a driver answers it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from stacksona_adapters.protocol.calls import Call
from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.dialects import Dialect
from stacksona_adapters.protocol.tasks import EventType, FrameworkOrigin

T = TypeVar("T")
R = TypeVar("R")


class Effect(Generic[T]):
    """A question whose answer is a `T`."""

    def ask(self) -> Generator[Effect[Any], Any, T]:
        """Yield the question to the driver and return its answer: `answer = yield from Effect(...).ask()`."""
        answer: T = yield self
        return answer


Flow = Generator[Effect[Any], Any, R]
"""A computation that yields effects and returns an `R`."""


@dataclass(frozen=True)
class TaskRef:
    """The task that requests and events belong to."""

    task_id: str
    correlation_id: str
    agent: str
    framework: FrameworkOrigin


@dataclass(frozen=True)
class Send(Effect[T]):
    """Make a call to the gate and read its answer; raises a `GateError`."""

    call: Call[T]


@dataclass(frozen=True)
class FindTask(Effect["TaskRef | None"]):
    """The task of a run that this process knows: the one around this code, or one made before for the run."""

    run_id: str | None


@dataclass(frozen=True)
class KeepTask(Effect[None]):
    """Remember the task of a run."""

    run_id: str
    task: TaskRef


@dataclass(frozen=True)
class Report(Effect[None]):
    """Put an event into the outbox; never waits and never fails."""

    task: TaskRef
    kind: EventType
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Withdraw(Effect[None]):
    """Cancel a request at the gate, through the outbox; never waits and never fails."""

    decision: Decision
    task: TaskRef


@dataclass(frozen=True)
class Abandon(Effect[None]):
    """Withdraw a request whose answer nobody waited for; never waits and never fails.

    Attributes:
        call: The request, with its idempotency key: sent once more it tells which decision it made.
        task: The task it belongs to.
        attempt: Who would have taken an allowed permission together with the answer.
        action: The action's name.
    """

    call: Call[Decision]
    task: TaskRef
    attempt: str
    action: str


@dataclass(frozen=True)
class Await(Effect[Decision]):
    """Wait until the decision is final.

    Attributes:
        decision: The pending decision.
        dialect: How to ask for it.
        seconds: The caller's patience; `None` for as long as the request lives.
    """

    decision: Decision
    dialect: Dialect
    seconds: float | None


@dataclass(frozen=True)
class TakeAlone(Effect[bool]):
    """Take a permission in this process only, at a gate that cannot take it; `False` if it was taken before."""

    key: str
