"""Text that others wrote, made safe to look at: escaped, isolated, with what is invisible made visible."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta

from markupsafe import Markup, escape

_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_UNUSUAL = re.compile(r"([^\x20-\x7e\n\t]+)")
_MOST_MARKS = 4
_LONG = 1200


def _named(char: str) -> Markup:
    point = f"U+{ord(char):04X}"
    name = unicodedata.name(char, "control character")
    return Markup('<span class="ctl" title="{}">{}</span>').format(name.lower(), point)


def visible(text: str) -> Markup:
    """Escape a text; control, format and bidirectional characters become their code points.

    Args:
        text: Anything; line breaks and tabs stay.
    """
    pieces = _UNUSUAL.split(text.replace("\r\n", "\n"))
    return Markup("").join(_shown(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces))


def _shown(piece: str) -> Markup:
    """A piece that needs a look at each character."""
    parts: list[Markup] = []
    marks = 0
    for char in piece:
        marks = marks + 1 if unicodedata.combining(char) else 0
        odd = marks > _MOST_MARKS or unicodedata.category(char) in _INVISIBLE
        parts.append(_named(char) if odd else escape(char))
    return Markup("").join(parts)


def foreign(text: object, limit: int | None = None) -> Markup:
    """Somebody else's text, isolated so that it cannot turn round what stands beside it.

    Args:
        text: The text.
        limit: How many characters are shown at most; the rest is cut off with a mark.
    """
    whole = str(text)
    cut = limit is not None and len(whole) > limit
    shown = visible(whole[:limit] if cut else whole)
    return Markup("<bdi>{}{}</bdi>").format(shown, Markup('<span class="cut">…</span>') if cut else "")


def long_text(text: str) -> tuple[Markup, Markup | None]:
    """The beginning of a text and, where it is long, the rest, which the page folds away."""
    if len(text) <= _LONG:
        return visible(text), None
    edge = text.rfind(" ", _LONG - 200, _LONG)
    edge = edge if edge > 0 else _LONG
    return visible(text[:edge]), visible(text[edge:])


_STEPS = ((60, 1, "s"), (3600, 60, "min"), (2 * 86400, 3600, "h"), (10**12, 86400, "d"))


def span(length: timedelta) -> str:
    """A length of time in one unit: `40 s`, `12 min`, `5 h`, `3 d`."""
    seconds = max(0, int(length.total_seconds()))
    for below, unit, name in _STEPS:
        if seconds < below:
            return f"{seconds // unit} {name}"
    return "ages"


def lasting(seconds: float) -> str:
    """A length of time to the two largest units: `42 s`, `2 min 29 s`, `1 h 24 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next(place for place, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number:,} {name}" for number, name in parts[first : first + 2] if number)


def plain(text: str, limit: int = 60) -> str:
    """Somebody else's text on one line and without markup, for where there can be none: what is invisible is named."""
    shown = " ".join(visible(text[: limit + 1]).striptags().split())
    return shown if len(text) <= limit and len(shown) <= limit else f"{shown[:limit]}…"


def moment(at: datetime) -> str:
    """A moment, in words and in UTC."""
    return at.strftime("%a %d %b %Y, %H:%M:%S UTC")


def time_tag(at: datetime | None, now: datetime, *, ahead: bool = False) -> Markup:
    """A moment relative to now, with the exact one as its title.

    Args:
        at: The moment.
        now: The gate's present.
        ahead: Whether it lies ahead: `in 5 min` instead of `5 min ago`.
    """
    if at is None:
        return Markup("")
    words = f"in {span(at - now)}" if ahead and at > now else "over" if ahead else f"{span(now - at)} ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), moment(at), words)
