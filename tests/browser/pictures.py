"""Makes the pictures of docs/inbox.md: `python -m tests.browser.pictures docs/images`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.testing import running_gate
from tests.browser.conftest import QUIET, link_for
from tests.browser.scene import fill, week

DESK = {"width": 1280, "height": 860}


def request(page: Page, url: str, decision: dict[str, Any]) -> None:
    """Open a request."""
    page.goto(f"{url}/inbox/requests/{decision['decision_id']}")
    page.locator("article").wait_for()


def main(place: Path) -> None:
    """Write the pictures into a directory."""
    place.mkdir(parents=True, exist_ok=True)
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with running_gate() as gate, sync_playwright() as playwright:
        refund, _, change, *_ = fill(gate)
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)

        def signed_in(**look: Any) -> Page:
            page = chromium.new_context(**look).new_page()
            page.goto(link_for(gate, "ann", Role.ADMIN))
            page.get_by_role("button", name="Sign in").click()
            page.locator("#list .row").first.wait_for()
            return page

        light = signed_in(color_scheme="light", viewport=DESK)
        light.screenshot(path=place / "inbox-list.png")
        request(light, gate.url, refund)
        light.locator("summary", has_text="Approve with edits").click()
        light.get_by_label("Amount", exact=True).fill("200")
        light.get_by_role("button", name="Review changes").click()
        light.locator(".changes").wait_for()
        light.screenshot(path=place / "inbox-edit.png")
        dark = signed_in(color_scheme="dark", viewport=DESK)
        request(dark, gate.url, change)
        dark.screenshot(path=place / "inbox-dark.png")
        phone = signed_in(color_scheme="light", viewport={"width": 390, "height": 780}, device_scale_factor=2)
        request(phone, gate.url, refund)
        phone.screenshot(path=place / "inbox-phone.png")
        light.goto(f"{gate.url}/inbox/requests/{refund['decision_id']}")
        gate.reviewer("ben").approve(refund["decision_id"], message="The carrier pays.")
        with light.expect_download() as loading:
            light.get_by_role("button", name="Export (HTML, to print)").click()
        paper = chromium.new_page(viewport={"width": 900, "height": 1100})
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / loading.value.suggested_filename
            loading.value.save_as(file)
            paper.goto(file.as_uri())
        paper.screenshot(path=place / "export.png")
        chromium.close()
    figures(place, found)


def figures(place: Path, browser: str | None) -> None:
    """The charts of a week, on the Friday after it."""
    clock = ManualClock(datetime(2026, 11, 14, tzinfo=timezone.utc))
    with running_gate(clock=clock) as gate, sync_playwright() as playwright:
        week(gate, clock)
        chromium = playwright.chromium.launch(executable_path=browser, args=QUIET)
        page = chromium.new_context(color_scheme="light", viewport={"width": 1280, "height": 1420}).new_page()
        page.goto(link_for(gate, "ann"))
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Figures").click()
        page.get_by_role("heading", name="By tool").wait_for()
        page.screenshot(path=place / "inbox-figures.png")
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
