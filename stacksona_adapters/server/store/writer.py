"""The one writer: a thread that takes the jobs that are waiting and commits once for all of them."""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from stacksona_adapters.server.store.engine import Backend

T = TypeVar("T")

_ATTEMPTS = 3

log = logging.getLogger("stacksona.store")


class StoreUnavailable(Exception):
    """The database did not take the change."""


@dataclass
class Batch:
    """One transaction: its connection, what its jobs may remember for one another, whether a decision changed."""

    connection: Connection
    memory: dict[Any, Any] = field(default_factory=dict)
    changed: bool = False


@dataclass
class _Job:
    run: Callable[[Batch], Any]
    future: Future[Any]
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Runs jobs one after the other, each in a savepoint of its own; a job that raises leaves no trace.

    Args:
        backend: The database.
        batch: The most jobs that share a commit.
        committed: Called, from the writer's thread, after a commit in which a decision changed.
    """

    def __init__(self, backend: Backend, batch: int, committed: Callable[[], None]) -> None:
        self._backend = backend
        self._batch = batch
        self._committed = committed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="stacksona-writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[Batch], T]) -> Future[T]:
        """Queue a job.

        Args:
            run: Does the job on a batch's connection; it may be run again from its start.

        Returns:
            Its result or error, once it is committed.

        Raises:
            StoreUnavailable: If the writer is closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the gate is stopping")
            self._jobs.put(_Job(run, future))
        return future

    def close(self) -> None:
        """Finish what is queued, then stop."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._jobs.put(None)
            self._thread.join()

    def _work(self) -> None:
        stop = False
        while not stop:
            batch, stop = self._next()
            if batch:
                self._run(batch)

    def _next(self) -> tuple[list[_Job], bool]:
        jobs = [self._jobs.get()]
        while len(jobs) < self._batch and jobs[-1] is not None:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        # From here on nobody can cancel a job, so that its future takes the result.
        batch = [job for job in jobs if job is not None and job.future.set_running_or_notify_cancel()]
        return batch, jobs[-1] is None

    def _run(self, jobs: list[_Job]) -> None:
        try:
            with self._backend.writer.begin() as connection:
                self._backend.lock(connection)
                batch = Batch(connection)
                for job in jobs:
                    _run_job(job, batch)
                if batch.changed:
                    self._backend.notify(connection)
        except BaseException as error:
            if not isinstance(error, SQLAlchemyError):
                log.exception("a batch of writes failed")
            for job in jobs:
                job.future.set_exception(_unavailable(error))
            return
        for job in jobs:
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
        if batch.changed:
            self._committed()


def _run_job(job: _Job, batch: Batch) -> None:
    for attempt in range(_ATTEMPTS):
        _plain(batch, "SAVEPOINT job")
        try:
            job.result = job.run(batch)
        except IntegrityError as error:  # a random id that was taken: run again with another one
            _undo(batch)
            job.error = error
            if attempt == _ATTEMPTS - 1:
                return
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            _undo(batch)
            job.error = _unavailable(error)
            return
        except Exception as error:  # noqa: BLE001 - it is the job's result
            _undo(batch)
            job.error = error
            return
        else:
            _plain(batch, "RELEASE SAVEPOINT job")
            job.error = None
            return


def _undo(batch: Batch) -> None:
    _plain(batch, "ROLLBACK TO SAVEPOINT job")
    _plain(batch, "RELEASE SAVEPOINT job")
    batch.memory.clear()


def _plain(batch: Batch, statement: str) -> None:
    """A statement without parameters and result, straight to the driver: a third of the cost, twice per job."""
    driver: Any = batch.connection.connection.driver_connection
    driver.execute(statement)


def _unavailable(error: BaseException) -> StoreUnavailable:
    unavailable = StoreUnavailable(f"the database did not take the change: {type(error).__name__}")
    unavailable.__cause__ = error
    return unavailable
