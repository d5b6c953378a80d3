"""CrewAI's own way for a tool to say that it did not do what it was asked."""

from __future__ import annotations

from typing import Any

from stacksona_adapters._extras import extra
from stacksona_adapters.gating.refusal import Refusal

with extra("crewai"):
    try:
        from crewai.tools.tool_failure import ToolFailure
    except ImportError:  # it came with CrewAI 1.15.9
        ToolFailure = None  # type: ignore[assignment,misc]


def declares_failure(value: Any) -> bool:
    """Whether a tool's result says that the tool failed."""
    return ToolFailure is not None and isinstance(value, ToolFailure)


def with_text(value: Any, told: str) -> Any:
    """A tool's own failure with another text for the model."""
    return value.model_copy(update={"message": told, "code": None})


def failure(told: str, refused: Refusal | None) -> Any:
    """A `ToolFailure`, which stands in `TaskOutput.tool_failures` and is never an answer; before 1.15.9 the text.

    Args:
        told: The text for the model.
        refused: Why the tool did not run; `None` where it ran and failed.
    """
    if ToolFailure is None:
        return told
    details = refused.as_dict() if refused is not None else {}
    return ToolFailure(message=told, retryable=refused is not None and refused.revise, details=details)
