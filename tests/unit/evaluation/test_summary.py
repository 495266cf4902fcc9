"""What the table over runs averages, and what it calls a spread."""

import dataclasses
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from moclip.errors import DatasetError
from moclip.evaluation.evaluate import evaluate_run, write_metrics, write_predictions
from moclip.evaluation.scoring import MethodLogits
from moclip.evaluation.summary import RunResults, SummaryRow, build_summary, format_summary, read_summary, write_summary

NUM_VIDEOS = 20

# Two videos of each of ten groups.
GROUPS = {f"v{index:02d}": f"g{index // 2}" for index in range(NUM_VIDEOS)}


def summarize(runs, *, groups=GROUPS, are_folds=False):
    return build_summary(runs, groups=groups, leave_out=False, are_folds=are_folds)


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
        training_classes=np.array([0, 0, 1, 2, 3]),
        groups=GROUPS,
        rejected={},
        rejected_test_videos="wrong",
        encoders={"motion": note, "appearance": "trained", "text": "untrained"},
    )
    place = folder / experiment / f"split-{split}" / f"seed-{seed}"
    metrics, predictions = place / "metrics.json", place / "predictions.tsv"
    write_metrics(metrics, result=result)
    write_predictions(predictions, result=result)
    return RunResults(experiment=experiment, split=split, seed=seed, metrics=metrics, predictions=predictions)


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
    row = row_of(summarize(grid), "fusion", "1")
    assert row.top_1 == pytest.approx(0.9)
    assert row.top_1_std == pytest.approx(statistics.stdev([1.0, 0.9, 0.8]))
    assert (row.num_splits, row.num_seeds, row.num_runs, row.n) == (1, 3, 3, NUM_VIDEOS)


def test_all_splits_are_averaged_first_and_the_spread_is_that_of_the_seeds(grid):
    row = row_of(summarize(grid), "fusion", "all")
    by_seed = [(20 + 10) / 40, (18 + 14) / 40, (16 + 12) / 40]
    assert row.top_1 == pytest.approx(statistics.mean(by_seed))
    assert row.top_1_std == pytest.approx(statistics.stdev(by_seed))
    assert (row.num_splits, row.num_seeds, row.num_runs) == (2, 3, 6)


def test_a_method_that_no_seed_touches_has_no_spread_and_its_seeds_count_once(grid):
    rows = summarize(grid)
    for split, num_splits in (("1", 1), ("2", 1), ("all", 2)):
        row = row_of(rows, "zero_shot", split)
        assert (row.top_1_std, row.num_seeds, row.num_runs) == (None, 1, num_splits)
    assert row_of(rows, "zero_shot", "all").top_1 == pytest.approx((10 + 12) / 40)


def test_one_seed_has_no_spread(grid):
    row = row_of(summarize([run for run in grid if run.seed == 0]), "fusion", "all")
    assert (row.top_1, row.top_1_std) == (pytest.approx(0.75), None)


def test_rows_stand_by_experiment_then_method_then_split(grid, tmp_path):
    other = write_run(tmp_path, experiment="another", split=1, seed=0, right={"motion": 4})
    rows = summarize([*grid, other])
    assert [(row.experiment, row.method, row.split) for row in rows] == [
        *(("main", "zero_shot", split) for split in ("1", "2", "all")),
        *(("main", "fusion", split) for split in ("1", "2", "all")),
        *(("another", "motion", split) for split in ("1", "all")),
    ]


def test_a_run_that_is_missing_from_the_grid_is_named(grid):
    with pytest.raises(DatasetError, match=r"main.*no split 2, seed 2"):
        summarize(grid[:-1])


def test_runs_of_one_experiment_with_other_methods_are_refused(grid, tmp_path):
    odd = write_run(tmp_path / "odd", experiment="main", split=2, seed=2, right={"motion": 4})
    with pytest.raises(DatasetError, match="same methods"):
        summarize([*grid[:-1], odd])


def test_the_table_comes_back_from_its_file_and_has_equal_bytes_twice(grid, tmp_path):
    rows = summarize(grid)
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


def test_the_interval_over_groups_is_of_all_splits_and_apart_from_that_over_seeds(grid):
    rows = summarize(grid)
    one, both = row_of(rows, "fusion", "1"), row_of(rows, "fusion", "all")
    assert one.num_groups == both.num_groups == 10
    for row in (one, both):
        assert row.top_1_groups_low < row.top_1 < row.top_1_groups_high
    # Zero-shot depends on no seed, and on the choice of test videos all the same.
    zero_shot = row_of(rows, "zero_shot", "all")
    assert zero_shot.top_1_ci95 is None
    assert zero_shot.top_1_groups_low < 0.55 < zero_shot.top_1_groups_high


def test_below_ten_groups_there_is_a_number_of_groups_and_no_interval(grid):
    row = row_of(summarize(grid, groups={name: f"g{int(name[1:]) // 3}" for name in GROUPS}), "fusion", "all")
    assert (row.num_groups, row.top_1_groups_low, row.top_1_groups_high) == (7, None, None)
    assert "none" in format_summary([row])
    assert "none below 10 groups" in format_summary([row])


def test_chance_is_that_of_the_most_frequent_training_class_and_of_a_guess(grid):
    row = row_of(summarize(grid), "fusion", "all")
    assert (row.chance_majority, row.chance_uniform) == (0.25, 0.25)
    assert "chance: 25.0 %" in format_summary([row])


def test_the_legend_says_where_groups_come_from(grid):
    rows = build_summary(grid, groups=GROUPS, leave_out=False, group_source="of the pattern scene(.)")
    assert {row.group_source for row in rows} == {"of the pattern scene(.)"}
    assert "\ngroups       of the pattern scene(.)\n" in format_summary(rows)


def test_the_printed_table_is_aligned_and_marks_spread_counts_and_untrained_encoders(grid):
    lines = format_summary(summarize(grid)).splitlines()
    zero_shot = next(line for line in lines if line.startswith("  zero-shot"))
    fusion = next(line for line in lines if line.startswith("  fusion"))
    assert lines[2] == "main"
    assert zero_shot.split()[:3] == ["zero-shot", "55.0", "-"]
    assert fusion.split()[:3] == ["fusion", "75.0", "12.4"]  # 4.30 x 5.0 / sqrt(3)
    assert zero_shot.endswith("[1]")
    assert not fusion.endswith("]")
    assert lines[-1].split() == ["[1]", "text", "untrained"]
    assert "2 x 3" in fusion
    assert "2 x 1" in zero_shot
    assert zero_shot.index("55.0") == fusion.index("75.0")
    assert "top-5" not in lines[0]  # of four classes
    assert all(line.isascii() for line in lines)


def make_row(**changes):
    values = {field.name: 1.0 for field in dataclasses.fields(SummaryRow)}
    texts = {"experiment": "few-shots-16-of-a-long-name", "method": "shuffled_motion", "split": "all"}
    texts |= {"group_source": "of the layout", "fitted_on": "train"}
    note = "motion trained from random weights on all training videos"
    counts = {"num_splits": 3, "num_seeds": 10, "num_runs": 30, "n": 12345, "num_groups": 1234, "chance_uniform": 0.01}
    return SummaryRow(**{**values, **texts, "encoder_note": note, **counts, **changes})


def test_the_widest_table_fits_100_columns():
    rows = [
        make_row(),
        make_row(method="zero_shot_head", coverage=0.987),
        make_row(experiment="other", encoder_note=""),
    ]
    lines = format_summary(rows).splitlines()
    assert max(map(len, lines)) <= 100
    assert "top-5 %" in lines[0]
    notes = " ".join(" ".join(lines[lines.index(next(line for line in lines if line.startswith("[2]"))) :]).split())
    assert notes.endswith("all training videos; scores of 98.7 % of the test videos")


def test_folds_are_pooled_since_each_video_is_tested_once(tmp_path):
    runs = [
        write_run(tmp_path, experiment="main", split=split, seed=0, right={"fusion": count})
        for split, count in ((1, 20), (2, 10))
    ]
    row = row_of(summarize(runs, are_folds=True), "fusion", "all")
    assert (row.n, row.num_splits) == (2 * NUM_VIDEOS, 2)
    assert row.top_1 == pytest.approx(0.75)
    # A fold of half the videos weighs half as much.
    document = json.loads(runs[1].metrics.read_text())
    document["methods"]["fusion"]["n"] = NUM_VIDEOS // 2
    runs[1].metrics.write_text(json.dumps(document))
    rows = summarize(runs, are_folds=True)
    assert row_of(rows, "fusion", "all").top_1 == pytest.approx((20 * 1.0 + 10 * 0.5) / 30)
    assert row_of(rows, "fusion", "all").n == 30
    assert row_of(summarize(runs), "fusion", "all").top_1 == pytest.approx(0.75)
