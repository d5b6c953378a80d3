"""The same gate and tools as LangGraph's tests."""

from __future__ import annotations

from tests.adapters.langgraph.conftest import office

__all__ = ["office"]
