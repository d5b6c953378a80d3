"""An agent that waits for reviewers, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ag2.events import BaseEvent, ToolCallsEvent, ToolResultEvent
from pydantic import BaseModel, ValidationError

from stacksona_adapters.errors import ConfigurationError


class PausedAgent(BaseModel):
    """A paused answer: the framework's own events, and the calls that wait. Give it to `AgentGate.resume`.

    Attributes:
        version: The version of this format.
        run_id: The run.
        agent: The agent's name.
        events: The events of the conversation.
        calls: The decisions that are open, by the framework's id of the call.
    """

    version: Literal[1] = 1
    run_id: str
    agent: str
    events: list[dict[str, Any]]
    calls: dict[str, str]

    @property
    def decision_ids(self) -> list[str]:
        """The decisions that are still open."""
        return list(self.calls.values())

    def to_json(self) -> str:
        """The pause as JSON text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> PausedAgent:
        """The pause from its JSON text.

        Raises:
            ConfigurationError: If it is none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "text"
            raise ConfigurationError(f"This is no paused agent ({where}: {first['msg']}).") from error

    def trajectory(self) -> tuple[list[BaseEvent], ToolCallsEvent, dict[str, ToolResultEvent]]:
        """What happened before the turn that waits, the calls of that turn, and the results that it has already.

        Raises:
            ConfigurationError: If an event is of a class that is not imported here, or there are no calls.
        """
        events = [_load(each) for each in self.events]
        places = [place for place, event in enumerate(events) if isinstance(event, ToolCallsEvent)]
        if not places:
            raise ConfigurationError("The pause holds no call that could be continued.")
        calls = events[places[-1]]
        assert isinstance(calls, ToolCallsEvent)  # noqa: S101 - so it was chosen
        results = [event for event in events[places[-1] + 1 :] if isinstance(event, ToolResultEvent)]
        done = {each.parent_id: each for each in results if each.parent_id not in self.calls}
        return events[: places[-1]], calls, done


def dumped(events: Iterable[BaseEvent]) -> list[dict[str, Any]]:
    """Events as JSON values.

    Raises:
        ConfigurationError: If one holds something that is not JSON.
    """
    found = [{"type": _name(type(event)), "data": event.to_dict()} for event in events]
    try:
        plain: list[dict[str, Any]] = json.loads(json.dumps(found))
    except TypeError as error:
        raise ConfigurationError(f"The conversation cannot be saved: {error}") from error
    return plain


def _load(event: dict[str, Any]) -> BaseEvent:
    # Only classes that are there already: what is imported is not for a file to say.
    known = {_name(each): each for each in _subclasses(BaseEvent)}
    kind = known.get(str(event.get("type")))
    if kind is None:
        raise ConfigurationError(f"The pause holds an event {event.get('type')!r:.100}; import its class before.")
    return kind.from_dict(event.get("data", {}))


def _subclasses(kind: type[BaseEvent]) -> Iterator[type[BaseEvent]]:
    for each in type.__subclasses__(kind):
        yield each
        yield from _subclasses(each)


def _name(kind: type[BaseEvent]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
