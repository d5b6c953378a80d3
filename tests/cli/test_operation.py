"""What an operator relies on: one audit key for every command, links that people can reach, options by environment."""

from __future__ import annotations

import base64
import signal
from pathlib import Path

import httpx

from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings
from tests.cli.test_serve import serving
from tests.cli.tools import Cli


def test_every_command_uses_the_audit_key_of_the_file(cli: Cli, tmp_path: Path) -> None:
    """Commands sign and verify with the key that `serve` was given; without it they do not take the trail for good."""
    db, key = tmp_path / "gate.db", tmp_path / "audit.key"
    key.write_bytes(base64.b64encode(bytes(range(32))))
    with GateService(ServerSettings(db_url=db, audit_key_file=key)) as service:
        service.add_agent("bot")
        exported = b"".join(service.export_audit("ann"))
        public = service.audit_key
    assert public.encode() in exported

    without = cli("audit", "verify", "--db", db)
    cli.environ.setenv("STACKSONA_AUDIT_KEY_FILE", str(key))
    assert cli("audit", "key", "--db", db).out == f"{public}\n"
    assert cli("audit", "verify", "--db", db).code == 0
    assert cli("audit", "export", "--out", tmp_path / "trail.jsonl", "--db", db).code == 0
    assert cli("audit", "verify", tmp_path / "trail.jsonl", "--key", public).code == 0
    cli.environ.setenv("STACKSONA_AUDIT_KEY_FILE", str(tmp_path / "none.key"))
    assert "none.key cannot be read" in cli("audit", "key", "--db", db).err
    assert without.code == 1


def test_links_lead_to_the_public_url(tmp_path: Path) -> None:
    """The first sign-in link is one that the reviewer's browser can open."""
    with serving(tmp_path / "gate.db", "--public-url", "https://gate.example.com/") as first:
        link = first.found(r"Inbox: +(\S+)\n")
        assert httpx.get(f"{first.url}/healthz").status_code == 200
        first.stop(signal.SIGTERM)

    assert link.startswith("https://gate.example.com/inbox/sign-in#sl_")
