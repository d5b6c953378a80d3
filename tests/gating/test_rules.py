"""Risk, tool selection, refusals and waiting arithmetic: pure, so tables of cases."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from stacksona_adapters.errors import (
    ActionRejected,
    ConfigurationError,
    GateUnavailable,
    InvalidAction,
    ReviewPending,
    RevisionRequested,
    StacksonaError,
)
from stacksona_adapters.gating.action import make_action
from stacksona_adapters.gating.refusal import changes, refusal
from stacksona_adapters.gating.risk import classify
from stacksona_adapters.gating.tools import ToolPolicy
from stacksona_adapters.gating.waiting import backoff, remaining, retry_after
from stacksona_adapters.protocol.decisions import Decision, Status
from stacksona_adapters.protocol.requests import Risk


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("drop_table", Risk.CRITICAL),
        ("issue_refund", Risk.HIGH),
        ("deleteUser", Risk.HIGH),
        ("send_email", Risk.MEDIUM),
        ("getUser", Risk.LOW),
        ("search-and-delete", Risk.HIGH),
        ("HTTPPost", Risk.MEDIUM),
        ("frobnicate", Risk.MEDIUM),
        ("refunds_report", Risk.MEDIUM),
    ],
)
def test_the_verb_says_the_risk(name: str, level: Risk) -> None:
    """The highest verb in the name counts; an unknown action is medium."""
    assert classify(name, {}).level is level


def test_the_users_policy_goes_first() -> None:
    """A mapping or a function overrides the verb; None leaves it to the verb."""
    assert classify("get_user", {}, {"get_user": "critical"}).level is Risk.CRITICAL
    assert classify("get_user", {"n": 9}, lambda _, a: "high" if a["n"] > 5 else None).level is Risk.HIGH
    assert classify("get_user", {"n": 1}, lambda _, a: "high" if a["n"] > 5 else None).level is Risk.LOW
    with pytest.raises(InvalidAction, match="low, medium, high or critical"):
        classify("get_user", {}, {"get_user": "huge"})


@pytest.mark.parametrize(
    ("tools", "covered"),
    [("all", {"a", "b"}), (["a"], {"a"}), ({"b": 1}, {"b"}), (lambda name: name == "b", {"b"}), (iter(["a"]), {"a"})],
)
def test_tools_means_the_same_everywhere(tools: Any, covered: set[str]) -> None:
    """All, names, or a function of the name."""
    policy = ToolPolicy(tools=tools)
    assert {name for name in "ab" if policy.covers(name)} == covered


@pytest.mark.parametrize(
    "options", [{"tools": "send_email"}, {"tools": []}, {"tools": [1]}, {"risk": "much"}, {"risk": {"a": "?"}}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    """A single name instead of a list would silently gate nothing, or everything."""
    with pytest.raises(ConfigurationError):
        ToolPolicy(**options)


def test_risk_and_subject_of_a_call() -> None:
    """From one value, a mapping, or a function; the call's own word goes first."""
    by_value = ToolPolicy(risk="high", subject="order").action("t", {"order": 7})
    by_name = ToolPolicy(risk={"t": "low"}, subject={"t": "order"}).action("t", {"order": "A"})
    by_function = ToolPolicy(risk=lambda n, a: "critical", subject=lambda n, a: f"{n}:{a['order']}").action(
        "t", {"order": 1}
    )
    own = ToolPolicy(risk="high", subject="order").action("t", {"order": 7}, risk="low", subject="mine")

    assert [(a.risk, a.subject) for a in (by_value, by_name, by_function, own)] == [
        (Risk.HIGH, "7"),
        (Risk.LOW, "A"),
        (Risk.CRITICAL, "t:1"),
        (Risk.LOW, "mine"),
    ]


def test_a_refusal_tells_the_model_what_to_do() -> None:
    """Not executed, why, the decision's id, and what to do; the same words in every framework."""
    decision = Decision(decision_id="dec_1", status=Status.REVISE, message="half of it")
    told = refusal("refund", RevisionRequested("refund", decision)).as_dict()

    assert told["executed"] is False
    assert told["decision_id"] == "dec_1"
    assert told["feedback"] == "half of it"
    assert "propose it again" in told["reason"]
    assert refusal("refund", GateUnavailable("no answer")).status == "unavailable"
    assert refusal("refund", ConfigurationError("x")).status == "invalid"


def test_changes_of_an_edit() -> None:
    """Only what differs, removed ones as None."""
    assert changes({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}) == {"b": 5, "d": 4, "c": None}


@pytest.mark.parametrize(
    "error",
    [
        ActionRejected("refund", Decision(decision_id="dec_1", status=Status.REJECTED, message="no")),
        ReviewPending(make_action("refund", {"a": 1}), Decision(decision_id="dec_1", status=Status.PENDING_REVIEW)),
        GateUnavailable("no answer"),
    ],
)
def test_errors_pickle(error: StacksonaError) -> None:
    """They cross process pools and checkpoints with all they carry."""
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_backoff_grows_to_its_limit() -> None:
    """Pauses grow, jittered over their upper half, and stop growing at the limit."""
    longest = [backoff(n, 1.0, first=0.5, limit=8.0) for n in range(1, 8)]

    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff(3, 0.0, first=0.5, limit=8.0) == 1.0
    assert backoff(10_000, 1.0, first=0.5, limit=8.0) == 8.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """Seconds or a date; nonsense is no wish."""
    now = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
    assert retry_after({"retry-after": header}, now) == seconds
    assert retry_after({}, now + timedelta(1)) is None


def test_remaining() -> None:
    """Never below zero, infinite without a deadline."""
    assert remaining(None, 5.0) == float("inf")
    assert remaining(4.0, 5.0) == 0.0


@pytest.mark.parametrize("arguments", [[1], "x", {"f": object()}, {1: object()}])
def test_an_action_that_cannot_be_described(arguments: Any) -> None:
    """It is refused before anything is sent, and the error says so."""
    with pytest.raises(InvalidAction):
        make_action("refund", arguments)


def test_a_wrong_field_is_named() -> None:
    """A typo in a field of `Action` is an error that names it."""
    with pytest.raises(InvalidAction, match="subjct"):
        make_action("refund", {}, subjct="A1")
