"""PydanticAI's typed output in front of the gate: in process, and after the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.reviewer import Reviewer, Verdict
from stacksona_adapters.errors import ActionRejected, ConfigurationError, ReviewPending, RevisionRequested
from stacksona_adapters.gating.action import Action
from stacksona_adapters.pydantic_ai import GatedOutput, review_output
from stacksona_adapters.testing import RunningGate

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]
APPROVE = Verdict("approve")
PROMPT = "Refund al."


class Refund(BaseModel):
    """A typed output."""

    to: str
    amount: float


@pytest.fixture
def gate(stacksona_gate: RunningGate) -> Gate:
    """The agent's gate."""
    return stacksona_gate.gate("payer", wait=60)


def outputs(*given: dict[str, Any]) -> FunctionModel:
    """A model that returns these outputs, one after the other."""

    def answer(messages: list[Any], info: Any) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse(parts=[ToolCallPart("final_result", given[turn], tool_call_id=f"o{turn}")])

    return FunctionModel(answer)


def agent_of(gate: Gate, model: FunctionModel, output_type: Any = Refund, **options: Any) -> Agent[None, Any]:
    """An agent with a gated output."""
    gated: GatedOutput[None] = GatedOutput(gate, risk="high", subject="to", **options)
    return Agent(model, name="payer", output_type=output_type, capabilities=[gated])


async def test_approved(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """An approved output is returned, and the reviewer saw its fields, its subject and its type."""
    with stacksona_reviewer.deciding(APPROVE) as decided:
        result = await agent_of(gate, outputs({"to": "al", "amount": 5})).run(PROMPT)
    review = stacksona_reviewer.detail(decided[0])

    assert result.output == Refund(to="al", amount=5)
    assert (review.action, review.subject, review.arguments) == ("output:Refund", "al", {"to": "al", "amount": 5.0})
    assert (review.context["output_type"], review.context["prompt"]) == ("Refund", PROMPT)


async def test_edited(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """A reviewer's edit is returned, as the type reads it."""
    with stacksona_reviewer.deciding(Verdict("approve", arguments={"to": "bob", "amount": 2})):
        result = await agent_of(gate, outputs({"to": "al", "amount": 5})).run(PROMPT)

    assert result.output == Refund(to="bob", amount=2.0)


async def test_revised(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """Sent back, the model tries again, and its next output names the decision that it revises."""

    def smaller(review: Any) -> Verdict:
        return Verdict("revise", "At most 5.") if review.arguments["amount"] > 5 else APPROVE

    with stacksona_reviewer.deciding(smaller) as decided:
        result = await agent_of(gate, outputs({"to": "al", "amount": 9}, {"to": "al", "amount": 5})).run(PROMPT)

    assert result.output == Refund(to="al", amount=5)
    assert stacksona_reviewer.detail(decided[1]).revises == decided[0]


async def test_revised_too_often(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """With no retries left for outputs the run ends with what the reviewer wants."""
    model = outputs(*[{"to": "al", "amount": amount} for amount in (9, 8, 7)])
    with stacksona_reviewer.deciding(Verdict("revise", "Less.")), pytest.raises(RevisionRequested, match="Less"):
        await agent_of(gate, model).run(PROMPT)


async def test_rejected(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """A rejected output never reaches the application."""
    with stacksona_reviewer.deciding(Verdict("reject", "No.")), pytest.raises(ActionRejected, match="No"):
        await agent_of(gate, outputs({"to": "al", "amount": 5})).run(PROMPT)


async def test_undecided(gate: Gate) -> None:
    """The framework cannot pause here: an output that nobody decides in time ends the run with `ReviewPending`."""
    with pytest.raises(ReviewPending):
        await agent_of(gate, outputs({"to": "al", "amount": 5}), wait=0).run(PROMPT)


async def test_values_that_are_no_objects(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """A list stands as `output` in the action, and can be edited there."""
    with stacksona_reviewer.deciding(Verdict("approve", arguments={"output": [{"to": "bob", "amount": 1}]})):
        model = outputs({"response": [{"to": "al", "amount": 5}]})
        result = await agent_of(gate, model, list[Refund]).run(PROMPT)

    assert result.output == [Refund(to="bob", amount=1)]


async def test_text(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """A text is an output too."""
    model = FunctionModel(lambda messages, info: ModelResponse(parts=[TextPart("I paid.")]))
    gated: GatedOutput[None] = GatedOutput(gate)
    with stacksona_reviewer.deciding(APPROVE) as decided:
        result = await Agent(model, capabilities=[gated]).run(PROMPT)

    assert result.output == "I paid."
    assert stacksona_reviewer.detail(decided[0]).arguments == {"output": "I paid."}


@pytest.mark.parametrize("parameters", [1, 2])
@pytest.mark.parametrize("outcome", ["approve", "reject"])
async def test_output_function(gate: Gate, stacksona_reviewer: Reviewer, parameters: int, outcome: Any) -> None:
    """An output function acts only after the approval, with the approved input."""
    paid: list[Any] = []

    def pay(refund: Refund) -> str:
        paid.append(refund.to)
        return "done"

    def pay_two(to: str, amount: float) -> str:
        paid.append(to)
        return "done"

    agent = agent_of(gate, outputs({"to": "al", "amount": 5}), pay if parameters == 1 else pay_two)
    with stacksona_reviewer.deciding(Verdict(outcome)) as decided:
        if outcome == "approve":
            assert (await agent.run(PROMPT)).output == "done"
        else:
            with pytest.raises(ActionRejected):
                await agent.run(PROMPT)
    await asyncio.to_thread(gate.flush, 30)

    assert paid == (["al"] if outcome == "approve" else [])
    review = stacksona_reviewer.detail(decided[0])
    assert review.action == ("pay" if parameters == 1 else "pay_two")
    assert review.outcome == ("succeeded" if outcome == "approve" else None)


async def test_output_function_of_a_stream(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """A stream runs output functions on parts of an output too: gated, it runs once, on the whole of it."""
    paid: list[str] = []

    def pay(to: str) -> str:
        paid.append(to)
        return to

    async def stream(messages: Any, info: Any) -> AsyncIterator[Any]:
        yield {0: DeltaToolCall("final_result", '{"to": "al', tool_call_id="o1")}
        yield {0: DeltaToolCall(json_args='bert"}')}

    agent = agent_of(gate, FunctionModel(stream_function=stream), pay)
    with stacksona_reviewer.deciding(APPROVE) as decided:
        async with agent.run_stream(PROMPT) as result:
            seen = [each async for each in result.stream_output(debounce_by=None)]
            assert await result.get_output() == "albert"

    assert (paid, set(seen), len(decided)) == (["albert"], {"albert"}, 1)


async def test_review_after_the_run(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """Reviewed after the run, an output waits as data for days, and is given out once, as the reviewer edited it."""
    result = await Agent(outputs({"to": "al", "amount": 9}), output_type=Refund).run(PROMPT)
    with pytest.raises(ReviewPending) as waiting:
        async with review_output(gate, result, risk="high", subject="to", wait=0):
            raise AssertionError("it is not decided")
    kept = waiting.value.action.model_dump_json()
    decision = stacksona_reviewer.approve(arguments={"to": "al", "amount": 1})

    async with review_output(gate, Action.model_validate_json(kept), Refund) as output:
        assert output == Refund(to="al", amount=1)
    await asyncio.to_thread(gate.flush, 30)
    assert stacksona_reviewer.detail(decision.id).outcome == "succeeded"


async def test_review_that_is_rejected(gate: Gate, stacksona_reviewer: Reviewer) -> None:
    """A rejected output is not given out."""
    result = await Agent(outputs({"to": "al", "amount": 9}), output_type=Refund).run(PROMPT)
    with stacksona_reviewer.deciding(Verdict("reject")), pytest.raises(ActionRejected):
        async with review_output(gate, result):
            raise AssertionError("it was rejected")


async def test_review_without_a_type(gate: Gate) -> None:
    """An action alone does not say which type its output has."""
    action = gate.action("output:Refund", {"to": "al", "amount": 1})
    with pytest.raises(ConfigurationError, match="output_type"):
        async with review_output(gate, action):
            raise AssertionError("it has no type")
