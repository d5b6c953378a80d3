"""Code executors, gated at `execute_code_blocks`, which agents and tools that run code share."""

from __future__ import annotations

from typing import Any

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeExecutor, CodeResult
from pydantic import BaseModel, ConfigDict

from stacksona_adapters.autogen._calls import Call, Executor, Interrupted, Kind, NotExecuted, with_note
from stacksona_adapters.autogen._performer import Performer
from stacksona_adapters.errors import ConfigurationError

EXECUTE_CODE = "execute_code"
"""The name under which code asks the gate."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid")

    language: str
    code: str


class _Code(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code_blocks: list[_Block]


class GatedCodeExecutor(CodeExecutor, Executor):
    """A code executor that asks the gate before it runs code; made by `TeamGate.code_executor`.

    A refusal comes back as the output of code that exited with 0: any other exit code makes `CodeExecutorAgent` tell
    the model that the code ran and failed, and try again.

    Args:
        inner: The executor.
        performer: Performs the team's calls.
        agent: The agent that has it, where several agents have executors of their own.
    """

    component_type = "code_executor"
    component_provider_override = "stacksona_adapters.autogen.GatedCodeExecutor"

    def __init__(self, inner: CodeExecutor, performer: Performer, agent: str | None = None) -> None:
        if isinstance(inner, GatedCodeExecutor):
            raise ConfigurationError("The code executor is gated already.")
        self.inner = inner
        self.agent = agent
        self._performer = performer

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> CodeResult:
        """Ask, wait, and run the approved code."""
        blocks = [{"language": block.language, "code": block.code} for block in code_blocks]
        call = await self.call(EXECUTE_CODE, {"code_blocks": blocks}, "", cancellation_token)
        try:
            ran = await self._performer.perform(call)
        except NotExecuted as stopped:
            return CodeResult(exit_code=0, output=str(stopped))
        except Interrupted as cut:
            return CodeResult(exit_code=1, output=str(cut))
        result: CodeResult = ran.value
        return CodeResult(exit_code=result.exit_code, output=with_note(result.output, ran.note))

    async def offers(self, tool: str) -> bool:
        """Whether it is code that is to run."""
        return tool == EXECUTE_CODE

    async def call(self, tool: str, arguments: dict[str, Any], call_id: str, token: CancellationToken) -> Call:
        """The call that runs code blocks."""

        async def run(approved: dict[str, Any]) -> CodeResult:
            blocks = [CodeBlock(code=block["code"], language=block["language"]) for block in approved["code_blocks"]]
            return await self.inner.execute_code_blocks(blocks, token)

        return Call(
            kind=Kind.CODE,
            tool=tool,
            arguments=arguments,
            call_id=call_id,
            run=run,
            validate=lambda edited: _Code.model_validate(edited).model_dump(),
            schema=_Code.model_json_schema(),
            agent=self.agent,
            preview="\n\n".join(f"# {block['language']}\n{block['code']}" for block in arguments["code_blocks"]),
            token=token,
            failure=lambda result: f"exit code {result.exit_code}" if result.exit_code else None,
        )

    def shown(self, value: Any) -> tuple[str, bool]:
        """A result as the model reads it."""
        return value.output, value.exit_code != 0

    async def start(self) -> None:
        """See `CodeExecutor.start`."""
        await self.inner.start()

    async def stop(self) -> None:
        """See `CodeExecutor.stop`."""
        await self.inner.stop()

    async def restart(self) -> None:
        """See `CodeExecutor.restart`."""
        await self.inner.restart()

    def _to_config(self) -> BaseModel:
        raise NotImplementedError("A gated code executor cannot be dumped: it would be loaded without its gate.")
