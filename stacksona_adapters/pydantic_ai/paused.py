"""A paused run as JSON, and how it goes on in any process."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ToolCallPart
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults
from pydantic_ai.usage import RunUsage

from stacksona_adapters.client.gate import AnyGate, AsyncGate, Wait
from stacksona_adapters.errors import ActionBlocked, ConfigurationError
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import refusal
from stacksona_adapters.pydantic_ai.deferred import answered, put_off

FORMAT = 1
_REQUESTS = TypeAdapter(DeferredToolRequests)
_USAGE = TypeAdapter(RunUsage)


@dataclass(frozen=True)
class PausedRun:
    """Everything that another process needs to go on.

    It holds the whole conversation, so keep it as safe as that. Dependencies (`deps=`) and the run's own `metadata=`
    are not in it: pass them to `resume` again.

    Attributes:
        messages: The conversation so far.
        requests: The calls that wait.
        usage: What the run has used, so that limits span the whole run.
    """

    messages: list[ModelMessage]
    requests: DeferredToolRequests
    usage: RunUsage = field(default_factory=RunUsage)

    @classmethod
    def of(cls, result: Any, output: Any = None) -> PausedRun | None:
        """The pause of a run; `None` where the run has ended.

        Args:
            result: What `agent.run(...)` returned, or the stream of `agent.run_stream(...)`.
            output: What the stream's `get_output()` returned.
        """
        requests = result.output if output is None else output
        if not isinstance(requests, DeferredToolRequests):
            return None
        # `usage` is a method in pydantic-ai 1 and a property from 2.0 on.
        usage = result.usage if isinstance(result.usage, RunUsage) else result.usage()
        return cls(result.all_messages(), requests, usage)

    def to_json(self) -> str:
        """The pause as JSON."""
        return json.dumps(
            {
                "v": FORMAT,
                "messages": ModelMessagesTypeAdapter.dump_python(self.messages, mode="json"),
                "requests": _REQUESTS.dump_python(self.requests, mode="json"),
                "usage": _USAGE.dump_python(self.usage, mode="json"),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> PausedRun:
        """Read a pause.

        Raises:
            ConfigurationError: If it is none, or of another format.
        """
        try:
            read = json.loads(text)
            if read["v"] != FORMAT:
                raise ConfigurationError(f"The pause has format {read['v']!r}; this version reads {FORMAT}.")
            return cls(
                ModelMessagesTypeAdapter.validate_python(read["messages"]),
                _REQUESTS.validate_python(read["requests"]),
                _USAGE.validate_python(read["usage"]),
            )
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"This is no pause of a PydanticAI run: {error}") from error


async def resolve(
    gate: AnyGate, paused: PausedRun, *, wait: Wait = 0, calls: Mapping[str, Any] | None = None
) -> DeferredToolResults:
    """What the gate says of the calls that wait, as the framework's `deferred_tool_results=`.

    Nothing is permitted by it: each call takes its permission when it runs, by `GatedTools`. Meant for streams, other
    entrances than `agent.run`, and durable engines (call it inside of a step, with `wait=0`).

    Args:
        gate: The gate.
        paused: The pause.
        wait: Seconds to wait for a person.
        calls: The results of external calls, by call id.

    Raises:
        ReviewPending: If one is not decided yet; the framework cannot go on with a part of the answers.
        GateError: If there is no answer to trust.
        ConfigurationError: If the result of an external call is missing.
    """
    given = dict(calls or {})
    missing = [call.tool_name for call in paused.requests.calls if call.tool_call_id not in given]
    if missing:
        raise ConfigurationError(f"The run also waits for {', '.join(missing)}, run outside of it: pass calls=.")
    waiting = paused.requests.approvals
    # All of them first: a cancelled sibling must not withdraw the request of a call that somebody may still decide.
    found = await asyncio.gather(*(_ask(gate.aio, paused, call, wait) for call in waiting), return_exceptions=True)
    answers: dict[str, Approval | str | None] = {}
    for call, answer in zip(waiting, found, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        answers[call.tool_call_id] = answer
    results = answered(paused.requests, answers) or DeferredToolResults()
    results.calls.update(given)
    for call in waiting:
        results.approvals.setdefault(call.tool_call_id, True)
    return results


async def _ask(gate: AsyncGate, paused: PausedRun, call: ToolCallPart, wait: Wait) -> Approval | str | None:
    earlier = put_off(paused.requests, call.tool_call_id)
    if earlier.refused is not None:
        return earlier.refused
    if earlier.action is None:
        return None  # put off by somebody else: `GatedTools` asks when the call is about to run
    try:
        approval = await gate.authorize(earlier.action, wait=wait)
        # An edit has to pass the tool's schema, which only the running agent has: `GatedTools` asks again.
        return None if approval.edited else approval
    except ActionBlocked as error:
        return refusal(call.tool_name, error).as_text()


async def resume(
    agent: AbstractAgent[Any, Any],
    paused: PausedRun,
    gate: AnyGate,
    *,
    wait: Wait = 0,
    calls: Mapping[str, Any] | None = None,
    **run: Any,
) -> AgentRunResult[Any]:
    """Go on with a paused run, here or in another process, as soon as all of its calls are decided.

    Args:
        agent: The agent, set up as before; its `GatedTools` takes the permissions.
        paused: The pause.
        gate: The gate.
        wait: Seconds to wait for a person.
        calls: The results of external calls, by call id.
        **run: Further arguments of `agent.run`, such as `deps=`.

    Returns:
        The result, which may be another pause.

    Raises:
        ReviewPending: If a person has not decided yet; the pause stays good.
        GateError: If there is no answer to trust; the pause stays good.
    """
    results = await resolve(gate, paused, wait=wait, calls=calls)
    run.setdefault("usage", copy.deepcopy(paused.usage))  # the framework counts on in it
    return await agent.run(message_history=paused.messages, deferred_tool_results=results, **run)
