"""The demo on AutoGen 0.2, with a scripted reviewer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("decide", ["approve", "mixed"])
def test_demo(tmp_path: Path, decide: str) -> None:
    """A real agent works through the shop's file from an empty home, and the audit chain holds."""
    done = subprocess.run(
        [sys.executable, "-m", "stacksona_adapters.cli", "demo", "autogen_classic", "--decide", decide],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "The audit chain holds" in done.stdout
