"""Signing in to the inbox: one-time links, sessions, and a brake on guessing.

Links and sessions are random and kept hashed, like keys. A reviewer without a token that is not revoked has neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, or_, select, update

from stacksona_adapters.server.service import accounts, journal
from stacksona_adapters.server.service.accounts import Role
from stacksona_adapters.server.service.errors import NotAuthenticated, NotFound, TooMany
from stacksona_adapters.server.service.tokens import hashed, new_key
from stacksona_adapters.server.store.account_tables import sessions, sign_in_failures, sign_in_links
from stacksona_adapters.server.store.tables import reviewer_tokens

if TYPE_CHECKING:
    from stacksona_adapters.server.service.context import Read, Write
    from stacksona_adapters.server.service.gate import GateService

LINK_LIFETIME = timedelta(hours=24)
"""How long a sign-in link can be used, once."""

LONGEST_SESSION = timedelta(days=7)
"""After this time a reviewer signs in again."""

IDLE_SESSION = timedelta(hours=12)
"""A session that is not used for so long ends."""

_NOTE_USE_EVERY = timedelta(minutes=5)

WINDOW = timedelta(minutes=15)
"""How long a failed sign-in counts."""

PER_NAME = 5
"""Failed sign-ins for one name before the next must wait."""

PER_ADDRESS = 20
"""Failed sign-ins from one address before the next must wait."""


@dataclass(frozen=True)
class Session:
    """Who uses the inbox."""

    reviewer: str
    role: Role
    created_at: datetime
    stale: bool


def sign_in_link(service: GateService, base_url: str, reviewer: str, *, role: Role | None = None) -> str:
    """A link that signs a reviewer in to the inbox, once, within `LINK_LIFETIME`.

    Its secret stands behind `#`, so that no server and no log gets it; opening it does nothing yet, the page that it
    opens asks for one click.

    Args:
        service: The gate.
        base_url: Its URL as the reviewer's browser reaches it.
        reviewer: An active reviewer's name (`GateService.add_reviewer` makes one).
        role: The role of a reviewer who has been given none; one that was given stays.

    Raises:
        NotFound: If there is no such reviewer, or all of their tokens are revoked.
    """

    def make(write: Write) -> str:
        if role is not None:
            accounts.give_role(write, reviewer, role, by=journal.OPERATOR, keep=True)
        return new_link(write, reviewer, by=journal.OPERATOR)

    return f"{base_url.rstrip('/')}/inbox/sign-in#{service.write(make)}"


def new_link(write: Write, reviewer: str, *, by: str) -> str:
    """The secret of a new sign-in link; earlier ones that are over are forgotten."""
    if not accounts.active(write, reviewer):
        raise NotFound(f"There is no reviewer {reviewer!r:.200} with a token that is not revoked.")
    write.connection.execute(delete(sign_in_links).where(sign_in_links.c.expires_at <= write.now))
    secret = new_key("sl")
    row = {"token_hash": hashed(secret), "reviewer": reviewer, "created_at": write.now}
    write.connection.execute(insert(sign_in_links), {**row, "expires_at": write.now + LINK_LIFETIME})
    journal.record(write, by, "reviewer.link_made", {"reviewer": reviewer})
    return secret


def by_secret(write: Write, secret: str) -> str:
    """Sign in with a link's secret, which is used up, or with a reviewer's token.

    Returns:
        The session's secret, for the cookie.

    Raises:
        NotAuthenticated: If it is neither, was used before, or its time is over.
    """
    secret = secret.strip()
    if secret.startswith("sl_"):
        return new_session(write, _use_link(write, secret), how="link")
    row = write.connection.execute(
        select(reviewer_tokens.c.id, reviewer_tokens.c.reviewer).where(
            reviewer_tokens.c.token_hash == hashed(secret), reviewer_tokens.c.revoked_at.is_(None)
        )
    ).one_or_none()
    if row is None:
        raise NotAuthenticated("The gate does not know this token, or it was revoked.")
    return new_session(write, row.reviewer, how="token", token_id=row.id)


def _use_link(write: Write, secret: str) -> str:
    mine = sign_in_links.c.token_hash == hashed(secret)
    row = write.connection.execute(select(sign_in_links).where(mine)).one_or_none()
    if row is None or row.expires_at <= write.now or not accounts.active(write, row.reviewer):
        raise NotAuthenticated("This sign-in link is not valid any more.")
    taken = update(sign_in_links).where(mine, sign_in_links.c.used_at.is_(None)).values(used_at=write.now)
    if not write.connection.execute(taken).rowcount:
        raise NotAuthenticated("This sign-in link was used before.")
    reviewer: str = row.reviewer
    return reviewer


def new_session(write: Write, reviewer: str, *, how: str, token_id: str | None = None) -> str:
    """Start a session; sessions that are over are forgotten.

    Args:
        write: The transaction.
        reviewer: Who signed in.
        how: By what: `link`, `token`, `password` or `oidc`.
        token_id: The reviewer's token by which; the session ends when it is revoked.

    Returns:
        The session's secret, for the cookie.
    """
    write.connection.execute(delete(sessions).where(sessions.c.expires_at <= write.now))
    secret = new_key("ss")
    row = {"token_hash": hashed(secret), "reviewer": reviewer, "reviewer_token": token_id, "created_at": write.now}
    row |= {"seen_at": write.now, "expires_at": write.now + LONGEST_SESSION}
    write.connection.execute(insert(sessions), row)
    journal.record(write, reviewer, "session.started", {"how": how})
    return secret


def find(read: Read, secret: str) -> Session | None:
    """The session of a cookie, if it is good."""
    query = (
        select(sessions)
        .outerjoin(reviewer_tokens, reviewer_tokens.c.id == sessions.c.reviewer_token)
        .where(sessions.c.token_hash == hashed(secret))
        .where(or_(sessions.c.reviewer_token.is_(None), reviewer_tokens.c.revoked_at.is_(None)))
    )
    row = read.connection.execute(query).one_or_none()
    if row is None or row.expires_at <= read.now or row.seen_at + IDLE_SESSION <= read.now:
        return None
    if not accounts.active(read, row.reviewer):
        return None
    stale = row.seen_at + _NOTE_USE_EVERY <= read.now
    return Session(row.reviewer, accounts.role_of(read, row.reviewer), row.created_at, stale)


def touch(write: Write, secret: str) -> None:
    """Note that a session is in use."""
    write.connection.execute(update(sessions).where(sessions.c.token_hash == hashed(secret)).values(seen_at=write.now))


def end(write: Write, secret: str) -> None:
    """Sign out."""
    write.connection.execute(delete(sessions).where(sessions.c.token_hash == hashed(secret)))


def end_others(write: Write, reviewer: str, secret: str) -> int:
    """Sign a reviewer out everywhere but here; returns how many sessions ended."""
    others = (sessions.c.reviewer == reviewer, sessions.c.token_hash != hashed(secret))
    return write.connection.execute(delete(sessions).where(*others)).rowcount


def attempt(write: Write, name: str | None, address: str) -> list[int]:
    """Count a sign-in attempt as failed before it is checked, so that attempts at the same moment count too.

    Args:
        write: The transaction.
        name: The name that signs in; `None` where a secret alone does.
        address: Where it comes from.

    Returns:
        What `succeeded` takes back.

    Raises:
        TooMany: If too many failed.
    """
    since = write.now - WINDOW
    write.connection.execute(delete(sign_in_failures).where(sign_in_failures.c.at <= since))
    buckets = [(f"address:{address:.100}", PER_ADDRESS)]
    buckets += [(f"name:{hashed(name)}", PER_NAME)] if name is not None else []
    for bucket, most in buckets:
        mine = (sign_in_failures.c.bucket == bucket, sign_in_failures.c.at > since)
        count, first = write.connection.execute(
            select(func.count(), func.min(sign_in_failures.c.at)).where(*mine)
        ).one()
        if count >= most:
            wait = max(1, round((first + WINDOW - write.now).total_seconds()))
            raise TooMany("Too many sign-ins failed; try again later.", wait)
    numbers = []
    for bucket, _ in buckets:
        made = write.connection.execute(insert(sign_in_failures), {"bucket": bucket, "at": write.now})
        numbers += list(made.inserted_primary_key or ())
    return numbers


def succeeded(write: Write, counted: list[int]) -> None:
    """The attempt was no failure."""
    write.connection.execute(delete(sign_in_failures).where(sign_in_failures.c.number.in_(counted)))
