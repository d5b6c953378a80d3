"""What docs/self-hosting.md shows and the page's own run cannot: its configuration, its receivers, its table."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import httpx
import pytest
import typer

from stacksona_adapters.cli import serve
from stacksona_adapters.cli.app import app
from stacksona_adapters.testing import RunningGate, running_gate
from tests.cli.test_serve import serving
from tests.docs.test_fences import ROOT, blocks, write_files

PAGE = ROOT / "docs" / "self-hosting.md"


def test_the_table_of_options_is_complete() -> None:
    """Every option of `serve` with its flag, variable and name in the file, and no other."""
    told = re.findall(
        r"^\| `(--[\w-]+)` \| `(\w+)` \| (?:`(\w+)`)? *\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    options = [option for option in command.params if option.name != "help"]
    names = {option.name for option in options}

    assert names == set(inspect.signature(serve.serve).parameters)
    assert sorted(told) == sorted(
        (option.opts[0], str(option.envvar), "" if option.name == "config" else str(option.name)) for option in options
    )


def test_the_configuration_is_one(tmp_path: Path) -> None:
    """The page's file starts a gate; flags go before it. Its log is JSON, its metrics are open, its link is public."""
    write_files(PAGE, tmp_path)
    with serving(tmp_path / "gate.db", "--config", str(tmp_path / "gate.toml")) as gate:
        assert gate.found(r"Inbox: +(\S+)\n").startswith("https://gate.example.com/inbox/sign-in#")
        assert "stacksona_open_waits" in httpx.get(f"{gate.url}/metrics").text
        code, _, err = gate.stop(signal.SIGTERM)

    assert code == 0
    assert [json.loads(line)["route"] for line in err.splitlines() if "stacksona.access" in line] == ["/metrics"]


@contextmanager
def receiving(kind: str, directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """One of the page's receivers, in a process of its own, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    commands = {
        "fastapi": ["uvicorn", "receiver_fastapi:app", "--port", str(port), "--log-level", "warning"],
        "flask": ["flask", "--app", "receiver_flask", "run", "--port", str(port)],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *commands[kind]], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True
    )
    url = f"http://127.0.0.1:{port}/stacksona"
    try:
        for _ in range(1200):
            try:
                httpx.post(url, content=b"{}")
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()
                Event().wait(0.05)
            else:
                break
        yield url
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[RunningGate]:
    """A gate whose operator allows webhooks to this machine."""
    with running_gate(tmp_path / "gate", delivery_networks=("127.0.0.0/8",)) as running:
        yield running


@pytest.mark.parametrize("kind", ["fastapi", "flask"])
def test_a_webhook_resumes_the_suspended_agent(kind: str, gate: RunningGate, tmp_path: Path) -> None:
    """The page's agent suspends and its process ends; the page's receiver gets the webhook, and refunds once."""
    write_files(PAGE, tmp_path)
    made = gate.service.add_agent("refund-bot", webhook="http://127.0.0.1:9/")
    environment = {
        **os.environ,
        "STACKSONA_GATE_URL": gate.url,
        "STACKSONA_API_KEY": made.key,
        "STACKSONA_WEBHOOK_SECRET": made.webhook_secret or "",
        "STACKSONA_STATE_DIR": str(tmp_path / "state"),
        "PYTHONPATH": str(tmp_path),
    }
    with receiving(kind, tmp_path, environment) as url:
        gate.service.add_agent("refund-bot", webhook=url)
        script = "import refunds\nrefunds.start('8821', 120.0)\nrefunds.gate.close()"
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=120)
        [paused] = (tmp_path / "paused").iterdir()
        forged = httpx.post(url, json={"thread_id": paused.name, "decision": "approved"})
        assert pickle.loads(paused.read_bytes()).decision.thread_id == paused.name
        gate.reviewer("ann").approve()
        for _ in range(1200):
            if not paused.exists():
                break
            Event().wait(0.05)

    assert forged.status_code == 400
    assert (tmp_path / "refunds.txt").read_text() == "8821 120.0\n"
    assert gate.service.verify_audit().ok


def test_what_is_tested_here_is_on_the_page() -> None:
    """The blocks that name this file as their test are those that it reads."""
    mine = {block.title for block in blocks(PAGE) if block.tested_by == "tests/docs/test_self_hosting.py"}

    assert mine == {"gate.toml", "refunds.py", "receiver_fastapi.py", "receiver_flask.py"}
