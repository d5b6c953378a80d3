"""How the command line writes: tables and lines for people, one JSON document for programs.

What an agent wrote goes to a terminal only through `clean`: it cannot move the cursor, recolour, reverse or hide text.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from pydantic_core import to_jsonable_python
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stacksona_adapters.errors import StacksonaError

WIDE = 200
"""Columns of a table that no terminal shows."""

# ECMA-48: a string (OSC, DCS, SOS, PM, APC) up to its end, a control sequence, or another escape.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class Failed(StacksonaError):
    """It could not be done; the text says why."""


def clean(value: object, *, lines: bool = False, limit: int | None = None) -> str:
    """Text that is safe to show in a terminal.

    Args:
        value: Anything; an agent may have written it.
        lines: Keep line breaks instead of making them spaces.
        limit: The longest result, in characters; a longer one ends in `…`.

    Returns:
        The text without escape sequences, control, invisible and direction-changing characters.
    """
    text = _ESCAPES.sub("", str(value))
    text = re.sub(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n", text)
    text = text if lines else re.sub(r"[\n\t ]+", " ", text).strip()
    shown = "".join(character for character in text.replace("\t", "    ") if _visible(character))
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def _visible(character: str) -> bool:
    return character in _JOINERS or character == "\n" or unicodedata.category(character) not in _HIDDEN


def console(*, stderr: bool = False) -> Console:
    """A console that never reads markup, emoji codes or numbers into what it prints."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(*texts: object) -> None:
    """Lines on standard output."""
    for text in texts:
        console().print(Text(clean(text, lines=True)))


def warn(*texts: object) -> None:
    """Lines on standard error."""
    for text in texts:
        console(stderr=True).print(Text(clean(text, lines=True)))


def say_json(value: Any) -> None:
    """One JSON document on standard output, in ASCII, so that it is safe in a terminal too."""
    print(json.dumps(to_jsonable_python(value), indent=2, ensure_ascii=True))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A table of data; a column whose name ends in `*` is never broken or cut.

    Args:
        columns: The heads.
        rows: The cells; `None` is empty, a `Text` keeps its style.
        title: A line above.
    """
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in columns:
        fixed = name.endswith("*")
        made.add_column(name.rstrip("*"), no_wrap=fixed, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, datetime):
        return Text(moment(value))
    return Text("" if value is None else clean(value))


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts, in the right number."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def moment(value: datetime | None) -> str:
    """A moment in the local time zone, to the second; empty for `None`."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def show_table(made: Table) -> None:
    """Print a table on standard output."""
    where = console()
    where.soft_wrap = False
    where.print(made)


def facts(values: Mapping[str, object]) -> None:
    """Print names and values, those without a value left out."""
    filled = {name: value for name, value in values.items() if value not in (None, "", [], {}, ())}
    width = max((len(name) for name in filled), default=0)
    for name, value in filled.items():
        shown = str(value) if isinstance(value, Enum) else _readable(value)
        first, *rest = clean(shown, lines=True).split("\n")
        say(f"{name:<{width}}  {first}", *(f"{'':<{width}}  {line}" for line in rest))


def _readable(value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, (dict, list)):
        return json.dumps(to_jsonable_python(value), indent=2, ensure_ascii=False)
    return str(value)
