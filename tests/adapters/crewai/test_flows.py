"""Flows pause for a reviewer and go on in another process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stacksona_adapters.crewai import pausing
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.testing.stage import MIDDLE, SMALL, refund, staged
from tests.adapters.crewai.flows import FlowHarness


def test_flow_pauses_and_goes_on_elsewhere(tmp_path: Path) -> None:
    """An action of the flow and a crew in it wait; other processes go on; nothing runs twice."""
    with staged(FlowHarness(), "flow", tmp_path) as stage:
        scenario = stage.scenario(refund("c1", SMALL, "A-1"), refund("c2", MIDDLE, "A-2"), wait=0)
        begun = stage.play(scenario)
        assert begun.paused is not None
        assert stage.requests[0].decision_id in begun.told["waiting"]

        too_early = stage.play(scenario, begun.paused)
        assert (too_early.paused, scenario.ledger.refunds) == (begun.paused, [])

        stage.reviewer.approve()
        in_crew = stage.elsewhere(scenario, begun.paused).ran()
        assert [paid["order_id"] for paid in scenario.ledger.refunds] == ["FEE", "A-1"]

        stage.reviewer.approve()
        ended = stage.elsewhere(scenario, in_crew.paused).ran()
        assert ended.finished
        assert [paid["order_id"] for paid in scenario.ledger.refunds] == ["FEE", "A-1", "A-2"]
        assert json.loads(ended.transcript) == ["begin", "fee", "fee", "fee", "crew", "crew", "end"]
        assert len(stage.requests) == 3


def test_feedback_of_the_resuming_process_means_nothing(tmp_path: Path) -> None:
    """The flow is resumed with "approved", but the reviewer has rejected: the flow fails and nothing ran."""
    with staged(FlowHarness(), "flow", tmp_path) as stage:
        scenario = stage.scenario(refund("c1", SMALL), wait=0)
        begun = stage.play(scenario)
        stage.reviewer.reject(message="Not this one.")
        ended = stage.play(scenario, begun.paused)

        assert ended.error is not None
        assert "Not this one." in ended.error
        assert scenario.ledger.refunds == []


def test_pausing_is_for_plain_methods() -> None:
    """A coroutine function is refused when it is decorated."""

    async def step(self: object) -> None:
        """A step."""

    with pytest.raises(ConfigurationError, match="plain one"):
        pausing(step)
