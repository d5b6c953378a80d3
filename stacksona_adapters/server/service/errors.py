"""Why the gate does not do what it is asked. The API turns them into problem details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class Refusal(Exception):
    """The gate does not do it, and nothing was changed.

    Attributes:
        detail: Why, for the caller.
        facts: Further fields of the answer.
    """

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Malformed(Refusal):
    """The body is not JSON."""


class NotAuthenticated(Refusal):
    """No key, or one that the gate does not know."""


class NotPermitted(Refusal):
    """The caller is known and may not do this."""


class NotFound(Refusal):
    """There is no such thing, or it is another agent's."""


class Conflict(Refusal):
    """It was done or decided before."""


class Gone(Refusal):
    """Its time is over."""


class TooLarge(Refusal):
    """The body is over the limit."""


class TooMany(Refusal):
    """Too many calls.

    Attributes:
        wait: Seconds after which another one may succeed.
    """

    def __init__(self, detail: str, wait: int) -> None:
        super().__init__(detail)
        self.wait = wait


class Invalid(Refusal):
    """A field is wrong.

    Attributes:
        errors: One `(JSON pointer, what is wrong)` for each wrong field.
    """

    def __init__(self, detail: str, errors: list[tuple[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


def unusable(what: str, error: ValidationError) -> Invalid:
    """Something that an admin gives and that does not fit its model: each wrong field, and why."""
    wrong = [("/" + "/".join(map(str, e["loc"][:1])), e["msg"]) for e in error.errors(include_url=False)]
    said = "; ".join(f"{pointer[1:]}: {why}" for pointer, why in wrong)
    return Invalid(f"{what} cannot be used: {said}", wrong)


def invalid(pointer: str, detail: str) -> Invalid:
    """One wrong field."""
    return Invalid(f"{pointer or 'The body'}: {detail}", [(pointer, detail)])
