"""`stacksona agent ...` and `stacksona reviewer ...`: who may ask and who may decide."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacksona_adapters.cli.database import opened
from stacksona_adapters.cli.options import AsJson, Db
from stacksona_adapters.cli.output import counted, say, say_json, show_table, table, warn

if TYPE_CHECKING:
    from stacksona_adapters.server.service.keys import KeyInfo

agents = typer.Typer(no_args_is_help=True, help="Agents and their keys (sg_...).")
reviewers = typer.Typer(no_args_is_help=True, help="Reviewers and their tokens (sr_...).")

Name = Annotated[str, typer.Argument(metavar="NAME", help="1 to 200 printable characters.")]
Which = Annotated[str, typer.Argument(metavar="ID|NAME", help="One key by its id, or a name for all of its keys.")]
Webhook = Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Where decisions are sent to.")]
Signed = Annotated[
    bool | None,
    typer.Option(
        "--signed-approval/--no-signed-approval", help="An approval comes with a one-time token.", show_default=False
    ),
]
Owner = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="REVIEWER",
        help="Whose key it is: this reviewer never decides on the agent's requests.",
        show_default=False,
    ),
]


@agents.command("add")
def add_agent(
    name: Name,
    signed_approval: Signed = None,
    webhook: Webhook = None,
    owner: Owner = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for an agent, new or known. The key is shown this once."""
    from stacksona_adapters.server.service import policies

    with opened(db, create=True) as service:
        made = service.add_agent(name, signed_approval=signed_approval, webhook=webhook, owner=owner)
        gaps = service.read(policies.gaps) if owner is not None else []
    secret = {"webhook_secret": made.webhook_secret} if webhook is not None else {}
    warn(*(f"Warning: {gap}." for gap in gaps if gap.agent == name))
    if as_json:
        say_json({"agent": made.agent, "key": made.key, **secret, **({"owner": owner} if owner is not None else {})})
        return
    say(f"Key of the agent {made.agent} (shown this once):", f"  {made.key}")
    if secret:
        say("Secret of its webhook, for checking signatures:", f"  {made.webhook_secret}")


@agents.command("list")
def list_agents(db: Db = None, as_json: AsJson = False) -> None:
    """List agents and their keys; the keys themselves are not kept."""
    with opened(db) as service:
        found = service.list_agents()
    if as_json:
        say_json({"agents": found})
        return
    extra = {each.name: (_yes(each.signed_approval), each.webhook_url) for each in found}
    rows = [(each.name, *_line(key), key.owner, *extra[each.name]) for each in found for key in each.keys]
    _listing(("Agent", "Key*", "Made*", "Revoked*", "Owner", "Signed approval", "Webhook"), rows, "No agents yet.")


@agents.command("revoke")
def revoke_agent(which: Which, db: Db = None) -> None:
    """Revoke a key, or all keys of an agent, at once."""
    with opened(db) as service:
        done = service.revoke_agent(which)
    say(f"Revoked {counted(done, 'key')}: {which}")


class RoleName(str, Enum):
    """What a reviewer may do."""

    REVIEWER = "reviewer"
    ADMIN = "admin"
    AUDITOR = "auditor"


RoleOption = Annotated[
    RoleName | None,
    typer.Option("--role", help="What they may do; without it a known reviewer keeps theirs.", show_default=False),
]
LinkUrl = Annotated[
    str, typer.Option("--url", envvar="STACKSONA_GATE_URL", help="The gate's URL as their browser reaches it.")
]


@reviewers.command("add")
def add_reviewer(name: Name, role: RoleOption = None, db: Db = None, as_json: AsJson = False) -> None:
    """Make a token for a reviewer, new or known. The token is shown this once."""
    from stacksona_adapters.server.service import accounts
    from stacksona_adapters.server.service.journal import OPERATOR

    with opened(db, create=True) as service:
        made = service.add_reviewer(name)
        if role is not None:
            given = accounts.Role(role.value)
            service.write(lambda write: accounts.give_role(write, name, given, by=OPERATOR))
    if as_json:
        say_json({"reviewer": made.reviewer, "token": made.token})
        return
    say(f"Token of the reviewer {made.reviewer} (shown this once):", f"  {made.token}")


@reviewers.command("link")
def link_reviewer(name: Name, url: LinkUrl = "http://127.0.0.1:8787", db: Db = None, as_json: AsJson = False) -> None:
    """Make a link that signs a known reviewer in to the inbox: once, within a day."""
    from stacksona_adapters.server.service.sessions import sign_in_link

    with opened(db) as service:
        link = sign_in_link(service, url, name)
    if as_json:
        say_json({"reviewer": name, "link": link})
        return
    say(link)


@reviewers.command("list")
def list_reviewers(db: Db = None, as_json: AsJson = False) -> None:
    """List reviewers and their tokens; the tokens themselves are not kept."""
    with opened(db) as service:
        found = service.list_reviewers()
    if as_json:
        say_json({"reviewers": found})
        return
    rows = [(each.name, *_line(token)) for each in found for token in each.tokens]
    _listing(("Reviewer", "Token*", "Made*", "Revoked*"), rows, "No reviewers yet.")


@reviewers.command("revoke")
def revoke_reviewer(which: Which, db: Db = None) -> None:
    """Revoke a token, or all tokens of a reviewer, at once."""
    with opened(db) as service:
        done = service.revoke_reviewer(which)
    say(f"Revoked {counted(done, 'token')}: {which}")


@reviewers.command("unlink")
def unlink_reviewer(name: Name, db: Db = None) -> None:
    """Forget who a reviewer is at the OpenID Connect provider; the next sign-in under the name links again."""
    from stacksona_adapters.server.service import identities
    from stacksona_adapters.server.service.journal import OPERATOR

    with opened(db) as service:
        service.write(lambda write: identities.unlink(write, name, OPERATOR))
    say(f"Unlinked: {name}")


def _line(key: KeyInfo) -> tuple[Any, ...]:
    return (key.id, key.created_at, key.revoked_at)


def _listing(columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    if rows:
        show_table(table(columns, rows))
    else:
        say(nothing)


def _yes(value: bool) -> str:
    return "yes" if value else ""
