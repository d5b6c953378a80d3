"""A reviewer who has never seen the inbox, given only the printed link, follows what is visible."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.conftest import link_for
from tests.browser.scene import Agent, fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate


def test_first_time_reviewer(gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]) -> None:
    """Signs in by the link, approves one request, edits the amount of another, sends a third back."""
    refund, mail, _, order, _ = fill(gate)
    agent = Agent(gate)
    with visitor(link_for(gate)) as page:
        assert "#" not in page.url
        page.get_by_role("button", name="Sign in").click()

        page.get_by_role("link", name="Reply to Ms Okafor").click()
        expect(page.get_by_role("region", name="E-mail")).to_contain_text("a replacement today")
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="Approved:")).to_be_visible()

        page.get_by_role("link", name="Order 8821").click()
        expect(page.get_by_text("240.50 EUR")).to_be_visible()
        page.locator("summary", has_text="Approve with edits").click()
        page.get_by_label("Amount", exact=True).fill("900")
        page.get_by_role("button", name="Review changes").click()
        expect(page.get_by_text("900 is greater than the maximum of 500")).to_be_visible()
        page.get_by_label("Amount", exact=True).fill("200")
        page.get_by_role("button", name="Review changes").click()
        expect(page.locator(".changes")).to_contain_text(re.compile(r"amount\s+240\.5\s+→\s+200"))
        page.get_by_role("button", name="Approve with these changes").click()

        page.get_by_role("link", name="Restock").click()
        page.locator("summary", has_text="Send back").click()
        page.get_by_label("What should change?").fill("Only ten of each, please.")
        page.get_by_role("button", name="Send back").click()
        expect(page.get_by_role("status").filter(has_text="Sent back:")).to_be_visible()
        page.get_by_role("link", name="Sent back").first.click()
        expect(page.get_by_role("link", name="Restock")).to_be_visible()

    assert agent.status(mail)["status"] == "approved"
    edited = agent.status(refund)
    assert (edited["status"], edited["arguments"]["amount"]) == ("approved", 200)
    assert agent.take(edited).status_code == 200
    assert agent.status(order)["status"] == "revise"
    assert agent.status(order)["message"] == "Only ten of each, please."


def test_used_link_says_so(gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]) -> None:
    """Who opens a link for the second time is told, and is not in."""
    link = link_for(gate)
    with visitor(link) as first:
        first.get_by_role("button", name="Sign in").click()
        expect(first.get_by_role("heading", name="New")).to_be_visible()
    with visitor(link) as second:
        second.get_by_role("button", name="Sign in").click()
        expect(second.get_by_role("alert")).to_contain_text("used before")


def test_looking_at_the_link_uses_nothing_up(
    gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]
) -> None:
    """A program that opens the link and runs its scripts, as mail scanners do, leaves it usable."""
    link = link_for(gate)
    with visitor(link) as scanner:
        expect(scanner.get_by_role("button", name="Sign in")).to_be_visible()
    with visitor(link) as page:
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="New")).to_be_visible()


def test_without_scripts(gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]) -> None:
    """With scripts switched off everything still works by links and forms."""
    refund, *_ = fill(gate)
    with visitor(f"{gate.url}/inbox", java_script_enabled=False) as page:
        page.get_by_label(re.compile("Sign-in code")).fill(link_for(gate).partition("#")[2])
        page.locator("form:has(#secret)").get_by_role("button").click()
        page.get_by_role("searchbox").fill("8821")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#list .row")).to_have_count(2)
        page.get_by_role("link", name="Order 8821").click()
        page.locator("summary", has_text="Reject").click()
        page.get_by_role("textbox", name="Reason").fill("Paid before.")
        page.get_by_role("button", name="Reject").click()
        expect(page.get_by_role("status").filter(has_text="Rejected:")).to_be_visible()

    assert Agent(gate).status(refund)["message"] == "Paid before."


def test_password(gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]) -> None:
    """A reviewer sets a password, signs out, and comes back with it to the page that they wanted."""
    with visitor(link_for(gate)) as page:
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="ann").click()
        page.get_by_label("New password").fill("a long enough one")
        page.get_by_label("The same again").fill("a long enough one")
        page.get_by_role("button", name="Set password").click()
        expect(page.get_by_role("status")).to_contain_text("Your password is set")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.goto(f"{gate.url}/inbox?folder=approved")
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill("a long enough one")
        page.locator("form:has(#password)").get_by_role("button").click()
        expect(page.get_by_role("heading", name="Approved")).to_be_visible()
