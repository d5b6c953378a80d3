"""Where PydanticAI would let a gated tool slip, hang or spend its retries: one test for each trap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, Tool
from pydantic_ai.capabilities import AbstractCapability, HandleDeferredToolCalls, NativeTool
from pydantic_ai.exceptions import ModelRetry, UserError
from pydantic_ai.messages import ModelResponse, ToolCallPart, ToolReturn
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset
from pydantic_ai.usage import UsageLimits

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.client.reviewer import Reviewer, Verdict
from stacksona_adapters.client.settings import Timeouts
from stacksona_adapters.errors import ConfigurationError, ReviewPending
from stacksona_adapters.protocol.reviews import Folder
from stacksona_adapters.pydantic_ai import GatedTools, PausedRun, resolve, resume
from stacksona_adapters.testing import RunningGate
from stacksona_adapters.testing.broken import nobody
from stacksona_adapters.testing.harness import ProposedCall
from tests.adapters.pydantic_ai_harness import OUTPUT, PROMPT, VERSION, scripted

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]
APPROVE = Verdict("approve")


@dataclass
class Shop:
    """Everything that was really done."""

    paid: list[tuple[str, float]]

    async def pay(self, to: str, amount: float = 1.0) -> str:
        """Pay somebody."""
        self.paid.append((to, amount))
        return f"paid {amount} to {to}"


@pytest.fixture
def shop() -> Shop:
    """A shop that has paid nothing."""
    return Shop([])


@pytest.fixture
def gate(stacksona_gate: RunningGate) -> Gate:
    """The agent's gate, whose default is to wait."""
    return stacksona_gate.gate("payer", wait=60)


@pytest.fixture
def reviewer(stacksona_reviewer: Reviewer) -> Reviewer:
    """A person."""
    return stacksona_reviewer


def pay(call_id: str, to: str = "al", amount: Any = 5.0, tool: str = "pay") -> ProposedCall:
    """A proposed payment."""
    return ProposedCall(call_id=call_id, tool=tool, arguments={"to": to, "amount": amount})


def agent_of(gate: Gate, shop: Shop, *turns: list[ProposedCall], **more: Any) -> Agent[Any, Any]:
    """An agent whose tool `pay` is gated; `wait` and `before` are the capability's and the ones listed before it."""
    gated = GatedTools(gate, tools=more.pop("gated", ["pay"]), wait=more.pop("wait", 60))
    given = {"tools": [shop.pay], "output_type": OUTPUT, **more}
    given["capabilities"] = [gated, *more.get("capabilities", [])]
    return Agent(scripted(turns), name="payer", **given)


def told(result: Any) -> dict[str, str]:
    """What the model was told, by call id."""
    parts = [part for message in result.all_messages() for part in message.parts]
    return {part.tool_call_id: str(part.content) for part in parts if part.part_kind in ("tool-return", "retry-prompt")}


async def pending(gate: Gate, reviewer: Reviewer) -> list[str]:
    """The tools that still wait for somebody, after all withdrawals have arrived."""
    assert await asyncio.to_thread(gate.flush, 30)
    return [review.action for review in reviewer.client.reviews(Folder.NEW)]


def paused(result: Any) -> PausedRun:
    """The pause of a result, as another process reads it."""
    pause = PausedRun.of(result)
    assert pause is not None
    return PausedRun.from_json(pause.to_json())


class Output(BaseModel):
    """A typed result."""

    text: str


async def test_final_result_in_the_same_response(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """1: A final result beside a gated call would drop the call's pause silently: nothing runs, nothing stays open.

    From pydantic-ai 2.0 on the refused call keeps the run going, and the model can make it alone.
    """
    done = ProposedCall(call_id="f", tool="final_result", arguments={"text": "paid!"})
    turns = [[pay("c1"), done], [pay("c2")]]
    options = {"output_type": [Output, DeferredToolRequests], "end_strategy": "exhaustive", "wait": 0}
    result = await agent_of(gate, shop, *turns, **options).run(PROMPT)

    waits = [call.tool_call_id for call in getattr(result.output, "approvals", [])]

    assert shop.paid == []
    assert waits == (["c2"] if VERSION >= (2, 0) else [])
    assert len(await pending(gate, reviewer)) == len(waits)


async def test_stream_that_has_shown_text(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """1: After text, a stream has committed to it as its result; a gated call in it neither runs nor stays open."""

    async def stream(messages: Any, info: Any) -> AsyncIterator[Any]:
        yield "I will pay. "
        yield {0: DeltaToolCall("pay", '{"to": "al"}', tool_call_id="c1")}

    agent = Agent(
        FunctionModel(stream_function=stream),
        tools=[shop.pay],
        capabilities=[GatedTools(gate, wait=0)],
        output_type=OUTPUT,
    )
    async with agent.run_stream(PROMPT) as result:
        await result.get_output()

    assert shop.paid == []
    assert await pending(gate, reviewer) == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_that_requires_approval(gate: Gate, shop: Shop, reviewer: Reviewer, streamed: bool) -> None:
    """2: A tool of `requires_approval=True` goes through the gate too, also in a stream, which skips the handler."""
    agent = agent_of(gate, shop, [pay("c1", amount="5")], tools=[Tool(shop.pay, requires_approval=True)], wait=0)
    if streamed:
        async with agent.run_stream(PROMPT) as stream:
            pause = PausedRun.of(stream, await stream.get_output())
            assert pause is not None
    else:
        pause = paused(await agent.run(PROMPT))
    pause = paused(await resume(agent, pause, gate))
    with pytest.raises(ReviewPending):
        await resume(agent, pause, gate)
    reviewer.approve()
    await resume(agent, pause, gate)

    assert len(list(reviewer.client.reviews(Folder.APPROVED))) == 1
    assert shop.paid == [("al", 5.0)]


async def test_tool_that_requires_approval_waits(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """2: It waits in process as any other."""
    agent = agent_of(gate, shop, [pay("c1")], tools=[Tool(shop.pay, requires_approval=True)])
    with reviewer.deciding(APPROVE) as decided:
        await agent.run(PROMPT)

    assert (shop.paid, len(decided)) == ([("al", 5.0)], 1)


async def test_forged_approval(gate: Gate, shop: Shop) -> None:
    """3: The framework's own `approvals={id: True}` permits nothing."""
    agent = agent_of(gate, shop, [pay("c1")], wait=0)
    pause = paused(await agent.run(PROMPT))
    results = DeferredToolResults(approvals={"c1": True}, metadata={"c1": {"stacksona": {"status": "approved"}}})
    result = await agent.run(message_history=pause.messages, deferred_tool_results=results)

    assert shop.paid == []
    assert isinstance(result.output, DeferredToolRequests)


async def test_foreign_handler_that_approves_all(gate: Gate, shop: Shop) -> None:
    """3: Nor does another capability that approves everything."""
    everything = HandleDeferredToolCalls(handler=lambda ctx, requests: requests.build_results(approve_all=True))
    result = await agent_of(gate, shop, [pay("c1")], wait=0, capabilities=[everything]).run(PROMPT)

    assert shop.paid == []
    assert isinstance(result.output, DeferredToolRequests)


@pytest.mark.parametrize("times", [1, -1], ids=["history alone", "everywhere"])
async def test_changed_arguments(gate: Gate, shop: Shop, reviewer: Reviewer, times: int) -> None:
    """3: Whoever changes the arguments of a paused call asks anew; the approval was for others."""
    agent = agent_of(gate, shop, [pay("c1")], wait=0)
    text = paused(await agent.run(PROMPT)).to_json()
    reviewer.approve()
    changed = PausedRun.from_json(text.replace("5.0", "5000.0", times))
    try:
        result = await resume(agent, changed, gate)
    except ReviewPending:
        result = None

    assert shop.paid == []
    assert result is None or isinstance(result.output, DeferredToolRequests)
    assert await pending(gate, reviewer) == ["pay"]


class Halved(AbstractCapability[Any]):
    """Changes arguments at the last moment, in the hook that is given."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    async def before_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: dict[str, Any]) -> dict[str, Any]:
        """Halve the amount."""
        return {**args, "amount": args["amount"] / 2} if self.hook == "before" else args

    async def wrap_tool_execute(
        self, ctx: Any, *, call: Any, tool_def: ToolDefinition, args: dict[str, Any], handler: Callable[..., Any]
    ) -> Any:
        """Halve the amount."""
        return await handler({**args, "amount": args["amount"] / 2} if self.hook == "wrap" else args)

    async def after_tool_validate(self, ctx: Any, *, call: Any, tool_def: Any, args: dict[str, Any]) -> dict[str, Any]:
        """Halve the amount."""
        return {**args, "amount": args["amount"] / 2} if self.hook == "validate" else args


@pytest.mark.parametrize("hook", ["before", "wrap", "validate"])
async def test_gate_is_innermost(gate: Gate, shop: Shop, reviewer: Reviewer, hook: str) -> None:
    """4: Another capability that changes the arguments, listed later, changes what the reviewer sees."""
    with reviewer.deciding(APPROVE) as decided:
        await agent_of(gate, shop, [pay("c1")], capabilities=[Halved(hook)]).run(PROMPT)

    assert shop.paid == [("al", 2.5)]
    assert reviewer.detail(decided[0]).arguments == {"to": "al", "amount": 2.5}


async def test_edit_is_read_by_the_tools_schema(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """4: What runs is the edit as the tool's schema reads it, also after a pause."""
    agent = agent_of(gate, shop, [pay("c1")], wait=0)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve(arguments={"to": "bob", "amount": 2})
    result = await resume(agent, pause, gate)

    assert shop.paid == [("bob", 2.0)]
    assert "reviewer changed the arguments" in told(result)["c1"]


async def test_edit_passes_the_tools_own_validator(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """4: A tool's `args_validator=` sees a reviewer's edit too; if it objects, nothing runs."""

    def only_al(ctx: RunContext[Any], to: str, amount: float = 1.0) -> None:
        if to != "al":
            raise ModelRetry("Only al.")

    agent = agent_of(gate, shop, [pay("c1")], tools=[Tool(shop.pay, args_validator=only_al)])
    with reviewer.deciding(Verdict("approve", arguments={"to": "bob", "amount": 2})):
        result = await agent.run(PROMPT)

    assert shop.paid == []
    assert "Only al." in told(result)["c1"]


async def test_revisions_spend_no_retries(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """5: A model that is sent back again and again uses up none of its retries (the default is one)."""

    def smaller(review: Any) -> Verdict:
        return Verdict("revise", "Smaller.") if review.arguments["amount"] > 1 else APPROVE

    with reviewer.deciding(smaller) as decided:
        await agent_of(gate, shop, *[[pay(f"c{n}", amount=n)] for n in (4, 3, 2, 1)]).run(PROMPT)

    assert shop.paid == [("al", 1.0)]
    assert [reviewer.detail(each).revises for each in decided] == [None, *decided[:-1]]


@pytest.mark.parametrize("can_pause", [True, False])
async def test_outage_spares_siblings(shop: Shop, can_pause: bool) -> None:
    """6: With the gate down, a slow call beside the gated one still ends; the run pauses, or the model is told."""
    ended = []

    async def slow() -> str:
        await asyncio.sleep(0.5)
        ended.append(True)
        return "slow"

    calls = [pay("c1"), ProposedCall(call_id="s", tool="slow", arguments={})]
    with Gate("payer", url=nobody(), api_key="sg_x", timeouts=Timeouts(total=0.2), state_dir=None) as gate:
        output = OUTPUT if can_pause else str
        result = await agent_of(gate, shop, calls, tools=[shop.pay, slow], output_type=output).run(PROMPT)
        gate.close(0)

    assert (shop.paid, ended) == ([], [True])
    if can_pause:
        assert paused(result).requests.approvals[0].tool_call_id == "c1"
    else:
        assert "did not run" in told(result)["c1"]


async def test_pause_of_an_outage_is_decided_later(stacksona_gate: RunningGate, shop: Shop, reviewer: Reviewer) -> None:
    """6: A run that paused because the gate was down asks when it is resumed, and goes on after the decision."""
    gate = stacksona_gate.gate("payer", timeouts=Timeouts(total=0.5))
    agent = agent_of(gate, shop, [pay("c1")], wait=0)
    stacksona_gate.stop()
    pause = paused(await agent.run(PROMPT))
    stacksona_gate.start()
    with pytest.raises(ReviewPending):
        await resume(agent, pause, gate)
    reviewer.approve()
    await resume(agent, pause, gate)

    assert shop.paid == [("al", 5.0)]


async def test_half_decided_pause(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """7: The framework cannot go on with a part of the answers: until all are there, nothing runs."""
    agent = agent_of(gate, shop, [pay("c1", "al"), pay("c2", "bob")], wait=0)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve(next(each.decision_id for each in reviewer.waiting(2) if each.arguments["to"] == "al"))
    with pytest.raises(ReviewPending):
        await resume(agent, pause, gate)
    assert shop.paid == []

    reviewer.reject()
    await resume(agent, pause, gate)
    assert shop.paid == [("al", 5.0)]


async def test_resumed_twice(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """8: A pause that is resumed again does not pay again; the model is told."""
    agent = agent_of(gate, shop, [pay("c1")], wait=0)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve()
    await resume(agent, pause, gate)
    again = await resume(agent, pause, gate)

    assert shop.paid == [("al", 5.0)]
    assert "did not run again" in told(again)["c1"]


async def test_durable_engine_may_run_again(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """8: An engine that replays on purpose names its attempt, and then runs at least once."""
    gated = GatedTools(gate, wait=0, attempt_id=lambda ctx: f"workflow-7-{ctx.tool_call_id}")
    agent = Agent(scripted([[pay("c1")]]), tools=[shop.pay], capabilities=[gated], output_type=OUTPUT)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve()
    await resume(agent, pause, gate)
    await resume(agent, pause, gate)

    assert shop.paid == [("al", 5.0), ("al", 5.0)]


async def test_inner_agent_that_cannot_pause(gate: Gate, shop: Shop) -> None:
    """9: An agent inside of a tool that does not wait and cannot pause fails; nothing runs."""
    inner = agent_of(gate, shop, [pay("i1")], wait=0, output_type=str)

    async def delegate() -> str:
        return str((await inner.run(PROMPT)).output)

    outer = [ProposedCall(call_id="d", tool="delegate", arguments={})]
    with pytest.raises(UserError, match="DeferredToolRequests"):
        await agent_of(gate, shop, outer, tools=[delegate]).run(PROMPT)
    assert shop.paid == []


@pytest.mark.parametrize("allowed", [[], ["web_search"]])
async def test_native_tools(gate: Gate, allowed: list[str]) -> None:
    """10: A tool that the provider would run by itself is refused before the model gets it, unless it is listed."""
    asked = []

    def model(messages: Any, info: Any) -> ModelResponse:
        asked.append(messages)
        raise ConfigurationError("the model was asked")

    searching = FunctionModel(model, profile=ModelProfile(supported_native_tools=frozenset({WebSearchTool})))
    gated = GatedTools(gate, native_tools=allowed)
    agent = Agent(searching, capabilities=[NativeTool(WebSearchTool()), gated])
    with pytest.raises(ConfigurationError, match="the model was asked" if allowed else "web_search"):
        await agent.run(PROMPT)
    assert bool(asked) is bool(allowed)


async def test_code_with_new_ids_each_time(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """11: Code that calls a tool runs again after a pause, with new ids; it finds its request and pays once."""
    runs = []

    async def code(ctx: RunContext[Any]) -> str:
        runs.append(True)
        assert ctx.tool_manager is not None
        call = ToolCallPart("pay", {"to": "al", "amount": 3.0}, tool_call_id=f"random-{len(runs)}")
        return str(await ctx.tool_manager.handle_call(call))

    outer = [ProposedCall(call_id="o", tool="code", arguments={})]
    agent = agent_of(gate, shop, outer, tools=[code, shop.pay], wait=0)
    pause = paused(await agent.run(PROMPT))
    with pytest.raises(ReviewPending):
        await resume(agent, pause, gate)
    reviewer.approve()
    await resume(agent, pause, gate)

    assert (shop.paid, len(runs)) == ([("al", 3.0)], 2)


async def test_gated_code_runs_again_with_a_permission_of_its_own(
    stacksona_gate: RunningGate, gate: Gate, shop: Shop, reviewer: Reviewer
) -> None:
    """11: Where the code itself is gated too, its second run is a second action."""

    async def code(ctx: RunContext[Any], text: str) -> str:
        assert ctx.tool_manager is not None
        return str(await ctx.tool_manager.handle_call(ToolCallPart("pay", {"to": "al"}, tool_call_id="x")))

    stacksona_gate.service.add_rule(tool="code", parameter="text", type="contains", value="pay", outcome="allow")
    outer = [ProposedCall(call_id="o", tool="code", arguments={"text": "pay(al)"})]
    agent = agent_of(gate, shop, outer, tools=[code, shop.pay], wait=0, gated="all")
    pause = paused(await agent.run(PROMPT))
    reviewer.approve()
    await resume(agent, pause, gate)

    assert shop.paid == [("al", 1.0)]


async def test_external_calls(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """12: Calls that run outside of the agent need their results on resuming; gated calls beside them are decided."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    outside: ExternalToolset[Any] = ExternalToolset([ToolDefinition(name="outside", parameters_json_schema=schema)])
    calls = [pay("c1"), ProposedCall(call_id="e", tool="outside", arguments={"x": 1})]
    agent = agent_of(gate, shop, calls, toolsets=[outside], wait=0)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve()
    with pytest.raises(ConfigurationError, match="outside"):
        await resume(agent, pause, gate)
    result = await resume(agent, pause, gate, calls={"e": "done outside"})

    assert shop.paid == [("al", 5.0)]
    assert told(result)["e"] == "done outside"


async def test_usage_and_deps_go_on(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """13: Limits span the whole run, and dependencies are given again."""
    seen = []

    async def pay_for(ctx: RunContext[str], to: str, amount: float) -> str:
        seen.append(ctx.deps)
        return await shop.pay(to, amount)

    agent = agent_of(gate, shop, [pay("c1")], tools=[Tool(pay_for, name="pay")], wait=0, deps_type=str)
    pause = paused(await agent.run(PROMPT, deps="first"))
    reviewer.approve()
    result = await resume(agent, pause, gate, deps="second", usage_limits=UsageLimits(request_limit=2))

    again = PausedRun.of(result, DeferredToolRequests())
    assert again is not None
    assert (pause.usage.requests, again.usage.requests) == (1, 2)
    assert seen == ["second"]


@pytest.mark.parametrize("text", ["", "{}", '{"v": 99}', '{"v": 1, "messages": 3}', "[]"])
async def test_no_pause(text: str) -> None:
    """13: A text that is no pause, or of a format that this version does not know, is a clear error."""
    with pytest.raises(ConfigurationError):
        PausedRun.from_json(text)


async def test_sequential_tools_ask_together(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """Calls of a tool that runs one at a time are still decided together."""
    agent = agent_of(gate, shop, [pay("c1", "al"), pay("c2", "bob")], tools=[Tool(shop.pay, sequential=True)])
    run = asyncio.ensure_future(agent.run(PROMPT))
    for review in await asyncio.to_thread(reviewer.waiting, 2):
        await asyncio.to_thread(reviewer.approve, review.decision_id)
    await run

    assert shop.paid == [("al", 5.0), ("bob", 5.0)]


async def test_cancelled_before_the_wait(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A run that is cancelled while a call beside the pending one still runs withdraws the pending one too."""
    started = asyncio.Event()

    async def endless() -> str:
        started.set()
        await asyncio.Event().wait()
        return ""

    calls = [pay("c1"), ProposedCall(call_id="e", tool="endless", arguments={})]
    run = asyncio.ensure_future(agent_of(gate, shop, calls, tools=[shop.pay, endless], wait=0).run(PROMPT))
    await asyncio.to_thread(reviewer.waiting)
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert await pending(gate, reviewer) == []


async def test_results_keep_what_they_have(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A tool's own `ToolReturn` keeps its metadata; the decision and a note on an edit are added to it."""

    async def report(to: str, amount: float) -> ToolReturn:
        return ToolReturn({"to": to}, metadata={"mine": 1}, content="Seen.")

    agent = agent_of(gate, shop, [pay("c1")], tools=[Tool(report, name="pay")])
    with reviewer.deciding(Verdict("approve", arguments={"to": "bob", "amount": 1.0})) as decided:
        result = await agent.run(PROMPT)
    parts = [part for message in result.all_messages() for part in message.parts]
    returned = next(part for part in parts if part.part_kind == "tool-return")
    said = [part.content for part in parts if part.part_kind == "user-prompt"]

    assert returned.content == {"to": "bob"}
    assert returned.metadata == {"mine": 1, "stacksona": {"decision_id": decided[0]}}
    assert any("Seen." in str(each) and "reviewer changed the arguments" in str(each) for each in said)


async def test_arguments_that_are_no_json(gate: Gate, shop: Shop) -> None:
    """Arguments that cannot be described to a gate do not run; the model is told, the run goes on."""

    class Odd:
        pass

    class Oddity(AbstractCapability[Any]):
        async def before_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
            return {**args, "to": Odd()}

    result = await agent_of(gate, shop, [pay("c1")], capabilities=[Oddity()]).run(PROMPT)

    assert shop.paid == []
    assert "did not run" in told(result)["c1"]


async def test_failing_tool(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A tool that fails is reported as failed, and its error is the framework's business as ever."""

    async def broken(to: str, amount: float) -> str:
        raise ModelRetry("The bank is closed.")

    agent = agent_of(gate, shop, [pay("c1")], tools=[Tool(broken, name="pay")])
    with reviewer.deciding(APPROVE) as decided:
        result = await agent.run(PROMPT)
    await asyncio.to_thread(gate.flush, 30)

    assert "The bank is closed." in told(result)["c1"]
    assert reviewer.detail(decided[0]).outcome == "failed"


async def test_resolve_for_a_stream(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A paused run can go on as a stream: `resolve` gives the framework's own results."""
    agent = agent_of(gate, shop, [pay("c1")], wait=0)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve()
    results = await resolve(gate, pause)
    async with agent.run_stream(message_history=pause.messages, deferred_tool_results=results) as stream:
        await stream.get_output()

    assert shop.paid == [("al", 5.0)]


async def test_test_models_constant_ids(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A model whose call ids are the same in each run of a conversation makes an action of its own in each run."""
    agent = agent_of(gate, shop, [pay("same")])
    with reviewer.deciding(APPROVE) as decided:
        first = await agent.run(PROMPT)
        turns = scripted([[], [], [pay("same")]])
        await agent.run(PROMPT, message_history=first.all_messages(), model=turns)

    assert (shop.paid, len(decided)) == ([("al", 5.0), ("al", 5.0)], 2)


class Payment(BaseModel):
    """The one argument of a tool."""

    to: str
    amount: float


async def test_tool_of_one_model(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A tool whose only argument is a model is asked about and edited by the model's fields, as the LLM sees it."""

    async def pay_payment(payment: Payment) -> str:
        assert isinstance(payment, Payment)
        return await shop.pay(payment.to, payment.amount)

    agent = agent_of(gate, shop, [pay("c1")], tools=[Tool(pay_payment, name="pay")])
    with reviewer.deciding(Verdict("approve", arguments={"to": "bob", "amount": 2})) as decided:
        await agent.run(PROMPT)

    assert shop.paid == [("bob", 2.0)]
    assert reviewer.detail(decided[0]).arguments == {"to": "al", "amount": 5.0}


async def test_two_gates(stacksona_gate: RunningGate, gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """An agent may ask two gates, each about its own tools."""

    async def refund(to: str, amount: float) -> str:
        return await shop.pay(to, -amount)

    other: GatedTools[Any] = GatedTools(stacksona_gate.gate("refunder", wait=60), tools=["refund"])
    calls = [pay("c1"), pay("c2", tool="refund")]
    with reviewer.deciding(APPROVE) as decided:
        await agent_of(gate, shop, calls, tools=[shop.pay, refund], capabilities=[other]).run(PROMPT)

    assert sorted(shop.paid) == [("al", -5.0), ("al", 5.0)]
    assert {(review.agent, review.action) for review in map(reviewer.detail, decided)} == {
        ("payer", "pay"),
        ("refunder", "refund"),
    }


async def test_wait_that_ends(gate: Gate, shop: Shop, reviewer: Reviewer) -> None:
    """A call that has waited for as long as it may pauses the run; it is not withdrawn, and goes on later."""
    agent = agent_of(gate, shop, [pay("c1")], wait=0.1)
    pause = paused(await agent.run(PROMPT))
    reviewer.approve()
    await resume(agent, pause, gate)

    assert shop.paid == [("al", 5.0)]
