"""The level of an action, and why: the user's word first, then the user's mapping or function, then the verb."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stacksona_adapters.errors import InvalidAction
from stacksona_adapters.protocol.requests import Risk

CRITICAL_VERBS = frozenset({"drop", "wipe", "purge", "destroy", "terminate", "shutdown", "format", "truncate", "nuke"})
HIGH_VERBS = frozenset(
    """delete remove refund pay transfer wire charge payout withdraw deploy release rollback execute exec run shell
    grant revoke approve publish merge sign buy sell trade order purchase cancel disable ban reset rotate""".split()  # noqa: SIM905
)
MEDIUM_VERBS = frozenset(
    """send post write update create insert add edit set put patch upload move rename reply comment message email
    notify book schedule assign invite submit issue import sync""".split()  # noqa: SIM905
)
LOW_VERBS = frozenset(
    """get list read search find fetch lookup look query view show describe count check summarize summarise
    calculate compute retrieve browse explain translate validate preview""".split()  # noqa: SIM905
)
_LEVELS = (
    (Risk.CRITICAL, CRITICAL_VERBS),
    (Risk.HIGH, HIGH_VERBS),
    (Risk.MEDIUM, MEDIUM_VERBS),
    (Risk.LOW, LOW_VERBS),
)

RiskPolicy = Mapping[str, "Risk | str"] | Callable[[str, Mapping[str, Any]], "Risk | str | None"]
"""A mapping of action names to levels, or a function of name and arguments (None: not mine to say)."""


class RiskLevel(NamedTuple):
    """A level and the reason that the reviewer reads."""

    level: Risk
    reason: str


def read_risk(value: Risk | str, where: str) -> Risk:
    """A level from its word.

    Raises:
        InvalidAction: If it is none of low, medium, high, critical.
    """
    try:
        return Risk(value)
    except ValueError:
        raise InvalidAction(
            f"{where} says {value!r:.80}, which is no risk; use low, medium, high or critical. Nothing ran."
        ) from None


def classify(name: str, arguments: Mapping[str, Any], policy: RiskPolicy | None = None) -> RiskLevel:
    """The risk of an action whose caller gave none.

    Args:
        name: The action's name.
        arguments: Its arguments.
        policy: The user's mapping or function.

    Returns:
        The policy's level, else the highest level of a verb in the name, else medium.

    Raises:
        InvalidAction: If the policy gives a word that is no level.
    """
    given = policy(name, arguments) if callable(policy) else (policy or {}).get(name)
    if given is not None:
        return RiskLevel(read_risk(given, "the risk policy"), "set by the risk policy")
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    for level, verbs in _LEVELS:
        verb = next((word for word in words if word in verbs), None)
        if verb is not None:
            return RiskLevel(level, f"the name says {verb!r}")
    return RiskLevel(Risk.MEDIUM, "nothing is known of this action")
