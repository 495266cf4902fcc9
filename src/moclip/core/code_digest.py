"""The digest of the code that a stage runs: its script, and every definition of the package that the script reaches.

An engine that watches the time stamp of a script sees a touched file and misses an edited import. This digest changes
with the syntax tree of the code that can run. It does not change with comments, docstrings or layout, with functions
that the script never reaches, or with the place of a definition: a module may be moved, renamed or split.

Definitions are hashed, and modules are not. An import of this package counts as the definition that it brings in, an
import of another package as it is written, where its name is used. A package that is imported whole counts with all its
modules, since their names may be made when the code runs. Each definition is hashed together with those that
its names resolve to, so that the digest changes if a name is bound to another definition of the same name.

A name counts as reached if it occurs anywhere in the code of a reached definition, so that the digest covers more than
the code that runs, never less. Two things would escape it, and the package has neither: names looked up in a text
(`getattr` on a module, `globals()`), and star imports.

The models of settings are left out. A setting reaches a job through the job's params and keys, so a new default or
description reruns the jobs whose params change, and not all that parse settings.
"""

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path

from moclip.core.cache_folder import claim_folder
from moclip.core.files import replace_atomically

PACKAGE = "moclip"

_ROOT = Path(__file__).resolve().parents[2]

# Modules of declarations, which count as another package does.
_DECLARATIONS = frozenset(f"moclip.config.{name}" for name in ("settings", "dataset_settings", "network_settings"))

# Stands for every definition of a module.
_ALL = "*"

# A definition: the module, and the name at its top level.
Place = tuple[str, str]


@dataclass
class _Definition:
    """The syntax trees behind one name of a module, the names in them, and where imports inside them come from."""

    nodes: list[ast.AST] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    imports: set[tuple[str, Place]] = field(default_factory=set)

    @cached_property
    def dump(self) -> str:
        """The trees as text."""
        return "\n".join(map(ast.dump, self.nodes))


@dataclass
class _Module:
    """The top level of a module: its definitions, imports of this package by bound name, and statements that run."""

    definitions: dict[str, _Definition] = field(default_factory=dict)
    imports: dict[str, Place] = field(default_factory=dict)
    statements: _Definition = field(default_factory=_Definition)


# A reached definition, and where each of its names leads.
_Graph = dict[Place, tuple[_Definition, set[tuple[str, Place]]]]


def script_digests(folder: Path, *, memo: Path) -> dict[str, str]:
    """Return the `code_digest` of every script of a folder, by its name without suffix.

    `memo` is a folder that remembers them by the bytes of all that they could depend on, which takes milliseconds where
    the syntax trees take a second. It may be deleted at will, and a folder that cannot be written is no error.
    """
    return _remember(sorted(folder.glob("*.py")), memo=memo)


def remember_code_digest(path: Path, *, memo: Path) -> str:
    """Return the `code_digest` of one file, with a `memo` as for `script_digests`."""
    return _remember([path], memo=memo)[path.stem]


def _remember(paths: list[Path], *, memo: Path) -> dict[str, str]:
    place = memo / f"{_sources_digest(paths)}.json"
    try:
        noted: dict[str, str] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = {}
    if noted.keys() != {path.stem for path in paths}:
        noted = {path.stem: code_digest(path) for path in paths}
        _note(place, noted)
    return noted


def _sources_digest(scripts: Sequence[Path]) -> str:
    # Another version of Python writes another tree of the same source.
    digest = blake2b(sys.version.encode(), digest_size=16)
    for path in [*sorted((_ROOT / PACKAGE).rglob("*.py")), *scripts]:
        content = path.read_bytes()
        digest.update(f"\n{path.parent.name}/{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _note(place: Path, digests: dict[str, str]) -> None:
    with suppress(OSError):
        folder = claim_folder(place.parent.parent, place.parent.name)
        with replace_atomically(folder / place.name) as temporary:
            temporary.write_text(json.dumps(digests, indent=1), encoding="utf-8")


def code_digest(script: Path) -> str:
    """Return 16 hex digits over the script and the definitions of this package that it reaches, directly or not."""
    hashes = _hash_definitions(_reach(script))
    return blake2b("".join(sorted(hashes)).encode(), digest_size=8).hexdigest()


def definitions_digest(modules: Iterable[str]) -> str:
    """Return 16 hex digits over the definitions of some modules of the package, in whichever of them each is."""
    found = (_read_module(module).definitions.items() for module in modules)
    hashes = {_hash(name, definition.dump) for definitions in found for name, definition in definitions}
    return blake2b("".join(sorted(hashes)).encode(), digest_size=8).hexdigest()


def module_path(module: str) -> Path:
    """Return the file of a module of the package."""
    return _path_of(module)


def list_reached(script: Path) -> dict[Place, str]:
    """Return the definitions of the package that a file reaches, each with its syntax tree as text."""
    return {place: definition.dump for place, (definition, _) in _reach(script).items() if place[0]}


def _reach(script: Path) -> _Graph:
    # The script is the module without a name, and all of it is reached.
    own = _read_file(script)
    graph: _Graph = {}
    waiting = _follow(("", _ALL), script=own)
    while waiting:
        place = waiting.pop()
        if place in graph:
            continue
        module = _module_of(place, script=own)
        definition = module.definitions[place[1]] if place[1] else module.statements
        graph[place] = (definition, set())
        for name, target in _references(module, definition, of=place[0]):
            found = _follow(target, script=own)
            graph[place][1].update((name, reached) for reached in found)
            waiting |= found
        waiting.add((place[0], ""))  # what runs when the module is imported
    return graph


def _follow(place: Place, *, script: _Module) -> set[Place]:
    """Return the definitions that a place stands for: one, or all of a module; imports lead on to where they end."""
    found: set[Place] = set()
    seen: set[Place] = set()
    waiting = {place}
    while waiting:
        place = waiting.pop()
        seen.add(place)
        module = _module_of(place, script=script)
        if place[1] in module.definitions:
            found.add(place)
        elif place[1] in module.imports:
            waiting.add(module.imports[place[1]])
        else:
            found |= {(place[0], name) for name in ["", *module.definitions]}
            waiting |= {*module.imports.values(), *_inside(place[0])}
        waiting -= seen
    return found


def _inside(package: str) -> set[Place]:
    """Return the modules of a package that is imported whole: their names may be made when the code runs."""
    path = _path_of(package) if package else Path()
    modules = path.parent.glob("*.py") if path.name == "__init__.py" else ()
    return {(f"{package}.{module.stem}", _ALL) for module in modules if module.name != path.name}


def _module_of(place: Place, *, script: _Module) -> _Module:
    return _read_module(place[0]) if place[0] else script


def _references(module: _Module, definition: _Definition, *, of: str) -> Iterator[tuple[str, Place]]:
    for name in definition.names:
        if name in module.definitions:
            yield name, (of, name)
        elif name in module.imports:
            yield name, module.imports[name]
    yield from definition.imports


def _hash_definitions(graph: _Graph) -> set[str]:
    # Each round includes one more step along the names, until a round separates no further definitions.
    own = {place: _hash(place[1], definition.dump) for place, (definition, _) in graph.items() if definition.nodes}
    hashes = own
    while True:
        refined = {
            place: _hash(own[place], *sorted(f"{name} {hashes[to]}" for name, to in graph[place][1] if to in own))
            for place in own
        }
        is_stable = len(set(refined.values())) == len(set(hashes.values()))
        hashes = refined
        if is_stable:
            return set(hashes.values())


def _hash(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@cache
def _read_module(name: str) -> _Module:
    return _read_file(_path_of(name))


def _read_file(path: Path) -> _Module:
    module = _Module()
    # Not the tree that is remembered: imports are taken out of this one.
    for node in _parse_file(path).body:
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
    for below in ast.walk(node):
        if isinstance(below, ast.Name):
            definition.names.add(below.id)
        elif isinstance(below, ast.Import | ast.ImportFrom):
            definition.imports.update(_bound_places(below))
    definition.nodes.append(_OthersOnly().visit(node))


class _OthersOnly(ast.NodeTransformer):
    """A tree without the imports of this package, which count as the definitions that they bring in."""

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return _without_own(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return _without_own(node)


def _without_own(node: ast.Import | ast.ImportFrom) -> ast.AST | None:
    node.names = [alias for alias in node.names if _place_of(node, alias) is None]
    return node if node.names else None


def _bound_places(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Place]]:
    for alias in node.names:
        place = _place_of(node, alias)
        if place is not None:
            yield alias.asname or alias.name.split(".")[0], place


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


def _place_of(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Place | None:
    if isinstance(node, ast.Import):
        return (alias.name, _ALL) if _is_ours(alias.name) else None
    if node.level or not node.module or node.module.split(".")[0] != PACKAGE:
        return None
    if node.module in _DECLARATIONS:
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
def _parse(path: Path) -> ast.Module:
    return _parse_file(path)


def _parse_file(path: Path) -> ast.Module:
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
