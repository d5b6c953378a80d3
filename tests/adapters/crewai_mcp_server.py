"""The scenario's tools as an MCP server on standard input and output; $LEDGER is the ledger's file."""

from __future__ import annotations

import os
from pathlib import Path

from mcp.server.fastmcp import FastMCP

from stacksona_adapters.testing.harness import GATED, UNGATED, Ledger

ledger = Ledger(Path(os.environ["LEDGER"]))
server = FastMCP("till", log_level="ERROR")
server.tool(name=GATED)(ledger.issue_refund)
server.tool(name=UNGATED)(ledger.look_up)

if __name__ == "__main__":
    server.run()
