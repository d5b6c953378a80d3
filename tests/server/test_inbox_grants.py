"""The pages on which grants are made, listed and revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.service import policies
from stacksona_adapters.server.service.accounts import Role
from tests.server.conftest import World, ask, decide
from tests.server.inbox_tools import Inbox, find_form, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

ARGUMENTS = {"amount": 120, "order_id": "8821", "note": {"to": "x"}}
OFFER = "Approve, and also similar requests"


@pytest.fixture
def ann(world: World) -> Inbox:
    """A reviewer."""
    return Inbox(world).sign_in()


def place_of(decision: dict[str, Any]) -> str:
    """The page of a request."""
    return f"/inbox/requests/{decision['id']}"


def test_form_confirmation_grant(world: World, ann: Inbox) -> None:
    """The form begins with exactly these values; what it says is confirmed in a sentence, and nothing runs before."""
    agent = world.agent()
    decision = ask(agent, arguments=ARGUMENTS)
    form = ann.form(place_of(decision), "/grant")
    said = dict(form.values)

    assert [said[f"limit.{n}"] for n in range(3)] == ["equal"] * 3
    assert (said["most.0"], said["least.0"], said["max_uses"], said["lasts"]) == ("120", "0", "5", "86400")
    assert "most.1" not in said
    asked = ann.send(form, limit__0="at_most", most__0="200.5", limit__1="any", max_uses="2", lasts="3600")
    sentence = "may call issue_refund 2 more times until"
    assert asked.status_code == 200
    assert sentence in text_of(asked.text)
    assert 'amount from 0 to 200.5, order_id any value, note exactly {"to": "x"}, for any subject' in text_of(
        asked.text
    )
    assert ask(agent, arguments=ARGUMENTS)["status"] == "pending_review"

    done = ann.send(find_form(asked.text, "/decide", "grant this"))

    assert (done.status_code, done.headers["location"]) == (303, f"/inbox?done={decision['id']}")
    fits = {**ARGUMENTS, "amount": 200.5, "order_id": "1"}
    assert [ask(agent, arguments=fits)["status"] for _ in range(3)] == ["allow", "allow", "pending_review"]
    made = text_of(ann.page(place_of(decision)))
    assert "ann also granted similar requests" in made
    assert "2 of 2 used" in made


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"limit__0": "at_most", "most__0": "119"}, "does not admit the value that is approved"),
        ({"limit__0": "at_most", "most__0": "NaN"}, "Not a number: NaN."),
        ({"limit__0": "at_most", "most__0": ""}, "Not a number: empty."),
        ({"limit__0": "at_most", "least__0": "true"}, "Not a number: true."),
        ({"limit__0": "whatever"}, "Choose what it may be."),
        ({"max_uses": "0"}, "a number from 1 to 1000"),
        ({"max_uses": "²"}, "a number from 1 to 1000"),
        ({"lasts": "99999999"}, "Choose how long."),
    ],
)
def test_mistakes(world: World, ann: Inbox, changed: dict[str, str], why: str) -> None:
    """A mistake is said where it is, what was entered stays, and nothing is granted."""
    form = ann.form(place_of(ask(world.agent(), arguments=ARGUMENTS)), "/grant")

    answer = ann.send(form, limit__1="any", **changed)

    assert answer.status_code == 422
    assert why in text_of(answer.text)
    assert dict(find_form(answer.text, "/grant").values)["limit.1"] == "any"
    assert "No grant holds now." in text_of(ann.page("/inbox/grants"))


def test_hidden_values_need_a_choice(world: World, ann: Inbox) -> None:
    """Nothing is chosen for a value that the agent hid, and only `any value` can be."""
    sent: dict[str, Any] = {"arguments": {"amount": 1, "card": REDACTED}, "redacted": ["/card"]}
    form = ann.form(place_of(ask(world.agent(), **sent, action_digest="sha256:" + "0" * 64)), "/grant")

    assert dict(form.values)["limit.1"] == ""
    refused = ann.send(form)
    assert (refused.status_code, "Choose what it may be." in text_of(refused.text)) == (422, True)
    assert ann.send(form, limit__1="any").status_code == 200


def test_request_that_changed(world: World, ann: Inbox) -> None:
    """A form of an older version of the request grants nothing."""
    agent = world.agent()
    decision = ask(agent, arguments=ARGUMENTS, risk="low")
    form = ann.form(place_of(decision), "/grant")
    confirm = find_form(ann.send(form).text, "/decide", "grant this")
    revision = {"event_type": "revision", "thread_id": decision["thread_id"]}
    events = f"/api/agent/tasks/{decision['task_id']}/events"

    agent.post(events, json={**revision, "payload": {"risk_level": "critical"}})
    risen = ann.send(confirm)
    agent.post(events, json={**revision, "payload": {"payload": {"amount": 9}}})
    other = ann.send(form)

    assert (risen.status_code, "risk is critical now" in risen.text) == (409, True)
    assert (other.status_code, "changed the request" in other.text) == (409, True)


def test_warning_of_a_critical_risk(world: World, ann: Inbox) -> None:
    """A critical risk is said twice: above the form and beside the sentence."""
    page = ann.page(place_of(ask(world.agent(), arguments=ARGUMENTS, risk="critical")))

    assert "Its risk is critical." in text_of(page)
    assert "The risk is critical." in text_of(ann.send(find_form(page, "/grant")).text)


def test_where_it_is_not_offered(world: World, ann: Inbox) -> None:
    """No form where two must approve, where there are very many arguments, or once it is decided."""
    agent = world.agent()
    many, plain = ask(agent, arguments={str(n): n for n in range(41)}), ask(agent)
    decide(world.reviewer("bob"), ask(agent))
    world.service.write(lambda w: policies.add(w, {"risks": ["high"], "approvals": 2}, by="root"))
    two = ask(agent, risk="high")

    assert OFFER in ann.page(place_of(plain))
    assert OFFER not in ann.page(place_of(many))
    assert OFFER not in ann.page(place_of(two))
    decide(world.reviewer("bob"), plain)
    assert OFFER not in ann.page(place_of(plain))


def test_switched_off(start: Callable[..., World]) -> None:
    """A gate with grants switched off does not offer them."""
    world = start(grants=False)
    ann = Inbox(world).sign_in()

    assert OFFER not in ann.page(place_of(ask(world.agent())))
    assert "switched off" in ann.page("/inbox/grants")


def grant(world: World, **fields: Any) -> dict[str, Any]:
    """Let bob approve with a grant; a request that it allowed."""
    agent = world.agent()
    limits = {"amount": {"at_most": 200}}
    decide(world.reviewer("bob"), ask(agent), grant={"limits": limits, "max_uses": 2, "lasts": 3600, **fields})
    return ask(agent, 80)


def test_lists_and_revoking(world: World, ann: Inbox) -> None:
    """Everybody sees grants and what they allowed; who decides revokes; a second time says who was first."""
    allowed = grant(world)
    page = ann.page("/inbox/grants")
    form = find_form(page, "/revoke")
    one = f"/inbox/grants/{dict(form.values)['which']}"

    assert "issue_refund amount at most 200" in text_of(page)
    assert "1 of 2" in text_of(page)
    assert place_of(allowed) in ann.page(one)
    assert "Allowed by a grant" in ann.page(place_of(allowed))
    auditor = Inbox(world, "eve", Role.AUDITOR).sign_in()
    assert "1 of 2" in auditor.page("/inbox/grants")
    assert "Revoke</button>" not in auditor.page("/inbox/grants") + auditor.page(one)

    done, again = ann.send(form), ann.send(form)

    assert (done.status_code, done.headers["location"]) == (303, "/inbox/grants")
    assert (again.status_code, "revoked before by ann" in again.text) == (409, True)
    assert "revoked by ann" in text_of(ann.page("/inbox/grants"))
    assert ann.get("/inbox/grants/grant_none").status_code == 404


def test_rules_page(world: World) -> None:
    """The Rules page has the grants too, and its box says which one would allow a sample."""
    grant(world)
    root = Inbox(world, "root", Role.ADMIN).sign_in()
    sample = {"agent": "refund-bot", "tool": "issue_refund"}

    fits = root.send(root.form("/inbox/rules", "/try"), **sample, arguments='{"amount": 200}')
    outside = root.send(root.form("/inbox/rules", "/try"), **sample, arguments='{"amount": 201}')
    revoked = root.send(find_form(root.page("/inbox/rules"), "/revoke"))

    assert "A grant of bob would allow it, at a risk up to medium" in text_of(fits.text)
    assert "would allow it" not in text_of(outside.text)
    assert (revoked.status_code, revoked.headers["location"]) == (303, "/inbox/rules")
    assert "/inbox/grants/revoke" not in root.page("/inbox/rules")


def test_hostile_texts(world: World, ann: Inbox) -> None:
    """What an agent wrote stays text in form, sentence and lists."""
    evil = '<svg onload=alert(1)>"\u202e'
    agent = world.agent()
    arguments = {evil: evil}
    page = ann.page(place_of(ask(agent, arguments=arguments, agent=evil, action=evil)))
    confirm = ann.send(find_form(page, "/grant"))
    ann.send(find_form(confirm.text, "/decide", "grant this"))
    assert ask(agent, arguments=arguments, agent=evil, action=evil)["status"] == "allow"
    lists = ann.page("/inbox/grants")
    one = ann.page(f"/inbox/grants/{dict(find_form(lists, '/revoke').values)['which']}")

    sentence = confirm.text.partition('class="sentence"')[2].partition("</p>")[0]
    form = page.partition('class="limit')[2].partition("</form>")[0]
    assert "onload" in sentence
    assert "onload" in form
    assert not [shown for shown in (page, confirm.text, lists, one) if "<svg" in shown]
    assert not [shown for shown in (sentence, form, lists, one) if "\u202e" in shown]
