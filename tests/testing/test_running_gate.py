"""The test kit: a real gate, a scripted reviewer, and the plugin that offers both."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from stacksona_adapters.errors import ActionExpired, ActionRejected, GateRequestRefused, GateUnavailable, ReviewPending
from stacksona_adapters.protocol.reviews import Review
from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.testing import Reviewer, RunningGate, Verdict, running_gate

SMALL = {"tool": "pay", "parameter": "amount", "type": "between", "value": 1, "value2": 50, "outcome": "allow"}


def test_rules_and_reviewer_decide(tmp_path: Path) -> None:
    """A rule allows, a reviewer approves with an edit, a reviewer rejects."""
    with running_gate(tmp_path, rules=[SMALL]) as running:
        gate, reviewer = running.gate("bot", wait=20), running.reviewer("anna")

        with gate.permit(gate.action("pay", {"amount": 10})) as permit:
            assert permit.decision.status == "allow"
        edit = Verdict("approve", "less", {"amount": 60})
        with reviewer.deciding(edit) as decided, gate.permit(gate.action("pay", {"amount": 70})) as permit:
            assert (permit.arguments, permit.decision.reviewer_id) == ({"amount": 60}, "anna")
        with reviewer.deciding(Verdict("reject", "no")), pytest.raises(ActionRejected, match="no") as caught:
            gate.authorize(gate.action("pay", {"amount": 80}))

        assert len(decided) == 1
        assert caught.value.decision_id not in decided


def test_fixtures_work_together(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The plugin's fixtures are there without any import, and belong to one gate."""
    gate = stacksona_gate.gate(wait=0)

    with pytest.raises(ReviewPending) as caught:
        gate.authorize(gate.action("send", {"to": "a@example.com"}))
    (waiting,) = stacksona_reviewer.waiting()
    decision = stacksona_reviewer.approve()

    assert waiting.decision_id == decision.decision_id == caught.value.decision.id
    with gate.permit(caught.value.action) as permit:
        assert permit.decision.status == "approved"


def test_script_may_leave_requests_to_others(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A script that answers `None` leaves the request pending, and sees it once."""
    gate, seen = stacksona_gate.gate(wait=20), []

    def script(review: Review) -> Verdict | None:
        seen.append(review.action)
        return Verdict("approve") if review.action == "easy" else None

    with stacksona_reviewer.deciding(script):
        hard = gate.request(gate.action("hard", {}))
        with gate.permit(gate.action("easy", {})):
            pass

    assert gate.wait(hard, 0).decision.status == "pending_review"
    assert sorted(seen) == ["easy", "hard"]


def test_failing_script_fails_the_test(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """An error of the script, or of the gate about it, comes out of the block."""
    gate = stacksona_gate.gate(wait=0)
    gate.request(gate.action("pay", {"amount": 1}, arguments_schema={"type": "object", "required": ["amount"]}))

    refused = threading.Event()

    def script(review: Review) -> Verdict:
        refused.set()
        return Verdict("approve", None, {"sum": 1})

    def let_it_try() -> list[str]:
        with stacksona_reviewer.deciding(script) as decided:
            assert refused.wait(20)
        return decided

    with pytest.raises(GateRequestRefused, match="422"):
        let_it_try()


def test_moved_clock_expires_requests(tmp_path: Path) -> None:
    """Days pass in no time."""
    clock = ManualClock()
    with running_gate(tmp_path, clock=clock, sweep_interval=0.05) as running:
        gate = running.gate(wait=20)
        asked = gate.request(gate.action("pay", {"amount": 1}, expires_in=3600))
        clock.advance(timedelta(days=3))

        with pytest.raises(ActionExpired):
            gate.authorize(asked.action)


def test_restart_keeps_url_and_requests(stacksona_gate: RunningGate) -> None:
    """A wait outlives a restart of the gate; a stopped one answers nobody."""
    gate, reviewer = stacksona_gate.gate(wait=30), stacksona_gate.reviewer()

    async def agent() -> str:
        asked = await gate.aio.request(gate.action("pay", {"amount": 1}))
        waiting = asyncio.create_task(gate.aio.wait(asked))
        await asyncio.to_thread(stacksona_gate.stop)
        with pytest.raises(GateUnavailable):
            await asyncio.to_thread(reviewer.client.decide, asked.decision.id, "approve")
        await asyncio.to_thread(stacksona_gate.start)
        await asyncio.to_thread(reviewer.approve, asked.decision.id)
        return str((await waiting).decision.status)

    assert asyncio.run(agent()) == "approved"


def test_impatient_reviewer_says_what_is_missing(stacksona_gate: RunningGate) -> None:
    """Waiting for a request that never comes ends with a clear error."""
    token = stacksona_gate.reviewer_token()

    with (
        Reviewer(stacksona_gate.url, token, patience=0.01) as reviewer,
        pytest.raises(TimeoutError, match="0 of 1 requests"),
    ):
        reviewer.approve()


def test_plugin_loads_without_the_server() -> None:
    """Every pytest run imports the plugin; it must not need the gate, nor be slow."""
    code = (
        "import sys, stacksona_adapters.testing.plugin as plugin;"
        "print([name for name in ('fastapi', 'sqlalchemy', 'uvicorn') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
