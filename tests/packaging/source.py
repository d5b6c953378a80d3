"""What the tests of the architecture read from the syntax trees: imports, function lengths, exception handlers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "stacksona_adapters"
LOG_METHODS = {"critical", "debug", "error", "exception", "info", "log", "print", "warn", "warning"}
IMPORTERS = {"import_module", "__import__", "find_spec"}


class Imported(NamedTuple):
    """One module that a file imports, anywhere in it."""

    module: str
    line: int
    deferred: bool


class Function(NamedTuple):
    """A function and its length: from `def` to its end, without the docstring."""

    name: str
    line: int
    length: int


def modules(package: Path) -> Iterator[tuple[str, ast.Module, Path]]:
    """Every module of the package: its dotted name below the package, its tree, its file."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, ast.parse(file.read_text(encoding="utf-8")), file


def imports(name: str, tree: ast.Module, file: Path) -> Iterator[Imported]:
    """Every import of a module: at its top, in functions, for the type checker, and by name through importlib."""
    inside = {id(node) for function in _functions(tree) for node in ast.walk(function)}
    for node in ast.walk(tree):
        for module in _imported(node, name, is_package=file.name == "__init__.py"):
            yield Imported(module, getattr(node, "lineno", 0), id(node) in inside)


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function of a module, methods and nested ones too; overload stubs left out."""
    for node in _functions(tree):
        if any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            length -= (first.end_lineno or first.lineno) - first.lineno + 1
        yield Function(node.name, node.lineno, length)


def hiding_handlers(tree: ast.Module) -> Iterator[int]:
    """The lines of handlers that catch everything and neither raise nor pass the error on; logging it is not enough."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node.type):
            raises = any(isinstance(each, ast.Raise) for each in ast.walk(node))
            if not raises and not any(_uses(each, node.name) for each in node.body):
                yield node.lineno


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _imported(node: ast.AST, name: str, *, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _base(node, name, is_package=is_package)
        return [f"{base}.{each.name}" for each in node.names] if base == PACKAGE else [base]
    if isinstance(node, ast.Call) and _called(node) in IMPORTERS and node.args:
        first = node.args[0]
        return [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
    return []


def _base(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = [PACKAGE, *filter(None, name.split("."))]
    above = node.level - 1 if is_package else node.level
    return ".".join([*parts[: len(parts) - above], *filter(None, [node.module])])


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _catches_everything(caught: ast.expr | None) -> bool:
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(one is None or (isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"}) for one in each)


def _uses(node: ast.AST, name: str | None) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name
    if isinstance(node, ast.Call) and _called(node) in LOG_METHODS:
        return False
    return any(_uses(child, name) for child in ast.iter_child_nodes(node))
