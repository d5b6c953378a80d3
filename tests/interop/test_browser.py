"""Signing in at a real provider in a real Chromium: for it the provider is another site, and its rules hold."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import VIEWPORT, browser
from tests.browser.scene import Agent
from tests.browser.test_accessibility import LOOKS, check
from tests.interop.conftest import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.interop.node import Provider

__all__ = ["browser"]


@contextmanager
def opened(browser: Browser, site: Site, path: str = "/inbox", **options: Any) -> Iterator[Page]:
    """A page of the gate in a browser without cookies; no policy may be broken and no script fail on the way."""
    context = browser.new_context(**{"viewport": VIEWPORT, **options})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Policy" in said.text else None)
    try:
        page.goto(site.gate.url + path)
        yield page
    finally:
        context.close()
    assert not complaints


def at_the_provider(page: Page, login: str) -> None:
    """Fill in the provider's own pages."""
    page.get_by_role("link", name="Sign in with Example ID").click()
    page.get_by_placeholder("Enter any login").fill(login)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_signs_in_decides_and_signs_out(browser: Browser, site: Site) -> None:
    """The reviewer comes by a link to a request, signs in at the provider, decides, and signs out at both."""
    agent = Agent(site.gate)
    decision = agent.ask(action="issue_refund", subject="Order 8821", arguments={"amount": 240})
    with opened(browser, site, f"/inbox/requests/{decision['decision_id']}") as page:
        at_the_provider(page, "ann")
        expect(page.get_by_role("heading", name="Order 8821")).to_be_visible()
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="Approved:")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("status")).to_contain_text("You are signed out of this gate.")
        page.get_by_role("link", name="Sign out of Example ID too").click()
        page.get_by_role("button", name=re.compile("Yes, sign me out")).click()
        expect(page.get_by_role("heading", name="Sign in to review")).to_be_visible()
        page.get_by_role("link", name="Sign in with Example ID").click()
        expect(page.get_by_placeholder("Enter any login")).to_be_visible()

    assert agent.status(decision)["status"] == "approved"
    assert agent.status(decision)["reviewer_id"] == "ann@example.com"


def test_refused_and_then_somebody_else(browser: Browser, site: Site) -> None:
    """Whoever is refused can sign in as somebody else, though the provider still knows the first."""
    with opened(browser, site) as page:
        at_the_provider(page, "bob")
        expect(page.get_by_role("alert")).to_contain_text("no reviewer of that name")
        at_the_provider(page, "ann")
        expect(page.get_by_role("heading", name="New")).to_be_visible()
        expect(page.get_by_role("link", name="ann@example.com")).to_be_visible()


def test_groups_and_revoking(browser: Browser, start: Callable[..., Site], provider: Provider) -> None:
    """An admin by group sees the pages of administration, revokes an auditor by group, who is out at once."""
    site = start(roles={"admins": "admin", "audit": "auditor"}, add_reviewers=True)
    provider.person("ann", email="ann@example.com", groups=["admins"])
    provider.person("bob", email="bob@example.com", groups=["audit"])
    with opened(browser, site) as admin, opened(browser, site) as auditor:
        at_the_provider(auditor, "bob")
        expect(auditor.get_by_role("link", name="Audit")).to_be_visible()
        at_the_provider(admin, "ann")
        admin.get_by_role("link", name="Reviewers").click()
        expect(admin.get_by_role("row", name="bob@example.com")).to_contain_text("at the provider")
        admin.get_by_role("button", name="Revoke bob@example.com").click()
        expect(admin.get_by_role("row", name="bob@example.com")).to_contain_text("revoked")
        auditor.get_by_role("link", name="Audit").click()
        expect(auditor.get_by_role("heading", name="Sign in to review")).to_be_visible()
        auditor.get_by_role("link", name="Sign in with Example ID").click()
        expect(auditor.get_by_role("alert")).to_contain_text("revoked")


def test_a_link_still_signs_in_where_the_provider_is_down(
    browser: Browser, start: Callable[..., Site], provider: Provider
) -> None:
    """The sign-in page says that the provider cannot be reached; a link is the way in, even where nothing else is."""
    site = start(only=True)
    site.gate.reviewer_token("ann@example.com")
    provider.stop()
    with opened(browser, site) as page:
        page.get_by_role("link", name="Sign in with Example ID").click()
        expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        expect(page.get_by_label("Password")).to_have_count(0)
        page.goto(link_of(site))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="New")).to_be_visible()


def link_of(site: Site) -> str:
    """A sign-in link, as `stacksona reviewer link` prints it."""
    from stacksona_adapters.server.service.sessions import sign_in_link

    return sign_in_link(site.gate.service, site.gate.url, "ann@example.com")


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "phone"])
def test_accessible(browser: Browser, site: Site, look: dict[str, Any]) -> None:
    """Axe finds nothing on the pages with the provider's button."""
    with opened(browser, site, **look) as page:
        check(page, "sign in")
        page.goto(f"{site.gate.url}/inbox/sign-in?done=out")
        check(page, "signed out")
        at_the_provider(page, "bob")
        expect(page.get_by_role("alert")).to_be_visible()
        check(page, "refused")
        at_the_provider(page, "ann")
        page.get_by_role("link", name="ann@example.com").click()
        expect(page.get_by_role("heading", name="ann@example.com")).to_be_visible()
        check(page, "account")
