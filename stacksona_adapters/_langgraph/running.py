"""Running what is permitted: LangGraph's own signals that pass through a tool are no failures of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langgraph.errors import GraphBubbleUp, ParentCommand

from stacksona_adapters.client.gate import AnyGate
from stacksona_adapters.gating.prepare import Asked


class _Left(BaseException):
    """The block was left before its end, by LangGraph's will; nothing failed."""

    def __init__(self, signal: GraphBubbleUp) -> None:
        self.signal = signal


@contextmanager
def running(gate: AnyGate, asked: Asked) -> Iterator[None]:
    """Report how the block ended, as `gate.reporting` does.

    A pause inside of it (an `interrupt()`, or an agent that pauses) leaves the outcome open; a handoff to the parent
    graph is a success.
    """
    handoff: ParentCommand | None = None
    try:
        with gate.reporting(asked):
            try:
                yield
            except ParentCommand as command:
                handoff = command
            except GraphBubbleUp as signal:
                raise _Left(signal) from None
    except _Left as left:
        raise left.signal from None
    if handoff is not None:
        raise handoff
