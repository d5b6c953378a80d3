"""Where a call stands in a conversation: which run it belongs to, what it answers, and what a reviewer needs of it.

All of it is read from the message history, so that a resumed run finds the same facts as the run that paused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.tools import DeferredToolRequests, RunContext

from stacksona_adapters.gating.revision import revised_by

LONGEST_PROMPT = 500
"""Characters of the user's prompt that a reviewer sees."""

NESTED = "nested"
"""The call id of a call that no model response has, such as one made by code that runs in a sandbox. Its own ids may be
new each time that the code runs, so that only its arguments tell it apart."""


# The two kinds of retries are of pydantic-ai before and from 2.60 on.
_ANSWERS = {"tool-return", "retry-prompt", "retry-feedback"}


@dataclass(frozen=True)
class Place:
    """Where a call stands.

    Attributes:
        run_id: The run that the call belongs to: the one that a resumed run continues.
        call_id: The call's id, unique in the run.
        nested: Whether no model response has the call.
        revises: The earlier decision that the call revises.
        context: What a reviewer needs of the run.
    """

    run_id: str
    call_id: str
    nested: bool
    revises: str | None
    context: dict[str, Any]


def place_of(ctx: RunContext[Any], call_id: str, tool: str) -> Place:
    """Where a call stands.

    Args:
        ctx: The run's context.
        call_id: The framework's id of the call.
        tool: The tool's name.
    """
    messages = history(ctx)
    found = _find(messages, call_id)
    until = len(messages) if found is None else found + 1
    run_id = origin(messages[:until], own_run(ctx))
    nested = found is None and bool(messages)
    revises = None
    if found is not None:
        calls = [call.tool_call_id for call in _calls(messages[found]) if call.tool_name == tool]
        revises = revised_by(call_id, calls, last_results(messages[:found], tool))
    source = messages[found].run_id if found is not None else None
    whole_id = call_id if source in (None, run_id) else f"{source}:{call_id}"
    return Place(run_id, NESTED if nested else whole_id, nested, revises, context_of(ctx, messages[:until], run_id))


def history(ctx: RunContext[Any]) -> Sequence[ModelMessage]:
    """The messages so far; empty in a durable engine's activity, which has none."""
    try:
        return ctx.messages
    except UserError:
        return ()


def origin(messages: Sequence[ModelMessage], run_id: str) -> str:
    """The run of the newest message, where a run that began with answers to earlier calls continues the one before."""
    for message in reversed(messages):
        if message.run_id is None:
            continue
        run_id = message.run_id
        first = next(each for each in messages if each.run_id == run_id)
        if not _continues(first):
            break
    return run_id


def own_run(ctx: RunContext[Any]) -> str:
    """The id of the present run."""
    return ctx.run_id or ctx.conversation_id or ""


def _continues(first: ModelMessage) -> bool:
    return isinstance(first, ModelRequest) and first.parts[0].part_kind in _ANSWERS


def context_of(ctx: RunContext[Any], messages: Sequence[ModelMessage], run_id: str) -> dict[str, Any]:
    """What a reviewer needs of the run, small enough to read in half a minute."""
    agent = ctx.agent
    facts = {
        "agent": agent.name if agent is not None else None,
        "run_id": run_id,
        "conversation_id": ctx.conversation_id,
        "step": sum(isinstance(message, ModelResponse) for message in messages),
        "output_type": " | ".join(type_names(agent.output_type)) if agent is not None else None,
        "prompt": prompt_of(messages),
    }
    return {name: value for name, value in facts.items() if value is not None}


def prompt_of(messages: Sequence[ModelMessage]) -> str | None:
    """The newest words of the user, shortened."""
    for message in reversed(messages):
        for part in reversed(message.parts):
            if isinstance(part, UserPromptPart):
                said = part.content if isinstance(part.content, str) else " ".join(_texts(part.content))
                return said if len(said) <= LONGEST_PROMPT else said[:LONGEST_PROMPT] + " ..."
    return None


def type_names(output_type: Any) -> list[str]:
    """The names of an output type's alternatives, without the pause."""
    kept = (each for each in alternatives(output_type) if each is not DeferredToolRequests)
    return [getattr(each, "__name__", str(each)) for each in kept]


def can_pause(ctx: RunContext[Any]) -> bool:
    """Whether the agent's output type says that its runs may pause."""
    return ctx.agent is not None and DeferredToolRequests in alternatives(ctx.agent.output_type)


def can_defer(ctx: RunContext[Any]) -> bool:
    """Whether the framework can still put a call off.

    It drops deferred calls silently once the same response has a final result, or a stream has shown one.
    """
    messages = history(ctx)
    if not messages:
        return True  # a durable engine's activity, which has no messages
    manager = ctx.tool_manager
    kinds = [manager.get_tool_def(call.tool_name) for call in _calls(messages[-1])] if manager is not None else []
    final = any(each is not None and each.kind == "output" for each in kinds)
    return isinstance(messages[-1], ModelResponse) and not final


def alternatives(output_type: Any) -> list[Any]:
    """The alternatives of an output type: of a list, of a union, or the one."""
    if isinstance(output_type, (list, tuple)):
        return [each for one in output_type for each in alternatives(one)]
    inner = getattr(output_type, "outputs", None) or getattr(output_type, "output", None)
    if inner is not None and not isinstance(output_type, type):
        return alternatives(inner)
    is_union = not isinstance(output_type, type) and get_args(output_type) and not hasattr(output_type, "__name__")
    return [each for one in get_args(output_type) for each in alternatives(one)] if is_union else [output_type]


def _find(messages: Sequence[ModelMessage], call_id: str) -> int | None:
    places = [n for n, message in enumerate(messages) if any(c.tool_call_id == call_id for c in _calls(message))]
    return places[-1] if places else None


def _calls(message: ModelMessage) -> list[ToolCallPart]:
    if not isinstance(message, ModelResponse):
        return []
    return [part for part in message.parts if isinstance(part, ToolCallPart)]


def last_results(messages: Sequence[ModelMessage], tool: str | None) -> list[Any]:
    """What the model was told last as results of a tool, in order (`None`: as an answer to its text)."""
    for message in reversed(messages):
        answers = (part for part in message.parts if part.part_kind in _ANSWERS)
        if found := [getattr(part, "content", None) for part in answers if getattr(part, "tool_name", None) == tool]:
            return found
    return []


def _texts(content: Iterable[Any]) -> Iterator[str]:
    for part in content:
        yield part if isinstance(part, str) else f"[{type(part).__name__}]"
