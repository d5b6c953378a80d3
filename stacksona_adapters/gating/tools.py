"""What `tools=`, `risk=` and `subject=` mean, once for all adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stacksona_adapters.errors import ConfigurationError
from stacksona_adapters.gating.action import Action, make_action
from stacksona_adapters.gating.risk import read_risk
from stacksona_adapters.protocol.requests import Risk

Tools = Literal["all"] | Iterable[str] | Callable[[str], bool]
"""Which tools are gated: `"all"`, their names, or a function of the name."""

RiskOf = Risk | str | Mapping[str, Risk | str] | Callable[[str, Mapping[str, Any]], Risk | str | None] | None
"""A level for every tool, a mapping of names to levels, or a function of name and arguments; else the gate's policy."""

SubjectOf = str | Mapping[str, str] | Callable[[str, Mapping[str, Any]], Any] | None
"""The parameter that holds the subject (for every tool, or by tool name), or a function of name and arguments."""


@dataclass(frozen=True)
class ToolPolicy:
    """Which tools an adapter gates and how their calls are described.

    Args:
        tools: See `Tools`.
        risk: See `RiskOf`.
        subject: See `SubjectOf`.

    Raises:
        ConfigurationError: If one of them makes no sense.
    """

    tools: Tools = "all"
    risk: RiskOf = None
    subject: SubjectOf = None

    def __post_init__(self) -> None:
        if isinstance(self.tools, str) and self.tools != "all":
            raise ConfigurationError(f"tools={self.tools!r}: give 'all', a list of names, or a function of the name.")
        if not callable(self.tools) and self.tools != "all":
            names = frozenset(self.tools)
            if not names or not all(isinstance(name, str) for name in names):
                raise ConfigurationError(
                    "tools= names no tool; give 'all', a list of names, or a function of the name."
                )
            object.__setattr__(self, "tools", names)
        if isinstance(self.risk, str):
            object.__setattr__(self, "risk", read_risk(self.risk, "risk="))
        elif isinstance(self.risk, Mapping):
            levels = {name: read_risk(level, f"risk= for {name}") for name, level in self.risk.items()}
            object.__setattr__(self, "risk", levels)

    def covers(self, name: str) -> bool:
        """Whether a tool is gated."""
        if callable(self.tools):
            return bool(self.tools(name))
        return self.tools == "all" or name in self.tools

    @property
    def names(self) -> frozenset[str]:
        """The tools that are gated by name; empty for `"all"` and for a function."""
        return self.tools if isinstance(self.tools, frozenset) else frozenset()

    def action(self, name: str, arguments: Any, **fields: Any) -> Action:
        """The action of a call.

        Args:
            name: The tool's name.
            arguments: The final, validated arguments, as the tool will get them.
            **fields: Further fields of `Action`; a `risk` or `subject` among them goes first.

        Raises:
            InvalidAction: If it cannot be described; nothing has been sent.
        """
        action = make_action(name, arguments, **fields)
        more: dict[str, Any] = {}
        if action.risk is None and (level := self._risk(action)) is not None:
            more = {"risk": read_risk(level, f"risk= for {name}"), "risk_reason": action.risk_reason or "set by risk="}
        if action.subject is None and (subject := self._subject(action)) is not None:
            more["subject"] = str(subject)
        return action.model_copy(update=more)

    def _risk(self, action: Action) -> Risk | str | None:
        if isinstance(self.risk, Mapping):
            return self.risk.get(action.name)
        if callable(self.risk):
            return self.risk(action.name, action.arguments)
        return self.risk

    def _subject(self, action: Action) -> Any:
        if callable(self.subject):
            return self.subject(action.name, action.arguments)
        name = self.subject.get(action.name) if isinstance(self.subject, Mapping) else self.subject
        return action.arguments.get(name) if name is not None else None
