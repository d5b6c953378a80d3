"""The stream of decisions: server-sent events (wire contract, section 2)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from starlette.responses import StreamingResponse

from stacksona_adapters.protocol.answers import write_v1
from stacksona_adapters.protocol.sse import encode_comment, encode_event
from stacksona_adapters.server.api.changes import changes_after, wait_for
from stacksona_adapters.server.api.http import agent_of, bearer, served, to_text
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.service import decisions
from stacksona_adapters.server.service.errors import Refusal
from stacksona_adapters.server.store.tables import changes
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from stacksona_adapters.server.api.http import Served
    from stacksona_adapters.server.service.context import Read

_CHUNK = 200


async def stream(request: Request) -> Response:
    """Every change of a decision of this key's agent, as server-sent events."""
    gate, key = served(request), bearer(request)
    agent = (await gate.read(lambda read: agent_of(read, key))).name
    first, cursor = await _start(gate, request.headers.get("last-event-id"))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(gate, key, agent, first, cursor), 200, headers, "text/event-stream")


async def _start(gate: Served, last: str | None) -> tuple[bytes, int]:
    """What the stream begins with, and the cursor from which it goes on."""

    def ends(read: Read) -> tuple[int, int]:
        query = select(func.min(changes.c.cursor), func.max(changes.c.cursor))
        low, high = read.connection.execute(query).one()
        return low or 1, high or 0

    oldest, newest = await gate.read(ends)
    if last is None:
        return f": connected\nid: {newest}\n\n".encode(), newest
    if last.isascii() and last.isdigit() and oldest - 1 <= int(last[:18]) <= newest:
        return encode_comment("resumed"), int(last[:18])
    return encode_event("reset", "{}", str(newest)), newest


async def _events(gate: Served, key: str, agent: str, first: bytes, cursor: int) -> AsyncIterator[bytes]:
    yield first
    try:
        async for part in _follow(gate, key, agent, cursor):
            yield part
    except (
        Refusal,
        StoreUnavailable,
    ) as error:  # the key was revoked, or the database went away: the client reconnects
        yield encode_comment(str(error))


async def _follow(gate: Served, key: str, agent: str, cursor: int) -> AsyncIterator[bytes]:
    with gate.changes.waiting(f"agent:{agent}") as changed:
        while not gate.changes.closing:
            changed.clear()
            found = await gate.read(partial(_read, key=key, after=cursor))
            for at, event in found:
                cursor = at
                yield event
            if len(found) < _CHUNK and not await wait_for(changed, gate.gate.settings.heartbeat):
                yield encode_comment()
    yield encode_comment("the gate is stopping")


def _read(read: Read, key: str, after: int) -> list[tuple[int, bytes]]:
    agent = agent_of(read, key)  # a key that was revoked meanwhile ends its stream
    found = []
    for change in changes_after(read, after, agent=agent.name, limit=_CHUNK):
        decision = decisions.answer(read, decisions.get(read, change.decision_id), token=True)
        found.append((change.cursor, encode_event("decision", to_text(write_v1(decision)), str(change.cursor))))
    return found


ENDPOINTS = [
    Endpoint("GET", "/v1/gate/decisions/stream", stream, None, {200: dict}, media="text/event-stream"),
]
