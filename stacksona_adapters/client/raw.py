"""Raw calls to a gate, without the flow: for a bridge service, and for the guides' own helper."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from stacksona_adapters.client.exchange import Attempt, adrive, drive, exchange
from stacksona_adapters.client.settings import Settings
from stacksona_adapters.client.tracing import trace_headers
from stacksona_adapters.client.transport import AsyncTransport, Transport
from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.gating.effects import Effect
from stacksona_adapters.protocol.calls import Call
from stacksona_adapters.protocol.decisions import Decision
from stacksona_adapters.protocol.dialects import AgentDialect, new_task_id
from stacksona_adapters.protocol.requests import AgentRequest

T = TypeVar("T")


def decision_call(payload: Mapping[str, Any], idempotency_key: str | None = None) -> Call[Decision]:
    """The agent dialect's request for a decision, from the guides' names in snake or camel case.

    Args:
        payload: `task_id` (or `taskId`; a new one where it is missing) and the fields of `AgentRequest`.
        idempotency_key: Makes the call repeatable.

    Raises:
        InvalidAction: If a field is missing or wrong; nothing has been sent.
    """
    task_id = payload.get("task_id") or payload.get("taskId") or new_task_id()
    try:
        body = AgentRequest.model_validate(dict(payload))
    except ValidationError as error:
        raise InvalidAction(f"The request cannot be sent: {error}") from error
    return AgentDialect().send(str(task_id), body, idempotency_key)


class GateClient:
    """Makes raw calls from any thread; every answer is read strictly, nothing is waited for or taken.

    Args:
        settings: See `load_settings`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._transport = Transport(settings)

    def send(self, call: Call[T]) -> T:
        """Make a call, with its retries.

        Raises:
            GateError: If there is no answer to trust.
        """
        return drive(exchange(call, self.settings), self._perform)

    def request_decision(self, payload: Mapping[str, Any], idempotency_key: str | None = None) -> Decision:
        """Ask for a decision as the guides write it; see `decision_call`."""
        return self.send(decision_call(payload, idempotency_key))

    def _perform(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, Attempt):
            return self._transport.once(effect.call, effect.seconds, trace_headers())
        return time.sleep(effect.seconds)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncGateClient:
    """Makes raw calls from one event loop; see `GateClient`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._transport = AsyncTransport(settings)

    async def send(self, call: Call[T]) -> T:
        """Make a call, with its retries; see `GateClient.send`."""
        return await adrive(exchange(call, self.settings), self._perform)

    async def request_decision(self, payload: Mapping[str, Any], idempotency_key: str | None = None) -> Decision:
        """Ask for a decision as the guides write it; see `decision_call`."""
        return await self.send(decision_call(payload, idempotency_key))

    async def _perform(self, effect: Effect[Any]) -> Any:
        if isinstance(effect, Attempt):
            return await self._transport.once(effect.call, effect.seconds, trace_headers())
        return await asyncio.sleep(effect.seconds)  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()
