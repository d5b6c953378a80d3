"""One call of a team as the gate sees it: what is wanted, by whom, and how it is run when it may."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from autogen_core import CancellationToken, MessageHandlerContext

from stacksona_adapters.errors import ActionCancelled, StacksonaError
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.prepare import Validate
from stacksona_adapters.gating.refusal import Refusal, edit_note, refusal


class Kind(str, Enum):
    """What a call is, which says how its result reaches the team."""

    TOOL = "tool"
    CODE = "code"
    HANDOFF = "handoff"


class NotExecuted(Exception):
    """A call that did not run. Its text is the refusal that the model reads.

    Attributes:
        refusal: Why, with the decision's id.
    """

    def __init__(self, refused: Refusal) -> None:
        super().__init__(refused.as_text())
        self.refusal = refused

    @property
    def paused(self) -> bool:
        """Whether it only waits for a reviewer."""
        return self.refusal.status == "pending_review"


class CallFailed(Exception):
    """A call that ran with a reviewer's edit and failed; its text says both."""


class Interrupted(Exception):
    """A call that was cut off while it ran; whether it had its effect is unknown."""


@dataclass(frozen=True)
class Ran:
    """A call that ran.

    Attributes:
        value: What it returned.
        approval: What permitted it; `None` for a call that is not gated.
    """

    value: Any
    approval: Approval | None = None

    @property
    def note(self) -> str | None:
        """What the model is told of a reviewer's edit."""
        return edit_note(self.approval) if self.approval is not None else None

    @property
    def decision_id(self) -> str | None:
        """The decision that permitted it."""
        return self.approval.decision.id if self.approval is not None else None


def _never_a_failure(_: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Call:
    """A call that an agent wants.

    Attributes:
        kind: What it is.
        tool: The action's name.
        arguments: The validated arguments, as `run` will get them.
        call_id: The framework's id of the call; empty where it has none.
        run: Runs it with the arguments that were approved.
        validate: Checks a reviewer's edit with the tool's own schema.
        schema: The JSON schema of the arguments.
        agent: The agent that wants it; found out where it is `None`.
        preview: A text for the reviewer.
        token: Cancels it.
        failure: Says of a result why it is a failure; `None` where it is none.
        own: Subject and context of a call that the user's own executor makes, which pauses by itself.
    """

    kind: Kind
    tool: str
    arguments: dict[str, Any]
    call_id: str
    run: Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]
    validate: Validate
    schema: dict[str, Any] | None = None
    agent: str | None = None
    preview: str | None = None
    token: CancellationToken = field(default_factory=CancellationToken)
    failure: Callable[[Any], str | None] = _never_a_failure
    own: tuple[str, dict[str, Any]] | None = None


class Executor(ABC):
    """What can run calls again after a pause: a gated tool, workbench or code executor.

    Attributes:
        agent: The agent that it was made for; `None` for any.
    """

    agent: str | None = None

    @abstractmethod
    async def offers(self, tool: str) -> bool:
        """Whether it runs a tool of this name."""

    @abstractmethod
    async def call(self, tool: str, arguments: dict[str, Any], call_id: str, token: CancellationToken) -> Call:
        """The call of a tool that it offers."""

    @abstractmethod
    def shown(self, value: Any) -> tuple[str, bool]:
        """A result as the model reads it, and whether it is an error."""


def speaker() -> str | None:
    """The name of the agent whose turn it is; `None` for an agent that runs outside of a team."""
    try:
        agent = MessageHandlerContext.agent_id()
    except RuntimeError:
        return None
    return agent.type.removesuffix(f"_{agent.key}")


def refused(tool: str, error: StacksonaError) -> NotExecuted:
    """What a call's end at the gate becomes in the team."""
    return NotExecuted(refusal(tool, error))


def cancelled(tool: str) -> NotExecuted:
    """The refusal of a call whose run was cancelled before it began."""
    return refused(tool, ActionCancelled(tool, None, "the run was cancelled"))


def with_note(text: str, note: str | None) -> str:
    """A result with what the model is told of a reviewer's edit."""
    return f"{text}\n\n{note}" if note else text
