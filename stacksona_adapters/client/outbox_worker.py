"""What an outbox is inside one process: two threads and what they share."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stacksona_adapters.client.outbox_parcels import Item, Lanes, Parcel, parcel_from_json, parcel_to_json
from stacksona_adapters.client.outbox_store import Keeper, OutboxStore
from stacksona_adapters.errors import GateError, GateRequestRefused

logger = logging.getLogger(__name__)

UPKEEP_EVERY = 15.0
"""Seconds between two signs of life, which are also looks for what a dead process left behind."""

FIRST_LOOK = 1.0
"""Seconds that delivery waits at first for what an earlier process left behind, to send that before its own."""


@dataclass(frozen=True)
class OutboxOptions:
    """What rarely needs changing.

    Attributes:
        limit: Parcels that wait in memory (a kilobyte or so each) before new ones are dropped.
        first_pause: The longest first pause after a failed delivery, in seconds.
        longest_pause: The longest pause, in seconds.
        exit_timeout: The longest that the end of the interpreter waits for deliveries, in seconds.
        store: The store's class.
    """

    limit: int = 100_000
    first_pause: float = 0.5
    longest_pause: float = 30.0
    exit_timeout: float = 2.0
    store: type[OutboxStore] = OutboxStore


@dataclass
class _Flush:
    last: int
    remaining: int


class OutboxWorker:
    """An outbox in one process: its parcels, the thread that delivers them and the one that writes them down."""

    def __init__(
        self,
        deliver: Callable[[Parcel], None],
        destination: str,
        directory: Path | None,
        options: OutboxOptions,
        *,
        closed: bool,
    ) -> None:
        self.closed = closed
        self.dropped = 0
        self._deliver = deliver
        self._options = options
        self._pid = os.getpid()
        self._owner = owner = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._lanes = Lanes(options.first_pause, options.longest_pause)
        self._put = 0
        self._waiting = 0
        self._flushes: list[_Flush] = []
        self._retired = False
        self._stopping = False
        self._last_write = False
        self.last_error: Exception | None = None  # what delivery raised and nobody foresaw
        self._gate_is_down = False
        self._sender: threading.Thread | None = None
        self._writer: threading.Thread | None = None
        self._keeper = None
        if directory is not None:
            self._keeper = Keeper(lambda: options.store(directory, destination, owner), directory)
        self._keeping = self._keeper is not None
        self._unwritten: deque[Item] = deque()
        self._unremoved: list[str] = []
        self._upkeep_at = 0.0
        self._looked = self._keeper is None

    def put(self, parcel: Parcel) -> None:
        """See `Outbox.put`."""
        try:
            text = parcel_to_json(parcel)  # now, because the caller may change the body later
        except (TypeError, ValueError, RecursionError) as error:
            self._drop(parcel, f"its body is not JSON ({error})")
            return
        with self._changed:
            reason = self._add(parcel.lane, text)
        if reason is not None:
            self._drop(parcel, reason)

    def _add(self, lane: str, text: str) -> str | None:
        if self.closed:
            return "the outbox is closed"
        if len(self._lanes) >= self._options.limit:
            return f"{self._options.limit} others wait for the gate"
        self._put += 1
        self._waiting += 1
        item = Item(f"{self._owner}-{self._put}", lane, text, self._put)
        self._lanes.add(item)
        if self._keeping:
            self._unwritten.append(item)
        self._start()
        self._changed.notify_all()
        return None

    def _drop(self, parcel: Parcel, reason: str) -> None:
        with self._changed:
            self.dropped += 1
            count = self.dropped
        # A full outbox drops in bursts: every power of ten is enough to know.
        if count < 10 or count in (10**power for power in range(1, 12)):
            logger.warning(
                "The outbox lost a call (%s %s): %s. Lost so far: %d.", parcel.method, parcel.path, reason, count
            )

    def _start(self) -> None:
        try:
            if self._sender is None or not self._sender.is_alive():
                self._sender = threading.Thread(target=self._send, name="stacksona-outbox-send", daemon=True)
                self._sender.start()
                atexit.unregister(self._close_at_exit)
                atexit.register(self._close_at_exit)
            if self._keeper is not None and (self._writer is None or not self._writer.is_alive()):
                write = partial(self._write, self._keeper)
                self._writer = threading.Thread(target=write, name="stacksona-outbox-write", daemon=True)
                self._writer.start()
        except RuntimeError as error:
            # No more threads here, or the interpreter is ending: what waits is tried again at the next put.
            logger.warning("The outbox cannot start a thread (%s); what waits stays in memory.", error)

    # Waiting and stopping

    def flush(self, timeout: float | None) -> bool:
        """See `Outbox.flush`."""
        with self._changed:
            barrier = _Flush(self._put, self._waiting)
            self._flushes.append(barrier)
            self._lanes.hurry()
            if self._waiting and not self._stopping:
                self._start()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not barrier.remaining or self._stopping, timeout)
            self._flushes.remove(barrier)
            return not barrier.remaining

    def close(self, timeout: float) -> None:
        """See `Outbox.close`."""
        if self._pid != os.getpid():
            return  # the interpreter's end in a forked child
        with self._changed:
            self.closed = True
        self.flush(timeout)
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        _join(self._sender, 0.5)
        with self._changed:
            self._last_write = True
            self._changed.notify_all()
        if self._keeper is not None and self._writer is None and len(self._lanes):
            self._write(self._keeper)  # there was no thread to be had
        _join(self._writer, 1.0)
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        self.close(self._options.exit_timeout)

    def retire(self) -> None:
        """Nobody can put anything any more: stop as soon as all is delivered."""
        with self._changed:
            self._retired = True
            self._changed.notify_all()

    # The thread that delivers

    def _send(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._looked or self._stopping, FIRST_LOOK)
        while (item := self._next()) is not None:
            parcel = parcel_from_json(item.text)
            answered = parcel is None or self._attempt(parcel)
            with self._changed:
                self._settle(item, answered)
                self._changed.notify_all()

    def _next(self) -> Item | None:
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                item = self._lanes.ready(now)
                if item is not None:
                    return item
                if self._retired and not len(self._lanes):
                    self._stopping = self._last_write = True
                    atexit.unregister(self._close_at_exit)
                    self._changed.notify_all()
                    break
                pause = self._lanes.wake_at(now) - now
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))
            return None

    def _attempt(self, parcel: Parcel) -> bool:
        """Whether the gate has answered, so that the parcel needs no further attempt."""
        try:
            self._deliver(parcel)
        except GateRequestRefused as refusal:
            self._drop(parcel, f"the gate refuses it: {refusal}")
        except GateError as error:
            if not self._gate_is_down:
                logger.warning("The outbox keeps what the gate does not take now, and sends it later: %s", error)
            self._gate_is_down = True
            return False
        except Exception as error:
            if not self._stopping:
                said = "The outbox cannot send a call (%s %s); it is tried again."
                logger.error(said, parcel.method, parcel.path, exc_info=error)
            self.last_error = error
            return False
        if self._gate_is_down:
            logger.info("The gate takes what the outbox sends again.")
        self._gate_is_down = False
        return True

    def _settle(self, item: Item, answered: bool) -> None:
        if not answered:
            self._lanes.failed(item, time.monotonic(), random.random())
            return
        self._lanes.passed(item)
        if item.stored:
            self._unremoved.append(item.key)
        if item.number:
            self._waiting -= 1
            for barrier in self._flushes:
                barrier.remaining -= item.number <= barrier.last

    # The thread that writes

    def _write(self, keeper: Keeper) -> None:
        last = False
        while not last:
            with self._changed:
                wake_at = self._upkeep_at if self._keeping else keeper.retry_at
                self._changed.wait_for(self._something_to_write, max(0.0, wake_at - time.monotonic()))
                last = self._last_write
            done = keeper.use(self._exchange)
            with self._changed:
                self._looked = True
                if not done:
                    # All that waits is written again once the disk is back, so nothing piles up until then.
                    self._keeping = False
                    self._unwritten.clear()
                self._changed.notify_all()
        keeper.close()

    def _something_to_write(self) -> bool:
        return self._last_write or (self._keeping and bool(self._unwritten or self._unremoved))

    def _exchange(self, store: OutboxStore) -> None:
        if time.monotonic() >= self._upkeep_at:
            self._look_after(store)
        with self._changed:
            batch = [item for item in (self._unwritten if self._keeping else self._lanes) if not item.done]
            self._unwritten.clear()
            self._keeping = True
            removals = list(self._unremoved)
        store.remove(removals)
        with self._changed:
            del self._unremoved[: len(removals)]
        store.add([(item.key, item.text) for item in batch])
        with self._changed:
            for item in batch:
                item.stored = True
            self._unremoved += [item.key for item in batch if item.done]

    def _look_after(self, store: OutboxStore) -> None:
        """Give a sign of life and take over what dead processes left."""
        with self._changed:
            room = self._options.limit - len(self._lanes)
            if self.closed:
                room = 0
        if len(self._lanes):
            store.beat()
        left_behind = store.adopt(room)
        self._upkeep_at = time.monotonic() + UPKEEP_EVERY
        earlier: list[Item] = []
        for key, text in left_behind:
            parcel = parcel_from_json(text)
            if parcel is None:
                logger.warning("The outbox's file has an entry that is no parcel; it is removed.")
                store.remove([key])
            else:
                earlier.append(Item(key, parcel.lane, text, stored=True))
        with self._changed:
            self._lanes.add_earlier(earlier)
            self._changed.notify_all()


def _join(thread: threading.Thread | None, timeout: float) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join(timeout)
