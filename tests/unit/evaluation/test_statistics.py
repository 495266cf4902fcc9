"""Whether the tests of one method against another are those of the textbooks."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moclip.errors import DatasetError
from moclip.evaluation.comparisons import RunPredictions, format_comparisons, read_comparisons, write_contests
from moclip.evaluation.statistics import (
    bootstrap,
    draw_weights,
    mcnemar_p,
    student_half_width,
    sum_by_group,
)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (1, 9), (40, 20), (900, 700), (1500, 1499)])
def test_mcnemars_p_is_that_of_the_exact_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == mcnemar_p(second, first) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("number", [2, 3, 4, 8, 31])
def test_the_interval_of_a_mean_is_students(number: int) -> None:
    values = np.random.default_rng(number).random(number)
    low, high = stats.t.interval(0.95, number - 1, loc=np.mean(values), scale=stats.sem(values))
    assert 2 * float(student_half_width(values.tolist()) or 0) == pytest.approx(high - low, rel=1e-9)
    assert student_half_width([0.6]) is None


def test_the_bootstrap_draws_groups_so_that_copies_of_a_video_make_nothing_surer() -> None:
    rng = np.random.default_rng(0)
    once = rng.choice([-1.0, 0.0, 1.0], size=60, p=[0.2, 0.4, 0.4])
    names = [f"g{index}" for index in range(60)]
    weights = draw_weights(60)
    single = bootstrap(sum_by_group([once], groups=[names], all_groups=names), weights=weights)
    copied = np.repeat(once, 5)
    many = bootstrap(sum_by_group([copied], groups=[np.repeat(names, 5).tolist()], all_groups=names), weights=weights)
    assert (many.value, many.low, many.high) == pytest.approx((single.value, single.low, single.high))
    found = stats.bootstrap((once,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(1))
    assert single.low == pytest.approx(found.confidence_interval.low, abs=0.02)
    assert single.high == pytest.approx(found.confidence_interval.high, abs=0.02)


def test_the_mean_over_splits_counts_a_small_split_as_much_as_a_large_one() -> None:
    differences = [np.ones(2), np.zeros(8)]
    names = [["a", "b"], list("cdefghij")]
    sums = sum_by_group(differences, groups=names, all_groups=list("abcdefghij"))
    assert bootstrap(sums, weights=draw_weights(10)).value == 0.5
    with pytest.raises(DatasetError, match="found none"):
        sum_by_group([np.zeros(0)], groups=[[]], all_groups=[])


def write_predictions(path: Path, *, right: dict[str, list[int]]) -> RunPredictions:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file, dialect="excel-tab")
        table.writerow(["video_id", "class_name", "class_index", "status", *right])
        for row in range(6):
            cells = ["a" if right[name][row] else "b" for name in right]
            table.writerow([f"v{row}", "a", 0, "ok" if row < 5 else "unreadable", *cells])
    experiment, split, seed = path.parts[-4:-1]
    return RunPredictions(experiment=experiment, split=int(split[6:]), seed=int(seed[5:]), path=path)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[list[dict[str, str]], list[dict[str, str]], Path]:
    ids = [f"v{row}" for row in range(6)]
    frame = pd.DataFrame({"video_id": ids, "path": [f"{video_id}.avi" for video_id in ids], "class_name": "a"})
    frame = frame.assign(class_index=0, group=["g1", "g1", "g2", "g2", "g3", "g3"], fingerprint="f", shard=0)
    frame.assign(split_1="test").to_csv(tmp_path / "manifest.tsv", sep="\t", index=False)
    runs = [
        write_predictions(
            tmp_path / "x/one" / f"split-1/seed-{seed}/predictions.tsv",
            right={"motion": [0, 0, 1, 1, 0, 0], "fusion": [1, 1, 1, 1 - seed, 1, 0]},
        )
        for seed in (0, 1)
    ]
    other = [
        write_predictions(
            tmp_path / "x/two" / f"split-1/seed-{seed}/predictions.tsv", right={"fusion": [1, 1, 0, 0, 0, 0]}
        )
        for seed in (0, 1)
    ]
    write_contests(
        tmp_path / "comparisons.tsv",
        gains=tmp_path / "gains.tsv",
        predictions=[*runs, *other],
        manifest=tmp_path / "manifest.tsv",
        rejected_test_videos="wrong",
    )
    read = [
        list(csv.DictReader((tmp_path / name).open(), dialect="excel-tab")) for name in ("comparisons.tsv", "gains.tsv")
    ]
    return read[0], read[1], tmp_path / "comparisons.tsv"


def test_each_run_has_its_mcnemar_test_and_all_runs_one_interval_over_groups(tables) -> None:  # type: ignore[no-untyped-def]
    rows = [row for row in tables[0] if row["other_method"] == "motion"]
    assert [(row["seed"], row["only_first"], row["only_second"], row["mcnemar_p"]) for row in rows] == [
        ("0", "3", "0", "0.25"),
        ("1", "3", "1", "0.625"),
        ("all", "", "", ""),
    ]
    assert float(rows[2]["difference"]) == pytest.approx((3 / 6 + 2 / 6) / 2)
    assert (rows[2]["n"], rows[2]["num_groups"]) == ("6", "3")
    assert -1 <= float(rows[2]["low"]) < float(rows[2]["difference"]) < float(rows[2]["high"]) <= 1


def test_experiments_are_held_against_the_first_one(tables) -> None:  # type: ignore[no-untyped-def]
    row = next(row for row in tables[0] if row["experiment"] == "two" and row["split"] == "all")
    assert (row["other_experiment"], row["method"]) == ("one", "fusion")
    assert float(row["difference"]) == pytest.approx(-2.5 / 6)
    text = format_comparisons(read_comparisons(tables[2]))
    assert text.splitlines()[-1].split()[:6] == ["two", "fusion", "one", "fusion", "-41.7", "-75.0"]


def test_the_gain_of_each_class_is_over_all_runs(tables) -> None:  # type: ignore[no-untyped-def]
    assert [(row["class_name"], row["num_tests"], row["stream"]) for row in tables[1]] == [("a", "12", "motion")]
    assert float(tables[1][0]["gain"]) == pytest.approx(9 / 12 - 4 / 12)


def test_experiments_that_left_out_other_videos_are_compared_on_those_of_both(tables, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    runs = [tmp_path / name / "split-1/seed-0/predictions.tsv" for name in ("x/one", "x/two")]
    lines = runs[1].read_text().splitlines(keepends=True)
    runs[1].write_text("".join(line.replace("ok", "timeout") if line.startswith("v2") else line for line in lines))

    def compare(policy: str) -> None:
        write_contests(
            tmp_path / "comparisons.tsv",
            gains=tmp_path / "gains.tsv",
            predictions=[RunPredictions(experiment=run.parts[-4], split=1, seed=0, path=run) for run in runs],
            manifest=tmp_path / "manifest.tsv",
            rejected_test_videos=policy,
        )

    compare("leave_out")
    rows = list(csv.DictReader((tmp_path / "comparisons.tsv").open(), dialect="excel-tab"))
    counts = {(row["experiment"], row["other_experiment"]): int(row["n"]) for row in rows}
    assert counts == {("one", "one"): 5, ("two", "one"): 4}
    last = rows[-1]
    assert float(last["difference"]) == pytest.approx(-2 / 4)  # right: one v0 v1 v3 v4, two v0 v1
    runs[1].write_text("".join(lines[:-1]))
    with pytest.raises(DatasetError, match="expected the same test videos, found 5 of 5 and 6 in both"):
        compare("wrong")
