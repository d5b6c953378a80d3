"""Checks edited arguments against the tool's JSON schema, which comes from the agent and is not trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.service.errors import Invalid
from stacksona_adapters.server.service.pointers import ABSENT, find, join, places_of

if TYPE_CHECKING:
    from stacksona_adapters.protocol.requests import GateRequest

_LONGEST_SCHEMA = 200_000
_MOST_STEPS = 20_000
_MOST_DEPTH = 50
_MOST_ERRORS = 20

_Check = Callable[[Any, Any, Any, Any], "Iterator[ValidationError] | None"]


class _TooMuch(Exception):
    """The schema is too long, or sends the check around for too long."""


class _Budget:
    """Bounds a check: how many keywords it looks at, and how deep it follows references."""

    def __init__(self) -> None:
        self._left = _MOST_STEPS
        self._depth = 0

    def checks(self) -> dict[str, _Check]:
        """Every keyword's check, within the budget."""
        known: dict[str, _Check] = {**Draft202012Validator.VALIDATORS, **_OWN}
        return {name: self._counted(check, deeper=name in ("$ref", "$dynamicRef")) for name, check in known.items()}

    def _counted(self, check: _Check, *, deeper: bool) -> _Check:
        def run(validator: Any, keyword: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            self._left -= 1
            self._depth += deeper
            if self._left < 0 or self._depth > _MOST_DEPTH:
                raise _TooMuch
            try:
                yield from check(validator, keyword, instance, schema) or ()
            finally:
                self._depth -= deeper

        return run


def _found(pattern: Any, text: str) -> bool:
    return re2.search(str(pattern), text) is not None


def _pattern(validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield ValidationError(f"{instance!r:.200} does not match {pattern!r:.200}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    patterns, known = schema.get("patternProperties", {}), schema.get("properties", {})
    for name, value in instance.items():
        if name in known or any(_found(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"{name!r:.200} is not a parameter of the tool")
        elif validator.is_type(allowed, "object"):
            yield from validator.descend(value, allowed, path=name)


_OWN: dict[str, _Check] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}


def check_edit(asked: GateRequest, edited: dict[str, Any]) -> None:
    """Check edited arguments.

    Raises:
        Invalid: If they do not fit the tool's schema, or lose or move a value that was hidden from the gate.
    """
    wrong = _misplaced(asked, edited)
    if wrong:
        raise Invalid("The edited arguments lose a value that is hidden from the gate.", wrong)
    if asked.arguments_schema is not None:
        hidden = {pointer for pointer in asked.redacted if find(edited, pointer) == REDACTED}
        errors = [(p, why) for p, why in _schema_errors(asked.arguments_schema, edited) if p not in hidden]
        if errors:
            shown = [("/arguments" + pointer, why) for pointer, why in errors[:_MOST_ERRORS]]
            raise Invalid("The edited arguments do not fit the tool's schema.", shown)


def _misplaced(asked: GateRequest, edited: dict[str, Any]) -> list[tuple[str, str]]:
    here = set(asked.redacted)
    moved = [place for place in places_of(edited, REDACTED) if place not in here]
    gone = [place for place in asked.redacted if find(edited, place) is ABSENT]
    wrong = [("/arguments" + place, f"{REDACTED!r} stands for a hidden value of another place") for place in moved]
    return wrong + [("/arguments" + place, f"leave {REDACTED!r} here, or replace it") for place in gone]


def _schema_errors(schema: dict[str, Any], edited: dict[str, Any]) -> list[tuple[str, str]]:
    # An empty registry: nothing is fetched, whatever the schema refers to.
    checking = extend(Draft202012Validator, _Budget().checks())  # type: ignore[no-untyped-call]
    validator = checking(schema, registry=Registry())
    try:
        if len(json.dumps(schema)) > _LONGEST_SCHEMA:
            raise _TooMuch
        Draft202012Validator.check_schema(schema)
        found = [(join(error.absolute_path), error.message[:500]) for error in validator.iter_errors(edited)]
    except (SchemaError, Unresolvable, re2.error, _TooMuch, RecursionError, TypeError, ValueError) as error:
        raise _unusable(error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the Rust in `rpds`, where it meets the recursion limit
            raise
        raise _unusable(error) from error
    return found


def _unusable(error: BaseException) -> Invalid:
    why = f"the tool's schema cannot be used ({type(error).__name__}); approve without changes, or send it back"
    return Invalid(f"The edited arguments cannot be checked: {why}.", [("/arguments", why)])
