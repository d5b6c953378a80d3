"""PostgreSQL: several processes and machines on one database."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from stacksona_adapters.errors import MissingExtra

try:
    import psycopg
except ModuleNotFoundError as missing:
    if missing.name != "psycopg":
        raise
    psycopg = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

_CHANNEL = "stacksona_changes"
_LOCK = 0x57AC_50AA  # any number that no other user of the database locks
_RETRY_SECONDS = 1.0

log = logging.getLogger("stacksona.store")


class PostgresBackend:
    """A gate's data in a PostgreSQL database.

    Args:
        url: `postgresql+psycopg://...`.

    Raises:
        MissingExtra: If psycopg is not installed.
    """

    def __init__(self, url: str) -> None:
        if psycopg is None:
            raise MissingExtra("A gate on PostgreSQL needs psycopg: pip install 'stacksona-adapters[server,postgres]'.")
        self._url = make_url(url)
        self.reader = create_engine(self._url, pool_size=8, pool_pre_ping=True)
        self.writer = create_engine(self._url, pool_size=1, pool_pre_ping=True)

    def lock(self, connection: Connection) -> None:
        """Writers follow one another, so that the order of commits is the order of cursors and of chain records."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    def notify(self, connection: Connection) -> None:
        """`NOTIFY`, delivered when the transaction commits."""
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": _CHANNEL})

    @contextmanager
    def listen(self, wake: Callable[[], None]) -> Iterator[None]:
        """`LISTEN` on a connection and thread of its own, connected again whenever it breaks."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._listen, args=(wake, stopped), name="stacksona-listen", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _listen(self, wake: Callable[[], None], stopped: threading.Event) -> None:
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not stopped.is_set():
            try:
                with psycopg.connect(address, autocommit=True) as connection:  # pyright: ignore[reportOptionalMemberAccess]
                    connection.execute(f"LISTEN {_CHANNEL}")
                    wake()  # for what changed while nobody listened
                    while not stopped.is_set():
                        for _ in connection.notifies(timeout=0.5, stop_after=1):
                            wake()
            except psycopg.Error as error:  # pyright: ignore[reportOptionalMemberAccess]
                log.warning("listening for changes failed, trying again: %s", error)
                stopped.wait(_RETRY_SECONDS)

    def snapshot(self) -> Connection:
        """Only from REPEATABLE READ on does a transaction see one moment."""
        return self.reader.connect().execution_options(isolation_level="REPEATABLE READ")

    def close(self) -> None:
        """Close every connection."""
        self.reader.dispose()
        self.writer.dispose()
