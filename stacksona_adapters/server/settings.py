"""How a gate is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from platformdirs import user_data_path

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.clock import Clock, SystemClock
from stacksona_adapters.server.oidc.settings import OidcSettings

_POSTGRES = ("postgresql://", "postgres://", "postgresql+psycopg://")


def default_db() -> str:
    """The file that a gate uses when it is told nothing: one in the platform's data directory."""
    return f"sqlite:///{user_data_path('stacksona', appauthor=False) / 'gate.db'}"


def database_url(value: str | Path) -> str:
    """The URL that SQLAlchemy takes.

    Args:
        value: `postgresql://...`, `sqlite:///FILE`, or the bare path of a file.

    Raises:
        ConfigurationError: For another scheme, and for SQLite without a file.
    """
    text = str(value)
    for prefix in _POSTGRES:
        if text.startswith(prefix):
            return "postgresql+psycopg://" + text.removeprefix(prefix)
    if "://" in text and not text.startswith("sqlite:///"):
        raise ConfigurationError(
            f"The gate cannot use the database {text.partition('://')[0]}://...: give postgresql://HOST/NAME, "
            "sqlite:///FILE or the path of a file."
        )
    path = text.removeprefix("sqlite:///")
    if path in ("", ":memory:"):
        raise ConfigurationError("The gate keeps its data in a file: give its path instead of an in-memory database.")
    return f"sqlite:///{Path(path).expanduser().absolute()}"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a gate is set up.

    Attributes:
        db_url: `postgresql://...`, `sqlite:///FILE` or the path of a file.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        clock: Tells the time.
        max_body: The longest request body, in bytes.
        rate_limit: Writing calls that a key may make of this process, such as `600/minute`; `None` is no limit.
        tenant_id: Stands in webhooks.
        approval_lifetime: How long a signed approval can be used.
        poll_interval: Seconds between looks at the database for changes whose notification was missed.
        sweep_interval: Seconds between looks for requests whose time is over.
        heartbeat: Seconds between comment lines in a stream (the wire contract allows 15).
        batch: The most writes that share a commit.
        history: How many changes a stream can resume over.
        delivery_networks: Networks (CIDR) that webhooks may go to though they are private.
        delivery_timeout: Seconds for one attempt to deliver a webhook.
        notify: Apprise URLs of people (or channels) that are told when requests wait.
        notify_delay: Seconds in which several requests become one message.
        public_url: The gate's URL as people reach it, for links in messages; by default host and port.
        audit_key_file: A file with the key that signs checkpoints and exports (32 bytes in base64), so that whoever can
            change the database cannot sign; by default it is kept in the database.
        checkpoint_interval: Seconds between signed checkpoints.
        open_metrics: Whether `/metrics` is for everybody who reaches the gate; else it needs a reviewer's token.
        oidc: How people sign in at an OpenID Connect provider; `None` where they do not.
        grants: Whether reviewers may grant more than one request at a time, and such grants count.
        shutdown_timeout: Seconds that running requests get when the gate stops.
    """

    db_url: str | Path = field(default_factory=default_db)
    host: str = "127.0.0.1"
    port: int = 8787
    clock: Clock = field(default_factory=SystemClock)
    max_body: int = 1024 * 1024
    rate_limit: str | None = None
    tenant_id: str = "default"
    approval_lifetime: timedelta = timedelta(days=7)
    poll_interval: float = 2.0
    sweep_interval: float = 1.0
    heartbeat: float = 10.0
    batch: int = 256
    history: int = 10_000
    delivery_networks: tuple[str, ...] = ()
    delivery_timeout: float = 15.0
    notify: tuple[str, ...] = field(default=(), repr=False)
    notify_delay: float = 5.0
    public_url: str | None = None
    audit_key_file: Path | None = None
    checkpoint_interval: float = 300.0
    open_metrics: bool = False
    oidc: OidcSettings | None = None
    grants: bool = True
    shutdown_timeout: float = 10.0

    @property
    def database(self) -> str:
        """`db_url` as SQLAlchemy takes it."""
        return database_url(self.db_url)

    @property
    def inbox_url(self) -> str:
        """The inbox, as people reach it."""
        return f"{self.public_url or f'http://{self.host}:{self.port}'}/inbox".replace("//inbox", "/inbox")
