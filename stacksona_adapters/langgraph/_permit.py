"""The gate inside of a node, tool, task or entrypoint of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config

from stacksona_adapters._langgraph.pause import Asking, graph_context, identity, settle
from stacksona_adapters._langgraph.running import running
from stacksona_adapters._langgraph.steps import Steps, adrive, drive
from stacksona_adapters.client.gate import DEFAULT, AnyGate, Permit, Wait
from stacksona_adapters.gating.action import make_action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.prepare import Validate
from stacksona_adapters.protocol.tasks import FrameworkOrigin


@contextmanager
def permit(
    gate: AnyGate,
    name: str,
    arguments: Mapping[str, Any],
    *,
    config: RunnableConfig | None = None,
    slot: str = "",
    wait: Wait = DEFAULT,
    validate: Validate | None = None,
    **fields: Any,
) -> Iterator[Permit]:
    """Ask, wait or pause the graph, take; the block runs the action with `permit.arguments`, and its end is reported.

    LangGraph runs the node again from its first line when it resumes: do nothing before this that must not be done
    twice, and build the arguments of what the state says, not of the clock or of chance.

    Args:
        gate: The gate.
        name: The action.
        arguments: What it shall run with.
        config: The node's config; LangGraph's own of this context where it is `None`, which asynchronous code on
            Python 3.10 does not have.
        slot: Tells apart several requests of one node for the same action and arguments.
        wait: Seconds to wait for a person in process; 0 pauses the graph at once.
        validate: Checks edited arguments and returns them as the action would get them.
        **fields: Further fields of `Action` (`subject`, `risk`, `summary`, `context`, ...).

    Raises:
        ActionBlocked: If the answer stops the action; the block did not run.
        ReviewPending: If nobody has decided in time and the graph has no checkpointer to pause with.
        GateError: If there is no answer to trust; the block did not run.
        GraphInterrupt: To pause the graph; let it pass.
    """
    approval = drive(gate, _taken(gate, name, arguments, config or get_config(), slot, wait, validate, fields))
    with running(gate, approval.asked):
        yield Permit(approval)


@asynccontextmanager
async def apermit(
    gate: AnyGate,
    name: str,
    arguments: Mapping[str, Any],
    *,
    config: RunnableConfig | None = None,
    slot: str = "",
    wait: Wait = DEFAULT,
    validate: Validate | None = None,
    **fields: Any,
) -> AsyncIterator[Permit]:
    """See `permit`."""
    approval = await adrive(gate, _taken(gate, name, arguments, config or get_config(), slot, wait, validate, fields))
    with running(gate, approval.asked):
        yield Permit(approval)


def _taken(
    gate: AnyGate,
    name: str,
    arguments: Mapping[str, Any],
    config: RunnableConfig,
    slot: str,
    wait: Wait,
    validate: Validate | None,
    fields: Mapping[str, Any],
) -> Steps[Approval]:
    context = {**graph_context(config), **fields.get("context", {})}
    described = {"framework": FrameworkOrigin.LANGGRAPH, **identity(config, f"{name}/{slot}"), **fields}
    action = make_action(name, arguments, **{**described, "context": context})
    (settled,) = yield from settle(gate, config, [Asking(action, validate)], gate.seconds(wait))
    if not isinstance(settled, Approval):
        raise settled
    yield lambda io: io.gate.take(settled, settled.arguments)
    return settled
