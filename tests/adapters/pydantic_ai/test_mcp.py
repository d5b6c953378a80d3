"""Tools of an MCP server go through the gate as any other."""

from __future__ import annotations

from typing import Any

import pytest
from fastmcp import FastMCP
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset

from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.pydantic_ai import GatedTools, PausedRun, resume
from stacksona_adapters.testing import RunningGate
from stacksona_adapters.testing.harness import ProposedCall
from tests.adapters.pydantic_ai_harness import OUTPUT, PROMPT, scripted


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_mcp_tool(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A tool of a real MCP server waits, and runs once with what the reviewer made of it."""
    wired: list[tuple[str, float]] = []
    server = FastMCP("bank")

    @server.tool
    def wire(to: str, amount: float) -> str:
        wired.append((to, amount))
        return "wired"

    gate = stacksona_gate.gate("payer", wait=0)
    call = ProposedCall(call_id="c1", tool="wire", arguments={"to": "al", "amount": 5})
    toolset: MCPToolset[Any] = MCPToolset(server)
    capabilities: list[Any] = [GatedTools(gate, tools=["wire"])]
    agent = Agent(scripted([[call]]), toolsets=[toolset], capabilities=capabilities, output_type=OUTPUT)
    paused = PausedRun.of(await agent.run(PROMPT))
    assert paused is not None
    assert wired == []

    stacksona_reviewer.approve(arguments={"to": "bob", "amount": 4})
    await resume(agent, PausedRun.from_json(paused.to_json()), gate)
    assert wired == [("bob", 4)]
