"""The arguments of a tool as its function will get them."""

from __future__ import annotations

from typing import Any

from ag2.tools.final import FunctionTool
from pydantic import BaseModel, ConfigDict, create_model


class Arguments:
    """Reads the arguments of one tool.

    Args:
        tool: The tool; `None` for one of a remote server, whose arguments are taken as they are.
    """

    def __init__(self, tool: FunctionTool | None) -> None:
        self.schema: dict[str, Any] | None = None
        self._model: type[BaseModel] | None = None
        if tool is not None:
            self.schema = {"type": "object", **tool.schema.function.parameters}
            self._model = _model(tool, self.schema)

    def read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments as the function gets them, defaults included.

        Raises:
            ValueError: If they do not fit.
        """
        if not isinstance(arguments, dict):
            raise ValueError("the arguments are no JSON object")
        if self._model is None:
            return arguments
        read = self._model.model_validate(arguments).model_dump(mode="json", by_alias=True)
        return {**arguments, **read}

    def edited(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments that a reviewer edited, as the function gets them.

        Raises:
            ValueError: If they do not fit, or nobody can say here whether they do.
        """
        if self.schema is None:
            raise ValueError("this tool has no schema to check an edit with")
        unknown = sorted(set(arguments) - set(self.schema.get("properties", {})))
        if unknown and not self.schema.get("additionalProperties"):
            raise ValueError(f"there is no argument {', '.join(unknown)}")
        return self.read(arguments)


def _model(tool: FunctionTool, schema: dict[str, Any]) -> type[BaseModel]:
    known = schema.get("properties", {})
    fields: dict[str, Any] = {
        option.field_name: (option.field_type, option.default_value)
        for option in tool.model.flat_params
        if option.field_name in known
    }
    return create_model("Arguments", __config__=ConfigDict(arbitrary_types_allowed=True), **fields)
