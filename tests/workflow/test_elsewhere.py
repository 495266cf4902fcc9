"""The workflow from another directory, as a module, by `include`, and commands that need no cores."""

import shutil
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


def test_the_workflow_is_deployed_as_snakedeploy_does(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "workflow").mkdir()
    module = f'module moclip:\n    snakefile: "{REPOSITORY / "workflow/Snakefile"}"\n    config: config\n'
    text = f'configfile: "config/config.yaml"\n\n\n{module}\n\nuse rule * from moclip\n'
    (tmp_path / "workflow/Snakefile").write_text(text)
    assert "motion_embedding_shard" in snakemake(tmp_path, "--cores", "1", "-n")
    catalog = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    assert catalog["usage"]["software-stack-deployment"]["conda"] is True
    assert (REPOSITORY / "config/README.md").is_file()


@pytest.mark.parametrize(
    ("target", "nearest"),
    [
        ("results/demo/summry.tsv", "results/demo/summary.tsv"),
        ("results/dmeo/report.html", "results/demo/report.html"),
        ("results/demo/motion/orignal/index.json", "results/demo/motion/original/index.json"),
        ("sumary", "summary"),
    ],
)
def test_a_wrong_target_is_refused_with_the_nearest(target: str, nearest: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE, "--cores", "1", "-n", "--", target]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [
        f"error: {target}: expected a file that the workflow makes, found no rule for it; the nearest is {nearest}"
    ]


@pytest.mark.parametrize(
    "options",
    ["--unlock", "--summary", "--detailed-summary", "--dag", "--rulegraph", "--filegraph", "--list-changes params"],
)
def test_commands_that_run_nothing_need_no_cores(tmp_path: Path, options: str) -> None:
    snakemake(tmp_path, "--snakefile", SNAKEFILE, *options.split())
