"""A refund that a person decides, in an AutoGen team, with a pause that another process could continue.

    pip install "stacksona-adapters[server,autogen]" autogen-ext
    python autogen_refund.py

Needs no API key: the model is scripted, and the gate runs in this process. Started from a terminal it prints a link to
the inbox and waits for you; otherwise a scripted reviewer decides.
"""

import asyncio
import json
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import FunctionCall
from autogen_core.models import CreateResult, ModelFamily, ModelInfo, RequestUsage
from autogen_ext.models.replay import ReplayChatCompletionClient

from stacksona_adapters import Gate
from stacksona_adapters.autogen import PausedTeam, TeamGate
from stacksona_adapters.local import local_gate
from stacksona_adapters.testing import Verdict, running_gate

REFUND = {"order_id": "8821", "amount": 42.5, "reason": "The parcel arrived broken."}
PROPOSAL = CreateResult(
    finish_reason="function_calls",
    content=[FunctionCall(id="call_1", name="issue_refund", arguments=json.dumps(REFUND))],
    usage=RequestUsage(prompt_tokens=0, completion_tokens=0),
    cached=False,
)


def model(*script: str | CreateResult) -> ReplayChatCompletionClient:
    """Stands in for a language model."""
    info = ModelInfo(
        vision=False, function_calling=True, json_output=True, structured_output=True, family=ModelFamily.UNKNOWN
    )
    return ReplayChatCompletionClient(list(script), model_info=info)


async def issue_refund(order_id: str, amount: float, reason: str) -> str:
    """Pay a refund to the customer."""
    return f"Refunded {amount:.2f} EUR for order {order_id}."


def make_team(approvals: TeamGate, *script: str | CreateResult) -> RoundRobinGroupChat:
    clerk = AssistantAgent("clerk", model(*script), tools=approvals.tools(issue_refund))
    done = TextMentionTermination("TERMINATE") | approvals.termination()
    return RoundRobinGroupChat(approvals.watch(clerk), termination_condition=done)


def gated(gate: Gate, wait: float | None) -> TeamGate:
    return TeamGate(gate, team_id="refunds", risk="high", subject="order_id", wait=wait)


async def refund(gate: Gate) -> None:
    approvals = gated(gate, wait=0)
    ended = await approvals.run(make_team(approvals, PROPOSAL, "TERMINATE"), "Refund order 8821: it arrived broken.")
    if isinstance(ended, PausedTeam):
        saved = ended.to_json()
        print(f"Paused: {len(saved)} characters of JSON. Waiting for a reviewer ...")

        # The same lines, days later, in any process:
        approvals = gated(gate, wait=None)
        ended = await approvals.resume(make_team(approvals, "TERMINATE"), PausedTeam.from_json(saved))
    assert isinstance(ended, TaskResult)
    for message in ended.messages:
        print(f"{message.source}: {message.to_text()}")


def main() -> None:
    if sys.stdin.isatty():
        with local_gate("gate.db", agent="refund-bot") as gate:
            asyncio.run(refund(gate))
        return
    edit = Verdict("approve", "Without the shipping.", {**REFUND, "amount": 37.5})
    with running_gate() as server, server.reviewer().deciding(edit):
        asyncio.run(refund(server.gate("refund-bot")))


if __name__ == "__main__":
    main()
