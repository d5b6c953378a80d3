"""OpenTelemetry, where it is installed: a span around each flow, and the W3C trace context on each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

try:
    from opentelemetry import propagate, trace
except ModuleNotFoundError:
    propagate = trace = None  # type: ignore[assignment]


@contextmanager
def span(name: str, attributes: Mapping[str, str]) -> Iterator[None]:
    """A span around the block; records what it raises."""
    if trace is None:
        yield
        return
    with trace.get_tracer("stacksona_adapters").start_as_current_span(name, attributes=dict(attributes)):
        yield


def trace_headers() -> dict[str, str]:
    """The headers that carry the present trace context (W3C Trace Context), empty where there is none."""
    headers: dict[str, str] = {}
    if propagate is not None:
        propagate.inject(headers)
    return headers
