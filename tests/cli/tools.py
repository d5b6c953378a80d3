"""How the tests run the command line: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from stacksona_adapters.cli.app import run

VARIABLES = ("STACKSONA_DB", "STACKSONA_GATE_URL", "STACKSONA_REVIEWER_TOKEN", "STACKSONA_API_KEY")
COMMAND = [sys.executable, "-m", "stacksona_adapters.cli"]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that standard output must be."""
        return json.loads(self.out)


class Cli:
    """Runs commands in this process, with an environment that the test sets."""

    def __init__(self, capsys: pytest.CaptureFixture[str], environ: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self.environ = environ

    def __call__(self, *arguments: object) -> Done:
        """Run `stacksona` with these arguments."""
        self._capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Done(code, out, err)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without the command's own variables, and with these."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**clean, "PYTHONUNBUFFERED": "1", **variables}


def command(*arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> Done:
    """Run `stacksona` as a process of its own, without a terminal."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
        **options,
    )
    return Done(done.returncode, done.stdout, done.stderr)
