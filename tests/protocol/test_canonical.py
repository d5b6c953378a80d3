"""The digest: the same in any process and language, and different for anything that differs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import hashlib
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.protocol.canonical import action_digest, canonical_json, digest, idempotency_key, jsonable


def test_digest_follows_the_contract() -> None:
    """`sha256:` and the SHA-256 of the canonical JSON of the four fields."""
    text = b'{"action":"issue_refund","agent":"refund-bot","arguments":{"amount":100,"id":"A"},"subject":null}'

    assert action_digest("refund-bot", "issue_refund", None, {"id": "A", "amount": 100}) == (
        "sha256:" + hashlib.sha256(text).hexdigest()
    )


def test_rfc_8785_numbers_and_keys() -> None:
    """The RFC's own rules: 100.0 is 100, keys are sorted by UTF-16."""
    assert canonical_json({"b": 100.0, "a": 1e21, "\u20ac": "x", "\U0001f600": 1}) == (
        '{"a":1e+21,"b":100,"\u20ac":"x","\U0001f600":1}'.encode()
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 100}, {"a": 101}),
        ({"a": "1"}, {"a": 1}),
        ({"a": None}, {}),
        ({"a": True}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_different_arguments_have_different_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Nothing that a tool could tell apart has one digest."""
    assert action_digest("a", "t", None, one) != action_digest("a", "t", None, other)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_jsonable_keeps_json_values(value: Any) -> None:
    """A JSON value is its own JSON form, so asking twice gives one digest."""
    assert digest(jsonable(value)) == digest(value)


def test_jsonable_of_common_objects() -> None:
    """Values that tools really get have a stable JSON form."""

    @dataclasses.dataclass
    class Item:
        sku: str
        price: decimal.Decimal

    day = dt.date(2026, 11, 20)
    key = uuid.UUID(int=7)

    assert jsonable({"item": Item("x", decimal.Decimal("1.10")), "day": day, "key": key, "raw": b"\xff"}) == {
        "item": {"sku": "x", "price": "1.10"},
        "day": "2026-11-20",
        "key": str(key),
        "raw": "_w==",
    }


@pytest.mark.parametrize("value", [object(), {"f": print}, {"n": float("nan")}, {"big": 2**60}, {"s": "\ud800"}])
def test_what_has_no_canonical_form_is_an_error(value: Any) -> None:
    """No fallback to repr: the error says what to do and that nothing ran."""
    with pytest.raises(InvalidAction, match="nothing ran"):
        digest(jsonable(value))


def test_a_cycle_is_an_error() -> None:
    """A structure that contains itself cannot be described."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidAction):
        jsonable(loop)


def test_idempotency_keys_do_not_run_together() -> None:
    """Parts are kept apart: ("ab", "c") is not ("a", "bc"), and None is not an empty text."""
    keys = {idempotency_key(*parts) for parts in (("ab", "c"), ("a", "bc"), ("a", None), ("a", ""), ("a",))}
    assert len(keys) == 5
