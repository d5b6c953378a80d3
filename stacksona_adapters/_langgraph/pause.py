"""Asking from inside a graph: what identifies a call, and the interrupt that waits for its review.

LangGraph runs a task again from its first line on every resume and gives the answers of earlier interrupts by
position. So the number of interrupts depends on the decisions alone, and an answer counts only if it carries what
nobody knows before the decision is final: it then wakes the task, and what may run is asked of the gate again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import set_config_context
from langgraph.types import interrupt

from stacksona_adapters._langgraph.steps import Step, Steps
from stacksona_adapters.client.gate import AnyGate
from stacksona_adapters.errors import ActionBlocked, ConfigurationError, ReviewPending, StacksonaError
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.prepare import Validate
from stacksona_adapters.protocol.decisions import Decision, Status

REVIEW = "stacksona_review"
"""The `type` of our interrupts' values."""

MARK = "stacksona"
"""The key of what we write into messages, states and answers of interrupts."""

Settled = Approval | StacksonaError
"""How a request stands: what may run, or why nothing does (a `ReviewPending` where it is still to be waited for)."""


@dataclass(frozen=True)
class Asking:
    """A call that the gate is to be asked about.

    Attributes:
        action: The call's action, its identity filled in.
        validate: The tool's own check of edited arguments.
    """

    action: Action
    validate: Validate | None = None


def identity(config: RunnableConfig, call_id: str) -> dict[str, Any]:
    """The run and call of an action: the same when the task runs again, in any process, and never those of another.

    Args:
        config: The task's config.
        call_id: Tells the calls of one task apart.
    """
    here = config.get("configurable") or {}
    thread_id = here.get("thread_id")
    # The namespace names the task, and a task's id is the hash of its checkpoint, step and path.
    return {
        "run_id": None if thread_id is None else str(thread_id),
        "call_id": f"{here.get('checkpoint_ns') or ''}/{call_id}",
    }


def graph_context(config: RunnableConfig, **more: Any) -> dict[str, Any]:
    """What LangGraph says of the place in the graph, for the reviewer; `more` what the caller knows besides."""
    here, about = config.get("configurable") or {}, config.get("metadata") or {}
    facts = {
        "thread_id": here.get("thread_id"),
        "current_node": about.get("langgraph_node"),
        "step": about.get("langgraph_step"),
        "checkpoint_ns": here.get("checkpoint_ns"),
        **more,
    }
    return {name: value for name, value in facts.items() if value is not None}


def settle(
    gate: AnyGate, config: RunnableConfig, asking: Sequence[Asking], seconds: float | None, *, leave: bool = False
) -> Steps[list[Settled]]:
    """Ask about all calls at once; wait, and pause the graph where the patience is over.

    Args:
        gate: The gate.
        config: The task's config.
        asking: The calls.
        seconds: Seconds to wait in process; 0 pauses at once, `None` waits as long as a request lives.
        leave: Leave a call that is to be waited for in process to the caller: it stands as its `ReviewPending`.

    Raises:
        ConfigurationError: If it is to pause at once and the graph has no checkpointer; nothing was sent.
        GraphInterrupt: To pause the graph.
    """
    pauses = seconds == 0
    if len(asking) > 1 and seconds is not None:
        # A pause for one of them runs the task again: nothing is taken before all of them may run.
        asking = [dataclasses.replace(each, action=_later(each.action)) for each in asking]
    if pauses and not _has_checkpointer(config):
        raise ConfigurationError(
            "wait=0 pauses the graph, and this one has no checkpointer to resume from: "
            "compile(checkpointer=...), or wait in process with wait=None."
        )
    first = 0 if seconds is None and leave else seconds
    settled: list[Settled] = yield [_authorize(each, first) for each in asking]
    if pauses or (seconds is not None and _has_checkpointer(config)):
        reviewed = [
            (each, decision) for each, result in zip(asking, settled, strict=True) if (decision := _reviewed(result))
        ]
        if any(not decision.status.final for _, decision in reviewed) or (pauses and reviewed):
            _pause(gate, config, reviewed)
    return settled


def _later(action: Action) -> Action:
    return action.model_copy(update={"take_at_once": False})


def _authorize(asking: Asking, seconds: float | None) -> Step:
    return lambda io: io.gate.authorize(asking.action, wait=seconds, validate=asking.validate)


def _reviewed(settled: Settled) -> Decision | None:
    """The decision that a person has or had to make; a rule's answer never pauses a graph."""
    decision = settled.decision if isinstance(settled, (Approval, ActionBlocked, ReviewPending)) else None
    if not isinstance(decision, Decision) or decision.status in (Status.ALLOW, Status.REJECT):
        return None
    return decision


def _pause(gate: AnyGate, config: RunnableConfig, reviewed: Sequence[tuple[Asking, Decision]]) -> None:
    """Interrupt until the answer is ours and about the very decisions that stand at the gate now."""
    expected = {decision.id: proof(decision) for _, decision in reviewed}
    reviews = [_review(gate, asking.action, decision) for asking, decision in reviewed]
    value = {"type": REVIEW, "reviews": reviews}
    while True:
        # interrupt() finds its config in a context variable, which Python 3.10 does not carry into tasks.
        with set_config_context(config) as context:
            answer = context.run(partial(interrupt, value))
        given = answer.get(MARK) if isinstance(answer, Mapping) else None
        if isinstance(given, Mapping) and all(word and given.get(key) == word for key, word in expected.items()):
            return


def _review(gate: AnyGate, action: Action, decision: Decision) -> dict[str, Any]:
    whole = action.model_copy(update={"agent": action.agent or gate.agent})
    return {"decision_id": decision.id, "action": whole.model_dump(mode="json", exclude_defaults=True)}


def proof(decision: Decision) -> str | None:
    """What wakes a task that waits for a decision: unknown before it is final, and the same from then on."""
    if not decision.status.final:
        return None
    said = [str(decision.status), decision.reviewer_id, decision.message, decision.action_digest]
    return f"{decision.status} {hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}"


def _has_checkpointer(config: RunnableConfig) -> bool:
    # No public name says it. The key has been there since 0.2; should it go, a pause without a checkpointer
    # ends the run as it does in LangGraph itself, and nothing runs.
    return (config.get("configurable") or {}).get("__pregel_checkpointer", True) is not None
