"""Every code block of the README and of docs/ runs, as a reader would run it: in order, in a fresh directory.

The Python blocks of a page run as one script, the shell blocks as one script, against a real gate with a reviewer who
approves everything. A block that cannot run here has a line `<!-- tested by PATH -->` before it, and PATH must exist.
The page of an adapter runs in that adapter's own session (`STACKSONA_DOC_PAGE`), which has its framework.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stacksona_adapters.client.reviewer import Verdict
from stacksona_adapters.testing import RunningGate, running_gate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
FENCE = re.compile(r"(?P<before>[^\n]*)\n(?P<ticks>```+)(?P<kind>[^\n]*)\n(?P<text>.*?)\n(?P=ticks)", re.DOTALL)
TESTED_BY = re.compile(r"<!-- tested by (\S+) -->")
TITLE = re.compile(r'title="([\w./-]+)"')
RUN = {"python", "bash", "toml"}
SHOWN = {"text", "mermaid", "json", "ini", "nginx", "dockerfile", "pycon", "diff", "markdown"}
"""Blocks that are not code of this project to run: output, pictures, other programs' configuration."""


@dataclass(frozen=True)
class Block:
    """A code block: its line in the page, the file that it is, and who tests it where it does not run here."""

    kind: str
    text: str
    line: int
    title: str | None
    tested_by: str | None


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page."""
    text = "\n" + page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        other = TESTED_BY.search(match["before"])
        line = text.count("\n", 0, match.start("text"))
        title = TITLE.search(match["kind"])
        kind = match["kind"].partition(" ")[0]
        found.append(Block(kind, match["text"], line, title[1] if title else None, other[1] if other else None))
    return found


def pages() -> list[Path]:
    """The pages of this session: one adapter's, or all that belong to no adapter."""
    adapters = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["stacksona"]["tested"]
    only = os.environ.get("STACKSONA_DOC_PAGE")
    if only:
        return [ROOT / "docs" / f"{only}.md"]
    return [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem not in adapters)]


PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


@pytest.fixture
def server() -> Iterator[RunningGate]:
    """A gate whose reviewer approves everything."""
    with running_gate() as gate, gate.reviewer().deciding(Verdict("approve")):
        yield gate


def environment(server: RunningGate, directory: Path) -> dict[str, str]:
    """What a reader has set up: a gate, a key, a reviewer's token."""
    scripts = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(directory),
        "STACKSONA_DB": str(server.database),
        "STACKSONA_GATE_URL": server.url,
        "STACKSONA_API_KEY": server.agent_key("refund-bot"),
        "STACKSONA_REVIEWER_TOKEN": server.reviewer_token("reader"),
        "STACKSONA_STATE_DIR": str(directory / "state"),
    }


def run(command: list[str], server: RunningGate, directory: Path) -> None:
    """Run a page's script; its output is the failure's message."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(server, directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def write_files(page: Path, directory: Path) -> None:
    """The blocks with a title are files that the reader has written."""
    for block in blocks(page):
        if block.title is not None:
            file = directory / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text + "\n", encoding="utf-8")


def script_of(page: Path, kind: str) -> str:
    """The blocks of one kind as one script whose line numbers are the page's."""
    lines: list[str] = []
    for block in blocks(page):
        if block.kind == kind and block.title is None and block.tested_by is None:
            lines += [""] * (block.line - 1 - len(lines)) + [_run_here(line) for line in block.text.split("\n")]
    return "\n".join(lines)


def _run_here(line: str) -> str:
    """Every session of nox installs the extras that a page tells the reader to install, from this very checkout."""
    return "" if line.startswith("pip install ") and "&&" not in line else line


@PAGES
def test_python_blocks_run(page: Path, server: RunningGate, tmp_path: Path) -> None:
    """The Python of a page runs from top to bottom."""
    text = script_of(page, "python")
    compile(text, str(page), "exec")
    write_files(page, tmp_path)
    if text:
        script = tmp_path / f"{page.stem.replace('-', '_').lower()}_page.py"
        script.write_text(text, encoding="utf-8")
        run([sys.executable, str(script)], server, tmp_path)


@PAGES
def test_shell_blocks_run(page: Path, server: RunningGate, tmp_path: Path) -> None:
    """The commands of a page run from top to bottom, each of them with success."""
    text = script_of(page, "bash")
    write_files(page, tmp_path)
    if text:
        run(["bash", "-euo", "pipefail", "-c", text], server, tmp_path)


@PAGES
def test_rules_files_load(page: Path, server: RunningGate, tmp_path: Path) -> None:
    """Every TOML block is a rules file that the gate takes."""
    for block in blocks(page):
        if block.kind == "toml" and block.tested_by is None:
            rules = tmp_path / "rules.toml"
            rules.write_text(block.text, encoding="utf-8")
            run([sys.executable, "-m", "stacksona_adapters.cli", "rules", "load", str(rules)], server, tmp_path)


@PAGES
def test_every_block_is_run_shown_or_tested_elsewhere(page: Path) -> None:
    """No block is left out silently."""
    found = blocks(page)
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(found)
    for block in found:
        where = f"{page.name}:{block.line}"
        assert block.kind in RUN | SHOWN, f"{where}: a block of kind {block.kind!r} is neither run nor only shown"
        assert block.tested_by is None or (ROOT / block.tested_by).exists(), f"{where}: {block.tested_by} is missing"


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    """Links to files of the project exist."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target} is missing"
