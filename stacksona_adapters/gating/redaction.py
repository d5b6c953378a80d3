"""What leaves the process: a copy in which secret-looking keys and values are hidden.

The digest is always over the full values; only what a reviewer and the trail see is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stacksona_adapters.protocol.requests import REDACTED

_KEY_WORDS = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "authorization",
    "credential",
    "credentials",
    "cookie",
    "sessionid",
    "clientsecret",
    "signingkey",
    "connectionstring",
    "cvv",
    "cvc",
    "pin",
    "ssn",
]
_KEY_SUFFIXES = (
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
    "secretkey",
    "credentials",
)

SECRET_VALUES = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
        r"\bsk-[A-Za-z0-9_-]{20,}",
        r"\bs[gr]_[A-Za-z0-9_-]{16,}",
        r"\bgh[opsu]_[A-Za-z0-9]{30,}",
        r"\bgithub_pat_[A-Za-z0-9_]{30,}",
        r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\bAIza[0-9A-Za-z_-]{35}",
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}",
        r"[a-z][a-z0-9+.-]{1,20}://[^/\s:@]{1,100}:[^/\s@]{1,200}@",
    )
)
"""Texts that look secret: private keys, tokens of well-known services, JWTs, bearer tokens, URLs with a password."""

Rule = Callable[[str, Any], bool]
"""A user's own rule: gets the JSON pointer and the value, says whether to hide it."""


@dataclass(frozen=True)
class Redacted:
    """A redacted copy and the JSON pointers (RFC 6901) of what was hidden."""

    value: Any
    pointers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Redaction:
    """Says what to hide.

    Args:
        keys: Names hidden in addition to the usual ones; matched without case, `_` and `-`.
        show: Names never hidden by their name (`page_token`, say).
        rules: Further rules; a value is hidden if any says so.
        values: Patterns of secret-looking texts; the default is `SECRET_VALUES`.
    """

    keys: Iterable[str] = ()
    show: Iterable[str] = ()
    rules: tuple[Rule, ...] = ()
    values: tuple[re.Pattern[str], ...] = field(default=SECRET_VALUES, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", frozenset(_fold(key) for key in self.keys))
        object.__setattr__(self, "show", frozenset(_fold(key) for key in self.show))

    def apply(self, value: Any) -> Redacted:
        """A copy of a JSON value with what is secret replaced by `[redacted]`."""
        hidden: list[str] = []
        return Redacted(self._walk(value, "", "", hidden), tuple(hidden))

    def text(self, text: str | None) -> str | None:
        """A text in which each secret-looking part is hidden."""
        if text is None:
            return None
        for pattern in self.values:
            text = pattern.sub(REDACTED, text)
        return text

    def _walk(self, value: Any, key: str, pointer: str, hidden: list[str]) -> Any:
        if value == REDACTED or (value is not None and self._hides(key, pointer, value)):
            hidden.append(pointer)
            return REDACTED
        if isinstance(value, Mapping):
            return {k: self._walk(v, k, f"{pointer}/{escape(k)}", hidden) for k, v in value.items()}
        if isinstance(value, list):
            return [self._walk(v, key, f"{pointer}/{i}", hidden) for i, v in enumerate(value)]
        return value

    def _hides(self, key: str, pointer: str, value: Any) -> bool:
        if not pointer:
            return False
        leaf = not isinstance(value, (Mapping, list))
        return (
            (leaf and self._secret_key(_fold(key)))
            or (isinstance(value, str) and any(pattern.search(value) for pattern in self.values))
            or any(rule(pointer, value) for rule in self.rules)
        )

    def _secret_key(self, key: str) -> bool:
        if key in self.show:
            return False
        return key in self.keys or key in _KEY_WORDS or key.endswith(_KEY_SUFFIXES)


def _fold(key: str) -> str:
    return re.sub(r"[\s_-]", "", key).lower()


def escape(part: str) -> str:
    """One part of a JSON pointer (RFC 6901)."""
    return part.replace("~", "~0").replace("/", "~1")


def restore(edited: Any, original: Any, pointers: Iterable[str]) -> Any:
    """Put hidden values back into arguments that came back from a reviewer.

    Args:
        edited: The arguments with `[redacted]` where values were hidden.
        original: The full arguments.
        pointers: Where values were hidden.

    Returns:
        A copy of `edited` in which each pointer that still reads `[redacted]` has its original value again.
    """
    result = _copy(edited)
    for pointer in pointers:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        here, there = _descend(result, parts[:-1]), _descend(original, parts[:-1])
        last = parts[-1]
        if _get(here, last) == REDACTED and _get(there, last) is not None:
            here[int(last) if isinstance(here, list) else last] = _get(there, last)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _descend(value: Any, parts: list[str]) -> Any:
    for part in parts:
        value = _get(value, part)
    return value


def _get(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return None
