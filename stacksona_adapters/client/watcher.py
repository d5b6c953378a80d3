"""One watcher serves every wait of a client: a stream where the gate has one, else long polls, else polls.

A wait is a future and an entry in a dict. Everything here runs on the client's background loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

import httpx

from stacksona_adapters.client.exchange import LONGEST_PAUSE
from stacksona_adapters.client.transport import AsyncTransport
from stacksona_adapters.errors import (
    GateAuthenticationError,
    GateError,
    GateProtocolError,
    GateRequestRefused,
    GateUnavailable,
)
from stacksona_adapters.gating.waiting import backoff
from stacksona_adapters.protocol.answers import read_v1
from stacksona_adapters.protocol.calls import Answer, raise_for_status
from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.dialects import Dialect, same
from stacksona_adapters.protocol.sse import EventStreamParser, ServerSentEvent

logger = logging.getLogger("stacksona_adapters")

STREAM_PATH = "/v1/gate/decisions/stream"
QUIET_LIMIT = 45.0
"""Seconds without a byte after which a stream is taken for dead (the gate sends a comment every 15 s)."""
SLOW_POLL = 60.0
"""Seconds between the polls that make good for a notification that got lost."""
LONG_POLL = 25.0
LONG_POLLS_AT_ONCE = 8
LATE_LIMIT = 60.0
"""Seconds after a request's end at which a wait on an unreachable gate gives up."""
REMEMBERED = 4096


@dataclass(eq=False)
class _Wait:
    decision: Decision
    dialect: Dialect
    future: asyncio.Future[Decision]
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, result: Decision | GateError) -> None:
        if self.future.done():
            return
        if isinstance(result, GateError):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)

    def read(self, body: dict[str, object]) -> None:
        """Take what the stream says of this decision; what cannot be trusted fails the wait."""
        try:
            decision = same(self.decision, read_v1(body))
        except GateProtocolError as error:
            self.settle(error)
            return
        if decision.status.final:
            self.settle(decision)


class Watcher:
    """Waits for decisions.

    Args:
        transport: The client's connections; all calls must come from its loop.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._waits: dict[str, list[_Wait]] = {}
        self._news: OrderedDict[str, dict[str, object]] = OrderedDict()
        self._cursor = ""
        self._has_stream: bool | None = None
        self._connected = asyncio.Event()
        self._tried = asyncio.Event()
        self._stream_task: asyncio.Task[None] | None = None
        self._polls = asyncio.Semaphore(LONG_POLLS_AT_ONCE)
        self.streams_opened = 0

    async def wait(self, decision: Decision, dialect: Dialect) -> Decision:
        """The decision as soon as it is final; waits through outages of the gate.

        Raises:
            GateError: If the gate does not know it, or its answer cannot be trusted.
        """
        wait = _Wait(decision, dialect, asyncio.get_running_loop().create_future())
        key = decision.id
        self._waits.setdefault(key, []).append(wait)
        poller = asyncio.ensure_future(self._poll(wait))
        try:
            if decision.decision_id is not None and self._has_stream is not False:
                self._ensure_stream()
                if (known := self._news.get(key)) is not None:
                    wait.read(known)
            return await wait.future
        finally:
            poller.cancel()
            self._waits[key].remove(wait)
            if not self._waits[key]:
                del self._waits[key]

    async def close(self) -> None:
        """End the stream; waits that still run fail."""
        if self._stream_task is not None:
            self._stream_task.cancel()
        for wait in [wait for waits in self._waits.values() for wait in waits]:
            wait.settle(GateUnavailable("The client was closed while it waited; nothing ran."))

    async def _poll(self, wait: _Wait) -> None:
        """Ask once, then only as often as the stream leaves it necessary."""
        failures = quick = 0
        while not wait.future.done():
            streaming = await self._stream_is_up(wait)
            started = time.monotonic()
            try:
                async with self._polls:
                    hold = self._hold(wait)
                    call = wait.dialect.fetch(wait.decision, hold)
                    answer = await self._transport.once(call, self._transport.settings.timeouts.read + hold, {})
                    decision = call.read(answer)
                failures = 0
                if decision.status.final:
                    wait.settle(decision)
                    return
            except GateUnavailable:
                failures += 1
                self._give_up_late(wait)
            except GateError as error:
                wait.settle(error)
                return
            quick = 0 if streaming or time.monotonic() - started > LONG_POLL / 2 else quick + 1
            await self._rest(wait, streaming, failures or quick)

    def _hold(self, wait: _Wait) -> float:
        """Long polls take a connection each, so they are for a gate without a stream and for a few waits."""
        streamless = self._has_stream is False or wait.decision.decision_id is None
        return LONG_POLL if streamless and len(self._waits) <= LONG_POLLS_AT_ONCE else 0.0

    async def _stream_is_up(self, wait: _Wait) -> bool:
        if wait.decision.decision_id is None or self._has_stream is False:
            return False
        await self._tried.wait()
        return self._connected.is_set()

    async def _rest(self, wait: _Wait, streaming: bool, tries: int) -> None:
        wait.wake.clear()
        if streaming:
            pause = SLOW_POLL * (0.75 + 0.5 * random.random())
        else:
            pause = backoff(tries, random.random(), first=0.5, limit=6 * LONGEST_PAUSE) if tries else 0.0
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wait.wake.wait(), pause)

    def _give_up_late(self, wait: _Wait) -> None:
        ends = wait.decision.expires_at
        if ends is not None and (datetime.now(timezone.utc) - ends).total_seconds() > LATE_LIMIT:
            wait.settle(GateUnavailable("The gate cannot be reached and the request's time is over; nothing ran."))

    def _ensure_stream(self) -> None:
        if self._stream_task is None or self._stream_task.done():
            self._tried.clear()
            self._stream_task = asyncio.ensure_future(self._keep_stream())

    async def _keep_stream(self) -> None:
        failures = 0
        try:
            while self._waits:
                try:
                    async for event in self._events():
                        failures = 0
                        self._take(event)
                except GateAuthenticationError as error:
                    self._fail_all(error)
                except GateRequestRefused as refusal:
                    logger.info("The gate has no stream of decisions (%s); waiting by long poll.", refusal.status_code)
                    self._has_stream = False
                    return
                except (GateError, httpx.HTTPError) as error:
                    logger.debug("The stream of decisions ended: %s", error)
                self._lost()
                failures += 1
                await asyncio.sleep(backoff(failures, random.random(), first=0.2, limit=LONGEST_PAUSE))
        finally:
            self._lost()

    def _lost(self) -> None:
        self._connected.clear()
        self._tried.set()
        self._wake_all()

    def _wake_all(self) -> None:
        for waits in self._waits.values():
            for wait in waits:
                wait.wake.set()

    def _fail_all(self, error: GateError) -> None:
        for wait in [wait for waits in self._waits.values() for wait in waits]:
            wait.settle(error)

    async def _events(self) -> AsyncIterator[ServerSentEvent]:
        settings = self._transport.settings
        headers = {"Authorization": f"Bearer {settings.api_key}", "Accept": "text/event-stream"}
        if self._cursor:
            headers["Last-Event-ID"] = self._cursor
        timeout = httpx.Timeout(settings.timeouts.connect, read=QUIET_LIMIT)
        url = settings.url + STREAM_PATH
        async with self._transport.http.stream("GET", url, headers=headers, timeout=timeout) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            raise_for_status(Answer(response.status_code, None))
            if kind != "text/event-stream":
                raise GateRequestRefused(f"The gate's stream is {kind or 'nothing'}.", response.status_code)
            self._has_stream = True
            self.streams_opened += 1
            self._connected.set()
            self._tried.set()
            self._wake_all()  # what changed while there was no stream is asked for once
            parser = EventStreamParser()
            async for chunk in response.aiter_bytes():
                events = parser.feed(chunk)
                self._cursor = parser.last_event_id or self._cursor
                for event in events:
                    yield event

    def _take(self, event: ServerSentEvent) -> None:
        if event.event == "reset":
            self._news.clear()
            self._wake_all()
        if event.event != "decision":
            return
        try:
            body = json.loads(event.data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            logger.warning("The gate's stream sent an event that is no JSON object; asking again instead.")
            self._wake_all()
            return
        key = str(body.get("decision_id") or body.get("id") or "")
        self._news[key] = body
        self._news.move_to_end(key)
        while len(self._news) > REMEMBERED:
            self._news.popitem(last=False)
        for wait in list(self._waits.get(key, ())):
            wait.read(body)
