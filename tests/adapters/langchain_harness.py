"""LangChain in the adapter contract: `create_agent` with the gate as middleware."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from stacksona_adapters.langchain import GateMiddleware
from stacksona_adapters.testing.harness import POLICY, Scenario
from tests.adapters.langgraph_harness import PAGES, GraphHarness, model_of


class LangChainHarness(GraphHarness):
    """Every way in which an agent of LangChain runs a tool."""

    paths: ClassVar[dict[str, Any]] = {
        "agent": "sync",
        "agent_async": "async",
        "agent_stream": "sync",
        "agent_astream": "async",
        "subgraph": "sync",
        "subgraph_async": "async",
    }
    limits: ClassVar[dict[str, str]] = {
        "cancel_withdraws[agent]": (
            "LangChain runs the tools of a synchronous agent on threads, which Ctrl-C does not reach"
        )
    }
    page: ClassVar[Path] = PAGES / "langchain.md"

    def build(self, scenario: Scenario, gate: Any, saver: Any) -> Any:
        """See `GraphHarness.build`."""
        tools = [tool(scenario.ledger.issue_refund), tool(scenario.ledger.look_up)]
        nested = scenario.path.startswith("subgraph")
        agent = create_agent(
            model_of(scenario),
            tools,
            middleware=[GateMiddleware(gate=gate, **POLICY)],
            checkpointer=None if nested else saver,
        )
        if not nested:
            return agent
        outer = StateGraph(MessagesState)
        outer.add_node("agent", agent)
        outer.add_edge(START, "agent")
        return outer.compile(checkpointer=saver)
