"""Copies a gate's database to another one, of either kind: a backup, or the way from SQLite to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, text

from stacksona_adapters.errors import ConfigurationError

# Imported for their tables, which belong to the schema.
from stacksona_adapters.server.store import (  # noqa: F401
    account_tables,
    audit_tables,
    delivery_tables,
    grant_tables,
    policy_tables,
)
from stacksona_adapters.server.store.engine import open_backend
from stacksona_adapters.server.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

ROWS_AT_ONCE = 1000


def copy(source: str, target: str, on_table: Callable[[str, int], None] = lambda name, rows: None) -> int:
    """Copy everything, as it is at one moment: keys, rules, decisions and the audit chain to the letter.

    Args:
        source: The URL of a gate's database (of `settings.database_url`).
        target: The URL of a database that is empty, or does not exist yet (SQLite).
        on_table: Is told of each table and its rows when it has been copied.

    Returns:
        How many rows were copied.

    Raises:
        ConfigurationError: If the target is not empty.
    """
    origin = open_backend(source)
    try:
        copied = open_backend(target)
        try:
            with origin.snapshot() as read, copied.writer.begin() as write:
                copied.lock(write)
                _check_empty(write)
                return sum(_copy_table(table, read, write, on_table) for table in metadata.sorted_tables)
        finally:
            copied.close()
    finally:
        origin.close()


def _check_empty(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise ConfigurationError(
                f"The target is not empty (its table {table.name} has rows), and nothing was changed: give a new one."
            )


def _copy_table(table: Table, read: Connection, write: Connection, on_table: Callable[[str, int], None]) -> int:
    rows = 0
    for part in read.execute(select(table)).mappings().partitions(ROWS_AT_ONCE):
        write.execute(insert(table), [dict(row) for row in part])
        rows += len(part)
    _go_on_counting(table, write)
    on_table(table.name, rows)
    return rows


def _go_on_counting(table: Table, connection: Connection) -> None:
    """Let PostgreSQL number the next row after the copied ones; SQLite does by itself."""
    numbered: Any = table.autoincrement_column
    if numbered is None or connection.dialect.name != "postgresql":
        return
    last = connection.execute(select(func.max(numbered))).scalar()
    if last is not None:
        sequence = text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
        connection.execute(sequence, {"table": table.name, "column": numbered.name, "last": last})
