"""Waiting for a call so that nothing but an ordinary result or exception ever reaches the framework.

From autogen-agentchat 0.6.2 on, an agent waits for its tools on a queue that is only closed when all of them return. A
`BaseException` of a tool (a cancellation too), or any exception of a workbench, leaves agent and team waiting for
ever: https://github.com/microsoft/autogen/issues/7956.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from autogen_core import CancellationToken

from stacksona_adapters.autogen._calls import Interrupted

T = TypeVar("T")

GRACE = 2.0
"""Seconds that a cancelled call has to clean up before it is left alone."""


async def settle(work: Coroutine[Any, Any, T], token: CancellationToken) -> T:
    """The result of `work`, which runs in a task of its own.

    Args:
        work: The call.
        token: Cancels the call; by it we know that the call was meant to end.

    Raises:
        Interrupted: If the call was cancelled, or ended with something that is no `Exception`.
        asyncio.CancelledError: If the calling task itself is cancelled, and not through the token.
        Exception: What the call raised.
    """
    task = asyncio.ensure_future(work)
    token.link_future(task)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        if not token.is_cancelled():
            raise
        await asyncio.wait({task}, timeout=GRACE)
    return _result(task)


async def settle_stream(items: AsyncGenerator[T, None], token: CancellationToken) -> AsyncGenerator[T, None]:
    """The items of a stream, which runs in one task of its own; see `settle`."""
    passed: asyncio.Queue[list[T]] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for item in items:
                passed.put_nowait([item])
        finally:
            passed.put_nowait([])

    task = asyncio.ensure_future(pump())
    token.link_future(task)
    task.add_done_callback(lambda _: passed.put_nowait([]))  # a task that never began has no `finally`
    try:
        while found := await passed.get():
            yield found[0]
        await asyncio.wait({task})
    finally:
        task.cancel()
    _result(task)


def _result(task: asyncio.Future[T]) -> T:
    if not task.done():
        task.add_done_callback(_seen)
        raise Interrupted("it does not stop")
    if task.cancelled():
        raise Interrupted("it was cancelled")
    error = task.exception()
    if error is not None and not isinstance(error, Exception):
        raise Interrupted(f"it ended with {type(error).__name__}") from error
    return task.result()


def _seen(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
