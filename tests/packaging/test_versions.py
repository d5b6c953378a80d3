"""The versions of the frameworks stand once, and an adapter comes with all that belongs to one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import stacksona_adapters
from tests.packaging.test_architecture import FRAMEWORKS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PACKAGE = Path(stacksona_adapters.__file__).parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TESTED: dict[str, Any] = PYPROJECT["tool"]["stacksona"]["tested"]
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
PRESENT = [name for name in FRAMEWORKS if (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()]
DOES_NOT_FIT_ALL = {"autogen-classic"}


def framework(name: str) -> Requirement:
    """What an adapter's extra requires of the distribution whose versions are tested."""
    requirements = [Requirement(line) for line in EXTRAS[name.replace("_", "-")]]
    (found,) = [each for each in requirements if each.name == TESTED[name]["distribution"]]
    return found


@pytest.mark.parametrize("name", TESTED)
def test_extra_starts_at_the_oldest_tested_version(name: str) -> None:
    """The promised minimum is a version that is tested, and the oldest of them."""
    versions = [Version(each) for each in TESTED[name]["versions"]]
    (minimum,) = [Version(each.version) for each in framework(name).specifier if each.operator == ">="]

    assert versions == sorted(versions)
    assert versions[0] == minimum


@pytest.mark.parametrize("name", TESTED)
def test_tested_versions_are_supported(name: str) -> None:
    """Every tested version is inside the extra's range, which has an upper end."""
    specifier = framework(name).specifier

    assert [each for each in TESTED[name]["versions"] if each not in specifier] == []
    assert [each.operator for each in specifier if each.operator.startswith("<")] == ["<"]


@pytest.mark.parametrize("name", TESTED)
def test_pins_belong_to_a_tested_version(name: str) -> None:
    """A pin or a Python that no cell uses is a leftover."""
    pythons = {line.rpartition(" ")[2] for line in PYPROJECT["project"]["classifiers"]}

    assert set(TESTED[name].get("pins", {})) <= set(TESTED[name]["versions"])
    assert {python for each in TESTED[name]["versions"].values() for python in each} <= pythons


def test_extras_use_only_operators_that_the_guard_knows() -> None:
    """`stacksona_adapters._extras` compares versions by itself, as the core has no dependency that does."""
    specifiers = [each for lines in EXTRAS.values() for line in lines for each in Requirement(line).specifier]

    assert {each.operator for each in specifiers} <= {">=", "<"}


def test_all_has_every_extra_that_fits() -> None:
    """The extra `all` forgets none."""
    (everything,) = [Requirement(line) for line in EXTRAS["all"]]

    assert everything.extras == set(EXTRAS) - {"all"} - DOES_NOT_FIT_ALL


def test_core_depends_on_four_distributions() -> None:
    """The core stays small."""
    names = {Requirement(line).name for line in PYPROJECT["project"]["dependencies"]}

    assert names == {"httpx", "pydantic", "rfc8785", "platformdirs"}


def test_every_framework_has_an_extra_and_tested_versions() -> None:
    """The tables of pyproject.toml and of the architecture test name the same adapters."""
    assert set(TESTED) == set(FRAMEWORKS)
    assert {name.replace("_", "-") for name in FRAMEWORKS} <= set(EXTRAS)


def missing_companions(name: str, root: Path) -> list[str]:
    """What an adapter lacks of its test, its page and its example."""
    test = [root / "tests" / "adapters" / place for place in (f"test_{name}.py", f"{name}/__init__.py")]
    page = root / "docs" / f"{name}.md"
    example = root / "examples" / f"{name}_refund.py"
    lacking = [] if any(each.exists() for each in test) else [str(test[0].relative_to(root))]
    return lacking + [str(each.relative_to(root)) for each in (page, example) if not each.exists()]


def test_adapters_are_complete() -> None:
    """Every adapter in the package has a test, a page and an example."""
    assert {name: missing_companions(name, ROOT) for name in PRESENT} == {name: [] for name in PRESENT}


def test_incomplete_adapter_is_noticed(tmp_path: Path) -> None:
    """The rule names what is not there."""
    assert missing_companions("ag2", tmp_path) == [
        "tests/adapters/test_ag2.py",
        "docs/ag2.md",
        "examples/ag2_refund.py",
    ]


def test_examples_do_not_shadow_a_framework() -> None:
    """A script named as a framework would be imported in its place by its neighbours."""
    taken = {module for modules in FRAMEWORKS.values() for module in modules}

    assert [file.name for file in ROOT.glob("examples/*.py") if file.stem in taken] == []


def test_installed_version_is_that_of_the_project() -> None:
    """The tests run against a build of this very project."""
    from importlib import metadata

    assert metadata.version("stacksona-adapters") == PYPROJECT["project"]["version"]


def test_changelog_knows_the_version_or_an_unreleased_one() -> None:
    """A change stands in the changelog before it is released."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.search(rf"^## \[(Unreleased|{re.escape(PYPROJECT['project']['version'])})\]", text, re.MULTILINE)
