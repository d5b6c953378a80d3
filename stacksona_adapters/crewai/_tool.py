"""A tool that asks the gate before it runs, on every path on which CrewAI or anybody else calls it."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import PrivateAttr

from stacksona_adapters._extras import extra
from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.crewai._call import (
    GatedCall,
    GateTerms,
    Told,
    ToolFacts,
    facts_of,
)
from stacksona_adapters.crewai._failure import declares_failure, failure, with_text
from stacksona_adapters.crewai._run import current_frame
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy

with extra("crewai"):
    from crewai.tools import BaseTool

_TAKEN_OVER = ("name", "description", "args_schema", "result_schema", "env_vars", "tool_failure_policy")


def never_cached(_arguments: Any = None, _result: Any = None) -> bool:
    """A gated tool's result is never taken from a cache: neither an approval nor a refusal is for the next call."""
    return False


class GatedTool(BaseTool):
    """A tool of CrewAI that runs only when the gate permits, with the approved arguments.

    It holds on native function calls and on the text path, and also where no hook of CrewAI is called: `tool.run(...)`,
    `await tool.arun(...)`, a Flow's `call: tool`, `LLM.call(available_functions=...)`. The request names role, task
    and delegation chain where the crew is run by a `GatedCrew`; only there a run can pause.

    Args:
        tool: The tool.
        gate: The gate.
        risk: The level, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject, or a function of name and arguments.
        wait: Seconds to wait for a person.

    Raises:
        ConfigurationError: If something else than a `BaseTool` is given, or a gated one.
    """

    _tool: BaseTool = PrivateAttr()
    _terms: GateTerms = PrivateAttr()
    _facts: ToolFacts = PrivateAttr()

    def __init__(
        self, tool: BaseTool, *, gate: AnyGate, risk: RiskOf = None, subject: SubjectOf = None, wait: Wait = DEFAULT
    ) -> None:
        policy = ToolPolicy(risk=risk, subject=subject)
        self._become(tool, GateTerms(gate, policy, wait))

    @classmethod
    def of(cls, tool: BaseTool, terms: GateTerms) -> GatedTool:
        """A gated tool on an adapter's terms; one that is gated already stays as it is."""
        if isinstance(tool, GatedTool):
            return tool
        gated = cls.__new__(cls)
        gated._become(tool, terms)  # noqa: SLF001 - of this very class
        return gated

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> GatedTool:
        """Only for what is a gated tool already.

        Raises:
            ConfigurationError: For a tool out of a checkpoint, which cannot hold a gate.
        """
        if isinstance(obj, GatedTool):
            return obj
        raise ConfigurationError(
            "A checkpoint cannot hold a gate, so a gated tool is not restored from one: run the crew with "
            "GatedCrew and resume its PausedCrew."
        )

    def _become(self, tool: BaseTool, terms: GateTerms) -> None:
        if not isinstance(tool, BaseTool) or isinstance(tool, GatedTool):
            raise ConfigurationError(f"{type(tool).__name__} cannot be gated; give one of CrewAI's tools (BaseTool).")
        fields = {name: getattr(tool, name) for name in _TAKEN_OVER if name in type(tool).model_fields}
        # result_as_answer stays off: a refusal would become the agent's answer. Uses are counted where the tool runs.
        super().__init__(**fields, cache_function=never_cached)
        self._tool = tool
        self._terms = terms
        self._facts = facts_of(terms.policy, tool)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return self._result(self._call(args, kwargs).perform(lambda arguments: self._tool.run(**arguments)))

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        return self._result(await self._call(args, kwargs).aperform(self._execute_async))

    async def _execute_async(self, arguments: dict[str, Any]) -> Any:
        if type(self._tool)._arun is BaseTool._arun:  # noqa: SLF001 - the method that CrewAI asks tools to override
            return await asyncio.to_thread(self._tool.run, **arguments)
        return await self._tool.arun(**arguments)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> GatedCall:
        given = {**dict(zip(self.args_schema.model_fields, args, strict=False)), **kwargs}
        return GatedCall(self._terms, self._facts, self._facts.validate(given), self._tool.format_output_for_agent)

    def _result(self, outcome: Told) -> Any:
        if declares_failure(outcome.value):
            return with_text(outcome.value, outcome.told)
        if outcome.refused is not None or outcome.failed:
            return failure(outcome.told, outcome.refused)
        # An agent reads text; who calls the tool by hand gets its own result, unless something else ran than asked.
        return _Said(outcome.told) if outcome.edited or current_frame.get() is not None else outcome.value

    def format_output_for_agent(self, raw_result: Any) -> str:
        """The text for the model, as the tool itself would write it."""
        return str(raw_result) if isinstance(raw_result, _Said) else self._tool.format_output_for_agent(raw_result)


class _Said(str):
    """A text that is for the model as it stands."""

    __slots__ = ()
