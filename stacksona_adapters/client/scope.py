"""`gate.task(...)`: a task around some work, for `with` and `async with`."""

from __future__ import annotations

import contextvars
import uuid
from collections.abc import Callable
from typing import Any

from stacksona_adapters.client.core import GateCore
from stacksona_adapters.client.tasks import OpenTask, bound_to_context
from stacksona_adapters.errors import ConfigurationError, GateRequestRefused, ReviewPending
from stacksona_adapters.gating.effects import Flow, Send, TaskRef
from stacksona_adapters.gating.prepare import correlation
from stacksona_adapters.protocol.canonical import idempotency_key, jsonable
from stacksona_adapters.protocol.tasks import EventType, FrameworkOrigin, TaskCreate


class TaskScope:
    """A task that is open inside of its `with` block; made by `gate.task(...)`."""

    def __init__(
        self, core: GateCore, name: str, run_id: str | None, description: str | None, metadata: dict[str, Any]
    ) -> None:
        self._core = core
        self._name = name
        self._description = description
        self._metadata = jsonable(metadata, "metadata")
        self._named = run_id is not None
        self.run_id = run_id or f"run_{uuid.uuid4().hex}"
        self._open: tuple[OpenTask, contextvars.Token[tuple[OpenTask, ...]]] | None = None

    @property
    def task(self) -> TaskRef:
        """The task at the gate.

        Raises:
            ConfigurationError: Outside of the `with` block.
        """
        if self._open is None:
            raise ConfigurationError("A task exists only inside of `with gate.task(...)`.")
        return self._open[0].ref

    @property
    def task_id(self) -> str:
        """The task's id at the gate."""
        return self.task.task_id

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` as it runs inside this task, for a thread of your own."""
        return bound_to_context(function)

    def _create(self) -> Flow[TaskRef]:
        agent = self._core.terms.agent
        task = TaskCreate(
            agent_id=agent,
            framework_origin=FrameworkOrigin.CUSTOM_API,
            task_name=self._name,
            task_description=self._description,
            metadata={**self._metadata, "run_id": self.run_id},
        )
        key = idempotency_key("task", agent, self.run_id)
        call = self._core.terms.dialect.create_task(task, key)
        task_id = f"task_{key[:32]}"
        if call is not None:
            try:
                task_id = (yield from Send(call).ask()).task_id
            except GateRequestRefused as refusal:
                task_id = refusal.earlier("task_id")
        return TaskRef(task_id, correlation(self.run_id), agent, FrameworkOrigin.CUSTOM_API)

    def _enter(self, ref: TaskRef) -> TaskScope:
        task = OpenTask(self._core.tasks, ref, self.run_id, self._named)
        self._open = (task, self._core.tasks.open(task))
        self._core.report(ref, EventType.TASK_STARTED, {"task_name": self._name, "run_id": self.run_id})
        return self

    def _exit(self, error: BaseException | None) -> None:
        if self._open is None:
            return
        (task, token), self._open = self._open, None
        self._core.tasks.close(task, token)
        if isinstance(error, ReviewPending):
            waiting = {"suspended": True, "decision_id": error.decision.id}
            self._core.report(task.ref, EventType.TASK_UPDATED, waiting)
        elif error is not None:
            failure = {"error": f"{type(error).__name__}: {error}"[:1000]}
            self._core.report(task.ref, EventType.TASK_FAILED, failure)
        else:
            self._core.report(task.ref, EventType.TASK_COMPLETED, {})

    def __enter__(self) -> TaskScope:
        return self._enter(self._core.run("task", self._create()))

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._exit(error)

    async def __aenter__(self) -> TaskScope:
        return self._enter(await self._core.arun("task", self._create()))

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._exit(error)
