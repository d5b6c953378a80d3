"""A reviewer grants similar requests, following what is visible, and takes the grant back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from stacksona_adapters.server.service.accounts import Role
from tests.browser.scene import Agent
from tests.browser.test_accessibility import check, looks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate

CALL: dict[str, Any] = {"agent": "Refunds", "action": "issue_refund", "risk": "medium"}
OPEN = "Approve, and also similar requests"


def refund(amount: float, order: str) -> dict[str, Any]:
    """A request for a refund."""
    arguments = {"amount": amount, "currency": "EUR", "order_id": order}
    return {**CALL, "subject": f"Order {order}", "arguments": arguments}


def test_grant_use_and_revoke(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Granted on the request's page, used at once, listed with its uses, revoked on the Rules page, over."""
    agent = Agent(gate)
    first = agent.ask(**refund(59, "8790"))
    with ann(role=Role.ADMIN) as page:
        page.get_by_role("link", name="Order 8790").click()
        expect(page.get_by_role("button", name="Review this grant")).to_be_hidden()
        page.get_by_text(OPEN).click()
        expect(page.get_by_label("How many times")).to_have_value("5")
        expect(page.get_by_label("Amount may be")).to_have_value("equal")
        expect(page.get_by_label("Amount, at most")).to_be_hidden()
        page.get_by_label("Amount may be").select_option("at most …")
        page.get_by_label("Amount, at most").fill("80")
        page.get_by_label("Order id may be").select_option("any value")
        page.get_by_label("How many times").fill("2")
        page.get_by_role("button", name="Review this grant").click()
        sentence = page.get_by_text("without anybody looking, with")
        expect(sentence).to_contain_text("Refunds may call issue_refund 2 more times until")
        expect(sentence).to_contain_text('amount from 0 to 80, currency exactly "EUR", order_id any value')
        assert agent.status(first)["status"] == "pending_review"
        page.get_by_role("button", name="Approve, and grant this").click()
        expect(page.get_by_role("status").filter(has_text="Approved:")).to_be_visible()

        second = agent.ask(**refund(80, "8801"))
        assert [agent.status(each)["status"] for each in (first, second)] == ["approved", "allow"]
        assert agent.ask(**refund(81, "8802"))["status"] == "pending_review"

        page.goto(f"{gate.url}/inbox/requests/{second['decision_id']}")
        expect(page.get_by_role("heading", name="Allowed by a grant")).to_be_visible()
        page.get_by_role("link", name="a grant", exact=True).click()
        expect(page.get_by_text("1 of 2")).to_be_visible()
        expect(page.get_by_role("link", name="Order 8801")).to_be_visible()
        page.get_by_role("link", name="Rules").click()
        page.get_by_role("button", name="Revoke the grant for issue_refund").click()
        expect(page.get_by_role("heading", name="Rules")).to_be_visible()
        expect(page.get_by_role("button", name="Revoke the grant for issue_refund")).to_be_hidden()

        assert agent.ask(**refund(80, "8803"))["status"] == "pending_review"
        page.get_by_role("link", name="Grants").click()
        expect(page.get_by_role("row").filter(has_text="issue_refund")).to_contain_text("revoked by ann")


def test_grant_by_keys_without_scripts(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Without JavaScript, by Tab and Enter alone; a mistake keeps what was entered and says what is wrong."""
    agent = Agent(gate)
    agent.ask(**refund(59, "8790"))
    with ann() as page:
        page.get_by_role("link", name="Order 8790").click()
        place = page.url
        storage = page.context.storage_state()
        plain = page.context.browser
        assert plain is not None
        with plain.new_context(java_script_enabled=False, storage_state=storage) as context:
            other = context.new_page()
            other.goto(place)
            summary = other.locator("summary", has_text=OPEN)
            summary.focus()
            other.keyboard.press("Enter")
            limit = other.get_by_label("Amount may be")
            limit.focus()
            other.keyboard.press("ArrowDown")
            most = other.get_by_label("Amount, at most")
            most.focus()
            other.keyboard.press("ControlOrMeta+A")
            other.keyboard.type("much")
            other.keyboard.press("Enter")
            expect(other.get_by_text("Not a number: much.")).to_be_visible()
            expect(other.get_by_label("Amount may be")).to_have_value("at_most")
            other.get_by_label("Amount, at most").fill("40")
            other.keyboard.press("Enter")
            expect(other.get_by_text("does not admit the value that is approved")).to_be_visible()
            other.get_by_label("Amount, at most").fill("60")
            other.keyboard.press("Enter")
            confirm = other.get_by_role("button", name="Approve, and grant this")
            confirm.focus()
            other.keyboard.press("Enter")
            expect(other.get_by_role("status").filter(has_text="Approved:")).to_be_visible()

    assert agent.ask(**refund(60, "8790"))["status"] == "allow"
    assert agent.ask(**refund(60, "8791"))["status"] == "pending_review"


@looks()
def test_pages_of_grants(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]
) -> None:
    """No violation in form, mistake, confirmation, lists and a granted request; nothing is wider than a phone."""
    agent, bob = Agent(gate), gate.reviewer("bob")
    waiting = agent.ask(**refund(59, "8790") | {"risk": "critical"})
    for order in ("1", "2"):
        grant = {"limits": {name: {"any": True} for name in refund(1, "1")["arguments"]}, "max_uses": 2, "lasts": 3600}
        bob.client.decide(agent.ask(**refund(5, order))["decision_id"], "approve", grant=grant)
        if order == "1":
            bob.client.revoke_grant(next(iter(bob.client.grants())).grant_id)
    granted = agent.ask(**refund(9, "3"))
    assert granted["status"] == "allow"
    live = next(iter(bob.client.grants()))
    with ann(role=Role.ADMIN, **look) as page:
        page.goto(f"{gate.url}/inbox/requests/{waiting['decision_id']}")
        page.get_by_text(OPEN).click()
        page.get_by_label("Amount may be").select_option("at most …")
        check(page, "the form")
        page.get_by_label("Amount, at most").fill("3")
        page.get_by_role("button", name="Review this grant").click()
        expect(page.get_by_text("does not admit")).to_be_visible()
        check(page, "a mistake")
        page.get_by_label("Amount, at most").fill("80")
        page.get_by_role("button", name="Review this grant").click()
        expect(page.get_by_role("button", name="Approve, and grant this")).to_be_visible()
        check(page, "the sentence")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        for path in ("grants", f"grants/{live.grant_id}", "rules", f"requests/{granted['decision_id']}"):
            page.goto(f"{gate.url}/inbox/{path}")
            expect(page.get_by_text("issue_refund").first).to_be_visible()
            check(page, path)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
