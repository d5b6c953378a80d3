"""What leaves the process."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacksona_adapters.gating.redaction import Redaction, restore
from stacksona_adapters.protocol.requests import REDACTED

SECRETS = [
    "sk-live-0123456789abcdefghij",
    "ghp_0123456789012345678901234567890123456",
    "AKIAABCDEFGHIJKLMNOP",
    "Authorization: Bearer abcdefghijklmnop1234",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def",
    "postgresql://ann:hunter2@db.example/shop",
    "-----BEGIN RSA PRIVATE KEY-----\nMII",
    "sr_0123456789abcdefABCDEF",
]


@pytest.mark.parametrize(
    "key", ["password", "db_password", "API-Key", "apiKey", "accessToken", "client_secret", "Cookie"]
)
def test_secret_keys_are_hidden(key: str) -> None:
    """A secret-looking name hides its value, whatever its type."""
    assert Redaction().apply({key: "x", "n": {key: 5}}).value == {key: REDACTED, "n": {key: REDACTED}}


@pytest.mark.parametrize("key", ["order_id", "amount", "max_tokens", "tokens", "author", "reason", "keyboard"])
def test_other_keys_are_shown(key: str) -> None:
    """What a reviewer needs is not hidden."""
    assert Redaction().apply({key: "x"}).pointers == ()


@pytest.mark.parametrize("value", SECRETS)
def test_secret_values_are_hidden(value: str) -> None:
    """A secret-looking text is hidden under any name, in lists too, and in free text."""
    redacted = Redaction().apply({"note": [f"use {value} please"]})

    assert redacted.value == {"note": [REDACTED]}
    assert redacted.pointers == ("/note/0",)
    assert value not in (Redaction().text(f"use {value} please") or "")


def test_the_users_rules() -> None:
    """Own keys, exceptions and functions; an empty value of a secret is still hidden, None is not."""
    redaction = Redaction(
        keys=["iban"], show=["page_token"], rules=(lambda pointer, _: pointer.startswith("/customer/"),)
    )

    hidden = redaction.apply(
        {"IBAN": "DE1", "page_token": "7", "customer": {"name": "Ann"}, "password": "", "token": None}
    )

    assert hidden.value == {
        "IBAN": REDACTED,
        "page_token": "7",
        "customer": {"name": REDACTED},
        "password": REDACTED,
        "token": None,
    }


def test_own_patterns_replace_the_usual_ones() -> None:
    """`values=` is the whole list of patterns."""
    assert Redaction(values=(re.compile("abc"),)).text("sk-live-0123456789abcdefghij abc") == (
        f"sk-live-0123456789{REDACTED}defghij {REDACTED}"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "password", "x/y", "t~k", "token"]), children, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["a", "password", "x/y", "t~k"]), json_values, max_size=4))
def test_what_was_hidden_can_be_restored(arguments: dict[str, Any]) -> None:
    """A reviewer who changes nothing gives back exactly the original arguments."""
    redacted = Redaction().apply(arguments)

    assert restore(redacted.value, arguments, redacted.pointers) == arguments


def test_a_reviewers_own_value_stays() -> None:
    """Only what still reads `[redacted]` is put back; what the reviewer wrote or removed is not."""
    original = {"password": "hunter2", "token": "t", "amount": 1}
    pointers = ("/password", "/token")

    assert restore({"password": REDACTED, "token": "mine", "amount": 2}, original, pointers) == {
        "password": "hunter2",
        "token": "mine",
        "amount": 2,
    }
    assert restore({"amount": 2}, original, pointers) == {"amount": 2}
