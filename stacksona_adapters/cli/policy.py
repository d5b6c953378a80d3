"""`stacksona policy ...`: who may decide on which requests, and how many must approve."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacksona_adapters.cli.database import opened
from stacksona_adapters.cli.options import AsJson, Db
from stacksona_adapters.cli.output import say, say_json, show_table, table, warn

if TYPE_CHECKING:
    from stacksona_adapters.server.service.gate import GateService
    from stacksona_adapters.server.service.policies import Gap, Policy

app = typer.Typer(
    no_args_is_help=True,
    help="Policies: who may decide, and how many must approve. All that match a request hold together.",
)


class Risk(str, Enum):
    """The four risks."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@app.command("list")
def list_policies(db: Db = None, as_json: AsJson = False) -> None:
    """List the policies, oldest first, and what nobody can approve because of them."""
    from stacksona_adapters.server.service import policies

    with opened(db) as service:
        found = service.read(policies.list_policies)
        gaps = service.read(policies.gaps)
    if as_json:
        say_json({"policies": [policy.as_dict() for policy in found], "gaps": [_gap(gap) for gap in gaps]})
        return
    if not found:
        say("No policies: every reviewer decides on everything, and one approval is enough.")
    else:
        show_table(table(("ID*", "Agent", "Tool", "Risk", "Deciders", "Approvals*"), [_row(each) for each in found]))
    warn(*(f"Warning: {gap}." for gap in gaps))


def _row(policy: Policy) -> tuple[object, ...]:
    risks = ", ".join(map(str, policy.risks)) or "*"
    return (policy.id, policy.agent, policy.tool, risks, ", ".join(policy.deciders) or "*", policy.approvals)


def _gap(gap: Gap) -> dict[str, Any]:
    return {**vars(gap), "says": str(gap)}


@app.command()
def add(
    agent: Annotated[str, typer.Option("--agent", help="The agent's name, or * for all.")] = "*",
    tool: Annotated[str, typer.Option("--tool", help="The action's name, or * for all.")] = "*",
    risk: Annotated[
        list[Risk] | None, typer.Option("--risk", help="Only requests of this risk; may be repeated.")
    ] = None,
    decider: Annotated[
        list[str] | None,
        typer.Option(
            "--decider",
            metavar="NAME|role:admin|role:reviewer",
            help="Who may decide; may be repeated. Without it everybody whose role decides.",
        ),
    ] = None,
    approvals: Annotated[int, typer.Option("--approvals", min=1, max=5, help="How many people must approve.")] = 1,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Add a policy; it holds at once, for what waits too.

    Two people for everything critical: `stacksona policy add --risk critical --approvals 2`.
    """
    from stacksona_adapters.server.service import policies
    from stacksona_adapters.server.service.journal import OPERATOR

    fields: dict[str, Any] = {"agent": agent, "tool": tool, "approvals": approvals}
    fields |= {"risks": [each.value for each in risk or []], "deciders": decider or []}
    with opened(db, create=True) as service:
        made = service.write(lambda write: policies.add(write, fields, by=OPERATOR))
        gaps = _about(service, made.id)
    if as_json:
        say_json(made.as_dict())
    else:
        say(f"Added {made.id}.")
    warn(*(f"Warning: {gap}." for gap in gaps))


def _about(service: GateService, policy_id: str) -> list[Gap]:
    from stacksona_adapters.server.service import policies

    return [gap for gap in service.read(policies.gaps) if policy_id in gap.policies]


@app.command()
def remove(
    policy_id: Annotated[str, typer.Argument(metavar="ID", help="As `policy list` has it.")], db: Db = None
) -> None:
    """Remove a policy. It approves nothing that waits: people decide, by the policies that are left."""
    from stacksona_adapters.server.service import policies
    from stacksona_adapters.server.service.journal import OPERATOR

    with opened(db) as service:
        service.write(lambda write: policies.remove(write, policy_id, by=OPERATOR))
    say(f"Removed {policy_id}.")
