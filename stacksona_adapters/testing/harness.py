"""What an adapter's author writes to have the adapter tested: a `Harness` that plays a `Scenario` in the framework.

A scenario is plain data, so that the same one can be played in this process and in another; the tools that it lets
the agent call write what they did into a file (`Ledger`), which outlives a killed process.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.settings import Timeouts
from stacksona_adapters.protocol.tasks import FrameworkOrigin

AGENT = "refund-bot"
"""The name of the scenario's agent."""

GATED = "issue_refund"
"""The tool that is gated, `issue_refund(order_id: str, amount: float) -> str`: high risk, the order is its subject."""

UNGATED = "look_up"
"""The tool that is not: `look_up(order_id: str) -> str`."""

POLICY: dict[str, Any] = {"tools": [GATED], "risk": {GATED: "high"}, "subject": "order_id"}
"""`tools=`, `risk=` and `subject=` of the scenario's adapter."""

GOODBYE = "all done"
"""What the scripted model says when it has no turn left."""


class ProposedCall(BaseModel):
    """A tool call that the scripted model proposes.

    Attributes:
        call_id: The model's id of the call, where the framework lets a model give one.
        tool: `GATED` or `UNGATED`.
        arguments: As the model writes them.
    """

    model_config = ConfigDict(frozen=True)

    call_id: str
    tool: str = GATED
    arguments: dict[str, Any] = Field(default_factory=dict)


class Scenario(BaseModel):
    """One run of an agent, as data.

    Attributes:
        url: The gate's URL.
        api_key: The agent's key.
        directory: An empty directory for the ledger and for what the framework wants to keep; the same for the
            process that resumes.
        path: Which of the harness' paths to take.
        run_id: Names the run: the framework's thread, session or conversation id.
        turns: What the model proposes, turn by turn; after the last one it says `GOODBYE`. A resumed run goes on with
            the turn that its framework's own history says.
        wait: Seconds to wait in process; 0 pauses at once.
        patience: Seconds that a call to the gate may take, and seconds to deliver events at the end.
        die_in_tool: The gated tool kills its process right after it had its effect.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    api_key: str
    directory: Path
    path: str
    run_id: str
    turns: list[list[ProposedCall]]
    wait: float | None = 60.0
    patience: float = 30.0
    die_in_tool: bool = False

    @property
    def ledger(self) -> Ledger:
        """The tools' ledger."""
        return Ledger(self.directory / "ledger.jsonl", die=self.die_in_tool)

    def gate(self) -> OpenGate:
        """The agent's gate, for `with`; its end delivers the events."""
        return OpenGate(self)


class OpenGate:
    """A connected `Gate` for a `with` block."""

    def __init__(self, scenario: Scenario) -> None:
        self._patience = scenario.patience
        self._gate = Gate(
            AGENT,
            url=scenario.url,
            api_key=scenario.api_key,
            dialect="v1",
            wait=scenario.wait,
            timeouts=Timeouts(total=scenario.patience),
            state_dir=scenario.directory / "state",
        )

    def __enter__(self) -> Gate:
        return self._gate

    def __exit__(self, *_: object) -> None:
        self._gate.close(self._patience)


class Effect(BaseModel):
    """One thing that a tool really did.

    Attributes:
        tool: The tool's name.
        arguments: What it got.
        process: The process that ran it.
    """

    tool: str
    arguments: dict[str, Any]
    process: int


class Ledger:
    """The scenario's tools; every execution is a line of a file.

    Args:
        file: The file.
        die: Whether the gated tool kills its process after its effect.
    """

    def __init__(self, file: Path, *, die: bool = False) -> None:
        self._file = file
        self._die = die

    def issue_refund(self, order_id: str, amount: float) -> str:
        """Pay a refund."""
        self._write(GATED, {"order_id": order_id, "amount": amount})
        if self._die:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"refunded {amount} for {order_id}"

    def look_up(self, order_id: str) -> str:
        """Look an order up."""
        self._write(UNGATED, {"order_id": order_id})
        return f"{order_id} was delivered"

    @property
    def effects(self) -> list[Effect]:
        """All that was done, in order."""
        if not self._file.exists():
            return []
        return [Effect.model_validate_json(line) for line in self._file.read_text(encoding="utf-8").splitlines()]

    @property
    def refunds(self) -> list[dict[str, Any]]:
        """The arguments of every refund that was paid, in order."""
        return [effect.arguments for effect in self.effects if effect.tool == GATED]

    def _write(self, tool: str, arguments: dict[str, Any]) -> None:
        line = json.dumps({"tool": tool, "arguments": arguments, "process": os.getpid()})
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Ran(BaseModel):
    """How far a run came.

    Attributes:
        told: What the model was told as the result of each call, by call id.
        finished: Whether the model came to its last word.
        paused: The pause as JSON, where the run is suspended.
        transcript: The framework's own record of the run (messages, state), dumped as text.
        error: Name and text of the package's error that ended the run; filled in by the kit.
    """

    told: dict[str, str] = Field(default_factory=dict)
    finished: bool = False
    paused: str | None = None
    transcript: str = ""
    error: str | None = None


class Harness:
    """Plays scenarios in a framework, through the adapter under test. Subclass it; a new object needs no arguments.

    Write `run`, `arun` or both, each for the paths of its kind. Both build the agent anew from the scenario (gate,
    scripted model, the two tools of `scenario.ledger` with `POLICY`), run it, or resume it where `paused` is given,
    and say how far it came. The package's errors (`GateError` and so on) may simply be raised.

    Attributes:
        framework: What the requests say of the framework.
        paths: Every way in which the framework executes a tool, each `"sync"` or `"async"`. The first of each kind
            goes through all cases, the others through the first case.
        context: The keys that a request's context must have for this framework.
        limits: What the framework makes impossible, as `{"case": reason}` or `{"case[path]": reason}` (a case is a
            test's name without `test_`). Each reason must stand word by word in `page`.
        page: The adapter's page of documentation.
    """

    framework: ClassVar[FrameworkOrigin] = FrameworkOrigin.OTHER
    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {}
    context: ClassVar[Sequence[str]] = ()
    limits: ClassVar[Mapping[str, str]] = {}
    page: ClassVar[Path]

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario on a synchronous path, on a thread without an event loop.

        Args:
            scenario: What to play.
            paused: A pause to resume, `Ran.paused` of an earlier part, maybe of another process.
        """
        raise NotImplementedError(f"{type(self).__name__} has no synchronous path")

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario on an asynchronous path; a cancelled call cancels the run as a user would. See `run`."""
        raise NotImplementedError(f"{type(self).__name__} has no asynchronous path")

    def forged(self, paused: str) -> str:
        """The pause as somebody would change it to make the framework believe that all calls are approved.

        Args:
            paused: A pause.

        Returns:
            The changed pause; the same one where it holds nothing to believe.
        """
        return paused

    @property
    def faces(self) -> list[str]:
        """The paths that go through all cases: the first of each kind."""
        first: dict[str, str] = {}
        for path, kind in self.paths.items():
            first.setdefault(kind, path)
        return list(first.values())
