"""`stacksona grant ...`, the switch of `serve`, and grants from scripts, against a real gate over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from stacksona_adapters.client.gate import Gate
from stacksona_adapters.errors import GateRequestRefused
from stacksona_adapters.testing import RunningGate
from tests.cli.test_serve import serving
from tests.cli.tools import Cli

HOSTILE = "\x1b[31mpay\x1b[0m \u202e"
GRANT = {"limits": {"amount": {"at_most": 10}, "note": {"any": True}}, "max_uses": 2, "lasts": 60}


@pytest.fixture
def reviewer_cli(cli: Cli, stacksona_gate: RunningGate) -> Cli:
    """The command line, connected to the gate by its environment."""
    cli.environ.setenv("STACKSONA_GATE_URL", stacksona_gate.url)
    cli.environ.setenv("STACKSONA_REVIEWER_TOKEN", stacksona_gate.reviewer_token("anna"))
    return cli


def ask(gate: Gate, call: str, amount: float = 7.0) -> tuple[str, str]:
    """Ask for a payment; the decision's id and status."""
    action = gate.action(HOSTILE, {"amount": amount, "note": HOSTILE}, run_id="run", call_id=call)
    decision = gate.request(action).decision
    return decision.id, str(decision.status)


def test_list_and_revoke(reviewer_cli: Cli, stacksona_gate: RunningGate) -> None:
    """Both are for people and for programs; what an agent wrote does not reach the terminal."""
    gate, ben = stacksona_gate.gate("bot", wait=0), stacksona_gate.reviewer("ben")
    empty = reviewer_cli("grant", "list").out
    first, _ = ask(gate, "1")
    ben.approve(first, grant=GRANT)
    second, status = ask(gate, "2", 10)
    [made] = reviewer_cli("grant", "list", "--json").json["grants"]
    shown = reviewer_cli("grant", "list").out

    assert (empty, status) == ("No grants: what no rule settles, a person decides.\n", "allow")
    assert (made["used"], made["created_by"], made["decision_id"], made["state"]) == (1, "ben", first, "live")
    for told in (made["grant_id"], "1 of 2", "amount at most 10", "note any value", "ben"):
        assert told in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    assert reviewer_cli("show", second, "--json").json["rule"]["id"] == made["grant_id"]

    done = reviewer_cli("grant", "revoke", made["grant_id"])
    again = reviewer_cli("grant", "revoke", made["grant_id"])

    assert done.out == f"Revoked {made['grant_id']}; it was used 1 of 2 times.\n"
    assert (again.code, "revoked before by anna" in again.err) == (1, True)
    assert ask(gate, "3")[1] == "pending_review"
    assert reviewer_cli("grant", "list", "--json").json["grants"][0]["revoked_by"] == "anna"
    assert reviewer_cli("grant", "revoke", "grant_none").code == 1


def test_refused_from_a_script(stacksona_gate: RunningGate) -> None:
    """A grant that cannot be made is a refusal, and the request still waits."""
    gate, ben = stacksona_gate.gate("bot", wait=0), stacksona_gate.reviewer("ben")
    decision, _ = ask(gate, "1")

    with pytest.raises(GateRequestRefused) as refused:
        ben.approve(decision, grant={**GRANT, "limits": {"amount": {"at_most": 1}}})

    assert refused.value.status_code == 422
    assert ben.detail(decision).status == "pending_review"


def test_the_switch(tmp_path: Path) -> None:
    """`grants = false` in the file, or `--no-grants`, and the gate makes none; the flag goes before the file."""
    file = tmp_path / "gate.toml"
    file.write_text("grants = false\n")
    bodies = []
    for name, flags in (("a", ["--config", str(file)]), ("b", ["--config", str(file), "--grants"])):
        with serving(tmp_path / f"{name}.db", *flags) as gate, httpx.Client(base_url=gate.url) as client:
            key, token = gate.found(r"Key: +(\S+)"), gate.found(r"REVIEWER_TOKEN=(\S+)")
            agent, reviewer = ({"Authorization": f"Bearer {secret}"} for secret in (key, token))
            asked = client.post("/api/agent/tasks/t/requests", json={"tool_name": "pay"}, headers=agent).json()
            body = {"outcome": "approve", "grant": {"limits": {}, "max_uses": 1, "lasts": 60}}
            place = f"/v1/reviews/{asked['thread_id']}/decide"
            bodies.append(client.post(place, json=body, headers=reviewer).json())

    assert (bodies[0]["status"], "switched off" in bodies[0]["detail"]) == (422, True)
    assert bodies[1]["status"] == "approved"
