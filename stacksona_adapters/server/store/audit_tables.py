"""Signed checkpoints over the heads of all chains."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from stacksona_adapters.server.store.tables import metadata

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("statement", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("signature", Text, nullable=False),
)
