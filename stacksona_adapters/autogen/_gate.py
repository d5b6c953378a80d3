"""The gate of one team."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from autogen_agentchat.base import ChatAgent, TaskResult, Team
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeExecutor
from autogen_core.tools import BaseTool, Workbench

from stacksona_adapters.autogen._calls import Call, Executor, Kind, NotExecuted
from stacksona_adapters.autogen._code import GatedCodeExecutor
from stacksona_adapters.autogen._paused import PausedTeam
from stacksona_adapters.autogen._performer import Performer, Run
from stacksona_adapters.autogen._resume import Resumption
from stacksona_adapters.autogen._review import Review
from stacksona_adapters.autogen._runs import Runs, Task
from stacksona_adapters.autogen._termination import ReviewTermination
from stacksona_adapters.autogen._tools import gated_tool
from stacksona_adapters.autogen._workbench import GatedWorkbench
from stacksona_adapters.client.gate import AnyGate
from stacksona_adapters.client.permit import DEFAULT, Wait
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.gating.tools import RiskOf, SubjectOf, ToolPolicy, Tools

PAUSED = "Execution paused for Stacksona review"
Executes = Callable[[str, dict[str, Any]], Any]


class TeamGate:
    """The gate of one team of agents, or of one agent that runs alone.

    Make one for each team object: it holds the state of the run.

    Args:
        gate: The gate; either face.
        team_id: Your own stable name of the team, and the subject of its actions where `subject=` says no other.
        tools: Which tools are gated: `"all"`, their names, or a function of the name. The others only run protected
            against the framework's hanging.
        risk: A level for every tool, a mapping of names to levels, or a function of name and arguments.
        subject: The parameter that holds the subject (for every tool, or by tool name), or a function.
        wait: Seconds to wait for a person inside of the call; 0 pauses at once, `None`: as long as the request lives.
        run_id: Your own id of the first run. A process that does the same run again after a crash finds its requests.

    Raises:
        ConfigurationError: If an argument makes no sense.
    """

    def __init__(
        self,
        gate: AnyGate,
        *,
        team_id: str = "team",
        tools: Tools = "all",
        risk: RiskOf = None,
        subject: SubjectOf = None,
        wait: Wait = DEFAULT,
        run_id: str | None = None,
    ) -> None:
        policy = ToolPolicy(tools, risk, subject)
        run = Run(run_id or f"autogen_{uuid.uuid4().hex}")
        self._performer = Performer(gate.aio, policy, team_id, wait, run)
        self._review = Review(self._performer)
        self._runs = Runs(self._performer, self._review)
        self._executors: list[Executor] = []
        self._stops = False

    @property
    def team_id(self) -> str:
        """Your own name of the team."""
        return self._performer.team_id

    @property
    def run_id(self) -> str:
        """The run at hand."""
        return self._performer.run.run_id

    @property
    def pending(self) -> list[str]:
        """The decisions that the team waits for."""
        return [call.decision_id for call in self._performer.run.calls.values() if call.text is None]

    def tools(self, *tools: Callable[..., Any] | BaseTool[Any, Any], agent: str | None = None) -> list[Any]:
        """Gate functions and tools, for `AssistantAgent(tools=...)`, `ToolAgent` and all else that takes tools.

        Args:
            *tools: Functions (undecorated) or tools, `AgentTool` and `TeamTool` among them.
            agent: The agent that gets them; needed only where two agents have different tools of one name.

        Returns:
            The gated tools, in a list that fits every framework class's own type of list.

        Raises:
            ConfigurationError: If one is no tool, or gated already.
        """
        gated = [gated_tool(tool, self._performer, agent) for tool in tools]
        self._executors.extend(gated)
        return [*gated]

    def workbench(self, workbench: Workbench, *, agent: str | None = None) -> GatedWorkbench:
        """Gate a workbench, such as `McpWorkbench`; arguments as for `tools`."""
        gated = GatedWorkbench(workbench, self._performer, agent)
        self._executors.append(gated)
        return gated

    def code_executor(self, executor: CodeExecutor, *, agent: str | None = None) -> GatedCodeExecutor:
        """Gate a code executor, for `CodeExecutorAgent` and `PythonCodeExecutionTool`; arguments as for `tools`."""
        gated = GatedCodeExecutor(executor, self._performer, agent)
        self._executors.append(gated)
        return gated

    def watch(self, *agents: ChatAgent | Team) -> list[Any]:
        """Show the reviewers who takes part, and the asking agent's conversation in short.

        Returns:
            The agents, for the team's constructor.
        """
        self._performer.transcript.watch(agents)
        return list(agents)

    def termination(self, handoffs: bool | Iterable[str] = False) -> ReviewTermination:
        """What stops the team where it has to wait: `termination_condition=done | approvals.termination()`.

        Args:
            handoffs: Gate all handoffs, or those to the agents named. The action is called `transfer_to_<agent>`.
        """
        self._stops = True
        names = None if isinstance(handoffs, bool) else frozenset(handoffs)
        return ReviewTermination(self._review.turn(lambda name: bool(handoffs) if names is None else name in names))

    async def run(
        self,
        team: Team | ChatAgent,
        task: Task = None,
        *,
        run_id: str | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> TaskResult | PausedTeam:
        """Run a team or agent as its own `run` does, and keep book of the run at the gate.

        Refused handoffs go back to the agent that wanted them. Cancelling this coroutine cancels the calls that wait.

        Args:
            team: The team, or an agent that runs alone.
            task: See `Team.run`.
            run_id: Your own id of the run; a fresh one where it is `None`.
            cancellation_token: See `Team.run`.

        Returns:
            The result, or the pause where a reviewer is needed.

        Raises:
            ConfigurationError: If the team does not stop for reviews, or runs already.
        """
        items = self.run_stream(team, task, run_id=run_id, cancellation_token=cancellation_token)
        last: TaskResult | PausedTeam = await _last(items)
        return last

    async def run_stream(
        self,
        team: Team | ChatAgent,
        task: Task = None,
        *,
        run_id: str | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | TaskResult | PausedTeam, None]:
        """As `run`, with the messages as they come; the last item is the result or the pause."""
        self._check(team)
        self._runs.begin(task, run_id)
        async for item in self._runs.stream(team, task, cancellation_token or CancellationToken()):
            yield item

    async def pause(self, team: Team | ChatAgent) -> PausedTeam | None:
        """The pause of a team that was run with its own `run` or `run_stream`; `None` where nothing waits."""
        return await self._runs.pause(team)

    async def resume(
        self,
        team: Team | ChatAgent,
        paused: PausedTeam,
        *,
        cancellation_token: CancellationToken | None = None,
    ) -> TaskResult | PausedTeam:
        """Go on with a paused team, in this process or another one that has built the same team.

        The gate is asked again about every call that waits. What was approved runs, once, with the approved arguments;
        results and refusals are told to the team, which goes on from there.

        Args:
            team: The team, built as before; its state is loaded from the pause.
            paused: The pause. Save the one that comes back: it replaces the one that you gave.
            cancellation_token: See `Team.run`.

        Returns:
            The result; or the pause, where a call still waits (calls that were decided have run) or a new one does.

        Raises:
            ConfigurationError: If the team lacks a tool that the pause needs; nothing ran.
            GateError: If the gate cannot be asked; nothing ran.
        """
        self._check(team)
        token = cancellation_token or CancellationToken()
        self._runs.restore(paused)
        await team.load_state(paused.state)
        resumption = Resumption(self._performer, self._review, self._executors)
        messages = await resumption.settle(team, token)
        if messages is None:
            return self._runs.still(paused)
        last: TaskResult | PausedTeam = await _last(self._runs.stream(team, messages, token))
        return last

    async def before_executor_run(
        self,
        team_id: str,
        proposed_tool: str,
        arguments: Mapping[str, Any],
        transcript_summary: str,
        *,
        execute: Executes | None = None,
        call_id: str = "",
        cancellation_token: CancellationToken | None = None,
    ) -> Any:
        """Gate an executor of your own: call this where it would run a tool.

        Args:
            team_id: The team; the subject of the action.
            proposed_tool: The tool's name.
            arguments: Its arguments.
            transcript_summary: What the team has said, in short.
            execute: Runs the tool, given name and approved arguments; sync or async. Without it a tool that was gated
                here under that name runs.
            call_id: Your own id of the call.
            cancellation_token: Cancels it.

        Returns:
            What the tool returned; or, where it did not run, `{"message": ..., "decision_id": ...}` and the refusal.
            Call it again with the same arguments to go on after a pause.

        Raises:
            ConfigurationError: If there is nothing to run the tool with.
        """
        token = cancellation_token or CancellationToken()
        call = await self._proposed(proposed_tool, dict(arguments), call_id, token, execute)
        context = {
            "participants": self._performer.transcript.participants(""),
            "transcript_summary": transcript_summary,
            "tool_args": call.arguments,
        }
        try:
            ran = await self._performer.perform(replace(call, own=(team_id, context)))
        except NotExecuted as stopped:
            return {"message": PAUSED if stopped.paused else stopped.refusal.reason, **stopped.refusal.as_dict()}
        return ran.value

    async def _proposed(
        self, tool: str, arguments: dict[str, Any], call_id: str, token: CancellationToken, execute: Executes | None
    ) -> Call:
        if execute is None:
            executor = await Resumption(self._performer, self._review, self._executors).executor(tool, None)
            return await executor.call(tool, arguments, call_id, token)
        running = execute

        async def run(approved: dict[str, Any]) -> Any:
            result = running(tool, approved)
            return await result if inspect.isawaitable(result) else result

        return Call(Kind.TOOL, tool, arguments, call_id, run, dict, token=token)

    def _check(self, team: Team | ChatAgent) -> None:
        if isinstance(team, Team) and not self._stops:
            raise ConfigurationError(
                "The team does not stop for reviews: give it termination_condition=... | approvals.termination()."
            )


async def _last(items: AsyncGenerator[Any, None]) -> Any:
    last: Any = None
    async for item in items:
        last = item
    return last
