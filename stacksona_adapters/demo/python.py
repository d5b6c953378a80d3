"""The refund agent in plain Python: no framework, the gate alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import ActionBlocked, RevisionRequested, StacksonaError

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import AsyncGate, Gate


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """Ask for every refund at once and pay each as soon as it is permitted; see `results.Runner`."""

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(gate.aio, row, shop)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _refund(gate: AsyncGate, row: RefundRequest, shop: Shop) -> RowResult:
    try:
        # A request that comes twice is one run, so its second refund finds the permission of the first one used.
        async with gate.task(f"Refund {row.id}", run_id=row.id):
            try:
                return await _ask(gate, row, row.arguments(), shop)
            except RevisionRequested as wish:
                return await _ask(gate, row, sent_back(row.arguments()), shop, revises=wish.decision_id)
    except ActionBlocked as blocked:
        return RowResult(row, blocked.decision_id, note=blocked.detail or str(blocked))
    except StacksonaError as error:
        return RowResult(row, note=str(error))


async def _ask(
    gate: AsyncGate, row: RefundRequest, arguments: dict[str, Any], shop: Shop, revises: str | None = None
) -> RowResult:
    action = gate.action(
        TOOL,
        arguments,
        subject=row.order_id,
        risk="high",
        summary=[f"{row.amount} {row.currency} to {row.customer} for {row.product}"],
        context={"request": row.id, "email": row.email, "requested_at": row.requested_at.isoformat()},
        revises=revises,
    )
    async with gate.permit(action) as permit:
        return RowResult(row, permit.decision.id, receipt=shop.issue_refund(**permit.arguments))
