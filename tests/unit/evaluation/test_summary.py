"""What the table over runs averages, and what it calls a spread."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from moclip.errors import DatasetError
from moclip.evaluation.evaluate import evaluate_run, write_metrics
from moclip.evaluation.scoring import MethodLogits
from moclip.evaluation.summary import RunMetrics, build_summary, format_summary, read_summary, write_summary

NUM_VIDEOS = 20


def write_run(folder: Path, *, experiment: str, split: int, seed: int, right: dict[str, int], note: str = "trained"):
    """A run in which each method gets so many of the 20 test videos right."""
    truth = np.arange(NUM_VIDEOS) % 4
    ids = tuple(f"v{index:02d}" for index in range(NUM_VIDEOS))
    methods = {}
    for name, count in right.items():
        predicted = np.where(np.arange(NUM_VIDEOS) < count, truth, (truth + 1) % 4)
        logits = np.eye(4, dtype=np.float32)[predicted] * 4
        methods[name] = MethodLogits(video_ids=ids, logits=logits)
    result = evaluate_run(
        methods,
        test_ids=ids,
        class_index=truth,
        class_names=("a", "b", "c", "d"),
        rejected={},
        rejected_test_videos="wrong",
        encoders={"motion": note, "appearance": "trained", "text": "untrained"},
    )
    path = folder / experiment / f"split-{split}" / f"seed-{seed}" / "metrics.json"
    write_metrics(path, result=result)
    return RunMetrics(experiment=experiment, split=split, seed=seed, path=path)


@pytest.fixture
def grid(tmp_path):
    """Two splits by three seeds: fusion varies with the seed, zero-shot with the split alone."""
    fusion = {(1, 0): 20, (1, 1): 18, (1, 2): 16, (2, 0): 10, (2, 1): 14, (2, 2): 12}
    return [
        write_run(
            tmp_path, experiment="main", split=split, seed=seed, right={"fusion": count, "zero_shot": 8 + 2 * split}
        )
        for (split, seed), count in fusion.items()
    ]


def row_of(rows, method, split):
    return next(row for row in rows if (row.method, row.split) == (method, split))


def test_a_split_has_the_mean_and_sample_spread_over_its_seeds(grid):
    row = row_of(build_summary(grid), "fusion", "1")
    assert row.top_1 == pytest.approx(0.9)
    assert row.top_1_std == pytest.approx(statistics.stdev([1.0, 0.9, 0.8]))
    assert (row.num_splits, row.num_seeds, row.num_runs, row.n) == (1, 3, 3, NUM_VIDEOS)


def test_all_splits_are_averaged_first_and_the_spread_is_that_of_the_seeds(grid):
    row = row_of(build_summary(grid), "fusion", "all")
    by_seed = [(20 + 10) / 40, (18 + 14) / 40, (16 + 12) / 40]
    assert row.top_1 == pytest.approx(statistics.mean(by_seed))
    assert row.top_1_std == pytest.approx(statistics.stdev(by_seed))
    assert (row.num_splits, row.num_seeds, row.num_runs) == (2, 3, 6)


def test_a_method_that_no_seed_touches_has_no_spread_and_its_seeds_count_once(grid):
    rows = build_summary(grid)
    for split, num_splits in (("1", 1), ("2", 1), ("all", 2)):
        row = row_of(rows, "zero_shot", split)
        assert (row.top_1_std, row.num_seeds, row.num_runs) == (None, 1, num_splits)
    assert row_of(rows, "zero_shot", "all").top_1 == pytest.approx((10 + 12) / 40)


def test_one_seed_has_no_spread(grid):
    row = row_of(build_summary([run for run in grid if run.seed == 0]), "fusion", "all")
    assert (row.top_1, row.top_1_std) == (pytest.approx(0.75), None)


def test_rows_stand_by_experiment_then_method_then_split(grid, tmp_path):
    other = write_run(tmp_path, experiment="another", split=1, seed=0, right={"motion": 4})
    rows = build_summary([*grid, other])
    assert [(row.experiment, row.method, row.split) for row in rows] == [
        *(("main", "zero_shot", split) for split in ("1", "2", "all")),
        *(("main", "fusion", split) for split in ("1", "2", "all")),
        *(("another", "motion", split) for split in ("1", "all")),
    ]


def test_a_run_that_is_missing_from_the_grid_is_named(grid):
    with pytest.raises(DatasetError, match=r"main.*no split 2, seed 2"):
        build_summary(grid[:-1])


def test_runs_of_one_experiment_with_other_methods_are_refused(grid, tmp_path):
    odd = write_run(tmp_path / "odd", experiment="main", split=2, seed=2, right={"motion": 4})
    with pytest.raises(DatasetError, match="same methods"):
        build_summary([*grid[:-1], odd])


def test_the_table_comes_back_from_its_file_and_has_equal_bytes_twice(grid, tmp_path):
    rows = build_summary(grid)
    write_summary(tmp_path / "summary.tsv", rows=rows)
    back = read_summary(tmp_path / "summary.tsv")
    assert [(row.method, row.split, row.n) for row in back] == [(row.method, row.split, row.n) for row in rows]
    assert back[0].top_1_std is None
    assert back[-1].top_1_std == pytest.approx(rows[-1].top_1_std, abs=1e-8)
    write_summary(tmp_path / "again.tsv", rows=back)
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "summary.tsv").read_bytes()


def test_a_missing_or_foreign_table_is_named(tmp_path):
    path = tmp_path / "summary.tsv"
    with pytest.raises(DatasetError, match=r"summary\.tsv"):
        read_summary(path)
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(DatasetError, match=r"summary\.tsv"):
        read_summary(path)


def test_the_printed_table_is_aligned_and_marks_spread_counts_and_untrained_encoders(grid):
    text = format_summary(build_summary(grid))
    lines = text.splitlines()
    zero_shot = next(line for line in lines if "zero-shot" in line)
    fusion = next(line for line in lines if line.startswith("main") and "fusion" in line)
    assert zero_shot.split()[:5] == ["main", "zero-shot", "55.0", "-", "100.0"]
    assert fusion.split()[:4] == ["main", "fusion", "75.0", "12.4"]  # 4.30 x 5.0 / sqrt(3)
    assert "text untrained" in zero_shot
    assert "untrained" not in fusion
    assert "2 x 3" in fusion
    assert "2 x 1" in zero_shot
    assert zero_shot.index("55.0") == fusion.index("75.0")
    assert text.isascii()


def test_folds_are_pooled_since_each_video_is_tested_once(tmp_path):
    runs = [
        write_run(tmp_path, experiment="main", split=split, seed=0, right={"fusion": count})
        for split, count in ((1, 20), (2, 10))
    ]
    row = row_of(build_summary(runs, are_folds=True), "fusion", "all")
    assert (row.n, row.num_splits) == (2 * NUM_VIDEOS, 2)
    assert row.top_1 == pytest.approx(0.75)
    # A fold of half the videos weighs half as much.
    document = json.loads(runs[1].path.read_text())
    document["methods"]["fusion"]["n"] = NUM_VIDEOS // 2
    runs[1].path.write_text(json.dumps(document))
    rows = build_summary(runs, are_folds=True)
    assert row_of(rows, "fusion", "all").top_1 == pytest.approx((20 * 1.0 + 10 * 0.5) / 30)
    assert row_of(rows, "fusion", "all").n == 30
    assert row_of(build_summary(runs), "fusion", "all").top_1 == pytest.approx(0.75)
