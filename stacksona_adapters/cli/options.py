"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document and nothing else.")]

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="STACKSONA_DB",
        help="The gate's database: postgresql://..., sqlite:///FILE or a file's path. "
        "By default one SQLite file in the platform's data directory.",
        show_default=False,
    ),
]

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="STACKSONA_GATE_URL", help="The running gate's URL.", show_default=False),
]

Token = Annotated[
    str | None,
    typer.Option("--token", envvar="STACKSONA_REVIEWER_TOKEN", help="A reviewer's token (sr_...).", show_default=False),
]

DecisionId = Annotated[str, typer.Argument(metavar="ID", help="The decision's id, as `stacksona inbox` lists it.")]

Message = Annotated[str | None, typer.Option("--message", "-m", help="What the agent is told.")]

RequiredMessage = Annotated[str, typer.Option("--message", "-m", help="What the agent is told.")]
