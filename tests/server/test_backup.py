"""A backup that is made while the gate serves, and a gate that is restored from it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service.gate import GateService
from tests.cli.tools import command
from tests.server.conftest import World, ask, assert_problem, consume, decide, settings_for


def test_a_request_that_waits_is_finished_on_the_restored_gate(world: World, empty_db: Callable[[], str]) -> None:
    """`stacksona db copy` under load; then the gate is lost: key, token and waiting request go on at the copy."""
    key, token = world.service.add_agent("refund-bot").key, world.service.add_reviewer("ann").token
    agent, reviewer = world.client(key), world.client(token)
    taken = decide(reviewer, ask(agent, 1))
    consume(agent, taken)
    waiting = ask(agent, 2)
    backup, copied = empty_db(), threading.Event()

    def load() -> int:
        count = 0
        while not copied.is_set() or not count:
            decide(reviewer, ask(agent, 3))
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(load) for _ in range(2)]
        done = command("db", "copy", "--db", world.settings.database, "--to", backup, "--json")
        copied.set()
        assert all(each.result() for each in busy)
    world.server.stop()

    assert (done.code, done.json["audit"]) == (0, "holds"), done.err
    restored = settings_for(backup, world.clock)
    with EmbeddedGate(restored) as gate, GateService(restored) as service, httpx.Client(timeout=30) as client:
        client.base_url = httpx.URL(gate.url)
        client.headers["Authorization"] = f"Bearer {key}"
        reviewing = httpx.Client(base_url=gate.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        with reviewing, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.get, f"/v1/gate/decision/{waiting['id']}?wait=60")
            decide(reviewing, waiting)
            assert answer.result(timeout=50).json()["status"] == "approved"
        assert consume(client, waiting).status_code == 200
        assert_problem(consume(client, taken), 409)
        assert service.verify_audit().ok
        assert service.audit_key == world.service.audit_key
