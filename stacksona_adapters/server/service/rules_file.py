"""Rules from a TOML file: one `[[rule]]` table each, with the fields of `rules.NewRule`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from stacksona_adapters.server.service.errors import Invalid

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def read(path: str | Path) -> list[dict[str, Any]]:
    """The rules of a file, unchecked.

    Raises:
        Invalid: If it is not TOML, or has no list of rules.
        OSError: If it cannot be read.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not a TOML file: {error}") from error
    listed = content.get("rule")
    unknown = sorted(set(content) - {"rule"})
    if unknown or not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise Invalid(f"{path} should have one [[rule]] table for each rule" + f", not {unknown}" * bool(unknown))
    return listed
