"""Where the gate is and how patient the client is; the environment is read here and nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stacksona_adapters.client.outbox_store import state_directory
from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.protocol.dialects import Dialect, choose_dialect

URL_VARIABLE = "STACKSONA_GATE_URL"
KEY_VARIABLE = "STACKSONA_API_KEY"
DIALECT_VARIABLE = "STACKSONA_DIALECT"


@dataclass(frozen=True)
class Timeouts:
    """How long one call may take, in seconds; `total` covers its retries and pauses too."""

    connect: float = 5.0
    read: float = 15.0
    write: float = 15.0
    total: float = 30.0


@dataclass(frozen=True)
class Settings:
    """Everything that a client needs to know.

    Attributes:
        url: The gate's base URL.
        api_key: The agent's key (`sg_...`).
        dialect: How the gate is spoken to.
        timeouts: See `Timeouts`.
        retries: How often a repeatable call is tried again on connection errors, 429 and 503.
        max_connections: Connections kept open at once.
        state_dir: Where events wait for a gate that is down.
    """

    url: str
    api_key: str = field(repr=False)
    dialect: Dialect
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 3
    max_connections: int = 16
    state_dir: Path = field(default_factory=Path)

    @property
    def destination(self) -> str:
        """Names gate and key without giving the key away."""
        return hashlib.sha256(f"{self.url}\0{self.api_key}".encode()).hexdigest()


def load_settings(
    url: str | None = None,
    api_key: str | None = None,
    dialect: str | None = None,
    timeouts: Timeouts | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from keywords, else from `STACKSONA_GATE_URL`, `STACKSONA_API_KEY`, `STACKSONA_DIALECT`.

    Args:
        url: The gate's base URL, http or https.
        api_key: The agent's key.
        dialect: `v1` or `agent`; by default `agent` for a host under `.stacksona.cloud`, else `v1`.
        timeouts: The patience of a call.
        state_dir: Where events wait; by default `STACKSONA_STATE_DIR`, else the platform's state directory.
        environ: The environment; a test passes its own.

    Raises:
        ConfigurationError: If URL or key is missing or unusable.
    """
    env = os.environ if environ is None else environ
    base = (url or env.get(URL_VARIABLE) or "").strip().rstrip("/")
    key = (api_key or env.get(KEY_VARIABLE) or "").strip()
    if not base:
        raise ConfigurationError(
            f"No gate URL: pass url= or set {URL_VARIABLE}. To run a gate here, start `stacksona serve`, "
            "or use `stacksona_adapters.local.local_gate()`."
        )
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"The gate URL {base!r:.200} is not an http or https URL.")
    if not key:
        raise ConfigurationError(
            f"No API key: pass api_key= or set {KEY_VARIABLE}. `stacksona agent add NAME` makes one."
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("The API key holds characters that no key has; copy it again.")
    return Settings(
        url=base,
        api_key=key,
        dialect=choose_dialect(dialect or env.get(DIALECT_VARIABLE) or None, base),
        timeouts=timeouts or Timeouts(),
        state_dir=Path(state_dir) if state_dir is not None else state_directory(env),
    )
