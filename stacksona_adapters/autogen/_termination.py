"""The condition that stops a team while a reviewer is needed, and the only place where a handoff can be refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from autogen_agentchat.base import TerminatedException, TerminationCondition
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, StopMessage
from pydantic import BaseModel

from stacksona_adapters.errors import ConfigurationError

SOURCE = "stacksona"
"""The source of the messages that come from here."""

DECISIONS = "stacksona_decision_ids"
"""The key of a message's metadata under which the ids of its decisions stand, separated by commas."""

Reviews = Callable[[Sequence[BaseAgentEvent | BaseChatMessage]], Awaitable[StopMessage | None]]


class ReviewTermination(TerminationCondition):
    """Stops the team while a call waits for a reviewer, after a refused handoff, and when the run was cancelled.

    Made by `TeamGate.termination`; combine it with `|`, never with `&`.

    Args:
        review: Sees the messages of each turn and says why the team has to stop.
    """

    component_type = "termination"
    component_provider_override = "stacksona_adapters.autogen.ReviewTermination"

    def __init__(self, review: Reviews) -> None:
        self._review = review
        self._terminated = False

    @property
    def terminated(self) -> bool:
        """Whether it has stopped the team."""
        return self._terminated

    async def __call__(self, messages: Sequence[BaseAgentEvent | BaseChatMessage]) -> StopMessage | None:
        """Review what was said since the last turn.

        Raises:
            TerminatedException: If it has stopped the team already and was not reset.
        """
        if self._terminated:
            raise TerminatedException("Termination condition has already been reached")
        stop = await self._review(messages)
        self._terminated = stop is not None
        return stop

    def __and__(self, other: TerminationCondition) -> TerminationCondition:
        raise ConfigurationError("Combine the review's condition with `|`: with `&` the team would go on unreviewed.")

    async def reset(self) -> None:
        """Begin anew."""
        self._terminated = False

    def _to_config(self) -> BaseModel:
        raise NotImplementedError("The review's condition cannot be dumped: it would be loaded without its gate.")
