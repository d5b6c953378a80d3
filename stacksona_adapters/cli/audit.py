"""`stacksona audit ...`: whether the trail is what it was, and its export."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from stacksona_adapters.cli.database import opened
from stacksona_adapters.cli.options import AsJson, Db
from stacksona_adapters.cli.output import Failed, counted, say, say_json, show_table, table

if TYPE_CHECKING:
    from stacksona_adapters.server.service.exports import Exported
    from stacksona_adapters.server.service.gate import GateService

app = typer.Typer(no_args_is_help=True, help="The audit chain: a record of every event and decision.")

FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="A file of `stacksona audit export`; needs no gate.", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="The public key that must have signed (`stacksona audit key`).", show_default=False),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The file to write; it must not exist yet.", show_default=False)
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write the request of --thread as a page to read and to print.", show_default=False),
]
Thread = Annotated[
    str | None,
    typer.Option("--thread", help="Only the task of this request (THR-... or dec_...).", show_default=False),
]
Agent = Annotated[str | None, typer.Option("--agent", help="Only this agent's tasks.", show_default=False)]
Task = Annotated[str | None, typer.Option("--task", help="Only this task.", show_default=False)]


@app.command()
def verify(file: FileArgument = None, key: Key = None, db: Db = None, as_json: AsJson = False) -> None:
    """Check that no record was changed, removed or put in: of the whole gate, or of one exported file."""
    found = _of_database(db) if file is None else _of_file(file, key)
    if as_json:
        say_json(found)
    if found["broken"] is not None:
        where = ", ".join(f"{name} {found[name]}" for name in _WHERE if found.get(name) is not None)
        raise Failed(f"The audit chain is broken ({where}): {found['broken']}.")
    if not as_json:
        say(f"The audit chain holds: {counted(found['records'], 'record')} in {counted(found['chains'], 'chain')}.")
        if file is not None and key is None and found.get("public_key"):
            say(
                f"It is signed with the key {found['public_key']}.",
                "Compare it with `stacksona audit key` of the gate.",
            )


_WHERE = ("agent", "line", "task_id", "seq")


def _of_database(db: str | None) -> dict[str, Any]:
    with opened(db) as service:
        result = service.verify_audit()
    names = ("chains", "records", "broken", "agent", "task_id", "seq")
    return {"ok": result.ok, **{name: getattr(result, name) for name in names}}


def _of_file(file: Path, key: str | None) -> dict[str, Any]:
    from stacksona_adapters.audit import verify_file

    try:
        thread = _thread(file)
        if thread is not None:
            return thread
        result = verify_file(file, key)
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror or error}.") from error
    return {"ok": result.ok, **vars(result)}


def _thread(file: Path) -> dict[str, Any] | None:
    """The check of one exported thread (`GET /v1/reviews/ID/export`), if the file is one."""
    from stacksona_adapters.audit import verify_records

    try:
        exported = json.loads(file.read_bytes())
    except ValueError:
        return None  # more than one line of JSON, or none
    listed = exported.get("records") if isinstance(exported, dict) else None
    if not isinstance(listed, list) or not listed:
        raise Failed(f"{file} is no export: it has no records.")
    seq, why = verify_records(listed)
    task = listed[0].get("task") if isinstance(listed[0], dict) else None
    return {"ok": why is None, "chains": 1, "records": len(listed), "broken": why, "task_id": task, "seq": seq}


@app.command()
def export(
    out: Out = None,
    html: Html = None,
    thread: Thread = None,
    agent: Agent = None,
    task: Task = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Write the trail to a file that verifies by itself: records, signed checkpoints, a signature over all.

    Or one request with `--thread`: so too, or with `--html` as a page to read and to print. That it was exported, and
    by whom, is a part of the trail.
    """
    if (out is None) == (html is None):
        raise typer.BadParameter("name one file, by --out or by --html", param_hint="--out")
    if html is not None and thread is None:
        raise typer.BadParameter("a page shows one request: name it by --thread", param_hint="--html")
    if thread is not None and (agent is not None or task is not None):
        raise typer.BadParameter("leave out --agent and --task: a thread has one of each", param_hint="--thread")
    file = html or out or Path()
    with opened(db) as service, _new(file) as written:
        if html is not None:
            lines = _write(written, [_page(service, thread or "")])
        else:
            agent, task = _scope(service, thread) if thread is not None else (agent, task)
            lines = _write(written, service.export_audit(getpass.getuser(), agent=agent, task_id=task))
        key = service.audit_key
    if as_json:
        say_json({"file": str(file), "public_key": key, **({"lines": lines} if html is None else {})})
    elif html is not None:
        say(f"Wrote {file}. It is for reading; --out writes what can be verified.")
    else:
        say(f"Wrote {counted(lines, 'line')} to {file}, signed with the key {key}.")
        say(f"Verify it anywhere: python -m stacksona_adapters.audit {file} --key {key}")


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file that is not there yet, and is not left there half written."""
    try:
        file = path.open("xb")
    except FileExistsError as error:
        raise Failed(f"{path} is there already; give another name.") from error
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror or error}.") from error
    try:
        with file:
            yield file
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Failed(f"{path} cannot be written: {error.strerror or error}.") from error
        raise


def _write(file: BinaryIO, parts: Iterable[bytes]) -> int:
    """Write parts; returns how many."""
    many = 0
    for part in parts:
        file.write(part)
        many += 1
    return many


def _exported(service: GateService, thread: str, form: str) -> Exported:
    from stacksona_adapters.server.service import exports

    by = getpass.getuser()
    return service.write(lambda write: exports.export(write, by, thread, exports.Format(form)))


def _page(service: GateService, thread: str) -> bytes:
    """A request as a page."""
    from stacksona_adapters.server.inbox import printed

    content, _ = printed.page(_exported(service, thread, "html"))
    return content.encode()


def _scope(service: GateService, thread: str) -> tuple[str, str]:
    """The agent and the task of a request whose records are exported."""
    exported = _exported(service, thread, "jsonl")
    return exported.agent, exported.review.task_id


@app.command("log")
def show_log(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many entries.")] = 50,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """List who gave whom keys, roles and rules, and who signed in: the gate's own chain, newest first."""
    with opened(db) as service:
        entries = service.list_journal(limit)
    if as_json:
        say_json({"entries": entries})
    elif not entries:
        say("Nothing yet.")
    else:
        rows = [(each.seq, each.moment, each.by, each.kind, json.dumps(each.said)) for each in entries]
        show_table(table(("Number*", "When*", "Who", "What*", "Details"), rows))


@app.command("key")
def show_key(db: Db = None, as_json: AsJson = False) -> None:
    """Show the public key that checkpoints and exports are signed with; auditors keep it."""
    with opened(db) as service:
        key = service.audit_key
    if as_json:
        say_json({"public_key": key})
    else:
        say(key)
