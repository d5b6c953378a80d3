"""The adapter's contract for AutoGen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from stacksona_adapters.testing.contract import AdapterContract
from stacksona_adapters.testing.harness import Harness
from tests.adapters.autogen_harness import AutoGenHarness


class WorkbenchHarness(AutoGenHarness):
    """The same with a workbench in the team."""

    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {"workbench": "async"}


class TestTeam(AdapterContract):
    harness: ClassVar[Harness] = AutoGenHarness()


class TestWorkbench(AdapterContract):
    harness: ClassVar[Harness] = WorkbenchHarness()
