"""Arguments as a readable form: money, dates, e-mails, code and diffs are shown as what they are.

Nothing is guessed away: where a value is shown in other words, its exact text stands beside it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.inbox.diffs import Line, looks_like_diff, read_diff

_DEEPEST = 5
_MOST_ITEMS = 60
_MOST_COLUMNS = 8
_LONGEST_INLINE = 200_000

_MONEY = re.compile(
    r"(^|_)(amount|price|total|subtotal|sum|cost|fee|refund|balance|payment|salary|budget|charge|discount|tax)"
    r"(_(?P<tail>[a-z]{3,5}))?$"
)
_CURRENCY_NAMES = ("currency", "currency_code", "iso_currency")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_CENTS = ("cents", "cent", "minor", "pence")
_WHEN_NAME = re.compile(r"(^|_)(at|on|time|timestamp|date|datetime|deadline|until|expires|since|from|to|start|end)$")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?")
_EMAIL_ADDRESS = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,200}\.[^\s@<>.]{2,}")
_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_CODE_NAMES = re.compile(r"(^|_)(code|script|sql|query|command|cmd|shell|bash|python|program|snippet|statement|regex)$")
_CODE_STARTS = (
    *("def ", "class ", "import ", "from ", "async def ", "function ", "const ", "let ", "var ", "public ", "#include"),
    *("#!/", "SELECT ", "INSERT ", "UPDATE ", "DELETE ", "DROP ", "ALTER ", "CREATE ", "return ", "if (", "for (", "}"),
)
_CODE_ENDS = (";", "{", "}", "):", "else:", "try:")
_BODY_NAMES = ("body", "message", "text", "html", "content")
_TO_NAMES = ("to", "recipient", "recipients", "email", "to_address", "to_email")
_HEAD_NAMES = ("from", "sender", "from_address", *_TO_NAMES, "cc", "bcc", "reply_to", "subject")


@dataclass(frozen=True)
class Shown:
    """One value for the page.

    Attributes:
        kind: Which part of the template shows it.
        text: Its text in words.
        exact: The exact value, where `text` is in other words.
        items: The parts of a list; `(name, value)` of a table of fields; rows of a table.
        columns: The names above a table's columns.
        lines: The lines of a diff.
        more: How many parts are not shown.
    """

    kind: str
    text: str = ""
    exact: str = ""
    items: list[Any] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    more: int = 0


def arguments(values: dict[str, Any]) -> Shown:
    """The arguments of a call."""
    return _fields(values, 0)


def one(name: str, value: Any, beside: dict[str, Any]) -> Shown:
    """One value.

    Args:
        name: Its name, which hints at what it is.
        value: The value.
        beside: The object that it is part of, for the currency of an amount.
    """
    return _value(name, value, beside, 0)


def as_json(value: Any) -> str:
    """A value as indented JSON, with every character as it is."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def label(name: str) -> str:
    """A parameter's name in words: `order_id` is `Order id`, `refundTotal` is `Refund total`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " ").replace("-", " ")).strip()
    return words[:1].upper() + words[1:].lower() if words.isascii() and words else name


def _fields(values: dict[str, Any], depth: int) -> Shown:
    mail = _mail(values, depth)
    shown = [(name, _value(name, value, values, depth)) for name, value in list(values.items())[:_MOST_ITEMS]]
    if mail is None:
        return Shown("fields", items=shown, more=max(0, len(values) - _MOST_ITEMS))
    rest = [(name, part) for name, part in shown if name not in mail.columns]
    more = max(0, len(values) - _MOST_ITEMS)
    return Shown("both", items=[mail, Shown("fields", items=rest, more=more)]) if rest else mail


def _value(name: str, value: Any, beside: dict[str, Any], depth: int) -> Shown:
    if value is None:
        return Shown("none", "none")
    if isinstance(value, bool):
        return Shown("bool", "Yes" if value else "No", exact=json.dumps(value))
    if isinstance(value, (int, float)):
        return _number(name, value, beside)
    if isinstance(value, str):
        return _text(name, value, beside)
    if depth >= _DEEPEST:
        return Shown("code", as_json(value)[:_LONGEST_INLINE])
    if isinstance(value, dict):
        return _fields(value, depth + 1) if value else Shown("none", "empty")
    return _list(name, value, beside, depth + 1)


def _number(name: str, value: float, beside: dict[str, Any]) -> Shown:
    money = _money(name, str(value), beside)
    if money is not None:
        return money
    if isinstance(value, int) and _WHEN_NAME.search(_snake(name)) and 10**9 <= value < 4 * 10**9:
        at = datetime.fromtimestamp(value, timezone.utc)
        return Shown("date", at.strftime("%a %d %b %Y, %H:%M:%S UTC"), exact=str(value))
    return Shown("number", _grouped(str(value)), exact=json.dumps(value))


def _text(name: str, value: str, beside: dict[str, Any]) -> Shown:
    if value == REDACTED:
        return Shown("hidden")
    if not value:
        return Shown("none", "empty text")
    money = _money(name, value, beside)
    if money is not None:
        return money
    at = _moment(value)
    if at is not None:
        return Shown("date", at, exact=value)
    if looks_like_diff(value):
        return Shown("diff", lines=read_diff(value[:_LONGEST_INLINE]))
    if _CODE_NAMES.search(_snake(name)) or _is_code(value):
        return Shown("code", value)
    if _EMAIL_ADDRESS.fullmatch(value) or _URL.fullmatch(value):
        return Shown("address", value)
    return Shown("long" if len(value) > 90 or "\n" in value else "text", value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")


def _is_code(value: str) -> bool:
    lines = [line.strip() for line in value[:5000].splitlines() if line.strip()]
    code = sum(line.startswith(_CODE_STARTS) or line.endswith(_CODE_ENDS) for line in lines)
    return len(lines) >= 3 and code * 2 >= len(lines)


def _money(name: str, text: str, beside: dict[str, Any]) -> Shown | None:
    matched = _MONEY.search(_snake(name))
    if matched is None or not re.fullmatch(r"-?\d{1,30}(\.\d{1,10})?", text):
        return None
    tail = matched.group("tail") or ""
    currency = tail.upper() if len(tail) == 3 else ""
    for other, value in beside.items():
        if _snake(other) in _CURRENCY_NAMES and isinstance(value, str) and _CURRENCY.fullmatch(value):
            currency = value.upper()
    amount = Decimal(text)
    if tail in _CENTS:
        amount = amount.scaleb(-2)
    elif tail and not currency:
        return None
    places = max(2, -int(amount.as_tuple().exponent)) if text.count(".") or tail in _CENTS else 2
    words = f"{amount:,.{places}f} {currency}".strip()
    return Shown("money", words, exact=text if amount != Decimal(text) else "")


def _grouped(text: str) -> str:
    whole, dot, rest = text.partition(".")
    digits = whole.lstrip("-")
    if not digits.isdigit() or len(digits) < 5 or len(digits) > 40:
        return text
    return f"{'-' * whole.startswith('-')}{int(digits):,}{dot}{rest}"


def _moment(value: str) -> str | None:
    if not _ISO.fullmatch(value):
        return None
    try:
        if len(value) == 10:
            return date.fromisoformat(value).strftime("%a %d %b %Y")
        at = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    zone = f" {at.tzname()}" if at.tzinfo is not None else " (no time zone)"
    return at.strftime("%a %d %b %Y, %H:%M:%S") + zone


def _list(name: str, values: list[Any], beside: dict[str, Any], depth: int) -> Shown:
    if not values:
        return Shown("none", "empty list")
    table = _table(values, depth)
    if table is not None:
        return table
    shown = [_value(name, value, beside, depth) for value in values[:_MOST_ITEMS]]
    return Shown("list", items=shown, more=max(0, len(values) - _MOST_ITEMS))


def _table(values: list[Any], depth: int) -> Shown | None:
    rows = [value for value in values[:_MOST_ITEMS] if isinstance(value, dict)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    simple = all(not isinstance(part, (dict, list)) for row in rows for part in row.values())
    if len(rows) < 2 or len(rows) != len(values[:_MOST_ITEMS]) or not 0 < len(columns) <= _MOST_COLUMNS or not simple:
        return None
    cells = [
        [_value(name, row[name], row, depth) if name in row else Shown("none", "") for name in columns] for row in rows
    ]
    return Shown("table", columns=columns, items=cells, more=max(0, len(values) - _MOST_ITEMS))


def _mail(values: dict[str, Any], depth: int) -> Shown | None:
    by = {_snake(name): name for name in values}
    body = next((by[name] for name in _BODY_NAMES if name in by), None)
    to = next((by[name] for name in _TO_NAMES if name in by), None)
    if depth > 1 or body is None or to is None or not _addresses(values[to]):
        return None
    if not isinstance(values[body], str) or values[body] == REDACTED:
        return None
    head = [by[name] for name in _HEAD_NAMES if name in by and (name != "email" or by[name] == to)]
    items = [(name, _value(name, values[name], values, _DEEPEST)) for name in head]
    return Shown("mail", items=items, columns=[*head, body], exact=values[body])


def _addresses(value: Any) -> bool:
    listed = value if isinstance(value, list) else str(value).split(",")
    return bool(listed) and all(isinstance(each, str) and "@" in each for each in listed)
