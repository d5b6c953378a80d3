"""Agents in processes of their own: `python -m tests.client.outbox_process ROLE URL DIRECTORY`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from stacksona_adapters.client.outbox import Outbox
from tests.client.outbox_tools import Delivery, Watched, parcel, quick


def hang(url: str, directory: Path) -> None:
    """Put three parcels, say when they are on disk, and wait to be killed."""
    watched = Watched()
    outbox = Outbox(Delivery(url), destination="gate", directory=directory, options=quick(store=watched.store))
    for number in range(3):
        outbox.put(parcel("killed", number))
    watched.wait_for(3)
    print("on disk", flush=True)
    signal.pause()


def leave(url: str, directory: Path) -> None:
    """Put three parcels and end at once, without closing anything."""
    outbox = Outbox(Delivery(url), destination="gate", directory=directory, options=quick(exit_timeout=0.5))
    for number in range(3):
        outbox.put(parcel("leaving", number))


def leave_in_memory(url: str, directory: Path) -> None:
    """The same without a disk, in a function whose outbox is gone when it returns."""
    outbox = Outbox(Delivery(url), destination="gate")
    for number in range(3):
        outbox.put(parcel("memory", number))
    del outbox


def share(url: str, directory: Path) -> None:
    """Put many parcels in two lanes beside other processes."""
    outbox = Outbox(Delivery(url), destination="gate", directory=directory, options=quick())
    for number in range(20):
        outbox.put(parcel(f"a{os.getpid()}", number))
        outbox.put(parcel(f"b{os.getpid()}", number))
    assert outbox.flush(60)
    outbox.close()


def fork(url: str, directory: Path) -> None:
    """Use one outbox before and after a fork, on both sides."""
    outbox = Outbox(Delivery(url), destination="gate", directory=directory, options=quick())
    outbox.put(parcel("parent", 0))
    child = os.fork()
    lane = "parent" if child else "child"
    outbox.put(parcel(lane, 1))
    assert outbox.flush(60)
    if child:
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    role = {each.__name__: each for each in (hang, leave, leave_in_memory, share, fork)}[sys.argv[1]]
    role(sys.argv[2], Path(sys.argv[3]))
