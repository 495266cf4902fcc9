"""The demo shows the point of the method: neither stream alone can name the class, both together can."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def demo(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the default configuration, run in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("config", "resources"):
        (folder / name).symlink_to(repository / name)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(repository / "Snakefile")]
    command += ["--workflow-profile", str(repository / "workflow/profiles/default")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results/demo"


def read_top_1(demo: Path) -> dict[str, dict[str, str]]:
    with (demo / "summary.tsv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file, dialect="excel-tab") if row["split"] == "all"]
    return {row["method"]: row for row in rows}


def test_fusion_stands_well_above_every_single_stream(demo: Path) -> None:
    rows = read_top_1(demo)
    assert set(rows) == {"fusion", "ridge", "appearance", "appearance_ridge", "motion", "zero_shot"}
    assert int(rows["fusion"]["num_runs"]) == len(SEEDS)
    fusion = float(rows["fusion"]["top_1"])
    assert fusion >= 0.90
    for method in ("appearance", "appearance_ridge", "motion", "zero_shot"):
        assert float(rows[method]["top_1"]) <= fusion - 0.25, rows[method]
        assert float(rows[method]["top_1"]) >= 0.10, "a stream at chance would make the comparison worthless"


def test_every_test_video_has_one_row_of_predictions(demo: Path) -> None:
    with (demo / "manifest.tsv").open(newline="") as file:
        test = [row["video_id"] for row in csv.DictReader(file, dialect="excel-tab") if row["split_1"] == "test"]
    for seed in SEEDS:
        with (demo / f"experiments/fusion/split-1/seed-{seed}/predictions.tsv").open(newline="") as file:
            rows = list(csv.DictReader(file, dialect="excel-tab"))
        assert [row["video_id"] for row in rows] == sorted(test)
        assert all(row["status"] == "ok" and row["fusion"] for row in rows)


def test_the_report_is_one_file_that_asks_for_nothing_else(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert "fusion" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_nothing_in_the_demos_files_tells_the_class(demo: Path) -> None:
    page = (demo / "datacard.html").read_text()
    assert "No fact of the container predicts the class" in page
    assert 'class="alarm"' not in page
