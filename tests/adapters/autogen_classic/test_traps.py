"""What goes wrong easily between AutoGen's classic API and a gate: threads and loops, old calls, code, pauses."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from autogen import ConversableAgent
from autogen.coding import CodeBlock, CodeResult, MarkdownCodeExtractor

from stacksona_adapters.autogen_classic import GatedCodeExecutor, PausedChat
from stacksona_adapters.errors import ConfigurationError, GateError
from stacksona_adapters.testing import Reviewer, RunningGate, Verdict
from stacksona_adapters.testing.harness import GOODBYE, ProposedCall
from stacksona_adapters.testing.processes import OtherProcess
from stacksona_adapters.testing.stage import staged
from tests.adapters.autogen_classic_harness import ClassicHarness, call, calling, executor, scripted, told_by

APPROVE, REJECT = Verdict("approve"), Verdict("reject", "Not today.")


class Shop:
    """A tool that remembers what it did."""

    def __init__(self) -> None:
        self.refunds: list[tuple[str, float]] = []

    def refund(self, order: str, amount: float, currency: str = "EUR") -> str:
        """Pay a refund."""
        self.refunds.append((order, amount))
        return f"refunded {amount} {currency}"

    async def a_refund(self, order: str, amount: float, currency: str = "EUR") -> str:
        """Pay a refund."""
        return self.refund(order, amount, currency)


def refund(call_id: str = "c1", amount: Any = 40) -> dict[str, Any]:
    """A refund that a model proposes."""
    return call(call_id, "refund", order="7", amount=amount)


def going(gate: Any, function: Any, *turns: Any, **options: Any) -> tuple[ConversableAgent, Any]:
    """An assistant with a script, and a gated executor."""
    tools = executor(gate, **options)
    tools.register_function({"refund": function})
    return scripted("assistant", *turns), tools


def test_arguments_are_those_that_run(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The reviewer sees defaults and converted values; what does not fit the function is never asked about."""
    shop = Shop()
    turns = (calling(refund("c1", "many")), calling(refund("c2", "40")))
    assistant, tools = going(stacksona_gate.gate(wait=0), shop.refund, *turns)

    with pytest.raises(PausedChat) as paused:
        tools.initiate_chat(assistant, message="Go", silent=True)
    (request,) = stacksona_reviewer.waiting()

    assert request.arguments == {"order": "7", "amount": 40.0, "currency": "EUR"}
    assert paused.value.decision_ids == [request.decision_id]


def test_annotations_that_cannot_be_read(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """A function whose annotations name what is not there is gated with its arguments as they are."""
    ran = []

    def pay(order: Missing, **more: Any) -> str:  # type: ignore[name-defined]  # noqa: F821
        ran.append((order, more))
        return "paid"

    assistant, tools = going(stacksona_gate.gate(wait=None), pay, calling(refund()), GOODBYE)
    with stacksona_reviewer.deciding(APPROVE):
        tools.initiate_chat(assistant, message="Go", silent=True)

    assert ran == [("7", {"amount": 40})]


@pytest.mark.parametrize("inside", [False, True], ids=["no loop", "inside of a loop"])
def test_async_function_in_a_sync_chat(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, inside: bool) -> None:
    """An async function runs in a synchronous chat, also where a loop is running (in a notebook)."""
    shop = Shop()
    assistant, tools = going(stacksona_gate.gate(wait=None), shop.a_refund, calling(refund()), GOODBYE)

    async def notebook() -> None:
        tools.initiate_chat(assistant, message="Go", silent=True)

    with stacksona_reviewer.deciding(APPROVE):
        if inside:
            asyncio.run(notebook())
        else:
            tools.initiate_chat(assistant, message="Go", silent=True)

    assert shop.refunds == [("7", 40.0)]


def test_function_that_is_not_there(stacksona_gate: RunningGate) -> None:
    """The framework answers for a function that nobody registered; the gate is not asked."""
    assistant, tools = going(
        stacksona_gate.gate(wait=None, api_key="sg_wrong"), Shop().refund, calling(call("c1", "unknown")), GOODBYE
    )
    tools.initiate_chat(assistant, message="Go", silent=True)

    assert "not found" in told_by(tools.chat_messages[assistant])["c1"]


def test_arguments_that_are_no_object(stacksona_gate: RunningGate) -> None:
    """What is no JSON object is an error for the model; nothing runs and nobody is asked."""
    shop = Shop()
    broken = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": "[1"}}
    assistant, tools = going(stacksona_gate.gate(wait=None), shop.refund, calling(broken), GOODBYE)
    tools.initiate_chat(assistant, message="Go", silent=True)

    assert "Error" in told_by(tools.chat_messages[assistant])["c1"]
    assert shop.refunds == []


def test_same_call_later_is_another_one(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Call ids that repeat do not let a second call run on the first one's approval."""
    shop, verdicts = Shop(), [APPROVE, REJECT]
    turns = (calling(refund()), calling(refund()), GOODBYE)
    assistant, tools = going(stacksona_gate.gate(wait=None), shop.refund, *turns)
    with stacksona_reviewer.deciding(lambda _: verdicts.pop(0)):
        tools.initiate_chat(assistant, message="Go", silent=True)

    assert shop.refunds == [("7", 40.0)]
    assert verdicts == []


def test_each_call_when_it_is_decided(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Of two calls that wait, the one that is decided runs at the first resume and not again at the second."""
    shop = Shop()
    turns = (calling(refund("c1", 1), refund("c2", 2)), GOODBYE)

    def again(paused: PausedChat) -> Any:
        assistant, tools = going(stacksona_gate.gate(wait=0), shop.refund, *turns)
        return tools.resume(PausedChat.from_json(paused.to_json()), assistant, silent=True)

    assistant, tools = going(stacksona_gate.gate(wait=0), shop.refund, *turns)
    with pytest.raises(PausedChat) as first:
        tools.initiate_chat(assistant, message="Go", silent=True)
    stacksona_reviewer.approve(first.value.decision_ids[1])
    with pytest.raises(PausedChat) as second:
        again(first.value)
    assert shop.refunds == [("7", 2.0)]
    stacksona_reviewer.approve(first.value.decision_ids[0])
    messages = again(second.value)

    assert shop.refunds == [("7", 2.0), ("7", 1.0)]
    assert set(told_by(messages)) == {"c1", "c2"}
    assert messages[-1]["content"] == GOODBYE


def test_gate_down_at_resume(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """Without a gate a resume raises, nothing ran, and the same pause can be resumed later."""
    shop = Shop()
    assistant, tools = going(stacksona_gate.gate(wait=0), shop.refund, calling(refund()), GOODBYE)
    with pytest.raises(PausedChat) as paused:
        tools.initiate_chat(assistant, message="Go", silent=True)
    stacksona_reviewer.approve()

    lonely = going(stacksona_gate.gate(wait=0, api_key="sg_wrong"), shop.refund, calling(refund()), GOODBYE)
    with pytest.raises(GateError):
        lonely[1].resume(paused.value, lonely[0], silent=True)
    assert shop.refunds == []
    assert tools.resume(paused.value, assistant, silent=True)[-1]["content"] == GOODBYE


def test_pause_that_is_none() -> None:
    """A text that is no pause is refused."""
    with pytest.raises(ConfigurationError, match="no paused chat"):
        PausedChat.from_json("{}")


class Runner:
    """A code executor that remembers the code."""

    code_extractor = MarkdownCodeExtractor()

    def __init__(self) -> None:
        self.ran: list[str] = []

    def execute_code_blocks(self, code_blocks: list[CodeBlock]) -> CodeResult:
        """Run nothing."""
        self.ran += [block.code.strip() for block in code_blocks]
        return CodeResult(exit_code=0, output="42")

    def restart(self) -> None:
        """Nothing."""


EDIT = Verdict("approve", arguments={"code_blocks": [{"language": "python", "code": "print(41)"}]})


@pytest.mark.parametrize(
    ("verdict", "ran", "said"),
    [(APPROVE, ["print(42)"], "42"), (EDIT, ["print(41)"], "reviewer changed"), (REJECT, [], "did not run")],
    ids=["approved", "edited", "rejected"],
)
def test_code_executor(
    stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, verdict: Verdict, ran: list[str], said: str
) -> None:
    """Code runs as approved or not at all, and the chat is told."""
    runner, gate = Runner(), stacksona_gate.gate(wait=0)
    tools = executor(gate, code_execution_config={"executor": GatedCodeExecutor(runner, gate=gate)})
    with stacksona_reviewer.deciding(verdict):
        reply = tools.generate_reply([{"role": "user", "content": "```python\nprint(42)\n```"}])

    assert runner.ran == ran
    assert said in reply


@pytest.mark.parametrize("verdict", [APPROVE, REJECT], ids=["approved", "rejected"])
def test_code_without_an_executor(
    stacksona_gate: RunningGate, stacksona_reviewer: Reviewer, tmp_path: Path, verdict: Verdict
) -> None:
    """Code that the agent runs by itself is gated as well."""
    settings = {"work_dir": str(tmp_path), "use_docker": False}
    tools = executor(stacksona_gate.gate(wait=0), code_execution_config=settings)
    with stacksona_reviewer.deciding(verdict):
        exit_code, logs = tools.execute_code_blocks([("python", "print(7 * 'n')")])

    assert (exit_code == 0, "nnnnnnn" in logs) == ((True, True) if verdict is APPROVE else (False, False))


def test_killed_while_it_waits(tmp_path: Path) -> None:
    """A process killed between request and decision, and run again under the same run id, asks once and runs once."""
    with staged(ClassicHarness(), "chat", tmp_path) as stage:
        scenario = stage.scenario(ProposedCall(call_id="c1", arguments={"order_id": "A-1", "amount": 50}), wait=None)
        first = OtherProcess(stage.harness, scenario)
        decision_id = stage.reviewer.waiting()[0].decision_id
        first.signal(signal.SIGKILL)
        assert first.ended() == -signal.SIGKILL
        stage.reviewer.approve(decision_id)

        for _ in range(2):
            OtherProcess(stage.harness, scenario).ran()

        assert len(stage.requests) == 1
        assert len(scenario.ledger.refunds) == 1


def test_decisions_stand_in_the_executors_messages(stacksona_gate: RunningGate, stacksona_reviewer: Reviewer) -> None:
    """The message with the results names the decisions, where no model reads them."""
    assistant, tools = going(stacksona_gate.gate(wait=None), Shop().refund, calling(refund()), GOODBYE)
    with stacksona_reviewer.deciding(APPROVE) as decided:
        tools.initiate_chat(assistant, message="Go", silent=True)
    (told,) = [message for message in tools.chat_messages[assistant] if message.get("tool_responses")]

    assert told["context"] == {"stacksona_decision_ids": decided}
    assert decided[0] not in json.dumps(told["tool_responses"])
