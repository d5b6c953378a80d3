"""`stacksona grant ...`: what reviewers have permitted beyond one request; over HTTP, as the reviewer's token says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stacksona_adapters.cli.options import AsJson, Token, Url
from stacksona_adapters.cli.output import clean, say, say_json, show_table, table
from stacksona_adapters.cli.reviews import connected

if TYPE_CHECKING:
    from stacksona_adapters.protocol.grants import Grant

app = typer.Typer(
    no_args_is_help=True,
    help="Grants: similar requests that run without review, so many, until a time. Made in the inbox.",
)


@app.command("list")
def list_grants(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the grants, those that have ended too, newest first."""
    with connected(url, token) as client:
        found = list(client.grants())
    if as_json:
        say_json({"grants": found})
    elif not found:
        say("No grants: what no rule settles, a person decides.")
    else:
        columns = ("ID*", "State*", "Agent", "Tool", "With", "Used*", "Until", "By")
        show_table(table(columns, [_row(grant) for grant in found]))


def _row(grant: Grant) -> tuple[object, ...]:
    limits = ", ".join(f"{name} {limit}" for name, limit in grant.limits.items())
    used = f"{grant.used} of {grant.max_uses}"
    who = grant.label if grant.label == grant.agent else f"{grant.label} (key of {grant.agent})"
    return (grant.grant_id, grant.state, who, grant.tool, clean(limits, limit=200), used, grant.until, grant.created_by)


@app.command()
def revoke(
    grant_id: Annotated[str, typer.Argument(metavar="ID", help="As `grant list` has it.")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a grant: similar requests wait for a person again."""
    with connected(url, token) as client:
        ended = client.revoke_grant(grant_id)
    if as_json:
        say_json(ended)
    else:
        say(f"Revoked {ended.grant_id}; it was used {ended.used} of {ended.max_uses} times.")
