"""What became of one refund request, and what a framework's runner must provide."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.shop import Shop

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate

TOOL = "issue_refund"
AGENT = "refund-bot"


@dataclass(frozen=True)
class RowResult:
    """What became of one request, as the agent knows it; the gate knows the rest.

    Attributes:
        row: The request.
        decision_id: The last decision about it; `None` where the gate could not be asked.
        receipt: What the shop answered; `None` where nothing was paid.
        note: Why nothing was paid.
    """

    row: RefundRequest
    decision_id: str | None = None
    receipt: str | None = None
    note: str | None = None


OnProgress = Callable[[RowResult], None]


class Runner(Protocol):
    """One framework's way through the requests: asks for all at once and lets each be decided by itself."""

    def __call__(
        self, gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop
    ) -> Awaitable[list[RowResult]]:
        """Work through the rows and tell of each as it is done; the results are in the order of the rows."""
        ...


def sent_back(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the agent proposes when a reviewer wants to know more: it has asked the customer."""
    more = f"Asked again, the customer says: the serial number is SN-{arguments['order_id'][-5:]}."
    return {**arguments, "reason": f"{arguments['reason']} {more}"}
