"""Differences: a text that is a diff, and two versions of arguments beside each other."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import Any

from stacksona_adapters.server.service.pointers import join

_MOST_LINES = 2000
_HUNK = re.compile(r"^@@ -\d+(,\d+)? \+\d+(,\d+)? @@", re.MULTILINE)
_MISSING = object()


@dataclass(frozen=True)
class Line:
    """A line of a diff: `add`, `del`, `head` or `same`."""

    kind: str
    text: str


def looks_like_diff(text: str) -> bool:
    """Whether a text is a unified diff."""
    return text.startswith("diff --git ") or (_HUNK.search(text) is not None and "\n+" in text + "\n+")


def read_diff(text: str) -> list[Line]:
    """The lines of a unified diff."""
    return [Line(_kind(line), line) for line in text.splitlines()[:_MOST_LINES]]


def _kind(line: str) -> str:
    if line.startswith(("diff ", "index ", "--- ", "+++ ", "@@")):
        return "head"
    return {"+": "add", "-": "del"}.get(line[:1], "same")


@dataclass(frozen=True)
class Changed:
    """One value that differs.

    Attributes:
        pointer: Where (JSON pointer).
        before: The old value as JSON; `None` where there was none.
        after: The new value; `None` where there is none.
        lines: The lines of both, where they are long texts.
    """

    pointer: str
    before: str | None
    after: str | None
    lines: list[Line]


def changes(before: Any, after: Any, path: tuple[Any, ...] = ()) -> list[Changed]:
    """What differs between two values, part by part."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = list(dict.fromkeys([*before, *after]))
        parts = [(name, before.get(name, _MISSING), after.get(name, _MISSING)) for name in names]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        parts = [(place, old, new) for place, (old, new) in enumerate(zip(before, after, strict=True))]
    else:
        return [] if _same(before, after) else [_changed(before, after, path)]
    return [change for name, old, new in parts for change in changes(old, new, (*path, name))]


def _same(before: Any, after: Any) -> bool:
    """Equal as JSON: `true` is not 1, though Python says so."""
    if before is _MISSING or after is _MISSING:
        return before is after
    return json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _changed(before: Any, after: Any, path: tuple[Any, ...]) -> Changed:
    both = isinstance(before, str) and isinstance(after, str)
    long = both and max(len(before), len(after)) > 80
    lines = _lines(before, after) if long else []
    return Changed(join(path), _written(before), _written(after), lines)


def _written(value: Any) -> str | None:
    return None if value is _MISSING else json.dumps(value, ensure_ascii=False, indent=2)


def _lines(before: str, after: str) -> list[Line]:
    made = difflib.unified_diff(before.splitlines()[:_MOST_LINES], after.splitlines()[:_MOST_LINES], lineterm="", n=2)
    return [Line(_kind(line), line) for line in list(made)[2:] if not line.startswith("@@")]
