"""A real gate on a free port and a reviewer to script, for tests of agents and adapters.

With pytest the fixtures `stacksona_gate` and `stacksona_reviewer` are there as soon as this package is installed;
without it use `running_gate()` and `Reviewer`. `AdapterContract` holds an adapter of your own against the contract that
the adapters of this package fulfil. Needs the extra `server`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacksona_adapters.client.reviewer import Reviewer, Verdict
    from stacksona_adapters.testing.contract import AdapterContract
    from stacksona_adapters.testing.gate import RunningGate, running_gate
    from stacksona_adapters.testing.harness import Harness, Ran, Scenario

__all__ = ["AdapterContract", "Harness", "Ran", "Reviewer", "RunningGate", "Scenario", "Verdict", "running_gate"]

_PLACES = {
    "AdapterContract": "testing.contract",
    "Harness": "testing.harness",
    "Ran": "testing.harness",
    "Reviewer": "client.reviewer",
    "Scenario": "testing.harness",
    "Verdict": "client.reviewer",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Loaded when asked for: pytest imports the plugin in this package everywhere, also without the extra `server`.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        place = f"{__package__.partition('.')[0]}.{_PLACES.get(name, 'testing.gate')}"
        return getattr(import_module(place), name)
