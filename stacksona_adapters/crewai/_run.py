"""What is known of one run of a crew: who calls, what ran, what waits, and how the run is stopped."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from stacksona_adapters.crewai._paused import PausedCall, PausedCrew
from stacksona_adapters.errors import ActionBlocked, ReviewPending
from stacksona_adapters.protocol.canonical import canonical_json, idempotency_key, jsonable

_LONGEST_END = 10.0
"""Seconds that a cancelled run waits for its waits to end; they only have to hand a message to the outbox."""


class Stopped(BaseException):
    """Leaves the loops of a crew that waits for a reviewer or was cancelled; never seen outside of `GatedCrew`.

    A `BaseException`, because CrewAI gives every `Exception` of a tool to the model and calls the tool again.
    """


@dataclass(eq=False)
class Frame:
    """One tool call that an agent makes.

    Attributes:
        tool: The tool's name, as the model knows it.
        arguments: What the model wrote.
        agent: CrewAI's agent.
        task: Its task; `None` outside of a crew.
        crew: The crew; `None` outside of one.
        parent: The call in which this agent works: a delegation, or a tool that runs a crew of its own.
        begun: When, on the monotonic clock.
        said: What the model is told, where a hook ran the tool in CrewAI's place.
    """

    tool: str
    arguments: Mapping[str, Any]
    agent: Any
    task: Any
    crew: Any
    parent: Frame | None = None
    begun: float = field(default_factory=time.monotonic)
    said: str | None = None

    @property
    def chain(self) -> list[Frame]:
        """This call and those around it, outermost first."""
        return [*(self.parent.chain if self.parent is not None else []), self]

    @property
    def detached(self) -> bool:
        """Whether it runs on a thread for which CrewAI waits for ever if a `Stopped` ends it (`async_execution`)."""
        return any(getattr(frame.task, "async_execution", False) for frame in self.chain)


current_frame: ContextVar[Frame | None] = ContextVar("stacksona_crewai_frame", default=None)
current_run: ContextVar[CrewRun | None] = ContextVar("stacksona_crewai_run", default=None)


def enclosing(frame: Frame | None, agent: Any, task: Any) -> Frame | None:
    """The call in which an agent works on a task: not an earlier call of its own, which a context may still carry."""
    while frame is not None and frame.agent is agent and frame.task is task:
        frame = frame.parent
    return frame


class CrewRun:
    """One run of a crew. Shared by all threads of the run.

    Args:
        run_id: Names the run, over processes.
        crew_key: The crew's stable key.
        inputs: The inputs of its kickoff.
        label: A name for people.
        paused: The pause that it goes on from.
    """

    def __init__(
        self, run_id: str, crew_key: str, inputs: dict[str, Any], label: str | None, paused: PausedCrew | None = None
    ) -> None:
        self.run_id = run_id
        self.label = label
        self.cancelled = False
        self._crew_key = crew_key
        self.inputs = inputs
        self._results = dict(paused.results) if paused is not None else {}
        self._attempts = dict(paused.attempts) if paused is not None else {}
        self._open: set[str] = set()
        self._waiting: dict[str, PausedCall] = {}
        self._counts: Counter[str] = Counter()
        self._sent_back: dict[tuple[str, str], deque[str]] = {}
        self._begun: dict[str, float] = {}
        self._waits: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()
        self._quiet = threading.Event()
        self._lock = threading.Lock()

    @property
    def stopping(self) -> bool:
        """Whether nothing new shall begin."""
        return self.cancelled or bool(self._waiting)

    def call_id(self, frame: Frame | None, name: str, arguments: Mapping[str, Any]) -> str:
        """An id of a call that a later process finds again.

        CrewAI's own ids are random, and a text-parsed call has none: it is the n-th call of this tool with these
        arguments by this agent in this task.
        """
        agent, task = (frame.agent, frame.task) if frame is not None else (None, None)
        keys = [getattr(task, "key", ""), getattr(agent, "key", "")]
        base = idempotency_key("crewai", *keys, name, canonical_json(jsonable(arguments)).decode())
        with self._lock:
            latest = f"{base}:{self._counts[base]}"
            if frame is not None and frame.detached and latest in self._waiting:
                return latest  # the model calls again what it was told to wait for
            self._counts[base] += 1
            return f"{base}:{self._counts[base]}"

    def result(self, call_id: str) -> str | None:
        """What the model was told of a call that ran before the pause."""
        return self._results.get(call_id)

    def attempt(self, call_id: str) -> str:
        """Who takes the permission: the same one after a pause inside of the call, a new one else."""
        with self._lock:
            return self._attempts.setdefault(call_id, uuid.uuid4().hex)

    def opened(self, call_id: str) -> None:
        """A permission was taken and its action is running."""
        with self._lock:
            self._open.add(call_id)

    def closed(self, call_id: str, told: str) -> None:
        """An action ran; the model was told this."""
        with self._lock:
            self._open.discard(call_id)
            self._results[call_id] = told

    def wait_for(self, call_id: str, pending: ReviewPending, frame: Frame | None) -> None:
        """A call waits for a reviewer: the run stops.

        Raises:
            Stopped: Where CrewAI lets it pass.
        """
        role = getattr(frame.agent, "role", None) if frame is not None else None
        call = PausedCall(decision_id=pending.decision.id, action=pending.action.name, role=role)
        with self._lock:
            self._waiting[call_id] = call
        self.stop(frame)

    def stop(self, frame: Frame | None) -> None:
        """Leave the crew's loops.

        Raises:
            Stopped: Where CrewAI lets it pass; elsewhere every further call is refused or waits as well.
        """
        if frame is None or not frame.detached:
            raise Stopped

    def send_back(self, frame: Frame | None, name: str, blocked: ActionBlocked) -> None:
        """A reviewer wants a changed proposal: the agent's next call of the tool revises this decision."""
        if blocked.decision_id is not None:
            with self._lock:
                self._sent_back.setdefault(_by_whom(frame, name), deque()).append(blocked.decision_id)

    def revises(self, frame: Frame | None, name: str) -> str | None:
        """The decision that a call of the tool revises."""
        with self._lock:
            waiting = self._sent_back.get(_by_whom(frame, name))
            return waiting.popleft() if waiting else None

    def begin(self, task: Any) -> None:
        """A task begins."""
        with self._lock:
            self._begun[str(task.id)] = time.monotonic()

    def begun(self, frame: Frame) -> float:
        """When the agent of a call began to work, on the monotonic clock; never later than it did."""
        if frame.parent is not None:
            return frame.parent.begun
        return self._begun.get(str(getattr(frame.task, "id", "")), frame.begun)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block of a coroutine that `cancel` ends.

        Raises:
            asyncio.CancelledError: If the run was cancelled before, or is while the block runs.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("interruptible() is for coroutines of a task")
        entry = (asyncio.get_running_loop(), task)
        with self._lock:
            if not self.cancelled:
                self._waits.add(entry)
        if self.cancelled:
            raise asyncio.CancelledError
        try:
            yield
        finally:
            with self._lock:
                self._waits.discard(entry)
                self._tell_if_quiet()

    async def cancel(self) -> None:
        """End all waits, which withdraws their requests, and let nothing new begin; returns when they have ended."""
        with self._lock:
            self.cancelled = True
            for loop, task in self._waits:  # their loops cannot close before they left this set
                loop.call_soon_threadsafe(task.cancel)
            self._tell_if_quiet()
        await asyncio.to_thread(self._quiet.wait, _LONGEST_END)

    def _tell_if_quiet(self) -> None:
        if self.cancelled and not self._waits:
            self._quiet.set()

    def paused(self, error: str | None = None) -> PausedCrew | None:
        """The pause of a run that waits for a reviewer; `None` where it does not."""
        with self._lock:
            if not self._waiting:
                return None
            return PausedCrew(
                run_id=self.run_id,
                crew=self._crew_key,
                inputs=self.inputs,
                waiting=list(self._waiting.values()),
                results=dict(self._results),
                attempts={call_id: self._attempts[call_id] for call_id in sorted(self._open)},
                error=error,
            )


def _by_whom(frame: Frame | None, name: str) -> tuple[str, str]:
    return (getattr(frame.agent, "key", "") if frame is not None else "", name)
