"""Tool rules: what an agent's call may do without a person, and what never (wire contract, section 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import re2
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import delete, insert, select

from stacksona_adapters.protocol.chain import canonical_value
from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.service import journal
from stacksona_adapters.server.service.errors import Invalid, NotFound, invalid, unusable
from stacksona_adapters.server.service.records import canonical
from stacksona_adapters.server.service.tokens import new_id
from stacksona_adapters.server.store.tables import rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stacksona_adapters.server.service.context import Read, Write

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MEMORY = "rules"


class RuleOutcome(str, Enum):
    """What a rule does with a call that it matches."""

    ALLOW = "allow"
    REVIEW = "review"
    REJECT = "reject"

    def __str__(self) -> str:
        return self.value


_PRECEDENCE = [RuleOutcome.ALLOW, RuleOutcome.REVIEW, RuleOutcome.REJECT]


class NewRule(BaseModel):
    """A rule to add.

    Attributes:
        agent: An agent's name (of its key, or as its requests say), or `*`.
        tool: The action's name, or `*`.
        parameter: A dotted path into the arguments; list items by number.
        type: `upper_limit` matches a number above `value`, `lower_limit` one below it, `between` one from `value` to
            `value2`; `contains` a text with `value` in it or a list that has it; `regex` a text in which RE2 finds it.
        value: A number for the limits, else a text.
        value2: The upper end of `between`.
        outcome: `allow`, `review` or `reject`; reject beats review beats allow, and no match means review.
    """

    model_config = ConfigDict(extra="forbid")

    agent: str = Field(default="*", min_length=1, max_length=200)
    tool: str = Field(min_length=1, max_length=200)
    parameter: str = Field(min_length=1, max_length=500)
    type: Literal["upper_limit", "lower_limit", "between", "contains", "regex"]
    value: bool | int | float | str
    value2: int | float | str | None = None
    outcome: RuleOutcome


@dataclass(frozen=True)
class Rule:
    """A rule that the gate keeps; the attributes are those of `NewRule`."""

    id: str
    agent: str
    tool: str
    parameter: str
    type: str
    value: Any
    value2: Any
    outcome: RuleOutcome

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "outcome": self.outcome.value}


@dataclass(frozen=True)
class Call:
    """What rules look at.

    Attributes:
        agents: The names of the agent: its key's, and the one that its request says.
        tool: The action's name.
        arguments: The action's arguments.
        posing: Whether the request says another known agent's name, whose rules that allow it then does not get.
    """

    agents: tuple[str, ...]
    tool: str
    arguments: Mapping[str, Any]
    posing: bool = False


def number(value: Any) -> Decimal | None:
    """A real number, or a text that is one in plain notation; anything else is `None`. A bool is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if len(text) > 400 or not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


_MISSING = object()


def resolve(arguments: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or a mark that there is none; what is inside of a hidden value is hidden."""
    value: Any = arguments
    for part in path.split("."):
        if value == REDACTED:
            break
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 9 and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _matches(rule: Rule, value: Any) -> bool | None:
    """Whether the value matches; `None` where it cannot be compared."""
    if value == REDACTED:
        return None
    if rule.type in ("upper_limit", "lower_limit", "between"):
        return _within(rule, number(value))
    if rule.type == "contains":
        if isinstance(value, str):
            return str(rule.value) in value
        return _has(value, rule.value) if isinstance(value, list) else None
    return re2.search(str(rule.value), value) is not None if isinstance(value, str) else None


def _has(items: list[Any], wanted: Any) -> bool | None:
    if any(type(item) is type(wanted) and item == wanted for item in items):
        return True
    return None if REDACTED in items else False


def _within(rule: Rule, value: Decimal | None) -> bool | None:
    low = number(rule.value)
    if value is None or low is None:
        return None
    if rule.type == "upper_limit":
        return value > low
    if rule.type == "lower_limit":
        return value < low
    high = number(rule.value2)
    return None if high is None else low <= value <= high


def verdict(rule: Rule, call: Call) -> RuleOutcome | None:
    """What one rule says of a call; `None` where it does not match.

    A parameter that is there and cannot be compared does not satisfy a rule that allows, and makes a person look
    where a rule would review or reject.
    """
    names = call.agents[:1] if call.posing and rule.outcome is RuleOutcome.ALLOW else call.agents
    if rule.agent not in ("*", *names) or rule.tool not in ("*", call.tool):
        return None
    value = resolve(call.arguments, rule.parameter)
    if value is _MISSING:
        return None
    matched = _matches(rule, value)
    if matched is None:
        return None if rule.outcome is RuleOutcome.ALLOW else RuleOutcome.REVIEW
    return rule.outcome if matched else None


def judge(known: Iterable[Rule], call: Call) -> tuple[RuleOutcome, Rule | None]:
    """The strictest outcome of the rules that match, and the rule that it comes from; review where none matches."""
    said = [(outcome, rule) for rule in known if (outcome := verdict(rule, call)) is not None]
    if not said:
        return RuleOutcome.REVIEW, None
    return max(said, key=lambda pair: _PRECEDENCE.index(pair[0]))


def list_rules(read: Read) -> list[Rule]:
    """Every rule, oldest first."""
    rows = read.connection.execute(select(rules).order_by(rules.c.number))
    return [
        Rule(
            id=row.id,
            agent=row.agent,
            tool=row.tool,
            parameter=row.parameter,
            type=row.type,
            value=canonical_value(row.value),
            value2=canonical_value(row.value2) if row.value2 is not None else None,
            outcome=RuleOutcome(row.outcome),
        )
        for row in rows
    ]


def remembered(write: Write) -> list[Rule]:
    """The rules, read once per transaction."""
    known: list[Rule] | None = write.memory.get(_MEMORY)
    if known is None:
        known = write.memory[_MEMORY] = list_rules(write)
    return known


def checked(fields: Mapping[str, Any]) -> NewRule:
    """A rule out of untrusted fields.

    Raises:
        Invalid: For a missing, unknown or wrong field.
    """
    try:
        rule = NewRule.model_validate(dict(fields))
    except ValidationError as error:
        raise unusable("The rule", error) from error
    _check_value(rule)
    return rule


def _check_value(rule: NewRule) -> None:
    if rule.type in ("upper_limit", "lower_limit", "between"):
        ends = [("/value", rule.value)] + ([("/value2", rule.value2)] if rule.type == "between" else [])
        for pointer, value in ends:
            if number(value) is None:
                raise invalid(pointer, f"must be a number for {rule.type}")
        low, high = number(rule.value), number(rule.value2)
        if rule.type == "between" and low is not None and high is not None and low > high:
            raise invalid("/value2", "must not be below value")
    if rule.type == "regex":
        try:
            re2.compile(str(rule.value))
        except re2.error as error:
            raise invalid("/value", f"is not a regular expression of RE2: {error}") from error
    if rule.type != "between" and rule.value2 is not None:
        raise invalid("/value2", f"has no meaning for {rule.type}")


def add(write: Write, fields: Mapping[str, Any], *, by: str) -> Rule:
    """Add a rule.

    Raises:
        Invalid: If it cannot be used.
    """
    rule = checked(fields)
    row = {**rule.model_dump(mode="json"), "id": new_id("rule"), "created_at": write.now}
    kept = {
        **row,
        "value": canonical(row["value"]),
        "value2": canonical(row["value2"]) if row["value2"] is not None else None,
    }
    write.connection.execute(insert(rules), kept)
    write.memory.pop(_MEMORY, None)
    made = Rule(**{name: row[name] for name in Rule.__annotations__ if name != "outcome"}, outcome=rule.outcome)
    journal.record(write, by, "rule.added", {"rule": made.as_dict()})
    return made


def load(write: Write, listed: Sequence[Mapping[str, Any]], *, replace: bool, by: str) -> list[Rule]:
    """Add several rules, all or none.

    Args:
        write: The transaction.
        listed: The fields of each rule.
        replace: Whether the rules that are there go first.
        by: Who loads them.

    Raises:
        Invalid: If one cannot be used; the text says which.
    """
    for rule in list_rules(write) if replace else []:
        remove(write, rule.id, by=by)
    added = []
    for position, fields in enumerate(listed, 1):
        try:
            added.append(add(write, fields, by=by))
        except Invalid as error:
            raise Invalid(f"Rule {position}: {error.detail}", error.errors) from error
    return added


def remove(write: Write, rule_id: str, *, by: str) -> None:
    """Remove a rule.

    Raises:
        NotFound: If there is none with that id.
    """
    gone = next((rule for rule in list_rules(write) if rule.id == rule_id), None)
    if gone is None:
        raise NotFound(f"There is no rule {rule_id!r}.")
    write.connection.execute(delete(rules).where(rules.c.id == rule_id))
    journal.record(write, by, "rule.removed", {"rule": gone.as_dict()})
    write.memory.pop(_MEMORY, None)
