"""Scripted models for LlamaIndex: no network, the same on every supported version, stateless over a restart."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field

from stacksona_adapters.testing.harness import GOODBYE

Turn = Sequence[tuple[str, str, dict[str, Any]]]
"""The calls of a turn: id, tool, arguments."""


class ScriptedModel(FunctionCallingLLM):
    """Proposes turn after turn; the number of assistant messages so far says which one it is."""

    turns: list[list[tuple[str, str, dict[str, Any]]]] = Field(default_factory=list)
    goodbye: str = GOODBYE
    seen: list[list[str]] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        """A chat model that calls functions."""
        return LLMMetadata(is_function_calling_model=True, is_chat_model=True)

    def _reply(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        self.seen.append([f"{message.role.value}: {message.content}" for message in messages])
        turn = sum(message.role.value == "assistant" for message in messages)
        calls = self.turns[turn] if turn < len(self.turns) else []
        text = "" if calls else self.goodbye
        proposed = [{"id": call_id, "name": tool, "args": arguments} for call_id, tool, arguments in calls]
        message = ChatMessage(role="assistant", content=text, additional_kwargs={"tool_calls": proposed})
        return ChatResponse(message=message, delta=text)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = False, **_: Any
    ) -> list[ToolSelection]:
        """The calls of a reply."""
        calls = response.message.additional_kwargs.get("tool_calls") or []
        return [ToolSelection(tool_id=call["id"], tool_name=call["name"], tool_kwargs=call["args"]) for call in calls]

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: list[ChatMessage] | None = None, **_: Any
    ) -> dict[str, Any]:
        said = [ChatMessage(role="user", content=str(user_msg))] if user_msg else []
        return {"messages": [*(chat_history or []), *said]}

    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        """The next turn."""
        return self._reply(messages)

    async def achat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        """The next turn."""
        return self._reply(messages)

    def stream_chat(self, messages: Sequence[ChatMessage], **_: Any) -> Generator[ChatResponse, None, None]:
        """The next turn at once."""
        yield self._reply(messages)

    async def astream_chat(self, messages: Sequence[ChatMessage], **_: Any) -> AsyncGenerator[ChatResponse, None]:
        """The next turn at once."""

        async def reply() -> AsyncGenerator[ChatResponse, None]:
            yield self._reply(messages)

        return reply()

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        """The last word."""
        return CompletionResponse(text=self.goodbye)

    async def acomplete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        """The last word."""
        return CompletionResponse(text=self.goodbye)

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        """The last word."""
        yield self.complete(prompt)

    async def astream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        """The last word."""

        async def reply() -> AsyncGenerator[CompletionResponse, None]:
            yield self.complete(prompt)

        return reply()


class TextModel(ScriptedModel):
    """Writes prepared texts; how many messages with the `mark` the conversation has says which one."""

    texts: list[str] = Field(default_factory=list)
    mark: str = "Observation:"

    @property
    def metadata(self) -> LLMMetadata:
        """A chat model that writes text."""
        return LLMMetadata(is_function_calling_model=False, is_chat_model=True)

    def _reply(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        self.seen.append([f"{message.role.value}: {message.content}" for message in messages])
        said = sum((message.content or "").startswith(self.mark) for message in messages)
        text = self.texts[min(said, len(self.texts) - 1)]
        return ChatResponse(message=ChatMessage(role="assistant", content=text), delta=text)


def react_texts(turns: Sequence[Turn]) -> list[str]:
    """Turns of one call each, as a ReAct model writes them."""
    calls = [turn[0] for turn in turns]
    proposals = [f"Thought: I call it.\nAction: {tool}\nAction Input: {json.dumps(args)}" for _, tool, args in calls]
    return [*proposals, f"Thought: I can answer.\nAnswer: {GOODBYE}"]
