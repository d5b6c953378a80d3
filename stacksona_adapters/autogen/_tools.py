"""Tools of an agent, gated at `run_json`, where every way of running a tool ends."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, FunctionTool, StreamTool, ToolSchema
from pydantic import BaseModel

from stacksona_adapters.autogen._calls import Call, Executor, Kind, NotExecuted, Ran, with_note
from stacksona_adapters.autogen._performer import Performer
from stacksona_adapters.errors import ConfigurationError


class GatedTool(BaseTool[Any, Any], Executor):
    """A tool that asks the gate before it runs; made by `TeamGate.tools`.

    A refusal is raised as `NotExecuted`, which AutoGen turns into a result with `is_error`; a call that waits for a
    reviewer returns it instead.

    Args:
        inner: The tool.
        performer: Performs the team's calls.
        agent: The agent that has it, where several agents have different tools of one name.
    """

    component_provider_override = "stacksona_adapters.autogen.GatedTool"

    def __init__(self, inner: BaseTool[Any, Any], performer: Performer, agent: str | None = None) -> None:
        super().__init__(inner.args_type(), inner.return_type(), inner.name, inner.description)
        self.inner = inner
        self.agent = agent
        self._performer = performer

    @property
    def schema(self) -> ToolSchema:
        """The schema that the model sees: the tool's own."""
        return self.inner.schema

    def state_type(self) -> type[BaseModel] | None:
        """See `BaseTool.state_type`."""
        return self.inner.state_type()

    def return_value_as_string(self, value: Any) -> str:
        """The result as the model reads it, with a note where a reviewer edited the arguments."""
        if isinstance(value, NotExecuted):
            return str(value)
        if isinstance(value, Ran):
            return with_note(self.inner.return_value_as_string(value.value), value.note)
        return self.inner.return_value_as_string(value)

    async def run(self, args: Any, cancellation_token: CancellationToken) -> Any:
        """Run the tool, as `run_json` does."""
        return await self.run_json(self._plain(args), cancellation_token)

    async def run_json(
        self, args: Mapping[str, Any], cancellation_token: CancellationToken, call_id: str | None = None
    ) -> Any:
        """Ask, wait, and run the tool with the approved arguments.

        Returns:
            The tool's result; a `Ran` around it where a reviewer edited the arguments; a `NotExecuted` where it waits.

        Raises:
            NotExecuted: If it may not run.
            Interrupted: If it was cancelled while it ran.
        """
        call = await self.call(self.name, dict(args), call_id or "", cancellation_token)
        try:
            ran = await self._performer.perform(call)
        except NotExecuted as stopped:
            if stopped.paused:
                return stopped
            raise
        return ran if ran.note else ran.value

    async def offers(self, tool: str) -> bool:
        """Whether this is the tool of that name."""
        return tool == self.name

    async def call(self, tool: str, arguments: dict[str, Any], call_id: str, token: CancellationToken) -> Call:
        """The call of this tool; the arguments are checked before anybody is asked."""

        async def run(approved: dict[str, Any]) -> Any:
            return await self.inner.run_json(approved, token, call_id=call_id or None)

        return self._call(tool, arguments, call_id, token, run)

    def _call(self, tool: str, arguments: dict[str, Any], call_id: str, token: CancellationToken, run: Any) -> Call:
        return Call(
            kind=Kind.TOOL,
            tool=tool,
            arguments=self._validated(arguments),
            call_id=call_id,
            run=run,
            validate=self._validated,
            schema=dict(self.inner.schema.get("parameters", {})),
            agent=self.agent,
            token=token,
        )

    def shown(self, value: Any) -> tuple[str, bool]:
        """A result as the model reads it."""
        return self.inner.return_value_as_string(value), False

    async def save_state_json(self) -> Mapping[str, Any]:
        """See `BaseTool.save_state_json`."""
        return await self.inner.save_state_json()

    async def load_state_json(self, state: Mapping[str, Any]) -> None:
        """See `BaseTool.load_state_json`."""
        await self.inner.load_state_json(state)

    def _validated(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._plain(self.inner.args_type().model_validate(arguments))

    def _plain(self, args: BaseModel) -> dict[str, Any]:
        # Functions get their defaults anyway, so the reviewer sees them; a remote tool may not take what was not given.
        unset = not isinstance(self.inner, FunctionTool)
        return args.model_dump(mode="json", by_alias=True, exclude_unset=unset)

    def _to_config(self) -> BaseModel:
        raise NotImplementedError(f"The gated tool {self.name} cannot be dumped: it would be loaded without its gate.")


class GatedStreamTool(GatedTool):
    """A gated tool that streams what happens inside it, such as `AgentTool` and `TeamTool`."""

    async def run_json_stream(
        self, args: Mapping[str, Any], cancellation_token: CancellationToken, call_id: str | None = None
    ) -> AsyncGenerator[Any, None]:
        """Ask and wait, then stream; what is inside asks for itself. See `run_json`."""
        call = await self.call(self.name, dict(args), call_id or uuid.uuid4().hex, cancellation_token)
        inner = self.inner
        assert isinstance(inner, StreamTool)  # noqa: S101 - so this class was chosen
        try:
            async for item in self._performer.perform_stream(
                call, lambda approved: inner.run_json_stream(approved, cancellation_token, call_id=call_id)
            ):
                yield item if not isinstance(item, Ran) or item.note else item.value
        except NotExecuted as stopped:
            if not stopped.paused:
                raise
            yield stopped


def gated_tool(tool: Any, performer: Performer, agent: str | None) -> GatedTool:
    """A function or tool, gated.

    Raises:
        ConfigurationError: If it is neither.
    """
    if isinstance(tool, GatedTool):
        raise ConfigurationError(f"The tool {tool.name} is gated already.")
    if not isinstance(tool, BaseTool):
        if not callable(tool):
            raise ConfigurationError(f"{tool!r:.100} is no tool: give a function or a BaseTool.")
        tool = FunctionTool(tool, description=tool.__doc__ or "")
    # Not by the protocol: on Python before 3.12 everything that delegates attributes would be one.
    streams = callable(getattr(type(tool), "run_json_stream", None))
    return GatedStreamTool(tool, performer, agent) if streams else GatedTool(tool, performer, agent)
