"""The main job on LlamaIndex: `stacksona demo llamaindex`, and a gate that is down."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stacksona_adapters.demo.llamaindex import run
from stacksona_adapters.demo.refunds import load_refunds
from stacksona_adapters.demo.results import RowResult
from stacksona_adapters.demo.script import Decide
from stacksona_adapters.demo.session import session
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.testing import RunningGate
from tests.cli.tools import command


def test_command(tmp_path: Path) -> None:
    """The whole file, as the page says it."""
    done = command(
        "demo", "llamaindex", "--decide", "mixed", env={"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, cwd=tmp_path
    )

    assert done.code == 0, done.err
    assert "An agent (llamaindex) wants to pay 55 refunds" in done.out
    assert "The audit chain holds" in done.out
    assert "approved, edited" in done.out


def test_what_ran_is_what_was_approved(tmp_path: Path) -> None:
    """Each payment in the ledger has one decision that permits exactly it, and nothing else was paid."""
    told: list[RowResult] = []
    with session(tmp_path) as running:
        results = running.work(run, load_refunds(), told.append, Decide.MIXED)
        paid = [result for result in results if result.receipt is not None]
        reviews = [running.reviewer.detail(str(result.decision_id)) for result in paid]
        sent_back = [result for result in results if running.reviewer.detail(str(result.decision_id)).revises]
        verified = running.verify()

    permitted = [review.edited_arguments or review.arguments for review in reviews]
    expected = sorted((each["order_id"], each["amount"], each["currency"]) for each in permitted)
    assert expected == sorted((each.order_id, each.amount, each.currency) for each in running.shop.ledger)
    assert len({review.decision_id for review in reviews}) == len(reviews)
    assert sent_back
    assert len(told) == len(results)
    assert verified.ok


def test_gate_that_is_down(server: RunningGate) -> None:
    """Nothing is paid where nobody can be asked, and each request says so."""
    gate, shop = server.gate("refund-bot"), Shop()
    server.stop()

    results = asyncio.run(run(gate, load_refunds(rows=2), lambda _: None, shop))

    assert shop.ledger == []
    assert [(result.decision_id, result.receipt) for result in results] == [(None, None)] * 2
    assert all("did not run" in str(result.note) for result in results)
