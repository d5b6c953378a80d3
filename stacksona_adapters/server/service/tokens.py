"""Secrets: keys that are shown once and kept hashed, and signed one-time approval tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def new_id(prefix: str) -> str:
    """A fresh id that nobody can guess."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new_key(prefix: str) -> str:
    """A fresh key with 256 random bits."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hashed(secret: str) -> str:
    """How a key or token is kept. Plain SHA-256 will do, as nobody can search 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class TokenSigner:
    """Makes and checks approval tokens: claims and their HMAC-SHA256 by the gate's own key.

    The same claims make the same token, so the gate can give it again without keeping it.
    """

    key: bytes

    def token(self, decision_id: str, digest: str, expires_at: datetime | None, nonce: str) -> str:
        """The token that takes the permission of a decision, for one digest, until a moment."""
        expires = expires_at.isoformat() if expires_at is not None else None
        claims = json.dumps({"id": decision_id, "digest": digest, "exp": expires, "nonce": nonce}, sort_keys=True)
        return f"sat_{_encode(claims.encode())}.{_encode(self._sign(claims.encode()))}"

    def genuine(self, token: str) -> bool:
        """Whether this gate made the token."""
        claims, dot, signature = token.removeprefix("sat_").partition(".")
        try:
            said, proof = _decode(claims), _decode(signature)
        except ValueError:
            return False
        return bool(dot) and token.startswith("sat_") and hmac.compare_digest(self._sign(said), proof)

    def _sign(self, claims: bytes) -> bytes:
        return hmac.new(self.key, claims, hashlib.sha256).digest()


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
