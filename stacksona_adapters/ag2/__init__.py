"""ag2 1.x (module `ag2`): gated tools of agents and of the agents inside them.

::

    approvals = AgentGate(gate)
    biller = Agent("biller", "You bill.", config=config, tools=approvals.tools(refund, look_up))
    reply = await approvals.ask(biller, "Refund order 7")

An answer that waits for a reviewer comes back as a `PausedAgent`; `approvals.resume(biller, paused)` goes on in any
process.
"""

from __future__ import annotations

from stacksona_adapters._extras import extra

with extra("ag2"):
    from stacksona_adapters.ag2._gate import AgentGate
    from stacksona_adapters.ag2._paused import PausedAgent

__all__ = ["AgentGate", "PausedAgent"]
