"""Policies, approvals of several people, and whose an agent's key is."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

revision = "0005"
down_revision = "0004"

# SQLite counts rows by itself only in a column of exactly this type.
_Number = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "policies",
        Column("number", _Number, autoincrement=True, nullable=False),
        Column("id", Text, nullable=False),
        Column("agent", Text, nullable=False),
        Column("tool", Text, nullable=False),
        Column("risks", Text, nullable=False),
        Column("deciders", Text, nullable=False),
        Column("approvals", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("created_by", Text, nullable=False),
        PrimaryKeyConstraint("number", name="pk_policies"),
        UniqueConstraint("id", name="uq_policies_id"),
    )
    op.create_table(
        "approvals",
        Column("number", _Number, autoincrement=True, nullable=False),
        Column("decision_id", Text, nullable=False),
        Column("reviewer", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("action_digest", Text, nullable=False),
        Column("arguments", Text),
        Column("message", Text),
        PrimaryKeyConstraint("number", name="pk_approvals"),
        ForeignKeyConstraint(["decision_id"], ["decisions.decision_id"], name="fk_approvals_decision_id_decisions"),
        UniqueConstraint("decision_id", "reviewer", name="uq_approvals_decision_id_reviewer"),
    )
    op.add_column("agent_keys", Column("owner", Text))
