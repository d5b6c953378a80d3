"""The inbox over HTTP: folders, one request, and everything that a reviewer decides there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacksona_adapters.server.service.accounts import Role
from tests.server.conftest import World, ask, consume, decide
from tests.server.inbox_tools import Form, Inbox, find_form, text_of

SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "maximum": 200, "description": "In euros."},
        "note": {"type": "string"},
    },
    "required": ["amount"],
    "additionalProperties": False,
}


def status_of(world: World, decision: dict[str, Any]) -> dict[str, Any]:
    """A decision as the reviewer's API tells it."""
    return world.reviewer("api").get(f"/v1/reviews/{decision['decision_id']}").json()


def place(decision: dict[str, Any]) -> str:
    """The page of a decision."""
    return f"/inbox/requests/{decision['decision_id']}"


def test_folders(world: World) -> None:
    """Each folder lists its requests, and the counts say how many."""
    agent, api, ann = world.agent(), world.reviewer("api"), Inbox(world).sign_in()
    names = ("new", "reviewing", "approved", "rejected", "sent_back", "expired", "unknown")
    made = {name: ask(agent, subject=f"order {name}", expires_in=60 if name == "expired" else None) for name in names}
    api.post(f"/v1/reviews/{made['reviewing']['id']}/claim")
    for name, outcome in (("approved", "approve"), ("rejected", "reject"), ("sent_back", "revise")):
        decide(api, made[name], outcome)
    decide(api, made["unknown"])
    consume(agent, made["unknown"])
    world.advance(seconds=90)
    world.service.expire_due()

    for name in names:
        page = ann.page(f"/inbox?folder={name}")
        shown = {each for each in names if f"order {each}<" in page}
        assert shown == ({"approved", "unknown"} if name == "approved" else {name})
    assert "Reviewing 1" in text_of(ann.page("/inbox"))
    assert "Approved 2" in text_of(ann.page("/inbox"))


def test_request_at_a_glance(world: World) -> None:
    """Subject, action, risk and why, summary, arguments, rule, context, timeline and ids are on the page."""
    world.service.add_rule(tool="issue_refund", parameter="amount", type="upper_limit", value=100, outcome="review")
    decision = ask(
        world.agent(),
        1250.5,
        agent="Refunds",
        risk="high",
        risk_reason="money leaves",
        subject="order 8821",
        summary=["The parcel was lost."],
        context={"customer": "cus_99"},
        preview="Dear customer",
    )

    said = text_of(Inbox(world).sign_in().page(place(decision)))

    for part in ("order 8821", "issue_refund", "High money leaves", "The parcel was lost.", "1,250.50", "cus_99"):
        assert part in said
    assert "where amount is above 100" in said
    assert "Dear customer" in said
    assert decision["thread_id"] in said
    assert "Request made" in said
    assert "there is no undo" in said


def test_approve(world: World) -> None:
    """Approving takes one press, and the inbox says what was done."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    decision = ask(agent, subject="order 1")

    answer = ann.send(ann.form(place(decision), "/decide", "Approve"))

    assert answer.status_code == 303
    assert "Approved: issue_refund, order 1" in text_of(ann.page(answer.headers["location"]))
    assert status_of(world, decision)["reviewer_id"] == "ann"
    assert consume(agent, decision).status_code == 200


@pytest.mark.parametrize(("outcome", "button"), [("reject", "Reject"), ("revise", "Send back")])
def test_refusing_needs_words(world: World, outcome: str, button: str) -> None:
    """Rejecting and sending back ask for a reason, which the agent gets."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())
    form = ann.form(place(decision), "/decide", button)

    empty = ann.send(form, message="  ")
    done = ann.send(form, message="Too much")

    assert empty.status_code == 422
    assert done.status_code == 303
    now = status_of(world, decision)
    assert (now["status"], now["message"]) == ({"reject": "rejected", "revise": "revise"}[outcome], "Too much")


def edit(ann: Inbox, decision: dict[str, Any], /, **changed: str) -> str:
    """Send the edit form; gives the page that follows."""
    answer = ann.send(ann.form(place(decision), "/edit"), **changed)
    assert answer.status_code in (200, 422), answer.text
    return answer.text


def test_approve_with_edits(world: World) -> None:
    """An edit is shown as a difference first, and what was confirmed is what may run."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    decision = ask(agent, 120, arguments={"amount": 120, "note": "a\nb", "tags": ["x"], "vip": True})

    page = edit(ann, decision, arg__0="80.5")

    assert "amount 120 → 80.5" in text_of(page)
    assert status_of(world, decision)["status"] == "pending_review"
    assert ann.send(find_form(page, "/decide", "Approve with these changes")).status_code == 303
    now = status_of(world, decision)
    assert now["edited_arguments"] == {"amount": 80.5, "note": "a\nb", "tags": ["x"], "vip": True}
    assert consume(agent, decision).status_code == 422
    assert consume(agent, now).status_code == 200
    assert "120 → 80.5" in text_of(ann.page(place(decision)))


def test_edit_as_json(world: World) -> None:
    """The whole of the arguments can be edited as JSON."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())
    page = ann.send(Form(f"{place(decision)}/edit", json_form(ann, decision)), json='{"amount": 1, "why": "x"}').text

    assert ann.send(find_form(page, "/decide", "Approve with these")).status_code == 303
    assert status_of(world, decision)["edited_arguments"] == {"amount": 1, "why": "x"}


def json_form(ann: Inbox, decision: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields of the JSON editor."""
    from tests.server.inbox_tools import forms

    (form,) = [each for each in forms(ann.page(place(decision))) if any(name == "json" for name, _ in each.values)]
    return form.values


@pytest.mark.parametrize(
    ("entered", "said"), [("201", "maximum of 200"), ("much", "is not a number: much"), ("true", "is not a number")]
)
def test_wrong_edit_is_shown_at_its_field(world: World, entered: str, said: str) -> None:
    """What the tool's schema does not permit is said at the field, which keeps what was entered."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent(), 120, arguments_schema=SCHEMA)

    page = edit(ann, decision, arg__0=entered)

    field = page[page.index('id="arg-0"') :][:600]
    assert said in text_of(field)
    assert f'value="{entered}"' in field
    assert 'aria-invalid="true"' in field
    assert status_of(world, decision)["status"] == "pending_review"


@pytest.mark.parametrize("text", ["[1]", "{", '{"amount": NaN}', '{"amount": 120, "amuont": 3}'])
def test_wrong_json(world: World, text: str) -> None:
    """What is no JSON object, or does not fit the schema, changes nothing and is said."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent(), arguments_schema=SCHEMA)

    answer = ann.send(Form(f"{place(decision)}/edit", json_form(ann, decision)), json=text)

    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert text in text_of(answer.text)


def test_edit_without_a_change(world: World) -> None:
    """An edit that changes nothing is no edit."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())

    assert "Nothing is changed" in edit(ann, decision)


def test_every_kind_of_argument_survives_the_form(world: World) -> None:
    """The form gives back exactly what it was given, of every kind."""
    arguments = {
        "text": "  spaces ",
        "long": "x" * 100 + "\n\n two",
        "first newline": "\nafter",
        "number": -1.5,
        "big": 10**15,
        "yes": True,
        "none": None,
        "list": [1, "two", {"three": None}],
        "quotes": "<\"'&>",
        "": "no name",
        "a.b/c~d": {"x": []},
    }
    ann, decision = Inbox(world).sign_in(), ask(world.agent(), arguments=arguments)

    assert "Nothing is changed" in edit(ann, decision)


def test_second_reviewer_is_told_who_decided(world: World) -> None:
    """The first decision stands; the second reviewer sees whose it was."""
    ann, bob = Inbox(world).sign_in(), Inbox(world, "bob").sign_in()
    decision = ask(world.agent())
    late = bob.form(place(decision), "/decide", "Reject")
    ann.send(ann.form(place(decision), "/decide", "Approve"))

    answer = bob.send(late, message="no")

    assert answer.status_code == 409
    assert "approved by ann" in text_of(answer.text)
    assert status_of(world, decision)["status"] == "approved"


def test_request_that_changed_since(world: World) -> None:
    """What the agent changed after the page was made cannot be approved by that page."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    answer = agent.post("/api/agent/tasks/t1/requests", json={"tool_name": "pay", "payload": {"amount": 1}}).json()
    form = ann.form(place(answer), "/decide", "Approve")
    edited = ann.form(place(answer), "/edit")
    revision = {"event_type": "revision", "thread_id": answer["thread_id"], "payload": {"payload": {"amount": 999}}}
    assert agent.post("/api/agent/tasks/t1/events", json=revision).status_code == 201

    assert ann.send(form).status_code == 409
    assert ann.send(edited, arg__0="2").status_code == 409
    assert status_of(world, answer)["status"] == "pending_review"


def test_claim_and_release(world: World) -> None:
    """Reviewing shows by whom; anybody may release."""
    ann, bob = Inbox(world).sign_in(), Inbox(world, "bob").sign_in()
    decision = ask(world.agent())

    ann.send(ann.form(place(decision), "/claim"))
    assert "ann reviews it" in text_of(bob.page("/inbox?folder=reviewing"))
    bob.send(bob.form(place(decision), "/release"))

    assert status_of(world, decision)["claimed_by"] is None


def test_note(world: World) -> None:
    """A note is kept for the other reviewers."""
    ann, decision = Inbox(world).sign_in(), ask(world.agent())

    ann.send(ann.form(place(decision), "/note"), text="Called them.")

    assert [note["text"] for note in status_of(world, decision)["notes"]] == ["Called them."]
    assert "Called them." in ann.page(place(decision))


@pytest.mark.parametrize(("outcome", "again"), [("ran", 409), ("did_not_run", 200)])
def test_settle(world: World, outcome: str, again: int) -> None:
    """An unknown outcome is settled on its page: closed, or given back for one more use."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    decision = ask(agent)
    decide(world.reviewer("api"), decision)
    consume(agent, decision)

    answer = ann.send(ann.form(place(decision), "/settle"), outcome=outcome, message="Looked at the bank.")

    assert answer.status_code == 303
    assert consume(agent, decision).status_code == again


def test_earlier_proposals(world: World) -> None:
    """A new proposal shows what was said of the old one, and both beside each other."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    first = ask(agent, 120)
    decide(world.reviewer("api"), first, "revise", message="At most 100")
    second = ask(agent, 95, revises=first["decision_id"])

    said = text_of(ann.page(place(second)))

    assert "At most 100" in said
    assert "amount 120 95" in said


def test_several_at_once(world: World) -> None:
    """Several are decided together, after one look at all of them; what changed meanwhile is left out."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    made = [ask(agent, subject=f"order {number}") for number in range(3)]
    chosen = [f"{each['decision_id']} {each['action_digest']}" for each in made]
    token = dict(ann.form("/inbox", "/several").values)["csrf"]

    look = ann.http.post("/inbox/several", data={"csrf": token, "chosen": chosen, "outcome": "reject"})
    assert "Reject 3 requests?" in text_of(look.text)
    confirmed = {"csrf": token, "chosen": chosen, "outcome": "reject", "confirmed": "yes"}
    assert "Say why." in ann.http.post("/inbox/several", data=confirmed).text
    decide(world.reviewer("api"), made[0])
    done = ann.http.post("/inbox/several", data={**confirmed, "message": "No budget."})

    assert "Rejected: 2 of 3" in text_of(done.text)
    assert [status_of(world, each)["status"] for each in made] == ["approved", "rejected", "rejected"]


def test_search_and_filters(world: World) -> None:
    """Text, agent, tool, risk and age narrow the list; risk or age order it."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    ask(agent, subject="first", risk="low", agent="Alpha", arguments={"note": "50% of Zürich"})
    world.advance(hours=2)
    ask(agent, subject="second", risk="critical", agent="Beta", action="send_email")
    ask(agent, subject="third", risk="high", agent="Beta")

    def found(query: str) -> list[str]:
        page = ann.page(f"/inbox?{query}")
        listed = [(page.find(f"{name}<"), name) for name in ("first", "second", "third")]
        return [name for at, name in sorted(listed) if at >= 0]

    assert found("") == ["second", "third", "first"]
    assert found("order=oldest") == ["first", "second", "third"]
    assert found("order=newest") == ["third", "second", "first"]
    assert found("q=ZÜRICH".replace("Ü", "ü")) == ["first"]
    assert found("q=50%25") == ["first"]
    assert found("q=%25") == ["first"]
    assert found("agent=Beta") == ["second", "third"]
    assert found("tool=send_email") == ["second"]
    assert found("risk=low") == ["first"]
    assert found("age=hour") == ["second", "third"]
    assert found("age=over_hour") == ["first"]
    assert found("folder=nonsense&risk=odd&page=x&age=%00") == ["second", "third", "first"]
    assert "Nothing matches" in ann.page("/inbox?q=nobody")


def test_pages(world: World) -> None:
    """A long list comes in pages."""
    agent, ann = world.agent(), Inbox(world).sign_in()
    for number in range(52):
        ask(agent, subject=f"order {number:03}")

    first, second = ann.page("/inbox?order=oldest"), ann.page("/inbox?order=oldest&page=2")

    assert "order 049" in first
    assert "order 050" not in first
    assert "order 051" in second


def test_partial_list(world: World) -> None:
    """Htmx gets the list and the counts alone."""
    ann = Inbox(world).sign_in()
    ask(world.agent(), subject="order 1")

    part = ann.get("/inbox", headers={"HX-Request": "true"}).text

    assert "<html" not in part
    assert "order 1" in part
    assert 'id="folders"' in part


def test_auditor_reads_and_does_not_decide(world: World) -> None:
    """An auditor sees the request and no way to decide, and a form of their own making is refused."""
    eve, ann, decision = Inbox(world, "eve", Role.AUDITOR).sign_in(), Inbox(world).sign_in(), ask(world.agent())
    page = eve.page(place(decision))
    token = dict(eve.form("/inbox/account", "/sign-out").values)["csrf"]
    form = ann.form(place(decision), "/decide", "Approve")
    form.values = [(name, token if name == "csrf" else value) for name, value in form.values]

    assert "/decide" not in page
    assert eve.send(form).status_code == 403
    assert status_of(world, decision)["status"] == "pending_review"


def test_exact_arguments(world: World) -> None:
    """The exact arguments are there as a file."""
    decision = ask(world.agent(), arguments={"a": ["<b>", 1.0, "ü"]})

    answer = Inbox(world).sign_in().get(f"{place(decision)}/arguments.json")

    assert json.loads(answer.content) == {"a": ["<b>", 1.0, "ü"]}
    assert answer.headers["content-disposition"].startswith("attachment")


def test_unknown_page_and_request(world: World) -> None:
    """What is not there is a page that says so."""
    ann = Inbox(world).sign_in()

    for path in ("/inbox/requests/dec_none", "/inbox/nothing/here", "/inbox/static/none.js", "/inbox/requests/%00"):
        answer = ann.get(path)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"].startswith("text/html")
    assert ann.get("/").headers["location"] == "/inbox"


def test_stream_says_that_something_changed(start: Any) -> None:
    """The stream speaks at once and then at every change; it ends with the session."""
    world = start(heartbeat=0.2)
    ann, agent = Inbox(world).sign_in(), world.agent()
    with ann.http.stream("GET", "/inbox/live", timeout=20) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line) == "event: inbox-changed"
        ask(agent)
        assert next(line for line in lines if line.startswith("event:")) == "event: inbox-changed"
        Inbox(world).sign_in()
        ann.send(ann.form("/inbox", "/sign-out"))
        assert all("inbox-changed" not in line for line in lines)
