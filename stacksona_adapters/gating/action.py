"""What an adapter hands over: the action, and everything that a reviewer needs to judge it."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.protocol.canonical import jsonable
from stacksona_adapters.protocol.requests import Risk
from stacksona_adapters.protocol.tasks import FrameworkOrigin


class Action(BaseModel):
    """One thing that an agent wants to do. Immutable, JSON-able, picklable.

    Attributes:
        name: The tool's name, for example `issue_refund`.
        arguments: What the tool will be called with. Turned into plain JSON values.
        agent: Stable name of the agent, crew, graph or workflow; the gate's `agent` where it is `None`.
        subject: The customer, ticket, repository or account touched.
        risk: The level; classified by the gate's risk policy where it is `None`.
        risk_reason: Why, in a few words.
        context: Small reviewable facts, as the framework knows them.
        summary: Lines for the reviewer.
        preview: A text for the reviewer, such as an e-mail's body.
        arguments_schema: The tool's JSON schema, against which the gate checks a reviewer's edit.
        revises: The id of the decision that asked for this changed proposal.
        expires_in: Seconds until the request expires; the gate's default where it is `None`.
        run_id: Names the run (thread, conversation, workflow) that the action belongs to. The same run asking
            with the same `call_id` and arguments finds its earlier request, in any process.
        run_label: A name for the run, for people; becomes the task's name.
        call_id: The framework's own id of this call within the run; a fresh one where it is `None`.
        idempotency_key: Replaces the key derived from run, call id and digest.
        attempt_id: Names who takes the permission. A durable engine that replays on purpose passes a stable one;
            everyone else leaves it alone, and a second process then cannot run the action again.
        take_at_once: Whether an allowed action is taken together with its answer, which saves a round trip. Off where
            something may come between the answer and the action, such as a pause for another call of the same turn.
        framework: The framework of the agent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    arguments: dict[str, Any] = Field(default_factory=dict)
    agent: str | None = Field(default=None, min_length=1, max_length=200)
    subject: str | None = None
    risk: Risk | None = None
    risk_reason: str | None = None
    context: dict[str, Any] = Field(default_factory=dict)
    summary: tuple[str, ...] = ()
    preview: str | None = None
    arguments_schema: dict[str, Any] | None = None
    revises: str | None = None
    expires_in: float | None = Field(default=None, gt=0)
    run_id: str | None = None
    run_label: str | None = None
    call_id: str | None = None
    idempotency_key: str | None = None
    attempt_id: str | None = None
    take_at_once: bool = True
    framework: FrameworkOrigin = FrameworkOrigin.CUSTOM_API

    @field_validator("arguments", mode="before")
    @classmethod
    def _plain_arguments(cls, value: Any) -> Any:
        plain = jsonable(value)
        if not isinstance(plain, dict):
            raise InvalidAction("The arguments of an action are a mapping of names to values; nothing ran.")
        return plain

    @field_validator("context", mode="before")
    @classmethod
    def _plain_context(cls, value: Any) -> Any:
        return jsonable(value, "context")

    @field_validator("subject", mode="before")
    @classmethod
    def _text_subject(cls, value: Any) -> Any:
        return value if value is None else str(value)

    def with_identity(self, agent: str, run_id: str) -> Action:
        """A copy whose agent, run and call id are filled in, so that it can be asked again later."""
        return self.model_copy(
            update={
                "agent": self.agent or agent,
                "run_id": self.run_id or run_id,
                "call_id": self.call_id or uuid.uuid4().hex,
            }
        )


def make_action(name: str, arguments: Any, **fields: Any) -> Action:
    """An `Action`, with every mistake in its fields as an `InvalidAction` that says which.

    Args:
        name: The tool's name.
        arguments: The tool's arguments.
        **fields: The other fields of `Action`.

    Raises:
        InvalidAction: If something does not fit; nothing has been sent.
    """
    try:
        return Action(name=name, arguments=arguments, **fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "action"
        raise InvalidAction(f"The action {name!r:.100} cannot be described ({where}: {first['msg']}).") from error
