"""The digest of the code that a stage runs: its script and every module of the package that the script reaches.

An engine that watches the time stamp of a script sees a touched file and misses an edited import. This digest sees
what counts: it changes with the syntax tree, and not with comments, docstrings or layout.
"""

import ast
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path

PACKAGE = "moclip"
_ROOT = Path(__file__).resolve().parent.parent


def code_digest(script: Path) -> str:
    """Return 16 hex digits over the script and the modules of this package that it imports, directly or not."""
    digest = blake2b(_dump(script).encode(), digest_size=8)
    for name in sorted(reached_modules(script)):
        digest.update(f"{name}\0{_dump(_path_of(name))}".encode())
    return digest.hexdigest()


def module_digest(module: str) -> str:
    """Return 16 hex digits over one module of the package alone."""
    return blake2b(_dump(_path_of(module)).encode(), digest_size=8).hexdigest()


def reached_modules(script: Path) -> set[str]:
    """Return the names of the package's modules that a file imports, directly or through others."""
    seen: set[str] = set()
    waiting = list(imported_modules(script))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(imported_modules(_path_of(name)))
    return seen


@cache
def imported_modules(path: Path) -> tuple[str, ...]:
    """Return the names of the package's modules that a file imports itself, wherever in the file."""
    return tuple(sorted(set(_imports(ast.parse(path.read_text(encoding="utf-8"))))))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE and _exists(name))


def _exists(name: str) -> bool:
    path = _ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _path_of(name: str) -> Path:
    path = _ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


@cache
def _dump(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _has_docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
