"""Plays a harness' scenario, here or in another process.

`python -m stacksona_adapters.testing.processes MODULE:CLASS` is that other process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import subprocess
import sys

from stacksona_adapters.errors import StacksonaError
from stacksona_adapters.testing.harness import Harness, Ran, Scenario

PATIENCE = 120.0
"""Seconds that another process gets."""


def play(harness: Harness, scenario: Scenario, paused: str | None = None) -> Ran:
    """Play a scenario in this process.

    Args:
        harness: Whose.
        scenario: What to play.
        paused: A pause to resume.
    """
    try:
        if harness.paths[scenario.path] == "async":
            return asyncio.run(harness.arun(scenario, paused))
        return harness.run(scenario, paused)
    except StacksonaError as error:
        return Ran(error=f"{type(error).__name__}: {error}")


class OtherProcess:
    """A scenario that is being played in a process of its own.

    Args:
        harness: Whose; its class must be importable.
        scenario: What to play.
        paused: A pause to resume.
    """

    def __init__(self, harness: Harness, scenario: Scenario, paused: str | None = None) -> None:
        kind = type(harness)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", __name__, f"{kind.__module__}:{kind.__qualname__}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"scenario": scenario.model_dump(mode="json"), "paused": paused}))
        self._process.stdin.close()
        self._process.stdin = None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end.

        Returns:
            Its exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: If it does not end; it is killed then.
        """
        self._communicate()
        return self._process.returncode

    def ran(self) -> Ran:
        """Wait for its end.

        Raises:
            RuntimeError: If it failed, with what it wrote to standard error.
            subprocess.TimeoutExpired: If it does not end; it is killed then.
        """
        out, err = self._communicate()
        if self._process.returncode:
            raise RuntimeError(f"the other process ended with {self._process.returncode}:\n{err[-5000:]}")
        return Ran.model_validate_json(out)

    def _communicate(self) -> tuple[str, str]:
        try:
            return self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise


def main() -> None:
    """Read scenario and pause from standard input, play them, and write what became of it to standard output."""
    module, _, name = sys.argv[1].partition(":")
    harness = getattr(importlib.import_module(module), name)()
    given = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        ran = play(harness, Scenario.model_validate(given["scenario"]), given["paused"])
    sys.stdout.write(ran.model_dump_json())


if __name__ == "__main__":
    main()
