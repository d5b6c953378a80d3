"""The adapter's contract for ag2 1.x."""

from __future__ import annotations

from typing import ClassVar

from stacksona_adapters.testing.contract import AdapterContract
from stacksona_adapters.testing.harness import Harness
from tests.adapters.ag2_harness import Ag2Harness


class TestAg2(AdapterContract):
    harness: ClassVar[Harness] = Ag2Harness()
