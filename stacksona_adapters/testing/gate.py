"""A real gate in this process, for tests: real sockets, a real database, a clock that can be moved."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.reviewer import Reviewer
from stacksona_adapters.server.clock import Clock, SystemClock
from stacksona_adapters.server.run import EmbeddedGate
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings


class RunningGate:
    """A gate on a free port of 127.0.0.1. Made by `running_gate()` or the fixture `stacksona_gate`.

    Args:
        settings: How the gate is set up.
        directory: Where clients keep their waiting events.

    Attributes:
        url: Its base URL, the same after `start` and `restart`.
        service: The gate without its web server: `service.add_rule(...)`, `service.verify_audit()` and so on.
    """

    def __init__(self, settings: ServerSettings, directory: Path) -> None:
        self.settings = settings
        self._directory = directory
        self._open = ExitStack()
        self._embedded = EmbeddedGate(settings).start()
        self.url = self._embedded.url
        self.settings = replace(settings, port=urlsplit(self.url).port or 0)
        self.service = self._open.enter_context(GateService(self.settings))

    @property
    def database(self) -> Path:
        """The gate's SQLite file."""
        return Path(self.settings.database.removeprefix("sqlite:///"))

    def agent_key(self, agent: str = "agent", *, signed_approval: bool | None = None) -> str:
        """A new key for an agent, which is made if it is new."""
        return self.service.add_agent(agent, signed_approval=signed_approval).key

    def reviewer_token(self, name: str = "reviewer") -> str:
        """A new token for a reviewer."""
        return self.service.add_reviewer(name).token

    def gate(self, agent: str = "agent", **options: Any) -> Gate:
        """A connected `Gate` with a key of its own; closed with this gate.

        Args:
            agent: The agent's name.
            **options: Further arguments of `Gate`, such as `wait=`.
        """
        given = {"url": self.url, "state_dir": self._directory / "state", **options}
        if "api_key" not in given:
            given["api_key"] = self.agent_key(agent)
        return self._open.enter_context(Gate(agent, **given))

    def reviewer(self, name: str = "reviewer", *, patience: float = 120.0) -> Reviewer:
        """A reviewer with a token of their own; closed with this gate.

        Args:
            name: The reviewer's name.
            patience: Seconds that they wait for a request to come: enough for a framework that is slow to import.
        """
        return self._open.enter_context(Reviewer(self.url, self.reviewer_token(name), patience=patience))

    def stop(self) -> None:
        """Stop serving; the database stays, and clients find nobody."""
        self._embedded.stop()

    def start(self) -> None:
        """Serve again, on the same port."""
        self._embedded = EmbeddedGate(self.settings).start()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Close every `Gate` and `Reviewer` that was made here, then the gate."""
        try:
            self._open.close()
        finally:
            self._embedded.stop()

    def __enter__(self) -> RunningGate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def running_gate(
    directory: str | Path | None = None,
    *,
    clock: Clock | None = None,
    rules: Iterable[Mapping[str, Any]] = (),
    **settings: Any,
) -> Iterator[RunningGate]:
    """A real gate on a free port, with an empty database.

    Args:
        directory: Where its files go; a temporary directory, removed at the end, where it is `None`.
        clock: Tells the gate the time; `ManualClock` lets a test move days ahead.
        rules: Rules to begin with, with the fields that `stacksona rules add` has.
        **settings: Further fields of `ServerSettings`.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if directory is None else directory)
        place.mkdir(parents=True, exist_ok=True)
        chosen = ServerSettings(db_url=place / "gate.db", port=0, clock=clock or SystemClock(), **settings)
        gate = stack.enter_context(RunningGate(chosen, place))
        gate.service.load_rules(list(rules))
        yield gate
