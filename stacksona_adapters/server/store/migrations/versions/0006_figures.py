"""Indexes for the figures over time: what was asked for, and what people decided, since a moment."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_decisions_created_at", "decisions", ["created_at"])
    by_person = text("reviewer_id IS NOT NULL")
    op.create_index(
        "ix_decisions_decided_by_person",
        "decisions",
        ["decided_at"],
        sqlite_where=by_person,
        postgresql_where=by_person,
    )
