"""A gate that allows small payments and rejects absurd ones, and tools that remember what they did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stacksona_adapters import Gate
from stacksona_adapters.protocol.reviews import ReviewDetail
from stacksona_adapters.server.service import reviews
from stacksona_adapters.testing import Reviewer, RunningGate, running_gate

RULES = [
    {"tool": "*", "parameter": "amount", "type": "lower_limit", "value": 10, "outcome": "allow"},
    {"tool": "*", "parameter": "amount", "type": "upper_limit", "value": 1000, "outcome": "reject"},
]


class Office:
    """A gate, its reviewer, and an agent's connection to it.

    Attributes:
        server: The gate's server.
        gate: The agent's gate.
        reviewer: The reviewer.
        ran: What really ran, as (what, argument).
    """

    def __init__(self, server: RunningGate) -> None:
        self.server = server
        self.gate: Gate = server.gate("clerk", wait=0)
        self.reviewer: Reviewer = server.reviewer()
        self.ran: list[tuple[Any, ...]] = []

    @property
    def requests(self) -> list[ReviewDetail]:
        """Every request that was made, oldest first."""
        page = reviews.Page(limit=reviews.MOST)
        listed = self.server.service.read(lambda read: reviews.listing(read, None, page)).reviews
        return [self.reviewer.detail(each.decision_id) for each in reversed(listed)]

    def kinds(self) -> list[str]:
        """The events of the first request's task, once all have come."""
        assert self.gate.flush(30)
        return [entry.kind for entry in self.requests[0].timeline if entry.kind.isupper()]

    def pay(self, amount: float, to: str = "A") -> str:
        """Pay somebody."""
        self.ran.append(("pay", amount, to))
        return f"paid {amount} to {to}"

    def look(self, at: str) -> str:
        """Look at something."""
        self.ran.append(("look", at))
        return f"looked at {at}"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office of this test."""
    with running_gate(tmp_path / "gate", rules=RULES) as server:
        yield Office(server)


def call(name: str, ident: str, /, **arguments: Any) -> dict[str, Any]:
    """A tool call as a model proposes it."""
    return {"name": name, "args": arguments, "id": ident}


def thread(name: str = "t") -> Any:
    """The config of a thread."""
    return {"configurable": {"thread_id": name}}


def answers(result: Any) -> dict[str, Any]:
    """The tool messages of a run, by call id."""
    return {message.tool_call_id: message for message in result["messages"] if message.type == "tool"}
