"""AutoGen (`autogen_agentchat`, `autogen_core`): gated tools, workbenches, code executors and handoffs of a team.

::

    approvals = TeamGate(gate, team_id="billing")
    biller = AssistantAgent("biller", model_client, tools=approvals.tools(refund, lookup))
    team = RoundRobinGroupChat(approvals.watch(biller), termination_condition=done | approvals.termination())
    result = await approvals.run(team, task="Refund order 7")

A run that waits for a reviewer comes back as a `PausedTeam`; `approvals.resume(team, paused)` goes on in any process.
"""

from __future__ import annotations

from stacksona_adapters._extras import extra

with extra("autogen", "autogen-agentchat"):
    from stacksona_adapters.autogen._calls import NotExecuted
    from stacksona_adapters.autogen._code import GatedCodeExecutor
    from stacksona_adapters.autogen._gate import TeamGate
    from stacksona_adapters.autogen._paused import PausedTeam
    from stacksona_adapters.autogen._termination import ReviewTermination
    from stacksona_adapters.autogen._tools import GatedStreamTool, GatedTool
    from stacksona_adapters.autogen._workbench import GatedWorkbench

__all__ = [
    "GatedCodeExecutor",
    "GatedStreamTool",
    "GatedTool",
    "GatedWorkbench",
    "NotExecuted",
    "PausedTeam",
    "ReviewTermination",
    "TeamGate",
]
