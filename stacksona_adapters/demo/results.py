"""What became of one refund request, and what a framework's runner must provide."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import ActionBlocked, AlreadyTaken, GateError, StacksonaError
from stacksona_adapters.protocol.decisions import Decision

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate

TOOL = "issue_refund"
AGENT = "refund-bot"


@dataclass(frozen=True)
class RowResult:
    """What became of one request.

    Attributes:
        row: The request.
        status: The decision's status (`edited`: other arguments ran; `used`: it ran before), `not asked` or `stopped`.
        decision_id: The decision; `None` where there was none.
        decided_by: The reviewer; `None` for a rule.
        receipt: What the shop answered; `None` where nothing was paid.
        note: The reviewer's or rule's message, or why it did not run.
    """

    row: RefundRequest
    status: str
    decision_id: str | None = None
    decided_by: str | None = None
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


def ran(row: RefundRequest, decision: Decision, receipt: str) -> RowResult:
    """The result of a refund that was paid."""
    status = f"{decision.status}, edited" if decision.arguments is not None else str(decision.status)
    return RowResult(row, status, decision.id, decision.reviewer_id, receipt=receipt, note=decision.message)


def stopped(row: RefundRequest, error: StacksonaError) -> RowResult:
    """The result of a refund that was not paid."""
    if isinstance(error, ActionBlocked) and isinstance(error.decision, Decision):
        decision = error.decision
        status = f"{decision.status}, used" if isinstance(error, AlreadyTaken) else str(decision.status)
        note = error.detail or str(error)
        return RowResult(row, status, decision.id, decision.reviewer_id, note=note)
    status = "not asked" if isinstance(error, GateError) else "stopped"
    return RowResult(row, status, note=str(error))
