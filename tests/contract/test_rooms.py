"""The one-way street: who may import whom, and which heavy package has which door (docs/architecture.md)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moclip.code_digest import imported_modules

SOURCE = Path(__file__).resolve().parents[2] / "src" / "moclip"
SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"

# Floors from the ground up. A module imports from its own floor or from one below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "versions", "system_faults"),
    (
        "motion",
        "motion_amount",
        "motion_camera",
        "motion_packing",
        "motion_stream",
        "motion_trace",
        "sampling",
        "labels",
        "prompts",
        "metrics",
        "config",
        "config_manual",
        "rendering",
        "zero_shot",
        "svg",
        "report_style",
        "raster",
        "motion_drawing",
        "page",
        "container_facts",
        "leaks",
        "datacard_page",
        "moments",
        "motion_windows",
        "calibration",
        "model_card",
        "methods",
        "plots",
        "report_marks",
        "report_contests",
        "report_costs",
        "report_reliability",
        "experiments",
        "few_shot",
        "comparisons",
        "head_inputs",
        "head_math",
        "learning_curve",
        "dry_run",
        "tensor_digest",
    ),
    (
        "files",
        "file_digests",
        "devices",
        "spool",
        "isolated_worker",
        "isolation",
        "processes",
        "shards",
        "row_cache",
        "row_locks",
        "artifact_cache",
        "artifact_uses",
        "manifest_table",
        "manifest",
        "layouts",
        "features",
        "code_digest",
        "encoder_spec",
        "stage",
        "provenance",
        "image_files",
        "frame_index",
        "subsets",
        "streams",
        "head_index",
        "head_files",
        "mistakes",
        "overlap",
        "workflow",
        "workflow.paths",
        "workflow.records",
    ),
    (
        "video",
        "video_file",
        "transcode",
        "appearance",
        "heads",
        "motion_network",
        "encoder_files",
        "onnx_export",
        "field_batches",
        "motion_torch",
        "motion_loader",
        "motion_checkpoint",
        "motion_training",
        "network_training",
        "motion_folding",
        "motion_openvino",
        "motion_embedding",
        "packet_index",
        "frames",
        "towers",
        "tower_layers",
        "tower_openvino",
        "mac_counting",
        "head_steps",
    ),
    (
        "extraction",
        "motion_extraction",
        "appearance_extraction",
        "frame_choice",
        "motion_embedding_extraction",
        "class_embeddings",
        "views",
        "network_curve",
        "training",
        "head_runs",
        "contests",
        "costs",
        "evaluation",
        "runs",
        "scoring",
        "summary",
        "tables",
        "report",
        "report_experiment",
        "datacard",
        "demo",
        "motion_pictures",
        "motion_page",
        "run_settings",
        "run_parts",
        "video_streams",
        "segments",
        "predictor",
        "bundle",
        "feature_store",
        "search",
        "search_page",
        "own_classes",
        "drawing",
        "feature_sets",
        "verification",
        "cache_usage",
        "cost_plan",
        "explanation",
        "mistake_pictures",
        "mistakes_page",
        "workflow.check",
        "workflow.content",
        "workflow.plan",
        "workflow.resources",
        "workflow.signatures",
    ),
    ("cli", "cli_parts", "cli_draw", "cli_cache", "cli_search", "cli_predict", "cli_completion"),
)
# The doors of the heavy packages.
DOORS: dict[str, set[str]] = {
    "av": {"video", "video_file", "packet_index", "frames", "transcode"},
    "h5py": {"shards"},
    "hdf5plugin": {"shards"},
    "pandas": {"manifest", "workflow.signatures"},
    "open_clip": {"appearance", "encoder_files"},
    "timm": {"motion_network"},
    "openvino": {"motion_openvino", "tower_openvino"},
    "torch": {
        "onnx_export",
        "appearance",
        "heads",
        "head_steps",
        "mac_counting",
        "motion_network",
        "field_batches",
        "motion_torch",
        "motion_loader",
        "motion_checkpoint",
        "motion_training",
        "motion_folding",
        "motion_openvino",
        "motion_embedding",
        "towers",
        "tower_layers",
        "tower_openvino",
    },
    "torchvision": set(),
    "safetensors": {
        "encoder_files",
        "motion_network",
        "motion_checkpoint",
        "head_files",
        "class_embeddings",
        "scoring",
    },
    "jsonschema": {"config"},
    "PIL": {"appearance", "image_files"},
}
PURE = set(FLOORS[0]) | set(FLOORS[1])
PURE_PACKAGES = {"numpy", "jsonschema", "moclip"}
IO_MODULES = {"os", "pathlib", "shutil", "subprocess", "socket", "tempfile", "io", "glob"}

MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in SOURCE.rglob("*.py")
    if path.stem != "__init__" and "__pycache__" not in path.parts
)


def source_of(module: str) -> Path:
    return SOURCE.joinpath(*module.split(".")).with_suffix(".py")


def floor_of(module: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if module in names)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield str(node.module)


def test_every_module_has_a_floor() -> None:
    known = {name for floor in FLOORS for name in floor}
    assert set(MODULES) <= known, f"give these a floor in this test and in docs/architecture.md: {set(MODULES) - known}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_floor_or_below(module: str) -> None:
    for name in imported_modules(source_of(module)):
        below = name.removeprefix("moclip").lstrip(".")
        if below:
            assert floor_of(below) <= floor_of(module), f"{module} imports {below}, which stands above it"


@pytest.mark.parametrize("module", MODULES)
def test_a_heavy_package_has_one_door(module: str) -> None:
    for name in imports_of(source_of(module)):
        package = name.split(".")[0]
        assert module in DOORS.get(package, {module}), f"{module} imports {package}; its door is {DOORS[package]}"


@pytest.mark.parametrize("module", sorted(PURE & set(MODULES)))
def test_the_pure_floor_reads_and_writes_nothing(module: str) -> None:
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
        if "batch_rule(" in path.read_text(encoding="utf-8") and path.stem == "heads":
            rules.add("head")  # one rule for each batch of heads, named after it
    assert rules == {path.stem for path in SCRIPTS.glob("*.py")}
