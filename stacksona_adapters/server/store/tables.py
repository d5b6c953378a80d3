"""The tables of the gate.

JSON is kept as text, written by the gate and never queried. Moments are microseconds since 1970 in UTC. A change here
needs a migration in `migrations/versions`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """A moment, to the microsecond."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else _EPOCH + timedelta(microseconds=int(value))


Number = BigInteger().with_variant(Integer(), "sqlite")
"""Of a column that counts its rows: SQLite does it only in a column of exactly this type."""


secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

agents = Table(
    "agents",
    metadata,
    Column("name", Text, primary_key=True),
    Column("signed_approval", Boolean, nullable=False),
    Column("webhook_url", Text),
    Column("webhook_secret", Text),
    Column("created_at", Moment, nullable=False),
)

agent_keys = Table(
    "agent_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent", Text, ForeignKey("agents.name"), nullable=False, index=True),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("owner", Text),
)

reviewers = Table(
    "reviewers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", Moment, nullable=False),
)

reviewer_tokens = Table(
    "reviewer_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("reviewer", Text, ForeignKey("reviewers.name"), nullable=False, index=True),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)

rules = Table(
    "rules",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("agent", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("parameter", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("value2", Text),
    Column("outcome", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("agent", Text, ForeignKey("agents.name"), primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("about", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", Text, nullable=False),
    Column("checkpointed_seq", BigInteger, nullable=False, server_default="0"),
    Index(
        "ix_tasks_grown",
        "agent",
        "task_id",
        sqlite_where=text("head_seq > checkpointed_seq"),
        postgresql_where=text("head_seq > checkpointed_seq"),
    ),
)

records = Table(
    "records",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("decision_id", Text, nullable=False, unique=True),
    Column("thread_id", Text, nullable=False, unique=True),
    Column("agent", Text, ForeignKey("agents.name"), nullable=False),
    Column("task_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("risk", Text, nullable=False),
    Column("task_label", Text),
    Column("rule", Text),
    Column("action_digest", Text, nullable=False),
    Column("edited_arguments", Text),
    Column("message", Text),
    Column("reviewer_id", Text),
    Column("claimed_by", Text),
    Column("created_at", Moment, nullable=False),
    Column("decided_at", Moment),
    Column("expires_at", Moment),
    Column("audit_hash", Text, nullable=False),
    Column("token_nonce", Text),
    Column("token_hash", Text),
    Column("consumed_at", Moment),
    Column("consumed_by", Text),
    Column("outcome", Text),
    Column("grant_id", Text),
    Index(None, "agent", "task_id", "number"),
    Index(None, "status", "number"),
    Index(None, "outcome", "number"),
    Index(None, "expires_at"),
    Index(None, "created_at"),
    Index(
        "ix_decisions_decided_by_person",
        "decided_at",
        sqlite_where=text("reviewer_id IS NOT NULL"),
        postgresql_where=text("reviewer_id IS NOT NULL"),
    ),
    Index(
        "ix_decisions_granted",
        "grant_id",
        "number",
        sqlite_where=text("grant_id IS NOT NULL"),
        postgresql_where=text("grant_id IS NOT NULL"),
    ),
)

notes = Table(
    "notes",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("reviewer_id", Text, nullable=False),
    Column("text", Text, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("cursor", Number, primary_key=True, autoincrement=True),
    Column("agent", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Index(None, "agent", "cursor"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("call", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", Moment, nullable=False, index=True),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("delivery_id", Text, nullable=False, unique=True),
    Column("agent", Text, ForeignKey("agents.name"), nullable=False),
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("next_attempt_at", Moment),
    Column("delivered_at", Moment),
    Column("last_error", Text),
    Index(None, "state", "next_attempt_at"),
)
