"""The adapter's contract for AutoGen's classic API."""

from __future__ import annotations

from typing import ClassVar

from stacksona_adapters.testing.contract import AdapterContract
from stacksona_adapters.testing.harness import Harness
from tests.adapters.autogen_classic_harness import ClassicHarness


class TestClassic(AdapterContract):
    harness: ClassVar[Harness] = ClassicHarness()
