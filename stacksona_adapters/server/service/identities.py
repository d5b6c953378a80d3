"""Reviewers who sign in at an OpenID Connect provider.

A person there is known by issuer and subject, which never change hands, and not by a name or an address, which do: the
name finds the reviewer at the first sign-in, and from then on the link does. The first link stands in the audit chain.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from stacksona_adapters.server.service import accounts, journal, keys, sessions
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import Conflict, NotFound, NotPermitted
from stacksona_adapters.server.store.account_tables import identities
from stacksona_adapters.server.store.tables import reviewers

if TYPE_CHECKING:
    from stacksona_adapters.server.service.context import Read, Write

_PROVIDER = "oidc"
"""Who adds a reviewer or gives a role where the provider's word is enough."""

log = logging.getLogger("stacksona.sign_in")


@dataclass(frozen=True)
class Person:
    """Somebody whom a provider has identified.

    Attributes:
        issuer: The provider.
        subject: The person's id there.
        name: By which a reviewer is found the first time.
        any_case: Whether capitals make no difference in the name (an e-mail address).
        role: The role that their groups give; `None` where groups give none.
    """

    issuer: str
    subject: str
    name: str
    any_case: bool = False
    role: Role | None = None


def sign_in(write: Write, person: Person, *, add: bool) -> str:
    """Start a session for a person.

    Args:
        write: The transaction.
        person: Who it is.
        add: Whether somebody unknown becomes a reviewer.

    Returns:
        The session's secret, for the cookie.

    Raises:
        NotPermitted: If nobody here is this person, or they were revoked.
    """
    reviewer = _linked(write, person) or _link(write, person, add=add)
    if not accounts.active(write, reviewer):
        raise NotPermitted(f"The reviewer {reviewer!r} was revoked. Ask an admin.")
    if person.role is not None:
        _give_role(write, reviewer, person.role)
    return sessions.new_session(write, reviewer, how="oidc")


def names(read: Read) -> dict[str, list[str]]:
    """By reviewer, the names under which they were linked."""
    found: dict[str, list[str]] = {}
    for row in read.connection.execute(select(identities).order_by(identities.c.created_at)):
        found.setdefault(row.reviewer, []).append(row.name)
    return found


def unlink(write: Write, reviewer: str, by: str) -> None:
    """Forget who a reviewer is at the provider: the next person there who has the name is linked again.

    Args:
        write: The transaction.
        reviewer: The reviewer's name.
        by: Who does it.

    Raises:
        NotFound: If the reviewer is linked to nobody.
    """
    mine = identities.c.reviewer == reviewer
    rows = write.connection.execute(select(identities).where(mine)).all()
    if not rows:
        raise NotFound(f"No reviewer {reviewer!r:.200} is linked to an OpenID Connect provider.")
    write.connection.execute(delete(identities).where(mine))
    for row in rows:
        said = {"reviewer": reviewer, "issuer": row.issuer, "subject": row.subject}
        journal.record(write, by, "sign_in.unlinked", said)


def _linked(read: Read, person: Person) -> str | None:
    mine = (identities.c.issuer == person.issuer, identities.c.subject == person.subject)
    reviewer: str | None = read.connection.execute(select(identities.c.reviewer).where(*mine)).scalar()
    return reviewer


def _link(write: Write, person: Person, *, add: bool) -> str:
    reviewer = _by_name(write, person)
    if reviewer is None and not add:
        raise NotPermitted(
            f"You are signed in as {person.name!r}, and this gate has no reviewer of that name. "
            "Ask an admin to add you with exactly this name."
        )
    if reviewer is None:
        reviewer = person.name
        keys.add_reviewer(write, reviewer, by=_PROVIDER)  # active by its token, which is shown to nobody
    elif not accounts.active(write, reviewer):
        raise NotPermitted(f"The reviewer {reviewer!r} was revoked. Ask an admin.")
    taken = (identities.c.issuer == person.issuer, identities.c.reviewer == reviewer)
    if write.connection.execute(select(identities.c.subject).where(*taken)).scalar() is not None:
        log.warning("another person at %s than before has the name of the reviewer %r", person.issuer, reviewer)
        raise NotPermitted(f"The reviewer {reviewer!r} is somebody else at the provider. Ask an admin.")
    row = {"issuer": person.issuer, "subject": person.subject, "reviewer": reviewer, "name": person.name}
    write.connection.execute(insert(identities), {**row, "created_at": write.now})
    journal.record(write, reviewer, "sign_in.linked", row)
    return reviewer


def _by_name(read: Read, person: Person) -> str | None:
    same = func.lower(reviewers.c.name) == person.name if person.any_case else reviewers.c.name == person.name
    found = list(read.connection.execute(select(reviewers.c.name).where(same)).scalars())
    if len(found) > 1:
        raise NotPermitted(f"Several reviewers have the name {person.name!r} in different writing. Ask an admin.")
    return found[0] if found else None


def _give_role(write: Write, reviewer: str, role: Role) -> None:
    try:
        accounts.give_role(write, reviewer, role, by=_PROVIDER)
    except Conflict:
        log.warning("the groups of %r no longer give the role admin; it stays, as there is no other admin", reviewer)
