"""The shop whose money is at stake: it keeps a ledger of what was really paid."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Payment:
    """Money that left the shop."""

    order_id: str
    amount: float
    currency: str

    def __str__(self) -> str:
        return f"{self.amount:,.2f} {self.currency}"


class Shop:
    """Pays refunds. It asks nobody: that is the gate's business."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledger: list[Payment] = []

    def issue_refund(self, order_id: str, customer: str, amount: float, currency: str, reason: str) -> str:
        """Pay a refund to a customer.

        Args:
            order_id: The order it is for.
            customer: The customer's name.
            amount: How much, in `currency`.
            currency: ISO 4217 code.
            reason: What the customer wrote.

        Returns:
            The receipt's text.
        """
        payment = Payment(order_id, amount, currency)
        with self._lock:
            self._ledger.append(payment)
            number = len(self._ledger)
        return f"{payment} (receipt {number})"

    @property
    def ledger(self) -> list[Payment]:
        """All that was paid, in order."""
        with self._lock:
            return list(self._ledger)
