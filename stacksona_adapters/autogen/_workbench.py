"""Workbenches, MCP's among them, gated at `call_tool`, which is their only way to a tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autogen_core import CancellationToken
from autogen_core.tools import TextResultContent, ToolResult, ToolSchema, Workbench
from autogen_core.utils import schema_to_pydantic_model
from pydantic import BaseModel, TypeAdapter

from stacksona_adapters.autogen._calls import Call, Executor, Kind, NotExecuted
from stacksona_adapters.autogen._performer import Performer
from stacksona_adapters.errors import ConfigurationError

_READ_AS: dict[Any, TypeAdapter[Any]] = {
    "integer": TypeAdapter(int),
    "number": TypeAdapter(float),
    "boolean": TypeAdapter(bool),
}


class GatedWorkbench(Workbench, Executor):
    """A workbench whose tools ask the gate before they run; made by `TeamGate.workbench`.

    It answers every call with a result: an exception out of a workbench would leave the agent waiting for ever.

    Args:
        inner: The workbench.
        performer: Performs the team's calls.
        agent: The agent that has it, where several agents have different tools of one name.

    Attributes:
        lost: Why the workbench could not name its tools, the last time that it could not.
    """

    component_type = "workbench"
    component_provider_override = "stacksona_adapters.autogen.GatedWorkbench"

    def __init__(self, inner: Workbench, performer: Performer, agent: str | None = None) -> None:
        if isinstance(inner, GatedWorkbench):
            raise ConfigurationError("The workbench is gated already.")
        self.inner = inner
        self.agent = agent
        self._performer = performer
        self._known: list[ToolSchema] | None = None
        self.lost: Exception | None = None

    async def list_tools(self) -> list[ToolSchema]:
        """The tools that there are, or were when the workbench was last able to say so."""
        try:
            known = await self.inner.list_tools()
        except Exception as error:
            # The agent asks before every call too, where an exception would leave it waiting for ever.
            if self._known is None:
                raise
            self.lost = error
            return self._known
        self._known = known
        return known

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        """Ask, wait, and call the tool with the approved arguments; what goes wrong is a result with `is_error`."""
        token = cancellation_token or CancellationToken()
        try:
            call = await self.call(name, dict(arguments or {}), call_id or "", token)
            ran = await self._performer.perform(call)
        except NotExecuted as stopped:
            return _answer(name, str(stopped), failed=not stopped.paused)
        except Exception as error:  # noqa: BLE001 - becomes the answer
            return _answer(name, str(error) or type(error).__name__, failed=True)
        result: ToolResult = ran.value
        return result if ran.note is None else _noted(result, ran.note)

    async def offers(self, tool: str) -> bool:
        """Whether the workbench has a tool of that name."""
        return any(each["name"] == tool for each in await self.list_tools())

    async def call(self, tool: str, arguments: dict[str, Any], call_id: str, token: CancellationToken) -> Call:
        """The call of a tool of the workbench."""

        async def run(approved: dict[str, Any]) -> ToolResult:
            return await self.inner.call_tool(tool, approved, token, call_id or None)

        schema = await self._schema(tool)
        return Call(
            kind=Kind.TOOL,
            tool=tool,
            arguments=_read(schema, arguments),
            call_id=call_id,
            run=run,
            validate=lambda edited: _fitting(tool, schema, edited),
            schema=schema,
            agent=self.agent,
            token=token,
            failure=lambda result: result.to_text("[image]") if result.is_error else None,
        )

    def shown(self, value: Any) -> tuple[str, bool]:
        """A result as the model reads it."""
        return value.to_text(), value.is_error

    async def start(self) -> None:
        """See `Workbench.start`."""
        await self.inner.start()

    async def stop(self) -> None:
        """See `Workbench.stop`."""
        await self.inner.stop()

    async def reset(self) -> None:
        """See `Workbench.reset`."""
        await self.inner.reset()

    async def save_state(self) -> Mapping[str, Any]:
        """See `Workbench.save_state`."""
        return await self.inner.save_state()

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """See `Workbench.load_state`."""
        await self.inner.load_state(state)

    async def _schema(self, tool: str) -> dict[str, Any] | None:
        known = self._known if self._known is not None else await self.list_tools()
        found = next((each for each in known if each["name"] == tool), None)
        return dict(found["parameters"]) if found is not None and "parameters" in found else None

    def _to_config(self) -> BaseModel:
        raise NotImplementedError("A gated workbench cannot be dumped: it would be loaded without its gate.")


def _answer(name: str, text: str, *, failed: bool) -> ToolResult:
    return ToolResult(name=name, result=[TextResultContent(content=text)], is_error=failed)


def _noted(result: ToolResult, note: str) -> ToolResult:
    return result.model_copy(update={"result": [*result.result, TextResultContent(content=note)]})


def _read(schema: dict[str, Any] | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as a tool with this schema reads them: `"40"` for a number is 40.

    Raises:
        ValueError: If one of them cannot be read so.
    """
    properties = (schema or {}).get("properties", {})
    return {name: _value(properties.get(name), value) for name, value in arguments.items()}


def _value(schema: Any, value: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return _READ_AS[kind].validate_python(value) if isinstance(value, str) and kind in _READ_AS else value


def _fitting(tool: str, schema: dict[str, Any] | None, edited: dict[str, Any]) -> dict[str, Any]:
    """Edited arguments that fit the tool's schema.

    Raises:
        ValueError: If they do not, or the schema cannot be checked here; nothing runs then.
    """
    if schema is None:
        raise ValueError(f"{tool} has no schema to check an edit with")
    unknown = sorted(set(edited) - set(schema.get("properties", {})))
    if unknown and not schema.get("additionalProperties"):
        raise ValueError(f"{tool} has no argument {', '.join(unknown)}")
    try:
        schema_to_pydantic_model(schema).model_validate(edited)
    except Exception as error:  # the framework's own errors about schemas are not public
        raise ValueError(str(error)) from error
    return _read(schema, edited)
