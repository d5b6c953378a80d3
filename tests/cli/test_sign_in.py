"""Roles and sign-in links from the command line."""

from __future__ import annotations

import httpx

from stacksona_adapters.testing import RunningGate
from tests.cli.tools import Cli


def test_role_and_link(cli: Cli, stacksona_gate: RunningGate) -> None:
    """A reviewer gets a role, and a link that signs in once, in that role."""
    db = stacksona_gate.database
    cli("reviewer", "add", "eve", "--role", "auditor", "--db", db)
    link = cli("reviewer", "link", "eve", "--url", stacksona_gate.url, "--db", db, "--json").json["link"]
    page, _, secret = link.partition("#")
    same = {"Sec-Fetch-Site": "same-origin"}

    with httpx.Client(headers=same) as browser:
        assert browser.post(page, data={"secret": secret}).status_code == 303
        assert browser.get(f"{stacksona_gate.url}/inbox/audit").status_code == 200
    assert httpx.post(page, data={"secret": secret}, headers=same).status_code == 401
    assert cli("reviewer", "link", "eve", "--db", db).out.startswith("http://127.0.0.1:8787/inbox/sign-in#sl_")


def test_link_for_nobody(cli: Cli, stacksona_gate: RunningGate) -> None:
    """Nobody gets a link who is not there or was revoked, and the reason is said."""
    db = stacksona_gate.database
    cli("reviewer", "add", "bob", "--db", db)
    cli("reviewer", "revoke", "bob", "--db", db)

    for name in ("bob", "nobody"):
        done = cli("reviewer", "link", name, "--db", db)
        assert (done.code, done.out) == (1, "")
        assert name in done.err
    assert cli("reviewer", "add", "bob", "--role", "king", "--db", db).code == 2
