"""What a run keeps in its workflow's state, under one key: its id, its turns, and the ids at the gate."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from workflows import Context
from workflows.context.state_store import DictState

from stacksona_adapters.gating.revision import revised_by, sent_back
from stacksona_adapters.llamaindex._running import current_run
from stacksona_adapters.protocol.canonical import idempotency_key
from stacksona_adapters.protocol.decisions import Decision

KEY = "stacksona"
"""The key in `ctx.store`."""


@asynccontextmanager
async def editing(ctx: Context[Any]) -> AsyncIterator[dict[str, Any] | None]:
    """The run's own part of the state, to be changed; `None` where the author's typed state has no room for it."""
    async with ctx.store.edit_state() as state:
        if isinstance(state, DictState):
            kept = dict(state.get(KEY) or {})
            yield kept
            state[KEY] = kept
        elif KEY in type(state).model_fields:
            kept = dict(getattr(state, KEY) or {})
            yield kept
            setattr(state, KEY, kept)
        else:
            yield None


async def run_id_of(ctx: Context[Any], otherwise: str | None = None) -> str:
    """The id of the run, which a resumed run finds in its state.

    Args:
        ctx: The run's context.
        otherwise: What names the run where its state has no room; a fresh id where it is `None`.
    """
    run = current_run()
    async with editing(ctx) as kept:
        if kept is None:
            return otherwise or uuid.uuid4().hex
        found: str = kept.setdefault("run_id", run.run_id if run is not None else uuid.uuid4().hex)
    if run is not None:
        run.run_id = found
    return found


async def begin(ctx: Context[Any]) -> None:
    """A new run begins, maybe on the context of an earlier one: nothing that it asks is a request of that one."""
    run = current_run()
    async with editing(ctx) as kept:
        if kept is not None:
            kept.update(run_id=run.run_id if run is not None else uuid.uuid4().hex, turn=0, calls=[], seen=0)


async def remember(ctx: Context[Any], request_id: str, decision: Decision) -> None:
    """Keep a request's ids at the gate: `ctx.store.get("stacksona")["reviews"][request_id]`."""
    ids = {"decision_id": decision.id, "task_id": decision.task_id, "thread_id": decision.thread_id}
    async with editing(ctx) as kept:
        if kept is not None:
            kept["reviews"] = {**kept.get("reviews", {}), request_id: {**ids, "status": str(decision.status)}}


async def note_turn(ctx: Context[Any], calls: Sequence[Any]) -> None:
    """Keep what a model proposed in this turn: which call revises what, and which calls are the same.

    It is noted where the model was asked. What comes after it may run again from a snapshot without counting twice.

    Args:
        ctx: The run's context.
        calls: The proposed calls, each with `tool_name`, `tool_id` and `tool_kwargs`.
    """
    results: list[Any] = await ctx.store.get("current_tool_calls", default=[]) or []
    async with editing(ctx) as kept:
        if kept is None:
            return
        told: dict[str, list[str]] = dict(kept.get("told", {}))
        told.update(_told(results[kept.get("seen", 0) :]))
        kept.update(
            turn=kept.get("turn", 0) + 1,
            seen=len(results),
            told=told,
            taken={},
            calls=[{"key": call_key(call), "revises": _revises(call, calls, told)} for call in calls],
        )


def _told(results: Sequence[Any]) -> dict[str, list[str]]:
    """The results of a turn, by tool."""
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(result.tool_name, []).append(result.tool_output.content)
    return {tool: [text for text in texts if sent_back([text])] for tool, texts in found.items()}


def _revises(call: Any, calls: Sequence[Any], told: dict[str, list[str]]) -> str | None:
    alike = [each for each in calls if each.tool_name == call.tool_name]
    return revised_by(call, alike, told.get(call.tool_name, []))


def call_key(call: Any) -> str:
    """What tells a call of a turn from the others; some models use the tool's name as id."""
    return f"{call.tool_id}:{content_key(call.tool_name, call.tool_kwargs)}"


def content_key(tool: str, arguments: dict[str, Any]) -> str:
    """The same for the same tool and arguments."""
    return idempotency_key(tool, json.dumps(arguments, sort_keys=True, default=str))


async def identify(ctx: Context[Any], call: Any) -> tuple[str, str | None]:
    """A call's id within its run, the same each time the call comes, and the decision that it revises.

    Args:
        ctx: The run's context.
        call: The call.
    """
    key = call_key(call)
    async with editing(ctx) as kept:
        if kept is None:
            return key, None
        same = [each for each in kept.get("calls", []) if each["key"] == key]
        place = 0
        if len(same) > 1:
            # The n-th of n identical calls; one that comes again takes a number that exists, never a further one.
            taken = dict(kept.get("taken", {}))
            place = taken.get(key, 0) % len(same)
            taken[key] = place + 1
            kept["taken"] = taken
        revises = same[place]["revises"] if same else None
        return f"{kept.get('turn', 0)}:{key}:{place}", revises
