"""A process killed at any moment never makes the action run twice, and what is unknown is settled by a person."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksona_adapters import Outcome
from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.protocol.reviews import Folder
from stacksona_adapters.testing.gate import RunningGate, running_gate

RULES = [{"tool": "refund", "parameter": "amount", "type": "lower_limit", "value": 50, "outcome": "allow"}]


class Refunds:
    """Runs refund processes against one gate and reads what really ran."""

    def __init__(self, server: RunningGate, directory: Path) -> None:
        self.ledger = directory / "ledger"
        self.ledger.touch()
        self._env = {
            **os.environ,
            "STACKSONA_GATE_URL": server.url,
            "STACKSONA_API_KEY": server.agent_key("bot"),
            "STACKSONA_STATE_DIR": str(directory / "state"),
        }

    def start(self, amount: int, when: str = "never", number: int = 0) -> subprocess.Popen[str]:
        """Start a process."""
        command = [sys.executable, "-m", "tests.client.crash_process", str(self.ledger), str(amount), when, str(number)]
        return subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, amount: int, when: str = "never", number: int = 0) -> str:
        """Run a process to its end; what it said, or `killed`."""
        process = self.start(amount, when, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, -9), err
        return "killed" if process.returncode == -9 else out.strip()

    @property
    def count(self) -> int:
        """How often the refund ran."""
        return len(self.ledger.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def server() -> Iterator[RunningGate]:
    """A gate that allows refunds below 50."""
    with running_gate(rules=RULES) as gate:
        yield gate


@pytest.fixture
def refunds(server: RunningGate, tmp_path: Path) -> Refunds:
    """Refund processes of this test."""
    return Refunds(server, tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_effect_it_runs_at_most_once(server: RunningGate, refunds: Refunds, when: str) -> None:
    """An allowed refund: the process dies at each effect in turn, is started again, and never runs a second time."""
    for number in range(1, 9):
        first = refunds.run(10, when, number)
        assert refunds.count <= 1
        if first != "killed":
            break
    refunds.run(10)
    refunds.run(10)

    assert refunds.count <= 1
    assert first != "killed"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_approved_refund_killed_at_any_effect(server: RunningGate, refunds: Refunds, when: str) -> None:
    """The same with a reviewer: one request, at most one execution."""
    reviewer = server.reviewer()
    assert refunds.run(100).startswith("pending")
    reviewer.approve()
    for number in range(1, 9):
        if refunds.run(100, when, number) != "killed":
            break
    refunds.run(100)

    assert refunds.count <= 1
    approved = list(reviewer.client.reviews(Folder.APPROVED)) + list(reviewer.client.reviews(Folder.UNKNOWN))
    assert len({review.decision_id for review in approved}) == 1


def unknown(refunds: Refunds, reviewer: Reviewer) -> str:
    """A refund whose process was killed between `consume` and its report; the decision's id."""
    assert refunds.run(100).startswith("pending")
    reviewer.approve()
    assert refunds.run(100, "during") == "killed"
    said, decision_id = refunds.run(100).split()
    assert said == "OutcomeUnknown"
    return decision_id


def test_an_unknown_outcome_is_settled_as_done(server: RunningGate, refunds: Refunds) -> None:
    """It ran: the permission is closed, and nothing runs again."""
    reviewer = server.reviewer()
    decision_id = unknown(refunds, reviewer)
    assert [review.decision_id for review in reviewer.client.reviews(Folder.UNKNOWN)] == [decision_id]

    reviewer.settle(decision_id, ran=True, message="seen in the bank's list")

    assert refunds.run(100).startswith("AlreadyTaken")
    assert refunds.count == 1
    assert reviewer.detail(decision_id).outcome is Outcome.SUCCEEDED


def test_an_unknown_outcome_is_given_back_once(server: RunningGate, refunds: Refunds) -> None:
    """It did not run: one more taking, and no more than one."""
    reviewer = server.reviewer()
    decision_id = unknown(refunds, reviewer)

    reviewer.settle(decision_id, ran=False, message="nothing in the bank's list")

    assert refunds.run(100) == "ran"
    assert refunds.run(100).startswith("AlreadyTaken")
    assert refunds.count == 2  # the killed process wrote its line before it died
    assert server.service.verify_audit().broken is None


def test_two_processes_resume_at_the_same_moment(server: RunningGate, refunds: Refunds) -> None:
    """Four processes, one approval: exactly one runs it."""
    assert refunds.run(100).startswith("pending")
    server.reviewer().approve()

    processes = [refunds.start(100) for _ in range(4)]
    said = sorted(process.communicate(timeout=60)[0].split()[0] for process in processes)

    assert refunds.count == 1
    assert said.count("ran") == 1
    assert set(said) <= {"ran", "AlreadyTaken", "OutcomeUnknown"}
