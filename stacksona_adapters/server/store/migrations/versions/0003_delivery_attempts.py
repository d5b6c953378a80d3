"""Attempts to deliver webhooks."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Text

revision = "0003"
down_revision = "0002"

# SQLite counts rows by itself only in a column of exactly this type.
_Number = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "delivery_attempts",
        Column("number", _Number, autoincrement=True, nullable=False),
        Column("delivery_id", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("status", Integer),
        Column("error", Text),
        Column("seconds", Float, nullable=False),
        PrimaryKeyConstraint("number", name="pk_delivery_attempts"),
        ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.delivery_id"], name="fk_delivery_attempts_delivery_id_deliveries"
        ),
    )
    op.create_index("ix_delivery_attempts_delivery_id", "delivery_attempts", ["delivery_id"])
