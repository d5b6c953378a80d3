"""The tables of sign-in: accounts, identities, links, sessions, and failures that slow the next attempt down."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text, UniqueConstraint

from stacksona_adapters.server.store.tables import Moment, Number, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("reviewer", Text, ForeignKey("reviewers.name"), primary_key=True),
    Column("role", Text, nullable=False),
    Column("password_hash", Text),
    Column("password_at", Moment),
)

identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("reviewer", Text, ForeignKey("reviewers.name"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("issuer", "reviewer"),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("reviewer", Text, ForeignKey("reviewers.name"), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
    Column("used_at", Moment),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("reviewer", Text, ForeignKey("reviewers.name"), nullable=False, index=True),
    Column("reviewer_token", Text, ForeignKey("reviewer_tokens.id")),
    Column("created_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
)

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("bucket", Text, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Index("ix_sign_in_failures_bucket_at", "bucket", "at"),
)
