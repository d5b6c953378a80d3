"""A tool's arguments checked by its own schema, and its results with what the model should know of the decision."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.messages import ToolReturn
from pydantic_ai.tools import RunContext, ToolDefinition
from pydantic_ai.toolsets import ToolsetTool

from stacksona_adapters.errors import InvalidEdit
from stacksona_adapters.gating.flow import Approval
from stacksona_adapters.gating.refusal import edit_note
from stacksona_adapters.protocol.canonical import jsonable
from stacksona_adapters.pydantic_ai.deferred import KEY


def shown(tool_def: ToolDefinition, arguments: dict[str, Any]) -> Any:
    """Arguments in the shape of the tool's schema, in which the model writes them and a reviewer edits them.

    The framework hands a model that is a tool's only argument over by the argument's name; the schema is the model's.
    """
    schema = tool_def.parameters_json_schema.get("properties", {})
    if len(arguments) != 1 or next(iter(arguments)) in schema:
        return arguments
    inner = jsonable(next(iter(arguments.values())))
    return inner if isinstance(inner, dict) and set(inner) <= set(schema) else arguments


def validator(tool: ToolsetTool[Any], ctx: RunContext[Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Checks arguments with the tool's own schema and returns them as the tool gets them."""

    def validate(arguments: dict[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = tool.args_validator.validate_python(arguments, context=ctx.validation_context)
        return checked

    return validate


def shown_validator(tool: ToolsetTool[Any], ctx: RunContext[Any]) -> Callable[[dict[str, Any]], Any]:
    """Checks arguments with the tool's own schema and returns them as `shown`."""
    validate = validator(tool, ctx)
    return lambda arguments: shown(tool.tool_def, validate(arguments))


async def check_custom(
    tool: ToolsetTool[Any], ctx: RunContext[Any], arguments: dict[str, Any], approval: Approval
) -> None:
    """Let the tool's own `args_validator=` see a reviewer's edit too.

    Raises:
        InvalidEdit: If it objects.
    """
    if tool.args_validator_func is None:
        return
    try:
        objection = tool.args_validator_func(ctx, **arguments)
        if inspect.isawaitable(objection):
            await objection
    except (ModelRetry, ValueError) as error:
        raise InvalidEdit(approval.asked.action.name, approval.decision, str(error)) from error


def noted(result: Any, approval: Approval) -> Any:
    """A tool's result with the decision in its metadata, and a reviewer's edit where the model reads it."""
    whole = result if isinstance(result, ToolReturn) else ToolReturn(result)
    note = edit_note(approval)
    if note is not None:
        whole = _with_note(whole, note)
    if whole.metadata is None or isinstance(whole.metadata, dict):
        whole = replace(whole, metadata={**(whole.metadata or {}), KEY: {"decision_id": approval.decision.id}})
    return whole


def _with_note(result: ToolReturn[Any], note: str) -> ToolReturn[Any]:
    if isinstance(result.return_value, str):
        return replace(result, return_value=f"{result.return_value}\n\n{note}")
    if result.content is None or isinstance(result.content, str):
        return replace(result, content="\n\n".join(filter(None, [result.content, note])))
    return replace(result, content=[*result.content, note])
