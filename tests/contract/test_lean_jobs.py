"""A job that finds its results in the cache imports no package that takes longer than its work."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.test_rooms import SCRIPTS

# Each takes from half a second to several seconds to import.
HEAVY = (
    "pandas",
    "torch",
    "torchvision",
    "open_clip",
    "timm",
    "openvino",
    "scipy",
    "matplotlib",
    "snakemake",
)
# Scripts that draw charts or vectors.
DRAWING = ("report", "motion_network_curve", "datacard", "mistakes", "motion_pictures")
ALLOWED = {name: {"matplotlib"} for name in DRAWING}
_IMPORTS = """
import ast, importlib, sys
for node in ast.parse(open(sys.argv[1], encoding="utf-8").read()).body:
    if isinstance(node, ast.ImportFrom) and node.module.startswith("moclip"):
        importlib.import_module(node.module)
print(*sys.modules, sep="\\n")
"""


def modules_after(code: str, *arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_the_library_behind_a_script_imports_no_heavy_package(script: Path) -> None:
    found = modules_after(_IMPORTS, str(script)) & set(HEAVY)
    assert found <= ALLOWED.get(script.stem, set())


@pytest.mark.parametrize("module", ["extraction.frame_choice", "training.head_stage", "evaluation.run_stage"])
def test_a_decoder_and_jobs_of_every_run_parse_no_settings(module: str) -> None:
    assert "pydantic" not in modules_after(f"import sys, moclip.{module}; print(*sys.modules)")
