"""Going on after a pause: every call that waited is put to the gate again, and the team hears how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from autogen_agentchat.base import ChatAgent, Team
from autogen_agentchat.messages import BaseChatMessage, TextMessage, ToolCallSummaryMessage
from autogen_agentchat.teams import MagenticOneGroupChat
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import FunctionExecutionResult

from stacksona_adapters.autogen._calls import Call, Executor, Kind, NotExecuted, with_note
from stacksona_adapters.autogen._paused import PausedCall
from stacksona_adapters.autogen._performer import Performer
from stacksona_adapters.autogen._review import Review, handoff, handoff_call
from stacksona_adapters.autogen._termination import DECISIONS, SOURCE
from stacksona_adapters.errors import ConfigurationError, GateError

STATUSES = "stacksona_statuses"
"""The key of a message's metadata under which the statuses of its decisions stand, in the same order."""


class Resumption:
    """Settles the calls of a pause.

    Args:
        performer: Performs the team's calls.
        review: Reviews the team's turns.
        executors: What can run calls.
    """

    def __init__(self, performer: Performer, review: Review, executors: Sequence[Executor]) -> None:
        self._performer = performer
        self._review = review
        self._executors = executors

    async def settle(self, team: Team | ChatAgent, token: CancellationToken) -> list[BaseChatMessage] | None:
        """Ask again about all that waits and run what may run, all at once.

        Returns:
            What the team is to hear; `None` while something still waits.

        Raises:
            ConfigurationError: If there is nothing to run a call with; nothing ran.
            GateError: If the gate cannot be asked and nothing ran.
        """
        waiting = [paused for paused in self._performer.run.calls.values() if paused.text is None]
        calls = [await self._call(paused, token) for paused in waiting]
        lost = await asyncio.gather(*map(self._settle, calls, waiting))
        errors = [error for error in lost if error is not None]
        if any(paused.text is None for paused in self._performer.run.calls.values()):
            if errors and all(paused.text is None for paused in waiting):
                raise errors[0]
            return None
        settled = list(self._performer.run.calls.values())
        self._performer.run.calls = {}
        return [*self._again(team), *_messages(settled)]

    async def executor(self, tool: str, agent: str | None) -> Executor:
        """What runs a tool for an agent.

        Raises:
            ConfigurationError: If there is nothing, or more than one.
        """
        offering = [each for each in self._executors if await each.offers(tool)]
        found = [each for each in offering if each.agent == agent] if agent else []
        found = found or [each for each in offering if each.agent is None or agent is None]
        if not found:
            raise ConfigurationError(f"No tool {tool!r} was gated here; build the team as before and go on then.")
        if len(found) > 1 and len({id(getattr(each, "inner", each)) for each in found}) > 1:
            raise ConfigurationError(f"Several tools are named {tool!r}; say whose they are with agent=.")
        return found[0]

    async def _call(self, paused: PausedCall, token: CancellationToken) -> Call:
        arguments = dict(paused.action.arguments)
        if paused.kind is Kind.HANDOFF:
            return handoff_call(arguments["target"], arguments["message"], paused.agent, token)
        executor = await self.executor(paused.action.name, paused.agent)
        return await executor.call(paused.action.name, arguments, paused.call_id, token)

    async def _settle(self, call: Call, paused: PausedCall) -> GateError | None:
        try:
            ran = await self._performer.perform_again(call, paused)
        except NotExecuted as stopped:
            if isinstance(stopped.__cause__, GateError):
                return stopped.__cause__
            if not stopped.paused:
                _write(paused, str(stopped), stopped.refusal.status, error=True)
            return None
        except Exception as error:  # noqa: BLE001 - becomes the result
            _write(paused, str(error) or type(error).__name__, "approved", error=True)
            return None
        paused.arguments = ran.approval.arguments if ran.approval is not None else call.arguments
        text, failed = await self._shown(paused, ran.value)
        status = str(ran.approval.decision.status) if ran.approval is not None else "allow"
        _write(paused, with_note(text, ran.note), status, error=failed)
        return None

    async def _shown(self, paused: PausedCall, value: Any) -> tuple[str, bool]:
        if paused.kind is Kind.HANDOFF:
            return str(value["message"]), False
        return (await self.executor(paused.action.name, paused.agent)).shown(value)

    def _again(self, team: Team | ChatAgent) -> list[BaseChatMessage]:
        """What MagenticOne was asked first: it takes the messages that it goes on with for its whole task."""
        task = self._performer.transcript.first
        if not isinstance(team, MagenticOneGroupChat) or task is None:
            return []
        return [TextMessage(content=task, source="user")]


def _write(paused: PausedCall, text: str, status: str, *, error: bool) -> None:
    paused.text, paused.status, paused.error = text, status, error


def _messages(settled: Iterable[PausedCall]) -> list[BaseChatMessage]:
    tools: dict[str, list[PausedCall]] = {}
    messages: list[BaseChatMessage] = []
    last: list[BaseChatMessage] = []
    for paused in settled:
        if paused.kind is Kind.TOOL:
            tools.setdefault(paused.agent, []).append(paused)
        elif paused.kind is Kind.CODE:
            source, text = paused.agent or SOURCE, paused.text or ""
            messages.append(TextMessage(source=source, content=text, metadata=_facts([paused])))
        else:
            last.append(_handoff(paused))
    return [*(_summary(agent, calls) for agent, calls in tools.items()), *messages, *last]


def _handoff(paused: PausedCall) -> BaseChatMessage:
    """A handoff that was waited for: on to its target, or back to the agent that wanted it."""
    target = paused.agent if paused.arguments is None else str(paused.arguments["target"])
    return handoff(target, paused.text or "", paused.decision_id)


def _summary(agent: str, calls: list[PausedCall]) -> ToolCallSummaryMessage:
    made, results = [], []
    for paused in calls:
        arguments = paused.arguments if paused.arguments is not None else paused.action.arguments
        made.append(FunctionCall(id=paused.call_id, name=paused.action.name, arguments=json.dumps(arguments)))
        results.append(
            FunctionExecutionResult(
                content=paused.text or "", name=paused.action.name, call_id=paused.call_id, is_error=paused.error
            )
        )
    lines = [f"{paused.action.name} (decision {paused.decision_id}): {paused.text}" for paused in calls]
    return ToolCallSummaryMessage(
        source=agent or SOURCE, content="\n".join(lines), tool_calls=made, results=results, metadata=_facts(calls)
    )


def _facts(calls: list[PausedCall]) -> dict[str, str]:
    return {
        DECISIONS: ",".join(paused.decision_id for paused in calls),
        STATUSES: ",".join(paused.status for paused in calls),
    }
