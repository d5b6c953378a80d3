"""The commands, put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from stacksona_adapters.cli import audit, db, demo, doctor, grants, keys, policy, reviews, rules, serve
from stacksona_adapters.cli.output import warn
from stacksona_adapters.errors import StacksonaError

INTERRUPTED = 130

app = typer.Typer(
    name="stacksona",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One approval gate in front of the costly actions of agents.",
    epilog="Exit codes: 0 done, 1 it could not be done (the reason is on standard error), 2 wrong use.",
)

app.command()(serve.serve)
app.command()(demo.demo)
reviews.register(app)
app.add_typer(keys.agents, name="agent")
app.add_typer(keys.reviewers, name="reviewer")
app.add_typer(rules.app, name="rules")
app.add_typer(policy.app, name="policy")
app.add_typer(grants.app, name="grant")
app.add_typer(audit.app, name="audit")
app.add_typer(db.app, name="db")
app.command()(db.prune)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"stacksona-adapters {version('stacksona-adapters')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One approval gate in front of the costly actions of agents."""


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code: 0 done, 1 could not be done, 2 wrong use, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a terminal that has no ü shows ? instead of a traceback
    try:
        app(args=list(arguments), prog_name="stacksona")
    except StacksonaError as error:
        warn(f"stacksona: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0
