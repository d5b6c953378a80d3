"""The form in which a reviewer changes arguments: one field each, or all as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.inbox.display import as_json
from stacksona_adapters.server.service.errors import Invalid, invalid
from stacksona_adapters.server.service.pointers import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stacksona_adapters.protocol.reviews import ReviewDetail

MOST_FIELDS = 40
"""With more arguments than this they are edited as JSON only."""

LONGEST = 200_000
"""Arguments whose JSON is longer than this cannot be edited on the page."""


@dataclass(frozen=True)
class Field:
    """One argument in the form.

    Attributes:
        name: The argument's name.
        number: Its place, by which the form names it.
        kind: `text`, `long`, `number`, `bool`, `choice` or `json`.
        value: What the field holds.
        help: What the tool's schema says of it.
        options: What can be chosen.
        hidden: Whether the agent hid the value.
        wrong: What is wrong with it.
    """

    name: str
    number: int
    kind: str
    value: str
    help: str = ""
    options: tuple[str, ...] = ()
    hidden: bool = False
    wrong: str = ""


def editable(review: ReviewDetail) -> bool:
    """Whether the arguments can be edited on the page at all."""
    return len(json.dumps(review.arguments)) <= LONGEST


def fields(review: ReviewDetail, given: dict[str, Any] | None = None) -> list[Field]:
    """The form's fields; none where there are too many arguments.

    Args:
        review: The request.
        given: Arguments to fill in instead of the request's own.
    """
    if len(review.arguments) > MOST_FIELDS:
        return []
    filled = review.arguments if given is None else given
    properties = (review.arguments_schema or {}).get("properties")
    schemas = properties if isinstance(properties, dict) else {}
    return [
        _field(place, name, value, filled.get(name, value), schemas.get(name))
        for place, (name, value) in enumerate(review.arguments.items())
    ]


def _field(place: int, name: str, value: Any, filled: Any, schema: Any) -> Field:
    about = schema if isinstance(schema, dict) else {}
    said = about.get("description")
    options = about.get("enum")
    plain = isinstance(value, str) and isinstance(filled, str)
    choices = tuple(options) if isinstance(options, list) and all(isinstance(o, str) for o in options) else ()
    if plain and choices and filled in choices:
        return Field(name, place, "choice", filled, str(said or ""), choices)
    kind = _kind(value) if plain or not isinstance(value, str) else "json"
    written = filled if kind in ("text", "long") else as_json(filled)
    return Field(name, place, kind, written, str(said or "")[:300], hidden=value == REDACTED)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "long" if len(value) > 80 or "\n" in value else "text"
    return "json"


def read_fields(review: ReviewDetail, field: Callable[[str], str]) -> dict[str, Any]:
    """The arguments that the form's fields say.

    Args:
        review: The request.
        field: Gives a field of the form.

    Raises:
        Invalid: With one entry for each field that cannot be read.
    """
    wrong: list[tuple[str, str]] = []
    edited: dict[str, Any] = {}
    for each in fields(review):
        entered = field(f"arg.{each.number}")
        try:
            edited[each.name] = _read(each, entered, review.arguments[each.name])
        except ValueError:
            what = "a number" if each.kind == "number" else "JSON"
            wrong.append((join(("arguments", each.name)), f"is not {what}: {entered[:80]}"))
    if wrong:
        raise Invalid("A field cannot be read.", wrong)
    return edited


def _read(field: Field, entered: str, original: Any) -> Any:
    if field.kind in ("text", "long", "choice"):
        same = isinstance(original, str) and entered == original.replace("\r\n", "\n")
        return original if same else entered
    value = parse(entered)
    if field.kind == "number" and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(entered)
    return value


def parse(text: str) -> Any:
    """A JSON value, which NaN and Infinity are not.

    Raises:
        ValueError: If it is none.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_json(text: str) -> dict[str, Any]:
    """The arguments in the JSON editor.

    Raises:
        Invalid: If it is no JSON object.
    """
    try:
        value = parse(text)
    except ValueError as error:
        raise invalid("/arguments", f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise invalid("/arguments", "must be a JSON object: { ... }")
    return value


def placed(form: list[Field], errors: Iterable[tuple[str, str]]) -> tuple[list[Field], list[str]]:
    """The form with each error at its field, and the errors that belong to no field."""
    rest: list[str] = []
    by: dict[str, list[str]] = {}
    names = {join(("arguments", each.name)): each.name for each in form}
    for pointer, why in errors:
        owner = next((n for p, n in names.items() if pointer == p or pointer.startswith(p + "/")), None)
        if owner is None:
            rest.append(f"{pointer.removeprefix('/arguments') or 'arguments'}: {why}")
        else:
            inner = pointer.removeprefix(join(("arguments", owner)))
            by.setdefault(owner, []).append(f"{inner} {why}".strip())
    return [replace(each, wrong="; ".join(by.get(each.name, []))) for each in form], rest
