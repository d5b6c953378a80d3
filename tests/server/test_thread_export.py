"""One request's export: as JSON and as a page to print, recorded once for each that somebody asked for."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from typing import TYPE_CHECKING, Any

import pytest

from stacksona_adapters.audit import verify_records
from stacksona_adapters.protocol.chain import record_hash
from stacksona_adapters.server.service.accounts import Role
from tests.server.conftest import World, ask, assert_problem, consume, decide, new_task, refund
from tests.server.inbox_tools import Inbox, text_of

if TYPE_CHECKING:
    import httpx

BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def exports(reviewer: httpx.Client, decision: dict[str, Any]) -> list[dict[str, Any]]:
    """What the timeline says of exports."""
    review = reviewer.get(f"/v1/reviews/{decision['decision_id']}").json()
    return [entry["payload"] for entry in review["timeline"] if entry["kind"] == "review.exported"]


def address(decision: dict[str, Any], query: str = "") -> str:
    """Where the export is."""
    return f"/v1/reviews/{decision['decision_id']}/export{query}"


def test_formats(world: World) -> None:
    """JSON unless HTML is asked for, by name or as browsers do; each is recorded as what it was."""
    decision, reviewer = ask(world.agent()), world.reviewer()

    kinds = [
        reviewer.get(address(decision, query), headers={"Accept": accept}).headers["content-type"]
        for query, accept in (
            ("", "*/*"),
            ("", "application/json"),
            ("", "text/html, application/json"),
            ("", BROWSERS),
            ("?format=html", "application/json"),
            ("?format=json", BROWSERS),
        )
    ]

    page, data = "text/html; charset=utf-8", "application/json"
    assert kinds == [data, data, data, page, page, data]
    by = {"decision_id": decision["decision_id"], "by": "ann"}
    said = exports(reviewer, decision)
    assert said == [{**by, "format": form} for form in ("json", "json", "json", "html", "html", "json")]
    assert world.service.verify_audit().ok


def test_what_records_nothing(world: World) -> None:
    """A HEAD, a prefetch, a link of another site, an unknown format and a stranger leave no trace."""
    decision, reviewer = ask(world.agent()), world.reviewer()
    ann = Inbox(world, "bob").sign_in()
    for query in ("", "?format=html"):
        head = reviewer.head(address(decision, query))
        assert (head.status_code, head.headers["allow"]) == (405, "GET")
        for early in ({"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}):
            assert_problem(reviewer.get(address(decision, query), headers=early), 403)
        for site in ("cross-site", "same-site"):
            assert_problem(ann.get(address(decision, query), headers={"Sec-Fetch-Site": site}), 403)
        assert_problem(world.client().get(address(decision, query)), 401)
        assert_problem(world.agent("other").get(address(decision, query)), 403)
    for name in ("jsonl", "pdf", "", "HTML"):
        assert_problem(reviewer.get(address(decision, f"?format={name}")), 422)
    assert_problem(reviewer.get("/v1/reviews/dec_0/export?format=html"), 404)
    one = f"/inbox/requests/{decision['decision_id']}/export"
    assert ann.get(one).status_code in (404, 405)
    assert ann.http.head(one).status_code in (404, 405)
    assert ann.http.post(one, data={"format": "html"}).status_code == 403

    assert exports(reviewer, decision) == []
    assert ann.get(address(decision), headers={"Sec-Fetch-Site": "none"}).status_code == 200
    assert len(exports(reviewer, decision)) == 1


def decided(world: World) -> tuple[httpx.Client, dict[str, Any]]:
    """A request with everything that a request can have."""
    agent, reviewer = world.agent(), world.reviewer()
    world.service.add_rule(tool="issue_refund", parameter="amount", type="upper_limit", value=50, outcome="review")
    fields = {
        "agent": "Refunds",
        "subject": "Order 8821",
        "risk": "high",
        "risk_reason": "Money leaves.",
        "summary": ["Lost in transit.", "Third one."],
        "preview": "Dear Ms Okafor",
        "context": {"customer": "cus_4417"},
        "arguments": {"amount": 240.5, "note": "n" * 1500, "many": list(range(100))},
        "redacted": [],
    }
    body = {**refund(new_task(agent)), **fields}
    decision = agent.post("/v1/gate/decision", json=body).json()
    reviewer.post(f"/v1/reviews/{decision['decision_id']}/notes", json={"text": "Asked the carrier."})
    world.advance(minutes=4)
    edited = {"amount": 200, "note": "n" * 1500, "many": list(range(100))}
    done = decide(reviewer, decision, message="Less the first part.", arguments=edited)
    assert consume(agent, done).status_code == 200
    return reviewer, decision


def test_the_page_says_everything(world: World) -> None:
    """What was asked, edited, decided, noted and done, the timeline, every record, and how to check them."""
    reviewer, decision = decided(world)
    world.service.checkpoint()

    answer = reviewer.get(address(decision, "?format=html"))
    said = text_of(answer.text)

    for part in (
        *(
            "Order 8821",
            "issue_refund",
            "High: Money leaves.",
            "Refunds",
            "refund-bot",
            "Lost in transit.",
            "Third one.",
        ),
        *("Dear Ms Okafor", "cus_4417", "200.00", "amount is above 50", "Approved by ann", "Less the first part."),
        *("Changed by ann", "240.5", "Asked the carrier.", "Permission taken", decision["decision_id"]),
        *(
            "n" * 1500,
            "97, 98, 99",
            "exported by ann",
            decision["thread_id"],
            "number 1 of",
            "first 5 of the 6 records",
        ),
        *(f"stacksona audit export --thread {decision['thread_id']}", f"--key {world.service.audit_key}"),
    ):
        assert re.sub(r"\s+", " ", part) in said, part
    assert answer.headers["content-disposition"] == f'attachment; filename="stacksona-{decision["thread_id"]}.html"'
    assert said.count("By ann") == 3
    assert "None." not in said


def records_of(page: str, task: str) -> list[dict[str, Any]]:
    """The records as the page prints them."""
    found = []
    for seq, section in enumerate(re.findall(r'<section class="record">.*?</section>', page, re.DOTALL), 1):
        at, kind = text_of(section.split('<p class="fixed quiet">')[1].split("</p>")[0]).split(" ")
        payload = html.unescape(re.sub(r"<[^>]+>", "", section.split("<pre>")[1].split("</pre>")[0]))
        made, prev = re.findall(r'<dd class="fixed">([^<]+)</dd>', section)
        prev = "" if prev == "none" else prev
        found.append({"seq": seq, "task": task, "at": at, "kind": kind, "prev": prev, "payload": payload, "hash": made})
    return found


def test_the_records_can_be_checked_from_paper(world: World) -> None:
    """What the page prints of each record is enough to compute its hash, and the hashes are those of the JSON."""
    reviewer, decision = decided(world)
    review = reviewer.get(f"/v1/reviews/{decision['decision_id']}").json()

    printed = records_of(reviewer.get(address(decision, "?format=html")).text, review["task_id"])
    listed = reviewer.get(address(decision)).json()["records"]

    for record in printed:
        parts = (record[name] for name in ("prev", "seq", "task", "at", "kind", "payload"))
        assert record_hash(*parts) == record["hash"]
    assert [record["hash"] for record in printed] == [record["hash"] for record in listed[:-1]]
    assert verify_records(listed)[1] is None


def test_the_file_allows_nothing(world: World) -> None:
    """Its own policy permits one style, whose hash fits, and the gate's header says so too."""
    reviewer, decision = decided(world)

    answer = reviewer.get(address(decision, "?format=html"))
    style = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    own = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', answer.text)[0])

    assert len(style) == 1
    hashed = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert own == f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    assert answer.headers["content-security-policy"] == f"{own}; frame-ancestors 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.findall(r"<(script|img|link|iframe|a|form|svg)\b|\bstyle=|\bon\w+=|url\(|@import", answer.text)


HOSTILE = [
    "<script>alert(1)</script>",
    "</style></pre></bdi><img src=x onerror=alert(2)>",
    "\u202eturned\u2066",
    '=HYPERLINK("https://evil.example")',
    "*/ } </style> {{ 7*7 }} {% raw %}",
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_stay_text(world: World, value: str) -> None:
    """Markup and control characters in every field are shown, the former as text, the latter as code points."""
    agent, reviewer = world.agent(), world.reviewer()
    names = ("agent", "action", "subject", "risk_reason", "preview")
    fields = dict.fromkeys(names, value) | {"summary": [value], "context": {value: value}}
    body = {**refund(new_task(agent)), **fields, "arguments": {value: value, "rows": [{value: value}] * 2}}
    decision = agent.post("/v1/gate/decision", json=body).json()
    decide(reviewer, decision, "reject", message=value)

    page = reviewer.get(address(decision, "?format=html")).text

    assert not re.findall(r"<(script|img)\b", page)
    assert page.count("<style>") == page.count("</style>") == 1
    assert not set("\u202e\u2066") & set(page)
    shown = value.replace("\u202e", "U+202E").replace("\u2066", "U+2066")
    assert shown in text_of(page)


@pytest.mark.parametrize("role", list(Role))
def test_the_inboxs_buttons(world: World, role: Role) -> None:
    """Everybody who sees a request can export it, as either file, by a form."""
    decision, reviewer = ask(world.agent()), world.reviewer()
    someone = Inbox(world, "some", role).sign_in()
    path = f"/inbox/requests/{decision['decision_id']}"

    form = someone.form(path, "/export")
    page, data = someone.send(form, format="html"), someone.send(form, format="json")

    assert form.buttons[1:] == ["Export (HTML, to print)", "Export (JSON)"]
    assert page.headers["content-disposition"].endswith(f'{decision["thread_id"]}.html"')
    assert "exported by some" in text_of(page.text)
    assert data.headers["content-disposition"].endswith(f'{decision["thread_id"]}.json"')
    assert data.json()["exported_by"] == "some"
    assert someone.send(form, format="pdf").status_code == 422
    assert [each["format"] for each in exports(reviewer, decision)] == ["html", "json"]


def test_a_grant_is_named(world: World) -> None:
    """What a grant allowed says whose grant it was, and that nobody looked."""
    agent, reviewer = world.agent(), world.reviewer()
    grant = {"limits": {"amount": {"any": True}}, "max_uses": 3, "lasts": 3600}
    decide(reviewer, ask(agent), grant=grant)
    allowed = ask(agent)

    said = text_of(reviewer.get(address(allowed, "?format=html")).text)

    assert allowed["status"] == "allow"
    assert "Allowed by a grant" in said
    assert "A grant of ann (grant_" in said
    assert "allowed it without anybody looking." in said
