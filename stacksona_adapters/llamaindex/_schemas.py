"""From a request to the action that the gate is asked about, and arguments as a schema reads them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.gating.action import Action
from stacksona_adapters.llamaindex._running import Binding
from stacksona_adapters.llamaindex.events import ApprovalRequested
from stacksona_adapters.protocol.tasks import FrameworkOrigin


def read_arguments(
    name: str, model: type[BaseModel], arguments: dict[str, Any], *, further: bool = False
) -> dict[str, Any]:
    """Arguments as a model reads them, as plain JSON values.

    Args:
        name: The action's name.
        model: The schema.
        arguments: The arguments.
        further: Whether there may be some that the schema does not name.

    Raises:
        InvalidAction: If they do not fit.
    """
    known = {*model.model_fields, *(field.alias for field in model.model_fields.values())}
    unnamed = {key: value for key, value in arguments.items() if key not in known}
    if unnamed and not further and model.model_config.get("extra") != "allow":
        raise InvalidAction(f"{name} takes no argument {', '.join(unnamed)}.")
    try:
        read = model.model_validate(arguments).model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise InvalidAction(f"the arguments do not fit the tool's schema ({where}: {first['msg']}).") from error
    except (ValueError, PydanticUserError) as error:
        raise InvalidAction(f"the tool's schema cannot read the arguments: {error}") from error
    return {**unnamed, **read}


def describe(binding: Binding, request: ApprovalRequested, run_id: str, schema: dict[str, Any] | None) -> Action:
    """The action of a request: the same each time, so that the gate finds the earlier one.

    Args:
        binding: How it is gated.
        request: The request.
        run_id: The run that it belongs to.
        schema: The JSON schema of the arguments.

    Raises:
        InvalidAction: If it cannot be described.
    """
    return binding.policy.action(
        request.tool_name,
        request.payload,
        subject=request.subject,
        risk=request.risk_level,
        summary=tuple(request.summary),
        context=request.context,
        arguments_schema=schema,
        revises=request.revises,
        run_id=run_id,
        run_label=request.label,
        call_id=request.request_id,
        framework=FrameworkOrigin.LLAMAINDEX,
    )
