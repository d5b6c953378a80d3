"""The gate without a web server: what the API, the inbox and the command line work on."""

from __future__ import annotations

import base64
import secrets
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.service import (
    audit,
    checkpoints,
    decisions,
    journal,
    keys,
    records,
    retention,
    revocation,
    rules,
)
from stacksona_adapters.server.service.checkpoints import AuditSigner
from stacksona_adapters.server.service.context import Facts, Read, Write
from stacksona_adapters.server.service.tokens import TokenSigner
from stacksona_adapters.server.store.engine import open_backend
from stacksona_adapters.server.store.tables import changes
from stacksona_adapters.server.store.tables import secrets as secrets_table
from stacksona_adapters.server.store.writer import Batch, StoreUnavailable, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from datetime import datetime
    from types import TracebackType
    from typing import Any

    from sqlalchemy import Connection
    from typing_extensions import Self

    from stacksona_adapters.server.settings import ServerSettings
    from stacksona_adapters.server.store.engine import Backend

T = TypeVar("T")

_SIGNING_KEY = "approval_token_key"
_AUDIT_KEY = "audit_key"


class GateService:
    """A gate's database, migrated and ready. Close it, or use it in a `with`.

    Args:
        settings: Which database, whose clock.
        changed: Called from another thread after decisions changed through this object.

    Raises:
        ConfigurationError: If the database's URL cannot be used.
    """

    def __init__(self, settings: ServerSettings, changed: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.backend: Backend = open_backend(settings.database)
        try:
            self._facts = Facts(
                tenant_id=settings.tenant_id,
                approval_lifetime=settings.approval_lifetime,
                history=settings.history,
                signer=TokenSigner(_kept_key(self.backend, _SIGNING_KEY)),
                auditor=AuditSigner(_audit_key(self.backend, settings)),
                grants=settings.grants,
            )
        except BaseException:
            self.backend.close()
            raise
        self._writer = Writer(self.backend, settings.batch, changed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being written and close the database."""
        self._writer.close()
        self.backend.close()

    def submit(self, act: Callable[[Write], T]) -> Future[T]:
        """Queue a writing use case; it may be run again from its start, and shares a commit with others.

        Raises:
            StoreUnavailable: If the gate is closed.
        """

        def run(batch: Batch) -> T:
            return act(Write(batch.connection, self.settings.clock.now(), self._facts, batch))

        return self._writer.submit(run)

    def write(self, act: Callable[[Write], T]) -> T:
        """Run a writing use case and wait until it is committed.

        Raises:
            Refusal: What the use case raises.
            StoreUnavailable: If the database does not take it.
        """
        return self.submit(act).result()

    def read(self, act: Callable[[Read], T]) -> T:
        """Run a reading use case in this thread.

        Raises:
            Refusal: What the use case raises.
            StoreUnavailable: If the database cannot be read.
        """
        try:
            with self.backend.reader.connect() as connection:
                return act(Read(connection, self.settings.clock.now(), self._facts))
        except OperationalError as error:
            raise StoreUnavailable("the database cannot be read") from error

    def add_agent(
        self, name: str, *, signed_approval: bool | None = None, webhook: str | None = None, owner: str | None = None
    ) -> keys.NewAgent:
        """A new key for an agent; what is `None` stays as it is (see `keys.add_agent`)."""
        return self.write(
            lambda w: keys.add_agent(
                w, name, signed_approval=signed_approval, webhook=webhook, owner=owner, by=journal.OPERATOR
            )
        )

    def list_agents(self) -> list[keys.AgentInfo]:
        """Every agent and its keys."""
        return self.read(keys.list_agents)

    def revoke_agent(self, which: str) -> int:
        """Revoke a key by its id or all keys of an agent by name (see `keys.revoke_agent`)."""
        return self.write(lambda w: keys.revoke_agent(w, which, by=journal.OPERATOR))

    def add_reviewer(self, name: str) -> keys.NewReviewer:
        """A new token for a reviewer."""
        return self.write(lambda w: keys.add_reviewer(w, name, by=journal.OPERATOR))

    def list_reviewers(self) -> list[keys.ReviewerInfo]:
        """Every reviewer and their tokens."""
        return self.read(keys.list_reviewers)

    def revoke_reviewer(self, which: str) -> int:
        """Revoke a token by its id or all tokens of a reviewer by name (see `revocation`)."""
        return self.write(lambda w: revocation.revoke_reviewer(w, which, by=journal.OPERATOR))

    def add_rule(self, **fields: Any) -> rules.Rule:
        """Add a rule; the fields are those of `rules.NewRule`.

        Raises:
            Invalid: If it cannot be used.
        """
        return self.write(lambda w: rules.add(w, fields, by=journal.OPERATOR))

    def list_rules(self) -> list[rules.Rule]:
        """Every rule."""
        return self.read(rules.list_rules)

    def remove_rule(self, rule_id: str) -> None:
        """Remove a rule.

        Raises:
            NotFound: If there is none with that id.
        """
        self.write(lambda w: rules.remove(w, rule_id, by=journal.OPERATOR))

    def load_rules(self, listed: Sequence[Mapping[str, Any]], *, replace: bool = False) -> list[rules.Rule]:
        """Add several rules, all or none (see `rules.load`; `rules_file.read` reads them from TOML)."""
        return self.write(lambda w: rules.load(w, listed, replace=replace, by=journal.OPERATOR))

    def verify_audit(self) -> records.Verified:
        """Check every chain of records, and the signed checkpoints over them."""
        with self.backend.snapshot() as connection:
            return audit.verify(connection, self.audit_key)

    def kept_key(self, name: str) -> bytes:
        """A secret of 32 bytes that all processes on this database share; the first that asks makes it."""
        return _kept_key(self.backend, name)

    @property
    def audit_key(self) -> str:
        """The public key that checkpoints and exports are signed with, in hex; auditors keep it."""
        return self._facts.auditor.public_key

    def list_journal(self, limit: int) -> list[journal.Entry]:
        """The newest actions of administration first (see `journal`)."""
        return self.read(lambda r: journal.listed(r, limit=limit))

    def checkpoint(self) -> int:
        """Sign the heads of the chains that have grown; returns how many checkpoints were made."""
        return self.write(checkpoints.checkpoint)

    def export_audit(self, by: str, *, agent: str | None = None, task_id: str | None = None) -> Iterator[bytes]:
        """The trail as signed JSON Lines (see `audit.export`); that it was exported is a part of it.

        Args:
            by: Who exports.
            agent: Only this agent's tasks.
            task_id: Only this task.
        """
        scope = {"agent": agent, "task": task_id}
        self.write(lambda w: checkpoints.checkpoint(w, note={"export": {"by": by, **scope}}))
        with self.backend.snapshot() as connection:
            yield from audit.export(
                Read(connection, self.settings.clock.now(), self._facts), by=by, agent=agent, task_id=task_id
            )

    def prunable(self, before: datetime) -> int:
        """How many tasks `prune` would remove."""
        return len(self.read(lambda r: retention.prunable(r, before, limit=1_000_000)))

    def prune(self, before: datetime, by: str) -> int:
        """Remove finished tasks in which nothing has happened since a moment; returns how many (see `retention`)."""
        gone = 0
        while some := self.write(lambda w: retention.prune(w, before, by)):
            gone += some
        place: retention.Place | None = None
        while place := self.write(partial(retention.forget_calls, before=before, after=place)):
            pass
        return gone

    def expire_due(self) -> int:
        """Mark the decisions whose time is over; returns how many."""
        done = 0
        while self.read(lambda r: bool(decisions.due(r, limit=1))):
            done += self.write(decisions.expire_due)
        return done

    def head(self) -> int:
        """The cursor of the newest change."""
        return self.read(lambda r: _head(r.connection))


def _head(connection: Connection) -> int:
    return connection.execute(select(changes.c.cursor).order_by(changes.c.cursor.desc()).limit(1)).scalar() or 0


def _audit_key(backend: Backend, settings: ServerSettings) -> bytes:
    if settings.audit_key_file is None:
        return _kept_key(backend, _AUDIT_KEY)
    try:
        with settings.audit_key_file.open(encoding="ascii") as file:
            key = base64.b64decode(file.read().strip(), validate=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The audit key {settings.audit_key_file} cannot be read: {error}.") from error
    if len(key) != 32:
        raise ConfigurationError(f"The audit key {settings.audit_key_file} is not 32 bytes in base64.")
    return key


def _kept_key(backend: Backend, name: str) -> bytes:
    """A secret of 32 bytes that all processes on this database share; made by the first one."""
    query = select(secrets_table.c.value).where(secrets_table.c.name == name)
    with backend.reader.connect() as connection:
        kept = connection.execute(query).scalar()
    if kept is None:
        with backend.writer.begin() as connection:
            backend.lock(connection)
            kept = connection.execute(query).scalar()
            if kept is None:
                kept = base64.b64encode(secrets.token_bytes(32)).decode()
                connection.execute(insert(secrets_table), {"name": name, "value": kept})
    return base64.b64decode(kept)
