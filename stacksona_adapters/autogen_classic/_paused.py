"""A chat that waits for reviewers, as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from stacksona_adapters.errors import ConfigurationError


class ChatState(BaseModel):
    """What a paused chat is made of.

    Attributes:
        version: The version of this format.
        run_id: The run.
        messages: The executor's messages with the other agent; the last one has the calls.
        partner_messages: The other agent's messages with the executor.
        waiting: The decisions that are open, by the place of their call.
        done: The results that are there already, by the place of their call.
        decisions: The decisions of the calls that are done.
    """

    version: Literal[1] = 1
    run_id: str
    messages: list[dict[str, Any]]
    partner_messages: list[dict[str, Any]]
    waiting: dict[int, str]
    done: dict[int, str] = Field(default_factory=dict)
    decisions: list[str] = Field(default_factory=list)


class PausedChat(Exception):
    """A chat that waits for a reviewer. Raised out of `initiate_chat`; give it to `GatedExecutor.resume`.

    Attributes:
        state: What the chat is made of.
    """

    def __init__(self, state: ChatState) -> None:
        self.state = state
        super().__init__(f"The chat waits for a reviewer (decisions {', '.join(self.decision_ids)}). Resume it later.")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.state,))

    @property
    def decision_ids(self) -> list[str]:
        """The decisions that are still open."""
        return list(self.state.waiting.values())

    def to_json(self) -> str:
        """The pause as JSON text."""
        return self.state.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> PausedChat:
        """The pause from its JSON text.

        Raises:
            ConfigurationError: If it is none.
        """
        try:
            return cls(ChatState.model_validate_json(text))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "text"
            raise ConfigurationError(f"This is no paused chat ({where}: {first['msg']}).") from error
