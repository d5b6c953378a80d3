"""Whether arguments are within a grant's limits. What cannot be compared is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacksona_adapters.protocol.grants import AnyLimit, EqualLimit
from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.service.pointers import places_of
from stacksona_adapters.server.service.records import canonical
from stacksona_adapters.server.service.rules import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stacksona_adapters.protocol.grants import Limit


def misfits(limits: Mapping[str, Limit], arguments: Mapping[str, Any]) -> list[str]:
    """The names of the arguments for which a grant does not hold: without a limit, missing, hidden, or outside.

    Args:
        limits: What each argument may be.
        arguments: The arguments of a request.

    Returns:
        No name where every argument has a limit and is within it, and none is missing that must be there.
    """
    unnamed = [name for name in arguments if name not in limits]
    return unnamed + [name for name, limit in limits.items() if not _admits(limit, name, arguments)]


def _admits(limit: Limit, name: str, arguments: Mapping[str, Any]) -> bool:
    if isinstance(limit, AnyLimit):
        return True
    if name not in arguments:
        return False
    value = arguments[name]
    if isinstance(limit, EqualLimit):
        return not places_of(value, REDACTED) and canonical(value) == canonical(limit.equal)
    found, most = number(value), number(limit.at_most)
    least = number(limit.at_least)
    if found is None or most is None or (limit.at_least is not None and least is None):
        return False
    return found <= most and (least is None or found >= least)
