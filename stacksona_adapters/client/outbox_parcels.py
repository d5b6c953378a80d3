"""Parcels and the order of their delivery, as data. Knows no thread, disk or network."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from stacksona_adapters.gating.waiting import backoff


@dataclass(frozen=True)
class Parcel:
    """One call to deliver, of which only success matters.

    Attributes:
        lane: The task's id; parcels of a lane are delivered in order.
        method: The HTTP method.
        path: The path below the base URL.
        body: The JSON body.
        idempotency_key: Sent as `Idempotency-Key`: a parcel may be sent twice.
    """

    lane: str
    method: str
    path: str
    body: dict[str, Any]
    idempotency_key: str


def parcel_to_json(parcel: Parcel) -> str:
    """A parcel as JSON. A lone surrogate, which cannot be sent, becomes `?`.

    Raises:
        TypeError: If the body has something that is not JSON.
        ValueError: If the body has itself in it, or a number that is not JSON.
        RecursionError: If the body is nested too deeply.
    """
    return json.dumps(asdict(parcel), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode()


def parcel_from_json(text: str) -> Parcel | None:
    """The parcel that `parcel_to_json` wrote, `None` if the text is none."""
    try:
        return Parcel(**json.loads(text))
    except (TypeError, ValueError):
        return None


@dataclass(eq=False)
class Item:
    """A parcel on its way.

    Attributes:
        key: Names it on disk, whichever process holds it.
        lane: Items of a lane are delivered one after the other.
        text: The parcel as JSON.
        number: Its place among the parcels that this process put; 0 for one that another process left behind.
        stored: Whether it is on disk.
        done: Whether it needs no delivery any more.
    """

    key: str
    lane: str
    text: str
    number: int = 0
    stored: bool = False
    done: bool = False


@dataclass
class _Pause:
    failures: int = 0
    until: float = -math.inf

    def extend(self, now: float, chance: float, first: float, longest: float) -> None:
        self.failures += 1
        self.until = now + backoff(self.failures, chance, first=first, limit=longest)


@dataclass
class _Lane:
    items: deque[Item] = field(default_factory=deque)
    pause: _Pause = field(default_factory=_Pause)


class Lanes:
    """Items in lanes: in order within a lane, lanes in turn.

    A failure pauses its lane, and the whole gate for as long as nothing at all gets through: while the gate is
    down, one item of some lane tries it, not each lane.

    Args:
        first: The longest first pause after a failure, in seconds.
        longest: The longest pause, in seconds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._lanes: dict[str, _Lane] = {}
        self._gate = _Pause()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        for lane in self._lanes.values():
            yield from lane.items

    def add(self, item: Item) -> None:
        """Put an item at the end of its lane."""
        self._lanes.setdefault(item.lane, _Lane()).items.append(item)
        self._count += 1

    def add_earlier(self, items: Iterable[Item]) -> None:
        """Put older items, in their order, before all others of their lanes."""
        for item in reversed(list(items)):
            self._lanes.setdefault(item.lane, _Lane()).items.appendleft(item)
            self._count += 1

    def ready(self, now: float) -> Item | None:
        """The item to deliver now, or `None`; it stays in its lane until `passed`."""
        if now < self._gate.until:
            return None
        lane = next((lane for lane in self._lanes.values() if lane.pause.until <= now), None)
        return lane.items[0] if lane is not None else None

    def wake_at(self, now: float) -> float:
        """When to look at `ready` again; infinite where there is nothing to deliver."""
        if self._lanes and now < self._gate.until:
            return self._gate.until
        return min((lane.pause.until for lane in self._lanes.values()), default=math.inf)

    def passed(self, item: Item) -> None:
        """The gate has answered for the item, so it leaves its lane, which goes to the end of the turns."""
        item.done = True
        lane = self._lanes.pop(item.lane)
        lane.items.remove(item)  # the first, unless older ones came while it was under way
        lane.pause = _Pause()
        self._gate = _Pause()
        self._count -= 1
        if lane.items:
            self._lanes[item.lane] = lane

    def failed(self, item: Item, now: float, chance: float) -> None:
        """The gate did not take the item; its lane goes to the end of the turns.

        Args:
            item: What was to be delivered.
            now: The time, on the clock of `ready`.
            chance: A number from 0 to 1, for the jitter.
        """
        lane = self._lanes.pop(item.lane)
        self._lanes[item.lane] = lane
        lane.pause.extend(now, chance, self._first, self._longest)
        self._gate.extend(now, chance, self._first, self._longest)

    def hurry(self) -> None:
        """End the present pauses; a further failure pauses as long as it would have."""
        for pause in (self._gate, *(lane.pause for lane in self._lanes.values())):
            pause.until = -math.inf
