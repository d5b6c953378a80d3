"""`/metrics` for Prometheus: what this process did, and the gate in figures."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response
from starlette.routing import Route

from stacksona_adapters.server.api.http import bearer, reviewer_of, served
from stacksona_adapters.server.api.routes import Endpoint
from stacksona_adapters.server.service.figures import figures

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from stacksona_adapters.server.api.http import Served
    from stacksona_adapters.server.service.figures import Figures


class Metrics:
    """The metrics of one running gate."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "stacksona_http_requests", "Answered HTTP requests.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "stacksona_http_request_seconds", "Seconds until the answer began.", ["route"], registry=self.registry
        )
        self._decisions = self._gauge("stacksona_decisions", "Decisions by status.", "status")
        self._deliveries = self._gauge("stacksona_webhooks", "Webhooks by state.", "state")
        self._waits = self._gauge(
            "stacksona_review_wait_seconds", "Seconds to a reviewer's decision, last day.", "quantile"
        )
        self._single = {
            "unknown": self._gauge("stacksona_unknown_outcomes", "Permissions taken and never reported."),
            "oldest_pending": self._gauge("stacksona_oldest_pending_seconds", "Wait of the oldest pending request."),
            "tasks": self._gauge("stacksona_chains", "Audit chains."),
            "records": self._gauge("stacksona_chain_records", "Records in all audit chains."),
            "checkpoint": self._gauge("stacksona_checkpoint", "The number of the last signed checkpoint."),
        }
        self._open_waits = self._gauge("stacksona_open_waits", "Long polls and streams that are open here.")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def take(self, now: Figures, open_waits: int) -> None:
        """Set what is counted in the database."""
        for status, count in now.decisions.items():
            self._decisions.labels(status).set(count)
        for state, count in now.deliveries.items():
            self._deliveries.labels(state).set(count)
        for quantile, seconds in (("0.5", now.median_wait), ("0.95", now.p95_wait)):
            self._waits.labels(quantile).set(float("nan") if seconds is None else seconds)
        for name, gauge in self._single.items():
            gauge.set(getattr(now, name))
        self._open_waits.set(open_waits)


log = logging.getLogger("stacksona.access")


class CountRequests:
    """Counts and logs every request by its route (never by its path, which an agent could make up without end).

    Each one has an id, the caller's or a new one, which the answer and the log carry.

    Args:
        app: What is behind it.
        metrics: Where it counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._paths: dict[Any, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, request_id = time.perf_counter(), _request_id(scope)

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = self._route(scope)
                self._metrics.requests.labels(route, scope["method"], message["status"]).inc()
                seconds = time.perf_counter() - started
                self._metrics.seconds.labels(route).observe(seconds)
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
                facts = {"request_id": request_id, "method": scope["method"], "route": route}
                facts |= {"status": message["status"], "milliseconds": round(seconds * 1000, 3)}
                log.info("request", extra=facts)
            await send(message)

        await self._app(scope, receive, counting)

    def _route(self, scope: Scope) -> str:
        if not self._paths:
            routes = [route for route in scope["app"].routes if isinstance(route, Route)]
            self._paths.update({route.endpoint: route.path for route in routes})
        return self._paths.get(scope.get("endpoint"), "none")


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    usable = 0 < len(given) <= 100 and given.decode("latin-1").isprintable() and given.isascii()
    return given.decode() if usable else uuid.uuid4().hex


async def metrics(request: Request) -> Response:
    """The gate's metrics in Prometheus' text format, for a reviewer's token unless the operator opens them."""
    gate = served(request)
    if not gate.gate.settings.open_metrics:
        token = bearer(request)
        await gate.read(lambda read: reviewer_of(read, token))
    return Response(await _text(gate, request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


async def _text(gate: Served, kept: Metrics) -> bytes:
    kept.take(await gate.read(figures), gate.changes.open_waits)
    return generate_latest(kept.registry)


ENDPOINTS = [Endpoint("GET", "/metrics", metrics, None, {200: str}, media="text/plain")]
