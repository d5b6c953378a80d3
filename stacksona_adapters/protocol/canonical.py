"""Canonical JSON (RFC 8785), the action digest and idempotency keys."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import rfc8785
from pydantic_core import PydanticSerializationError, to_jsonable_python

from stacksona_adapters.errors import InvalidAction

if TYPE_CHECKING:
    from collections.abc import Mapping

_SURROGATE = re.compile("[\ud800-\udfff]")


def jsonable(value: Any, what: str = "arguments") -> Any:
    """Turn pydantic models, dataclasses, dates, decimals, bytes and sets into plain JSON values.

    Args:
        value: Any value.
        what: What it is, for the error's text.

    Returns:
        A new tree of dicts, lists, strings, numbers, booleans and `None`.

    Raises:
        InvalidAction: If something in it has no JSON form. There is no fallback to `repr`, because a digest over
            a memory address would never match again.
    """
    try:
        plain = to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidAction(
            f"The {what} cannot be written as JSON ({error}); nothing ran. "
            "Pass plain values (an id instead of an object) to a gated action."
        ) from error
    return plain


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value, as UTF-8 bytes.

    Raises:
        InvalidAction: For numbers outside of I-JSON (beyond 2**53, NaN, infinity) and lone surrogates.
    """
    if _is_plain(value):
        return _encode_plain(value).encode()
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidAction(
            f"A value has no canonical JSON form ({error}); nothing ran. "
            "Integers beyond 2**53, NaN and infinity must be passed as strings."
        ) from error


_encode_plain = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def _is_plain(value: Any) -> bool:
    """Whether the standard library, which is ten times as fast, writes it in canonical form too.

    It differs in floats, in whole numbers beyond 2**53, in lone surrogates, and in the order of names beyond ASCII.
    """
    kind = type(value)
    if kind is str:
        return bool(value.isascii()) or not _SURROGATE.search(value)
    if kind is int:
        return bool(-(2**53) < value < 2**53)
    if kind is dict:
        return all(type(name) is str and name.isascii() and _is_plain(item) for name, item in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return value is None or kind is bool


def digest(value: Any) -> str:
    """`sha256:` and the hex SHA-256 of the canonical JSON of `value`."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def action_digest(agent: str, action: str, subject: str | None, arguments: Mapping[str, Any]) -> str:
    """What binds an approval to an action (wire contract, section 4)."""
    return digest({"agent": agent, "action": action, "subject": subject, "arguments": dict(arguments)})


def idempotency_key(*parts: str | None) -> str:
    """A key that is the same whenever the same parts come again, in any process.

    Source: draft-ietf-httpapi-idempotency-key-header; the value is opaque to the server.
    """
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()
