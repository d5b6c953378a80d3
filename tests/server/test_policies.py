"""Who may decide on what, how many must approve, and that nobody decides on requests of their own key."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.protocol.reviews import DecideRequest
from stacksona_adapters.server.service import accounts, policies, reviews
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import Conflict, Invalid, NotFound, NotPermitted
from tests.server.conftest import World, ask, assert_problem, consume, decide, new_task, refund

if TYPE_CHECKING:
    import httpx

TWO_FOR_CRITICAL = {"risks": ["critical"], "approvals": 2}


def add(world: World, **fields: Any) -> policies.Policy:
    """Add a policy."""
    return world.service.write(lambda w: policies.add(w, fields, by="root"))


def remove(world: World, policy: policies.Policy) -> None:
    """Remove a policy."""
    world.service.write(lambda w: policies.remove(w, policy.id, by="root"))


def people(world: World, *names: str, **roles: Role) -> list[httpx.Client]:
    """Reviewers who are there, and clients with their tokens."""
    clients = [world.reviewer(name) for name in (*names, *roles)]
    for name, role in roles.items():
        world.service.write(lambda w, name=name, role=role: accounts.give_role(w, name, role, by="root"))
    return clients


def detail(reviewer: httpx.Client, decision: dict[str, Any]) -> dict[str, Any]:
    """A request as a reviewer sees it."""
    return reviewer.get(f"/v1/reviews/{decision['id']}").json()


def try_to(reviewer: httpx.Client, decision: dict[str, Any], outcome: str = "approve", **fields: Any) -> httpx.Response:
    """Decide, whatever the gate says to it."""
    return reviewer.post(f"/v1/reviews/{decision['id']}/decide", json={"outcome": outcome, **fields})


def as_agent(agent: httpx.Client, decision: dict[str, Any]) -> dict[str, Any]:
    """The decision as the agent sees it."""
    return agent.get(f"/v1/gate/decision/{decision['id']}").json()


def test_without_policies_everybody_decides(world: World) -> None:
    """No policy is there by default: one reviewer alone approves what is critical."""
    decision = ask(world.agent(), risk="critical")
    ann = world.reviewer()

    seen = detail(ann, decision)
    answer = decide(ann, decision)

    assert world.service.read(policies.list_policies) == []
    assert (seen["approvals_needed"], seen["approvals"], seen["may_decide"], seen["stuck"]) == (1, [], True, None)
    assert answer["status"] == "approved"
    assert "approvals" not in answer


@pytest.mark.parametrize("outcome", ["approve", "reject", "revise"])
def test_only_those_who_are_named(world: World, outcome: str) -> None:
    """Who is not among a policy's deciders gets a 403 that says who may, for every outcome; nothing changes."""
    ann, bob = people(world, "ann", "bob")
    policy = add(world, tool="issue_refund", deciders=["bob"])
    decision = ask(world.agent())

    refused = assert_problem(try_to(ann, decision, outcome, message="no"), 403)

    assert refused["detail"] == f"Only bob may decide on it (policy {policy.id})."
    assert detail(ann, decision)["why_not"] == refused["detail"]
    assert detail(bob, decision)["may_decide"] is True
    assert detail(bob, decision)["status"] == "pending_review"
    decide(bob, decision, outcome, message="so be it")


def test_settling_is_deciding(world: World) -> None:
    """Who may not decide may not settle an unknown outcome either; claims and notes stay open to everybody."""
    ann, bob = people(world, "ann", "bob")
    add(world, deciders=["bob"])
    agent = world.agent()
    decision = ask(agent)
    assert ann.post(f"/v1/reviews/{decision['id']}/claim").status_code == 200
    assert ann.post(f"/v1/reviews/{decision['id']}/notes", json={"text": "looks odd"}).status_code == 201
    decide(bob, decision)
    consume(agent, decision)
    settle = f"/v1/reviews/{decision['id']}/settle"

    assert "Only bob may" in assert_problem(ann.post(settle, json={"outcome": "ran"}), 403)["detail"]
    assert detail(ann, decision)["may_decide"] is False
    assert bob.post(settle, json={"outcome": "ran"}).status_code == 200


def test_matching(world: World) -> None:
    """A policy is about the key's agent or the one the request says, the tool, and the risks that it names."""
    people(world, "ann", "bob")
    add(world, agent="refund-bot", tool="pay", risks=["high", "critical"], deciders=["ann"])
    add(world, agent="Shop", deciders=["bob"], approvals=1)

    def needs(agent: str, label: str, tool: str, risk: str) -> set[str]:
        found = world.service.read(
            lambda r: policies.requirement(r, agent=agent, label=label, tool=tool, risk=Risk(risk))
        )
        return {name for name in ("ann", "bob") if found.permits(name, Role.REVIEWER)}

    assert needs("refund-bot", "refund-bot", "pay", "high") == {"ann"}
    assert needs("refund-bot", "other", "pay", "critical") == {"ann"}
    assert needs("other", "refund-bot", "pay", "high") == {"ann"}
    assert needs("refund-bot", "refund-bot", "pay", "low") == {"ann", "bob"}
    assert needs("refund-bot", "refund-bot", "mail", "high") == {"ann", "bob"}
    assert needs("x", "Shop", "mail", "low") == {"bob"}
    assert needs("refund-bot", "Shop", "pay", "high") == set()


def test_roles_decide(world: World) -> None:
    """`role:admin` stands for every admin, and for nobody else."""
    ann, root = people(world, "ann", root=Role.ADMIN)
    add(world, deciders=["role:admin"])
    decision = ask(world.agent())

    assert "Only root may" in assert_problem(try_to(ann, decision), 403)["detail"]
    world.service.write(lambda w: accounts.give_role(w, "ann", Role.ADMIN, by="root"))
    assert decide(ann, decision)["status"] == "approved"
    assert root.get("/v1/reviews").status_code == 200


def test_a_name_is_no_role(world: World) -> None:
    """A reviewer whose name looks like a role has that role no more than others."""
    poser, _ = people(world, "role:admin", root=Role.ADMIN)
    add(world, deciders=["role:admin"])

    assert_problem(try_to(poser, ask(world.agent())), 403)


def test_all_policies_hold_together(world: World) -> None:
    """Where several match, who decides must be permitted by each, and the greatest number of approvals is needed."""
    ann, bob, carl = people(world, "ann", "bob", "carl")
    add(world, tool="issue_refund", deciders=["ann", "bob"])
    add(world, risks=["high", "critical"], approvals=2)
    add(world, agent="refund-bot", deciders=["bob", "carl"])
    agent = world.agent()

    high, low = ask(agent, risk="high"), ask(agent, risk="low")

    assert_problem(try_to(ann, low), 403)
    assert_problem(try_to(carl, low), 403)
    seen = detail(bob, high)
    assert (seen["approvals_needed"], seen["may_decide"]) == (2, True)
    assert seen["stuck"] == "2 approvals are needed, and only bob may decide"
    assert decide(bob, low)["status"] == "approved"


def test_a_policy_that_leaves_nobody_fails_closed(world: World) -> None:
    """If the only decider is revoked or becomes an auditor, nobody decides, and everything that shows it says so."""
    ann, _, eve = people(world, "ann", "bob", eve=Role.AUDITOR)
    policy = add(world, deciders=["bob"])
    decision = ask(world.agent())
    world.service.revoke_reviewer("bob")

    refused = assert_problem(try_to(ann, decision), 403)["detail"]
    assert refused == f"As things are, nobody may decide on it (policy {policy.id})."
    assert detail(ann, decision)["stuck"] == "1 approval is needed, and nobody may decide"
    assert detail(eve, decision)["why_not"] == "An auditor reads and does not decide."
    (gap,) = world.service.read(policies.gaps)
    about = f"nobody can approve what the policy {policy.id} is about"
    assert str(gap) == f"{about}: 1 approval is needed, and nobody may decide"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"deciders": ["zoe"]}, "there is no reviewer 'zoe'"),
    ({"deciders": ["eve"]}, "is an auditor"),
    ({"deciders": ["old"]}, "is revoked"),
    ({"deciders": ["role:auditor"]}, "is no role that decides"),
    ({"deciders": ["role:boss"]}, "is no role that decides"),
    ({"deciders": ["ann"], "approvals": 2}, "2 cannot be given by 1 deciders"),
    ({"deciders": ["ann", "ann"], "approvals": 2}, "2 cannot be given by 1 deciders"),
    ({"approvals": 0}, "approvals"),
    ({"approvals": 6}, "approvals"),
    ({"approvals": True}, "approvals"),
    ({"risks": ["huge"], "approvals": 2}, "risks"),
    ({"agent": "", "approvals": 2}, "agent"),
    ({"who": "ann"}, "who"),
    ({}, "changes nothing"),
    ({"risks": ["critical"]}, "changes nothing"),
]


@pytest.mark.parametrize(("fields", "why"), WRONG)
def test_policies_that_cannot_be_used(world: World, fields: dict[str, Any], why: str) -> None:
    """A wrong policy is refused with what is wrong, and none is kept."""
    people(world, "ann", "old", eve=Role.AUDITOR)
    world.service.revoke_reviewer("old")

    with pytest.raises(Invalid, match=why):
        add(world, **fields)

    assert world.service.read(policies.list_policies) == []


def test_add_list_remove(world: World) -> None:
    """A policy is kept as it was given, and removed by its id."""
    people(world, "ann")
    made = add(world, agent="refund-bot", tool="pay", risks=["critical", "high"], deciders=["role:admin", "ann"])

    assert world.service.read(policies.list_policies) == [made]
    assert made.as_dict() == {
        "id": made.id,
        "agent": "refund-bot",
        "tool": "pay",
        "risks": ["critical", "high"],
        "deciders": ["role:admin", "ann"],
        "approvals": 1,
        "created_by": "root",
    }
    remove(world, made)
    with pytest.raises(NotFound):
        remove(world, made)
    done = [(each.by, each.kind, each.said) for each in world.service.list_journal(2)]
    assert done == [("root", f"policy.{what}", {"policy": made.as_dict()}) for what in ("removed", "added")]


def test_there_is_a_most(world: World) -> None:
    """A gate keeps a bounded number of policies."""
    for number in range(policies.MOST):
        add(world, tool=f"tool-{number}", approvals=2)

    with pytest.raises(Conflict, match="remove one first"):
        add(world, approvals=2)


def test_a_revoked_reviewer_decides_no_more(world: World) -> None:
    """Also where a session or token was looked at before it was revoked: the transaction that decides looks again."""
    people(world, "ann")
    decision = ask(world.agent())
    world.service.revoke_reviewer("ann")
    approve = DecideRequest(outcome="approve")

    with pytest.raises(NotPermitted, match="can sign in"):
        world.service.write(lambda w: reviews.decide(w, "ann", decision["id"], approve, decision["action_digest"]))


def test_nobody_decides_on_requests_of_their_own_key(world: World) -> None:
    """Who owns a key of the agent, a revoked one too, neither decides nor settles; no policy is needed for that."""
    ann, bob = people(world, "ann", "bob")
    agent = world.agent()
    owned = world.service.add_agent("refund-bot", owner="ann")
    world.service.revoke_agent(owned.key_id)
    decision, others = ask(agent), ask(world.agent("other-bot"))

    refused = assert_problem(try_to(ann, decision), 403)
    decide(bob, decision)
    consume(agent, decision)

    own = "A key of the agent refund-bot is or was yours, and nobody decides on requests of their own key. bob may."
    assert refused["detail"] == own
    assert_problem(ann.post(f"/v1/reviews/{decision['id']}/settle", json={"outcome": "ran"}), 403)
    assert decide(ann, others)["status"] == "approved"
    (info,) = [each for each in world.service.list_agents() if each.name == "refund-bot"]
    assert [key.owner for key in info.keys] == [None, "ann"]


def test_an_owner_is_a_reviewer(world: World) -> None:
    """A key cannot be given to a name that is none."""
    with pytest.raises(Invalid, match="no reviewer 'zoe'"):
        world.service.add_agent("refund-bot", owner="zoe")

    assert world.service.list_agents() == []


def test_an_owner_who_is_the_only_reviewer_is_a_gap(world: World) -> None:
    """It is said where nobody is left because of keys alone, or together with a policy."""
    people(world, "ann")
    world.service.add_agent("refund-bot", owner="ann")

    (alone,) = world.service.read(policies.gaps)
    people(world, "bob")
    none = world.service.read(policies.gaps)
    policy = add(world, **TWO_FOR_CRITICAL)
    (together,) = world.service.read(policies.gaps)

    assert str(alone) == "nobody can approve requests of refund-bot: 1 approval is needed, and nobody may decide"
    assert none == []
    assert (together.policies, together.agent, together.able) == ((policy.id,), "refund-bot", ("bob",))


def test_gaps_of_two_policies_together(world: World) -> None:
    """Two policies that are fine alone and leave too few together are named; two that never meet are not."""
    people(world, "ann", "bob", "carl")
    one = add(world, tool="pay", deciders=["ann", "bob"])
    two = add(world, risks=["critical"], deciders=["bob", "carl"], approvals=2)
    add(world, tool="mail", risks=["low"], deciders=["ann", "carl"])

    (gap,) = world.service.read(policies.gaps)

    assert (gap.policies, gap.needed, gap.able) == ((one.id, two.id), 2, ("bob",))
    assert f"what the policies {one.id} and {two.id} are about together: 2 approvals" in str(gap)


def test_two_people_approve(world: World) -> None:
    """The first approval leaves it pending, the second of another reviewer approves; the trail names both."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    decision = ask(agent, risk="critical")

    first = decide(ann, decision, message="checked the order")
    between = as_agent(agent, decision)
    entry = ann.get("/v1/reviews").json()["reviews"][0]
    second = decide(bob, decision, message="checked the sum")

    assert (first["status"], first["decision"], first["approvals_needed"]) == ("pending_review", "PENDING", 2)
    assert [(one["reviewer_id"], one["action_digest"]) for one in first["approvals"]] == [
        ("ann", decision["action_digest"])
    ]
    assert between["status"] == "pending_review"
    assert not {"approvals", "approvals_needed", "message"} & {n for n, value in between.items() if value is not None}
    assert (entry["approvals_given"], entry["approvals_needed"]) == (1, 2)
    assert (second["status"], second["reviewer_id"]) == ("approved", "bob")
    assert second["message"] == "checked the order\n\nchecked the sum"
    assert [one["reviewer_id"] for one in second["approvals"]] == ["ann", "bob"]
    seen = detail(bob, decision)
    kinds = {record["kind"]: record["payload"] for record in seen["timeline"]}
    assert kinds["decision.approval"]["approved_digest"] == decision["action_digest"]
    assert (kinds["decision.approval"]["by"], kinds["decision.approval"]["status"]) == ("ann", "pending_review")
    assert kinds["decision.approved"]["approvers"] == ["ann", "bob"]
    assert [one["reviewer_id"] for one in seen["approvals"]] == ["ann", "bob"]
    assert consume(agent, decision).status_code == 200
    assert world.service.verify_audit().ok


def test_the_agent_cannot_take_half_an_approval(world: World) -> None:
    """While another approval is needed the permission cannot be taken."""
    (ann,) = people(world, "ann")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent(signed_approval=True)
    decision = ask(agent, risk="critical")
    decide(ann, decision)

    assert_problem(consume(agent, decision), 403)
    assert as_agent(agent, decision).get("approval_token") is None


def test_a_second_person_is_needed(world: World) -> None:
    """The same reviewer cannot give both approvals: 409 with a clear text, and the first one stands."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), risk="critical")
    decide(ann, decision)

    again = assert_problem(try_to(ann, decision), 409)

    assert again["detail"] == "You have approved it already; a second person is needed (1 of 2 approvals)."
    assert decide(bob, decision)["status"] == "approved"


def test_three_people(world: World) -> None:
    """Any number up to five: the third approval of three approves."""
    ann, bob, carl = people(world, "ann", "bob", "carl")
    add(world, approvals=3)
    decision = ask(world.agent())

    assert [decide(each, decision)["status"] for each in (ann, bob)] == ["pending_review"] * 2
    assert "another person is needed (2 of 3" in assert_problem(try_to(bob, decision), 409)["detail"]
    final = decide(carl, decision)

    assert final["status"] == "approved"
    assert [one["reviewer_id"] for one in final["approvals"]] == ["ann", "bob", "carl"]


@pytest.mark.parametrize(("outcome", "status"), [("reject", "rejected"), ("revise", "revise")])
def test_one_refusal_ends_it(world: World, outcome: str, status: str) -> None:
    """Anybody who may decide rejects or sends back at once, also who has approved it before."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    one, other = ask(agent, risk="critical"), ask(agent, risk="critical")
    decide(ann, one)
    decide(ann, other)

    assert decide(bob, one, outcome, message="no")["status"] == status
    assert decide(ann, other, outcome, message="I was wrong")["status"] == status
    assert as_agent(agent, one)["message"] == "no"


def test_the_second_approves_the_edit_of_the_first(world: World) -> None:
    """By the digest of the version that the first has approved; the edited arguments are what runs."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    decision = ask(agent, 120, risk="critical")
    first = decide(ann, decision, arguments={"amount": 100})
    (given,) = detail(bob, decision)["approvals"]

    final = decide(bob, decision, action_digest=given["action_digest"])

    assert first["approvals"][0]["action_digest"] != decision["action_digest"]
    assert first["action_digest"] == decision["action_digest"]
    assert given["arguments"] == {"amount": 100}
    assert (final["status"], final["arguments"], final["action_digest"]) == (
        "approved",
        {"amount": 100},
        given["action_digest"],
    )
    assert_problem(consume(agent, decision), 422)
    assert consume(agent, final).status_code == 200
    assert world.service.verify_audit().ok


def test_edits_that_differ_do_not_add_up(world: World) -> None:
    """Two versions with one approval each approve nothing; whoever then joins one of them decides which runs."""
    ann, bob, carl = people(world, "ann", "bob", "carl")
    add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), 120, risk="critical")
    decide(ann, decision, arguments={"amount": 100})
    second = decide(bob, decision, arguments={"amount": 90})
    third = decide(carl, decision, arguments={"amount": 90})

    assert second["status"] == "pending_review"
    assert detail(ann, decision)["approvals_given"] == 2
    assert (third["status"], third["arguments"]) == ("approved", {"amount": 90})
    assert [one["reviewer_id"] for one in third["approvals"]] == ["bob", "carl"]


def test_a_later_approval_replaces_the_earlier_one(world: World) -> None:
    """A reviewer may change what they approve; the first version then has no approval any more."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), 120, risk="critical")
    decide(ann, decision, arguments={"amount": 100})
    decide(ann, decision, arguments={"amount": 90})

    assert [one["arguments"] for one in detail(bob, decision)["approvals"]] == [{"amount": 90}]
    assert decide(bob, decision, arguments={"amount": 100})["status"] == "pending_review"
    assert decide(bob, decision, arguments={"amount": 90})["status"] == "approved"


def revise(agent: httpx.Client, decision: dict[str, Any], **payload: Any) -> None:
    """The agent changes its request."""
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "payload": payload}
    answer = agent.post(f"/api/agent/tasks/{decision['task_id']}/events", json=body)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("changed", [{"payload": {"amount": 130}}, {"summary": ["Something else"]}])
def test_a_revision_ends_what_was_approved(world: World, changed: dict[str, Any]) -> None:
    """Approvals are of the request as it was seen: after any change by the agent they count no more."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    decision = ask(agent, 120, risk="critical")
    decide(ann, decision, arguments={"amount": 100})
    (given,) = detail(bob, decision)["approvals"]

    revise(agent, decision, **changed)

    assert detail(bob, decision)["approvals"] == []
    assert_problem(try_to(bob, decision, action_digest=given["action_digest"]), 409)
    assert decide(bob, decision)["status"] == "pending_review"
    revised = [record for record in detail(bob, decision)["timeline"] if record["kind"] == "decision.revised"]
    assert revised[0]["payload"]["approvals_withdrawn"] == ["ann"]


def test_two_approve_at_the_same_moment(world: World) -> None:
    """Of ten approvals by two reviewers at once, one of each counts and the request is approved once."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), risk="critical")
    barrier, answers = threading.Barrier(10), []

    def approve(reviewer: httpx.Client) -> None:
        barrier.wait(30)
        answers.append(try_to(reviewer, decision).json())

    threads = [threading.Thread(target=approve, args=(each,)) for each in (ann, bob) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(str(each["status"]) for each in answers) == ["409"] * 8 + ["approved", "pending_review"]
    assert {one["reviewer_id"] for one in detail(ann, decision)["approvals"]} == {"ann", "bob"}
    assert world.service.verify_audit().ok


def test_a_policy_that_is_removed_between(world: World) -> None:
    """Removing the policy approves nothing by itself; whoever then approves, alone, decides."""
    (ann,) = people(world, "ann")
    policy = add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), risk="critical")
    decide(ann, decision)

    remove(world, policy)

    seen = detail(ann, decision)
    assert (seen["status"], seen["approvals_needed"]) == ("pending_review", 1)
    assert decide(ann, decision)["status"] == "approved"


@pytest.mark.parametrize("who", ["one of the two", "a third"])
def test_fewer_approvals_are_needed_now(world: World, who: str) -> None:
    """Where those that are there would now be enough, it still takes somebody who approves."""
    ann, bob, carl = people(world, "ann", "bob", "carl")
    three = add(world, approvals=3)
    decision = ask(world.agent())
    decide(ann, decision)
    decide(bob, decision)
    add(world, approvals=2)
    remove(world, three)

    seen = detail(carl, decision)
    final = decide(ann if who == "one of the two" else carl, decision)

    assert (seen["status"], seen["approvals_given"], seen["approvals_needed"]) == ("pending_review", 2, 2)
    assert final["status"] == "approved"
    assert {"ann", "bob"} <= {one["reviewer_id"] for one in final["approvals"]}


def test_a_policy_that_is_added_between(world: World) -> None:
    """A new policy holds for what waits already: a third approval, and only of whom it names."""
    ann, bob, carl = people(world, "ann", "bob", "carl")
    add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), risk="critical")
    decide(ann, decision)

    add(world, deciders=["bob", "carl"])

    (given,) = detail(bob, decision)["approvals"]
    assert given["counts"] is False
    assert decide(bob, decision)["status"] == "pending_review"
    final = decide(carl, decision)
    assert [one["reviewer_id"] for one in final["approvals"]] == ["bob", "carl"]


@pytest.mark.parametrize("lost", ["token", "role", "own key"])
def test_who_approved_must_still_be_permitted(world: World, lost: str) -> None:
    """An approval counts no more when its reviewer is revoked, only reads, or owns a key of the agent."""
    ann, bob, carl = people(world, "ann", "bob", "carl")
    add(world, **TWO_FOR_CRITICAL)
    decision = ask(world.agent(), risk="critical")
    decide(ann, decision)

    if lost == "token":
        world.service.revoke_reviewer("ann")
    elif lost == "role":
        world.service.write(lambda w: accounts.give_role(w, "ann", Role.AUDITOR, by="root"))
    else:
        world.service.add_agent("refund-bot", owner="ann")

    assert decide(bob, decision)["status"] == "pending_review"
    final = decide(carl, decision)
    assert (final["status"], [one["reviewer_id"] for one in final["approvals"]]) == ("approved", ["bob", "carl"])


def test_a_token_that_leaked_leaves_nothing(world: World) -> None:
    """Who is revoked and added again has neither their half approval nor their grants back, whoever made them."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    half, whole = ask(agent, risk="critical"), ask(agent, risk="critical")
    decide(ann, half)
    decide(bob, whole)
    decide(ann, whole)
    limits = {"amount": {"at_most": 200}}
    decide(ann, ask(agent), grant={"limits": limits, "max_uses": 5, "lasts": 3600})
    assert ask(agent)["status"] == "allow"

    token = world.service.list_reviewers()[0].tokens[0].id
    world.service.revoke_reviewer(token)
    world.service.add_reviewer("ann")

    assert ask(agent)["status"] == "pending_review"
    assert detail(bob, half)["approvals"] == []
    assert detail(bob, half)["timeline"][-1]["kind"] == "decision.approval_withdrawn"
    assert decide(bob, half)["status"] == "pending_review"
    assert [one["reviewer_id"] for one in detail(bob, whole)["approvals"]] == ["bob", "ann"]
    kinds = [entry.kind for entry in world.service.list_journal(4)]
    assert {"reviewer.token_revoked", "grant.revoked"} <= set(kinds)
    assert world.service.verify_audit().ok


def test_it_expires_between(world: World) -> None:
    """A first approval does not stop the clock."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    decision = ask(agent, risk="critical", expires_in=60)
    decide(ann, decision)
    world.advance(seconds=61)

    assert assert_problem(try_to(bob, decision), 409)["detail"] == "Its time is over."
    assert world.service.expire_due() == 1
    assert as_agent(agent, decision)["status"] == "expired"


def test_half_an_approval_wakes_who_looks(world: World) -> None:
    """The first approval is a change: the agent's stream says pending_review again, and nothing more."""
    (ann,) = people(world, "ann")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    decision = ask(agent, risk="critical")
    head = world.service.head()

    decide(ann, decision, message="for the second reviewer")

    assert world.service.head() == head + 1
    now = as_agent(agent, decision)
    assert (now["status"], now.get("message"), now.get("reviewer_id")) == ("pending_review", None, None)
    assert now["audit_hash"] != decision["audit_hash"]


def test_signed_approval_of_two(world: World) -> None:
    """The token comes with the last approval, for the version that was approved."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent(signed_approval=True)
    decision = ask(agent, 120, risk="critical")
    decide(ann, decision, arguments={"amount": 100})
    decide(bob, decision, arguments={"amount": 100})

    now = as_agent(agent, decision)

    assert consume(agent, now, approval_token=now["approval_token"]).status_code == 200


def test_pruning_takes_approvals_too(world: World) -> None:
    """Old requests with approvals of several can be removed."""
    ann, bob = people(world, "ann", "bob")
    add(world, **TWO_FOR_CRITICAL)
    agent = world.agent()
    task = new_task(agent)
    decision = agent.post("/v1/gate/decision", json=refund(task, risk="critical")).json()
    decide(ann, decision)
    decide(bob, decision, "reject", message="no")
    world.advance(days=2)

    assert world.service.prune(world.clock.now(), "root") == 1
    assert_problem(ann.get(f"/v1/reviews/{decision['id']}"), 404)
