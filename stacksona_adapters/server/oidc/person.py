"""Who the claims speak of, and whether this gate lets them in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stacksona_adapters.server.oidc.settings import ROLES
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import NotPermitted
from stacksona_adapters.server.service.identities import Person

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stacksona_adapters.server.oidc.settings import OidcSettings

_LONGEST_NAME = 200


@dataclass(frozen=True)
class _Claims:
    said: Mapping[str, Any]
    provider: str

    def text(self, name: str) -> str:
        """A claim that is a text."""
        value = self.said.get(name)
        if not isinstance(value, str) or not 0 < len(value.strip()) <= _LONGEST_NAME or not value.isprintable():
            raise NotPermitted(
                f"{self.provider} does not say your {name}, by which this gate knows its reviewers. "
                "Ask an admin: the claim may need another scope."
            )
        return value.strip()

    def email(self) -> str:
        """The verified e-mail address, in small letters."""
        address = self.text("email").lower()
        if self.said.get("email_verified") is not True:  # a provider that says "true" as a text does not say it
            raise NotPermitted(f"{self.provider} has not verified that the address {address!r} is yours. Ask an admin.")
        return address


def needed(settings: OidcSettings) -> set[str]:
    """The claims without which `person_of` finds nobody; they may be in the ID token or at the UserInfo endpoint."""
    email = {"email", "email_verified"} if settings.name_claim == "email" or settings.domains else set()
    return {settings.name_claim} | email | ({settings.groups_claim} if settings.roles else set())


def person_of(said: Mapping[str, Any], settings: OidcSettings) -> Person:
    """The person of checked claims.

    Raises:
        NotPermitted: If this gate does not let them in; the detail is for themselves.
    """
    claims = _Claims(said, settings.name)
    by_email = settings.name_claim == "email"
    name = claims.email() if by_email else claims.text(settings.name_claim)
    if settings.domains:
        address = claims.email()
        if address.rpartition("@")[2] not in settings.domains:
            raise NotPermitted(f"Nobody signs in to this gate with the address {address!r}: its domain is not allowed.")
    role = _role(said.get(settings.groups_claim), settings) if settings.roles else None
    return Person(settings.issuer, str(said["sub"]), name, any_case=by_email, role=role)


def _role(groups: Any, settings: OidcSettings) -> Role:
    mine = set(_texts(groups))
    given = {role for group, role in settings.roles.items() if group in mine}
    for role in ROLES:
        if role in given:
            return Role(role)
    raise NotPermitted(f"None of your groups at {settings.name} has a role at this gate. Ask an admin for one.")


def _texts(value: Any) -> Iterable[str]:
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return (each for each in listed if isinstance(each, str))
