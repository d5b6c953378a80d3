"""The reviewer's commands, against a real gate over HTTP."""

from __future__ import annotations

import json

import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import ActionRejected, OutcomeUnknown, RevisionRequested
from stacksona_adapters.gating.action import Action
from stacksona_adapters.testing import RunningGate
from tests.cli.tools import Cli

HOSTILE = "\x1b[31mPAY NOW\x1b[0m \u202egnp.exe [bold]x[/bold]"
SCHEMA = {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}


@pytest.fixture
def gate(stacksona_gate: RunningGate) -> Gate:
    """An agent that does not wait for people."""
    return stacksona_gate.gate("bot", wait=0)


@pytest.fixture
def reviewer_cli(cli: Cli, stacksona_gate: RunningGate) -> Cli:
    """The command line, connected to the gate by its environment."""
    cli.environ.setenv("STACKSONA_GATE_URL", stacksona_gate.url)
    cli.environ.setenv("STACKSONA_REVIEWER_TOKEN", stacksona_gate.reviewer_token("anna"))
    return cli


def action(gate: Gate, amount: float) -> Action:
    """An action full of what a terminal should not believe; the same run asks it again."""
    return gate.action(
        "pay",
        {"amount": amount, "note": HOSTILE},
        subject=HOSTILE,
        summary=[HOSTILE],
        preview=f"{HOSTILE}\nsecond line",
        context={"why": HOSTILE},
        arguments_schema=SCHEMA,
        run_id="run",
        call_id=str(amount),
    )


def ask(gate: Gate, amount: float = 7.0) -> str:
    """A pending request for it."""
    return gate.request(action(gate, amount)).decision.id


def test_inbox_and_show(reviewer_cli: Cli, gate: Gate) -> None:
    """Both are for people and for programs, and neither lets an agent write to the terminal."""
    decision = ask(gate)

    listed, shown = reviewer_cli("inbox"), reviewer_cli("show", decision)

    for done in (listed, shown):
        assert done.code == 0
        assert decision in done.out
        assert "PAY NOW" in done.out
        assert "[bold]x[/bold]" in done.out
        assert not {"\x1b", "\u202e"} & set(done.out)
    assert "second line" in shown.out
    assert reviewer_cli("inbox", "--json").json["reviews"][0]["subject"] == HOSTILE
    assert reviewer_cli("show", decision, "--json").json["decision_id"] == decision
    assert reviewer_cli("inbox", "--folder", "approved").out == "Nothing in the folder approved.\n"
    assert reviewer_cli("inbox", "--folder", "approved", "--json").json["reviews"] == []


def test_inbox_has_every_page(reviewer_cli: Cli, gate: Gate) -> None:
    """More requests than a page holds are all listed."""
    decisions = {ask(gate, float(number)) for number in range(1, 62)}

    assert {review["decision_id"] for review in reviewer_cli("inbox", "--json").json["reviews"]} == decisions


def test_approve_reject_revise(reviewer_cli: Cli, gate: Gate) -> None:
    """Each does what its name says, and the agent hears the message."""
    first, second, third = (ask(gate, amount) for amount in (1.0, 2.0, 3.0))
    done = reviewer_cli("approve", first)
    refused = reviewer_cli("reject", second, "--message", "no", "--json")
    back = reviewer_cli("revise", third, "-m", "less")

    assert done.out == f"Approved by anna: {first}\n"
    assert refused.json["status"] == "rejected"
    assert back.out == f"Sent back by anna: {third}\n"
    with pytest.raises(ActionRejected, match="no"):
        gate.authorize(action(gate, 2.0))
    with pytest.raises(RevisionRequested, match="less"):
        gate.authorize(action(gate, 3.0))
    with gate.permit(action(gate, 1.0)) as permit:
        assert permit.arguments["amount"] == 1.0


def test_approve_with_other_arguments(reviewer_cli: Cli, gate: Gate) -> None:
    """An edit must fit the tool; then it is what runs."""
    decision = ask(gate, 9.0)
    for wrong, code in (("{", 2), ("[1]", 2), ('{"amount": "much"}', 1), ("{}", 1)):
        done = reviewer_cli("approve", decision, "--arguments", wrong)
        assert (done.code, done.out) == (code, "")
    done = reviewer_cli("approve", decision, "--arguments", json.dumps({"amount": 4.5, "note": "half"}))

    assert "with other arguments" in done.out
    with gate.permit(action(gate, 9.0)) as permit:
        assert permit.arguments == {"amount": 4.5, "note": "half"}


def test_second_reviewer_is_told_who_was_first(reviewer_cli: Cli, gate: Gate, stacksona_gate: RunningGate) -> None:
    """Two at once: the first one counts."""
    decision = ask(gate)
    stacksona_gate.reviewer("bert").reject(decision, message="no")

    done = reviewer_cli("approve", decision)

    assert (done.code, done.out) == (1, "")
    assert "rejected by bert" in done.err


def test_settle(reviewer_cli: Cli, gate: Gate) -> None:
    """An outcome that nobody reported is listed, and closed or given back by a person."""
    decision = ask(gate)
    reviewer_cli("approve", decision)
    approval = gate.authorize(action(gate, 7.0))
    gate.take(approval, approval.arguments)
    listed = reviewer_cli("inbox", "--folder", "unknown", "--json").json["reviews"]

    assert [review["decision_id"] for review in listed] == [decision]
    with pytest.raises(OutcomeUnknown):
        gate.take(gate.authorize(action(gate, 7.0)), approval.arguments)
    assert reviewer_cli("settle", decision, "perhaps").code == 2
    assert reviewer_cli("settle", decision, "did-not-run", "-m", "power cut").code == 0
    assert reviewer_cli("settle", decision, "ran").code == 1
    with gate.permit(action(gate, 7.0)):
        pass


def test_missing_url_token_or_gate_says_exactly_that(cli: Cli, stacksona_gate: RunningGate, gate: Gate) -> None:
    """Each of the three has a sentence of its own, on standard error, with exit code 1."""
    decision = ask(gate)
    url, token = ("--url", stacksona_gate.url), ("--token", stacksona_gate.reviewer_token())
    for arguments, says in (
        ((), "No gate: pass --url or set STACKSONA_GATE_URL"),
        (url, "No reviewer's token: pass --token or set STACKSONA_REVIEWER_TOKEN"),
        ((*url, "--token", "sr_wrong"), "does not accept the reviewer's token"),
        ((*url, "--token", stacksona_gate.agent_key("bot")), "only a reviewer"),
        (("--url", "127.0.0.1:1", *token), "not an http or https URL"),
    ):
        done = cli("show", decision, *arguments)
        assert (done.code, done.out) == (1, "")
        assert says in done.err
    assert "THR" in cli("show", decision, *url, *token).out
    assert cli("show", "no/such?id", *url, *token).code == 1
    stacksona_gate.stop()
    assert f"The gate at {stacksona_gate.url} did not answer" in cli("approve", decision, *url, *token).err
