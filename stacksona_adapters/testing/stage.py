"""Where a case of the adapter contract is played: a real gate, a reviewer, and a harness."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.protocol.reviews import ReviewDetail
from stacksona_adapters.server.service import reviews
from stacksona_adapters.testing.gate import RunningGate, running_gate
from stacksona_adapters.testing.harness import AGENT, GATED, Harness, ProposedCall, Ran, Scenario
from stacksona_adapters.testing.processes import OtherProcess, play

SMALL, MIDDLE, LARGE = 5.0, 50.0, 5000.0
"""Amounts that the stage's rules allow, leave to a person, and reject."""

_RULE = {"agent": "*", "tool": GATED, "parameter": "amount"}
RULES = [
    {**_RULE, "type": "lower_limit", "value": 10, "outcome": "allow"},
    {**_RULE, "type": "upper_limit", "value": 1000, "outcome": "reject"},
]


def refund(call_id: str, amount: Any = MIDDLE, order_id: str = "A-1") -> ProposedCall:
    """A proposed refund."""
    return ProposedCall(call_id=call_id, arguments={"order_id": order_id, "amount": amount})


class Stage:
    """One case's gate, reviewer and scenarios.

    Args:
        harness: The adapter's harness.
        path: Which of its paths.
        gate: The gate.
        directory: An empty directory.
    """

    def __init__(self, harness: Harness, path: str, gate: RunningGate, directory: Path) -> None:
        self.harness = harness
        self.path = path
        self.gate = gate
        self.reviewer: Reviewer = gate.reviewer()
        self.directory = directory
        self._key = gate.agent_key(AGENT)

    @property
    def asynchronous(self) -> bool:
        """Whether the path is asynchronous."""
        return self.harness.paths[self.path] == "async"

    def limited(self, case: str) -> bool:
        """Whether the harness declares that the framework cannot do a case on this path; the page must say so.

        Args:
            case: A test's name without `test_`.
        """
        reason = self.harness.limits.get(f"{case}[{self.path}]") or self.harness.limits.get(case)
        if reason is None:
            return False
        page = " ".join(self.harness.page.read_text(encoding="utf-8").split())
        assert " ".join(reason.split()) in page, f"{self.harness.page.name} does not say: {reason}"
        return True

    def scenario(self, *turns: ProposedCall | list[ProposedCall], **fields: Any) -> Scenario:
        """A scenario at this gate: each turn is a call or a list of parallel ones."""
        given: dict[str, Any] = {
            "url": self.gate.url,
            "api_key": self._key,
            "directory": self.directory,
            "path": self.path,
            "run_id": f"run-{self.directory.name}",
            "turns": [turn if isinstance(turn, list) else [turn] for turn in turns],
            **fields,
        }
        return Scenario(**given)

    def play(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario in this process, to its end."""
        return play(self.harness, scenario, paused)

    @contextmanager
    def playing(self, scenario: Scenario) -> Iterator[Future[Ran]]:
        """Play a scenario in this process while the block plays the reviewer; the block gets what will become of it."""
        future: Future[Ran] = Future()
        thread = threading.Thread(target=_fulfil, args=(future, lambda: self.play(scenario)), daemon=True)
        thread.start()
        yield future
        thread.join(scenario.patience * 4)
        assert not thread.is_alive(), "the run hangs"

    def elsewhere(self, scenario: Scenario, paused: str | None = None) -> OtherProcess:
        """Play a scenario in another process."""
        return OtherProcess(self.harness, scenario, paused)

    def cancelled(self, scenario: Scenario) -> None:
        """Play a scenario on an asynchronous path and cancel it as soon as its request is pending."""

        async def cancel() -> None:
            run = asyncio.ensure_future(self.harness.arun(scenario))
            waiting = asyncio.ensure_future(asyncio.to_thread(self.reviewer.waiting))
            await asyncio.wait([run, waiting], return_when=asyncio.FIRST_COMPLETED)
            await waiting
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

        asyncio.run(cancel())

    @property
    def requests(self) -> list[ReviewDetail]:
        """Every request for the gated tool that the gate got, decided or not, oldest first."""
        page = reviews.Page(limit=reviews.MOST)
        listed = self.gate.service.read(lambda read: reviews.listing(read, None, page)).reviews
        return [self.reviewer.detail(each.decision_id) for each in reversed(listed)]

    def settled(self, decision_id: str, done: Callable[[ReviewDetail], bool]) -> ReviewDetail:
        """A request as soon as something is true of it: events arrive a moment after the run.

        Args:
            decision_id: The request.
            done: What shall be true.

        Raises:
            TimeoutError: If it does not come true in thirty seconds.
        """
        pause, deadline = threading.Event(), time.monotonic() + 30
        while not done(detail := self.reviewer.detail(decision_id)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{decision_id}: {detail.status}, {[entry.kind for entry in detail.timeline]}")
            pause.wait(0.05)
        return detail


def _fulfil(future: Future[Ran], work: Callable[[], Ran]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed to the test, which asks for the result
        future.set_exception(error)


@contextmanager
def staged(harness: Harness, path: str, directory: Path) -> Iterator[Stage]:
    """A stage with a gate whose rules allow `SMALL` refunds, reject `LARGE` ones and leave the rest to a person."""
    place = directory / "scenario"
    place.mkdir()
    with running_gate(directory / "gate", rules=RULES) as gate:
        yield Stage(harness, path, gate, place)
