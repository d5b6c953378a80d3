"""The refund agent in LangGraph: a graph whose conditional edge leads to a gated node; no model, so no key."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from stacksona_adapters.demo.refunds import RefundRequest
from stacksona_adapters.demo.results import TOOL, OnProgress, RowResult, sent_back
from stacksona_adapters.demo.shop import Shop
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.langgraph import RunEvents, add_gated_node

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import Gate


class _State(TypedDict, total=False):
    wanted: dict[str, Any]
    proposed_action: dict[str, Any]
    receipt: str
    stacksona: Annotated[dict[str, Any], operator.or_]


async def run(gate: Gate, rows: Sequence[RefundRequest], on_progress: OnProgress, shop: Shop) -> list[RowResult]:
    """A thread of one graph for each request, all at once; see `results.Runner`."""
    graph = _graph(gate, shop)

    async def one(row: RefundRequest) -> RowResult:
        result = await _refund(graph, gate, row)
        on_progress(result)
        return result

    return list(await asyncio.gather(*(one(row) for row in rows)))


def _graph(gate: Gate, shop: Shop) -> Any:
    async def issue_refund(_: _State, arguments: dict[str, Any]) -> _State:
        return {"receipt": shop.issue_refund(**arguments)}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(_State)
    builder.add_node("plan_action", _plan)
    add_gated_node(
        builder,
        TOOL,
        issue_refund,
        gate=gate,
        arguments=lambda state: state["proposed_action"]["args"],
        revise="plan_action",
        subject="order_id",
        risk="high",
    )
    builder.add_edge(START, "plan_action")
    builder.add_conditional_edges("plan_action", _route_after_planning, [TOOL, END])
    return builder.compile()


async def _plan(state: _State) -> _State:
    """What a language model would do: propose, propose again when asked for more, and then give up."""
    said = cast("dict[str, Any]", state)
    record = said.get("stacksona", {}).get(TOOL)
    if record is None:
        return {"proposed_action": {"target_node": TOOL, "args": said["wanted"]}}
    more = sent_back(said["wanted"])
    if said["proposed_action"]["args"] == more:
        return {"proposed_action": {"target_node": END}}
    return {"proposed_action": {"target_node": TOOL, "args": more}}


def _route_after_planning(state: _State) -> str:
    return str(cast("dict[str, Any]", state)["proposed_action"]["target_node"])


async def _refund(graph: Any, gate: Gate, row: RefundRequest) -> RowResult:
    config = {"configurable": {"thread_id": row.id}, "callbacks": [RunEvents(gate)]}
    try:
        done = await graph.ainvoke({"wanted": row.arguments()}, config)
    except StacksonaError as error:
        return RowResult(row, note=str(error))
    record = done["stacksona"][TOOL]
    if not record["executed"]:
        return RowResult(row, record["decision_id"], note=record.get("feedback") or record["reason"])
    return RowResult(row, record["decision_id"], receipt=done["receipt"])
