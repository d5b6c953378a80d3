"""The page about own adapters: its framework, its adapter and its tests work as they stand there, and they can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "write-your-own-adapter.md"
FENCE = re.compile(r'^```python title="(?P<file>[^"]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)

SWALLOWED = """GateError:
            return await execute(arguments)
        except ActionBlocked as error"""
MISTAKES = {
    "test_every_path_asks_first": ("if not self._policy.covers(", "if self._policy.covers("),
    "test_gates_validated_arguments": ("arguments,\n            agent=", 'call["arguments"],\n            agent='),
    "test_refusal_is_a_result": ('return refusal(call["tool"], error).as_text()', "raise"),
    "test_resumed_twice_runs_once": ("await self._gate.take(approval, running)", "pass"),
    "test_edited_arguments": ("await execute(running)", "await execute(arguments)"),
    "test_revise": ("revises=next(iter(sent_back(earlier[-1:])), None),", ""),
    "test_events_of_a_rejection": ("self._gate.finish(run.id)", "pass"),
    "test_gate_down": ("(ActionBlocked, GateError) as error", SWALLOWED),
}
"""A mistake that an author may make, by the case that finds it."""


def write_page(directory: Path) -> dict[str, str]:
    """Write the page's files; returns them."""
    files = {fence["file"]: fence["code"] for fence in FENCE.finditer(PAGE.read_text(encoding="utf-8"))}
    for name, code in files.items():
        (directory / name).write_text(code, encoding="utf-8")
    return files


def run_pytest(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a directory."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *options, str(directory)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600, check=False)


def test_page_works(tmp_path: Path) -> None:
    """The page's adapter passes the whole contract with the page's harness."""
    files = write_page(tmp_path)
    done = run_pytest(tmp_path)

    assert set(files) == {"mini.py", "gated_mini.py", "test_gated_mini.py"}
    assert done.returncode == 0, done.stdout[-10_000:]
    assert re.search(r"\b2\d passed", done.stdout)
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("case", MISTAKES)
def test_contract_finds_mistakes(tmp_path: Path, case: str) -> None:
    """An adapter with a mistake fails the case that is about it."""
    code = write_page(tmp_path)["gated_mini.py"]
    right, wrong = MISTAKES[case]
    assert right in code
    (tmp_path / "gated_mini.py").write_text(code.replace(right, wrong), encoding="utf-8")
    done = run_pytest(tmp_path, "-k", case)

    assert done.returncode == 1, done.stdout[-10_000:]
