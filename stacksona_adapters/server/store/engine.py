"""Opens a database: engines for reading and writing, its schema at the newest version."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import inspect, text

from stacksona_adapters.server.store.migrate import upgrade
from stacksona_adapters.server.store.postgres import PostgresBackend
from stacksona_adapters.server.store.sqlite import SqliteBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

_MIGRATIONS = Path(__file__).parent / "migrations" / "versions"

HEAD = max(path.name.partition("_")[0] for path in _MIGRATIONS.glob("[0-9]*.py"))
"""The newest migration, by its file's name; lets a start that has nothing to migrate leave Alembic alone."""


class Backend(Protocol):
    """All that differs between the databases."""

    @property
    def reader(self) -> Engine:
        """Where reads run."""
        ...

    @property
    def writer(self) -> Engine:
        """Where the one writer of this process runs."""
        ...

    def lock(self, connection: Connection) -> None:
        """Begin of a writing transaction: wait until no other process is in one."""
        ...

    def notify(self, connection: Connection) -> None:
        """Tell other processes, when this transaction commits, that decisions changed."""
        ...

    def listen(self, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `wake` from a thread whenever another process changed decisions."""
        ...

    def snapshot(self) -> Connection:
        """A connection whose reads all see one moment of the database."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def open_backend(url: str) -> Backend:
    """The backend of a URL (of `settings.database_url`), with its schema migrated.

    Raises:
        sqlalchemy.exc.DBAPIError: If the database cannot be reached or used.
    """
    backend = _backend(url)
    try:
        if schema_version(backend) != HEAD:
            _migrate(backend)
    except BaseException:
        backend.close()
        raise
    return backend


def _backend(url: str) -> Backend:
    return PostgresBackend(url) if url.startswith("postgresql") else SqliteBackend(url)


def schema_of(url: str) -> str | None:
    """The migration that the database of a URL is at, without migrating it; `None` for an empty one.

    Raises:
        sqlalchemy.exc.DBAPIError: If the database cannot be reached or used.
    """
    backend = _backend(url)
    try:
        return schema_version(backend)
    finally:
        backend.close()


def schema_version(backend: Backend) -> str | None:
    """The migration that the database is at; `None` for an empty one. Writes nothing."""
    with backend.reader.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(backend: Backend) -> None:
    with backend.writer.begin() as connection:
        backend.lock(connection)
        upgrade(connection)
