"""The flow without a network: which effects it asks for, in which order, and what each answer leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stacksona_adapters.errors import ActionRejected, GateProtocolError, GateUnavailable, ReviewPending
from stacksona_adapters.gating import flow
from stacksona_adapters.gating.action import Action, make_action
from stacksona_adapters.gating.effects import (
    Await,
    Effect,
    FindTask,
    Flow,
    KeepTask,
    Report,
    Send,
    TakeAlone,
    TaskRef,
    Withdraw,
)
from stacksona_adapters.gating.prepare import Terms, digest_of
from stacksona_adapters.protocol.decisions import Decision, Status
from stacksona_adapters.protocol.dialects import Take, TakeResult, V1Dialect
from stacksona_adapters.protocol.tasks import FrameworkOrigin, TaskCreated

TERMS = Terms(dialect=V1Dialect(), agent="bot")
TASK = TaskRef("task_1", "run", "bot", FrameworkOrigin.CUSTOM_API)


class Script:
    """Answers effects like a gate that decided in advance, and keeps what it was asked."""

    def __init__(self, action: Action, status: Status, later: Status | None = None, known: bool = True) -> None:
        self.digest = digest_of(action.with_identity("bot", "run"))
        self.status, self.later, self.known = status, later, known
        self.asked: list[str] = []
        self.fail_at: int | None = None

    def decision(self, status: Status) -> Decision:
        """The decision with a status."""
        return Decision(decision_id="dec_1", status=status, task_id="task_1", action_digest=self.digest)

    def answer(self, effect: Effect[Any]) -> Any:
        """The answer to an effect."""
        if isinstance(effect, FindTask):
            return TASK if self.known else None
        if isinstance(effect, Await):
            return self.decision(self.later or self.status)
        if isinstance(effect, TakeAlone):
            return True
        if not isinstance(effect, Send):
            return None
        if effect.call.path == "/v1/tasks":
            return TaskCreated(task_id="task_1")
        if effect.call.path.endswith("/consume"):
            return TakeResult(Take.TAKEN)
        return self.decision(self.status)

    def run(self, steps: Flow[Any]) -> Any:
        """Drive the flow to its end."""
        answer: Any = None
        try:
            effect = next(steps)
            while True:
                self.asked.append(describe(effect))
                if len(self.asked) == self.fail_at:
                    effect = steps.throw(KeyboardInterrupt())
                    continue
                answer = self.answer(effect)
                effect = steps.send(answer)
        except StopIteration as stop:
            return stop.value


def describe(effect: Effect[Any]) -> str:
    """One word for an effect."""
    if isinstance(effect, Send):
        return effect.call.path.rsplit("/", 1)[-1]
    return effect.kind.value if isinstance(effect, Report) else type(effect).__name__


def whole(action: Action) -> Flow[Any]:
    """Ask, wait and take."""
    approval = yield from flow.authorize(TERMS, action, None)
    yield from flow.take(TERMS, approval, approval.arguments)
    return approval


ACTION = make_action("refund", {"amount": 1}, run_id="run", call_id="c")


def test_effects_of_an_allowed_action() -> None:
    """A known task: one question, its report, and the taking."""
    script = Script(ACTION, Status.ALLOW)
    script.run(whole(ACTION))

    assert script.asked == ["FindTask", "decision", "TOOL_REQUESTED", "consume"]


def test_effects_of_a_review_in_a_new_run() -> None:
    """The task is created first; the review's milestones are reported in order."""
    script = Script(ACTION, Status.PENDING_REVIEW, later=Status.APPROVED, known=False)
    script.run(whole(ACTION))

    assert script.asked == [
        "FindTask", "tasks", "KeepTask", "TASK_STARTED", "decision", "TOOL_REQUESTED", "REVIEW_REQUESTED", "Await",
        "REVIEW_RESULT_RECEIVED", "consume",
    ]  # fmt: skip


def test_a_rule_that_rejects_triggers_the_guardrail() -> None:
    """A reject is reported as GUARDRAIL_TRIGGERED and nothing is taken."""
    script = Script(ACTION, Status.REJECT)
    with pytest.raises(ActionRejected):
        script.run(whole(ACTION))

    assert script.asked == ["FindTask", "decision", "TOOL_REQUESTED", "GUARDRAIL_TRIGGERED"]


def test_still_pending_is_a_pause() -> None:
    """A wait whose patience is over raises `ReviewPending`; the request is not withdrawn."""
    script = Script(ACTION, Status.PENDING_REVIEW)
    with pytest.raises(ReviewPending) as pending:
        script.run(whole(ACTION))

    assert "Withdraw" not in script.asked
    assert pending.value.action.call_id == "c"


def test_an_interrupted_wait_withdraws() -> None:
    """Ctrl-C while waiting withdraws the request and goes on being Ctrl-C."""
    script = Script(ACTION, Status.PENDING_REVIEW)
    script.fail_at = 5
    with pytest.raises(KeyboardInterrupt):
        script.run(whole(ACTION))

    assert script.asked[3:] == ["REVIEW_REQUESTED", "Await", "Withdraw"]


def test_an_interrupted_question_takes_nothing() -> None:
    """Interrupted at any other effect, the flow takes nothing; a request that may have been made is given up."""
    for number, after in ((1, []), (2, ["Abandon"]), (3, []), (4, [])):
        script = Script(ACTION, Status.ALLOW)
        script.fail_at = number
        with pytest.raises(KeyboardInterrupt):
            script.run(whole(ACTION))
        assert script.asked[number:] == after


def test_a_closed_flow_yields_nothing() -> None:
    """Every flow can be closed at each of its effects (a driver does so when it is stopped)."""
    makers: list[Callable[[], Flow[Any]]] = [lambda: whole(ACTION)]
    for make in makers:
        script = Script(ACTION, Status.PENDING_REVIEW, later=Status.APPROVED, known=False)
        for stop in range(1, 10):
            steps = make()
            effect = next(steps)
            for _ in range(stop - 1):
                effect = steps.send(script.answer(effect))
            steps.close()
            with pytest.raises(StopIteration):
                next(steps)


def test_an_outage_is_in_the_trail() -> None:
    """A request that found no gate is reported with its error, and raised."""

    class Down(Script):
        def answer(self, effect: Effect[Any]) -> Any:
            if isinstance(effect, Send):
                raise GateUnavailable("no connection")
            return super().answer(effect)

    script = Down(ACTION, Status.ALLOW)
    steps = whole(ACTION)
    effect = next(steps)
    effect = steps.send(script.answer(effect))
    report = steps.throw(GateUnavailable("no connection"))

    assert isinstance(report, Report)
    assert report.payload["error"] == "no connection"
    with pytest.raises(GateUnavailable):
        steps.send(None)


def test_a_digest_cannot_get_lost() -> None:
    """A gate that gave a digest and then approves without one is refused: it is held to taking permissions."""

    class Forgetful(Script):
        def answer(self, effect: Effect[Any]) -> Any:
            if isinstance(effect, Await):
                return super().answer(effect).model_copy(update={"action_digest": None})
            return super().answer(effect)

    script = Forgetful(ACTION, Status.PENDING_REVIEW, later=Status.APPROVED)
    with pytest.raises(GateProtocolError, match="lost its digest"):
        script.run(whole(ACTION))

    assert "consume" not in script.asked


def test_effects_are_data() -> None:
    """An effect can be compared and kept: it holds no connection."""
    assert KeepTask("r", TASK) == KeepTask("r", TASK)
    assert Withdraw(Decision(status=Status.PENDING_REVIEW), TASK).task is TASK
