"""Agents and reviewers, and the secrets by which they are known."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, exists, insert, or_, select, update

from stacksona_adapters.server.service import journal
from stacksona_adapters.server.service.errors import Conflict, NotFound, invalid
from stacksona_adapters.server.service.tokens import hashed, new_id, new_key
from stacksona_adapters.server.store.tables import agent_keys, agents, reviewer_tokens, reviewers

if TYPE_CHECKING:
    from datetime import datetime

    from stacksona_adapters.server.service.context import Read, Write

_BY_KEY = (
    select(agents.c.name, agents.c.signed_approval, agents.c.webhook_url)
    .join(agent_keys, agent_keys.c.agent == agents.c.name)
    .where(agent_keys.c.key_hash == bindparam("hash"), agent_keys.c.revoked_at.is_(None))
)
_REVIEWER = exists().where(reviewers.c.name == bindparam("name"))
_BY_TOKEN = select(reviewer_tokens.c.reviewer).where(
    reviewer_tokens.c.token_hash == bindparam("hash"), reviewer_tokens.c.revoked_at.is_(None)
)


@dataclass(frozen=True)
class Agent:
    """Whose key it was."""

    name: str
    signed_approval: bool
    webhook_url: str | None


@dataclass(frozen=True)
class NewAgent:
    """A key, shown this once.

    Attributes:
        agent: The agent's name.
        key: `sg_...`.
        key_id: By which the key is listed and revoked.
        webhook_secret: `whsec_...`, where the agent has a webhook.
    """

    agent: str
    key: str
    key_id: str
    webhook_secret: str | None = None


@dataclass(frozen=True)
class NewReviewer:
    """A token, shown this once: `sr_...`, and the id by which it is listed and revoked."""

    reviewer: str
    token: str
    token_id: str


@dataclass(frozen=True)
class KeyInfo:
    """A key as it is listed: never the key itself. An agent's key may have an owner, a reviewer."""

    id: str
    created_at: datetime
    revoked_at: datetime | None
    owner: str | None = None


@dataclass(frozen=True)
class AgentInfo:
    """An agent as it is listed."""

    name: str
    signed_approval: bool
    webhook_url: str | None
    created_at: datetime
    keys: list[KeyInfo]


@dataclass(frozen=True)
class ReviewerInfo:
    """A reviewer as it is listed."""

    name: str
    created_at: datetime
    tokens: list[KeyInfo]


def agent_of(read: Read, key: str) -> Agent | None:
    """The agent of a key, if the gate knows it and it is not revoked."""
    row = read.connection.execute(_BY_KEY, {"hash": hashed(key)}).one_or_none()
    return None if row is None else Agent(row.name, row.signed_approval, row.webhook_url)


def reviewer_of(read: Read, token: str) -> str | None:
    """The name of a reviewer by token, if the gate knows it and it is not revoked."""
    return read.connection.execute(_BY_TOKEN, {"hash": hashed(token)}).scalar_one_or_none()


def _check_name(name: str) -> str:
    if not 0 < len(name.strip()) <= 200 or name != name.strip() or not name.isprintable() or name == "*":
        raise invalid("/name", "must be 1 to 200 printable characters, with no space at its ends, and not *")
    return name


def add_agent(
    write: Write, name: str, *, signed_approval: bool | None, webhook: str | None, by: str, owner: str | None = None
) -> NewAgent:
    """A key for an agent, which is made if it is new; an agent may have several keys.

    Args:
        write: The transaction.
        name: The agent.
        signed_approval: Whether its approvals come with a token; `None` leaves it as it is.
        webhook: Where its decisions are sent to; `None` leaves it as it is.
        by: Who makes it.
        owner: The reviewer whose key it is, who then never decides on this agent's requests.

    Raises:
        Invalid: If the name or the URL cannot be used, or there is no such reviewer.
    """
    _check_name(name)
    if owner is not None and not write.connection.execute(select(_REVIEWER), {"name": owner}).scalar():
        raise invalid("/owner", f"there is no reviewer {owner!r:.200}")
    if webhook is not None and not webhook.startswith(("https://", "http://")):
        raise invalid("/webhook", "must be an http or https URL")
    row = write.connection.execute(select(agents).where(agents.c.name == name)).one_or_none()
    secret = row.webhook_secret if row is not None else None
    if webhook is not None and secret is None:
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    settings: dict[str, Any] = {} if signed_approval is None else {"signed_approval": signed_approval}
    settings |= {} if webhook is None else {"webhook_url": webhook, "webhook_secret": secret}
    if row is None:
        values = {"signed_approval": False, **settings, "name": name, "created_at": write.now}
        write.connection.execute(insert(agents), values)
    elif settings:
        write.connection.execute(update(agents).where(agents.c.name == name).values(**settings))
    key, key_id = new_key("sg"), new_id("key")
    values = {"id": key_id, "agent": name, "key_hash": hashed(key), "created_at": write.now, "owner": owner}
    write.connection.execute(insert(agent_keys), values)
    # Of a webhook only the host: its path may be as good as a password.
    said = {"agent": name, "key": key_id, "owner": owner, "signed_approval": signed_approval}
    journal.record(write, by, "agent.key_added", {**said, "webhook_host": _host(webhook)})
    return NewAgent(name, key, key_id, secret)


def _host(url: str | None) -> str | None:
    return None if url is None else urlsplit(url).hostname


def add_reviewer(write: Write, name: str, *, by: str) -> NewReviewer:
    """A token for a reviewer, who is added if new."""
    _check_name(name)
    if write.connection.execute(select(reviewers).where(reviewers.c.name == name)).one_or_none() is None:
        write.connection.execute(insert(reviewers), {"name": name, "created_at": write.now})
    token, token_id = new_key("sr"), new_id("token")
    values = {"id": token_id, "reviewer": name, "token_hash": hashed(token), "created_at": write.now}
    write.connection.execute(insert(reviewer_tokens), values)
    journal.record(write, by, "reviewer.token_added", {"reviewer": name, "token": token_id})
    return NewReviewer(name, token, token_id)


def list_agents(read: Read) -> list[AgentInfo]:
    """Every agent and its keys, revoked ones too."""
    found: dict[str, list[KeyInfo]] = {}
    for row in read.connection.execute(select(agent_keys).order_by(agent_keys.c.created_at)):
        found.setdefault(row.agent, []).append(KeyInfo(row.id, row.created_at, row.revoked_at, row.owner))
    rows = read.connection.execute(select(agents).where(agents.c.name != journal.NOBODY).order_by(agents.c.name))
    return [
        AgentInfo(row.name, row.signed_approval, row.webhook_url, row.created_at, found.get(row.name, []))
        for row in rows
    ]


def list_reviewers(read: Read) -> list[ReviewerInfo]:
    """Every reviewer and their tokens, revoked ones too."""
    found: dict[str, list[KeyInfo]] = {}
    for row in read.connection.execute(select(reviewer_tokens).order_by(reviewer_tokens.c.created_at)):
        found.setdefault(row.reviewer, []).append(KeyInfo(row.id, row.created_at, row.revoked_at))
    rows = read.connection.execute(select(reviewers).order_by(reviewers.c.name))
    return [ReviewerInfo(row.name, row.created_at, found.get(row.name, [])) for row in rows]


def revoke_agent(write: Write, which: str, *, by: str) -> int:
    """Revoke one key by its id, or every key of an agent by its name.

    Returns:
        How many keys were revoked.

    Raises:
        NotFound: If there is no such key or agent.
        Conflict: If they were revoked before.
    """
    done = _revoke(write, agent_keys, agent_keys.c.agent, which)
    journal.record(write, by, "agent.key_revoked", {"which": which, "keys": done})
    return len(done)


def revoke_reviewer(write: Write, which: str, *, by: str) -> int:
    """Revoke one token by its id, or every token of a reviewer by name; as `revoke_agent`."""
    done = _revoke(write, reviewer_tokens, reviewer_tokens.c.reviewer, which)
    journal.record(write, by, "reviewer.token_revoked", {"which": which, "tokens": done})
    return len(done)


def reviewers_of(read: Read, which: str) -> list[str]:
    """The reviewer of a token's id, or of a name."""
    mine = or_(reviewer_tokens.c.id == which, reviewer_tokens.c.reviewer == which)
    return list(read.connection.execute(select(reviewer_tokens.c.reviewer).where(mine).distinct()).scalars())


def _revoke(write: Write, table: Any, owner: Any, which: str) -> list[str]:
    mine = or_(table.c.id == which, owner == which)
    found = write.connection.execute(select(table.c.id, table.c.revoked_at).where(mine).order_by(table.c.id)).all()
    if not found:
        raise NotFound(f"There is no key and no name {which!r}.")
    valid = [row.id for row in found if row.revoked_at is None]
    if not valid:
        raise Conflict(f"{which!r} was revoked before.")
    write.connection.execute(update(table).where(table.c.id.in_(valid)).values(revoked_at=write.now))
    return valid
