"""Code: as an action, and a code executor for `code_execution_config={"executor": ...}`."""

from __future__ import annotations

from typing import Any

from autogen.coding import CodeBlock, CodeExecutor, CodeExtractor, CodeResult
from pydantic import BaseModel, ConfigDict

from stacksona_adapters.client.gate import AnyGate
from stacksona_adapters.client.permit import DEFAULT, Wait
from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.gating.action import Action
from stacksona_adapters.gating.refusal import edit_note, refusal
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy
from stacksona_adapters.protocol.tasks import FrameworkOrigin

EXECUTE_CODE = "execute_code"
"""The name under which code asks the gate."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid")

    language: str
    code: str


class _Code(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code_blocks: list[_Block]


def edited_blocks(edited: dict[str, Any]) -> dict[str, Any]:
    """Code that a reviewer edited.

    Raises:
        ValueError: If it is none.
    """
    return _Code.model_validate(edited).model_dump()


def code_action(policy: ToolPolicy, blocks: list[dict[str, str]], **fields: Any) -> Action:
    """The action of running code."""
    return policy.action(
        EXECUTE_CODE,
        {"code_blocks": blocks},
        framework=FrameworkOrigin.AUTOGEN,
        arguments_schema=_Code.model_json_schema(),
        preview="\n\n".join(f"# {block['language']}\n{block['code']}" for block in blocks),
        **fields,
    )


class GatedCodeExecutor:
    """A code executor that asks the gate before it runs code; for `code_execution_config={"executor": ...}`.

    Args:
        inner: The executor.
        gate: The gate; either face.
        risk: As for `GatedExecutor`.
        subject: As for `GatedExecutor`.
        wait: Seconds to wait for a person; 0 means `None` here, as long as the request lives.
        run_id: Your own id of the chat.
    """

    def __init__(
        self,
        inner: CodeExecutor,
        *,
        gate: AnyGate,
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        run_id: str | None = None,
    ) -> None:
        self.inner = inner
        self._gate = gate.sync
        self._policy = ToolPolicy([EXECUTE_CODE], risk, subject)
        self._wait = self._gate.seconds(wait) or None
        self._run_id = run_id

    @property
    def code_extractor(self) -> CodeExtractor:
        """Finds the code in a message: the executor's own."""
        return self.inner.code_extractor

    def execute_code_blocks(self, code_blocks: list[CodeBlock]) -> CodeResult:
        """Ask, wait, and run the approved code; a refusal is a result with exit code 1."""
        blocks = [{"language": block.language, "code": block.code} for block in code_blocks]
        action = code_action(self._policy, blocks, run_id=self._run_id)
        try:
            with self._gate.permit(action, wait=self._wait, validate=edited_blocks) as permit:
                approved = [CodeBlock(**block) for block in permit.arguments["code_blocks"]]
                result = self.inner.execute_code_blocks(approved)
        except StacksonaError as error:
            return CodeResult(exit_code=1, output=refusal(EXECUTE_CODE, error).as_text())
        note = edit_note(permit.approval)
        return result if note is None else result.model_copy(update={"output": f"{result.output}\n\n{note}"})

    def restart(self) -> None:
        """Restart the executor."""
        self.inner.restart()
