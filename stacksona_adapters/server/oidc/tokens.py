"""The check of an ID token (OpenID Connect Core 1.0, section 3.1.3.7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from stacksona_adapters.server.oidc.errors import NotBelieved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from joserfc.jwk import KeySetSerialization

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
"""Signatures that only the holder of a private key can make: not `none`, and not HMAC by the client's secret."""

_KEY_TYPES = frozenset({"RSA", "EC", "OKP"})
_LEEWAY = 60
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, section 2


class UnknownKey(NotBelieved):
    """Signed with a key that is not in the set: the provider may have changed its keys."""


@dataclass(frozen=True)
class Expected:
    """What an ID token must say.

    Attributes:
        issuer: Who made it.
        client_id: For whom.
        nonce: In which sign-in.
        now: When it must be valid.
        access_token: The access token that came with it, for `at_hash`.
        algorithms: What the provider says it signs with.
    """

    issuer: str
    client_id: str
    nonce: str
    now: datetime
    access_token: str
    algorithms: Sequence[str]


def checked(id_token: str, keys: Mapping[str, Any], expected: Expected) -> dict[str, Any]:
    """The claims of an ID token that holds.

    Args:
        id_token: As the token endpoint gave it.
        keys: The provider's JSON Web Key Set.
        expected: What it must say.

    Raises:
        UnknownKey: If it was signed with another key.
        NotBelieved: If anything else is wrong with it.
    """
    # An empty list would mean the library's own choice, which has HMAC in it.
    allowed = sorted(ALGORITHMS.intersection(expected.algorithms)) or ["RS256"]
    found = key_set(keys)
    registry = JWSRegistry(algorithms=allowed, strict_check_header=False)
    try:
        token = jwt.decode(id_token, found, registry=registry)
        issued = {"iss": {"essential": True, "value": expected.issuer}}
        audience = {"aud": {"essential": True, "value": expected.client_id}}
        known = {"nonce": expected.nonce, "client_id": expected.client_id, "access_token": expected.access_token}
        claims = CodeIDToken(token.claims, token.header, {**issued, **audience}, known)
        claims.validate(now=int(expected.now.timestamp()), leeway=_LEEWAY)
    except InvalidKeyIdError as error:
        raise UnknownKey(f"ID token: {error}") from error
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise NotBelieved(f"ID token: {type(error).__name__}: {error}") from error
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise NotBelieved("ID token: the claim sub is not a text of 1 to 255 characters")
    return dict(claims)


def key_set(keys: Mapping[str, Any]) -> KeySet:
    """The keys of a JSON Web Key Set that can sign an ID token.

    Raises:
        NotBelieved: If there is none, or one that is broken.
    """
    listed = keys.get("keys")
    found = [key for key in listed if _can_sign(key)] if isinstance(listed, list) else []
    if not found:
        raise NotBelieved("the provider's key set has no key that could sign")
    try:
        imported: KeySet = KeySet.import_key_set(cast("KeySetSerialization", {"keys": found}))
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise NotBelieved(f"the provider's key set has a broken key: {error}") from error
    return imported


def _can_sign(key: Any) -> bool:
    return isinstance(key, dict) and key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"
