"""A permission that has been taken, and what `wait=` means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.protocol.decisions import Decision


class Default:
    """Stands for: as the gate was made."""


DEFAULT = Default()
Wait = float | None | Default
"""Seconds to wait for a person: `None` as long as the request lives, 0 suspend at once, `DEFAULT` as the gate says."""


@dataclass(frozen=True)
class Permit:
    """A permission that has been taken: run the action now, with exactly these arguments.

    Attributes:
        approval: The approval that it came from.
    """

    approval: Approval

    @property
    def arguments(self) -> dict[str, Any]:
        """The approved arguments; the reviewer's, where they were edited."""
        return self.approval.arguments

    @property
    def edited(self) -> bool:
        """Whether a reviewer changed the arguments."""
        return self.approval.edited

    @property
    def decision(self) -> Decision:
        """The decision."""
        return self.approval.decision
