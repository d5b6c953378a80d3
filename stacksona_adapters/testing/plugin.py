"""The pytest plugin: fixtures that every test has as soon as this package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksona_adapters import testing


@pytest.fixture
def stacksona_gate(tmp_path: Path) -> Iterator[testing.RunningGate]:
    """A real gate on a free port, with an empty database and no rules: a person decides everything."""
    with testing.running_gate(tmp_path / "stacksona") as gate:
        yield gate


@pytest.fixture
def stacksona_reviewer(stacksona_gate: testing.RunningGate) -> testing.Reviewer:
    """A reviewer to script, at the gate of the fixture `stacksona_gate`."""
    return stacksona_gate.reviewer()
