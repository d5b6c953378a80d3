"""Keeps the pages up to date: a stream that says that something changed; the page then asks for its parts again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from stacksona_adapters.protocol.sse import encode_comment, encode_event
from stacksona_adapters.server.api.changes import EVERYTHING, wait_for
from stacksona_adapters.server.inbox.web import HEADERS, Site, Visit, page
from stacksona_adapters.server.service import sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response
    from starlette.routing import BaseRoute

_PAUSE = 0.5
"""Seconds between two events at least, so that a burst of changes is one."""

_CHANGED = encode_event("inbox-changed", "{}")


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [page(site, "/inbox/live", _live)]


async def _live(visit: Visit) -> Response:
    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(visit), 200, headers, "text/event-stream")


async def _events(visit: Visit) -> AsyncIterator[bytes]:
    gate = visit.served
    with gate.changes.waiting(EVERYTHING) as changed:
        yield _CHANGED  # what changed while the page was made, or the stream was away
        while not gate.changes.closing:
            woken = await wait_for(changed, gate.gate.settings.heartbeat)
            changed.clear()
            if gate.changes.closing or await gate.read(lambda read: sessions.find(read, visit.secret)) is None:
                return
            yield _CHANGED if woken else encode_comment("still here")
            if woken:
                await asyncio.sleep(_PAUSE)
