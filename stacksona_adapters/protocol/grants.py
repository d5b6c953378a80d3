"""A bounded grant: what a reviewer permits beyond one request, and how the gate lists it. Ours."""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Discriminator, Field, Tag, model_serializer

from stacksona_adapters.protocol.requests import Risk

MOST_USES = 1000
LONGEST_DAYS = 30

_Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True, allow_inf_nan=False)]


class EqualLimit(BaseModel):
    """The argument has exactly this value (the same canonical JSON)."""

    model_config = ConfigDict(extra="forbid")

    equal: Any

    def __str__(self) -> str:
        return f"exactly {json.dumps(self.equal, ensure_ascii=False)}"


class RangeLimit(BaseModel):
    """The argument is a number within bounds, both included."""

    model_config = ConfigDict(extra="forbid")

    at_most: _Number
    at_least: _Number | None = None

    @model_serializer
    def _plain(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        return f"at most {self.at_most}" if self.at_least is None else f"from {self.at_least} to {self.at_most}"


class AnyLimit(BaseModel):
    """The argument may have any value, or be missing."""

    model_config = ConfigDict(extra="forbid")

    any: Literal[True]

    def __str__(self) -> str:
        return "any value"


def _kind(value: Any) -> str | None:
    """By which of its names a limit is known, so that an error is about that kind alone."""
    if isinstance(value, BaseModel):
        return next(iter(type(value).model_fields))
    return next((name for name in ("equal", "at_most", "any") if isinstance(value, dict) and name in value), None)


Limit = Annotated[
    Annotated[EqualLimit, Tag("equal")] | Annotated[RangeLimit, Tag("at_most")] | Annotated[AnyLimit, Tag("any")],
    Discriminator(
        _kind,
        custom_error_type="limit",
        custom_error_message="A limit has equal, or at_most (with at_least, if you like), or any",
    ),
]
"""What one argument may be."""


class GrantRequest(BaseModel):
    """What a reviewer grants together with an approval; unknown fields are refused, so that none is overlooked.

    Attributes:
        limits: For each argument of the tool, by name, what it may be. An argument without a limit is not granted.
        max_uses: How many later requests it allows.
        until: When it ends: in the future, and at most 30 days ahead.
        lasts: Or for how many seconds it holds.
        risk: The risk that the reviewer saw; refused if the request's is another by now.
    """

    model_config = ConfigDict(extra="forbid")

    limits: dict[str, Limit]
    max_uses: int = Field(strict=True, ge=1, le=MOST_USES)
    until: AwareDatetime | None = None
    lasts: float | None = Field(default=None, gt=0, le=LONGEST_DAYS * 86400)
    risk: Risk | None = None


class GrantState(str, Enum):
    """Whether a grant counts: `live`; or not, because it is `used_up`, `expired`, `revoked`, or `suspended`.

    It is suspended while whoever made it may not decide such requests, or while two people must.
    """

    LIVE = "live"
    USED_UP = "used_up"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUSPENDED = "suspended"

    def __str__(self) -> str:
        return self.value


class Grant(BaseModel):
    """An entry of `GET /v1/grants`.

    Attributes:
        grant_id: `grant_...`.
        agent: The agent whose key asks.
        label: The name that its requests say.
        tool: The action's name.
        risk: The highest risk of a request that it allows.
        limits: What each argument may be.
        max_uses: How many requests it allows in all.
        used: How many it has allowed.
        until: When it ends.
        state: Whether it counts now.
        created_by: The reviewer who made it.
        created_at: When.
        decision_id: The request with whose approval it was made.
        revoked_at: When it was revoked.
        revoked_by: By whom.
    """

    model_config = ConfigDict(extra="ignore")

    grant_id: str
    agent: str
    label: str
    tool: str
    risk: Risk
    limits: dict[str, Limit]
    max_uses: int
    used: int
    until: datetime
    state: GrantState
    created_by: str
    created_at: datetime
    decision_id: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None


class GrantPage(BaseModel):
    """A page of grants, newest first; `next` is the cursor of the following page."""

    model_config = ConfigDict(extra="ignore")

    grants: list[Grant]
    next: str | None = None
