"""A gate, a reviewer and a ledger for the trap tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.protocol.reviews import ReviewDetail
from stacksona_adapters.server.service import reviews
from stacksona_adapters.testing import Reviewer
from stacksona_adapters.testing.gate import RunningGate, running_gate
from stacksona_adapters.testing.harness import AGENT, Ledger


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningGate]:
    """A gate without rules: a person decides everything."""
    with running_gate(tmp_path / "gate") as gate:
        yield gate


@pytest.fixture
def gate(server: RunningGate) -> Gate:
    """The agent's gate."""
    return server.gate(AGENT)


@pytest.fixture
def reviewer(server: RunningGate) -> Reviewer:
    """The person who decides."""
    return server.reviewer()


@pytest.fixture
def requests(server: RunningGate, reviewer: Reviewer) -> Callable[[], list[ReviewDetail]]:
    """Every request that the gate got, decided or not, oldest first."""

    def found() -> list[ReviewDetail]:
        page = reviews.Page(limit=reviews.MOST)
        listed = server.service.read(lambda read: reviews.listing(read, None, page)).reviews
        return [reviewer.detail(each.decision_id) for each in reversed(listed)]

    return found


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The tools and what they did."""
    return Ledger(tmp_path / "ledger.jsonl")
