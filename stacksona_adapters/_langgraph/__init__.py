"""What the adapters of LangGraph and LangChain share, because LangChain's agents are LangGraph graphs.

Only code that handles LangGraph's own objects (interrupts, checkpoints, messages, tools) belongs here; what another
framework could use too belongs into `stacksona_adapters.gating`.
"""
