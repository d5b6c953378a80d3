"""What the tests of AutoGen's traps share: teams, tools that count, and runs that cannot hang the suite."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat

from stacksona_adapters.autogen import TeamGate
from stacksona_adapters.testing import Reviewer, Verdict
from tests.adapters.autogen_harness import told_by
from tests.adapters.autogen_models import ScriptedModel, Turn, call

T = TypeVar("T")

BOUND = 45.0
"""Seconds after which a run counts as hung; nothing can end a hung team from inside."""

END = "TERMINATE"


def bounded(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine that runs on a thread of its own, which is left behind if it hangs."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - raised in the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive(), "the run hangs"
    if errors:
        raise errors[0]
    return results[0]


class Shop:
    """Tools that remember what they did."""

    def __init__(self) -> None:
        self.refunds: list[tuple[str, float]] = []
        self.running = threading.Event()

    async def refund(self, order: str, amount: float, currency: str = "EUR") -> str:
        """Pay a refund."""
        self.refunds.append((order, amount))
        return f"refunded {amount} {currency} for {order}"

    async def slow(self, order: str) -> str:
        """Take for ever."""
        self.running.set()
        await asyncio.Event().wait()
        return order


def refund(call_id: str, amount: float = 40, order: str = "7") -> Any:
    """A refund that a model proposes."""
    return call(call_id, "refund", order=order, amount=amount)


def team_of(approvals: TeamGate, *turns: Turn, tools: Any = (), **agent: Any) -> RoundRobinGroupChat:
    """A team of one clerk."""
    given = {"tools": tools} if tools else {}
    clerk = AssistantAgent("clerk", ScriptedModel(*turns), **given, **agent)
    done = TextMentionTermination(END) | approvals.termination()
    return RoundRobinGroupChat(approvals.watch(clerk), termination_condition=done)


def texts(result: Any) -> dict[str, str]:
    """What the model was told, by call."""
    assert isinstance(result, TaskResult)
    return told_by(result.messages)


async def reviewed(reviewer: Reviewer, work: Coroutine[Any, Any, T], *verdicts: Verdict) -> T:
    """The result of some work while a reviewer decides what comes, in order."""
    waiting = list(verdicts)
    with reviewer.deciding(lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]):
        return await work


def ends(reviewer: Reviewer, decision_id: str) -> str:
    """How a request ends; a withdrawal arrives a moment after the run."""
    pause, deadline = threading.Event(), time.monotonic() + 30
    while not (status := reviewer.detail(decision_id).status).final:
        assert time.monotonic() < deadline, f"{decision_id} is still {status}"
        pause.wait(0.05)
    return status.value


def asked(reviewer: Reviewer, count: int = 1) -> list[str]:
    """The requests that are pending, as soon as their agents know so too."""
    found = [review.decision_id for review in reviewer.waiting(count)]
    pause, deadline = threading.Event(), time.monotonic() + 30
    while _kinds(reviewer, found[0]).count("REVIEW_REQUESTED") < count:
        assert time.monotonic() < deadline, "the agent does not report its request"
        pause.wait(0.05)
    return found


def _kinds(reviewer: Reviewer, decision_id: str) -> list[str]:
    return [entry.kind for entry in reviewer.detail(decision_id).timeline]
