"""What a use case works on: a connection, the present moment, and the gate's fixed facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy import Connection

    from stacksona_adapters.server.service.checkpoints import AuditSigner
    from stacksona_adapters.server.service.tokens import TokenSigner
    from stacksona_adapters.server.store.writer import Batch


@dataclass(frozen=True)
class Facts:
    """What holds for the whole life of a gate."""

    tenant_id: str
    approval_lifetime: timedelta
    history: int
    signer: TokenSigner
    auditor: AuditSigner
    grants: bool


@dataclass(frozen=True)
class Read:
    """Reading: a connection and the present moment."""

    connection: Connection
    now: datetime
    facts: Facts


@dataclass(frozen=True)
class Write(Read):
    """Writing: also the transaction that it is part of."""

    batch: Batch

    @property
    def memory(self) -> dict[Any, Any]:
        """What the jobs of this transaction looked up already; forgotten whenever one of them is undone."""
        return self.batch.memory
