"""The command `stacksona`. Needs the extra `server`."""

from __future__ import annotations

import sys

from stacksona_adapters._extras import extra
from stacksona_adapters.errors import ConfigurationError


def main() -> None:
    """Run the command line of this process and exit: 0 done, 1 could not be done, 2 wrong use, 130 interrupted."""
    try:
        with extra("server"):
            from stacksona_adapters.cli.app import run
    except ConfigurationError as error:
        print(f"stacksona: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(run(sys.argv[1:]))
