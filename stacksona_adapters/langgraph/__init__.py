"""LangGraph: a gate in front of the nodes and tools of a graph.

::

    from stacksona_adapters import Gate
    from stacksona_adapters.langgraph import GatedToolNode, add_gated_node

    builder.add_node("tools", GatedToolNode(tools, gate=gate, tools=["issue_refund"]))
    add_gated_node(builder, "issue_refund", issue_refund, gate=gate, arguments=lambda state: state["proposed"])
"""

from __future__ import annotations

from stacksona_adapters._extras import extra

with extra("langgraph"):
    import langgraph.graph
    import langgraph.prebuilt  # noqa: F401 - the modules below import more of it

from stacksona_adapters._langgraph.events import RunEvents
from stacksona_adapters._langgraph.resume import (
    PausedGraph,
    PausedReview,
    apaused,
    aresume,
    aresume_command,
    paused,
    resume,
    resume_command,
    withdraw,
)
from stacksona_adapters.langgraph._node import add_gated_node
from stacksona_adapters.langgraph._permit import apermit, permit
from stacksona_adapters.langgraph._tool_node import GatedToolNode

__all__ = [
    "GatedToolNode",
    "PausedGraph",
    "PausedReview",
    "RunEvents",
    "add_gated_node",
    "apaused",
    "apermit",
    "aresume",
    "aresume_command",
    "paused",
    "permit",
    "resume",
    "resume_command",
    "withdraw",
]
