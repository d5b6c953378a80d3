"""The contract of an adapter as tests: subclass `AdapterContract`, give it a `Harness`, and run pytest.

A real gate, real sockets and real processes; only the model is scripted. `docs/write-your-own-adapter.md` has a
complete example.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import pytest

from stacksona_adapters.client.reviewer import Verdict
from stacksona_adapters.errors import GateRequestRefused
from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.testing.broken import LIES, BrokenGate, nobody
from stacksona_adapters.testing.harness import AGENT, GATED, UNGATED, Harness, ProposedCall, Ran
from stacksona_adapters.testing.stage import LARGE, MIDDLE, SMALL, Stage, refund, staged

if TYPE_CHECKING:
    from stacksona_adapters.protocol.reviews import Review

Test = TypeVar("Test", bound=Callable[..., None])

LOOK_UP = ProposedCall(call_id="look", tool=UNGATED, arguments={"order_id": "A-1"})


def case(test: Test) -> Test:
    """Marks a case: where the harness declares that the framework cannot do it, only the documentation is checked."""

    @functools.wraps(test)
    def played(self: AdapterContract, *, stage: Stage, **given: Any) -> None:
        if not stage.limited(test.__name__.removeprefix("test_")):
            test(self, stage=stage, **given)

    return cast("Test", played)


class AdapterContract:
    """The twelve cases of the contract and what goes with them, on every path of a harness.

    Attributes:
        harness: The adapter's harness.
    """

    harness: ClassVar[Harness]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """A test runs once for each path that it is for."""
        if "path" in metafunc.fixturenames:
            every = metafunc.function.__name__.startswith("test_every_path")
            metafunc.parametrize("path", list(self.harness.paths) if every else self.harness.faces)

    @pytest.fixture
    def stage(self, path: str, tmp_path: Path) -> Iterator[Stage]:
        """A gate, a reviewer and a place for the scenario."""
        with staged(self.harness, path, tmp_path) as stage:
            yield stage

    @case
    def test_every_path_asks_first(self, stage: Stage) -> None:
        """1: On every path a rejected call does not run, and an allowed one runs once with its arguments."""
        refused = stage.play(stage.scenario(refund("c1", LARGE), run_id="refused"))

        assert stage.requests[0].status is Status.REJECT
        assert stage.scenario().ledger.refunds == []
        assert refused.paused is None

        stage.play(stage.scenario(refund("c1", SMALL), run_id="allowed"))

        assert stage.scenario().ledger.refunds == [{"order_id": "A-1", "amount": SMALL}]
        assert [request.status for request in stage.requests if request.action == GATED] == ["reject", "allow"]

    @case
    def test_gates_validated_arguments(self, stage: Stage) -> None:
        """2: The gate is asked about the very arguments that run, not about what the model wrote."""
        with stage.reviewer.deciding(Verdict("approve")):
            stage.play(stage.scenario(refund("c1", str(MIDDLE))))

        assert [request.arguments for request in stage.requests] == stage.scenario().ledger.refunds
        assert stage.scenario().ledger.refunds == [{"order_id": "A-1", "amount": MIDDLE}]

    @case
    def test_resume_asks_the_gate(self, stage: Stage) -> None:
        """3: A resumed run believes the gate and no record of its framework, which somebody may have changed."""
        scenario = stage.scenario(refund("c1"), wait=0)
        paused = _paused(stage.play(scenario))

        stage.elsewhere(scenario, stage.harness.forged(paused)).ran()
        assert scenario.ledger.refunds == []

        stage.reviewer.reject(message="No receipt.")
        stage.elsewhere(scenario, stage.harness.forged(paused)).ran()
        assert scenario.ledger.refunds == []

    @case
    def test_refusal_is_a_result(self, stage: Stage) -> None:
        """4: The model is told that it did not run, why and which decision, four times over; the run goes on."""
        turns = [refund(f"c{turn}", LARGE + turn) for turn in range(4)]
        ran = stage.play(stage.scenario([turns[0], LOOK_UP], *turns[1:]))

        assert (ran.error, ran.finished) == (None, True)
        for call, request in zip(turns, stage.requests, strict=True):
            assert "did not run" in ran.told[call.call_id]
            assert request.decision_id in ran.told[call.call_id]
        assert [effect.tool for effect in stage.scenario().ledger.effects] == [UNGATED]

    @case
    def test_rejection_by_a_person(self, stage: Stage) -> None:
        """4: What a reviewer says reaches the model."""
        with stage.reviewer.deciding(Verdict("reject", "The parcel is still on its way.")):
            ran = stage.play(stage.scenario(refund("c1")))

        assert (ran.error, ran.finished, stage.scenario().ledger.refunds) == (None, True, [])
        assert "The parcel is still on its way." in ran.told["c1"]

    @case
    def test_parallel_calls(self, stage: Stage) -> None:
        """5: The requests of one turn wait together, and each call is decided and runs by itself."""
        calls = [refund("c1", 51, "A-1"), refund("c2", 52, "A-2"), refund("c3", 53, "A-3"), LOOK_UP]
        with stage.playing(stage.scenario(calls)) as running:
            waiting = {review.subject: review.decision_id for review in stage.reviewer.waiting(3)}
            stage.reviewer.reject(waiting["A-2"])
            stage.reviewer.approve(waiting["A-3"], arguments={"order_id": "A-3", "amount": 30.0})
            stage.reviewer.approve(waiting["A-1"])
        ran, ledger = running.result(), stage.scenario().ledger

        assert (ran.error, ran.finished) == (None, True)
        assert sorted(ledger.refunds, key=str) == sorted(
            [{"order_id": "A-1", "amount": 51.0}, {"order_id": "A-3", "amount": 30.0}], key=str
        )
        assert UNGATED in {effect.tool for effect in ledger.effects}
        assert set(ran.told) >= {"c1", "c2", "c3", "look"}

    @case
    def test_suspends_and_resumes(self, stage: Stage) -> None:
        """6: A suspended run with several calls ends in another process: one request and one execution for each."""
        scenario = stage.scenario(
            [refund("c1", 51, "A-1"), refund("c2", 52, "A-2")], refund("c3", SMALL, "A-3"), wait=0
        )
        paused = _paused(stage.play(scenario))
        assert scenario.ledger.refunds == []

        still = stage.elsewhere(scenario, paused).ran()
        waiting = {review.subject: review.decision_id for review in stage.reviewer.waiting(2)}
        stage.reviewer.approve(waiting["A-1"])
        stage.reviewer.reject(waiting["A-2"])
        ran = stage.elsewhere(scenario, _paused(still)).ran()

        assert (ran.error, ran.finished, ran.paused) == (None, True, None)
        assert [refund["order_id"] for refund in scenario.ledger.refunds] == ["A-1", "A-3"]
        assert len(stage.requests) == 3

    @case
    def test_resumed_twice_runs_once(self, stage: Stage) -> None:
        """6: Two processes that resume the same pause pay once."""
        scenario = stage.scenario(refund("c1"), wait=0)
        paused = _paused(stage.play(scenario))
        stage.reviewer.approve()
        both = [stage.elsewhere(scenario, paused), stage.elsewhere(scenario, paused)]
        for process in both:
            process.ended()

        assert len(scenario.ledger.refunds) == 1

    @case
    def test_killed_in_the_tool(self, stage: Stage) -> None:
        """6: A process killed between effect and report leaves an unknown outcome; nothing runs a second time."""
        scenario = stage.scenario(refund("c1"), wait=0)
        paused = _paused(stage.play(scenario))
        stage.reviewer.approve()

        assert stage.elsewhere(scenario.model_copy(update={"die_in_tool": True}), paused).ended() == -signal.SIGKILL
        stage.elsewhere(scenario, paused).ran()
        assert len(scenario.ledger.refunds) == 1
        assert stage.requests[0].outcome == "unknown"

    @case
    def test_edited_arguments(self, stage: Stage) -> None:
        """7: A reviewer's edit runs instead, and the model is told what ran."""
        with stage.reviewer.deciding(Verdict("approve", arguments={"order_id": "A-1", "amount": 20.0})):
            ran = stage.play(stage.scenario(refund("c1")))

        assert stage.scenario().ledger.refunds == [{"order_id": "A-1", "amount": 20.0}]
        assert "reviewer changed the arguments" in ran.told["c1"]

    @case
    def test_invalid_edit(self, stage: Stage) -> None:
        """7: An edit that the tool's schema does not accept is refused to the reviewer; nothing runs."""
        with stage.playing(stage.scenario(refund("c1"))) as running:
            request = stage.reviewer.waiting()[0]
            with pytest.raises(GateRequestRefused) as refused:
                stage.reviewer.approve(request.decision_id, arguments={"order_id": "A-1", "amount": "many"})
            stage.reviewer.reject(request.decision_id)

        assert refused.value.status_code == 422
        assert (running.result().finished, stage.scenario().ledger.refunds) == (True, [])

    @case
    def test_revise(self, stage: Stage) -> None:
        """8: Sent back, the model is told what to change, and its next proposal names the decision that it revises."""
        with stage.reviewer.deciding(_half_at_most):
            ran = stage.play(stage.scenario(refund("c1", 80), refund("c2", 40)))
        first, second = stage.requests

        assert (ran.error, ran.finished) == (None, True)
        assert "Half at most." in ran.told["c1"]
        assert (first.status, second.status, second.revises) == ("revise", "approved", first.decision_id)
        assert stage.scenario().ledger.refunds == [{"order_id": "A-1", "amount": 40.0}]

    @case
    def test_cancel_withdraws(self, stage: Stage) -> None:
        """9: A cancelled run withdraws its request, so that nobody reviews a dead action."""
        scenario = stage.scenario(refund("c1"), wait=None)
        if stage.asynchronous:
            stage.cancelled(scenario)
        else:
            process = stage.elsewhere(scenario)
            stage.reviewer.waiting()
            process.signal(signal.SIGINT)
            process.ended()
        decision_id = stage.requests[0].decision_id

        assert stage.settled(decision_id, lambda request: request.status.final).status is Status.CANCELLED
        assert scenario.ledger.refunds == []

    @pytest.mark.parametrize("amount", [SMALL, MIDDLE, LARGE], ids=["allowed", "approved", "rejected"])
    @case
    def test_decision_id_in_the_transcript(self, stage: Stage, amount: float) -> None:
        """10: The framework's own record of the run names the decision."""
        with stage.reviewer.deciding(Verdict("approve")):
            ran = stage.play(stage.scenario(refund("c1", amount)))

        assert stage.requests[0].decision_id in ran.transcript

    @case
    def test_request_facts(self, stage: Stage) -> None:
        """11: The request says who wants what of whom, how risky and why, and what the framework knows."""
        with stage.reviewer.deciding(Verdict("approve")):
            stage.play(stage.scenario(refund("c1")))
        (request,) = stage.requests

        assert (request.agent, request.action, request.subject, request.risk) == (AGENT, GATED, "A-1", "high")
        assert request.risk_reason
        assert set(request.context) >= set(stage.harness.context)
        assert sum(len(str(value)) for value in request.context.values()) < 4000
        assert request.arguments_schema is not None
        created = next(entry for entry in request.timeline if entry.kind == "task.created")
        assert created.payload["framework_origin"] == stage.harness.framework

    @case
    def test_events_of_a_review(self, stage: Stage) -> None:
        """12: The trail of a reviewed run, from TASK_STARTED to TASK_COMPLETED."""
        with stage.reviewer.deciding(_half_at_most):
            stage.play(stage.scenario(refund("c1", 80), refund("c2", 40)))
        kinds = _kinds(stage, "TASK_COMPLETED")

        asked = ["TOOL_REQUESTED", "REVIEW_REQUESTED", "REVIEW_RESULT_RECEIVED"]
        again = ["TOOL_REQUESTED", "TASK_REVISED", "REVIEW_REQUESTED", "REVIEW_RESULT_RECEIVED"]
        assert kinds == ["TASK_STARTED", *asked, *again, "TOOL_EXECUTED", "TASK_COMPLETED"]
        executed = next(entry for entry in stage.requests[1].timeline if entry.kind == "TOOL_EXECUTED")
        assert executed.payload["event_payload"]["outcome"] == "succeeded"
        assert executed.payload["event_payload"]["duration_ms"] >= 0

    @case
    def test_events_of_a_rejection(self, stage: Stage) -> None:
        """12: A rule that rejects stands in the trail as GUARDRAIL_TRIGGERED."""
        stage.play(stage.scenario(refund("c1", LARGE)))

        assert _kinds(stage, "TASK_COMPLETED") == [
            "TASK_STARTED", "TOOL_REQUESTED", "GUARDRAIL_TRIGGERED", "TASK_COMPLETED"
        ]  # fmt: skip

    @case
    def test_ungated_tool_pays_nothing(self, stage: Stage) -> None:
        """A tool that is not gated makes no call to the gate."""
        with BrokenGate() as gate:
            ran = stage.play(stage.scenario(LOOK_UP, url=gate.url))

        assert (ran.finished, gate.calls) == (True, [])
        assert [effect.tool for effect in stage.scenario().ledger.effects] == [UNGATED]

    @case
    def test_gate_down(self, stage: Stage) -> None:
        """Without a gate nothing gated runs, the other calls of the turn do, and nothing hangs."""
        ran = stage.play(stage.scenario([refund("c1"), LOOK_UP], url=nobody(), patience=1.0))

        assert [effect.tool for effect in stage.scenario().ledger.effects] == [UNGATED]
        assert ran.paused or ran.error or "did not run" in ran.told["c1"]

    @pytest.mark.parametrize("lie", LIES)
    @case
    def test_gate_lies(self, stage: Stage, lie: str) -> None:
        """An answer that is no trustworthy approval of this very action lets nothing run."""
        with BrokenGate(*LIES[lie]) as gate:
            ran = stage.play(stage.scenario(refund("c1"), url=gate.url, patience=1.0))

        assert any("gate/decision" in call for call in gate.calls)
        assert stage.scenario().ledger.effects == []
        assert ran.paused or ran.error or "did not run" in ran.told["c1"]

    def test_limits_name_cases(self) -> None:
        """A declared limit is about a case and a path that exist."""
        cases = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        for limit in self.harness.limits:
            case, _, path = limit.partition("[")
            assert case in cases
            assert not path or path.removesuffix("]") in self.harness.paths


def _paused(ran: Ran) -> str:
    assert ran.paused is not None, f"the run did not pause: {ran}"
    return ran.paused


def _half_at_most(review: Review) -> Verdict:
    if review.arguments["amount"] > MIDDLE:
        return Verdict("revise", "Half at most.")
    return Verdict("approve")


def _kinds(stage: Stage, last: str) -> list[str]:
    """The events of the run, in order, as soon as the last one has come."""
    decision_id = stage.requests[0].decision_id
    done = stage.settled(decision_id, lambda request: any(entry.kind == last for entry in request.timeline))
    return [entry.kind for entry in done.timeline if entry.kind.isupper()]
