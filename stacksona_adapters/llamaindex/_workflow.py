"""The reusable approval steps for plain workflows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel
from workflows import Context, step

from stacksona_adapters.client.gate import DEFAULT, AnyGate, Permit, Wait
from stacksona_adapters.errors import ReviewPending, StacksonaError
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import refusal
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy
from stacksona_adapters.llamaindex import _state
from stacksona_adapters.llamaindex._reviews import decision_of, patience_over, pending_decision, required, reviewing
from stacksona_adapters.llamaindex._running import Binding, GatedRuns
from stacksona_adapters.llamaindex._schemas import describe, read_arguments
from stacksona_adapters.llamaindex.events import (
    ApprovalRequested,
    ApprovalResolved,
    HumanReviewRequired,
    without_token,
)

REVIEWS_AT_ONCE = 1000
"""How many reviews of one run wait at the same time; a step's usual four would keep the others from being asked."""

_KEPT = 10_000


class GatedWorkflow(GatedRuns):
    """A workflow with approval steps: return `ApprovalRequested` from a step, take `ApprovalResolved` in another.

    ::

        class RefundFlow(GatedWorkflow):
            @step
            async def propose(self, ev: StartEvent) -> ApprovalRequested:
                return ApprovalRequested(tool_name="issue_refund", payload={"order_id": ev.order_id, "amount": 80})

            @step
            async def pay(self, ev: ApprovalResolved) -> StopEvent:
                if not ev.approved:
                    return StopEvent(result=ev.refusal)
                async with self.permit(ev) as permit:
                    return StopEvent(result=issue_refund(**permit.arguments))

    Args:
        gate: The gate.
        risk: A level for every action, a mapping of names to levels, or a function of name and arguments.
        subject: The argument that holds the subject, for all or by action, or a function of name and arguments.
        wait: Seconds to wait in this process for a person; see `run_or_pause`.
        schemas: A pydantic model of the arguments of each action: requests and reviewers' edits are read by it.
        timeout: Seconds for the whole run, which go on while a person thinks; `None` is for ever, and the default
            here (LlamaIndex's own is 45).
        **options: Further arguments of `Workflow`.
    """

    def __init__(
        self,
        *,
        gate: AnyGate,
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        schemas: Mapping[str, type[BaseModel]] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(timeout=timeout, **options)
        self.binding = Binding(gate.aio, ToolPolicy(risk=risk, subject=subject), wait)
        self._schemas = dict(schemas or {})
        self._approvals: OrderedDict[str, Approval] = OrderedDict()

    @step(num_workers=REVIEWS_AT_ONCE)
    async def approval_step(self, ctx: Context, ev: ApprovalRequested) -> HumanReviewRequired | ApprovalResolved:
        """Ask the gate; a person's decision is left to `review_step`."""
        run_id = ev.task_id or await _state.run_id_of(ctx, otherwise=ev.request_id)
        try:
            approval = await self._authorized(ev, run_id, 0)
        except ReviewPending as pending:
            decision = pending_decision(pending)
            await _state.remember(ctx, ev.request_id, decision)
            return required(HumanReviewRequired(request=ev, decision=decision, run_id=run_id))
        except StacksonaError as error:
            return await _stopped(ctx, ev, run_id, error)
        return await self._resolved(ctx, ev, run_id, approval)

    @step(num_workers=REVIEWS_AT_ONCE)
    async def review_step(self, ctx: Context, ev: HumanReviewRequired) -> ApprovalResolved:
        """Wait for the person. In a resumed run it runs again from its top and finds the same request."""
        async with reviewing(self.binding, ev) as pauser:
            try:
                approval = await self._authorized(ev.request, ev.run_id, self.binding.wait)
            except ReviewPending as pending:
                error = await patience_over(self.binding, pauser, ev, pending)
                return await _stopped(ctx, ev.request, ev.run_id, error)
            except StacksonaError as error:
                return await _stopped(ctx, ev.request, ev.run_id, error)
        return await self._resolved(ctx, ev.request, ev.run_id, approval)

    @asynccontextmanager
    async def permit(self, event: ApprovalResolved) -> AsyncIterator[Permit]:
        """Take the permission, once; the block runs the action with `permit.arguments`, and its end is reported.

        Args:
            event: The resolved request.

        Raises:
            ActionBlocked: If it is not approved, or was taken before (`AlreadyTaken`, `OutcomeUnknown`): a step that
                runs again does not run the action again.
            GateError: If the gate cannot be asked; the block did not run.
        """
        _ = event.arguments  # raises where it is not approved
        # Once: a step that runs again asks again, and finds the permission taken.
        approval = self._approvals.pop(_key(event.run_id, event.request), None)
        if approval is None:
            approval = await self._authorized(event.request, event.run_id, 0)
        permit = await self.binding.gate.take(approval, approval.arguments)
        with self.binding.gate.reporting(approval.asked):
            yield permit

    async def _authorized(self, request: ApprovalRequested, run_id: str, wait: Wait) -> Approval:
        model = self._schemas.get(request.tool_name)

        def validate(arguments: dict[str, Any]) -> dict[str, Any]:
            return arguments if model is None else read_arguments(request.tool_name, model, arguments)

        read = request.model_copy(update={"payload": validate(request.payload)})
        schema = None if model is None else model.model_json_schema()
        action = describe(self.binding, self._with_context(read), run_id, schema)
        # The permission is taken in the author's own step, which may be in another process.
        later = action.model_copy(update={"take_at_once": False})
        return await self.binding.gate.authorize(later, wait=wait, validate=validate)

    def _with_context(self, request: ApprovalRequested) -> ApprovalRequested:
        name = type(self).__name__
        context = {"workflow": name, "step": "approval_step", **request.context}
        return request.model_copy(update={"context": context, "label": request.label or name})

    async def _resolved(
        self, ctx: Context, request: ApprovalRequested, run_id: str, approval: Approval
    ) -> ApprovalResolved:
        self._approvals[_key(run_id, request)] = approval
        while len(self._approvals) > _KEPT:
            self._approvals.popitem(last=False)
        await _state.remember(ctx, request.request_id, approval.decision)
        kept = without_token(approval.decision)
        return ApprovalResolved(request=request, run_id=run_id, decision=kept, approved_arguments=approval.arguments)


def _key(run_id: str, request: ApprovalRequested) -> str:
    return f"{run_id}:{request.request_id}"


async def _stopped(ctx: Context, request: ApprovalRequested, run_id: str, error: StacksonaError) -> ApprovalResolved:
    decision = decision_of(error)
    if decision is not None:
        await _state.remember(ctx, request.request_id, decision)
    told = refusal(request.tool_name, error).as_dict()
    return ApprovalResolved(request=request, run_id=run_id, decision=decision, refusal=told)
