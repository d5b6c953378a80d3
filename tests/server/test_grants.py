"""Bounded grants: what a reviewer permits beyond one request, and each of its bounds."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacksona_adapters.protocol.canonical import action_digest, canonical_json
from stacksona_adapters.protocol.grants import GrantRequest
from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.service import policies
from stacksona_adapters.server.service.accounts import Role, give_role
from stacksona_adapters.server.service.limits import misfits
from tests.server.conftest import World, ask, assert_problem, consume, decide, new_task, refund
from tests.server.test_audit import tamper
from tests.server.test_races import at_once, second_gate

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

LIMITS: dict[str, Any] = {"amount": {"at_most": 200, "at_least": 0}}
ALLOWED, WAITS = "allow", "pending_review"


def grant_to(agent: httpx.Client, reviewer: httpx.Client, limits: Any = None, /, **fields: Any) -> dict[str, Any]:
    """Approve a refund of 120 with a grant; the grant as it is listed."""
    wanted = {"limits": LIMITS if limits is None else limits, "max_uses": 5, "lasts": 3600, **fields}
    decide(reviewer, ask(agent), grant=wanted)
    return listed(reviewer)[0]


def listed(reviewer: httpx.Client) -> list[dict[str, Any]]:
    """The grants, newest first."""
    answer = reviewer.get("/v1/grants")
    assert answer.status_code == 200, answer.text
    return answer.json()["grants"]


def statuses(agent: httpx.Client, /, *amounts: Any, **fields: Any) -> list[str]:
    """Ask for a refund of each amount; what the gate says."""
    return [ask(agent, amount, **fields)["status"] for amount in amounts]


def test_similar_requests_run(world: World) -> None:
    """What fits is allowed at once and counted, names its grant in decision and chain, and nobody has reviewed it."""
    agent, reviewer = world.agent(), world.reviewer()
    made = grant_to(agent, reviewer)

    first = ask(agent, 80, attempt="run-1")
    second = ask(agent, 200)

    assert (first["status"], first["decision"], first["reviewer_id"]) == ("allow", "APPROVED", None)
    assert (first["consumed_by"], second["status"], second.get("consumed_at")) == ("run-1", "allow", None)
    assert consume(agent, second).status_code == 200
    assert listed(reviewer)[0] == {**made, "used": 2}
    detail = reviewer.get(f"/v1/reviews/{first['id']}").json()
    assert {"type": "grant", "id": made["grant_id"], "by": "ann", "outcome": "allow"}.items() <= detail["rule"].items()
    [asked_for] = [each for each in detail["timeline"] if each["kind"] == "decision.requested"]
    assert asked_for["payload"]["rule"] == detail["rule"]
    assert world.service.verify_audit().ok


def test_what_a_grant_says(world: World) -> None:
    """The list says who may do what, how often, until when, by whom, from which request; the trail says it too."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent, 120, agent="Refunds", risk="high")
    decide(reviewer, decision, grant={"limits": LIMITS, "max_uses": 3, "lasts": 60})

    [made] = listed(reviewer)

    assert made["grant_id"].startswith("grant_")
    assert datetime.fromisoformat(made["until"].replace("Z", "+00:00")) == world.clock.now() + timedelta(seconds=60)
    said = {"agent": "refund-bot", "label": "Refunds", "tool": "issue_refund", "risk": "high", "limits": LIMITS}
    said |= {"max_uses": 3, "decision_id": decision["id"]}
    assert said.items() <= made.items()
    assert (made["used"], made["state"], made["created_by"], made["revoked_at"]) == (0, "live", "ann", None)
    timeline = reviewer.get(f"/v1/reviews/{decision['id']}").json()["timeline"]
    assert [each["kind"] for each in timeline][-2:] == ["decision.approved", "grant.made"]
    assert said.items() <= timeline[-1]["payload"].items()
    assert timeline[-1]["payload"]["by"] == "ann"


def test_so_many_times(world: World) -> None:
    """After its last use a person looks again."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer, max_uses=2)

    assert statuses(agent, 1, 2, 3) == [ALLOWED, ALLOWED, WAITS]
    assert (listed(reviewer)[0]["used"], listed(reviewer)[0]["state"]) == (2, "used_up")


def test_until_a_time(world: World) -> None:
    """It ends by the gate's clock, to the moment."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer, lasts=3600)

    world.advance(seconds=3599)
    before = statuses(agent, 1)
    world.advance(seconds=1)

    assert (before, statuses(agent, 1)) == ([ALLOWED], [WAITS])
    assert listed(reviewer)[0]["state"] == "expired"


@pytest.mark.parametrize(
    "amount", [201, 200.01, -1, "201", "much", True, None, [100], {"value": 100}, "", "NaN", REDACTED]
)
def test_outside_of_a_range(world: World, amount: Any) -> None:
    """What is above, below, or no number waits for a person."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer)

    assert statuses(agent, amount) == [WAITS]
    assert statuses(agent, 200, "12.50", 0) == [ALLOWED] * 3
    assert listed(reviewer)[0]["used"] == 3


@pytest.mark.parametrize(
    ("approved", "fits", "differs"),
    [
        ("8821", ["8821"], [8821, "8821 ", "8822", None]),
        (1, [1, 1.0], [True, "1", 2]),
        (True, [True], [1, "true", False]),
        (None, [None], [0, "", False]),
        ({"a": [1, {"b": 2}]}, [{"a": [1.0, {"b": 2}]}], [{"a": [1, {"b": 3}]}, {"a": [{"b": 2}, 1]}, {}, []]),
    ],
)
def test_exactly_a_value(world: World, approved: Any, fits: list[Any], differs: list[Any]) -> None:
    """Equal is equal as canonical JSON; what is nested counts in full."""
    agent, reviewer = world.agent(), world.reviewer()
    decide(reviewer, ask(agent, approved), grant={"limits": {"amount": {"equal": approved}}, "max_uses": 9, "lasts": 9})

    assert statuses(agent, *differs) == [WAITS] * len(differs)
    assert statuses(agent, *fits) == [ALLOWED] * len(fits)


def test_every_argument_is_named(world: World) -> None:
    """An argument that the grant does not name, or that is missing, waits; `any` may have any value or be missing."""
    agent, reviewer = world.agent(), world.reviewer()
    arguments = {"amount": 120, "order": "8821", "note": "x"}
    limits = {"amount": {"at_most": 200}, "order": {"equal": "8821"}, "note": {"any": True}}
    decide(reviewer, ask(agent, arguments=arguments), grant={"limits": limits, "max_uses": 9, "lasts": 9})

    def status(**changed: Any) -> str:
        given = {name: value for name, value in {**arguments, **changed}.items() if value != "gone"}
        return ask(agent, arguments=given)["status"]

    assert status(express=True) == WAITS
    assert status(amount="gone") == WAITS
    assert status(order="gone") == WAITS
    assert status(amount=-(10**9), note=[{"deep": REDACTED}]) == ALLOWED
    assert status(note="gone") == ALLOWED


def test_hidden_values(world: World) -> None:
    """A value that the agent hid fits `any` alone, wherever in the argument it stands."""
    agent, reviewer = world.agent(), world.reviewer()
    limits = {"amount": {"at_most": 200}, "card": {"equal": {"name": "Ann", "number": "4111"}}}
    grant = {"limits": limits, "max_uses": 9, "lasts": 9}
    open_card = {"amount": 120, "card": {"name": "Ann", "number": "4111"}}
    decide(reviewer, ask(agent, arguments=open_card), grant=grant)
    hidden = {"amount": 120, "card": {"name": "Ann", "number": REDACTED}}
    digest = action_digest("refund-bot", "issue_refund", None, open_card)
    sent: dict[str, Any] = {"arguments": hidden, "redacted": ["/card/number"], "action_digest": digest}
    decision = ask(agent, **sent)
    own = {"limits": {**limits, "card": {"equal": hidden["card"]}}, "max_uses": 9, "lasts": 9}
    answer = reviewer.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve", "grant": own})

    assert decision["status"] == WAITS
    assert [each["pointer"] for each in assert_problem(answer, 422)["errors"]] == ["/grant/limits/card"]
    own["limits"]["card"] = {"any": True}
    decide(reviewer, decision, grant=own)
    assert ask(agent, **sent)["status"] == ALLOWED


@pytest.mark.parametrize(
    "changed",
    [{"agent": "Refunds"}, {"agent_id": "other"}, {"action": "issue_refunds"}, {"risk": "critical"}, {"risk": "high"}],
)
def test_another_request(world: World, changed: dict[str, Any]) -> None:
    """Another name, another tool or a higher risk is another matter."""
    agent = world.agent()
    grant_to(agent, world.reviewer())

    assert statuses(agent, 120, **changed) == [WAITS]
    assert statuses(agent, 120, risk="low") == [ALLOWED]


def test_another_agents_key(world: World) -> None:
    """Another key's agent that gives itself the same name gets nothing."""
    reviewer = world.reviewer()
    grant_to(world.agent(), reviewer)

    assert statuses(world.agent("mailer"), 120, agent="refund-bot") == [WAITS]
    assert statuses(world.agent(), 120) == [ALLOWED]  # a second key of the same agent


def test_answer_to_a_reviewer(world: World) -> None:
    """A proposal that answers what a reviewer sent back goes to a person again."""
    agent, reviewer = world.agent(), world.reviewer()
    waits = ask(agent, 500)
    grant_to(agent, reviewer)
    decide(reviewer, waits, "revise", message="Less.")

    assert statuses(agent, 100, revises=waits["id"]) == [WAITS]


def test_rules_and_grants(world: World) -> None:
    """A rule that rejects goes before a grant, one that allows costs no use, and one that reviews gives way to it."""
    agent, reviewer = world.agent(), world.reviewer()
    made = grant_to(agent, reviewer)
    world.service.add_rule(tool="*", parameter="amount", type="upper_limit", value=150, outcome="reject")
    world.service.add_rule(tool="*", parameter="amount", type="lower_limit", value=10, outcome="allow")
    review = world.service.add_rule(tool="*", parameter="amount", type="upper_limit", value=50, outcome="review")

    assert statuses(agent, 151, 9) == ["reject", ALLOWED]
    by_grant = ask(agent, 60)
    assert by_grant["status"] == ALLOWED
    assert reviewer.get(f"/v1/reviews/{by_grant['id']}").json()["rule"]["review_rule"] == review.as_dict()
    assert listed(reviewer)[0] == {**made, "used": 1}
    assert statuses(agent, 300) == ["reject"]


def test_revoke(world: World) -> None:
    """Anybody who decides may revoke; the next request waits; a second time is a 409 that names who was first."""
    agent, ann, bob = world.agent(), world.reviewer(), world.reviewer("bob")
    made = grant_to(agent, ann)
    assert statuses(agent, 1) == [ALLOWED]

    answer = bob.delete(f"/v1/grants/{made['grant_id']}")

    assert (answer.status_code, answer.json()["state"], answer.json()["revoked_by"]) == (200, "revoked", "bob")
    assert statuses(agent, 1) == [WAITS]
    assert listed(ann) == [answer.json()]
    assert assert_problem(ann.delete(f"/v1/grants/{made['grant_id']}"), 409)["revoked_by"] == "bob"
    assert_problem(ann.delete("/v1/grants/grant_none"), 404)


def test_who_may_not(world: World) -> None:
    """An auditor reads grants and makes and revokes none; an agent's key sees none."""
    agent, auditor = world.agent(), world.reviewer("eve")
    world.service.write(lambda write: give_role(write, "eve", Role.AUDITOR, by="root"))
    made = grant_to(agent, world.reviewer())

    assert listed(auditor) == [made]
    assert_problem(auditor.delete(f"/v1/grants/{made['grant_id']}"), 403)
    assert_problem(agent.get("/v1/grants"), 403)
    assert_problem(agent.delete(f"/v1/grants/{made['grant_id']}"), 403)
    assert_problem(world.client().get("/v1/grants"), 401)


def test_maker_who_no_longer_decides(world: World) -> None:
    """A grant counts only while who made it could still decide."""
    agent, reviewer, bob = world.agent(), world.reviewer(), world.reviewer("bob")
    grant_to(agent, reviewer)
    world.service.write(lambda write: give_role(write, "ann", Role.AUDITOR, by="root"))
    as_auditor, state = statuses(agent, 1), listed(bob)[0]["state"]
    world.service.write(lambda write: give_role(write, "ann", Role.REVIEWER, by="root"))
    again = statuses(agent, 1)
    world.service.revoke_reviewer("ann")

    assert (as_auditor, state, again) == ([WAITS], "suspended", [ALLOWED])
    assert statuses(agent, 1) == [WAITS]
    assert (listed(bob)[0]["used"], listed(bob)[0]["state"]) == (1, "revoked")


def test_where_two_must_approve(world: World) -> None:
    """Where a policy wants two people, no grant is made, and one that was made before does not count."""
    agent, ann, bob = world.agent(), world.reviewer(), world.reviewer("bob")
    grant_to(agent, ann)
    policy = world.service.write(lambda w: policies.add(w, {"tool": "issue_refund", "approvals": 2}, by="root"))
    decision = ask(agent, 100)
    refused = ann.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve", "grant": GOOD})

    assert decision["status"] == WAITS
    assert "2 people" in assert_problem(refused, 422)["detail"]
    detail = bob.get(f"/v1/reviews/{decision['id']}").json()
    assert (detail["status"], detail["approvals"]) == (WAITS, [])
    assert [each["state"] for each in listed(bob)] == ["suspended"]
    world.service.write(lambda w: policies.remove(w, policy.id, by="root"))
    assert statuses(agent, 100) == [ALLOWED]


@pytest.mark.parametrize("why", ["named others", "another risk", "own key"])
def test_maker_who_may_not_decide_on_these(world: World, why: str) -> None:
    """A grant counts only where its maker may decide: by policy, for the risk at hand, and not with an own key."""
    agent, ann = world.agent(), world.reviewer()
    world.reviewer("bob")
    grant_to(agent, ann)
    if why == "own key":
        world.service.add_agent("refund-bot", owner="ann")
    else:
        risks = ["low"] if why == "another risk" else []
        world.service.write(lambda w: policies.add(w, {"deciders": ["bob"], "risks": risks}, by="root"))

    assert statuses(agent, 1, risk="low") == [WAITS]
    assert statuses(agent, 1) == [ALLOWED if why == "another risk" else WAITS]


def test_the_gates_own_journal(world: World) -> None:
    """Making and revoking stand in the gate's own chain, too, by whom."""
    agent, ann, bob = world.agent(), world.reviewer(), world.reviewer("bob")
    made = grant_to(agent, ann)
    bob.delete(f"/v1/grants/{made['grant_id']}")

    revoked, granted = world.service.list_journal(2)

    assert (granted.kind, granted.by, granted.said["limits"]) == ("grant.made", "ann", LIMITS)
    assert (revoked.kind, revoked.by, revoked.said["made_by"]) == ("grant.revoked", "bob", "ann")
    assert granted.said["grant_id"] == revoked.said["grant_id"] == made["grant_id"]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE grants SET max_uses = 1000", "not what the record"),
        ("UPDATE grants SET limits = replace(limits, '200', '2000')", "not what the record"),
        ("UPDATE grants SET until = until + 1", "not what the record"),
        ("UPDATE grants SET created_by = 'bob'", "not what the record"),
        ("UPDATE grants SET id = 'grant_other'", "not what the record"),
        ("UPDATE grants SET used = 0", "more requests than it counts"),
        ("UPDATE grants SET used = 6", "more requests than it counts"),
        ("UPDATE grants SET revoked_at = NULL", "revoked, and is not any more"),
    ],
)
def test_tampering(world: World, statement: str, why: str) -> None:
    """A grant that somebody made or changed in the database itself is found by the check of the trail."""
    agent, reviewer = world.agent(), world.reviewer()
    made = grant_to(agent, reviewer)
    ask(agent, 5)
    if "revoked" in statement:
        reviewer.delete(f"/v1/grants/{made['grant_id']}")
    assert world.service.verify_audit().ok

    tamper(world, statement)

    assert why in str(world.service.verify_audit().broken)


def test_what_a_grant_allowed(world: World) -> None:
    """Each grant has the list of its requests, in pages, newest first."""
    agent, reviewer = world.agent(), world.reviewer()
    decide(reviewer, ask(agent, 500), grant={"limits": {"amount": {"equal": 500}}, "max_uses": 1, "lasts": 60})
    other, made = listed(reviewer)[0], grant_to(agent, reviewer)
    allowed = [ask(agent, amount)["id"] for amount in (1, 2, 3)]
    place = f"/v1/grants/{made['grant_id']}/uses"

    first = reviewer.get(place, params={"limit": 2}).json()
    rest = reviewer.get(place, params={"limit": 2, "cursor": first["next"]}).json()

    assert [each["decision_id"] for each in (*first["reviews"], *rest["reviews"])] == allowed[::-1]
    assert rest["next"] is None
    assert reviewer.get(f"/v1/grants/{other['grant_id']}/uses").json() == {"reviews": [], "next": None}
    assert_problem(reviewer.get("/v1/grants/grant_none/uses"), 404)
    assert_problem(agent.get(place), 403)


def test_switched_off(start: Callable[..., World]) -> None:
    """A gate with grants switched off makes none and heeds none."""
    on, off = start(), start(grants=False)
    agent, reviewer = on.agent(), on.reviewer()
    grant_to(agent, reviewer)
    other = off.client(on.service.add_agent("refund-bot").key)
    decision = ask(other, 1)
    body = {"outcome": "approve", "grant": {"limits": LIMITS, "max_uses": 1, "lasts": 9}}

    assert (decision["status"], statuses(agent, 1)) == (WAITS, [ALLOWED])
    strict = off.client(on.service.add_reviewer("ann").token)
    assert listed(strict)[0]["state"] == "suspended"
    assert (
        "switched off" in assert_problem(strict.post(f"/v1/reviews/{decision['id']}/decide", json=body), 422)["detail"]
    )
    assert off.reviewer("bob").get(f"/v1/reviews/{decision['id']}").json()["status"] == WAITS


GOOD: dict[str, Any] = {"limits": LIMITS, "max_uses": 5, "lasts": 60}


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"max_uses": 0}, "/grant/max_uses"),
        ({"max_uses": 1001}, "/grant/max_uses"),
        ({"max_uses": True}, "/grant/max_uses"),
        ({"max_uses": "5"}, "/grant/max_uses"),
        ({"lasts": 0}, "/grant/lasts"),
        ({"lasts": 30 * 86400 + 1}, "/grant/lasts"),
        ({"lasts": None}, "/grant/until"),
        ({"until": "2126-01-01T00:00:00Z", "lasts": None}, "/grant/until"),
        ({"until": "2000-01-01T00:00:00Z", "lasts": None}, "/grant/until"),
        ({"until": "2126-01-01T00:00:00Z"}, "/grant/until"),
        ({"until": "2126-01-01T00:00:00", "lasts": None}, "/grant/until"),
        ({"limits": None}, "/grant/limits"),
        ({"limits": {}}, "/grant/limits/amount"),
        ({"limits": {"amount": {"at_most": 119}}}, "/grant/limits/amount"),
        ({"limits": {"amount": {"at_most": 200, "at_least": 121}}}, "/grant/limits/amount"),
        ({"limits": {"amount": {"equal": "120"}}}, "/grant/limits/amount"),
        ({"limits": {**LIMITS, "order": {"equal": None}}}, "/grant/limits/order"),
        ({"limits": {"amount": {"at_most": "200"}}}, "/grant/limits/amount/at_most/at_most/int"),
        ({"limits": {"amount": {"at_most": True}}}, "/grant/limits/amount/at_most/at_most/int"),
        ({"limits": {"amount": {"any": False}}}, "/grant/limits/amount/any/any"),
        ({"limits": {"amount": {"most": 3}}}, "/grant/limits/amount"),
        ({"limits": {"amount": {"any": True, "at_most": 3}}}, "/grant/limits/amount/at_most/any"),
        ({"forever": True}, "/grant/forever"),
    ],
)
def test_bad_grants(world: World, wrong: dict[str, Any], pointer: str) -> None:
    """A grant beyond its bounds, or that would not admit what is approved, is refused, and nothing is decided."""
    decision, reviewer = ask(world.agent()), world.reviewer()

    answer = reviewer.post(
        f"/v1/reviews/{decision['id']}/decide", json={"outcome": "approve", "grant": {**GOOD, **wrong}}
    )

    assert pointer in [each["pointer"] for each in assert_problem(answer, 422)["errors"]]
    assert reviewer.get(f"/v1/reviews/{decision['id']}").json()["status"] == WAITS
    assert listed(reviewer) == []


def test_only_with_an_approval(world: World) -> None:
    """No other outcome takes a grant, and a request that was decided before gets none."""
    decision, reviewer = ask(world.agent()), world.reviewer()
    place = f"/v1/reviews/{decision['id']}/decide"

    for outcome in ("reject", "revise"):
        body = {"outcome": outcome, "message": "no", "grant": GOOD}
        assert_problem(reviewer.post(place, json=body), 422)
    decide(reviewer, decision)
    assert_problem(reviewer.post(place, json={"outcome": "approve", "grant": GOOD}), 409)
    assert listed(reviewer) == []


def test_request_that_changed(world: World) -> None:
    """Who saw another risk than the request has by now does not grant that one."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent, risk="low")
    revision = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": {"risk_level": "critical"}}
    assert agent.post(f"/api/agent/tasks/{decision['task_id']}/events", json=revision).status_code == 201
    body = {"outcome": "approve", "grant": {**GOOD, "risk": "low"}}

    assert "critical" in assert_problem(reviewer.post(f"/v1/reviews/{decision['id']}/decide", json=body), 409)["detail"]
    assert listed(reviewer) == []


def test_with_edited_arguments(world: World) -> None:
    """The limits are held against what is approved: the edit."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent, 500)
    decide(reviewer, decision, arguments={"amount": 50}, grant={**GOOD, "limits": {"amount": {"at_most": 60}}})

    assert statuses(agent, 60, 61) == [ALLOWED, WAITS]


def test_other_dialect(world: World) -> None:
    """A request of the agent dialect is allowed in its own words."""
    agent, reviewer = world.agent(), world.reviewer()
    body = {"tool_name": "send_email", "payload": {"to": "a@example.com"}}
    first = agent.post("/api/agent/tasks/t1/requests", json=body).json()
    limits = {"to": {"equal": "a@example.com"}}
    review = reviewer.get(f"/v1/reviews/{first['thread_id']}").json()
    decide(reviewer, review, grant={"limits": limits, "max_uses": 1, "lasts": 60})

    answers = [agent.post("/api/agent/tasks/t2/requests", json=body).json()["status"] for _ in range(2)]

    assert answers == [ALLOWED, WAITS]


def test_the_one_that_ends_first(world: World) -> None:
    """Of several that match, the one that ends first is used."""
    agent, reviewer = world.agent(), world.reviewer()
    waiting = [ask(agent) for _ in range(2)]
    decide(reviewer, waiting[0], grant={**GOOD, "lasts": 600, "max_uses": 1})
    decide(reviewer, waiting[1], grant={**GOOD, "lasts": 60, "max_uses": 1})

    assert statuses(agent, 1) == [ALLOWED]
    assert [each["used"] for each in listed(reviewer)] == [1, 0]
    assert statuses(agent, 1, 1) == [ALLOWED, WAITS]


def test_replays_count_once(world: World) -> None:
    """The same idempotency key gets the same answer and uses the grant once."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer)
    body, headers = refund(new_task(agent), 5), {"Idempotency-Key": "one"}

    answers = {agent.post("/v1/gate/decision", json=body, headers=headers).content for _ in range(4)}

    assert len(answers) == 1
    assert listed(reviewer)[0]["used"] == 1


def test_refused_request_gives_its_use_back(world: World) -> None:
    """A request that fails after the grant was counted leaves no trace."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer)

    assert_problem(agent.post("/v1/gate/decision", json=refund("no such task", 5)), 404)

    assert listed(reviewer)[0]["used"] == 0


def test_never_more_than_granted(world: World) -> None:
    """Forty requests at once, on two gates: exactly five are allowed, and each of them names the grant."""
    agent, reviewer = world.agent(), world.reviewer()
    made = grant_to(agent, reviewer, max_uses=5)
    urls, tasks = [world.url, second_gate(world)], [new_task(agent) for _ in range(40)]

    answers = at_once(40, lambda n: agent.post(f"{urls[n % 2]}/v1/gate/decision", json=refund(tasks[n], n)).json())

    assert Counter(each["status"] for each in answers) == {ALLOWED: 5, WAITS: 35}
    assert (listed(reviewer)[0]["used"], listed(reviewer)[0]["state"]) == (5, "used_up")
    for each in answers:
        rule = reviewer.get(f"/v1/reviews/{each['id']}").json()["rule"]
        assert (rule is None) if each["status"] == WAITS else rule["id"] == made["grant_id"]
    assert world.service.verify_audit().ok


def test_revoked_while_in_use(world: World) -> None:
    """While others ask, a revocation holds for every request that is answered after it."""
    agent, reviewer = world.agent(), world.reviewer()
    made = grant_to(agent, reviewer, max_uses=1000)
    tasks = [new_task(agent) for _ in range(16)]

    def act(n: int) -> str:
        if n == 8:
            return str(reviewer.delete(f"/v1/grants/{made['grant_id']}").status_code)
        return agent.post("/v1/gate/decision", json=refund(tasks[n], n)).json()["status"]

    answers = Counter(at_once(16, act))

    assert answers["200"] == 1
    assert answers[ALLOWED] == listed(reviewer)[0]["used"]
    assert statuses(agent, 1) == [WAITS]


def test_pages_of_grants(world: World) -> None:
    """A long list comes in pages."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer, {"amount": {"equal": 120}})
    for amount in (1, 2):
        grant = {"limits": {"amount": {"equal": amount}}, "max_uses": 1, "lasts": 60}
        decide(reviewer, ask(agent, amount), grant=grant)

    first = reviewer.get("/v1/grants", params={"limit": 2}).json()
    rest = reviewer.get("/v1/grants", params={"limit": 2, "cursor": first["next"]}).json()

    assert [each["limits"]["amount"]["equal"] for each in (*first["grants"], *rest["grants"])] == [2, 1, 120]
    assert rest["next"] is None
    assert_problem(reviewer.get("/v1/grants", params={"cursor": "x"}), 422)
    assert_problem(reviewer.get("/v1/grants", params={"limit": "0"}), 422)


def test_pruning(world: World) -> None:
    """What ended before the moment of a pruning goes with it; what can still be used stays, without its request."""
    agent, reviewer = world.agent(), world.reviewer()
    grant_to(agent, reviewer, lasts=60)
    world.advance(minutes=5)
    grant_to(agent, reviewer, lasts=86400)
    world.advance(hours=1)

    assert world.service.prune(world.clock.now(), "ann") == 2

    assert [each["state"] for each in listed(reviewer)] == ["live"]
    assert statuses(agent, 1) == [ALLOWED]
    assert world.service.verify_audit().ok


PLAIN = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from(["1", "a", "", REDACTED])
VALUES = st.recursive(PLAIN, lambda each: st.lists(each, max_size=2) | st.dictionaries(st.sampled_from("xy"), each))
NUMBERS = st.integers(-5, 5) | st.floats(-5, 5)
LIMIT = st.one_of(
    st.fixed_dictionaries({"equal": VALUES}),
    st.builds(
        lambda most, least: {"at_most": most, **least},
        NUMBERS,
        st.just({}) | st.fixed_dictionaries({"at_least": NUMBERS}),
    ),
    st.just({"any": True}),
)
NAMES = st.sampled_from(["a", "b", "c"])


def within(limit: dict[str, Any], value: Any) -> bool:
    """What a limit means, said once more in the simplest words."""
    if "any" in limit:
        return True
    if REDACTED in json.dumps(value):
        return False
    if "equal" in limit:
        return canonical_json(limit["equal"]) == canonical_json(value)
    if isinstance(value, str):
        value = {"1": 1}.get(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and limit.get("at_least", value) <= value <= limit["at_most"]


@given(limits=st.dictionaries(NAMES, LIMIT), arguments=st.dictionaries(NAMES, VALUES))
def test_nothing_outside_of_the_limits(limits: dict[str, Any], arguments: dict[str, Any]) -> None:
    """A grant matches exactly the arguments of which each has a limit and is within it."""
    granted = GrantRequest.model_validate({"limits": limits, "max_uses": 1}).limits

    found = misfits(granted, arguments)

    named = set(arguments) <= set(limits)
    present = {name for name, limit in limits.items() if "any" not in limit} <= set(arguments)
    inside = all(within(limits[name], value) for name, value in arguments.items() if name in limits)
    assert (not found) == (named and present and inside)
