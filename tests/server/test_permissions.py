"""Taking a permission: once, in time, for exactly what was approved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.server.conftest import World, ask, assert_problem, consume, decide
from tests.server.test_agent_v1 import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


def report(agent: httpx.Client, decision: dict[str, Any], outcome: str, **payload: Any) -> httpx.Response:
    """Send TOOL_EXECUTED."""
    said = {"decision_id": decision["decision_id"], "outcome": outcome, **payload}
    body = {**EVENT, "task_id": decision["task_id"], "event_type": "TOOL_EXECUTED", "event_payload": said}
    return agent.post(f"/v1/tasks/{decision['task_id']}/events", json=body)


def test_once(world: World) -> None:
    """The second consume is a 409 that says the outcome is unknown, until it is reported."""
    agent = world.agent()
    decision = decide(world.reviewer(), ask(agent))

    first = consume(agent, decision)
    assert first.status_code == 200
    assert set(first.json()) == {"consumed_at", "audit_hash"}
    again = assert_problem(consume(agent, decision), 409)
    assert (again["outcome"], again["consumed_at"]) == ("unknown", first.json()["consumed_at"])
    assert report(agent, decision, "succeeded").status_code == 201
    assert assert_problem(consume(agent, decision), 409)["outcome"] == "succeeded"
    assert agent.get(f"/v1/gate/decision/{decision['id']}").json()["outcome"] == "succeeded"


@pytest.mark.parametrize("outcome", ["reject", "revise"])
def test_not_approved(world: World, outcome: str) -> None:
    """What was not approved is not taken."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)

    assert_problem(consume(agent, decision), 403)
    decide(reviewer, decision, outcome, message="no")
    assert_problem(consume(agent, decision), 403)


def test_digest(world: World) -> None:
    """A refund that was approved at 100 is not taken at 101."""
    agent = world.agent()
    decision, other = decide(world.reviewer(), ask(agent, 100)), ask(agent, 101)

    assert_problem(consume(agent, decision, action_digest=other["action_digest"]), 422)
    assert_problem(consume(agent, decision, action_digest="é"), 422)
    assert consume(agent, decision).status_code == 200


def test_edited_digest(world: World) -> None:
    """After an edit only the edited arguments' digest takes the permission."""
    agent = world.agent()
    asked = ask(agent, 100)
    decision = decide(world.reviewer(), asked, arguments={"amount": 80})

    assert decision["arguments"] == {"amount": 80}
    assert decision["action_digest"] == ask(agent, 80)["action_digest"]
    assert_problem(consume(agent, asked), 422)
    assert consume(agent, decision).status_code == 200


def test_report_without_taking(world: World) -> None:
    """A report closes a taken permission only, and only once."""
    agent = world.agent()
    decision = decide(world.reviewer(), ask(agent))

    assert report(agent, decision, "succeeded").status_code == 201
    assert consume(agent, decision).status_code == 200
    assert assert_problem(consume(agent, decision), 409)["outcome"] == "unknown"
    report(agent, decision, "failed")
    report(agent, decision, "succeeded")
    assert assert_problem(consume(agent, decision), 409)["outcome"] == "failed"


def test_report_by_another_agent(world: World) -> None:
    """Another agent cannot close it, not even in a task of its own."""
    agent, other = world.agent("one"), world.agent("two")
    decision = decide(world.reviewer(), ask(agent))
    assert consume(agent, decision).status_code == 200

    own = ask(other)
    report(other, {**own, "decision_id": decision["decision_id"]}, "succeeded")

    assert assert_problem(consume(agent, decision), 409)["outcome"] == "unknown"


def test_settled_as_run(world: World) -> None:
    """A reviewer may say that it ran."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = decide(reviewer, ask(agent))
    consume(agent, decision)
    assert [r["decision_id"] for r in reviewer.get("/v1/reviews?folder=unknown").json()["reviews"]] == [decision["id"]]

    settled = reviewer.post(f"/v1/reviews/{decision['id']}/settle", json={"outcome": "ran", "message": "seen"})

    assert settled.json()["outcome"] == "succeeded"
    assert assert_problem(consume(agent, decision), 409)["outcome"] == "succeeded"
    assert reviewer.get("/v1/reviews?folder=unknown").json()["reviews"] == []
    assert_problem(reviewer.post(f"/v1/reviews/{decision['id']}/settle", json={"outcome": "ran"}), 409)


def test_settled_as_not_run(world: World) -> None:
    """A permission that is given back can be taken once more, and no more."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = decide(reviewer, ask(agent, expires_in=60))
    consume(agent, decision)
    world.advance(days=3)

    settled = reviewer.post(f"/v1/reviews/{decision['id']}/settle", json={"outcome": "did_not_run"})

    assert settled.status_code == 200
    assert [consume(agent, decision).status_code for _ in range(2)] == [200, 409]


def test_given_back_is_taken_anew(world: World) -> None:
    """The first answer to a consume is not repeated once its permission was given back: it has to be taken again."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = decide(reviewer, ask(agent))
    body, headers = {"action_digest": decision["action_digest"]}, {"Idempotency-Key": "attempt-1"}
    path = f"/v1/gate/decision/{decision['id']}/consume"
    first = agent.post(path, json=body, headers=headers)
    assert agent.post(path, json=body, headers=headers).content == first.content

    reviewer.post(f"/v1/reviews/{decision['id']}/settle", json={"outcome": "did_not_run"})
    again = agent.post(path, json=body, headers=headers)

    assert again.status_code == 200
    assert "idempotency-replayed" not in again.headers
    assert_problem(consume(agent, decision), 409)


def test_expired_before_a_decision(world: World) -> None:
    """Nobody can approve what is expired, though no sweeper has come by."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent, expires_in=60)
    world.advance(seconds=60)

    late = reviewer.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve"})

    assert assert_problem(late, 409)["decision_status"] == "expired"
    assert_problem(consume(agent, decision), 410)
    assert agent.get(f"/v1/gate/decision/{decision['id']}").json()["status"] == "expired"
    assert_problem(consume(agent, decision), 410)


def test_approval_expires(world: World) -> None:
    """An approval that nobody took in time is gone."""
    agent = world.agent()
    decision = decide(world.reviewer(), ask(agent, expires_in=60))
    world.advance(seconds=61)

    assert_problem(consume(agent, decision), 410)


def test_without_expiry_days_later(world: World) -> None:
    """A request without a limit is decided and taken days later."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)
    world.advance(days=40)
    decide(reviewer, decision)
    world.advance(days=40)

    assert consume(agent, decision).status_code == 200


def test_sweeper(start: Callable[..., World]) -> None:
    """What nobody decided is marked by itself, and whoever waits is woken."""
    world = start(sweep_interval=0.05)
    agent = world.agent()
    decision = ask(agent, expires_in=60)
    world.advance(seconds=61)

    answer = agent.get(f"/v1/gate/decision/{decision['id']}?wait=20")

    assert answer.json()["status"] == "expired"
    assert (
        world.service.read(lambda r: r.connection.exec_driver_sql("SELECT status FROM decisions").scalar()) == "expired"
    )


def test_signed_approval(world: World) -> None:
    """With signed approval switched on, only the token of this very approval takes it."""
    agent, reviewer = world.agent(signed_approval=True), world.reviewer()
    decision, other = ask(agent), ask(agent)
    answer = decide(reviewer, decision)
    decide(reviewer, other)
    token = agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"]
    foreign = agent.get(f"/v1/gate/decision/{other['id']}").json()["approval_token"]

    assert "approval_token" not in answer
    assert "approval_token" not in decision
    for wrong in ({}, {"approval_token": foreign}, {"approval_token": token + "x"}, {"approval_token": "é"}):
        assert_problem(consume(agent, decision, **wrong), 422)
    assert agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"] == token
    assert consume(agent, decision, approval_token=token).status_code == 200
    assert_problem(consume(agent, decision, approval_token=token), 409)
    assert "approval_token" not in agent.get(f"/v1/gate/decision/{decision['id']}").json()


def test_token_is_not_in_the_database(world: World) -> None:
    """The token itself is kept nowhere."""
    agent = world.agent(signed_approval=True)
    decision = ask(agent)
    decide(world.reviewer(), decision)
    token = agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"]

    rows = world.service.read(lambda r: r.connection.exec_driver_sql("SELECT * FROM decisions").all())

    assert token not in str(rows)


def test_token_has_a_lifetime(world: World) -> None:
    """A signed approval that is not used within its lifetime is gone."""
    agent = world.agent(signed_approval=True)
    decision = ask(agent)
    decide(world.reviewer(), decision)
    token = agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"]
    world.advance(days=7, seconds=1)

    assert_problem(consume(agent, decision, approval_token=token), 410)


def test_validate(world: World) -> None:
    """The agent dialect's validation takes the permission as consume does, and either one only once."""
    agent, reviewer = world.agent(signed_approval=True), world.reviewer()
    first, second = ask(agent), ask(agent)
    for decision in (first, second):
        decide(reviewer, decision)
        decision["approval_token"] = agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"]

    def validate(decision: dict[str, Any], **changed: Any) -> httpx.Response:
        body = {"task_id": decision["task_id"], "signature": decision["approval_token"], **changed}
        return agent.post("/api/agent/approvals/validate", json=body)

    assert_problem(validate(first, task_id=second["task_id"]), 422)
    assert_problem(validate(first, signature="APPROVAL_TOKEN"), 422)
    good = validate(first)
    assert good.status_code == 200
    assert good.json()["valid"] is True
    assert good.json()["status"] == "valid"
    assert good.json()["decision_id"] == first["id"]
    assert assert_problem(validate(first), 409)["outcome"] == "unknown"
    assert_problem(consume(agent, first, approval_token=first["approval_token"]), 409)
    assert consume(agent, second, approval_token=second["approval_token"]).status_code == 200
    assert_problem(validate(second), 409)


def test_given_back_with_a_new_token(world: World) -> None:
    """The token of a permission that was given back is a new one."""
    agent, reviewer = world.agent(signed_approval=True), world.reviewer()
    decision = ask(agent)
    decide(reviewer, decision)
    old = agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"]
    consume(agent, decision, approval_token=old)
    reviewer.post(f"/v1/reviews/{decision['id']}/settle", json={"outcome": "did_not_run"})

    new = agent.get(f"/v1/gate/decision/{decision['id']}").json()["approval_token"]

    assert new != old
    assert_problem(consume(agent, decision, approval_token=old), 422)
    assert consume(agent, decision, approval_token=new).status_code == 200
