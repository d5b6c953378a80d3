"""What `extra` says, tried on real distributions: wheels' metadata and modules laid out in a temporary directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stacksona_adapters._extras import DISTRIBUTION, extra, requirements
from stacksona_adapters.errors import BrokenExtra, MissingExtra, UnsupportedVersion


class Site:
    """A directory of throwaway distributions, and a Python that sees them."""

    def __init__(self, path: Path) -> None:
        """Use the (empty) directory `path`."""
        self.path = path

    def add(self, name: str, version: str, *, requires: tuple[str, ...] = (), module: str | None = "") -> None:
        """Install a distribution, as pip leaves it on disk; `module` is the source of its one module."""
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        if module is not None:
            (self.path / f"{name.replace('-', '_')}.py").write_text(module)

    def run(self, code: str) -> str:
        """Run a program; its standard output, or its last line of standard error where it fails."""
        program = f"import sys; sys.path.insert(0, {str(self.path)!r})\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=self.path
        )
        return (done.stdout or done.stderr).strip()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose stacksona-adapters has one extra, [frame-work], for framework 1.2 up to 3."""
    made = Site(tmp_path)
    made.add(
        DISTRIBUTION,
        "0.1.0",
        requires=(
            "frame-work[x]<3,>=1.2; extra == 'frame-work'",
            "tail-end>=1; (python_version < '3.0') and extra == 'frame-work'",
            "old-one<2,>=1; (python_version < '3.0') and extra == 'old-pythons'",
        ),
        module=None,
    )
    return made


TRY = """
from stacksona_adapters._extras import extra
from stacksona_adapters.errors import ConfigurationError
try:
    with extra({extra!r}):
        {block}
except ConfigurationError as error:
    print(type(error).__name__, "|", error, "|", repr(error.__cause__))
else:
    print("imported")
"""


def attempt(site: Site, block: str = "import frame_work", name: str = "frame_work") -> str:
    """Import in a fresh Python and tell what happened."""
    return site.run(TRY.format(extra=name, block=block))


def test_supported_framework_imports(site: Site) -> None:
    """A version inside the range imports, whichever way the extra's name is written."""
    site.add("frame-work", "2.10.0rc1")

    assert [attempt(site, name=name) for name in ("frame_work", "frame-work", "Frame.Work")] == ["imported"] * 3


def test_missing_framework_names_the_extra(site: Site) -> None:
    """Not installed: what to install, as a command that can be pasted."""
    kind, message, cause = attempt(site).split(" | ")

    assert (kind, cause) == ("MissingExtra", "None")
    assert message == "frame-work is not installed; install it with: pip install 'stacksona-adapters[frame-work]'"


@pytest.mark.parametrize("version", ["1.1.9", "0.9", "3", "3.0.1"])
def test_version_out_of_range_is_refused_before_the_import(site: Site, version: str) -> None:
    """Too old and too new say what is installed and what is supported; the framework's code does not run."""
    site.add("frame-work", version, module="raise SystemExit('imported')")

    kind, message, _ = attempt(site).split(" | ")
    assert kind == "UnsupportedVersion"
    assert f"frame-work {version} is installed, the extra [frame-work] supports frame-work>=1.2,<3;" in message
    assert "pip install --upgrade 'stacksona-adapters[frame-work]'" in message


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import a_dependency_of_theirs", "No module named 'a_dependency_of_theirs'"),
        ("raise AttributeError('of a neighbour')", "AttributeError: of a neighbour"),
    ],
)
def test_broken_framework_keeps_its_own_error(site: Site, module: str, reason: str) -> None:
    """Installed and failing by itself is a third message, with the framework's error chained."""
    site.add("frame-work", "1.2.0", module=module)

    kind, message, cause = attempt(site).split(" | ")

    assert kind == "BrokenExtra"
    assert message.startswith("frame-work 1.2.0 is installed but could not be imported (")
    assert reason in message
    assert cause != "None"


def test_name_that_the_framework_lost_is_broken(site: Site) -> None:
    """A supported version without the name that we import is broken, not missing."""
    site.add("frame-work", "1.2.0")

    told = attempt(site, "from frame_work import gone")

    assert told.startswith("BrokenExtra | frame-work 1.2.0 is installed but could not be imported (ImportError:")


def test_own_bug_is_never_renamed(site: Site) -> None:
    """A failing import of this package inside the block stays what it is."""
    site.add("frame-work", "1.2.0")

    assert "ModuleNotFoundError: No module named 'stacksona_adapters.gone'" in attempt(
        site, "import stacksona_adapters.gone"
    )
    assert "ZeroDivisionError" in attempt(site, "1 / 0")


def test_python_out_of_the_extras_range_is_said(site: Site) -> None:
    """An extra that no longer brings anything on this Python says so."""
    kind, message, _ = attempt(site, name="old_pythons").split(" | ")

    assert kind == "UnsupportedVersion"
    assert message.startswith("the extra [old-pythons] needs Python<3.0, this is Python 3.")


def test_require_checks_without_importing(site: Site) -> None:
    """A package can be guarded as a whole without paying for the imports."""
    told = site.run("from stacksona_adapters._extras import require\nrequire('frame_work')")
    site.add("frame-work", "1.2.0", module="raise SystemExit('imported')")

    assert told.endswith("install it with: pip install 'stacksona-adapters[frame-work]'")
    assert site.run("from stacksona_adapters._extras import require\nrequire('frame_work')\nprint('fine')") == "fine"


def test_named_distributions_replace_those_of_the_extra(site: Site) -> None:
    """An adapter that needs only part of its extra may say so."""
    with extra("server", "pydantic"):
        import pydantic

    assert pydantic.VERSION


def test_errors_are_what_pytest_and_users_expect() -> None:
    """`pytest.importorskip` skips on ModuleNotFoundError only; the other two are plain import errors."""
    assert issubclass(MissingExtra, ModuleNotFoundError)
    assert issubclass(UnsupportedVersion, ImportError)
    assert issubclass(BrokenExtra, ImportError)
    assert not issubclass(BrokenExtra, ModuleNotFoundError)


def test_requirements_come_from_the_installed_metadata() -> None:
    """The real extra, read back from the installed package."""
    (found,) = requirements("pydantic_ai")

    assert (found.distribution, found.pythons) == ("pydantic-ai-slim", "")
    assert found.supported.startswith(">=1.107,<")
