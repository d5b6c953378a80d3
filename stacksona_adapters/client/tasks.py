"""Which task a piece of code belongs to: a context variable, and what this process knows of its runs."""

from __future__ import annotations

import contextvars
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.effects import TaskRef
from stacksona_adapters.gating.prepare import digest_of

REMEMBERED = 10_000
_current: contextvars.ContextVar[tuple[OpenTask, ...]] = contextvars.ContextVar("stacksona_open_tasks", default=())


@dataclass(eq=False)
class OpenTask:
    """A `gate.task(...)` that is being worked on.

    Attributes:
        owner: The task book of the gate that opened it.
        ref: The task at the gate.
        run_id: The run that it stands for.
        named: Whether the caller named the run, so that a later process means the same one.
    """

    owner: TaskBook
    ref: TaskRef
    run_id: str
    named: bool
    _calls: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call_id(self, action: Action) -> str | None:
        """An id for the n-th same call of a named run: the process that runs again counts the same way."""
        if not self.named:
            return None
        what = digest_of(action)
        with self._lock:
            self._calls[what] += 1
            return f"{what}:{self._calls[what]}"


class TaskBook:
    """The tasks of one gate in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_run: OrderedDict[str, TaskRef] = OrderedDict()
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._open: list[OpenTask] = []

    def current(self) -> OpenTask | None:
        """The innermost open task of this context; in a thread without context, the only one that is open."""
        mine = [task for task in _current.get() if task.owner is self and task in self._open]
        if mine:
            return mine[-1]
        with self._lock:
            return self._open[0] if len(self._open) == 1 else None

    def open(self, task: OpenTask) -> contextvars.Token[tuple[OpenTask, ...]]:
        """Make a task the current one."""
        with self._lock:
            self._open.append(task)
        return _current.set((*_current.get(), task))

    def close(self, task: OpenTask, token: contextvars.Token[tuple[OpenTask, ...]]) -> None:
        """End a task; the one around it is current again."""
        with self._lock:
            self._open.remove(task)
        _current.reset(token)

    def find(self, run_id: str | None) -> TaskRef | None:
        """The task of this context, else the one made before for the run."""
        current = self.current()
        if current is not None:
            return current.ref
        with self._lock:
            return self._by_run.get(run_id) if run_id is not None else None

    def keep(self, run_id: str, task: TaskRef) -> None:
        """Remember the task of a run; the oldest is forgotten (and asked for again) after ten thousand."""
        with self._lock:
            self._by_run[run_id] = task
            while len(self._by_run) > REMEMBERED:
                self._by_run.popitem(last=False)

    def forget(self, run_id: str) -> TaskRef | None:
        """Forget the task of a run that has ended."""
        with self._lock:
            return self._by_run.pop(run_id, None)

    def take(self, key: str) -> bool:
        """Take a permission in this process; `False` if it was taken before."""
        with self._lock:
            if key in self._taken:
                return False
            self._taken[key] = None
            while len(self._taken) > REMEMBERED:
                self._taken.popitem(last=False)
            return True


def bound_to_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as it runs in this context, for a thread that does not inherit it."""
    context = contextvars.copy_context()

    def call(*args: Any, **kwargs: Any) -> Any:
        return context.copy().run(function, *args, **kwargs)

    return call
