"""The adapter contract on every path of LangGraph's tool nodes."""

from __future__ import annotations

from stacksona_adapters.testing import AdapterContract
from tests.adapters.langgraph_harness import LangGraphHarness


class TestContract(AdapterContract):
    """LangGraph keeps the contract."""

    harness = LangGraphHarness()
