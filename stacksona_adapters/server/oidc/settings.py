"""How a gate is registered at an OpenID Connect provider, and what it takes from it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from stacksona_adapters.errors import ConfigurationError

ROLES = ("admin", "reviewer", "auditor")
"""What a group can give, strongest first."""

CALLBACK_PATH = "/inbox/sign-in/oidc/callback"
"""Where the provider sends the browser back to, below the gate's public URL."""


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """How people sign in at an OpenID Connect provider.

    Attributes:
        issuer: The provider's issuer URL, exactly as its discovery document says it.
        client_id: The gate's id at the provider.
        client_secret: And its secret.
        public_url: The gate's URL as browsers reach it.
        scopes: What is asked for.
        name_claim: The claim that a new person's reviewer is found by: `email` (only with `email_verified`) or another.
        domains: The domains of e-mail addresses that may sign in; every one where it is empty.
        groups_claim: The claim that lists a person's groups.
        roles: The role (`ROLES`) that each group gives. Where it is not empty, who is in none of them cannot sign in.
        add_reviewers: Whether somebody unknown becomes a reviewer, by `domains` or `roles`; else an admin adds them.
        provider: The provider's name on the button; the issuer's host where it is empty.
        only: Whether passwords and reviewers' tokens sign nobody in to the inbox any more.

    Raises:
        ConfigurationError: If something is missing or wrong.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    public_url: str
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    name_claim: str = "email"
    domains: tuple[str, ...] = ()
    groups_claim: str = "groups"
    roles: Mapping[str, str] = field(default_factory=dict)
    add_reviewers: bool = False
    provider: str = ""
    only: bool = False

    def __post_init__(self) -> None:
        check_url(self.issuer, "The OpenID Connect issuer")
        check_url(self.public_url, "The public URL, to which the OpenID Connect provider sends browsers back,")
        if "?" in self.issuer or "#" in self.issuer:
            raise ConfigurationError(f"The OpenID Connect issuer {self.issuer} must have no query and no fragment.")
        if not self.client_id or not self.client_secret:
            raise ConfigurationError("OpenID Connect needs a client id and a client secret.")
        if "openid" not in self.scopes:
            raise ConfigurationError("The OpenID Connect scopes must have openid among them.")
        if not self.name_claim or not self.groups_claim:
            raise ConfigurationError("The name of an OpenID Connect claim must not be empty.")
        wrong = sorted({role for role in self.roles.values() if role not in ROLES})
        if wrong:
            raise ConfigurationError(f"There is no role {', '.join(wrong)}; a group gives one of {', '.join(ROLES)}.")
        for domain in self.domains:
            if not domain or "@" in domain or domain != domain.strip().lower():
                raise ConfigurationError(f"{domain!r} is not a domain in small letters, such as example.com.")
        if self.add_reviewers and not self.domains and not self.roles:
            raise ConfigurationError(
                "Everybody who has an account at the OpenID Connect provider would become a reviewer: say who may, "
                "by --oidc-domain or --oidc-role, or leave --oidc-add-reviewers out."
            )

    @property
    def name(self) -> str:
        """The provider's name, for people."""
        return self.provider or urlsplit(self.issuer).netloc

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends the browser back to; it is registered there."""
        return self.public_url.rstrip("/") + CALLBACK_PATH

    @property
    def signed_out_uri(self) -> str:
        """Where the provider may send the browser after signing out there."""
        return self.public_url.rstrip("/") + "/inbox/sign-in"


def check_url(url: str, what: str) -> None:
    """Refuse a URL over which secrets would travel unprotected.

    Args:
        url: The URL.
        what: Whose it is, as the beginning of a sentence.

    Raises:
        ConfigurationError: If it is neither https nor http to this machine.
    """
    try:
        parts = urlsplit(url)
        host, local = parts.hostname, _this_machine(parts.hostname or "")
    except ValueError as error:
        raise ConfigurationError(f"{what} {url!r} is not a URL.") from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise ConfigurationError(f"{what} must be an https URL (http only to this machine), not {url!r}.")


def _this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
