"""Several files of `--configfile`: merged with each other, in place of the default configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import REPOSITORY, Ran

pytestmark = pytest.mark.workflow


def dry_run(folder: Path, *files: str) -> Ran:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "1", "-n"]
    command += ["--directory", str(folder), "--configfile", *files]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    return Ran(code=done.returncode, output=done.stdout + done.stderr)


def test_a_later_file_wins_and_a_file_alone_names_what_it_lacks(tmp_path: Path) -> None:
    overlay = tmp_path / "paths.yaml"
    overlay.write_text("dataset: {name: elsewhere}\nexperiments: {fusion: {seeds: [7]}}\n")
    merged = dry_run(tmp_path, "config/config.yaml", str(overlay))
    assert merged.code == 0, merged.output
    assert "results/elsewhere/motion_network/tiny/split-1/seed-7/model.safetensors" in merged.output
    assert "results/demo/" not in merged.output.replace("results/demo/dataset", "")
    alone = dry_run(tmp_path, str(overlay))
    assert alone.code == 2
    assert "the key `motion` is missing" in alone.output
    assert "name a complete configuration first, as in --configfile config/config.yaml mine.yaml" in alone.output
