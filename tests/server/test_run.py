"""Starting, serving and stopping."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings
from tests.server.conftest import World, ask, assert_problem, decide, execute, settings_for
from tests.server.test_waiting import streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stacksona_adapters.server.clock import ManualClock

SERVE = """
import sys
from stacksona_adapters.server.run import listen, serve, url_of
from stacksona_adapters.server.settings import ServerSettings
settings = ServerSettings(db_url=sys.argv[1], port=0, poll_interval=60.0)
bound = listen(settings)
print(url_of(bound), flush=True)
serve(settings, bound)
"""


class Process:
    """A gate in a process of its own."""

    def __init__(self, db: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", SERVE, db], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def end(self, how: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(how)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def spawn(db: str) -> Iterator[Callable[[], Process]]:
    """Starts gates in processes of their own, all on one database."""
    started: list[Process] = []

    def run() -> Process:
        started.append(Process(db))
        return started[-1]

    yield run
    for process in started:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def test_health(world: World) -> None:
    """The two probes need no key."""
    client = world.client()

    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ok"


def test_not_ready_with_another_schema(world: World) -> None:
    """A gate whose database was migrated beyond it says that it is not ready."""
    with world.service.backend.writer.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    answer = world.client().get("/readyz")

    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"


def test_openapi(world: World) -> None:
    """The document describes every route that is served, its body and its errors."""
    document = world.client().get("/openapi.json").json()

    served = {(method, path) for path, methods in document["paths"].items() for method in methods}
    for method, path in [
        ("post", "/v1/tasks"),
        ("post", "/v1/tasks/{task_id}/events"),
        ("post", "/v1/gate/decision"),
        ("get", "/v1/gate/decision/{decision_id}"),
        ("post", "/v1/gate/decision/{decision_id}/consume"),
        ("get", "/v1/gate/decisions/stream"),
        ("post", "/api/agent/tasks/{task_id}/requests"),
        ("post", "/v1/reviews/{decision_id}/decide"),
        ("get", "/v1/grants"),
        ("get", "/v1/grants/{grant_id}/uses"),
        ("delete", "/v1/grants/{grant_id}"),
    ]:
        assert (method, path) in served
    ask_for = document["paths"]["/v1/gate/decision"]["post"]
    assert ask_for["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/GateRequest"
    }
    assert "application/problem+json" in ask_for["responses"]["default"]["content"]
    used = {text.split('"')[0] for text in str(document).replace("'", '"').split("#/components/schemas/")[1:]}
    assert used <= set(document["components"]["schemas"])


def test_port_is_taken(db: str) -> None:
    """A port that is taken is an error at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ServerSettings(db_url=db, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            EmbeddedGate(settings).start()


def test_start_fails(tmp_path: object, clock: ManualClock) -> None:
    """A gate that cannot open its database does not start, and does not hang."""
    settings = settings_for(f"sqlite:///{tmp_path}", clock)

    with pytest.raises(Exception, match=r"open|start"):
        EmbeddedGate(settings).start()


def test_stop_ends_waits(world: World) -> None:
    """Stopping ends streams and long polls at once, and properly."""
    key = world.service.add_agent("refund-bot").key
    agent = world.client(key)
    decision = ask(agent)

    with ThreadPoolExecutor(1) as pool, streaming(world, key) as stream:
        asked = threading.Event()
        agent.event_hooks["request"].append(lambda _: asked.set())
        waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
        assert asked.wait(30)
        stream.events.queue.clear()
        world.server.stop()
        assert stream.next() is None
        try:
            assert waiting.result(timeout=30).status_code == 202
        except httpx.ConnectError:  # the gate was quicker than the request
            return


def test_nothing_is_lost_by_a_restart(world: World) -> None:
    """What waited before the restart is decided after it."""
    key, token = world.service.add_agent("refund-bot").key, world.service.add_reviewer("ann").token
    decision = ask(world.client(key))
    world.server.stop()
    world.server.start()

    decide(world.client(token), decision)

    assert world.client(key).get(f"/v1/gate/decision/{decision['id']}").json()["status"] == "approved"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signals(db: str, spawn: Callable[[], Process], how: int) -> None:
    """A served gate ends on a signal while a stream is open, and the stream ends cleanly."""
    gate = spawn()
    with GateService(ServerSettings(db_url=db)) as service:
        key = service.add_agent("bot").key
    headers = {"Authorization": f"Bearer {key}"}

    with httpx.stream("GET", f"{gate.url}/v1/gate/decisions/stream", headers=headers, timeout=30) as stream:
        chunks = stream.iter_bytes()
        assert b"connected" in next(chunks)
        code = gate.end(how)
        list(chunks)  # raises if the stream was cut

    assert code in (0, -how)


def test_killed(db: str, spawn: Callable[[], Process]) -> None:
    """What was answered is there after `kill -9`, and the chain holds."""
    with GateService(ServerSettings(db_url=db)) as service:
        key = service.add_agent("bot").key
    gate = spawn()
    headers = {"Authorization": f"Bearer {key}"}
    answered: list[str] = []
    enough = threading.Event()

    def load(client: httpx.Client) -> None:
        try:
            while True:
                answer = client.post("/api/agent/tasks/t/requests", json={"tool_name": "x"})
                answered.append(answer.json()["decision_id"])
                if len(answered) >= 40:
                    enough.set()
        except httpx.TransportError:
            return

    with httpx.Client(base_url=gate.url, headers=headers, timeout=30) as client, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load, client)
        assert enough.wait(60)
        gate.end(signal.SIGKILL)

    with GateService(ServerSettings(db_url=db)) as service:
        rows = service.read(lambda r: r.connection.exec_driver_sql("SELECT decision_id FROM decisions").scalars().all())
        found = service.verify_audit()
    assert set(answered) <= set(rows)
    assert found.ok


@pytest.mark.postgresql
def test_wake_across_processes(db: str, spawn: Callable[[], Process]) -> None:
    """On PostgreSQL a waiter at one process is woken by a decision at another (their polling is switched off)."""
    with GateService(ServerSettings(db_url=db)) as service:
        key, token = service.add_agent("bot").key, service.add_reviewer("ann").token
    one, two = spawn(), spawn()
    agent = httpx.Client(base_url=one.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    reviewer = httpx.Client(base_url=two.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    with agent, reviewer, ThreadPoolExecutor(1) as pool:
        decision = ask(agent)
        waiting = pool.submit(agent.get, f"/v1/gate/decision/{decision['id']}?wait=60")
        decide(reviewer, decision)
        assert waiting.result(timeout=30).json()["status"] == "approved"


@pytest.mark.postgresql
def test_lost_connections(world: World, request: pytest.FixtureRequest) -> None:
    """When the database drops every connection, a call, a waiting one too, is a 503 at worst, and the gate recovers."""
    agent, reviewer = world.agent(), world.reviewer()
    decision = ask(agent)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_insist, lambda: agent.get(f"/v1/gate/decision/{decision['id']}?wait=60"))
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        execute(request.getfixturevalue("postgres"), f"{statement} AND backend_type = 'client backend'")
        path, body = f"/v1/reviews/{decision['id']}/decide", {"outcome": "approve"}
        assert _insist(lambda: reviewer.post(path, json=body)).status_code == 200
        assert waiting.result(timeout=60).json()["status"] == "approved"


def _insist(call: Callable[[], httpx.Response]) -> httpx.Response:
    """Call again while the gate says that it will be back in a second, as the client does."""
    while (answer := call()).status_code == 503:
        assert answer.headers["retry-after"] == "1"
    return answer


def test_no_key_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Neither keys nor tokens reach the log."""
    key = world.service.add_agent("refund-bot").key
    with caplog.at_level("DEBUG"):
        ask(world.client(key))
        world.client("sg_wrong_but_secret").get("/v1/gate/decision/x")

    assert key not in caplog.text
    assert "sg_wrong_but_secret" not in caplog.text
