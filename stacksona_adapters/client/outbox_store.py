"""Parcels on disk: one SQLite file that several processes share, and what happens when it fails."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import platformdirs

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


logger = logging.getLogger(__name__)

FILE_NAME = "outbox-1.sqlite3"
"""The number is that of the tables' format."""

DEAD_AFTER = 60.0
"""Seconds without a sign of life after which another process takes over what one left behind."""

RETRY_AFTER = 30.0
"""Seconds until a disk that failed is tried again."""

BUSY_TIMEOUT = 2.0
"""Seconds to wait for another process's write."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS owner (id TEXT PRIMARY KEY, pid INTEGER, locked INTEGER, heartbeat REAL)",
    """CREATE TABLE IF NOT EXISTS parcel (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL,
    owner TEXT NOT NULL, destination TEXT NOT NULL, text TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS parcel_owner ON parcel (destination, owner)",
)


def state_directory(environ: Mapping[str, str]) -> Path:
    """Where the outbox lives: `STACKSONA_STATE_DIR`, else the platform's directory for a user's state.

    Args:
        environ: The environment, usually `os.environ`.
    """
    named = environ.get("STACKSONA_STATE_DIR", "").strip()
    return Path(named) if named else Path(platformdirs.user_state_dir("stacksona", appauthor=False))


class OutboxStore:
    """The outbox's SQLite file as one process sees it; opening makes what is missing.

    Each row belongs to an owner. An owner holds a lock on a file of its own, which the operating system drops
    when the process dies, however it dies; where a lock says nothing (no such locks, or a forked child still
    has it) the owner's heartbeat does.

    Args:
        directory: Where the file is; made if need be, readable by the user alone.
        destination: Rows of another destination are left alone.
        owner: A word that no other process uses.

    Raises:
        OSError: If the directory cannot be written.
        RuntimeError: If the directory starts with `~` and there is no home.
        sqlite3.Error: If the file is not an SQLite file, damaged, locked, or the disk is full.
    """

    def __init__(self, directory: Path, destination: str, owner: str) -> None:
        self._directory = directory.expanduser()
        self._destination = destination
        self._owner = owner
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._directory / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o600))
        self._connection = sqlite3.connect(
            self._directory / FILE_NAME, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        self._lock: int | None = None
        try:
            self.prepare(self._connection)
            self._take_lock()
            self._sweep()
        except BaseException:
            self.abandon()
            raise

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Set the connection up and make the tables."""
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        with _transaction(connection):
            for statement in _TABLES:
                connection.execute(statement)

    def add(self, rows: Sequence[tuple[str, str]]) -> None:
        """Keep rows of key and text; a key that is there already stays as it is."""
        if not rows:
            return
        with _transaction(self._connection):
            self._sign_of_life()
            self._connection.executemany(
                "INSERT OR IGNORE INTO parcel (key, owner, destination, text) VALUES (?, ?, ?, ?)",
                [(key, self._owner, self._destination, text) for key, text in rows],
            )

    def remove(self, keys: Sequence[str]) -> None:
        """Forget rows, whoever owns them now."""
        if keys:
            with _transaction(self._connection):
                self._connection.executemany("DELETE FROM parcel WHERE key = ?", [(key,) for key in keys])

    def beat(self) -> None:
        """Say that this process lives."""
        with _transaction(self._connection):
            self._sign_of_life()

    def adopt(self, limit: int) -> list[tuple[str, str]]:
        """Take over up to `limit` rows (key and text, oldest first) whose owners are dead."""
        if limit <= 0 or not any(self._owner_is_dead(owner) for owner in self._others()):
            return []
        adopted: list[tuple[str, str]] = []
        with _transaction(self._connection):
            dead = [owner for owner in self._others() if self._owner_is_dead(owner)]
            for owner in dead:
                adopted += self._take_over(owner, limit - len(adopted))
            self._sign_of_life()
            empty = [owner for owner in dead if not self._has_rows(owner)]
            self._connection.executemany("DELETE FROM owner WHERE id = ?", [(owner,) for owner in empty])
        for owner in empty:
            self._remove_lock_file(owner)
        return adopted

    def close(self) -> None:
        """Close the file; rows that are left may be taken over at once."""
        try:
            left = self._has_rows(self._owner)
            if not left:
                with _transaction(self._connection):
                    self._connection.execute("DELETE FROM owner WHERE id = ?", (self._owner,))
        finally:
            self._connection.close()
            self._drop_lock()
        if not left:
            self._remove_lock_file(self._owner)

    def abandon(self) -> None:
        """Close a file that has failed, without touching it again."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._drop_lock()

    def _lock_file(self, owner: str) -> Path:
        return self._directory / f"outbox-{owner}.lock"

    def _remove_lock_file(self, owner: str) -> None:
        with contextlib.suppress(OSError):  # it means nothing any more; on Windows it may still be open elsewhere
            self._lock_file(owner).unlink()

    def _take_lock(self) -> None:
        descriptor = os.open(self._lock_file(self._owner), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
        else:
            self._lock = descriptor

    def _sweep(self) -> None:
        """Remove the lock files of the dead who left nothing else behind."""
        for path in self._directory.glob("outbox-*.lock"):
            owner = path.stem.removeprefix("outbox-")
            if owner != self._owner and self._lock_is_free(owner) and not self._has_rows(owner):
                self._remove_lock_file(owner)

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _sign_of_life(self) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO owner (id, pid, locked, heartbeat) VALUES (?, ?, ?, ?)",
            (self._owner, os.getpid(), self._lock is not None, time.time()),
        )

    def _others(self) -> list[str]:
        rows = self._connection.execute(
            "SELECT owner FROM parcel WHERE destination = ? AND owner <> ? GROUP BY owner ORDER BY min(id)",
            (self._destination, self._owner),
        )
        return [owner for (owner,) in rows.fetchall()]

    def _has_rows(self, owner: str) -> bool:
        row = self._connection.execute("SELECT 1 FROM parcel WHERE owner = ? LIMIT 1", (owner,)).fetchone()
        return row is not None

    def _owner_is_dead(self, owner: str) -> bool:
        row = self._connection.execute("SELECT locked, heartbeat FROM owner WHERE id = ?", (owner,)).fetchone()
        if row is None:
            return True
        locked, heartbeat = row
        return abs(time.time() - heartbeat) > DEAD_AFTER or (bool(locked) and self._lock_is_free(owner))

    def _lock_is_free(self, owner: str) -> bool:
        try:
            descriptor = os.open(self._lock_file(owner), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            _lock(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _take_over(self, owner: str, limit: int) -> list[tuple[str, str]]:
        rows = self._connection.execute(
            "SELECT id, key, text FROM parcel WHERE owner = ? AND destination = ? ORDER BY id LIMIT ?",
            (owner, self._destination, limit),
        ).fetchall()
        changes = [(self._owner, number) for number, _, _ in rows]
        self._connection.executemany("UPDATE parcel SET owner = ? WHERE id = ?", changes)
        return [(key, text) for _, key, text in rows]


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set WAL mode; two processes that do it at once get "locked" without SQLite's own waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def set_aside(directory: Path) -> Path | None:
    """Rename a damaged file, so that a new one can take its place; returns its new name, `None` if it has none."""
    damaged = directory.expanduser() / FILE_NAME
    aside = damaged.with_name(f"{FILE_NAME}.damaged-{time.time_ns()}")
    try:
        damaged.rename(aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                damaged.with_name(FILE_NAME + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError:
        return None
    return aside


class Keeper:
    """A store that may fail: the caller is told, the log says so once, and it is tried again later.

    Args:
        open_store: Opens the store.
        directory: Where it is.
    """

    def __init__(self, open_store: Callable[[], OutboxStore], directory: Path) -> None:
        self._open_store = open_store
        self._directory = directory
        self._store: OutboxStore | None = None
        self._failing = False
        self.retry_at = 0.0

    def use(self, work: Callable[[OutboxStore], None]) -> bool:
        """Do some work with the store, opened if need be; returns whether the disk did all of it."""
        try:
            if self._store is None:
                self._store = self._open_store()
            work(self._store)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            self._failed(error)
            return False
        if self._failing:
            logger.info("The outbox writes to %s again.", self._directory)
        self._failing = False
        return True

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            try:
                self._store.close()
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
            self._store = None

    def _failed(self, error: Exception) -> None:
        if self._store is not None:
            self._store.abandon()
            self._store = None
        self.retry_at = time.monotonic() + RETRY_AFTER
        # SQLite's "damaged" and "not a database" are the only ones that Python raises as this very class.
        aside = set_aside(self._directory) if type(error) is sqlite3.DatabaseError else None
        if aside is not None:
            logger.warning("The outbox's file was damaged (%s) and is now %s; a new one takes its place.", error, aside)
            self.retry_at = time.monotonic() + (RETRY_AFTER if self._failing else 0.0)
        elif not self._failing:
            logger.warning(
                "The outbox cannot write to %s (%s): what is not yet delivered is in memory and is lost if this "
                "process dies. Free the disk or set STACKSONA_STATE_DIR to a writable directory.",
                self._directory,
                error,
            )
        self._failing = True
