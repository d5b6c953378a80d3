"""The options of `stacksona serve` for signing in at an OpenID Connect provider."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacksona_adapters.errors import ConfigurationError

if TYPE_CHECKING:
    from stacksona_adapters.server.oidc.settings import OidcSettings

SECRET_VARIABLE = "STACKSONA_OIDC_CLIENT_SECRET"  # noqa: S105 - the variable's name

Issuer = Annotated[
    str | None,
    typer.Option(
        "--oidc-issuer",
        envvar="STACKSONA_OIDC_ISSUER",
        help="The issuer URL of the OpenID Connect provider at which reviewers sign in.",
        show_default=False,
    ),
]
ClientId = Annotated[
    str | None,
    typer.Option(
        "--oidc-client-id", envvar="STACKSONA_OIDC_CLIENT_ID", help="The gate's client id there.", show_default=False
    ),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--oidc-client-secret-file",
        envvar="STACKSONA_OIDC_CLIENT_SECRET_FILE",
        help=f"A file with the client secret; or put the secret into {SECRET_VARIABLE}.",
        show_default=False,
    ),
]
Scopes = Annotated[
    str, typer.Option("--oidc-scopes", envvar="STACKSONA_OIDC_SCOPES", help="What is asked for, with spaces between.")
]
NameClaim = Annotated[
    str,
    typer.Option(
        "--oidc-name-claim",
        envvar="STACKSONA_OIDC_NAME_CLAIM",
        help="The claim that is a new person's name here: email (only if verified), preferred_username, sub, ...",
    ),
]
Domains = Annotated[
    list[str] | None,
    typer.Option(
        "--oidc-domain",
        envvar="STACKSONA_OIDC_DOMAIN",
        help="A domain whose (verified) e-mail addresses may sign in; may be given several times.",
        show_default=False,
    ),
]
GroupsClaim = Annotated[
    str,
    typer.Option("--oidc-groups-claim", envvar="STACKSONA_OIDC_GROUPS_CLAIM", help="The claim that lists groups."),
]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--oidc-role",
        envvar="STACKSONA_OIDC_ROLE",
        metavar="GROUP=ROLE",
        help="The role (admin, reviewer, auditor) of a group, given at each sign-in; may be given several times.",
        show_default=False,
    ),
]
AddReviewers = Annotated[
    bool,
    typer.Option(
        "--oidc-add-reviewers",
        envvar="STACKSONA_OIDC_ADD_REVIEWERS",
        help="Somebody unknown becomes a reviewer; else an admin adds reviewers by name first.",
    ),
]
ProviderName = Annotated[
    str,
    typer.Option(
        "--oidc-provider",
        envvar="STACKSONA_OIDC_PROVIDER",
        help="The provider's name on the button; by default the issuer's host.",
        show_default=False,
    ),
]
Only = Annotated[
    bool,
    typer.Option(
        "--oidc-only",
        envvar="STACKSONA_OIDC_ONLY",
        help="Passwords and tokens sign nobody in to the inbox; sign-in links still do.",
    ),
]


def oidc_settings(
    issuer: str | None,
    client_id: str | None,
    secret_file: Path | None,
    public_url: str | None,
    *,
    scopes: str,
    name_claim: str,
    domains: Iterable[str] | None,
    groups_claim: str,
    roles: Iterable[str] | None,
    add_reviewers: bool,
    provider: str,
    only: bool,
) -> OidcSettings | None:
    """What the options say; `None` where they name no provider.

    Raises:
        ConfigurationError: If something is missing, or does not fit.
    """
    from stacksona_adapters.server.oidc.settings import OidcSettings

    secret = _secret(secret_file)
    needed = {"--oidc-issuer": issuer, "--oidc-client-id": client_id, "the client secret": secret}
    if not any(needed.values()) and not only and not add_reviewers and not roles and not domains:
        return None
    missing = [what for what, value in {**needed, "--public-url": public_url}.items() if not value]
    if missing or not (issuer and client_id and secret and public_url):
        raise ConfigurationError(
            f"Sign-in by OpenID Connect is half configured; missing: {', '.join(missing)}. The secret comes from "
            f"{SECRET_VARIABLE} or --oidc-client-secret-file."
        )
    return OidcSettings(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        public_url=public_url,
        scopes=tuple(scopes.split()),
        name_claim=name_claim,
        domains=tuple(each.lower() for each in domains or ()),
        groups_claim=groups_claim,
        roles=_roles(roles or ()),
        add_reviewers=add_reviewers,
        provider=provider,
        only=only,
    )


def _secret(file: Path | None) -> str:
    secret = os.environ.get(SECRET_VARIABLE, "").strip()
    if file is None:
        return secret
    if secret:
        raise ConfigurationError(f"Give the client secret once: {SECRET_VARIABLE} or --oidc-client-secret-file.")
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The client secret {file} cannot be read: {error}.") from error
    if not found:
        raise ConfigurationError(f"The client secret {file} is empty.")
    return found


def _roles(given: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in given:
        group, equals, role = each.rpartition("=")  # a group's name may have one itself
        if not equals or not group or not role:
            raise ConfigurationError(f"--oidc-role {each!r}: write GROUP=ROLE.")
        if found.setdefault(group, role) != role:
            raise ConfigurationError(f"--oidc-role gives the group {group!r} two roles.")
    return found
