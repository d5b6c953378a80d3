"""The gate's database, opened for a command, with every trouble turned into one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stacksona_adapters.cli.output import Failed

if TYPE_CHECKING:
    from stacksona_adapters.server.service.gate import GateService
    from stacksona_adapters.server.settings import ServerSettings

AUDIT_KEY_VARIABLE = "STACKSONA_AUDIT_KEY_FILE"


def settings_for(db: str | None, host: str = "127.0.0.1", port: int = 0) -> ServerSettings:
    """The settings of a gate on this database; the platform's own file where it is `None`.

    Every command signs and checks the trail with the key that `serve` uses, so it reads the same variable.
    """
    from stacksona_adapters.server.settings import ServerSettings, default_db

    key = os.environ.get(AUDIT_KEY_VARIABLE)
    return ServerSettings(db_url=db or default_db(), host=host, port=port, audit_key_file=Path(key) if key else None)


@contextmanager
def opened(db: str | None, *, create: bool = False) -> Iterator[GateService]:
    """The gate on this database, without its web server.

    Args:
        db: The database; the platform's own file where it is `None`.
        create: Whether a file that does not exist is made.

    Raises:
        Failed: If the database cannot be used, or the gate does not do what it is asked.
    """
    from stacksona_adapters.server.service.gate import GateService

    settings = settings_for(db)
    file = sqlite_file(settings.database)
    if file is not None and not file.exists() and not create:
        raise Failed(f"There is no gate at {file}: check --db (or STACKSONA_DB). `stacksona serve` makes one.")
    with translated(settings.database), GateService(settings) as service:
        yield service


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Errors of the gate's inside as `Failed`; `database` is its URL."""
    from sqlalchemy.exc import SQLAlchemyError

    from stacksona_adapters.server.service.errors import Refusal
    from stacksona_adapters.server.store.writer import StoreUnavailable

    try:
        yield
    except Refusal as refusal:
        raise Failed(refusal.detail) from refusal
    except (SQLAlchemyError, StoreUnavailable) as error:
        cause = getattr(error, "orig", None) or error
        raise Failed(f"The database {shown_url(database)} cannot be used: {str(cause).strip()}") from error


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; `None` for any other database."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def shown_url(url: str) -> str:
    """A database URL without its password."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}{separator}{user}{at}{place}"
