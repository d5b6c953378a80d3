"""Reading decisions: tolerant of unknown fields, intolerant of everything else."""

from __future__ import annotations

from typing import Any

import pytest

from stacksona_adapters.errors import GateProtocolError
from stacksona_adapters.protocol.answers import combine, read_agent, read_v1, write_agent, write_v1
from stacksona_adapters.protocol.decisions import TRANSITIONS, Decision, Status

OURS = {"decision": "APPROVED", "status": "approved", "decision_id": "dec_1", "reviewer_id": "ann", "audit_hash": "h"}
GIVEN = {"decision": "APPROVED", "reviewer_id": "ann", "audit_hash": "abc"}
AGENT = {"status": "allow", "thread_id": "THR-4F2A9C1B", "task_id": "task_1"}


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """A copy of a body without some fields."""
    return {name: value for name, value in body.items() if name not in names}


@pytest.mark.parametrize("word", ["APPROVED", "approved"])
def test_given_answer_with_three_fields_is_enough(word: str) -> None:
    """A hosted gate that sends only the given fields is understood."""
    assert read_v1({**GIVEN, "decision": word}).status is Status.APPROVED


def test_unknown_fields_are_ignored() -> None:
    """A newer gate may say more."""
    assert read_v1({**OURS, "weather": "fine", "nested": {"a": [1]}}).decision_id == "dec_1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        without(OURS, "decision"),
        without(OURS, "decision_id"),
        without(GIVEN, "audit_hash"),
        without(GIVEN, "reviewer_id"),
        {**GIVEN, "audit_hash": ""},
        {**GIVEN, "decision": "PENDING"},
        {**OURS, "decision": "Approved"},
        {**OURS, "decision": "YES"},
        {**OURS, "decision": True},
        {**OURS, "decision": None},
        {**OURS, "status": "ok"},
        {**OURS, "status": None},
        {**OURS, "status": ["approved"]},
        {**OURS, "approved": "false"},
        {**OURS, "approved": "true"},
        {**OURS, "approved": 1},
        {**OURS, "decision_id": 7},
        {**OURS, "decision_id": ""},
        {**OURS, "id": "dec_2"},
        {**OURS, "arguments": "amount=1"},
        {**OURS, "arguments": [1]},
        {**OURS, "action_digest": 5},
        {**OURS, "expires_at": "tomorrow"},
        {**OURS, "message": {"text": "x"}},
    ],
)
def test_odd_v1_answers_are_refused(body: dict[str, Any]) -> None:
    """A missing field, an unknown word or a wrong type is never read as a decision."""
    with pytest.raises(GateProtocolError, match="nothing ran"):
        read_v1(body)


@pytest.mark.parametrize(
    "body",
    [
        without(AGENT, "status"),
        without(AGENT, "thread_id"),
        {**AGENT, "status": "Allowed"},
        {**AGENT, "status": "approve"},
        {**AGENT, "thread_id": None},
        {**AGENT, "approved": False},
        {**AGENT, "approval_token": 1},
    ],
)
def test_odd_agent_answers_are_refused(body: dict[str, Any]) -> None:
    """The same strictness in the agent dialect."""
    with pytest.raises(GateProtocolError):
        read_agent(body)


@pytest.mark.parametrize(
    ("word", "status", "expected"),
    [
        ("APPROVED", None, Status.ALLOW),
        ("DENIED", None, Status.REJECT),
        ("REVISE", None, Status.REVISE),
        ("PENDING", None, Status.PENDING_REVIEW),
        ("APPROVED", Status.ALLOW, Status.ALLOW),
        ("APPROVED", Status.REJECTED, Status.REJECTED),
        ("APPROVED", Status.PENDING_REVIEW, Status.PENDING_REVIEW),
        ("DENIED", Status.APPROVED, Status.REJECT),
        ("DENIED", Status.EXPIRED, Status.EXPIRED),
        ("DENIED", Status.CANCELLED, Status.CANCELLED),
        ("PENDING", Status.ALLOW, Status.PENDING_REVIEW),
        ("REVISE", Status.APPROVED, Status.REVISE),
        ("REVISE", Status.REJECTED, Status.REJECTED),
    ],
)
def test_the_stricter_of_two_words_wins(word: str, status: Status | None, expected: Status) -> None:
    """Where `decision` and `status` contradict each other, the stricter one counts."""
    assert combine(word, status, by_reviewer=False) is expected


def test_only_allow_and_approved_execute() -> None:
    """Two statuses let an action run, and no other."""
    assert {status for status in Status if status.executes} == {Status.ALLOW, Status.APPROVED}


def test_every_status_has_its_transitions() -> None:
    """The table knows every status, and nothing leaves a refusal."""
    assert set(TRANSITIONS) == set(Status)
    assert all(not TRANSITIONS[status] for status in (Status.REJECT, Status.REJECTED, Status.REVISE, Status.EXPIRED))
    assert all(
        not target.executes or source is Status.PENDING_REVIEW for source in Status for target in TRANSITIONS[source]
    )


@pytest.mark.parametrize("status", list(Status))
def test_what_is_written_is_read_back(status: Status) -> None:
    """Server and client agree on every status in both dialects."""
    decision = Decision(
        decision_id="dec_1", status=status, task_id="t", thread_id="THR-00000001", audit_hash="h", reviewer_id="ann"
    )

    assert read_v1(write_v1(decision)) == decision
    assert read_agent(write_agent(decision)) == decision
