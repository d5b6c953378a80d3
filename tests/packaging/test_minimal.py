"""The core alone: run by the nox session `minimal`, where nothing but its four dependencies is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys

import pytest

import stacksona_adapters
from stacksona_adapters._extras import requirements
from stacksona_adapters.errors import MissingExtra, UnsupportedVersion
from tests.packaging.test_architecture import CORE, FRAMEWORKS

HERE = {module.name for module in pkgutil.iter_modules(stacksona_adapters.__path__)}
HEAVY = {"fastapi", "uvicorn", "sqlalchemy", "alembic", "jinja2", "cryptography", "typer", "rich", "opentelemetry"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a statement loads in a fresh Python."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def core_modules() -> list[str]:
    """Every module of the core."""
    found = pkgutil.walk_packages(stacksona_adapters.__path__, "stacksona_adapters.", onerror=lambda _: None)
    return [module.name for module in found if module.name.split(".")[1] in {*CORE, "webhooks"}]


def test_environment_is_minimal() -> None:
    """The session really has no extra installed; otherwise the tests below would prove nothing."""
    assert [name for name in sorted(HEAVY) if importlib.util.find_spec(name) is not None] == []


def test_every_core_module_imports() -> None:
    """No module of the core needs more than the core's dependencies."""
    for name in core_modules():
        importlib.import_module(name)


def test_import_loads_neither_adapters_nor_server() -> None:
    """`import stacksona_adapters` loads the core and its dependencies only."""
    loaded = loaded_by("import stacksona_adapters")
    frameworks = set().union(*FRAMEWORKS.values())

    assert "stacksona_adapters" in loaded
    assert loaded & (HEAVY | frameworks) == set()


@pytest.mark.parametrize("name", sorted(HERE & set(FRAMEWORKS)))
def test_adapter_names_its_extra(name: str) -> None:
    """An adapter without its framework says what to install, or that no release of it runs on this Python."""
    with pytest.raises((MissingExtra, UnsupportedVersion)) as caught:
        importlib.import_module(f"stacksona_adapters.{name}")

    if caught.type is UnsupportedVersion:
        assert (name, sys.version_info >= (3, 13)) == ("autogen_classic", True)
        assert "needs Python<3.13" in str(caught.value)
        return
    assert f"pip install 'stacksona-adapters[{name.replace('_', '-')}]'" in str(caught.value)


@pytest.mark.parametrize("module", ["local", "server"])
def test_server_names_its_extra(module: str) -> None:
    """The gate without its dependencies says what to install."""
    with pytest.raises(MissingExtra) as caught:
        importlib.import_module(f"stacksona_adapters.{module}")

    assert "pip install 'stacksona-adapters[server]'" in str(caught.value)


def test_command_names_its_extra() -> None:
    """`stacksona` without the extra `server` ends with one sentence, not with a traceback."""
    done = subprocess.run(["stacksona", "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "pip install 'stacksona-adapters[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_metadata_has_the_extras() -> None:
    """The messages are built from the installed metadata, which therefore has to be there."""
    assert [each.distribution for each in requirements("langgraph")] == ["langgraph"]
