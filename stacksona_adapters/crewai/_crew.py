"""A whole crew behind the gate: its tools wrapped, and hooks for the tools that CrewAI makes itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stacksona_adapters._extras import extra
from stacksona_adapters.client.gate import DEFAULT, AnyGate, Wait
from stacksona_adapters.crewai._call import GateTerms, covered, names_of
from stacksona_adapters.crewai._hooks import Hooks
from stacksona_adapters.crewai._paused import PausedCrew
from stacksona_adapters.crewai._run import CrewRun, Stopped, current_frame, current_run
from stacksona_adapters.crewai._tool import GatedTool
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools

with extra("crewai"):
    from crewai import Crew
    from crewai.crews.crew_output import CrewOutput
    from crewai.tools import BaseTool

Start = Callable[[dict[str, Any]], Awaitable[Any]]


class GatedCrew:
    """A crew whose gated tools run only when the gate permits: `GatedCrew(crew, gate=gate).kickoff()`.

    It takes the crew over: the tools of its agents and tasks that `tools=` names are wrapped (see `GatedTool`), so
    that even `crew.kickoff()` asks first. What CrewAI adds while it runs (delegation, questions to coworkers, tools of
    MCP servers and of `apps=`, memory) is gated by hooks, which hold inside of this object's own methods.

    Args:
        crew: The crew.
        gate: The gate.
        tools: Which tools are gated: `"all"`, their names, or a function of the name. Delegation is the tool
            `delegate_work_to_coworker`; a tool of an MCP server goes by its own name and by CrewAI's.
        risk: A level for every tool, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject (for every tool, or by tool name), or a function.
        wait: Seconds to wait for a person; then the run pauses.

    Raises:
        ConfigurationError: If something makes no sense, or the crew streams.
    """

    def __init__(
        self,
        crew: Crew,
        *,
        gate: AnyGate,
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
    ) -> None:
        self.crew = crew
        self._terms = GateTerms(gate, ToolPolicy(tools, risk, subject), wait)
        gate.seconds(wait)
        _wrap_tools(crew, self._terms)

    def kickoff(self, inputs: dict[str, Any] | None = None, *, run_id: str | None = None) -> CrewOutput | PausedCrew:
        """Run the crew.

        Args:
            inputs: The inputs of the crew.
            run_id: Your own name of the run; a process that runs it again then finds its earlier requests.

        Returns:
            The crew's output, or the pause of a run that waits for a reviewer.

        Raises:
            ConfigurationError: On the thread of an event loop; use `akickoff` there.
        """
        return self._blocking(self._new_run(inputs, run_id))

    async def akickoff(
        self, inputs: dict[str, Any] | None = None, *, run_id: str | None = None
    ) -> CrewOutput | PausedCrew:
        """Run the crew on an event loop; see `kickoff`. Cancelling it withdraws what waits."""
        return await self._driven(self._new_run(inputs, run_id), self.crew.akickoff)

    def resume(self, paused: PausedCrew) -> CrewOutput | PausedCrew:
        """Go on after a pause, in any process: the crew begins anew, and what ran already is only told again.

        Args:
            paused: The pause.

        Returns:
            The crew's output, or a pause again.

        Raises:
            ConfigurationError: If it is another crew's pause, or on the thread of an event loop.
        """
        return self._blocking(self._resumed_run(paused))

    async def aresume(self, paused: PausedCrew) -> CrewOutput | PausedCrew:
        """Go on after a pause, on an event loop; see `resume`."""
        return await self._driven(self._resumed_run(paused), self.crew.akickoff)

    def _new_run(self, inputs: dict[str, Any] | None, run_id: str | None) -> CrewRun:
        return self._run(run_id or f"crew_{uuid.uuid4().hex}", dict(inputs or {}))

    def _resumed_run(self, paused: PausedCrew) -> CrewRun:
        if paused.crew != self.crew.key:
            raise ConfigurationError(
                f"The pause of run {paused.run_id} is of another crew (its agents or tasks differ); resume it with "
                "the crew that was paused."
            )
        return self._run(paused.run_id, dict(paused.inputs), paused)

    def _run(self, run_id: str, inputs: dict[str, Any], paused: PausedCrew | None = None) -> CrewRun:
        if self.crew.stream:
            raise ConfigurationError("A crew with stream=True runs after its kickoff has returned; set stream=False.")
        _wrap_tools(self.crew, self._terms)
        return CrewRun(run_id, self.crew.key, inputs, self.crew.name, paused)

    def _blocking(self, run: CrewRun) -> CrewOutput | PausedCrew:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # The crew works on a thread of the loop, so that Ctrl-C reaches this one and withdraws what waits.
            return asyncio.run(self._driven(run, lambda inputs: asyncio.to_thread(self.crew.kickoff, inputs)))
        raise ConfigurationError("This is the thread of an event loop, which kickoff would block; await akickoff.")

    async def _driven(self, run: CrewRun, start: Start) -> CrewOutput | PausedCrew:
        gate = self._terms.gate
        output: Any = None
        failure: Exception | None = None
        try:
            with self._inside(run):
                output = await start(dict(run.inputs))
        except Stopped:
            pass
        except asyncio.CancelledError:
            await run.cancel()
            gate.finish(run.run_id, "cancelled")
            raise
        except Exception as error:
            if not run.stopping:
                gate.finish(run.run_id, f"{type(error).__name__}: {error}")
                raise
            failure = error
        paused = run.paused(f"{type(failure).__name__}: {failure}" if failure is not None else None)
        if paused is None:
            gate.finish(run.run_id)
        return output if paused is None else paused

    @contextmanager
    def _inside(self, run: CrewRun) -> Iterator[None]:
        here, by = current_run.set(run), current_frame.set(None)
        try:
            with Hooks(self._terms, run).installed():
                yield
        finally:
            current_frame.reset(by)
            current_run.reset(here)


def _wrap_tools(crew: Crew, terms: GateTerms) -> None:
    """Gate the covered tools of a crew's agents and tasks in place; one tool stays one tool."""
    gated: dict[int, GatedTool] = {}
    agents: list[Any] = [*crew.agents, *(task.agent for task in crew.tasks), crew.manager_agent]
    owners: list[Any] = [*crew.tasks, *(agent for agent in agents if agent is not None)]
    for owner in owners:
        tools = owner.tools or []
        if any(_is_bare(tool, terms.policy) for tool in tools):
            owner.tools = [
                gated.setdefault(id(tool), GatedTool.of(tool, terms)) if _is_bare(tool, terms.policy) else tool
                for tool in tools
            ]


def _is_bare(tool: Any, policy: ToolPolicy) -> bool:
    return isinstance(tool, BaseTool) and not isinstance(tool, GatedTool) and covered(policy, names_of(tool))
