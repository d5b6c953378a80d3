"""The schema: migrated at start, by one of several processes, to what the tables say."""

from __future__ import annotations

import importlib
import multiprocessing
import pkgutil
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server import store
from stacksona_adapters.server.service.gate import GateService
from stacksona_adapters.server.settings import ServerSettings, database_url, default_db
from stacksona_adapters.server.store import tables
from stacksona_adapters.server.store.engine import HEAD, open_backend, schema_version
from stacksona_adapters.server.store.migrate import alembic_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_migrations_make_the_tables(empty_db: Callable[[], str]) -> None:
    """The migrations lead to exactly the tables that the code uses."""
    backend = open_backend(database_url(empty_db()))
    for module in pkgutil.iter_modules(store.__path__, f"{store.__name__}."):
        if module.name.endswith("tables"):
            importlib.import_module(module.name)
    with backend.writer.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    backend.close()

    assert differences == []


def test_head_is_the_newest_migration(db: str) -> None:
    """The constant that lets most starts leave Alembic alone names the newest migration."""
    backend = open_backend(database_url(db))
    with backend.reader.connect() as connection:
        newest = ScriptDirectory.from_config(alembic_config(connection)).get_current_head()
    version = schema_version(backend)
    backend.close()

    assert newest == HEAD == version


def _open(url: str, barrier: object) -> None:
    barrier.wait(60)  # type: ignore[attr-defined]
    with GateService(ServerSettings(db_url=url)) as gate:
        gate.add_reviewer("ann")


def test_processes_that_start_at_once(empty_db: Callable[[], str]) -> None:
    """Four processes that start on an empty database at the same moment all work, with one signing key."""
    url, context = empty_db(), multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [context.Process(target=_open, args=(url, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)

    assert [process.exitcode for process in processes] == [0] * 4
    with GateService(ServerSettings(db_url=url)) as gate:
        assert len(gate.list_reviewers()[0].tokens) == 4
        kept = gate.read(lambda r: r.connection.exec_driver_sql("SELECT count(*) FROM secrets").scalar())
    assert kept == 2  # for approval tokens, and for the audit


def test_failed_migration_leaves_nothing(empty_db: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves the database as it was."""
    from stacksona_adapters.server.store import engine

    real = engine.upgrade

    def broken(connection: object) -> None:
        real(connection)  # type: ignore[arg-type]
        raise RuntimeError("power cut")

    monkeypatch.setattr(engine, "upgrade", broken)
    url = database_url(empty_db())
    with pytest.raises(RuntimeError, match="power cut"):
        open_backend(url)
    monkeypatch.undo()
    backend = open_backend(url)
    with backend.reader.connect() as connection:
        assert inspect(connection).has_table("decisions")
    backend.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@host:5433/gate?sslmode=require", "postgresql+psycopg://u:p@host:5433/gate?sslmode=require"),
        ("postgres://host/gate", "postgresql+psycopg://host/gate"),
        ("postgresql+psycopg://host/gate", "postgresql+psycopg://host/gate"),
    ],
)
def test_postgresql_urls(given: str, expected: str) -> None:
    """A plain URL means psycopg."""
    assert database_url(given) == expected


def test_sqlite_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare path, a relative one and a URL are the same file."""
    monkeypatch.chdir(tmp_path)
    expected = f"sqlite:///{tmp_path / 'gate.db'}"

    assert database_url("gate.db") == expected
    assert database_url(tmp_path / "gate.db") == expected
    assert database_url("sqlite:///gate.db") == expected
    assert database_url(expected) == expected
    assert default_db().startswith("sqlite:///")


@pytest.mark.parametrize("url", ["mysql://host/gate", "sqlite://", "sqlite:///", ":memory:", "sqlite:///:memory:", ""])
def test_unusable_urls(url: str) -> None:
    """What cannot keep the data says so, without its password."""
    with pytest.raises(ConfigurationError):
        database_url(url)


def test_file_of_its_owner(tmp_path: Path) -> None:
    """The database holds the gate's key: only its owner can read it."""
    if sys.platform == "win32":
        return
    GateService(ServerSettings(db_url=tmp_path / "new" / "gate.db")).close()

    assert (tmp_path / "new" / "gate.db").stat().st_mode & 0o077 == 0
