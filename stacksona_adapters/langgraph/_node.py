"""A node behind a gate: whatever leads to it, asks first."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel

from stacksona_adapters._langgraph.pause import Asking, graph_context, identity, settle
from stacksona_adapters._langgraph.running import running
from stacksona_adapters._langgraph.steps import Steps, adrive, drive
from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.errors import ActionBlocked, ConfigurationError, RevisionRequested
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note, refusal
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy
from stacksona_adapters.protocol.canonical import jsonable
from stacksona_adapters.protocol.tasks import FrameworkOrigin

Run = Callable[[Any, dict[str, Any]], Any]
"""What a gated node does: gets the state and the approved arguments, and returns an update of the state."""


@dataclasses.dataclass(frozen=True)
class _GatedNode:
    name: str
    run: Run
    gate: AnyGate
    policy: ToolPolicy
    action: str | Callable[[Any], str]
    arguments: Callable[[Any], Mapping[str, Any]]
    schema: type[BaseModel] | None
    then: tuple[str, ...]
    rejected: str
    revise: str
    state_key: str
    wait: Wait
    builder: Any

    @property
    def acting(self) -> str:
        """The node that runs the action."""
        return f"{self.name}.run"

    def ask(self, state: Any, config: RunnableConfig) -> Steps[Command[Any]]:
        """Ask and keep the decision id in the state, before anything waits."""
        self._refuse_edges()
        action = self._describe(state, config)
        asked = yield lambda io: io.gate.request(action)
        # What was asked is kept as it was asked: the state may have changed when the review is over.
        whole = asked.action.model_dump(mode="json", exclude_defaults=True)
        record = {"decision_id": asked.decision.id, "status": str(asked.decision.status), "action": whole}
        update = self._update(record)
        return Command(update=update, goto=Send(self.acting, _with(state, self.state_key, update[self.state_key])))

    def act(self, state: Any, config: RunnableConfig) -> Steps[Command[Any]]:
        """Wait or pause for the decision, then run the action or go where a refusal leads."""
        state = _typed(state, self.builder)
        record = _get(state, self.state_key)[self.name]
        asking = Asking(Action.model_validate(record["action"]), self._validated if self.schema else None)
        (settled,) = yield from settle(self.gate, config, [asking], self.gate.seconds(self.wait))
        if isinstance(settled, Approval):
            approval = settled
            try:
                yield lambda io: io.gate.take(approval, approval.arguments)
            except ActionBlocked as blocked:
                settled = blocked
        if isinstance(settled, ActionBlocked):
            return self._refused(record, settled)
        if not isinstance(settled, Approval):
            raise settled
        result = yield from self._acted(state, settled)
        return self._done(record, settled, result)

    def _acted(self, state: Any, approval: Approval) -> Steps[Any]:
        plain, coroutine = (None, self.run) if inspect.iscoroutinefunction(self.run) else (self.run, None)
        with running(self.gate, approval.asked):
            return (yield lambda io: io.call(plain, coroutine, state, approval.arguments))

    def _describe(self, state: Any, config: RunnableConfig) -> Action:
        given = self.arguments(state)
        before = (_get(state, self.state_key) or {}).get(self.name) or {}
        return self.policy.action(
            self.action if isinstance(self.action, str) else self.action(state),
            self._validated(given),
            framework=FrameworkOrigin.LANGGRAPH,
            context=graph_context(config, next_node=self.acting, then=list(self.then)),
            arguments_schema=self.schema.model_json_schema() if self.schema else None,
            revises=before.get("decision_id") if before.get("status") == "revise" else None,
            take_at_once=False,  # the node that acts is another task
            **identity(config, self.name),
        )

    def _validated(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if self.schema is None:
            return dict(given)
        plain: dict[str, Any] = jsonable(self.schema.model_validate(given).model_dump(mode="json", by_alias=True))
        return plain

    def _refused(self, record: Mapping[str, Any], error: ActionBlocked) -> Command[Any]:
        why = refusal(record["action"]["name"], error).as_dict()
        goto = self.revise if isinstance(error, RevisionRequested) else self.rejected
        return Command(update=self._update({**record, **why}), goto=goto)

    def _done(self, record: Mapping[str, Any], approval: Approval, result: Any) -> Command[Any]:
        note = edit_note(approval)
        now = {**record, "status": str(approval.decision.status), "executed": True, "arguments": approval.arguments}
        update = self._update({**now, "note": note} if note else now)
        if isinstance(result, Command):
            merged = {**result.update, **update} if isinstance(result.update, dict) else update
            return dataclasses.replace(result, update=merged, goto=result.goto or self.then)
        return Command(update={**(result or {}), **update}, goto=self.then)

    def _update(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {self.state_key: {self.name: dict(record)}}

    def _refuse_edges(self) -> None:
        # An edge out of this node would be taken whatever the gate says.
        ahead = {end for start, end in self.builder.edges if start in (self.name, self.acting)}
        if ahead or {self.name, self.acting} & set(self.builder.branches):
            raise ConfigurationError(
                f"{self.name} is gated: an edge out of it would be taken without an approval, too. "
                f"Remove it, and say where the approved action leads with then=."
            )


def add_gated_node(
    builder: StateGraph[Any, Any, Any, Any],
    name: str,
    run: Run,
    *,
    gate: AnyGate,
    arguments: Callable[[Any], Mapping[str, Any]],
    action: str | Callable[[Any], str] | None = None,
    schema: type[BaseModel] | None = None,
    then: str | Sequence[str] = END,
    rejected: str = END,
    revise: str | None = None,
    risk: RiskOf = None,
    subject: SubjectOf = None,
    wait: Wait = DEFAULT,
    state_key: str = "stacksona",
) -> None:
    """Add a node that acts only when the gate permits; edges, conditional edges, `Send` and `Command` name it as any.

    It becomes two nodes: `name` asks and writes the decision id into the state; `name.run` waits or pauses, takes the
    permission and runs. So a conditional edge stays a pure function of the state, and whatever it returns, the gate
    stands in front of the action.

    Args:
        builder: The graph.
        name: The node's name.
        run: Called with the state and the approved arguments, sync or async; returns an update of the state, a
            `Command`, or `None`.
        gate: The gate.
        arguments: What the action shall run with, from the state. The approval does not cover what `run` takes from
            the state besides.
        action: The action's name for the gate, or a function of the state that says it; the node's where it is `None`.
        schema: A pydantic model of the arguments, for the reviewer's edits.
        then: Where the action leads; do not add edges out of this node.
        rejected: Where a refusal leads.
        revise: Where a wish for changes leads; `rejected` where it is `None`.
        risk: The level, or a function of action and arguments that says it.
        subject: The argument that holds the subject, or a function of action and arguments that says it.
        wait: Seconds to wait for a person in process; 0 pauses the graph at once, which needs a checkpointer; `None`
            waits as long as the request lives.
        state_key: The key of the state that holds the records of gated nodes, by name:
            `stacksona: Annotated[dict[str, Any], operator.or_]`. A record has `decision_id`, `status`, `action` and,
            where it did not run, `reason` and `feedback`.

    Raises:
        ConfigurationError: If the state has no such key; LangGraph would drop the decision ids without a word.
    """
    if state_key not in builder.channels:
        raise ConfigurationError(
            f"The state has no {state_key!r}: add `{state_key}: Annotated[dict[str, Any], operator.or_]` to it, "
            f"or name another key with state_key=."
        )
    gate.seconds(wait)
    ends = (then,) if isinstance(then, str) else tuple(then)
    node = _GatedNode(
        name=name,
        run=run,
        gate=gate,
        policy=ToolPolicy("all", risk, subject),
        action=action or name,
        arguments=arguments,
        schema=schema,
        then=ends,
        rejected=rejected,
        revise=revise or rejected,
        state_key=state_key,
        wait=wait,
        builder=builder,
    )
    builder.add_node(name, _runnable(gate, node.ask, name), destinations=(node.acting,))
    destinations = tuple(dict.fromkeys((*ends, node.rejected, node.revise)))
    builder.add_node(node.acting, _runnable(gate, node.act, node.acting), destinations=destinations)


def _runnable(gate: AnyGate, steps: Callable[[Any, RunnableConfig], Steps[Any]], name: str) -> Any:
    def plain(state: Any, config: RunnableConfig) -> Any:
        return drive(gate, steps(state, config))

    async def coroutine(state: Any, config: RunnableConfig) -> Any:
        return await adrive(gate, steps(state, config), config)

    return RunnableLambda(plain, coroutine, name=name)


def _typed(state: Any, builder: Any) -> Any:
    """The state as the graph's own type: LangGraph hands on what `Send` carries as it is."""
    schema = getattr(builder, "state_schema", None) or builder.schema  # `state_schema` since 0.5.0
    plain = isinstance(schema, type) and (issubclass(schema, BaseModel) or dataclasses.is_dataclass(schema))
    return schema(**state) if plain and isinstance(state, Mapping) else state


def _get(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


def _with(state: Any, key: str, value: Mapping[str, Any]) -> Any:
    """The state as the asking node saw it, with its record."""
    merged = {**(_get(state, key) or {}), **value}
    if isinstance(state, Mapping):
        return {**state, key: merged}
    if isinstance(state, BaseModel):
        return {**{name: getattr(state, name) for name in type(state).model_fields}, key: merged}
    return {**{each.name: getattr(state, each.name) for each in dataclasses.fields(state)}, key: merged}
