"""The layout of the library: packages that import in one direction, and one door for each heavy package."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moclip.core.code_digest import imported_modules

SOURCE = Path(__file__).resolve().parents[2] / "src" / "moclip"
SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"

# From the ground up: a module imports from its own package or from those before it. `moclip` itself is lazy.
ORDER = (
    "versions",
    "errors",
    "core",
    "config",
    "motion",
    "video",
    "pictures",
    "dataset",
    "encoders",
    "cache",
    "extraction",
    "training",
    "workflow",
    "evaluation",
    "report",
    "inference",
    "cli",
    "__main__",
)
# The packages whose modules may import a heavy package, or the only modules that may.
DOORS: dict[str, set[str]] = {
    "av": {"video"},
    "h5py": {"cache"},
    "hdf5plugin": {"cache"},
    "pandas": {"dataset.manifest", "workflow.signatures"},
    "open_clip": {"encoders.clip"},
    "timm": {"encoders.motion_network"},
    "openvino": {"encoders.openvino"},
    "torch": {"encoders", "training", "inference.onnx"},
    "torchvision": set(),
    "safetensors": {"core.tensors", "encoders.clip", "encoders.motion_network"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "PIL": {"core.images", "encoders.clip"},
    "matplotlib": {"report", "pictures"},
    "jinja2": {"report.pages"},
    "markupsafe": {"report.pages"},
}
# NumPy and the standard library, no files.
PURE = ("config", "motion")
PURE_PACKAGES = {"numpy", "pydantic", "pydantic_core", "moclip"}
IO_MODULES = {"os", "pathlib", "shutil", "subprocess", "socket", "tempfile", "io", "glob"}

MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.parent != SOURCE or path.stem != "__init__"
)


def source_of(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield str(node.module)


def test_the_packages_are_those_of_the_order() -> None:
    assert {package_of(module) for module in MODULES} == set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_package_or_from_those_before_it(module: str) -> None:
    for name in imported_modules(source_of(module)):
        other = name.removeprefix("moclip").lstrip(".")
        if other:
            order = ORDER.index(package_of(other)), ORDER.index(package_of(module))
            assert order[0] <= order[1], f"{module} imports {other}, which comes after it"


@pytest.mark.parametrize("module", MODULES)
def test_a_heavy_package_is_imported_by_its_door(module: str) -> None:
    for name in imports_of(source_of(module)):
        package = name.split(".")[0]
        doors = DOORS.get(package, {module})
        assert {module, package_of(module)} & doors, f"{module} imports {package}; its doors are {sorted(doors)}"


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module) in PURE])
def test_the_pure_packages_read_and_write_nothing(module: str) -> None:
    for name in imports_of(source_of(module)):
        package = name.split(".")[0]
        assert package in PURE_PACKAGES or package in sys.stdlib_module_names, f"{module} imports {name}"
        assert package not in IO_MODULES, f"{module} imports {name}"
    calls = ast.walk(ast.parse((source_of(module)).read_text(encoding="utf-8")))
    assert not [c for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name) and c.func.id == "open"]


@pytest.mark.parametrize("module", MODULES)
def test_the_library_never_mentions_snakemake(module: str) -> None:
    tree = ast.parse((source_of(module)).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "snakemake" not in names
    assert not [name for name in imports_of(source_of(module)) if name.split(".")[0] == "snakemake"]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_happens_on_import(module: str) -> None:
    tree = ast.parse((source_of(module)).read_text(encoding="utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If)
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert docstring or isinstance(node, allowed), f"{module}:{node.lineno}: a statement that runs on import"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_reads_the_environment_or_the_working_directory(module: str) -> None:
    for node in ast.walk(ast.parse((source_of(module)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"environ", "getenv", "getcwd", "cwd", "chdir"}, f"{module}:{node.lineno}"


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_is_thin_and_imports_no_other_script(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.count("\n") <= 30
    others = {path.stem for path in SCRIPTS.glob("*.py")}
    assert not {name for name in imports_of(script) if name in others}
    assert "with stage(snakemake)" in text, "a script sends its output to its log"


def test_every_rule_has_a_script_of_its_name() -> None:
    rules = set()
    for path in (SCRIPTS.parent / "rules").glob("*.smk"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.strip().rstrip(":").split()
            if len(words) == 2 and words[0] in {"rule", "checkpoint"} and line.strip().endswith(":"):
                rules.add(words[1])
    assert rules == {path.stem for path in SCRIPTS.glob("*.py")}
