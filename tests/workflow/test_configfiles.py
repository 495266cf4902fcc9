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


@pytest.mark.parametrize("name", ["ucf101", "ucf101-authors"])
def test_the_configurations_of_the_paper_are_planned_over_lists_of_two_videos(tmp_path: Path, name: str) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    videos = ["Archery/v_Archery_g01_c01.avi", "Archery/v_Archery_g08_c01.avi"]
    (lists / "classInd.txt").write_text("1 Archery\n")
    for number in (1, 2, 3):
        (lists / f"trainlist0{number}.txt").write_text(f"{videos[1]} 1\n")
        (lists / f"testlist0{number}.txt").write_text(f"{videos[0]}\n")
    for video in videos:
        path = tmp_path / "videos" / video
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a stub")
    stub = tmp_path / "stub.yaml"
    stub.write_text("dataset: {root: videos, lists: lists, num_shards: 1}\n")
    planned = dry_run(tmp_path, f"config/{name}.yaml", str(stub))
    assert planned.code == 0, planned.output
    for split in (1, 2, 3):
        for seed in (0, 1, 2):
            place = f"{name}/motion_network/efficientnet-b0/split-{split}/seed-{seed}"
            assert f"results/{place}/model.safetensors" in planned.output


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
