"""The calls of one message: read from it, described for the gate, and their results put together."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note
from stacksona_adapters.gating.revision import revised_by

DECISIONS = "stacksona_decision_ids"
"""The key of a tool message's `context` under which the ids of its decisions stand."""

Message = dict[str, Any]

_MESSAGES = 8
_TEXT = 200
_WHOLE = 1500


class Arguments:
    """Reads the arguments of one function.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._model = _model(inspect.unwrap(function))
        self.schema = self._model.model_json_schema()

    def read(self, arguments: Any) -> dict[str, Any]:
        """The arguments as the function gets them, defaults included.

        Raises:
            ValueError: If they do not fit.
        """
        return self._model.model_validate(arguments).model_dump(mode="json", by_alias=True)


def _model(function: Callable[..., Any]) -> type[BaseModel]:
    parameters = inspect.signature(function).parameters
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # a name that is only there for type checkers
        hints = {}
    fields: dict[str, Any] = {}
    more = False
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            more = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    settings = ConfigDict(extra="allow" if more else "forbid", arbitrary_types_allowed=True)
    return create_model("Arguments", __config__=settings, **fields)


def parsed(function_call: Message) -> dict[str, Any]:
    """The arguments as the model wrote them.

    Raises:
        ValueError: If they are no JSON object.
    """
    arguments = json.loads(function_call.get("arguments") or "{}", strict=False)
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are no JSON object")
    return arguments


@dataclass
class Proposed:
    """A call of the last message.

    Attributes:
        place: Its place in the message.
        call_id: The model's id of the call, where it gave one.
        function_call: Name and arguments as the model wrote them.
        action: How the gate is asked; `None` for a call that is not gated.
        text: The result; `None` as long as there is none.
        waiting: The decision that it waits for.
        decision_id: The decision, where there is one.
        succeeded: Whether it ran and did not fail.
    """

    place: int
    call_id: str | None
    function_call: Message
    action: Action | None = None
    text: str | None = None
    waiting: str | None = None
    decision_id: str | None = None
    succeeded: bool = False

    @property
    def name(self) -> str:
        """The function's name."""
        return str(self.function_call.get("name", ""))

    def ran(self, text: str, approval: Approval) -> None:
        """Note a result, with what the model is told of a reviewer's edit."""
        note = edit_note(approval)
        self.text = f"{text}\n\n{note}" if note else text
        self.decision_id = approval.decision.id

    def running(self, arguments: dict[str, Any]) -> Message:
        """The call with the approved arguments."""
        return {**self.function_call, "arguments": json.dumps(arguments)}

    @property
    def response(self) -> Message:
        """The result as the framework writes it; some models give their calls no id."""
        response: Message = {"role": "tool", "content": self.text or ""}
        return response if self.call_id is None else {"tool_call_id": self.call_id, **response}


def proposed(messages: Sequence[Message]) -> list[Proposed]:
    """The calls of the last message."""
    calls = (messages[-1].get("tool_calls") or []) if messages else []
    return [Proposed(place, call.get("id"), call.get("function", {})) for place, call in enumerate(calls)]


def reply(calls: Sequence[Proposed]) -> Message:
    """The message with the results of all calls."""
    message: Message = {
        "role": "tool",
        "tool_responses": [call.response for call in calls],
        "content": "\n\n".join(call.text or "" for call in calls),
    }
    ids = [call.decision_id for call in calls if call.decision_id is not None]
    return {**message, "context": {DECISIONS: ids}} if ids else message


def occurrence(messages: Sequence[Message], call: Proposed, arguments: dict[str, Any]) -> int:
    """How often this very call was made up to here; a process that runs the chat again counts the same way."""
    made = [each for message in messages[:-1] for each in message.get("tool_calls") or []]
    made += (messages[-1].get("tool_calls") or [])[: call.place]
    return 1 + sum(_same(each.get("function", {}), call, arguments) for each in made)


def _same(function_call: Message, call: Proposed, arguments: dict[str, Any]) -> bool:
    if function_call.get("name") != call.name:
        return False
    try:
        return parsed(function_call) == arguments
    except ValueError:
        return False


def revises(messages: Sequence[Message], call: Proposed) -> str | None:
    """The decision that a call revises, read from the results that the model got last."""
    results = (message["tool_responses"] for message in reversed(messages) if message.get("tool_responses"))
    told: list[Message] = next(results, [])
    calls = [each.place for each in proposed(messages) if each.name == call.name]
    return revised_by(call.place, calls, [each.get("content") for each in told])


def summary(messages: Sequence[Message]) -> str:
    """The last messages in short."""
    return "\n".join(_line(message) for message in messages[-_MESSAGES:])[-_WHOLE:]


def _line(message: Message) -> str:
    who = message.get("name") or message.get("role")
    made = [each.get("function", {}) for each in message.get("tool_calls") or []]
    if made:
        return f"{who} -> " + ", ".join(f"{each.get('name')}({str(each.get('arguments'))[:120]})" for each in made)
    return f"{who}: {str(message.get('content'))[:_TEXT]}"
