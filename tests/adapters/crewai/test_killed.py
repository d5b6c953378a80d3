"""A process killed at any moment between request and report never leads to two executions."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from stacksona_adapters.testing import Reviewer
from stacksona_adapters.testing.processes import PATIENCE
from stacksona_adapters.testing.stage import refund, staged
from tests.adapters.crewai.dying import EDITED, DyingHarness

MOMENTS = {
    "waiting": (1, "refunded"),
    "approved": (1, "refunded"),
    "taken": (0, "never reported"),
    "ran": (1, "never reported"),
    "told": (1, "never reported"),
}
"""When the process dies: how often the refund is paid in the end, and what the run that comes again tells the model."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_process_pays_once_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """The run is begun again by its name after a `kill -9`: one request, at most one payment, and nobody guesses."""
    payments, told = MOMENTS[moment]
    with staged(DyingHarness(), "native", tmp_path) as stage:
        scenario = stage.scenario(refund("c1"))
        patient = Reviewer(stage.gate.url, stage.gate.reviewer_token("patient"), patience=PATIENCE)
        with monkeypatch.context() as environment:
            environment.setenv("DIE", moment)
            victim = stage.elsewhere(scenario)
        request = patient.waiting()[0]
        if moment == "waiting":
            victim.signal(signal.SIGKILL)
            assert victim.ended() == -signal.SIGKILL
        patient.approve(request.decision_id, arguments={"order_id": "A-1", "amount": EDITED})
        assert victim.ended() == -signal.SIGKILL

        again = stage.play(scenario)
        patient.close()

        assert told in again.told["c1"]
        assert len(scenario.ledger.refunds) == payments
        assert len(stage.requests) == 1
        assert stage.requests[0].outcome == ("succeeded" if told == "refunded" else "unknown")
