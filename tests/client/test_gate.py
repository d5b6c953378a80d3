"""`Gate` and `AsyncGate` against the real gate, over a real socket."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from stacksona_adapters import (
    ActionCancelled,
    ActionExpired,
    ActionMismatch,
    ActionRejected,
    AlreadyTaken,
    AsyncGate,
    ConfigurationError,
    Gate,
    GateRequestRefused,
    InvalidEdit,
    OutcomeUnknown,
    ReviewPending,
    RevisionRequested,
    Status,
)
from stacksona_adapters.client.reviewer import Reviewer, Verdict
from stacksona_adapters.protocol.reviews import Folder
from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.testing.gate import RunningGate, running_gate


@pytest.fixture
def server() -> Iterator[RunningGate]:
    """A real gate with a rule that allows up to 50 and rejects above 1000."""
    rules = [
        {"tool": "refund", "parameter": "amount", "type": "between", "value": 0, "value2": 50, "outcome": "allow"},
        {"tool": "refund", "parameter": "amount", "type": "upper_limit", "value": 1000, "outcome": "reject"},
    ]
    with running_gate(rules=rules, clock=ManualClock()) as gate:
        yield gate


@pytest.fixture
def reviewer(server: RunningGate) -> Reviewer:
    """A reviewer at the gate."""
    return server.reviewer("ann")


class Shop:
    """A gated refund, sync or async, called the same way."""

    def __init__(self, gate: Gate, *, asynchronous: bool, **options: Any) -> None:
        self.ran: list[tuple[str, float]] = []

        def refund(order: str, amount: float, note: str = "-") -> str:
            self.ran.append((order, amount))
            if note == "explode":
                raise RuntimeError("the shop's API is down")
            return f"refunded {amount}"

        async def arefund(order: str, amount: float, note: str = "-") -> str:
            return refund(order, amount, note)

        protect: Callable[[Any], Any] = gate.protect(action="refund", risk="high", subject="order", **options)
        if asynchronous:
            gated = protect(arefund)
            self.refund: Callable[..., str] = lambda *a, **k: asyncio.run(gated(*a, **k))
            self.resume: Callable[[ReviewPending], str] = lambda p: asyncio.run(gated.resume(p))
        else:
            self.refund = protect(refund)
            self.resume = self.refund.resume  # type: ignore[attr-defined]


@pytest.fixture(params=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Every case runs through both drivers."""
    return bool(request.param == "async")


def timeline(server: RunningGate, reviewer: Reviewer, gate: Gate, decision_id: str) -> list[str]:
    """The kinds of record of the decision's task, once all events have come."""
    assert gate.flush(10)
    return [entry.kind for entry in reviewer.detail(decision_id).timeline]


def test_a_rule_allows(server: RunningGate, asynchronous: bool) -> None:
    """Small refunds run at once, and the outcome closes the permission."""
    shop = Shop(server.gate("bot"), asynchronous=asynchronous)

    assert shop.refund("A1", 20.0) == "refunded 20.0"
    assert shop.ran == [("A1", 20.0)]


def test_a_rule_rejects(server: RunningGate, asynchronous: bool) -> None:
    """Forbidden refunds never run; the error carries the decision and says what to do."""
    shop = Shop(server.gate("bot"), asynchronous=asynchronous)

    with pytest.raises(ActionRejected, match="did not run.*Do not call it again") as caught:
        shop.refund("A1", 2000.0)

    assert caught.value.decision is not None
    assert caught.value.decision.status is Status.REJECT
    assert shop.ran == []


def test_a_person_approves(server: RunningGate, reviewer: Reviewer, asynchronous: bool) -> None:
    """A doubtful refund waits and then runs with exactly its arguments."""
    shop = Shop(server.gate("bot"), asynchronous=asynchronous)

    with reviewer.deciding(Verdict("approve")) as decided:
        assert shop.refund("A1", 100.0) == "refunded 100.0"

    assert shop.ran == [("A1", 100.0)]
    assert len(decided) == 1


def test_a_person_rejects_and_sends_back(server: RunningGate, reviewer: Reviewer, asynchronous: bool) -> None:
    """The reviewer's words reach the agent, and nothing runs."""
    shop = Shop(server.gate("bot"), asynchronous=asynchronous)

    with reviewer.deciding(Verdict("reject", "known fraud")), pytest.raises(ActionRejected, match="known fraud"):
        shop.refund("A1", 100.0)
    with reviewer.deciding(Verdict("revise", "half of it")), pytest.raises(RevisionRequested, match="half of it"):
        shop.refund("A1", 100.0)

    assert shop.ran == []


def test_edited_arguments_run_instead(server: RunningGate, reviewer: Reviewer, asynchronous: bool) -> None:
    """What the reviewer wrote is what runs, by the function's own types."""
    shop = Shop(server.gate("bot"), asynchronous=asynchronous)

    with reviewer.deciding(Verdict("approve", arguments={"order": "A1", "amount": 60, "note": "-"})):
        assert shop.refund("A1", 100.0) == "refunded 60.0"

    assert shop.ran == [("A1", 60.0)]


def test_an_edit_that_does_not_fit_is_refused_at_the_gate(server: RunningGate, reviewer: Reviewer) -> None:
    """The reviewer is told at once, by the function's own schema; the request stays pending."""
    gate = server.gate("bot", wait=0)
    shop = Shop(gate, asynchronous=False)
    with pytest.raises(ReviewPending) as pending:
        shop.refund("A1", 100.0)

    with pytest.raises(GateRequestRefused, match="422"):
        reviewer.approve(pending.value.decision.id, arguments={"order": "A1", "amount": "much", "note": "-"})

    assert reviewer.detail(pending.value.decision.id).status is Status.PENDING_REVIEW


def test_an_edit_that_the_tool_refuses_runs_nothing(server: RunningGate, reviewer: Reviewer) -> None:
    """Where only the tool itself can tell, nothing runs and the reviewer's side sees it in the timeline."""
    gate = server.gate("bot")

    def validate(_: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("the account is closed")

    action = gate.action("refund", {"order": "A1", "amount": 100.0})
    with reviewer.deciding(Verdict("approve", arguments={"order": "A2", "amount": 100.0})):
        with pytest.raises(InvalidEdit, match="account is closed") as caught, gate.permit(action, validate=validate):
            pytest.fail("it ran")

    kinds = timeline(server, reviewer, gate, caught.value.decision_id or "")
    assert "GUARDRAIL_TRIGGERED" in kinds


def test_approved_at_100_cannot_run_at_101(server: RunningGate, reviewer: Reviewer) -> None:
    """The digest is checked over what is about to run, by the client and by the gate."""
    gate = server.gate("bot")
    action = gate.action("refund", {"amount": 100.0})
    with reviewer.deciding(Verdict("approve")):
        approval = gate.authorize(action)

    with pytest.raises(ActionMismatch):
        gate.take(approval, {"amount": 101.0})
    other = pickle.loads(pickle.dumps(approval))
    forged = other.asked.action.model_copy(update={"arguments": {"amount": 101.0}})
    lie = type(approval)(type(approval.asked)(**{**vars(other.asked), "action": forged}), {"amount": 101.0})
    with pytest.raises(ActionMismatch):
        gate.take(lie, {"amount": 101.0})
    assert gate.take(approval, {"amount": 100.0}).arguments == {"amount": 100.0}


def test_a_permission_is_good_once(server: RunningGate, reviewer: Reviewer, asynchronous: bool) -> None:
    """The second taking is refused, whoever tries: with the outcome unknown until it is reported."""
    gate = server.gate("bot")
    with reviewer.deciding(Verdict("approve")):
        first = gate.authorize(gate.action("refund", {"amount": 100.0}, run_id="r", call_id="c"))
    second = gate.authorize(gate.action("refund", {"amount": 100.0}, run_id="r", call_id="c"))
    assert second.decision.id == first.decision.id

    gate.take(first, first.arguments)
    with pytest.raises(OutcomeUnknown, match="may have run"):
        gate.take(second, second.arguments)
    with gate.reporting(first.asked):
        pass
    assert gate.flush(10)
    with pytest.raises(AlreadyTaken) as caught:
        gate.take(second, second.arguments)
    assert not isinstance(caught.value, OutcomeUnknown)


def test_an_allowed_action_is_good_once_too(server: RunningGate) -> None:
    """A run that comes again after a crash finds that its allowed action was taken."""
    gate, again = server.gate("bot"), server.gate("bot")
    action = gate.action("refund", {"amount": 5}, run_id="r", call_id="c")

    with gate.permit(action):
        pass
    assert gate.flush(10)
    with pytest.raises(AlreadyTaken), again.permit(action):
        pytest.fail("it ran twice")


def test_an_allow_can_be_taken_later(server: RunningGate) -> None:
    """An action that is not taken with its answer survives a pause between the two, and is good once."""
    gate, again = server.gate("bot"), server.gate("bot")
    action = gate.action("refund", {"amount": 5}, run_id="later", call_id="c", take_at_once=False)

    assert gate.authorize(action).decision.consumed_at is None
    resumed = again.authorize(action)
    again.take(resumed, resumed.arguments)
    with pytest.raises(OutcomeUnknown):
        gate.take(gate.authorize(action), action.arguments)


@pytest.mark.parametrize("amount", [10.0, 100.0])
def test_one_approval_is_good_once(server: RunningGate, reviewer: Reviewer, amount: float) -> None:
    """The very same approval cannot be taken a second time, allowed by a rule or by a person."""
    gate = server.gate("bot")
    with reviewer.deciding(Verdict("approve")):
        approval = gate.authorize(gate.action("refund", {"amount": amount}))
    gate.take(approval, approval.arguments)

    with pytest.raises(AlreadyTaken):
        gate.take(approval, approval.arguments)


@pytest.mark.parametrize("amount", [10.0, 100.0])
def test_a_durable_engine_may_take_again(server: RunningGate, reviewer: Reviewer, amount: float) -> None:
    """With an attempt id of its own a replay is at-least-once on purpose, in any process."""
    fields = {"run_id": "r", "call_id": "c", "attempt_id": "step-7"}
    with reviewer.deciding(Verdict("approve")):
        for gate in (server.gate("bot"), server.gate("bot")):
            approval = gate.authorize(gate.action("refund", {"amount": amount}, **fields))
            assert gate.take(approval, approval.arguments).arguments == {"amount": amount}


def test_suspend_and_resume(server: RunningGate, reviewer: Reviewer, asynchronous: bool) -> None:
    """`wait=0` pauses; the pickled pause goes on in another client after days."""
    shop = Shop(server.gate("bot", wait=0), asynchronous=asynchronous)
    with pytest.raises(ReviewPending) as pending:
        shop.refund("A1", 100.0)
    blob = pickle.dumps(pending.value)
    reviewer.approve(pending.value.decision.id)
    server.settings.clock.advance(timedelta(days=9))

    later = Shop(server.gate("bot", wait=0), asynchronous=asynchronous)
    assert later.resume(pickle.loads(blob)) == "refunded 100.0"
    assert later.ran == [("A1", 100.0)]
    assert shop.ran == []
    with pytest.raises(AlreadyTaken):
        later.resume(pickle.loads(blob))


def test_a_request_expires(server: RunningGate, asynchronous: bool) -> None:
    """Nobody decides: after its time the action is stopped."""
    gate = server.gate("bot", expires_in=3600)
    shop = Shop(gate, asynchronous=asynchronous)
    watch = server.reviewer("bob")
    moved = threading.Thread(target=lambda: (watch.waiting(), server.settings.clock.advance(timedelta(days=1))))
    moved.start()

    with pytest.raises(ActionExpired):
        shop.refund("A1", 100.0)
    moved.join()
    assert shop.ran == []


def test_patience_ends_in_a_pause(server: RunningGate, asynchronous: bool) -> None:
    """A bounded wait raises `ReviewPending`, and the request stays for the reviewer."""
    shop = Shop(server.gate("bot"), asynchronous=asynchronous, wait=0.2)
    with pytest.raises(ReviewPending):
        shop.refund("A1", 100.0)
    assert len(list(server.reviewer("bob").client.reviews(Folder.NEW))) == 1


async def _cancel_while_waiting(gate: AsyncGate, reviewer: Reviewer) -> str:
    task = asyncio.ensure_future(gate.authorize(gate.action("refund", {"amount": 100.0})))
    [review] = await asyncio.to_thread(reviewer.waiting)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return review.decision_id


def test_a_cancelled_wait_withdraws_its_request(server: RunningGate, reviewer: Reviewer) -> None:
    """Nobody reviews a dead action."""
    gate = server.gate("bot")
    decision_id = asyncio.run(_cancel_while_waiting(gate.aio, reviewer))

    assert gate.flush(10)
    assert reviewer.detail(decision_id).status is Status.CANCELLED


def test_a_withdrawn_request_stops_another_waiter(server: RunningGate, reviewer: Reviewer) -> None:
    """Whoever else waits for the same request is told that it was withdrawn."""
    gate = server.gate("bot")
    action = gate.action("refund", {"amount": 100.0}, run_id="r", call_id="c")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate.authorize, action, wait=60)
        reviewer.waiting()
        gate.withdraw(gate.request(action))
        with pytest.raises(ActionCancelled):
            waiting.result(60)


def test_the_trail_tells_the_story(server: RunningGate, reviewer: Reviewer) -> None:
    """Events of the contract stand in the task's chain, in order, and the chain verifies."""
    gate = server.gate("bot")
    shop = Shop(gate, asynchronous=False)
    with reviewer.deciding(Verdict("approve")) as decided, gate.task("Refund order A1"):
        shop.refund("A1", 100.0)

    kinds = timeline(server, reviewer, gate, decided[0])
    wanted = ["TASK_STARTED", "TOOL_REQUESTED", "REVIEW_REQUESTED", "REVIEW_RESULT_RECEIVED", "TOOL_EXECUTED"]
    assert [kind for kind in kinds if kind in wanted] == wanted
    assert "TASK_COMPLETED" in kinds
    assert server.service.verify_audit().broken is None


def test_a_failing_action_is_reported_as_failed(server: RunningGate, reviewer: Reviewer) -> None:
    """The action's own error reaches the caller; the trail says failed, and the permission is closed."""
    gate = server.gate("bot")
    shop = Shop(gate, asynchronous=False)
    with pytest.raises(RuntimeError, match="API is down"), gate.task("t"):
        shop.refund("A1", 10.0, "explode")

    assert gate.flush(10)
    with reviewer.deciding(Verdict("reject")) as decided, pytest.raises(ActionRejected):
        shop.refund("A1", 100.0)
    assert decided


def test_secrets_do_not_leave_the_process(server: RunningGate, reviewer: Reviewer) -> None:
    """The reviewer sees `[redacted]`; the tool gets the real value, also after an edit of something else."""
    gate = server.gate("bot")
    got: list[tuple[str, float]] = []

    @gate.protect(subject="order")
    def pay(order: str, amount: float, api_key: str) -> None:
        got.append((api_key, amount))

    def script(review: Any) -> Verdict:
        assert review.arguments["api_key"] == "[redacted]"
        return Verdict("approve", arguments={**review.arguments, "amount": 70.0})

    with reviewer.deciding(script):
        pay("A1", 100.0, "sk-live-0123456789abcdefghij")

    assert got == [("sk-live-0123456789abcdefghij", 70.0)]


def test_one_run_makes_one_request(server: RunningGate, reviewer: Reviewer) -> None:
    """A named run that starts again finds its requests, in order, though it describes them in other words."""
    for attempt in (1, 2):
        gate = server.gate("bot", wait=0)
        with pytest.raises(ReviewPending), gate.task(f"attempt {attempt}", run_id="order-A1"):
            gate.sync.protect(action="refund", summary=(f"attempt {attempt}",))(lambda amount: None)(100.0)

    assert len(list(reviewer.client.reviews(Folder.NEW))) == 1


def test_threads_belong_to_the_open_task(server: RunningGate) -> None:
    """A thread without context is part of the one task that is open; a wrapped function always is."""
    gate = server.gate("bot")
    seen: list[str | None] = []

    def work() -> None:
        seen.append(gate.request(gate.action("refund", {"amount": 1})).task.task_id)

    with gate.task("one") as task:
        for target in (work, task.wrap(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        mine = task.task_id

    assert seen == [mine, mine]


@pytest.mark.parametrize("dialect", ["v1", "agent"])
@pytest.mark.parametrize("signed", [False, True])
def test_both_dialects_and_signed_approvals(dialect: str, signed: bool) -> None:
    """Allow, reject, review and at-most-once in each dialect, with and without a token."""
    rules = [{"tool": "refund", "parameter": "amount", "type": "lower_limit", "value": 50, "outcome": "allow"}]
    with running_gate(rules=rules) as server:
        key = server.agent_key("bot", signed_approval=signed)
        gate, reviewer = server.gate("bot", api_key=key, dialect=dialect), server.reviewer()
        action = gate.action("refund", {"amount": 100.0, "password": "hunter2"}, run_id="r", call_id="c", subject="A1")
        ran = []
        with gate.permit(gate.action("refund", {"amount": 1})) as permit:
            ran.append(permit.arguments)
        with reviewer.deciding(Verdict("approve")), gate.permit(action) as permit:
            ran.append(permit.arguments)
        with pytest.raises(AlreadyTaken), gate.permit(action):
            pytest.fail("it ran twice")

        assert ran == [{"amount": 1}, {"amount": 100.0, "password": "hunter2"}]
        assert gate.flush(10)


def test_one_gate_in_many_loops_and_threads(server: RunningGate) -> None:
    """One `AsyncGate` serves several event loops and threads at once."""
    gate = server.gate("bot").aio

    def work(_: int) -> bool:
        async def ask() -> bool:
            return (await gate.authorize(gate.action("refund", {"amount": 1}))).decision.status.executes

        return asyncio.run(ask()) and asyncio.run(ask())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_mistakes_are_told_before_anything_is_sent(server: RunningGate) -> None:
    """A generator, an unknown subject, a wrong level, a wrong patience: each is refused where it stands."""
    gate = server.gate("bot")

    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match="generator"):
        gate.protect()(stream)
    with pytest.raises(ConfigurationError, match="no parameter"):
        gate.protect(subject="nobody")(lambda amount: None)
    with pytest.raises(ConfigurationError, match="low, medium, high or critical"):
        gate.protect(risk="enormous")(lambda amount: None)
    with pytest.raises(ConfigurationError, match="wait="):
        gate.authorize(gate.action("refund", {}), wait=-1)
    with pytest.raises(ConfigurationError, match="closed"):
        server_gate = server.gate("other")
        server_gate.close()
        server_gate.request(server_gate.action("refund", {}))


def test_gate_without_url_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Gate()` with no URL says exactly that, and how to get one."""
    monkeypatch.delenv("STACKSONA_GATE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="No gate URL.*STACKSONA_GATE_URL.*stacksona serve"):
        Gate()
    monkeypatch.setenv("STACKSONA_GATE_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("STACKSONA_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="STACKSONA_API_KEY"):
        AsyncGate()


async def _cancel_while_asking(gate: AsyncGate, action: Any) -> None:
    task = asyncio.ensure_future(gate.authorize(action))
    for _ in range(3):  # the request is on its way, and its answer is not here yet
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("amount", [100.0, 10.0])
def test_a_cancelled_ask_leaves_nothing_open(server: RunningGate, reviewer: Reviewer, amount: float) -> None:
    """A request whose answer nobody waited for is withdrawn; an allowed one is reported as not run."""
    gate = server.gate("bot")
    with gate.task("t"):
        asyncio.run(_cancel_while_asking(gate.aio, gate.action("refund", {"amount": amount})))
    gate.close()

    assert list(reviewer.client.reviews(Folder.NEW)) == []
    assert list(reviewer.client.reviews(Folder.UNKNOWN)) == []
    assert server.service.verify_audit().broken is None
