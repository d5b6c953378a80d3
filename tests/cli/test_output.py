"""What an agent wrote cannot take over a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacksona_adapters.cli.output import clean, facts, say, say_json, show_table, table

HOSTILE = [
    ("plain \x1b[31mred\x1b[0m", "plain red"),
    ("\x1b[2K\x1b[1Aover", "over"),
    ("\x1b]0;title\x07rest", "rest"),
    ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bPq#0\x1b\\sixel", "sixel"),
    ("\x9b31mC1", "C1"),
    ("\x1b(0lqk", "lqk"),
    ("\x1bcreset", "reset"),
    ("ring\x07 back\x08 null\x00 del\x7f", "ring back null del"),
    ("abc\rXY", "abc XY"),
    ("gpj.\u202ecod\u202c\u2066x\u2069\u200f\u200b\ufeff", "gpj.codx"),
    ("tag\U000e0041s", "tags"),
    ("one\n\n two\tthree\u2028four", "one two three four"),
    ("שלום مرحبا 李 🧩", "שלום مرحبا 李 🧩"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_clean(text: str, shown: str) -> None:
    """Escapes, control and direction-changing characters go; letters of every script stay."""
    assert clean(text) == shown


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[]()\\;m0\x07\x9b\x9c\x90P^_X"))))
def test_nothing_but_visible_text_comes_out(text: str) -> None:
    """Whatever goes in, no control or format character comes out, and cleaning again changes nothing."""
    shown = clean(text, lines=True)

    assert {unicodedata.category(character) for character in shown if character not in "\n\u200c\u200d"}.isdisjoint(
        {"Cc", "Cf", "Cs", "Zl", "Zp"}
    )
    assert clean(shown, lines=True) == shown


def test_lines_and_limit() -> None:
    """Line breaks stay where they are wanted, and long text is cut visibly."""
    assert clean("a\r\nb\n", lines=True) == "a\nb\n"
    assert clean("x" * 500, limit=10) == "x" * 9 + "…"


def test_data_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich markup, links and emoji codes in data are printed as they are."""
    data = "[bold red]a[/] [link=https://evil.example]b[/link] :smile: [/wrong]"
    say(data)
    facts({"Subject": data, "Empty": None})
    show_table(table(("Name", "ID*"), [(data, 1)]))

    out = capsys.readouterr().out

    assert out.count(data) == 3
    assert "Empty" not in out


def test_json_is_one_document_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Even JSON leaves the terminal alone."""
    say_json({"text": "\x1b[31m\u202e\x9b ü"})

    out = capsys.readouterr().out

    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"text": "\x1b[31m\u202e\x9b ü"}
