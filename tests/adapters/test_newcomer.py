"""What a newcomer runs first: the example and the demo of one adapter, named by `STACKSONA_ADAPTER`."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stacksona_adapters.demo.refunds import load_refunds
from stacksona_adapters.demo.results import RowResult
from stacksona_adapters.demo.script import Decide
from stacksona_adapters.demo.session import session
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.testing import RunningGate
from tests.cli.tools import command

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def name() -> str:
    """The adapter whose framework is installed here."""
    found = os.environ.get("STACKSONA_ADAPTER")
    if not found:
        pytest.fail("set STACKSONA_ADAPTER to the adapter whose framework is installed, such as pydantic_ai")
    return found


@pytest.fixture
def run(name: str) -> Any:
    """The runner of the adapter's demo."""
    return importlib.import_module(f"stacksona_adapters.demo.{name}").run


def test_example(name: str, tmp_path: Path) -> None:
    """It runs as it stands, without a key: it pauses, goes on from JSON, and pays what the reviewer made of it."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}_refund.py")],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Paused" in done.stdout
    assert "Refunded 37.50 EUR for order 8821." in done.stdout


def test_demo(name: str, tmp_path: Path) -> None:
    """A real agent works through the shop's whole file from an empty home, and the audit chain holds."""
    home = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = command("demo", name, "--decide", "mixed", env=home, cwd=tmp_path)

    assert done.code == 0, done.err[-3000:]
    assert f"An agent ({name}) wants to pay 55 refunds" in done.out
    assert "approved, edited" in done.out
    assert "The audit chain holds" in done.out


def test_what_ran_is_what_was_approved(run: Any, tmp_path: Path) -> None:
    """Each payment in the ledger has one decision that permits exactly it, and nothing else was paid."""
    told: list[RowResult] = []
    with session(tmp_path) as running:
        results = running.work(run, load_refunds(rows=12), told.append, Decide.MIXED)
        paid = [result for result in results if result.receipt is not None]
        reviews = [running.reviewer.detail(str(result.decision_id)) for result in paid]
        verified = running.verify()

    permitted = [review.edited_arguments or review.arguments for review in reviews]
    expected = sorted((each["order_id"], each["amount"], each["currency"]) for each in permitted)
    assert paid
    assert expected == sorted((each.order_id, each.amount, each.currency) for each in running.shop.ledger)
    assert len({review.decision_id for review in reviews}) == len(reviews)
    assert len(told) == len(results)
    assert verified.ok


def test_gate_that_is_down(run: Any, stacksona_gate: RunningGate) -> None:
    """Nothing is paid where nobody can be asked, and each request says so."""
    gate, shop = stacksona_gate.gate("refund-bot"), Shop()
    stacksona_gate.stop()

    results = asyncio.run(run(gate, load_refunds(rows=2), lambda _: None, shop))

    assert shop.ledger == []
    assert [(result.decision_id, result.receipt) for result in results] == [(None, None)] * 2
    assert all(re.search("did not run|nothing ran", str(result.note)) for result in results)
