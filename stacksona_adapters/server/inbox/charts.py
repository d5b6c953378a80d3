"""Charts as SVG that a page carries in itself: bars, stacked bars and lines, with neither script nor inline style.

Places across are in per cent and heights in pixels: a chart is as wide as its place and its text stays as large as the
page's. The names of the axis stand to the left of the drawing, where the style sheet leaves room for them. Colours are
those of the style sheet, by class; every text is escaped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Sequence

HEIGHT = 190
"""Pixels from the lowest to the highest value."""

ROW = 46
"""Pixels for a row of `bars`."""

_TOP = 12
_FOOT = 26
_HEAD = 26
_BAR = 0.76
_WIDEST = (30.0, 20.0)
_SECOND_AT = 50.0
_NOTHING = Markup("")
_LENGTHS = (
    *((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (6 * 3600, "6 h"), (86_400, "1 d")),
    *((7 * 86_400, "7 d"), (30 * 86_400, "30 d"), (365 * 86_400, "1 y")),
)


@dataclass(frozen=True)
class Place:
    """A place on the axis across.

    Attributes:
        title: What the pointer finds there.
        name: Its name on the axis; empty where there is no room for it.
        spare: Whether a narrow screen has no room for the name.
    """

    title: str
    name: str = ""
    spare: bool = False


@dataclass(frozen=True)
class Series:
    """One value for each place; `None` where there is none.

    Attributes:
        style: The class that gives its colour.
        values: The values, not below zero.
        fill: A pattern's id in the page, in place of the colour.
    """

    style: str
    values: Sequence[float | None]
    fill: str = ""


@dataclass(frozen=True)
class Row:
    """A row of `bars`: its name, and up to two values with what they say."""

    name: str
    first: float
    first_text: str
    second: float | None
    second_text: str


@dataclass(frozen=True)
class _Scale:
    """Where values are drawn: the lines of the axis, as `(value, name)`, the lowest first."""

    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def height(self, value: float) -> float:
        """Pixels above the lowest line."""
        low, high = self.ticks[0][0], self.ticks[-1][0]
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(min(max(value, low), high))
        return HEIGHT * (value - low) / (high - low)

    def y(self, value: float) -> float:
        return _TOP + HEIGHT - self.height(value)


def stacked(about: str, places: Sequence[Place], series: Sequence[Series]) -> Markup:
    """Bars that are the sum of their parts, the first series lowest.

    Args:
        about: What the chart shows, for those who cannot see it.
        places: The bars, from left to right.
        series: The parts; whole numbers.
    """
    sums = [sum(each.values[at] or 0 for each in series) for at in range(len(places))]
    scale = _Scale(count_ticks(max(sums, default=0)))
    wide = 100 / len(places)
    drawn = [_frame(scale, places)]
    for at, place in enumerate(places):
        left, bottom, parts = wide * (at + (1 - _BAR) / 2), float(_TOP + HEIGHT), [_tip(place)]
        parts.append(_rect("hit", wide * at, _TOP, wide, HEIGHT))
        for each in series:
            tall = scale.height(each.values[at] or 0)
            bottom -= tall
            if tall > 0:
                parts.append(_rect(each.style, left, bottom, wide * _BAR, tall, each.fill))
        drawn.append(_tag("g", _joined(parts)))
    return _svg(about, _TOP + HEIGHT + _FOOT, drawn)


def lines(about: str, places: Sequence[Place], series: Sequence[Series]) -> Markup:
    """Lines of lengths of time in seconds, on a scale on which each step is several times the one before.

    A line ends where there is no value; a value alone is a point.
    """
    known = [value for each in series for value in each.values if value is not None]
    scale = _Scale(length_ticks(known), logarithmic=True)
    wide = 100 / len(places)
    drawn = [_frame(scale, places)]
    for each in series:
        parts: list[Markup] = []
        before: tuple[float, float] | None = None
        for at, value in enumerate(each.values):
            here = None if value is None else (wide * (at + 0.5), scale.y(value))
            if before is not None and here is not None:
                parts.append(_line(before, here))
            if here is not None:
                parts.append(_point(here, 3.0 if len(places) <= 31 else 2.0))
            before = here
        drawn.append(_tag("g", _joined(parts), **{"class": each.style}))
    drawn += [
        _tag("g", _joined([_tip(place), _rect("hit", wide * at, _TOP, wide, HEIGHT)]))
        for at, place in enumerate(places)
    ]
    return _svg(about, _TOP + HEIGHT + _FOOT, drawn)


def bars(about: str, heads: tuple[str, str], rows: Sequence[Row]) -> Markup:
    """Two bars a row, each of a scale of its own that begins at nought.

    Args:
        about: What the chart shows.
        heads: What the first and the second bars are.
        rows: From top to bottom.
    """
    first = max((row.first for row in rows), default=0) or 1
    second = max((row.second or 0 for row in rows), default=0) or 1
    drawn = [_text(heads[0], 0, 14, "axis"), _text(heads[1], _SECOND_AT, 14, "axis")]
    for number, row in enumerate(rows):
        top = _HEAD + ROW * number
        wide, other = _WIDEST[0] * row.first / first, _WIDEST[1] * (row.second or 0) / second
        parts = [_text(row.name, 0, top + 14, "name"), _rect("bar", 0, top + 21, wide, 14)]
        parts += [_rect("bar wait", _SECOND_AT, top + 21, other, 14)] if row.second else []
        parts.append(_text(row.first_text, wide, top + 33, "value", 6))
        parts.append(_text(row.second_text, _SECOND_AT + other, top + 33, "value", 6 if row.second else 0))
        drawn.append(_tag("g", _joined(parts)))
    return _svg(about, _HEAD + ROW * len(rows), drawn)


def count_ticks(highest: float) -> list[tuple[float, str]]:
    """Lines for whole numbers up to at least a highest one: 1, 2 or 5 times a power of ten apart."""
    power = 10 ** max(0, math.floor(math.log10(max(highest, 1) / 4)))
    step = next(power * each for each in (1, 2, 5, 10) if power * each * 5 >= highest)
    many = max(1, math.ceil(highest / step))
    return [(step * number, _short(step * number)) for number in range(many + 1)]


def _short(number: int) -> str:
    for least, unit, name in ((10**9, 10**9, " bn"), (10**6, 10**6, " M"), (10**4, 10**3, " k")):
        if number >= least:
            return f"{number / unit:,.10g}{name}"
    return f"{number:,}"


def length_ticks(values: Sequence[float]) -> list[tuple[float, str]]:
    """Lines for lengths of time, from the one below the shortest to the one above the longest."""
    low, high = min(values, default=1), max(values, default=60)
    below = [at for at, (seconds, _) in enumerate(_LENGTHS) if seconds <= low]
    above = [at for at, (seconds, _) in enumerate(_LENGTHS) if seconds >= high]
    start = min(below[-1], len(_LENGTHS) - 2) if below else 0
    end = max(above[0] if above else len(_LENGTHS) - 1, start + 1)
    return [(float(seconds), name) for seconds, name in _LENGTHS[start : end + 1]]


def _frame(scale: _Scale, places: Sequence[Place]) -> Markup:
    """The lines and names of both axes."""
    parts: list[Markup] = []
    for value, name in scale.ticks:
        y = scale.y(value)
        parts.append(_tag("line", x1=0, y1=_n(y), x2="100%", y2=_n(y)))
        parts.append(_tag("text", escape(name), x=0, y=_n(y), dx=-8, dy="0.32em", **{"text-anchor": "end"}))
    wide, last = 100 / len(places), len(places) - 1
    for at, place in enumerate(places):
        if not place.name:
            continue
        # The last name of many would reach over the edge.
        end = at == last and last > 10
        where = {"x": "100%" if end else _per_cent(wide * (at + 0.5)), "y": _n(_TOP + HEIGHT + 19)}
        anchor = {"text-anchor": "end" if end else "middle", **({"class": "spare"} if place.spare else {})}
        parts.append(_tag("text", escape(place.name), **where, **anchor))
    return _tag("g", _joined(parts), **{"class": "axis"})


def _svg(about: str, tall: int, parts: Sequence[Markup]) -> Markup:
    told = {"xmlns": "http://www.w3.org/2000/svg", "class": "chart", "role": "img", "aria-label": about}
    return _tag("svg", _joined(parts), **told, width="100%", height=tall)


def _tip(place: Place) -> Markup:
    return _tag("title", escape(place.title))


def _rect(style: str, left: float, top: float, wide: float, tall: float, fill: str = "") -> Markup:
    where = {"x": _per_cent(left), "y": _n(top), "width": _per_cent(wide), "height": _n(tall)}
    return _tag("rect", **{"class": style}, **where, **({"fill": f"url(#{fill})"} if fill else {}))


def _line(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    return _tag("line", x1=_per_cent(start[0]), y1=_n(start[1]), x2=_per_cent(end[0]), y2=_n(end[1]))


def _point(here: tuple[float, float], radius: float) -> Markup:
    return _tag("circle", cx=_per_cent(here[0]), cy=_n(here[1]), r=_n(radius))


def _text(said: str, left: float, y: float, style: str, aside: int = 0) -> Markup:
    return _tag("text", escape(said), **{"class": style}, x=_per_cent(left), y=_n(y), dx=aside)


def _tag(name: str, inside: Markup = _NOTHING, /, **attributes: object) -> Markup:
    written = "".join(f' {key}="{escape(str(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - values are escaped here, names are this module's


def _joined(parts: Sequence[Markup]) -> Markup:
    return Markup("").join(parts)


def _n(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".") if number % 1 else f"{int(number)}"


def _per_cent(number: float) -> str:
    return f"{_n(number)}%"
