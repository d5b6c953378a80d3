"""Several gate processes on one PostgreSQL: killed under load, woken by one another, each thing done by one of them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from stacksona_adapters import Gate
from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.protocol.reviews import DecideRequest
from stacksona_adapters.server.clock import SystemClock
from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service import deliveries, reviews
from stacksona_adapters.server.service.context import Write
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings
from tests.server.conftest import World, ask, decide, execute, refund, settings_for
from tests.server.gate_processes import Caller, Fleet, Progress, fleet_of, proxied
from tests.server.webhook_receiver import webhook_receiver

pytestmark = pytest.mark.postgresql

AGENTS = 5
KILLS = 4
BETWEEN_KILLS = 8


@pytest.fixture
def shared(postgres: str) -> str:
    """The URL of an empty PostgreSQL database, whatever database the other tests use."""
    name = f"gate_{uuid.uuid4().hex}"
    execute(postgres, f"CREATE DATABASE {name}")
    return postgres.format(name)


@dataclass
class Load:
    """What agents and reviewers do at the same time, and what became of it."""

    fleet: Fleet
    reviewing: SimpleQueue[dict[str, Any] | None] = field(default_factory=SimpleQueue)
    progress: Progress = field(default_factory=Progress)
    finished: list[dict[str, Any]] = field(default_factory=list)

    def agent(self, number: int, key: str) -> int:
        """Ask, wait, take (twice, as two attempts would), report, until it is told to stop; how often it moved."""
        with Caller(self.fleet, key, number) as one, Caller(self.fleet, key, number + 1) as other:
            while not self.progress.stopped.is_set():
                self.finished.append(self._one_action(one, other))
                self.progress.one_more()
            return one.moved + other.moved

    def _one_action(self, one: Caller, other: Caller) -> dict[str, Any]:
        name = uuid.uuid4().hex
        body = {"agent_id": "refund-bot", "framework_origin": "Other", "task_name": name}
        task = one.post("/v1/tasks", body, f"task-{name}").json()["task_id"]
        asked = one.post("/v1/gate/decision", refund(task, subject=name), f"ask-{name}")
        assert asked.status_code == 202, asked.text
        self.reviewing.put(asked.json())
        path = f"/v1/gate/decision/{asked.json()['decision_id']}"
        while (waited := one.get(f"{path}?wait=20")).status_code == 202:
            pass
        assert waited.json()["status"] == "approved", waited.text
        digest = {"action_digest": waited.json()["action_digest"]}
        with ThreadPoolExecutor(2) as pool:
            takes = [
                pool.submit(who.post, f"{path}/consume", digest, f"take-{n}") for n, who in enumerate((one, other))
            ]
            statuses = [take.result().status_code for take in takes]
        payload = {"decision_id": asked.json()["decision_id"], "outcome": "succeeded"}
        told = {"event_type": "TOOL_EXECUTED", "event_payload": payload, "occurred_at": "2026-01-01T00:00:00Z"}
        told |= {"task_id": task, "agent_id": "refund-bot", "framework_origin": "Other", "correlation_id": name}
        reported = other.post(f"/v1/tasks/{task}/events", told, f"event-{name}")
        assert reported.status_code == 201, reported.text
        return {**waited.json(), "takes": sorted(statuses)}

    def reviewer(self, number: int, token: str) -> None:
        """Approve whatever comes, until it is told to stop."""
        with Caller(self.fleet, token, number) as caller:
            while (decision := self.reviewing.get()) is not None:
                answer = caller.post(f"/v1/reviews/{decision['decision_id']}/decide", {"outcome": "approve"})
                # A decision whose answer got lost with its process was made: asked again, it is a 409.
                assert answer.status_code in (200, 409), answer.text

    def killing(self) -> None:
        """Kill one process after the other, whenever some more actions have been finished."""
        try:
            for number in range(KILLS):
                self.progress.wait_for_more(BETWEEN_KILLS)
                self.fleet.kill(number % len(self.fleet.urls))
            self.progress.wait_for_more(BETWEEN_KILLS)
        finally:
            self.progress.stopped.set()

    def run(self, service: GateService) -> int:
        """All of it; how often a caller went to another process."""
        keys = [service.add_agent("refund-bot").key for _ in range(AGENTS)]
        with ThreadPoolExecutor(AGENTS + 2) as pool:
            deciding = [pool.submit(self.reviewer, n, service.add_reviewer(f"r{n}").token) for n in range(2)]
            acting = [pool.submit(self.agent, number, key) for number, key in enumerate(keys)]
            try:
                self.killing()
                moved = sum(each.result() for each in acting)
            finally:
                for _ in deciding:
                    self.reviewing.put(None)
            for each in deciding:
                each.result()
        return moved


def test_killed_under_load(shared: str) -> None:
    """Processes die by SIGKILL one after the other: nothing is lost, nothing happens twice, the trail verifies."""
    with fleet_of(shared) as fleet, GateService(ServerSettings(db_url=shared)) as service:
        load = Load(fleet)
        moved = load.run(service)
        verified = service.verify_audit()
        token = service.add_reviewer("auditor").token
        with Caller(fleet, token) as auditor:
            kept = [auditor.get(f"/v1/reviews/{each['decision_id']}").json() for each in load.finished]
            waiting = auditor.get("/v1/reviews?folder=new").json()["reviews"]

    assert len(load.finished) >= (KILLS + 1) * BETWEEN_KILLS
    assert moved >= KILLS
    assert {tuple(each["takes"]) for each in load.finished} == {(200, 409)}
    assert waiting == []
    assert verified.ok, verified
    assert verified.chains - 1 == len(load.finished) == len({each["task_id"] for each in load.finished})
    for each in kept:
        kinds = Counter(entry["kind"] for entry in each["timeline"])
        assert each["status"] == "approved"
        assert {kind: kinds[kind] for kind in ONCE} == dict.fromkeys(ONCE, 1), kinds


ONCE = ("decision.requested", "decision.approved", "permission.taken", "TOOL_EXECUTED", "permission.closed")


def test_a_grant_is_never_exceeded(shared: str) -> None:
    """Three processes allow by one grant, and one of them is killed meanwhile: as many as granted, not one more."""
    grant = {"limits": {"amount": {"at_most": 100}}, "max_uses": 15, "lasts": 3600}
    with fleet_of(shared) as fleet, GateService(ServerSettings(db_url=shared)) as service:
        keys = [service.add_agent("refund-bot").key for _ in range(6)]
        with Caller(fleet, keys[0]) as agent, Caller(fleet, service.add_reviewer("ann").token) as ann:
            task = agent.post("/v1/tasks", TASK, "task").json()["task_id"]
            first = agent.post("/v1/gate/decision", refund(task, 50), "first").json()
            ann.post(f"/v1/reviews/{first['decision_id']}/decide", {"outcome": "approve", "grant": grant})
            progress = Progress()

            def asks(number: int) -> list[str]:
                said = []
                with Caller(fleet, keys[number], number) as caller:
                    for n in range(8):
                        asked = caller.post("/v1/gate/decision", refund(task, n), f"{number}-{n}")
                        said.append(str(asked.json()["status"]))
                        progress.one_more()
                return said

            with ThreadPoolExecutor(len(keys)) as pool:
                asking = [pool.submit(asks, number) for number in range(len(keys))]
                progress.wait_for_more(6)
                fleet.kill(1)
                statuses = Counter(status for each in asking for status in each.result())
            [listed] = ann.get("/v1/grants").json()["grants"]
            uses = ann.get(f"/v1/grants/{listed['grant_id']}/uses").json()["reviews"]
        verified = service.verify_audit()

    assert statuses == {"allow": 15, "pending_review": 33}
    assert (listed["used"], listed["state"], len(uses)) == (15, "used_up", 15)
    assert verified.ok, verified


def test_webhooks_and_expiry_happen_once(shared: str) -> None:
    """Three processes look for what is due: each webhook is sent once, each expiry is marked once."""
    with (
        fleet_of(shared) as fleet,
        webhook_receiver() as receiver,
        GateService(ServerSettings(db_url=shared)) as service,
    ):
        hooked, plain = service.add_agent("hooked", webhook=receiver.url), service.add_agent("plain")
        token = service.add_reviewer("ann").token
        with Caller(fleet, hooked.key) as agent, Caller(fleet, plain.key, 1) as other, Caller(fleet, token, 2) as ann:
            task = agent.post("/v1/tasks", TASK).json()["task_id"]
            asked = [agent.post("/v1/gate/decision", refund(task, n)).json() for n in range(20)]
            with ThreadPoolExecutor(4) as pool:
                paths = [f"/v1/reviews/{each['decision_id']}/decide" for each in asked]
                list(pool.map(lambda path: ann.post(path, {"outcome": "approve"}), paths))
            task = other.post("/v1/tasks", TASK).json()["task_id"]
            late = [other.post("/v1/gate/decision", refund(task, n, expires_in=0.5)).json() for n in range(20)]
            ended = [other.get(f"/v1/gate/decision/{each['decision_id']}?wait=60").json() for each in late]
            receiver.wait(len(asked))
            sent = finished_deliveries(service)
            timeline = ann.get(f"/v1/reviews/{late[0]['decision_id']}").json()["timeline"]

    assert {each["status"] for each in ended} == {"expired"}
    assert [entry["kind"] for entry in timeline].count("decision.expired") == len(late)
    assert [(each.state, each.attempts) for each in sent] == [("delivered", 1)] * len(asked)
    assert Counter(headers["webhook-id"] for headers, _ in receiver.got) == {each.delivery_id: 1 for each in sent}


TASK = {"agent_id": "refund-bot", "framework_origin": "Other", "task_name": "Refunds"}


def finished_deliveries(service: GateService) -> list[deliveries.DeliveryInfo]:
    """The deliveries, once every attempt has been written down."""
    for _ in range(1000):
        found = service.read(deliveries.listed)
        if all(each.state != "pending" for each in found):
            return found
        Event().wait(0.02)
    raise AssertionError(f"still pending: {found}")


@dataclass
class Two:
    """Two gates on one database, and the database itself."""

    first: World
    second: World
    shared: str


@pytest.fixture
def two(shared: str) -> Iterator[Callable[..., Two]]:
    """Starts two gates."""
    with ExitStack() as stack:

        def start(**changed: Any) -> World:
            settings = settings_for(shared, SystemClock(), **changed)  # type: ignore[arg-type]
            server = stack.enter_context(EmbeddedGate(settings))
            service = stack.enter_context(GateService(settings))
            return World(settings, settings.clock, server, service, stack)  # type: ignore[arg-type]

        yield lambda **changed: Two(start(**changed), start(**changed), shared)


def test_a_decision_wakes_the_waiters_of_another_process(two: Callable[..., Two]) -> None:
    """A long poll at one gate is answered by a decision at the other, though both look by themselves only each hour."""
    gates = two(poll_interval=3600.0)
    agent, reviewer = gates.first.agent(), gates.second.reviewer()
    for _ in range(3):
        decision = ask(agent)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
            decide(reviewer, decision)
            assert waiting.result(timeout=50).json()["status"] == "approved"


def test_a_lost_listener_catches_up(two: Callable[..., Two]) -> None:
    """The connection that listens is cut while a decision is made elsewhere: once it is back, the waiter is told."""
    import psycopg

    gates = two(poll_interval=3600.0)
    agent, reviewer = gates.first.agent(), gates.second.reviewer()
    decision = ask(agent)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(gates.shared, autocommit=True) as database:
        waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
        cut = database.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname ="
            " current_database()"
        ).fetchall()
        decide(reviewer, decision)
        assert waiting.result(timeout=50).json()["status"] == "approved"

    assert cut == [(True,), (True,)]


def test_a_missed_notification_costs_one_poll(two: Callable[..., Two]) -> None:
    """A change that nobody is told of is found by the slow poll."""
    gates = two(poll_interval=0.05)
    agent = gates.first.agent()
    gates.first.reviewer("ann")
    decision = ask(agent)

    def silently(write: Write) -> None:
        approve = DecideRequest(outcome="approve")
        reviews.decide(write, "ann", decision["id"], approve, decision["action_digest"])
        write.batch.changed = False

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
        gates.second.service.write(silently)
        assert waiting.result(timeout=50).json()["status"] == "approved"


def test_waiters_of_a_killed_process_go_on_at_another(shared: str) -> None:
    """Long polls that are open at a process when it dies get their answer from another one."""
    with fleet_of(shared, 2) as fleet, GateService(ServerSettings(db_url=shared)) as service, ExitStack() as stack:
        key, token = service.add_agent("refund-bot").key, service.add_reviewer("ann").token
        waiters = [stack.enter_context(Caller(fleet, key)) for _ in range(8)]
        reviewer = stack.enter_context(Caller(fleet, token, 1))
        task = waiters[0].post("/v1/tasks", TASK).json()["task_id"]
        asked = [each.post("/v1/gate/decision", refund(task, n)).json() for n, each in enumerate(waiters)]
        with ThreadPoolExecutor(len(waiters)) as pool:
            paths = [f"/v1/gate/decision/{each['decision_id']}?wait=60" for each in asked]
            waiting = [pool.submit(each.get, path) for each, path in zip(waiters, paths, strict=True)]
            open_waits(fleet, token, len(waiters))
            fleet.kill(0)
            for each in asked:
                reviewer.post(f"/v1/reviews/{each['decision_id']}/decide", {"outcome": "reject", "message": "no"})
            answers = [each.result(timeout=50).json()["status"] for each in waiting]

    assert answers == ["rejected"] * len(waiters)
    assert all(each.moved for each in waiters)


def open_waits(fleet: Fleet, token: str, many: int) -> None:
    """Wait until so many wait at the first process."""
    with Caller(fleet, token) as caller:
        for _ in range(2000):
            if f"stacksona_open_waits {many}.0" in caller.get("/metrics").text:
                return
    raise AssertionError(f"{many} do not wait")


def test_agents_behind_a_proxy_do_not_notice(shared: str, tmp_path: Path) -> None:
    """The client's one stream is cut with its process; the calls that wait on it are decided elsewhere and run once."""
    ran: list[int] = []
    service = GateService(ServerSettings(db_url=shared))
    with service, fleet_of(shared, 2) as fleet, proxied(fleet) as url:
        key, token = service.add_agent("refund-bot").key, service.add_reviewer("ann").token
        gate = Gate("refund-bot", url=url, api_key=key, wait=120, state_dir=tmp_path)
        pay = gate.protect(action="pay", risk="high")(ran.append)
        with gate, Reviewer(fleet.urls[1], token) as reviewer, ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(pay, number) for number in range(6)]
            reviewer.waiting(len(calls))
            open_waits(fleet, token, 1)
            fleet.kill(0)
            for _ in calls:
                reviewer.approve()
            for call in calls:
                call.result(timeout=100)
            assert gate.flush(30)
        verified = service.verify_audit()

    assert sorted(ran) == list(range(6))
    assert verified.ok, verified
