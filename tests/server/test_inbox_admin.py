"""The pages on which an admin manages agents, reviewers and rules, and everybody who may checks the audit trail."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, update

from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.deliveries import listed
from stacksona_adapters.server.store.tables import deliveries, records
from tests.server.conftest import World, ask, decide
from tests.server.inbox_tools import Form, Inbox, find_form, text_of

if TYPE_CHECKING:
    import httpx

PAGES = ("agents", "reviewers", "rules", "deliveries", "audit")


def admin(world: World) -> Inbox:
    """An admin who is signed in."""
    return Inbox(world, "root", Role.ADMIN).sign_in()


def secret_in(answer: httpx.Response) -> list[str]:
    """The secrets that a page shows."""
    assert answer.status_code == 200, answer.text
    return re.findall(r"secret-value\">([^<]+)<", answer.text)


@pytest.mark.parametrize(("role", "seen"), [(Role.ADMIN, 200), (Role.AUDITOR, 200), (Role.REVIEWER, 403)])
def test_who_sees_them(world: World, role: Role, seen: int) -> None:
    """Admins and auditors see the pages, reviewers do not; only admins find a form that changes something."""
    someone = Inbox(world, "some", role).sign_in()
    world.service.add_agent("bot")
    world.service.add_rule(tool="pay", parameter="amount", type="upper_limit", value=1, outcome="review")

    for name in PAGES:
        answer = someone.get(f"/inbox/{name}")
        assert answer.status_code == seen
        forms = set(re.findall(r'action="/inbox/(\w+/\w+)"', answer.text)) - {
            "rules/try",
            "audit/verify",
            "audit/export",
        }
        assert bool(forms) is (role is Role.ADMIN and name not in ("audit", "deliveries"))
    assert ('href="/inbox/rules"' in someone.page("/inbox")) is (seen == 200)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.REVIEWER])
def test_only_an_admin_changes_anything(world: World, role: Role) -> None:
    """Forms of their own making are refused to everybody else."""
    someone = Inbox(world, "some", role).sign_in()
    key = world.service.add_agent("bot")
    token = dict(someone.form("/inbox", "/sign-out").values)["csrf"]
    paths = ("agents/add", "agents/revoke", "reviewers/add", "reviewers/link", "reviewers/role", "reviewers/revoke")

    for path in (*paths, "rules/add", "rules/remove"):
        fields = {"csrf": token, "name": "some", "role": "admin", "which": key.key_id}
        assert someone.http.post(f"/inbox/{path}", data=fields).status_code == 403, path

    assert world.client(key.key).get("/v1/gate/decision/dec_1").status_code == 404


def test_agent_gets_a_key_and_loses_it(world: World) -> None:
    """A key is shown once, works, and does no longer when it is revoked."""
    root = admin(world)

    (key,) = secret_in(root.send(root.form("/inbox/agents", "/add"), name="bot"))
    agent = world.client(key)
    assert agent.get("/v1/gate/decision/dec_1").status_code == 404
    page = root.page("/inbox/agents")
    assert key not in page
    assert root.send(find_form(page, "/revoke")).status_code == 303

    assert agent.get("/v1/gate/decision/dec_1").status_code == 401
    assert "revoked" in text_of(root.page("/inbox/agents"))


def test_impossible_names_are_said(world: World) -> None:
    """A name that cannot be is refused on the page."""
    root = admin(world)

    for path in ("agents", "reviewers"):
        answer = root.send(root.form(f"/inbox/{path}", "/add"), name="*", role="admin")
        assert answer.status_code == 422
        assert "printable characters" in text_of(answer.text)


def test_reviewer_comes_and_goes(world: World) -> None:
    """A new reviewer signs in by the link, in the role given, and is out at once when revoked."""
    root = admin(world)

    link, token = secret_in(root.send(root.form("/inbox/reviewers", "/add"), name="eve", role="auditor"))
    eve = Inbox(world, "root")
    eve.link = link
    eve.sign_in()
    assert eve.get("/inbox/audit").status_code == 200
    assert world.client(token).get("/v1/reviews").status_code == 200
    form = Form("/inbox/reviewers/revoke", [("csrf", dict(root.form("/inbox", "/sign-out").values)["csrf"])])
    assert root.send(form, which="eve").status_code == 303

    assert eve.get("/inbox").status_code == 303
    assert world.client(token).get("/v1/reviews").status_code == 401


def test_role_changes_at_once(world: World) -> None:
    """A role that was taken away holds for the sessions that are open."""
    root, ann = admin(world), Inbox(world, "ann", Role.ADMIN).sign_in()
    token = dict(root.form("/inbox", "/sign-out").values)["csrf"]
    give = Form("/inbox/reviewers/role", [("csrf", token)])

    assert root.send(give, name="ann", role="reviewer").status_code == 303
    assert ann.get("/inbox/rules").status_code == 403
    assert root.send(give, name="ann", role="king").status_code == 422


def test_the_only_admin_stays(world: World) -> None:
    """Nobody locks everybody out."""
    root = admin(world)
    token = dict(root.form("/inbox", "/sign-out").values)["csrf"]

    for path in ("reviewers/role", "reviewers/revoke"):
        fields = {"csrf": token, "name": "root", "role": "reviewer", "which": "root"}
        answer = root.http.post(f"/inbox/{path}", data=fields)
        assert answer.status_code == 409
        assert "only admin" in text_of(answer.text)
    (listed,) = world.service.list_reviewers()
    answer = root.http.post("/inbox/reviewers/revoke", data={"csrf": token, "which": listed.tokens[0].id})
    assert answer.status_code == 409


def test_new_link_for_somebody(world: World) -> None:
    """An admin makes a sign-in link for a reviewer who is there."""
    root = admin(world)
    world.service.add_reviewer("ann")
    token = dict(root.form("/inbox", "/sign-out").values)["csrf"]
    form = Form("/inbox/reviewers/link", [("csrf", token)])

    (link,) = secret_in(root.send(form, name="ann"))
    ann = Inbox(world, "ann")
    ann.link = link
    assert ann.sign_in().get("/inbox").status_code == 200
    assert root.send(form, name="nobody").status_code == 404


def test_rules_are_added_tried_and_removed(world: World) -> None:
    """A rule works as soon as it is there, and the box says which one decides."""
    root, agent = admin(world), world.agent()
    add = root.form("/inbox/rules", "/add")
    limit = {"tool": "issue_refund", "parameter": "amount", "type": "between", "value": "0", "value2": "50"}
    assert root.send(add, **limit, outcome="allow").status_code == 303
    assert root.send(add, parameter="amount", type="upper_limit", value="1e3", outcome="reject").status_code == 303
    sample = {"agent": "refund-bot", "tool": "issue_refund"}

    def tried(amount: Any) -> str:
        form = root.form("/inbox/rules", "/try")
        return text_of(root.send(form, **sample, arguments=json.dumps({"amount": amount})).text)

    assert "would be allowed, by the rule where amount lies between 0 and 50" in tried(20)
    assert "would be rejected, by the rule where amount is above 1000" in tried(5000)
    assert "No rule matches: a person reviews it" in tried(100)
    assert [ask(agent, amount)["status"] for amount in (20, 5000)] == ["allow", "reject"]

    for _ in range(2):
        root.send(root.form("/inbox/rules", "/remove"))
    assert world.service.list_rules() == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "upper_limit", "value": "much"}, "must be a number"),
        ({"type": "between", "value": "1"}, "must be a number"),
        ({"type": "regex", "value": "("}, "regular expression"),
        ({"type": "odd", "value": "1"}, "type"),
    ],
)
def test_wrong_rules_are_said(world: World, fields: dict[str, str], said: str) -> None:
    """A rule that cannot be used is refused, and what was entered stays."""
    root = admin(world)

    answer = root.send(root.form("/inbox/rules", "/add"), parameter="amount", outcome="allow", **fields)

    assert answer.status_code == 422
    assert said in text_of(answer.text)
    assert f'value="{fields["value"]}"' in answer.text
    assert world.service.list_rules() == []


def test_wrong_sample(world: World) -> None:
    """A sample that is no JSON object is said."""
    root = admin(world)

    answer = root.send(root.form("/inbox/rules", "/try"), arguments="[")

    assert (answer.status_code, "is not JSON" in answer.text) == (422, True)


def dead_delivery(world: World) -> dict[str, Any]:
    """A decision whose webhook was given up."""
    decision = ask(world.agent(webhook="https://agent.example/decided"))
    decide(world.reviewer("api"), decision)
    with world.service.backend.writer.begin() as connection:
        connection.execute(update(deliveries).values(state="dead", attempts=99, last_error="<b>no</b>"))
    return decision


def test_deliveries_are_listed_and_sent_again(start: Any) -> None:
    """A webhook that was given up is on the page, with the reason, and goes out again when an admin says so."""
    world = start(delivery_networks=())
    root, eve = admin(world), Inbox(world, "eve", Role.AUDITOR).sign_in()
    decision = dead_delivery(world)

    said = text_of(eve.page("/inbox/deliveries?state=dead"))
    assert decision["decision_id"] in said
    assert "given up" in said
    assert "https://agent.example/decided" in said
    assert "<b>no" not in eve.page("/inbox/deliveries")
    assert "None in this state." in text_of(eve.page("/inbox/deliveries?state=delivered"))
    form = root.form("/inbox/deliveries", "/resend")
    token = dict(eve.form("/inbox", "/sign-out").values)["csrf"]
    assert eve.send(form, csrf=token).status_code == 403
    assert root.send(form).status_code == 303

    (now,) = world.service.read(listed)
    assert now.attempts < 99


def test_the_log_of_deliveries_has_pages(start: Any) -> None:
    """Every delivery is on one page, forward and back, in each state; sending one again leads back to its page."""
    world = start(delivery_networks=())
    root, agent = admin(world), world.agent()
    wanted, about = [f"msg_{number:03}" for number in range(103)][::-1], ask(agent)["decision_id"]
    row = {"agent": "refund-bot", "decision_id": about, "url": "http://127.0.0.1:9/never", "body": "{}", "attempts": 1}
    rows = [
        {**row, "delivery_id": name, "state": ("dead", "delivered")[place % 2], "created_at": world.clock.now()}
        for place, name in enumerate(wanted)
    ]
    with world.service.backend.writer.begin() as connection:
        connection.execute(insert(deliveries), rows[::-1])

    def walk(path: str, name: str) -> list[list[str]]:
        pages = []
        while path:
            page = root.page(path)
            pages.append(re.findall(r'aria-label="Send again: (\w+)"', page))
            link = re.search(rf'href="([^"]+)"[^>]*>{name}</a>', page)
            path = html.unescape(link[1]) if link else ""
            last.append(page)
        return pages

    last: list[str] = []
    assert walk("/inbox/deliveries", "Older") == [wanted[:50], wanted[50:100], wanted[100:]]
    newer = re.search(r'href="([^"]+)"[^>]*>Newer</a>', last[-1])
    assert newer is not None
    assert walk(html.unescape(newer[1]), "Newer") == [wanted[50:100], wanted[:50]]
    assert walk("/inbox/deliveries?state=dead", "Older") == [wanted[0:100:2], wanted[100::2]]
    assert "Given up 52 Under way 0 Delivered 51 All 103" in text_of(last[-1])
    form = find_form(last[-1], "/resend")
    back = root.send(form).headers["location"]
    assert back.startswith("/inbox/deliveries?state=dead&before=")
    assert wanted[102] in root.page(back)
    assert root.send(find_form(root.page(back), "/resend"), back="//evil.example").headers["location"] == (
        "/inbox/deliveries"
    )
    assert "Nothing more." in root.page("/inbox/deliveries?before=1")
    assert root.get("/inbox/deliveries?before=x&after=%00&state=odd").status_code == 200


def test_agent_with_a_webhook(world: World) -> None:
    """A webhook's secret is shown together with the key, once; what is no URL is refused."""
    root = admin(world)
    add = root.form("/inbox/agents", "/add")

    _, secret = secret_in(root.send(add, name="bot", webhook="https://agent.example/decided"))

    assert secret.startswith("whsec_")
    assert "https://agent.example/decided" in root.page("/inbox/agents")
    assert root.send(add, name="bot", webhook="ftp://x").status_code == 422


def test_audit_is_verified(world: World) -> None:
    """The page says that every chain holds, and names the first record that does not."""
    eve, decision = Inbox(world, "eve", Role.AUDITOR).sign_in(), ask(world.agent())
    form = eve.form("/inbox/audit", "/verify")

    assert "Every chain holds:" in text_of(eve.send(form).text)
    with world.service.backend.writer.begin() as connection:
        mine = (records.c.task_id == decision["task_id"], records.c.seq == 2)
        connection.execute(update(records).where(*mine).values(kind="decision.approved"))
    said = text_of(eve.send(form).text)

    assert "The trail is broken at record 2" in said
    assert decision["task_id"] in said


def test_audit_is_exported(world: World) -> None:
    """The export is a file of lines; that it was made is on record."""
    eve, decision = Inbox(world, "eve", Role.AUDITOR).sign_in(), ask(world.agent())

    answer = eve.send(eve.form("/inbox/audit", "/export"))

    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-disposition"].startswith('attachment; filename="stacksona-audit-')
    assert lines[0]["exported_by"] == "eve"
    assert any(line.get("task") == decision["task_id"] for line in lines)
    assert lines[-1]["type"] == "end"
