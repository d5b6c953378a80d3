"""`stacksona audit ...`: whether the trail is what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stacksona_adapters.cli.database import opened
from stacksona_adapters.cli.options import AsJson, Db
from stacksona_adapters.cli.output import Failed, counted, say, say_json

app = typer.Typer(no_args_is_help=True, help="The audit chain: a record of every event and decision.")

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="An exported thread (GET /v1/reviews/ID/export); needs no gate.", show_default=False
    ),
]


@app.command()
def verify(file: FileArgument = None, db: Db = None, as_json: AsJson = False) -> None:
    """Check that no record was changed, removed or put in: of the whole gate, or of one exported file."""
    found = _of_database(db) if file is None else _of_file(file)
    if as_json:
        say_json(found)
    if found["broken"] is not None:
        where = ", ".join(
            f"{name} {found[name]}" for name in ("agent", "task_id", "seq") if found.get(name) is not None
        )
        raise Failed(f"The audit chain is broken ({where}): {found['broken']}.")
    if not as_json:
        say(f"The audit chain holds: {counted(found['records'], 'record')} of {counted(found['tasks'], 'task')}.")


def _of_database(db: str | None) -> dict[str, Any]:
    with opened(db) as service:
        result = service.verify_audit()
    names = ("tasks", "records", "broken", "agent", "task_id", "seq")
    return {"ok": result.ok, **{name: getattr(result, name) for name in names}}


def _of_file(file: Path) -> dict[str, Any]:
    try:
        exported = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise Failed(f"{file} is not JSON: {error}.") from error
    listed = exported.get("records") if isinstance(exported, dict) else None
    if not isinstance(listed, list) or not listed:
        raise Failed(f"{file} is no export: it has no records.")
    seq, why = _first_break(listed)
    task = listed[0].get("task") if isinstance(listed[0], dict) else None
    return {"ok": why is None, "tasks": 1, "records": len(listed), "broken": why, "task_id": task, "seq": seq}


def _first_break(listed: list[Any]) -> tuple[int | None, str | None]:
    from stacksona_adapters.errors import InvalidAction
    from stacksona_adapters.protocol.canonical import canonical_json
    from stacksona_adapters.protocol.chain import GENESIS, record_hash

    prev, task = GENESIS, None
    for position, record in enumerate(listed, 1):
        try:
            payload = canonical_json(record["payload"]).decode()
            said = (record["seq"], record["task"], record["at"], record["kind"])
            made = record_hash(prev, *said, payload)
            given = (record["seq"], record["prev"], record["hash"])
        except (KeyError, TypeError, InvalidAction):
            return position, "the record is not complete"
        if given[0] != position or (task is not None and record["task"] != task):
            return position, "the record is missing, or out of place"
        if given[1:] != (prev, made):
            return position, "the record was changed: its hash does not fit what it says and the record before it"
        prev, task = made, record["task"]
    return None, None
