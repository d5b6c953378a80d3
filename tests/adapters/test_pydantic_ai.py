"""PydanticAI against the adapter contract."""

from __future__ import annotations

from stacksona_adapters.testing.contract import AdapterContract
from tests.adapters.pydantic_ai_harness import PydanticAIHarness


class TestPydanticAI(AdapterContract):
    """The twelve cases, on `run` and `run_sync`; the first one on every path."""

    harness = PydanticAIHarness()
