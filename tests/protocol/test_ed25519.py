"""Our check of Ed25519 signatures against the library `cryptography` and RFC 8032's own vectors."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from stacksona_adapters.protocol.ed25519 import verify

# RFC 8032, section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_rfcs_vectors(key: str, message: str, signature: str) -> None:
    """What the RFC calls valid is valid."""
    assert verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 511))
def test_it_agrees_with_the_library(message: bytes, bit: int) -> None:
    """A signature of the library is genuine; with any bit turned it is not, nor for another message or key."""
    private, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    turned = bytearray(signature)
    turned[bit // 8] ^= 1 << bit % 8

    assert verify(key, message, signature)
    assert not verify(key, message, bytes(turned))
    assert not verify(key, message + b"x", signature)
    assert not verify(other.public_key().public_bytes_raw(), message, signature)


@pytest.mark.parametrize(("key", "signature"), [(b"", b""), (b"\xff" * 32, b"\0" * 64), (b"\0" * 31, b"\0" * 64)])
def test_nonsense_is_not_genuine(key: bytes, signature: bytes) -> None:
    """Wrong lengths and points off the curve are refused, not an error."""
    assert not verify(key, b"", signature)
