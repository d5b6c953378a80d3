"""Keeps out what would take too much: long bodies, whether they announce their length or not, and too many calls."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.api.problems import problem
from stacksona_adapters.server.service.errors import TooMany

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Reads the body of every request that has one, up to a limit; over it the answer is 413.

    Args:
        app: What is behind it.
        limit: The longest body, in bytes.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = None if _announced(scope) > self._limit else await self._read(receive)
        if body is None:
            detail = f"The body is over the limit of {self._limit} bytes."
            await problem(413, detail, headers={"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        chunks, length, more = [], 0, True
        while more:
            message = await receive()
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            length += len(chunk)
            if length > self._limit:
                return None
            chunks.append(chunk)
        return b"".join(chunks)


class RateLimit:
    """How many writing calls one key may make, in this process; waiting and reading cost nothing.

    Args:
        rate: Such as `50/second` or `600/minute`; `None` is no limit.

    Raises:
        ConfigurationError: If the rate cannot be read.
    """

    def __init__(self, rate: str | None) -> None:
        try:
            self._item = None if rate is None else _parsed(rate)
        except ValueError as error:
            raise ConfigurationError(
                f"The rate limit {rate!r} cannot be read: write 50/second or 600/minute."
            ) from error
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def take(self, key: str) -> None:
        """Count a call.

        Raises:
            TooMany: If the key has none left; it says when it has.
        """
        if self._item is None or self._limiter.hit(self._item, key):
            return
        wait = max(1, math.ceil(self._limiter.get_window_stats(self._item, key).reset_time - time.time()))
        raise TooMany(f"This key makes more calls than {self._item}; try again in {wait} s.", wait)


def _parsed(rate: str) -> RateLimitItem:
    item = parse(rate)
    if item.amount < 1:
        raise ValueError("no call at all")
    return item


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value) if len(value) < 19 else 10**19
    return 0


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
