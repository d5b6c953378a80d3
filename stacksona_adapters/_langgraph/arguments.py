"""The final arguments of a tool call, before LangChain's tool validates them itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.protocol.canonical import jsonable


@dataclass(frozen=True)
class Arguments:
    """The arguments of a tool, as the model may give them; without those that LangGraph injects.

    Attributes:
        tool: The tool.
        model: The tool's own schema, validators included; `None` where a tool has none that Python can check.
        hidden: The injected arguments' names.
    """

    tool: BaseTool
    model: type[BaseModel] | None
    hidden: frozenset[str]

    @classmethod
    def of(cls, tool: BaseTool) -> Arguments:
        """The arguments of a tool."""
        schema = tool.args_schema
        if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
            return cls(tool, None, frozenset())
        visible = tool.tool_call_schema
        shown = set(visible.model_fields) if isinstance(visible, type) and issubclass(visible, BaseModel) else set()
        hidden = frozenset(set(schema.model_fields) - shown)
        if hidden:
            anything: dict[str, Any] = dict.fromkeys(hidden, (Any, None))
            schema = create_model(schema.__name__, __base__=schema, **anything)
        return cls(tool, schema, hidden)

    def final(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as JSON values that the tool reads exactly as it reads `given`.

        They are the validated ones, defaults included; where those do not survive JSON (a secret, a validator that
        changes its own result) they are the given ones, which the tool validates.

        Raises:
            InvalidAction: If the tool does not accept them.
        """
        own = self.visible(given)
        if self.model is None:
            return own
        try:
            return self._checked(self.model, own)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise InvalidAction(
                f"its arguments do not fit its schema ({wrong}). Correct them and call again."
            ) from error

    def validate(self, edited: dict[str, Any]) -> dict[str, Any]:
        """A reviewer's edit as `final` gives it.

        Raises:
            ValueError: If the tool does not accept it (pydantic's `ValidationError` is one).
        """
        if unknown := sorted(self.hidden & set(edited)):
            raise ValueError(f"{', '.join(unknown)} cannot be given")
        return edited if self.model is None else self._checked(self.model, edited)

    def visible(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments without the injected ones."""
        return {name: value for name, value in given.items() if name not in self.hidden}

    def injected(self, passed: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """What LangGraph injected; what a model gave in its place is left out.

        Args:
            passed: The arguments as LangGraph passes them to the tool.
            given: The arguments as the model gave them.
        """
        return {
            name: value
            for name, value in passed.items()
            if name in self.hidden and not (name in given and given[name] == value)
        }

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema, against which the gate checks a reviewer's edit."""
        visible = self.tool.tool_call_schema
        if isinstance(visible, dict):
            return dict(visible)
        if not issubclass(visible, BaseModel):
            return None
        try:
            return visible.model_json_schema()
        except PydanticInvalidForJsonSchema:
            return None

    def _checked(self, model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
        validated = model.model_validate(given)
        dumped = validated.model_dump(mode="json", by_alias=True, exclude=set(self.hidden))
        try:
            same = model.model_validate(dumped) == validated
        except ValidationError:
            same = False
        plain: dict[str, Any] = jsonable(dumped if same else given)
        return plain
