"""What the demo's scripted reviewer decides, over the same API as a person."""

from __future__ import annotations

import re
from enum import Enum

from stacksona_adapters.client.reviewer import Script, Verdict
from stacksona_adapters.protocol.reviews import Review


class Decide(str, Enum):
    """How the scripted reviewer decides."""

    APPROVE = "approve"
    REJECT = "reject"
    MIXED = "mixed"

    def __str__(self) -> str:
        return self.value


KNOWN_CURRENCIES = ("EUR", "USD", "GBP")
_SUSPICIOUS = re.compile(r"previous instructions|system\s*:|<\w+|^[=+@-]|[\x00-\x08\x1b\u202a-\u202e]", re.IGNORECASE)


def script_for(decide: Decide) -> Script:
    """The script of a mode. In each of them one order is refunded once, however often that is asked."""
    refunded: set[object] = set()

    def script(review: Review) -> Verdict:
        order = review.arguments.get("order_id")
        if order in refunded:
            return Verdict("reject", f"Order {order} has been refunded already.")
        verdict = _VERDICTS[decide](review)
        if verdict.outcome == "approve":
            refunded.add(order)
        return verdict

    return script


def _approve(_: Review) -> Verdict:
    return Verdict("approve")


def _reject(_: Review) -> Verdict:
    return Verdict("reject", "Rejected by the scripted reviewer.")


def _mixed(review: Review) -> Verdict:
    """As a careful person might: by currency, by reason, by amount."""
    arguments = review.arguments
    amount, reason = arguments.get("amount"), str(arguments.get("reason"))
    if arguments.get("currency") not in KNOWN_CURRENCIES:
        return Verdict("reject", f"Only {', '.join(KNOWN_CURRENCIES)} are paid by the agent.")
    if _SUSPICIOUS.search(reason):
        return Verdict("reject", "The reason talks to the agent instead of the shop.")
    if isinstance(amount, (int, float)) and amount >= 600:
        half = {**arguments, "amount": round(amount / 2, 2)}
        return Verdict("approve", "Half now, half when the goods are back.", half)
    if isinstance(amount, (int, float)) and amount >= 300 and "serial number" not in reason:
        return Verdict("revise", "Ask the customer for the serial number first.")
    return Verdict("approve")


_VERDICTS = {Decide.APPROVE: _approve, Decide.REJECT: _reject, Decide.MIXED: _mixed}
