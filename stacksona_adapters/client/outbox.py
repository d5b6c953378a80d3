"""The outbox: calls whose answer does not matter, delivered behind the agent's back, whatever happens."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stacksona_adapters.client.outbox_parcels import Parcel
from stacksona_adapters.client.outbox_store import state_directory
from stacksona_adapters.client.outbox_worker import OutboxOptions, OutboxWorker

__all__ = ["Outbox", "OutboxOptions", "Parcel", "state_directory"]


class Outbox:
    """Delivers parcels from a background thread: in order per lane, again and again until the gate has them.

    A second background thread keeps what waits in an SQLite file, which other processes of the same destination
    share: whoever is alive delivers what a dead process left behind. What the disk cannot take stays in memory.
    A parcel may therefore be sent twice; the gate knows it by its idempotency key. No parcel is put twice.

    Three things lose a parcel, each with a warning in the log: the gate refuses it (a 4xx other than 401 and
    429), it is put after `close` or while the memory's limit is reached (the newest is dropped), or its body is
    not JSON. A process that dies also loses what it put in the milliseconds before the disk had it.

    Safe to use from any thread and event loop and after a fork, where the child starts with an empty outbox.
    The threads start at the first `put`. At the interpreter's end, the outbox is closed with `exit_timeout`.

    Args:
        deliver: Makes one attempt at a parcel, on a thread of the outbox. Raises `GateRequestRefused` if it is of
            no use to try again, and any other error if it is.
        destination: Names the gate and the key, without telling them; parcels on disk stay with it.
        directory: Where the SQLite file is (see `state_directory`); `None` to use memory only.
        options: What rarely needs changing.
    """

    def __init__(
        self,
        deliver: Callable[[Parcel], None],
        *,
        destination: str,
        directory: Path | None = None,
        options: OutboxOptions | None = None,
    ) -> None:
        chosen = options or OutboxOptions()
        self._make = partial(OutboxWorker, deliver, destination, directory, chosen)
        self._workers: dict[int, OutboxWorker] = {}
        # At the interpreter's end the worker closes itself; this is for an outbox that is dropped before.
        weakref.finalize(self, _retire, self._workers).atexit = False

    @property
    def dropped(self) -> int:
        """How many parcels this process lost, for the reasons above."""
        return self._worker().dropped

    def put(self, parcel: Parcel) -> None:
        """Take a parcel; never waits for disk or network, never raises."""
        self._worker().put(parcel)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all parcels that this process put so far have left, trying the gate at once.

        Args:
            timeout: The longest wait in seconds; `None` for as long as it takes.

        Returns:
            Whether the gate has taken or refused all of them.
        """
        return self._worker().flush(timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Flush, then stop; what is left stays on disk for the next process.

        Args:
            timeout: The longest wait for deliveries, in seconds; a slow gate and disk may take a second or two more.
        """
        self._worker().close(timeout)

    def _worker(self) -> OutboxWorker:
        # A fork copies locks in any state and no thread, so each process has its own worker. The parent's is kept:
        # an SQLite connection must not be closed in a child.
        pid = os.getpid()
        if pid not in self._workers:
            closed = any(worker.closed for worker in list(self._workers.values()))
            self._workers.setdefault(pid, self._make(closed=closed))
        return self._workers[pid]


def _retire(workers: dict[int, OutboxWorker]) -> None:
    worker = workers.get(os.getpid())
    if worker is not None:
        worker.retire()
