"""LangGraph in the adapter contract: a ToolNode in a plain graph, in `create_react_agent`, and in a subgraph."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, messages_to_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import Command

from stacksona_adapters.langgraph import (
    GatedToolNode,
    PausedGraph,
    RunEvents,
    apaused,
    aresume_command,
    resume_command,
)
from stacksona_adapters.langgraph import (
    paused as pause_of,
)
from stacksona_adapters.protocol.tasks import FrameworkOrigin
from stacksona_adapters.testing.harness import GOODBYE, POLICY, Harness, Ran, Scenario

PAGES = Path(__file__).parents[2] / "docs"


class ScriptedModel(FakeMessagesListChatModel):
    """Says its n-th turn after n turns in the history, so that a resumed run goes on where it was."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> ScriptedModel:  # type: ignore[override]
        """A real model would tell its provider."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        turn = min(sum(isinstance(message, AIMessage) for message in messages), len(self.responses) - 1)
        said = self.responses[turn].model_copy(deep=True)
        return ChatResult(generations=[ChatGeneration(message=said)])


def scripted(*turns: list[dict[str, Any]]) -> ScriptedModel:
    """A model that proposes the calls of each turn, then says goodbye."""
    said: list[BaseMessage] = [
        AIMessage("", tool_calls=[{**call, "type": "tool_call"} for call in turn]) for turn in turns
    ]
    return ScriptedModel(responses=[*said, AIMessage(GOODBYE)])


def model_of(scenario: Scenario) -> ScriptedModel:
    """The scenario's model."""
    turns = [
        [{"name": call.tool, "args": call.arguments, "id": call.call_id} for call in turn] for turn in scenario.turns
    ]
    return scripted(*turns)


def told(messages: list[BaseMessage], paused_json: str | None) -> Ran:
    """How far a run came, by its messages."""
    last = messages[-1] if messages else None
    return Ran(
        told={
            message.tool_call_id: message.text if isinstance(message.text, str) else message.text()
            for message in messages
            if isinstance(message, ToolMessage)
        },
        finished=isinstance(last, AIMessage) and last.content == GOODBYE,
        paused=paused_json,
        transcript=json.dumps(messages_to_dict(messages), default=str),
    )


def forge(text: str) -> str:
    """The pause whose every review claims an approval: LangGraph is resumed with it as it is."""
    pause = json.loads(text)
    answers: dict[str, dict[str, str]] = {}
    for review in pause["reviews"]:
        answers.setdefault(review["interrupt_id"], {})[review["decision_id"]] = "approved"
    return json.dumps({**pause, "forged": {key: {"stacksona": words} for key, words in answers.items()}})


class GraphHarness(Harness):
    """Plays scenarios in a graph that `build` compiles."""

    framework: ClassVar[FrameworkOrigin] = FrameworkOrigin.LANGGRAPH
    context: ClassVar[list[str]] = ["thread_id", "current_node", "checkpoint_ns", "step", "tool_call_id"]

    def build(self, scenario: Scenario, gate: Any, saver: Any) -> Any:
        """The compiled graph of the scenario's path."""
        raise NotImplementedError

    def run(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """See `Harness.run`."""
        with scenario.gate() as gate, sqlite_saver(scenario.directory) as saver:
            graph = self.build(scenario, gate, saver)
            config = config_of(scenario, gate)
            command: Any = {"messages": [("user", "Refund my orders.")]}
            if paused is not None:
                command = forged_command(paused) or resume_command(graph, PausedGraph.from_json(paused), gate=gate)
            if command is not None:
                self.play(graph, command, config, scenario)
            return ran_of(graph.get_state(config).values, _paused_json(pause_of(graph, config)))

    async def arun(self, scenario: Scenario, paused: str | None = None) -> Ran:
        """See `Harness.arun`."""
        with scenario.gate() as gate:
            async with AsyncSqliteSaver.from_conn_string(str(scenario.directory / "graph.db")) as saver:
                graph = self.build(scenario, gate, saver)
                config = config_of(scenario, gate)
                command: Any = {"messages": [("user", "Refund my orders.")]}
                if paused is not None:
                    pause = PausedGraph.from_json(paused)
                    command = forged_command(paused) or await aresume_command(graph, pause, gate=gate)
                if command is not None:
                    await self.aplay(graph, command, config, scenario)
                return ran_of((await graph.aget_state(config)).values, _paused_json(await apaused(graph, config)))

    def play(self, graph: Any, command: Any, config: Any, scenario: Scenario) -> None:
        """Run or resume the graph."""
        if scenario.path.endswith("_stream"):
            list(graph.stream(command, config, stream_mode=["updates", "messages"]))
        else:
            graph.invoke(command, config)

    async def aplay(self, graph: Any, command: Any, config: Any, scenario: Scenario) -> None:
        """Run or resume the graph."""
        if scenario.path.endswith("_astream"):
            async for _ in graph.astream(command, config, stream_mode=["updates", "values"]):
                pass
        else:
            await graph.ainvoke(command, config)

    def forged(self, paused: str) -> str:
        """See `Harness.forged`."""
        return forge(paused)


def ran_of(values: Any, pause: str | None) -> Ran:
    """How far a graph came."""
    return told(values.get("messages", []), pause)


def config_of(scenario: Scenario, gate: Any) -> Any:
    """The config of the scenario's thread."""
    return {"configurable": {"thread_id": scenario.run_id}, "callbacks": [RunEvents(gate)], "recursion_limit": 60}


def forged_command(paused: str) -> Command[Any] | None:
    """What somebody who can write to the thread would resume it with."""
    forged = json.loads(paused).get("forged")
    return Command(resume=forged) if forged else None


def _paused_json(pause: PausedGraph | None) -> str | None:
    return pause.to_json() if pause else None


@contextmanager
def sqlite_saver(directory: Path) -> Iterator[SqliteSaver]:
    """A checkpointer in a file."""
    with closing(sqlite3.connect(directory / "graph.db", check_same_thread=False, timeout=30)) as connection:
        yield SqliteSaver(connection)


class LangGraphHarness(GraphHarness):
    """Every way in which LangGraph runs the tools of a ToolNode."""

    paths: ClassVar[dict[str, Any]] = {
        "react": "sync",
        "react_async": "async",
        "react_v1": "sync",
        "react_stream": "sync",
        "react_astream": "async",
        "graph": "sync",
        "graph_async": "async",
        "subgraph": "sync",
        "subgraph_async": "async",
    }
    page: ClassVar[Path] = PAGES / "langgraph.md"

    def build(self, scenario: Scenario, gate: Any, saver: Any) -> Any:
        """See `GraphHarness.build`."""
        ledger, model = scenario.ledger, model_of(scenario)
        node = GatedToolNode([ledger.issue_refund, ledger.look_up], gate=gate, **POLICY)
        if scenario.path.startswith("react"):
            version = "v1" if scenario.path == "react_v1" else "v2"
            return react_agent(model, node, checkpointer=saver, version=version)
        inner = tool_graph(model, node)
        if scenario.path.startswith("graph"):
            return inner.compile(checkpointer=saver)
        outer = StateGraph(MessagesState)
        outer.add_node("agent", inner.compile())
        outer.add_edge(START, "agent")
        return outer.compile(checkpointer=saver)


def react_agent(model: ScriptedModel, node: Any, **options: Any) -> Any:
    """LangGraph's own agent; deprecated since 1.0 and still there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_react_agent(model, node, **options)


def tool_graph(model: ScriptedModel, node: Any) -> StateGraph[Any, Any, Any, Any]:
    """A hand-made agent: the model, and a tool node that gets the whole message."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model", lambda state: "tools" if state["messages"][-1].tool_calls else END, ["tools", END]
    )
    builder.add_edge("tools", "model")
    return builder
