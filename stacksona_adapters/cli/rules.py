"""`stacksona rules ...`: what agents may do without a person, and what never."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacksona_adapters.cli.database import opened
from stacksona_adapters.cli.options import AsJson, Db
from stacksona_adapters.cli.output import Failed, counted, say, say_json, show_table, table

if TYPE_CHECKING:
    from stacksona_adapters.server.service.rules import Rule

app = typer.Typer(
    no_args_is_help=True,
    help="Rules: reject beats review beats allow; where none matches, a person decides.",
)


class RuleType(str, Enum):
    """The five types."""

    UPPER_LIMIT = "upper_limit"
    LOWER_LIMIT = "lower_limit"
    BETWEEN = "between"
    CONTAINS = "contains"
    REGEX = "regex"


class Outcome(str, Enum):
    """The three outcomes."""

    ALLOW = "allow"
    REVIEW = "review"
    REJECT = "reject"


_OF_NUMBERS = (RuleType.UPPER_LIMIT, RuleType.LOWER_LIMIT, RuleType.BETWEEN)


@app.command("list")
def list_rules(db: Db = None, as_json: AsJson = False) -> None:
    """List the rules, oldest first."""
    with opened(db) as service:
        found = service.list_rules()
    if as_json:
        say_json({"rules": [rule.as_dict() for rule in found]})
    elif not found:
        say("No rules: a person decides everything.")
    else:
        columns = ("ID*", "Agent", "Tool", "Parameter", "Type*", "Value", "Outcome*")
        show_table(table(columns, [_row(rule) for rule in found]))


def _row(rule: Rule) -> tuple[object, ...]:
    value = rule.value if rule.value2 is None else f"{rule.value} to {rule.value2}"
    return (rule.id, rule.agent, rule.tool, rule.parameter, rule.type, value, rule.outcome)


@app.command()
def add(
    tool: Annotated[str, typer.Option("--tool", help="The action's name, or * for all.")],
    parameter: Annotated[str, typer.Option("--parameter", help="Which argument; a dotted path goes deeper.")],
    kind: Annotated[
        RuleType, typer.Option("--type", help="upper_limit matches a number above the value, lower_limit one below it.")
    ],
    value: Annotated[str, typer.Option("--value", help="The limit or text; for between, the lower end.")],
    outcome: Annotated[Outcome, typer.Option("--outcome", help="What happens to an action that matches.")],
    value2: Annotated[
        str | None, typer.Option("--value2", help="For between, the upper end.", show_default=False)
    ] = None,
    agent: Annotated[str, typer.Option("--agent", help="The agent's name, or * for all.")] = "*",
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Add a rule; it holds for the next request."""
    if (value2 is not None) != (kind is RuleType.BETWEEN):
        raise typer.BadParameter("between needs it, and no other type takes it", param_hint="--value2")
    given = [value] if value2 is None else [value, value2]
    read = [_number(text) for text in given] if kind in _OF_NUMBERS else given
    fields: dict[str, Any] = {"agent": agent, "tool": tool, "parameter": parameter, "type": kind.value}
    fields |= {"value": read[0], "outcome": outcome.value}
    fields |= {"value2": read[1]} if len(read) == 2 else {}
    with opened(db, create=True) as service:
        made = service.add_rule(**fields)
    if as_json:
        say_json(made.as_dict())
    else:
        say(f"Added {made.id}.")


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number", param_hint="--value") from None


@app.command()
def remove(
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="As `rules list` has it.")], db: Db = None
) -> None:
    """Remove a rule."""
    with opened(db) as service:
        service.remove_rule(rule_id)
    say(f"Removed {rule_id}.")


@app.command()
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="One [[rule]] table for each rule.")],
    replace: Annotated[bool, typer.Option("--replace", help="Remove all present rules first.")] = False,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Load rules from a TOML file: all of them or, where one is wrong, none."""
    from stacksona_adapters.server.service import rules_file

    with opened(db, create=True) as service:
        try:
            listed = rules_file.read(file)
        except OSError as error:
            raise Failed(f"{file} cannot be read: {error.strerror or error}.") from error
        made = service.load_rules(listed, replace=replace)
    if as_json:
        say_json({"rules": [rule.as_dict() for rule in made]})
    else:
        say(f"Loaded {counted(len(made), 'rule')} from {file}.")
