"""Who a reviewer is to the gate: role and password."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from sqlalchemy import exists, insert, select, update

from stacksona_adapters.server.service import journal
from stacksona_adapters.server.service.errors import Conflict, NotFound, NotPermitted, invalid
from stacksona_adapters.server.store.account_tables import accounts
from stacksona_adapters.server.store.tables import reviewer_tokens, reviewers

if TYPE_CHECKING:
    from stacksona_adapters.server.service.context import Read, Write

SHORTEST_PASSWORD = 12
"""The fewest characters of a password."""

_LONGEST_PASSWORD = 200


class Role(str, Enum):
    """What a reviewer may do."""

    REVIEWER = "reviewer"
    ADMIN = "admin"
    AUDITOR = "auditor"

    def __str__(self) -> str:
        return self.value

    @property
    def decides(self) -> bool:
        """Whether the role decides on requests; an auditor only reads."""
        return self is not Role.AUDITOR

    @property
    def administers(self) -> bool:
        """Whether the role manages agents, reviewers and rules."""
        return self is Role.ADMIN

    @property
    def oversees(self) -> bool:
        """Whether the role sees agents, reviewers, rules and the audit trail."""
        return self is not Role.REVIEWER


class Passwords:
    """Hashes passwords (argon2id) and checks them, in the same time for a name that does not exist."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """The hash to keep.

        Raises:
            Invalid: If the password is too short or too long.
        """
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise invalid("/password", f"must have {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters")
        return self._hasher.hash(password)

    def fits(self, password: str, kept: str | None) -> bool:
        """Whether a password is the one of a hash; `None` takes as long and never fits."""
        try:
            self._hasher.verify(kept or self._nobody, password[: _LONGEST_PASSWORD + 1])
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False
        return kept is not None


def role_of(read: Read, reviewer: str) -> Role:
    """A reviewer's role; that of a plain reviewer where none was given."""
    kept = read.connection.execute(select(accounts.c.role).where(accounts.c.reviewer == reviewer)).scalar()
    return Role(kept) if kept is not None else Role.REVIEWER


def check_decides(read: Read, reviewer: str) -> None:
    """Refuse a reviewer whose role only reads.

    Raises:
        NotPermitted: If the role does not decide.
    """
    if not role_of(read, reviewer).decides:
        raise NotPermitted("An auditor reads and does not decide.")


def active(read: Read, reviewer: str) -> bool:
    """Whether a reviewer has a token that is not revoked; one who has none can no longer sign in by any way."""
    mine = (reviewer_tokens.c.reviewer == reviewer, reviewer_tokens.c.revoked_at.is_(None))
    return bool(read.connection.execute(select(exists().where(*mine))).scalar())


def everybody(read: Read) -> dict[str, Role]:
    """The active reviewers and their roles."""
    query = select(reviewer_tokens.c.reviewer).where(reviewer_tokens.c.revoked_at.is_(None)).distinct()
    kept = roles(read)
    names = sorted(read.connection.execute(query).scalars())
    return {name: kept[name][0] if name in kept else Role.REVIEWER for name in names}


def password_hash_of(read: Read, reviewer: str) -> str | None:
    """The kept hash of an active reviewer's password."""
    kept = read.connection.execute(select(accounts.c.password_hash).where(accounts.c.reviewer == reviewer)).scalar()
    return kept if kept is not None and active(read, reviewer) else None


def set_password_hash(write: Write, reviewer: str, password_hash: str | None) -> None:
    """Keep the hash of the password that a reviewer chose, or none."""
    _set(write, reviewer, {"password_hash": password_hash, "password_at": write.now})
    journal.record(write, reviewer, "reviewer.password_set", {"reviewer": reviewer})


def give_role(write: Write, reviewer: str, role: Role, *, by: str, keep: bool = False) -> None:
    """Give a reviewer a role.

    Args:
        write: The transaction.
        reviewer: Whose role.
        role: Which.
        by: Who gives it.
        keep: Whether a role that was given before stays.

    Raises:
        NotFound: If there is no such reviewer.
        Conflict: If nobody would be left to administer the gate.
    """
    had = write.connection.execute(select(accounts.c.role).where(accounts.c.reviewer == reviewer)).scalar()
    if had is not None and keep:
        return
    if had == Role.ADMIN.value and role is not Role.ADMIN and admins(write) == [reviewer]:
        raise Conflict("This is the only admin; make somebody else one first.")
    _set(write, reviewer, {"role": role.value})
    if had != role.value:
        journal.record(write, by, "reviewer.role_given", {"reviewer": reviewer, "role": role.value, "before": had})


def check_not_last_admin(read: Read, which: str) -> None:
    """Refuse to revoke what the only admin signs in with.

    Args:
        read: The transaction.
        which: A reviewer's name, or the id of a token.

    Raises:
        Conflict: If nobody would be left to administer the gate.
    """
    mine = (reviewer_tokens.c.reviewer == which) | (reviewer_tokens.c.id == which)
    left = select(reviewer_tokens.c.reviewer).where(~mine, reviewer_tokens.c.revoked_at.is_(None))
    with_token = set(read.connection.execute(left).scalars())
    present = set(admins(read))
    if present and not present & with_token:
        raise Conflict("This is the only admin; make somebody else one first.")


def roles(read: Read) -> dict[str, tuple[Role, bool]]:
    """The role of each reviewer who was given one or has an account, and whether there is a password."""
    rows = read.connection.execute(select(accounts))
    return {row.reviewer: (Role(row.role), row.password_hash is not None) for row in rows}


def admins(read: Read) -> list[str]:
    """The active reviewers who administer the gate."""
    rows = read.connection.execute(select(accounts.c.reviewer).where(accounts.c.role == Role.ADMIN.value))
    return [name for name in rows.scalars() if active(read, name)]


def _set(write: Write, reviewer: str, values: dict[str, Any]) -> None:
    if write.connection.execute(select(reviewers).where(reviewers.c.name == reviewer)).one_or_none() is None:
        raise NotFound(f"There is no reviewer {reviewer!r:.200}.")
    if not write.connection.execute(update(accounts).where(accounts.c.reviewer == reviewer).values(**values)).rowcount:
        write.connection.execute(insert(accounts), {"role": Role.REVIEWER.value, **values, "reviewer": reviewer})
