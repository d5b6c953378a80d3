"""`gate.protect(...)`: a plain Python function behind the gate."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model

from stacksona_adapters.errors import ConfigurationError, InvalidAction, ReviewPending
from stacksona_adapters.gating.action import Action, make_action
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.risk import read_risk

if TYPE_CHECKING:
    from stacksona_adapters.client.gate import _Face
    from stacksona_adapters.client.permit import Wait
    from stacksona_adapters.protocol.requests import Risk

F = TypeVar("F", bound="Callable[..., Any]")


class Described:
    """A function and how its calls are described to the gate.

    Args:
        function: The function.
        action: The action's name; the function's where it is `None`.
        risk: The level, or a function of the arguments.
        subject: The name of a parameter, or a function of the arguments.
        fields: Further fields of `Action`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        action: str | None,
        risk: Risk | str | Callable[..., Risk | str] | None,
        subject: str | Callable[..., Any] | None,
        fields: Mapping[str, Any],
    ) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{function.__name__} is a generator: it would act after its permission was closed. "
                "Gate the function that does the work."
            )
        self.function = function
        self.name = action or function.__name__
        self.signature = inspect.signature(function)
        self._risk = risk if risk is None or callable(risk) else read_risk(risk, f"protect of {self.name}")
        self._subject = subject
        self._fields = dict(fields)
        self._hidden = _receiver(self.signature)
        if isinstance(subject, str) and subject not in self.signature.parameters:
            raise ConfigurationError(f"subject={subject!r} is no parameter of {function.__name__}.")
        self.model = _arguments_model(function, self.signature, self._hidden)

    def action(self, call: inspect.BoundArguments) -> Action:
        """The action that a call is."""
        arguments = self.shown(call)
        risk = self._risk(**arguments) if callable(self._risk) else self._risk
        subject = self._subject(**arguments) if callable(self._subject) else arguments.get(self._subject or "")
        return make_action(
            self.name,
            arguments,
            risk=None if risk is None else read_risk(risk, f"the risk function of {self.name}"),
            subject=None if subject is None else str(subject),
            arguments_schema=self.model.model_json_schema() if self.model else None,
            **self._fields,
        )

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """The call's arguments by name, defaults included (the reviewer sees what will be used)."""
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        return call

    def shown(self, call: inspect.BoundArguments) -> dict[str, Any]:
        """The arguments that are described: all but `self`."""
        return {name: value for name, value in call.arguments.items() if name != self._hidden}

    def validate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Edited arguments as the function would get them: its annotations are the schema.

        Raises:
            ValueError: If they do not fit.
        """
        if self.model is None:
            unknown = set(arguments) ^ (set(self.signature.parameters) - {self._hidden})
            if unknown:
                raise ValueError(f"arguments {sorted(unknown)} do not fit {self.name}")
            return arguments
        checked = self.model.model_validate(arguments)
        return {name: getattr(checked, field) for name, field in _field_names(self.signature, self._hidden).items()}

    def approved_call(self, call: inspect.BoundArguments, approval: Approval) -> inspect.BoundArguments:
        """The call that may run: the caller's own objects, or the reviewer's values."""
        if approval.edited:
            call.arguments.update(self.validate(approval.arguments))
        return call

    def call_of(self, pending: ReviewPending) -> inspect.BoundArguments:
        """The call that a pause was about, from its description."""
        if pending.action.name != self.name:
            raise InvalidAction(f"The pause is about {pending.action.name}, not {self.name}.")
        if self._hidden is not None:
            raise InvalidAction(f"{self.name} is a method; go on with gate.permit(pending.action) instead.")
        call = self.signature.bind_partial()
        call.arguments.update(self.validate(dict(pending.action.arguments)))
        return call


def protected(gate: _Face, function: F, described: Described, wait: Wait) -> F:
    """The function behind the gate, of the same kind (sync or async)."""
    if inspect.iscoroutinefunction(function):
        return cast("F", _protected_async(gate, described, wait))
    return cast("F", _protected_sync(gate, described, wait))


def _protected_sync(gate: _Face, described: Described, wait: Wait) -> Callable[..., Any]:
    def run(call: inspect.BoundArguments, action: Action) -> Any:
        approval = gate.sync.authorize(action, wait=wait, validate=described.validate)
        call = described.approved_call(call, approval)
        gate.sync.take(approval, described.shown(call))
        with gate.reporting(approval.asked):
            return described.function(*call.args, **call.kwargs)

    @functools.wraps(described.function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = described.bind(args, kwargs)
        return run(call, described.action(call))

    wrapper.resume = lambda pending: run(described.call_of(pending), pending.action)  # type: ignore[attr-defined]
    return wrapper


def _protected_async(gate: _Face, described: Described, wait: Wait) -> Callable[..., Any]:
    async def run(call: inspect.BoundArguments, action: Action) -> Any:
        approval = await gate.aio.authorize(action, wait=wait, validate=described.validate)
        call = described.approved_call(call, approval)
        await gate.aio.take(approval, described.shown(call))
        with gate.reporting(approval.asked):
            return await described.function(*call.args, **call.kwargs)

    @functools.wraps(described.function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = described.bind(args, kwargs)
        return await run(call, described.action(call))

    wrapper.resume = lambda pending: run(described.call_of(pending), pending.action)  # type: ignore[attr-defined]
    return wrapper


def _receiver(signature: inspect.Signature) -> str | None:
    first = next(iter(signature.parameters), None)
    return first if first in ("self", "cls") else None


def _field_names(signature: inspect.Signature, hidden: str | None) -> dict[str, str]:
    # pydantic takes no field that starts with "_" and warns of names that shadow its own.
    return {name: f"p_{name}" for name in signature.parameters if name != hidden}


def _arguments_model(
    function: Callable[..., Any], signature: inspect.Signature, hidden: str | None
) -> type[BaseModel] | None:
    """A model of the parameters by the function's annotations; `None` where they make none."""
    try:
        hints = inspect.get_annotations(function, eval_str=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None
    fields: dict[str, Any] = {}
    for name, field in _field_names(signature, hidden).items():
        parameter = signature.parameters[name]
        kind = hints.get(name, Any)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            kind = GenericAlias(tuple, (kind, ...))
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kind = GenericAlias(dict, (str, kind))
        fields[field] = (kind, Field(alias=name))
    try:
        return create_model(
            f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid", populate_by_name=False), **fields
        )
    except (PydanticUserError, TypeError, RuntimeError):
        return None
