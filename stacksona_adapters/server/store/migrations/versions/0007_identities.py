"""Who a reviewer is at an OpenID Connect provider."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Text, UniqueConstraint

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "identities",
        Column("issuer", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("reviewer", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("issuer", "subject", name="pk_identities"),
        ForeignKeyConstraint(["reviewer"], ["reviewers.name"], name="fk_identities_reviewer_reviewers"),
        UniqueConstraint("issuer", "reviewer", name="uq_identities_issuer_reviewer"),
    )
    op.create_index("ix_identities_reviewer", "identities", ["reviewer"])
