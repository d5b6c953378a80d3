"""How values are shown: as what they are, never in other words alone, and never as markup."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from stacksona_adapters.protocol.requests import REDACTED
from stacksona_adapters.server.inbox import text
from stacksona_adapters.server.inbox.diffs import changes, looks_like_diff, read_diff
from stacksona_adapters.server.inbox.display import arguments, label, one

DIFF = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new"


@pytest.mark.parametrize(
    ("name", "value", "beside", "shown", "exact"),
    [
        ("amount", 240.5, {"currency": "eur"}, "240.50 EUR", ""),
        ("amount", "1234567.891", {"currency": "EUR"}, "1,234,567.891 EUR", ""),
        ("refund_amount", -3, {}, "-3.00", ""),
        ("refundTotal", 12, {"currencyCode": "USD"}, "12.00 USD", ""),
        ("total_cents", 128400, {"currency": "EUR"}, "1,284.00 EUR", "128400"),
        ("amount_usd", 5, {}, "5.00 USD", ""),
        ("price", 10**20, {}, "100,000,000,000,000,000,000.00", ""),
    ],
)
def test_money(name: str, value: Any, beside: dict[str, Any], shown: str, exact: str) -> None:
    """A sum has its currency and its digits in groups; where it is kept in cents the exact number stands beside it."""
    part = one(name, value, beside)

    assert (part.kind, part.text, part.exact) == ("money", shown, exact)


@pytest.mark.parametrize(
    ("name", "value"), [("amount", True), ("amount", "all of it"), ("amount", "1e9"), ("account", 12), ("sum_of", 3)]
)
def test_no_money(name: str, value: Any) -> None:
    """What is no plain number, or not called a sum, is not dressed up as one."""
    assert one(name, value, {"currency": "EUR"}).kind != "money"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("when", "2026-11-20", "date"),
        ("when", "2026-11-20T16:30:00Z", "date"),
        ("when", "2026-13-45", "text"),
        ("created_at", 1790000000, "date"),
        ("count", 1790000000, "number"),
        ("ok", False, "bool"),
        ("nothing", None, "none"),
        ("nothing", "", "none"),
        ("nothing", [], "none"),
        ("nothing", {}, "none"),
        ("secret", REDACTED, "hidden"),
        ("query", "select 1", "code"),
        ("anything", "def f():\n    x = 1;\n    return x\n", "code"),
        ("anything", "Dear Ann,\nthank you.\nBob", "long"),
        ("patch", DIFF, "diff"),
        ("to", "ann@example.com", "address"),
        ("where", "https://example.com/x?y", "address"),
        ("where", "javascript:alert(1)", "text"),
        ("list", [1, 2], "list"),
        ("rows", [{"a": 1, "b": 2}, {"a": 3}], "table"),
        ("rows", [{"a": [1]}, {"a": 3}], "list"),
        ("map", {"a": 1}, "fields"),
    ],
)
def test_kinds(name: str, value: Any, kind: str) -> None:
    """Each value is shown as what it is."""
    assert one(name, value, {}).kind == kind


def test_email() -> None:
    """Recipient, subject and body become a letter; all other arguments stand below it."""
    mail = {"to": ["a@example.com"], "cc": "b@example.com", "subject": "Hi", "body": "Text", "send_at": "2026-11-20"}

    letter, rest = arguments(mail).items

    assert (letter.kind, letter.exact) == ("mail", "Text")
    assert [name for name, _ in letter.items] == ["to", "cc", "subject"]
    assert [name for name, _ in rest.items] == ["send_at"]


@pytest.mark.parametrize(
    "values", [{"to": "Bob", "body": "x"}, {"to": "a@b.c", "body": 1}, {"to": "a@b.c", "body": REDACTED}, {"body": "x"}]
)
def test_no_email(values: dict[str, Any]) -> None:
    """What lacks an address or a text is no letter."""
    assert arguments(values).kind == "fields"


def test_every_argument_is_shown_or_counted() -> None:
    """No argument disappears: what is not shown is counted."""
    shown = arguments({f"a{number}": number for number in range(100)})

    assert len(shown.items) + shown.more == 100


def test_labels() -> None:
    """Names become words; names in other scripts stay."""
    assert [label(name) for name in ("order_id", "refundTotal", "größe_x", "")] == [
        "Order id",
        "Refund total",
        "größe_x",
        "",
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("/a", "1", "2")]),
        ({"a": 1}, {"a": True}, [("/a", "1", "true")]),
        ({"a": [1]}, {"a": [True]}, [("/a/0", "1", "true")]),
        ({"a": [1, 2]}, {"a": [1]}, [("/a", "[\n  1,\n  2\n]", "[\n  1\n]")]),
        ({"a": 1}, {"b": 1}, [("/a", "1", None), ("/b", None, "1")]),
        ({"a": None}, {}, [("/a", "null", None)]),
        ({"x": {"y/z": "old"}}, {"x": {"y/z": "new"}}, [("/x/y~1z", '"old"', '"new"')]),
    ],
)
def test_changes(before: Any, after: Any, said: list[Any]) -> None:
    """What differs is named by its place, with both values; JSON's true is not 1."""
    assert [(each.pointer, each.before, each.after) for each in changes(before, after)] == said


def test_long_texts_differ_by_line() -> None:
    """Of long texts the changed lines are shown."""
    old = "\n".join(f"line {number}" for number in range(50))

    (change,) = changes({"body": old}, {"body": old.replace("line 7\n", "line seven\n")})

    assert [line.text for line in change.lines if line.kind in ("add", "del")] == ["-line 7", "+line seven"]


def test_reads_a_diff() -> None:
    """The lines of a diff have their kinds; a list with dashes is none."""
    assert [line.kind for line in read_diff(DIFF)] == ["head", "head", "head", "same", "del", "add"]
    assert not looks_like_diff("- milk\n+ bread")


@pytest.mark.parametrize(
    "char", ["\u202e", "\u200b", "\u2066", "\x00", "\x1b", "\ufeff", "\u2028", "\U000e0041", "\x85"]
)
def test_invisible_characters_are_named(char: str) -> None:
    """A character that hides, reverses or breaks text is shown as its code point and is gone itself."""
    shown = str(text.visible(f"a{char}b"))

    assert char not in shown
    assert f"U+{ord(char):04X}" in shown


@pytest.mark.parametrize("value", ["Zürich", "日本語", "שלום", "👍", "a\tb\nc", "é"])
def test_ordinary_text_stays(value: str) -> None:
    """Text in any script stays as it is."""
    assert str(text.visible(value)) == value


def test_markup_is_escaped_everywhere() -> None:
    """No function lets markup through."""
    evil = '<b onclick="x">&\'' + "é<i>"
    for shown in (text.visible(evil), text.foreign(evil), text.foreign(evil, 9), *text.long_text(evil * 100)):
        assert "<b " not in str(shown)
        assert "<i" not in str(shown)
        assert '"x"' not in str(shown)


def test_long_text_is_whole() -> None:
    """Beginning and rest of a long text are all of it."""
    whole = "word " * 1000

    beginning, rest = text.long_text(whole)

    assert rest is not None
    assert str(beginning) + str(rest) == whole


def test_times() -> None:
    """Moments are told from the gate's present, in one unit."""
    now = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
    spans = [timedelta(seconds=5), timedelta(minutes=5), timedelta(hours=30), timedelta(days=40), timedelta(0)]

    assert [text.span(each) for each in spans] == ["5 s", "5 min", "30 h", "40 d", "0 s"]
    assert "in 5 min" in text.time_tag(now + timedelta(minutes=5), now, ahead=True)
    assert "over" in text.time_tag(now, now, ahead=True)
    assert text.time_tag(None, now) == ""
