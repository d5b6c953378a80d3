"""What happens between two turns of a team: handoffs are put to the gate, and the team stops where it has to wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    CodeExecutionEvent,
    HandoffMessage,
    StopMessage,
    ToolCallExecutionEvent,
    ToolCallSummaryMessage,
)
from autogen_core import CancellationToken
from pydantic import BaseModel, ConfigDict

from stacksona_adapters.autogen._calls import Call, Kind, NotExecuted
from stacksona_adapters.autogen._performer import Performer
from stacksona_adapters.autogen._termination import DECISIONS, SOURCE

Message = BaseAgentEvent | BaseChatMessage


class _Handoff(BaseModel):
    model_config = ConfigDict(extra="forbid")

    target: str
    message: str


class Review:
    """Reviews the turns of one team and of the teams in it.

    Args:
        performer: Performs the team's calls.

    Attributes:
        token: Cancels the run at hand.
        followups: Messages that tell the team of handoffs that did not go as it wanted.
    """

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self._seen: set[str] = set()
        self.token = CancellationToken()
        self.followups: list[HandoffMessage] = []

    def turn(self, covers: Callable[[str], bool]) -> Callable[[Sequence[Message]], Any]:
        """The review of a team's turns.

        Args:
            covers: Whether handoffs to an agent are gated.
        """

        async def review(messages: Sequence[Message]) -> StopMessage | None:
            self.note(messages)
            for message in messages:
                if isinstance(message, HandoffMessage) and self._new(message) and covers(message.target):
                    await self._handoff(message)
            return self._stop()

        return review

    def note(self, messages: Sequence[Message]) -> None:
        """Remember what was said, and write the decisions' ids into the messages that the team keeps."""
        self._performer.transcript.heard(messages)
        for message in messages:
            ids = [each for call_id in _calls(message) for each in self._ids(message.source, call_id)]
            if ids and DECISIONS not in message.metadata:
                message.metadata[DECISIONS] = ",".join(dict.fromkeys(ids))

    def _ids(self, source: str, call_id: str) -> list[str]:
        return self._performer.run.decisions.get((source, call_id), [])

    def _new(self, message: HandoffMessage) -> bool:
        known = message.id in self._seen or message.source == SOURCE or DECISIONS in message.metadata
        self._seen.add(message.id)
        return not known

    async def _handoff(self, message: HandoffMessage) -> None:
        call = handoff_call(message.target, message.content, message.source, self.token)
        try:
            ran = await self._performer.perform(call)
        except NotExecuted as stopped:
            decision_id = stopped.refusal.decision_id
            message.metadata[DECISIONS] = decision_id or ""
            if not stopped.paused:
                self.followups.append(handoff(message.source, str(stopped), decision_id))
            return
        if ran.decision_id is not None:
            message.metadata[DECISIONS] = ran.decision_id
        if ran.note is not None:
            text = f"{ran.value['message']}\n\n{ran.note}"
            self.followups.append(handoff(ran.value["target"], text, ran.decision_id))

    def _stop(self) -> StopMessage | None:
        waiting = [call.decision_id for call in self._performer.run.calls.values() if call.text is None]
        if waiting:
            text, ids = f"Paused for review: {', '.join(waiting)}", waiting
        elif self.followups:
            ids = [each.metadata.get(DECISIONS, "") for each in self.followups]
            text = f"A reviewer changed or refused a handoff: {', '.join(ids)}"
        elif self.token.is_cancelled():
            text, ids = "The run was cancelled.", []
        else:
            return None
        return StopMessage(content=text, source=SOURCE, metadata={DECISIONS: ",".join(ids)} if ids else {})


def handoff_call(target: str, message: str, source: str, token: CancellationToken) -> Call:
    """A handoff as a call: running it does nothing, because the team hands off by itself."""

    async def run(approved: dict[str, Any]) -> dict[str, Any]:
        return approved

    return Call(
        kind=Kind.HANDOFF,
        tool=f"transfer_to_{target}",
        arguments={"target": target, "message": message},
        call_id="",
        run=run,
        validate=lambda edited: _Handoff.model_validate(edited).model_dump(),
        schema=_Handoff.model_json_schema(),
        agent=source,
        token=token,
    )


def handoff(target: str, text: str, decision_id: str | None) -> HandoffMessage:
    """A handoff that comes from the review."""
    metadata = {DECISIONS: decision_id} if decision_id else {}
    return HandoffMessage(source=SOURCE, target=target, content=text, metadata=metadata)


def _calls(message: Message) -> list[str]:
    """The framework's ids of the calls whose results a message holds; code has none."""
    if isinstance(message, ToolCallExecutionEvent):
        return [result.call_id for result in message.content]
    if isinstance(message, ToolCallSummaryMessage):
        return [result.call_id for result in message.results]
    return [""] if isinstance(message, CodeExecutionEvent) else []
