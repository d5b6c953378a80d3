"""The adapter contract on every path of LangChain's agents."""

from __future__ import annotations

from stacksona_adapters.testing import AdapterContract
from tests.adapters.langchain_harness import LangChainHarness


class TestContract(AdapterContract):
    """LangChain keeps the contract."""

    harness = LangChainHarness()
