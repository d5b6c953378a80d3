"""Templates that escape everything, and what all of them may call."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stacksona_adapters.server.inbox import display, text, words

HERE = Path(__file__).parent


def environment() -> Environment:
    """The templates of the inbox."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = {"foreign": text.foreign, "visible": text.visible, "plain": text.plain, "long": text.long_text}
    made.filters.update(shown, label=display.label, json=display.as_json, moment=text.moment)
    made.globals.update(time_tag=text.time_tag, words=words, one=display.one)
    return made
