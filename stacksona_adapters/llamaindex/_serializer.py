"""What serialises a suspended run of an agent."""

from __future__ import annotations

from typing import Any

from llama_index.core.agent.workflow import ToolCallResult
from workflows.context.serializers import JsonSerializer


class PauseSerializer(JsonSerializer):
    """JSON. One earlier result without a JSON form would keep LlamaIndex from serialising the run at all."""

    def serialize(self, value: Any) -> str:
        """The value as text; a tool's raw result that has no JSON form is replaced by what the model was told.

        Args:
            value: Any value of the run's state, or an event.

        Raises:
            ValueError: If something else has no JSON form.
        """
        try:
            return super().serialize(value)
        except ValueError:
            return super().serialize(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, ToolCallResult):
        return value
    output = value.tool_output
    return value.model_copy(update={"tool_output": output.model_copy(update={"raw_output": output.content})})
