"""PydanticAI: gate the tools and the typed output of an agent, pause for days, resume in any process.

    agent = Agent(model, tools=[issue_refund], capabilities=[GatedTools(gate)], output_type=[str, DeferredToolRequests])

For pydantic-ai-slim 1.107 and newer; see `docs/pydantic_ai.md` for what is covered and what is not.
"""

from __future__ import annotations

from stacksona_adapters._extras import extra

with extra("pydantic-ai"):
    import pydantic_ai.capabilities as _capabilities  # noqa: F401 - the guard's own import

from stacksona_adapters.pydantic_ai.output import GatedOutput, review_output
from stacksona_adapters.pydantic_ai.paused import PausedRun, resolve, resume
from stacksona_adapters.pydantic_ai.tools import GatedTools

__all__ = ["GatedOutput", "GatedTools", "PausedRun", "resolve", "resume", "review_output"]
