"""What `Gate` and `AsyncGate` share: connections, watcher, outbox, tasks, and the answers to effects."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar

from stacksona_adapters.client.exchange import Attempt, Pause, adrive, drive, exchange, expand
from stacksona_adapters.client.loop import BackgroundLoop
from stacksona_adapters.client.outbox import Outbox, Parcel
from stacksona_adapters.client.settings import Settings
from stacksona_adapters.client.tasks import TaskBook
from stacksona_adapters.client.tracing import span, trace_headers
from stacksona_adapters.client.transport import AsyncTransport, Transport
from stacksona_adapters.client.watcher import Watcher
from stacksona_adapters.errors import ConfigurationError, StacksonaError
from stacksona_adapters.gating.effects import (
    Abandon,
    Await,
    Effect,
    FindTask,
    Flow,
    KeepTask,
    Report,
    TakeAlone,
    TaskRef,
    Withdraw,
)
from stacksona_adapters.gating.prepare import Terms
from stacksona_adapters.protocol.calls import Answer, Call, read_nothing
from stacksona_adapters.protocol.decisions import Decision, Outcome
from stacksona_adapters.protocol.tasks import EventType, TaskEvent

T = TypeVar("T")

logger = logging.getLogger("stacksona_adapters")


class _Background:
    """The asynchronous half of the connections, on a loop of its own."""

    def __init__(self, settings: Settings) -> None:
        self.loop = BackgroundLoop("stacksona-gate")
        self.transport = AsyncTransport(settings)
        self.watcher = Watcher(self.transport)

    def send(self, effect: Attempt) -> concurrent.futures.Future[Answer]:
        return self.loop.submit(self.transport.once(effect.call, effect.seconds, trace_headers()))

    async def perform(self, effect: Effect[Any]) -> Any:
        """Perform the two effects of an exchange, on this very loop."""
        if isinstance(effect, Attempt):
            return await self.transport.once(effect.call, effect.seconds, {})
        return await asyncio.sleep(effect.seconds) if isinstance(effect, Pause) else None

    def wait(self, effect: Await) -> concurrent.futures.Future[Decision]:
        return self.loop.submit(self.watcher.wait(effect.decision, effect.dialect))

    def close(self) -> None:
        self.loop.close(self._shut())

    async def _shut(self) -> None:
        await self.watcher.close()
        await asyncio.sleep(0)
        await self.transport.close()


class _Wires:
    """Everything that a fork breaks: sockets and threads. Made anew in a child process."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.transport = Transport(settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._background: _Background | None = None

    def background(self) -> _Background:
        with self._lock:
            if self._background is None:
                self._background = _Background(self._settings)
            return self._background

    def close(self) -> None:
        with self._lock:
            if self._background is not None:
                self._background.close()
        self.transport.close()


class GateCore:
    """The one gate behind both faces.

    Args:
        settings: Where the gate is.
        terms: What holds for all actions.
        run_id: The run of actions that belong to no other.
    """

    def __init__(self, settings: Settings, terms: Terms) -> None:
        self.settings = settings
        self.terms = terms
        self.run_id = f"run_{uuid.uuid4().hex}"
        self.tasks = TaskBook()
        self.outbox = Outbox(self._deliver, destination=settings.destination, directory=settings.state_dir)
        self._lock = threading.Lock()
        self._closed = False
        self._late: set[concurrent.futures.Future[None]] = set()
        self._wires_now = _Wires(settings)

    @property
    def wires(self) -> _Wires:
        """The connections of this process."""
        with self._lock:
            if self._closed:
                raise ConfigurationError("This gate is closed; make a new one.")
            if self._wires_now.pid != os.getpid():
                self._wires_now = _Wires(self.settings)
            return self._wires_now

    def run(self, name: str, flow: Flow[T]) -> T:
        """Drive a flow on this thread; `name` is that of its span."""
        with span(f"stacksona.{name}", {"stacksona.agent": self.terms.agent}):
            return drive(expand(flow, self.settings), self._perform)

    async def arun(self, name: str, flow: Flow[T]) -> T:
        """Drive a flow on the running event loop; `name` is that of its span."""
        with span(f"stacksona.{name}", {"stacksona.agent": self.terms.agent}):
            return await adrive(expand(flow, self.settings), self._aperform)

    def run_at_once(self, flow: Flow[T]) -> T:
        """Drive a flow that only asks for what needs no waiting (reports), from sync and async code alike."""
        return drive(flow, self._at_once)

    def _perform(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, Attempt):
            return self.wires.transport.once(effect.call, effect.seconds, trace_headers())
        if isinstance(effect, Pause):
            return time.sleep(effect.seconds)
        if isinstance(effect, Await):
            waiting = self.wires.background().wait(effect)
            try:
                return waiting.result(effect.seconds)
            except concurrent.futures.TimeoutError:
                return effect.decision
            finally:
                waiting.cancel()
        return self._at_once(effect)

    async def _aperform(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, Attempt):
            return await asyncio.wrap_future(self.wires.background().send(effect))
        if isinstance(effect, Pause):
            return await asyncio.sleep(effect.seconds)
        if isinstance(effect, Await):
            waiting = asyncio.wrap_future(self.wires.background().wait(effect))
            try:
                return await asyncio.wait_for(waiting, effect.seconds)
            except asyncio.TimeoutError:
                return effect.decision
        return self._at_once(effect)

    def _at_once(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, FindTask):
            return self.tasks.find(effect.run_id)
        if isinstance(effect, KeepTask):
            return self.tasks.keep(effect.run_id, effect.task)
        if isinstance(effect, Report):
            return self.report(effect.task, effect.kind, effect.payload)
        if isinstance(effect, Withdraw):
            return self._withdraw(effect.decision, effect.task)
        if isinstance(effect, Abandon):
            return self._abandon(effect)
        if isinstance(effect, TakeAlone):
            return self.tasks.take(effect.key)
        raise TypeError(f"No driver knows the effect {type(effect).__name__}.")

    def report(self, task: TaskRef, kind: EventType, payload: Mapping[str, Any]) -> None:
        """Put an event into the outbox; redacted, never waiting, never failing."""
        event = TaskEvent(
            task_id=task.task_id,
            agent_id=task.agent,
            event_type=kind,
            event_payload=self.terms.redaction.apply(dict(payload)).value,
            framework_origin=task.framework,
            occurred_at=datetime.now(timezone.utc),
            correlation_id=task.correlation_id,
        )
        self._post(task, self.terms.dialect.event(event, uuid.uuid4().hex))

    def _withdraw(self, decision: Decision, task: TaskRef) -> None:
        call = self.terms.dialect.cancel(decision, f"{decision.id}-cancel")
        if call is not None:
            self._post(task, call)

    def _abandon(self, effect: Abandon) -> None:
        background = self.wires.background()
        finding = background.loop.submit(self._withdraw_late(effect, background))
        with self._lock:
            self._late.add(finding)
        finding.add_done_callback(self._late.discard)

    async def _withdraw_late(self, effect: Abandon, background: _Background) -> None:
        """Learn which decision the request made, and withdraw it, or say that what it permitted did not run."""
        try:
            decision = await adrive(exchange(effect.call, self.settings), background.perform)
        except StacksonaError as error:
            logger.warning("A request that was given up may still wait for a reviewer (%s): %s", effect.action, error)
            return
        if decision.consumed_by is not None and decision.consumed_by == effect.attempt:
            facts = {"decision_id": decision.decision_id, "action": effect.action, "outcome": str(Outcome.FAILED)}
            self.report(effect.task, EventType.TOOL_EXECUTED, {**facts, "error": "cancelled before it ran"})
        elif not decision.status.final or decision.status.executes:
            self._withdraw(decision, effect.task)

    def _post(self, task: TaskRef, call: Call[None]) -> None:
        body, key = dict(call.body or {}), call.idempotency_key or uuid.uuid4().hex
        self.outbox.put(Parcel(task.task_id, call.method, call.path, body, key))

    def _deliver(self, parcel: Parcel) -> None:
        call: Call[None] = Call(
            parcel.method, parcel.path, read_nothing, parcel.body, idempotency_key=parcel.idempotency_key
        )
        call.read(self.wires.transport.once(call, self.settings.timeouts.total, {}))

    def flush(self, timeout: float | None) -> bool:
        """Wait for what was given up to be withdrawn and for all events to be delivered; whether they are."""
        started = time.monotonic()
        late = concurrent.futures.wait(set(self._late), timeout)
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
        return self.outbox.flush(left) and not late.not_done

    def close(self, timeout: float) -> None:
        """Deliver what is in the outbox for at most `timeout` seconds, end waits, close connections."""
        concurrent.futures.wait(set(self._late), timeout)
        self.outbox.close(timeout)
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed and self._wires_now.pid == os.getpid():
            self._wires_now.close()
