"""A process that starts or resumes a graph with one gated payment, and may kill itself. Run by test_restarts.py."""

from __future__ import annotations

import asyncio
import inspect
import operator
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from stacksona_adapters import Gate
from stacksona_adapters.langgraph import GatedToolNode, add_gated_node, aresume_command, paused, resume_command
from tests.adapters.langgraph_harness import react_agent, scripted
from tests.client.crash_process import DyingCore

CONFIG: Any = {"configurable": {"thread_id": "T-1"}}


class Plan(TypedDict, total=False):
    """A planned payment."""

    amount: float
    stacksona: Annotated[dict[str, Any], operator.or_]


class Payments:
    """The action; every execution is a line of a file."""

    def __init__(self, ledger: Path, *, die: bool) -> None:
        self._ledger = ledger
        self._die = die

    def pay(self, amount: float) -> str:
        """Pay somebody."""
        with self._ledger.open("a", encoding="utf-8") as file:
            file.write(f"{amount}\n")
        if self._die:
            os.kill(os.getpid(), signal.SIGKILL)
        return "paid"


def graph_of(kind: str, gate: Gate, payments: Payments, amount: float, saver: Any) -> Any:
    """An agent with a gated tool, or a graph with a gated node."""
    if kind == "node":
        builder: StateGraph[Any, Any, Any, Any] = StateGraph(Plan)
        arguments = {"gate": gate, "arguments": lambda state: {"amount": state["amount"]}}
        add_gated_node(builder, "pay", lambda _, args: payments.pay(**args) and {}, **arguments)
        builder.add_edge(START, "pay")
        return builder.compile(checkpointer=saver)
    model = scripted([{"name": "pay", "args": {"amount": amount}, "id": "c1"}])
    return react_agent(model, GatedToolNode([payments.pay], gate=gate), checkpointer=saver, version=kind)


@contextmanager
def saver_of(place: str) -> Iterator[Any]:
    """A checkpointer in a SQLite file or at a PostgreSQL URL."""
    if place.startswith("postgresql"):
        with PostgresSaver.from_conn_string(place) as saver:
            saver.setup()
            yield saver
    else:
        connection = sqlite3.connect(place, check_same_thread=False, timeout=30)
        yield SqliteSaver(connection)
        connection.close()


def go_on(graph: Any, gate: Gate, amount: float) -> str:
    """Start the thread, or go on with it from wherever an earlier process left it."""
    snapshot = graph.get_state(CONFIG)
    # Checkpoints are written before the next step, so that a killed process leaves what it did.
    durable: Any = {"durability": "sync"} if "durability" in inspect.signature(graph.stream).parameters else {}
    if (snapshot.metadata or {}).get("step", -1) < 0:  # nothing was done yet, and the input may be lost
        graph.invoke({"messages": [("user", "go")], "amount": amount}, CONFIG, **durable)
    elif paused(graph, CONFIG):
        command = resume_command(graph, CONFIG, gate=gate)
        if command is not None:
            graph.invoke(command, CONFIG, **durable)
    elif snapshot.tasks:  # `next` leaves out a task whose writes were kept though its step was not finished
        graph.invoke(None, CONFIG, **durable)
    return "paused" if paused(graph, CONFIG) else "ended"


async def ago_on(kind: str, gate: Gate, payments: Payments, amount: float, place: str) -> str:
    """The same with PostgreSQL's asynchronous checkpointer."""
    async with AsyncPostgresSaver.from_conn_string(place) as saver:
        await saver.setup()
        graph = graph_of(kind, gate, payments, amount, saver)
        snapshot = await graph.aget_state(CONFIG)
        if not snapshot.created_at:
            await graph.ainvoke({"messages": [("user", "go")], "amount": amount}, CONFIG)
        elif command := await aresume_command(graph, CONFIG, gate=gate):
            await graph.ainvoke(command, CONFIG)
        return "paused" if (await graph.aget_state(CONFIG)).next else "ended"


def main(kind: str, place: str, ledger: str, amount: str, when: str, number: str) -> None:
    """Go on with the thread; print how it stands."""
    gate = Gate("clerk", wait=0)
    gate._core = DyingCore(gate._core, when, int(number))
    payments = Payments(Path(ledger), die=when == "during")
    if kind.endswith("_async"):
        print(asyncio.run(ago_on(kind.removesuffix("_async"), gate, payments, float(amount), place)))
    else:
        with saver_of(place) as saver:
            print(go_on(graph_of(kind, gate, payments, float(amount), saver), gate, float(amount)))
    gate.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
