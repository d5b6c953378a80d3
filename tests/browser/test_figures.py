"""The page of charts in a real browser: readable in light and dark, on a phone, by a screen reader and by hand."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.testing import running_gate
from tests.browser.conftest import link_for
from tests.browser.scene import Agent, week
from tests.browser.test_accessibility import check, looks, unfold
from tests.browser.test_hostile import HOSTILE, wider_than_screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate

FRIDAY = datetime(2026, 11, 13, tzinfo=timezone.utc)


@pytest.fixture
def clock() -> ManualClock:
    """A week before the present of these tests."""
    return ManualClock(FRIDAY)


@pytest.fixture
def gate(tmp_path: Path, clock: ManualClock) -> Iterator[RunningGate]:
    """A gate whose clock the tests move."""
    with running_gate(tmp_path / "gate", clock=clock) as running:
        yield running


@looks()
def test_charts(
    gate: RunningGate,
    clock: ManualClock,
    ann: Callable[..., AbstractContextManager[Page]],
    look: dict[str, Any],
) -> None:
    """Four charts that axe finds nothing wrong with, no wider than the screen, with their figures as tables."""
    week(gate, clock)
    with ann(**look) as page:
        page.get_by_role("link", name="Figures").click()
        expect(page.get_by_role("heading", name="Figures")).to_be_visible()
        for name in ("Requests per day", "Waiting time by the day", "By agent", "By tool"):
            chart = page.get_by_role("figure", name=name)
            expect(chart.get_by_role("img")).to_be_visible()
            chart.get_by_text("The figures").click()
            expect(chart.get_by_role("table")).to_be_visible()
        assert wider_than_screen(page) <= 0
        check(page, "the last 7 days")
        for span in ("24h", "90d"):
            page.goto(f"{gate.url}/inbox/figures?span={span}")
            unfold(page)
            assert wider_than_screen(page) <= 0
            check(page, span)


def test_nothing_yet(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """An empty gate has a page that says so."""
    with ann() as page:
        page.get_by_role("link", name="Figures").click()
        expect(page.get_by_text("Nothing was asked for or decided in the last 7 days.")).to_be_visible()
        check(page, "empty")


def test_filters(gate: RunningGate, clock: ManualClock, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """A choice narrows the charts at once and stays in the address."""
    week(gate, clock)
    with ann() as page:
        page.get_by_role("link", name="Figures").click()
        tools = page.get_by_role("figure", name="By tool")
        expect(tools).to_contain_text("send_email")
        page.get_by_label("Agent", exact=True).select_option("Purchasing")
        expect(tools).not_to_contain_text("send_email")
        page.get_by_label("Time", exact=True).select_option("last 30 days")
        expect(page.get_by_text("requests in the last 30 days")).to_be_visible()
        expect(tools).to_contain_text("place_order asked for")
        expect(page).to_have_url(re.compile("span=30d&agent=Purchasing"))


def test_filters_without_scripts(
    gate: RunningGate, clock: ManualClock, visitor: Callable[..., AbstractContextManager[Page]]
) -> None:
    """The same with a form and its button."""
    week(gate, clock)
    with visitor(f"{gate.url}/inbox/figures", java_script_enabled=False) as page:
        page.get_by_label(re.compile("Sign-in code")).fill(link_for(gate).partition("#")[2])
        page.locator("form:has(#secret)").get_by_role("button").click()
        page.get_by_role("link", name="Figures").click()
        page.get_by_label("Agent", exact=True).select_option("Purchasing")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("figure", name="By tool")).to_contain_text("place_order asked for")
        expect(page.get_by_role("figure", name="By tool")).not_to_contain_text("send_email")
        expect(page.get_by_label("Agent", exact=True)).to_have_value("Purchasing")


def test_names_stay_text(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Names that are markup or very long are text in charts, tables and filters and make nothing wider."""
    agent = Agent(gate)
    for value in (*HOSTILE.values(), "W" * 200):
        agent.ask(agent=value[:200], action=value[:200])
    for viewport in ({"width": 1280, "height": 900}, {"width": 390, "height": 844}):
        with ann(viewport=viewport) as page:
            page.goto(f"{gate.url}/inbox/figures?span=24h")
            unfold(page)
            expect(page.get_by_role("figure", name="By agent")).to_contain_text("<script>alert(1)</script>")
            assert page.locator("main script, main img, main style, main base, main meta, main iframe").count() == 0
            assert wider_than_screen(page) <= 0
            check(page, "hostile names")
