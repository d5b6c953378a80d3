"""Bounded grants, and by which one a request was allowed."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, UniqueConstraint, text

revision = "0008"
down_revision = "0007"

# SQLite counts rows by itself only in a column of exactly this type.
_Number = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "grants",
        Column("number", _Number, autoincrement=True, nullable=False),
        Column("id", Text, nullable=False),
        Column("agent", Text, nullable=False),
        Column("label", Text, nullable=False),
        Column("tool", Text, nullable=False),
        Column("risk", Text, nullable=False),
        Column("limits", Text, nullable=False),
        Column("max_uses", Integer, nullable=False),
        Column("used", Integer, nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("decision_id", Text, nullable=False),
        Column("revoked_at", BigInteger),
        Column("revoked_by", Text),
        PrimaryKeyConstraint("number", name="pk_grants"),
        UniqueConstraint("id", name="uq_grants_id"),
    )
    op.create_index("ix_grants_agent_tool_until", "grants", ["agent", "tool", "until"])
    op.add_column("decisions", Column("grant_id", Text))
    granted = text("grant_id IS NOT NULL")
    op.create_index(
        "ix_decisions_granted", "decisions", ["grant_id", "number"], sqlite_where=granted, postgresql_where=granted
    )
