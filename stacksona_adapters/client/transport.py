"""The only place that hands a call to httpx: one attempt, bounded in time and size, sync and async."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx

from stacksona_adapters.client.settings import Settings, Timeouts
from stacksona_adapters.errors import GateProtocolError, GateUnavailable
from stacksona_adapters.protocol.calls import NOT_JSON, Answer, Call
from stacksona_adapters.protocol.requests import IDEMPOTENCY_HEADER

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer that are read at most."""


def request_for(
    call: Call[Any], settings: Settings, trace: dict[str, str], client: Any, seconds: float
) -> httpx.Request:
    """The httpx request of a call, for either client."""
    headers = {"Authorization": f"Bearer {settings.api_key}", "Accept": "application/json", **trace, **call.headers}
    content = None
    if call.body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(call.body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if call.idempotency_key is not None:
        headers[IDEMPOTENCY_HEADER] = call.idempotency_key
    request: httpx.Request = client.build_request(
        call.method,
        settings.url + call.path,
        params=dict(call.query) or None,
        headers=headers,
        content=content,
        timeout=_timeout(settings.timeouts, call.hold, seconds),
    )
    return request


def _timeout(timeouts: Timeouts, hold: float, seconds: float) -> httpx.Timeout:
    return httpx.Timeout(
        connect=min(timeouts.connect, seconds),
        read=min(timeouts.read + hold, seconds),
        write=min(timeouts.write, seconds),
        pool=seconds,
    )


class AnswerReader:
    """Collects the body of a response, bounded in size and time."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            GateUnavailable: If the time is over.
            GateProtocolError: If the body is too large.
        """
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > LARGEST_ANSWER:
            raise GateProtocolError(f"The gate's answer is larger than {LARGEST_ANSWER} bytes; nothing ran.")
        if time.monotonic() > self._deadline:
            raise GateUnavailable("The gate's answer took too long; nothing ran.")

    def answer(self, response: httpx.Response) -> Answer:
        """The whole answer."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = json.loads(b"".join(self._chunks))
        except (ValueError, RecursionError):
            body = NOT_JSON
        return Answer(response.status_code, body, headers)


def unavailable(call: Call[Any], error: Exception) -> GateUnavailable:
    """What a failed transport means for the caller."""
    what = str(error) or type(error).__name__
    return GateUnavailable(f"The gate did not answer {call.method} {call.path} ({what}); nothing ran. Is it running?")


class Transport:
    """Sends calls from any thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._http = httpx.Client(limits=_limits(settings), follow_redirects=False)

    def once(self, call: Call[Any], seconds: float, trace: dict[str, str]) -> Answer:
        """Send a call one time, within so many seconds.

        Raises:
            GateUnavailable: If no answer came.
        """
        request = request_for(call, self.settings, trace, self._http, seconds)
        reader = AnswerReader(time.monotonic() + seconds)
        try:
            response = self._http.send(request, stream=True)
            try:
                for chunk in response.iter_bytes():
                    reader.add(chunk)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise unavailable(call, error) from error
        return reader.answer(response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncTransport:
    """Sends calls from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.http = httpx.AsyncClient(limits=_limits(settings), follow_redirects=False)
        # httpx's pool slows down with every request that queues inside of it, so they queue here.
        self._slots = asyncio.Semaphore(settings.max_connections)

    async def once(self, call: Call[Any], seconds: float, trace: dict[str, str]) -> Answer:
        """Send a call one time, within so many seconds; see `Transport.once`."""
        request = request_for(call, self.settings, trace, self.http, seconds)
        try:
            return await asyncio.wait_for(self._read(request, seconds), seconds)
        except (httpx.HTTPError, asyncio.TimeoutError) as error:
            raise unavailable(call, error) from error

    async def _read(self, request: httpx.Request, seconds: float) -> Answer:
        reader = AnswerReader(time.monotonic() + seconds)
        async with self._slots:
            response = await self.http.send(request, stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    reader.add(chunk)
            finally:
                await response.aclose()
        return reader.answer(response)

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()


def _limits(settings: Settings) -> httpx.Limits:
    most = settings.max_connections + 1  # one more for the stream of decisions
    return httpx.Limits(max_connections=most, max_keepalive_connections=most)
