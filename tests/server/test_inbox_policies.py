"""The inbox where several must approve, where not everybody may decide, and the page of policies."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stacksona_adapters.server.service import policies
from stacksona_adapters.server.service.accounts import Role
from tests.server.conftest import World, ask, consume, decide
from tests.server.inbox_tools import Inbox, find_form, text_of
from tests.server.test_inbox import place, status_of


def two_for_critical(world: World) -> None:
    """The usual policy."""
    world.service.write(lambda w: policies.add(w, {"risks": ["critical"], "approvals": 2}, by="root"))


def test_two_approve_with_an_edit(world: World) -> None:
    """The second sees what the first has changed, and the one button approves exactly that."""
    two_for_critical(world)
    agent, ann, bob = world.agent(), Inbox(world).sign_in(), Inbox(world, "bob").sign_in()
    decision = ask(agent, 120, risk="critical", subject="order 1")

    before = text_of(ann.page(place(decision)))
    checked = ann.send(ann.form(place(decision), "/edit"), arg__0="100").text
    done = ann.send(find_form(checked, "/decide", "Approve with these changes (1 of 2)"))
    noted = text_of(ann.page(done.headers["location"]))
    mine = text_of(ann.page(place(decision)))
    theirs = bob.page(place(decision))
    listed = text_of(bob.page("/inbox"))
    bob.send(find_form(theirs, "/decide", "Approve as"))
    after = text_of(ann.page(place(decision)))

    assert "Needs 2 approvals Nobody has approved it yet." in before
    assert "Approve (1 of 2)" in before
    assert "Your approval is noted, 1 of 2; another person must approve it too" in noted
    assert "You have approved it. A second person is needed" in mine
    assert "What will run, as ann changed it" in text_of(theirs)
    assert re.search("ann approved [^.]*, with these changes: amount 120 → 100", text_of(theirs))
    assert "Approve as ann changed it (2 of 2)" in text_of(theirs)
    assert "Approve without the changes (1 of 2)" in text_of(theirs)
    assert "1 of 2 approvals" in listed
    assert "By ann and bob" in after
    assert status_of(world, decision)["edited_arguments"] == {"amount": 100}


def test_approve_without_the_changes_of_the_other(world: World) -> None:
    """The agent's own version can be approved beside the changed one; the two do not add up."""
    two_for_critical(world)
    api, bob = world.reviewer("ann"), Inbox(world, "bob").sign_in()
    decision = ask(world.agent(), 120, risk="critical")
    decide(api, decision, arguments={"amount": 100})

    bob.send(bob.form(place(decision), "/decide", "Approve without the changes"))

    assert status_of(world, decision)["status"] == "pending_review"
    decide(api, decision)
    assert status_of(world, decision)["edited_arguments"] is None
    assert status_of(world, decision)["status"] == "approved"


def test_the_edit_starts_from_what_was_approved(world: World) -> None:
    """Who edits after somebody else has begun with their version; setting it back names the other button."""
    two_for_critical(world)
    api, bob = world.reviewer("ann"), Inbox(world, "bob").sign_in()
    decision = ask(world.agent(), 120, risk="critical")
    decide(api, decision, arguments={"amount": 100})

    form = bob.form(place(decision), "/edit")
    back = bob.send(form, arg__0="120")
    same = bob.send(form)

    assert dict(form.values)["arg.0"] == "100"
    assert back.status_code == 422
    assert "press “Approve without the changes”" in text_of(back.text)
    assert "Approve with these changes (2 of 2)" in text_of(same.text)


def test_several_at_once_are_half_approved(world: World) -> None:
    """Deciding several together says which now wait for another person, and approves no changes unseen."""
    two_for_critical(world)
    agent, api, bob = world.agent(), world.reviewer("ann"), Inbox(world, "bob").sign_in()
    low, high, changed = (ask(agent, 120, risk=risk) for risk in ("low", "critical", "critical"))
    decide(api, changed, arguments={"amount": 100})
    chosen = [f"{each['id']} {each['action_digest']}" for each in (low, high, changed)]

    sure = bob.send(bob.form("/inbox", "/several"), outcome="approve", chosen=chosen)  # type: ignore[arg-type]
    form = find_form(sure.text, "/several")
    page = text_of(bob.http.post(form.action, data={**dict(form.values), "chosen": chosen}).text)

    assert "0 of 2 approvals" in text_of(sure.text)
    assert "Approved: 1 of 3, half approved: 1" in page
    assert f"{high['id']}: 1 of 2 approvals: another person must approve it too" in page
    assert f"{changed['id']}: not done. ann has approved it with changes; open it to see them." in page


def test_who_may_not_decide_sees_why(world: World) -> None:
    """Instead of the buttons stands who may; a form that was kept from before is refused, with the same words."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    world.reviewer("bob")
    decision, lost = ask(agent), ask(agent)
    kept = ann.form(place(decision), "/decide", "Approve")
    decide(world.reviewer("bob"), lost)
    consume(agent, lost)
    settle = ann.form(place(lost), "/settle")
    made = world.service.write(lambda w: policies.add(w, {"deciders": ["bob"]}, by="root"))

    page = ann.page(place(decision))
    answers = [ann.send(kept), ann.send(settle, outcome="ran")]
    unknown = ann.page(place(lost))

    why = f"Only bob may decide on it (policy {made.id})."
    assert why in text_of(page)
    assert "/decide" not in page
    assert "/claim" in page
    assert "/note" in page
    assert [(each.status_code, why in text_of(each.text)) for each in answers] == [(403, True)] * 2
    assert why in text_of(unknown)
    assert "/settle" not in unknown


def test_nobody_is_left(world: World) -> None:
    """A request that nobody can approve says so."""
    two_for_critical(world)
    ann = Inbox(world).sign_in()
    decision = ask(world.agent(), risk="critical")

    page = text_of(ann.page(place(decision)))

    assert "nobody can approve it: 2 approvals are needed, and only ann may decide" in page


def test_policies_page(world: World) -> None:
    """An admin adds and removes policies, an auditor reads them, a reviewer does not see them."""
    root, eve = Inbox(world, "root", Role.ADMIN).sign_in(), Inbox(world, "eve", Role.AUDITOR).sign_in()
    ann = Inbox(world).sign_in()
    form = root.form("/inbox/policies", "/policies/add")
    fields: dict[str, Any] = {"risk": ["high", "critical"], "decider": ["role:admin", "ann"], "approvals": "2"}

    added = root.send(form, tool="issue_refund", **fields)
    (policy,) = world.service.read(policies.list_policies)
    seen = text_of(eve.page("/inbox/policies"))

    assert added.status_code == 303
    assert (policy.agent, policy.tool, policy.approvals) == ("*", "issue_refund", 2)
    assert policy.created_by == "root"
    assert "any issue_refund high, critical every admin, ann 2" in seen
    assert "New policy" not in seen
    assert eve.http.post("/inbox/policies/add", data=dict(form.values)).status_code == 403
    assert ann.get("/inbox/policies").status_code == 403
    root.send(root.form("/inbox/policies", "/policies/remove"))
    assert world.service.read(policies.list_policies) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"approvals": "1"}, "changes nothing"),
        ({"approvals": "x"}, "approvals"),
        ({"approvals": "2", "decider": ["ann"]}, "2 cannot be given by 1"),
        ({"approvals": "2", "decider": ["zoe"]}, "there is no reviewer"),
        ({"approvals": "2", "risk": ["huge"]}, "risks"),
    ],
)
def test_wrong_policies(world: World, fields: dict[str, Any], says: str) -> None:
    """A mistake is named, and what was entered stays."""
    world.reviewer("ann")
    root = Inbox(world, "root", Role.ADMIN).sign_in()

    answer = root.send(root.form("/inbox/policies", "/policies/add"), tool="my_tool", **fields)

    assert answer.status_code == 422
    assert says in text_of(answer.text)
    assert 'value="my_tool"' in answer.text
    assert world.service.read(policies.list_policies) == []


def test_policies_that_leave_nobody(world: World) -> None:
    """The page says which requests nobody can approve."""
    root = Inbox(world, "root", Role.ADMIN).sign_in()
    two_for_critical(world)

    assert "As things are, nobody can approve what the policy" in text_of(root.page("/inbox/policies"))


def test_whose_key_is_it(world: World) -> None:
    """The admin who makes a key sees it, so it is theirs unless they say otherwise, where somebody else decides."""
    root = Inbox(world, "root", Role.ADMIN).sign_in()
    alone = dict(root.form("/inbox/agents", "/agents/add").values)
    Inbox(world, "eve", Role.AUDITOR)
    still = dict(root.form("/inbox/agents", "/agents/add").values)
    world.reviewer("ann")
    form = root.form("/inbox/agents", "/agents/add")

    root.send(form, name="refund-bot")
    root.send(form, name="shared-bot", owner="")
    wrong = root.send(form, name="other-bot", owner="zoe")

    assert alone.get("owner", "") == still.get("owner", "") == ""
    assert dict(form.values)["owner"] == "root"
    owners = {each.name: each.keys[0].owner for each in world.service.list_agents()}
    assert owners == {"refund-bot": "root", "shared-bot": None}
    assert wrong.status_code == 422
    assert "no reviewer" in text_of(wrong.text)
    assert "nobody\N{RIGHT SINGLE QUOTATION MARK}s" in text_of(root.page("/inbox/agents"))
