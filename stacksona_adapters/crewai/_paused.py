"""A crew that waits for reviewers, as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stacksona_adapters.errors import ConfigurationError


class PausedCall(BaseModel):
    """A call that waits for a reviewer.

    Attributes:
        decision_id: The decision to come.
        action: The tool's name.
        role: The role of the agent that made it.
    """

    model_config = ConfigDict(frozen=True)

    decision_id: str
    action: str
    role: str | None = None


class PausedCrew(BaseModel):
    """A run of a crew that waits for reviewers. Keep `to_json()`; any process can resume it.

    It grants nothing: a resumed run asks the gate again.

    Attributes:
        run_id: Names the run.
        crew: The crew's key, by which a resumed crew is recognised.
        inputs: The inputs of the kickoff.
        waiting: The calls that wait.
        results: What the model was told of the gated calls that ran already, by call; the resumed run tells it again.
        attempts: Who took the permissions of calls that were open at the pause: delegations, which go on inside.
        error: What CrewAI raised while a call waited on a thread that could not be stopped.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    crew: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    waiting: list[PausedCall]
    results: dict[str, str] = Field(default_factory=dict)
    attempts: dict[str, str] = Field(default_factory=dict)
    error: str | None = None

    def to_json(self) -> str:
        """The pause as a JSON text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> PausedCrew:
        """The pause from its JSON text.

        Raises:
            ConfigurationError: If it is not one.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigurationError(f"This is no paused crew: {error.error_count()} fields do not fit.") from error
