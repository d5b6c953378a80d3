"""SQLite: one file, several processes, durable commits."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

_BUSY_SECONDS = 30.0


class SqliteBackend:
    """A gate's data in one SQLite file.

    Args:
        url: `sqlite:///FILE`; the file's directory is made if it is missing, readable by its owner alone.
    """

    def __init__(self, url: str) -> None:
        path = Path(make_url(url).database or "")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            path.touch(mode=0o600)
        self.reader = _engine(url, "BEGIN")
        # IMMEDIATE, because a transaction that reads first and then writes cannot wait for another writer.
        self.writer = _engine(url, "BEGIN IMMEDIATE")

    def lock(self, connection: Connection) -> None:
        """`BEGIN IMMEDIATE` has done it."""

    def notify(self, connection: Connection) -> None:
        """SQLite cannot tell another process; that one looks by itself."""

    @contextmanager
    def listen(self, wake: Callable[[], None]) -> Iterator[None]:
        """SQLite tells nothing."""
        yield

    def snapshot(self) -> Connection:
        """A reading transaction in WAL sees one moment."""
        return self.reader.connect()

    def close(self) -> None:
        """Close every connection."""
        self.reader.dispose()
        self.writer.dispose()


def _engine(url: str, begin: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}, pool_size=8)

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # the driver would begin transactions by itself, and too late
        _set_wal(connection)
        # FULL: a commit that was answered survives a power cut, which WAL's default NORMAL does not promise.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _set_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; the busy time-out does not cover two processes that switch at once."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
