"""Scripted models for AutoGen: what they say depends on what they are shown, so that a resumed team goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    LLMMessage,
    ModelFamily,
    ModelInfo,
    RequestUsage,
)

Turn = str | list[FunctionCall]
Says = Callable[[Sequence[LLMMessage]], Turn]


def call(call_id: str, tool: str, **arguments: Any) -> FunctionCall:
    """A call that a model makes."""
    return FunctionCall(id=call_id, name=tool, arguments=json.dumps(arguments))


class ScriptedModel(ChatCompletionClient):
    """Says what a script says.

    Args:
        *turns: What it says, turn by turn; the turn is counted in the messages that it is shown. Or one function.
    """

    component_type = "model"

    def __init__(self, *turns: Turn | Says) -> None:
        self._turns = turns
        self.shown: list[Sequence[LLMMessage]] = []

    async def create(self, messages: Sequence[LLMMessage], **_: Any) -> CreateResult:
        """The next turn."""
        self.shown.append(list(messages))
        said = self._next(messages)
        reason = "stop" if isinstance(said, str) else "function_calls"
        usage = RequestUsage(prompt_tokens=1, completion_tokens=1)
        return CreateResult(finish_reason=reason, content=said, usage=usage, cached=False)

    def _next(self, messages: Sequence[LLMMessage]) -> Turn:
        first = self._turns[0]
        if callable(first):
            return first(messages)
        turn = self._turns[sum(isinstance(message, AssistantMessage) for message in messages)]
        assert not callable(turn)
        return turn

    def create_stream(self, messages: Sequence[LLMMessage], **_: Any) -> AsyncGenerator[str | CreateResult, None]:
        """The next turn, in one piece."""

        async def stream() -> AsyncGenerator[str | CreateResult, None]:
            yield await self.create(messages)

        return stream()

    async def close(self) -> None:
        """Nothing to close."""

    def actual_usage(self) -> RequestUsage:
        """Nothing."""
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    total_usage = actual_usage

    def count_tokens(self, messages: Sequence[LLMMessage], **_: Any) -> int:
        """Few."""
        return len(messages)

    def remaining_tokens(self, messages: Sequence[LLMMessage], **_: Any) -> int:
        """Many."""
        return 10_000 - len(messages)

    @property
    def model_info(self) -> ModelInfo:
        """A model that can do everything."""
        return ModelInfo(
            vision=False, function_calling=True, json_output=True, family=ModelFamily.UNKNOWN, structured_output=True
        )

    @property
    def capabilities(self) -> Any:
        """As `model_info`."""
        return self.model_info
