"""Durable requests for a decision: one commit each against a commit for all that wait."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.load import Load
from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings

CONNECTIONS = (1, 16, 64)


def body(amount: int) -> bytes:
    """A request of about 200 bytes."""
    asked = {"workflow_name": "Customer Support", "tool_name": "issue_refund", "subject": "order 8821"}
    return json.dumps({**asked, "risk_level": "medium", "payload": {"amount": amount, "order": "8821"}}).encode()


def measure(db: str, batch: int, seconds: float) -> None:
    """Print one line for each number of connections."""
    settings = ServerSettings(db_url=db, port=0, batch=batch)
    with EmbeddedGate(settings) as gate, GateService(settings) as service:
        key = service.add_agent("bench").key
        service.add_rule(tool="issue_refund", parameter="amount", type="lower_limit", value=50, outcome="allow")
        for name, amount in (("allowed", 10), ("pending", 100)):
            for connections in CONNECTIONS:
                path = f"/api/agent/tasks/{name}-{connections}/requests"
                before = time.process_time()
                result = Load(gate.url, path, key, body(amount), connections, seconds).run()
                cpu = (time.process_time() - before) / (result.per_second * seconds) * 1000
                sys.stdout.write(f"  {name}   {connections:3} connections {result}   {cpu:5.2f} ms CPU each\n")


def run(seconds: float = 4.0, url: str | None = None) -> None:
    """Both ways in one run, on a file of its own or an empty database."""
    for title, batch in (("one commit a request", 1), ("group commit", 256)):
        sys.stdout.write(f"{title}:\n")
        with tempfile.TemporaryDirectory() as directory:
            measure(url or str(Path(directory) / "gate.db"), batch, seconds)
