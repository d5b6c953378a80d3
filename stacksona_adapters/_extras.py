"""The one guard around imports of optional dependencies.

What is supported stands only in the package's own metadata (the extras of pyproject.toml); every message is built
from it.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from stacksona_adapters.errors import BrokenExtra, ConfigurationError, MissingExtra, UnsupportedVersion

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

DISTRIBUTION = "stacksona-adapters"
_PACKAGE = __name__.partition(".")[0]
_COMPARE = {
    ">=": lambda have, want: have >= want,
    "<": lambda have, want: have < want,
    "<=": lambda have, want: have <= want,
    ">": lambda have, want: have > want,
    "==": lambda have, want: have == want,
    "!=": lambda have, want: have != want,
}


class Requirement(NamedTuple):
    """One requirement of an extra, as the installed metadata has it.

    Attributes:
        distribution: The name to install, such as `llama-index-core`.
        supported: The range, oldest bound first, such as `>=0.14.7,<0.15`; empty where any version will do.
        pythons: The range of Pythons that the requirement is for; empty where it is for all.
    """

    distribution: str
    supported: str
    pythons: str


class extra:  # noqa: N801 - reads as the statement that it is: `with extra("langgraph"): import langgraph`
    """Import optional dependencies, or say in one sentence what is wrong and what to install.

    Args:
        name: The extra, by its own name or its module's: `pydantic-ai` and `pydantic_ai` are the same.
        distributions: What the block imports from; without any, all that the extra brings.

    Raises:
        MissingExtra: A distribution is not installed.
        UnsupportedVersion: It is installed in a version out of the extra's range, or the Python is.
        BrokenExtra: It is installed and its import fails, for example on a missing dependency of its own.
            A failing import inside this package is never renamed: that is our bug.
    """

    def __init__(self, name: str, *distributions: str) -> None:
        self.name = _normal(name)
        found = requirements(self.name)
        wanted = {_normal(each) for each in distributions} or {_normal(each.distribution) for each in found}
        self._wanted = sorted(wanted)
        self._requirements = [each for each in found if _normal(each.distribution) in wanted]

    def __enter__(self) -> None:
        applicable = [each for each in self._requirements if _within(_python(), each.pythons)]
        if self._requirements and not applicable:
            raise UnsupportedVersion(
                f"the extra [{self.name}] needs Python{self._requirements[0].pythons}, this is Python {_python()}: "
                f"use an environment with such a Python"
            )
        missing = [each.distribution for each in applicable if _installed(each.distribution) is None]
        if missing:
            raise self._missing(missing)
        for each in applicable:
            self._check(each, _installed(each.distribution) or "")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, ConfigurationError) or _is_ours(error, traceback):
            return
        installed = {each: version for each in self._wanted if (version := _installed(each))}
        if not installed:
            raise self._missing(self._wanted) from error
        names = ", ".join(f"{each} {version}" for each, version in installed.items())
        raise BrokenExtra(
            f"{names} is installed but could not be imported ({type(error).__name__}: {error}). "
            f"Repair it with: {self._command('--force-reinstall ')}",
            name=getattr(error, "name", None),
        ) from error

    def _missing(self, distributions: Iterable[str]) -> MissingExtra:
        names = ", ".join(distributions) or self.name
        return MissingExtra(f"{names} is not installed; install it with: {self._command()}", name=names)

    def _check(self, requirement: Requirement, version: str) -> None:
        if not _within(version, requirement.supported):
            raise UnsupportedVersion(
                f"{requirement.distribution} {version} is installed, the extra [{self.name}] supports "
                f"{requirement.distribution}{requirement.supported}; install that with: {self._command('--upgrade ')}",
                name=requirement.distribution,
            )

    def _command(self, options: str = "") -> str:
        return f"pip install {options}'{DISTRIBUTION}[{self.name}]'"


def require(name: str, *distributions: str) -> None:
    """Raise what `extra` would raise before its block: for a package whose modules need an extra here and there.

    Args:
        name: The extra, by its own name or its module's.
        distributions: What is needed of it; without any, all that it brings.
    """
    with extra(name, *distributions):
        pass


def requirements(name: str) -> list[Requirement]:
    """What an extra requires, from the metadata of the installed package; empty where there is no metadata.

    Args:
        name: The extra, by its own name or its module's.
    """
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    parsed = (_parse(line) for line in lines if _extra_of(line) == _normal(name))
    return [each for each in parsed if each is not None]


def _extra_of(line: str) -> str | None:
    match = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
    return _normal(match[1]) if match else None


def _parse(line: str) -> Requirement | None:
    wanted, _, marker = line.partition(";")
    match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^()]*)\)?", wanted)
    if match is None:
        return None
    bounds = sorted((bound.strip() for bound in match[2].split(",") if bound.strip()), key=lambda each: each[0] != ">")
    pythons = re.findall(r"python_version\s*([<>=!]+)\s*['\"]([\d.]+)['\"]", marker)
    return Requirement(match[1], ",".join(bounds), ",".join(operator + version for operator, version in pythons))


def _within(version: str, supported: str) -> bool:
    for operator, wanted in re.findall(r"([<>=!]+)\s*([^,\s]+)", supported):
        have, want = _release(version), _release(wanted)
        length = max(len(have), len(want))
        padded = (*have, *[0] * (length - len(have))), (*want, *[0] * (length - len(want)))
        if not _COMPARE[operator](*padded):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version: PEP 440's release segment. A pre-release counts as its release."""
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _is_ours(error: Exception, traceback: TracebackType | None) -> bool:
    """Whether the failing line, or the module that it could not find, is of this package."""
    name = getattr(error, "name", None) if isinstance(error, ImportError) else None
    if name is not None and name.partition(".")[0] == _PACKAGE:
        return True
    frames = []
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith("importlib"):
            frames.append(module)
        traceback = traceback.tb_next
    in_block = len(frames) <= 1
    if in_block:
        return not isinstance(error, ImportError)
    return frames[-1].partition(".")[0] == _PACKAGE


def _python() -> str:
    return ".".join(str(part) for part in sys.version_info[:2])


def _normal(name: str) -> str:
    """A name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()
