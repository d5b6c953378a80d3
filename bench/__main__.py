"""`python -m bench [SECONDS [POSTGRESQL-URL]]`."""

from __future__ import annotations

import sys

from bench.gate import run

if __name__ == "__main__":
    run(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0, sys.argv[2] if len(sys.argv) > 2 else None)
