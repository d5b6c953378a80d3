"""Attempts to deliver webhooks, and how far people have been notified."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from stacksona_adapters.server.store.tables import Moment, Number, metadata

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("delivery_id", Text, ForeignKey("deliveries.delivery_id"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("seconds", Float, nullable=False),
)
