"""The workflow from another directory, as a module, by `include`, and commands that need no cores."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import REPOSITORY, toy_config, write_toy_videos

pytestmark = pytest.mark.workflow

SNAKEFILE = str(REPOSITORY / "Snakefile")


def snakemake(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_demo_is_planned_from_another_directory(tmp_path: Path) -> None:
    output = snakemake(tmp_path, "--snakefile", SNAKEFILE, "--cores", "1", "-n")
    assert "demo_dataset" in output
    profile = REPOSITORY / "workflow/profiles/default"
    assert f"give --workflow-profile {profile}" in output
    assert "lacks the options" not in snakemake(
        tmp_path, "--snakefile", SNAKEFILE, "--workflow-profile", str(profile), "--cores", "1", "-n"
    )
    for name in ("plan", "verify"):
        command = [sys.executable, "-m", "moclip", name, "--configfile", str(REPOSITORY / "config/ucf101.yaml")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        # The videos of UCF101 are not there; its prompts are.
        assert "config/prompts" not in done.stderr
        assert "schema" not in done.stderr


@pytest.mark.parametrize("how", ["module", "include"])
def test_another_workflow_uses_this_one(tmp_path: Path, how: str) -> None:
    write_toy_videos(tmp_path / "videos")
    config = toy_config()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    use = {
        "module": f'module moclip:\n    snakefile: "{SNAKEFILE}"\n    config: config\n\nuse rule * from moclip\n',
        "include": f'include: "{SNAKEFILE}"\n',
    }
    (tmp_path / "Snakefile").write_text(f'configfile: "mine.yaml"\n\n{use[how]}')
    # An included workflow brings its rules and no default target.
    targets = ["results/toy/report.html"] if how == "include" else []
    output = snakemake(tmp_path, "--cores", "1", "-n", *targets)
    assert "motion_embedding_shard" in output
    assert "report.html" in output


@pytest.mark.parametrize(
    "options",
    ["--unlock", "--summary", "--detailed-summary", "--dag", "--rulegraph", "--filegraph", "--list-changes params"],
)
def test_commands_that_run_nothing_need_no_cores(tmp_path: Path, options: str) -> None:
    snakemake(tmp_path, "--snakefile", SNAKEFILE, *options.split())
