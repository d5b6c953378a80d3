"""An MCP server over standard input and output whose tools write into the ledger that it is started with."""

from __future__ import annotations

import sys
from pathlib import Path

try:
    from mcp.server import MCPServer
except ImportError:  # mcp 1
    from mcp.server.fastmcp import FastMCP as MCPServer

from stacksona_adapters.testing.harness import Ledger

if __name__ == "__main__":
    ledger = Ledger(Path(sys.argv[1]))
    server = MCPServer("shop")
    server.add_tool(ledger.issue_refund)
    server.add_tool(ledger.look_up)
    server.run()
