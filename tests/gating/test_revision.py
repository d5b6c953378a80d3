"""Which decision a new proposal revises."""

from __future__ import annotations

import pytest

from stacksona_adapters.gating.refusal import Refusal
from stacksona_adapters.gating.revision import revised_by, sent_back

BACK = Refusal("pay", "revise", "Smaller.", "dec_1", revise=True)
AGAIN = Refusal("pay", "revise", "Later.", "dec_2", revise=True)


@pytest.mark.parametrize("result", [BACK.as_dict(), BACK.as_text()], ids=["dict", "text"])
def test_sent_back(result: object) -> None:
    """A refusal that asks for changes is found, as values and as text."""
    assert sent_back(["paid", result]) == ["dec_1"]


@pytest.mark.parametrize(
    "result",
    [
        "paid",
        "{not JSON",
        None,
        {"status": "revise", "decision_id": "dec_1"},
        {"executed": False, "status": "revise"},
        Refusal("pay", "rejected", "No.", "dec_1").as_dict(),
    ],
)
def test_not_sent_back(result: object) -> None:
    """Any other result names nothing."""
    assert sent_back([result]) == []


def test_proposals_answer_in_order() -> None:
    """Of several proposals each answers the one that stood in its place."""
    results = [BACK.as_text(), "paid", AGAIN.as_dict()]

    assert [revised_by(call, ["a", "b", "c"], results) for call in "abcd"] == ["dec_1", "dec_2", None, None]
