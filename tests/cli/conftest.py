"""Fixtures of the command line's tests."""

from __future__ import annotations

import pytest

from tests.cli.tools import VARIABLES, Cli


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, in this process and without any of its environment variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Cli(capsys, monkeypatch)
