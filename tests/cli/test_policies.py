"""`stacksona policy ...`, owners of keys, and approving what several people must approve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.testing import RunningGate
from tests.cli.tools import Cli, Done


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database that does not exist yet."""
    return tmp_path / "gate.db"


def test_add_list_remove(cli: Cli, db: Path) -> None:
    """A policy is added, listed with who decides, and removed by its id."""
    cli("reviewer", "add", "ann", "--db", db)
    cli("reviewer", "add", "bob", "--db", db)
    none = cli("policy", "list", "--db", db)
    words = "--agent bot --tool pay --risk high --risk critical --decider ann --decider bob --approvals 2"
    added = cli("policy", "add", *words.split(), "--db", db, "--json")
    listed = cli("policy", "list", "--db", db, "--json").json
    shown = cli("policy", "list", "--db", db)

    assert none.out == "No policies: every reviewer decides on everything, and one approval is enough.\n"
    assert (added.code, added.err) == (0, "")
    assert listed == {"policies": [added.json], "gaps": []}
    assert added.json["risks"] == ["high", "critical"]
    assert added.json["deciders"] == ["ann", "bob"]
    assert "ann, bob" in shown.out
    assert (shown.code, shown.err) == (0, "")
    assert cli("policy", "remove", added.json["id"], "--db", db).out == f"Removed {added.json['id']}.\n"
    assert cli("policy", "remove", added.json["id"], "--db", db).code == 1


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ("--decider zoe", 1, "there is no reviewer 'zoe'"),
        ("--risk critical", 1, "changes nothing"),
        ("--approvals 6", 2, "approvals"),
        ("--risk huge --approvals 2", 2, "huge"),
    ],
)
def test_wrong_policies(cli: Cli, db: Path, options: str, code: int, says: str) -> None:
    """What cannot be used is refused in a sentence."""
    cli("reviewer", "add", "ann", "--db", db)

    done = cli("policy", "add", *options.split(), "--db", db)

    assert done.code == code
    assert says in done.err


def test_a_policy_that_leaves_nobody(cli: Cli, db: Path) -> None:
    """It is said when it is added, in the list, and by the doctor, who then fails."""
    cli("reviewer", "add", "ann", "--db", db)
    fine = cli("doctor", "--db", db)
    added = cli("policy", "add", "--approvals", "2", "--db", db)
    listed = cli("policy", "list", "--db", db, "--json").json
    sick = cli("doctor", "--db", db)
    cli("reviewer", "add", "bob", "--db", db)
    well = cli("doctor", "--db", db)

    says = "is about: 2 approvals are needed, and only ann may decide"
    assert added.code == 0
    assert says in added.err
    assert says in listed["gaps"][0]["says"]
    assert "none: every reviewer decides on everything" in fine.out
    assert says in sick.out
    assert "policies" in sick.err
    assert "1 policy; somebody may decide on everything" in well.out


def test_owner(cli: Cli, db: Path) -> None:
    """A key is given to a reviewer; who is left without anybody who decides is warned."""
    cli("reviewer", "add", "ann", "--db", db)

    wrong = cli("agent", "add", "bot", "--owner", "zoe", "--db", db)
    added = cli("agent", "add", "bot", "--owner", "ann", "--db", db, "--json")
    listed = cli("agent", "list", "--db", db)

    assert (wrong.code, "no reviewer 'zoe'" in wrong.err) == (1, True)
    assert added.json["owner"] == "ann"
    assert "nobody can approve requests of bot" in added.err
    assert "ann" in listed.out


@pytest.fixture
def asked(stacksona_gate: RunningGate) -> str:
    """A pending request that two must approve."""
    gate: Gate = stacksona_gate.gate("bot", wait=0)
    done = gate.request(gate.action("pay", {"amount": 7.0}, risk="critical", run_id="run", call_id="1"))
    return done.decision.id


def as_reviewer(cli: Cli, gate: RunningGate, name: str, *arguments: object) -> Done:
    """A command with somebody's token."""
    return cli(*arguments, "--url", gate.url, "--token", gate.reviewer_token(name))


def test_two_approve(cli: Cli, stacksona_gate: RunningGate, asked: str) -> None:
    """The first is told that one more is needed, and how; the second approves the version of the first."""
    gate = stacksona_gate
    for name in ("ann", "bob"):
        gate.reviewer_token(name)
    cli("policy", "add", "--risk", "critical", "--approvals", "2", "--db", gate.settings.database)

    first = as_reviewer(cli, gate, "ann", "approve", asked, "--arguments", '{"amount": 5.0}')
    again = as_reviewer(cli, gate, "ann", "approve", asked, "--arguments", '{"amount": 5.0}')
    shown = as_reviewer(cli, gate, "bob", "show", asked)
    review = as_reviewer(cli, gate, "bob", "show", asked, "--json").json
    listed = as_reviewer(cli, gate, "bob", "inbox")
    other = as_reviewer(cli, gate, "bob", "approve", asked, "--json")
    digest = review["approvals"][0]["action_digest"]
    second = as_reviewer(cli, gate, "bob", "approve", asked, "--digest", digest)

    assert (first.code, first.out) == (0, f"1 of 2 approvals: one more approval is needed: {asked}\n")
    assert again.code == 1
    assert "a second person is needed" in again.err
    assert json.dumps({"amount": 5.0}) in shown.out
    assert digest in shown.out
    assert "1 of 2 approvals" in listed.out
    assert (other.json["status"], other.json["approvals_needed"], len(other.json["approvals"])) == (
        "pending_review",
        2,
        2,
    )
    assert (second.code, second.out) == (0, f"Approved by bob with other arguments: {asked}\n")
