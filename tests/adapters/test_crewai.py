"""The adapter contract on CrewAI."""

from __future__ import annotations

from stacksona_adapters.testing.contract import AdapterContract
from tests.adapters.crewai_harness import CrewAIHarness


class TestCrewAI(AdapterContract):
    """All cases on native calls, sync and async; the first one on every path."""

    harness = CrewAIHarness()
