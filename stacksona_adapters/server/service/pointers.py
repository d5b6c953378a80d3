"""JSON pointers (RFC 6901)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ABSENT = object()
"""What `find` gives for a place that is not there."""


def find(value: Any, pointer: str) -> Any:
    """The value at a pointer, or `ABSENT`."""
    if pointer and not pointer.startswith("/"):
        return ABSENT
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 9 and int(name) < len(value):
            value = value[int(name)]
        else:
            return ABSENT
    return value


def join(parts: Iterable[Any]) -> str:
    """The pointer of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def places_of(value: Any, wanted: Any, at: str = "") -> list[str]:
    """The pointers of everything that equals `wanted`."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in places_of(v, wanted, at + join([k]))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in places_of(v, wanted, f"{at}/{i}")]
    return [at] if value == wanted else []
