"""A team that waits for reviewers, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from stacksona_adapters.autogen._calls import Kind
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.gating.action import Action


class PausedCall(BaseModel):
    """One call that waits, or that was settled while another one still waits.

    Attributes:
        kind: What it is.
        agent: The agent that wants it.
        call_id: The framework's id of the call.
        action: The action as the gate was asked; asking for it again finds the decision.
        decision_id: The decision.
        text: The result as the model will read it; `None` while it waits.
        error: Whether that result is an error.
        status: The decision's status when it was settled.
        arguments: The arguments that ran, where it ran.
    """

    kind: Kind
    agent: str
    call_id: str
    action: Action
    decision_id: str
    text: str | None = None
    error: bool = False
    status: str = "pending_review"
    arguments: dict[str, Any] | None = None

    @property
    def fingerprint(self) -> tuple[str, str, str]:
        """The same for the same call by the same agent, whatever its id."""
        return fingerprint(self.agent, self.action)


class PausedTeam(BaseModel):
    """A paused run: the framework's own state of the team and the calls that wait. Give it to `TeamGate.resume`.

    Attributes:
        version: The version of this format.
        team_id: Your own name of the team.
        run_id: The run.
        state: What `team.save_state()` gave.
        calls: The calls that wait.
        begun: How often each call was begun in this run, so that repeated ids stay apart.
        revises: By agent and tool, the decisions whose next proposals are revisions.
        task: What the team was asked first.
    """

    version: Literal[1] = 1
    team_id: str
    run_id: str
    state: dict[str, Any]
    calls: list[PausedCall]
    begun: dict[str, int] = Field(default_factory=dict)
    revises: dict[str, list[str]] = Field(default_factory=dict)
    task: str | None = None

    @property
    def decision_ids(self) -> list[str]:
        """The decisions that are still open."""
        return [call.decision_id for call in self.calls if call.text is None]

    def to_json(self) -> str:
        """The pause as JSON text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> PausedTeam:
        """The pause from its JSON text.

        Raises:
            ConfigurationError: If it is none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "text"
            raise ConfigurationError(f"This is no paused team ({where}: {first['msg']}).") from error


def fingerprint(agent: str, action: Action) -> tuple[str, str, str]:
    """The same for the same call by the same agent, whatever its id."""
    return agent, action.name, json.dumps(action.arguments, sort_keys=True)


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A team's saved state as JSON values; autogen-agentchat before 0.7.0 leaves datetimes in it."""
    value: dict[str, Any] = json.loads(json.dumps(state, default=_moment))
    return value


def _moment(value: Any) -> str:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    raise TypeError(f"The team's state holds a {type(value).__name__}, which is not JSON.")
