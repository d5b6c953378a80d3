"""The v1 dialect over a real socket."""

from __future__ import annotations

import httpx
import pytest

from stacksona_adapters.protocol.canonical import action_digest
from tests.server.conftest import World, ask, assert_problem, consume, decide, new_task, refund

EVENT = {
    "agent_id": "refund-bot",
    "event_type": "TASK_STARTED",
    "event_payload": {"order": "8821"},
    "framework_origin": "PydanticAI",
    "occurred_at": "2026-11-20T10:00:00Z",
    "correlation_id": "run-1",
}


def test_task_and_event(world: World) -> None:
    """A task is created before its events, which give their audit hash."""
    agent = world.agent()
    task_id = new_task(agent)

    answer = agent.post(f"/v1/tasks/{task_id}/events", json={**EVENT, "task_id": task_id})

    assert answer.status_code == 201
    assert set(answer.json()) == {"event_id", "audit_hash"}
    assert answer.json()["audit_hash"].startswith("sha256:")


def test_event_of_another_task_than_the_address(world: World) -> None:
    """The task of the body has to be that of the address."""
    agent = world.agent()
    task_id = new_task(agent)

    problem = assert_problem(agent.post(f"/v1/tasks/{task_id}/events", json={**EVENT, "task_id": "other"}), 422)

    assert problem["errors"][0]["pointer"] == "/task_id"


@pytest.mark.parametrize("missing", ["agent_id", "framework_origin", "task_name"])
def test_task_needs_its_fields(world: World, missing: str) -> None:
    """A 422 has one entry for each wrong field."""
    body = {"agent_id": "a", "framework_origin": "Other", "task_name": "t"}
    del body[missing]

    problem = assert_problem(world.agent().post("/v1/tasks", json=body), 422)

    assert [error["pointer"] for error in problem["errors"]] == [f"/{missing}"]


def test_pending_request(world: World) -> None:
    """Where no rule matches, a person must decide: 202 and PENDING."""
    agent = world.agent()

    answer = agent.post("/v1/gate/decision", json=refund(new_task(agent), expires_in=60, revises=None))

    body = answer.json()
    assert answer.status_code == 202
    assert (body["decision"], body["status"], body["reviewer_id"]) == ("PENDING", "pending_review", None)
    assert body["id"] == body["decision_id"]
    assert body["thread_id"].startswith("THR-")
    assert len(body["thread_id"]) == 12
    assert body["action_digest"] == action_digest("refund-bot", "issue_refund", None, {"amount": 120})
    assert body["expires_at"]


def test_allowed_and_taken_in_one_round_trip(world: World) -> None:
    """With an attempt, an allowed permission is taken together with the answer."""
    world.service.add_rule(tool="issue_refund", parameter="amount", type="lower_limit", value=50, outcome="allow")
    agent = world.agent()

    decision = ask(agent, 20, attempt="attempt-1")

    assert (decision["decision"], decision["status"]) == ("APPROVED", "allow")
    assert (decision["consumed_by"], decision["outcome"]) == ("attempt-1", "unknown")
    assert consume(agent, decision).status_code == 409


def test_allowed_without_attempt_is_taken_later(world: World) -> None:
    """Without an attempt, an allowed permission is taken by consume, once."""
    world.service.add_rule(tool="issue_refund", parameter="amount", type="lower_limit", value=50, outcome="allow")
    agent = world.agent()
    decision = ask(agent, 20)

    assert "consumed_at" not in decision
    assert [consume(agent, decision).status_code for _ in range(2)] == [200, 409]


def test_rejected_by_rule(world: World) -> None:
    """A rule's refusal is final, and says which parameter."""
    world.service.add_rule(tool="issue_refund", parameter="amount", type="upper_limit", value=1000, outcome="reject")
    agent = world.agent()

    decision = ask(agent, 5000, attempt="a")

    assert (decision["decision"], decision["status"]) == ("DENIED", "reject")
    assert "amount" in decision["message"]
    assert_problem(consume(agent, decision), 403)


def test_unknown_task(world: World) -> None:
    """A request needs its task."""
    assert_problem(world.agent().post("/v1/gate/decision", json=refund("task_nope")), 404)


def test_wrong_digest(world: World) -> None:
    """A digest that is not that of the request's own arguments is refused at once."""
    agent = world.agent()
    body = refund(new_task(agent), action_digest=action_digest("refund-bot", "issue_refund", None, {"amount": 121}))

    problem = assert_problem(agent.post("/v1/gate/decision", json=body), 422)

    assert problem["errors"][0]["pointer"] == "/action_digest"


def test_redacted_values(world: World) -> None:
    """Where values are hidden, the digest is taken as given, and every pointer must name a hidden value."""
    agent = world.agent()
    full = action_digest("refund-bot", "issue_refund", None, {"card": {"n": "4111"}})
    hidden = {"arguments": {"card": {"n": "[redacted]"}}, "redacted": ["/card/n"]}
    body = {**refund(new_task(agent)), **hidden}

    given = agent.post("/v1/gate/decision", json={**body, "action_digest": full})
    assert given.json()["action_digest"] == full
    assert_problem(agent.post("/v1/gate/decision", json=body), 422)
    for wrong in ("/card/x", "/card", "card/n", ""):
        answer = agent.post("/v1/gate/decision", json={**body, "action_digest": full, "redacted": [wrong]})
        assert_problem(answer, 422)


def test_another_agent_sees_nothing(world: World) -> None:
    """Tasks, decisions and permissions of another agent do not exist."""
    agent, other = world.agent("one"), world.agent("two")
    decision = ask(agent)
    decide(world.reviewer(), decision)

    assert_problem(other.get(f"/v1/gate/decision/{decision['id']}"), 404)
    assert_problem(consume(other, decision), 404)
    assert_problem(other.post(f"/v1/gate/decision/{decision['id']}/cancel"), 404)
    assert_problem(other.post("/v1/gate/decision", json=refund(decision["task_id"])), 404)
    event = {**EVENT, "task_id": decision["task_id"]}
    assert_problem(other.post(f"/v1/tasks/{decision['task_id']}/events", json=event), 404)
    assert_problem(other.get("/api/agent/decisions", params={"thread_id": decision["thread_id"]}), 404)
    assert consume(agent, decision).status_code == 200


def test_two_keys_of_one_agent(world: World) -> None:
    """A key belongs to an agent, and another key of it sees the same."""
    decision = ask(world.agent())

    answer = world.agent().get(f"/v1/gate/decision/{decision['id']}")

    assert answer.status_code == 202
    assert answer.json()["thread_id"] == decision["thread_id"]


def test_keys(world: World) -> None:
    """No key and a wrong key are 401, a reviewer's token is 403, a revoked key is 401."""
    new = world.service.add_agent("refund-bot")
    agent = world.client(new.key)
    assert agent.get("/v1/gate/decision/dec_x").status_code == 404

    for client in (world.client(), world.client("sg_garbage"), world.client("é")):
        answer = client.get("/v1/gate/decision/dec_x")
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert_problem(
        world.reviewer().post("/v1/tasks", json={"agent_id": "x", "framework_origin": "Other", "task_name": "x"}), 403
    )
    world.service.revoke_agent(new.key_id)
    assert_problem(agent.get("/v1/gate/decision/dec_x"), 401)


def test_key_is_not_in_the_database(world: World) -> None:
    """Keys and tokens are kept as hashes only."""
    from sqlalchemy import select

    from stacksona_adapters.server.store.tables import agent_keys, reviewer_tokens

    key, token = world.service.add_agent("a").key, world.service.add_reviewer("ann").token
    kept = world.service.read(
        lambda r: [*r.connection.execute(select(agent_keys)), *r.connection.execute(select(reviewer_tokens))]
    )

    assert key.startswith("sg_")
    assert token.startswith("sr_")
    assert len(kept) == 2
    assert not any(secret in str(row) for row in kept for secret in (key, token))


def test_cancel(world: World) -> None:
    """A cancelled request is DENIED, cannot be decided, and cancelling again changes nothing."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)

    answers = [agent.post(f"/v1/gate/decision/{decision['id']}/cancel") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert (answers[1].json()["decision"], answers[1].json()["status"]) == ("DENIED", "cancelled")
    late = reviewer.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve"})
    assert assert_problem(late, 409)["decision_status"] == "cancelled"
    assert_problem(consume(agent, decision), 403)


def test_cancel_of_an_approval(world: World) -> None:
    """An approval that nobody took can be withdrawn; one that was taken cannot."""
    agent, reviewer = world.agent(), world.reviewer()
    unused, used = decide(reviewer, ask(agent)), decide(reviewer, ask(agent))
    assert consume(agent, used).status_code == 200

    assert agent.post(f"/v1/gate/decision/{unused['id']}/cancel").json()["status"] == "cancelled"
    assert assert_problem(agent.post(f"/v1/gate/decision/{used['id']}/cancel"), 409)["outcome"] == "unknown"
    assert_problem(consume(agent, unused), 403)


def test_seed_hooks(world: World) -> None:
    """The calls of the vendor's guides: a plain POST with a bearer key to tasks and their events."""
    key = world.service.add_agent("refund-bot").key
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = {"agent_id": "refund-bot", "framework_origin": "LangGraph", "task_name": "x", "metadata": {"a": 1}}

    task_id = httpx.post(f"{world.url}/v1/tasks", json=body, headers=headers).json()["task_id"]
    event = {**EVENT, "task_id": task_id, "metadata": {}}
    answer = httpx.post(f"{world.url}/v1/tasks/{task_id}/events", json=event, headers=headers)

    assert answer.status_code == 201
