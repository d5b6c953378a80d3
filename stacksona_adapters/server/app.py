"""Wires the gate together."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stacksona_adapters.server.api import agent_api, agent_v1, grants, health, metrics, problems, reviews, stream
from stacksona_adapters.server.api.changes import Change, Changes, changes_after
from stacksona_adapters.server.api.http import Served
from stacksona_adapters.server.api.limits import BodyLimit, RateLimit
from stacksona_adapters.server.api.metrics import CountRequests, Metrics
from stacksona_adapters.server.api.openapi import describe
from stacksona_adapters.server.delivery.notify import Notifier
from stacksona_adapters.server.delivery.worker import DeliveryWorker
from stacksona_adapters.server.inbox import exporting
from stacksona_adapters.server.inbox import routes as inbox_routes
from stacksona_adapters.server.inbox.oidc import OidcSignIn
from stacksona_adapters.server.oidc.flow import Flows
from stacksona_adapters.server.oidc.provider import Provider
from stacksona_adapters.server.service import checkpoints, decisions
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.store.writer import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stacksona_adapters.server.settings import ServerSettings

ENDPOINTS = [
    # The stream before the decision, whose path it would match.
    *stream.ENDPOINTS,
    *agent_v1.ENDPOINTS,
    *agent_api.ENDPOINTS,
    *reviews.ENDPOINTS,
    *exporting.ENDPOINTS,
    *grants.ENDPOINTS,
    *health.ENDPOINTS,
    *metrics.ENDPOINTS,
]
_READERS = 8

log = logging.getLogger("stacksona.gate")


def create_app(settings: ServerSettings) -> FastAPI:
    """The gate as an ASGI application. It opens its database when the server starts it (lifespan)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                app.state.served = served = await stack.enter_async_context(running(settings))
                app.state.oidc = await _oidc(served)
            except Exception as error:
                app.state.failure = error  # the server only logs it; who started it wants to know
                raise
            yield

    app = FastAPI(
        title="Stacksona gate",
        version=_version(),
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    problems.install(app)
    app.state.metrics = Metrics()
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    app.router.routes.extend(endpoint.route() for endpoint in ENDPOINTS)
    app.router.routes.extend(inbox_routes())
    app.openapi = lambda: _document(app)  # type: ignore[method-assign] # the way that FastAPI documents
    return app


async def _oidc(served: Served) -> OidcSignIn | None:
    """The provider and the key of its cookies, where one is configured."""
    settings = served.gate.settings
    if settings.oidc is None:
        return None
    key = await asyncio.to_thread(served.gate.kept_key, "oidc_flow_key")
    return OidcSignIn(Provider(settings.oidc, settings.clock), Flows(key))


def _version() -> str:
    try:
        return version("stacksona-adapters")
    except PackageNotFoundError:
        return "0"


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        own = get_openapi(title=app.title, version=app.version, routes=app.routes)
        app.openapi_schema = describe(own, ENDPOINTS)
    return app.openapi_schema


@asynccontextmanager
async def running(settings: ServerSettings) -> AsyncIterator[Served]:
    """An open gate with all that goes on in the background; closed in the opposite order."""
    changes = Changes(settings.poll_interval)
    gate = await asyncio.to_thread(GateService, settings, changes.wake)
    readers = ThreadPoolExecutor(_READERS, "stacksona-reader")
    served = Served(gate, changes, readers, RateLimit(settings.rate_limit))
    try:
        with gate.backend.listen(changes.wake):
            head = await asyncio.to_thread(gate.head)
            delivery = DeliveryWorker(served)
            notifier = Notifier(served, settings.notify)
            own = (_follow(served, head), _sweep(served), _sign_checkpoints(served))
            work = (*own, delivery.run(), notifier.run())
            tasks = [asyncio.create_task(each) for each in work]
            for task in tasks:
                task.add_done_callback(_tell_of_death)
            try:
                yield served
            finally:
                changes.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await delivery.close()
    finally:
        await asyncio.to_thread(gate.close)
        readers.shutdown(wait=True)


def _tell_of_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the gate has stopped; restart it", exc_info=error)


async def _follow(served: Served, head: int) -> None:
    async def read(cursor: int) -> list[Change]:
        try:
            return await served.read(lambda r: changes_after(r, cursor))
        except StoreUnavailable as error:
            log.warning("changes cannot be read, trying again: %s", error)
            return []

    await served.changes.follow(head, read)


async def _sign_checkpoints(served: Served) -> None:
    """Sign the heads of the chains that have grown."""
    while True:
        await asyncio.sleep(served.gate.settings.checkpoint_interval)
        with suppress(StoreUnavailable):
            if await served.read(checkpoints.pending):
                await served.write(checkpoints.checkpoint)


async def _sweep(served: Served) -> None:
    """Mark what nobody decided in time."""
    while True:
        with suppress(StoreUnavailable):
            if await served.read(lambda r: decisions.due(r, limit=1)):
                await served.write(decisions.expire_due)
        await asyncio.sleep(served.gate.settings.sweep_interval)
