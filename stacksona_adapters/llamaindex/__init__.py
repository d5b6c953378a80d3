"""LlamaIndex (`llama_index.core`, `workflows`): approval steps for workflows, gated calls for agents, gated tools.

::

    agent = GatedAgentWorkflow(agents=[agent], gate=gate, tools=["issue_refund"])
    result = await agent.run(user_msg="Refund order 7")

`run_or_pause` gives back a `PausedRun` where only people's decisions are left to wait for; `resume` goes on with it in
any process. What needs `llama_index.core` is imported when it is asked for: a plain workflow loads without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stacksona_adapters._extras import extra

with extra("llamaindex", "llama-index-workflows"):
    from stacksona_adapters.llamaindex._pausing import PausedRun, PendingReview, resume, run_or_pause
    from stacksona_adapters.llamaindex._workflow import GatedWorkflow
    from stacksona_adapters.llamaindex.events import ApprovalRequested, ApprovalResolved, HumanReviewRequired

if TYPE_CHECKING:
    from stacksona_adapters.llamaindex._agents import GatedAgentWorkflow
    from stacksona_adapters.llamaindex._tools import GatedTool, gated_tools

__all__ = [
    "ApprovalRequested",
    "ApprovalResolved",
    "GatedAgentWorkflow",
    "GatedTool",
    "GatedWorkflow",
    "HumanReviewRequired",
    "PausedRun",
    "PendingReview",
    "gated_tools",
    "resume",
    "run_or_pause",
]

_NEED_CORE = {"GatedAgentWorkflow": "_agents", "GatedTool": "_tools", "gated_tools": "_tools"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _NEED_CORE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with extra("llamaindex"):
            module = import_module(f"{__name__}.{_NEED_CORE[name]}")
        return getattr(module, name)
