"""ID tokens that somebody else made, or that are not what they should be; and settings that are not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.server.oidc.errors import NotBelieved
from stacksona_adapters.server.oidc.flow import Flows
from stacksona_adapters.server.oidc.settings import OidcSettings
from stacksona_adapters.server.oidc.tokens import Expected, UnknownKey, checked

NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
SECONDS = int(NOW.timestamp())
KEY = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}, auto_kid=False)
KEYS = {"keys": [KEY.as_dict(private=False)]}
GOOD: dict[str, Any] = {
    "iss": "https://id.example.com",
    "aud": "gate",
    "sub": "ann",
    "nonce": "n1",
    "iat": SECONDS,
    "exp": SECONDS + 300,
}
EXPECTED = Expected("https://id.example.com", "gate", "n1", NOW, "access", ("RS256", "ES256", "HS256", "none"))


def token(claims: dict[str, Any], header: dict[str, Any] | None = None, key: Any = KEY) -> str:
    """A signed token."""
    chosen = {"alg": "RS256", "kid": "k1", **(header or {})}
    return jwt.encode(chosen, claims, key, algorithms=[chosen["alg"]])


def test_good() -> None:
    """What a provider makes is taken, with claims that the gate does not know; an audience may be a list of one."""
    for more in ({}, {"aud": ["gate"]}, {"azp": "gate"}, {"aud": ["gate", "other"], "azp": "gate"}):
        claims = {**GOOD, **more, "email": "ann@example.com"}
        assert checked(token(claims, {"x5t": "abc"}), KEYS, EXPECTED) == claims


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://id.example.com/"},
    "for another client": {"aud": "other"},
    "for others": {"aud": ["other", "more"]},
    "for several, and not said for whom": {"aud": ["gate", "other"]},
    "given to another client": {"azp": "other"},
    "another sign-in": {"nonce": "n2"},
    "over": {"exp": SECONDS - 61},
    "not yet": {"nbf": SECONDS + 120},
    "from the future": {"iat": SECONDS + 120},
    "no time": {"exp": "soon"},
    "no person": {"sub": ""},
    "a person that is a number": {"sub": 7},
    "a person of too many letters": {"sub": "x" * 256},
    "a person that hides": {"sub": "ann\u202e"},
    "of another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
def test_wrong_claims(changed: dict[str, Any]) -> None:
    """A good signature under anything else than what was asked for is refused."""
    with pytest.raises(NotBelieved):
        checked(token({**GOOD, **changed}), KEYS, EXPECTED)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_missing_claims(missing: str) -> None:
    """None of them may be missing."""
    with pytest.raises(NotBelieved):
        checked(token({name: value for name, value in GOOD.items() if name != missing}), KEYS, EXPECTED)


def unsigned(header: dict[str, Any]) -> str:
    """A token that nobody signed."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (header, GOOD)]
    return ".".join([*parts, ""])


def by_public_key(claims: dict[str, Any]) -> str:
    """A token whose HMAC has the public key as its secret; libraries that mix kinds of keys up take it."""
    parts = [json.dumps(each).encode() for each in ({"alg": "HS256", "kid": "k1"}, claims)]
    said = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    mac = hmac.new(KEY.as_pem(private=False), said.encode(), hashlib.sha256).digest()
    return f"{said}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def test_forged() -> None:
    """No signature, one by the client's secret, one by the public key as a secret, one by another key: refused."""
    other = RSAKey.generate_key(2048, {"kid": "k1"}, auto_kid=False)
    good = token(GOOD)
    forged = [
        unsigned({"alg": "none", "kid": "k1"}),
        unsigned({"alg": "RS256", "kid": "k1"}),
        by_public_key(GOOD),
        token(GOOD, {"alg": "HS256"}, OctKey.import_key("the client's secret, long enough for HS256")),
        token(GOOD, key=other),
        good[:-8] + ("A" * 8),
        good.rpartition(".")[0],
        "",
        "a.b.c",
        "\u00e4.\u00f6.\u00fc",
        good.replace(".", ".."),
    ]

    for each in forged:
        with pytest.raises(NotBelieved):
            checked(each, KEYS, EXPECTED)


def test_no_secret_key_is_used_though_the_provider_publishes_one() -> None:
    """A shared secret in the key set, and HS256 in the discovery document, change nothing."""
    shared = OctKey.import_key({"kty": "oct", "kid": "k1", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"})
    keys = {"keys": [shared.as_dict(private=True), *KEYS["keys"]]}
    with pytest.raises(NotBelieved):
        checked(token(GOOD, {"alg": "HS256"}, shared), keys, EXPECTED)
    only_secret = Expected("https://id.example.com", "gate", "n1", NOW, "access", ("HS256",))
    with pytest.raises(NotBelieved):
        checked(token(GOOD, {"alg": "HS256"}, shared), keys, only_secret)


def test_key_that_is_not_there() -> None:
    """An unknown key id says that the keys are to be fetched again; a key of another kind is passed over."""
    unknown = {"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AA"}
    keys = {"keys": [unknown, {**KEYS["keys"][0], "use": "enc", "kid": "e1"}, *KEYS["keys"]]}

    assert checked(token(GOOD), keys, EXPECTED)["sub"] == "ann"
    for kid in ("k2", "pq", "e1"):
        with pytest.raises(UnknownKey):
            checked(token(GOOD, {"kid": kid}), keys, EXPECTED)


@pytest.mark.parametrize("keys", [{}, {"keys": []}, {"keys": "k"}, {"keys": [7, {}]}, {"keys": [{"kty": "RSA"}]}])
def test_broken_key_set(keys: dict[str, Any]) -> None:
    """A key set that is none signs nobody in."""
    with pytest.raises(NotBelieved):
        checked(token(GOOD), keys, EXPECTED)


def test_key_of_another_curve() -> None:
    """An algorithm that does not fit the key is refused; one that does is taken."""
    elliptic = ECKey.generate_key("P-256", {"kid": "e"}, auto_kid=False)
    keys = {"keys": KeySet([elliptic, KEY]).as_dict(private=False)["keys"]}

    assert checked(token(GOOD, {"alg": "ES256", "kid": "e"}, elliptic), keys, EXPECTED)["sub"] == "ann"
    with pytest.raises(NotBelieved):
        checked(token(GOOD, {"alg": "ES256", "kid": "e"}, elliptic).replace(".", ".e", 1), keys, EXPECTED)


def test_cookie_of_a_flow() -> None:
    """Only this gate's own cookie opens, within ten minutes, and its three values differ."""
    flows = Flows(b"k" * 32)
    flow = flows.begin("/inbox", NOW)
    sealed = flows.seal(flow)

    assert flows.open(sealed, NOW) == flow
    assert len({flow.secret, flow.state, flow.nonce, flow.verifier}) == 4
    assert 43 <= len(flow.verifier) <= 128  # RFC 7636, section 4.1
    assert flows.open(sealed, datetime(2026, 11, 20, 12, 10, 1, tzinfo=timezone.utc)) is None
    for changed in (sealed[:-1], "A" + sealed[1:], Flows(b"x" * 32).seal(flow), "", ".", "\u00e4.\u00e4"):
        assert flows.open(changed, NOW) is None


FITTING = {
    "issuer": "https://id.example.com",
    "client_id": "gate",
    "client_secret": "secret",
    "public_url": "https://gate.example.com",
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"issuer": "http://id.example.com"}, "https"),
        ({"issuer": "id.example.com"}, "https"),
        ({"issuer": "https://id.example.com/?tenant=1"}, "query"),
        ({"public_url": "http://gate.example.com"}, "https"),
        ({"client_secret": ""}, "secret"),
        ({"scopes": ("email",)}, "openid"),
        ({"roles": {"staff": "boss"}}, "boss"),
        ({"domains": ("@example.com",)}, "domain"),
        ({"name_claim": ""}, "empty"),
        ({"add_reviewers": True}, "oidc-domain or --oidc-role"),
    ],
)
def test_wrong_settings(changed: dict[str, Any], said: str) -> None:
    """What would fail at the first sign-in, or send secrets in the clear, is refused at the start."""
    assert OidcSettings(**FITTING).name == "id.example.com"
    with pytest.raises(ConfigurationError, match=said):
        OidcSettings(**{**FITTING, **changed})


def test_secret_is_not_shown() -> None:
    """The secret is not in what is printed or logged of the settings."""
    assert "s3cret" not in repr(OidcSettings(**{**FITTING, "client_secret": "s3cret"}))
