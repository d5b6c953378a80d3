"""What the tests of the CrewAI adapter share: a stage, and a gate for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.testing.harness import Scenario
from stacksona_adapters.testing.stage import Stage, staged
from tests.adapters.crewai_harness import CrewAIHarness


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A real gate with rules, and a reviewer."""
    with staged(CrewAIHarness(), "native", tmp_path) as stage:
        yield stage


@pytest.fixture
def scenario(stage: Stage) -> Scenario:
    """A scenario without turns: its ledger and its gate."""
    return stage.scenario()


@pytest.fixture
def gate(scenario: Scenario) -> Iterator[Gate]:
    """The agent's gate; it waits a minute for a reviewer."""
    with scenario.gate() as gate:
        yield gate
