"""AutoGen's classic API (0.2, module `autogen`): an executor agent whose functions and code ask the gate.

::

    executor = GatedUserProxyAgent("executor", gate=gate, human_input_mode="NEVER", code_execution_config=False)
    executor.initiate_chat(assistant, message="Refund order 7")

A chat that waits for a reviewer ends with `PausedChat`; `executor.resume(paused, assistant)` goes on in any process.
"""

from __future__ import annotations

from stacksona_adapters._extras import extra

with extra("autogen_classic"):
    from stacksona_adapters.autogen_classic._agents import GatedExecutor, GatedUserProxyAgent
    from stacksona_adapters.autogen_classic._code import GatedCodeExecutor
    from stacksona_adapters.autogen_classic._paused import PausedChat

__all__ = ["GatedCodeExecutor", "GatedExecutor", "GatedUserProxyAgent", "PausedChat"]
