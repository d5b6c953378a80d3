"""The first schema."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, Table, Text

revision = "0001"
down_revision = None

_metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by itself only in a column of exactly this type.
_Number = BigInteger().with_variant(Integer(), "sqlite")

Table(
    "secrets",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

Table(
    "agents",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("signed_approval", Boolean, nullable=False),
    Column("webhook_url", Text),
    Column("webhook_secret", Text),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "agent_keys",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("agent", Text, ForeignKey("agents.name"), nullable=False, index=True),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

Table(
    "reviewers",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "reviewer_tokens",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("reviewer", Text, ForeignKey("reviewers.name"), nullable=False, index=True),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

Table(
    "rules",
    _metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("agent", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("parameter", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("value2", Text),
    Column("outcome", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

Table(
    "tasks",
    _metadata,
    Column("agent", Text, ForeignKey("agents.name"), primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("about", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", Text, nullable=False),
)

Table(
    "records",
    _metadata,
    Column("agent", Text, primary_key=True),
    Column("task_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

Table(
    "decisions",
    _metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
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
    Column("created_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("audit_hash", Text, nullable=False),
    Column("token_nonce", Text),
    Column("token_hash", Text),
    Column("consumed_at", BigInteger),
    Column("consumed_by", Text),
    Column("outcome", Text),
    Index(None, "agent", "task_id", "number"),
    Index(None, "status", "number"),
    Index(None, "outcome", "number"),
    Index(None, "expires_at"),
)

Table(
    "notes",
    _metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("reviewer_id", Text, nullable=False),
    Column("text", Text, nullable=False),
)

Table(
    "changes",
    _metadata,
    Column("cursor", _Number, primary_key=True, autoincrement=True),
    Column("agent", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Index(None, "agent", "cursor"),
)

Table(
    "idempotency",
    _metadata,
    Column("agent", Text, primary_key=True),
    Column("call", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)

Table(
    "deliveries",
    _metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("delivery_id", Text, nullable=False, unique=True),
    Column("agent", Text, ForeignKey("agents.name"), nullable=False),
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("next_attempt_at", BigInteger),
    Column("delivered_at", BigInteger),
    Column("last_error", Text),
    Index(None, "state", "next_attempt_at"),
)


def upgrade() -> None:
    _metadata.create_all(op.get_bind(), checkfirst=False)


def downgrade() -> None:
    _metadata.drop_all(op.get_bind(), checkfirst=False)
