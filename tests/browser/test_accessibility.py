"""axe-core finds no violation on any page, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import insert

from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.store.tables import deliveries
from tests.browser.conftest import link_for
from tests.browser.scene import Agent, fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
LOOKS: list[dict[str, Any]] = [
    {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
]


def check(page: Page, what: str) -> None:
    """Let axe look at the page as it is now."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document)).violations")
    assert not found, f"{what}: " + "; ".join(f"{v['id']} at {[n['target'] for n in v['nodes']][:4]}" for v in found)


def unfold(page: Page) -> None:
    """Open everything that is folded away, except for what closes when another one opens."""
    page.locator("details:not([name])").evaluate_all("all => all.forEach(each => { each.open = true; })")


def looks() -> Any:
    """Each test runs in light, dark and on a phone."""
    return pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "phone"])


@looks()
def test_requests(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]) -> None:
    """The list, and requests with everything that they can show."""
    made = fill(gate)
    reviewer, agent = gate.reviewer("bob"), Agent(gate)
    first = agent.ask(action="pay", subject="revised", arguments={"amount": 1, "note": "a\n" * 60}, expires_in=3000)
    reviewer.revise(first["decision_id"], message="Less")
    again = agent.ask(
        action="pay", subject="now", arguments={"amount": 2, "n": "b\n" * 60}, revises=first["decision_id"]
    )
    with ann(**look) as page:
        check(page, "list")
        page.get_by_role("checkbox").first.check()
        check(page, "list with one chosen")
        page.goto(f"{gate.url}/inbox?q=nothing")
        check(page, "nothing found")
        for each in (*made, again, first):
            page.goto(f"{gate.url}/inbox/requests/{each['decision_id']}")
            unfold(page)
            check(page, each["decision_id"])


@looks()
def test_deciding(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]) -> None:
    """Each step of a decision, with its mistakes, and what follows it."""
    refund, *_ = fill(gate)
    agent = Agent(gate)
    taken = agent.ask(action="pay", subject="lost")
    gate.reviewer("bob").approve(taken["decision_id"])
    agent.take(taken)
    with ann(**look) as page:
        place = f"{gate.url}/inbox/requests/{refund['decision_id']}"
        page.goto(place)
        for name in ("Approve with edits", "Send back", "Reject"):
            page.locator("summary", has_text=name).first.click()
            check(page, name)
        page.locator("summary", has_text="Approve with edits").click()
        page.get_by_label("Amount", exact=True).fill("9000")
        page.get_by_role("button", name="Review changes").click()
        expect(page.get_by_text("maximum of 500")).to_be_visible()
        check(page, "a wrong edit")
        page.get_by_label("Amount", exact=True).fill("90")
        page.get_by_role("textbox", name="Reason").fill("x" * 200)
        page.get_by_role("button", name="Review changes").click()
        expect(page.get_by_role("button", name="Approve with these changes")).to_be_visible()
        check(page, "an edit to confirm")
        page.get_by_role("button", name="Approve with these changes").click()
        check(page, "after it")
        page.goto(place)
        check(page, "approved")
        page.goto(f"{gate.url}/inbox/requests/{taken['decision_id']}")
        check(page, "to settle")


@looks()
def test_other_pages(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]) -> None:
    """Account, help, several at once, an error."""
    fill(gate)
    with ann(role=Role.ADMIN, **look) as page:
        page.keyboard.press("?")
        check(page, "help")
        page.keyboard.press("Escape")
        for path in ("/inbox/account", "/inbox/nothing"):
            page.goto(gate.url + path)
            check(page, path)
        page.goto(f"{gate.url}/inbox")
        for box in page.get_by_role("checkbox").all()[:2]:
            box.check()
        page.get_by_role("button", name="Reject chosen").click()
        check(page, "several")


@looks()
def test_administration(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]
) -> None:
    """Agents, reviewers, rules and audit, with what they answer."""
    decision, *_ = fill(gate)
    gate.service.add_agent("shop", webhook="http://127.0.0.1:9/never")
    gate.reviewer("bob").approve(decision["decision_id"])
    gate.service.revoke_agent("shop")
    gate.reviewer_token("bob")
    with ann(role=Role.ADMIN, **look) as page:
        page.goto(f"{gate.url}/inbox/agents")
        page.get_by_label("Agent", exact=True).fill("new")
        page.get_by_role("button", name="Make a key").click()
        check(page, "agents")
        page.goto(f"{gate.url}/inbox/reviewers")
        page.get_by_label("Name").fill("zoe")
        page.get_by_role("button", name="Add and make").click()
        check(page, "reviewers")
        page.goto(f"{gate.url}/inbox/rules")
        page.get_by_label("Tool", exact=True).fill("issue_refund")
        page.get_by_role("button", name="Try").click()
        expect(page.get_by_role("status")).to_contain_text("reviewed by a person")
        check(page, "rules")
        page.goto(f"{gate.url}/inbox/deliveries")
        check(page, "deliveries")
        page.goto(f"{gate.url}/inbox/audit")
        page.get_by_role("button", name="Verify now").click()
        expect(page.get_by_role("status")).to_contain_text("Every chain holds")
        check(page, "audit")


@looks()
def test_deliveries(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]) -> None:
    """A log of webhooks of more than one page, in each state."""
    about = Agent(gate).ask(action="pay")["decision_id"]
    row = {"agent": "shop", "decision_id": about, "url": "http://127.0.0.1:9/never", "body": "{}", "attempts": 1}
    row |= {"created_at": gate.settings.clock.now(), "last_error": "the receiver answered 503"}
    rows = [{**row, "delivery_id": f"msg_{n}", "state": ("dead", "delivered")[n % 2]} for n in range(120)]
    with gate.service.backend.writer.begin() as connection:
        connection.execute(insert(deliveries), rows)
    with ann(role=Role.ADMIN, **look) as page:
        page.get_by_role("link", name="Deliveries").click()
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_role("link", name="Newest")).to_be_visible()
        check(page, "an older page")
        page.get_by_role("link", name="Given up").click()
        expect(page.get_by_role("link", name="Given up")).to_have_attribute("aria-current", "page")
        check(page, "given up")


@looks()
def test_sign_in(gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]], look: dict[str, Any]) -> None:
    """The sign-in page, by link and by hand, and with a mistake."""
    with visitor(link_for(gate), **look) as page:
        check(page, "by link")
    with visitor(f"{gate.url}/inbox", **look) as page:
        check(page, "by hand")
        page.get_by_label("Name").fill("x")
        page.get_by_label("Password").fill("y")
        page.locator("form:has(#password)").get_by_role("button").click()
        expect(page.get_by_role("alert")).to_be_visible()
        check(page, "a mistake")
