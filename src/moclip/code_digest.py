"""The digest of the code that a stage runs: its script, and every definition of the package that the script reaches.

An engine that watches the time stamp of a script sees a touched file and misses an edited import. This digest sees
what counts: it changes with the syntax tree of what can run, and not with comments, docstrings or layout, nor with
functions of the same modules that the script never reaches.

A name counts as reached when it stands anywhere in the code of a reached definition, so that more is taken in than
runs, never less. Two things would escape it, and the package has neither: names looked up in a text (`getattr` on a
module, `globals()`), and star imports.
"""

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path

from moclip.files import replace_atomically

PACKAGE = "moclip"
_ROOT = Path(__file__).resolve().parent.parent
# Stands for every definition of a module.
_ALL = "*"

# A definition: the module, and the name at its top level.
Place = tuple[str, str]


@dataclass
class _Definition:
    """The syntax trees behind one name of a module, and the names that stand in them."""

    nodes: list[ast.AST] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    imports: set[Place] = field(default_factory=set)

    @cached_property
    def dump(self) -> str:
        """The trees as text."""
        return "\n".join(map(ast.dump, self.nodes))


@dataclass
class _Module:
    """The top level of a module: what each name is, where imported names come from, and statements that just run."""

    definitions: dict[str, _Definition] = field(default_factory=dict)
    imports: dict[str, Place] = field(default_factory=dict)
    statements: _Definition = field(default_factory=_Definition)


def script_digests(folder: Path, *, memo: Path) -> dict[str, str]:
    """Return the `code_digest` of every script of a folder, by its name without suffix.

    `memo` is a folder that remembers them by the bytes of all that they could depend on, which takes milliseconds where
    the syntax trees take a second. It may be deleted at will, and does without where it cannot be written.
    """
    scripts = sorted(folder.glob("*.py"))
    place = memo / f"{_sources_digest(scripts)}.json"
    try:
        noted: dict[str, str] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = {}
    if noted.keys() != {script.stem for script in scripts}:
        noted = {script.stem: code_digest(script) for script in scripts}
        _note(place, noted)
    return noted


def _sources_digest(scripts: list[Path]) -> str:
    # Another version of Python writes another tree of the same source.
    digest = blake2b(sys.version.encode(), digest_size=16)
    for path in [*sorted((_ROOT / PACKAGE).rglob("*.py")), *scripts]:
        content = path.read_bytes()
        digest.update(f"\n{path.parent.name}/{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _note(place: Path, digests: dict[str, str]) -> None:
    try:
        with replace_atomically(place) as temporary:
            temporary.write_text(json.dumps(digests, indent=1), encoding="utf-8")
    except OSError:
        return


def code_digest(script: Path) -> str:
    """Return 16 hex digits over the script and the definitions of this package that it reaches, directly or not."""
    digest = blake2b(_dump(script).encode(), digest_size=8)
    for (module, name), dump in sorted(list_reached(script).items()):
        digest.update(f"{module}\0{name}\0{dump}".encode())
    return digest.hexdigest()


def module_digest(module: str) -> str:
    """Return 16 hex digits over one module of the package alone."""
    return blake2b(_dump(_path_of(module)).encode(), digest_size=8).hexdigest()


def list_reached(script: Path) -> dict[Place, str]:
    """Return the definitions of the package that a file reaches, each with its syntax tree as text."""
    reached: dict[Place, str] = {}
    waiting = sorted(_imported_places(_parse(script)))
    while waiting:
        place = waiting.pop()
        if place in reached:
            continue
        module = _read_module(place[0])
        definition, waiting_too = _resolve(module, place)
        reached[place] = definition.dump
        waiting.extend(waiting_too | {(place[0], "")})
    return reached


def _resolve(module: _Module, place: Place) -> tuple[_Definition, set[Place]]:
    name = place[1]
    if name == "":  # what runs when the module is imported
        return module.statements, _references(module, module.statements, of=place[0])
    if name in module.definitions:
        definition = module.definitions[name]
        return definition, _references(module, definition, of=place[0])
    if name in module.imports:
        return _Definition(), {module.imports[name]}
    return _Definition(), {(place[0], other) for other in module.definitions} | set(module.imports.values())


def _references(module: _Module, definition: _Definition, *, of: str) -> set[Place]:
    own = {(of, name) for name in definition.names if name in module.definitions}
    imported = {module.imports[name] for name in definition.names if name in module.imports}
    return own | imported | definition.imports


@cache
def _read_module(name: str) -> _Module:
    module = _Module()
    for node in _parse(_path_of(name)).body:
        targets = _targets(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            _add_import(module, node)
        for target in targets:
            _add(module.definitions.setdefault(target, _Definition()), node)
        if not targets and not isinstance(node, ast.Import | ast.ImportFrom) and not _is_for_types(node):
            _add(module.statements, node)
    return module


def _add_import(module: _Module, node: ast.Import | ast.ImportFrom) -> None:
    for alias in node.names:
        bound = alias.asname or alias.name.split(".")[0]
        place = _place_of(node, alias)
        if place is not None:
            module.imports[bound] = place
        else:  # of another package: which one it is counts where its name is used
            single = ast.Import([alias]) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, [alias], 0)
            module.definitions.setdefault(bound, _Definition()).nodes.append(single)


def _add(definition: _Definition, node: ast.AST) -> None:
    definition.nodes.append(node)
    for below in ast.walk(node):
        if isinstance(below, ast.Name):
            definition.names.add(below.id)
        elif isinstance(below, ast.Import | ast.ImportFrom):
            definition.imports.update(_places_of(below))


def _targets(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    else:
        return []
    return [below.id for target in targets for below in ast.walk(target) if isinstance(below, ast.Name)]


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imported_places(tree: ast.AST) -> Iterator[Place]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _places_of(node)


def _places_of(node: ast.Import | ast.ImportFrom) -> Iterator[Place]:
    yield from (place for alias in node.names if (place := _place_of(node, alias)) is not None)


def _place_of(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Place | None:
    if isinstance(node, ast.Import):
        return (alias.name, _ALL) if _is_ours(alias.name) else None
    if node.level or not node.module or node.module.split(".")[0] != PACKAGE:
        return None
    whole = f"{node.module}.{alias.name}"
    return (whole, _ALL) if _exists(whole) else (node.module, alias.name)


@cache
def imported_modules(path: Path) -> tuple[str, ...]:
    """Return the names of the package's modules that a file imports itself, wherever in the file."""
    return tuple(sorted(set(_imports(_parse(path)))))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if _is_ours(name))


def _is_ours(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] == PACKAGE and _exists(name)


@cache
def _exists(name: str) -> bool:
    path = _ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _path_of(name: str) -> Path:
    path = _ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


@cache
def _dump(path: Path) -> str:
    return ast.dump(_parse(path))


@cache
def _parse(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _has_docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
