"""From outside of a graph: what it waits for, and how it goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt, StateSnapshot
from pydantic import BaseModel, ConfigDict, ValidationError

from stacksona_adapters._langgraph.pause import MARK, REVIEW, proof
from stacksona_adapters._langgraph.steps import Steps, adrive, drive
from stacksona_adapters.client.gate import AnyGate, Wait
from stacksona_adapters.errors import ActionBlocked, ConfigurationError, GateError, ReviewPending, StacksonaError
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.protocol.decisions import Decision

_RELEASE = tuple(int(part) for part in re.findall(r"\d+", metadata.version("langgraph"))[:3])
_KEEPS_MAPPED_ANSWERS = _RELEASE >= (0, 6, 5)
"""Before 0.6.5 LangGraph forgets an answer given in a map as soon as the same task interrupts once more."""


class Graph(Protocol):
    """What is used of a compiled graph, an agent or a functional `entrypoint`."""

    def get_state(self, config: RunnableConfig) -> StateSnapshot:
        """See LangGraph."""
        ...

    async def aget_state(self, config: RunnableConfig) -> StateSnapshot:
        """See LangGraph."""
        ...

    def invoke(self, input: Any, config: RunnableConfig) -> Any:  # noqa: A002 - the name is LangGraph's
        """See LangGraph."""

    async def ainvoke(self, input: Any, config: RunnableConfig) -> Any:  # noqa: A002
        """See LangGraph."""


class PausedReview(BaseModel):
    """One call that waits for a person.

    Attributes:
        decision_id: The request at the gate.
        interrupt_id: The graph's interrupt that waits for it; several calls of one task share one.
        node: The node that waits, of the outermost graph.
        action: What is proposed.
    """

    model_config = ConfigDict(frozen=True)

    decision_id: str
    interrupt_id: str
    node: str
    action: Action


class PausedGraph(BaseModel):
    """A graph that waits for reviews. Its state is in its checkpointer; this says what it waits for, as JSON.

    Attributes:
        thread_id: The graph's thread.
        reviews: What it waits for.
    """

    model_config = ConfigDict(frozen=True)

    thread_id: str
    reviews: tuple[PausedReview, ...]

    @property
    def config(self) -> RunnableConfig:
        """The config that resumes the thread."""
        return {"configurable": {"thread_id": self.thread_id}}

    def to_json(self) -> str:
        """The pause as a JSON text."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str) -> PausedGraph:
        """The pause of a JSON text.

        Raises:
            ConfigurationError: If it is none.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ConfigurationError(f"This is no paused graph: {error.errors()[0]['msg']}.") from error


Where = RunnableConfig | PausedGraph
"""A thread: the config that names it, or its pause."""


def paused(graph: Graph, config: RunnableConfig) -> PausedGraph | None:
    """What a graph waits for; `None` where it waits for no review.

    Args:
        graph: The compiled graph.
        config: The config with the `thread_id`.
    """
    return _read(graph.get_state(config), config)


async def apaused(graph: Graph, config: RunnableConfig) -> PausedGraph | None:
    """See `paused`."""
    return _read(await graph.aget_state(config), config)


def resume_command(graph: Graph, where: Where, *, gate: AnyGate) -> Command[Any] | None:
    """The command that wakes every task whose reviews are decided, for `invoke` and `stream`; the others stay paused.

    Args:
        graph: The compiled graph; a new one of the same nodes will do.
        where: The config with the `thread_id`, or a `PausedGraph`.
        gate: The gate.

    Returns:
        The command; `None` where nothing is decided yet.

    Raises:
        GateError: If the gate cannot be asked; the graph stays paused.
    """
    return drive(gate, _command(graph, where))


async def aresume_command(graph: Graph, where: Where, *, gate: AnyGate) -> Command[Any] | None:
    """See `resume_command`."""
    return await adrive(gate, _command(graph, where))


def resume(graph: Graph, where: Where, *, gate: AnyGate, wait: Wait = 0) -> Any:
    """Let a paused graph go on, with everything that is decided.

    Args:
        graph: The compiled graph.
        where: The config with the `thread_id`, or a `PausedGraph`.
        gate: The gate.
        wait: Seconds to wait for the reviews before.

    Returns:
        What `graph.invoke` returns.

    Raises:
        ReviewPending: If nothing is decided yet.
        ConfigurationError: If the graph waits for no review.
        GateError: If the gate cannot be asked; the graph stays paused.
    """
    return drive(gate, _resume(graph, where, gate.seconds(wait)))


async def aresume(graph: Graph, where: Where, *, gate: AnyGate, wait: Wait = 0) -> Any:
    """See `resume`."""
    return await adrive(gate, _resume(graph, where, gate.seconds(wait)))


def withdraw(where: PausedGraph, *, gate: AnyGate) -> None:
    """Cancel the requests of a paused graph that nobody will resume, so that nobody reviews a dead action.

    Args:
        where: The pause.
        gate: The gate.

    Raises:
        GateError: If the gate cannot be asked.
    """
    for review in where.reviews:
        gate.sync.withdraw(gate.sync.request(review.action))


def _resume(graph: Graph, where: Where, seconds: float | None) -> Steps[Any]:
    waiting = _read((yield from _snapshot(graph, where)), _config(where))
    if waiting is None:
        raise ConfigurationError("This graph waits for no review; go on with graph.invoke(None, config).")
    found: list[Approval | StacksonaError] = yield [partial(_look, review, seconds) for review in waiting.reviews]
    command = yield from _command(graph, where)
    if command is None:
        raise _why(found)
    return (yield lambda io: io.call(graph.invoke, graph.ainvoke, command, _config(where)))


def _command(graph: Graph, where: Where) -> Steps[Command[Any] | None]:
    snapshot = yield from _snapshot(graph, where)
    waiting = _read(snapshot, _config(where))
    if waiting is None:
        return None
    found: list[Approval | StacksonaError] = yield [partial(_look, review, 0) for review in waiting.reviews]
    answers: dict[str, dict[str, str | None]] = {}
    for review, result in zip(waiting.reviews, found, strict=True):
        answers.setdefault(review.interrupt_id, {})[review.decision_id] = _word(result)
    decided = {key: {MARK: words} for key, words in answers.items() if all(words.values())}
    if not _KEEPS_MAPPED_ANSWERS and decided and _interrupts(snapshot) == 1:
        return Command(resume=next(iter(decided.values())))
    # A map, never a bare value: LangGraph gives a bare one to whichever interrupt comes first, also a later one.
    return Command(resume=decided) if decided else None


def _why(found: Sequence[Approval | StacksonaError]) -> StacksonaError:
    """Why nothing can go on: an outage, or a review that is still open (another of its task may be decided)."""
    for kind in (GateError, ReviewPending):
        for each in found:
            if isinstance(each, kind):
                return each
    return ConfigurationError("The graph changed while it was resumed; look at it again.")


def _look(review: PausedReview, seconds: float | None, io: Any) -> Any:
    return io.gate.authorize(review.action, wait=seconds)


def _word(result: Approval | StacksonaError) -> str | None:
    if isinstance(result, GateError):
        raise result
    if isinstance(result, (Approval, ActionBlocked, ReviewPending)) and isinstance(result.decision, Decision):
        return proof(result.decision)
    return None


def _snapshot(graph: Graph, where: Where) -> Steps[StateSnapshot]:
    config = _config(where)
    snapshot: StateSnapshot = yield lambda io: io.call(graph.get_state, graph.aget_state, config)
    return snapshot


def _interrupts(snapshot: StateSnapshot) -> int:
    return sum(len(task.interrupts) for task in snapshot.tasks if not task.result)


def _config(where: Where) -> RunnableConfig:
    return where.config if isinstance(where, PausedGraph) else where


def _read(snapshot: StateSnapshot, config: RunnableConfig) -> PausedGraph | None:
    reviews: list[PausedReview] = []
    for task in snapshot.tasks:
        if task.result:  # before 1.2 a finished task keeps its answered interrupts
            continue
        for each in task.interrupts:
            value = each.value
            if isinstance(value, Mapping) and value.get("type") == REVIEW:
                about = {"interrupt_id": _id(each), "node": task.name}
                reviews += [PausedReview.model_validate({**review, **about}) for review in value["reviews"]]
    if not reviews:
        return None
    return PausedGraph(thread_id=str((config.get("configurable") or {})["thread_id"]), reviews=tuple(reviews))


def _id(found: Interrupt) -> str:
    name = "id" if hasattr(found, "id") else "interrupt_id"  # `id` since 0.6.0
    return str(getattr(found, name))
