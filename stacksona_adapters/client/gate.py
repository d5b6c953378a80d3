"""The two faces of a gate: `Gate` for synchronous code, `AsyncGate` for asynchronous code, one core behind them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, Union

from stacksona_adapters.client.core import GateCore
from stacksona_adapters.client.permit import DEFAULT, Default, Permit, Wait
from stacksona_adapters.client.protect import Described, protected
from stacksona_adapters.client.scope import TaskScope
from stacksona_adapters.client.settings import Timeouts, load_settings
from stacksona_adapters.errors import ConfigurationError, ReviewPending
from stacksona_adapters.gating import flow
from stacksona_adapters.gating.action import Action, make_action
from stacksona_adapters.gating.effects import Flow, TaskRef
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.prepare import Asked, Terms, Validate
from stacksona_adapters.gating.redaction import Redaction
from stacksona_adapters.gating.risk import RiskPolicy
from stacksona_adapters.protocol.decisions import Decision, Outcome
from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.protocol.tasks import EventType

__all__ = ["DEFAULT", "AnyGate", "AsyncGate", "Gate", "Permit", "Wait"]

F = TypeVar("F", bound="Callable[..., Any]")


class _Face:
    """What both faces share: how a gate is made, and all that never waits."""

    def __init__(
        self,
        agent: str = "agent",
        *,
        url: str | None = None,
        api_key: str | None = None,
        dialect: str | None = None,
        wait: float | None = None,
        expires_in: float | None = None,
        risk: RiskPolicy | None = None,
        redaction: Redaction | None = None,
        timeouts: Timeouts | None = None,
        state_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if not agent or len(agent) > 200:
            raise ConfigurationError("agent= is the agent's stable name, 1 to 200 characters.")
        settings = load_settings(url, api_key, dialect, timeouts, state_dir)
        terms = Terms(settings.dialect, agent, redaction or Redaction(), risk, _patience(wait), expires_in)
        self._core = GateCore(settings, terms)

    @property
    def agent(self) -> str:
        """The name of the agent that this gate speaks for."""
        return self._core.terms.agent

    @property
    def sync(self) -> Gate:
        """The synchronous face of the same gate."""
        return self if isinstance(self, Gate) else _face_of(Gate, self._core)

    @property
    def aio(self) -> AsyncGate:
        """The asynchronous face of the same gate."""
        return self if isinstance(self, AsyncGate) else _face_of(AsyncGate, self._core)

    def action(self, name: str, arguments: Mapping[str, Any], **fields: Any) -> Action:
        """Describe an action; `fields` are those of `Action`.

        Raises:
            InvalidAction: If it cannot be described; nothing has been sent.
        """
        return make_action(name, arguments, **fields)

    def protect(
        self,
        action: str | None = None,
        *,
        risk: Risk | str | Callable[..., Risk | str] | None = None,
        subject: str | Callable[..., Any] | None = None,
        wait: Wait = DEFAULT,
        **fields: Any,
    ) -> Callable[[F], F]:
        """Gate a function, sync or async: it runs only when the gate permits, with the approved arguments.

        Args:
            action: The action's name; the function's where it is `None`.
            risk: The level, or a function of the arguments that says it.
            subject: The name of the parameter that holds the subject, or a function of the arguments that says it.
            wait: Seconds to wait for a person.
            **fields: Further fields of `Action` (`summary`, `context`, `expires_in`, ...).

        Returns:
            A decorator. The decorated function has `resume(pending)`, which goes on after a `ReviewPending`.

        Raises:
            ConfigurationError: For a generator, which would act after the permission was closed.
        """

        def decorate(function: F) -> F:
            return protected(self, function, Described(function, action, risk, subject, fields), wait)

        return decorate

    def task(
        self,
        name: str,
        *,
        run_id: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> TaskScope:
        """A task around some work: `with gate.task("Refund order 8821"):` (or `async with`).

        Creates the task, sets the correlation id for all that happens inside (threads and tasks included) and reports
        TASK_STARTED and TASK_COMPLETED or TASK_FAILED.

        Args:
            name: The task's name, for people.
            run_id: Your own id of the work; a process that runs the same work again then finds its earlier requests.
            description: More about it.
            metadata: JSON values kept with the task.
        """
        return TaskScope(self._core, name, run_id, description, dict(metadata or {}))

    @contextmanager
    def reporting(self, asked: Asked) -> Iterator[None]:
        """Report how the block ended: the outcome of an action whose permission has been taken.

        A block that is cancelled or interrupted leaves the outcome unknown, because the action may have had its effect;
        a person settles it.
        """
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.report(asked, Outcome.FAILED, time.perf_counter() - started, f"{type(error).__name__}: {error}")
            raise
        except BaseException as error:
            self.report(asked, Outcome.UNKNOWN, time.perf_counter() - started, type(error).__name__)
            raise
        self.report(asked, Outcome.SUCCEEDED, time.perf_counter() - started)

    def report(self, asked: Asked, outcome: Outcome, seconds: float, error: str | None = None) -> None:
        """Report the outcome of an action that ran; never waits.

        Args:
            asked: The request whose permission was taken.
            outcome: How it ended.
            seconds: How long it ran.
            error: What went wrong.
        """
        self._core.run_at_once(flow.report(asked, outcome, seconds, error))

    def event(self, kind: EventType, payload: Mapping[str, Any], task: TaskRef) -> None:
        """Report a milestone of a task; never waits."""
        self._core.report(task, kind, payload)

    def withdraw(self, pending: Asked | ReviewPending) -> None:
        """Cancel a request that nobody wants any more; never waits.

        Args:
            pending: The request, or what `authorize` raised of it in this process.
        """
        task = pending.task if isinstance(pending, Asked) else self._core.tasks.find(pending.action.run_id)
        if task is not None and isinstance(pending.decision, Decision):
            self._core.run_at_once(flow.withdraw(pending.decision, task))

    def finish(self, run_id: str, error: str | None = None) -> None:
        """Report that a run has ended: TASK_COMPLETED, or TASK_FAILED with the error. For adapters.

        Does nothing for a run that asked for nothing, and inside of a `gate.task(...)`, which reports by itself.
        """
        task = self._core.tasks.forget(run_id)
        if task is not None:
            kind = EventType.TASK_COMPLETED if error is None else EventType.TASK_FAILED
            self._core.report(task, kind, {} if error is None else {"error": error[:1000]})

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events reported so far are delivered.

        Args:
            timeout: Seconds; `None` for ever.

        Returns:
            Whether they are.
        """
        return self._core.flush(timeout)

    def seconds(self, wait: Wait = DEFAULT) -> float | None:
        """The seconds that a `wait=` stands for at this gate. For adapters.

        Raises:
            ConfigurationError: If it makes no sense.
        """
        return self._core.terms.wait if isinstance(wait, Default) else _patience(wait)

    def _whole(self, action: Action) -> Action:
        """The action with the run and call that this context gives it."""
        current = self._core.tasks.current()
        if current is None:
            return action.with_identity(self.agent, self._core.run_id)
        whole = action.model_copy(
            update={"agent": action.agent or self.agent, "run_id": action.run_id or current.run_id}
        )
        call_id = whole.call_id or current.call_id(whole)
        return whole.model_copy(update={"call_id": call_id}).with_identity(self.agent, current.run_id)

    def _ask(self, action: Action) -> Flow[Asked]:
        return flow.ask(self._core.terms, self._whole(action))

    def _wait(self, asked: Asked, seconds: Wait) -> Flow[Asked]:
        return flow.wait(self._core.terms, asked, self.seconds(seconds))

    def _authorize(self, action: Action, wait: Wait, validate: Validate | None) -> Flow[Approval]:
        return flow.authorize(self._core.terms, self._whole(action), self.seconds(wait), validate)

    def _take(self, approval: Approval, running: Mapping[str, Any]) -> Flow[Permit]:
        yield from flow.take(self._core.terms, approval, running)
        return Permit(approval)


AnyGate = Union["Gate", "AsyncGate"]
"""What an adapter takes as `gate=`: either face; it uses `gate.sync` or `gate.aio` as its framework needs."""

G = TypeVar("G", bound=_Face)


def _face_of(kind: type[G], core: GateCore) -> G:
    face = kind.__new__(kind)
    face._core = core  # noqa: SLF001 - the other face of this very gate
    return face


def _patience(wait: float | None) -> float | None:
    if wait is None or wait == float("inf"):
        return None
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not wait >= 0:
        raise ConfigurationError(
            f"wait= is {wait!r}; give seconds from 0 on, or None for as long as the request lives."
        )
    return float(wait)


class Gate(_Face):
    """A gate, for synchronous code. Thread-safe; close it or use it as a context manager.

    Args:
        agent: Stable name of the agent that asks.
        url: The gate's base URL; else `STACKSONA_GATE_URL`.
        api_key: The agent's key; else `STACKSONA_API_KEY`.
        dialect: `v1` or `agent`; else `STACKSONA_DIALECT`, else by the URL.
        wait: Seconds to wait for a person; `None` as long as the request lives, 0 raises `ReviewPending` at once.
        expires_in: Seconds until a request expires; the gate's default where it is `None`.
        risk: A mapping of action names to levels, or a function of name and arguments.
        redaction: What is hidden from the gate.
        timeouts: The patience of one call.
        state_dir: Where events wait for a gate that is down.

    Raises:
        ConfigurationError: If URL or key is missing or unusable.
    """

    def request(self, action: Action) -> Asked:
        """Ask about an action; does not wait for a person.

        Raises:
            GateError: If there is no answer to trust; nothing ran.
        """
        return self._core.run("request", self._ask(action))

    def wait(self, asked: Asked, seconds: Wait = DEFAULT) -> Asked:
        """Wait until a request is decided, or the patience is over (then it is still pending)."""
        return self._core.run("wait", self._wait(asked, seconds))

    def authorize(self, action: Action, *, wait: Wait = DEFAULT, validate: Validate | None = None) -> Approval:
        """Ask and wait; what may run comes back, not yet taken.

        Args:
            action: What the agent wants to do.
            wait: Seconds to wait for a person.
            validate: Checks edited arguments with the tool's schema and returns them as the tool would get them.

        Raises:
            ReviewPending: If nobody has decided in that time.
            ActionBlocked: If the answer stops the action.
            GateError: If there is no answer to trust; nothing ran.
        """
        return self._core.run("authorize", self._authorize(action, wait, validate))

    def take(self, approval: Approval, running: Mapping[str, Any]) -> Permit:
        """Take the permission, once, for exactly the arguments that are about to run.

        Raises:
            ActionMismatch: If they are not what was approved.
            AlreadyTaken: If it was taken before (`OutcomeUnknown` if nobody knows how that ended).
            GateError: If the gate cannot be asked; nothing ran.
        """
        return self._core.run("take", self._take(approval, running))

    @contextmanager
    def permit(self, action: Action, *, wait: Wait = DEFAULT, validate: Validate | None = None) -> Iterator[Permit]:
        """Ask, wait and take; the block runs the action with `permit.arguments`, and its end is reported.

        Raises:
            ReviewPending: If nobody has decided in time; ask again with `error.action` to go on.
            ActionBlocked: If the answer stops the action; the block did not run.
            GateError: If there is no answer to trust; the block did not run.
        """
        approval = self.authorize(action, wait=wait, validate=validate)
        permit = self.take(approval, approval.arguments)
        with self.reporting(approval.asked):
            yield permit

    def close(self, timeout: float = 5.0) -> None:
        """Deliver waiting events for at most `timeout` seconds and close the connections (of both faces)."""
        self.finish(self._core.run_id)
        self._core.close(timeout)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncGate(_Face):
    """A gate, for asynchronous code; works from several event loops and threads. Arguments as for `Gate`."""

    async def request(self, action: Action) -> Asked:
        """See `Gate.request`."""
        return await self._core.arun("request", self._ask(action))

    async def wait(self, asked: Asked, seconds: Wait = DEFAULT) -> Asked:
        """See `Gate.wait`."""
        return await self._core.arun("wait", self._wait(asked, seconds))

    async def authorize(self, action: Action, *, wait: Wait = DEFAULT, validate: Validate | None = None) -> Approval:
        """See `Gate.authorize`."""
        return await self._core.arun("authorize", self._authorize(action, wait, validate))

    async def take(self, approval: Approval, running: Mapping[str, Any]) -> Permit:
        """See `Gate.take`."""
        return await self._core.arun("take", self._take(approval, running))

    @asynccontextmanager
    async def permit(
        self, action: Action, *, wait: Wait = DEFAULT, validate: Validate | None = None
    ) -> AsyncIterator[Permit]:
        """See `Gate.permit`."""
        approval = await self.authorize(action, wait=wait, validate=validate)
        permit = await self.take(approval, approval.arguments)
        with self.reporting(approval.asked):
            yield permit

    async def close(self, timeout: float = 5.0) -> None:
        """See `Gate.close`."""
        self.finish(self._core.run_id)
        await asyncio.to_thread(self._core.close, timeout)

    async def __aenter__(self) -> AsyncGate:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
