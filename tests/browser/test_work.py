"""A reviewer's daily work: keyboard, live updates, several at once, phone, dark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.scene import Agent, fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate


def test_new_requests_appear(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """List and counts follow what happens, and what the reviewer had chosen and focused stays."""
    agent, reviewer = Agent(gate), gate.reviewer("bob")
    first = agent.ask(action="pay", subject="first")
    with ann() as page:
        box = page.get_by_role("checkbox", name="Choose pay, first")
        box.check()
        box.focus()
        agent.ask(action="pay", subject="second")
        expect(page.locator("#list .row")).to_have_count(2)
        expect(page.locator('#folders [data-folder="new"] .count')).to_have_text("2")
        expect(box).to_be_checked()
        expect(box).to_be_focused()
        expect(page.locator("#several")).to_contain_text("1 chosen")

        reviewer.approve(first["decision_id"])
        expect(page.locator("#list .row")).to_have_count(1)
        expect(page.locator('#folders [data-folder="approved"] .count')).to_have_text("1")


def test_open_request_says_that_it_was_decided(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]
) -> None:
    """Who looks at a request is told when somebody else decides it."""
    decision, reviewer = Agent(gate).ask(action="pay", subject="first"), gate.reviewer("bob")
    with ann() as page:
        page.get_by_role("link", name="first").click()
        expect(page.locator("#state")).to_be_empty()
        reviewer.reject(decision["decision_id"], message="no")
        expect(page.locator("#state")).to_contain_text("It is decided now: Rejected by bob")
        page.get_by_role("link", name="Show it as it is now").click()
        expect(page.locator("blockquote")).to_have_text("no")


def test_live_after_the_gate_was_away(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """A page that was open while the gate restarted goes on by itself."""
    with ann() as page:
        expect(page.locator("#list .empty")).to_be_visible()
        gate.restart()
        Agent(gate).ask(action="pay", subject="after the restart")
        expect(page.get_by_role("link", name="after the restart")).to_be_visible(timeout=20_000)


def test_open_page_after_the_session_ended(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Who is revoked while a page is open finds themselves at the door, not before a page that has stopped."""
    with ann() as page:
        expect(page.locator("#list .empty")).to_be_visible()
        gate.service.revoke_reviewer("ann")
        Agent(gate).ask(action="pay", subject="not for ann")
        expect(page.get_by_role("heading", name="Sign in to review")).to_be_visible(timeout=20_000)


def said(page: Page, text: str) -> None:
    """Expect that the inbox says what was done."""
    expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()


def test_keys_find_open_and_reject(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """The help sheet, the way to a request and a rejection without a mouse."""
    _, _, change, *_ = fill(gate)
    with ann() as page:
        keys = page.keyboard
        keys.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        keys.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        keys.press("j")
        expect(page.get_by_role("link", name="shop#412")).to_be_focused()
        keys.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("shop#412: default VAT rate")
        keys.press("r")
        keys.type("Not on a Friday.")
        keys.press("Tab")
        keys.press("Enter")
        said(page, "Rejected:")

    assert Agent(gate).status(change)["message"] == "Not on a Friday."


def test_keys_search_claim_note_and_send_back(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]
) -> None:
    """Search, claim, note and send back without a mouse."""
    _, mail, *_ = fill(gate)
    with ann() as page:
        keys = page.keyboard
        keys.press("/")
        keys.type("Reply to")
        expect(page.locator("#list .row")).to_have_count(1)
        for key in ("Escape", "j", "Enter"):
            keys.press(key)
        expect(page.get_by_role("heading", level=1)).to_have_text("Reply to Ms Okafor")
        keys.press("c")
        keys.press("Enter")
        expect(page.get_by_text("ann reviews it")).to_be_visible()
        keys.press("n")
        keys.type("Checked with the carrier.")
        keys.press("Tab")
        keys.press("Enter")
        expect(page.locator(".note")).to_contain_text("Checked with the carrier.")
        keys.press("s")
        keys.type("Name the day.")
        keys.press("Tab")
        keys.press("Enter")
        said(page, "Sent back:")

    assert Agent(gate).status(mail)["message"] == "Name the day."


def test_keys_edit_and_approve(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Edit and approve without a mouse, then another folder."""
    refund, *_ = fill(gate)
    with ann() as page:
        keys = page.keyboard
        page.goto(f"{gate.url}/inbox/requests/{refund['decision_id']}")
        keys.press("e")
        keys.press("Tab")
        keys.press("ControlOrMeta+A")
        keys.type("120")
        keys.press("Enter")
        expect(page.get_by_role("button", name="Approve with these changes")).to_be_focused()
        keys.press("Enter")
        said(page, "Approved:")
        keys.press("3")
        expect(page.get_by_role("heading", name="Approved")).to_be_visible()

    assert Agent(gate).status(refund)["arguments"]["amount"] == 120


def test_one_key_decides_nothing(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """No single key approves, and keys typed into a field are text."""
    decision = Agent(gate).ask(action="pay", subject="first", arguments={"note": "x"})
    with ann() as page:
        page.get_by_role("link", name="first").click()
        for key in "aesrcnaxjk1":
            page.keyboard.press(key)
            page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile(r"folder=new"))  # where the last key leads: no race with it
        page.goto(f"{gate.url}/inbox/requests/{decision['decision_id']}")
        page.keyboard.press("n")
        page.keyboard.type("a r s")
        expect(page.get_by_label("Add a note")).to_have_value("a r s")

    assert Agent(gate).status(decision)["status"] == "pending_review"


def test_several_at_once(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Chosen by key or mouse, looked at together, decided together."""
    made = fill(gate)
    with ann() as page:
        expect(page.get_by_role("button", name="Reject chosen")).to_be_hidden()
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.get_by_role("checkbox", name="Restock").check()
        expect(page.locator("#several")).to_contain_text("2 chosen")
        page.get_by_role("button", name="Reject chosen").click()
        expect(page.get_by_role("heading", name="Reject 2 requests?")).to_be_visible()
        page.get_by_label("Reason, for all of them").fill("Not today.")
        page.get_by_role("button", name="Reject 2").click()
        expect(page.get_by_role("heading", name="Rejected: 2 of 2")).to_be_visible()

    agent = Agent(gate)
    assert [agent.status(each)["status"] for each in made].count("rejected") == 2


def test_filters_narrow_without_leaving_the_page(
    gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]
) -> None:
    """A filter changes list and address, so that it can be kept and shared, and lasts over live updates."""
    fill(gate)
    with ann() as page:
        page.get_by_label("Risk").select_option("medium")
        expect(page.locator("#list .row")).to_have_count(2)
        page.get_by_label("Agent").select_option("Support")
        expect(page.locator("#list .row")).to_have_count(1)
        assert "risk=medium" in page.url
        Agent(gate).ask(action="pay", agent="Support", subject="new one", risk="medium")
        expect(page.locator("#list .row")).to_have_count(2)
        Agent(gate).ask(action="pay", agent="Other", subject="another", risk="medium")
        expect(page.locator('#folders [data-folder="new"] .count')).to_have_text("7")
        expect(page.locator("#list .row")).to_have_count(2)
        page.reload()
        expect(page.get_by_label("Risk")).to_have_value("medium")
        expect(page.locator("#list .row")).to_have_count(2)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_small_screens(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], width: int) -> None:
    """On a phone nothing is wider than the screen, and the way to the decision is one tap."""
    made = fill(gate)
    with ann(viewport={"width": width, "height": 800}, has_touch=True) as page:
        for path in ("/inbox", "/inbox/account", *(f"/inbox/requests/{each['decision_id']}" for each in made)):
            page.goto(gate.url + path)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
        if width < 640:
            page.get_by_role("link", name="Decide").tap()
        page.get_by_role("button", name="Approve", exact=True).tap()
        expect(page.get_by_role("status").filter(has_text="Approved:")).to_be_visible()


def test_unknown_outcome_is_settled(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """An action that never said how it ended has a folder of its own, where a person settles it."""
    agent, reviewer = Agent(gate), gate.reviewer("bob")
    decision = agent.ask(action="pay", subject="lost")
    reviewer.approve(decision["decision_id"])
    assert agent.take(decision).status_code == 200
    with ann() as page:
        page.get_by_role("link", name="Outcome unknown 1").click()
        page.get_by_role("link", name="lost").click()
        page.get_by_label("How you know").fill("The bank has no such payment.")
        page.get_by_role("button", name="It did not run").click()
        expect(page.get_by_text("Every action that was started has said how it ended.")).to_be_visible()

    assert agent.take(decision).status_code == 200
