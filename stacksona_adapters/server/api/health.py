"""Whether the gate runs, and whether it can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacksona_adapters.server.api.http import answer, served
from stacksona_adapters.server.api.problems import unavailable
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.store.engine import HEAD, schema_version

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def healthz(request: Request) -> Response:
    """Whether the process answers."""
    return answer({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether the database answers and has the schema that this version needs."""
    gate = served(request)
    version = await gate.read(lambda _: schema_version(gate.gate.backend))
    if version != HEAD:
        return unavailable(f"The database is at schema {version}, this gate needs {HEAD}.")
    if gate.changes.closing:
        return unavailable("The gate is stopping.")
    return answer({"status": "ok", "schema": version})


ENDPOINTS = [
    Endpoint("GET", "/healthz", healthz, None, {200: dict}, secured=False),
    Endpoint("GET", "/readyz", readyz, None, {200: dict}, secured=False),
]
