"""The example runs as it stands, without a key, with a scripted reviewer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples" / "ag2_refund.py"


def test_example_runs(tmp_path: Path) -> None:
    """It pauses, goes on from JSON, and pays what the reviewer made of it."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Paused" in done.stdout
    assert "Refunded 37.50 EUR for order 8821." in done.stdout
