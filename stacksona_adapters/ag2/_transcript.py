"""What a reviewer reads of an agent's conversation, and what the model was told before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ag2.events import (
    BaseEvent,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResultEvent,
    ToolResultsEvent,
)

from stacksona_adapters.gating.revision import revised_by

_EVENTS = 8
_TEXT = 200
_ARGUMENTS = 120
_WHOLE = 1500


def summary(events: Sequence[BaseEvent]) -> str:
    """The last things that were said and done, in short."""
    lines = [line for event in events for line in _lines(event)]
    return "\n".join(lines[-_EVENTS:])[-_WHOLE:]


def task(events: Sequence[BaseEvent]) -> str:
    """What the agent was asked first."""
    first = next((event for event in events if isinstance(event, ModelRequest)), None)
    return _parts(first.parts)[:_TEXT] if first is not None else ""


def revises(call: ToolCallEvent, events: Sequence[BaseEvent]) -> str | None:
    """The decision that a call revises, read from the results of the turn before."""
    batches = [event for event in events if isinstance(event, ToolCallsEvent)]
    told = [event for event in events if isinstance(event, ToolResultsEvent)]
    if not batches or not told:
        return None
    ids = [each.id for each in batches[-1].calls if each.name == call.name]
    results = [_parts(each.result.parts) for each in told[-1].results if each.name == call.name]
    return revised_by(call.id, ids, results)


def _lines(event: BaseEvent) -> list[str]:
    if isinstance(event, ModelRequest):
        return [f"user: {_parts(event.parts)[:_TEXT]}"]
    if isinstance(event, ModelResponse) and event.message is not None:
        return [f"agent: {str(event.content)[:_TEXT]}"]
    if isinstance(event, ToolCallsEvent):
        return [f"agent -> {call.name}({call.arguments[:_ARGUMENTS]})" for call in event.calls]
    if isinstance(event, ToolResultEvent):
        return [f"{event.name} => {_parts(event.result.parts)[:_ARGUMENTS]}"]
    return []


def _parts(parts: Sequence[Any]) -> str:
    return " ".join(part.content if isinstance(part, TextInput) else f"[{type(part).__name__}]" for part in parts)
