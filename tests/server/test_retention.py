"""Old tasks go, the trail still verifies; a copy is the same gate, on either database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from stacksona_adapters.audit import verify_file
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings
from stacksona_adapters.server.store.copying import copy
from tests.server.conftest import World, ask, assert_problem, consume, decide


def test_old_tasks_go_and_the_rest_verifies(world: World, tmp_path: Path) -> None:
    """Finished and old goes; pending, unknown and new stays; what was signed before is not missed."""
    agent, reviewer = world.agent(), world.reviewer()
    old = decide(reviewer, ask(agent, 1), "reject", message="no")
    pending = ask(agent, 2)
    unknown = decide(reviewer, ask(agent, 3))
    consume(agent, unknown)
    world.service.checkpoint()
    world.advance(days=100)
    new = decide(reviewer, ask(agent, 4), "reject")
    cutoff = world.clock.now() - timedelta(days=90)

    assert world.service.prunable(cutoff) == 1
    assert world.service.prune(cutoff, "ann") == 1
    assert world.service.prune(cutoff, "ann") == 0
    assert_problem(reviewer.get(f"/v1/reviews/{old['decision_id']}"), 404)
    for kept in (pending, unknown, new):
        assert reviewer.get(f"/v1/reviews/{kept['decision_id']}").status_code == 200
    assert world.service.verify_audit().ok
    trail = tmp_path / "trail.jsonl"
    trail.write_bytes(b"".join(world.service.export_audit("ann")))
    assert verify_file(trail, world.service.audit_key).ok


def test_a_run_that_still_waits_keeps_its_request(world: World) -> None:
    """What a paused run asked for is found again by its key after a prune; the key of what went is free."""
    agent, reviewer = world.agent(), world.reviewer()
    asked = [("/v1/tasks", {"agent_id": "a", "framework_origin": "Other", "task_name": name}) for name in "xy"]
    tasks = [_again(agent, name, path, body) for name, (path, body) in zip("xy", asked, strict=True)]
    bodies = [{"agent_id": "a", "task_id": each["task_id"], "action": "pay", "arguments": {}} for each in tasks]
    waiting, done = (_again(agent, name, "/v1/gate/decision", body) for name, body in zip("xy", bodies, strict=True))
    other = _again(agent, "z", "/api/agent/tasks/t/requests", {"tool_name": "pay", "payload": {}})
    decide(reviewer, done, "reject")
    world.advance(days=100)

    assert world.service.prune(world.clock.now() - timedelta(days=90), "ann") == 1

    assert _again(agent, "x", *asked[0]) == tasks[0]
    assert _again(agent, "x", "/v1/gate/decision", bodies[0])["decision_id"] == waiting["decision_id"]
    assert _again(agent, "z", "/api/agent/tasks/t/requests", {"tool_name": "pay", "payload": {}}) == other
    assert _again(agent, "y", *asked[1])["task_id"] != tasks[1]["task_id"]


def _again(agent: httpx.Client, name: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = agent.post(path, json=body, headers={"Idempotency-Key": name})
    assert answer.is_success, answer.text
    return dict(answer.json())


def test_a_copy_is_the_same_gate(world: World, empty_db: Callable[[], str]) -> None:
    """Keys, decisions and the chain are the same; numbering goes on; the copy works."""
    agent, reviewer = world.agent(), world.reviewer()
    approved = decide(reviewer, ask(agent, 1))
    world.service.add_rule(tool="t", parameter="p", type="upper_limit", value=1, outcome="reject")
    target = empty_db()
    told: list[str] = []

    rows = copy(world.settings.database, ServerSettings(db_url=target).database, lambda name, _: told.append(name))

    with GateService(ServerSettings(db_url=target, clock=world.clock)) as service:
        assert rows > 10
        assert {"agents", "records", "decisions", "secrets"} <= set(told)
        assert service.verify_audit() == world.service.verify_audit()
        assert service.audit_key == world.service.audit_key
        assert [rule.tool for rule in service.list_rules()] == ["t"]
        assert service.add_rule(tool="u", parameter="p", type="upper_limit", value=1, outcome="reject").tool == "u"
        assert service.checkpoint() == 1
    with pytest.raises(ConfigurationError, match="not empty"):
        copy(world.settings.database, ServerSettings(db_url=target).database)
    assert consume(agent, approved).status_code == 200


@pytest.mark.postgresql
def test_from_sqlite_to_postgresql_and_back(tmp_path: Path, empty_db: Callable[[], str]) -> None:
    """A laptop's file becomes a shared database, and a backup file again, with one chain."""
    first, last = (ServerSettings(db_url=tmp_path / name) for name in ("first.db", "last.db"))
    middle = ServerSettings(db_url=empty_db())
    with GateService(first) as service:
        service.add_agent("bot")
        service.add_reviewer("ann")
        key = service.audit_key
    copy(first.database, middle.database)
    copy(middle.database, last.database)

    with GateService(last) as service:
        assert service.audit_key == key
        assert [agent.name for agent in service.list_agents()] == ["bot"]
        assert service.verify_audit().ok
