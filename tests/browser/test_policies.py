"""Two people at two screens: a policy is made, a critical refund is changed by one and approved by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from stacksona_adapters.server.service import policies
from stacksona_adapters.server.service.accounts import Role
from tests.browser.scene import Agent, fill
from tests.browser.test_accessibility import check, looks, unfold

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate

REFUND: dict[str, Any] = {
    "action": "issue_refund",
    "subject": "Order 8821",
    "risk": "critical",
    "arguments": {"order_id": "8821", "amount": 240.5, "currency": "EUR"},
}


def add_policy(page: Page) -> None:
    """Ask for two approvals of everything critical, on the page of an admin."""
    page.get_by_role("link", name="Policies").click()
    page.get_by_role("group", name="Risk").get_by_label("critical").check()
    page.get_by_label("Approvals needed").select_option("2")
    page.get_by_role("button", name="Add policy").click()
    expect(page.get_by_role("region", name="Policies")).to_contain_text("every reviewer")


def test_two_people_approve_a_refund_with_an_edit(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]
) -> None:
    """Following what is visible: the first changes the sum, the second sees it live and approves exactly that."""
    agent = Agent(gate)
    gate.reviewer_token("bob")
    with ann("ann", Role.ADMIN) as first, ann("bob") as second:
        add_policy(first)
        decision = agent.ask(**REFUND)
        expect(second.locator("#list")).to_contain_text("0 of 2")
        second.get_by_role("link", name="Order 8821").click()
        expect(second.get_by_role("button", name="Approve (1 of 2)")).to_be_visible()

        first.get_by_role("link", name="Inbox", exact=True).click()
        first.get_by_role("link", name="Order 8821").click()
        expect(first.get_by_role("heading", name="Needs 2 approvals")).to_be_visible()
        first.locator("summary", has_text="Approve with edits").click()
        first.get_by_label("Amount", exact=True).fill("200")
        first.get_by_role("button", name="Review changes").click()
        first.get_by_role("button", name="Approve with these changes (1 of 2)").click()
        expect(first.get_by_role("status").filter(has_text="Your approval is noted, 1 of 2")).to_be_visible()
        assert agent.status(decision)["status"] == "pending_review"

        expect(second.locator("#state")).to_contain_text("ann has approved it now: 1 of 2")
        second.get_by_role("link", name="Show it as it is now").click()
        expect(second.get_by_role("heading", name="What will run, as ann changed it")).to_be_visible()
        expect(second.locator(".approvals del")).to_have_text("240.5")
        expect(second.locator(".approvals ins")).to_have_text("200")
        second.get_by_role("button", name="Approve as ann changed it (2 of 2)").click()
        expect(second.get_by_role("status").filter(has_text="Approved:")).to_be_visible()

        first.get_by_role("link", name="Approved", exact=False).click()
        first.get_by_role("link", name="Order 8821").click()
        expect(first.locator("#decision")).to_contain_text("By ann and bob")

    approved = agent.status(decision)
    assert (approved["status"], approved["arguments"]["amount"]) == ("approved", 200)
    assert agent.take(approved).status_code == 200


def test_the_first_cannot_be_the_second(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Who has approved finds no button to do it again, and may still reject."""
    gate.reviewer_token("bob")
    gate.service.write(lambda w: policies.add(w, {"risks": ["critical"], "approvals": 2}, by="root"))
    decision = Agent(gate).ask(**REFUND)
    with ann() as page:
        page.get_by_role("link", name="Order 8821").click()
        page.get_by_role("button", name="Approve (1 of 2)").click()
        page.get_by_role("status").get_by_role("link", name="Order 8821").click()
        expect(page.get_by_text("You have approved it. A second person is needed")).to_be_visible()
        expect(page.get_by_role("button", name="Approve", exact=False)).to_have_count(0)
        page.locator("summary", has_text="Reject").click()
        page.get_by_label("Reason", exact=True).fill("The parcel was found.")
        page.get_by_role("button", name="Reject").click()
        expect(page.get_by_role("status").filter(has_text="Rejected:")).to_be_visible()

    assert Agent(gate).status(decision)["message"] == "The parcel was found."


def test_the_owner_of_a_key_does_not_decide(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]
) -> None:
    """An admin makes a key that is theirs, and finds the reason in place of the buttons; the other one decides."""
    gate.reviewer_token("bob")
    with ann("ann", Role.ADMIN) as first, ann("bob") as second:
        first.get_by_role("link", name="Agents").click()
        first.get_by_label("Agent", exact=True).fill("shop")
        expect(first.get_by_label("Whose key is it?")).to_have_value("ann")
        first.get_by_role("button", name="Make a key").click()
        expect(first.get_by_role("heading", name="Key of shop")).to_be_visible()
        Agent(gate).ask(**REFUND)

        first.get_by_role("link", name="Inbox", exact=True).click()
        first.get_by_role("link", name="Order 8821").click()
        expect(first.get_by_text("nobody decides on requests of their own key. bob may.")).to_be_visible()
        expect(first.get_by_role("button", name="Approve", exact=False)).to_have_count(0)
        second.get_by_role("link", name="Order 8821").click()
        second.get_by_role("button", name="Approve").click()
        expect(second.get_by_role("status").filter(has_text="Approved:")).to_be_visible()


@looks()
def test_accessible(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]) -> None:
    """No violation on the pages of policies and agents, nor on requests in each state of their approvals."""
    refund, mail, change, *_ = fill(gate)
    gate.reviewer_token("carl")
    gate.service.write(lambda w: policies.add(w, {"approvals": 2}, by="root"))
    gate.service.write(lambda w: policies.add(w, {"tool": "send_email", "deciders": ["carl"]}, by="root"))
    edited = {**refund_arguments(gate, refund), "amount": 200}
    gate.reviewer("bob").client.decide(refund["decision_id"], "approve", arguments=edited, message="Seen the photo")
    with ann(role=Role.ADMIN, **look) as page:
        page.goto(f"{gate.url}/inbox/policies")
        page.get_by_role("button", name="Add policy").click()
        expect(page.get_by_text("so it changes nothing")).to_be_visible()
        check(page, "policies, with a mistake and a gap")
        page.goto(f"{gate.url}/inbox/agents")
        check(page, "agents")
        page.goto(f"{gate.url}/inbox")
        check(page, "list with marks")
        for each in (refund, mail, change):
            page.goto(f"{gate.url}/inbox/requests/{each['decision_id']}")
            unfold(page)
            check(page, each["decision_id"])
        page.get_by_role("button", name="Approve (1 of 2)").click()
        expect(page.get_by_role("status").filter(has_text="1 of 2")).to_be_visible()
        check(page, "after one of two")
        page.goto(f"{gate.url}/inbox/requests/{change['decision_id']}")
        check(page, "approved by the one who looks")


def refund_arguments(gate: RunningGate, decision: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a request."""
    return gate.reviewer("bob").client.review(decision["decision_id"]).arguments
