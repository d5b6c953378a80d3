"""`stacksona demo`: a shop's refunds pass through a gate, with a person or a script as the reviewer."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stacksona_adapters.cli.output import Failed, clean, console, counted, say, show_table, table
from stacksona_adapters.demo.refunds import RefundRequest, load_refunds
from stacksona_adapters.demo.results import RowResult
from stacksona_adapters.demo.script import Decide
from stacksona_adapters.errors import MissingExtra

if TYPE_CHECKING:
    from stacksona_adapters.demo.results import Runner
    from stacksona_adapters.demo.session import Session
    from stacksona_adapters.server.service.records import Verified

_INTERRUPTED = 130

Framework = Annotated[
    str | None, typer.Argument(help="pydantic_ai, ... or python (no framework); by default the installed one.")
]
DecideOption = Annotated[
    Decide | None,
    typer.Option("--decide", help="Let a script review, over the HTTP API that people use too.", show_default=False),
]
Rows = Annotated[int | None, typer.Option("--rows", min=1, help="Only so many requests.", show_default=False)]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the gate's files and say where they are.")]
File = Annotated[
    Path | None,
    typer.Option("--file", help="Requests of your own, in the columns of the demo's file.", show_default=False),
]


def demo(
    framework: Framework = None, decide: DecideOption = None, rows: Rows = None, file: File = None, keep: Keep = False
) -> None:
    """Let an agent refund a shop's customers through a gate: small sums by rule, doubtful ones by you, others never.

    Needs no key and no network. Decide in the browser (the link is printed), or in a second terminal.
    """
    requests = load_refunds(file, rows=rows)
    name, runner = _runner(framework)
    chosen = _reviewer(decide)
    with _directory(keep=keep) as directory:
        code = _demonstrate(directory, name, runner, requests, chosen)
    if code:
        raise typer.Exit(code)


def _runner(framework: str | None) -> tuple[str, Runner]:
    from stacksona_adapters.demo import frameworks

    name = framework or frameworks.installed()
    try:
        runner = frameworks.runner(name)
    except MissingExtra as error:
        raise Failed(f"{error}\n`stacksona demo {frameworks.PLAIN}` needs no framework.") from error
    if framework is None and name == frameworks.PLAIN:
        say("No agent framework is installed: the agent of this demonstration is plain Python.")
    return name, runner


def _reviewer(decide: Decide | None) -> Decide | None:
    if decide is None and not sys.stdin.isatty():
        say("Standard input is no terminal, so nobody is there to review: a script does, as with --decide mixed.")
        return Decide.MIXED
    return decide


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="stacksona-demo-"))
    try:
        yield directory
    finally:
        if keep:
            say(f"The gate's files are kept: stacksona serve --db {directory / 'gate.db'}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _demonstrate(
    directory: Path, name: str, runner: Runner, requests: Sequence[RefundRequest], decide: Decide | None
) -> int:
    from stacksona_adapters.demo.session import session

    with session(directory) as running:
        _introduce(running, name, len(requests), decide)
        done: list[RowResult] = []
        try:
            with _progress(done, len(requests), person=decide is None) as advance:
                results = running.work(runner, requests, advance, decide)
        except KeyboardInterrupt:
            return _interrupted(running, done, len(requests))
        verified = running.verify()
        _report(running, results, verified)
    lost = sum(result.decision_id is None for result in results)
    return 0 if verified.ok and not lost else 1


def _introduce(running: Session, name: str, count: int, decide: Decide | None) -> None:
    say(f"An agent ({name}) wants to pay {counted(count, 'refund')}. The gate runs at {running.url}")
    if decide is not None:
        say(f"A script reviews (--decide {decide}), over the same HTTP API as the inbox.")
    say("", f"Inbox, signed in:      {running.sign_in_link}")
    environment = f"STACKSONA_GATE_URL={running.url} STACKSONA_REVIEWER_TOKEN={running.token}"
    say(f"In a second terminal:  {environment} stacksona inbox", "")


@contextmanager
def _progress(done: list[RowResult], total: int, *, person: bool) -> Iterator[Callable[[RowResult], None]]:
    what = "Decide in the inbox (Ctrl-C ends)" if person else "Refunds"
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True)) as progress:
        bar = progress.add_task(what, total=total)

        def advance(result: RowResult) -> None:
            done.append(result)
            progress.advance(bar)

        yield advance


def _interrupted(running: Session, done: Sequence[RowResult], total: int) -> int:
    """The agent's waits have been cancelled, which withdraws their requests; the gate is still up."""
    running.withdraw_rest()
    verified = running.verify()
    left = len(running.pending())
    say(f"Interrupted after {len(done)} of {total} requests; the others were withdrawn ({left} are left at the gate).")
    say(_trail(verified))
    return _INTERRUPTED


def _report(running: Session, results: Sequence[RowResult], verified: Verified) -> None:
    show_table(_table(running, results))
    ledger = running.shop.ledger
    cents: Counter[str] = Counter()
    for payment in ledger:
        cents[payment.currency] += round(payment.amount * 100)
    sums = ", ".join(f"{sum_ / 100:,.2f} {clean(currency)}" for currency, sum_ in sorted(cents.items()))
    ran = sum(result.receipt is not None for result in results)
    paid = f"{counted(len(results), 'request')}, {ran} paid ({sums or 'nothing'})"
    say(f"{paid}; the shop's ledger has {counted(len(ledger), 'entry', 'entries')}.")
    say(_trail(verified))


def _table(running: Session, results: Sequence[RowResult]) -> Table:
    columns = ("Request*", "Asked for", "Decision*", "By", "What ran", "Decision ID*")
    # What the three columns of free text get of the terminal's width, so that a request is one line.
    spare = max(32, console().width - 68)
    return table(columns, (_row(running, result, spare) for result in results))


def _row(running: Session, result: RowResult, spare: int) -> tuple[object, ...]:
    row, outcome = result.row, running.outcome(result)
    amount = f"{row.amount:,} {row.currency}"
    asked = amount if spare < 50 else f"{amount}, {row.product}"
    happened = result.receipt or f"nothing: {result.note or outcome.status}"
    return (
        row.id,
        clean(asked, limit=spare // 3),
        outcome.status,
        clean(outcome.decided_by or "", limit=spare // 4),
        clean(happened, limit=spare * 2 // 5),
        result.decision_id,
    )


def _trail(verified: Verified) -> str:
    if verified.ok:
        return f"The audit chain holds: {counted(verified.records, 'record')} in {counted(verified.chains, 'chain')}."
    return f"The audit chain is BROKEN at record {verified.seq} of task {verified.task_id}: {verified.broken}."
