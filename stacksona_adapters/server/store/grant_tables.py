"""Bounded grants: what reviewers have permitted beyond one request."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from stacksona_adapters.server.store.tables import Moment, Number, metadata

grants = Table(
    "grants",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("agent", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("risk", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("until", Moment, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    # No foreign key: a grant may outlive the task that it came from, which is pruned one day.
    Column("decision_id", Text, nullable=False),
    Column("revoked_at", Moment),
    Column("revoked_by", Text),
    Index("ix_grants_agent_tool_until", "agent", "tool", "until"),
)
