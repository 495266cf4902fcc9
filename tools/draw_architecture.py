"""Write the tree of the library and the graph of rules into docs/architecture.md.

    python tools/draw_architecture.py

The tree has the first line of each module's docstring. The graph has the rules of the demo and what they read, without
the edges that follow from others.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

from moclip.config.validation import check_config
from moclip.core.code_digest import imported_modules
from moclip.workflow.jobs import GATES
from moclip.workflow.plan import Plan

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/architecture.md"
LIBRARY = REPOSITORY / "src/moclip"

Edges = dict[str, set[str]]


def describe(path: Path) -> str:
    """Return the first line of the docstring of a module, or of a package."""
    place = path / "__init__.py" if path.is_dir() else path
    return (ast.get_docstring(ast.parse(place.read_text(encoding="utf-8"))) or "").split("\n")[0]


def draw_tree() -> str:
    """Return the tree of packages and modules, a line each."""
    lines = []
    for package in order_packages():
        lines += ["", f"{package.stem + '/' * package.is_dir():<22}{describe(package)}"]
        lines += [f"  {path.stem:<20}{describe(path)}" for path in sorted(package.glob("[!_]*.py"))]
    return "\n".join(["```text", *lines[1:], "```"])


def order_packages() -> list[Path]:
    """Return the packages and modules of the library, each behind those that it imports from."""
    packages = [path for path in sorted(LIBRARY.iterdir()) if path.suffix == ".py" or (path / "__init__.py").is_file()]
    by_name = {path.stem: path for path in packages if path.stem != "__init__"}
    imported = {name: {place.split(".")[1] for place in list_imports(path)} for name, path in by_name.items()}
    graph = {name: (below & set(by_name)) - {name} for name, below in imported.items()}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def list_imports(path: Path) -> set[str]:
    """Return the modules of the library that a module, or those of a package, import."""
    modules = path.glob("*.py") if path.is_dir() else [path]
    return {name for module in modules for name in imported_modules(module) if name.count(".")}


def read_edges() -> Edges:
    """Return the rules of the demo, each with the rules that it reads."""
    settings = check_config(yaml.safe_load((REPOSITORY / "config/config.yaml").read_text(encoding="utf-8")))
    plan = Plan(settings)
    edges: Edges = {}
    for job in plan.jobs:
        edges.setdefault(job.rule, set()).update(above.rule for above in job.above)
    return edges


def list_all_above(rule: str, *, edges: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield every rule above a rule, perhaps several times."""
    for above in edges[rule]:
        yield above
        yield from list_all_above(above, edges=edges)


def draw_graph() -> str:
    """Return the graph of rules in the language of Mermaid."""
    edges = read_edges()
    lines = [f'  {rule}{{{{"{rule}"}}}}' if rule in GATES else f"  {rule}" for rule in edges]
    for rule, direct in edges.items():
        further = {far for above in direct for far in list_all_above(above, edges=edges)}
        lines += [f"  {above} --> {rule}" for above in edges if above in direct - further]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


DRAWINGS: Mapping[str, Callable[[], str]] = {"tree": draw_tree, "graph": draw_graph}


def insert_drawings(page: str) -> str:
    """Return a page with its drawings replaced by the present ones."""
    for name, draw in DRAWINGS.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{draw()}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(insert_drawings(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
