"""Brings a schema to the newest version, by Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy import Connection


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings for the migrations of this package, run on `connection`."""
    config = Config()
    config.set_main_option("script_location", "stacksona_adapters.server.store:migrations")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the transaction of `connection`."""
    command.upgrade(alembic_config(connection), "head")
