"""Signed checkpoints over the heads of all chains."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text, text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        Column("seq", BigInteger, autoincrement=False, nullable=False),
        Column("statement", Text, nullable=False),
        Column("hash", Text, nullable=False),
        Column("signature", Text, nullable=False),
        PrimaryKeyConstraint("seq", name="pk_checkpoints"),
    )
    op.add_column("tasks", Column("checkpointed_seq", BigInteger, nullable=False, server_default="0"))
    grown = text("head_seq > checkpointed_seq")
    op.create_index("ix_tasks_grown", "tasks", ["agent", "task_id"], sqlite_where=grown, postgresql_where=grown)
