"""Plays scenarios in AutoGen's classic API: chats of two, group chats, nested chats, the old function calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import autogen
from autogen import ConversableAgent, GroupChat, GroupChatManager

from stacksona_adapters.autogen_classic import GatedUserProxyAgent, PausedChat
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.testing.harness import GATED, GOODBYE, POLICY, UNGATED, Harness, Ran, Scenario

Turn = dict[str, Any] | str


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    """A call that a model makes."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def calling(*calls: dict[str, Any]) -> Turn:
    """A turn with calls."""
    return {"content": None, "tool_calls": list(calls)}


def scripted(name: str, *turns: Turn) -> ConversableAgent:
    """An agent that says what the script says; the turn is counted in the messages that it has said."""
    agent = ConversableAgent(name, llm_config=False, human_input_mode="NEVER", code_execution_config=False)

    def say(recipient: Any, messages: Any = None, sender: Any = None, config: Any = None) -> tuple[bool, Turn]:
        said = sum(bool(message.get("tool_calls") or message.get("function_call")) for message in messages or [])
        return True, turns[said]

    async def a_say(recipient: Any, messages: Any = None, sender: Any = None, config: Any = None) -> tuple[bool, Turn]:
        return say(recipient, messages)

    agent.register_reply([autogen.Agent, None], say, position=0)
    agent.register_reply([autogen.Agent, None], a_say, position=0, ignore_async_in_sync_chat=True)
    return agent


def executor(gate: Any, **options: Any) -> GatedUserProxyAgent:
    """The gated executor."""
    settings = {"human_input_mode": "NEVER", "code_execution_config": False, "default_auto_reply": ""}
    return GatedUserProxyAgent(
        "executor",
        gate=gate,
        is_termination_msg=lambda message: GOODBYE in str(message.get("content")),
        **{**settings, **options},
    )


def turns_of(scenario: Scenario) -> list[Turn]:
    """The scenario's turns as a model says them."""
    turns: list[Turn] = []
    for turn in scenario.turns:
        made = [call(each.call_id, each.tool, **each.arguments) for each in turn]
        old = scenario.path.startswith("function_call")
        turns.append({"content": None, "function_call": made[0]["function"]} if old else calling(*made))
    return [*turns, GOODBYE]


def told_by(messages: Any) -> dict[str, str]:
    """What the model was told, by call."""
    return {each["tool_call_id"]: each["content"] for message in messages for each in message.get("tool_responses", [])}


class ClassicHarness(Harness):
    """The first synchronous and the first asynchronous path go through all cases."""

    framework = FrameworkOrigin.AUTOGEN
    paths: ClassVar[Mapping[str, Literal["sync", "async"]]] = {
        "chat": "sync",
        "a_chat": "async",
        "async_tools": "sync",
        "a_async_tools": "async",
        "function_call": "sync",
        "function_call_async": "async",
        "group": "sync",
        "a_group": "async",
        "called": "sync",
    }
    context = ("agent", "participants", "transcript_summary")
    page = Path(__file__).parents[2] / "docs" / "autogen_classic.md"

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario in a synchronous chat."""
        with scenario.gate() as gate:
            assistant, tools = self._agents(scenario, gate)
            if scenario.path == "called":
                return self._called(scenario, tools)
            try:
                if paused is not None:
                    tools.resume(PausedChat.from_json(paused), assistant, silent=True)
                else:
                    partner = self._partner(scenario, assistant, tools)
                    tools.initiate_chat(partner, message="Refund A-1", silent=True, run_id=scenario.run_id)
            except PausedChat as waits:
                return Ran(paused=waits.to_json(), transcript=waits.to_json())
        return self._ran(tools)

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """Play a scenario in an asynchronous chat."""
        with scenario.gate() as gate:
            assistant, tools = self._agents(scenario, gate)
            try:
                if paused is not None:
                    await tools.a_resume(PausedChat.from_json(paused), assistant, silent=True)
                else:
                    partner = self._partner(scenario, assistant, tools)
                    await tools.a_initiate_chat(partner, message="Refund A-1", silent=True, run_id=scenario.run_id)
            except PausedChat as waits:
                return Ran(paused=waits.to_json(), transcript=waits.to_json())
        return self._ran(tools)

    def _ran(self, tools: GatedUserProxyAgent) -> Ran:
        (messages,) = tools.chat_messages.values()
        return Ran(
            told=told_by(messages),
            finished=messages[-1]["content"] == GOODBYE,
            transcript=json.dumps(messages),
        )

    def _agents(self, scenario: Scenario, gate: Any) -> tuple[ConversableAgent, GatedUserProxyAgent]:
        ledger = scenario.ledger

        async def issue_refund(order_id: str, amount: float) -> str:
            return ledger.issue_refund(order_id, amount)

        async def look_up(order_id: str) -> str:
            return ledger.look_up(order_id)

        tools = executor(gate, **POLICY)
        asynchronous = "async_tools" in scenario.path
        functions = [issue_refund, look_up] if asynchronous else [ledger.issue_refund, ledger.look_up]
        tools.register_function(dict(zip([GATED, UNGATED], functions, strict=True)))
        return scripted("assistant", *turns_of(scenario)), tools

    def _partner(self, scenario: Scenario, assistant: Any, tools: Any) -> ConversableAgent:
        if not scenario.path.endswith("group"):
            return assistant
        chat = GroupChat([tools, assistant], [], max_round=10, speaker_selection_method="round_robin")
        ended = lambda message: GOODBYE in str(message.get("content"))  # noqa: E731
        return GroupChatManager(chat, llm_config=False, is_termination_msg=ended)

    def _called(self, scenario: Scenario, tools: GatedUserProxyAgent) -> Ran:
        """A function that is executed by hand."""
        told = {}
        for proposed in (each for turn in scenario.turns for each in turn):
            function_call = call(proposed.call_id, proposed.tool, **proposed.arguments)["function"]
            told[proposed.call_id] = tools.execute_function(function_call)[1]["content"]
        return Ran(told=told, finished=True, transcript=json.dumps(told))
