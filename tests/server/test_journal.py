"""The gate's own chain: every action of administration stands in it, by whom, and no secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import text

from stacksona_adapters.audit import verify_file
from stacksona_adapters.server.service.accounts import Role
from tests.server.conftest import World, ask
from tests.server.inbox_tools import Inbox, text_of

if TYPE_CHECKING:
    from pathlib import Path

RULE = {"tool": "pay", "parameter": "amount", "type": "upper_limit", "value": 100, "outcome": "review"}


def kinds(world: World) -> list[tuple[str, str]]:
    """Who did what, oldest first."""
    return [(each.by, each.kind) for each in reversed(world.service.list_journal(100))]


def test_what_an_admin_does_is_recorded(world: World) -> None:
    """Keys, tokens, roles, links, rules: each by the admin who did it; a page that refuses records nothing."""
    root = Inbox(world, "root", Role.ADMIN).sign_in()
    start = len(kinds(world))
    root.send(root.form("/inbox/agents", "/add"), name="bot", webhook="https://agent.example/secret-path?token=hush")
    root.send(root.form("/inbox/agents", "/add"), name="bot", webhook="ftp://x")
    root.send(root.form("/inbox/agents", "/revoke"), which="bot")
    root.send(root.form("/inbox/reviewers", "/reviewers/add"), name="bob", role="auditor")
    root.send(root.form("/inbox/reviewers", "/role"), name="bob", role="reviewer")
    root.send(root.form("/inbox/rules", "/rules/add"), **{name: str(value) for name, value in RULE.items()})
    root.send(root.form("/inbox/rules", "/rules/remove"))

    assert kinds(world)[start:] == [
        ("root", "agent.key_added"),
        ("root", "agent.key_revoked"),
        ("root", "reviewer.token_added"),
        ("root", "reviewer.role_given"),
        ("root", "reviewer.link_made"),
        ("root", "reviewer.role_given"),
        ("root", "rule.added"),
        ("root", "rule.removed"),
    ]
    said = json.dumps([each.said for each in world.service.list_journal(100)])
    assert "agent.example" in said
    assert "secret-path" not in said
    assert "hush" not in said


def test_the_operator_and_sign_ins(world: World) -> None:
    """What the command line does is the operator's; who signed in, and how, is theirs; a failed try leaves nothing."""
    made = world.service.add_reviewer("ann")
    ann = Inbox(world, "ann").sign_in()
    ann.http.post("/inbox/sign-in", data={"secret": "sr_wrong"})
    loaded = world.service.load_rules([RULE, RULE])
    world.service.load_rules([], replace=True)
    world.service.revoke_reviewer("ann")

    assert kinds(world) == [
        ("operator", "reviewer.token_added"),
        ("operator", "reviewer.link_made"),
        ("ann", "session.started"),
        *[("operator", "rule.added")] * 2,
        *[("operator", "rule.removed")] * 2,
        ("operator", "reviewer.token_revoked"),
    ]
    newest, *removed = world.service.list_journal(3)
    assert newest.said == {"which": "ann", "tokens": [made.token_id]}
    assert [each.said["rule"]["id"] for each in reversed(removed)] == [rule.id for rule in loaded]
    everything = json.dumps([each.said for each in world.service.list_journal(100)])
    assert made.token not in everything
    assert ann.link.partition("#")[2] not in everything


def test_it_is_checked_and_exported_like_any_chain(world: World, tmp_path: Path) -> None:
    """A changed or missing entry is found in the gate and in an export; one agent's export leaves it out."""
    decision = ask(world.agent())
    world.service.add_rule(**RULE)
    file = tmp_path / "trail.jsonl"
    file.write_bytes(b"".join(world.service.export_audit("ann")))
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(b"".join(world.service.export_audit("ann", agent="refund-bot")))

    assert verify_file(file).ok
    assert b"rule.added" in file.read_bytes()
    assert verify_file(mine).ok
    assert b"rule.added" not in mine.read_bytes()
    lines = file.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(line for line in lines if b"rule.added" not in line))
    assert verify_file(cut).broken is not None
    with world.service.backend.writer.begin() as connection:
        connection.execute(
            text("UPDATE records SET payload = replace(payload, '100', '900') WHERE kind = 'rule.added'")
        )
    found = world.service.verify_audit()
    assert (found.task_id, found.ok) == ("gate", False)
    assert decision["task_id"] != "gate"


def test_it_is_nobodys(world: World) -> None:
    """No agent of that name is listed, old entries are not removed, and an agent's task `gate` is another."""
    agent = world.agent("bot")
    agent.post("/api/agent/tasks/gate/events", json={"event_type": "task.updated", "payload": {}}).raise_for_status()
    before = kinds(world)
    world.advance(days=400)
    gone = world.service.prune(world.clock.now(), "ann")

    assert [each.name for each in world.service.list_agents()] == ["bot"]
    assert gone == 1
    assert kinds(world) == before
    assert world.service.verify_audit().ok


def test_its_page(world: World) -> None:
    """Auditors read it, newest first, page by page; what a name contains stays text."""
    eve = Inbox(world, "eve", Role.AUDITOR).sign_in()
    for number in range(60):
        world.service.add_rule(**{**RULE, "tool": f"tool-{number:02}"})
    world.service.add_reviewer("<img src=x onerror=alert(1)>")

    newest = eve.page("/inbox/audit")
    older = eve.page(f"/inbox/audit?before={world.service.list_journal(50)[-1].seq}")

    assert "<img src=x" not in newest
    assert "onerror" in text_of(newest)
    assert "tool-59" in newest
    assert "tool-05" not in newest
    assert "tool-05" in older
    assert eve.get("/inbox/audit?before=x").status_code == 200
    assert Inbox(world, "bob").sign_in().get("/inbox/audit").status_code == 403
