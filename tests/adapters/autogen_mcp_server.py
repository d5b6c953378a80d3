"""An MCP server over standard input and output with the scenario's tools; its ledger's file is its argument."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.fastmcp import FastMCP

from stacksona_adapters.testing.harness import Ledger

server = FastMCP("orders")
ledger = Ledger(Path(sys.argv[1]))
server.add_tool(ledger.issue_refund)
server.add_tool(ledger.look_up)

if __name__ == "__main__":
    server.run()
