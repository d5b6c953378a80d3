"""`stacksona serve`: runs the gate until it is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from stacksona_adapters.cli.config import (
    AuditKey,
    Config,
    Grants,
    Host,
    LogFormat,
    MaxBody,
    Networks,
    Notify,
    OpenMetrics,
    Port,
    PublicUrl,
    RateLimit,
)
from stacksona_adapters.cli.database import opened, settings_for, shown_url, translated
from stacksona_adapters.cli.logs import set_up
from stacksona_adapters.cli.oidc import (
    AddReviewers,
    ClientId,
    Domains,
    GroupsClaim,
    Issuer,
    NameClaim,
    Only,
    ProviderName,
    Roles,
    Scopes,
    SecretFile,
    oidc_settings,
)
from stacksona_adapters.cli.options import Db
from stacksona_adapters.cli.output import Failed, say

if TYPE_CHECKING:
    from stacksona_adapters.server.service.context import Write
    from stacksona_adapters.server.settings import ServerSettings

_FIRST_AGENT = "agent"


def serve(
    config: Config = None,
    host: Host = "127.0.0.1",
    port: Port = 8787,
    db: Db = None,
    public_url: PublicUrl = None,
    webhook_network: Networks = None,
    notify: Notify = None,
    open_metrics: OpenMetrics = False,
    audit_key_file: AuditKey = None,
    max_body: MaxBody = 1024 * 1024,
    rate_limit: RateLimit = None,
    grants: Grants = True,
    log_format: LogFormat = "text",
    oidc_issuer: Issuer = None,
    oidc_client_id: ClientId = None,
    oidc_client_secret_file: SecretFile = None,
    oidc_scopes: Scopes = "openid email profile",
    oidc_name_claim: NameClaim = "email",
    oidc_domain: Domains = None,
    oidc_groups_claim: GroupsClaim = "groups",
    oidc_role: Roles = None,
    oidc_add_reviewers: AddReviewers = False,
    oidc_provider: ProviderName = "",
    oidc_only: Only = False,
) -> None:
    """Run the gate until Ctrl-C or SIGTERM.

    The first start on a database prints a sign-in link for the inbox and an agent's key.
    """
    if log_format not in ("text", "json"):
        raise typer.BadParameter(f"{log_format!r} is neither text nor json", param_hint="--log-format")
    settings = replace(
        settings_for(db, host, port),
        public_url=public_url,
        delivery_networks=tuple(webhook_network or ()),
        notify=tuple(notify or ()),
        open_metrics=open_metrics,
        audit_key_file=audit_key_file,
        max_body=max_body,
        rate_limit=rate_limit,
        oidc=oidc_settings(
            oidc_issuer,
            oidc_client_id,
            oidc_client_secret_file,
            public_url,
            scopes=oidc_scopes,
            name_claim=oidc_name_claim,
            domains=oidc_domain,
            groups_claim=oidc_groups_claim,
            roles=oidc_role,
            add_reviewers=oidc_add_reviewers,
            provider=oidc_provider,
            only=oidc_only,
        ),
        grants=grants,
    )
    set_up(log_format)
    _until_stopped(db, settings)


def _until_stopped(db: str | None, settings: ServerSettings) -> None:
    from stacksona_adapters.server import run

    with translated(settings.database), _listening(settings) as bound:
        url = run.url_of(bound)
        with _published(settings, url):  # before anybody is told of the gate
            _welcome(db, settings, url)
            _run(settings, bound)
    say("The gate has stopped.")


def _run(settings: ServerSettings, bound: socket.socket) -> None:
    from stacksona_adapters.server import run

    # The server hands a signal on when it has stopped; without this SIGTERM would then end the process at once.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run.serve(settings, bound)
    except KeyboardInterrupt:
        return
    except SystemExit as error:
        raise Failed("The gate could not start; its log above says why.") from error


@contextmanager
def _listening(settings: ServerSettings) -> Iterator[socket.socket]:
    from stacksona_adapters.server import run

    try:
        bound = run.listen(settings)
    except OSError as error:
        raise Failed(
            f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}. "
            "Stop what has it, or give another --port (0 takes a free one)."
        ) from error
    with bound:
        yield bound


def _welcome(db: str | None, settings: ServerSettings, url: str) -> None:
    from stacksona_adapters.local import REVIEWER
    from stacksona_adapters.server.service.accounts import Role
    from stacksona_adapters.server.service.sessions import sign_in_link

    seen = (settings.public_url or url).rstrip("/")
    with opened(db, create=True) as service:
        key, token = service.write(_first_keys)
        link = sign_in_link(service, seen, REVIEWER, role=Role.ADMIN) if token else ""
    say(f"Gate:   {url}", f"Data:   {shown_url(settings.database).removeprefix('sqlite:///')}")
    if key and token:
        say(f"Inbox:  {link}", f"Key:    {key}  (of the agent {_FIRST_AGENT!r})", "")
        say("The key and the link are shown this once; the link signs in once, within a day.")
        say("For an agent in another terminal:", "")
        say(f"  export STACKSONA_GATE_URL={url} STACKSONA_API_KEY={key}")
        say(f"  export STACKSONA_REVIEWER_TOKEN={token}  # for `stacksona inbox`", "")
    else:
        say(f"Inbox:  {seen}/inbox  (`stacksona reviewer add NAME` makes a token to sign in with)")
    say("Stop it with Ctrl-C.")
    sys.stdout.flush()


def _first_keys(write: Write) -> tuple[str, str]:
    """An agent's key and a reviewer's token for a database that has none; empty for any other."""
    from stacksona_adapters.local import REVIEWER
    from stacksona_adapters.server.service import keys
    from stacksona_adapters.server.service.journal import OPERATOR

    if keys.list_agents(write) or keys.list_reviewers(write):
        return "", ""
    made = keys.add_agent(write, _FIRST_AGENT, signed_approval=None, webhook=None, by=OPERATOR)
    return made.key, keys.add_reviewer(write, REVIEWER, by=OPERATOR).token


@contextmanager
def _published(settings: ServerSettings, url: str) -> Iterator[None]:
    """Let `local_gate` on the same file find this gate instead of starting another."""
    from stacksona_adapters.local import Place

    if not settings.database.startswith("sqlite:///"):
        yield
        return
    place = Place(settings.database)
    place.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not place.lock.acquire():
        yield
        return
    try:
        place.publish(url)
        yield
    finally:
        place.withdraw()
        place.lock.release()
