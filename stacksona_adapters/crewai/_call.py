"""One gated call: described, asked for, run, and told to the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from stacksona_adapters._extras import extra
from stacksona_adapters.client.gate import AnyGate, Wait
from stacksona_adapters.crewai._failure import declares_failure
from stacksona_adapters.crewai._run import CrewRun, Frame, current_frame, current_run
from stacksona_adapters.errors import (
    ActionExpired,
    ConfigurationError,
    ReviewPending,
    RevisionRequested,
    StacksonaError,
)
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import Refusal, edit_note, refusal
from stacksona_adapters.gating.tools import ToolPolicy
from stacksona_adapters.protocol.decisions import Outcome
from stacksona_adapters.protocol.tasks import FrameworkOrigin

with extra("crewai"):
    from crewai.utilities.string_utils import sanitize_tool_name

MOST = 400
"""Characters of one text in a request's context: a reviewer reads it in half a minute."""


@dataclass(frozen=True)
class GateTerms:
    """What the user settled for an adapter.

    Attributes:
        gate: The gate.
        policy: Which tools are gated and how their calls are described.
        wait: Seconds to wait for a person.
    """

    gate: AnyGate
    policy: ToolPolicy
    wait: Wait


@dataclass(frozen=True)
class ToolFacts:
    """What a request needs to know of a tool.

    Attributes:
        name: Its name for rules and reviewers.
        schema: The model of its arguments.
        origin: The MCP server that has it, and its name there.
    """

    name: str
    schema: type[BaseModel] | None
    origin: Mapping[str, str] = field(default_factory=dict)

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the tool gets them.

        Raises:
            ValueError: If the tool's schema does not accept them.
        """
        if self.schema is None or not self.schema.model_fields:
            return dict(arguments)
        return self.schema.model_validate(dict(arguments)).model_dump()


def names_of(tool: Any, known_as: str | None = None) -> list[str]:
    """Every name that a tool goes by: its own, the model's (`pay_2` for a second `pay`), the one on its MCP server."""
    own = str(getattr(tool, "name", "") or "")
    there = str(getattr(tool, "original_tool_name", "") or "")
    names = [own, sanitize_tool_name(own), known_as or "", there, sanitize_tool_name(there)]
    return list(dict.fromkeys(name for name in names if name))


def covered(policy: ToolPolicy, names: Iterable[str]) -> bool:
    """Whether a tool is gated, by any of its names."""
    return any(policy.covers(name) for name in names)


def facts_of(policy: ToolPolicy, tool: Any, known_as: str | None = None) -> ToolFacts:
    """The facts of a tool; its name is the one that `tools=` names, else the one that models use."""
    names = names_of(tool, known_as)
    chosen = next((name for name in names if name in policy.names), sanitize_tool_name(tool.name) or tool.name)
    server, there = getattr(tool, "server_name", None), getattr(tool, "original_tool_name", None)
    origin = {"mcp_server": str(server), "mcp_tool": str(there)} if server and there else {}
    return ToolFacts(chosen, tool.args_schema, origin)


@dataclass
class Told:
    """What became of a call.

    Attributes:
        told: What the model is told.
        value: The tool's own result; `None` where it did not run or raised.
        refused: Why it did not run.
        failed: Whether it ran and failed.
        edited: Whether it ran with a reviewer's arguments.
    """

    told: str = ""
    value: Any = None
    refused: Refusal | None = None
    failed: bool = False
    edited: bool = False


class ToolFailed(Exception):
    """The tool said itself that it failed; its text is the model's."""


@dataclass(frozen=True)
class _Permitted:
    approval: Approval
    arguments: dict[str, Any]


class GatedCall:
    """One call of a gated tool.

    Args:
        terms: The adapter's terms.
        tool: What is called.
        arguments: The validated arguments, as the tool gets them.
        to_text: Turns the tool's result into the text for the model.
        reenters: Whether the tool may begin again after a pause inside of it, because all that it does asks by itself.
    """

    def __init__(
        self,
        terms: GateTerms,
        tool: ToolFacts,
        arguments: dict[str, Any],
        to_text: Callable[[Any], str],
        *,
        reenters: bool = False,
    ) -> None:
        self._terms = terms
        self._tool = tool
        self._arguments = arguments
        self._to_text = to_text
        self._reenters = reenters
        self._frame: Frame | None = current_frame.get()
        self._run: CrewRun | None = current_run.get()
        self._call_id = self._run.call_id(self._frame, tool.name, arguments) if self._run is not None else None

    def perform(self, execute: Callable[[dict[str, Any]], Any]) -> Told:
        """Ask, wait, and run the tool on this thread.

        Args:
            execute: Runs the tool with the approved arguments.

        Raises:
            Stopped: If the run pauses or was cancelled.
        """
        if (earlier := self._earlier()) is not None:
            return earlier
        try:
            _check_thread()
            permitted = asyncio.run(self._permit())
        except StacksonaError as error:
            return self._refused(error)
        except asyncio.CancelledError:
            return self._cancelled()
        outcome = Told(edited=permitted.approval.edited)
        with self._reporting(permitted, outcome):
            outcome.value = execute(permitted.arguments)
            self._settle(permitted, outcome)
        return outcome

    async def aperform(self, execute: Callable[[dict[str, Any]], Any]) -> Told:
        """As `perform`, on an event loop; `execute` is a coroutine function."""
        if (earlier := self._earlier()) is not None:
            return earlier
        try:
            permitted = await self._permit()
        except StacksonaError as error:
            return self._refused(error)
        outcome = Told(edited=permitted.approval.edited)
        with self._reporting(permitted, outcome):
            outcome.value = await execute(permitted.arguments)
            self._settle(permitted, outcome)
        return outcome

    async def _permit(self) -> _Permitted:
        if self._run is None:
            return await self._asked()
        with self._run.interruptible():
            return await self._asked()

    async def _asked(self) -> _Permitted:
        gate = self._terms.gate.aio
        until = self._until()
        self._check_time(until)
        approval = await gate.authorize(self._action(), wait=self._patience(until), validate=self._tool.validate)
        self._check_time(until, approval)
        running = self._tool.validate(approval.arguments) if approval.edited else self._arguments
        await gate.take(approval, running)
        return _Permitted(approval, running)

    def _check_time(self, until: float | None, approval: Approval | None = None) -> None:
        """CrewAI gives up on an agent after its `max_execution_time` and lets its tool run on, so we must not.

        Raises:
            ActionExpired: If that time is over.
        """
        if until is None or time.monotonic() <= until:
            return
        why = "the agent's max_execution_time is over"
        if approval is not None and approval.decision.consumed_by is not None:
            # A rule's permission is taken together with the answer: it ends here, and nobody has to ask how.
            self._terms.gate.report(approval.asked, Outcome.FAILED, 0.0, f"not run: {why}")
        raise ActionExpired(self._tool.name, approval.decision if approval is not None else None, why)

    def _until(self) -> float | None:
        """When CrewAI gives up on the agent, on the monotonic clock, and a little before."""
        limit = getattr(self._frame.agent, "max_execution_time", None) if self._frame is not None else None
        if limit is None or self._frame is None:
            return None
        begun = self._run.begun(self._frame) if self._run is not None else self._frame.begun
        return begun + 0.9 * float(limit)

    def _patience(self, until: float | None) -> float | None:
        seconds = self._terms.gate.seconds(self._terms.wait)
        if until is None:
            return seconds
        left = max(0.0, until - time.monotonic())
        return left if seconds is None else min(seconds, left)

    def _action(self) -> Action:
        fields: dict[str, Any] = {"framework": FrameworkOrigin.CREWAI, "context": self._context()}
        if self._tool.schema is not None and self._tool.schema.model_fields:
            fields["arguments_schema"] = self._tool.schema.model_json_schema()
        if self._run is not None and self._call_id is not None:
            fields |= {
                "run_id": self._run.run_id,
                "run_label": self._run.label,
                "call_id": self._call_id,
                "attempt_id": self._run.attempt(self._call_id) if self._reenters else None,
                "revises": self._run.revises(self._frame, self._tool.name),
            }
        return self._terms.policy.action(self._tool.name, self._arguments, **fields)

    def _context(self) -> dict[str, Any]:
        frame = self._frame
        if frame is None:
            return dict(self._tool.origin)
        chain = [
            {"role": _text(each.agent, "role"), "task": _text(each.task, "description"), "via": each.tool}
            for each in frame.chain[:-1]
        ]
        return {
            "crew": _text(frame.crew, "name"),
            "role": _text(frame.agent, "role"),
            "goal": _text(frame.agent, "goal"),
            "task": _text(frame.task, "description"),
            "expected_output": _text(frame.task, "expected_output"),
            "delegation_chain": chain,
            **self._tool.origin,
        }

    def _earlier(self) -> Told | None:
        """What a call that ran before the pause was told."""
        told = self._run.result(self._call_id) if self._run is not None and self._call_id is not None else None
        return Told(told=told, value=told) if told is not None else None

    def _refused(self, error: StacksonaError) -> Told:
        if self._run is not None and self._call_id is not None and isinstance(error, ReviewPending):
            self._run.wait_for(self._call_id, error, self._frame)
        if self._run is not None and isinstance(error, RevisionRequested):
            self._run.send_back(self._frame, self._tool.name, error)
        refused = refusal(self._tool.name, error)
        return Told(told=refused.as_text(), refused=refused)

    def _cancelled(self) -> Told:
        if self._run is None:
            raise asyncio.CancelledError
        self._run.stop(self._frame)
        refused = Refusal(self._tool.name, "cancelled", f"{self._tool.name} did not run: the crew was cancelled.")
        return Told(told=refused.as_text(), refused=refused)

    @contextmanager
    def _reporting(self, permitted: _Permitted, outcome: Told) -> Iterator[None]:
        """Report how the block ended. What a tool raises becomes a result: CrewAI would call it up to six times."""
        if self._run is not None and self._call_id is not None and self._reenters:
            self._run.opened(self._call_id)
        try:
            with self._terms.gate.reporting(permitted.approval.asked):
                yield
        except ToolFailed:
            outcome.failed = True
        except Exception as error:  # noqa: BLE001 - it is told to the model and stands in the gate's trail
            outcome.failed = True
            outcome.told = f"{self._tool.name} ran and failed: {type(error).__name__}: {error}"
            outcome.told += _signed(permitted.approval)
        if self._run is not None and self._call_id is not None:
            self._run.closed(self._call_id, outcome.told)

    def _settle(self, permitted: _Permitted, outcome: Told) -> None:
        note = edit_note(permitted.approval)
        outcome.told = self._to_text(outcome.value) + (f"\n{note}" if note else "") + _signed(permitted.approval)
        if declares_failure(outcome.value):
            raise ToolFailed(outcome.told)


def _signed(approval: Approval) -> str:
    """CrewAI keeps nothing beside a tool's text, so the decision stands in it."""
    return f"\n(decision {approval.decision.id})"


def _text(thing: Any, name: str) -> str | None:
    value = getattr(thing, name, None)
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _check_thread() -> None:
    """A wait for a person must not block an event loop.

    Raises:
        ConfigurationError: On a thread on which one runs.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "it was called on the thread of an event loop, which waiting for a reviewer would block; await the tool's "
        "arun, or use CrewAI's AgentExecutor, which runs tools on threads of their own"
    )
