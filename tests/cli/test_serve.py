"""`stacksona serve` as a process: its first words, its signals, its neighbours on the same file."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import httpx
import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.local import local_gate
from tests.cli.tools import COMMAND, command, environment


class Serving:
    """A gate in a process of its own, started by the command."""

    def __init__(self, db: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--db", str(db), *options],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @cached_property
    def said(self) -> str:
        """Its first words, as soon as it is ready."""
        assert self.process.stdout is not None
        lines: list[str] = []
        while "Stop it with Ctrl-C.\n" not in lines:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            lines.append(line)
        return "".join(lines)

    def found(self, pattern: str) -> str:
        """What a pattern finds in the gate's first words."""
        match = re.search(pattern, self.said)
        assert match is not None, self.said
        return match[1]

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.found(r"Gate: +(http://127\.0\.0\.1:\d+)\n")

    def stop(self, how: signal.Signals) -> tuple[int, str, str]:
        """Send a signal: the exit code and what it said last."""
        self.process.send_signal(how)
        out, err = self.process.communicate()
        return self.process.returncode, out, err


@contextmanager
def serving(db: Path, *options: str) -> Iterator[Serving]:
    """A gate that is ended with the block."""
    running = Serving(db, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_first_and_second_start(tmp_path: Path, how: signal.Signals) -> None:
    """The first start hands out what one needs, and says it works; the second one hands out nothing."""
    db = tmp_path / "data" / "gate.db"
    with serving(db) as first:
        key, token = first.found(r"Key: +(sg_\S+)"), first.found(r"STACKSONA_REVIEWER_TOKEN=(sr_\S+)")
        with Gate("agent", url=first.url, api_key=key, wait=0, state_dir=tmp_path) as gate:
            decision = gate.request(gate.action("pay", {"amount": 1})).decision
        with Reviewer(first.url, token) as reviewer:
            assert reviewer.approve().decision_id == decision.id
        ended = first.stop(how)
    with serving(db) as second:
        assert "sg_" not in second.said
        assert "stacksona reviewer add" in second.said
        with Reviewer(second.url, token) as reviewer:
            assert reviewer.detail(decision.id).status == "approved"

    assert ended == (0, "The gate has stopped.\n", "")
    assert str(db) in first.said


def test_taken_port(tmp_path: Path) -> None:
    """Another program on the port: the reason, what to do, exit code 1, and no database made."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = command("serve", "--port", port, "--db", tmp_path / "gate.db")

    assert (done.code, done.out) == (1, "")
    assert f"port {port}" in done.err
    assert "--port" in done.err
    assert not (tmp_path / "gate.db").exists()


def test_database_that_cannot_be_used(tmp_path: Path) -> None:
    """One sentence instead of a traceback."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database" * 100)

    done = command("serve", "--port", 0, "--db", file)

    assert (done.code, done.out) == (1, "")
    assert "cannot be used" in done.err
    assert "Traceback" not in done.err


def test_local_gate_joins_a_served_file(tmp_path: Path) -> None:
    """`local_gate` on the file of a running gate uses that gate, and serves by itself after it ended."""
    db, lines = tmp_path / "gate.db", []
    options = {"agent": "bot", "wait": 0, "state_dir": tmp_path, "announce": lines.append}
    with serving(db) as running:
        token = running.found(r"STACKSONA_REVIEWER_TOKEN=(sr_\S+)")
        with local_gate(db, **options) as gate:
            asked = gate.request(gate.action("pay", {"amount": 1}))
        with Reviewer(running.url, token) as reviewer:
            reviewer.approve(asked.decision.id)
        assert lines == []
        running.stop(signal.SIGTERM)

    with local_gate(db, **options) as gate, gate.permit(asked.action) as permit:
        assert permit.decision.id == asked.decision.id
    assert len(lines) == 1


def test_two_gates_on_one_file(tmp_path: Path) -> None:
    """Started at the same moment, both serve, and only one hands out first keys."""
    db = tmp_path / "gate.db"
    with serving(db) as one, serving(db) as two:
        both = [one.said, two.said]
        assert one.url != two.url

    assert sum("sg_" in said for said in both) == 1


def test_configuration_from_a_file(tmp_path: Path) -> None:
    """Flags go before the environment, the environment before the file; an unknown option is named."""
    db, file = tmp_path / "gate.db", tmp_path / "gate.toml"
    file.write_text('port = 1\nlog_format = "json"\nopen_metrics = true\nwebhook_network = ["10.0.0.0/8"]\n')
    serving = Serving(db, "--config", str(file))
    with httpx.Client(base_url=serving.url) as client:
        answer = client.get("/metrics", headers={"X-Request-ID": "mine-1"})
    code, _, err = serving.stop(signal.SIGTERM)
    lines = [json.loads(line) for line in err.splitlines()]

    assert (answer.status_code, answer.headers["x-request-id"], code) == (200, "mine-1", 0)
    [logged] = [line for line in lines if line["logger"] == "stacksona.access"]
    assert (logged["route"], logged["status"], logged["request_id"]) == ("/metrics", 200, "mine-1")
    file.write_text("colour = 1\n")
    wrong = command("serve", "--config", file, "--db", db)
    assert wrong.code == 2
    assert "colour" in wrong.err
    file.write_text("port = \n")
    assert "not TOML" in command("serve", "--config", file, "--db", db).err
    assert command("serve", "--log-format", "xml", "--db", db).code == 2
    assert "600/minute" in command("serve", "--rate-limit", "many", "--db", db).err
    assert "allowed networks" in command("serve", "--webhook-network", "here", "--db", db, "--port", "0").err
