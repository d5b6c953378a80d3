"""The configuration of `stacksona serve`: flags, then environment, then one TOML file, then the defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _load(context: typer.Context, value: Path | None) -> Path | None:
    """Make the file's values the defaults of the other options."""
    if value is None:
        return None
    try:
        found: dict[str, Any] = tomllib.loads(value.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{value} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{value} is not TOML: {error}") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    unknown = sorted(set(found) - known)
    if unknown:
        raise typer.BadParameter(
            f"{value} has {', '.join(unknown)}; it may have {', '.join(sorted(filter(None, known)))}"
        )
    context.default_map = {**(context.default_map or {}), **found}
    return value


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="STACKSONA_CONFIG",
        callback=_load,
        is_eager=True,
        help="A TOML file with these options (`port = 8787`). Flags go first, then the environment, then the file.",
        show_default=False,
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host", envvar="STACKSONA_HOST", help="The address to listen on; 0.0.0.0 is every one of this machine."
    ),
]
Port = Annotated[
    int, typer.Option("--port", envvar="STACKSONA_PORT", min=0, max=65535, help="The port; 0 takes a free one.")
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        "--public-url", envvar="STACKSONA_PUBLIC_URL", help="The gate's URL as people reach it.", show_default=False
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--webhook-network",
        envvar="STACKSONA_WEBHOOK_NETWORK",
        help="A private network (CIDR) that webhooks may go to; may be given several times.",
        show_default=False,
    ),
]
Notify = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        envvar="STACKSONA_NOTIFY",
        help="An Apprise URL of people who are told when requests wait; may be given several times.",
        show_default=False,
    ),
]
OpenMetrics = Annotated[
    bool, typer.Option("--open-metrics", envvar="STACKSONA_OPEN_METRICS", help="Serve /metrics without a token.")
]
AuditKey = Annotated[
    Path | None,
    typer.Option(
        "--audit-key-file",
        envvar="STACKSONA_AUDIT_KEY_FILE",
        help="The key that signs the trail (32 bytes in base64); by default it is kept in the database.",
        show_default=False,
    ),
]
Grants = Annotated[
    bool,
    typer.Option(
        "--grants/--no-grants",
        envvar="STACKSONA_GRANTS",
        help="Whether reviewers may grant similar requests too, and such grants count.",
    ),
]
LogFormat = Annotated[
    str,
    typer.Option("--log-format", envvar="STACKSONA_LOG_FORMAT", help="text, or json: one object a line, requests too."),
]


def _rate(value: str | None) -> str | None:
    from stacksona_adapters.errors import ConfigurationError
    from stacksona_adapters.server.api import limits

    try:
        limits.RateLimit(value)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    return value


RateLimit = Annotated[
    str | None,
    typer.Option(
        "--rate-limit",
        envvar="STACKSONA_RATE_LIMIT",
        callback=_rate,
        help="Writing calls that one agent's key may make (600/minute); over it the answer is 429.",
        show_default=False,
    ),
]
MaxBody = Annotated[
    int, typer.Option("--max-body", envvar="STACKSONA_MAX_BODY", min=1024, help="The longest request body, in bytes.")
]
