"""What reviewers see and do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.conftest import World, ask, assert_problem, consume, decide

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "number", "maximum": 200}, "note": {"type": "string", "pattern": "^[a-z]*$"}},
    "required": ["amount"],
    "additionalProperties": False,
}


def test_list_and_detail(world: World) -> None:
    """A reviewer sees all that was sent, and the task's timeline."""
    sent: dict[str, Any] = {
        "agent": "Refunds",
        "risk": "high",
        "risk_reason": "money leaves",
        "subject": "order 8821",
        "context": {"customer": "cus_99"},
        "summary": ["Refund 120 EUR"],
        "preview": "Dear customer",
        "correlation_id": "run-1",
    }
    decision = ask(world.agent(), 120, **sent)
    reviewer = world.reviewer()

    page = reviewer.get("/v1/reviews", params={"folder": "new"}).json()
    detail = reviewer.get(f"/v1/reviews/{decision['id']}").json()

    assert page["next"] is None
    (entry,) = page["reviews"]
    for seen in (entry, detail):
        assert seen["agent"] == "Refunds"
        assert seen["action"] == "issue_refund"
        assert seen["risk_reason"] == "money leaves"
        assert seen["arguments"] == {"amount": 120}
        assert seen["status"] == "pending_review"
    assert detail["context"] == {"customer": "cus_99"}
    assert detail["preview"] == "Dear customer"
    assert [record["kind"] for record in detail["timeline"]] == ["task.created", "decision.requested"]
    assert reviewer.get(f"/v1/reviews/{decision['thread_id']}").json() == detail


def test_folders(world: World) -> None:
    """Each decision is in the folder of its state."""
    agent, reviewer = world.agent(), world.reviewer()
    made = {
        name: ask(agent, expires_in=90 if name == "expired" else None)
        for name in (*("new", "reviewing", "approved", "rejected", "sent_back", "expired", "unknown", "cancelled"),)
    }
    reviewer.post(f"/v1/reviews/{made['reviewing']['id']}/claim")
    for name, outcome in (
        ("approved", "approve"),
        ("rejected", "reject"),
        ("sent_back", "revise"),
        ("unknown", "approve"),
    ):
        decide(reviewer, made[name], outcome)
    consume(agent, made["unknown"])
    agent.post(f"/v1/gate/decision/{made['cancelled']['id']}/cancel")
    world.advance(seconds=100)
    assert world.service.expire_due() == 1

    names = {decision["id"]: name for name, decision in made.items()}
    folders = {
        folder: {
            names[r["decision_id"]] for r in reviewer.get("/v1/reviews", params={"folder": folder}).json()["reviews"]
        }
        for folder in ("new", "reviewing", "approved", "rejected", "sent_back", "expired", "unknown")
    }

    assert folders == {
        "new": {"new"},
        "reviewing": {"reviewing"},
        "approved": {"approved", "unknown"},
        "rejected": {"rejected"},
        "sent_back": {"sent_back"},
        "expired": {"expired", "cancelled"},
        "unknown": {"unknown"},
    }
    assert_problem(reviewer.get("/v1/reviews", params={"folder": "other"}), 422)


def test_pages(world: World) -> None:
    """Pages follow one another without gaps, also when something new comes in between."""
    agent, reviewer = world.agent(), world.reviewer()
    made = [ask(agent, n)["id"] for n in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"folder": "new", "limit": 2}

    while True:
        page = reviewer.get("/v1/reviews", params=query).json()
        seen += [review["decision_id"] for review in page["reviews"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
        if len(made) == 5:
            made.append(ask(agent, 9)["id"])

    assert seen == made
    newest_first = reviewer.get("/v1/reviews", params={"limit": 3}).json()
    assert [review["decision_id"] for review in newest_first["reviews"]] == made[:-4:-1]
    for wrong in ({"cursor": "x"}, {"cursor": "9" * 30}, {"limit": "0"}, {"limit": "x"}, {"limit": "999"}):
        assert_problem(reviewer.get("/v1/reviews", params=wrong), 422)


def test_only_reviewers(world: World) -> None:
    """An agent's key can never decide, nor see what others ask: 403; garbage is 401."""
    agent = world.agent()
    decision = ask(agent)
    one = f"/v1/reviews/{decision['id']}"
    calls = [
        ("GET", "/v1/reviews"),
        ("GET", one),
        ("GET", f"{one}/export"),
        ("POST", f"{one}/claim"),
        ("POST", f"{one}/release"),
    ]
    bodies = {"decide": {"outcome": "approve"}, "notes": {"text": "x"}, "settle": {"outcome": "ran"}}

    for client, status in ((agent, 403), (world.client("sr_garbage"), 401), (world.client(), 401)):
        for method, path in calls:
            assert_problem(client.request(method, path), status)
        for name, body in bodies.items():
            assert_problem(client.post(f"{one}/{name}", json=body), status)
    assert agent.get(f"/v1/gate/decision/{decision['id']}").json()["status"] == "pending_review"


def test_revoked_reviewer(world: World) -> None:
    """A revoked token decides nothing."""
    decision, reviewer = ask(world.agent()), world.reviewer("ann")
    world.service.revoke_reviewer("ann")

    assert_problem(reviewer.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve"}), 401)


def test_first_reviewer_wins(world: World) -> None:
    """The second reviewer gets 409 and sees who decided, when and how."""
    decision = ask(world.agent())
    decided = decide(world.reviewer("ann"), decision, "reject", message="too much")

    late = world.reviewer("bob").post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve"})

    problem = assert_problem(late, 409)
    assert (decided["decision"], decided["reviewer_id"], decided["message"]) == ("DENIED", "ann", "too much")
    assert (problem["decided_by"], problem["reviewer_id"]) == ("ann", "ann")
    assert problem["decision_status"] == "rejected"
    assert problem["decided_at"]


def test_sent_back(world: World) -> None:
    """`revise` gives the feedback; the next request names the decision that it revises."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)
    decide(reviewer, decision, "revise", message="too much")

    answer = agent.get(f"/v1/gate/decision/{decision['id']}").json()
    again = ask(agent, 100, revises=decision["id"])

    assert (answer["decision"], answer["status"], answer["message"]) == ("REVISE", "revise", "too much")
    assert again["revises"] == decision["id"]
    assert reviewer.get(f"/v1/reviews/{again['id']}").json()["revises"] == decision["id"]


@pytest.mark.parametrize(
    ("edited", "pointer"),
    [
        ({"amount": 201}, "/arguments/amount"),
        ({"amount": "x"}, "/arguments/amount"),
        ({}, "/arguments"),
        ({"amount": 1, "note": "A"}, "/arguments/note"),
        ({"amount": 1, "other": 1}, "/arguments"),
        ({"amount": "[redacted]"}, "/arguments/amount"),
    ],
)
def test_edit_against_the_schema(world: World, edited: dict[str, Any], pointer: str) -> None:
    """An edit that the tool's schema does not accept is a 422 and decides nothing."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent, arguments_schema=SCHEMA)

    answer = reviewer.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve", "arguments": edited})

    assert assert_problem(answer, 422)["errors"][0]["pointer"] == pointer
    assert decide(reviewer, decision, arguments={"amount": 5, "note": "ok"})["arguments"] == {"amount": 5, "note": "ok"}


def test_edit_only_with_approval(world: World) -> None:
    """Arguments have no meaning with a refusal."""
    decision = ask(world.agent())

    body = {"outcome": "reject", "arguments": {"amount": 1}}
    assert_problem(world.reviewer().post(f"/v1/reviews/{decision['id']}/decide", json=body), 422)


def test_edit_keeps_hidden_values(world: World) -> None:
    """A hidden value stays where it is or is replaced; it is neither lost nor moved."""
    agent, reviewer = world.agent(), world.reviewer()
    schema = {"properties": {"pin": {"type": "integer"}}}
    hidden = {"arguments": {"pin": "[redacted]", "to": "a"}, "redacted": ["/pin"], "action_digest": "sha256:x"}
    first, second = (ask(agent, **hidden, arguments_schema=schema) for _ in range(2))
    url = f"/v1/reviews/{first['id']}/decide"

    for wrong in ({"to": "b"}, {"pin": "[redacted]", "to": "[redacted]"}, {"pin": "x"}):
        assert_problem(reviewer.post(url, json={"outcome": "approve", "arguments": wrong}), 422)
    assert decide(reviewer, first, arguments={"pin": "[redacted]", "to": "b"})["status"] == "approved"
    assert decide(reviewer, second, arguments={"pin": 7, "to": "b"})["arguments"] == {"pin": 7, "to": "b"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 3},
        {"description": "x" * 300_000},
        {"$dynamicRef": "#"},
        {"allOf": [{"allOf": [{"allOf": [{"allOf": [{"allOf": [{"$ref": "#"}]}]}]}]}]},
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"properties": {"amount": {"$ref": "#/properties/amount"}}},
        {"patternProperties": {"(?=a)": {}}},
        {"properties": {"amount": {"$ref": "#/$defs/a"}}, "$defs": {
            "a": {"allOf": [{"$ref": "#/$defs/b"}] * 50},
            "b": {"allOf": [{"$ref": "#/$defs/c"}] * 50},
            "c": {"allOf": [{"$ref": "#/$defs/d"}] * 50},
            "d": {"allOf": [{"type": "integer"}] * 50},
        }},
    ],
)  # fmt: skip
def test_hostile_schema(world: World, schema: dict[str, Any]) -> None:
    """A schema that is wrong, endless or refers elsewhere cannot hang or break the gate; nothing is approved by it."""
    decision = ask(world.agent(), arguments_schema=schema)
    reviewer = world.reviewer()

    answer = reviewer.post(
        f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve", "arguments": {"amount": 1}}
    )

    assert "cannot be checked" in assert_problem(answer, 422)["detail"]
    assert decide(reviewer, decision)["status"] == "approved"


def test_hostile_pattern(world: World) -> None:
    """A pattern with catastrophic backtracking in other engines is matched in linear time here."""
    schema = {"properties": {"note": {"type": "string", "pattern": "^(a+)+$"}}}
    decision = ask(world.agent(), arguments_schema=schema)

    body = {"outcome": "approve", "arguments": {"note": "a" * 5000 + "!"}}
    assert_problem(world.reviewer().post(f"/v1/reviews/{decision['id']}/decide", json=body), 422)


def test_notes(world: World) -> None:
    """Notes stand in the detail, in order, with their author."""
    decision = ask(world.agent())
    ann, bob = world.reviewer("ann"), world.reviewer("bob")

    assert ann.post(f"/v1/reviews/{decision['id']}/notes", json={"text": "asked the shop"}).status_code == 201
    bob.post(f"/v1/reviews/{decision['id']}/notes", json={"text": "<b>fine</b>"})

    seen = [(n["reviewer_id"], n["text"]) for n in ann.get(f"/v1/reviews/{decision['id']}").json()["notes"]]
    assert seen == [("ann", "asked the shop"), ("bob", "<b>fine</b>")]
    assert_problem(ann.post(f"/v1/reviews/{decision['id']}/notes", json={"text": ""}), 422)


def test_claim(world: World) -> None:
    """Reviewing shows by whom; a claim can be released and keeps nobody from deciding."""
    decision, ann, bob = ask(world.agent()), world.reviewer("ann"), world.reviewer("bob")
    url = f"/v1/reviews/{decision['id']}"

    assert ann.post(f"{url}/claim").json()["claimed_by"] == "ann"
    assert ann.post(f"{url}/claim").status_code == 200
    assert assert_problem(bob.post(f"{url}/claim"), 409)["claimed_by"] == "ann"
    assert bob.post(f"{url}/release").json()["claimed_by"] is None
    assert bob.post(f"{url}/claim").json()["claimed_by"] == "bob"
    assert decide(ann, decision)["reviewer_id"] == "ann"
    assert_problem(bob.post(f"{url}/claim"), 409)


def test_export(world: World) -> None:
    """An export has the whole chain, and is itself a part of it."""
    from stacksona_adapters.protocol.chain import record_hash
    from stacksona_adapters.server.service.records import canonical

    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)
    decide(reviewer, decision)
    consume(agent, decision)

    exported = [reviewer.get(f"/v1/reviews/{decision['id']}/export").json() for _ in range(2)]

    first, second = ([record["kind"] for record in one["records"]] for one in exported)
    assert first == ["task.created", "decision.requested", "decision.approved", "permission.taken", "review.exported"]
    assert second == [*first, "review.exported"]
    for record in exported[0]["records"]:
        made = record_hash(
            record["prev"], record["seq"], record["task"], record["at"], record["kind"], canonical(record["payload"])
        )
        assert made == record["hash"]
    assert exported[0]["exported_by"] == "ann"


def test_delivery_rows(world: World) -> None:
    """A decision of an agent with a webhook leaves a row to deliver, in the transaction of the decision."""
    from sqlalchemy import select

    from stacksona_adapters.server.store.tables import deliveries

    reviewer = world.reviewer()
    with_webhook, without = world.agent("a", webhook="https://example.com/hook"), world.agent("b")
    decision = ask(with_webhook)
    ask(without)
    decide(reviewer, decision, "reject", message="no")

    rows = world.service.read(lambda r: r.connection.execute(select(deliveries)).all())

    (row,) = rows
    assert (row.agent, row.url, row.state, row.attempts) == ("a", "https://example.com/hook", "pending", 0)
    assert json.loads(row.body) == {
        "thread_id": decision["thread_id"],
        "task_id": decision["task_id"],
        "decision": "rejected",
        "message": "no",
        "tenant_id": "default",
        "workflow_name": "refund-bot",
        "task_label": None,
        "decision_id": decision["id"],
    }
