"""Who may decide what, and the approvals of requests that need several."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, Table, Text, UniqueConstraint

from stacksona_adapters.server.store.tables import Moment, Number, metadata

policies = Table(
    "policies",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("agent", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("risks", Text, nullable=False),
    Column("deciders", Text, nullable=False),
    Column("approvals", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("decision_id", Text, ForeignKey("decisions.decision_id"), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("action_digest", Text, nullable=False),
    Column("arguments", Text),
    Column("message", Text),
    UniqueConstraint("decision_id", "reviewer"),
)
