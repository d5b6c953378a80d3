"""One background thread with an event loop, on which all of a client's asynchronous I/O happens.

So an `AsyncGate` works from any event loop and thread, and sync callers share its watcher.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """An event loop on a daemon thread of its own, started at once.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine over there; its result comes in a thread-safe future that can be cancelled."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, last: Coroutine[Any, Any, None], timeout: float = 5.0) -> None:
        """Run a last coroutine, cancel what still runs and end the thread.

        Args:
            last: Closes what lives on the loop.
            timeout: Seconds to wait for it.
        """
        if not self._thread.is_alive():
            last.close()
            return
        done = self.submit(self._finish(last))
        concurrent.futures.wait([done], timeout)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    async def _finish(self, last: Coroutine[Any, Any, None]) -> None:
        await last
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
