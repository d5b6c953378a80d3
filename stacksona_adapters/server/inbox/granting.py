"""The form in which a reviewer says which similar requests may run: a choice for each argument, how often, how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stacksona_adapters.protocol.grants import MOST_USES, GrantRequest
from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.inbox import display, editing
from stacksona_adapters.server.inbox.words import LASTS
from stacksona_adapters.server.service.errors import Invalid, invalid
from stacksona_adapters.server.service.pointers import join, places_of
from stacksona_adapters.server.service.rules import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from stacksona_adapters.protocol.reviews import ReviewDetail


@dataclass(frozen=True)
class Choice:
    """What the later requests may have in one argument.

    Attributes:
        name: The argument's name.
        number: Its place, by which the form names it.
        value: Its value in the request that is approved.
        chosen: `equal`, `at_most` or `any`; empty where the reviewer has to choose.
        counts: Whether it is a number or a sum of money, for which there are bounds.
        hidden: Whether the agent hid the value or a part of it.
        least: The lower bound.
        most: The upper bound.
        wrong: What is wrong with it.
    """

    name: str
    number: int
    value: Any
    chosen: str
    counts: bool
    hidden: bool
    least: str
    most: str
    wrong: str = ""


@dataclass(frozen=True)
class GrantForm:
    """The form.

    Attributes:
        choices: One for each argument.
        max_uses: How many requests.
        lasts: How long, in seconds.
        wrong: What is wrong and belongs to no argument.
    """

    choices: list[Choice]
    max_uses: str = "5"
    lasts: str = "86400"
    wrong: str = ""


def form(review: ReviewDetail) -> GrantForm:
    """The form as it is opened: exactly these values, five times, for a day."""
    values = review.arguments
    return GrantForm([_choice(place, name, values) for place, name in enumerate(values)])


def _choice(place: int, name: str, values: dict[str, Any]) -> Choice:
    value = values[name]
    hidden = bool(places_of(value, REDACTED))
    amount = number(value)
    counts = amount is not None and display.one(name, value, values).kind in ("money", "number", "date")
    text = str(value).strip() if counts else ""
    least = "0" if amount is not None and amount >= 0 else text
    return Choice(name, place, value, "" if hidden else "equal", counts, hidden, least if counts else "", text)


def entered(review: ReviewDetail, field: Callable[[str], str]) -> GrantForm:
    """The form as it was filled in, right or wrong.

    Args:
        review: The request.
        field: Gives a field of the form.
    """
    choices = [
        replace(
            each,
            chosen=field(f"limit.{each.number}"),
            least=field(f"least.{each.number}").strip(),
            most=field(f"most.{each.number}").strip(),
        )
        for each in form(review).choices
    ]
    return GrantForm(choices, field("max_uses").strip(), field("lasts"))


def wanted(review: ReviewDetail, filled: GrantForm, now: datetime) -> GrantRequest:
    """The grant that the form says.

    Raises:
        Invalid: With one entry for each field that cannot be read.
    """
    wrong: list[tuple[str, str]] = []
    limits: dict[str, Any] = {}
    for each in filled.choices:
        try:
            limits[each.name] = _limit(each)
        except ValueError as error:
            wrong.append((join(("grant", "limits", each.name)), str(error)))
    if not filled.max_uses.isascii() or not filled.max_uses.isdigit() or not 0 < int(filled.max_uses[:9]) <= MOST_USES:
        wrong.append(("/grant/max_uses", f"How many times: a number from 1 to {MOST_USES}."))
    if filled.lasts not in LASTS:
        wrong.append(("/grant/lasts", "Choose how long."))
    if wrong:
        raise Invalid("The grant cannot be read.", wrong)
    until = now + timedelta(seconds=int(filled.lasts))
    fields = {"limits": limits, "max_uses": int(filled.max_uses), "until": until, "risk": review.risk}
    try:
        return GrantRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid("/grant", "; ".join(each["msg"] for each in error.errors())) from error


def _limit(choice: Choice) -> dict[str, Any]:
    if choice.chosen == "any":
        return {"any": True}
    if choice.chosen == "equal":
        return {"equal": choice.value}
    if choice.chosen != "at_most":
        raise ValueError("Choose what it may be.")
    bounds = {"at_most": _bound(choice.most)}
    return bounds if not choice.least else {**bounds, "at_least": _bound(choice.least)}


def _bound(text: str) -> int | float:
    try:
        value = editing.parse(text)
    except ValueError:
        value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"Not a number: {text[:40] or 'empty'}.")
    return value


def placed(filled: GrantForm, error: Invalid) -> GrantForm:
    """The form with each error at its argument, and the rest above it."""
    errors = error.errors or [("", error.detail)]
    by = {join(("grant", "limits", each.name)): each.name for each in filled.choices}
    found = {by[pointer]: why for pointer, why in errors if pointer in by}
    rest = [why for pointer, why in errors if pointer not in by]
    choices = [replace(each, wrong=found.get(each.name, "")) for each in filled.choices]
    return replace(filled, choices=choices, wrong=" ".join(rest))
