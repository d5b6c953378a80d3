"""A real Chromium at a real gate. `CHROMIUM` names the browser; else the one on the PATH."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, sync_playwright

from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.sessions import sign_in_link
from stacksona_adapters.testing import running_gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext

    from stacksona_adapters.testing import RunningGate

QUIET = (
    *("--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"),
    *("--disable-default-apps", "--disable-domain-reliability", "--disable-sync", "--no-first-run", "--no-pings"),
)
VIEWPORT = {"width": 1280, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the browser."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[RunningGate]:
    """A gate with an empty database."""
    with running_gate(tmp_path / "gate") as running:
        yield running


@dataclass
class Watched:
    """What a browser did that it must never do.

    Attributes:
        alerts: Dialogs that a script opened.
        outside: Requests to anywhere but the gate.
        complaints: Errors on the console, of scripts or of the content security policy.
    """

    alerts: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def nothing(self) -> bool:
        """Whether nothing of that happened."""
        return self == Watched()


@contextmanager
def _visitor(browser: Browser, gate: RunningGate, **options: Any) -> Iterator[tuple[Page, Watched]]:
    context: BrowserContext = browser.new_context(**{"viewport": VIEWPORT, **options})
    watched = Watched()
    context.on("request", lambda r: None if r.url.startswith(gate.url) else watched.outside.append(r.url))
    page = context.new_page()
    page.set_default_timeout(20_000)

    def dialog(each: Any) -> None:
        watched.alerts.append(each.message)
        each.dismiss()

    page.on("dialog", dialog)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    expected = ("the server responded with a status of", "SSE reconnect failed with status")

    def said(message: Any) -> None:
        if message.type == "error" and not any(each in message.text for each in expected):
            watched.complaints.append(message.text)

    page.on("console", said)
    try:
        yield page, watched
    finally:
        context.close()
    assert watched.nothing(), watched


@pytest.fixture
def visitor(browser: Browser, gate: RunningGate) -> Callable[..., AbstractContextManager[Page]]:
    """Opens a browser of its own for somebody; at its end nothing forbidden may have happened."""

    @contextmanager
    def opened(link: str | None = None, **options: Any) -> Iterator[Page]:
        with _visitor(browser, gate, **options) as (page, _):
            if link is not None:
                page.goto(link)
            yield page

    return opened


def link_for(gate: RunningGate, name: str = "ann", role: Role | None = None) -> str:
    """A sign-in link, as the gate prints it."""
    if name not in {each.name for each in gate.service.list_reviewers()}:
        gate.reviewer_token(name)
    return sign_in_link(gate.service, gate.url, name, role=role)


@pytest.fixture
def ann(
    gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]
) -> Callable[..., AbstractContextManager[Page]]:
    """Opens a browser in which somebody is signed in and sees the inbox."""

    @contextmanager
    def opened(name: str = "ann", role: Role | None = None, **options: Any) -> Iterator[Page]:
        with visitor(link_for(gate, name, role), **options) as page:
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading", name="New").wait_for()
            yield page

    return opened
