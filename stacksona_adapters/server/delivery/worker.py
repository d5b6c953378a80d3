"""Sends what is due, several at a time, so that one receiver that hangs holds up no other."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from stacksona_adapters.server.delivery.addresses import parse_networks
from stacksona_adapters.server.delivery.sender import Message, Result, send
from stacksona_adapters.server.service import deliveries
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from stacksona_adapters.server.api.http import Served

AT_ONCE = 16
_GATHER = 0.05
"""Seconds in which several changes make one look."""

log = logging.getLogger("stacksona.delivery")


class DeliveryWorker:
    """Delivers the gate's webhooks until it is cancelled.

    Args:
        served: The running gate.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._settings = served.gate.settings
        self._allowed = parse_networks(self._settings.delivery_networks)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look for what is due whenever a decision changed, and every `sweep_interval` seconds."""
        with self._served.changes.waiting("*") as changed:
            while True:
                changed.clear()
                try:
                    full = await self._start_due()
                except StoreUnavailable as error:
                    log.warning("deliveries cannot be read, trying again: %s", error)
                    full = False
                if full:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await until(changed, self._settings.sweep_interval)
                    await asyncio.sleep(_GATHER)

    async def _start_due(self) -> bool:
        """Start sending what is due; whether as much is under way as may be."""
        free = AT_ONCE - len(self._under_way)
        if free > 0 and await self._served.read(deliveries.due):
            for claimed in await self._served.write(lambda write: deliveries.claim(write, free)):
                task = asyncio.create_task(self._deliver(claimed))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        return len(self._under_way) >= AT_ONCE

    async def _deliver(self, claimed: deliveries.Claimed) -> None:
        if claimed.secret is None:
            result = Result(None, "the agent has no webhook secret; add its webhook again", 0.0, final=True)
        else:
            message = Message(claimed.delivery_id, claimed.url, claimed.secret, claimed.body)
            now = self._settings.clock.now()
            result = await send(message, now, self._allowed, self._settings.delivery_timeout)
        if result.error is not None:
            log.warning("webhook %s was not delivered: %s", claimed.delivery_id, result.error)
        try:
            await self._served.write(
                lambda write: deliveries.attempted(
                    write,
                    claimed.delivery_id,
                    status=result.status,
                    error=result.error,
                    seconds=result.seconds,
                    final=result.final,
                )
            )
        except StoreUnavailable as error:
            log.warning("the attempt of webhook %s was not recorded and is made again: %s", claimed.delivery_id, error)

    async def close(self) -> None:
        """Stop sending; what was under way is sent again by whoever comes next, under the same id."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)


async def until(event: asyncio.Event, seconds: float) -> None:
    """Wait until an event is set or some seconds are over."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()
