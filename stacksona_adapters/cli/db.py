"""`stacksona db ...` and `stacksona prune`: the gate's database itself."""

from __future__ import annotations

import getpass
import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from stacksona_adapters.cli.database import opened, settings_for, shown_url, sqlite_file, translated
from stacksona_adapters.cli.options import AsJson, Db
from stacksona_adapters.cli.output import Failed, counted, say, say_json

app = typer.Typer(no_args_is_help=True, help="The gate's database: check it, bring its schema up to date, copy it.")

_AGE = re.compile(r"(\d{1,5})([dwh])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

To = Annotated[str, typer.Option("--to", help="An empty database: postgresql://..., sqlite:///FILE or a file's path.")]
OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="AGE", help="How long nothing has happened: 90d, 26w or 48h.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say whether there is something to remove.")]


@app.command()
def check(db: Db = None, as_json: AsJson = False) -> None:
    """Say whether the schema is the newest and the audit chain holds; changes nothing."""
    from stacksona_adapters.server.store.engine import HEAD

    version = _schema(db)
    found: dict[str, Any] = {"schema": version, "newest": HEAD, "audit": None, "ok": False}
    if version == HEAD:
        with opened(db) as service:
            found["audit"] = service.verify_audit().broken or "holds"
        found["ok"] = found["audit"] == "holds"
    if as_json:
        say_json(found)
    if version != HEAD:
        raise Failed(f"The schema is {version or 'missing'}, this version needs {HEAD}: run `stacksona db migrate`.")
    if not found["ok"]:
        raise Failed(f"The audit chain is broken: {found['audit']}.")
    if not as_json:
        say(f"The schema is {version}, the newest; the audit chain holds.")


def _schema(db: str | None) -> str | None:
    from stacksona_adapters.server.store.engine import schema_of

    url = settings_for(db).database
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise Failed(f"There is no gate at {file}: check --db (or STACKSONA_DB).")
    with translated(url):
        return schema_of(url)


@app.command()
def migrate(db: Db = None) -> None:
    """Bring the schema up to date; `serve` does it by itself, also where several start at once."""
    with opened(db, create=True):
        say("The schema is the newest.")


@app.command("copy")
def copy_database(to: To, db: Db = None, as_json: AsJson = False) -> None:
    """Copy the whole gate to an empty database: a backup, or the way from SQLite to PostgreSQL. The gate may run."""
    from stacksona_adapters.server.settings import database_url
    from stacksona_adapters.server.store.copying import copy

    source, target = settings_for(db).database, database_url(to)
    file = sqlite_file(source)
    if file is not None and not file.exists():
        raise Failed(f"There is no gate at {file}: check --db (or STACKSONA_DB).")
    with translated(target):
        rows = copy(source, target)
    with opened(to) as service:
        broken = service.verify_audit().broken
    if broken is not None:
        raise Failed(f"The copy is there, but its audit chain is broken: {broken}.")
    if as_json:
        say_json({"rows": rows, "to": shown_url(target), "audit": "holds"})
    else:
        say(f"Copied {counted(rows, 'row')} to {shown_url(target)}; the audit chain of the copy holds.")


def prune(older_than: OlderThan, db: Db = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Remove finished tasks in which nothing has happened for a while. What remains still verifies.

    Export first what must be kept: `stacksona audit export`.
    """
    match = _AGE.fullmatch(older_than.strip())
    if match is None:
        raise typer.BadParameter(f"{older_than!r} is no age; give 90d, 26w or 48h", param_hint="--older-than")
    age = timedelta(**{_UNITS[match[2]]: int(match[1])})
    with opened(db) as service:
        before = service.settings.clock.now() - age
        gone = service.prunable(before) if dry_run else service.prune(before, getpass.getuser())
    if as_json:
        say_json({"tasks": gone, "removed": not dry_run})
    else:
        say(f"{counted(gone, 'task')} {'can be' if dry_run else 'were'} removed.")
