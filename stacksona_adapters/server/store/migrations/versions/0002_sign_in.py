"""Accounts, sign-in links, sessions and failed attempts."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Text

revision = "0002"
down_revision = "0001"

# SQLite counts rows by itself only in a column of exactly this type.
_Number = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "accounts",
        Column("reviewer", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("password_hash", Text),
        Column("password_at", BigInteger),
        PrimaryKeyConstraint("reviewer", name="pk_accounts"),
        ForeignKeyConstraint(["reviewer"], ["reviewers.name"], name="fk_accounts_reviewer_reviewers"),
    )
    op.create_table(
        "sign_in_links",
        Column("token_hash", Text, nullable=False),
        Column("reviewer", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Column("used_at", BigInteger),
        PrimaryKeyConstraint("token_hash", name="pk_sign_in_links"),
        ForeignKeyConstraint(["reviewer"], ["reviewers.name"], name="fk_sign_in_links_reviewer_reviewers"),
    )
    op.create_index("ix_sign_in_links_expires_at", "sign_in_links", ["expires_at"])
    op.create_table(
        "sessions",
        Column("token_hash", Text, nullable=False),
        Column("reviewer", Text, nullable=False),
        Column("reviewer_token", Text),
        Column("created_at", BigInteger, nullable=False),
        Column("seen_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("token_hash", name="pk_sessions"),
        ForeignKeyConstraint(["reviewer"], ["reviewers.name"], name="fk_sessions_reviewer_reviewers"),
        ForeignKeyConstraint(
            ["reviewer_token"], ["reviewer_tokens.id"], name="fk_sessions_reviewer_token_reviewer_tokens"
        ),
    )
    op.create_index("ix_sessions_reviewer", "sessions", ["reviewer"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "sign_in_failures",
        Column("number", _Number, autoincrement=True, nullable=False),
        Column("bucket", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
        PrimaryKeyConstraint("number", name="pk_sign_in_failures"),
    )
    op.create_index("ix_sign_in_failures_at", "sign_in_failures", ["at"])
    op.create_index("ix_sign_in_failures_bucket_at", "sign_in_failures", ["bucket", "at"])


def downgrade() -> None:
    for table in ("sign_in_failures", "sessions", "sign_in_links", "accounts"):
        op.drop_table(table)
