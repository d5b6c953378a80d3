"""Outputs as arguments of an action, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.output import OutputContext

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.protocol.canonical import jsonable

WHOLE = "output"
"""The argument's name of an output that is no object."""


@dataclass(frozen=True)
class Typed:
    """How the values of an output type stand in an action: an object by its fields, anything else as `output`.

    Attributes:
        name: The action's name.
        adapter: Reads and writes the values.
        whole: Whether the values are no objects.
        schema: The JSON schema of the action's arguments.
    """

    name: str
    adapter: TypeAdapter[Any]
    whole: bool
    schema: dict[str, Any]

    @classmethod
    def of(cls, output_type: Any, value: Any) -> Typed:
        """For a type, by default that of a value."""
        if output_type is None and value is None:
            raise ConfigurationError("Which type has the output? Pass output_type=.")
        chosen = type(value) if output_type is None else output_type
        adapter: TypeAdapter[Any] = TypeAdapter(chosen)
        schema = adapter.json_schema()
        whole = schema.get("type") != "object"
        return cls(
            f"output:{getattr(chosen, '__name__', chosen)}", adapter, whole, _wrapped(schema) if whole else schema
        )

    @classmethod
    def of_context(cls, about: OutputContext, value: Any) -> Typed:
        """For an output that the framework processes."""
        if about.has_function and isinstance(value, dict) and about.tool_def is not None:
            # The parameters of an output function, which has a schema and no type.
            name = about.function_name or about.tool_def.name
            return cls(name, TypeAdapter(dict[str, Any]), False, about.tool_def.parameters_json_schema)
        return cls.of(about.output_type, value)

    def arguments(self, value: Any) -> dict[str, Any]:
        """A value as an action's arguments."""
        plain = jsonable(self.adapter.dump_python(value, mode="json"), "output")
        return {WHOLE: plain} if self.whole else dict(plain)

    def value(self, arguments: dict[str, Any]) -> Any:
        """A value from an action's arguments.

        Raises:
            ValidationError: If they do not fit the type.
        """
        return self.adapter.validate_python(arguments.get(WHOLE) if self.whole else arguments)

    def checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A reviewer's arguments as the type reads them."""
        return self.arguments(self.value(arguments))


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    inner = dict(schema)
    definitions = inner.pop("$defs", None)
    outer = {"type": "object", "properties": {WHOLE: inner}, "required": [WHOLE], "additionalProperties": False}
    return outer if definitions is None else {**outer, "$defs": definitions}
