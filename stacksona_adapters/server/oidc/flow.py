"""One sign-in on its way through the provider, kept in the browser that began it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

LIFETIME = timedelta(minutes=10)
"""How long somebody may take at the provider."""


@dataclass(frozen=True)
class Flow:
    """A sign-in that was begun. Its parameters come from one secret, each by an HMAC of its own.

    Attributes:
        secret: Known to the browser that began it, and to nobody else.
        next: The page to go on to.
        began: Seconds since 1970.
    """

    secret: str
    next: str
    began: float

    @property
    def state(self) -> str:
        """Comes back in the address: whoever calls back with it holds the cookie too."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """Stands in the ID token, which is thereby of this sign-in."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """PKCE's code verifier, without which nobody exchanges the code (RFC 7636)."""
        return self._derived("verifier")

    def _derived(self, what: str) -> str:
        return _text(hmac.new(self.secret.encode(), what.encode(), hashlib.sha256).digest())


@dataclass(frozen=True)
class Flows:
    """Writes and reads the cookie of a flow, signed so that its time cannot be prolonged.

    Attributes:
        key: The gate's key for it.
    """

    key: bytes

    def begin(self, where: str, now: datetime) -> Flow:
        """A new flow."""
        return Flow(secrets.token_urlsafe(32), where, now.timestamp())

    def seal(self, flow: Flow) -> str:
        """The cookie of a flow."""
        said = _text(json.dumps([flow.secret, flow.next, flow.began]).encode())
        return f"{said}.{self._signature(said)}"

    def open(self, cookie: str, now: datetime) -> Flow | None:
        """The flow of a cookie; `None` if this gate did not make it, or its time is over."""
        said, _, signature = cookie.partition(".")
        if not hmac.compare_digest(self._signature(said).encode(), signature.encode()):
            return None
        flow = Flow(*json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))))
        age = now.timestamp() - flow.began
        return flow if 0 <= age <= LIFETIME.total_seconds() else None

    def _signature(self, said: str) -> str:
        return _text(hmac.new(self.key, b"oidc flow " + said.encode(), hashlib.sha256).digest())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
