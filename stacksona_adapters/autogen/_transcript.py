"""What a reviewer reads of a team: who takes part, and the last messages in short. No model is called."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from autogen_agentchat.base import ChatAgent, Team
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage
from autogen_core.models import AssistantMessage, FunctionExecutionResultMessage, LLMMessage

_MESSAGES = 8
_TEXT = 200
_ARGUMENTS = 120
_WHOLE = 1500


class _Remembers(Protocol):
    async def get_messages(self) -> list[LLMMessage]: ...


class Transcript:
    """The conversation of one team, as far as it was shown to us."""

    def __init__(self) -> None:
        self._contexts: dict[str, _Remembers | None] = {}
        self._spoke: dict[str, None] = {}
        self._lines: deque[str] = deque(maxlen=_MESSAGES)
        self.first: str | None = None

    def watch(self, agents: Iterable[ChatAgent | Team]) -> None:
        """Take part in what these agents remember; teams in a team count with their name."""
        for agent in agents:
            self._contexts[agent.name] = getattr(agent, "model_context", None)

    def heard(self, messages: Sequence[BaseAgentEvent | BaseChatMessage]) -> None:
        """Note chat messages as they pass."""
        for message in messages:
            if isinstance(message, BaseChatMessage):
                text = message.to_text()
                self.first = text if self.first is None else self.first
                self._lines.append(f"{message.source}: {text[:_TEXT]}")
                if message.source not in {"user", "stacksona"}:
                    self._spoke[message.source] = None

    @property
    def only(self) -> str | None:
        """The watched agent, where there is just one."""
        return next(iter(self._contexts)) if len(self._contexts) == 1 else None

    def participants(self, agent: str) -> list[str]:
        """The names of all that take part."""
        return list(dict.fromkeys([*self._contexts, *self._spoke, *([agent] if agent else [])]))

    async def summary(self, agent: str) -> str:
        """The last messages that an agent remembers, else the last that the team exchanged."""
        context = self._contexts.get(agent)
        lines: Iterable[str] = self._lines
        if context is not None:
            lines = [line for message in (await context.get_messages())[-_MESSAGES:] for line in _lines(message)]
        return "\n".join(lines)[-_WHOLE:]

    async def batch(self, agent: str) -> frozenset[str]:
        """The ids of the calls that an agent's model made last; empty where nobody knows."""
        context = self._contexts.get(agent)
        for message in reversed(await context.get_messages() if context is not None else []):
            if isinstance(message, AssistantMessage):
                content = message.content
                return frozenset() if isinstance(content, str) else frozenset(call.id for call in content)
        return frozenset()


def _lines(message: LLMMessage) -> list[str]:
    if isinstance(message, FunctionExecutionResultMessage):
        return [f"{result.name} => {result.content[:_ARGUMENTS]}" for result in message.content]
    if isinstance(message, AssistantMessage) and not isinstance(message.content, str):
        return [f"{message.source} -> {call.name}({call.arguments[:_ARGUMENTS]})" for call in message.content]
    return [f"{getattr(message, 'source', 'system')}: {_text(message.content)[:_TEXT]}"]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part if isinstance(part, str) else "[image]" for part in content)
