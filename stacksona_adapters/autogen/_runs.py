"""Runs of a team: begun, streamed, paused, ended at the gate."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from autogen_agentchat.base import ChatAgent, TaskResult, Team
from autogen_agentchat.messages import BaseChatMessage
from autogen_core import CancellationToken

from stacksona_adapters.autogen._paused import PausedTeam, plain
from stacksona_adapters.autogen._performer import Performer, Run
from stacksona_adapters.autogen._review import Review
from stacksona_adapters.errors import ConfigurationError

Task = str | BaseChatMessage | Sequence[BaseChatMessage] | None


class Runs:
    """The runs of one team, one after the other.

    Args:
        performer: Performs the team's calls.
        review: Reviews the team's turns.
    """

    def __init__(self, performer: Performer, review: Review) -> None:
        self._performer = performer
        self._review = review
        self._running = False
        self._begun = False

    def begin(self, task: Task, run_id: str | None) -> None:
        """Begin a run; the first one is that of the constructor, where no id is given.

        Raises:
            ConfigurationError: If the team runs, or waits for a reviewer.
        """
        self._check()
        waiting = [each.decision_id for each in self._performer.run.calls.values() if each.text is None]
        if waiting:
            raise ConfigurationError(f"The team waits for {', '.join(waiting)}: give its pause to resume().")
        if run_id is not None or self._begun:
            self._performer.run = Run(run_id or f"autogen_{uuid.uuid4().hex}")
        self._performer.transcript.first = _text(task)
        self._begun = True

    def restore(self, paused: PausedTeam) -> None:
        """Go on with a paused run.

        Raises:
            ConfigurationError: If the team runs, or the pause is that of another team.
        """
        self._check()
        if paused.team_id != self._performer.team_id:
            raise ConfigurationError(f"The pause is of the team {paused.team_id!r}, not {self._performer.team_id!r}.")
        run = Run(paused.run_id)
        run.revises.update(paused.revises)
        run.begun.update(paused.begun)
        run.calls = {call.decision_id: call.model_copy() for call in paused.calls}
        self._performer.run = run
        self._performer.transcript.first = paused.task
        self._begun = True

    async def stream(self, team: Team | ChatAgent, task: Task, token: CancellationToken) -> AsyncGenerator[Any, None]:
        """The messages of a run; last its result, or its pause."""
        self._running = True
        self._review.token = token
        said: list[Any] = []
        reason: str | None = None
        try:
            wanted: Task = task
            while True:
                async for item in _stream(team, wanted, token):
                    if isinstance(item, TaskResult):
                        said.extend(item.messages)
                        reason = item.stop_reason
                    else:
                        yield item
                wanted, self._review.followups = list(self._review.followups), []
                if not wanted or self._waiting():
                    break
        except BaseException as error:
            if not self._waiting():
                self._performer.gate.finish(self._performer.run.run_id, f"{type(error).__name__}: {error}")
            raise
        finally:
            self._running = False
            self._review.token = CancellationToken()
        self._review.note(said)
        paused = await self.pause(team)
        if paused is None:
            self._performer.gate.finish(self._performer.run.run_id)
        yield paused or TaskResult(messages=said, stop_reason=reason)

    async def pause(self, team: Team | ChatAgent) -> PausedTeam | None:
        """The pause of the run at hand; `None` where nothing waits.

        Raises:
            ConfigurationError: If the team runs: a state saved within a turn cannot be continued.
        """
        self._check()
        if not self._waiting():
            return None
        return self._paused(plain(await team.save_state()))

    def still(self, paused: PausedTeam) -> PausedTeam:
        """A pause that goes on, with what was settled by now."""
        return self._paused(paused.state)

    def _paused(self, state: dict[str, Any]) -> PausedTeam:
        run = self._performer.run
        return PausedTeam(
            team_id=self._performer.team_id,
            run_id=run.run_id,
            state=state,
            calls=list(run.calls.values()),
            begun=dict(run.begun),
            revises=dict(run.revises),
            task=self._performer.transcript.first,
        )

    def _waiting(self) -> bool:
        return any(call.text is None for call in self._performer.run.calls.values())

    def _check(self) -> None:
        if self._running:
            raise ConfigurationError("The team runs; wait until its run has returned.")


def _text(task: Task) -> str | None:
    if task is None or isinstance(task, str):
        return task
    messages = [task] if isinstance(task, BaseChatMessage) else task
    return "\n".join(message.to_text() for message in messages)


async def _stream(team: Team | ChatAgent, task: Task, token: CancellationToken) -> AsyncGenerator[Any, None]:
    """The team's own stream, in a task of its own: when ours is cancelled, the calls that wait are cancelled first.

    Cancelled directly, a team waits for its tools to end, and a later approval would still run them.
    """
    passed: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def pump() -> None:
        async for item in team.run_stream(task=task, cancellation_token=token):
            passed.put_nowait([item])

    running = asyncio.ensure_future(pump())
    running.add_done_callback(lambda _: passed.put_nowait([]))
    try:
        while found := await passed.get():
            yield found[0]
    finally:
        if not running.done():
            token.cancel()
            await asyncio.wait({running})
    await running
