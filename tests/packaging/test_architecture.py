"""The layers hold: who imports what, how long things are, and that nothing swallows an error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stacksona_adapters
from tests.packaging.source import PACKAGE, functions, hiding_handlers, imports, modules

INSTALLED = Path(stacksona_adapters.__file__).parent

LONGEST_FUNCTION = 60
LONGEST_MODULE = 400
USUAL_FUNCTION = 30  # nine of ten functions are shorter

FRAMEWORKS = {
    "ag2": {"ag2"},
    "autogen": {"autogen_agentchat", "autogen_core", "autogen_ext"},
    "autogen_classic": {"autogen"},
    "crewai": {"crewai"},
    "langchain": {"langchain", "langchain_core", "langgraph"},
    "langgraph": {"langgraph", "langchain_core"},
    "llamaindex": {"llama_index", "workflows"},
    "pydantic_ai": {"pydantic_ai", "pydantic_graph"},
}
CORE = {"errors", "_extras", "protocol", "gating", "client"}
EVERYTHING_BELOW_TOP = {*CORE, "", "audit", "webhooks", "server", "local"}

# What the modules of a layer may import of this package. The key "" is the root, `stacksona_adapters/__init__.py`.
OWN: dict[str, set[str]] = {
    "": CORE - {"_extras"},
    "errors": set(),
    "_extras": {"errors"},
    "protocol": {"errors"},
    "gating": {"errors", "protocol"},
    "client": {"errors", "_extras", "protocol", "gating"},
    "webhooks": {"errors", "_extras", "protocol"},
    "audit": {"errors", "protocol"},
    "server": {"errors", "_extras", "protocol"},
    "local": {*CORE, "", "server"},
    "testing": {*EVERYTHING_BELOW_TOP, "demo"},
    "demo": {*EVERYTHING_BELOW_TOP, *FRAMEWORKS},
    "cli": {*EVERYTHING_BELOW_TOP, "demo"},
    # LangChain's agents are LangGraph graphs: what handles LangGraph's objects exists once.
    "_langgraph": {*CORE, ""},
    **{name: {*CORE, ""} for name in FRAMEWORKS},
    **{name: {*CORE, "", "_langgraph"} for name in ("langgraph", "langchain")},
}

STANDARD = {*sys.stdlib_module_names, "tomllib"}  # of 3.11; an older Python has tomli in its place
# What they may import of others' packages; a longer key replaces the shorter one below it.
TYPES = {"pydantic", "pydantic_core", "typing_extensions"}
TERMINAL = {"click", "rich", "typer"}
SERVER = {
    *TYPES,
    *("alembic", "apprise", "argon2", "authlib", "cryptography", "fastapi", "jinja2", "joserfc", "jsonschema"),
    *("limits", "markupsafe", "multipart", "opentelemetry", "prometheus_client", "psycopg", "python_multipart", "re2"),
    *("referencing", "rfc8785", "sqlalchemy", "standardwebhooks", "starlette", "tomli", "uvicorn"),
}
OTHERS: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "_extras": set(),
    "protocol": {*TYPES, "rfc8785"},
    "gating": TYPES,
    "client": {*TYPES, "httpx", "platformdirs", "opentelemetry"},
    "webhooks": TYPES,
    "audit": set(),
    "server": {*SERVER, "platformdirs"},
    "server.delivery": {*SERVER, "httpx"},
    "server.oidc": {*SERVER, "httpx"},
    "local": {*TYPES, "platformdirs", "uvicorn"},
    "testing": {*TYPES, "httpx", "pytest"},
    "demo": {*TYPES, *TERMINAL, *set().union(*FRAMEWORKS.values())},
    "cli": {*TYPES, *TERMINAL, "platformdirs", "tomli", "uvicorn"},
    "cli.database": {"sqlalchemy"},  # its errors become sentences
    "_langgraph": {*TYPES, *FRAMEWORKS["langgraph"]},
    **{name: {*TYPES, *theirs} for name, theirs in FRAMEWORKS.items()},
}


def import_violations(package: Path) -> Iterator[str]:
    """Every import that the two tables do not permit."""
    for name, tree, file in modules(package):
        layer = name.partition(".")[0]
        if layer not in OWN:
            yield f"{name}: in no layer; add it to the tables"
            continue
        permitted = OTHERS[_longest(name, OTHERS)]
        for found in imports(name, tree, file):
            top, _, rest = found.module.partition(".")
            below = rest.partition(".")[0]
            below = below if below in OWN else ""  # a name that the root defines
            if top == PACKAGE and below != layer and below not in OWN[layer]:
                yield f"{name}:{found.line} imports {found.module}"
            if top not in {PACKAGE, *permitted} and top not in STANDARD:
                yield f"{name}:{found.line} imports {found.module}"


def deferral_violations(package: Path) -> Iterator[str]:
    """Every import inside a function; only the command line may, for its start-up time."""
    for name, tree, file in modules(package):
        if name.partition(".")[0] != "cli":
            yield from (f"{name}:{found.line} imports late" for found in imports(name, tree, file) if found.deferred)


def size_violations(package: Path) -> Iterator[str]:
    """Modules and functions that have grown too long, and long functions becoming usual."""
    lengths = []
    for name, tree, file in modules(package):
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_MODULE:
            yield f"{name}: {lines} lines; make it a package"
        for function in functions(tree):
            lengths.append(function.length)
            if function.length > LONGEST_FUNCTION:
                yield f"{name}:{function.line} {function.name} has {function.length} lines"
    usual = sorted(lengths)[int(len(lengths) * 0.9)] if lengths else 0
    if usual >= USUAL_FUNCTION:
        yield f"one function in ten has {usual} lines or more"


def hiding_violations(package: Path) -> Iterator[str]:
    """Handlers that catch everything and pass nothing on."""
    for name, tree, _ in modules(package):
        yield from (f"{name}:{line} hides every error" for line in hiding_handlers(tree))


def _longest(name: str, table: dict[str, set[str]]) -> str:
    return max((key for key in table if f"{name}.".startswith(f"{key}." if key else "")), key=len)


Rule = Callable[[Path], Iterator[str]]


@pytest.mark.parametrize(
    "rule", [import_violations, deferral_violations, size_violations, hiding_violations], ids=lambda rule: rule.__name__
)
def test_package_obeys(rule: Rule) -> None:
    """The installed package breaks none of the rules."""
    assert list(rule(INSTALLED)) == []


def test_rules_see_the_whole_package() -> None:
    """The rules read the real files, not an empty directory."""
    names = {name for name, _, _ in modules(INSTALLED)}

    assert {"errors", "_extras", "protocol.canonical", "gating.flow"} <= names


def test_every_layer_has_both_rows() -> None:
    """A layer with a row in only one of the tables would be half checked."""
    assert set(OWN) == {key for key in OTHERS if "." not in key}


MODULE_OF_401_LINES = "A = 1\n" * 401
FUNCTION_OF_61_LINES = "def long():\n" + "    a = 1\n" * 60
NESTED_HANDLER = "def f():\n    try:\n        g()\n    except {}:\n        {}\n"

VIOLATIONS: list[tuple[Rule, str, str]] = [
    (import_violations, "protocol/models.py", "import httpx"),
    (import_violations, "protocol/models.py", "from stacksona_adapters.gating import flow"),
    (import_violations, "gating/flow.py", "from ..client import loop"),
    (import_violations, "gating/flow.py", "from stacksona_adapters import Gate"),
    (import_violations, "client/transport.py", "from stacksona_adapters.server import app"),
    (import_violations, "client/transport.py", "import requests"),
    (import_violations, "server/api/tasks.py", "def f():\n    from stacksona_adapters.client import transport"),
    (import_violations, "server/service/tasks.py", "import httpx"),
    (import_violations, "server/app.py", "if TYPE_CHECKING:\n    from stacksona_adapters.gating.flow import gate"),
    (import_violations, "webhooks.py", "import stacksona_adapters.client.transport"),
    (import_violations, "langgraph.py", "from stacksona_adapters.langchain import x"),
    (import_violations, "langgraph.py", "import crewai"),
    (import_violations, "langgraph/_nodes.py", "import httpx"),
    (import_violations, "__init__.py", "from stacksona_adapters import pydantic_ai"),
    (import_violations, "__init__.py", "from .server import app"),
    (import_violations, "client/spans.py", "import importlib\nimportlib.import_module('langgraph')"),
    (import_violations, "unknown.py", ""),
    (deferral_violations, "client/transport.py", "def f():\n    import json"),
    (size_violations, "gating/flow.py", FUNCTION_OF_61_LINES),
    (size_violations, "gating/flow.py", MODULE_OF_401_LINES),
    (size_violations, "gating/flow.py", "def usual():\n" + "    a = 1\n" * 30),
    (hiding_violations, "client/outbox.py", NESTED_HANDLER.format("Exception", "pass")),
    (hiding_violations, "client/outbox.py", NESTED_HANDLER.format("(ValueError, BaseException)", "return None")),
    (hiding_violations, "client/outbox.py", NESTED_HANDLER.format("Exception as e", "log.warning('%s', e)")),
    (hiding_violations, "client/outbox.py", "try:\n    g()\nexcept:\n    log()"),
]

PERMITTED: list[tuple[Rule, str, str]] = [
    (import_violations, "client/transport.py", "import httpx\nfrom stacksona_adapters.gating import flow"),
    (import_violations, "gating/flow.py", "from . import effects\nfrom ..errors import StacksonaError"),
    (
        import_violations,
        "langgraph/_nodes.py",
        "from langgraph.types import Send\nfrom stacksona_adapters import Gate",
    ),
    (import_violations, "server/delivery.py", "import httpx\nimport json"),
    (deferral_violations, "cli/main.py", "def f():\n    import json"),
    (size_violations, "gating/flow.py", 'def f():\n    """' + "text\n" * 100 + '    """\n'),
    (hiding_violations, "client/loop.py", NESTED_HANDLER.format("Exception", "raise")),
    (hiding_violations, "client/loop.py", NESTED_HANDLER.format("Exception as e", "future.set_exception(wrap(e))")),
    (hiding_violations, "client/loop.py", NESTED_HANDLER.format("Exception as e", "self.error = e")),
    (hiding_violations, "client/loop.py", NESTED_HANDLER.format("ValueError", "pass")),
]


def plant(package: Path, place: str, code: str) -> None:
    """Write one module into an otherwise empty package."""
    file = package / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code + "\n")


@pytest.mark.parametrize(("rule", "place", "code"), VIOLATIONS)
def test_rule_catches(tmp_path: Path, rule: Rule, place: str, code: str) -> None:
    """Each rule fires on a deliberate violation."""
    plant(tmp_path, place, code)

    assert list(rule(tmp_path)) != []


@pytest.mark.parametrize(("rule", "place", "code"), PERMITTED)
def test_rule_permits(tmp_path: Path, rule: Rule, place: str, code: str) -> None:
    """No rule fires on what it permits."""
    plant(tmp_path, place, code)

    assert list(rule(tmp_path)) == []
