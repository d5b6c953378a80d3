"""An exported request in a real browser: offline, on paper, and with whatever an agent has put into it."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from pypdf import PdfReader

from tests.browser.scene import Agent, fill
from tests.browser.test_accessibility import check
from tests.browser.test_hostile import HOSTILE, HUGE, everywhere, report, wider_than_screen

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from stacksona_adapters.testing import RunningGate


def exported(page: Page, gate: RunningGate, decision: dict[str, Any], place: Path) -> Path:
    """Export a request by the inbox's button; the file."""
    page.goto(f"{gate.url}/inbox/requests/{decision['decision_id']}")
    with page.expect_download() as loading:
        page.get_by_role("button", name="Export (HTML, to print)").click()
    file = place / loading.value.suggested_filename
    loading.value.save_as(file)
    return file


def opened(browser: Browser, file: Path, said: list[str], **look: Any) -> Page:
    """The file in a browser of its own, which notes all that it asks for, says or complains about."""
    context = browser.new_context(offline=True, **look)
    context.on("request", lambda asked: said.append(asked.url) if asked.url != file.as_uri() else None)
    page = context.new_page()
    page.on("dialog", lambda each: said.append(each.message))
    page.on("console", lambda each: said.append(each.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    return page


def pages_of(page: Page, **paper: Any) -> list[str]:
    """The pages of its PDF, as text without spaces."""
    read = PdfReader(io.BytesIO(page.pdf(**paper)))
    return [re.sub(r"\s+", "", each.extract_text()) for each in read.pages]


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_on_paper(gate: RunningGate, ann: Any, browser: Browser, tmp_path: Path, paper: str) -> None:
    """A long thread as a PDF: ids and numbers on every page, every record with its hash, none of them cut in two."""
    refund, *_ = fill(gate)
    reviewer, agent = gate.reviewer("bob"), Agent(gate)
    for number in range(40):
        report(agent, refund["task_id"], f"step {number}")
    reviewer.approve(refund["decision_id"], arguments={"order_id": "8821", "amount": 200, "currency": "EUR"})
    records = reviewer.client.export(refund["decision_id"])["records"]
    with ann() as page:
        assert wider_than_screen(page) <= 0
        file = exported(page, gate, refund, tmp_path)
    said: list[str] = []
    sheets = pages_of(opened(browser, file, said), format=paper)

    assert 4 <= len(sheets) <= 20
    for number, sheet in enumerate(sheets, 1):
        assert f"Request{refund['thread_id']}" in sheet
        assert refund["decision_id"] in sheet
        assert f"{number}/{len(sheets)}" in sheet
    assert "Order8821,ChidiOkafor" in sheets[0]
    assert "Arguments,asedited" in sheets[0]
    for record in records:
        (sheet,) = [each for each in sheets if f"Hash{record['hash']}" in each]
        assert record["at"] in sheet
    assert said == []


def test_on_the_screen(gate: RunningGate, ann: Any, browser: Browser, tmp_path: Path) -> None:
    """Offline, in dark surroundings and on a phone it is a light page that axe finds nothing wrong with."""
    refund, mail, change, *_ = fill(gate)
    gate.reviewer("bob").approve(refund["decision_id"], arguments={"order_id": "1", "amount": 20, "currency": "EUR"})
    gate.reviewer("bob").reject(mail["decision_id"], message="No.")
    for decision in (refund, mail, change):
        with ann() as page:
            file = exported(page, gate, decision, tmp_path)
        for look in ({"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}):
            said: list[str] = []
            shown = opened(browser, file, said, **look)
            expect(shown.get_by_role("heading", name="How to check it")).to_be_visible()
            assert shown.evaluate("() => getComputedStyle(document.documentElement).backgroundColor") == (
                "rgb(255, 255, 255)"
            )
            assert wider_than_screen(shown) <= 0
            check(shown, f"{decision['decision_id']} {look}")
            assert said == []


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_stays_text(gate: RunningGate, ann: Any, browser: Browser, tmp_path: Path, name: str) -> None:
    """Script and markup in every field is shown as it was sent: nothing runs, nothing is asked for."""
    value, agent = HOSTILE[name], Agent(gate)
    decision = agent.ask(**everywhere(value))
    report(agent, decision["task_id"], value)
    gate.reviewer("bob").reject(decision["decision_id"], message=value)
    with ann() as page:
        file = exported(page, gate, decision, tmp_path)
    said: list[str] = []
    shown = opened(browser, file, said)

    expect(shown.get_by_role("heading", level=1)).to_have_text(value)
    expect(shown.locator("main")).to_contain_text(value)
    assert shown.locator("script, img, svg, iframe, base, form, link, a, body style, body meta").count() == 0
    assert wider_than_screen(shown) <= 0
    assert len(pages_of(shown)) >= 2
    assert said == []


@pytest.mark.parametrize("name", HUGE)
def test_huge_text(gate: RunningGate, ann: Any, browser: Browser, tmp_path: Path, name: str) -> None:
    """A huge value is there to its end and makes nothing wider than the screen or the paper."""
    value = HUGE[name][:8000]
    decision = Agent(gate).ask(
        action="W" * 200, agent="W" * 200, subject=value[:300], arguments={"note": f"{value} end"}
    )
    with ann() as page:
        file = exported(page, gate, decision, tmp_path)
    said: list[str] = []
    shown = opened(browser, file, said)

    expect(shown.locator("main .fields")).to_contain_text("end")
    assert wider_than_screen(shown) <= 0
    assert len(pages_of(shown)) >= 2
    assert said == []


def test_a_changed_long_text_stays_in_its_place(gate: RunningGate, ann: Any) -> None:
    """On the request's page, too, an edit of a long text makes nothing wider than the screen."""
    refund, *_ = fill(gate)
    edit = {"order_id": "8821", "amount": 20, "currency": "EUR", "reason": "a long reason " * 40}
    gate.reviewer("bob").approve(refund["decision_id"], arguments=edit)
    with ann() as page:
        page.goto(f"{gate.url}/inbox/requests/{refund['decision_id']}")
        expect(page.get_by_text("Changed by")).to_be_visible()
        assert wider_than_screen(page) <= 0
