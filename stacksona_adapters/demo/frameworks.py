"""Which frameworks the demo can run on: one module of this package each, with a `run` as in `results.Runner`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from stacksona_adapters._extras import extra
from stacksona_adapters.demo.results import Runner
from stacksona_adapters.errors import ConfigurationError

PLAIN = "python"
"""The agent without a framework, which is always there."""

KNOWN = ("pydantic_ai", "langgraph", "langchain", "llamaindex", "autogen", "ag2", "autogen_classic", "crewai", PLAIN)
"""In the order in which they are taken where the user names none."""


def offered() -> list[str]:
    """The frameworks that this version has a runner for."""
    return [name for name in KNOWN if find_spec(_module(name)) is not None]


def _module(name: str) -> str:
    return f"{__package__}.{name}"


def installed() -> str:
    """The first framework that is installed; `python` where none is."""
    for name in offered():
        if name != PLAIN:
            try:
                with extra(name):
                    return name
            except ConfigurationError:
                continue
    return PLAIN


def runner(name: str) -> Runner:
    """The runner of a framework.

    Raises:
        ConfigurationError: If there is none of that name.
        MissingExtra: If the framework is not installed (or is too old, or broken: the other errors of `_extras`).
    """
    wanted = name.replace("-", "_")
    if wanted not in offered():
        raise ConfigurationError(f"The demo does not know {name!r}; it knows {', '.join(offered())}.")
    if wanted != PLAIN:
        with extra(wanted):
            pass
    run: Runner = import_module(_module(wanted)).run
    return run
