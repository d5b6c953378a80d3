"""The gated calls of one team's run: described, asked for, waited for, taken, run and remembered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from stacksona_adapters.autogen._calls import (
    Call,
    CallFailed,
    Interrupted,
    NotExecuted,
    Ran,
    cancelled,
    refused,
    speaker,
    with_note,
)
from stacksona_adapters.autogen._paused import PausedCall, fingerprint
from stacksona_adapters.autogen._settle import settle, settle_stream
from stacksona_adapters.autogen._transcript import Transcript
from stacksona_adapters.client.gate import AsyncGate
from stacksona_adapters.client.permit import Wait
from stacksona_adapters.errors import ActionBlocked, InvalidAction, ReviewPending, RevisionRequested, StacksonaError
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note
from stacksona_adapters.gating.tools import ToolPolicy
from stacksona_adapters.protocol.canonical import idempotency_key
from stacksona_adapters.protocol.tasks import FrameworkOrigin


@dataclass
class Run:
    """What is remembered of one run of a team.

    Attributes:
        run_id: The run, stable over pauses.
        begun: How often each call was begun, so that the same call later is another one.
        revises: By agent and tool, the decisions that the next proposals revise, in order.
        calls: The calls that wait, by decision.
        own: The actions that wait of executors of the user's own.
        decisions: By agent and framework's call id, the decisions; for the team's transcript.
    """

    run_id: str
    begun: Counter[str] = field(default_factory=Counter)
    revises: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, PausedCall] = field(default_factory=dict)
    own: dict[tuple[str, str, str], Action] = field(default_factory=dict)
    decisions: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))


class _FailedResult(Exception):
    """Only makes the report say that the call failed."""


@dataclass
class _Progress:
    approval: Approval | None = None


class Performer:
    """Performs the calls of one team.

    Args:
        gate: The gate.
        policy: Which tools are gated, and how their calls are described.
        team_id: The team's name.
        wait: Seconds to wait for a person.
        run: The run to begin with.
    """

    def __init__(self, gate: AsyncGate, policy: ToolPolicy, team_id: str, wait: Wait, run: Run) -> None:
        self.gate = gate
        self.policy = policy
        self.team_id = team_id
        self.wait = wait
        self.run = run
        self.transcript = Transcript()

    async def perform(self, call: Call) -> Ran:
        """Run a call with the arguments that were approved.

        Raises:
            NotExecuted: If it did not run: refused, waiting, no answer of the gate, or cancelled before it began.
            Interrupted: If it was cut off while it ran.
            Exception: What the tool raised.
        """
        if not self.policy.covers(call.tool):
            return Ran(await settle(_plain_run(call), call.token))
        return await self._bounded(call, None)

    async def perform_again(self, call: Call, paused: PausedCall) -> Ran:
        """Go on with a call that was paused: the same request is asked for again. Raises as `perform`."""
        return await self._bounded(call, paused)

    async def perform_stream(
        self, call: Call, stream: Callable[[dict[str, Any]], AsyncGenerator[Any, None]]
    ) -> AsyncGenerator[Any, None]:
        """Run a call that streams; its last item comes as a `Ran`. Raises as `perform`."""
        approval = None
        if self.policy.covers(call.tool):
            approval = await self._authorized(call, _Progress())
        items = self._reported(stream(call.arguments if approval is None else approval.arguments), approval)
        held: list[Any] = []
        try:
            async for item in settle_stream(items, call.token):
                if held:
                    yield held.pop()
                held.append(item)
        except Interrupted as error:
            raise _cut_off(call, approval, error) from error
        if held:
            yield Ran(held[0], approval)

    async def _reported(self, items: AsyncGenerator[Any, None], approval: Approval | None) -> AsyncGenerator[Any, None]:
        if approval is None:
            async for item in items:
                yield item
            return
        with self.gate.reporting(approval.asked):
            async for item in items:
                yield item

    async def _bounded(self, call: Call, paused: PausedCall | None) -> Ran:
        progress = _Progress()
        try:
            return await settle(self._gated(call, paused, progress), call.token)
        except Interrupted as error:
            if progress.approval is None:
                raise cancelled(call.tool) from error
            raise _cut_off(call, progress.approval, error) from error

    async def _authorized(self, call: Call, progress: _Progress) -> Approval:
        try:
            return await settle(self._permitted(call, None, progress), call.token)
        except Interrupted as error:
            raise cancelled(call.tool) from error

    async def _gated(self, call: Call, paused: PausedCall | None, progress: _Progress) -> Ran:
        approval = await self._permitted(call, paused, progress)
        value = None
        try:
            with self.gate.reporting(approval.asked):
                value = await call.run(approval.arguments)
                if (why := call.failure(value)) is not None:
                    raise _FailedResult(why)
        except _FailedResult:
            return Ran(value, approval)  # the framework has a way of saying so
        except Exception as error:
            if not approval.edited:
                raise
            raise CallFailed(with_note(str(error), edit_note(approval))) from error
        return Ran(value, approval)

    async def _permitted(self, call: Call, paused: PausedCall | None, progress: _Progress) -> Approval:
        agent = paused.agent if paused is not None else self._agent(call)
        action = paused.action if paused is not None else await self._described(call, agent)
        try:
            approval = await self.gate.authorize(action, wait=self.wait, validate=call.validate)
            self._decided(call, agent, approval.decision.id)
            if call.token.is_cancelled():
                self.gate.withdraw(approval.asked)
                raise cancelled(call.tool)
            progress.approval = approval
            self.run.own.pop(fingerprint(agent, action), None)
            await self.gate.take(approval, approval.arguments)
        except StacksonaError as error:
            stopped = refused(call.tool, error)
            self._remember(call, agent, action, error)
            self._decided(call, agent, stopped.refusal.decision_id)
            raise stopped from error
        return approval

    async def _described(self, call: Call, agent: str) -> Action:
        action = self._action(call, agent)
        if call.own is not None:
            return self._own(call, agent, action)
        await self._not_waiting(call, agent, action)
        context = {
            "team": self.team_id,
            "agent": agent,
            "participants": self.transcript.participants(agent),
            "transcript_summary": await self.transcript.summary(agent),
        }
        return action.model_copy(
            update={
                "context": context,
                "subject": action.subject if action.subject is not None else self.team_id,
                "call_id": self._call_id(call, agent, action),
                "revises": self._revised(call, agent),
            }
        )

    def _action(self, call: Call, agent: str) -> Action:
        try:
            return self.policy.action(
                call.tool,
                call.arguments,
                framework=FrameworkOrigin.AUTOGEN,
                run_id=self.run.run_id,
                run_label=f"AutoGen team {self.team_id}",
                arguments_schema=call.schema,
                preview=call.preview,
                summary=(f"{agent or 'An agent'} of the team {self.team_id} wants to run {call.tool}.",),
            )
        except InvalidAction as error:
            raise refused(call.tool, error) from error

    def _own(self, call: Call, agent: str, action: Action) -> Action:
        """The action of an executor of the user's own, which asks again by calling again."""
        waiting = self.run.own.get(fingerprint(agent, action))
        if waiting is not None:
            return waiting
        team_id, context = call.own or (self.team_id, {})
        return action.model_copy(
            update={
                "context": {"team": team_id, **context},
                "subject": action.subject if action.subject is not None else team_id,
                "call_id": self._call_id(call, agent, action),
                "revises": self._revised(call, agent),
            }
        )

    def _revised(self, call: Call, agent: str) -> str | None:
        sent_back = self.run.revises[f"{agent}/{call.tool}"]
        return sent_back.pop(0) if sent_back else None

    async def _not_waiting(self, call: Call, agent: str, action: Action) -> None:
        """Stop a call that waits already: a model that is asked on in the same turn likes to try again."""
        same = fingerprint(agent, action)
        for paused in [each for each in self.run.calls.values() if each.fingerprint == same and each.text is None]:
            if {call.call_id, paused.call_id} <= await self.transcript.batch(agent) and call.call_id != paused.call_id:
                continue  # two of the same in one batch are two
            decision_id = paused.decision_id
            raise NotExecuted(refused(call.tool, ReviewPending(paused.action, _Waits(decision_id))).refusal)

    def _call_id(self, call: Call, agent: str, action: Action) -> str:
        """The n-th same call of the run; the framework's own ids repeat, are empty, or differ in a new start."""
        what = idempotency_key("autogen", agent, call.kind.value, call.tool, *fingerprint(agent, action))
        self.run.begun[what] += 1
        return f"{agent}/{call.tool}/{what[:32]}/{self.run.begun[what]}"

    def _agent(self, call: Call) -> str:
        return call.agent or speaker() or self.transcript.only or ""

    def _decided(self, call: Call, agent: str, decision_id: str | None) -> None:
        if decision_id is not None and decision_id not in self.run.decisions[agent, call.call_id]:
            self.run.decisions[agent, call.call_id].append(decision_id)

    def _remember(self, call: Call, agent: str, action: Action, error: StacksonaError) -> None:
        if isinstance(error, ActionBlocked):
            self.run.own.pop(fingerprint(agent, action), None)
        if isinstance(error, RevisionRequested) and error.decision_id is not None:
            self.run.revises[f"{agent}/{call.tool}"].append(error.decision_id)
        if not isinstance(error, ReviewPending):
            return
        if call.own is not None:
            self.run.own[fingerprint(agent, error.action)] = error.action
            return
        paused = PausedCall(
            kind=call.kind, agent=agent, call_id=call.call_id, action=error.action, decision_id=error.decision.id
        )
        self.run.calls.setdefault(error.decision.id, paused)


@dataclass(frozen=True)
class _Waits:
    """A decision that is open, as far as a refusal says it."""

    id: str
    status: str = "pending_review"
    message: str | None = None


async def _plain_run(call: Call) -> Any:
    return await call.run(call.arguments)


def _cut_off(call: Call, approval: Approval | None, error: Interrupted) -> Interrupted:
    of = f" (decision {approval.decision.id})" if approval is not None else ""
    return Interrupted(
        f"{call.tool} was cut off while it ran: {error}. It may or may not have had its effect{of}. "
        f"Do not call it again with the same arguments."
    )
